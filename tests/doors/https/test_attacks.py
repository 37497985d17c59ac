"""What strangers send: S10 (slow), S75 (two readings), S76 (too much), half-open connections. Over raw TLS sockets."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doors.https.running import NAMES, PIECE, TOKEN, Running, read_to_end, running
from leadglass.base.limits import (
    HTTP_HANDSHAKES_PER_ADDRESS_MAX,
    HTTP_HEAD_BYTES_MAX,
    HTTP_HEADERS_MAX,
    REQUEST_TARGET_BYTES_MAX,
)
from leadglass.doors.https import protocol
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.refusals import Refusal


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site")) as server:
        yield server


def head(site: Running, line: str, *fields: str) -> bytes:
    lines = [line, f"Host: {site.host}", f"Authorization: Bearer {TOKEN}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


# --- S10: slow ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server whose clocks are short: a test waits for the end of a connection, not for half a minute."""
    for name in (
        "HTTP_HEAD_SECONDS",
        "HTTP_IDLE_SECONDS",
        "BODY_SILENCE_SECONDS",
        "HTTP_SEND_SECONDS",
        "BODY_LEFT_SECONDS",
    ):
        monkeypatch.setattr(protocol, name, 0.3)
    with running(tmp_path) as server:
        yield server


def test_a_connection_that_says_nothing_is_closed(hasty: Running) -> None:
    assert hasty.raw(b"") == b""


def test_half_a_head_is_closed(hasty: Running) -> None:
    assert statuses(hasty.raw(head(hasty, "GET /me HTTP/1.1")[:-2])) == [408]


def test_a_head_that_drips_is_closed(hasty: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """An octet now and then does not wind the clock up again."""
    with hasty.connect() as connection:
        stop = threading.Event()

        def drip() -> None:
            for octet in head(hasty, "GET /me HTTP/1.1", "X-Long: " + "a" * 10_000):
                if stop.wait(0.02):
                    return
                try:
                    connection.send(bytes([octet]))
                except OSError:
                    return

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert statuses(read_to_end(connection)) == [408]
        stop.set()
        dripper.join()


def test_empty_lines_are_no_beginning(hasty: Running) -> None:
    assert statuses(hasty.raw(b"\r\n\r\n")) == [408]


def test_half_a_body_is_closed_and_others_are_served(hasty: Running) -> None:
    with hasty.connect() as slow:
        slow.sendall(head(hasty, "POST /digest HTTP/1.1", "Content-Length: 1000000") + b"x" * 100)
        assert hasty.request("GET", "/me").status == 200
        assert read_to_end(slow) == b""  # cut: no answer that could be taken for one to the whole body
    assert any(r.reason == "a body that came too slowly" for r in _told(hasty, 1))


def test_an_answer_that_nobody_takes_is_cut(hasty: Running) -> None:
    with hasty.connect() as lazy:
        lazy.sendall(head(hasty, "GET /download?pieces=100000 HTTP/1.1"))
        assert hasty.downloads.closed.wait(20)
        assert hasty.downloads.ended == [False]
        assert len(read_to_end(lazy)) < 100_000 * len(PIECE)


def test_an_idle_connection_is_closed_after_its_answer(hasty: Running) -> None:
    assert statuses(hasty.raw(head(hasty, "GET /me HTTP/1.1"))) == [200]


def test_a_body_that_goes_on_after_its_answer_is_cut(hasty: Running) -> None:
    answer = hasty.raw(head(hasty, "POST /change HTTP/1.1", "Content-Length: 5000") + b"x")
    assert statuses(answer) == [413]


def test_a_slow_body_that_is_ours_to_blame_is_not_cut(
    hasty: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While we do not read, the clock of the client stands still."""
    # The handler of /digest waits for nothing here; so a body in one piece, larger than the window, must pass.
    body = b"z" * 3_000_000
    assert hasty.request("POST", "/digest", body).status == 200


# --- S75: two readings -------------------------------------------------------------------------------------------

INNER = b"GET /me HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = {
    "length and chunks": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "chunks and length": ["Transfer-Encoding: chunked", "Content-Length: 5"],
    "two lengths": ["Content-Length: 5", "Content-Length: 5"],
    "two other lengths": ["Content-Length: 5", "Content-Length: 6"],
    "a list of lengths": ["Content-Length: 5, 5"],
    "length with a sign": ["Content-Length: +5"],
    "negative length": ["Content-Length: -5"],
    "hexadecimal length": ["Content-Length: 0x5"],
    "length beyond 64 bits": ["Content-Length: 99999999999999999999999"],
    "unknown coding": ["Transfer-Encoding: xchunked"],
    "two codings": ["Transfer-Encoding: gzip, chunked"],
    "chunked twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "chunked before identity": ["Transfer-Encoding: chunked, identity"],
    "coding behind a control character": ["Transfer-Encoding: \x0bchunked"],
    "blank before the colon": ["Content-Length : 5"],
    "folded": ["X-A: b", " Transfer-Encoding: chunked"],
    "two hosts": ["Host: evil.example"],
    "two authorizations": ["Authorization: Bearer other"],
    "two origins": ["Origin: https://a", "Origin: https://b"],
    "null in a value": ["X-A: a\x00b"],
    "bare carriage return": ["X-A: a\rb"],
    "bare line feed": ["X-A: a\nContent-Length: 5"],
    "no name": [": 5"],
}


@pytest.mark.parametrize("kind", SMUGGLED)
def test_what_has_two_readings_is_refused(site: Running, kind: str) -> None:
    seen = len(site.authenticator.seen)
    answer = site.raw(head(site, "POST /digest HTTP/1.1", *SMUGGLED[kind]) + b"0\r\n\r\n" + INNER)
    assert len(statuses(answer)) <= 1
    assert all(status in {400, 501} for status in statuses(answer))
    assert len(site.authenticator.seen) == seen


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \x01\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nhello",
        b"5\r\nhello0\r\n\r\n",
        b"zz\r\n",
        b"5\r\nhello\r\n0\r\nAuthorization: Bearer other\r\n\r\n",
    ],
)
def test_chunks_that_are_not_to_the_letter_end_the_connection(site: Running, body: bytes) -> None:
    answer = site.raw(head(site, "POST /digest HTTP/1.1", "Transfer-Encoding: chunked") + body + INNER)
    assert 200 not in statuses(answer)
    assert len(statuses(answer)) <= 1


def test_a_second_request_before_the_first_answer_is_not_served(site: Running) -> None:
    one = head(site, "GET /me HTTP/1.1")
    answer = site.raw(one * 3)
    assert statuses(answer) == [200]
    assert b"connection: close" in answer.lower()


def test_ten_thousand_requests_in_one_piece_cost_one(site: Running) -> None:
    seen = len(site.authenticator.seen)
    site.raw(head(site, "GET /me HTTP/1.1") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000)
    assert len(site.authenticator.seen) == seen + 1


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET https://evil.example/me HTTP/1.1", 400),
        ("GET http://localhost/me HTTP/1.1", 400),
        ("CONNECT evil.example:443 HTTP/1.1", 501),
        ("OPTIONS * HTTP/1.1", 400),
        ("TRACE /me HTTP/1.1", 501),
        ("PROPFIND /me HTTP/1.1", 501),
        ("GET /me HTTP/1.0", 505),
        ("GET /me HTTP/0.9", 505),
        ("GET /me HTTP/2.0", 505),
        ("GET /me", 505),
        ("PRI * HTTP/2.0", 400),
        ("get /me HTTP/1.1", 400),
        ("GET /m e HTTP/1.1", 400),
        ("GET /\xff HTTP/1.1", 400),
    ],
)
def test_request_lines_that_are_not_ours(site: Running, line: str, status: int) -> None:
    answer = site.raw(head(site, line))
    assert statuses(answer) in ([status], [400])
    assert b"server" not in answer.lower()


def test_no_host_is_refused(site: Running) -> None:
    assert statuses(site.raw(b"GET /healthz HTTP/1.1\r\n\r\n")) == [400]


def test_an_upgrade_to_another_protocol_is_not_one(site: Running) -> None:
    answer = site.raw(
        head(
            site,
            "GET /me HTTP/1.1",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
        )
        + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    )
    assert statuses(answer) == [200]


def test_a_length_that_lies_allocates_nothing(site: Running) -> None:
    """S75: Orthanc reserved what the header said."""
    with site.connect() as connection:
        connection.sendall(head(site, "POST /digest HTTP/1.1", "Content-Length: 9000000000000000000") + b"x")
        assert site.request("GET", "/me").status == 200


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    garbage=st.binary(max_size=300),
    begin=st.sampled_from(
        [b"", b"GET / HTTP/1.1\r\n", b"POST /digest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"]
    ),
)
def test_garbage_is_answered_with_nothing_good_and_harms_nobody(
    site: Running, garbage: bytes, begin: bytes
) -> None:
    with site.connect() as connection:
        connection.settimeout(20)
        connection.sendall(begin + garbage)
        connection.shutdown(socket.SHUT_WR)
        assert 200 not in statuses(read_to_end(connection))
    assert not site.failures


# --- S76: too much -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /" + b"a" * (REQUEST_TARGET_BYTES_MAX + 1), 414),
        (b"GET / HTTP/1.1\r\nX-A: " + b"a" * (HTTP_HEAD_BYTES_MAX + 1), 431),
        (b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * (HTTP_HEADERS_MAX + 2), 431),
        (b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"a" * 1000 + b"\r\n") * 33, 431),
        (b"GET / HTTP/1.1\r\n" + b"a" * (HTTP_HEAD_BYTES_MAX + 1), 431),
        (b"\r\n" * HTTP_HEAD_BYTES_MAX, 431),
    ],
)
def test_a_head_that_does_not_end_is_refused(site: Running, octets: bytes, status: int) -> None:
    answer = site.raw(octets)
    assert statuses(answer) == [status]


def test_a_target_and_a_head_of_the_greatest_size_are_taken(site: Running) -> None:
    path = "/me?" + "a" * (REQUEST_TARGET_BYTES_MAX - 4)
    assert site.request("GET", path, headers={"X-A": "b" * 8000}).status == 200


def test_a_body_that_is_too_long_is_refused_by_its_length_and_by_its_octets(site: Running) -> None:
    assert site.request("POST", "/change", b"x" * 1000).status == 200
    assert site.request("POST", "/change", b"x" * 1001).status == 413
    assert site.request("POST", "/change", iter([b"x" * 600, b"x" * 600])).status == 413


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_refused(site: Running, coding: str) -> None:
    """S21: a bomb is refused before it is opened."""
    headers = {"Content-Encoding": coding}
    assert site.request("POST", "/digest", b"\x1f\x8b" + bytes(100), headers=headers).status == 415


# --- many --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_thousand_half_open_connections_keep_nobody_out(site: Running) -> None:
    """S8 for HTTPS: connections that never begin a handshake."""
    crowd: list[socket.socket] = []
    try:
        for number in range(5000):
            crowd.append(socket.create_connection(("127.0.0.1", site.server.port), timeout=10))
            if len(crowd) > 500:  # those that were cut need no descriptor of ours
                crowd.pop(0).close()
            if number % 1000 == 999:
                assert site.request("GET", "/me").status == 200
        assert site.request("GET", "/me").status == 200
        alive = sum(1 for one in crowd if not _is_cut(one))
        assert alive <= HTTP_HANDSHAKES_PER_ADDRESS_MAX
    finally:
        for one in crowd:
            one.close()


def _is_cut(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_idle_connections_make_room_for_those_who_ask(tmp_path: Path) -> None:
    options = HTTPSOptions(NAMES, connections_max=8, connections_per_address_max=8)
    with running(tmp_path, options=options) as server:
        idle = [server.connect() for _ in range(8)]
        assert server.request("GET", "/me").status == 200
        assert _is_cut(idle[0])  # who has been idle longest goes, and nobody else
        assert not any(_is_cut(one) for one in idle[2:])
        for one in idle:
            one.close()


def test_a_connection_that_is_being_served_is_never_the_one_to_go(tmp_path: Path) -> None:
    options = HTTPSOptions(NAMES, connections_max=4, connections_per_address_max=4)
    with running(tmp_path, options=options) as server:
        server.downloads.gate.clear()
        busy = [server.connect() for _ in range(4)]
        for one in busy:
            one.sendall(head(server, "GET /download?pieces=20 HTTP/1.1"))
            assert one.recv(1000).startswith(b"HTTP/1.1 200")
        with pytest.raises(OSError):
            server.request("GET", "/me")
        server.downloads.gate.set()
        for one in busy:
            received = 0
            while received < 19 * len(PIECE):
                received += len(one.recv(1 << 20))
            one.close()
        assert any(r.reason == "too many connections at once" for r in _told(server, 1))


def _told(site: Running, count: int) -> list[Refusal]:
    ended = threading.Event()
    for _ in range(50):
        if len(site.refusals) >= count:
            break
        ended.wait(0.1)
    return list(site.refusals)
