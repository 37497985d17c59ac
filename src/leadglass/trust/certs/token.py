"""JSON Web Tokens as user identity: a small verifier that takes one narrow kind.

Compact JWS, ES256 or EdDSA (Ed25519), a key from the site's own JWKS chosen by ``kid``; nothing in a token decides
how it is verified. No ``none``, no HMAC, no embedded or fetched key, no critical extension.

Implements ``identity.interfaces.TokenVerifier``.

Source: RFC 7515, RFC 7519, RFC 8725, RFC 9068; RFC 8705 3.1 (certificate-bound tokens).
"""

import base64
import binascii
import heapq
import hmac
import re
import threading
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import TOKEN_LIFETIME_SECONDS_MAX, TOKENS_REMEMBERED_MAX, USER_IDENTITY_BYTES_MAX
from leadglass.trust.identity.interfaces import TokenRefused, VerifiedToken

SKEW_SECONDS: Final = 30
"""Clocks of an identity provider and of ours; RFC 7519 4.1.4 allows "a few minutes", servers keep better time."""
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]+")
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "JWT"})

_Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class _Refusal(Exception):
    pass


class _JWK(msgspec.Struct, frozen=True):
    kty: str
    kid: str
    crv: str
    x: str
    y: str = ""
    alg: str = ""


class _JWKS(msgspec.Struct, frozen=True):
    keys: tuple[_JWK, ...]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str = ""


class _Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    x5t: str = msgspec.field(name="x5t#S256")


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: int
    iat: int
    jti: str
    nbf: int | None = None
    cnf: _Confirmation | None = None


class JWTVerifier:
    """Verifies the tokens of one issuer. Thread-safe.

    Args:
        issuer: exact text of ``iss``.
        audience: our AE title; ``aud`` must name it.
        jwks: public keys of the issuer, RFC 7517; EC P-256 and OKP Ed25519 only.
        clock: of the site.
        require_binding: refuse tokens that are not bound to the client certificate (``cnf``).

    Raises:
        ConfigurationError: a key cannot be read, is of another kind, or has no id of its own.
    """

    def __init__(
        self, issuer: str, audience: str, jwks: bytes, clock: Clock, *, require_binding: bool = False
    ) -> None:
        if not issuer or not audience:
            raise ConfigurationError("a token verifier needs an issuer and an audience")
        self._issuer = issuer
        self._audience = audience
        self._keys = _read_keys(jwks)
        self._clock = clock
        self._require_binding = require_binding
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._forget_at: list[tuple[int, str]] = []

    def verify(self, token: bytes, certificate_sha256: str) -> VerifiedToken | TokenRefused:
        """Say whose token it is.

        To believe a token we need (1) three parts of bounded size, (2) a known key whose kind fits ``alg``, (3) a good
        signature, (4) our issuer, (5) us as audience, (6) a time in its life, which is short, (7) the certificate it
        is bound to, if it is bound, and (8) a ``jti`` not seen before. Nothing of the payload is read before (3).
        """
        try:
            return self._verify(token, certificate_sha256)
        except _Refusal as refusal:
            return TokenRefused(str(refusal))

    def _verify(self, token: bytes, certificate_sha256: str) -> VerifiedToken:
        # (1) form
        if len(token) > USER_IDENTITY_BYTES_MAX:
            raise _Refusal("token is too long")
        parts = token.split(b".", 3)
        if len(parts) != 3:
            raise _Refusal("token is not a compact JWS")
        try:
            header = msgspec.json.decode(_decode(parts[0]), type=_Header)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal("token header cannot be read or asks for more than we do") from error
        if header.typ and header.typ not in _TYPES:
            raise _Refusal("token is of another type")
        # (2), (3) key and signature
        known = self._keys.get(header.kid)
        if known is None:
            raise _Refusal("token names an unknown key")
        algorithm, key = known
        if header.alg != algorithm:
            raise _Refusal("token algorithm is not that of its key")
        _check_signature(key, _decode(parts[2]), parts[0] + b"." + parts[1])
        try:
            claims = msgspec.json.decode(_decode(parts[1]), type=_Claims)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal("token claims are incomplete or cannot be read") from error
        self._check_claims(claims, certificate_sha256)
        # (8) once only, and last: a token that is refused for another reason takes no room in the memory
        self._remember(claims)
        return VerifiedToken(
            subject=claims.sub, token_id=claims.jti, expires_at=datetime.fromtimestamp(claims.exp, UTC)
        )

    def _check_claims(self, claims: _Claims, certificate_sha256: str) -> None:
        # (4), (5) from whom, for whom
        if claims.iss != self._issuer:
            raise _Refusal("token is of another issuer")
        audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise _Refusal("token is for another audience")
        if not claims.sub or not claims.jti or len(claims.sub) > 256 or len(claims.jti) > 256:
            raise _Refusal("token has no usable subject or id")
        # (6) when
        now = self._clock.now().timestamp()
        if not 0 < claims.exp - claims.iat <= TOKEN_LIFETIME_SECONDS_MAX:
            raise _Refusal("token lives too long")
        if now >= claims.exp + SKEW_SECONDS:
            raise _Refusal("token has expired")
        if now < claims.iat - SKEW_SECONDS or (claims.nbf is not None and now < claims.nbf - SKEW_SECONDS):
            raise _Refusal("token is not valid yet")
        # (7) bound to the certificate of this connection
        if claims.cnf is None:
            if self._require_binding:
                raise _Refusal("token is not bound to a certificate")
        elif not certificate_sha256 or not hmac.compare_digest(
            _decode(claims.cnf.x5t.encode("utf-8")), bytes.fromhex(certificate_sha256)
        ):
            raise _Refusal("token is bound to another certificate")

    def _remember(self, claims: _Claims) -> None:
        now = self._clock.now().timestamp()
        with self._lock:
            while self._forget_at and self._forget_at[0][0] + SKEW_SECONDS <= now:
                self._seen.discard(heapq.heappop(self._forget_at)[1])
            if claims.jti in self._seen:
                raise _Refusal("token was used before")
            if len(self._seen) >= TOKENS_REMEMBERED_MAX:
                raise _Refusal("too many tokens at once")
            self._seen.add(claims.jti)
            heapq.heappush(self._forget_at, (claims.exp, claims.jti))


def _read_keys(jwks: bytes) -> dict[str, tuple[str, _Key]]:
    try:
        document = msgspec.json.decode(jwks, type=_JWKS)
        keys = {jwk.kid: _read_key(jwk) for jwk in document.keys}
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, _Refusal) as error:
        raise ConfigurationError(
            "a key of the token issuer cannot be read or is of a kind we do not take"
        ) from error
    if not keys or len(keys) != len(document.keys) or "" in keys:
        raise ConfigurationError("the keys of the token issuer need an id each of their own")
    return keys


def _read_key(jwk: _JWK) -> tuple[str, _Key]:
    x = _decode(jwk.x.encode("utf-8"))
    if (jwk.kty, jwk.crv) == ("EC", "P-256") and jwk.alg in {"", "ES256"}:
        y = _decode(jwk.y.encode("utf-8"))
        if len(x) != 32 or len(y) != 32:  # RFC 7518 6.2.1.2: full length
            raise ValueError("coordinates of P-256 have 32 octets")
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
        return "ES256", numbers.public_key()
    if (jwk.kty, jwk.crv) == ("OKP", "Ed25519") and jwk.alg in {"", "EdDSA"}:
        return "EdDSA", ed25519.Ed25519PublicKey.from_public_bytes(x)
    raise ValueError("not a key of ours")


def _check_signature(key: _Key, signature: bytes, signed: bytes) -> None:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
            return
        if len(signature) != 64:  # RFC 7518 3.4: r and s, 32 octets each
            raise _Refusal("token signature has the wrong length")
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise _Refusal("token signature is not good") from error


def _decode(text: bytes) -> bytes:
    """Decode base64url without padding (RFC 7515 2), in its one canonical spelling."""
    if _BASE64URL.fullmatch(text) is None:
        raise _Refusal("token is not base64url")
    try:
        decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise _Refusal("token is not base64url") from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise _Refusal("token is not base64url")
    return decoded
