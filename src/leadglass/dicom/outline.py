"""The outline of an object: everything but its bulk values, and where those lie.

It is taken from the octets on their way in (``scan``), kept compressed and sealed beside the index row, and answers
``/metadata``, the place of a frame, and the place of a bulk value without opening a pack.

Source: PS3.18 10.4.1.1.5 (metadata), PS3.5 A.4 (fragments).
"""

import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from leadglass.base.errors import IntegrityError
from leadglass.base.limits import OUTLINE_FRAGMENTS_MAX, OUTLINE_HEADER_BYTES_MAX

_VERSION: Final = 1
_ENCODED_BYTES_MAX: Final = OUTLINE_HEADER_BYTES_MAX + 64 * OUTLINE_FRAGMENTS_MAX
_ITEM_HEADER: Final = 8


class Fragments(Sequence[tuple[int, int]]):
    """Offset in the data set and length of each fragment's value; one lies behind the other (PS3.5 A.4).

    Only the lengths are kept, four octets each: a slide has a hundred thousand.
    """

    __slots__ = ("_lengths", "_offset", "_starts")

    def __init__(self, offset: int = 0, lengths: "array[int] | None" = None) -> None:
        """Begin.

        Args:
            offset: of the first item in the data set.
            lengths: of the values.
        """
        self._offset = offset
        self._lengths: array[int] = lengths if lengths is not None else array("I")
        self._starts: NDArray[np.uint64] | None = None

    @property
    def lengths(self) -> "array[int]":
        """Octets of each value."""
        return self._lengths

    @property
    def starts(self) -> NDArray[np.uint64]:
        """Offset of each item, and of the end of the last one, from the first item."""
        if self._starts is None:
            starts = np.zeros(len(self._lengths) + 1, dtype=np.uint64)
            lengths = np.asarray(self._lengths, dtype=np.uint64)
            np.cumsum(lengths + np.uint64(_ITEM_HEADER), out=starts[1:])
            self._starts = starts
        return self._starts

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[int, int], ...]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | tuple[tuple[int, int], ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        length = self._lengths[index]
        position = index if index >= 0 else len(self) + index
        return self._offset + int(self.starts[position]) + _ITEM_HEADER, length

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Fragments):
            return self._lengths == other._lengths and (self._offset == other._offset or not self._lengths)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._offset, len(self._lengths)))


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value that is left out of the header.

    Attributes:
        tag: group in the upper, element in the lower 16 bits.
        vr: as in the data set, or of PS3.6 where that is implicit.
        offset: of its first octet in the data set (not the Part 10 stream).
        length: octets of the value; of encapsulated Pixel Data from the first item to the sequence delimiter,
            exclusive.
        encapsulated: it is a run of fragments.
        fragments: of encapsulated Pixel Data: offset in the data set and length of each item's value, the Basic Offset
            Table first; empty for a native value.
    """

    tag: int
    vr: str
    offset: int
    length: int
    encapsulated: bool = False
    fragments: Fragments = Fragments()  # noqa: RUF009 - never changed


@dataclass(frozen=True, slots=True)
class Outline:
    """What is kept of one object.

    Attributes:
        transfer_syntax_uid: of the data set, and so of ``header``.
        header: the elements that are not bulk values, one after the other: a data set that can be read. Inflated where
            the syntax is deflated.
        bulk: values left out of it, in the order received, which is that of their tags; top level only.
        addressable: offsets may be read from the stored octets (false for a deflated data set).
    """

    transfer_syntax_uid: str
    header: bytes
    bulk: tuple[BulkValue, ...]
    addressable: bool = True


class NotedValue(NamedTuple):
    """A bulk value as the scanner notes it: cheap to make.

    Attributes:
        key: the four octets of the tag read as one number.
        vr: the two octets of the VR read as one number; 0 for implicit VR.
        offset: in the data set.
        length: -1 while it is not known.
        fragments: lengths; None for a native value.
    """

    key: int
    vr: int
    offset: int
    length: int
    fragments: "array[int] | None" = None


@dataclass(frozen=True, slots=True)
class TakenOutline:
    """What the scanner took on the way; ``encode`` makes of it what is kept."""

    transfer_syntax_uid: str
    header: bytes
    values: tuple[NotedValue, ...]
    addressable: bool
    big_endian: bool

    def encode(self) -> bytes:
        """Return it as kept: what ``decode_outline`` reads."""
        rows = [(*row, _lengths_encoded(lengths)) for row, lengths in self._rows()]
        return _encoded(self.transfer_syntax_uid, self.header, rows, addressable=self.addressable)

    def outline(self) -> Outline:
        """Return it as ``decode_outline`` would."""
        bulk = tuple(_bulk_value(*row, lengths) for row, lengths in self._rows())
        return Outline(self.transfer_syntax_uid, self.header, bulk, self.addressable)

    def _rows(self) -> Iterator[tuple[tuple[int, str, int, int, bool], "array[int] | None"]]:
        order: Literal["little", "big"] = "big" if self.big_endian else "little"
        for value in self.values:
            tag = value.key if self.big_endian else (value.key & 0xFFFF) << 16 | value.key >> 16
            vr = value.vr.to_bytes(2, order).decode("ascii") if value.vr else ""
            encapsulated = value.fragments is not None
            yield (tag, vr, value.offset, value.length, encapsulated), value.fragments


def _bulk_value(
    tag: int,
    vr: str,
    offset: int,
    length: int,
    encapsulated: bool,
    lengths: "array[int] | None",
) -> BulkValue:
    fragments = Fragments(offset, lengths) if encapsulated else Fragments()
    return BulkValue(tag, vr or _vr_of(tag), offset, length, encapsulated, fragments)


_Row = tuple[int, str, int, int, bool, bytes]


def encode_outline(outline: Outline) -> bytes:
    """Return the outline as it is kept: compressed, and not yet sealed."""
    bulk = [
        (
            value.tag,
            value.vr,
            value.offset,
            value.length,
            value.encapsulated,
            _lengths_encoded(value.fragments.lengths),
        )
        for value in outline.bulk
    ]
    return _encoded(outline.transfer_syntax_uid, outline.header, bulk, addressable=outline.addressable)


def decode_outline(encoded: bytes) -> Outline:
    """Return what ``encode_outline`` made.

    Raises:
        IntegrityError: it is not that.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(encoded, _ENCODED_BYTES_MAX)
        if not inflater.eof:
            raise IntegrityError("an outline is longer than any that is kept")
        version, syntax_uid, addressable, header, rows = _decoder.decode(raw)
        if version != _VERSION:
            raise IntegrityError("an outline is of a version that is not known")
        bulk = tuple(_bulk_value(*row[:5], _lengths_decoded(row[5])) for row in rows)
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise IntegrityError("an outline is not what was written") from error
    return Outline(syntax_uid, header, bulk, addressable)


_encode = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(tuple[int, str, bool, bytes, list[_Row]])


def _encoded(syntax_uid: str, header: bytes, bulk: list[_Row], *, addressable: bool) -> bytes:
    return zlib.compress(_encode((_VERSION, syntax_uid, addressable, header, bulk)), 1)


def _lengths_encoded(lengths: "array[int] | None") -> bytes:
    if not lengths:
        return b""
    if sys.byteorder == "big":
        lengths = array("I", lengths)
        lengths.byteswap()
    return lengths.tobytes()


def _lengths_decoded(octets: bytes) -> "array[int]":
    lengths = array("I")
    lengths.frombytes(octets)
    if sys.byteorder == "big":
        lengths.byteswap()
    return lengths


def _vr_of(tag: int) -> str:
    # The dictionary comes with pydicom, most of a second; only implicit VR asks it.
    from leadglass.dicom.values import vr_of  # noqa: PLC0415

    return vr_of(tag)
