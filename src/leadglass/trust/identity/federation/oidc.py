"""OpenID Connect: authorization code with PKCE, as relying party.

``begin`` says where the browser goes and seals what we must remember; ``finish`` takes what the browser brings back.
Between the two nothing is kept here, so nobody can fill a table by beginning sign-ins.

Source: OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0, Back-Channel Logout 1.0; RFC 6749, RFC 7523,
RFC 7636, RFC 9207, RFC 9700.
"""

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import (
    DISCOVERY_SECONDS,
    GROUPS_MAX,
    KEYS_REFRESH_SECONDS_MIN,
    PROVIDER_RETRY_SECONDS,
    SIGN_IN_SECONDS_MAX,
)
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation.models import (
    ClientAuthentication,
    ExternalIdentity,
    LogoutRequest,
    OIDCSettings,
    SignedIn,
    SignInBegun,
    SignInRefused,
)
from leadglass.trust.identity.federation.outbound import Answer, Outbound, OutboundFailed
from leadglass.trust.identity.federation.pending import local_path
from leadglass.trust.identity.federation.secret_file import read_secret_file
from leadglass.trust.identity.replay import ReplayMemory

ID_TOKEN_ALGORITHMS: Final = jose.ALGORITHMS
_ASSERTION_SECONDS: Final = 60
_LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_HASHES: Final = {
    "ES256": hashlib.sha256,
    "PS256": hashlib.sha256,
    "RS256": hashlib.sha256,
    # Ed25519 hashes with SHA-512 inside, so at_hash takes that too (OpenID Connect Core 3.1.3.6, errata set 2).
    "EdDSA": hashlib.sha512,
    "Ed25519": hashlib.sha512,
}
_ERRORS: Final = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unmet_authentication_requirements",
        "unsupported_response_type",
    }
)
"""Source: RFC 6749 4.1.2.1; OpenID Connect Core 3.1.2.6."""


class ProviderMetadata(msgspec.Struct, frozen=True):
    """What we read of a discovery document. Source: OpenID Connect Discovery 3, RFC 8414 2, RFC 9207 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    response_types_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    claims_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


class _Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    issuer: str
    state: str
    nonce: str
    verifier: str
    return_to: str
    begun_at: float
    acr: tuple[str, ...]
    max_age: int | None


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str = ""
    access_token: str = ""
    token_type: str = ""


class _TokenError(msgspec.Struct, frozen=True):
    error: str = ""


class ProviderMisbehaved(Exception):
    """What the provider says about itself cannot be used: why, in words of ours."""


class _Refused(Exception):
    pass


class Provider:
    """What an OpenID provider publishes: metadata and keys, fetched when needed and kept for a while. Thread-safe."""

    def __init__(self, issuer: str, outbound: Outbound, clock: Clock) -> None:
        self._issuer = issuer
        self._outbound = outbound
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, ProviderMetadata] | None = None
        self._keys: tuple[float, jose.KeySet] | None = None
        self._failed: tuple[float, OutboundFailed] | None = None

    def _ask(self, url: str) -> Answer:
        """Ask, unless that failed a moment ago; only under the lock."""
        if self._failed is not None and self._clock.monotonic() - self._failed[0] < PROVIDER_RETRY_SECONDS:
            raise OutboundFailed(self._failed[1].failure, str(self._failed[1]))
        try:
            answer = self._outbound.get(url)
        except OutboundFailed as error:
            self._failed = (self._clock.monotonic(), error)
            raise
        self._failed = None
        return answer

    def metadata(self) -> ProviderMetadata:
        """Return the discovery document.

        Raises:
            OutboundFailed: the provider cannot be asked.
            ProviderMisbehaved: what it answers cannot be used.
        """
        with self._lock:
            now = self._clock.monotonic()
            if self._metadata is None or now - self._metadata[0] > DISCOVERY_SECONDS:
                self._metadata = (now, self._discover())
            return self._metadata[1]

    def _discover(self) -> ProviderMetadata:
        # Discovery 4.1: a path of the issuer stays in front.
        answer = self._ask(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if answer.status != 200:
            raise ProviderMisbehaved(f"the discovery document is answered with status {answer.status}")
        try:
            found = msgspec.json.decode(answer.body, type=ProviderMetadata)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderMisbehaved("the discovery document cannot be read or is incomplete") from error
        if found.issuer != self._issuer:  # Discovery 4.3: exactly, or another provider speaks for this one
            raise ProviderMisbehaved("the discovery document is that of another issuer")
        if not found.authorization_endpoint.startswith("https://"):
            raise ProviderMisbehaved("the authorization endpoint is not at an https URL")
        methods = found.code_challenge_methods_supported
        if methods and "S256" not in methods:
            raise ProviderMisbehaved("the provider does not do PKCE with S256")
        return found

    def keys(self) -> jose.KeySet:
        """Return the published keys.

        Raises:
            OutboundFailed, ProviderMisbehaved: as above.
        """
        metadata = self.metadata()
        with self._lock:
            now = self._clock.monotonic()
            if self._keys is None or now - self._keys[0] > DISCOVERY_SECONDS:
                self._keys = (now, self._fetch_keys(metadata))
            return self._keys[1]

    def newer_keys(self) -> jose.KeySet | None:
        """Fetch the keys again because a token names one that is not known; None if that was done just now."""
        metadata = self.metadata()
        with self._lock:
            now = self._clock.monotonic()
            if self._keys is not None and now - self._keys[0] < KEYS_REFRESH_SECONDS_MIN:
                return None
            self._keys = (now, self._fetch_keys(metadata))
            return self._keys[1]

    def _fetch_keys(self, metadata: ProviderMetadata) -> jose.KeySet:
        answer = self._ask(metadata.jwks_uri)
        if answer.status != 200:
            raise ProviderMisbehaved(f"the keys are answered with status {answer.status}")
        try:
            return jose.KeySet(answer.body)
        except jose.JoseRefused as error:
            raise ProviderMisbehaved(str(error)) from error

    def verified(self, token: str) -> jose.Claims:
        """Return the claims of a token that this provider signed.

        Raises:
            jose.JoseRefused: it did not.
            OutboundFailed, ProviderMisbehaved: as above.
        """
        header = jose.read_header(token, ID_TOKEN_ALGORITHMS)
        keys = self.keys()
        if keys.find(header.kid, header.alg) is None:
            keys = self.newer_keys() or keys
        return jose.verify(token, keys, ID_TOKEN_ALGORITHMS)


class OIDCClient:
    """Signs people in at one OpenID provider. Thread-safe; not to be called from an event loop.

    Args:
        settings: see there; its files are read now.
        clock: of the site.
        outbound: asks the provider.
        sealer: shared by all sign-ins of this process.

    Raises:
        ConfigurationError: the settings contradict themselves, or a file of theirs cannot be read.
    """

    def __init__(self, settings: OIDCSettings, clock: Clock, outbound: Outbound, sealer: jose.Sealer) -> None:
        if not settings.client_id or not settings.redirect_uri.startswith("https://"):
            raise ConfigurationError("OpenID Connect needs a client id and an https redirect URI")
        self._settings = settings
        self._clock = clock
        self._outbound = outbound
        self._sealer = sealer
        self._credential = _read_credential(settings)
        self._logout_ids = ReplayMemory(clock)
        self.provider = Provider(settings.issuer, outbound, clock)

    @property
    def issuer(self) -> str:
        """Whose people these are."""
        return self._settings.issuer

    def public_keys(self) -> bytes | None:
        """Return the JWK Set to register at the provider; None when we prove ourselves by a secret."""
        if isinstance(self._credential, bytes):
            return None
        return jose.public_key_set(*self._credential)

    def begin(
        self, return_to: str = "/", *, acr_values: Sequence[str] = (), max_age: int | None = None
    ) -> SignInBegun:
        """Start a sign-in.

        Args:
            return_to: path of ours to come back to; anything else becomes ``/``.
            acr_values: one of these must be the authentication context, for a step-up; else that of the settings.
            max_age: seconds since the person last proved who they are, at most.

        Raises:
            OutboundFailed, ProviderMisbehaved: the provider cannot be asked, or says what cannot be used.
        """
        metadata = self.provider.metadata()
        settings = self._settings
        acr = tuple(acr_values) or settings.acr_required
        pending = _Pending(
            kind="oidc",
            issuer=settings.issuer,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            return_to=local_path(return_to),
            begun_at=self._clock.now().timestamp(),
            acr=acr,
            max_age=max_age,
        )
        asked = [
            ("response_type", "code"),
            ("client_id", settings.client_id),
            ("redirect_uri", settings.redirect_uri),
            ("scope", " ".join(dict.fromkeys(("openid", *settings.scopes)))),
            ("state", pending.state),
            ("nonce", pending.nonce),
            ("code_challenge", _base64url(hashlib.sha256(pending.verifier.encode("ascii")).digest())),
            ("code_challenge_method", "S256"),
        ]
        if acr:
            asked.append(("acr_values", " ".join(acr)))
        if max_age is not None:
            asked.append(("max_age", str(max_age)))
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return SignInBegun(
            metadata.authorization_endpoint + joint + urlencode(asked),
            self._sealer.seal(msgspec.json.encode(pending)),
        )

    def finish(self, query: Sequence[tuple[str, str]], sealed_state: str) -> SignedIn | SignInRefused:
        """Take what the browser brought to the redirect URI.

        To believe it we need (1) a sign-in that this browser began, not long ago, (2) its ``state``, (3) our provider
        as ``iss``, (4) a code and no error, (5) tokens for it, (6) an ID token as it must be, and (7) claims of the
        userinfo endpoint about the same subject, if they are wanted.

        Args:
            query: all parameters in their order, repeated ones included.
            sealed_state: of the cookie.

        Raises:
            OutboundFailed: the provider cannot be asked.
        """
        try:
            return self._finish(query, sealed_state)
        except (_Refused, ProviderMisbehaved, jose.JoseRefused) as refusal:
            return SignInRefused(str(refusal))

    def _finish(self, query: Sequence[tuple[str, str]], sealed_state: str) -> SignedIn:
        answer = dict(query)
        if len(answer) != len(query):
            raise _Refused("a parameter came twice")
        pending = self._open(sealed_state)  # (1)
        if not hmac.compare_digest(answer.get("state", "").encode(), pending.state.encode()):  # (2)
            raise _Refused("the answer belongs to another sign-in")
        metadata = self.provider.metadata()
        said = answer.get("iss")  # (3) RFC 9207 2.4
        if said is None and metadata.authorization_response_iss_parameter_supported:
            raise _Refused("the answer does not say which provider it is from")
        if said is not None and said != self._settings.issuer:
            raise _Refused("the answer is from another provider")
        if "error" in answer:  # (4)
            raise _Refused(f"the provider answered {_known_error(answer['error'])}")
        if not answer.get("code"):
            raise _Refused("the answer holds no code")
        tokens = self._redeem(metadata, answer["code"], pending)  # (5)
        claims = self._checked(tokens, pending)  # (6)
        claims = self._completed(metadata, tokens, claims)  # (7)
        return SignedIn(self._identity(claims), pending.return_to)

    def _open(self, sealed_state: str) -> _Pending:
        try:
            pending = msgspec.json.decode(self._sealer.open(sealed_state), type=_Pending)
        except (jose.JoseRefused, msgspec.DecodeError) as error:
            raise _Refused("this browser did not begin a sign-in, or before a restart") from error
        if pending.kind != "oidc" or pending.issuer != self._settings.issuer:
            raise _Refused("this browser began a sign-in at another provider")
        if not 0 <= self._clock.now().timestamp() - pending.begun_at <= SIGN_IN_SECONDS_MAX:
            raise _Refused("the sign-in took too long")
        return pending

    def _redeem(self, metadata: ProviderMetadata, code: str, pending: _Pending) -> _Tokens:
        form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self._settings.redirect_uri),
            ("code_verifier", pending.verifier),
        ]
        answer = self.ask_token_endpoint(metadata, form)
        if answer.status != 200:
            raise _Refused(f"the token endpoint answered {token_error(answer)}")
        try:
            tokens = msgspec.json.decode(answer.body, type=_Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refused("the answer of the token endpoint cannot be read") from error
        if not tokens.id_token:
            raise _Refused("the token endpoint sent no ID token")
        return tokens

    def ask_token_endpoint(self, metadata: ProviderMetadata, form: Sequence[tuple[str, str]]) -> Answer:
        """Send ``form`` with the proof of who we are.

        Raises:
            OutboundFailed: the provider cannot be asked.
        """
        sent, headers = list(form), {"Accept": "application/json"}
        if isinstance(self._credential, bytes):
            # RFC 6749 2.3.1: both parts form-encoded first.
            pair = f"{quote_plus(self._settings.client_id)}:{quote_plus(self._credential)}".encode("ascii")
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        else:
            sent += [
                ("client_id", self._settings.client_id),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", self._assertion(*self._credential)),
            ]
        return self._outbound.post(metadata.token_endpoint, sent, headers)

    def _assertion(self, key: jose.Key, algorithm: str) -> str:
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._settings.client_id,
            "sub": self._settings.client_id,
            # The issuer and not the endpoint, and only that: what one provider was given is no use at another.
            "aud": self._settings.issuer,
            "jti": secrets.token_urlsafe(24),
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        return jose.sign(claims, key, algorithm, jose.key_id(key))

    def _checked(self, tokens: _Tokens, pending: _Pending) -> jose.Claims:
        """Source: OpenID Connect Core 3.1.3.7, 3.1.3.8."""
        claims = self.provider.verified(tokens.id_token)
        self._check_origin(claims)
        if not hmac.compare_digest(
            jose.text_claim(claims, "nonce").encode(), pending.nonce.encode()
        ):  # else a token of another sign-in was put in
            raise _Refused("the ID token belongs to another sign-in")
        self._check_at_hash(claims, tokens)
        if pending.acr and jose.text_claim(claims, "acr") not in pending.acr:
            raise _Refused("the provider did not authenticate as strongly as was asked for")
        if pending.max_age is not None:
            shown = jose.time_claim(claims, "auth_time")
            now = self._clock.now().timestamp()
            if shown is None or now - shown > pending.max_age + self._settings.skew_seconds:
                raise _Refused("the person proved who they are longer ago than was asked for")
        return claims

    def _check_origin(self, claims: jose.Claims) -> None:
        settings, now = self._settings, self._clock.now().timestamp()
        if claims.get("iss") != settings.issuer:
            raise _Refused("the token is of another issuer")
        named = jose.audiences(claims)
        if settings.client_id not in named:
            raise _Refused("the token is for another client")
        party = claims.get("azp")
        if (len(named) > 1 or party is not None) and party != settings.client_id:
            raise _Refused("the token was issued to another party")
        expires, issued = jose.time_claim(claims, "exp"), jose.time_claim(claims, "iat")
        if expires is None or issued is None:
            raise _Refused("the token does not say when it was issued and expires")
        if now >= expires + settings.skew_seconds:
            raise _Refused("the token has expired: compare the clocks")
        if now < issued - settings.skew_seconds:
            raise _Refused("the token is from the future: compare the clocks")
        if now > issued + SIGN_IN_SECONDS_MAX + settings.skew_seconds:
            raise _Refused("the token was issued too long ago")
        not_before = claims.get("nbf")
        if not_before is not None:
            begins = jose.time_claim(claims, "nbf")
            if begins is None or now < begins - settings.skew_seconds:
                raise _Refused("the token is not valid yet: compare the clocks")

    def _check_at_hash(self, claims: jose.Claims, tokens: _Tokens) -> None:
        said = claims.get("at_hash")
        if said is None:
            return
        digest = _HASHES[jose.read_header(tokens.id_token).alg](tokens.access_token.encode()).digest()
        if not hmac.compare_digest(str(said).encode(), _base64url(digest[: len(digest) // 2]).encode()):
            raise _Refused("the access token does not belong to the ID token")

    def _completed(self, metadata: ProviderMetadata, tokens: _Tokens, claims: jose.Claims) -> jose.Claims:
        settings = self._settings
        missing = settings.groups_claim not in claims or settings.name_claim not in claims
        if not (missing and settings.userinfo and metadata.userinfo_endpoint and tokens.access_token):
            return claims
        if tokens.token_type.lower() != "bearer" or not tokens.access_token.isprintable():
            raise _Refused("the access token is of a kind that we cannot use")
        answer = self._outbound.get(
            metadata.userinfo_endpoint, {"Authorization": f"Bearer {tokens.access_token}"}
        )
        if answer.status != 200:
            raise _Refused(f"the userinfo endpoint answered with status {answer.status}")
        try:
            found = msgspec.json.decode(answer.body, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refused("the answer of the userinfo endpoint is not JSON") from error
        if found.get("sub") != claims.get("sub"):  # Core 5.3.2: else it must not be used
            raise _Refused("the userinfo endpoint speaks of another person")
        # What the signed token says stands.
        return jose.Claims({**found, **claims})

    def _identity(self, claims: jose.Claims) -> ExternalIdentity:
        subject = jose.text_claim(claims, "sub")
        if not subject or len(subject) > 255 or not subject.isprintable():  # Core 8
            raise _Refused("the provider names no usable subject")
        shown = jose.time_claim(claims, "auth_time")
        return ExternalIdentity(
            issuer=self._settings.issuer,
            subject=subject,
            display_name=jose.text_claim(claims, self._settings.name_claim),
            groups=_texts(claims, self._settings.groups_claim, GROUPS_MAX),
            methods=_texts(claims, "amr", 32),
            acr=jose.text_claim(claims, "acr"),
            auth_time=None if shown is None else datetime.fromtimestamp(shown, UTC),
            session_index=jose.text_claim(claims, "sid"),
        )

    def logout_url(self) -> str:
        """Return where the browser goes to sign out at the provider too; empty when it offers no such thing.

        Raises:
            OutboundFailed, ProviderMisbehaved: as with ``begin``.
        """
        endpoint = self.provider.metadata().end_session_endpoint
        if not endpoint.startswith("https://"):
            return ""
        asked = {"client_id": self._settings.client_id}
        if self._settings.post_logout_uri:
            asked["post_logout_redirect_uri"] = self._settings.post_logout_uri
        return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(asked)

    def back_channel_logout(self, logout_token: str) -> LogoutRequest | SignInRefused:
        """Believe the provider that somebody signed out there.

        Source: OpenID Connect Back-Channel Logout 1.0, 2.6.

        Raises:
            OutboundFailed: the provider cannot be asked for its keys.
        """
        try:
            claims = self.provider.verified(logout_token)
            self._check_origin(claims)
            events = claims.get("events")
            if not isinstance(events, dict) or _LOGOUT_EVENT not in events or "nonce" in claims:
                raise _Refused("the token is no logout token")
            subject, session = jose.text_claim(claims, "sub"), jose.text_claim(claims, "sid")
            token_id, expires = jose.text_claim(claims, "jti"), jose.time_claim(claims, "exp")
            if not token_id or not (subject or session) or expires is None:
                raise _Refused("the logout token names nobody, or has no id")
            if not self._logout_ids.is_new(token_id, expires + self._settings.skew_seconds):
                raise _Refused("the logout token was used before")
        except (_Refused, ProviderMisbehaved, jose.JoseRefused) as refusal:
            return SignInRefused(str(refusal))
        return LogoutRequest(self._settings.issuer, subject, session)


def token_error(answer: Answer) -> str:
    """Return the error of a token endpoint, if it is one of those that RFC 6749 5.2 knows; else the HTTP status."""
    try:
        error = msgspec.json.decode(answer.body, type=_TokenError).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = ""
    known = {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
    return error if error in known else f"status {answer.status}"


def _known_error(error: str) -> str:
    return error if error in _ERRORS else "an error that the standard does not know"


def _read_credential(settings: OIDCSettings) -> bytes | tuple[jose.Key, str]:
    if settings.client_authentication is ClientAuthentication.PRIVATE_KEY_JWT:
        if settings.private_key_file is None:
            raise ConfigurationError(
                "OpenID Connect with private_key_jwt needs a private key", hint="set private_key_file"
            )
        return jose.read_private_key(read_secret_file(settings.private_key_file, "private key"))
    if settings.client_secret_file is None:
        raise ConfigurationError(
            "OpenID Connect with client_secret_basic needs a client secret", hint="set client_secret_file"
        )
    return read_secret_file(settings.client_secret_file, "client secret").reveal()


def _texts(claims: jose.Claims, name: str, count_max: int) -> tuple[str, ...]:
    value = claims.get(name)
    found = (value,) if isinstance(value, str) else jose.texts(value)
    if len(found) > count_max:
        raise _Refused(f"the provider names more than {count_max} {name}")
    return found


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
