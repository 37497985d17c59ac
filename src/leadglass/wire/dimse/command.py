"""Octets of a command set: Implicit VR Little Endian, group 0000 only. Source: PS3.7 6.3.1.

Values are kept by kind, so that what reads them needs no look at their type. An element that the dictionary does not
know is skipped; one without a value is as good as absent.

**Invariant:** whatever is decoded, the only error is ``RemoteProtocolError``.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError
from leadglass.base.limits import COMMAND_SET_BYTES_MAX
from leadglass.wire.dimse.elements import ELEMENTS, E

Value = int | str | tuple[int, ...]

_HEADER: Final = struct.Struct("<HHI")  # group, element, value length
_HEADER_BYTES: Final = 8
_SHORT: Final = struct.Struct("<HHIH")  # an element of VR US, whole
_GROUP_LENGTH: Final = struct.Struct("<HHII")  # an element of VR UL, whole
_TAG: Final = struct.Struct("<HH")

_NUMBERS: Final = frozenset(tag for tag, element in ELEMENTS.items() if element.vr == "US")
_UIDS: Final = frozenset(tag for tag, element in ELEMENTS.items() if element.vr == "UI")
_TEXTS: Final = frozenset(tag for tag, element in ELEMENTS.items() if element.vr in {"AE", "LO"})
_TAGS: Final = frozenset(tag for tag, element in ELEMENTS.items() if element.vr == "AT")


class CommandSet(NamedTuple):
    """The elements of a command set by tag, without Command Group Length.

    Attributes:
        numbers: VR US.
        texts: VR UI, AE and LO, without padding. What is not ASCII is U+FFFD, so that it can never pass as a UID.
        tags: VR AT, as ``0xggggeeee``.
    """

    numbers: dict[int, int]
    texts: dict[int, str]
    tags: dict[int, tuple[int, ...]]


def decode_elements(data: bytes | bytearray | memoryview) -> CommandSet:
    """Return the elements of a whole command set.

    Raises:
        RemoteProtocolError: too long, another group, out of order, cut short, a wrong group length, or a value whose
            length does not fit its VR.
    """
    data = bytes(data)
    size = len(data)
    if size > COMMAND_SET_BYTES_MAX:
        raise RemoteProtocolError("a command set is too long")
    if size < _GROUP_LENGTH.size or _GROUP_LENGTH.unpack_from(data) != (0, 0, 4, size - _GROUP_LENGTH.size):
        raise RemoteProtocolError("a command set begins with its group length (PS3.7 6.3.1)")
    numbers: dict[int, int] = {}
    texts: dict[int, str] = {}
    tags: dict[int, tuple[int, ...]] = {}
    offset, previous = _GROUP_LENGTH.size, 0
    while offset < size:
        if size - offset < _HEADER_BYTES:
            raise RemoteProtocolError("a command element is cut short")
        group, element, length = _HEADER.unpack_from(data, offset)
        if group or element <= previous:
            raise RemoteProtocolError("command elements are of group 0000, each once, in ascending order")
        previous = element
        offset += _HEADER_BYTES
        end = offset + length
        if end > size:
            raise RemoteProtocolError("a command element reaches beyond the command set")
        if not length:
            continue
        if element in _NUMBERS:
            if length != 2:
                raise RemoteProtocolError("a command element of VR US has another length than 2")
            numbers[element] = data[offset] | data[offset + 1] << 8
        elif element in _UIDS:
            texts[element] = data[offset:end].rstrip(b"\0 ").decode("ascii", "replace")
        elif element in _TEXTS:
            texts[element] = data[offset:end].rstrip(b"\0").decode("ascii", "replace").strip(" ")
        elif element in _TAGS:
            tags[element] = _decode_tags(data[offset:end])
        offset = end
    return CommandSet(numbers, texts, tags)


def _decode_tags(value: bytes) -> tuple[int, ...]:
    if len(value) % _TAG.size:
        raise RemoteProtocolError("a command element of VR AT has a length that is not a multiple of 4")
    return tuple(group << 16 | element for group, element in _TAG.iter_unpack(value))


def encode_elements(elements: Iterable[tuple[int, Value | None]]) -> bytes:
    """Return a command set, Command Group Length included.

    Args:
        elements: tag and value in ascending order; None, "" and () are left out.

    Raises:
        LocalProtocolError: a value does not fit its element, or an element is unknown.
    """
    parts = [b""]
    try:
        for tag, value in elements:
            if isinstance(value, int):
                parts.append(_SHORT.pack(0, _known(tag, _NUMBERS), 2, value))
            elif not value:
                continue
            elif isinstance(value, str):
                encoded = _encode_text(tag, value)
                parts += (_HEADER.pack(0, tag, len(encoded)), encoded)
            else:
                encoded = b"".join(_TAG.pack(item >> 16, item & 0xFFFF) for item in value)
                parts += (_HEADER.pack(0, _known(tag, _TAGS), len(encoded)), encoded)
    except (struct.error, ValueError) as error:  # ValueError: non-ASCII text
        raise LocalProtocolError("a value does not fit its command element") from error
    length = sum(map(len, parts))
    if length + _GROUP_LENGTH.size > COMMAND_SET_BYTES_MAX:
        raise LocalProtocolError("a command set of ours is too long")
    parts[0] = _GROUP_LENGTH.pack(0, E.CommandGroupLength, 4, length)
    return b"".join(parts)


def _known(tag: int, tags: frozenset[int]) -> int:
    if tag not in tags:
        raise LocalProtocolError("a command element that is unknown, or of another VR")
    return tag


def _encode_text(tag: int, value: str) -> bytes:
    """Pad to an even length: UI with NUL, AE and LO with space. Source: PS3.5 6.2."""
    encoded = value.encode("ascii")
    if tag in _UIDS:
        if len(encoded) > 64:
            raise ValueError("longer than a UID")
        return encoded + b"\0" if len(encoded) % 2 else encoded
    if len(encoded) > (16 if ELEMENTS[_known(tag, _TEXTS)].vr == "AE" else 64):
        raise ValueError("longer than its VR allows")
    return encoded + b" " if len(encoded) % 2 else encoded
