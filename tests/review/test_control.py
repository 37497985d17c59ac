"""What a hostile review found on the control socket, each as the test that found it."""

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from leadglass.app import control
from leadglass.app.asking import JSON, Tell, ask
from leadglass.app.compose import Node
from leadglass.app.control import ControlServer


def tell(_done: int, _total: int) -> None:
    """Nobody looks."""


def served(path: Path, operation: control.Operation) -> ControlServer:
    server = ControlServer(path, cast("Node", None), {"do": operation})
    server.start()
    return server


def test_a_command_that_does_not_end_does_not_keep_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM waited for it without bound."""
    monkeypatch.setattr(control, "_STOP_SECONDS", 0.1)
    began, end = threading.Event(), threading.Event()

    def endless(_node: Node, _arguments: JSON, _tell: Tell) -> JSON:
        began.set()
        end.wait()
        return {}

    server = served(tmp_path / "sock", endless)
    answers: list[JSON] = []
    asking = threading.Thread(target=lambda: answers.append(ask(tmp_path / "sock", "do", {}, tell)))
    asking.start()
    assert began.wait(10)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    stopping.join(10)
    alive = stopping.is_alive()
    end.set()
    asking.join(10)
    stopping.join(10)
    assert not alive
    assert answers == [{}]


def test_without_file_descriptors_for_a_moment_it_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One EMFILE ended the accepting thread, and with it every command until the next start."""
    failed = threading.Event()
    accept = socket.socket.accept

    def accept_once_fails(sock: socket.socket) -> tuple[socket.socket, Any]:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", accept_once_fails)
    server = served(tmp_path / "sock", lambda _node, _arguments, _tell: {"done": True})
    assert ask(tmp_path / "sock", "do", {}, tell) == {"done": True}
    assert failed.is_set()
    server.stop()
