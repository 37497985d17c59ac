"""Signed JSON as a list of checks: what identity providers and services send, and what we send them.

Compact JWS only. The algorithm must be one of ours, the key is chosen by ``kid`` from a set that was there before the
token came, and its kind must fit the algorithm. Nothing of the payload is read before the signature held. No ``none``,
no HMAC, no key in or behind the header, no critical extension.

``joserfc`` does the arithmetic. Its registry is replaced by a closed table, so that neither its defaults nor a later
release of it can add an algorithm.

Source: RFC 7515, RFC 7517, RFC 7518, RFC 7519, RFC 8037, RFC 8725, RFC 9864.
"""

import base64
import binascii
import secrets
from collections.abc import Collection, Mapping
from typing import Final, NewType, cast

import msgspec
from joserfc import jwe, jwk, jws, jwt
from joserfc._rfc7515.model import JWSAlgModel  # no public name for the type that its registry returns
from joserfc.errors import JoseError

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import ASSERTION_BYTES_MAX, JWKS_KEYS_MAX
from leadglass.base.secret import Secret

Claims = NewType("Claims", dict[str, object])
"""Of a token whose signature held."""

ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "PS256", "RS256")
"""What we verify. RSA is for the identity providers that know nothing else."""

_KEY_TYPES: Final = {"ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP", "PS256": "RSA", "RS256": "RSA"}
_CURVES: Final = {"ES256": "P-256", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
_RSA_BITS_MIN: Final = 2048  # NIST SP 800-131A Rev. 2
_RSA_BITS_MAX: Final = 8192  # beyond, one verification costs more than a request should
_MODELS: Final = {name: jws.JWSRegistry.algorithms[name] for name in ALGORITHMS}
_NAME_CHARACTERS_MAX: Final = 512

Key = jwk.RSAKey | jwk.ECKey | jwk.OKPKey


class JoseRefused(Exception):
    """A token or a key is not believed: why, in words of ours; nothing of the token is in it."""


class _Registry(jws.JWSRegistry):
    max_header_length = 4096  # identity providers put certificate chains there, which we ignore

    def get_alg(self, name: str) -> JWSAlgModel:
        # Without the parent's warning about the name "EdDSA", which every deployed Ed25519 issuer still uses.
        return _MODELS[name]


_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


class _Header(msgspec.Struct, frozen=True):
    """What we read of a header; RFC 7515 4 has the rest ignored, but for what must be understood."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: object = None
    b64: object = None


class _Listed(msgspec.Struct, frozen=True):
    keys: tuple[dict[str, object], ...]


class KeySet:
    """The public keys of one issuer.

    Args:
        document: a JWK Set, RFC 7517 5, as octets.

    Raises:
        JoseRefused: it cannot be read, or holds no key that we could use.
    """

    def __init__(self, document: bytes) -> None:
        try:
            listed = msgspec.json.decode(document, type=_Listed).keys
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JoseRefused("the key set is not a list of keys in JSON") from error
        if len(listed) > JWKS_KEYS_MAX:
            raise JoseRefused(f"the key set has more than {JWKS_KEYS_MAX} keys")
        # RFC 7517 5: keys of kinds that we do not know are passed over.
        self._keys = [key for key in map(_public_key, listed) if key is not None]
        if not self._keys:
            raise JoseRefused("the key set holds no key for signatures of a kind that we take")

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, in their order; empty text for a key without one."""
        return tuple(kid for kid, _, _ in self._keys)

    def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the key of that id which fits ``algorithm``; without an id the only one that fits."""
        fitting = [
            key
            for key_id, named, key in self._keys
            if named in {"", algorithm} and _fits(key, algorithm) and (not kid or key_id == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None


def read_header(token: str, algorithms: Collection[str] = ALGORITHMS) -> _Header:
    """Return the header of a compact JWS of bounded size, nothing of which is believed yet.

    Raises:
        JoseRefused: it is none, or asks for an algorithm or an extension that is not ours.
    """
    if len(token) > ASSERTION_BYTES_MAX:
        raise JoseRefused("the token is too long")
    parts = token.split(".", 3)
    if len(parts) != 3 or not token.isascii():
        raise JoseRefused("the token is not a compact JWS")
    try:
        header = msgspec.json.decode(base64url(parts[0]), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise JoseRefused("the header of the token cannot be read") from error
    if header.crit is not None or header.b64 is not None:
        raise JoseRefused("the token asks for an extension that we do not know")
    if header.alg not in algorithms or header.alg not in _MODELS:
        raise JoseRefused("the token is signed by an algorithm that is not allowed")
    return header


def verify(token: str, keys: KeySet, algorithms: Collection[str] = ALGORITHMS) -> Claims:
    """Return the claims of a token whose signature holds under one of ``keys``.

    Raises:
        JoseRefused: it is not believed.
    """
    header = read_header(token, algorithms)
    key = keys.find(header.kid, header.alg)
    if key is None:
        raise JoseRefused("no known key fits the token")
    try:
        return Claims(jwt.decode(token, key, registry=_REGISTRY).claims)
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise JoseRefused("the signature of the token does not hold, or its claims are no object") from error


def sign(claims: Mapping[str, object], key: Key, algorithm: str, kid: str, token_type: str = "JWT") -> str:  # noqa: S107
    """Return a compact JWS over ``claims``."""
    header = {"alg": algorithm, "kid": kid, "typ": token_type}
    return jwt.encode(header, dict(claims), key, registry=_REGISTRY)


def read_private_key(document: Secret) -> tuple[Key, str]:
    """Return a private key from a JWK (RFC 7517) or PKCS #8 PEM, and the algorithm that it signs by.

    Raises:
        ConfigurationError: it cannot be read, is public only, or is of a kind that we do not take.
    """
    content = document.reveal()
    for kind in (jwk.ECKey, jwk.OKPKey, jwk.RSAKey):
        try:
            imported = kind.import_key(
                msgspec.json.decode(content) if content.lstrip().startswith(b"{") else content
            )
        except (JoseError, ValueError, TypeError, KeyError, msgspec.DecodeError):
            continue
        for algorithm in ("ES256", "EdDSA", "PS256"):
            if imported.is_private and _fits(imported, algorithm):
                return imported, algorithm
    raise ConfigurationError(
        "the private key cannot be read or is of a kind that we do not take",
        hint="an EC key on P-256, Ed25519, or RSA of 2048 bits and more; as JWK or unencrypted PKCS #8 PEM",
    )


def key_id(key: Key) -> str:
    """Return the thumbprint of a key, which serves as its id. Source: RFC 7638."""
    return key.thumbprint()


def public_key_set(key: Key, algorithm: str) -> bytes:
    """Return the JWK Set that the other side needs to verify what ``key`` signs."""
    public = {**key.as_dict(private=False), "kid": key_id(key), "use": "sig", "alg": algorithm}
    return msgspec.json.encode({"keys": [public]})


class Sealer:
    """Seals small state that travels through a browser, under a key that only this process has.

    What was sealed before a restart cannot be opened after it: whoever was signing in begins anew.
    """

    def __init__(self) -> None:
        self._key = jwk.OctKey.import_key(secrets.token_bytes(32))
        self._registry = jwe.JWERegistry(algorithms=["dir", "A256GCM"])

    def seal(self, state: bytes) -> str:
        """Return ``state`` encrypted and authenticated, as ASCII text."""
        return jwe.encrypt_compact(
            {"alg": "dir", "enc": "A256GCM"}, state, self._key, registry=self._registry
        )

    def open(self, sealed: str) -> bytes:
        """Return what was sealed.

        Raises:
            JoseRefused: it was not sealed here, or not by this process.
        """
        if len(sealed) > ASSERTION_BYTES_MAX:
            raise JoseRefused("the sealed state is too long")
        try:
            plain = jwe.decrypt_compact(sealed, self._key, registry=self._registry).plaintext
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise JoseRefused("the sealed state is not ours") from error
        if plain is None:
            raise JoseRefused("the sealed state is empty")
        return plain


def text_claim(claims: Mapping[str, object], name: str) -> str:
    """Return a claim that is text of bounded length; empty when it is missing or something else."""
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= _NAME_CHARACTERS_MAX else ""


def time_claim(claims: Mapping[str, object], name: str) -> float | None:
    """Return a NumericDate, seconds since 1970; None when it is missing or no sane number. Source: RFC 7519 2."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        return None
    return float(value)


def audiences(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return ``aud``, which is one text or several. Source: RFC 7519 4.1.3."""
    value = claims.get("aud")
    if isinstance(value, str):
        return (value,)
    return texts(value)


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts as it is; empty for anything else, and for a list with anything else in it."""
    try:
        return msgspec.convert(value, tuple[str, ...])
    except msgspec.ValidationError:
        return ()


def _public_key(document: dict[str, object]) -> tuple[str, str, Key] | None:
    if document.get("use", "sig") != "sig":
        return None
    kinds: dict[str, type[Key]] = {"EC": jwk.ECKey, "OKP": jwk.OKPKey, "RSA": jwk.RSAKey}
    kind = kinds.get(str(document.get("kty")))
    if kind is None or "verify" not in texts(document.get("key_ops", ["verify"])):
        return None
    # Public members only: what else the document says about itself decides nothing here.
    members = {name: document[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in document}
    if not all(isinstance(member, str) for member in members.values()):
        return None
    try:
        key = kind.import_key(cast("dict[str, str | list[str]]", members))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    named, kid = document.get("alg", ""), document.get("kid", "")
    if not isinstance(kid, str) or not any(_fits(key, algorithm) for algorithm in ALGORITHMS):
        return None
    return kid, named if isinstance(named, str) else "?", key


def _fits(key: Key, algorithm: str) -> bool:
    if key.key_type != _KEY_TYPES[algorithm]:
        return False
    if isinstance(key, jwk.RSAKey):
        return _RSA_BITS_MIN <= key.raw_value.key_size <= _RSA_BITS_MAX
    return key.curve_name == _CURVES[algorithm]


def base64url(text: str) -> bytes:
    """Decode base64url without padding. Source: RFC 7515 2.

    Raises:
        ValueError: it is something else.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
