"""A real browser: Debian's Chromium, without a window, by the W3C WebDriver protocol.

It believes the node's certificate by the hash of its public key, as one who has pinned it; everything else about TLS is
verified as always. Source: WebDriver (W3C), WebAuthn Level 3 section 11 (virtual authenticators).
"""

import base64
import hashlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from running_node import free_port

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium and chromium-driver are not installed"
)
START_SECONDS = 60

_FETCH = """
const [method, path, body, done] = arguments;
const headers = {"X-Leadglass-CSRF": "1"};
if (body !== null) headers["Content-Type"] = "application/json";
fetch(path, {method, headers, body: body === null ? undefined : JSON.stringify(body)})
  .then(async answer => done([answer.status, await answer.text()]))
  .catch(error => done([0, String(error)]));
"""


class Browser:
    """One window.

    Args:
        http: to the driver.
        session: its URL below the driver's.
    """

    def __init__(self, http: httpx2.Client, session: str) -> None:
        self._http = http
        self._session = session

    def command(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Send a command of WebDriver; return its value."""
        answer = self._http.request(method, self._session + path, json={} if body is None else body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def devtools(self, name: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """Send a command of the DevTools protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, url: str) -> None:
        """Navigate."""
        self.command("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Run a script that calls its last argument with its result."""
        return self.command("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def ask(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Run a script that returns its result."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def fetch(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Send a request as a script of the page: with its cookies and its origin."""
        status, text = self.run(_FETCH, method, path, body)
        return status, text

    def log(self, kind: str) -> list[Any]:
        """Return what was logged since the last time: ``browser`` or ``performance``."""
        return list(self.command("POST", "/se/log", {"type": kind}))

    def screenshot(self) -> bytes:
        """Return the window as PNG."""
        return base64.b64decode(self.command("GET", "/screenshot"))

    def add_authenticator(self) -> str:
        """Plug in a virtual authenticator that keeps passkeys and verifies its user; return its id."""
        made: str = self.command(
            "POST",
            "/webauthn/authenticator",
            {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserConsenting": True,
                "isUserVerified": True,
            },
        )
        return made


def public_key_hash(port: int) -> str:
    """Return the SHA-256 of the public key of whoever listens, in base64."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only asked what it shows; the browser verifies
    with socket.create_connection(("127.0.0.1", port), 20) as raw, context.wrap_socket(raw) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    key = x509.load_der_x509_certificate(shown).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


@contextmanager
def chromium(folder: Path, *believed: int, size: tuple[int, int] = (1280, 900)) -> Iterator[Browser]:
    """Run a browser with a new profile that believes who listens on the ports ``believed``."""
    assert DRIVER is not None
    port = free_port()
    hashes = ",".join(public_key_hash(one) for one in believed)
    options = {
        "binary": CHROMIUM,
        "args": [
            "--headless=new",
            "--no-sandbox",  # of the browser's own processes: tests may run as root
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--no-proxy-server",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={folder / 'profile'}",
            f"--ignore-certificate-errors-spki-list={hashes}",
        ],
    }
    with (folder / "driver.log").open("wb") as log:
        process = subprocess.Popen([DRIVER, f"--port={port}"], stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as http:
            _wait_for(http, process)
            asked = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
                "timeouts": {"script": 60_000},
            }
            answer = http.post("/session", json={"capabilities": {"alwaysMatch": asked}})
            assert answer.status_code == 200, answer.text
            browser = Browser(http, f"/session/{answer.json()['value']['sessionId']}")
            try:
                yield browser
            finally:
                browser.command("DELETE", "")
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(http: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the driver ended"
        try:
            if http.get("/status").json()["value"]["ready"]:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, "the driver does not answer"
        time.sleep(0.05)
