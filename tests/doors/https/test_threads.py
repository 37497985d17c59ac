"""Bodies and answers between loop and threads, without a server: what ASGI gives and takes, and what must not happen."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from leadglass.base.errors import IntegrityError, OutOfResources, PeerUnreachable, RequestRefused
from leadglass.base.limits import BODY_QUEUE_BYTES, STREAM_PIECE_BYTES
from leadglass.doors.https import threads
from leadglass.doors.https.threads import BodyReader, in_thread, stream, with_body

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Client:
    """The other end of an ASGI request: sends pieces, then ends, goes away or says nothing more."""

    def __init__(self, pieces: list[bytes], end: str = "whole", length: int | None = None) -> None:
        self.pieces = list(pieces)
        self.end = end
        self.asked = 0
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}

    async def receive(self) -> Message:
        self.asked += 1
        if self.pieces:
            piece = self.pieces.pop(0)
            last = not self.pieces and self.end == "whole"
            return {"type": "http.request", "body": piece, "more_body": not last}
        if self.end == "silent":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request(self.scope, self.receive)


def read_all(reader: BodyReader) -> bytes:
    return reader.read()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20), st.lists(st.integers(1, 60), min_size=1))
def test_whatever_the_pieces_the_reader_reads_what_was_sent(pieces: list[bytes], sizes: list[int]) -> None:
    def read(reader: BodyReader) -> bytes:
        found, turn = bytearray(), 0
        while True:
            size = sizes[turn % len(sizes)]
            if turn % 2:
                piece = reader.read(size)
            else:
                buffer = bytearray(size)
                piece = bytes(buffer[: reader.readinto(buffer)])
            assert len(piece) <= size
            if not piece:
                assert reader.received == len(found)
                return bytes(found)
            found += piece
            turn += 1

    assert asyncio.run(with_body(Client(pieces).request, read)) == b"".join(pieces)


def test_a_client_that_goes_away_is_told_to_the_reader() -> None:
    with pytest.raises(PeerUnreachable):
        asyncio.run(with_body(Client([b"half"], "gone").request, read_all))


def test_a_client_that_falls_silent_is_told_to_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BODY_SILENCE_SECONDS", 0.05)
    with pytest.raises(PeerUnreachable):
        asyncio.run(with_body(Client([b"half"], "silent").request, read_all))


def test_what_arrived_before_is_read_first() -> None:
    def read(reader: BodyReader) -> bytes:
        first = reader.read(100)
        with pytest.raises(PeerUnreachable):
            reader.read(100)
        return first

    assert asyncio.run(with_body(Client([b"half"], "gone").request, read)) == b"half"


@pytest.mark.parametrize("length", [None, 30])
def test_a_body_that_is_too_long_is_refused(length: int | None) -> None:
    client = Client([b"0123456789"] * 3, length=length)
    with pytest.raises(RequestRefused) as caught:
        asyncio.run(with_body(client.request, read_all, bytes_max=29))
    assert caught.value.http_status == 413
    assert client.asked == (0 if length else 3)
    assert (
        asyncio.run(with_body(Client([b"0123456789"] * 3).request, read_all, bytes_max=30))
        == b"0123456789" * 3
    )


def test_a_reader_that_is_slow_stops_the_client() -> None:
    piece = bytes(64 * 1024)
    client = Client([piece] * 100)
    full = BODY_QUEUE_BYTES // len(piece)

    def read(reader: BodyReader) -> int:
        wait = threading.Event()
        for _ in range(100):
            if client.asked >= full:
                break
            wait.wait(0.02)
        wait.wait(0.1)  # long enough for more to come, if more would
        assert client.asked == full
        return len(reader.read())

    assert asyncio.run(with_body(client.request, read)) == 100 * len(piece)


def test_a_reader_that_stops_early_ends_the_reading() -> None:
    client = Client([b"x" * 1000] * 10_000)
    assert asyncio.run(with_body(client.request, lambda reader: reader.read(3))) == b"xxx"
    assert client.asked < 10_000


def test_an_error_of_the_reader_is_the_caller_s() -> None:
    def fail(_reader: BodyReader) -> None:
        raise IntegrityError("damaged")

    with pytest.raises(IntegrityError):
        asyncio.run(with_body(Client([b"x"]).request, fail))


def test_uploads_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BODY_THREADS_MAX", 1)
    monkeypatch.setattr(threads, "BODIES_WAITING_MAX", 1)
    go = threading.Event()

    def wait(reader: BodyReader) -> bytes:
        assert go.wait(10)
        return reader.read()

    async def three() -> list[bytes | BaseException]:
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.create_task(with_body(Client([b"x"]).request, wait)))
            await asyncio.sleep(0)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(three())
    assert results[:2] == [b"x", b"x"]
    assert isinstance(results[2], OutOfResources)


def test_a_thread_has_the_context_of_its_caller() -> None:
    async def call() -> str:
        WHO.set("alice")
        return await in_thread(WHO.get)

    assert asyncio.run(call()) == "alice"


# --- streams -----------------------------------------------------------------------------------------------------


class Receiver:
    """A client that takes an answer."""

    def __init__(self, gone_after: int | None = None) -> None:
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        self.gone_after = gone_after

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if self.gone_after is not None and len(self.messages) > self.gone_after:
            self.gone.set()
        await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages[1:])


def answer(iterator: Iterator[bytes], receiver: Receiver, method: str = "GET") -> list[bool]:
    ended: list[bool] = []
    response = stream(iterator, on_close=ended.append)
    scope = {"type": "http", "method": method, "headers": []}
    asyncio.run(response(scope, receiver.receive, receiver.send))
    return ended


@given(st.lists(st.integers(0, 3 * STREAM_PIECE_BYTES), max_size=8))
def test_whatever_the_pieces_the_answer_is_what_was_yielded(sizes: list[int]) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    receiver = Receiver()
    assert answer(iter(pieces), receiver) == [True]
    assert receiver.body == b"".join(pieces)
    assert all(len(m["body"]) <= STREAM_PIECE_BYTES + STREAM_PIECE_BYTES // 4 for m in receiver.messages[1:])
    assert [m.get("more_body") for m in receiver.messages[1:]] == [True] * (len(receiver.messages) - 2) + [
        False
    ]


def test_an_iterator_is_closed_when_the_client_is_gone_and_is_not_asked_for_the_rest() -> None:
    made, closed = [], []

    def pieces() -> Iterator[bytes]:
        try:
            for number in range(10_000):
                made.append(number)
                yield bytes(STREAM_PIECE_BYTES)
        finally:
            closed.append(True)

    assert answer(pieces(), Receiver(gone_after=2)) == [False]
    assert closed == [True]
    assert len(made) < 100


def test_an_error_in_the_middle_is_raised_without_an_end() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(STREAM_PIECE_BYTES)
        raise IntegrityError("damaged")

    receiver = Receiver()
    ended: list[bool] = []
    response = stream(pieces(), on_close=ended.append)
    with pytest.raises(IntegrityError):
        asyncio.run(
            response({"type": "http", "method": "GET", "headers": []}, receiver.receive, receiver.send)
        )
    assert ended == [False]
    assert all(message.get("more_body", True) for message in receiver.messages)


@pytest.mark.parametrize(("sizes", "asked"), [([], 1), ([10], 1), ([STREAM_PIECE_BYTES, 10], 2)])
def test_no_thread_is_asked_for_what_is_known_to_be_nothing(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], asked: int
) -> None:
    called: list[str] = []

    async def counting(function: Callable[..., object], *args: object) -> object:
        called.append(function.__name__)
        return await in_thread(function, *args)

    monkeypatch.setattr(threads, "in_thread", counting)
    assert answer(iter([bytes(size) for size in sizes]), Receiver()) == [True]
    assert called == ["_pieces"] * asked + ["_close"]


def test_head_asks_for_nothing() -> None:
    made: list[int] = []

    def pieces() -> Iterator[bytes]:
        made.append(1)
        yield b"x"

    assert answer(pieces(), Receiver(), "HEAD") == [True]
    assert made == []


def test_the_end_of_the_server_waits_for_the_thread_and_closes_the_iterator() -> None:
    inside, go, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            yield bytes(STREAM_PIECE_BYTES)
            inside.set()
            assert go.wait(10)
            yield bytes(STREAM_PIECE_BYTES)
        finally:
            closed.set()

    async def cancelled() -> None:
        receiver = Receiver()
        response = stream(pieces())
        task = asyncio.create_task(
            response({"type": "http", "method": "GET", "headers": []}, receiver.receive, receiver.send)
        )
        assert await asyncio.to_thread(inside.wait, 10)
        task.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert closed.is_set()
