"""A site with OAuth clients, and what a client does to prove itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from joserfc import jwk

from fake_clock import FakeClock
from leadglass.base.errors import UsageError
from leadglass.trust.identity import jose
from leadglass.trust.identity.access_tokens import IssuedTokens, TokenDenied, TokenGranted, TokenService
from leadglass.trust.identity.clients import Client, Clients
from leadglass.trust.identity.models import Origin
from trust.identity.identity_site import IdentitySite, new_account

ENDPOINT = "https://pacs.example/oauth/token"
ISSUER = "https://pacs.example"
SCOPES = ("study.read", "study.write", "worklist")
CERTIFICATE = "ab" * 32
OTHER_CERTIFICATE = "cd" * 32
ADMINISTRATOR = Origin("192.0.2.1", by="user:admin")
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def check_roles(roles: Any) -> None:  # noqa: ANN401 - a sequence
    if set(roles) >= {"client", "key-custodian"}:
        raise UsageError("the roles exclude each other")


@dataclass
class Keys:
    """A client's private key of one kind, and what it registers."""

    key: jose.Key
    algorithm: str
    kid: str = "k1"

    @property
    def jwks(self) -> str:
        return json.dumps({"keys": [{**self.key.as_dict(private=False), "kid": self.kid}]})


class OAuthSite:
    """Clients in a real database, and the token service on it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.identity = IdentitySite(folder, self.clock)
        self.recorder = self.identity.recorder
        self.identity.accounts.create(new_account("boss", "pacs-administrator"), ADMINISTRATOR)
        self.keys = Keys(jwk.ECKey.generate_key("P-256"), "ES256")
        self.open()

    def open(self) -> None:
        self.clients = Clients(
            self.identity.database, self.identity.accounts, self.recorder, check_roles, SCOPES
        )
        self.tokens = IssuedTokens(self.clients, self.clock)
        self.service = TokenService(self.clients, self.tokens, ENDPOINT, ISSUER, self.recorder, self.clock)

    def client(self, client_id: str = "reporting", **changes: Any) -> Client:  # noqa: ANN401 - fields
        values: dict[str, Any] = {
            "client_id": client_id,
            "owner": "boss",
            "roles": ("client",),
            "scopes": ("study.read", "worklist"),
            "created_at": self.clock.now(),
            "expires_at": self.clock.now() + timedelta(days=365),
            "jwks": self.keys.jwks,
            **changes,
        }
        return Client(**values)

    def enrol(self, client_id: str = "reporting", **changes: Any) -> Client:  # noqa: ANN401 - fields
        return self.clients.enrol(self.client(client_id, **changes), ADMINISTRATOR)

    def claims(self, client_id: str = "reporting", /, **changes: object) -> dict[str, object]:
        """Claims as they should be; None takes one away."""
        now = int(self.clock.now().timestamp())
        made: dict[str, object] = {
            "iss": client_id,
            "sub": client_id,
            "aud": ENDPOINT,
            "jti": f"id-{id(changes)}-{len(self.recorder.events)}",
            "iat": now,
            "exp": now + 60,
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    def assertion(self, claims: Mapping[str, object], keys: Keys | None = None) -> str:
        used = keys or self.keys
        return jose.sign(claims, used.key, used.algorithm, used.kid)

    def ask(self, assertion: str, certificate_sha256: str = "", **fields: str) -> TokenGranted | TokenDenied:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": TYPE,
            "client_assertion": assertion,
            **fields,
        }
        return self.service.token(list(form.items()), Origin("192.0.2.7", certificate_sha256))

    def token(self, certificate_sha256: str = "", **fields: str) -> TokenGranted:
        granted = self.ask(self.assertion(self.claims()), certificate_sha256, **fields)
        assert isinstance(granted, TokenGranted), granted
        return granted
