"""Data sets that lie, nest, swell and hide (S17 to S30, S59, S60, S89)."""

import struct
import subprocess
import threading
import zlib
from pathlib import Path

import pytest

from faults.state_of_site import entries
from hostile.conftest import Target
from hostile.peer import (
    CT,
    DEFLATED,
    EXPLICIT,
    GETTING,
    IMPLICIT,
    JPEG_2000,
    RLE,
    Gone,
    Peer,
    Slice,
    context,
    ct_slice,
    data_pdu,
    explicit,
    fetch,
    implicit,
    resident_kib,
    role,
    store_command,
)

SYNTAXES = (
    context(1, CT, EXPLICIT),
    context(3, CT, IMPLICIT),
    context(5, CT, DEFLATED),
    context(7, CT, RLE),
    context(9, CT, JPEG_2000),
)
BY_CONTEXT = {1: EXPLICIT, 3: IMPLICIT, 5: DEFLATED}


def send(
    target: Target, dataset: bytes, *, context_id: int = 1, uid: str = "1.2.3.4", seconds: float = 15
) -> int:
    """Store a data set; return the status, or -1 when the association was ended."""
    with Peer(target.site, target.ct, seconds=seconds) as peer:
        peer.accepted(*SYNTAXES)
        try:
            peer.send(data_pdu(context_id, 3, store_command(CT, uid)))
            for at in range(0, len(dataset), 131_072):
                last = at + 131_072 >= len(dataset)
                peer.send(data_pdu(context_id, 2 if last else 0, dataset[at : at + 131_072]))
            return peer.status()
        except Gone:
            return -1


def head(number: int, study: str) -> Slice:
    """A slice without its pixels: what comes before the lie."""
    image = ct_slice(number, study=study, pixels=64)
    return Slice(image.sop_instance, image.study, image.series, image.dataset[: -64 - 12])


def nested_explicit(depth: int, *, defined: bool) -> bytes:
    if not defined:
        opening = (
            struct.pack("<HH2sxxI", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        )
        closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        return opening * depth + closing * depth
    body = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
        body = struct.pack("<HH2sxxI", 0x0040, 0xA730, b"SQ", len(item)) + item
    return body


@pytest.mark.parametrize("defined", [False, True])
def test_10000_nested_sequences(target: Target, defined: bool) -> None:
    image = head(1, "50")
    before = resident_kib(target.pid)
    dataset = image.dataset + nested_explicit(10_000, defined=defined)
    assert send(target, dataset, uid=image.sop_instance) >= 0xA700
    opening = implicit(0x0040A730, b"", length=0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    assert send(target, opening * 10_000, context_id=3) >= 0xA700
    assert resident_kib(target.pid) - before < 32 * 1024


LENGTHS = {
    "4 GiB that never come": explicit(0x7FE00010, "OW", bytes(100), length=0xFFFFFFFE),
    "4 GiB of text": explicit(0x00104000, "UT", bytes(100), length=0xFFFFFFFE),
    "undefined on a text": explicit(0x00104000, "UT", bytes(100), length=0xFFFFFFFF),
    "odd": explicit(0x7FE00010, "OW", bytes(100), length=99) + b"",
    "past the end": explicit(0x7FE00010, "OW", bytes(100), length=102),
    "short VR past the end": explicit(0x00281050, "DS", b"40", length=60_000),
    "undefined sequence without end": explicit(0x0040A730, "SQ", b"", length=0xFFFFFFFF),
    "item of 4 GiB": explicit(0x0040A730, "SQ", b"\xfe\xff\x00\xe0\xfe\xff\xff\xff", length=0xFFFFFFFF),
    "item longer than its sequence": explicit(0x0040A730, "SQ", b"\xfe\xff\x00\xe0\xff\0\0\0" + bytes(20)),
    "a delimiter of nothing": b"\xfe\xff\xdd\xe0\0\0\0\0",
    "group 2": explicit(0x00020010, "UI", b"1.2"),
    "no such VR": b"\x28\0\x50\x10??\x04\0abcd",
    "half a header": b"\x28\0\x50",
}


@pytest.mark.parametrize("lie", LENGTHS)
def test_lengths_that_lie(target: Target, lie: str) -> None:
    image = head(list(LENGTHS).index(lie), "51")
    before = resident_kib(target.pid)
    status = send(target, image.dataset + LENGTHS[lie], uid=image.sop_instance)
    assert status >= 0xA700, hex(status)
    assert resident_kib(target.pid) - before < 16 * 1024


def test_deflate_bomb(target: Target) -> None:
    """2 GiB of zeros in 2 MB: stopped by ratio, not by patience."""
    image = head(1, "52")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeeze.compress(image.dataset + explicit(0x7FE00010, "OW", b"", length=0x7FFFFFFE))
    zeros = bytes(1 << 20)
    packed += b"".join(squeeze.compress(zeros) for _ in range(512)) + squeeze.flush()
    before = resident_kib(target.pid)
    status = send(target, packed, context_id=5, uid=image.sop_instance, seconds=30)
    assert status >= 0xA700 or status == -1
    assert resident_kib(target.pid) - before < 32 * 1024
    assert fetch(target.site, target.ct, image.study)[1] == {}


@pytest.mark.parametrize(
    "uid",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "1.2\\..\\3",
        "1.2%2f3",
        "",
        "1..2",
        "1." + "2" * 64,
        "$(id)",
        "१.२",
    ],
)
def test_uids_that_are_none(target: Target, uid: str) -> None:
    """In the command and in the data set, alike or different: refused, and no name of any file."""
    image = ct_slice(1, study="53", pixels=64, sop_instance=uid)
    assert send(target, image.dataset, uid=uid) != 0
    assert send(target, image.dataset, uid="1.2.3.9") != 0
    study = ct_slice(2, study="54", pixels=64, more=[(0x0020000D, "UI", uid.encode())])
    assert send(target, study.dataset, uid=study.sop_instance) != 0
    names = {path.name for path in target.site.root.rglob("*")}
    assert not any(word in name for name in names for word in ("passwd", "id)", "%2f", "१"))
    assert not list(target.site.root.parent.rglob("*passwd*"))


def test_uid_of_another_patient(target: Target) -> None:
    """Same SOP Instance UID, other content: refused, kept apart, on record; what was there stays (S59)."""
    mine, theirs = (
        ct_slice(1, study="55"),
        ct_slice(1, study="55", more=[(0x00100010, "PN", b"Other^Person")]),
    )
    assert send(target, mine.dataset, uid=mine.sop_instance) == 0
    assert send(target, mine.dataset, uid=mine.sop_instance) == 0
    assert send(target, theirs.dataset, uid=mine.sop_instance) == 0x0111
    assert fetch(target.site, target.ct, mine.study)[1] == {mine.sop_instance: mine.dataset}
    assert entries(target.site, "--event", "store:instance:quarantined", "--instance", mine.sop_instance)


def test_two_senders_of_one_uid(target: Target) -> None:
    """At the same moment, with other content: one wins, the others are told, and the winner is what is served (S60)."""
    for attempt in range(5):
        images = [ct_slice(attempt, study="56", marker=bytes((n,))) for n in range(4)]
        statuses: dict[int, int] = {}
        gate = threading.Barrier(len(images))

        def one(number: int, image: Slice, gate: threading.Barrier, statuses: dict[int, int]) -> None:
            with Peer(target.site, target.ct, seconds=20) as peer:
                peer.accepted(*SYNTAXES)
                gate.wait(20)
                statuses[number] = peer.store(image, context_id=1)

        threads = [
            threading.Thread(target=one, args=(n, image, gate, statuses)) for n, image in enumerate(images)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(statuses.values()) == [0, 0x0111, 0x0111, 0x0111]
        winner = images[next(number for number, status in statuses.items() if status == 0)]
        got = fetch(target.site, target.ct, winner.study)[1]
        assert got[winner.sop_instance] == winner.dataset


def part10(image: Slice, preamble: bytes) -> bytes:
    meta = (
        explicit(0x00020001, "OB", b"\0\x01")
        + explicit(0x00020002, "UI", CT.encode())
        + explicit(0x00020003, "UI", image.sop_instance.encode())
        + explicit(0x00020010, "UI", EXPLICIT.encode())
        + explicit(0x00020012, "UI", b"1.2.3")
    )
    return (
        preamble.ljust(128, b"\0")
        + b"DICM"
        + explicit(0x00020000, "UL", struct.pack("<I", len(meta)))
        + meta
        + image.dataset
    )


def test_polyglots_leave_without_their_other_tongue(target: Target, tmp_path: Path) -> None:
    """A preamble that is a program or a page: what goes out has 128 zeros there (S24)."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    preambles = (
        b"MZ\x90\0",
        b"\x7fELF\x02\x01\x01",
        b"<html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"#!/bin/sh\nid>/tmp/x",
    )
    for number, preamble in enumerate(preambles):
        image = ct_slice(number, study="57", pixels=64)
        (folder / f"$(touch pwned){number}`id`;.dcm").write_bytes(part10(image, preamble))
    report = target.site.on_site("import", str(folder))
    assert report["stored"] == len(preambles)
    study = ct_slice(0, study="57").study
    target.site.run("get", str(target.ct.toml), "--study", study, "--out", str(out), status=None)
    files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    for path in files:
        assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    if not files:  # whatever `get` is called: what is held has no preamble either
        assert len(fetch(target.site, target.ct, study)[1]) == len(preambles)
    assert not list(tmp_path.rglob("pwned*"))
    assert not Path("pwned").exists()


@pytest.mark.parametrize("context_id", [7, 9])
def test_decoder_that_crashes_takes_nobody_along(target: Target, context_id: int) -> None:
    """Frames that no decoder survives or accepts: a failed sub-operation, and the node is there (S26, S27, S28)."""
    study = f"{58 + context_id}"
    image = ct_slice(
        1,
        study=study,
        pixels=64,
        more=[
            (0x00280010, "US", b"\xff\xff"),
            (0x00280011, "US", b"\xff\xff"),
            (0x00280008, "IS", b"999999"),
        ],
    )
    head_only = image.dataset[: -64 - 12]
    frames = struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\0\0\0\0"
    junk = b"\xff\x4f\xff\x51" + b"\xff" * 2000
    frames += b"\xfe\xff\x00\xe0" + struct.pack("<I", len(junk)) + junk + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert send(target, head_only + frames, context_id=context_id, uid=image.sop_instance) == 0
    with Peer(target.site, target.ct, seconds=30) as peer:
        peer.accepted(*GETTING, more_user_items=role(CT))  # takes Explicit VR Little Endian only
        status, got, failed = peer.get(image.study)
    assert got == {}
    assert failed == 1
    assert status != 0


def test_log_lines_stay_lines(target: Target) -> None:
    """Line ends, escapes and JSON in names: one line an entry, and nothing a terminal would obey (S32)."""
    nasty = b'A"}\r\n\x1b[31m{"event":"x\x00'
    image = ct_slice(1, study="70", pixels=64, more=[(0x00100010, "PN", nasty), (0x00100020, "LO", nasty)])
    send(target, image.dataset, uid=image.sop_instance)
    with Peer(target.site, target.ct) as peer:
        try:
            peer.associate(calling=b'X"\n\x1b[2J{}')
        except Gone:
            pass
    shown = target.site.run("audit", "show", "--limit", "20", "--details", "--site", str(target.site.root))
    assert "\x1b" not in shown.stdout
    assert "\r" not in shown.stdout
    raw = target.site.run(
        "audit", "show", "--limit", "20", "--details", "--json", "--site", str(target.site.root)
    )
    assert "\x1b" not in raw.stdout
    journal = b"".join(p.read_bytes() for p in (target.site.root / "audit" / "journal").iterdir())
    # Whole sequences: two octets alone stand in what is sealed by chance.
    assert b"\x1b[31m" not in journal
    assert b"\x1b[2J" not in journal


def test_nothing_was_run(target: Target) -> None:
    """No child of the node but its decoder (S89)."""
    assert target.site.process is not None
    children = subprocess.run(
        ["ps", "--ppid", str(target.pid), "-o", "args="], capture_output=True, text=True, check=False
    )
    assert all("leadglass.dicom.transcode_main" in line for line in children.stdout.splitlines())
