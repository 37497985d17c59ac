"""Every route that the node has: closed to strangers, to other roles, and to pages of other sites. Attacks S41, S43, S44.

The routes are those of its own description, so a new one is walked without being named here.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest

from doors.console.signed_in import API
from hostile.web import MISSING, STUDIES, WEB, WebNode

pytestmark = pytest.mark.slow

_FILLED: Final[Mapping[str, str]] = {
    "study": STUDIES[0].study,
    "series": STUDIES[0].series,
    "instance": STUDIES[0].instance,
    "frames": "1",
    "path": "7FE00010",
    "workitem": STUDIES[0].workitem,
    "subscriber": "SOMEBODY",
    "account": "radiologist",
    "session": "s-of-nobody",
}
_JSON: Final = {"Content-Type": "application/json"}
_OWN: Final = frozenset(
    {
        ("GET", f"{API}/me"),
        ("GET", f"{API}/me/sessions"),
        ("DELETE", f"{API}/me/sessions/{{session}}"),
        ("POST", f"{API}/lock"),
        ("POST", f"{API}/sign-out"),
        ("POST", f"{API}/step-up/passkey"),
        ("POST", f"{API}/step-up/passkey/options"),
        ("POST", f"{API}/step-up/totp"),
        ("POST", f"{API}/factors/recovery-codes"),
        ("GET", f"{API}/break-glass"),
        ("GET", "/openapi.json"),
        ("GET", f"{WEB}/capabilities"),
        ("OPTIONS", f"{WEB}/"),
    }
)
"""What whoever is signed in may do, whatever they are: nothing of a patient or of anybody else is in it."""

_PUBLIC: Final = (
    f"{API}/sign-in",
    f"{API}/invitation",
    f"{API}/first-administrator",
    f"{API}/unlock/",
    f"{API}/factors/",
    f"{API}/single-sign-on",
    "/oauth/token",
    "/.well-known/",
    "/healthz",
)


@dataclass(frozen=True)
class Route:
    """An operation of the description."""

    method: str
    template: str
    public: bool
    operation: Mapping[str, Any]

    @property
    def path(self) -> str:
        def filled(match: re.Match[str]) -> str:
            return _FILLED.get(match[1], "1")

        path = re.sub(r"{(\w+)}", filled, self.template)
        if path == "/wado":
            of = STUDIES[0]
            return f"/wado?requestType=WADO&studyUID={of.study}&seriesUID={of.series}&objectUID={of.instance}"
        return path

    @property
    def body(self) -> bytes:
        return json.dumps(_example(self._schema, self._definitions)).encode()

    @property
    def content_type(self) -> str:
        kinds = list(self.operation.get("requestBody", {}).get("content", {"application/json": {}}))
        return "application/dicom" if "application/dicom" in kinds else kinds[0]

    @property
    def _schema(self) -> Mapping[str, Any]:
        content = self.operation.get("requestBody", {}).get("content", {})
        return next((kind.get("schema", {}) for kind in content.values()), {})

    @property
    def _definitions(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._schema.get("$defs", {})
        return found


def _example(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if "$ref" in schema:
        return _example(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _example(schema[several][0], definitions)
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", ())
            return {name: _example(schema["properties"][name], definitions) for name in wanted}
        case "array":
            return []
        case "integer":
            return 1
        case "boolean":
            return False
        case "string":
            return schema.get("enum", ["x"])[0]
        case _:
            return {}


def _members(schema: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the names of all members that a schema has, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _members(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _members(inner)


@pytest.fixture(scope="module")
def routes(served: WebNode) -> list[Route]:
    document = served.people["radiologist"].get("/openapi.json").json()
    return [
        Route(method.upper(), template, operation.get("security") == [], operation)
        for template, item in document["paths"].items()
        for method, operation in item.items()
    ]


def plain(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], str]:
    """Return an answer without what is another for each request."""
    dropped = {"date", "x-correlation-id"}
    headers = sorted((name, value) for name, value in answer.headers.multi_items() if name not in dropped)
    text = re.sub(r'"correlation_id":"[^"]*"', '"correlation_id":""', answer.text)
    return answer.status_code, headers, text


def test_the_description_has_every_door(routes: list[Route]) -> None:
    assert len(routes) > 60
    templates = {route.template for route in routes}
    assert {f"{WEB}/studies", "/wado", f"{WEB}/workitems", f"{API}/accounts", "/healthz"} <= templates
    public = {route.template for route in routes if route.public}
    assert not [template for template in public if not template.startswith(_PUBLIC)]


def test_a_stranger_learns_nothing_of_any_route(served: WebNode, routes: list[Route]) -> None:
    stranger = served.client()
    private = [route for route in routes if not route.public]
    missing = {
        method: plain(stranger.request(method, "/there/is/no/such/thing"))
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
    }
    assert {status for status, _, _ in missing.values()} <= {401, 501}
    assert missing["GET"][0] == missing["POST"][0] == missing["DELETE"][0] == missing["OPTIONS"][0] == 401
    wrong: list[str] = []
    for route in private:
        for method, expected in missing.items():
            answer = stranger.request(method, route.path)
            if plain(answer) != expected:
                wrong.append(f"{method} {route.template}: {answer.status_code}")
    assert wrong == []


def test_credentials_that_nobody_has_open_nothing(served: WebNode, routes: list[Route]) -> None:
    invented = (
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyOnJhZGlvbG9naXN0In0."},
        {"Authorization": "Basic cmFkaW9sb2dpc3Q6c2V2ZW4gbGVtb25z"},
        {"Cookie": f"__Host-leadglass={'A' * 43}"},
        {"X-Remote-User": "radiologist", "X-Forwarded-User": "radiologist", "X-Forwarded-For": "127.0.0.1"},
        {"X-SSL-Client-S-DN": "CN=ws1", "X-Client-Cert": "x", "X-ARR-ClientCert": "x"},
    )
    for headers in invented:
        stranger = served.client(headers=headers)
        for route in routes:
            if not route.public and route.method == "GET":
                assert stranger.get(route.path).status_code == 401, (route.template, headers)


def test_somebody_without_a_role_comes_nowhere(served: WebNode, routes: list[Route]) -> None:
    nobody, wrong = served.people["nobody"], list[str]()
    for route in routes:
        if route.public or (route.method, route.template) in _OWN:
            continue
        answer = nobody.client.request(
            route.method, route.path, content=route.body, headers={"Content-Type": route.content_type}
        )
        if answer.status_code not in {400, 403, 404, 415}:  # a body that is nonsense is told so to anybody
            wrong.append(f"{route.method} {route.template}: {answer.status_code} {answer.text[:80]}")
    assert wrong == []


_IMAGES: Final = (f"{WEB}/studies", f"{WEB}/series", f"{WEB}/instances", "/wado", f"{WEB}/workitems")


@pytest.mark.parametrize(
    "account", ["administrator", "security", "privacy", "custodian", "auditor", "vendor", "exporter"]
)
def test_who_runs_or_watches_the_site_sees_no_image(
    served: WebNode, routes: list[Route], account: str
) -> None:
    person, wrong = served.people[account], list[str]()
    for route in routes:
        listing = route.template.endswith(("/studies", "/series", "/instances"))
        if route.method != "GET" or not route.template.startswith(_IMAGES):
            continue
        if account == "exporter" and listing:
            continue
        answer = person.get(route.path)
        if answer.status_code not in {403, 404} or b"Hostile" in answer.content:
            wrong.append(f"{route.template}: {answer.status_code}")
    assert wrong == []


@pytest.mark.parametrize("account", ["radiologist", "smith", "researcher", "technologist", "exporter"])
def test_who_reads_images_administers_nothing(served: WebNode, routes: list[Route], account: str) -> None:
    person, wrong = served.people[account], list[str]()
    for route in routes:
        key = (route.method, route.template)
        if route.public or key in _OWN or not route.template.startswith(API):
            continue
        answer = person.client.request(route.method, route.path, content=route.body, headers=_JSON)
        stepping = answer.status_code == 401 and "Step-up" in answer.text
        if answer.status_code not in {400, 403, 404} and not stepping:
            wrong.append(f"{route.method} {route.template}: {answer.status_code}")
    assert wrong == []


def _forgeries(origin: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield "no header of ours", {"Origin": origin}
    yield "no origin", {"X-Leadglass-CSRF": "1"}
    yield "foreign origin", {"Origin": "https://evil.example", "X-Leadglass-CSRF": "1"}
    yield "null origin", {"Origin": "null", "X-Leadglass-CSRF": "1"}
    yield "our name, another port", {"Origin": "https://localhost:1", "X-Leadglass-CSRF": "1"}
    yield "our name without TLS", {"Origin": origin.replace("https", "http"), "X-Leadglass-CSRF": "1"}
    yield "our name as a prefix", {"Origin": origin + ".evil.example", "X-Leadglass-CSRF": "1"}
    yield "cross-site", {"Sec-Fetch-Site": "cross-site", "X-Leadglass-CSRF": "1"}
    yield "same-site", {"Sec-Fetch-Site": "same-site", "X-Leadglass-CSRF": "1"}
    yield (
        "origin beats the rest",
        {
            "Origin": "https://evil.example",
            "Sec-Fetch-Site": "same-origin",
            "X-Leadglass-CSRF": "1",
        },
    )


def test_no_page_of_another_site_changes_anything(served: WebNode, routes: list[Route]) -> None:
    cookies = {
        account: {"Cookie": f"__Host-leadglass={served.people[account].client.cookies['__Host-leadglass']}"}
        for account in ("administrator", "radiologist")
    }
    changing = [route for route in routes if route.method not in {"GET", "HEAD", "OPTIONS"}]
    assert len(changing) > 30
    before, wrong = served.node.audit.size(), list[str]()
    for what, headers in _forgeries(served.origin):
        for cookie in cookies.values():
            page = served.client(headers={**headers, **cookie})
            for route in changing:
                answer = page.request(
                    route.method, route.path, content=route.body, headers={"Content-Type": "text/plain"}
                )
                if answer.status_code not in {403, 429}:
                    wrong.append(f"{what}: {route.method} {route.template}: {answer.status_code}")
            page.close()
    assert wrong == []
    done = {entry.leaf["event"] for entry in served.entries(before)}
    assert done <= {"https:request:refused"}


def test_every_answer_has_its_headers(served: WebNode, routes: list[Route]) -> None:
    wrong: list[str] = []
    clients = [served.client(), served.people["radiologist"].client, served.people["administrator"].client]
    for route in routes:
        if route.template in {f"{API}/sign-out", f"{API}/lock"}:
            continue
        for client in clients:
            method = route.method if route.method in {"GET", "OPTIONS"} else "PATCH"
            answer = client.request(method, route.path)
            headers = answer.headers
            policy = headers.get("content-security-policy", "")
            fine = (
                headers.get("strict-transport-security", "").startswith("max-age=31536000")
                and headers.get("x-content-type-options") == "nosniff"
                and headers.get("x-frame-options") == "DENY"
                and headers.get("referrer-policy") == "no-referrer"
                and headers.get("cache-control") == "no-store"
                and "frame-ancestors 'none'" in policy
                and "default-src 'none'" in policy
                and headers.get("cross-origin-resource-policy") == "same-origin"
                and "server" not in headers
                and "x-powered-by" not in headers
                and re.fullmatch(r"[A-Za-z0-9._-]{8,64}", headers.get("x-correlation-id", ""))
            )
            if not fine or len(headers.get_list("content-security-policy")) != 1:
                wrong.append(f"{method} {route.template}: {answer.status_code} {dict(headers)}")
    assert wrong == []


def test_head_is_get_without_a_body_and_unknown_methods_are_refused(
    served: WebNode, routes: list[Route]
) -> None:
    client = served.people["radiologist"].client
    for route in routes:
        if route.method != "GET" or route.template.endswith("/subscribers/{subscriber}"):
            continue
        got, head = client.get(route.path), client.head(route.path)
        assert head.status_code == got.status_code, route.template
        assert head.content == b""
        for name in ("etag", "x-total-count", "content-disposition"):
            assert head.headers.get(name) == got.headers.get(name), (route.template, name)
        for method in ("PATCH", "TRACE", "PROPFIND"):
            refused = client.request(method, route.path)
            assert refused.status_code in {405, 400, 501}, (method, route.template, refused.status_code)


def test_a_path_that_is_written_in_another_way_is_no_other_way_in(served: WebNode) -> None:
    held = STUDIES[0]
    smith, plain_path = served.people["smith"], held.path
    spellings = (
        plain_path.replace("/dicom-web/", "//dicom-web/"),
        plain_path.replace("/dicom-web/", "/./dicom-web/"),
        plain_path.replace("/dicom-web/", "/healthz/../dicom-web/"),
        plain_path.replace("/dicom-web/", "/healthz/%2e%2e/dicom-web/"),
        plain_path.replace("/dicom-web/", "/DICOM-WEB/"),
        plain_path.replace("/studies/", "/studies%2f"),
        plain_path + "/",
        plain_path + "%00",
        plain_path + ";x=y",
        plain_path + "%20",
        plain_path.replace(held.study, held.study + "%2f.."),
        plain_path.replace("1.2.826", "01.2.826"),
        plain_path.replace("1.2.826", "\uff11.2.826"),
    )
    for path in spellings:
        for client in (served.client(), smith.client):
            answer = client.get(path)
            assert answer.status_code in {400, 401, 404}, (path, answer.status_code)
            assert held.instance.encode() not in answer.content or "problem" in answer.headers["content-type"]


def test_nothing_that_a_client_names_is_fetched(served: WebNode, routes: list[Route]) -> None:
    """S39: no operation takes a URL; where one could stand (bulk data, subscriptions, workitems), nobody is called."""
    names = {
        parameter["name"].lower() for route in routes for parameter in route.operation.get("parameters", ())
    }
    names |= {name.lower() for route in routes for name in _members(route.operation.get("requestBody", {}))}
    suspicious = {
        name for name in names if re.search(r"ur[il]s?$|callback|webhook|redirect|proxy|host", name)
    }
    assert not suspicious
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    sock, _ = listener.accept()
                except TimeoutError:
                    continue
                calls.append(b"called")
                sock.close()

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/latest/meta-data"
        item = {
            "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
            "00080018": {"vr": "UI", "Value": [MISSING.instance]},
            "0020000D": {"vr": "UI", "Value": [MISSING.study]},
            "0020000E": {"vr": "UI", "Value": [MISSING.series]},
            "00081190": {"vr": "UR", "Value": [url]},
            "0040E010": {"vr": "UR", "Value": [url]},
            "7FE00010": {"vr": "OB", "BulkDataURI": url},
        }
        device = served.client(device=served.devices["ct1"])
        boundary = "x"
        stow = f"--{boundary}\r\nContent-Type: application/dicom+json\r\n\r\n{json.dumps([item])}\r\n--{boundary}--\r\n"
        refused = device.post(
            f"{WEB}/studies",
            content=stow.encode(),
            headers={
                "Content-Type": f'multipart/related; type="application/dicom+json"; boundary={boundary}'
            },
        )
        assert refused.status_code in {400, 409}, refused.text
        radiologist = served.people["radiologist"].client
        for target in (url, url.replace("http", "ws"), "file:///etc/passwd"):
            radiologist.post(
                f"{WEB}/workitems/{STUDIES[0].workitem}/subscribers/SPY?callback={target}&url={target}"
            )
            radiologist.get(f"{WEB}/studies?url={target}")
            radiologist.get(f"{STUDIES[0].path}/bulkdata/{target}")
            radiologist.get(
                STUDIES[0].path, headers={"X-Forwarded-Host": "evil.example", "Forwarded": target}
            )
        stop.set()
        thread.join()
    assert calls == []
    radiologist.delete(f"{WEB}/workitems/{STUDIES[0].workitem}/subscribers/SPY")


# --- S56: nobody makes more of themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["security", "privacy", "custodian", "auditor"])
def test_an_administrator_takes_over_nobody_who_watches_them(served: WebNode, account: str) -> None:
    """Whoever gets an invitation for an account can be it: so accounts that administer are reset at the machine only."""
    administrator, before = (
        served.people["administrator"],
        served.people[account].get(f"{API}/me").status_code,
    )
    for factors in (True, False):
        answer = administrator.post(f"{API}/accounts/{account}/reset", {"factors": factors})
        assert answer.status_code == 403, answer.text
    assert served.people[account].get(f"{API}/me").status_code == before == 200


def test_an_administrator_gives_no_roles_in_any_way(served: WebNode) -> None:
    administrator = served.people["administrator"]
    me = administrator.ok("GET", f"{API}/me")
    tries: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("PUT", f"{API}/accounts/administrator/roles", {"roles": ["radiologist"]}),
        ("PUT", f"{API}/accounts/nobody/roles", {"roles": ["radiologist"]}),
        ("POST", f"{API}/accounts", {"account": "mine", "display_name": "Mine", "roles": ["radiologist"]}),
        ("PUT", f"{API}/accounts/administrator", {"roles": ["security-officer"]}),
        ("PUT", f"{API}/accounts/administrator", {"kind": "operator"}),
        ("POST", f"{API}/accounts", {"account": "operator:0", "display_name": "x", "roles": []}),
        ("POST", f"{API}/accounts", {"account": "../../x", "display_name": "x", "roles": []}),
        ("POST", f"{API}/accounts", {"account": "x", "display_name": "x", "roles": ["operator"]}),
        ("POST", f"{API}/policy/apply", {}),
    )
    for method, path, body in tries:
        answer = administrator.client.request(method, path, json=body)
        assert answer.status_code in {400, 403, 409}, (method, path, answer.text)
    assert administrator.ok("GET", f"{API}/me")["roles"] == me["roles"]


def test_nobody_becomes_the_first_administrator_of_a_site_that_has_one(served: WebNode) -> None:
    """S57: without the token of the machine's console, and with one that was used, nothing happens."""
    stranger = served.browser()
    for token in ("", "x", "0" * 43, "../../../etc/passwd", "\x00"):
        body = {
            "token": token,
            "account": "mallory",
            "display_name": "M",
            "password": "a very long password of mine",
        }
        answer = stranger.post(f"{API}/first-administrator", json=body)
        assert answer.status_code in {400, 401, 403, 404}, answer.text
    assert served.people["administrator"].get(f"{API}/accounts/mallory").status_code == 404
