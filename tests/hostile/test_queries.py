"""Queries and moves that want something else (S34, S35, S39, S89)."""

import time

import pytest

from hostile.conftest import Target
from hostile.peer import (
    C_MOVE,
    CT,
    EXPLICIT,
    FINDING,
    MOVE,
    Gone,
    Peer,
    command,
    context,
    ct_slice,
    data_pdu,
    explicit,
)

STRINGS = (
    b"' OR '1'='1",
    b"'; DROP TABLE instance; --",
    b'" UNION SELECT * FROM meta --',
    b"1' AND sleep(5) --",
    b"%",
    b"_%_%_%_%",
    b"<script>alert(1)</script>",
    b"$(id)",
    b"`id`",
    b"../../../etc/passwd",
    b"[a-z]*",
    b"(a+)+$",
    b"{{7*7}}",
    b"\xff\xfe\xfd",
    b"a\x00b",
)


@pytest.fixture(autouse=True, scope="module")
def some_studies(running: Target) -> None:
    with Peer(running.site, running.ct) as peer:
        peer.accepted()
        for number in range(30):
            name = b"A" * 60 + str(number).encode()
            assert (
                peer.store(ct_slice(1, study=f"80{number}", pixels=64, more=[(0x00100010, "PN", name)])) == 0
            )
        peer.release()


def keys(**changed: bytes) -> bytes:
    values = {
        "accession": (0x00080050, "SH"),
        "name": (0x00100010, "PN"),
        "patient": (0x00100020, "LO"),
        "study_id": (0x00200010, "SH"),
        "description": (0x00081030, "LO"),
        "date": (0x00080020, "DA"),
        "study": (0x0020000D, "UI"),
    }
    elements = {tag: (vr, changed.get(name, b"")) for name, (tag, vr) in values.items()}
    elements[0x00080052] = ("CS", b"STUDY")
    return b"".join(explicit(tag, vr, value) for tag, (vr, value) in sorted(elements.items()))


def ask(target: Target, identifier: bytes) -> tuple[int, int, float]:
    """Return status (-1: ended), matches and seconds."""
    started = time.perf_counter()
    with Peer(target.site, target.ct, seconds=15) as peer:
        peer.accepted(*FINDING)
        try:
            status, found = peer.find(identifier)
        except Gone:
            status, found = -1, []
    return status, len(found), time.perf_counter() - started


@pytest.mark.parametrize("text", STRINGS)
def test_strings_are_values(target: Target, text: bytes) -> None:
    """In each key: nobody is called that, so there is nothing to find, and everything is still there."""
    for key in ("accession", "name", "patient", "study_id", "description", "date", "study"):
        status, matches, _ = ask(target, keys(**{key: text}))
        assert matches == 0, (key, text)
        assert status == 0 or status >= 0xA700, hex(status)
    assert ask(target, keys())[1] >= 30


@pytest.mark.parametrize(
    "pattern",
    [
        b"*" * 60,
        b"?*" * 30,
        b"*?*A" * 15,
        b"A*" * 30 + b"B",
        b"*A" * 16 + b"B",
        b"*A*A*A*A*A*A*A*B",
        b"?" * 60,
    ],
)
def test_wild_cards_are_linear(target: Target, pattern: bytes) -> None:
    status, _, seconds = ask(target, keys(name=pattern))
    assert status == 0 or status >= 0xA700
    assert seconds < 5


@pytest.mark.parametrize("level", [b"GALAXY", b"", b"STUDY\\SERIES", b"IMAGE", b"SERIES"])
def test_levels_that_are_none(target: Target, level: bytes) -> None:
    status, matches, _ = ask(
        target, keys().replace(explicit(0x00080052, "CS", b"STUDY"), explicit(0x00080052, "CS", level))
    )
    assert matches == 0
    assert status >= 0xA700 or status == 0


def test_10000_uids_and_10000_keys(target: Target) -> None:
    uids = b"\\".join(f"1.2.{n}".encode() for n in range(6_000))
    status, matches, seconds = ask(target, keys(study=uids[:65_000]))
    assert matches == 0
    assert seconds < 10
    many = b"".join(explicit(0x00091000 + n, "LO", b"x") for n in range(200))
    status, _, seconds = ask(target, many)
    assert status >= 0xA700
    assert seconds < 10


@pytest.mark.parametrize(
    "destination",
    [
        "NOBODY",
        "CT1",
        "127.0.0.1",
        "localhost:22",
        "http://169.254",
        "OTHER@evil",
        "$(id)",
        "../x",
        "*",
        "",
        "A" * 16,
    ],
)
def test_move_goes_to_enrolled_destinations_only(target: Target, destination: str) -> None:
    """Not to a stranger, not to a device that is no destination, not to a host: 0xA801."""
    identifier = explicit(0x00080052, "CS", b"STUDY") + explicit(
        0x0020000D, "UI", ct_slice(1, study="800").study.encode()
    )
    with Peer(target.site, target.ct, seconds=15) as peer:
        peer.accepted(context(1, MOVE, EXPLICIT), context(3, CT, EXPLICIT))
        request: dict[int, int | str] = {
            0x0002: MOVE,
            0x0100: C_MOVE,
            0x0110: 1,
            0x0600: destination,
            0x0700: 0,
            0x0800: 1,
        }
        peer.send(data_pdu(1, 3, command(request)), data_pdu(1, 2, identifier))
        try:
            status = peer.status()
        except Gone:
            return
    assert status in {0xA801, 0x0124, 0x0115, 0xA900, 0xC000}, hex(status)
