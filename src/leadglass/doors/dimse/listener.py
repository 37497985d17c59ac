"""Accepts connections: TLS with a client certificate or nothing.

One thread accepts; one thread per connection does the handshake and all that follows, so a slow handshake delays
nobody.

Who has not finished its handshake is nobody yet, and takes no place from an association: it waits in a room of its own.
When that is full, the one that has waited longest makes room, of the newcomer's own address if that has had its share,
else of the address that has most. A handshake takes milliseconds, so those who mean it are never the longest there,
however many connect and stay silent. Associations are counted when the handshake is done, per address and in all.
"""

import contextlib
import gc
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import (
    ASSOCIATIONS_PER_ADDRESS_MAX,
    HANDSHAKE_SECONDS,
    HANDSHAKES_MAX,
    HANDSHAKES_PER_ADDRESS_MAX,
    RECEIVE_BUFFER_BYTES,
)
from leadglass.trust.certs.tls import TLSFacts, failure_words, peer_facts

_CUT_SECONDS: Final = 5.0
"""How long threads get to notice that their connection was cut."""


class ConnectionServer(Protocol):
    """Serves one connection in its own thread; implemented by ``acceptor``."""

    def serve(self, sock: ssl.SSLSocket, address: str, tls: TLSFacts) -> None:
        """Serve until the connection is over; owns the socket."""
        ...

    def handshake_failed(self, address: str, reason: str) -> None:
        """Put a failed handshake on record."""
        ...

    def connection_refused(self, address: str, reason: str) -> None:
        """Put a connection that was closed before its handshake on record."""
        ...


class Listener:
    """The TLS listener. There is no other.

    Args:
        host: address to bind.
        port: 0 for any free one; see ``port`` after ``start``.
        tls: called for every connection, so that a renewed certificate is used from then on.
        server: what serves connections.
        connections_max: at once, over all addresses.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext],
        server: ConnectionServer,
        *,
        connections_max: int,
    ) -> None:
        self._host = host
        self._requested_port = port
        self._tls = tls
        self._server = server
        self._connections_max = connections_max
        self._lock = threading.Lock()
        self._knocking: dict[ssl.SSLSocket, str] = {}  # address by connection, oldest first; guarded by _lock
        self._open: dict[ssl.SSLSocket, str] = {}  # likewise, after the handshake; guarded by _lock
        self._threads: set[threading.Thread] = set()  # guarded by _lock
        self._socket: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Bind and accept from now on.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (self._host, self._requested_port), family=family, backlog=128
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._host} port {self._requested_port}: {error.strerror}",
                hint="choose another port in leadglass.toml, or stop what listens there",
            ) from error
        self._acceptor = threading.Thread(target=self._accept_forever, name="dimse-accept", daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        """The port that is bound."""
        assert self._socket is not None
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def connection_count(self) -> int:
        """Connections that are open now, handshake done."""
        with self._lock:
            return len(self._open)

    def stop(self, seconds: float) -> None:
        """Accept no more, let open associations end within ``seconds``, then cut what is left."""
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        if self._acceptor is not None:
            self._acceptor.join(timeout=5)
        with self._lock:
            threads = list(self._threads)
            for tls in self._knocking:
                _cut(tls)
        _join(threads, seconds)
        with self._lock:
            for tls in self._open:
                _cut(tls)
        _join(threads, _CUT_SECONDS)

    def _accept_forever(self) -> None:
        assert self._socket is not None
        while not self._stopping.is_set():
            try:
                sock, peer = self._socket.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                self._stopping.wait(0.05)  # out of file descriptors: give associations time to end
                continue
            self._admit(sock, str(peer[0]))

    def _admit(self, sock: socket.socket, address: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.settimeout(HANDSHAKE_SECONDS)
            tls = self._tls().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:  # ssl.SSLError among them: gone already
            sock.close()
            self._server.handshake_failed(address, f"TLS handshake: {failure_words(error)}")
            return
        thread = threading.Thread(
            target=self._serve, args=(tls, address), name=f"dimse-{address}", daemon=True
        )
        with self._lock:
            self._make_room(address)
            self._knocking[tls] = address
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread for it; whoever accepts must go on
            with self._lock:
                self._knocking.pop(tls, None)
                self._threads.discard(thread)
            tls.close()
            self._server.connection_refused(address, "no thread to serve it")

    def _make_room(self, address: str) -> None:
        shares = Counter(self._knocking.values())
        if shares[address] >= HANDSHAKES_PER_ADDRESS_MAX:
            crowd = address
        elif len(self._knocking) >= HANDSHAKES_MAX:
            crowd = shares.most_common(1)[0][0]
        else:
            return
        longest = next(tls for tls, whose in self._knocking.items() if whose == crowd)
        del self._knocking[longest]
        _cut(longest)

    def _serve(self, tls: ssl.SSLSocket, address: str) -> None:
        try:
            if self._handshake(tls, address) and self._take_place(tls, address):
                self._server.serve(tls, address, peer_facts(tls))
        finally:
            tls.close()
            with self._lock:
                self._knocking.pop(tls, None)
                self._open.pop(tls, None)
                self._threads.discard(threading.current_thread())
            # An association leaves cycles behind, and its buffers in them. The collector looks rarely (app.collector),
            # so that a flood of short associations would hold hundreds of buffers until then. A look at the young
            # objects takes about a millisecond.
            gc.collect(0)

    def _handshake(self, tls: ssl.SSLSocket, address: str) -> bool:
        try:
            tls.do_handshake()
        except OSError as error:  # ssl.SSLError and TimeoutError among them
            with self._lock:
                made_room = tls not in self._knocking and not self._stopping.is_set()
            words = "too many at once, and this one took longest" if made_room else failure_words(error)
            self._server.handshake_failed(address, f"TLS handshake: {words}")
            return False
        return True

    def _take_place(self, tls: ssl.SSLSocket, address: str) -> bool:
        with self._lock:
            there = self._knocking.pop(tls, None) is not None
            crowded = (
                len(self._open) >= self._connections_max
                or Counter(self._open.values())[address] >= ASSOCIATIONS_PER_ADDRESS_MAX
            )
            if there and not crowded:
                self._open[tls] = address
                return True
        self._server.connection_refused(address, "too many connections at once")
        return False


def _cut(tls: ssl.SSLSocket) -> None:
    """End the transport under a connection that another thread works on; that thread sees its end, and closes it."""
    with contextlib.suppress(OSError):
        # Not SSLSocket.shutdown: it would also take the TLS object away from under the other thread.
        socket.socket.shutdown(tls, socket.SHUT_RDWR)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
