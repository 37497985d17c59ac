"""Accepts connections: TLS with a client certificate or nothing.

One thread accepts; one thread per connection does the handshake and all that follows, so a slow handshake delays
nobody. Connections are counted before the handshake, per address and in all.
"""

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import ASSOCIATIONS_PER_ADDRESS_MAX, HANDSHAKE_SECONDS, RECEIVE_BUFFER_BYTES
from leadglass.trust.certs.tls import TLSFacts, failure_words, peer_facts


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
        self._per_address: Counter[str] = Counter()  # guarded by _lock
        self._open: set[socket.socket] = set()  # guarded by _lock
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
        """Connections that are open now."""
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
        for thread in threads:
            thread.join(timeout=seconds / max(len(threads), 1))
        with self._lock:
            leftover = list(self._open)
        for sock in leftover:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)

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
        with self._lock:
            total = len(self._open)
            crowded = (
                self._per_address[address] >= ASSOCIATIONS_PER_ADDRESS_MAX or total >= self._connections_max
            )
            if not crowded:
                self._per_address[address] += 1
                self._open.add(sock)
        if crowded:
            sock.close()
            self._server.connection_refused(address, "too many connections at once")
            return
        thread = threading.Thread(
            target=self._serve, args=(sock, address), name=f"dimse-{address}", daemon=True
        )
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, sock: socket.socket, address: str) -> None:
        try:
            tls = self._handshake(sock, address)
            if tls is not None:
                self._server.serve(tls, address, peer_facts(tls))
        finally:
            sock.close()
            with self._lock:
                self._open.discard(sock)
                self._threads.discard(threading.current_thread())
                self._per_address[address] -= 1
                if not self._per_address[address]:
                    del self._per_address[address]

    def _handshake(self, sock: socket.socket, address: str) -> ssl.SSLSocket | None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.settimeout(HANDSHAKE_SECONDS)
            return self._tls().wrap_socket(sock, server_side=True)
        except OSError as error:  # ssl.SSLError and TimeoutError among them
            self._server.handshake_failed(address, f"TLS handshake: {failure_words(error)}")
        return None
