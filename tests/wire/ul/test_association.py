"""The machine: conversations, every cut of the stream, every event in every state, and bounds of memory."""

import contextlib
import struct
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError
from leadglass.base.limits import ASSOCIATE_BYTES_MAX, MIB, PDU_BYTES_MAX, PEER_PDU_BYTES_MIN
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.codec import encode
from leadglass.wire.ul.negotiation import accepted_contexts
from leadglass.wire.ul.outputs import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    CloseConnection,
    DataFragment,
    OpenConnection,
    Output,
    ProtocolViolation,
    ReleaseConfirmed,
    ReleaseRequested,
    Send,
    StartArtim,
    StopArtim,
)
from leadglass.wire.ul.pdu import (
    PDU,
    Abort,
    AssociateRJ,
    PresentationContextAC,
    ReleaseRP,
    ReleaseRQ,
)
from leadglass.wire.ul.state import TRANSITIONS, Event, State
from wire.playbook import (
    AC,
    CT,
    RQ,
    Playbook,
    acceptor,
    drain,
    joined,
    requestor,
    violation,
    with_maximum_length,
)
from wire.ul.pdus import pdus


def pdv(data: bytes, *, context_id: int = 1, control: int = 2) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def p_data(*values: bytes) -> bytes:
    return struct.pack(">BxI", 4, sum(map(len, values))) + b"".join(values)


def fragment(
    data: bytes, *, is_command: bool = False, is_last: bool = True, context_id: int = 1
) -> DataFragment:
    return DataFragment(context_id, is_command, is_last, memoryview(data))


def send(pdu: PDU) -> Send:
    return Send(encode(pdu))


# --- conversations -------------------------------------------------------------------------------------------------


def test_an_acceptor_from_the_first_octet_to_the_last() -> None:
    book = Playbook(Association())
    book >> Association.transport_connected << StartArtim()
    book >> RQ << StopArtim() << AssociateRequested(RQ)
    book >> (lambda a: a.accept(AC)) << send(AC)
    book >> p_data(pdv(b"command!", control=3)) << fragment(b"command!", is_command=True)
    book >> ReleaseRQ() << ReleaseRequested()
    book >> Association.respond_release << send(ReleaseRP()) << StartArtim()
    book >> Association.connection_lost << StopArtim()
    book.done()
    assert book.association.closed
    assert drain(book.association.connection_lost()) == []


def test_a_requestor_from_the_first_octet_to_the_last() -> None:
    book = Playbook(Association())
    book >> (lambda a: a.request(RQ)) << OpenConnection()
    book >> Association.transport_connected << send(RQ)
    book >> AC << AssociateAccepted(AC, accepted_contexts(RQ, AC))
    book >> Association.release << send(ReleaseRQ())
    book >> p_data(pdv(b"late")) << fragment(b"late")
    book >> ReleaseRP() << ReleaseConfirmed() << CloseConnection()
    book.done()
    assert book.association.closed


def test_a_rejection_by_the_user() -> None:
    book = Playbook(Association())
    book >> Association.transport_connected << StartArtim()
    book >> RQ << StopArtim() << AssociateRequested(RQ)
    book >> (lambda a: a.reject(1, 1, 7)) << send(AssociateRJ(1, 1, 7)) << StartArtim()
    book >> Association.artim_expired << StopArtim() << CloseConnection()
    book.done()


def test_another_protocol_version_is_rejected_by_the_provider() -> None:
    book = Playbook(Association())
    book >> Association.transport_connected << StartArtim()
    book >> replace(RQ, protocol_version=2) << StopArtim() << send(AssociateRJ(1, 2, 2)) << StartArtim()
    book.done()
    assert book.association.state is State.STA13


def test_a_requestor_is_rejected() -> None:
    book = Playbook(Association())
    book >> (lambda a: a.request(RQ)) << OpenConnection()
    book >> Association.transport_connected << send(RQ)
    book >> AssociateRJ(1, 1, 3) << AssociateRejected(AssociateRJ(1, 1, 3)) << CloseConnection()
    book.done()


def test_a_silent_peer_is_dropped_when_artim_expires() -> None:
    book = Playbook(Association())
    book >> Association.transport_connected << StartArtim()
    book >> Association.artim_expired << StopArtim() << CloseConnection()
    book.done()


def test_a_release_collision_of_both_sides() -> None:
    ours = Playbook(requestor())
    ours >> Association.release << send(ReleaseRQ())
    ours >> ReleaseRQ() << ReleaseRequested()
    assert ours.association.state is State.STA9
    ours >> Association.respond_release << send(ReleaseRP())
    ours >> ReleaseRP() << ReleaseConfirmed() << CloseConnection()
    theirs = Playbook(acceptor())
    theirs >> Association.release << send(ReleaseRQ())
    theirs >> ReleaseRQ() << ReleaseRequested()
    assert theirs.association.state is State.STA10
    theirs >> ReleaseRP() << ReleaseConfirmed()
    theirs >> Association.respond_release << send(ReleaseRP()) << StartArtim()
    ours.done()
    theirs.done()


def test_an_abort_of_the_peer() -> None:
    book = Playbook(acceptor())
    book >> Abort(0, 0) << Aborted(0, 0) << CloseConnection()
    book.done()


def test_an_abort_of_ours() -> None:
    book = Playbook(acceptor())
    book >> Association.abort << send(Abort(0, 0)) << StartArtim()
    book >> p_data(pdv(b"still under way"))
    book >> ReleaseRP()
    book >> Abort(0, 0) << StopArtim() << CloseConnection()
    book.done()


def test_a_connection_that_goes_without_a_word() -> None:
    book = Playbook(acceptor())
    book >> Association.connection_lost << Aborted(2, 0, connection_lost=True)
    book.done()


@pytest.mark.parametrize("unexpected", [RQ, AC, AssociateRJ(1, 1, 1), ReleaseRP()])
def test_a_pdu_out_of_its_turn(unexpected: PDU) -> None:
    book = Playbook(acceptor())
    book >> encode(unexpected)
    book << violation(2) << send(Abort(2, 2)) << Aborted(2, 2) << StartArtim()
    book.done()


@pytest.mark.parametrize(
    ("name", "octets", "reason"),
    [
        ("an unknown type", b"\x08\0\0\0\0\x04", 1),
        ("http", b"GET / HTTP/1.1\r\n\r\n", 1),
        ("longer than announced", struct.pack(">BxI", 4, PDU_BYTES_MAX + 1), 6),
        ("4 GiB", struct.pack(">BxI", 4, 2**32 - 1), 6),
        ("no value", struct.pack(">BxI", 4, 0), 6),
        ("less than a header", struct.pack(">BxI", 4, 5), 6),
        ("a value beyond its PDU", struct.pack(">BxIIBB", 4, 8, 5, 1, 2), 6),
        ("a value of 1", struct.pack(">BxIIBB", 4, 8, 1, 1, 2), 6),
        ("a tail of 3", struct.pack(">BxIIBB", 4, 9, 2, 1, 2), 6),
        ("a context that was not agreed", p_data(pdv(b"xx", context_id=5)), 6),
        ("an even context", p_data(pdv(b"xx", context_id=2)), 6),
        ("a release of 5", struct.pack(">BxI", 5, 5), 6),
        ("a request of 4 GiB", struct.pack(">BxI", 1, 2**32 - 1), 6),
    ],
)
def test_nonsense_is_refused_when_its_header_is_read(name: str, octets: bytes, reason: int) -> None:
    book = Playbook(acceptor())
    book >> octets
    book << violation(reason) << send(Abort(2, reason)) << Aborted(2, reason) << StartArtim()
    book >> p_data(pdv(b"what follows is dropped"))
    book.done()


def test_an_answer_that_was_not_asked_for() -> None:
    book = Playbook(Association())
    book >> (lambda a: a.request(RQ)) << OpenConnection()
    book >> Association.transport_connected << send(RQ)
    book >> replace(
        AC, presentation_contexts=(PresentationContextAC(7, AC.presentation_contexts[0].result, "1.2"),)
    )
    book << violation(6) << send(Abort(2, 6)) << Aborted(2, 6) << StartArtim()
    book.done()


def test_a_maximum_length_too_small_to_be_of_use() -> None:
    book = Playbook(Association())
    book >> Association.transport_connected << StartArtim()
    book >> with_maximum_length(RQ, PEER_PDU_BYTES_MIN - 1)
    book << violation(6) << send(Abort(0, 0)) << StartArtim()
    book.done()


def test_what_we_answer_meets_the_state_that_we_have_seen() -> None:
    """A data set and the abort behind it come in one recv: the response can still be made."""
    association = acceptor()
    outputs = iter(drainless(association, p_data(pdv(b"data")) + encode(Abort(0, 0))))
    assert isinstance(next(outputs), DataFragment)
    assert association.data(1, is_command=True, payload=b"response")
    assert next(outputs) == Aborted(0, 0)
    assert next(outputs) == CloseConnection()
    with pytest.raises(LocalProtocolError):
        association.data(1, is_command=True, payload=b"response")


def drainless(association: Association, data: bytes) -> Iterable[Output]:
    return association.receive(data)


def test_after_our_abort_no_fragment_of_the_same_recv_comes_out() -> None:
    association = acceptor()
    outputs = iter(association.receive(p_data(pdv(b"one", control=0), pdv(b"two")) + p_data(pdv(b"three"))))
    assert isinstance(next(outputs), DataFragment)
    association.abort()
    assert list(outputs) == []


def test_after_the_connection_is_lost_nothing_of_the_same_recv_comes_out() -> None:
    association = acceptor()
    outputs = iter(association.receive(p_data(pdv(b"one")) + encode(ReleaseRQ())))
    assert isinstance(next(outputs), DataFragment)
    association.connection_lost()
    assert list(outputs) == []


def test_garbage_behind_an_abort_says_nothing() -> None:
    assert list(acceptor().receive(encode(Abort(0, 0)) + b"\xff" * 20)) == [Aborted(0, 0), CloseConnection()]


def test_outputs_that_are_not_taken_are_noticed() -> None:
    association = acceptor()
    association.receive(p_data(pdv(b"one")))
    with pytest.raises(LocalProtocolError):
        association.get_buffer()
    with pytest.raises(LocalProtocolError):
        association.receive(b"")


# --- any cut of the stream -----------------------------------------------------------------------------------------

STREAM = (
    p_data(pdv(b"command 1", control=3))
    + p_data(pdv(b"data" * 50, control=0), pdv(b"", control=0), pdv(b"end"))
    + p_data(pdv(b"", control=2), pdv(b"verify", context_id=3, control=3))
    + encode(ReleaseRQ())
)


def normal(outputs: Iterable[Output]) -> list[object]:
    """Join the pieces of a value that was cut, and drop empty ones that say nothing."""
    result: list[object] = []
    for output in outputs:
        if isinstance(output, AssociateRequested):
            result.append(encode(output.rq))  # secrets have no equality
            continue
        if not isinstance(output, DataFragment):
            result.append(output if not isinstance(output, ProtocolViolation) else output.error.abort_reason)
            continue
        context_id, is_command, is_last, data = output
        last = result[-1] if result else None
        if isinstance(last, list) and last[:3] == [context_id, is_command, False]:
            result[-1] = [context_id, is_command, is_last, last[3] + bytes(data)]
        elif data or is_last:
            result.append([context_id, is_command, is_last, bytes(data)])
    return result


def by_buffer(association: Association, octets: bytes) -> Iterable[Output]:
    """Through the receive buffer, as a driver does; fragments are copied before the buffer is used again."""
    position = 0
    while position < len(octets):
        buffer = association.get_buffer()
        count = min(len(buffer), len(octets) - position)
        buffer[:count] = octets[position : position + count]
        position += count
        for output in association.buffer_updated(count):
            yield (
                output._replace(data=memoryview(bytes(output.data)))
                if isinstance(output, DataFragment)
                else output
            )


WHOLE = normal(acceptor().receive(STREAM))


@pytest.mark.parametrize("take", [Association.receive, by_buffer])
def test_octet_by_octet(take: Callable[[Association, bytes], Iterable[Output]]) -> None:
    association = acceptor()
    assert (
        normal(out for i in range(len(STREAM)) for out in list(take(association, STREAM[i : i + 1]))) == WHOLE
    )
    assert len(WHOLE) == 5


@given(st.sets(st.integers(0, len(STREAM)), max_size=12), st.booleans())
def test_any_cut_gives_the_same(cuts: set[int], buffered: bool) -> None:
    association = acceptor()
    take = by_buffer if buffered else Association.receive
    pieces = [STREAM[a:b] for a, b in pairwise(sorted({0, len(STREAM), *cuts}))]
    assert normal(out for piece in pieces for out in list(take(association, piece))) == WHOLE


@given(st.lists(st.one_of(pdus.map(encode), st.binary(max_size=60), st.just(STREAM)), max_size=4), st.data())
def test_garbage_never_raises_and_any_cut_of_it_gives_the_same(
    parts: list[bytes], data: st.DataObject
) -> None:
    octets = b"".join(parts)
    for make in (Association, acceptor, requestor):
        whole, cut = make(), make()
        if make is Association:
            whole.transport_connected()
            cut.transport_connected()
        at = data.draw(st.integers(0, len(octets)))
        expected = normal(whole.receive(octets))
        assert normal([*list(cut.receive(octets[:at])), *list(cut.receive(octets[at:]))]) == expected
        assert whole.state is cut.state


# --- every state, every event --------------------------------------------------------------------------------------


def in_state(state: State) -> Association:
    """Return a machine in that state, brought there by a conversation."""
    association = Association()
    if state is State.STA1:
        return association
    if state in {State.STA2, State.STA3}:
        association.transport_connected()
        if state is State.STA3:
            drain(association.receive(encode(RQ)))
        return association
    if state in {State.STA4, State.STA5}:
        association.request(RQ)
        if state is State.STA5:
            association.transport_connected()
        return association
    association = acceptor() if state in {State.STA10, State.STA12} else requestor()
    if state in {State.STA7, State.STA9, State.STA10, State.STA11, State.STA12}:
        association.release()
    if state in {State.STA8, State.STA9, State.STA10, State.STA11, State.STA12}:
        drain(association.receive(encode(ReleaseRQ())))
    if state is State.STA11:
        association.respond_release()
    if state is State.STA12:
        drain(association.receive(encode(ReleaseRP())))
    if state is State.STA13:
        association.abort()
    return association


PRIMITIVES: dict[Event, Callable[[Association], Iterable[Output]]] = {
    Event.EVT1: lambda a: a.request(RQ),
    Event.EVT7: lambda a: a.accept(AC),
    Event.EVT8: lambda a: a.reject(1, 1, 1),
    Event.EVT11: Association.release,
    Event.EVT14: Association.respond_release,
    Event.EVT15: Association.abort,
    Event.EVT18: Association.artim_expired,
}
RECEIVED: dict[Event, bytes] = {
    Event.EVT3: encode(AC),
    Event.EVT4: encode(AssociateRJ(1, 1, 1)),
    Event.EVT6: encode(RQ),
    Event.EVT10: p_data(pdv(b"data")),
    Event.EVT12: encode(ReleaseRQ()),
    Event.EVT13: encode(ReleaseRP()),
    Event.EVT16: encode(Abort(0, 0)),
    Event.EVT19: b"\xff" * 6,
}


@pytest.mark.parametrize("state", list(State))
def test_the_conversations_reach_every_state(state: State) -> None:
    assert in_state(state).state is state


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", [*PRIMITIVES, *RECEIVED, Event.EVT9, Event.EVT17])
def test_every_event_in_every_state_is_in_the_table_or_our_bug(event: Event, state: State) -> None:
    association = in_state(state)

    def act() -> None:
        if event in RECEIVED:
            drain(association.receive(RECEIVED[event]))
        elif event is Event.EVT9:
            association.data(1, is_command=True, payload=b"data")
        elif event is Event.EVT17:
            association.connection_lost()
        else:
            drain(list(PRIMITIVES[event](association)))

    transition = TRANSITIONS.get((event, state))
    if transition is None:
        with pytest.raises(LocalProtocolError):
            act()
        assert association.state is state
    else:
        act()
        expected = transition.next_state
        if event is Event.EVT12 and state is State.STA7:
            assert expected is State.STA9  # a requestor: in_state makes one for STA7
        assert association.state is expected


@pytest.mark.parametrize("state", [State.STA4, *(s for s in State if s > State.STA1)])
def test_a_connection_is_opened_once(state: State) -> None:
    association = in_state(state)
    if state is State.STA4:
        association.transport_connected()
    with pytest.raises(LocalProtocolError):
        association.transport_connected()


def test_an_association_is_not_used_again() -> None:
    association = acceptor()
    association.connection_lost()
    with pytest.raises(LocalProtocolError):
        association.request(RQ)
    with pytest.raises(LocalProtocolError):
        association.transport_connected()


# --- what we send --------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 100_000), st.sampled_from([0, PEER_PDU_BYTES_MIN, 129, 16384, 2**32 - 1]), st.booleans()
)
@settings(max_examples=40)
def test_data_are_cut_to_what_the_peer_takes(size: int, peer_max: int, is_command: bool) -> None:
    association = acceptor(with_maximum_length(RQ, peer_max))
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    octets = b"".join(association.data(1, is_command=is_command, payload=payload))
    peer = requestor(with_maximum_length(RQ, 0))
    outputs = list(peer.receive(octets))
    assert all(isinstance(out, DataFragment) for out in outputs)
    assert normal(outputs) == [[1, is_command, True, payload]]
    position = 0
    while position < len(octets):
        (length,) = struct.unpack_from(">2xI", octets, position)
        assert length <= min(peer_max or PDU_BYTES_MAX, PDU_BYTES_MAX)
        position += 6 + length
        if position < len(octets):
            assert length % 2 == 0  # DCMTK refuses odd fragments


def test_a_big_payload_is_not_copied() -> None:
    association = acceptor(with_maximum_length(RQ, 0))
    payload = bytearray(4 * MIB)
    tracemalloc.start()
    buffers = association.data(1, is_command=False, payload=payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024
    assert sum(map(len, buffers)) > 4 * MIB


def test_a_set_sent_in_several_calls_ends_with_an_empty_one() -> None:
    association = acceptor()
    octets = b"".join(
        b"".join(association.data(1, is_command=False, payload=piece, is_last=last))
        for piece, last in ((b"ab", False), (b"", False), (b"cd", False), (b"", True))
    )
    peer = requestor()
    pieces = [(bytes(out.data), out.is_last) for out in peer.receive(octets) if isinstance(out, DataFragment)]
    assert pieces == [(b"ab", False), (b"cd", False), (b"", True)]


def test_data_for_a_context_that_was_not_agreed_are_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        acceptor().data(5, is_command=False, payload=b"")


def test_an_answer_that_was_not_asked_for_is_our_bug() -> None:
    association = in_state(State.STA3)
    with pytest.raises(LocalProtocolError):
        association.accept(
            replace(
                AC,
                presentation_contexts=(PresentationContextAC(9, AC.presentation_contexts[0].result, "1.2"),),
            )
        )
    assert association.state is State.STA3


# --- memory --------------------------------------------------------------------------------------------------------


def test_memory_is_constant_whatever_a_peer_sends() -> None:
    association = acceptor(RQ, replace(AC, user_information=replace(AC.user_information, maximum_length=0)))
    buffer = association.get_buffer()
    header = struct.pack(">BxIIBB", 4, 2**32 - 1, 2**32 - 5, 1, 2)
    buffer[: len(header)] = header
    assert drain(list(association.buffer_updated(len(header)))) == []
    tracemalloc.start()
    taken = 0
    for _ in range(64):
        count = len(association.get_buffer())
        for output in association.buffer_updated(count):
            assert isinstance(output, DataFragment)
            taken += len(output.data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken == 64 * 256 * 1024
    assert peak < 64 * 1024


def test_a_length_bomb_is_refused_before_it_is_buffered() -> None:
    association = Association()
    association.transport_connected()
    tracemalloc.start()
    outputs = list(association.receive(struct.pack(">BxI", 1, ASSOCIATE_BYTES_MAX + 1)))
    outputs += list(association.receive(bytes(1000)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(outputs[0], ProtocolViolation)
    assert peak < 64 * 1024


def test_a_request_that_dribbles_holds_only_what_came() -> None:
    association = Association()
    association.transport_connected()
    tracemalloc.start()
    drain(list(association.receive(struct.pack(">BxI", 1, ASSOCIATE_BYTES_MAX))))
    for _ in range(100):
        drain(list(association.receive(b"\0")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024


def test_fragments_are_windows_of_the_receive_buffer() -> None:
    association = acceptor()
    buffer = association.get_buffer()
    octets = p_data(pdv(b"window"))
    buffer[: len(octets)] = octets
    (output,) = association.buffer_updated(len(octets))
    assert isinstance(output, DataFragment)
    assert output.data.obj is buffer.obj


def test_the_violation_says_what_without_the_octets() -> None:
    outputs = list(acceptor().receive(p_data(pdv(b"Doe^Jane", context_id=99))))
    assert isinstance(outputs[0], ProtocolViolation)
    assert isinstance(outputs[0].error, RemoteProtocolError)
    assert "Doe" not in repr(outputs)
    with contextlib.suppress(LocalProtocolError):
        joined(acceptor(), 1, b"")
    assert CT not in str(outputs[0].error)
