"""Asking the process that owns a site, on its control socket; and what goes over it.

A command that only asks the running node needs nothing of what the node is made of: nothing here imports it.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec

from leadglass.base.errors import LeadglassError, PeerUnreachable

Tell = Callable[[int, int], None]
JSON = dict[str, Any]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked: one line of JSON."""

    operation: str
    arguments: dict[str, Any]


class Reply(msgspec.Struct, omit_defaults=True):
    """A line of the answer: progress, and at the end the result or the error."""

    progress: tuple[int, int] | None = None
    result: dict[str, Any] | None = None
    error: str = ""
    code: str = ""
    hint: str = ""
    exit_status: int = 0


class RemoteError(LeadglassError):
    """What the owner of the site answered instead of a result."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.error, hint=reply.hint)
        self.remote_code = reply.code
        self.remote_exit_status = reply.exit_status


class NobodyListens(PeerUnreachable):
    """Nothing was asked: no process listens on the control socket."""


def ask(path: Path, operation: str, arguments: JSON, tell: Tell) -> JSON:
    """Have the owner of the site carry out a command.

    Raises:
        NobodyListens: nothing was asked.
        PeerUnreachable: whoever was asked ended before the answer.
        RemoteError: it failed there.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                with socket_address(path) as address:
                    connection.connect(address)
            except OSError as error:
                raise NobodyListens(
                    "the process that owns this site does not listen on its control socket",
                    hint="is it starting or ending just now? `leadglass status` asks again",
                ) from error
            connection.sendall(msgspec.json.encode(Request(operation, arguments)) + b"\n")
            with connection.makefile("rb") as answers:
                for line in answers:
                    reply = msgspec.json.decode(line, type=Reply)
                    if reply.progress is not None:
                        tell(*reply.progress)
                    elif reply.result is not None:
                        return reply.result
                    else:
                        raise RemoteError(reply)
    except OSError as error:
        raise PeerUnreachable(
            "the process that owns this site does not answer on its control socket",
            hint="is it starting or ending just now? `leadglass status` asks again",
        ) from error
    raise PeerUnreachable("the process that owns this site ended before it answered")


@contextlib.contextmanager
def socket_address(path: Path) -> Generator[str, None, None]:
    """Give an address of the socket: sun_path holds 107 octets (unix(7)), a site may lie deeper."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
