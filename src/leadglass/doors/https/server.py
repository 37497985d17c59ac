"""The HTTPS server: one thread with a loop of its own, TLS always.

It accepts by itself, so that it can count who has not finished a handshake, give every connection the TLS context that
is current, and make room when strangers fill it: of those that wait, the one that has waited longest goes, of the
address that has most. A connection in whose service a request is being answered is never ended to make room.

HTTP/1.1 only. HTTP/2 would gain a viewer little behind keep-alive, and brings a second parser, flow control of its own
and floods of its own (rapid reset, CONTINUATION); a reverse proxy may speak it before us.
"""

import asyncio
import contextlib
import email.utils
import logging
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import (
    HANDSHAKE_SECONDS,
    HTTP_HANDSHAKES_MAX,
    HTTP_HANDSHAKES_PER_ADDRESS_MAX,
    WEBSOCKET_MESSAGE_BYTES_MAX,
)
from leadglass.doors.https.addresses import TrustedProxies, plain_address
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint
from leadglass.doors.https.gate import Gate, Routes
from leadglass.doors.https.openapi import own_endpoints
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.protocol import GuardedHTTP, GuardedWebSocket, Guest
from leadglass.doors.https.refusals import Refusal, Refusals
from leadglass.doors.https.threads import in_thread
from leadglass.trust.certs.tls import failure_words
from leadglass.trust.identity.interfaces import Authenticator, Standing

_BACKLOG: Final = 1024
_ACCEPTED_AT_ONCE: Final = 64
_SHUTDOWN_SECONDS: Final = 5.0
"""TLS close_notify both ways, and what is left to send before it."""
_TICK_SECONDS: Final = 1.0
_PING_SECONDS: Final = 20.0


class HTTPSServer:
    """Serves endpoints over HTTPS. ``start`` and ``stop`` once each, from any thread.

    Args:
        host: address to bind.
        port: 0 for any free one; see ``port`` after ``start``.
        ssl_context_factory: makes the context of new connections: at the start and at every ``reload``.
        endpoints: all that are served, beside those of the server itself.
        authenticator: says who asks.
        options: of the site.
        clock: for rates and counts.
        on_refused: called in a worker thread with what was refused; counted, so that strangers cannot fill the log.
            What it raises is swallowed.
        standing: asked again and again for whoever holds a WebSocket; None: nobody is.
        on_failure: called in the loop with an exception that nobody planned, and the correlation id of the request;
            its message may quote a data set, so print the kind and the place only.
        ready: whether the site can serve; asked in a worker thread for ``/healthz``.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context_factory: Callable[[], ssl.SSLContext],
        endpoints: Sequence[Endpoint | WebSocketEndpoint],
        authenticator: Authenticator,
        options: HTTPSOptions,
        clock: Clock,
        on_refused: Callable[[Refusal], None] = lambda _refusal: None,
        *,
        standing: Standing | None = None,
        on_failure: Callable[[BaseException, str], None] | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._host = host
        self._requested_port = self._port = port
        self._make_context = ssl_context_factory
        self._endpoints = [*endpoints, *own_endpoints(endpoints, options, ready, clock)]
        self._authenticator = authenticator
        self._options = options
        self._clock = clock
        self._on_refused = on_refused
        self._standing = standing
        self._on_failure = on_failure or _print_kind
        self._context: ssl.SSLContext | None = None
        self._listening: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stop_asked: asyncio.Event | None = None
        self._drain_seconds = 0.0

    # --- from other threads ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind and serve from now on.

        Raises:
            ConfigurationError: the address cannot be bound.
            IntegrityError: key or certificate are not what was written.
        """
        self._context = self._make_context()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._listening = socket.create_server(
                (self._host, self._requested_port), family=family, backlog=_BACKLOG
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._host} port {self._requested_port}: {error.strerror}",
                hint="choose another port in leadglass.toml, or stop what listens there",
            ) from error
        self._listening.setblocking(False)
        self._port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="https", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._port

    @property
    def endpoints(self) -> Sequence[Endpoint | WebSocketEndpoint]:
        """All that is served, the server's own included."""
        return self._endpoints

    def reload(self) -> None:
        """Use a renewed certificate for connections that are accepted from now on; open ones go on as they are.

        Raises:
            IntegrityError: the new one cannot be used; the old one stays.
        """
        self._context = self._make_context()

    def stop(self, seconds: float) -> None:
        """Accept no more, let requests in hand end within ``seconds``, then cut what is left."""
        loop, asked = self._loop, self._stop_asked
        if self._thread is None or loop is None or asked is None:
            return
        self._drain_seconds = seconds
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(asked.set)
        self._thread.join(seconds + 2 * _SHUTDOWN_SECONDS)

    # --- in the thread of the loop -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        finally:
            self._started.set()

    async def _main(self) -> None:
        assert self._listening is not None
        _silence()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        self._loop = loop
        self._stop_asked = asyncio.Event()
        refusals = Refusals(self._clock)
        gate = Gate(
            Routes(self._endpoints),
            self._authenticator,
            self._options,
            self.port,
            self._clock,
            refusals,
            self._standing,
            self._on_failure,
        )
        front = Front(self._listening, lambda: self._context, gate, self._options, refusals)
        front.open()
        teller = asyncio.create_task(self._tell(refusals, front))
        self._started.set()
        await self._stop_asked.wait()
        await front.close(self._drain_seconds)
        teller.cancel()
        await self._tell_now(refusals, everything=True)

    async def _tell(self, refusals: Refusals, front: "Front") -> None:
        while True:
            front.tick()
            await self._tell_now(refusals, everything=False)
            await asyncio.sleep(_TICK_SECONDS)

    async def _tell_now(self, refusals: Refusals, *, everything: bool) -> None:
        for refusal in refusals.collect(everything=everything):
            try:
                await in_thread(self._on_refused, refusal)
            except Exception as error:  # noqa: BLE001 - a log that takes nothing closes the doors behind us by itself
                self._on_failure(error, "")

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # Connections that break are the daily bread of a server, and are counted where that says something.
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            self._on_failure(error, "")


class Front:
    """Accepts and counts connections; implements ``protocol.House``. For the thread of the loop.

    Args:
        listening: bound, non-blocking.
        context: gives the TLS context of a new connection.
        application: ASGI.
        options: of the site.
        refusals: counts what was refused.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: Callable[[], ssl.SSLContext | None],
        application: Gate,
        options: HTTPSOptions,
        refusals: Refusals,
    ) -> None:
        self._listening = listening
        self._tls = context
        self._options = options
        self._refusals = refusals
        self._loop = asyncio.get_running_loop()
        self._state = ServerState()
        self._config = Config(
            application,
            interface="asgi3",
            http=GuardedHTTP,
            ws=GuardedWebSocket,
            ws_max_size=WEBSOCKET_MESSAGE_BYTES_MAX,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            ws_per_message_deflate=False,  # secrets beside what others choose must not be compressed (CRIME, BREACH)
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._config.load()
        self._proxies = TrustedProxies(options.proxies, options.proxy_header)
        self._knocking: dict[socket.socket, str] = {}  # oldest first
        self._guests: dict[Guest, str] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._closing = False
        self._all_gone = asyncio.Event()

    def open(self) -> None:
        """Accept from now on."""
        self.tick()
        self._loop.add_reader(self._listening, self._accept)

    def tick(self) -> None:
        """Once a second: what time it is, for the header ``Date``."""
        date = email.utils.formatdate(time.time(), usegmt=True)
        self._state.default_headers = [(b"date", date.encode("ascii"))]

    async def close(self, seconds: float) -> None:
        """Accept no more, let requests end, then cut."""
        self._closing = True
        self._loop.remove_reader(self._listening)
        self._listening.close()
        for knocking in list(self._knocking):
            _cut(knocking)
        for guest in list(self._guests):
            guest.shutdown()
        if self._guests:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), seconds)
        for guest in list(self._guests):
            guest.abort()
        tasks = [*self._state.tasks, *self._handshakes]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_SHUTDOWN_SECONDS)
            for task in late:
                task.cancel()

    # --- before the handshake is done --------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of file descriptors: give connections time to end
                self._loop.remove_reader(self._listening)
                self._loop.call_later(0.1, self._accept_again)
                return
            address = plain_address(str(peer[0]))
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._make_room_to_knock(address)
            self._knocking[sock] = address
            task = self._loop.create_task(self._shake_hands(sock, address))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _accept_again(self) -> None:
        if not self._closing:
            self._loop.add_reader(self._listening, self._accept)

    def _make_room_to_knock(self, address: str) -> None:
        if len(self._knocking) < min(HTTP_HANDSHAKES_MAX, HTTP_HANDSHAKES_PER_ADDRESS_MAX):
            return
        shares = Counter(self._knocking.values())
        if shares[address] >= HTTP_HANDSHAKES_PER_ADDRESS_MAX and not self._proxies.trusts(address):
            crowd = address
        elif len(self._knocking) >= HTTP_HANDSHAKES_MAX:
            crowd = shares.most_common(1)[0][0]
        else:
            return
        longest = next(sock for sock, whose in self._knocking.items() if whose == crowd)
        del self._knocking[longest]
        _cut(longest)

    async def _shake_hands(self, sock: socket.socket, address: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: GuardedHTTP(self._config, self._state, self._loop, self, address),
                sock,
                ssl=self._tls(),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except OSError as error:  # ssl.SSLError, TimeoutError and ConnectionError among them
            made_room = sock not in self._knocking and not self._closing
            words = "too many at once, and this one took longest" if made_room else failure_words(error)
            self._refusals.note(f"TLS handshake: {words}", address)
        finally:
            self._knocking.pop(sock, None)

    # --- protocol.House ----------------------------------------------------------------------------------------

    def entered(self, guest: Guest) -> bool:
        """Take a connection whose handshake is done; False: there is no room, close it."""
        if self._closing:
            return False
        shares = Counter(self._guests.values()) if len(self._guests) >= self._crowded else Counter[str]()
        trusted = self._proxies.trusts(guest.address)
        crowd = ""
        if shares[guest.address] >= self._options.connections_per_address_max and not trusted:
            crowd = guest.address
        elif len(self._guests) >= self._options.connections_max:
            crowd = shares.most_common(1)[0][0]
        if crowd and not self._make_room(crowd):
            self._refusals.note("too many connections at once", guest.address)
            return False
        self._guests[guest] = guest.address
        return True

    @property
    def _crowded(self) -> int:
        """How many connections there may be before anybody need be counted."""
        return min(self._options.connections_max, self._options.connections_per_address_max)

    def _make_room(self, crowd: str) -> bool:
        idle = [
            (since, guest)
            for guest, address in self._guests.items()
            if address == crowd and (since := guest.idle_since) is not None
        ]
        if not idle:
            return False
        _, longest = min(idle, key=lambda pair: pair[0])
        del self._guests[longest]
        longest.abort()
        return True

    def changed(self, before: Guest, after: Guest) -> None:
        """A connection became a WebSocket."""
        self._guests.pop(before, None)
        self._guests[after] = after.address

    def left(self, guest: Guest) -> None:
        """A connection is over."""
        self._guests.pop(guest, None)
        if self._closing and not self._guests:
            self._all_gone.set()

    def malformed(self, guest: Guest, reason: str) -> None:
        """Put on record that a connection was closed for what came over it."""
        self._refusals.note(reason, guest.address)


def _cut(sock: socket.socket) -> None:
    """End the transport under a handshake; whoever waits for it sees its end, and closes it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _silence() -> None:
    """Keep the libraries from logging: their messages quote paths, and paths name studies."""
    for name in ("uvicorn", "websockets", "asyncio"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False


def _print_kind(error: BaseException, correlation_id: str) -> None:
    print(f"internal error: {type(error).__name__} {correlation_id}", file=sys.stderr, flush=True)  # noqa: T201
