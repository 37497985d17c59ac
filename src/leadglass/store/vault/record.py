"""One sealed record: written front to back in constant memory, read anywhere.

``header (256) ‖ FLOE segments of 65 536 octets``; the plaintext of the segments is the Part 10 stream followed by the
footer. Octet ``i`` of the stream lies in segment ``i // 65 504``, and segment ``k`` begins at ``256 + 65 536 k``.
"""

import hmac
from collections.abc import Callable, Iterator
from typing import Final, final

from leadglass.base.errors import IntegrityError, LocalProtocolError
from leadglass.base.limits import MIB
from leadglass.base.objects import ObjectIdentity
from leadglass.store.vault import floe
from leadglass.store.vault.disk import read_at, read_into
from leadglass.store.vault.floe import Decryptor, Encryptor, Octets, RandomSource
from leadglass.store.vault.footer import TRAILER_LENGTH, decode_footer, footer_length
from leadglass.store.vault.header import (
    CLASS_DICOM_PART10,
    FIXED_LENGTH,
    HEADER_LENGTH,
    RecordHeader,
    context,
    decode_header,
)
from leadglass.store.vault.interfaces import Footer
from leadglass.trust.keys.interfaces import StudyKey

SEGMENT: Final = floe.SEGMENTS_OF_64_KIB.segment_length
PLAIN: Final = floe.SEGMENTS_OF_64_KIB.plaintext_length

_BATCH: Final = 1 * MIB + 512
"""Sealed octets that go to disk in one call: 16 segments, the record's header and the pack's commit entry. A slice of
512 KiB is one write; a larger object is on its way to the disk while the rest of it still arrives."""


@final
class SealBuffer:
    """Room for one record on its way: 1 MiB of sealed octets and one segment of plaintext. Used again and again."""

    __slots__ = ("plain", "sealed")

    def __init__(self) -> None:
        self.plain: Final = memoryview(bytearray(PLAIN))
        self.sealed: Final = memoryview(bytearray(_BATCH))


@final
class RecordSealer:
    """Turns header, Part 10 stream and footer into the octets of a record.

    Args:
        header: what the record is.
        object_key: 32 octets, for this record only.
        buffer: memory to work in; nobody else may use it before ``finish``.
        flush: is given sealed octets in order; they are valid during the call.
        room_after: octets left free behind the last segment for the caller's own end.
        random: source of IV and nonces.

    Attributes:
        payload_length: octets of the Part 10 stream so far.
    """

    __slots__ = ("_buffer", "_encryptor", "_filled", "_flush", "_flush_at", "_used", "payload_length")

    def __init__(
        self,
        header: RecordHeader,
        object_key: bytes,
        buffer: SealBuffer,
        flush: Callable[[memoryview], None],
        *,
        room_after: int,
        random: RandomSource,
    ) -> None:
        fixed = header.encode()
        self._encryptor = Encryptor(object_key, fixed, random=random)
        self._buffer = buffer
        self._flush = flush
        self._flush_at = _BATCH - SEGMENT - room_after
        self._filled = 0
        self._used = HEADER_LENGTH
        self.payload_length = 0
        buffer.sealed[:HEADER_LENGTH] = fixed + self._encryptor.header

    def write(self, data: Octets) -> None:
        """Seal more of the stream; whole segments straight from ``data``, the rest through the plaintext buffer."""
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        self.payload_length += len(view)
        self._append(view)

    def _append(self, view: memoryview) -> None:
        # A full segment is sealed as soon as it is full and as not final: a footer always follows the stream.
        size = len(view)
        at = 0
        filled = self._filled
        if filled:
            at = min(PLAIN - filled, size)
            self._buffer.plain[filled : filled + at] = view[:at]
            filled += at
            if filled == PLAIN:
                self._seal(self._buffer.plain, is_final=False)
                filled = 0
        while size - at >= PLAIN:
            self._seal(view[at : at + PLAIN], is_final=False)
            at += PLAIN
        if at < size:
            self._buffer.plain[: size - at] = view[at:]
            filled = size - at
        self._filled = filled

    def _seal(self, plaintext: memoryview, *, is_final: bool) -> None:
        if self._used > self._flush_at:
            self._flush(self._buffer.sealed[: self._used])
            self._used = 0
        self._used += self._encryptor.seal(plaintext, self._buffer.sealed[self._used :], is_final=is_final)

    def finish(self, footer: bytes) -> int:
        """Seal the footer as the end of the stream.

        Returns:
            Octets of ``buffer.sealed`` that were not flushed yet; ``room_after`` more are free behind them.
        """
        take = min(PLAIN - self._filled, len(footer))
        view = memoryview(footer)
        self._buffer.plain[self._filled : self._filled + take] = view[:take]
        rest = view[take:]
        if rest:
            self._seal(self._buffer.plain, is_final=False)
            self._buffer.plain[: len(rest)] = rest
            self._filled = len(rest)
        else:
            self._filled += take
        self._seal(self._buffer.plain[: self._filled], is_final=True)
        return self._used


@final
class SealedRecord:
    """Implements ``SealedObject`` over one record of a pack file.

    To open a record, the caller says where it lies, how long it is, and which object it must be. In this order:

    1. the header decodes: known version, suite and class, reserved octets zero;
    2. tenant, key id, key generation, object id and object version are the expected ones: no swap, no rollback;
    3. the FLOE header tag is that of octets 0..181 under the object's key: the header is authentic and the key is the
       only one under which this record opens;
    4. the last segment is the one that the *given* length says, never the one that a segment claims;
    5. the last segment opens, its end is a footer, and the footer decodes;
    6. the footer names the expected object, if the caller knows which (a rebuild of the index does not);
    7. the context tag is that of the footer's UIDs under the study's context key, compared in constant time.

    After that any segment may be asked for; no octet of it leaves before its tag was checked. An object is used by one
    thread at a time.

    Args:
        fd: the pack, open for reading. Closed by ``close`` when ``owns_fd``.
        offset: where the record begins.
        length: its octets, from the sealed index or from the pack's authenticated directory.
        tenant_id: 16 octets.
        object_id: 16 octets.
        key: the study's key.
        identity: the object it must be, or None when that is what the caller wants to learn.
        close_fd: how to release ``fd``; None when somebody else does.

    Raises:
        IntegrityError: one of the checks failed.
    """

    __slots__ = (
        "_cached",
        "_close_fd",
        "_decryptor",
        "_fd",
        "_footer",
        "_length",
        "_offset",
        "_sealed",
        "_spare",
    )

    def __init__(
        self,
        fd: int,
        offset: int,
        length: int,
        *,
        tenant_id: bytes,
        object_id: bytes,
        key: StudyKey,
        identity: ObjectIdentity | None,
        close_fd: Callable[[int], None] | None = None,
    ) -> None:
        self._fd = fd
        self._close_fd = close_fd
        self._offset = offset
        raw = read_at(fd, HEADER_LENGTH, offset)
        header = decode_header(raw)  # (1)
        if (
            header.tenant_id != tenant_id
            or header.key_id != key.key_id
            or header.key_generation != key.generation
            or header.object_id != object_id
            or header.object_version != 1
            or header.object_class != CLASS_DICOM_PART10
        ):
            raise IntegrityError("record header: another object than expected")  # (2)
        object_key = key.object_key(object_id, header.object_version, 1)
        body_length = length - HEADER_LENGTH
        fixed, floe_header = raw[:FIXED_LENGTH], raw[FIXED_LENGTH:]
        self._decryptor = Decryptor(object_key, fixed, floe_header, body_length)  # (3) (4)
        # Two decrypted segments are kept: neighbours, when a frame crosses a border. They are made as they are needed,
        # so that a small object costs a small buffer.
        segment_bytes = min(body_length, SEGMENT)
        self._sealed = memoryview(bytearray(segment_bytes))
        self._cached: tuple[int, memoryview] = (-1, memoryview(b""))
        self._spare: tuple[int, memoryview] = (-1, memoryview(b""))
        self._footer, self._length = self._read_footer()  # (5)
        found = self._footer.identity
        if identity is not None and found != identity:
            raise IntegrityError("record footer: another object than expected")  # (6)
        meaning = context(tenant_id, found.study_uid, found.series_uid, found.sop_instance_uid)
        if not hmac.compare_digest(key.context_tag(meaning), header.context_tag):
            raise IntegrityError("record header: the context is not that of its UIDs")  # (7)

    @property
    def footer(self) -> Footer:
        """Its sealed end."""
        return self._footer

    @property
    def length(self) -> int:
        """Octets of the Part 10 stream, footer not counted."""
        return self._length

    def read(self, offset: int, length: int) -> bytes:
        """Return octets of the Part 10 stream, fewer at its end; opens only the segments that hold them.

        Raises:
            IntegrityError: a segment is not what was written.
        """
        if offset < 0 or length < 0:
            raise LocalProtocolError("a negative range")
        return self._read_plaintext(offset, min(offset + length, self._length))

    def stream(self, offset: int = 0) -> Iterator[memoryview]:
        """Yield the Part 10 stream from ``offset`` in pieces; each piece is valid until the next is asked for."""
        if offset < 0:
            raise LocalProtocolError("a negative range")
        if self._decryptor.segment_count == 1:  # opened already, for the footer
            if offset < self._length:
                yield self._segment(0)[offset : self._length]
            return
        plain = memoryview(bytearray(PLAIN))
        while offset < self._length:
            position, skip = divmod(offset, PLAIN)
            size = self._open_segment(position, plain)
            piece = plain[skip : min(size, self._length - position * PLAIN)]
            offset += len(piece)
            yield piece

    def check(self) -> None:
        """Open every segment, footer included.

        Raises:
            IntegrityError: a segment is not what was written.
        """
        plain = memoryview(bytearray(min(self._decryptor.plaintext_length, PLAIN)))
        for position in range(self._decryptor.segment_count):
            self._open_segment(position, plain)

    def close(self) -> None:
        """Release the file and the decrypted segments."""
        close_fd, self._close_fd = self._close_fd, None
        self._cached = self._spare = (-1, memoryview(b""))
        if close_fd is not None:
            close_fd(self._fd)

    def _open_segment(self, position: int, out: memoryview) -> int:
        sealed = self._sealed[: self._decryptor.segment_length(position)]
        read_into(self._fd, sealed, self._offset + HEADER_LENGTH + position * SEGMENT)
        return self._decryptor.open(position, sealed, out)

    def _segment(self, position: int) -> memoryview:
        if self._cached[0] != position:
            self._cached, self._spare = self._spare, self._cached
        if self._cached[0] != position:
            room = self._cached[1].obj if isinstance(self._cached[1].obj, bytearray) else None
            plain = memoryview(room or bytearray(min(self._decryptor.plaintext_length, PLAIN)))
            self._cached = (-1, memoryview(b""))  # nothing of it may be used when opening fails
            size = self._open_segment(position, plain)
            self._cached = (position, plain[:size])
        return self._cached[1]

    def _read_plaintext(self, begin: int, end: int) -> bytes:
        pieces: list[memoryview | bytes] = []
        while begin < end:
            position, skip = divmod(begin, PLAIN)
            piece = bytes(self._segment(position)[skip : end - position * PLAIN])
            pieces.append(piece)
            begin += len(piece)
        return b"".join(pieces)

    def _read_footer(self) -> tuple[Footer, int]:
        total = self._decryptor.plaintext_length
        trailer_at = total - TRAILER_LENGTH
        if trailer_at < 0:
            raise IntegrityError("a record without a footer")
        footer_at = trailer_at - footer_length(self._read_plaintext(trailer_at, total))
        if footer_at < 0:
            raise IntegrityError("a record without a footer")
        return decode_footer(self._read_plaintext(footer_at, trailer_at)), footer_at
