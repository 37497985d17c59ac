"""WebSockets: who may open one, from which page, and when it ends."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from doors.https.running import NAMES, TOKEN, Running, running
from leadglass.base.limits import WEBSOCKET_MESSAGE_BYTES_MAX
from leadglass.doors.https import gate
from leadglass.doors.https.endpoints import WebSocketEndpoint
from leadglass.doors.https.options import HTTPSOptions

OHIF = "https://viewer.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site"), options=HTTPSOptions(NAMES, origins=(OHIF,))) as server:
        yield server


def open_socket(site: Running, path: str = "/echo", **headers: str) -> ClientConnection:
    arguments: dict[str, Any] = {"additional_headers": headers, "ssl": site.context(), "open_timeout": 20}
    origin = headers.pop("Origin", None)
    return connect(f"wss://{site.host}{path}", origin=origin, proxy=None, **arguments)  # type: ignore[arg-type]


def refused(site: Running, path: str = "/echo", **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(site, path, **headers)
    response = caught.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-correlation-id"]
    return response.status_code


def test_who_is_signed_in_is_served(site: Running) -> None:
    with open_socket(site, Authorization=f"Bearer {TOKEN}") as socket:
        socket.send("hello")
        assert socket.recv(10) == "user:alice: hello"
        assert socket.response is not None
        assert socket.response.headers["x-correlation-id"]
        assert "server" not in socket.response.headers
        assert "sec-websocket-extensions" not in socket.response.headers


def test_who_is_not_is_told_the_same_whatever_the_path(site: Running) -> None:
    assert refused(site) == refused(site, "/nothing") == refused(site, "/me") == 401
    assert refused(site, Authorization="Bearer wrong") == 401


def test_a_path_without_a_socket_is_missing(site: Running) -> None:
    assert refused(site, "/nothing", Authorization=f"Bearer {TOKEN}") == 404
    assert refused(site, "/me", Authorization=f"Bearer {TOKEN}") == 405


def test_a_plain_get_on_a_socket_is_no_socket(site: Running) -> None:
    assert site.request("GET", "/echo").status == 404


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("own", True),
        (OHIF, True),
        ("https://evil.example", False),
        ("null", False),
        (OHIF + ".evil", False),
        ("", False),
    ],
)
def test_a_cookie_counts_only_with_a_page_of_ours(site: Running, origin: str, taken: bool) -> None:
    """S43: any page may open a WebSocket to anywhere; only Origin tells."""
    headers = {"Cookie": f"__Host-leadglass={TOKEN}"}
    if origin:
        headers["Origin"] = f"https://{site.host}" if origin == "own" else origin
    if not taken:
        assert refused(site, **headers) == 403
        return
    with open_socket(site, **headers) as socket:
        socket.send("hello")
        assert socket.recv(10) == "user:alice: hello"


def test_a_foreign_origin_is_refused_with_a_token_too(site: Running) -> None:
    assert refused(site, Authorization=f"Bearer {TOKEN}", Origin="https://evil.example") == 403


def test_a_message_that_is_too_long_ends_it(site: Running) -> None:
    with open_socket(site, Authorization=f"Bearer {TOKEN}") as socket:
        socket.send("x" * (WEBSOCKET_MESSAGE_BYTES_MAX + 1))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


def test_a_message_in_parts_is_bounded_as_a_whole(site: Running) -> None:
    with open_socket(site, Authorization=f"Bearer {TOKEN}") as socket:
        socket.send("x" * 1000 for _ in range(WEBSOCKET_MESSAGE_BYTES_MAX // 1000 + 2))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


def test_it_ends_soon_after_the_right_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WEBSOCKET_RECHECK_SECONDS", 0.1)
    with running(tmp_path) as server, open_socket(server, Authorization=f"Bearer {TOKEN}") as socket:
        socket.send("hello")
        assert socket.recv(10) == "user:alice: hello"
        del server.authenticator.tokens[TOKEN]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


def test_a_handler_that_only_waits_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WEBSOCKET_RECHECK_SECONDS", 0.1)
    ended = threading.Event()

    async def wait(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    made = [WebSocketEndpoint("/wait", wait)]
    with running(tmp_path, endpoints=made) as server:
        with open_socket(server, "/wait", Authorization=f"Bearer {TOKEN}") as socket:
            del server.authenticator.tokens[TOKEN]
            with pytest.raises(ConnectionClosed):
                socket.recv(10)
        assert ended.wait(10)


def test_a_stop_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as server, open_socket(server, Authorization=f"Bearer {TOKEN}") as socket:
        socket.send("hello")
        assert socket.recv(10)
        stopper = threading.Thread(target=server.server.stop, args=(10.0,))
        stopper.start()
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        stopper.join(20)
        assert not stopper.is_alive()
