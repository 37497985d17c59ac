"""Small data sets that are held in memory as a whole: identifiers, action information, sealed level heads.

A general reader decodes every element into an object; a query over a hundred thousand rows cannot afford that. Here an
element stays the octets that it is until somebody asks for its text. Dictionary and character set tables are
pydicom's.

**Invariant:** depth, number of elements and length are bounded; malformed input raises ``DatasetRefused`` and nothing
else. Wrong octets in a text never raise: they become U+FFFD.

Source: PS3.5 7.1, 7.5, Annex A; PS3.5 6.1.2 and PS3.3 C.12.1.1.2 for character sets.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding
from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword

from leadglass.base.errors import DatasetRefused, UsageError
from leadglass.base.limits import IDENTIFIER_BYTES_MAX, SEQUENCE_DEPTH_MAX
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

SYNTAXES: Final = frozenset(
    {IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN}
)
"""Transfer syntaxes that an identifier may come in."""

SPECIFIC_CHARACTER_SET: Final = 0x0008_0005
UTF_8: Final = "ISO_IR 192"

TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""Texts in which ``*`` and ``?`` are wild cards; AS has neither in its repertoire. Source: PS3.4 C.2.2.2.4."""

CHARACTER_SET_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Texts that Specific Character Set applies to. Source: PS3.5 6.1.2.3."""

SINGLE_TEXT_VRS: Final = frozenset({"LT", "ST", "UR", "UT"})
"""Texts in which a backslash is a character, not a delimiter. Source: PS3.5 6.2."""

NUMBER_FORMATS: Final[Mapping[str, str]] = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
"""``struct`` codes of the binary numbers. Source: PS3.5 6.2."""

_SWAPS: Final[Mapping[str, int]] = {
    "AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2,
    "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8,
}  # fmt: skip
_UNDEFINED: Final = 0xFFFF_FFFF
_ITEM: Final = 0xFFFE_E000
_ITEM_END: Final = 0xFFFE_E00D
_SEQUENCE_END: Final = 0xFFFE_E0DD

_ELEMENTS_MAX: Final = 500_000
"""Elements of one data set held in memory: three for each of 20 000 references, with room. ``IDENTIFIER_BYTES_MAX``
octets could say as many."""

_OBJECT_ELEMENTS_MAX: Final = 2_000_000
"""Elements of an object read as a whole: half a gigabyte of memory; a large RT structure set has some 100 000."""


@dataclass(frozen=True, slots=True)
class Element:
    """One data element.

    Attributes:
        tag: group * 65536 + element.
        vr: two letters.
        value: octets as received, numbers in little endian; empty for a sequence.
        items: of a sequence; None for anything else.
        encapsulated: ``value`` is a run of fragment items, offset table first (PS3.5 A.4), without delimiter.
    """

    tag: int
    vr: str
    value: bytes = b""
    items: "tuple[Dataset, ...] | None" = None
    encapsulated: bool = False


Dataset = dict[int, Element]
"""Elements by tag."""


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Return the value representation that PS3.6 gives an attribute; ``UN`` where it knows none."""
    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) & 1:
        return "LO" if 0x10 <= (tag & 0xFFFF) <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    # "US or SS", "OB or OW": without pixel representation the unsigned, wider one.
    return {"US or SS": "US", "OB or OW": "OW", "US or SS or OW": "US", "US or OW": "OW"}.get(vr, vr)


@lru_cache(maxsize=4096)
def keyword_of(tag: int) -> str:
    """Return the keyword that PS3.6 gives an attribute; empty where it knows none."""
    try:
        return dictionary_keyword(tag)
    except KeyError:
        return ""


@lru_cache(maxsize=1024)
def tag_of(name: str) -> int:
    """Return the tag of a keyword, or of ``GGGG,EEEE`` or ``GGGGEEEE`` in hexadecimal.

    Raises:
        UsageError: neither a keyword of PS3.6 nor a tag.
    """
    tag = tag_for_keyword(name)
    if tag is None:
        digits = name.replace(",", "").strip("()")
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", digits):
            raise UsageError("neither a keyword of PS3.6 nor a tag: GGGG,EEEE is expected")
        tag = int(digits, 16)
    return tag


def read_dataset(data: bytes, transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN) -> Dataset:
    """Return the elements of a data set, sequences included.

    Args:
        data: a data set without file meta information, at most ``IDENTIFIER_BYTES_MAX`` octets (inflated as well).
        transfer_syntax_uid: one of ``SYNTAXES``.

    Raises:
        DatasetRefused: too long, too deep, too many elements, or not decodable in that syntax.
    """
    if transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
        data = _inflate(data)
    elif transfer_syntax_uid not in SYNTAXES:
        raise DatasetRefused("not in an uncompressed transfer syntax")
    if len(data) > IDENTIFIER_BYTES_MAX:
        raise DatasetRefused(f"longer than {IDENTIFIER_BYTES_MAX} octets")
    big = transfer_syntax_uid == EXPLICIT_BIG_ENDIAN
    reader = _Reader(data, big=big, elements_max=_ELEMENTS_MAX)
    dataset, _ = reader.elements(
        0, len(data), explicit=transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN, depth=0
    )
    return dataset


def read_whole_object(data: bytes, *, explicit: bool, big: bool) -> Dataset:
    """Return the elements of an object's whole data set, of any length, encapsulated values included.

    Raises:
        DatasetRefused: too deep, too many elements, or not decodable.
    """
    reader = _Reader(data, big=big, elements_max=_OBJECT_ELEMENTS_MAX)
    dataset, _ = reader.elements(0, len(data), explicit=explicit, depth=0)
    return dataset


def write_dataset(dataset: Iterable[Element], transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN) -> bytes:
    """Return the octets of a data set; sequences and items with explicit length.

    Args:
        dataset: elements, in any order.
        transfer_syntax_uid: one of ``SYNTAXES``.
    """
    big = transfer_syntax_uid == EXPLICIT_BIG_ENDIAN
    out: list[bytes] = []
    _write(dataset, out, explicit=transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN, big=big)
    data = b"".join(out)
    if transfer_syntax_uid != DEFLATED_LITTLE_ENDIAN:
        return data
    # PS3.5 A.5: raw deflate (RFC 1951), padded to even length.
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(data) + compressor.flush()
    return deflated + b"\0" * (len(deflated) & 1)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        out = inflater.decompress(data, IDENTIFIER_BYTES_MAX + 1)
    except zlib.error as error:
        raise DatasetRefused("the deflated stream is broken") from error
    if not inflater.eof and len(out) <= IDENTIFIER_BYTES_MAX:
        raise DatasetRefused("the deflated stream is cut short")
    return out


def _malformed(what: str) -> NoReturn:
    raise DatasetRefused(f"malformed data set: {what}")


class _Reader:
    """Reads one buffer; counts elements over all depths."""

    def __init__(self, data: bytes, *, big: bool, elements_max: int) -> None:
        self._data = data
        self._elements_max = elements_max
        self._big = big
        order = ">" if big else "<"
        self._explicit_header = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit_header = struct.Struct(f"{order}HHI").unpack_from
        self._length = struct.Struct(f"{order}I").unpack_from
        self._count = 0

    def elements(
        self, position: int, end: int, *, explicit: bool, depth: int, until: int | None = None
    ) -> tuple[Dataset, int]:
        """Read elements up to ``end``, or to the delimiter ``until`` where the length is undefined."""
        if depth > SEQUENCE_DEPTH_MAX:
            _malformed(f"sequences nested deeper than {SEQUENCE_DEPTH_MAX}")
        data = self._data
        dataset: Dataset = {}
        while position < end:
            if end - position < 8:
                _malformed("cut short in an element header")
            vr = ""
            if explicit:
                group, element, letters, length = self._explicit_header(data, position)
                tag = group << 16 | element
                if group == 0xFFFE:
                    (length,) = self._length(data, position + 4)
                else:
                    vr = str(letters, "latin-1")
            else:
                group, element, length = self._implicit_header(data, position)
                tag = group << 16 | element
            position += 8
            if group == 0xFFFE:
                if tag == until:
                    return dataset, position
                _malformed("a delimiter where an element is expected")
            if not explicit:
                vr = vr_of(tag)
            elif vr in LONG_VRS:
                if end - position < 4:
                    _malformed("cut short in an element header")
                (length,) = self._length(data, position)
                position += 4
            elif vr not in SHORT_VRS:
                _malformed("an unknown value representation")
            self._count += 1
            if self._count > self._elements_max:
                _malformed(f"more than {self._elements_max} elements")
            if length == _UNDEFINED and vr in {"OB", "OW"}:
                start, position = position, self._fragments(position, end)
                dataset[tag] = Element(tag, vr, data[start : position - 8], encapsulated=True)
                continue
            if vr == "SQ" or length == _UNDEFINED:
                if vr not in {"SQ", "UN"}:
                    _malformed("undefined length of an element that is no sequence")
                # PS3.5 6.2.2 note 2: UN of undefined length holds an implicit VR little endian sequence.
                items, position = self._items(
                    position, end, length, explicit=explicit and vr == "SQ", depth=depth + 1
                )
                dataset[tag] = Element(tag, "SQ", b"", items)
                continue
            if length > end - position:
                _malformed("a value reaches beyond its data set")
            value = data[position : position + length]
            if self._big and vr in _SWAPS:
                value = _swap(value, _SWAPS[vr])
            dataset[tag] = Element(tag, vr, value)
            position += length
        if until is not None:
            _malformed("no delimiter before the end")
        return dataset, position

    def _fragments(self, position: int, end: int) -> int:
        """Skip fragment items; return the position behind their delimiter. Source: PS3.5 A.4."""
        while end - position >= 8:
            group, element, length = self._implicit_header(self._data, position)
            position += 8
            if (group, element) == (0xFFFE, 0xE0DD):
                return position
            if (group, element) != (0xFFFE, 0xE000) or length > end - position:
                _malformed("something else where a fragment is expected")
            position += length
        return _malformed("no delimiter behind the fragments")

    def _items(
        self, position: int, end: int, length: int, *, explicit: bool, depth: int
    ) -> tuple[tuple[Dataset, ...], int]:
        items: list[Dataset] = []
        if length != _UNDEFINED:
            if length > end - position:
                _malformed("a sequence reaches beyond its data set")
            end = position + length
        while position < end:
            if end - position < 8:
                _malformed("cut short in an item header")
            group, element, item_length = self._implicit_header(self._data, position)
            position += 8
            tag = group << 16 | element
            if tag == _SEQUENCE_END and length == _UNDEFINED:
                return tuple(items), position
            if tag != _ITEM:
                _malformed("something else where an item is expected")
            self._count += 1
            if item_length == _UNDEFINED:
                item, position = self.elements(position, end, explicit=explicit, depth=depth, until=_ITEM_END)
            else:
                if item_length > end - position:
                    _malformed("an item reaches beyond its sequence")
                item, position = self.elements(
                    position, position + item_length, explicit=explicit, depth=depth
                )
            items.append(item)
        if length == _UNDEFINED:
            _malformed("no sequence delimiter before the end")
        return tuple(items), position


def _swap(value: bytes, width: int) -> bytes:
    if len(value) % width:
        return value
    swapped = bytearray(len(value))
    for i in range(width):
        swapped[i::width] = value[width - 1 - i :: width]
    return bytes(swapped)


def _write(dataset: Iterable[Element], out: list[bytes], *, explicit: bool, big: bool) -> None:
    order = ">" if big else "<"
    for element in sorted(dataset, key=_tag):
        tag, vr = element.tag, element.vr
        if element.items is None:
            value = element.value
            if len(value) & 1:
                value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
            if big and vr in _SWAPS:
                value = _swap(value, _SWAPS[vr])
        else:
            vr = "SQ"
            value = _write_items(element.items, explicit=explicit, big=big)
        if not explicit:
            out.append(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)))
        elif vr in LONG_VRS:
            out.append(struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value)))
        elif len(value) > 0xFFFE:
            # PS3.5 6.2.2 note 8: what does not fit into a two-octet length field is written as UN.
            out.append(struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)))
        else:
            out.append(struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)))
        out.append(value)


def _tag(element: Element) -> int:
    return element.tag


def _write_items(items: Sequence[Dataset], *, explicit: bool, big: bool) -> bytes:
    out: list[bytes] = []
    for item in items:
        content: list[bytes] = []
        _write(item.values(), content, explicit=explicit, big=big)
        body = b"".join(content)
        out.append(struct.pack(">HHI" if big else "<HHI", 0xFFFE, 0xE000, len(body)))
        out.append(body)
    return b"".join(out)


# --- character sets --------------------------------------------------------------------------------------------

_IR_TERM: Final = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]+)", re.ASCII | re.IGNORECASE)
_ESC: Final = b"\x1b"
_FRAGMENTS: Final = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_RESETS: Final = re.compile(rb"[\\\r\n\f\t]")
_RESETS_PN: Final = re.compile(rb"[\\\r\n\f\t^=]")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How the octets of a text become Unicode.

    Attributes:
        term: Specific Character Set as written, values joined by a backslash.
        encodings: Python's names, the initial one first; empty where none is given or known.
    """

    term: str
    encodings: tuple[str, ...]

    def decode(self, raw: bytes, vr: str) -> str:
        """Return the text of a value, padding and delimiters included. Never raises.

        Where no known term applies, octets that are well-formed UTF-8 are taken as that, others as ISO 8859-1:
        that is what senders who forget the term most often mean.
        """
        if _ESC not in raw:
            return raw.decode("ascii") if raw.isascii() else self._decode_initial(raw)
        resets = _RESETS_PN if vr == "PN" else _RESETS
        return "".join(self._decode_fragment(part, resets) for part in _FRAGMENTS.findall(raw))

    def _decode_initial(self, raw: bytes) -> str:
        if self.encodings:
            return raw.decode(self.encodings[0], "replace")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _decode_fragment(self, part: bytes, resets: re.Pattern[bytes]) -> str:
        """Decode what follows one escape sequence. Source: PS3.5 6.1.2.5.3."""
        if not part.startswith(_ESC):
            return self._decode_initial(part)
        size = 4 if part[:3] in {b"\x1b$(", b"\x1b$)"} else 3
        encoding = CODES_TO_ENCODINGS.get(part[:size])
        if encoding is None:
            return self._decode_initial(part.replace(_ESC, b""))
        if encoding in {"iso2022_jp", "iso2022_jp_2"}:
            # Python's stateful codecs want the escape sequence; no delimiter can stand between two-octet characters.
            return part.decode(encoding, "replace")
        text = part[size:]
        reset = resets.search(text)
        if reset is None:
            return text.decode(encoding, "replace")
        # A delimiter brings the initial character set back.
        return text[: reset.start()].decode(encoding, "replace") + self._decode_initial(text[reset.start() :])


@lru_cache(maxsize=256)
def character_set(term: str) -> CharacterSet:
    """Return how to decode under a Specific Character Set; unknown terms are left out.

    Args:
        term: values joined by a backslash, as in the data set; common misspellings of it are understood.
    """
    values = [value.strip(" \0") for value in term.split("\\")]
    encodings: list[str] = []
    for number, value in enumerate(values):
        encoding = _encoding_of(value)
        # An empty first value is ISO-IR 6 when others follow; an empty attribute says nothing.
        if value == "" and not (number == 0 and len(values) > 1):
            continue
        if encoding is not None and encoding not in encodings:
            encodings.append(encoding)
    if encodings and values[0] in {"", "ISO 2022 IR 6"} and len(encodings) > 1:
        # Under ISO-IR 6 no octet has its high bit set; where one has, the second set is what was meant.
        encodings = encodings[1:] + encodings[:1] if not encodings[1].startswith("iso2022") else encodings
    return CharacterSet(term, tuple(encodings))


def _encoding_of(value: str) -> str | None:
    known = python_encoding.get(value)
    if known is not None:
        return known
    match = _IR_TERM.fullmatch(value)
    if match is not None:
        prefix = "ISO 2022 IR " if match[1] else "ISO_IR "
        return python_encoding.get(prefix + match[2])
    return {"UTF8": "utf-8", "UTF-8": "utf-8", "GB18030": "gb18030"}.get(value.upper())


def character_set_of(dataset: Dataset, inherited: CharacterSet | None = None) -> CharacterSet:
    """Return the character set of a data set or item; an item without the attribute has that of its parent."""
    element = dataset.get(SPECIFIC_CHARACTER_SET)
    if element is None:
        return inherited or character_set("")
    return character_set(element.value.decode("latin-1").strip(" \0"))


# --- values ----------------------------------------------------------------------------------------------------


def texts_of(element: Element, charset: CharacterSet) -> tuple[str, ...]:
    """Return the values of an element as texts without insignificant spaces; numbers in decimal.

    A value that does not fit its representation gives what can be read of it, or nothing. Never raises.
    """
    vr, raw = element.vr, element.value
    if not raw or element.items is not None:
        return ()
    if vr in NUMBER_FORMATS:
        return tuple(_number_text(number) for number in numbers_of(element))
    if vr == "AT":
        words = struct.unpack(f"<{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
        return tuple(f"{g:04X}{e:04X}" for g, e in zip(words[::2], words[1::2], strict=True))
    if vr in {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}:
        return ()
    text = charset.decode(raw, vr) if vr in CHARACTER_SET_VRS else raw.decode("latin-1")
    if vr in SINGLE_TEXT_VRS:
        trimmed = text.rstrip(" \0")
        return (trimmed,) if trimmed else ()
    if "\\" not in text:
        trimmed = text.strip(" \0")
        return (trimmed,) if trimmed else ()
    return tuple(value.strip(" \0") for value in text.split("\\"))


def numbers_of(element: Element) -> tuple[int | float, ...]:
    """Return the values of a binary number; octets that do not fill one are left out."""
    code = NUMBER_FORMATS[element.vr]
    width = struct.calcsize(code)
    count = len(element.value) // width
    return struct.unpack(f"<{count}{code}", element.value[: count * width])


def _number_text(number: float) -> str:
    if isinstance(number, int):
        return str(number)
    return repr(number) if math.isfinite(number) else str(number)


def text_element(tag: int, values: str | int | Sequence[str | int], *, vr: str = "") -> Element:
    """Return an element made of texts or numbers; non-ASCII text is UTF-8.

    Args:
        tag: of the attribute.
        values: one value or several.
        vr: value representation; that of PS3.6 where empty.

    Raises:
        UsageError: a value cannot be written in that representation.
    """
    vr = vr or vr_of(tag)
    given = (values,) if isinstance(values, (str, int)) else tuple(values)
    code = NUMBER_FORMATS.get(vr)
    if code is None:
        return Element(tag, vr, "\\".join(map(str, given)).encode())
    try:
        numbers = [float(v) if code in "fd" else int(v) for v in given if v != ""]
        return Element(tag, vr, struct.pack(f"<{len(numbers)}{code}", *numbers))
    except (ValueError, OverflowError, struct.error) as error:
        raise UsageError(f"not a value of representation {vr}") from error


def in_utf_8(element: Element, charset: CharacterSet) -> Element:
    """Return the element with its texts, those of its items included, in UTF-8."""
    if element.items is not None:
        items = tuple(_item_in_utf_8(item, charset) for item in element.items)
        return Element(element.tag, element.vr, b"", items)
    if element.vr not in CHARACTER_SET_VRS or not needs_character_set(element):
        return element
    return Element(element.tag, element.vr, charset.decode(element.value, element.vr).encode())


def _item_in_utf_8(item: Dataset, inherited: CharacterSet) -> Dataset:
    charset = character_set_of(item, inherited)
    return {tag: in_utf_8(e, charset) for tag, e in item.items() if tag != SPECIFIC_CHARACTER_SET}


def needs_character_set(element: Element) -> bool:
    """Tell whether the element holds anything but ISO-IR 6, items included."""
    if element.items is not None:
        return any(needs_character_set(e) for item in element.items for e in item.values())
    return element.vr in CHARACTER_SET_VRS and (not element.value.isascii() or _ESC in element.value)


def walk(dataset: Dataset) -> Iterator[Element]:
    """Yield every element, those of items included, sequences before their items."""
    for element in dataset.values():
        yield element
        for item in element.items or ():
            yield from walk(item)
