"""Between the loop of the server and the rooms behind it, which block: work, answers and bodies.

The loop never waits for a disk, a key or a lock: whatever may, goes to a worker thread through one of three ways.
``in_thread`` calls a function. ``stream`` answers with what an iterator yields. ``with_body`` lets a function read the
body of a request as if it were a file.

A slow client holds no thread while an answer is streamed: a thread makes one piece, and the next is asked for when
the client has taken the one before. A body holds its thread from the first octet to the last, so bodies have a pool of
their own, and uploads that crawl do not stop anybody else's reading.

**Invariant:** an answer that fails after it began never ends as a whole one: the connection is cut.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from leadglass.base.errors import OutOfResources, PeerUnreachable, RequestRefused
from leadglass.base.limits import (
    BODIES_WAITING_MAX,
    BODY_QUEUE_BYTES,
    BODY_SILENCE_SECONDS,
    BODY_THREADS_MAX,
    HTTP_THREADS_MAX,
    STREAM_AHEAD_BYTES,
    STREAM_PIECE_BYTES,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Piece = bytes | bytearray | memoryview
_NO_OCTETS: Final = memoryview(b"")

_work: Final = RunVar[CapacityLimiter]("leadglass.https.work")
_bodies: Final = RunVar[CapacityLimiter]("leadglass.https.bodies")


async def in_thread(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Return ``function(*args)``, called in a worker thread with the context variables of the caller.

    Nothing stops a function that has begun: whoever is cancelled while it runs does not see its result.
    """
    return await to_thread.run_sync(function, *args, limiter=_limiter(_work, HTTP_THREADS_MAX))


def _limiter(variable: RunVar[CapacityLimiter], threads: int) -> CapacityLimiter:
    """Return the limiter of the running loop: a limiter belongs to one loop, and tests run several."""
    limiter = variable.get(None)
    if limiter is None:
        limiter = CapacityLimiter(threads)
        variable.set(limiter)
    return limiter


# --- answers ---------------------------------------------------------------------------------------------------


def stream(
    iterator: Iterator[Piece],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str | None = None,
    on_close: Callable[[bool], None] | None = None,
) -> Response:
    """Return an answer whose body is what ``iterator`` yields, in worker threads and as fast as the client reads.

    The first piece is made before the status line is sent: an error up to there is answered as any other. An error
    after it cuts the connection. Give a ``Content-Length`` where it is known: it saves a copy of every octet, and the
    client can tell a part from the whole without chunks.

    Args:
        iterator: pieces of any size; small ones are joined. A piece may be overwritten after the next was asked for
            only if it is shorter than ``STREAM_PIECE_BYTES / 4``. Its ``close`` is called in the end, whatever happens,
            even when nothing was asked of it (HEAD).
        status: of the answer.
        headers: of the answer.
        media_type: Content-Type, where ``headers`` has none.
        on_close: called once in a worker thread after ``close``; True when every octet was handed to the connection,
            False when the client went away or something failed.
    """
    return _Stream(iterator, status, headers, media_type, on_close)


class _Stream(Response):
    def __init__(
        self,
        iterator: Iterator[Piece],
        status: int,
        headers: Mapping[str, str] | None,
        media_type: str | None,
        on_close: Callable[[bool], None] | None,
    ) -> None:
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        length = {name.lower(): value for name, value in (headers or {}).items()}.get("content-length")
        self._left = None if length is None else int(length)
        self._ended = False
        if length is None:
            # Response sets the length of its (empty) body; ours is not known yet.
            self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._iterator = iterator
        self._on_close = on_close
        self._gone = False
        self._exhausted = False  # set in a worker thread, read in the loop when that thread is done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False
        watcher: asyncio.Task[None] | None = None
        try:
            start: Message = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
            if scope["method"] == "HEAD":
                await send(start)
            else:
                first = await _shielded(
                    in_thread(self._pieces, STREAM_PIECE_BYTES // 4)
                )  # soon rather than much
                await send(start)
                watcher = asyncio.create_task(self._watch(receive))
                await self._send(first, send)
            if not self._ended and not self._gone:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                self._ended = True
            complete = self._ended
        finally:
            if watcher is not None:
                watcher.cancel()
            await _shielded(in_thread(self._close, complete))

    async def _send(self, pieces: list[Piece], send: Send) -> None:
        """Send what there is while the next is made."""
        while pieces and not self._gone:
            following = asyncio.ensure_future(self._following())
            try:
                for piece in pieces:
                    self._ended = self._is_last(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": not self._ended})
            finally:
                # Waited for in any case: the iterator must not be closed while a thread is inside it.
                pieces = await _shielded(following)

    async def _following(self) -> list[Piece]:
        # A change of threads costs more than most pieces: none is made to be told that there is nothing.
        return [] if self._exhausted else await in_thread(self._pieces, STREAM_AHEAD_BYTES)

    def _is_last(self, piece: Piece) -> bool:
        """Tell whether the promised length is reached: whoever counts asks again at once, and has waited as they must."""
        if self._left is None:
            return False
        self._left -= len(piece)
        return self._left == 0

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True

    def _pieces(self, ahead: int) -> list[Piece]:
        """Return what is sent before a thread is asked again, empty at the end. Small pieces are joined.

        Args:
            ahead: stop when there is so much.
        """
        pieces: list[Piece] = []
        small = bytearray()
        octets = 0
        for piece in self._iterator:
            octets += len(piece)
            if len(piece) < STREAM_PIECE_BYTES // 4:
                small += piece
            else:
                if small:
                    pieces.append(small)
                    small = bytearray()
                pieces.append(piece)
            if len(small) >= STREAM_PIECE_BYTES:
                pieces.append(small)
                small = bytearray()
            if octets >= ahead:
                break
        else:
            self._exhausted = True
        if small:
            pieces.append(small)
        return [part for piece in pieces for part in _cut(piece)]

    def _close(self, complete: bool) -> None:
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        finally:
            if self._on_close is not None:
                self._on_close(complete)


def _cut(piece: Piece) -> list[Piece]:
    """Return ``piece`` in parts that the connection takes at once: no writer buffers more than one of them."""
    if len(piece) <= STREAM_PIECE_BYTES:
        return [piece]
    view = memoryview(piece)
    return [view[start : start + STREAM_PIECE_BYTES] for start in range(0, len(piece), STREAM_PIECE_BYTES)]


async def _shielded(work: Awaitable[T]) -> T:
    """Wait for ``work`` to its end even when the server cancels us meanwhile; the cancellation comes after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


# --- bodies ----------------------------------------------------------------------------------------------------


class BodyLost(PeerUnreachable):
    """The client went away before the end of its body, or sends too slowly."""


class BodyReader:
    """The body of a request as a blocking stream: for one worker thread, while ``with_body`` runs.

    Has what ``io.RawIOBase`` users need: ``read`` and ``readinto``; and it is an iterator of pieces as they arrive.
    """

    def __init__(self, bytes_max: int | None, room: Callable[[], None]) -> None:
        self._bytes_max = bytes_max
        self._room = room
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()  # guarded by _changed, like all below
        self._waiting = 0
        self._received = 0
        self._ended = False
        self._lost: str = ""

    @property
    def received(self) -> int:
        """Octets that have arrived."""
        with self._changed:
            return self._received

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` octets, at least one; none at the end. All of the rest for ``size`` below 0.

        Raises:
            BodyLost: the client went away, or sends too slowly.
            RequestRefused: the body is longer than it may be (413).
        """
        if size == 0:
            return b""
        if size < 0:
            return b"".join(self)
        piece = self._take()
        if len(piece) > size:
            self._put_back(piece[size:])
        return bytes(piece[:size])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` from its beginning with what there is; return how much, 0 at the end.

        Raises:
            BodyLost: as in ``read``.
            RequestRefused: as in ``read``.
        """
        if not len(buffer):
            return 0
        piece = self._take()
        taken = min(len(piece), len(buffer))
        buffer[:taken] = piece[:taken]
        if len(piece) > taken:
            self._put_back(piece[taken:])
        return taken

    def __iter__(self) -> Iterator[memoryview]:
        while piece := self._take():
            yield piece

    def _take(self) -> memoryview:
        with self._changed:
            while not self._pieces:
                if self._lost:
                    raise BodyLost(self._lost)
                if self._bytes_max is not None and self._received > self._bytes_max:
                    raise RequestRefused("the body is longer than it may be", http_status=413)
                if self._ended:
                    return _NO_OCTETS
                self._changed.wait()
            piece = self._pieces.popleft()
            full = self._waiting >= BODY_QUEUE_BYTES
            self._waiting -= len(piece)
            make_room = full and self._waiting < BODY_QUEUE_BYTES
        if make_room:
            self._room()
        return piece

    def _put_back(self, piece: memoryview) -> None:
        with self._changed:
            self._pieces.appendleft(piece)
            self._waiting += len(piece)

    def feed(self, piece: bytes) -> bool:
        """Called by the loop: take a piece; tell whether the queue takes another."""
        with self._changed:
            self._received += len(piece)
            too_long = self._bytes_max is not None and self._received > self._bytes_max
            if piece and not too_long:
                self._pieces.append(memoryview(piece))
                self._waiting += len(piece)
            self._changed.notify()
            return self._waiting < BODY_QUEUE_BYTES and not too_long

    def end(self, lost: str = "") -> None:
        """Called by the loop: nothing follows; ``lost`` says why that is not the end of the body."""
        with self._changed:
            if not self._ended:
                self._ended = True
                self._lost = lost
            self._changed.notify()


async def with_body(
    request: Request, function: Callable[[BodyReader], T], *, bytes_max: int | None = None
) -> T:
    """Return ``function(reader)``, called in a worker thread that reads the body of ``request`` while it arrives.

    At most ``BODY_QUEUE_BYTES`` wait for the thread; then the client is not read from.

    Args:
        request: whose body nobody has read yet.
        function: need not read to the end.
        bytes_max: longer bodies are refused, by their length or when they have become too long.

    Raises:
        BodyLost: in ``function``: the client went away, or sent nothing for ``BODY_SILENCE_SECONDS``.
        RequestRefused: the body is longer than ``bytes_max`` (413).
        OutOfResources: too many bodies are being read, and too many wait.
    """
    declared = request.headers.get("content-length", "")
    if bytes_max is not None and declared.isdecimal() and int(declared) > bytes_max:
        raise RequestRefused("the body is longer than it may be", http_status=413)
    limiter = _limiter(_bodies, BODY_THREADS_MAX)
    if limiter.statistics().tasks_waiting >= BODIES_WAITING_MAX:
        raise OutOfResources("too many uploads at once")
    loop = asyncio.get_running_loop()
    room = asyncio.Event()

    def make_room() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for room any more
            loop.call_soon_threadsafe(room.set)

    reader = BodyReader(bytes_max, make_room)
    pump = asyncio.create_task(_pump(request.receive, reader, room))
    try:
        return await to_thread.run_sync(function, reader, limiter=limiter)
    finally:
        pump.cancel()


async def _pump(receive: Receive, reader: BodyReader, room: asyncio.Event) -> None:
    try:
        while True:
            async with asyncio.timeout(BODY_SILENCE_SECONDS):
                message = await receive()
            if message["type"] != "http.request":
                reader.end("the client went away before the end of the body")
                return
            room.clear()
            more = reader.feed(message.get("body", b""))
            if not message.get("more_body", False):
                reader.end()
                return
            if not more:
                await room.wait()
    except TimeoutError:
        reader.end("the client sent nothing of the body for too long")
    finally:
        # A server that stops cancels this task while the thread waits for a body that will not come.
        reader.end("the server stops")
