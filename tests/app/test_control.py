"""The control socket: who is heard, what is understood, and that nothing that arrives there ends the node."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from leadglass.app.asking import JSON, NobodyListens, RemoteError, Tell, ask
from leadglass.app.compose import Node
from leadglass.app.control import ControlServer, Operation
from leadglass.base.errors import AccessDenied, PeerUnreachable

NODE = cast("Node", object())
"""The operations of these tests ask nothing of it."""


def echo(_node: Node, arguments: JSON, tell: Tell) -> JSON:
    tell(1, 2)
    return {"arguments": arguments}


def refuse(_node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    raise AccessDenied("not authorized", hint="ask somebody")


def fail(_node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    raise PermissionError(13, "Permission denied", "/secret/place")


def need(_node: Node, arguments: JSON, _tell: Tell) -> JSON:
    return {"value": arguments["value"]}


class Meeting:
    """An operation in which several commands wait for each other."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(4)

    def __call__(self, _node: Node, _arguments: JSON, _tell: Tell) -> JSON:
        return {"number": self.barrier.wait(20)}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "control.sock"
    operations: dict[str, Operation] = {
        "echo": echo,
        "refuse": refuse,
        "fail": fail,
        "need": need,
        "meet": Meeting(),
    }
    server = ControlServer(path, NODE, operations)
    server.start()
    yield path
    server.stop()
    assert not path.exists()


def quiet(_done: int, _total: int) -> None:
    pass


def raw(path: Path, octets: bytes, *, end: bool = False) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(15)
        connection.connect(str(path))
        connection.sendall(octets)
        if end:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            return [json.loads(line) for line in answers]


def test_a_command_and_its_progress(path: Path) -> None:
    told: list[tuple[int, int]] = []
    answer = ask(path, "echo", {"text": "\u00e4\n", "n": 1}, lambda done, total: told.append((done, total)))
    assert answer == {"arguments": {"text": "\u00e4\n", "n": 1}}
    assert told == [(1, 2)]


def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


_STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
    connection.settimeout(10)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(b'{"operation":"echo","arguments":{}}\\n')
        print(repr(connection.recv(1000)))
    except (PermissionError, BrokenPipeError, ConnectionResetError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("opened", [False, True])
def test_another_user_is_not_heard(path: Path, opened: bool) -> None:
    """Neither through the mode of the file, nor, where somebody opened that, past the kernel's word on who asks."""
    if opened:
        path.chmod(0o666)
        for folder in path.parents:
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001 and "pytest" in str(folder):
                folder.chmod(0o711)
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, str(path)], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() in {"b''", "PermissionError", "BrokenPipeError", "ConnectionResetError"}, done
    if opened:
        assert done.stdout.strip() != "PermissionError", "the test did not get as far as the socket"


def test_an_error_comes_across_with_code_hint_and_status(path: Path) -> None:
    with pytest.raises(RemoteError) as caught:
        ask(path, "refuse", {}, quiet)
    error = caught.value
    assert (str(error), error.remote_code, error.hint, error.remote_exit_status) == (
        "not authorized",
        "LG-0401",
        "ask somebody",
        7,
    )


def test_a_failing_file_is_said_without_its_name(path: Path) -> None:
    with pytest.raises(RemoteError, match="Permission denied") as caught:
        ask(path, "fail", {}, quiet)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "octets",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"operation":1,"arguments":{}}\n',
        b'{"operation":"echo"}\n',
        b'{"operation":"echo","arguments":[]}\n',
        b'{"operation":"echo","arguments":{},"more":1}\n',
        b'{"operation":"need","arguments":{}}\n',
        b"\xff\xfe\n",
        b'{"operation":"echo","arguments":' + b"[" * 5000 + b"\n",
    ],
)
def test_malformed_requests(path: Path, octets: bytes) -> None:
    (answer,) = raw(path, octets)
    assert answer["code"] == "LG-0100"
    assert answer["exit_status"] == 2
    assert ask(path, "echo", {}, quiet) == {"arguments": {}}


def test_a_request_that_is_cut(path: Path) -> None:
    (answer,) = raw(path, b'{"operation":"echo","argu', end=True)
    assert answer["error"] == "the request is malformed"


def test_an_unknown_command(path: Path) -> None:
    with pytest.raises(RemoteError, match="does not know") as caught:
        ask(path, "no-such-thing", {}, quiet)
    assert caught.value.hint


def test_an_oversized_request_is_not_read_to_its_end(path: Path) -> None:
    with pytest.raises((RemoteError, PeerUnreachable)):
        ask(path, "echo", {"text": "x" * (2 << 20)}, quiet)
    assert ask(path, "echo", {}, quiet) == {"arguments": {}}


def test_commands_run_side_by_side(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: ask(path, "meet", {}, quiet)["number"], range(4)))
    assert sorted(numbers) == [0, 1, 2, 3]


def test_somebody_who_does_not_wait_for_the_answer(path: Path) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"operation":"echo","arguments":{}}\n')
    assert ask(path, "echo", {}, quiet) == {"arguments": {}}


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with pytest.raises(NobodyListens):
        ask(path, "echo", {}, quiet)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with pytest.raises(NobodyListens):
        ask(path, "echo", {}, quiet)
    # A new process takes the place of the socket that a killed one left.
    server = ControlServer(path, NODE, {"echo": echo})
    server.start()
    try:
        assert ask(path, "echo", {}, quiet) == {"arguments": {}}
    finally:
        server.stop()


def test_whoever_owns_the_site_ends_before_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(PeerUnreachable) as caught:
            ask(path, "echo", {}, quiet)
        thread.join(10)
    # It may have been done: nothing may take this for leave to do it again.
    assert not isinstance(caught.value, NobodyListens)
