"""Who asks for too much hurts nobody else: slow connections, loops, wildcards, pages without end. S10, S34, S36, S37, S48, S87."""

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from doors.console.signed_in import API
from hostile.web import STUDIES, WEB, WebNode

pytestmark = pytest.mark.slow

_HELD = STUDIES[1]


def _reads(served: WebNode, seconds: float) -> int:
    """Have the radiologist read for a while; return how often that went well. Each answer is 200 in time."""
    client, until, went_well = served.people["radiologist"].client, time.monotonic() + seconds, 0
    while time.monotonic() < until or not went_well:
        began = time.monotonic()
        assert client.get(f"{_HELD.path}/frames/1").status_code == 200
        assert time.monotonic() - began < 10
        went_well += 1
    return went_well


def _half_open(served: WebNode, octets: bytes, address: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=served.node.paths.authority)
    raw = socket.create_connection(
        ("127.0.0.1", served.site.https_port), source_address=(address, 0), timeout=10
    )
    made = context.wrap_socket(raw, server_hostname="localhost")
    made.sendall(octets)
    return made


def test_slow_connections_do_not_keep_a_radiologist_from_reading(served: WebNode) -> None:
    host = f"localhost:{served.site.https_port}".encode()
    halves = (
        b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nX-Slow: ",
        b"POST /api/v1/sign-in HTTP/1.1\r\nHost: " + host + b"\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
        b"",
    )
    with ExitStack() as stack:
        for number in range(90):
            made = _half_open(served, halves[number % 3], f"127.5.0.{number % 3 + 1}")
            stack.enter_context(made)
        assert _reads(served, 2) > 0


def test_whoever_renders_in_a_loop_waits_and_others_do_not(served: WebNode) -> None:
    greedy = served.people["southern"].client
    stop = threading.Event()
    statuses: list[tuple[int, bool]] = []

    def loop() -> None:
        while not stop.is_set():
            answer = greedy.get(f"{_HELD.path}/rendered?viewport=512,512")
            statuses.append((answer.status_code, "retry-after" in answer.headers))

    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(loop) for _ in range(16)]
        try:
            assert _reads(served, 4) > 2
        finally:
            stop.set()
        for one in running:
            one.result(60)
    assert {status for status, _ in statuses} <= {200, 429, 503}
    assert all(told for status, told in statuses if status in {429, 503})


@pytest.mark.parametrize(
    "query",
    [
        "PatientName=" + "*" * 60,
        "PatientName=" + "%3F*" * 8,
        "PatientName=" + "%3F*" * 40,
        "PatientName=*a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*",
        "StudyDescription=" + "_%25" * 30,
        "PatientID=" + "a" * 60_000,
        "PatientName=" + "A^" * 2000 + "&fuzzymatching=true",
        "StudyInstanceUID=" + ",".join(f"1.2.{number}" for number in range(1500)),
        "limit=1000000&offset=0",
        "limit=1&offset=999999",
        "limit=-1",
        "offset=99999999999999999999",
        "limit=1e9",
        "includefield=all&" + "&".join(f"includefield=0008{number:04X}" for number in range(300)),
        "PatientName='%3B DROP TABLE study--",
        "PatientID=1' OR '1'='1",
        "00100010.00100010.00100010.00100010=x",
        "&" * 5000,
        "StudyDate=00000000-99999999",
        "StudyDate=-",
    ],
    ids=lambda query: str(query)[:24],
)
def test_no_question_takes_long_or_breaks_anything(served: WebNode, query: str) -> None:
    client = served.people["radiologist"].client
    for level in ("studies", "series", "instances"):
        began = time.monotonic()
        answer = client.get(f"{WEB}/{level}?{query}")
        assert time.monotonic() - began < 10
        assert answer.status_code in {200, 204, 400, 413, 414, 431}, answer.text[:200]
        assert "Traceback" not in answer.text
        assert "sqlite" not in answer.text.lower()
    assert client.get(f"{WEB}/studies").headers["x-total-count"]


def test_a_cookie_that_was_there_before_signing_in_is_worth_nothing_after(served: WebNode) -> None:
    """S48: session fixation; and each step gives another token."""
    planted = "A" * 43
    person = served.invited("fixated", "radiologist")
    person.client.cookies.set("__Host-leadglass", planted, domain="localhost.local", path="/")
    person.sign_in(second_factor=False)
    given = person.client.cookies.get("__Host-leadglass", domain="localhost.local") or ""
    tokens = {cookie.value for cookie in person.client.cookies.jar if cookie.name == "__Host-leadglass"}
    assert tokens - {planted}, given
    thief = served.client(headers={"Cookie": f"__Host-leadglass={planted}"})
    assert thief.get(f"{API}/me").status_code == 401
    (token,) = tokens - {planted}
    assert token
    copied = served.client(headers={"Cookie": f"__Host-leadglass={token}"})
    assert copied.get(f"{API}/me").status_code == 200
    leaving = {"Origin": served.origin, "X-Leadglass-CSRF": "1", "Cookie": f"__Host-leadglass={token}"}
    assert served.client(headers=leaving).post(f"{API}/sign-out").is_success
    assert copied.get(f"{API}/me").status_code == 401
