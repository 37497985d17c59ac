"""The real oidc-provider, a browser, and our side of it."""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
from joserfc import jwk

from fake_clock import FakeClock
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation.models import OIDCSettings, OutboundOptions, SignedIn, SignInRefused
from leadglass.trust.identity.federation.oidc import OIDCClient
from leadglass.trust.identity.federation.outbound import Outbound
from trust.identity.federation.authority import TestAuthority
from trust.identity.federation.npm_peer import npm_peer

REDIRECT_URI = "https://pacs.example/sign-in/oidc"
POST_LOGOUT_URI = "https://pacs.example/signed-out"
PEOPLE = {
    "jdoe": {"name": "Jane Doe", "groups": ["radiology", "everybody"]},
    "mroe": {"name": "Max Roe", "groups": []},
}


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on now, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """Return one."""
    return free_ports(1)[0]


@dataclass
class OpenIDSite:
    """Files and keys of our side, and where the provider is."""

    folder: Path
    authority: TestAuthority
    signing: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""
    clock: FakeClock = field(default_factory=lambda: FakeClock(datetime.now(UTC)))

    def __post_init__(self) -> None:
        self.key_file = self.folder / "client.jwk"
        self.key = jwk.ECKey.generate_key("P-256")
        self.key_file.write_bytes(_json(self.key.as_dict(private=True)))
        self.secret_file = self.folder / "client.secret"
        self.secret_file.write_text("a:secret with%odd+characters/0123456789012345\n")
        for file in (self.key_file, self.secret_file):
            file.chmod(0o600)

    def settings(self, **changes: object) -> OIDCSettings:
        values: dict[str, Any] = {
            "issuer": self.issuer,
            "client_id": "leadglass",
            "redirect_uri": REDIRECT_URI,
            "private_key_file": self.key_file,
            "client_secret_file": self.secret_file,
            "post_logout_uri": POST_LOGOUT_URI,
            "outbound": OutboundOptions(ca_file=self.authority.file),
            **changes,
        }
        return OIDCSettings(**values)

    def client(self, **changes: object) -> OIDCClient:
        settings = self.settings(**changes)
        outbound = Outbound(settings.issuer, settings.outbound)
        return OIDCClient(settings, self.clock, outbound, jose.Sealer())

    def browser(self) -> "Browser":
        return Browser(ssl.create_default_context(cafile=self.authority.file))


class Browser:
    """Follows redirects and keeps cookies, until it would leave the provider."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._client = httpx2.Client(verify=context, trust_env=False)

    def sign_in(self, url: str, person: str, **how: str) -> list[tuple[str, str]]:
        """Sign in as ``person`` and return what is brought back to the redirect URI."""
        for _ in range(10):
            response = self._client.get(url)
            if response.status_code == 200 and "/interaction/" in url:
                url = url.partition("?")[0] + "?" + urlencode({"login": person, **how})
                continue
            if "location" not in response.headers:
                raise AssertionError(f"status {response.status_code}: {response.text[:500]}")
            url = urljoin(url, response.headers["location"])
            if url.startswith(REDIRECT_URI):
                return parse_qsl(urlsplit(url).query, keep_blank_values=True)
        raise AssertionError("too many redirects")

    def get(self, url: str) -> httpx2.Response:
        return self._client.get(url)

    def close(self) -> None:
        self._client.close()


def sign_in(
    site: OpenIDSite,
    client: OIDCClient,
    person: str = "jdoe",
    acr_values: Sequence[str] = (),
    return_to: str = "/",
) -> SignedIn | SignInRefused:
    """Do all of it."""
    begun = client.begin(return_to, acr_values=acr_values)
    browser = site.browser()
    try:
        return client.finish(browser.sign_in(begun.redirect_url, person), begun.sealed_state)
    finally:
        browser.close()


def clients_for(site: OpenIDSite) -> list[dict[str, Any]]:
    """Register us three times: by key, by secret, and once for each algorithm of ID tokens."""
    public = {**site.key.as_dict(private=False), "kid": site.key.thumbprint(), "alg": "ES256", "use": "sig"}
    common = {
        "redirect_uris": [REDIRECT_URI],
        "post_logout_redirect_uris": [POST_LOGOUT_URI],
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
    }
    by_key = {
        **common,
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [public]},
    }
    by_secret = {
        **common,
        "client_id": "by-secret",
        "client_secret": "a:secret with%odd+characters/0123456789012345",
        "token_endpoint_auth_method": "client_secret_basic",
    }
    per_algorithm = [
        {**by_key, "client_id": f"signed-{algorithm}", "id_token_signed_response_alg": algorithm}
        for algorithm in ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
    ]
    by_hmac = {**by_secret, "client_id": "signed-HS256", "id_token_signed_response_alg": "HS256"}
    return [
        {**by_key, "client_id": "leadglass", "id_token_signed_response_alg": "ES256"},
        by_secret,
        *per_algorithm,
        by_hmac,
    ]


def signing_keys() -> dict[str, Any]:
    """Return the provider's own keys, one of each kind."""
    keys: list[tuple[jwk.RSAKey | jwk.ECKey | jwk.OKPKey, str]] = [
        (jwk.RSAKey.generate_key(2048), "rsa"),
        (jwk.ECKey.generate_key("P-256"), "ec"),
        (jwk.OKPKey.generate_key("Ed25519"), "ed"),
    ]
    return {"keys": [{**key.as_dict(private=True), "kid": kid, "use": "sig"} for key, kid in keys]}


@contextmanager
def openid_provider(
    site: OpenIDSite,
    *,
    port: int = 0,
    clients: Sequence[Mapping[str, Any]] | None = None,
    names: tuple[str, ...] = ("localhost",),
    **options: object,
) -> Iterator[str]:
    """Run the provider; ``options`` are those of ``tests/peers/oidc.mjs``."""
    pair = site.authority.issue(*names)
    with npm_peer("oidc.mjs", site.folder / "oidc.err") as peer:
        answer = peer.ask(
            {
                "port": port,
                "certificate": str(pair.certificate),
                "key": str(pair.key),
                "clients": list(clients_for(site) if clients is None else clients),
                "jwks": site.signing or signing_keys(),
                "people": PEOPLE,
                **options,
            }
        )
        yield answer["origin"]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()
