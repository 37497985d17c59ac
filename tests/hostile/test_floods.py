"""Many, slow and silent peers: who means it is served all the same (S6, S7, S8, S9)."""

import ssl
import threading
import time
from contextlib import ExitStack

import pytest

from hostile.conftest import Target
from hostile.peer import (
    ABORT,
    CT,
    DATA,
    STORING,
    Gone,
    Peer,
    association_request,
    command,
    connect,
    ct_slice,
    data_pdu,
    pdu,
    pdv,
    resident_kib,
    store_command,
)

MIB = 1024


def timed_echo(target: Target, source: str) -> float:
    started = time.perf_counter()
    with Peer(target.site, target.ct, source=source) as peer:
        assert peer.accepted().echo() == 0
        peer.release()
    return time.perf_counter() - started


@pytest.mark.parametrize("sources", [8, 1])
def test_200_silent_connections_delay_nobody(target: Target, sources: int) -> None:
    """They never begin a handshake. The echo comes from an address of its own, and from one of theirs."""
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(
                connect(target.site.port, None, source=f"127.0.1.{number % sources + 1}", seconds=2)
            )
        assert timed_echo(target, "127.0.0.1") < 1
        assert timed_echo(target, "127.0.1.1") < 1


def test_200_halves_of_a_handshake(target: Target) -> None:
    tls = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    hello = context.wrap_bio(*tls)
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    first = tls[1].read()
    with ExitStack() as stack:
        for number in range(200):
            sock = stack.enter_context(connect(target.site.port, None, source=f"127.0.2.{number % 8 + 1}"))
            sock.sendall(first[: len(first) // 2])
        assert timed_echo(target, "127.0.0.1") < 1


def test_associations_that_are_never_asked_for(target: Target) -> None:
    """An enrolled device that only connects holds the places of its own address, and of nobody else's."""
    with ExitStack() as stack:
        for number in range(40):
            try:
                peer = stack.enter_context(Peer(target.site, target.other, source="127.0.3.1"))
                peer.send(association_request(b"OTHER", b"LEADGLASS", STORING)[: number + 1])
            except (Gone, OSError):
                continue  # beyond its share
        assert timed_echo(target, "127.0.0.1") < 1


def test_one_octet_at_a_time_is_served(target: Target) -> None:
    """Slow because it is small, not because it is hostile: every octet in a TLS record of its own."""
    request = association_request(b"CT1", b"LEADGLASS", STORING)
    image = ct_slice(1, study="31", pixels=64)
    message = data_pdu(3, 3, store_command(CT, image.sop_instance)) + data_pdu(3, 2, image.dataset)
    with Peer(target.site, target.ct) as peer:
        for octet in request:
            peer.send(bytes((octet,)))
        assert peer.read_pdu()[0] == 2
        for octet in message:
            peer.send(bytes((octet,)))
        assert peer.status() == 0
        peer.release()


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7, 0xFF])
@pytest.mark.parametrize("associated", [False, True])
def test_pdu_of_4_gib(target: Target, kind: int, associated: bool) -> None:
    """A header that promises 4 GiB, and then a dribble: ended at once or bounded, and no memory taken for it."""
    before = resident_kib(target.pid)
    with Peer(target.site, target.ct) as peer:
        if associated:
            peer.accepted()
        try:
            peer.send(pdu(kind, b"\0" * 1000, length=0xFFFFFFFF))
            kinds = peer.ended_by_node()
        except Gone:
            kinds = []
    assert kinds in ([], [ABORT])
    assert resident_kib(target.pid) - before < 32 * MIB


def test_fragments_without_end(target: Target) -> None:
    """A command that never ends is cut at 64 KiB; a data set that never names its study, at 16 MiB."""
    before = resident_kib(target.pid)
    with Peer(target.site, target.ct) as peer:
        peer.accepted()
        try:
            for _ in range(200):
                peer.send(data_pdu(1, 1, b"\0" * 4096))
            assert peer.ended_by_node() in ([], [ABORT])
        except Gone:
            pass
    with Peer(target.site, target.ct, seconds=30) as peer:
        peer.accepted()
        peer.send(data_pdu(3, 3, store_command(CT, "1.2.3")))
        # One private element of 1 GiB: legal so far, and nothing that is needed to file it.
        peer.send(data_pdu(3, 0, b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\x09\x00\x10\x00LO\x04\x00TEST"))
        peer.send(data_pdu(3, 0, b"\x09\x00\x01\x10OB\0\0\x00\x00\x00\x40"))
        chunk = data_pdu(3, 0, b"\0" * 65536) * 16
        try:
            for _ in range(24):
                peer.send(chunk)
            peer.send(data_pdu(3, 2, b"\0\0"))
            assert peer.status() >= 0xA700
        except Gone:
            pass
    assert resident_kib(target.pid) - before < 64 * MIB


def test_empty_fragments(target: Target) -> None:
    """100,000 values of no octets: they cost the peer more than us."""
    with Peer(target.site, target.ct) as peer:
        peer.accepted()
        many = pdu(DATA, pdv(1, 1, b"") * 500)
        try:
            for _ in range(200):
                peer.send(many)
            peer.send(
                data_pdu(
                    1, 3, command({0x0002: "1.2.840.10008.1.1", 0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101})
                )
            )
            peer.read_pdu()
        except Gone:
            pass
    assert timed_echo(target, "127.0.0.1") < 2


def test_many_associations_at_once(target: Target) -> None:
    """Thirty at once, each storing: all are served."""
    statuses: list[int] = []

    def one(number: int) -> None:
        with Peer(target.site, target.ct, source=f"127.0.4.{number}", seconds=60) as peer:
            peer.accepted()
            statuses.extend(peer.store(ct_slice(number * 10 + i, study="32", pixels=640)) for i in range(3))
            peer.release()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [0] * 90
