"""From fragments to messages: order, bounds, and what passes through uncopied."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import RemoteProtocolError
from leadglass.base.limits import COMMAND_SET_BYTES_MAX
from leadglass.wire.dimse.assembly import CommandReceived, DatasetChunk, DatasetEnd, Event, MessageAssembler
from leadglass.wire.dimse.messages import CCancelRQ, CEchoRQ, CFindRQ, CStoreRQ, encode
from leadglass.wire.ul.outputs import DataFragment
from wire.playbook import acceptor, joined, requestor

CT = "1.2.840.10008.5.1.4.1.1.2"
STORE = CStoreRQ(7, CT, "1.2.3.4")
ECHO = CEchoRQ(8, "1.2.840.10008.1.1")


def piece(
    data: bytes, *, is_command: bool = False, is_last: bool = True, context_id: int = 1
) -> DataFragment:
    return DataFragment(context_id, is_command, is_last, memoryview(data))


def feed(*fragments: DataFragment) -> list[Event]:
    assembler = MessageAssembler()
    return [event for fragment in fragments for event in assembler.receive(fragment)]


def test_a_message_without_a_data_set() -> None:
    assert feed(piece(encode(ECHO), is_command=True)) == [CommandReceived(1, ECHO, has_dataset=False)]


def test_a_message_with_a_data_set() -> None:
    command = encode(STORE)
    data = piece(b"data", is_last=False)
    events = feed(
        piece(command[:5], is_command=True, is_last=False),
        piece(b"", is_command=True, is_last=False),
        piece(command[5:], is_command=True),
        data,
        piece(b"end"),
        piece(encode(ECHO), is_command=True, context_id=3),
    )
    assert events == [
        CommandReceived(1, STORE, has_dataset=True),
        DatasetChunk(memoryview(b"data")),
        DatasetChunk(memoryview(b"end")),
        DatasetEnd(1),
        CommandReceived(3, ECHO, has_dataset=False),
    ]
    assert isinstance(events[1], DatasetChunk)
    assert events[1].data is data.data  # passed through, not copied


def test_an_empty_last_fragment_ends_a_data_set() -> None:
    assert feed(piece(encode(STORE), is_command=True), piece(b""))[1:] == [DatasetEnd(1)]


def test_a_cancel_between_messages() -> None:
    events = feed(
        piece(encode(CFindRQ(1, CT)), is_command=True),
        piece(b"id"),
        piece(encode(CCancelRQ(1)), is_command=True),
    )
    assert events[-1] == CommandReceived(1, CCancelRQ(1), has_dataset=False)


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("a data set without a command", [piece(b"data")]),
        ("a data set that was not announced", [piece(encode(ECHO), is_command=True), piece(b"data")]),
        (
            "a command within a data set",
            [piece(encode(STORE), is_command=True), piece(encode(ECHO), is_command=True)],
        ),
        (
            "a data set on another context",
            [piece(encode(STORE), is_command=True), piece(b"data", context_id=3)],
        ),
        (
            "a command on two contexts",
            [
                piece(encode(ECHO)[:9], is_command=True, is_last=False),
                piece(encode(ECHO)[9:], is_command=True, context_id=3),
            ],
        ),
        (
            "a data set within a command",
            [piece(encode(STORE)[:9], is_command=True, is_last=False), piece(b"data")],
        ),
        ("a command that is none", [piece(b"hello", is_command=True)]),
    ],
)
def test_disorder_is_a_violation(name: str, fragments: list[DataFragment]) -> None:
    with pytest.raises(RemoteProtocolError):
        feed(*fragments)
    assert name


def test_an_endless_command_set_is_refused_before_it_is_held() -> None:
    assembler = MessageAssembler()
    fragment = piece(bytes(16 * 1024), is_command=True, is_last=False)
    for _ in range(COMMAND_SET_BYTES_MAX // len(fragment.data)):
        assembler.receive(fragment)
    tracemalloc.start()
    with pytest.raises(RemoteProtocolError):
        assembler.receive(fragment)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < COMMAND_SET_BYTES_MAX / 4


@given(
    st.lists(
        st.builds(
            DataFragment,
            st.sampled_from([1, 3]),
            st.booleans(),
            st.booleans(),
            st.binary(max_size=40).map(memoryview),
        )
    )
)
def test_garbage_gives_only_remote_protocol_error(fragments: list[DataFragment]) -> None:
    with contextlib.suppress(RemoteProtocolError):
        feed(*fragments)


@given(st.binary(max_size=3000), st.lists(st.integers(1, 400), min_size=1))
def test_a_message_goes_through_both_layers_whatever_the_cut(dataset: bytes, sizes: list[int]) -> None:
    sender, receiver, assembler = requestor(), acceptor(), MessageAssembler()
    octets = joined(sender, 1, encode(STORE), is_command=True) + joined(sender, 1, dataset)
    received, position = b"", 0
    events: list[Event] = []
    while position < len(octets):
        size = sizes[len(events) % len(sizes)]
        for output in receiver.receive(octets[position : position + size]):
            assert isinstance(output, DataFragment)
            for event in assembler.receive(output):
                events.append(event)
                if isinstance(event, DatasetChunk):
                    received += event.data
        position += size
    assert received == dataset
    assert events[0] == CommandReceived(1, STORE, has_dataset=True)
    assert events[-1] == DatasetEnd(1)
    assert assembler.idle
