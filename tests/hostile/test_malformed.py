"""Malformed and out of order: refused or aborted, never a crash, never a traceback (S11, S12, S13, S14, S15)."""

import random  # noqa: TID251 - a seeded sequence: the same streams each time

import pytest

from hostile.conftest import Target
from hostile.peer import (
    ABORT,
    ASSOCIATE_AC,
    C_ECHO,
    C_FIND,
    C_STORE,
    CT,
    DATA,
    EXPLICIT,
    FIND,
    IMPLICIT,
    NO_DATASET,
    RELEASE_RP,
    RELEASE_RQ,
    STORING,
    VERIFICATION,
    Gone,
    Peer,
    association_request,
    command,
    context,
    ct_slice,
    data_pdu,
    pdu,
    pdv,
    resident_kib,
    store_command,
)


def outcome(target: Target, *octets: bytes, associated: bool = True) -> list[int]:
    """Send octets; return the types of the PDUs that end it."""
    with Peer(target.site, target.ct, seconds=5) as peer:
        if associated:
            peer.accepted()
        try:
            peer.send(*octets)
            return peer.ended_by_node()
        except Gone:
            return []


@pytest.mark.parametrize(
    "contexts",
    [
        [context(i % 256, VERIFICATION, IMPLICIT) for i in range(10_000)],
        [context(1, VERIFICATION, IMPLICIT), context(1, CT, EXPLICIT)],
        [context(2, VERIFICATION, IMPLICIT)],
        [context(0, VERIFICATION, IMPLICIT)],
        [context(1, VERIFICATION)],
        [context(1, VERIFICATION, *[f"1.2.{i}" for i in range(1000)])],
        [context(1, "../../etc/passwd", IMPLICIT)],
        [context(1, "1" * 65, IMPLICIT)],
        [context(1, "", "")],
        [],
    ],
    ids=["10000", "twice", "even", "zero", "no syntax", "1000 syntaxes", "path", "65", "empty", "none"],
)
def test_presentation_contexts(target: Target, contexts: list[bytes]) -> None:
    request = association_request(b"CT1", b"LEADGLASS", contexts)
    kinds = outcome_of_request(target, request)
    assert kinds in ([], [ABORT], [ASSOCIATE_AC], [3])


def outcome_of_request(target: Target, request: bytes) -> list[int]:
    with Peer(target.site, target.ct, seconds=5) as peer:
        try:
            peer.send(request)
            return [peer.read_pdu()[0]]
        except Gone:
            return []


@pytest.mark.parametrize("kind", [1, 2, 3, 6, 8, 0, 0x42, 0xFF])
def test_out_of_order(target: Target, kind: int) -> None:
    body = association_request(b"CT1", b"LEADGLASS", STORING)[6:] if kind == 1 else bytes(4)
    assert outcome(target, pdu(kind, body)) == [ABORT]


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 8, 0xFF])
def test_before_any_association(target: Target, kind: int) -> None:
    assert outcome(target, pdu(kind, bytes(4)), associated=False) == [ABORT]


def test_abort_first(target: Target) -> None:
    assert outcome(target, pdu(ABORT, bytes(4)), associated=False) == []


ECHO: dict[int, int | str] = {0x0002: VERIFICATION, 0x0100: C_ECHO, 0x0110: 1, 0x0800: NO_DATASET}
STORE: dict[int, int | str] = {0x0002: CT, 0x0100: C_STORE, 0x0110: 1, 0x0700: 0, 0x0800: 1, 0x1000: "1.2.3"}
LIES = {
    "no command field": command({k: v for k, v in ECHO.items() if k != 0x0100}),
    "no message id": command({k: v for k, v in ECHO.items() if k != 0x0110}),
    "no data set type": command({k: v for k, v in ECHO.items() if k != 0x0800}),
    "no class": command({k: v for k, v in ECHO.items() if k != 0x0002}),
    "another class": command(ECHO | {0x0002: CT}),
    "group length short": command(ECHO, group_length=4),
    "group length long": command(ECHO, group_length=0xFFFFFFF0),
    "unknown command": command(ECHO | {0x0100: 0x7777}),
    "a response": command(ECHO | {0x0100: 0x8030, 0x0120: 1, 0x0900: 0}),
    "echo with a data set announced": command(ECHO | {0x0800: 1}),
    "store without data set": command(STORE | {0x0800: NO_DATASET}),
    "store without instance": command({k: v for k, v in STORE.items() if k != 0x1000}),
    "store of another class": command(STORE | {0x0002: VERIFICATION}),
    "store with a path": command(STORE | {0x1000: "../../etc/passwd"}),
    "store with NUL": command(STORE | {0x1000: "1.2\0.3"}),
    "store with a long UID": command(STORE | {0x1000: "1." * 60 + "1"}),
    "find on a storage context": command({0x0002: FIND, 0x0100: C_FIND, 0x0110: 1, 0x0700: 0, 0x0800: 1}),
    "cancel of nothing": command({0x0100: 0x0FFF, 0x0120: 99, 0x0800: NO_DATASET}),
    "nothing": b"",
    "half an element": b"\0\0\0\0\x04\0",
    "an element of 4 GiB": b"\0\0\0\x01\xff\xff\xff\xff" + bytes(50),
    "data of group 8": b"\x08\0\x18\0\x04\0\0\0abcd",
    "not ascending": command(ECHO)[12:] + command(ECHO),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("context_id", [1, 3])
def test_command_sets_that_lie(target: Target, lie: str, context_id: int) -> None:
    """Answered with a failure, ignored or aborted; success only where the context makes it true."""
    with Peer(target.site, target.ct, seconds=3) as peer:
        peer.accepted()
        try:
            peer.send(data_pdu(context_id, 3, LIES[lie]), data_pdu(context_id, 2, ct_slice(1).dataset))
            kind, body = peer.read_pdu()
        except Gone:
            return
        except TimeoutError:
            pytest.fail("neither answered nor ended")
    assert kind in {ABORT, DATA}
    if kind == DATA:
        status = body[6:].split(b"\0\0\0\x09\x02\0\0\0")[1][:2]
        assert status != b"\0\0" or lie in {"group length short", "group length long", "another class"}


def test_values_that_lie(target: Target) -> None:
    for values in (
        b"\0\0\0\0",  # a length of 0: no room for context and control
        b"\0\0\0\x01\x01",
        b"\xff\xff\xff\xff\x01\x03" + command(ECHO),  # longer than its PDU
        pdv(5, 3, command(ECHO)),  # a context that was never agreed
        pdv(0, 3, command(ECHO)),
        pdv(1, 2, b"abcd"),  # a data set without command
        pdv(1, 1, command(ECHO)[:10]) + pdv(3, 1, command(ECHO)[10:]),  # a message on two contexts
        b"",
    ):
        assert outcome(target, pdu(DATA, values)) in ([], [ABORT]), values


def test_another_command_in_the_middle_of_a_data_set(target: Target) -> None:
    half = data_pdu(3, 3, store_command(CT, "1.2.3")) + data_pdu(3, 0, ct_slice(1).dataset[:200])
    assert outcome(target, half, data_pdu(1, 3, command(ECHO))) in ([], [ABORT])
    assert outcome(target, half, pdu(RELEASE_RQ, bytes(4))) in ([], [ABORT], [RELEASE_RP])


@pytest.mark.parametrize("maximum", [0, 1, 7, 127, 128, 4096, 0xFFFFFFFF])
def test_maximum_length_of_the_peer(target: Target, maximum: int) -> None:
    """We send no longer PDU than it says, nor than we would; what is too small to be of use is refused."""
    with Peer(target.site, target.ct, seconds=5) as peer:
        try:
            kind, _ = peer.associate(context(1, FIND, EXPLICIT), maximum_length=maximum)
        except Gone:
            assert 0 < maximum < 128
            return
        if kind != ASSOCIATE_AC:
            assert 0 < maximum < 128
            return
        keys = b"\x08\0\x52\0CS\x06\0STUDY \x20\0\x0d\0UI\0\0"
        peer.send(
            data_pdu(1, 3, command({0x0002: FIND, 0x0100: C_FIND, 0x0110: 1, 0x0700: 0, 0x0800: 1})),
            data_pdu(1, 2, keys),
        )
        kind, body = peer.read_pdu()
        assert kind == DATA
        assert len(body) <= (min(maximum, 262_144) or 262_144)


def seeds() -> list[bytes]:
    image = ct_slice(1, study="41", pixels=256)
    request = association_request(b"CT1", b"LEADGLASS", STORING)
    store = data_pdu(3, 3, store_command(CT, image.sop_instance)) + data_pdu(3, 2, image.dataset)
    echo = data_pdu(1, 3, command(ECHO))
    return [request, request + echo, request + store, request + echo + store + pdu(RELEASE_RQ, bytes(4))]


def mutated(chance: random.Random, octets: bytes) -> bytes:
    """Change, drop, repeat or insert a few octets."""
    changed = bytearray(octets)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randint(1, 20)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randint(1, 20))
            case _:
                changed[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        if not changed:
            return b"\0"
    return bytes(changed)


@pytest.mark.slow
def test_500_mutated_streams(target: Target) -> None:
    """The node stays, its memory stays, and it says nothing in alarm."""
    chance = random.Random("streams")
    base = seeds()
    before = resident_kib(target.pid)
    for number in range(500):
        with Peer(target.site, target.ct, source=f"127.0.5.{number % 200 + 1}", seconds=5) as peer:
            try:
                peer.send(mutated(chance, chance.choice(base)))
                # What was cut may leave the node waiting: half of the streams end from our side.
                peer.sock.settimeout(0.01)
                peer.read_pdu()
                peer.read_pdu()
            except (Gone, TimeoutError):
                continue
    grown = resident_kib(target.pid) - before
    assert grown < 32 * 1024, grown
