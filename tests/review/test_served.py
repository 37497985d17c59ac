"""What a hostile review found on a node that is served, each as the test that found it."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fake_clock import FakeClock
from hostile.peer import (
    ABORT,
    ASSOCIATE_RJ,
    C_FIND,
    C_GET,
    C_MOVE,
    CT,
    DATA,
    EXPLICIT,
    FIND,
    IMPLICIT,
    NO_DATASET,
    RELEASE_RQ,
    VERIFICATION,
    Peer,
    association_request,
    command,
    context,
    ct_slice,
    data_pdu,
    explicit,
    pdu,
    store_command,
)
from leadglass.base.errors import PeerUnreachable
from leadglass.base.limits import ARTIM_SECONDS
from leadglass.doors.dimse.connection import Connection
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.outputs import AssociateRequested
from running_node import DeviceFiles, Site, site

CONTEXTS = (context(1, VERIFICATION, IMPLICIT), context(3, CT, EXPLICIT), context(5, FIND, EXPLICIT))
IDENTIFIER = explicit(0x00080052, "CS", b"STUDY") + explicit(0x0020000D, "UI", b"1.2.3")
SOP_CLASS_NOT_SUPPORTED = 0x0122
N_ACTION = 0x0130


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("review")) as made:
        yield made


@pytest.fixture(scope="module")
def device(node: Site) -> Iterator[DeviceFiles]:
    enrolled = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
    node.start()
    yield enrolled
    assert node.stop() == 0
    assert (node.root.parent / "serve.err").read_text() == ""


@pytest.mark.parametrize("context_id", [1, 3])
@pytest.mark.parametrize("field", [C_FIND, C_GET, C_MOVE])
def test_a_query_on_a_context_that_is_none_of_its_own(
    node: Site, device: DeviceFiles, field: int, context_id: int
) -> None:
    """C-FIND ended the thread with a KeyError."""
    asked: dict[int, int | str] = {0x0002: FIND, 0x0100: field, 0x0110: 1, 0x0700: 0, 0x0800: 1}
    if field == C_MOVE:
        asked[0x0600] = "CT1"
    with Peer(node, device) as peer:
        peer.accepted(*CONTEXTS)
        peer.send(data_pdu(context_id, 3, command(asked)), data_pdu(context_id, 2, IDENTIFIER))
        assert peer.status() == SOP_CLASS_NOT_SUPPORTED
        assert peer.echo() == 0


def test_an_object_on_a_context_for_queries(node: Site, device: DeviceFiles) -> None:
    with Peer(node, device) as peer:
        peer.accepted(*CONTEXTS)
        assert peer.store(ct_slice(1), 5) == SOP_CLASS_NOT_SUPPORTED
        assert peer.store(ct_slice(1), 3) == 0


@pytest.mark.parametrize("context_id", [3, 7])
def test_an_action_on_a_context_that_was_not_agreed_for_it(
    node: Site, device: DeviceFiles, context_id: int
) -> None:
    sop_class = "1.2.840.10008.1.20.1"
    asked: dict[int, int | str] = {
        0x0003: sop_class,
        0x0100: N_ACTION,
        0x0110: 1,
        0x0800: NO_DATASET,
        0x1001: "1.2",
        0x1008: 1,
    }
    with Peer(node, device) as peer:
        peer.accepted(*CONTEXTS)
        peer.send(data_pdu(context_id, 3, command(asked)))
        if context_id == 3:
            assert peer.status() == SOP_CLASS_NOT_SUPPORTED
        else:
            assert peer.ended_by_node() == [ABORT]


def test_a_release_in_the_middle_of_an_object(node: Site, device: DeviceFiles) -> None:
    """It was answered with C-STORE-RSP, the release was forgotten, and the node waited for a minute."""
    one = ct_slice(2)
    with Peer(node, device, seconds=5) as peer:
        peer.accepted(*CONTEXTS)
        peer.send(data_pdu(3, 3, store_command(CT, one.sop_instance)), data_pdu(3, 0, one.dataset[:400]))
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.ended_by_node() == [ABORT]


def test_the_index_is_not_made_anew_under_a_sender(node: Site, device: DeviceFiles) -> None:
    """Rows of its open pack were forgotten, and its pack was noted as closed: nobody would have replayed it."""
    one = ct_slice(3)
    with Peer(node, device) as peer:
        peer.accepted(*CONTEXTS)
        assert peer.store(one) == 0
        node.run("vault", "reindex", "--site", str(node.root), status=2)
        assert peer.store(ct_slice(4)) == 0
        peer.release()
    assert node.on_site("vault", "verify")["findings"] == []


class Torrent(socket.socket):
    """A peer that never stops sending; each read takes a second of the clock."""

    def __init__(self, clock: FakeClock, first: bytes) -> None:
        ours, self._other = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._clock = clock
        self._first = first
        self.reads = 0
        self._between = False

    def recv_into(self, buffer: memoryview, *_: object) -> int:  # type: ignore[override]  # as Connection calls it
        self._between = not self._between
        if not self._between:
            raise ssl.SSLWantReadError  # one record was there; the next comes at once
        self._clock.advance(1)
        self.reads += 1
        if self.reads > 10 * ARTIM_SECONDS:
            raise AssertionError("nobody looks at the clock")
        octets = self._first or struct.pack(">BxI", DATA, 6) + bytes((0, 0, 0, 2, 1, 0))
        self._first = b""
        count = min(len(octets), len(buffer))
        buffer[:count] = octets[:count]
        return count

    def close(self) -> None:
        self._other.close()
        super().close()


def test_a_peer_that_never_stops_sending_after_its_rejection() -> None:
    """ARTIM was asked only when there was nothing to read, so a revoked device could keep a thread busy for ever."""
    clock = FakeClock()
    sock = Torrent(clock, association_request(b"CT1", b"LEADGLASS", CONTEXTS))
    connection = Connection(sock, Association(), clock)  # type: ignore[arg-type]  # what Connection uses of it is there
    connection.perform(connection.association.transport_connected())
    while not isinstance(connection.next_event(), AssociateRequested):
        pass
    connection.perform(connection.association.reject(1, 1, 3))
    while connection.is_open:
        with suppress(PeerUnreachable):
            connection.next_event()
    assert sock.reads <= ARTIM_SECONDS + 5


def test_a_user_who_proves_nothing_is_rejected_and_on_record(node: Site, device: DeviceFiles) -> None:
    """Whoever named a user got a closed connection, and the record got nothing."""
    name, passcode = b"somebody", b"secret"
    claim = struct.pack(">BBH", 2, 1, len(name)) + name + struct.pack(">H", len(passcode)) + passcode
    with Peer(node, device) as peer:
        peer.send(
            association_request(
                b"CT1",
                b"LEADGLASS",
                CONTEXTS,
                more_user_items=struct.pack(">BxH", 0x58, len(claim)) + claim,
            )
        )
        assert peer.ended_by_node() == [ASSOCIATE_RJ]
    shown = node.on_site("audit", "show", "--event", "association:peer:refused")["entries"]
    assert "user is unknown" in shown[0]["facts"]["reason"]
    with Peer(node, device) as peer:
        assert peer.accepted(*CONTEXTS).echo() == 0
