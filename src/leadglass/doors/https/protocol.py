"""One connection: uvicorn's HTTP/1.1 on httptools, and what a server among strangers needs beside it.

Only HTTP/1.1 is spoken, and its parser is strict: what two parsers might read in two ways is refused, since the second
one may be a proxy before us (request smuggling). Pipelining is answered by closing after the first answer, as
RFC 9112 9.3.2 lets a server do. Requests over HTTP/2 do not exist here, and neither do its floods.

Nobody may hold a connection by being slow. Head, body and the taking of an answer each have a clock; while it is
we who are slow (reading is paused), the client's clock stands.

**Invariant:** a request has one reading, or none.

Source: RFC 9112 2.2, 3.2, 5.1, 6.1, 6.3, 9.3, 11.2; RFC 9110 7.2.
"""

import asyncio
from typing import Any, Final, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from leadglass.base.limits import (
    BODY_LEFT_BYTES_MAX,
    BODY_LEFT_SECONDS,
    BODY_SILENCE_SECONDS,
    HTTP_HEAD_BYTES_MAX,
    HTTP_HEAD_SECONDS,
    HTTP_HEADERS_MAX,
    HTTP_IDLE_SECONDS,
    HTTP_SEND_SECONDS,
    PROGRESS_BYTES_MIN,
    REQUEST_TARGET_BYTES_MAX,
    STREAM_PIECE_BYTES,
    WEBSOCKET_UNSENT_BYTES_MAX,
)
from leadglass.trust.certs.tls import TLSFacts, peer_facts

TLS_KEY: Final = "leadglass.tls"
"""Where the connection puts its ``TLSFacts`` into the ASGI scope."""
CONNECTION_KEY: Final = "leadglass.connection"
"""Where it puts itself: for ``abort`` only."""

_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# Said twice, these make two readings of one request.
_ONCE: Final = frozenset(
    {b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"origin"}
)
_WORDS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    505: b"HTTP Version Not Supported",
}


class House(Protocol):
    """Who counts the connections; implemented by ``server``. Called by the loop only."""

    def entered(self, guest: "Guest") -> bool:
        """Take a connection whose handshake is done; False: there is no room, close it."""
        ...

    def changed(self, before: "Guest", after: "Guest") -> None:
        """A connection became a WebSocket."""
        ...

    def left(self, guest: "Guest") -> None:
        """A connection is over."""
        ...

    def malformed(self, guest: "Guest", reason: str) -> None:
        """Put on record that a connection was closed for what came over it."""
        ...


class Guest(Protocol):
    """A connection, as the house knows it."""

    @property
    def address(self) -> str:
        """IP address of the peer."""
        ...

    @property
    def idle_since(self) -> float | None:
        """Loop time since which no request is being served; None while one is."""
        ...

    def abort(self) -> None:
        """Cut the connection; what is unsent is lost, so that no answer looks whole."""
        ...

    def shutdown(self) -> None:
        """Close when the request in hand is answered, at once if there is none."""
        ...


class _RefusedError(Exception):
    """Raised inside a callback of the parser: the request has no reading."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class GuardedHTTP(HttpToolsProtocol):
    """One connection over HTTP/1.1 and TLS.

    Args:
        config: of uvicorn.
        server_state: of uvicorn.
        loop: that it runs in.
        house: counts it.
        address: of the peer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop,
        house: House,
        address: str,
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self.parser = httptools.HttpRequestParser(self)  # without the leniencies that uvicorn asks for
        self.address = address
        self.tls = TLSFacts("", "", "", resumed=False)
        self._house = house
        self._clock: asyncio.TimerHandle | None = None  # of head or body
        self._send_clock: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of the fields that are complete
        self._head_fed = 0  # of all that came since the head began, less the piece in which it ends
        self._seen: set[bytes] = set()
        self._in_head = False
        self._in_body = False
        self._body_bytes = 0  # since the clock of the body was wound up
        self._left_bytes = 0  # of a body that nobody reads any more
        self._was_paused = False
        self._deaf = False  # nothing that arrives counts any more
        self._idle_since: float | None = loop.time()

    # --- what the house asks -----------------------------------------------------------------------------------

    @property
    def idle_since(self) -> float | None:
        """Loop time since which no request is being served; None while one is."""
        return self._idle_since

    def abort(self) -> None:
        """Cut the connection; what is unsent is lost, so that no answer looks whole."""
        self._deaf = True
        self.transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when the TLS handshake is done."""
        super().connection_made(transport)
        self.client = (self.address, self.client[1] if self.client is not None else 0)
        self.tls = peer_facts(transport.get_extra_info("ssl_object"))
        transport.set_write_buffer_limits(high=2 * STREAM_PIECE_BYTES, low=STREAM_PIECE_BYTES)
        if not self._house.entered(self):
            self.abort()
            return
        self._wind(HTTP_IDLE_SECONDS, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is over, whoever ended it."""
        self._deaf = True
        self._stop_clocks()
        self._house.left(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        # The parser and the cycle hold us and we hold them.
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if not self._in_body and not self._in_head:
            self._begin_head()
        elif self._in_body and not self._count_body(len(data)):
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, _RefusedError):
                self._refuse(cause.status, cause.reason)
            else:
                self._house.malformed(self, "a failure of ours while reading a request")
                self.abort()
        except httptools.HttpParserError:
            self._refuse(400, "a request that is not HTTP/1.1 to the letter")
        else:
            if self._in_head:
                self._count_head(len(data))

    def pause_writing(self) -> None:
        """Called when the client does not take the answer as fast as we make it."""
        super().pause_writing()
        if self._send_clock is None:
            self._send_clock = self.loop.call_later(HTTP_SEND_SECONDS, self._give_up_sending)

    def resume_writing(self) -> None:
        """Called when it has taken some of it."""
        super().resume_writing()
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None

    def _current(self) -> RequestResponseCycle | None:
        """Return the last request that was begun to be served; there is none at first, whatever uvicorn's types say."""
        return cast("RequestResponseCycle | None", self.cycle)

    # --- callbacks of the parser -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called at the first octet of a request."""
        if (cycle := self._current()) is not None and not cycle.response_complete:
            raise _RefusedError(400, "a request before the answer to the last")
        super().on_message_begin()
        scope = cast("dict[str, Any]", self.scope)
        scope[TLS_KEY] = self.tls
        scope[CONNECTION_KEY] = self
        scope["client"] = self.client
        self._seen = set()
        if not self._in_head:  # directly after the last one's body, in the same piece
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        super().on_url(url)
        if len(self.url) > REQUEST_TARGET_BYTES_MAX:
            raise _RefusedError(414, "a request target that is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header field."""
        if (
            not self._in_head
        ):  # RFC 9112 7.1.2: they would reach the application as if they had stood in the head
            raise _RefusedError(400, "trailer fields")
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HTTP_HEAD_BYTES_MAX or len(self.headers) >= HTTP_HEADERS_MAX:
            raise _RefusedError(431, "a head that is too long")
        folded = name.lower()
        if folded in _ONCE:
            if folded in self._seen:
                raise _RefusedError(400, "a header field twice that may stand once")
            self._seen.add(folded)
        if folded == b"transfer-encoding" and value.lower() != b"chunked":
            raise _RefusedError(501, "a transfer coding other than chunked")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head as a whole and begin to serve the request."""
        if self.parser.get_http_version() != "1.1":
            raise _RefusedError(505, "another version than HTTP/1.1")
        if self.parser.get_method().decode("ascii") not in _METHODS:
            raise _RefusedError(501, "a method that nobody here has")
        if b"host" not in self._seen:
            raise _RefusedError(400, "no Host")
        if not self.url.startswith(b"/"):
            # The absolute form is for proxies; the authority form and "*" name nothing that we serve.
            raise _RefusedError(400, "a request target that is not a path")
        self._in_head = False
        self._in_body = True
        self._idle_since = None
        self._body_bytes = self._left_bytes = 0
        self._wind(BODY_SILENCE_SECONDS, self._judge_body)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has arrived as a whole."""
        self._in_body = False
        self._stop_clock()
        cycle = self._current()
        if cycle is not None:
            super().on_message_complete()
            if cycle.response_complete:
                self._begin_idle()

    def on_response_complete(self) -> None:
        """The answer was handed to the transport as a whole."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._in_body:  # answered before it was read: what still comes is thrown away, and not for long
            self._unset_keepalive_if_required()
            self._wind(BODY_LEFT_SECONDS, self.abort)
        else:
            self._begin_idle()

    # --- clocks ------------------------------------------------------------------------------------------------

    def _wind(self, seconds: float, then: Any) -> None:  # noqa: ANN401 - a callback
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, then)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _stop_clocks(self) -> None:
        self._stop_clock()
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None

    def _begin_idle(self) -> None:
        self._idle_since = self.loop.time()
        self._unset_keepalive_if_required()
        self._wind(HTTP_IDLE_SECONDS, self._close_idle)

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = self._head_fed = 0
        self._wind(HTTP_HEAD_SECONDS, self._refuse_slow_head)

    def _close_idle(self) -> None:
        self.transport.close()

    def _refuse_slow_head(self) -> None:
        self._refuse(408, "a head that took too long")

    def _count_head(self, octets: int) -> None:
        """Bound what the parser holds of a line that does not end."""
        self._head_fed += octets
        if self._head_fed > HTTP_HEAD_BYTES_MAX:
            self._refuse(431, "a head that is too long")

    def _count_body(self, octets: int) -> bool:
        """Count what came of a body; False: it is one that nobody reads any more, and was cut."""
        self._body_bytes += octets
        if self.flow.read_paused:
            self._was_paused = True
        cycle = self._current()
        if cycle is not None and cycle.response_complete:
            self._left_bytes += octets
            if self._left_bytes > BODY_LEFT_BYTES_MAX:
                self.abort()
                return False
        return True

    def _judge_body(self) -> None:
        """Once in ``BODY_SILENCE_SECONDS``: has the client earned another while?"""
        slow = self._body_bytes < PROGRESS_BYTES_MIN and not self._was_paused and not self.flow.read_paused
        if slow:
            self._house.malformed(self, "a body that came too slowly")
            self.abort()
            return
        self._body_bytes = 0
        self._was_paused = self.flow.read_paused
        self._wind(BODY_SILENCE_SECONDS, self._judge_body)

    def _give_up_sending(self) -> None:
        self._house.malformed(self, "an answer that was not taken")
        self.abort()

    # --- refusals ----------------------------------------------------------------------------------------------

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what has no reading, if it is its turn, and close."""
        self._deaf = True
        self._stop_clock()
        self._house.malformed(self, reason)
        cycle = self._current()
        if cycle is not None and not cycle.response_complete:
            if self._in_body:
                self.abort()  # the body of the request in hand is broken: it must not look as if it had ended
            else:
                cycle.keep_alive = False  # its answer goes out whole, and is the last
            return
        words = _WORDS[status]
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nconnection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n"
            % (status, words)
        )
        self.transport.close()

    # --- WebSocket ---------------------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            # Any other protocol is not ours; the request was served as what it is, and what follows it is not read.
            self._deaf = True
            if (cycle := self._current()) is not None:
                cycle.keep_alive = False
            return
        if self.scope["method"] != "GET":
            self._refuse(400, "a WebSocket that does not begin with GET")
            return
        self._deaf = True
        self._stop_clocks()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            head += [name, b": ", value, b"\r\n"]
        head.append(b"\r\n")
        socket = GuardedWebSocket(self)
        socket.connection_made(self.transport)
        self.transport.set_protocol(socket)
        self._house.changed(self, socket)
        socket.data_received(b"".join(head))

    @property
    def house(self) -> House:
        """Who counts it."""
        return self._house


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """One connection after it became a WebSocket. Messages are bounded, and are never compressed.

    Args:
        before: what it was until now.
    """

    def __init__(self, before: GuardedHTTP) -> None:
        super().__init__(before.config, before.server_state, {}, before.loop)
        self.address = before.address
        self.tls = before.tls
        self._house = before.house

    @property
    def idle_since(self) -> float | None:
        """Never: somebody is signed in and listens."""
        return None

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        super().connection_made(transport)
        self.client = (self.address, self.client[1] if self.client is not None else 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is over, whoever ended it."""
        self._house.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless the peer asks (with pings) without listening."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > WEBSOCKET_UNSENT_BYTES_MAX:
            self._house.malformed(self, "a WebSocket that does not listen")
            self.abort()

    async def run_asgi(self) -> None:
        """Serve it."""
        scope = cast("dict[str, Any]", self.scope)
        scope[TLS_KEY] = self.tls
        scope[CONNECTION_KEY] = self
        await super().run_asgi()
