"""OHIF in a real browser, from another origin: the list of studies, and a CT that is drawn.

The viewer is what ``tools/viewer.sh`` unpacked: the files that its makers publish, with a configuration of ours that names
the node. It signs in by the session cookie: the same host under another port is the same site to a browser, and the origin
is listed in ``web.origins``. Nothing of the viewer is changed; that its requests carry cookies is said in its configuration.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

from corpus import corpus_files, needs_corpus
from doors.console.signed_in import People, Person
from interop.browser import Browser, chromium, needs_browser
from interop.part10 import raw_object
from interop.web import gateway
from running_node import Site, free_port, site

VIEWER = Path(__file__).resolve().parents[1] / "peers" / "ohif" / "package" / "dist"
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    needs_browser,
    needs_corpus,
    pytest.mark.skipif(not VIEWER.is_dir(), reason="OHIF is not there: tools/viewer.sh"),
    pytest.mark.timeout(280),
]
SERIES = "ct-head-ge-hispeed-20"
SLICES = 20
WAIT_SECONDS = 120
DRAWN = 10.0
"""Standard deviation of grey values, of 255, that an empty viewport does not have; behind its first hint it is 20."""

CONFIGURATION = """
// Requests of a page to another port of the same host carry its cookies only if it says so.
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) { this.withCredentials = true; return send.call(this, body); };
const ask = window.fetch;
window.fetch = (what, how = {}) =>
  ask(what, String(what.url ?? what).startsWith("NODE") ? {...how, credentials: "include"} : how);
window.config = {
  routerBasename: "/", extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false, strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: {option: "never"},
  defaultDataSourceName: "leadglass",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
    sourceName: "leadglass",
    configuration: {
      friendlyName: "Leadglass", name: "leadglass",
      qidoRoot: "NODE/dicom-web", wadoRoot: "NODE/dicom-web", wadoUriRoot: "NODE/dicom-web/wado",
      qidoSupportsIncludeField: true, supportsReject: false, imageRendering: "wadors", thumbnailRendering: "wadors",
      enableStudyLazyLoad: true, supportsFuzzyMatching: true, supportsWildcard: true,
      bulkDataURI: {enabled: true},
    },
  }],
};
"""


class _Files(SimpleHTTPRequestHandler):
    """The viewer's files; whatever is none of them is its one page."""

    configuration = ""
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}  # noqa: RUF012

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            body = self.configuration.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if not (VIEWER / path.lstrip("/")).is_file():
            self.path = "/index.html"
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, port: int, node: str) -> Iterator[None]:
    """Serve the viewer over TLS."""
    handler = type("Files", (_Files,), {"configuration": CONFIGURATION.replace("NODE", node)})
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=str(VIEWER)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "viewer.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@dataclass
class Seen:
    """The viewer at work, and every answer that its page got from the node."""

    browser: Browser
    viewer: str
    node: str
    study: str
    answers: list[tuple[int, str, str]] = field(default_factory=list)
    _methods: dict[str, str] = field(default_factory=dict)
    _urls: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Take over what the browser has logged."""
        asked, urls = self._methods, self._urls
        for entry in self.browser.log("performance"):
            message = json.loads(entry["message"])["message"]
            parameters = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                asked[parameters["requestId"]] = parameters["request"]["method"]
                urls[parameters["requestId"]] = parameters["request"]["url"]
            elif message["method"] == "Network.responseReceived":
                answer = parameters["response"]
                self.answers.append((answer["status"], asked.get(parameters["requestId"], ""), answer["url"]))
            elif message["method"] == "Network.loadingFailed" and not parameters.get("canceled"):
                self.answers.append((0, parameters["errorText"], urls.get(parameters["requestId"], "")))

    def wait_until(self, condition: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the condition returns
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := condition()):
            self.look()
            if time.monotonic() > deadline:
                pytest.fail(f"{self.answers[-20:]} {self.browser.log('browser')[-20:]}")
            time.sleep(0.25)
        return found

    def frames_of_all_slices(self) -> list[tuple[int, str, str]]:
        """Return the answers with pixels, once they are there for every slice."""
        frames = [answer for answer in self.of_node() if answer[1] == "GET" and "/frames/" in answer[2]]
        return frames if len({url for *_, url in frames}) >= SLICES else []

    def of_node(self) -> list[tuple[int, str, str]]:
        return [answer for answer in self.answers if answer[2].startswith(self.node)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("ohif")
    port, viewer_port = free_port(), free_port()
    viewer, node = f"https://localhost:{viewer_port}", f"https://localhost:{port}"
    with site(folder, "--https-port", str(port)) as made:
        settings = made.root / "leadglass.toml"
        text = settings.read_text()
        assert "origins = []" in text
        settings.write_text(text.replace("origins = []", f'origins = ["{viewer}"]'))
        made.start()
        study = store(made)
        with People(made) as people, served(folder, viewer_port, node):
            people.first_administrator()
            reader = people.add("reader", "radiologist")
            with chromium(folder, port, viewer_port) as browser:
                browser.open(f"{node}/healthz")
                take_cookies(browser, reader)
                yield Seen(browser, viewer, node, study)
        assert made.stop() == 0
        assert (folder / "serve.err").read_text() == ""


def store(made: Site) -> str:
    objects = [raw_object(path) for path in corpus_files(f"series/{SERIES}")]
    with gateway(made, made.enrol("gateway", "GATEWAY", ["store"])) as peer:
        taken, refused = peer.post([path.read_bytes() for path in corpus_files(f"series/{SERIES}")])
    assert (len(taken), refused) == (SLICES, {})
    (study,) = {item.study_uid for item in objects if item is not None}
    return study


def take_cookies(browser: Browser, person: Person) -> None:
    """Give the browser the session of somebody who signed in by the API."""
    for name, value in person.client.cookies.items():
        cookie = {"name": name, "value": value, "path": "/", "secure": True, "sameSite": "Strict"}
        browser.command("POST", "/cookie", {"cookie": cookie})


def text_of(browser: Browser) -> str:
    shown: str = browser.ask("return document.body.innerText")
    return shown


def test_the_study_list(seen: Seen) -> None:
    seen.browser.open(f"{seen.viewer}/")
    seen.wait_until(lambda: "1 Studies" in " ".join(text_of(seen.browser).split()))
    shown = text_of(seen.browser).split()
    assert {"REMOVED", "QMNx85rKkkg", "HEAD", "CT", str(SLICES)} <= set(shown)


def test_a_ct_is_drawn(seen: Seen) -> None:
    seen.browser.open(f"{seen.viewer}/viewer?StudyInstanceUIDs={seen.study}")

    def brightness() -> float:
        """Of the middle of the window, where there is nothing but a picture."""
        window = np.asarray(Image.open(BytesIO(seen.browser.screenshot())).convert("L"))
        rows, columns = window.shape
        return float(window[rows // 4 : rows * 3 // 4, columns * 2 // 5 : columns * 4 // 5].std())

    seen.wait_until(lambda: brightness() > DRAWN)
    frames = seen.wait_until(seen.frames_of_all_slices)
    assert {status for status, *_ in frames} == {200}


def test_no_request_of_the_viewer_failed(seen: Seen) -> None:
    seen.look()
    answers = seen.of_node()
    assert len(answers) > SLICES
    assert [answer for answer in answers if answer[0] not in {200, 204}] == []
