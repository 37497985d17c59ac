"""Where the frames of an object lie (PS3.3 C.7.6.3, PS3.5 8.1 and A.4).

A frame is found by what the object says and by nothing else: no code stream is searched for its beginning, because what
looks like one may stand in any other. What an object says in two ways must agree: offset tables must name the beginnings
of fragments, in ascending order, as many as there are frames. Readers would otherwise show different images.

**Invariant:** no memory is taken in proportion to what an object claims, only to what it holds; nothing but
``DatasetRefused`` is raised.
"""

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import OBJECT_BYTES_MAX
from leadglass.dicom.outline import BulkValue, Outline
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, PrivateSyntaxes, TransferSyntax
from leadglass.dicom.value_representations import LONG_VRS

_PIXEL_DATA: Final = 0x7FE0_0010
_PIXELS: Final = frozenset((_PIXEL_DATA, 0x7FE0_0008, 0x7FE0_0009))
_EXTENDED_OFFSETS: Final = 0x7FE0_0001
_EXTENDED_LENGTHS: Final = 0x7FE0_0002

_SAMPLES: Final = 0x0028_0002
_PHOTOMETRIC: Final = 0x0028_0004
_NUMBER_OF_FRAMES: Final = 0x0028_0008
_ROWS: Final = 0x0028_0010
_COLUMNS: Final = 0x0028_0011
_BITS_ALLOCATED: Final = 0x0028_0100
_WANTED: Final = frozenset((_SAMPLES, _PHOTOMETRIC, _NUMBER_OF_FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED))

_SUBSAMPLED: Final[Mapping[str, tuple[int, int]]] = {
    "YBR_FULL_422": (2, 1),
    "YBR_PARTIAL_422": (2, 1),
    "YBR_PARTIAL_420": (3, 2),
}
"""Samples for each pixel where chrominance is shared, as a fraction. Source: PS3.3 C.7.6.3.1.2."""

_VIDEO: Final = "1.2.840.10008.1.2.4.10"
"""MPEG2, H.264 and HEVC: the value is one stream. Source: PS3.5 8.2.5 to 8.2.9."""

_NUMBER_DIGITS_MAX: Final = 12
"""Of an IS. Source: PS3.5 6.2."""

_ITEM: Final = 0xFFFE_E000
_SEQUENCE_END: Final = 0xFFFE_E0DD
_UNDEFINED: Final = 0xFFFF_FFFF
_LONG: Final = frozenset(vr.encode("ascii") for vr in LONG_VRS)

ReadOctets = Callable[[int, int], bytes]
"""Offset in the data set and length to octets as stored."""


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where one frame lies.

    Attributes:
        pieces: offset in the data set and length of each run of octets that holds a part of it.
        skip_bits: bits of the first octet that belong to the frame before (PS3.5 8.1.1: the first pixel is in the least
            significant bit).
        bits: of the frame; 0 for all of the octets.
    """

    pieces: tuple[tuple[int, int], ...]
    skip_bits: int = 0
    bits: int = 0


class FrameLayout(Protocol):
    """All frames of one object."""

    @property
    def count(self) -> int:
        """Number of frames; 0 where there is no pixel data."""
        ...

    @property
    def value(self) -> BulkValue | None:
        """The Pixel Data that they lie in."""
        ...

    def place(self, number: int) -> FramePlace:
        """Return where frame ``number`` lies, from 1 to ``count``."""
        ...


@dataclass(frozen=True, slots=True)
class _NoFrames:
    """An object without pixel data."""

    count: int = 0
    value: BulkValue | None = None

    def place(self, number: int) -> FramePlace:
        raise DatasetRefused(f"there is no pixel data, and so no frame {number}")


@dataclass(frozen=True, slots=True)
class _Native:
    """Frames of ``bits`` bits, one behind the other."""

    count: int
    value: BulkValue
    bits: int

    def place(self, number: int) -> FramePlace:
        if not 1 <= number <= self.count:
            _refuse_number()
        first, last = (number - 1) * self.bits, number * self.bits
        begin, end = first // 8, (last + 7) // 8
        pieces = ((self.value.offset + begin, end - begin),)
        return FramePlace(pieces, first % 8, self.bits if self.bits % 8 else 0)


@dataclass(frozen=True, slots=True)
class _Encapsulated:
    """Frames of whole fragments. ``firsts`` is the fragment where each begins, and one more behind the last frame."""

    count: int
    value: BulkValue
    firsts: NDArray[np.int64]

    def place(self, number: int) -> FramePlace:
        if not 1 <= number <= self.count:
            _refuse_number()
        begin, end = int(self.firsts[number - 1]), int(self.firsts[number])
        return FramePlace(self.value.fragments[begin:end])


def frame_layout(
    outline: Outline, read: ReadOctets, private_syntaxes: PrivateSyntaxes | None = None
) -> FrameLayout:
    """Return where the frames of an object lie.

    Args:
        outline: of the object.
        read: gives octets of the data set; asked for offset tables only.
        private_syntaxes: that the configuration knows.

    Raises:
        DatasetRefused: the object does not say where its frames are, or says it in ways that do not agree.
    """
    pixels = [value for value in outline.bulk if value.tag in _PIXELS]
    if not pixels:
        return _NoFrames()
    if len(pixels) > 1:
        raise DatasetRefused("the object has more than one pixel data (PS3.3 C.7.6.3)")
    syntax = _syntax_of(outline, private_syntaxes)
    attributes = top_level_values(outline.header, syntax, _WANTED)
    count = _number_of_frames(attributes)
    if pixels[0].encapsulated:
        if outline.transfer_syntax_uid.startswith(_VIDEO):
            raise DatasetRefused("the frames of a video are in one stream (PS3.5 8.2.5)")
        return _Encapsulated(count, pixels[0], _first_fragments(outline, pixels[0], count, read))
    return _native(pixels[0], attributes, count, big_endian=syntax.big_endian)


def cut_bits(octets: bytes, place: FramePlace) -> bytes:
    """Return a frame so that it begins with an octet: of octets that hold it, the bits that are its own."""
    if not place.bits:
        return octets
    value = int.from_bytes(octets, "little") >> place.skip_bits
    return (value & ((1 << place.bits) - 1)).to_bytes((place.bits + 7) // 8, "little")


def _syntax_of(outline: Outline, private_syntaxes: PrivateSyntaxes | None) -> TransferSyntax:
    syntax = (private_syntaxes or {}).get(outline.transfer_syntax_uid) or TRANSFER_SYNTAXES.get(
        outline.transfer_syntax_uid
    )
    if syntax is None:
        raise DatasetRefused("the transfer syntax is not known")
    return syntax


# --- native ----------------------------------------------------------------------------------------------------


def _native(
    value: BulkValue, attributes: Mapping[int, bytes], count: int, *, big_endian: bool
) -> FrameLayout:
    def number(tag: int, name: str) -> int:
        raw = attributes.get(tag, b"")
        if len(raw) < 2:
            raise DatasetRefused(f"the object does not say its {name} (PS3.3 C.7.6.3)")
        return int.from_bytes(raw[:2], "big" if big_endian else "little")

    samples = number(_SAMPLES, "SamplesPerPixel") if _SAMPLES in attributes else 1
    pixels = number(_ROWS, "Rows") * number(_COLUMNS, "Columns")
    photometric = attributes.get(_PHOTOMETRIC, b"").decode("latin-1").strip(" \0")
    times, over = _SUBSAMPLED.get(photometric, (samples, 1)) if samples == 3 else (samples, 1)
    bits = pixels * times * number(_BITS_ALLOCATED, "BitsAllocated") // over
    if not bits:
        raise DatasetRefused("a frame without rows, columns, samples or bits (PS3.3 C.7.6.3)")
    # Numbers of Python do not overflow: 65535 squared times samples, bits and frames is compared as it is.
    if bits * count > 8 * min(value.length, OBJECT_BYTES_MAX):
        raise DatasetRefused("pixel data is shorter than its rows, columns, samples, bits and frames say")
    return _Native(count, value, bits)


def _number_of_frames(attributes: Mapping[int, bytes]) -> int:
    raw = attributes.get(_NUMBER_OF_FRAMES, b"").strip(b" \0")
    if not raw:
        return 1
    if len(raw) > _NUMBER_DIGITS_MAX or not raw.removeprefix(b"+").isdigit() or not int(raw):
        raise DatasetRefused("NumberOfFrames is no positive number (PS3.3 C.7.6.6)")
    return int(raw)


# --- encapsulated ----------------------------------------------------------------------------------------------


def _first_fragments(outline: Outline, value: BulkValue, count: int, read: ReadOctets) -> NDArray[np.int64]:
    """Return in which fragment each frame begins, and one behind the last.

    Raises:
        DatasetRefused: a table lies, or there is none and the number of fragments does not say it.
    """
    fragments = len(value.fragments) - 1  # without the Basic Offset Table
    if fragments < 0:
        raise DatasetRefused("pixel data has no Basic Offset Table (PS3.5 A.4)")
    if fragments < count:
        raise DatasetRefused("pixel data has fewer fragments than frames (PS3.5 A.4)")
    starts = value.fragments.starts[1:] - value.fragments.starts[1]
    firsts = None
    basic = value.fragments[0]
    if basic[1]:
        if basic[1] != 4 * count:
            raise DatasetRefused("the Basic Offset Table has not one entry for each frame (PS3.5 A.4)")
        table = np.frombuffer(_whole(read, *basic), dtype="<u4").astype(np.uint64)
        firsts = _matched(table, starts, fragments)
    extended = _table(outline, _EXTENDED_OFFSETS, count, read)
    if extended is not None:
        _check_lengths(outline, value, count, read)
        if fragments != count:
            raise DatasetRefused(
                "an Extended Offset Table needs one fragment for each frame (PS3.3 C.7.6.3.1.8)"
            )
        firsts = _matched(extended, starts, fragments)
    if firsts is None:
        if count == 1:
            firsts = np.zeros(1, dtype=np.int64)
        elif fragments == count:
            firsts = np.arange(count, dtype=np.int64)
        else:
            raise DatasetRefused("no offset table says which fragments belong to which frame (PS3.5 A.4)")
    return np.append(firsts, fragments) + 1  # the Basic Offset Table is item 0


def _matched(table: NDArray[np.uint64], starts: NDArray[np.uint64], fragments: int) -> NDArray[np.int64]:
    """Return which fragment begins at each offset of a table, in ascending order from 0."""
    if table[0] or (table[1:] <= table[:-1]).any():
        raise DatasetRefused("an offset table does not begin with 0 and ascend (PS3.5 A.4)")
    firsts = np.searchsorted(starts[:fragments], table)
    if firsts[-1] >= fragments or (starts[firsts] != table).any():
        raise DatasetRefused("an offset table names places where no fragment begins (PS3.5 A.4)")
    return firsts.astype(np.int64)


def _check_lengths(outline: Outline, value: BulkValue, count: int, read: ReadOctets) -> None:
    lengths = _table(outline, _EXTENDED_LENGTHS, count, read)
    if lengths is None:
        raise DatasetRefused("an Extended Offset Table without lengths (PS3.3 C.7.6.3)")
    held = np.asarray(value.fragments.lengths[1 : count + 1], dtype=np.uint64)
    # A frame of odd length is followed by one octet of padding, which the table may leave out.
    if len(held) != count or ((lengths != held) & (lengths + np.uint64(1) != held)).any():
        raise DatasetRefused("Extended Offset Table Lengths are not those of the fragments (PS3.3 C.7.6.3)")


def _table(outline: Outline, tag: int, count: int, read: ReadOctets) -> NDArray[np.uint64] | None:
    found = [value for value in outline.bulk if value.tag == tag]
    if not found:
        return None
    if len(found) > 1 or found[0].encapsulated or found[0].length != 8 * count:
        raise DatasetRefused("the Extended Offset Table has not one entry for each frame (PS3.3 C.7.6.3)")
    return np.frombuffer(_whole(read, found[0].offset, found[0].length), dtype="<u8")


def _whole(read: ReadOctets, offset: int, length: int) -> bytes:
    octets = read(offset, length)
    if len(octets) != length:
        raise DatasetRefused("the object ends inside of an offset table")
    return octets


def _refuse_number() -> NoReturn:
    raise DatasetRefused("there is no frame of that number")


# --- attributes of the header ----------------------------------------------------------------------------------


def top_level_values(header: bytes, syntax: TransferSyntax, wanted: Collection[int]) -> dict[int, bytes]:
    """Return the values of some attributes of the top level, as they are in the data set.

    Sequences are jumped over. The walk ends behind the highest wanted tag, so that the functional groups of a
    multi-frame object cost nothing.

    Raises:
        DatasetRefused: the octets are no data set of that syntax.
    """
    found: dict[int, bytes] = {}
    last = max(wanted)
    at, end = 0, len(header)
    try:
        while at < end:
            tag, length, at = _element(header, at, implicit=syntax.implicit_vr, big_endian=syntax.big_endian)
            if length == _UNDEFINED:
                at = _behind_items(header, at, syntax)
                continue
            if tag in wanted:
                found.setdefault(tag, header[at : at + length])
            elif tag > last:
                break
            at += length
    except struct.error as error:
        raise DatasetRefused("the header ends inside of an element") from error
    return found


def _element(data: bytes, at: int, *, implicit: bool, big_endian: bool) -> tuple[int, int, int]:
    """Return tag, length of the value, and where it begins."""
    order = ">" if big_endian else "<"
    group, number = struct.unpack_from(order + "HH", data, at)
    if implicit or group == 0xFFFE:
        (length,) = struct.unpack_from(order + "I", data, at + 4)
        return group << 16 | number, length, at + 8
    if data[at + 4 : at + 6] in _LONG:
        (length,) = struct.unpack_from(order + "I", data, at + 8)
        return group << 16 | number, length, at + 12
    (length,) = struct.unpack_from(order + "H", data, at + 6)
    return group << 16 | number, length, at + 8


def _behind_items(data: bytes, at: int, syntax: TransferSyntax) -> int:
    """Return where a sequence of undefined length ends; ``at`` is where its first item begins."""
    implicit = [_holds_implicit(data, at, implicit=syntax.implicit_vr)]
    while implicit:
        big_endian = syntax.big_endian and not (implicit[-1] and not syntax.implicit_vr)
        tag, length, at = _element(data, at, implicit=implicit[-1], big_endian=big_endian)
        if tag == _SEQUENCE_END:
            implicit.pop()
        elif length != _UNDEFINED:
            at += length
        elif tag != _ITEM:
            implicit.append(_holds_implicit(data, at, implicit=implicit[-1]))
    return at


def _holds_implicit(data: bytes, at: int, *, implicit: bool) -> bool:
    """Tell whether the value that begins at ``at`` is one of VR UN, whose items are in implicit VR (PS3.5 6.2.2)."""
    return implicit or data[at - 8 : at - 6] == b"UN"
