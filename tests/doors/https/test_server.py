"""The server as a client sees it, over TLS."""

import hashlib
import http.client
import os
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from doors.https.running import NAMES, PIECE, TOKEN, Running, read_to_end, running
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import STREAM_AHEAD_BYTES, STREAM_PIECE_BYTES
from leadglass.doors.https.endpoints import Endpoint
from leadglass.doors.https.openapi import document
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.server import HTTPSServer
from leadglass.trust.certs.node_key import write_node_credentials


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site")) as server:
        yield server


def test_who_is_signed_in_is_served(site: Running) -> None:
    answer = site.request("GET", "/me")
    assert (answer.status, answer.json()["principal"]) == (200, "user:alice")


def test_a_body_arrives_whole(site: Running) -> None:
    body = os.urandom(5 * 1024 * 1024 + 17)
    answer = site.request("POST", "/digest", body)
    assert (answer.status, answer.body.decode()) == (200, hashlib.sha256(body).hexdigest())


def test_a_body_in_chunks_arrives_whole(site: Running) -> None:
    parts = [os.urandom(size) for size in (1, 70_000, 3, 300_000)]
    answer = site.request("POST", "/digest", iter(parts))
    assert answer.body.decode() == hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("query", ["?pieces=9", "?pieces=9&chunked", "?pieces=0", "?pieces=1&chunked"])
def test_an_answer_arrives_whole(site: Running, query: str) -> None:
    answer = site.request("GET", "/download" + query)
    assert (answer.status, answer.body) == (200, PIECE * int(query[8]))


def test_head_makes_nothing(site: Running) -> None:
    made = site.downloads.made
    site.downloads.closed.clear()
    answer = site.request("HEAD", "/download?pieces=9")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(9 * len(PIECE))
    assert site.downloads.closed.wait(10)
    assert site.downloads.made == made


def test_a_connection_serves_many_requests(site: Running) -> None:
    connection = http.client.HTTPSConnection(
        "localhost", site.server.port, context=site.context(), timeout=20
    )
    for _ in range(3):
        connection.request("GET", "/me", headers={"Authorization": f"Bearer {TOKEN}"})
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()


# --- what every answer has ---------------------------------------------------------------------------------------


def test_a_sane_correlation_id_is_taken_and_comes_back(site: Running) -> None:
    answer = site.request("GET", "/me", headers={"X-Correlation-ID": "study-list.4711"})
    assert answer.headers["x-correlation-id"] == answer.json()["correlation_id"] == "study-list.4711"


def test_a_trace_id_is_taken(site: Running) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = site.request("GET", "/me", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.headers["x-correlation-id"] == trace


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "name with space", "a<script>bc"])
def test_any_other_correlation_id_is_replaced(site: Running, given: str) -> None:
    made = site.request("GET", "/me", headers={"X-Correlation-ID": given}).headers["x-correlation-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


EVERY = [
    ("GET", "/me", TOKEN, 200),
    ("GET", "/me", "", 401),
    ("GET", "/me", "wrong", 401),
    ("GET", "/nothing", TOKEN, 404),
    ("PUT", "/me", TOKEN, 405),
    ("GET", "/healthz", "", 200),
    ("GET", "/openapi.json", TOKEN, 200),
    ("POST", "/change", TOKEN, 200),
    ("GET", "/download", TOKEN, 200),
    ("GET", "/fail/denied", TOKEN, 403),
    ("GET", "/fail/step-up", TOKEN, 401),
    ("GET", "/fail/missing", TOKEN, 404),
    ("GET", "/fail/audit", TOKEN, 503),
    ("GET", "/fail/damaged", TOKEN, 500),
    ("GET", "/fail/bug", TOKEN, 500),
]


@pytest.mark.parametrize(("method", "path", "token", "status"), EVERY)
def test_every_answer_has_its_headers(site: Running, method: str, path: str, token: str, status: int) -> None:
    """S44: click-jacking, sniffing, caches that keep what they must not."""
    answer = site.request(method, path, token=token)
    headers = answer.headers
    assert answer.status == status
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers
    assert headers["x-correlation-id"]
    if status >= 400:
        problem = answer.json()
        assert headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["correlation_id"] == headers["x-correlation-id"]
        assert re.fullmatch("LG-[0-9]{4}", problem["code"])
        assert problem["type"] == f"urn:leadglass:error:{problem['code']}"


@pytest.mark.parametrize("kind", ["denied", "step-up", "missing", "audit", "damaged", "bug"])
def test_an_error_says_nothing_that_would_help_a_stranger(site: Running, kind: str) -> None:
    body = site.request("GET", f"/fail/{kind}").body
    for words in (b"secret reason", b"1.2.3", b"disk", b"pack", b"DOE", b"ValueError"):
        assert words not in body


def test_step_up_is_asked_for_as_rfc_9470_has_it(site: Running) -> None:
    challenge = site.request("GET", "/fail/step-up").headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert challenge.endswith("max_age=300")


def test_what_nobody_planned_is_told_to_the_site_only(site: Running) -> None:
    before = len(site.failures)
    answer = site.request("GET", "/fail/bug")
    error, correlation_id = site.failures[before]
    assert isinstance(error, ValueError)
    assert correlation_id == answer.headers["x-correlation-id"]


@pytest.mark.parametrize("token", ["", "wrong"])
def test_who_is_not_signed_in_cannot_tell_what_exists(site: Running, token: str) -> None:
    """Known path, unknown path, known path with another method: one answer."""
    seen = set()
    for method, path in (
        ("GET", "/me"),
        ("GET", "/nothing"),
        ("DELETE", "/me"),
        ("GET", "/fail/denied"),
        ("POST", "/healthz"),
    ):
        answer = site.request(
            method,
            path,
            token=token,
            headers={"X-Correlation-ID": "the-same-one", "Origin": f"https://{site.host}"},
        )
        headers = tuple(sorted((k, v) for k, v in answer.headers.items() if k != "date"))
        seen.add((answer.status, headers, answer.body))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 401


def test_a_name_that_is_not_ours_is_refused(site: Running) -> None:
    """DNS rebinding: a page of evil.example that a browser believes to be at our address."""
    for host in ("evil.example", f"evil.example:{site.server.port}", "localhost:1", "localhost:"):
        assert site.request("GET", "/healthz", headers={"Host": host}).status == 421
    assert site.request("GET", "/healthz", headers={"Host": f"LOCALHOST:{site.server.port}"}).status == 200


@pytest.mark.parametrize("public_port", [0, 443, 8443])
def test_a_name_without_a_port_is_ours_and_urls_have_the_port(tmp_path: Path, public_port: int) -> None:
    """dicomweb-client leaves it out. Source: RFC 9110 7.2."""

    async def own_url(request: Request) -> Response:
        return PlainTextResponse(str(request.url))

    endpoint = Endpoint("GET", "/own-url", own_url, {"summary": "Its own URL"})
    options = HTTPSOptions(NAMES, public_port=public_port)
    with running(tmp_path, options=options, endpoints=[endpoint]) as site:
        port = public_port or site.server.port
        seen = "https://localhost/own-url" if port == 443 else f"https://localhost:{port}/own-url"
        for given in ("localhost", "LocalHost"):
            assert site.request("GET", "/own-url", headers={"Host": given}).body.decode() == seen
        inside = f"localhost:{site.server.port}"
        assert (
            site.request("GET", "/own-url", headers={"Host": inside}).body.decode()
            == f"https://{inside}/own-url"
        )
        page = {"Host": "localhost", "Origin": seen.removesuffix("/own-url")}
        assert site.request("POST", "/change", b"1", headers=page).status == 200
        page["Origin"] = "https://localhost:1"
        assert site.request("POST", "/change", b"1", headers=page).status == 403


def test_nothing_is_compressed(site: Running) -> None:
    headers = {"Accept-Encoding": "gzip, br, zstd, deflate"}
    assert "content-encoding" not in site.request("GET", "/openapi.json", headers=headers).headers


# --- the description ---------------------------------------------------------------------------------------------


def test_the_description_names_every_endpoint_and_no_other(site: Running) -> None:
    described = site.request("GET", "/openapi.json").json()
    found = {(path, method) for path, item in described["paths"].items() for method in item}
    expected = {
        (endpoint.path, getattr(endpoint, "method", "GET").lower()) for endpoint in site.server.endpoints
    }
    assert found == expected
    assert described["openapi"].startswith("3.1")
    for path, item in described["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            assert "default" in operation["responses"]
            named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert named == set(re.findall("{(.*?)}", path))
    public = {
        path for path, item in described["paths"].items() for o in item.values() if o.get("security") == []
    }
    assert public == {"/sign-in", "/acs", "/healthz", "/shown"}


def test_every_endpoint_that_is_not_public_wants_somebody_signed_in(site: Running) -> None:
    for endpoint in site.server.endpoints:
        if not getattr(endpoint, "public", False):
            answer = site.request(getattr(endpoint, "method", "GET"), endpoint.path, token="")
            assert answer.status == 401, endpoint.path


def test_an_operation_keeps_what_its_endpoint_says(site: Running) -> None:
    described = document(site.server.endpoints)
    assert described["paths"]["/me"]["get"]["summary"] == "Who I am"
    assert "101" in described["paths"]["/echo"]["get"]["responses"]


def test_health_says_no_more_than_ok(tmp_path: Path) -> None:
    state = [True]
    with running(tmp_path, ready=lambda: state[0]) as server:
        answer = server.request("GET", "/healthz", token="")
        assert (answer.status, answer.body) == (200, b"ok\n")
        state[0] = False
        answer = server.request("GET", "/healthz", token="")
        assert (answer.status, answer.body) == (503, b"unavailable\n")


def test_security_txt_is_there_where_the_site_has_a_contact(tmp_path: Path, site: Running) -> None:
    assert site.request("GET", "/.well-known/security.txt", token="").status == 401
    with running(tmp_path, options=HTTPSOptions(NAMES, security_contact="mailto:it@example.org")) as server:
        answer = server.request("GET", "/.well-known/security.txt", token="")
        assert answer.status == 200
        assert re.fullmatch(
            "Contact: mailto:it@example.org\nExpires: 20..-..-..T..:..:..Z\n", answer.body.decode()
        )


# --- streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["?pieces=40&fails=30", "?pieces=40&fails=30&chunked"])
def test_an_answer_that_fails_in_the_middle_never_looks_whole(site: Running, query: str) -> None:
    site.downloads.closed.clear()
    with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
        site.request("GET", "/download" + query)
    assert site.downloads.closed.wait(10)
    assert site.downloads.ended[-1] is False


def test_an_answer_that_fails_at_once_is_an_error_like_any_other(site: Running) -> None:
    answer = site.request("GET", "/download?pieces=3&fails=0")
    assert (answer.status, answer.json()["code"]) == (500, "LG-0500")


def test_a_client_that_goes_away_ends_the_work(site: Running) -> None:
    site.downloads.closed.clear()
    made = site.downloads.made
    connection = site.connect()
    connection.sendall(_get(site, "/download?pieces=100000"))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    connection.close()
    assert site.downloads.closed.wait(10)
    assert site.downloads.ended[-1] is False
    assert site.downloads.made - made < 1000


def test_a_client_that_does_not_read_costs_a_bounded_amount(site: Running) -> None:
    site.downloads.closed.clear()
    made = site.downloads.made
    connection = site.connect()
    connection.sendall(_get(site, "/download?pieces=100000"))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    # What is made is what the kernel takes (some MiB on loopback) and what we hold; then nothing more is.
    held = STREAM_AHEAD_BYTES * 2 + STREAM_PIECE_BYTES * 2
    settled = _settled(lambda: site.downloads.made - made)
    assert settled * len(PIECE) < 16 * 1024 * 1024 + held
    assert site.request("GET", "/me").status == 200  # and nobody else waits
    connection.close()
    assert site.downloads.closed.wait(10)


def test_small_pieces_are_joined_and_large_ones_cut(tmp_path: Path) -> None:
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415

    from leadglass.doors.https.endpoints import Endpoint  # noqa: PLC0415
    from leadglass.doors.https.threads import stream  # noqa: PLC0415

    parts = [b"a", b"b" * 100_000, b"", b"c" * 10, b"d" * 3_000_000, b"e" * 65_535, b"f"]

    async def mixed(_request: Request) -> Response:
        return stream(iter(parts), media_type="text/plain")

    with running(tmp_path, endpoints=[Endpoint("GET", "/mixed", mixed, {"summary": "Mixed"})]) as server:
        assert server.request("GET", "/mixed").body == b"".join(parts)


def _get(site: Running, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


def _settled(count: object) -> int:
    assert callable(count)
    seen, wait = -1, threading.Event()
    for _ in range(100):
        now = int(count())
        if now == seen:
            return now
        seen = now
        wait.wait(0.2)
    raise AssertionError("it never settles")


# --- life of the server ------------------------------------------------------------------------------------------


def test_a_running_download_finishes_under_the_old_certificate_while_new_connections_see_the_new_one(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as server:
        old = server.connect()
        before = old.getpeercert(binary_form=True)
        server.downloads.gate.clear()
        old.sendall(_get(server, "/download?pieces=40"))
        head = old.recv(1000)

        renewed = server.site.authority.issue_server(["localhost", "127.0.0.1"])
        folder = tmp_path / "renewed"
        folder.mkdir()
        server.site.node_credentials = write_node_credentials(folder, renewed, server.site.provider)
        server.server.reload()

        with server.connect() as new:
            assert new.getpeercert(binary_form=True) != before
            certificate = new.getpeercert()
            assert certificate is not None
            serial = certificate["serialNumber"]
            assert isinstance(serial, str)
            assert int(serial, 16) == int(renewed.facts.serial, 16)
        server.downloads.gate.set()
        received = bytearray(head)
        while len(received) < head.index(b"\r\n\r\n") + 4 + 40 * len(PIECE):
            piece = old.recv(1 << 20)
            assert piece
            received += piece
        assert received.partition(b"\r\n\r\n")[2] == PIECE * 40
        old.close()


def test_a_certificate_that_cannot_be_used_leaves_the_old_one(tmp_path: Path) -> None:
    from leadglass.base.errors import IntegrityError  # noqa: PLC0415

    with running(tmp_path) as server:
        server.site.node_credentials.key_path.write_bytes(b"torn")
        with pytest.raises(IntegrityError):
            server.server.reload()
        assert server.request("GET", "/me").status == 200


def test_a_stop_lets_a_download_end_and_takes_no_more(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        connection = server.connect()
        idle = server.connect()
        server.downloads.gate.clear()
        connection.sendall(_get(server, "/download?pieces=40"))
        head = connection.recv(1000)
        stopper = threading.Thread(target=server.server.stop, args=(20.0,))
        stopper.start()
        assert idle.recv(1) == b""  # the idle one is closed at once
        with pytest.raises(ConnectionError):
            server.connect()
        server.downloads.gate.set()
        received = head + read_to_end(connection)
        assert received.partition(b"\r\n\r\n")[2] == PIECE * 40
        connection.close()
        idle.close()
        stopper.join(30)
        assert not stopper.is_alive()


def test_a_stop_cuts_what_does_not_end(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        connection = server.connect()
        connection.sendall(_get(server, "/download?pieces=100000"))
        assert connection.recv(1000)
        server.server.stop(0.2)
        assert len(read_to_end(connection)) < 100_000 * len(PIECE)
        connection.close()
        assert server.downloads.closed.wait(10)


def test_a_port_that_is_taken_is_told(site: Running) -> None:
    second = HTTPSServer(
        "127.0.0.1",
        site.server.port,
        site.site.server,
        [],
        site.authenticator,
        HTTPSOptions(NAMES),
        site.site.clock,
    )
    with pytest.raises(ConfigurationError, match="cannot listen"):
        second.start()


def test_the_access_log_names_endpoints_and_never_paths(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """S33, S47: paths and queries name patients."""
    import json  # noqa: PLC0415

    with running(tmp_path, options=HTTPSOptions(NAMES, access_log=True)) as server:
        server.request(
            "GET", "/fail/missing?PatientName=DOE%5EJANE", headers={"X-Correlation-ID": "canary-00001"}
        )
        server.request("GET", "/DOE%5EJANE")
        server.request("GET", "/fail/bug?PatientName=DOE%5EJANE")
        server.raw(b"GET /DOE^JANE HTTP/9.9\r\n\r\n")
    printed = capfd.readouterr()
    assert "DOE" not in printed.out + printed.err
    lines = [json.loads(line) for line in printed.err.splitlines()]
    assert lines[0].pop("ms") >= 0
    assert lines[0].pop("octets") > 50
    assert lines[0] == {
        "method": "GET",
        "route": "/fail/{kind}",
        "status": 404,
        "correlation_id": "canary-00001",
    }
    assert lines[1]["route"] == ""
