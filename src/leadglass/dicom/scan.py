"""Walk a data set as it streams by: check its structure, keep what the index wants (PS3.5 chapters 6, 7 and Annex A).

The scanner sees every octet once, in pieces of any cut. It reads element headers, skips values by arithmetic, and keeps
the values of ``attributes.CAPTURED_TAGS`` at the top level, each at most ``ATTRIBUTE_BYTES_MAX``. Where it is asked to, it
also takes the outline: all octets but the bulk values, and where those lie. Its memory does not depend on the object's size.

What is refused, because readers would disagree about it or could not read it at all:

- an element, item or sequence that ends outside of what contains it, or after the end of the data set;
- groups 0000, 0002, 0004 and 0006 inside a data set (commands, file meta, DICOMDIR records), delimiters where nothing is open;
- nesting beyond ``SEQUENCE_DEPTH_MAX``, more than ``ELEMENTS_MAX`` elements, deflate ratios beyond the bound;
- the same wanted attribute twice with different values: one reader would show one patient, another one the other.

What is taken as it is: elements out of order, wanted attributes repeated with the same value, values that do not fit
their VR, pixel data shorter than its rows and columns, group lengths (whatever they say), VRs of a later edition
of the standard. The object is stored as sent; only its structure must hold.

**Invariant:** no recursion, no value outside ``ATTRIBUTE_BYTES_MAX`` kept, and only ``DatasetRefused`` raised.
"""

import struct
import zlib
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NoReturn

from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import (
    ATTRIBUTE_BYTES_MAX,
    DATASET_HEAD_BYTES_MAX,
    ELEMENTS_MAX,
    INFLATE_RATIO_MAX,
    KIB,
    MIB,
    OUTLINE_FRAGMENTS_MAX,
    OUTLINE_HEADER_BYTES_MAX,
    SEQUENCE_DEPTH_MAX,
)
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.attributes import CAPTURED_TAGS
from leadglass.dicom.outline import NotedValue, TakenOutline
from leadglass.dicom.sequences import SEQUENCE_TAGS
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, TransferSyntax
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS

MISMATCH: Final = 0xA900
"""Error: data set does not match SOP class. Source: PS3.4 Table B.2-1."""

_STUDY: Final = 0x0020_000D
_SERIES: Final = 0x0020_000E
_SOP_CLASS: Final = 0x0008_0016
_SOP_INSTANCE: Final = 0x0008_0018

_PIXEL_DATA: Final = 0x7FE0_0010
_PIXELS: Final = (0x7FE0_0001, 0x7FE0_0002, 0x7FE0_0008, 0x7FE0_0009, _PIXEL_DATA)
"""Extended Offset Table and its lengths, float, double float and integer Pixel Data: bulk values of any length.

Source: PS3.3 C.7.6.3, C.7.6.24, C.7.6.25.
"""
_BULK_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_BULK_BYTES_MIN: Final = KIB + 1
"""From here on a value of ``_BULK_VRS`` is left out of the outline; shorter ones say more than their place would."""
_DELIMITERS: Final = (0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD)
_ITEM_LITTLE: Final = b"\xfe\xff\x00\xe0"
_UNDEFINED: Final = 0xFFFFFFFF
_WINDOW: Final = 16 * KIB
"""Octets looked at in one go: the head of most objects. Values beyond are never copied."""
_INFLATE_STEP: Final = 256 * KIB
_AFTER_STREAM_MAX: Final = 9
"""A gzip trailer (CRC-32 and length, RFC 1952) and one octet of padding."""

_FRAGMENT_VRS: Final = ["OB", "OW", "UN"]


class _Inside(IntEnum):
    """What the octets at the cursor are."""

    ELEMENTS = 0  # a data set, or an item of a sequence
    ITEMS = 1  # a sequence
    FRAGMENTS = 2  # encapsulated pixel data


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How headers are read; one constant per way to encode, built at import."""

    implicit: bool
    big_endian: bool
    header: struct.Struct
    pair: struct.Struct
    length: struct.Struct
    short: frozenset[int]
    long: frozenset[int]
    fragments: frozenset[int]
    sequence: int
    unknown: int
    low_groups: int
    wanted: frozenset[int]
    sequence_tags: frozenset[int]
    special: frozenset[int]
    delimiters: frozenset[int]
    identity: tuple[int, int, int, int]
    pixel_data: int
    pixels: frozenset[int]
    bulk: frozenset[int]
    item: int
    item_end: int
    sequence_end: int


def key_of(tag: int, *, big_endian: bool = False) -> int:
    """Return the four octets of a tag read as one number: what captured values are kept by.

    Little endian reads the element first. Turning every tag round would cost more than reading it does.
    """
    return tag if big_endian else (tag & 0xFFFF) << 16 | tag >> 16


def code_of(vr: str, *, big_endian: bool = False) -> int:
    """Return the two octets of a VR read as one number."""
    return int.from_bytes(vr.encode("ascii"), "big" if big_endian else "little")


def _encoding(*, implicit: bool, big_endian: bool) -> _Encoding:
    """Build the constants; tags are kept as the four octets read as one number, which saves work per element."""
    order = ">" if big_endian else "<"

    def key(tag: int) -> int:
        return key_of(tag, big_endian=big_endian)

    def code(vr: str) -> int:
        return code_of(vr, big_endian=big_endian)

    return _Encoding(
        implicit=implicit,
        big_endian=big_endian,
        header=struct.Struct(order + "IHH"),
        pair=struct.Struct(order + "II"),
        length=struct.Struct(order + "I"),
        short=frozenset(map(code, SHORT_VRS)),
        long=frozenset(map(code, LONG_VRS)),
        fragments=frozenset(map(code, _FRAGMENT_VRS)),
        sequence=code("SQ"),
        unknown=code("UN"),
        low_groups=key(0xFFF9_0000),
        wanted=frozenset(map(key, CAPTURED_TAGS)),
        sequence_tags=frozenset(map(key, SEQUENCE_TAGS)),
        special=frozenset(map(key, (*SEQUENCE_TAGS, *_DELIMITERS, *_PIXELS))),
        delimiters=frozenset(map(key, _DELIMITERS)),
        identity=(key(_SOP_CLASS), key(_SOP_INSTANCE), key(_STUDY), key(_SERIES)),
        pixel_data=key(_PIXEL_DATA),
        pixels=frozenset(map(key, _PIXELS)),
        bulk=frozenset(map(code, _BULK_VRS)),
        item=key(0xFFFE_E000),
        item_end=key(0xFFFE_E00D),
        sequence_end=key(0xFFFE_E0DD),
    )


_EXPLICIT_LITTLE: Final = _encoding(implicit=False, big_endian=False)
_EXPLICIT_BIG: Final = _encoding(implicit=False, big_endian=True)
_IMPLICIT_LITTLE: Final = _encoding(implicit=True, big_endian=False)
_IMPLICIT_BIG: Final = _encoding(implicit=True, big_endian=True)
_NOTHING: Final[frozenset[int]] = frozenset()


def encoding_of(syntax: TransferSyntax) -> _Encoding:
    """Return how the headers of a data set in ``syntax`` are read."""
    if syntax.implicit_vr:
        return _IMPLICIT_BIG if syntax.big_endian else _IMPLICIT_LITTLE
    return _EXPLICIT_BIG if syntax.big_endian else _EXPLICIT_LITTLE


CapturedValue = tuple[int, bytes]
"""VR as in the data set (``code_of``; 0 for implicit VR), and the octets of the value as received, padding included; those
of a sequence without its final delimiter."""


def check_identity(identity: ObjectIdentity, sop_class_uid: str, sop_instance_uid: str) -> None:
    """Compare the data set with the command that announced it.

    Args:
        identity: of the data set.
        sop_class_uid: Affected SOP Class UID (0000,0002).
        sop_instance_uid: Affected SOP Instance UID (0000,1000).

    Raises:
        DatasetRefused: they differ (0xA900). Source: PS3.4 B.2.3, PS3.7 9.1.1.1.
    """
    if identity.sop_class_uid != sop_class_uid:
        raise DatasetRefused("the data set is of another SOP class than announced", dimse_status=MISMATCH)
    if identity.sop_instance_uid != sop_instance_uid:
        raise DatasetRefused("the data set is another SOP instance than announced", dimse_status=MISMATCH)


class DatasetScanner:
    """One data set on its way in.

    Feed it every octet in order, then call ``finish``. After any error it must not be used again.
    """

    __slots__ = (
        "_after_stream", "_base", "_captured", "_carry", "_copying", "_count", "_encoding", "_fragments", "_header", "_header_max", "_identified", "_identity",
        "_identity_keys", "_inflated", "_inflater", "_inside", "_limit", "_marks", "_need", "_noted", "_octets_in", "_outer", "_outlining",
        "_past_head", "_recorded", "_recording", "_recording_vr", "_skip", "_stream_ended", "_syntax", "_undefined",
    )  # fmt: skip

    def __init__(
        self,
        transfer_syntax_uid: UID,
        *,
        syntax: TransferSyntax | None = None,
        outlining: bool = False,
        header_bytes_max: int = OUTLINE_HEADER_BYTES_MAX,
    ) -> None:
        """Begin.

        Args:
            transfer_syntax_uid: how the data set is encoded.
            syntax: description of it where the configuration knows a private one.
            outlining: take the outline on the way.
            header_bytes_max: longest header of an outline; it is given up when it grows longer.

        Raises:
            DatasetRefused: the transfer syntax is unknown, or none that a data set is stored in.
        """
        known = syntax or TRANSFER_SYNTAXES.get(transfer_syntax_uid)
        if known is None or not known.storable:
            raise DatasetRefused("the transfer syntax is not one that a data set is stored in")
        self._syntax = known
        self._encoding = encoding_of(known)
        self._captured: dict[int, tuple[int, bytes]] = {}
        self._carry = bytearray()
        self._need = 0
        self._skip = 0
        self._base = 0  # offset in the (inflated) data set of the next octet that has not been consumed
        self._octets_in = 0
        self._count = 0
        self._inside = _Inside.ELEMENTS
        self._limit = -1  # offset where the innermost container of defined length ends
        self._undefined = True  # the innermost container ends with a delimiter
        self._outer: list[tuple[_Inside, int, bool, _Encoding]] = []
        self._recording = 0  # the wanted sequence whose octets are being kept
        self._recording_vr = 0
        self._recorded = bytearray()
        self._identity_keys = self._encoding.identity
        self._identified = False
        self._identity: ObjectIdentity | None = None
        self._past_head = False
        self._inflated = 0
        self._stream_ended = False
        self._after_stream = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if known.deflated else None
        self._outlining = outlining
        self._header = bytearray()
        self._header_max = header_bytes_max
        self._noted: list[NotedValue] = []
        self._fragments: array[int] | None = None  # lengths, while encapsulated pixel data is walked
        # Offsets where bulk elements begin and end, in turn, which the octets for the header have not passed yet.
        self._marks: deque[int] = deque()
        self._copying = outlining  # the octets at the cursor belong to the header

    @property
    def study_known(self) -> bool:
        """All four UIDs of the identity have been read; ``identity`` can be asked."""
        return self._identified

    @property
    def head_complete(self) -> bool:
        """Pixel data has begun or the data set has ended: nothing more is expected for the index.

        An attribute that stands after the pixel data, against the order of tags, is still captured.
        """
        return self._past_head

    @property
    def octets(self) -> int:
        """Octets fed so far, as received (deflated where the syntax says so)."""
        return self._octets_in

    @property
    def transfer_syntax(self) -> TransferSyntax:
        """How the data set is encoded."""
        return self._syntax

    @property
    def passable(self) -> int:
        """How many of the next octets need not be seen: the rest of a bulk value. 0 where the data set is deflated."""
        if self._inflater is not None or self._recording or self._copying:
            return 0
        return self._skip

    def pass_over(self, octets: int) -> None:
        """Go on as if so many octets had been fed: at most ``passable``, for a reader that can seek."""
        self._octets_in += octets
        self._skip -= octets
        self._base += octets

    def outline(self) -> TakenOutline | None:
        """Return the outline, after ``finish``; None where it was not asked for or grew beyond its bounds."""
        if not self._outlining:
            return None
        return TakenOutline(
            transfer_syntax_uid=self._syntax.uid,
            header=bytes(self._header),
            values=tuple(self._noted),
            addressable=self._inflater is None,
            big_endian=self._syntax.big_endian,
        )

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next octets; the buffer may be reused after the call.

        Raises:
            DatasetRefused: the structure does not hold, or a limit is reached.
        """
        size = len(data)
        self._octets_in += size
        if self._inflater is not None:
            self._inflate(data)
        elif self._skip >= size and not self._recording:
            self._skip -= size
            self._base += size
            if self._copying:
                self._header += data
        else:
            self._scan(data)
        if not self._identified:
            captured = self._captured
            first, second, third, fourth = self._identity_keys
            self._identified = (
                first in captured and second in captured and third in captured and fourth in captured
            )
            if not self._identified and self._base > DATASET_HEAD_BYTES_MAX:
                raise DatasetRefused("the UIDs of study, series and instance do not come early enough")

    def finish(self) -> None:
        """Take the end of the data set.

        Raises:
            DatasetRefused: it ends inside of an element, an item or a sequence, or is empty.
        """
        if self._inflater is not None and not self._stream_ended:
            raise DatasetRefused("the data set ends inside the deflated stream (PS3.5 A.5)")
        if self._skip:
            raise DatasetRefused("the data set ends inside the value of an element (PS3.5 7.1)")
        if self._carry:
            raise DatasetRefused("the data set ends inside an element (PS3.5 7.1)")
        self._close_full_containers(self._base)
        if self._outer:
            raise DatasetRefused("the data set ends inside a sequence (PS3.5 7.5)")
        if not self._count:
            raise DatasetRefused("the data set is empty")
        self._past_head = True

    def captured(self) -> Mapping[int, CapturedValue]:
        """Return what was kept so far, by ``key_of(tag)``, in the order received."""
        return self._captured

    def identity(self) -> ObjectIdentity:
        """Return the UIDs of the object.

        Raises:
            DatasetRefused: one of them is missing, empty or not a UID.
        """
        if self._identity is None:  # a value that was captured does not change any more
            sop_class, sop_instance, study, series = self._identity_keys
            self._identity = ObjectIdentity(
                study_uid=self._uid(study, "StudyInstanceUID"),
                series_uid=self._uid(series, "SeriesInstanceUID"),
                sop_instance_uid=self._uid(sop_instance, "SOPInstanceUID"),
                sop_class_uid=self._uid(sop_class, "SOPClassUID"),
                transfer_syntax_uid=self._syntax.uid,
            )
        return self._identity

    def _uid(self, key: int, name: str) -> UID:
        found = self._captured.get(key)
        if found is None:
            raise DatasetRefused(
                f"the data set has no {name} (PS3.3 C.12.1, C.7.2.1, C.7.3.1)", dimse_status=MISMATCH
            )
        text = found[1].decode("latin-1").strip("\0 ")
        if not is_uid(text):
            raise DatasetRefused(f"{name} is not a UID (PS3.5 9.1)")
        return UID(text)

    # --- deflated -------------------------------------------------------------------------------------------------

    def _inflate(self, data: bytes | bytearray | memoryview) -> None:
        """Scan the inflated octets, piece by piece, while the ratio stays believable."""
        inflater = self._inflater
        assert inflater is not None
        if self._stream_ended:
            self._take_after_stream(len(data))
            return
        rest: bytes | bytearray | memoryview = data
        while True:
            try:
                piece = inflater.decompress(rest, _INFLATE_STEP)
            except zlib.error as error:
                raise DatasetRefused("the deflated data set is not a deflate stream (PS3.5 A.5)") from error
            self._inflated += len(piece)
            if self._inflated > MIB and self._inflated > INFLATE_RATIO_MAX * self._octets_in:
                raise DatasetRefused("the deflated data set expands beyond what is believable")
            self._scan(piece)
            if inflater.eof:
                self._stream_ended = True
                self._take_after_stream(len(inflater.unused_data))
                return
            if not piece:
                return  # it needs more octets
            rest = inflater.unconsumed_tail

    def _take_after_stream(self, octets: int) -> None:
        """Allow the padding of PS3.5 A.5 and the checksum that some senders leave there, but nothing to hide in."""
        self._after_stream += octets
        if self._after_stream > _AFTER_STREAM_MAX:
            raise DatasetRefused("octets follow the deflated stream (PS3.5 A.5)")

    # --- windows --------------------------------------------------------------------------------------------------

    def _scan(self, data: bytes | bytearray | memoryview) -> None:
        """Cut ``data`` into windows of contiguous octets and walk each; carry over what a header or value still needs."""
        size = len(data)
        view = data if isinstance(data, memoryview) else memoryview(data)
        offset = 0
        begin = self._base + len(self._carry)
        while offset < size:
            if self._skip:
                step = min(self._skip, size - offset)
                if self._recording:
                    self._record(view[offset : offset + step])
                self._skip -= step
                self._base += step
                offset += step
                continue
            carry = self._carry
            if carry:
                step = min(max(self._need - len(carry), 0) or _WINDOW, size - offset)
                carry += view[offset : offset + step]
                offset += step
                if len(carry) < self._need:
                    break
                window = bytes(carry)
                carry.clear()
            else:
                step = min(_WINDOW, size - offset)
                window = bytes(view[offset : offset + step])
                offset += step
            consumed = self._walk(window)
            if consumed < len(window):
                self._base += consumed
                carry += window[consumed:]
            else:
                self._base += len(window)
                self._skip = consumed - len(window)
        if self._copying or self._marks:
            self._copy_header(view, begin)

    def _walk(self, buf: bytes) -> int:
        """Read element headers of one window.

        Returns:
            Where in the window to go on: before its end when a header or a wanted value is cut (``_need`` octets from
            there make it whole), after its end when the rest of a value is still to come.
        """
        size = len(buf)
        base = self._base
        captured = self._captured
        count = self._count
        pos = 0
        recorded = 0  # octets of this window that a recorded sequence has been given
        self._need = 0
        while True:
            encoding = self._encoding
            inside = self._inside
            limit = self._limit
            stop = size if limit < 0 or limit - base > size else limit - base
            last = stop - 8
            pair = encoding.pair.unpack_from
            moved = False  # into or out of a container: the names above are stale
            if inside is _Inside.ELEMENTS:
                wanted = _NOTHING if self._outer else encoding.wanted
                low_groups = encoding.low_groups
                if encoding.implicit:
                    special = encoding.special
                    while pos <= last:
                        key, length = pair(buf, pos)
                        after = pos + 8 + length
                        if after <= size and key not in special:
                            if key in wanted:
                                if key in captured:
                                    self._check_repeated(key, buf[pos + 8 : after])
                                else:
                                    captured[key] = (0, buf[pos + 8 : after])
                            elif not key & low_groups:
                                _refuse_group()
                            count += 1
                            pos = after
                            continue
                        # --- a sequence, a delimiter, or a value that goes beyond the window
                        if key == encoding.item_end:
                            self._end_item(length)
                            pos += 8
                            moved = True
                            break
                        if not key & low_groups:
                            _refuse_group()
                        if key in encoding.delimiters:
                            _refuse_delimiter()
                        if length == _UNDEFINED:
                            count += 1
                            pos += 8
                            if key == encoding.pixel_data:
                                if self._outlining and not self._outer:
                                    self._note_fragments(key, 0, base + pos - 8, base + pos)
                                self._enter(_Inside.FRAGMENTS, -1, encoding)
                            else:
                                self._enter(_Inside.ITEMS, -1, encoding)
                                if key in wanted:
                                    self._start_recording(key, 0)
                                    recorded = pos
                            moved = True
                            break
                        if key in encoding.sequence_tags and length >= 8:
                            if pos + 12 > size:
                                self._need = 12
                                break
                            if buf[pos + 8 : pos + 12] == _ITEM_LITTLE:
                                count += 1
                                pos += 8
                                self._enter(_Inside.ITEMS, base + pos + length, encoding)
                                if key in wanted and length <= ATTRIBUTE_BYTES_MAX:
                                    self._start_recording(key, 0)
                                    recorded = pos
                                moved = True
                                break
                        if key in wanted and length <= ATTRIBUTE_BYTES_MAX:
                            if after > size:
                                self._need = 8 + length
                                break
                            self._keep(key, 0, buf[pos + 8 : after])
                        elif not self._outer:
                            if key == encoding.pixel_data:
                                self._past_head = True
                            if self._outlining and (key in encoding.pixels or length > ATTRIBUTE_BYTES_MAX):
                                self._note(key, 0, base + pos, base + pos + 8, length)
                        count += 1
                        pos = after
                else:
                    header = encoding.header.unpack_from
                    short = encoding.short
                    while pos <= last:
                        key, vr, length = header(buf, pos)
                        if vr in short:
                            after = pos + 8 + length
                            if key in wanted:
                                if after > size:
                                    self._need = 8 + length
                                    break
                                if key in captured:
                                    self._check_repeated(key, buf[pos + 8 : after])
                                else:
                                    captured[key] = (vr, buf[pos + 8 : after])
                            elif not key & low_groups:
                                _refuse_group()
                            count += 1
                            pos = after
                            continue
                        # --- a VR with a 32-bit length, a delimiter, or nothing that is a header
                        if key == encoding.item_end:
                            self._end_item(vr | length)
                            pos += 8
                            moved = True
                            break
                        if not key & low_groups:
                            _refuse_group()
                        if key in encoding.delimiters:
                            _refuse_delimiter()
                        if vr not in encoding.long and not _is_later_vr(buf, pos):
                            _refuse_vr()
                        if pos + 12 > size:
                            self._need = 12
                            break
                        (length,) = encoding.length.unpack_from(buf, pos + 8)
                        start = pos + 12
                        after = start + length
                        if vr == encoding.sequence and length:
                            end = -1 if length == _UNDEFINED else base + after
                            self._enter(_Inside.ITEMS, end, encoding)
                        elif length == _UNDEFINED:
                            if vr == encoding.unknown:
                                self._enter(_Inside.ITEMS, -1, _IMPLICIT_LITTLE)  # PS3.5 6.2.2
                            elif vr in encoding.fragments:
                                if not self._outer:
                                    self._past_head = True
                                    if self._outlining:
                                        self._note_fragments(key, vr, base + pos, base + start)
                                self._enter(_Inside.FRAGMENTS, -1, encoding)
                            else:
                                _refuse_undefined()
                        else:
                            if key in wanted and length <= ATTRIBUTE_BYTES_MAX:
                                if after > size:
                                    self._need = 12 + length
                                    break
                                self._keep(key, vr, buf[start:after])
                            elif not self._outer:
                                if key == encoding.pixel_data:
                                    self._past_head = True
                                if (
                                    (length >= _BULK_BYTES_MIN or key in encoding.pixels)
                                    and self._outlining
                                    and (
                                        vr in encoding.bulk
                                        or key in encoding.pixels
                                        or length > ATTRIBUTE_BYTES_MAX
                                    )
                                ):
                                    self._note(key, vr, base + pos, base + start, length)
                            count += 1
                            pos = after
                            continue
                        fits = length == _UNDEFINED or length <= ATTRIBUTE_BYTES_MAX
                        if fits and key in wanted and self._inside is _Inside.ITEMS:
                            self._start_recording(key, vr)
                            recorded = start
                        count += 1
                        pos = start
                        moved = True
                        break
            elif inside is _Inside.ITEMS:
                while pos <= last:
                    key, length = pair(buf, pos)
                    if key == encoding.item:
                        count += 1
                        pos += 8
                        if length:
                            self._enter(
                                _Inside.ELEMENTS,
                                -1 if length == _UNDEFINED else base + pos + length,
                                encoding,
                            )
                            moved = True
                            break
                    elif key == encoding.sequence_end and not length and self._undefined:
                        if self._recording and len(self._outer) == 1:
                            self._record(
                                buf[recorded:pos]
                            )  # the wanted sequence itself: without its delimiter
                            recorded = pos + 8
                        self._leave()
                        pos += 8
                        moved = True
                        break
                    else:
                        _refuse_item()
            else:
                fragments = self._fragments
                while pos <= last:
                    key, length = pair(buf, pos)
                    if key == encoding.item and length != _UNDEFINED:
                        count += 1
                        pos += 8 + length
                        if fragments is not None:
                            fragments.append(length)
                    elif key == encoding.sequence_end and not length:
                        if fragments is not None:
                            self._end_fragments(base + pos)
                        self._leave()
                        pos += 8
                        moved = True
                        break
                    else:
                        _refuse_item()

            if moved:
                continue
            if limit >= 0 and base + pos >= limit:
                if self._recording:
                    self._record(buf[recorded : min(pos, size)])
                    recorded = pos
                if pos > size:
                    if base + pos > limit:
                        _refuse_overrun()
                    break  # the container ends with a value whose octets are still to come
                self._close_full_containers(base + pos)
                continue
            if self._recording:
                self._record(buf[recorded : min(pos, size)])
            if pos < size and not self._need:
                if stop < size:
                    _refuse_overrun()
                self._need = 8
            break
        if self._fragments is not None and len(self._fragments) > OUTLINE_FRAGMENTS_MAX:
            self._give_outline_up()
        if count > ELEMENTS_MAX:
            raise DatasetRefused(f"the data set has more than {ELEMENTS_MAX} elements")
        self._count = count
        return pos

    # --- containers -----------------------------------------------------------------------------------------------

    def _enter(self, inside: _Inside, end: int, encoding: _Encoding) -> None:
        """Go into a sequence, an item or encapsulated pixel data that ends at ``end`` (-1: with a delimiter)."""
        outer = self._outer
        limit = self._limit
        if end >= 0 and limit >= 0 and end > limit:
            _refuse_overrun()
        if len(outer) >= 2 * SEQUENCE_DEPTH_MAX and inside is not _Inside.ELEMENTS:
            raise DatasetRefused(f"sequences are nested deeper than {SEQUENCE_DEPTH_MAX}")
        outer.append((self._inside, limit, self._undefined, self._encoding))
        self._inside = inside
        self._undefined = end < 0
        if end >= 0:
            self._limit = end
        self._encoding = encoding

    def _leave(self) -> None:
        """Go back to what contains the container that ends here."""
        self._inside, self._limit, self._undefined, self._encoding = self._outer.pop()
        if self._recording and not self._outer:
            self._keep(self._recording, self._recording_vr, bytes(self._recorded))
            self._recording = 0
            self._recorded.clear()

    def _end_item(self, length: int) -> None:
        """Take an item delimiter."""
        if not self._outer or not self._undefined or length:
            _refuse_delimiter()
        self._leave()

    def _close_full_containers(self, offset: int) -> None:
        """Leave every container of defined length that ends at ``offset``."""
        while self._outer and self._limit >= 0 and self._limit <= offset:
            if self._limit < offset or self._undefined:
                _refuse_overrun()
            self._leave()

    # --- what is kept ---------------------------------------------------------------------------------------------

    def _keep(self, key: int, vr: int, raw: bytes) -> None:
        if key in self._captured:
            self._check_repeated(key, raw)
        else:
            self._captured[key] = (vr, raw)

    def _check_repeated(self, key: int, raw: bytes) -> None:
        """A repeated element is harmless while it says the same (PS3.5 7.1: at most once)."""
        if self._captured[key][1] != raw:
            raise DatasetRefused("an element occurs twice with different values (PS3.5 7.1)")

    def _start_recording(self, key: int, vr: int) -> None:
        """Keep the octets of the sequence that begins here."""
        self._recording = key
        self._recording_vr = vr
        self._recorded.clear()

    def _record(self, octets: bytes | memoryview) -> None:
        """Add to the sequence that is being kept, or give it up where it grows too long."""
        self._recorded += octets
        if len(self._recorded) > ATTRIBUTE_BYTES_MAX:
            self._recording = 0
            self._recorded.clear()

    # --- the outline ----------------------------------------------------------------------------------------------

    def _note(self, key: int, vr: int, begin: int, start: int, length: int) -> None:
        """Leave a value out of the header; ``begin`` is where its element begins, ``start`` where the value does."""
        self._noted.append(NotedValue(key, vr, start, length))
        self._marks.append(begin)
        self._marks.append(start + length)
        if len(self._noted) > OUTLINE_FRAGMENTS_MAX:
            self._give_outline_up()

    def _note_fragments(self, key: int, vr: int, begin: int, start: int) -> None:
        """Leave encapsulated pixel data out; its end follows."""
        self._noted.append(NotedValue(key, vr, start, -1))
        self._marks.append(begin)
        self._fragments = array("I")

    def _end_fragments(self, end: int) -> None:
        """Take the end of encapsulated pixel data: ``end`` is where its delimiter begins."""
        assert self._fragments is not None
        noted = self._noted[-1]
        self._noted[-1] = NotedValue(noted.key, noted.vr, noted.offset, end - noted.offset, self._fragments)
        self._marks.append(end + 8)
        self._fragments = None

    def _copy_header(self, view: memoryview, begin: int) -> None:
        """Add to the header what of these octets belongs there; ``begin`` is their offset in the data set."""
        header, marks = self._header, self._marks
        size, at = len(view), 0
        copying = self._copying
        while marks:
            mark = marks[0] - begin
            if copying:
                # The header of the element may have come, and been copied, with the octets before.
                if mark < 0:
                    del header[mark:]
                else:
                    header += view[at:mark]
            elif mark <= size:
                at = mark
            else:
                break
            copying = not copying
            marks.popleft()
        if copying:
            header += view[at:]
        self._copying = copying
        if len(header) > self._header_max:
            self._give_outline_up()

    def _give_outline_up(self) -> None:
        """Go on without: readers fall back to the object itself."""
        self._outlining = self._copying = False
        self._fragments = None
        self._header = bytearray()
        self._noted.clear()
        self._marks.clear()


def _is_later_vr(buf: bytes, pos: int) -> bool:
    """Tell whether the VR could be one of a later edition: two capitals, then two reserved octets of zero.

    Source: PS3.5 6.2, "unknown VRs", and Table 7.1-1.
    """
    vr = buf[pos + 4 : pos + 6]
    return vr.isalpha() and vr.isupper() and buf[pos + 6 : pos + 8] == b"\0\0"


def _refuse_group() -> NoReturn:
    raise DatasetRefused("an element of group 0000, 0002, 0004 or 0006 stands in the data set (PS3.5 7.1)")


def _refuse_delimiter() -> NoReturn:
    raise DatasetRefused("an item or a delimiter stands where none is open (PS3.5 7.5)")


def _refuse_item() -> NoReturn:
    raise DatasetRefused("a sequence holds something other than items (PS3.5 7.5, A.4)")


def _refuse_vr() -> NoReturn:
    raise DatasetRefused(
        "an element has no value representation, although the transfer syntax is explicit (PS3.5 7.1.2)"
    )


def _refuse_undefined() -> NoReturn:
    raise DatasetRefused(
        "an element has an undefined length that its value representation does not allow (PS3.5 7.1)"
    )


def _refuse_overrun() -> NoReturn:
    raise DatasetRefused("an element ends outside of the sequence or item that contains it (PS3.5 7.5)")
