"""Key derivation and key wrapping: the only two ways in which one key makes or carries another.

**Invariant:** every derivation has a label of its own, ended by 00, and fields of fixed length behind it, so that no
two uses of one key can ever feed the same bytes to HMAC.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from leadglass.base.errors import KeyUnavailable

KEY_BYTES: Final = 32
"""256 bits everywhere: AES-256, HMAC-SHA-256, and the seed of Ed25519."""

BINDING_BYTES: Final = 32
"""SHA-256 of what a wrapped key is bound to."""

_FIRST_BLOCK: Final = b"\x01"


class KeyedHash:
    """HMAC-SHA-256 under one key, keyed once.

    Copying a keyed context costs 1.7 us; keying it anew (``hmac.digest``, ``HKDFExpand``) costs 4 to 5 us, and both
    stand on the path of every stored object. The context is only ever copied, never updated, so threads share it.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.HMAC(key, hashes.SHA256())

    def digest(self, data: bytes) -> bytes:
        """Return HMAC-SHA-256 of ``data``: 32 bytes."""
        copy = self._keyed.copy()
        copy.update(data)
        return copy.finalize()

    def expand(self, info: bytes) -> bytes:
        """Return HKDF-Expand-SHA-256(key, info, 32).

        For 32 octets the expansion is its first block alone, T(1) = HMAC(PRK, info || 01).

        Source: RFC 5869 2.3.
        """
        copy = self._keyed.copy()
        copy.update(info + _FIRST_BLOCK)
        return copy.finalize()

    def matches(self, data: bytes, tag: bytes) -> bool:
        """Tell in constant time whether ``tag`` is the HMAC of ``data``."""
        copy = self._keyed.copy()
        copy.update(data)
        try:
            copy.verify(tag)
        except InvalidSignature:
            return False
        return True


def label(name: str) -> bytes:
    """Return the info prefix of a derivation: ``leadglass/v1/<name>`` and 00."""
    return f"leadglass/v1/{name}".encode("ascii") + b"\x00"


def fingerprint(canonical: bytes) -> bytes:
    """Return SHA-256 of ``canonical``: what a wrapped key is bound to."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(canonical)
    return digest.finalize()


def length_prefixed(*parts: bytes) -> bytes:
    """Join ``parts``, each behind its length in four octets, so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def wrap_bound(kek: bytes, key: bytes, binding: bytes) -> bytes:
    """Return ``key || binding`` under AES-KWP.

    KWP has no associated data, so what the key belongs to travels inside and is compared on unwrap. KWP is a
    pseudo-random permutation of the whole input: a change of any bit of the blob changes all of what comes out, and
    the 32 bytes of ``binding`` (beside the 8 octets KWP checks itself) notice it. It takes no nonce, so none can
    repeat; wrapping the same key for the same binding twice gives the same blob, which tells nobody anything new.

    Source: RFC 5649; NIST SP 800-38F 6.3.
    """
    assert len(binding) == BINDING_BYTES
    return aes_key_wrap_with_padding(kek, key + binding)


def unwrap_bound(kek: bytes, wrapped: bytes, binding: bytes) -> bytes:
    """Return the key.

    Raises:
        KeyUnavailable: another key-encryption key, a changed blob, or another binding: which one cannot be told.
    """
    try:
        plain = aes_key_unwrap_with_padding(kek, wrapped)
    except (InvalidUnwrap, ValueError):
        # "from None": the foreign exception adds nothing but the chance of carrying bytes along.
        raise KeyUnavailable(
            "a wrapped key does not unwrap: it was changed, or wrapped by another key"
        ) from None
    key, found = plain[:-BINDING_BYTES], plain[-BINDING_BYTES:]
    # No early-exit oracle matters here: ``found`` is only reached by a blob that KWP authenticated.
    if not key or found != binding:
        raise KeyUnavailable("a wrapped key belongs to something else than what it was found beside")
    return key
