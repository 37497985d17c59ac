"""FLOE: random-access authenticated encryption in segments, with a key-committing header.

A ciphertext is a header (parameters, 32-octet random IV, 32-octet tag) and a body of equal segments, of which only the
last may be shorter. A segment is a length word, a random 96-bit nonce, the AES-256-GCM ciphertext and its tag.

Why this and no construction of our own: it is published, has a proof (ePrint 2025/2275) and known answers from five
implementations, works in constant memory, opens any segment alone, and commits to its key: GCM alone does not.

Two things that the specification leaves to its user are closed here. The encryptor counts segments itself, so no
position is sealed twice. The decryptor is told the length of the body by somebody it trusts and derives from it which
segment is the last one: where an attacker chooses that, FLOE loses its commitment ("Semi-Public Functions").

Source: C2SP FLOE.md.
"""

import hmac
import os
from collections.abc import Callable
from typing import Final, TypeAlias, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.hmac import HMAC

from leadglass.base.errors import IntegrityError, LocalProtocolError

Octets: TypeAlias = bytes | bytearray | memoryview
RandomSource: TypeAlias = Callable[[int], bytes]

KEY_LENGTH: Final = 32
IV_LENGTH: Final = 32
TAG_LENGTH: Final = 32
HEADER_LENGTH: Final = 10 + IV_LENGTH + TAG_LENGTH
NONCE_LENGTH: Final = 12
SEGMENT_OVERHEAD: Final = 4 + NONCE_LENGTH + 16
"""Length word, nonce and GCM tag."""

_MESSAGE_KEY_LENGTH: Final = 48
_NOT_FINAL: Final = b"\xff\xff\xff\xff"
_SHA384: Final = SHA384()

SEGMENTS_MAX: Final = 1 << 31
"""FLOE allows 2^40. 2^31 segments of 64 KiB are 128 TiB; more than that is a mistake."""


@final
class Parameters:
    """One member of the family.

    Attributes:
        segment_length: octets of an encrypted segment.
        plaintext_length: octets of plaintext in a full segment.
        encoded: PARAM_ENCODE: AEAD id 0, KDF id 0, segment length, IV length.
    """

    __slots__ = ("encoded", "plaintext_length", "rotation_bits", "segment_length")

    def __init__(self, segment_length: int, *, rotation_bits: int = 20) -> None:
        self.segment_length: Final = segment_length
        self.plaintext_length: Final = segment_length - SEGMENT_OVERHEAD
        # 2^20 segments under one AEAD key: with random 96-bit nonces a collision has probability below 2^-57, and
        # 2^32 blocks stay far below the birthday bound of AES. Only known-answer tests use another value.
        self.rotation_bits: Final = rotation_bits
        self.encoded: Final = b"\0\0" + segment_length.to_bytes(4, "big") + IV_LENGTH.to_bytes(4, "big")


SEGMENTS_OF_64_KIB: Final = Parameters(65_536)


def _expand(keyed: HMAC, info: bytes, length: int) -> bytes:
    """Return HKDF-Expand-SHA-384 of at most 48 octets, which is the first block T(1) = HMAC(key, info ‖ 01) alone.

    ``keyed`` is used up; who derives more than one copies it, which costs half of keying it anew.

    Source: RFC 5869 2.3.
    """
    keyed.update(info + b"\x01")
    return keyed.finalize()[:length]


def _header_tag_and_message_key(key: bytes, prefix: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Return what commits to the key, and what segment keys come from; the purpose string separates the two."""
    keyed = HMAC(key, _SHA384)
    tag = _expand(keyed.copy(), prefix + b"HEADER_TAG:" + aad, TAG_LENGTH)
    return tag, _expand(keyed, prefix + b"MESSAGE_KEY:" + aad, _MESSAGE_KEY_LENGTH)


def _header_prefix(parameters: Parameters, iv: bytes) -> bytes:
    return parameters.encoded + iv


def _segment_associated_data(position: int, *, is_final: bool) -> bytes:
    return (position << 8 | is_final).to_bytes(9, "big")  # u64 position, u8 final flag


class _SegmentKeys:
    """DERIVE_KEY with the current key kept: one derivation per 2^20 segments when they come in order."""

    __slots__ = ("_aad", "_aead", "_epoch", "_info", "_message_key", "_rotation_bits")

    def __init__(self, message_key: bytes, prefix: bytes, aad: bytes, rotation_bits: int) -> None:
        self._message_key = message_key
        self._info = prefix + b"DEK:"
        self._aad = aad
        self._rotation_bits = rotation_bits
        self._epoch = -1
        self._aead: AESGCM | None = None

    def at(self, position: int) -> AESGCM:
        epoch = position >> self._rotation_bits
        aead = self._aead
        if aead is None or epoch != self._epoch:
            masked = (epoch << self._rotation_bits).to_bytes(8, "big")
            aead = AESGCM(
                _expand(HMAC(self._message_key, _SHA384), self._info + masked + self._aad, KEY_LENGTH)
            )
            self._aead, self._epoch = aead, epoch
        return aead


@final
class Encryptor:
    """Seals one stream, segment after segment.

    Args:
        key: 32 octets, used for this stream only.
        aad: what the stream means; every derived key depends on it.
        parameters: segment length.
        random: source of the IV and of the nonces. Each nonce is 96 random bits, as SP 800-38D 8.2.2 allows; nothing
            but a test with known answers gives another source.
    """

    __slots__ = ("_closed", "_keys", "_parameters", "_position", "_random", "header")

    def __init__(
        self,
        key: bytes,
        aad: bytes,
        parameters: Parameters = SEGMENTS_OF_64_KIB,
        random: RandomSource = os.urandom,
    ) -> None:
        if len(key) != KEY_LENGTH:
            raise LocalProtocolError("a FLOE key has 32 octets")
        prefix = _header_prefix(parameters, random(IV_LENGTH))
        # HKDF-Expand with SHA-384 alone: the key is uniformly random already (it comes from an HKDF), and the purpose
        # string separates header tag, message key and segment keys.
        tag, message_key = _header_tag_and_message_key(key, prefix, aad)
        self.header: Final = prefix + tag
        self._keys = _SegmentKeys(message_key, prefix, aad, parameters.rotation_bits)
        self._parameters = parameters
        self._position = 0
        self._closed = False
        self._random = random

    def seal(self, plaintext: Octets, out: memoryview, *, is_final: bool) -> int:
        """Seal the next segment into ``out`` and return its length.

        Args:
            plaintext: exactly ``plaintext_length`` octets, or up to that many in the final segment.
            out: at least 32 octets longer than ``plaintext``; must not overlap it.
            is_final: nothing follows.

        Raises:
            LocalProtocolError: a length that does not fit, or the stream is closed.
        """
        size = len(plaintext)
        full = self._parameters.plaintext_length
        if self._closed or size > full or (size < full and not is_final) or self._position >= SEGMENTS_MAX:
            raise LocalProtocolError("a segment that does not fit into its FLOE stream")
        position = self._position
        self._position = position + 1
        self._closed = is_final
        total = size + SEGMENT_OVERHEAD
        nonce = self._random(NONCE_LENGTH)
        out[:16] = (total.to_bytes(4, "big") if is_final else _NOT_FINAL) + nonce
        associated = _segment_associated_data(position, is_final=is_final)
        self._keys.at(position).encrypt_into(nonce, plaintext, associated, out[16:total])
        return total


@final
class Decryptor:
    """Opens the segments of one stream in any order.

    Args:
        key: 32 octets.
        aad: as it was given to the encryptor.
        header: 74 octets.
        body_length: octets of all segments together, from a source that is trusted; never from the segments.
        parameters: segment length.

    Attributes:
        segment_count: segments in the body, at least one.
        plaintext_length: octets of plaintext in the whole stream.

    Raises:
        IntegrityError: other parameters, other key, other ``aad``, changed header, or a body of impossible length.
    """

    __slots__ = ("_keys", "_last_length", "_parameters", "plaintext_length", "segment_count")

    def __init__(
        self,
        key: bytes,
        aad: bytes,
        header: bytes,
        body_length: int,
        parameters: Parameters = SEGMENTS_OF_64_KIB,
    ) -> None:
        if len(key) != KEY_LENGTH:
            raise LocalProtocolError("a FLOE key has 32 octets")
        if len(header) != HEADER_LENGTH or header[:10] != parameters.encoded:
            raise IntegrityError("FLOE header: other parameters than expected")
        prefix = header[: 10 + IV_LENGTH]
        # Constant time, because the tag is a MAC; before any segment, because it is the commitment to the key.
        tag, message_key = _header_tag_and_message_key(key, prefix, aad)
        if not hmac.compare_digest(tag, header[42:]):
            raise IntegrityError("FLOE header: wrong tag")
        count = -(-body_length // parameters.segment_length)
        last = body_length - (count - 1) * parameters.segment_length
        if not 0 < count <= SEGMENTS_MAX or last < SEGMENT_OVERHEAD:
            raise IntegrityError("FLOE body: impossible length")
        self._keys = _SegmentKeys(message_key, prefix, aad, parameters.rotation_bits)
        self._parameters = parameters
        self._last_length = last
        self.segment_count: Final = count
        self.plaintext_length: Final = body_length - count * SEGMENT_OVERHEAD

    def segment_length(self, position: int) -> int:
        """Return how many octets the segment at ``position`` has, word and tag included."""
        return self._parameters.segment_length if position < self.segment_count - 1 else self._last_length

    def open(self, position: int, segment: Octets, out: memoryview) -> int:
        """Open one segment into ``out`` and return how many octets of plaintext it held.

        ``out`` holds nothing that may be used when this raises.

        Raises:
            IntegrityError: the segment is not what was sealed at this place.
        """
        if not 0 <= position < self.segment_count:
            raise LocalProtocolError("no such segment")
        is_final = position == self.segment_count - 1
        expected = self.segment_length(position)
        word = expected.to_bytes(4, "big") if is_final else _NOT_FINAL
        if len(segment) != expected or segment[:4] != word:
            raise IntegrityError("FLOE segment: wrong length")
        size = expected - SEGMENT_OVERHEAD
        associated = _segment_associated_data(position, is_final=is_final)
        try:
            self._keys.at(position).decrypt_into(segment[4:16], segment[16:], associated, out[:size])
        except InvalidTag:
            raise IntegrityError("FLOE segment: wrong tag") from None
        return size
