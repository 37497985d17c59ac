"""A server that runs, with certificates of a real authority, over loopback."""

import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from fake_clock import FakeClock
from leadglass.base.clock import Clock
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    IntegrityError,
    NotFound,
    StepUpRequired,
)
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint, presented_of, principal_of
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.refusals import Refusal
from leadglass.doors.https.server import HTTPSServer
from leadglass.doors.https.threads import BodyReader, stream, with_body
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.tls import web_context
from leadglass.trust.identity.interfaces import Authenticator
from leadglass.trust.identity.models import NotAuthenticated, Presented, Principal
from trust.certs.loopback import Site

TOKEN = "alice-token"
OTHER_TOKEN = "bob-token"
NAMES = ("localhost", "127.0.0.1")
PIECE = bytes(range(256)) * 1024
"""256 KiB."""


class FixedAuthenticator:
    """Believes a few tokens, and the certificates that a test enrols: what identity does, without its databases."""

    def __init__(self) -> None:
        self.tokens = {TOKEN: "user:alice", OTHER_TOKEN: "user:bob"}
        self.certificates: dict[str, str] = {}
        self.seen: list[Presented] = []

    def authenticate(self, presented: Presented) -> Principal | NotAuthenticated:
        self.seen.append(presented)
        for secret in (presented.session_token, presented.access_token):
            name = self.tokens.get(secret.reveal().decode("latin-1"))
            if name is not None:
                return self._principal(name, presented)
            if secret.reveal():
                return NotAuthenticated("unknown token", "invalid_token")
        name = self.certificates.get(presented.certificate_sha256)
        return NotAuthenticated("unknown certificate") if name is None else self._principal(name, presented)

    def current(self, principal: Principal) -> Principal | None:
        known = principal.principal_id in {*self.tokens.values(), *self.certificates.values()}
        return principal if known else None

    @staticmethod
    def _principal(name: str, presented: Presented) -> Principal:
        return Principal(
            name,
            ("radiologist",),
            address=presented.address,
            certificate_sha256=presented.certificate_sha256,
            correlation_id=presented.correlation_id,
        )


async def _me(request: Request) -> Response:
    principal = principal_of(request)
    return Response(
        msgspec.json.encode(
            {
                "principal": principal.principal_id,
                "address": principal.address,
                "certificate": principal.certificate_sha256,
                "correlation_id": principal.correlation_id,
            }
        ),
        media_type="application/json",
    )


async def _digest(request: Request) -> Response:
    """Answer with the SHA-256 of the body, read in a thread."""

    def digest(reader: BodyReader) -> str:
        hashed = hashlib.sha256()
        buffer = bytearray(64 * 1024)
        while taken := reader.readinto(buffer):
            hashed.update(memoryview(buffer)[:taken])
        return hashed.hexdigest()

    return PlainTextResponse(await with_body(request, digest))


async def _change(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


_ERRORS: Mapping[str, BaseException] = {
    "denied": AccessDenied("secret reason"),
    "step-up": StepUpRequired("secret reason", max_age=300),
    "missing": NotFound("1.2.3 is not here"),
    "audit": AuditUnavailable("disk full"),
    "damaged": IntegrityError("pack 17 is damaged"),
    "bug": ValueError("DOE^JANE"),
}


async def _fail(request: Request) -> Response:
    raise _ERRORS[request.path_params["kind"]]


class Downloads:
    """Counts what becomes of answers that are streamed."""

    def __init__(self) -> None:
        self.ended: list[bool] = []
        self.closed = threading.Event()
        self.made = 0
        self.gate = threading.Event()
        self.gate.set()

    def endpoint(self) -> Endpoint:
        async def download(request: Request) -> Response:
            pieces = int(request.query_params.get("pieces", "4"))
            fails_at = int(request.query_params.get("fails", "-1"))
            headers = (
                {} if "chunked" in request.query_params else {"Content-Length": str(pieces * len(PIECE))}
            )
            return stream(
                self._pieces(pieces, fails_at),
                headers=headers,
                media_type="application/octet-stream",
                on_close=self._over,
            )

        return Endpoint("GET", "/download", download, {"summary": "Pieces"})

    def _pieces(self, count: int, fails_at: int) -> Iterator[bytes]:
        for number in range(count):
            if number == fails_at:
                raise IntegrityError("damaged in the middle")
            if number >= 12:
                assert self.gate.wait(30)
            self.made += 1
            yield PIECE

    def _over(self, complete: bool) -> None:
        self.ended.append(complete)
        self.closed.set()


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        text = await socket.receive_text()
        await socket.send_text(f"{principal_of(socket).principal_id}: {text}")


async def _shown(request: Request) -> Response:
    shown = presented_of(request)
    return Response(
        msgspec.json.encode(
            {
                "address": shown.address,
                "certificate": shown.certificate_sha256,
                "session": shown.session_token.reveal().decode(),
                "correlation_id": shown.correlation_id,
            }
        )
    )


def toy_endpoints(downloads: Downloads) -> list[Endpoint | WebSocketEndpoint]:
    return [
        Endpoint("GET", "/me", _me, {"summary": "Who I am"}),
        Endpoint("POST", "/digest", _digest, {"summary": "Hash"}, body_bytes_max=None),
        Endpoint("POST", "/change", _change, {"summary": "Change"}, body_bytes_max=1000),
        Endpoint("POST", "/sign-in", _change, {"summary": "Sign in"}, public=True),
        Endpoint("POST", "/acs", _change, {"summary": "SAML"}, public=True, unsafe_cross_site=True),
        Endpoint("GET", "/shown", _shown, {"summary": "What is shown"}, public=True),
        Endpoint("GET", "/fail/{kind}", _fail, {"summary": "Fail"}),
        WebSocketEndpoint("/echo", _echo, {"summary": "Echo"}),
        downloads.endpoint(),
    ]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON
        return msgspec.json.decode(self.body)


@dataclass
class Running:
    """A server that runs, and clients for it."""

    site: Site
    server: HTTPSServer
    authenticator: FixedAuthenticator
    downloads: Downloads
    refusals: list[Refusal] = field(default_factory=list)
    failures: list[tuple[BaseException, str]] = field(default_factory=list)

    def context(self, certificate: IssuedCertificate | None = None) -> ssl.SSLContext:
        if certificate is not None:
            return self.site.client(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.site.authority.certificate_pem.decode())
        return context

    def connect(self, certificate: IssuedCertificate | None = None) -> ssl.SSLSocket:
        """Return a connection whose handshake is done."""
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
        return self.context(certificate).wrap_socket(raw, server_hostname="localhost")

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - whatever http.client takes
        *,
        token: str = TOKEN,
        headers: Mapping[str, str] | None = None,
        certificate: IssuedCertificate | None = None,
    ) -> Answer:
        connection = http.client.HTTPSConnection(
            "localhost", self.server.port, context=self.context(certificate), timeout=20
        )
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        sent.update(headers or {})
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def raw(self, octets: bytes, seconds: float = 20) -> bytes:
        """Send ``octets`` and return all that comes until the server closes."""
        with self.connect() as connection:
            connection.settimeout(seconds)
            connection.sendall(octets)
            return read_to_end(connection)

    @property
    def host(self) -> str:
        return f"localhost:{self.server.port}"


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    received = bytearray()
    try:
        while piece := connection.recv(65536):
            received += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return bytes(received)


@contextmanager
def running(
    folder: Path,
    *,
    options: HTTPSOptions | None = None,
    endpoints: Sequence[Endpoint | WebSocketEndpoint] = (),
    clock: Clock | None = None,
    authenticator: Authenticator | None = None,
    ready: Callable[[], bool] = lambda: True,
    drain: float = 2.0,
) -> Iterator[Running]:
    """Run a server with two toy endpoints and more, until the block ends."""
    site = Site(folder)
    fixed, downloads = FixedAuthenticator(), Downloads()
    refusals: list[Refusal] = []
    failures: list[tuple[BaseException, str]] = []
    server = HTTPSServer(
        "127.0.0.1",
        0,
        lambda: web_context(site.node_credentials, site.authority.certificate_pem),
        [*toy_endpoints(downloads), *endpoints],
        authenticator or fixed,
        replace(options, names=NAMES) if options is not None else HTTPSOptions(NAMES),
        clock or FakeClock(datetime.now(UTC)),
        refusals.append,
        standing=fixed,
        on_failure=lambda error, correlation_id: failures.append((error, correlation_id)),
        ready=ready,
    )
    server.start()
    try:
        yield Running(site, server, fixed, downloads, refusals, failures)
    finally:
        server.stop(drain)
