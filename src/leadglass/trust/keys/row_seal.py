"""Sealing of small things: rows under a study's row key, audit payloads under the site's.

Sealed form: version octet, nonce, ciphertext, 16-byte tag.

    01  AES-256-GCM, 96-bit random nonce          one key per study
    02  XAES-256-GCM, 192-bit nonce               one key for all audit payloads, for years
"""

import os
import threading
from collections import OrderedDict
from itertools import count
from typing import Final, NamedTuple, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadglass.base.errors import IntegrityError

_GCM: Final = b"\x01"
_XAES: Final = b"\x02"
_GCM_NONCE_BYTES: Final = 12
_XAES_NONCE_BYTES: Final = 24
_DERIVATION_NONCE_BYTES: Final = 12
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


PAYLOADS_PER_KEY: Final = 1 << 20
"""Payloads sealed under one derived key: nine minutes of 2000 events a second. ``PayloadSeal`` says why."""

_KEYS_OPEN: Final = 64
"""Derived keys held for opening, 0.5 KiB each: a reader of the log meets them one after the other."""


class _DerivedKey(NamedTuple):
    """A key that seals now: what its payloads begin with, the key, and how many it has sealed."""

    prefix: bytes
    aead: AESGCM
    used: "count[int]"


@final
class PayloadSeal:
    """XAES-256-GCM: AES-256-GCM under a key derived from the first half of a 192-bit nonce.

    All audit payloads stand under one key. At 2000 events a second a second plain GCM with random nonces would reach
    its ceiling of 2^32 messages in 25 days, so keys are derived: the first 96 bits of the nonce say which one, the
    other 96 are the nonce of GCM under it.

    XAES as written draws all 192 bits for each message. Here the first half is drawn once for a process and again
    after ``PAYLOADS_PER_KEY`` = 2^20 messages; the second half is drawn for each message. What is stored is XAES-256-GCM
    all the same, and is opened without knowing how its nonce came to be. The derivation costs 8 us, more than all else.

    Why no nonce repeats under one key, with n = 2^40 messages in the life of a site (17 years at 2000 a second):

    - Under one first half there are at most 2^20 messages, each with 96 random bits: two meet with probability
      2^20 * 2^20 / 2 / 2^96 = 2^-57; SP 800-38D 8.3 asks for at most 2^32 messages and 2^-32.
    - The 2^20 first halves that those messages need, and as many restarts again, are random too: any two are the same
      with probability 2^-55, and were they, their messages would still have to meet in the second half.
    - Over the whole life that is below 2^21 * 2^-57 = 2^-36. With a fresh first half each it would be 2^-113; both
      are small beside what breaks first.
    - The second half is asked of the kernel each time, and no counter or buffer of ours stands between: a forked
      process, or a virtual machine that was put back to a snapshot, shares the derived key but not the nonces.
    - Under one key lie at most 2^20 * 2^19 = 2^39 blocks (payloads are at most 8 MiB), which tells AES from a random
      function with probability below 2^(2 * 39 - 128) = 2^-50.

    Source: C2SP XAES-256-GCM; NIST SP 800-108r1 4.1 (the derivation: CMAC in counter mode, two single blocks);
    NIST SP 800-38D 8.2.2, 8.3.
    """

    __slots__ = ("_cipher", "_current", "_lock", "_mask", "_open")

    def __init__(self, key: bytes) -> None:
        # ECB of single blocks is the raw block cipher that CMAC is made of; no data is ever encrypted by it.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - the raw block cipher, see above
        zero = int.from_bytes(self._blocks(bytes(_BLOCK_BYTES)), "big")
        doubled = (zero << 1) ^ (0x87 if zero >> 127 else 0)  # NIST SP 800-38B 6.1: subkey K1
        k1 = doubled & ((1 << 128) - 1)
        # Both blocks of the derivation but for the nonce: (00 01 "X" 00 || nonce) xor K1, (00 02 "X" 00 || nonce) xor K1.
        self._mask = ((k1 ^ (0x00015800 << 96)) << 128) | (k1 ^ (0x00025800 << 96))
        self._lock = threading.Lock()
        self._current = self._draw()
        self._open: OrderedDict[bytes, AESGCM] = OrderedDict()

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, nonce, ciphertext and tag."""
        current = self._current
        # Drawing from the counter is one step of the interpreter, so that threads need no lock and overdraw nothing.
        while next(current.used) >= PAYLOADS_PER_KEY:
            with self._lock:
                if self._current is current:
                    self._current = self._draw()
                current = self._current
        nonce = os.urandom(_GCM_NONCE_BYTES)
        return current.prefix + nonce + current.aead.encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of ``sealed`` or ``associated`` is not what was sealed.
        """
        if sealed[:1] != _XAES or len(sealed) < 1 + _XAES_NONCE_BYTES + _TAG_BYTES:
            raise IntegrityError("a sealed payload has an unknown version or is cut short")
        head = sealed[1 : 1 + _DERIVATION_NONCE_BYTES]
        nonce = sealed[1 + _DERIVATION_NONCE_BYTES : 1 + _XAES_NONCE_BYTES]
        try:
            return self._derived(head).decrypt(nonce, sealed[1 + _XAES_NONCE_BYTES :], associated)
        except InvalidTag:
            raise IntegrityError("a sealed payload is not what was written, or not in its place") from None

    def encrypt(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return ciphertext and tag for a given 24-byte nonce: only known answers call it."""
        head, rest = nonce[:_DERIVATION_NONCE_BYTES], nonce[_DERIVATION_NONCE_BYTES:]
        return self._derive(head).encrypt(rest, plaintext, associated)

    def _derived(self, head: bytes) -> AESGCM:
        """Return the key to open with; the newest few are held, as runs of payloads share one."""
        with self._lock:
            aead = self._open.get(head)
            if aead is None:
                aead = self._open[head] = self._derive(head)
                if len(self._open) > _KEYS_OPEN:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(head)
        return aead

    def _draw(self) -> "_DerivedKey":
        head = os.urandom(_DERIVATION_NONCE_BYTES)
        return _DerivedKey(_XAES + head, self._derive(head), count())

    def _derive(self, head: bytes) -> AESGCM:
        number = int.from_bytes(head, "big")
        return AESGCM(self._blocks((self._mask ^ (number << 128) ^ number).to_bytes(2 * _BLOCK_BYTES, "big")))

    def _blocks(self, blocks: bytes) -> bytes:
        # An encryptor belongs to one call: sharing one between threads is refused by the library.
        return self._cipher.encryptor().update(blocks)
