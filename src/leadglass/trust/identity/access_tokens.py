"""Access tokens for services and scripts: issued for ten minutes at most, believed while their client is welcome.

A client proves itself by a signed assertion (``private_key_jwt``) or by its TLS certificate; shared secrets are not
taken. What it gets says nothing: 256 random bits, kept here as a hash, in memory only. After a restart every client
asks again, as it would after ten minutes anyway.

Source: RFC 6749 4.4, 5; RFC 7523 3; RFC 8414; RFC 8705; RFC 9700.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.limits import (
    ACCESS_TOKENS_MAX,
    ACCESS_TOKENS_PER_CLIENT_MAX,
    ASSERTION_BYTES_MAX,
    TOKEN_LIFETIME_SECONDS_MAX,
)
from leadglass.base.secret import Secret
from leadglass.trust.identity import events, jose
from leadglass.trust.identity.clients import CLIENT_ID, Client, Clients
from leadglass.trust.identity.interfaces import IdentityEvents
from leadglass.trust.identity.models import Circumstances, NotAuthenticated, Origin, Principal
from leadglass.trust.identity.replay import ReplayMemory

ASSERTION_ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "PS256")
"""Of client assertions. Not RS256: whoever writes a client today can do better."""
ASSERTION_SECONDS_MAX: Final = 300
SKEW_SECONDS: Final = 30
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PREFIX: Final = "lgat_"
"""So that secret scanners find a token that ended up where it should not."""
_CLAIMED_CHARACTERS_MAX: Final = 64
_TOKEN_CHARACTERS: Final = len(_PREFIX) + 43

_UNKNOWN: Final = NotAuthenticated("access token is unknown or has expired", error="invalid_token")
_OTHER_CERTIFICATE: Final = NotAuthenticated(
    "access token is bound to another certificate", error="invalid_token"
)
_CLIENT_GONE: Final = NotAuthenticated(
    "client of the access token is disabled, has ended, or nobody answers for it", error="invalid_token"
)


@dataclass(frozen=True, slots=True)
class TokenGranted:
    """Answer 200 with this as JSON, ``Cache-Control: no-store``. Source: RFC 6749 5.1.

    Attributes:
        access_token: shown this once.
        expires_in: seconds.
        scopes: what it is limited to.
    """

    access_token: Secret
    expires_in: int
    scopes: tuple[str, ...]

    def body(self) -> bytes:
        """Return the JSON that is sent."""
        return msgspec.json.encode(
            {
                "access_token": self.access_token.reveal().decode("ascii"),
                "token_type": "Bearer",
                "expires_in": self.expires_in,
                "scope": " ".join(self.scopes),
            }
        )


@dataclass(frozen=True, slots=True)
class TokenDenied:
    """Answer ``status`` with ``{"error": error}``. Source: RFC 6749 5.2.

    Attributes:
        error: of that section.
        status: 400, or 401 for ``invalid_client``.
        reason: in our words, for the record; never sent.
    """

    error: str
    status: int
    reason: str

    def body(self) -> bytes:
        """Return the JSON that is sent."""
        return msgspec.json.encode({"error": self.error})


@dataclass(frozen=True, slots=True)
class _Issued:
    client_id: str
    scopes: tuple[str, ...]
    certificate_sha256: str
    issued_at: datetime
    expires_at: datetime


class IssuedTokens:
    """The tokens in force; implements ``identity.interfaces.AccessTokens``. Thread-safe.

    Args:
        clients: whose they are.
        clock: of the site.
    """

    def __init__(self, clients: Clients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._lock = threading.Lock()
        # In the order of issue, and as all live equally long, of expiry.
        self._issued: dict[bytes, _Issued] = {}

    def issue(
        self, client: Client, scopes: tuple[str, ...], certificate_sha256: str, seconds: int
    ) -> Secret | None:
        """Make a token; None when there are as many as there may be."""
        now = self._clock.now()
        token = _PREFIX + secrets.token_urlsafe(32)
        made = _Issued(client.client_id, scopes, certificate_sha256, now, now + timedelta(seconds=seconds))
        with self._lock:
            self._drop_expired(now)
            own = [key for key, one in self._issued.items() if one.client_id == client.client_id]
            if len(own) >= ACCESS_TOKENS_PER_CLIENT_MAX:
                del self._issued[own[0]]
            if len(self._issued) >= ACCESS_TOKENS_MAX:
                return None
            self._issued[_digest(token.encode("ascii"))] = made
        return Secret(token.encode("ascii"))

    def _drop_expired(self, now: datetime) -> None:
        for key in [key for key, one in self._issued.items() if one.expires_at <= now]:
            del self._issued[key]

    def verify(self, token: Secret, certificate_sha256: str) -> Principal | NotAuthenticated:
        """Say whose token it is. See ``identity.interfaces.AccessTokens``."""
        text = token.reveal()
        if len(text) != _TOKEN_CHARACTERS:
            return _UNKNOWN
        # Looked up by a hash: how long that takes tells nothing about tokens that are in force.
        issued = self._issued.get(_digest(text))
        if issued is None or self._clock.now() >= issued.expires_at:
            return _UNKNOWN
        if issued.certificate_sha256 and not hmac.compare_digest(
            issued.certificate_sha256.encode(), certificate_sha256.encode()
        ):
            return _OTHER_CERTIFICATE
        client = self._clients.usable(issued.client_id)
        if client is None:
            return _CLIENT_GONE
        scopes = tuple(scope for scope in issued.scopes if scope in client.scopes)
        if not scopes:  # empty would mean: not limited
            return _CLIENT_GONE
        return Principal(
            principal_id=client.principal_id,
            roles=client.roles,
            devices=client.devices,
            institutions=client.institutions,
            circumstances=Circumstances(
                # One factor, a key, whichever way it was shown.
                methods=("swk",),
                authenticated_at=issued.issued_at,
                scopes=scopes,
            ),
        )

    def current(self, principal: Principal) -> Principal | None:
        """Return the principal with the roles and limits that its client has now; None when it was revoked."""
        client = self._clients.usable(principal.principal_id.partition(":")[2])
        if client is None:
            return None
        scopes = tuple(scope for scope in principal.circumstances.scopes if scope in client.scopes)
        if not scopes:
            return None
        if (client.roles, client.devices, client.institutions, scopes) == (
            principal.roles,
            principal.devices,
            principal.institutions,
            principal.circumstances.scopes,
        ):
            return principal
        return replace(
            principal,
            roles=client.roles,
            devices=client.devices,
            institutions=client.institutions,
            circumstances=replace(principal.circumstances, scopes=scopes),
        )

    def revoke_all(self, client_id: str) -> int:
        """End all tokens of a client, which may ask for new ones; return how many there were."""
        with self._lock:
            own = [key for key, one in self._issued.items() if one.client_id == client_id]
            for key in own:
                del self._issued[key]
        return len(own)


class _Denied(Exception):
    def __init__(self, error: str, reason: str) -> None:
        super().__init__(reason)
        self.error = error


class TokenService:
    """The token endpoint, without HTTP. Thread-safe.

    Args:
        clients: who may ask.
        tokens: where tokens are kept.
        token_endpoint: its URL, as clients see it.
        issuer: issuer identifier of this site, an https URL (RFC 8414 2).
        recorder: told of every token and every refusal.
        clock: of the site.
        lifetime_seconds: of a token; at most ``TOKEN_LIFETIME_SECONDS_MAX``.
    """

    def __init__(
        self,
        clients: Clients,
        tokens: IssuedTokens,
        token_endpoint: str,
        issuer: str,
        recorder: IdentityEvents,
        clock: Clock,
        lifetime_seconds: int = TOKEN_LIFETIME_SECONDS_MAX,
    ) -> None:
        self._clients = clients
        self._tokens = tokens
        self._audiences = (token_endpoint, issuer)
        self._events = recorder
        self._clock = clock
        self._lifetime = min(lifetime_seconds, TOKEN_LIFETIME_SECONDS_MAX)
        self._used = ReplayMemory(clock)

    def metadata(self) -> bytes:
        """Return the document for ``/.well-known/oauth-authorization-server``. Source: RFC 8414 2, RFC 8705 3.3."""
        endpoint, issuer = self._audiences
        return msgspec.json.encode(
            {
                "issuer": issuer,
                "token_endpoint": endpoint,
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": [],
                "scopes_supported": list(self._clients.scopes),
                "token_endpoint_auth_methods_supported": ["private_key_jwt", "tls_client_auth"],
                "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
                "tls_client_certificate_bound_access_tokens": True,
            }
        )

    def token(self, form: Sequence[tuple[str, str]], origin: Origin) -> TokenGranted | TokenDenied:
        """Answer a request to the token endpoint.

        A token is bound to the certificate that the connection showed, when it showed one.

        Args:
            form: fields in their order, repeated ones included.
            origin: with the fingerprint of the client certificate that the TLS layer verified.

        Raises:
            AuditUnavailable: the event was not taken; there is no token.
        """
        named = ""
        try:
            fields = _single_valued(form)
            if fields.get("grant_type") != "client_credentials":
                raise _Denied("unsupported_grant_type", "the grant type is not client_credentials")
            named, client = self._authenticated(fields, origin.certificate_sha256)
            scopes = _granted_scopes(fields.get("scope", ""), client)
            if client.bound and not origin.certificate_sha256:
                raise _Denied(
                    "invalid_request", "the client's tokens are bound, and it showed no certificate"
                )
            token = self._tokens.issue(client, scopes, origin.certificate_sha256, self._lifetime)
            if token is None:
                raise _Denied("invalid_request", "too many access tokens are in force")
        except _Denied as denied:
            return self._refuse(denied, named, dict(form).get("client_id", ""), origin)
        self._events.record(
            events.TOKEN_ISSUED,
            client.principal_id,
            origin,
            facts={
                "owner": client.owner,
                "scopes": " ".join(scopes),
                "bound": bool(origin.certificate_sha256),
            },
        )
        return TokenGranted(token, self._lifetime, scopes)

    def _refuse(self, denied: _Denied, named: str, claimed: str, origin: Origin) -> TokenDenied:
        self._events.record(
            events.AUTHENTICATION_FAILED,
            f"client:{named}" if named else "",
            origin,
            success=False,
            facts={"reason": str(denied)},
            detail={"client_id": claimed[:_CLAIMED_CHARACTERS_MAX]},
        )
        return TokenDenied(denied.error, 401 if denied.error == "invalid_client" else 400, str(denied))

    def _authenticated(self, fields: dict[str, str], certificate_sha256: str) -> tuple[str, Client]:
        if "client_assertion" in fields or "client_assertion_type" in fields:
            return self._by_assertion(fields)
        return self._by_certificate(fields.get("client_id", ""), certificate_sha256)

    def _by_certificate(self, client_id: str, certificate_sha256: str) -> tuple[str, Client]:
        """Source: RFC 8705 2; the certificate itself is registered, whoever signed it."""
        client = self._clients.usable(client_id)
        if not certificate_sha256 or client is None or certificate_sha256 not in client.certificate_sha256:
            raise _Denied("invalid_client", "no client of that id has the certificate that was shown")
        return client.client_id, client

    def _by_assertion(self, fields: dict[str, str]) -> tuple[str, Client]:
        """Source: RFC 7523 3. Numbered as the checks of ``certs.token``: whom, key and signature, for whom, when, once."""
        if fields.get("client_assertion_type") != _ASSERTION_TYPE:
            raise _Denied("invalid_client", "the client assertion is of another type")
        assertion = fields.get("client_assertion", "")
        client_id = fields.get("client_id") or _claimed_subject(assertion)
        client = self._clients.usable(client_id)
        keys = self._clients.keys_of(client_id)
        if client is None or keys is None:
            raise _Denied("invalid_client", "no client in use of that id has a key")
        try:
            claims = jose.verify(assertion, keys, ASSERTION_ALGORITHMS)
        except jose.JoseRefused as refusal:
            raise _Denied("invalid_client", str(refusal)) from refusal
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise _Denied("invalid_client", "the assertion speaks of another client")
        named = jose.audiences(claims)
        if len(named) != 1 or named[0] not in self._audiences:
            # One audience only: an assertion for us and another server could be passed on by it.
            raise _Denied("invalid_client", "the assertion is for another audience, or for several")
        now = self._clock.now().timestamp()
        expires = jose.time_claim(claims, "exp")
        if expires is None or now >= expires + SKEW_SECONDS:
            raise _Denied("invalid_client", "the assertion has expired: compare the clocks")
        if expires - now > ASSERTION_SECONDS_MAX + SKEW_SECONDS:
            raise _Denied("invalid_client", "the assertion lives too long")
        for name in ("iat", "nbf"):
            begins = jose.time_claim(claims, name)
            if name in claims and (begins is None or now < begins - SKEW_SECONDS):
                raise _Denied("invalid_client", "the assertion is from the future: compare the clocks")
        token_id = jose.text_claim(claims, "jti")
        if not token_id or not self._used.is_new(f"{client_id} {token_id}", expires + SKEW_SECONDS):
            raise _Denied("invalid_client", "the assertion has no id, or was used before")
        return client_id, client


def _single_valued(form: Sequence[tuple[str, str]]) -> dict[str, str]:
    fields = dict(form)
    if len(fields) != len(form):  # RFC 6749 3.2
        raise _Denied("invalid_request", "a field came twice")
    if "client_secret" in fields:
        # What was sent in vain is no secret any more; say so before anybody relies on it.
        raise _Denied("invalid_client", "a shared secret was shown; none is taken")
    return fields


def _granted_scopes(asked: str, client: Client) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(asked.split(" "))) if asked else client.scopes
    if not set(wanted) <= set(client.scopes):
        raise _Denied("invalid_scope", "the client may not have one of the scopes")
    return wanted


def _claimed_subject(assertion: str) -> str:
    """Return who an assertion says it is from: only to find the keys that it is verified by."""
    parts = assertion[:ASSERTION_BYTES_MAX].split(".", 3)
    try:
        claims = msgspec.json.decode(jose.base64url(parts[1]), type=dict[str, object])
    except (IndexError, ValueError, UnicodeDecodeError):  # msgspec.DecodeError is a ValueError
        return ""
    subject = jose.text_claim(claims, "sub")
    return subject if CLIENT_ID.fullmatch(subject) else ""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
