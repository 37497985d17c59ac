"""The outline of an object: everything but its bulk values, and where those lie.

It is taken from the octets on their way in, kept compressed and sealed beside the index row, and answers ``/metadata``,
the place of a frame, and the place of a bulk value without opening a pack.

Source: PS3.18 10.4.1.1.5 (metadata), PS3.5 A.4 (fragments).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value that is left out of the header.

    Attributes:
        tag: group in the upper, element in the lower 16 bits.
        vr: as in the data set, or of PS3.6 where that is implicit.
        offset: of its first octet in the data set (not the Part 10 stream).
        length: octets of the value; of encapsulated Pixel Data from the first item to the sequence delimiter,
            exclusive.
        fragments: of encapsulated Pixel Data: offset in the data set and length of each item's value, the Basic Offset
            Table first; empty for a native value.
    """

    tag: int
    vr: str
    offset: int
    length: int
    fragments: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """What is kept of one object.

    Attributes:
        transfer_syntax_uid: of the data set, and so of ``header``.
        header: the elements that are not bulk values, one after the other: a data set that can be read.
        bulk: values left out of it, in the order of their tags; top level only.
        addressable: offsets may be read from the stored octets (false for a deflated data set).
    """

    transfer_syntax_uid: str
    header: bytes
    bulk: tuple[BulkValue, ...]
    addressable: bool = True
