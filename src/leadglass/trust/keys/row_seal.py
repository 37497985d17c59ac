"""Sealing of small things: rows under a study's row key, audit payloads under the site's.

Sealed form: version octet, nonce, ciphertext, 16-byte tag.

    01  AES-256-GCM, 96-bit random nonce          one key per study
    02  XAES-256-GCM, 192-bit random nonce        one key for all audit payloads, for years
"""

import os
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadglass.base.errors import IntegrityError

_GCM: Final = b"\x01"
_XAES: Final = b"\x02"
_GCM_NONCE_BYTES: Final = 12
_XAES_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_BLOCK_BYTES: Final = 16


@final
class RowSeal:
    """AES-256-GCM with a random 96-bit nonce.

    SP 800-38D 8.3 allows 2^32 invocations under one key with random nonces. A study has some thousand rows, each
    sealed a few times in its life: 2^20 seals give a nonce collision with probability 2^-57.
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, nonce, ciphertext and tag."""
        nonce = os.urandom(_GCM_NONCE_BYTES)
        return _GCM + nonce + self._aead.encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of ``sealed`` or ``associated`` is not what was sealed.
        """
        if sealed[:1] != _GCM or len(sealed) < 1 + _GCM_NONCE_BYTES + _TAG_BYTES:
            raise IntegrityError("a sealed row has an unknown version or is cut short")
        try:
            return self._aead.decrypt(
                sealed[1 : 1 + _GCM_NONCE_BYTES], sealed[1 + _GCM_NONCE_BYTES :], associated
            )
        except InvalidTag:
            raise IntegrityError("a sealed row is not what was written, or not in its place") from None


@final
class PayloadSeal:
    """XAES-256-GCM: AES-256-GCM under a key derived per message from the first half of a 192-bit random nonce.

    All audit payloads stand under one key. At 2000 events a second plain GCM with random nonces would reach its
    ceiling of 2^32 messages in 25 days; XAES reaches a collision probability of 2^-32 only after 2^80 messages.

    Source: C2SP XAES-256-GCM; NIST SP 800-108r1 4.1 (the derivation: CMAC in counter mode, two single blocks).
    """

    __slots__ = ("_cipher", "_mask")

    def __init__(self, key: bytes) -> None:
        # ECB of single blocks is the raw block cipher that CMAC is made of; no data is ever encrypted by it.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - the raw block cipher, see above
        zero = int.from_bytes(self._blocks(bytes(_BLOCK_BYTES)), "big")
        doubled = (zero << 1) ^ (0x87 if zero >> 127 else 0)  # NIST SP 800-38B 6.1: subkey K1
        k1 = doubled & ((1 << 128) - 1)
        # Both blocks of the derivation but for the nonce: (00 01 "X" 00 || nonce) xor K1, (00 02 "X" 00 || nonce) xor K1.
        self._mask = ((k1 ^ (0x00015800 << 96)) << 128) | (k1 ^ (0x00025800 << 96))

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, nonce, ciphertext and tag."""
        nonce = os.urandom(_XAES_NONCE_BYTES)
        return _XAES + nonce + self.encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of ``sealed`` or ``associated`` is not what was sealed.
        """
        if sealed[:1] != _XAES or len(sealed) < 1 + _XAES_NONCE_BYTES + _TAG_BYTES:
            raise IntegrityError("a sealed payload has an unknown version or is cut short")
        nonce = sealed[1 : 1 + _XAES_NONCE_BYTES]
        try:
            return self._aead(nonce).decrypt(nonce[12:], sealed[1 + _XAES_NONCE_BYTES :], associated)
        except InvalidTag:
            raise IntegrityError("a sealed payload is not what was written, or not in its place") from None

    def encrypt(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return ciphertext and tag for a given 24-byte nonce: only ``seal`` and known answers call it."""
        return self._aead(nonce).encrypt(nonce[12:], plaintext, associated)

    def _aead(self, nonce: bytes) -> AESGCM:
        head = int.from_bytes(nonce[:12], "big")
        return AESGCM(self._blocks((self._mask ^ (head << 128) ^ head).to_bytes(2 * _BLOCK_BYTES, "big")))

    def _blocks(self, blocks: bytes) -> bytes:
        # An encryptor belongs to one call: sharing one between threads is refused by the library.
        return self._cipher.encryptor().update(blocks)
