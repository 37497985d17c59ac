"""Who may pass: pages of other sites, other origins, proxies, rates."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from doors.https.running import NAMES, OTHER_TOKEN, PIECE, TOKEN, Running, running
from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.doors.https import gate
from leadglass.doors.https.addresses import ProxyHeader
from leadglass.doors.https.endpoints import Endpoint
from leadglass.doors.https.gate import Routes
from leadglass.doors.https.options import HTTPSOptions, Rates
from leadglass.doors.https.rates import Rate

OHIF = "https://viewer.example"
COOKIE = {"Cookie": f"theme=dark; __Host-leadglass={TOKEN}"}
CSRF = {"X-Leadglass-CSRF": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site"), options=HTTPSOptions(NAMES, origins=(OHIF,))) as server:
        yield server


def own(site: Running) -> dict[str, str]:
    return {"Origin": f"https://{site.host}"}


# --- S43: requests that a page of another site made --------------------------------------------------------------


def test_a_cookie_signs_in(site: Running) -> None:
    answer = site.request("GET", "/me", token="", headers=COOKIE)
    assert (answer.status, answer.json()["principal"]) == (200, "user:alice")


def test_two_cookies_of_our_name_sign_nobody_in(site: Running) -> None:
    """Another host of the domain may plant one; which of the two a server takes must not matter."""
    twice = {"Cookie": f"__Host-leadglass={TOKEN}; __Host-leadglass={OTHER_TOKEN}"}
    assert site.request("GET", "/me", token="", headers=twice).status == 401


def test_a_change_from_our_own_page_passes(site: Running) -> None:
    headers = {**COOKIE, **CSRF, **own(site), "Sec-Fetch-Site": "same-origin"}
    assert site.request("POST", "/change", b"x", token="", headers=headers).status == 200


def test_a_change_from_our_own_page_passes_without_origin_if_the_browser_says_same_origin(
    site: Running,
) -> None:
    headers = {**COOKIE, **CSRF, "Sec-Fetch-Site": "same-origin"}
    assert site.request("POST", "/change", b"x", token="", headers=headers).status == 200


FORGED: list[Mapping[str, str]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {**CSRF},
    {**CSRF, "Sec-Fetch-Site": "cross-site"},
    {**CSRF, "Sec-Fetch-Site": "same-site"},
    {**CSRF, "Origin": "https://evil.example"},
    {**CSRF, "Origin": "null"},
    {**CSRF, "Origin": "http://localhost"},
    {**CSRF, "Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin", "X-Leadglass-CSRF": ""},
]


@pytest.mark.parametrize("headers", FORGED)
@pytest.mark.parametrize("path", ["/change", "/digest", "/sign-in"])
def test_a_change_from_elsewhere_is_refused(site: Running, path: str, headers: Mapping[str, str]) -> None:
    seen = len(site.authenticator.seen)
    assert site.request("POST", path, b"x", token="", headers={**COOKIE, **headers}).status == 403
    assert len(site.authenticator.seen) == seen


def test_our_origin_with_our_cookie_needs_the_header_all_the_same(site: Running) -> None:
    assert site.request("POST", "/change", b"x", token="", headers={**COOKIE, **own(site)}).status == 403


def test_a_program_with_a_token_needs_none_of_it(site: Running) -> None:
    assert site.request("POST", "/change", b"x").status == 200


def test_signing_in_from_another_page_is_refused_but_for_what_is_made_for_it(site: Running) -> None:
    evil = {"Origin": "https://evil.example"}
    assert site.request("POST", "/sign-in", b"x", token="", headers=evil).status == 403
    assert site.request("POST", "/acs", b"x", token="", headers=evil).status == 200
    assert site.request("POST", "/sign-in", b"x", token="", headers=own(site)).status == 200


# --- other origins -----------------------------------------------------------------------------------------------


def test_a_listed_origin_may_read(site: Running) -> None:
    headers = site.request("GET", "/me", headers={"Origin": OHIF}).headers
    assert headers["access-control-allow-origin"] == OHIF
    assert headers["access-control-allow-credentials"] == "true"
    assert headers["vary"] == "Origin"
    assert headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", OHIF + ".evil", OHIF.upper(), "http://viewer.example"]
)
def test_no_other_origin_may(site: Running, origin: str) -> None:
    headers = site.request("GET", "/me", headers={"Origin": origin}).headers
    assert "access-control-allow-origin" not in headers
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_preflight_is_answered_for_a_listed_origin_only_and_tells_of_no_path(site: Running) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-leadglass-csrf"}
    for path in ("/change", "/nothing"):
        answer = site.request("OPTIONS", path, token="", headers={**ask, "Origin": OHIF})
        assert answer.status == 204
        assert "x-leadglass-csrf" in answer.headers["access-control-allow-headers"]
        assert (
            site.request("OPTIONS", path, token="", headers={**ask, "Origin": "https://evil.example"}).status
            == 401
        )


def test_an_error_reaches_a_page_of_a_listed_origin(site: Running) -> None:
    headers = site.request("GET", "/nothing", headers={"Origin": OHIF}).headers
    assert headers["access-control-allow-origin"] == OHIF


def test_a_listed_origin_may_change_with_the_header(site: Running) -> None:
    headers = {**COOKIE, "Origin": OHIF}
    assert site.request("POST", "/change", b"x", token="", headers=headers).status == 403
    assert site.request("POST", "/change", b"x", token="", headers={**headers, **CSRF}).status == 200


@pytest.mark.parametrize(
    "origin", ["*", "http://viewer.example", "https://viewer.example/", "viewer.example", "https://"]
)
def test_an_origin_that_would_open_more_than_one_page_is_no_setting(origin: str) -> None:
    with pytest.raises(ConfigurationError):
        HTTPSOptions(NAMES, origins=(origin,))


# --- what is presented -------------------------------------------------------------------------------------------


def test_what_a_request_shows_reaches_identity(site: Running) -> None:
    headers = {
        "Cookie": f"__Host-leadglass={TOKEN}",
        "Purpose-Of-Use": "HOPERAT",
        "X-Leadglass-Posture": "signed",
    }
    site.request("GET", "/me", token="abc", headers=headers)
    shown = site.authenticator.seen[-1]
    assert shown.session_token.reveal() == TOKEN.encode()
    assert shown.access_token.reveal() == b"abc"
    assert (shown.purpose, shown.posture, shown.address) == ("HOPERAT", "signed", "127.0.0.1")
    assert shown.certificate_sha256 == ""


@pytest.mark.parametrize(
    "value", ["Basic YWxpY2U6eA==", "Bearer", "Bearer ", TOKEN, "Bearer " + "x" * 17_000]
)
def test_other_credentials_are_none(site: Running, value: str) -> None:
    answer = site.request("GET", "/me", token="", headers={"Authorization": value})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="leadglass"'


def test_a_token_that_is_not_believed_is_called_so(site: Running) -> None:
    challenge = site.request("GET", "/me", token="wrong").headers["www-authenticate"]
    assert challenge == 'Bearer realm="leadglass", error="invalid_token"'


# --- proxies -----------------------------------------------------------------------------------------------------


def test_nobody_is_believed_about_addresses_by_default(site: Running) -> None:
    headers = {"X-Forwarded-For": "10.9.8.7", "Forwarded": "for=10.9.8.7", "X-Real-IP": "10.9.8.7"}
    assert site.request("GET", "/me", headers=headers).json()["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "name", "value"),
    [
        (ProxyHeader.X_FORWARDED_FOR, "X-Forwarded-For", "1.1.1.1, 10.9.8.7"),
        (ProxyHeader.FORWARDED, "Forwarded", 'for=1.1.1.1, proto=https;for="10.9.8.7:4711"'),
    ],
)
def test_a_trusted_proxy_is_believed_about_the_last_address_only(
    tmp_path: Path, header: ProxyHeader, name: str, value: str
) -> None:
    options = HTTPSOptions(NAMES, proxies=("127.0.0.1/32",), proxy_header=header)
    with running(tmp_path, options=options) as server:
        spoofed = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", name: value}
        assert server.request("GET", "/me", headers=spoofed).json()["address"] == "10.9.8.7"


# --- rates -------------------------------------------------------------------------------------------------------


def rated(**rates: Rate) -> HTTPSOptions:
    return HTTPSOptions(NAMES, rates=Rates(**rates))


def test_one_principal_cannot_ask_without_end_and_others_can(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    with running(tmp_path, options=rated(principal=Rate(1, 5)), clock=clock) as server:
        assert [server.request("GET", "/me").status for _ in range(6)] == [200] * 5 + [429]
        refused = server.request("GET", "/me")
        assert refused.headers["retry-after"] == "1"
        assert server.request("GET", "/me", token=OTHER_TOKEN).status == 200
        clock.advance(2)
        assert [server.request("GET", "/me").status for _ in range(3)] == [200, 200, 429]


def test_one_address_cannot_try_to_sign_in_without_end(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    with running(tmp_path, options=rated(sign_in=Rate(0.1, 3)), clock=clock) as server:
        tried = [server.request("POST", "/sign-in", b"", token="").status for _ in range(4)]
        assert tried == [200, 200, 200, 429]
        refused = server.request("POST", "/sign-in", b"", token="")
        assert refused.headers["retry-after"] == "10"
        assert server.request("GET", "/me").status == 200  # who is in, stays in
        assert server.request("GET", "/healthz", token="").status == 200
        clock.advance(10)
        assert server.request("POST", "/sign-in", b"", token="").status == 200


def test_one_address_cannot_try_tokens_without_end_and_locks_out_nobody(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    with running(tmp_path, options=rated(refused=Rate(0.1, 3)), clock=clock) as server:
        assert server.request("GET", "/me").status == 200
        tried = [server.request("GET", "/me", token=f"guess{n}").status for n in range(5)]
        assert tried == [401, 401, 401, 429, 429]
        assert len(server.authenticator.seen) == 4  # the last two were not looked at
        assert server.request("GET", "/me").status == 200
        assert server.request("GET", "/me", token="").status == 401


def test_one_network_is_counted_as_one(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    options = HTTPSOptions(NAMES, proxies=("127.0.0.1",), rates=Rates(network=Rate(0.1, 3)))
    with running(tmp_path, options=options, clock=clock) as server:
        statuses = [
            server.request("GET", "/me", headers={"X-Forwarded-For": f"10.1.2.{n}"}).status for n in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        assert server.request("GET", "/me", headers={"X-Forwarded-For": "10.1.3.1"}).status == 200


def test_one_principal_has_so_many_requests_in_hand_and_no_more(tmp_path: Path) -> None:
    options = HTTPSOptions(NAMES, requests_per_principal_max=2)
    with running(tmp_path, options=options) as server:
        server.downloads.gate.clear()
        results: list[int] = []
        lock = threading.Lock()

        def download() -> None:
            answer = server.request("GET", "/download?pieces=13")
            with lock:
                results.append(len(answer.body))

        threads = [threading.Thread(target=download) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait = threading.Event()
        for _ in range(100):
            if server.downloads.made >= 24:  # both are in the middle
                break
            wait.wait(0.05)
        assert server.request("GET", "/me").status == 429
        assert server.request("GET", "/me", token=OTHER_TOKEN).status == 200
        server.downloads.gate.set()
        for thread in threads:
            thread.join(20)
        assert results == [13 * len(PIECE)] * 2
        assert server.request("GET", "/me").status == 200


def test_all_together_have_so_many_requests_in_hand_and_no_more(tmp_path: Path) -> None:
    with running(tmp_path, options=HTTPSOptions(NAMES, requests_max=1)) as server:
        server.downloads.gate.clear()
        with server.connect() as busy:
            busy.sendall(
                f"GET /download?pieces=20 HTTP/1.1\r\nHost: {server.host}\r\n"
                f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            assert busy.recv(100)
            answer = server.request("GET", "/me")
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            server.downloads.gate.set()


def test_strangers_who_linger_at_sign_in_take_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S10: half bodies at an endpoint that anybody may call."""
    monkeypatch.setattr(gate, "HTTP_PUBLIC_REQUESTS_MAX", 2)
    monkeypatch.setattr(gate, "PUBLIC_BODY_SECONDS", 1.0)
    with running(tmp_path, options=HTTPSOptions(NAMES, requests_max=1)) as server:
        half = f"POST /sign-in HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 5\r\n\r\nx".encode()
        slow = [server.connect() for _ in range(3)]
        for one in slow:
            one.sendall(half)
        assert server.request("GET", "/me").status == 200
        answers = sorted(one.recv(1000)[9:12] for one in slow)
        assert answers == [b"408", b"408", b"503"]
        for one in slow:
            one.close()
        assert server.request("POST", "/sign-in", b"x", token="").status == 200


def test_refusals_of_one_kind_are_told_once_and_then_counted(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    with running(tmp_path, clock=clock) as server:
        for _ in range(20):
            server.request("GET", "/me", headers={"Host": "evil.example"})
        server.server.stop(5)
        names = [r for r in server.refusals if r.reason == "called by a name that is not ours"]
        assert [r.count for r in names] == [1, 19]
        assert all(r.address == "127.0.0.1" for r in names)
        assert names[0].correlation_id
        assert not names[1].correlation_id


# --- routes ------------------------------------------------------------------------------------------------------


async def _none(_request: object) -> None:
    raise NotImplementedError


def test_a_path_without_parameters_comes_before_one_with() -> None:
    made = [Endpoint("GET", path, _none, {}) for path in ("/s/{uid}", "/s/count", "/s/{uid}/i/{number:int}")]  # type: ignore[arg-type]
    routes = Routes(made)
    for path, template, parameters in (
        ("/s/count", "/s/count", {}),
        ("/s/1.2", "/s/{uid}", {"uid": "1.2"}),
        ("/s/1.2/i/7", "/s/{uid}/i/{number}", {"uid": "1.2", "number": 7}),
    ):
        found = routes.find(path)
        assert found is not None
        assert (found[0].template, found[1]) == (template, parameters)
    assert routes.find("/s/1.2/") is None
    assert routes.find("/s/1.2/i/seven") is None
