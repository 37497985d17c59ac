"""The control socket: a local command reaches the process that owns the site.

A Unix socket of mode 0600 in a folder of mode 0700; the kernel says who connected (SO_PEERCRED), and only the owner of
the process and root are heard. One request a connection: a line of JSON; the answer is lines of JSON, progress first,
then the result or the error.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from leadglass.app.asking import JSON, Reply, Request, Tell, socket_address
from leadglass.app.compose import Node, asked_by
from leadglass.base.errors import LeadglassError, UsageError

_REQUEST_BYTES_MAX: Final = 1024 * 1024
_CONNECTIONS_MAX: Final = 8
_REQUEST_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 60.0
"""Longest wait for whoever asked to read: a command that was stopped at its terminal must not hold ours."""
_STOP_SECONDS: Final = 10.0
"""How long running commands may go on when the node ends. What one is in the middle of is made good as after a crash."""

Operation = Callable[[Node, JSON, Tell], JSON]
"""One command, carried out by the owner of the site: arguments and answer are JSON; ``Tell`` takes done and total."""


class _AskerGone(Exception):
    """Whoever asked does not wait for the answer any more."""


class ControlServer:
    """Answers on the control socket of a running node."""

    def __init__(self, path: Path, node: Node, operations: Mapping[str, Operation]) -> None:
        self._path = path
        self._node = node
        self._operations = operations
        self._socket: socket.socket | None = None
        self._stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._threads: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._accept_forever, name="control", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a process that died; the site lock says that it is gone
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            with socket_address(self._path) as address:
                self._socket.bind(address)
        finally:
            os.umask(old)
        self._socket.listen(_CONNECTIONS_MAX)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and let running commands end."""
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0))

    def _accept_forever(self) -> None:
        assert self._socket is not None
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                self._stopping.wait(0.05)  # out of file descriptors, if we are not to end
                continue
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="control-command", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                uid = _peer_uid(connection)
                if uid in {0, os.geteuid()}:
                    with asked_by(uid):
                        self._answer(connection)
        except (OSError, _AskerGone):
            pass  # whoever asked went away; what was done is on record
        finally:
            self._slots.release()
            self._threads.discard(threading.current_thread())

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_REQUEST_SECONDS)
        line = _read_line(connection)
        connection.settimeout(_ANSWER_SECONDS)

        def send(reply: Reply) -> None:
            try:
                connection.sendall(msgspec.json.encode(reply) + b"\n")
            except OSError as error:
                raise _AskerGone from error

        def tell(done: int, total: int) -> None:
            send(Reply(progress=(done, total)))

        try:
            request = msgspec.json.decode(line, type=Request)
            operation = self._operations.get(request.operation)
            if operation is None:
                raise UsageError(
                    "the running node does not know this command", hint="restart it after an update"
                )
            send(Reply(result=operation(self._node, request.arguments, tell)))
        except LeadglassError as error:
            send(Reply(error=str(error), code=error.code, hint=error.hint, exit_status=error.exit_status))
        except OSError as error:
            # Of the operation itself: a file that the command named, say. Its name stays out of the answer.
            words = f"the node could not do it: {error.strerror or type(error).__name__}"
            send(Reply(error=words, code=UsageError.code, exit_status=UsageError.exit_status))
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            send(
                Reply(
                    error="the request is malformed", code=UsageError.code, exit_status=UsageError.exit_status
                )
            )


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = connection.recv(65_536)
        if not piece or len(line) + len(piece) > _REQUEST_BYTES_MAX:
            break
        line += piece
    return bytes(line)


def _peer_uid(connection: socket.socket) -> int:
    """Return the user id of the connecting process, as the kernel knows it (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
