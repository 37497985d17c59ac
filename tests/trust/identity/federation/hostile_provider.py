"""An OpenID provider that lies: it answers over real TLS with whatever a test gives it."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt

from trust.identity.federation.authority import KeyPair

Reply = tuple[int, dict[str, str], bytes]
Route = Callable[[bytes], Reply]


def as_json(document: object, status: int = 200) -> Route:
    """Answer every question with this document."""
    return lambda _: (status, {"Content-Type": "application/json"}, json.dumps(document).encode())


@dataclass
class HostileProvider:
    """What it answers, by path; what it was asked."""

    origin: str = ""
    routes: dict[str, Route] = field(default_factory=dict[str, Route])
    asked: list[str] = field(default_factory=list[str])
    key: jwk.ECKey = field(default_factory=lambda: jwk.ECKey.generate_key("P-256"))

    def metadata(self, **changes: object) -> dict[str, object]:
        made: dict[str, object] = {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "jwks_uri": f"{self.origin}/keys",
            "userinfo_endpoint": f"{self.origin}/userinfo",
            "code_challenge_methods_supported": ["S256"],
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    def behave(self, **changes: object) -> None:
        """Answer as an honest provider would, but for ``changes`` of its metadata."""
        public = {**self.key.as_dict(private=False), "kid": "k"}
        self.routes = {
            "/.well-known/openid-configuration": as_json(self.metadata(**changes)),
            "/keys": as_json({"keys": [public]}),
        }

    def sign(self, claims: dict[str, object], **header: Any) -> str:  # noqa: ANN401 - header parameters
        return jwt.encode({"alg": "ES256", "kid": "k", **header}, claims, self.key)


@contextmanager
def hostile_provider(pair: KeyPair) -> Iterator[HostileProvider]:
    """Run it on a port of its own."""
    provider = HostileProvider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            provider.asked.append(self.path)
            route = provider.routes.get(self.path.partition("?")[0])
            status, headers, content = (404, {}, b"") if route is None else route(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass  # our side had enough

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library has it
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a handshake that our side broke off

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        provider.origin = f"https://localhost:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            provider.behave()
            yield provider
        finally:
            server.shutdown()
            thread.join()
