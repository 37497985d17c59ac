"""One association over real TLS; time passes only when told."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import OutOfResources, PeerRefused, PeerUnreachable
from leadglass.base.limits import ARTIM_SECONDS, IDENTIFIER_BYTES_MAX, IDLE_SECONDS
from leadglass.doors.dimse import requestor
from leadglass.doors.dimse.connection import Connection
from leadglass.doors.dimse.requestor import Peer, associate
from leadglass.trust.certs.tls import wrap_client
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import CEchoRQ, CFindRQ, encode
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.negotiation import LocalParameters, Roles, negotiate
from leadglass.wire.ul.outputs import Aborted, AssociateAccepted, AssociateRequested, ProtocolViolation
from leadglass.wire.ul.pdu import AssociateRQ, PresentationContextRQ, UserInformation
from trust.certs.loopback import Site

VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT = "1.2.840.10008.1.2.1"
LOCAL = LocalParameters("1.2.3.4", "TEST")
REQUEST = AssociateRQ(
    called_ae_title="NODE",
    calling_ae_title="CT1",
    presentation_contexts=(
        PresentationContextRQ(1, VERIFICATION, (EXPLICIT,)),
        PresentationContextRQ(3, FIND, (EXPLICIT,)),
    ),
    user_information=UserInformation(
        maximum_length=16384, implementation_class_uid="1.2.3.4", implementation_version_name="TEST"
    ),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def pair(site: Site) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Two ends of one TLS connection with certificates from both sides: acceptor, requestor."""
    here, there = socket.socketpair()
    wrapped: list[ssl.SSLSocket] = []
    context = site.server()
    thread = threading.Thread(target=lambda: wrapped.append(context.wrap_socket(here, server_side=True)))
    thread.start()
    device = site.authority.issue_device("ct1")
    client = wrap_client(there, site.client(device), "localhost", ())
    thread.join(10)
    yield wrapped[0], client
    wrapped[0].close()
    client.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def acceptor(pair: tuple[ssl.SSLSocket, ssl.SSLSocket], clock: FakeClock) -> Connection:
    made = Connection(pair[0], Association(), clock)
    made.perform(made.association.transport_connected())
    return made


@pytest.fixture
def caller(pair: tuple[ssl.SSLSocket, ssl.SSLSocket], acceptor: Connection, clock: FakeClock) -> Connection:
    """Return the requestor's end of an association that both have agreed to."""
    made = Connection(pair[1], Association(), clock)
    made.perform(made.association.request(REQUEST))
    made.perform(made.association.transport_connected())
    asked = acceptor.next_event()
    assert isinstance(asked, AssociateRequested)
    offers = {VERIFICATION: (EXPLICIT,), FIND: (EXPLICIT,)}
    roles: dict[str, Roles] = {}
    acceptor.perform(acceptor.association.accept(negotiate(asked.rq, offers, local=LOCAL, roles=roles)))
    assert isinstance(made.next_event(), AssociateAccepted)
    return made


def test_a_command_comes_across(caller: Connection, acceptor: Connection) -> None:
    caller.send_message(1, CEchoRQ(7, VERIFICATION))
    event = acceptor.next_event()
    assert isinstance(event, CommandReceived)
    assert event.message == CEchoRQ(7, VERIFICATION)
    assert acceptor.poll_event() is None


@pytest.mark.parametrize("pieces", [1, 2, 17])
def test_a_data_set_in_any_cut(caller: Connection, acceptor: Connection, pieces: int) -> None:
    whole = bytes(range(256)) * 400
    step = -(-len(whole) // pieces)
    reused = bytearray(step)

    def cut() -> Iterator[memoryview]:
        for start in range(0, len(whole), step):
            piece = whole[start : start + step]
            reused[: len(piece)] = piece
            yield memoryview(reused)[: len(piece)]

    sending = threading.Thread(target=caller.send_message, args=(3, CFindRQ(1, FIND), cut()))
    sending.start()
    assert isinstance(acceptor.next_event(), CommandReceived)
    assert b"".join(bytes(chunk) for chunk in acceptor.dataset()) == whole
    sending.join(10)


def test_an_identifier_that_is_too_large_is_read_to_its_end(caller: Connection, acceptor: Connection) -> None:
    large = (bytes(1 << 20) for _ in range((IDENTIFIER_BYTES_MAX >> 20) + 1))

    def send() -> None:
        caller.send_message(3, CFindRQ(1, FIND), large)
        caller.send_message(1, CEchoRQ(2, VERIFICATION))

    sending = threading.Thread(target=send)
    sending.start()
    acceptor.next_event()
    with pytest.raises(OutOfResources):
        acceptor.small_dataset()
    event = acceptor.next_event()
    assert isinstance(event, CommandReceived)
    assert isinstance(event.message, CEchoRQ)
    sending.join(10)


# --- time --------------------------------------------------------------------------------------------------------


def test_who_asks_for_nothing_is_closed_when_artim_expires(acceptor: Connection, clock: FakeClock) -> None:
    clock.advance(ARTIM_SECONDS + 1)
    with pytest.raises(PeerUnreachable):
        acceptor.next_event()
    assert not acceptor.is_open


def test_silence_ends_an_association(caller: Connection, acceptor: Connection, clock: FakeClock) -> None:
    clock.advance(IDLE_SECONDS + 1)
    assert isinstance(acceptor.next_event(), ProtocolViolation)
    assert not acceptor.is_open
    assert isinstance(caller.next_event(), Aborted)


def test_what_arrived_in_time_is_dealt_with_before_the_time_is_looked_at(
    caller: Connection, acceptor: Connection, clock: FakeClock
) -> None:
    caller.send_message(1, CEchoRQ(1, VERIFICATION))
    clock.advance(IDLE_SECONDS + 1)
    assert isinstance(acceptor.next_event(), CommandReceived)


def test_single_octets_earn_no_time(
    pair: tuple[ssl.SSLSocket, ssl.SSLSocket], caller: Connection, acceptor: Connection, clock: FakeClock
) -> None:
    """A slow loris: an octet now and then, each well within the idle time."""
    pdu = b"\x04\x00" + (1000).to_bytes(4, "big") + bytes(200)
    for octet in pdu[:8]:
        pair[1].sendall(bytes((octet,)))
        clock.advance(IDLE_SECONDS / 7)
        acceptor.poll_event()
    assert isinstance(acceptor.next_event(), ProtocolViolation)


def test_a_message_restarts_the_timer(caller: Connection, acceptor: Connection, clock: FakeClock) -> None:
    for number in range(1, 5):
        clock.advance(IDLE_SECONDS * 0.9)
        caller.send_message(1, CEchoRQ(number, VERIFICATION))
        assert isinstance(acceptor.next_event(), CommandReceived)
        acceptor.restart_idle_timer()


def test_a_peer_that_does_not_read(caller: Connection, acceptor: Connection, clock: FakeClock) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            clock.advance(1)
            yield bytes(1 << 20)

    acceptor._idle_seconds = 0.2  # the fake clock stands still while the kernel waits for room
    with pytest.raises(PeerUnreachable):
        acceptor.send_message(3, CFindRQ(1, FIND), endless())
    assert not acceptor.is_open


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_lost_connection_in_the_middle_of_a_data_set(
    pair: tuple[ssl.SSLSocket, ssl.SSLSocket], caller: Connection, acceptor: Connection
) -> None:
    for buffer in caller.association.data(3, is_command=True, payload=encode(CFindRQ(1, FIND))):
        pair[1].sendall(buffer)
    for buffer in caller.association.data(3, is_command=False, payload=b"x" * 100, is_last=False):
        pair[1].sendall(buffer)
    caller.close()
    assert isinstance(acceptor.next_event(), CommandReceived)
    with pytest.raises(PeerUnreachable):
        acceptor.small_dataset()


def test_nothing_is_sent_after_the_end(caller: Connection, acceptor: Connection) -> None:
    caller.abort()
    caller.abort()
    with pytest.raises(PeerUnreachable):
        caller.send_message(1, CEchoRQ(1, VERIFICATION))
    assert isinstance(acceptor.next_event(), Aborted)
    with pytest.raises(PeerUnreachable):
        acceptor.next_event()


def test_garbage_is_a_violation_and_an_abort(
    pair: tuple[ssl.SSLSocket, ssl.SSLSocket], caller: Connection, acceptor: Connection
) -> None:
    pair[1].sendall(b"\x09\x00" + bytes(4))
    assert isinstance(acceptor.next_event(), ProtocolViolation)
    assert isinstance(acceptor.poll_event(), Aborted)  # our answer goes out as the next event is asked for
    assert isinstance(caller.next_event(), Aborted)


# --- the requestor -----------------------------------------------------------------------------------------------


def peer_of(site: Site, port: int) -> Peer:
    device = site.authority.issue_device("ct1")
    return Peer("localhost", port, "NODE", "CT1", site.client(device))


@pytest.mark.parametrize(("rejection", "words"), requestor._REJECTIONS.items())
def test_a_rejection_is_told_in_words(site: Site, rejection: tuple[int, int, int], words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reject() -> None:
            raw, _ = listener.accept()
            there = Connection(site.server().wrap_socket(raw, server_side=True), Association(), FakeClock())
            there.perform(there.association.transport_connected())
            there.next_event()
            there.perform(there.association.reject(*rejection))
            with pytest.raises(PeerUnreachable):
                there.next_event()
            there.close()

        thread = threading.Thread(target=reject)
        thread.start()
        peer = peer_of(site, listener.getsockname()[1])
        contexts = (PresentationContextRQ(1, VERIFICATION, (EXPLICIT,)),)
        with (
            pytest.raises(PeerRefused) as refused,
            associate(peer, contexts, clock=FakeClock(), local=LOCAL),
        ):
            pass
        thread.join(10)
        assert str(refused.value) == f"association rejected: {words}"


def test_nobody_there(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        pytest.raises(PeerUnreachable, match=f"localhost port {port}"),
        associate(peer_of(site, port), (), clock=FakeClock(), local=LOCAL),
    ):
        pass
