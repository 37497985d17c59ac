"""TLS for tools that speak none (getscu and movescu of DCMTK 3.6.7): what stunnel would do."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Connect = Callable[[], socket.socket]


def to_tls(port: int, context: ssl.SSLContext) -> Connect:
    """Connect to a TLS listener of this machine."""
    return lambda: context.wrap_socket(_to(port), server_hostname="localhost")


def to_plain(port: int) -> Connect:
    """Connect to a listener of this machine that knows no TLS."""
    return lambda: _to(port)


def _to(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


@contextmanager
def tunnel(connect: Connect, *, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Accept connections and pass their octets on, until the block ends; yields the port.

    Args:
        connect: makes the connection onwards.
        port: to listen on; any free one by default.
        tls: what connections that arrive are wrapped with; plain by default.
    """
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept() -> None:
            while True:
                try:
                    arrived, _ = listener.accept()
                except OSError:
                    return  # the block has ended
                threads.append(threading.Thread(target=_carry, args=(arrived, connect, tls)))
                threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(10)
            for thread in threads:
                thread.join(10)


def _carry(arrived: socket.socket, connect: Connect, tls: ssl.SSLContext | None) -> None:
    with arrived, suppress(OSError):
        near = tls.wrap_socket(arrived, server_side=True) if tls else arrived
        with near, connect() as far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.settimeout(60)
            back = threading.Thread(target=_copy, args=(far, near))
            back.start()
            _copy(near, far)
            back.join(60)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    # One direction each: an SSLSocket may be read in one thread while it is written in another.
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
