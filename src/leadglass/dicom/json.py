"""The DICOM JSON model, both ways (PS3.18 Annex F).

Out of a data set, in one pass over its octets: no object is made for an element, because ``/metadata`` of a study has a
hundred thousand of them. What a value cannot say in JSON is said as the standard allows it, or left as a string:

- texts are UTF-8, and Specific Character Set says so;
- IS and DS are numbers where they are numbers, else the string that they are (F.2.3: "Number or String");
- SV, UV and IS beyond what a double holds exactly are strings;
- FL and FD that are not finite are the strings ``NaN``, ``inf`` and ``-inf``: JSON has no such numbers (CP-2275);
- group lengths are left out: they speak of an encoding that the JSON does not have.

Bulk values are named by a path behind a marker: ``"BulkDataURI":"@/bulkdata/7FE00010"``. Who serves it puts a URL in place of
the marker. No value can forge the octets ``"BulkDataURI":"@``: a quote inside of a string is always escaped.

Into a data set only what is bounded: depth, size and number of elements are checked before anything is made of them.

**Invariant:** nothing but ``DatasetRefused`` is raised for any input.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final, NoReturn, cast

import msgspec
from pydicom.datadict import dictionary_VR

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import (
    JSON_BULK_BYTES_MAX,
    JSON_BYTES_MAX,
    JSON_DATASETS_MAX,
    JSON_ELEMENTS_MAX,
    KIB,
    SEQUENCE_DEPTH_MAX,
)
from leadglass.dicom.outline import BulkValue, Outline
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, PrivateSyntaxes, TransferSyntax
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS
from leadglass.dicom.values import (
    CHARACTER_SET_VRS,
    EXPLICIT_LITTLE_ENDIAN,
    NUMBER_FORMATS,
    SPECIFIC_CHARACTER_SET,
    UTF_8,
    CharacterSet,
    Dataset,
    Element,
    character_set,
    vr_of,
    write_dataset,
)

MARKER: Final = b'"BulkDataURI":"@'
"""What a door looks for: the URL of the instance takes the place of the ``@``."""

INLINE_BYTES_MAX: Final = 1 * KIB
"""Longest binary value that stands in the JSON itself where bulk values have a place of their own."""

_AVAILABLE_TRANSFER_SYNTAXES: Final = 0x0008_3002
_PIXEL_DATA: Final = 0x7FE0_0010
_PIXEL_REPRESENTATION: Final = 0x0028_0103
_EXACT_MAX: Final = 2**53
"""Integers that every reader of JSON holds exactly. Source: RFC 8259 section 6."""

_UNDEFINED: Final = 0xFFFF_FFFF
_UTF_8: Final = '"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_FRAGMENT_VRS: Final = frozenset(("OB", "OW"))
_SWAPS: Final[Mapping[str, int]] = {
    "AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2,
    "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8,
}  # fmt: skip
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)

_quoted = encode_basestring


def dataset_to_json(dataset: bytes | Dataset, transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN) -> bytes:
    """Return a data set that is held in memory as one JSON object, UTF-8, all values inside.

    Args:
        dataset: without file meta information; octets, or elements as ``values`` has them.
        transfer_syntax_uid: of octets; one that is not deflated.

    Raises:
        DatasetRefused: it cannot be decoded in that syntax.
    """
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None:
        raise DatasetRefused("the transfer syntax is not known")
    if not isinstance(dataset, bytes):
        dataset, syntax = write_dataset(dataset.values()), TRANSFER_SYNTAXES[EXPLICIT_LITTLE_ENDIAN]
    return _Writer(dataset, syntax, bulk_path="").document((), ())


def metadata_to_json(
    outline: Outline, available: Sequence[str] = (), private_syntaxes: PrivateSyntaxes | None = None
) -> bytes:
    """Return the metadata of an instance as one JSON object, UTF-8; bulk values behind ``MARKER``.

    Args:
        outline: of the instance.
        available: transfer syntaxes that it can be had in, for (0008,3002). Source: PS3.18 10.4.1.1.5.
        private_syntaxes: that the configuration knows.

    Raises:
        DatasetRefused: the header cannot be decoded.
    """
    uid = outline.transfer_syntax_uid
    syntax = (private_syntaxes or {}).get(uid) or TRANSFER_SYNTAXES.get(uid)
    if syntax is None:
        raise DatasetRefused("the transfer syntax is not known")
    return _Writer(outline.header, syntax, bulk_path="/bulkdata/").document(outline.bulk, available)


class _Writer:
    """Writes one data set."""

    __slots__ = ("_bulk_path", "_data", "_signed", "_syntax")

    def __init__(self, data: bytes, syntax: TransferSyntax, *, bulk_path: str) -> None:
        self._data = data
        self._syntax = syntax
        self._bulk_path = bulk_path
        self._signed = False

    def document(self, bulk: Iterable[BulkValue], available: Sequence[str]) -> bytes:
        """Return the whole object."""
        syntax = self._syntax
        members, _ = self._level(
            0,
            len(self._data),
            syntax.implicit_vr,
            syntax.big_endian,
            character_set(""),
            self._bulk_path,
            0,
            delimited=False,
        )
        for value in bulk:
            if value.tag & 0xFFFF == 0:
                continue
            if value.length:
                text = f'{_opening(value.tag, value.vr)},"BulkDataURI":"@{self._bulk_path}{value.tag:08X}"}}'
            else:
                text = _opening(value.tag, value.vr) + "}"
            members.setdefault(value.tag, text)
        if available:
            values = ",".join(map(_quoted, available))
            members[_AVAILABLE_TRANSFER_SYNTAXES] = f'"00083002":{{"vr":"UI","Value":[{values}]}}'
        text = _object(members)
        if SPECIFIC_CHARACTER_SET not in members and not text.isascii():
            members[SPECIFIC_CHARACTER_SET] = _UTF_8
            text = _object(members)
        # A lone surrogate, which a code of some character sets could stand for, is no character of UTF-8.
        return text.encode("utf-8", "replace")

    def _level(
        self,
        at: int,
        end: int,
        implicit: bool,
        big: bool,
        charset: CharacterSet,
        path: str,
        depth: int,
        *,
        delimited: bool,
    ) -> tuple[dict[int, str], int]:
        """Return the members of a data set or item by tag, and where it ends."""
        if depth > SEQUENCE_DEPTH_MAX:
            _malformed(f"sequences nested deeper than {SEQUENCE_DEPTH_MAX}")
        data = self._data
        order = ">" if big else "<"
        short_header = struct.Struct(order + "HH2sH").unpack_from
        pair = struct.Struct(order + "HHI").unpack_from
        long_length = struct.Struct(order + "I").unpack_from
        members: dict[int, str] = {}
        while at + 8 <= end:
            if implicit:
                group, number, length = pair(data, at)
                at += 8
                if group == 0xFFFE:
                    if delimited and number == 0xE00D:
                        return members, at
                    _malformed("a delimiter where an element is expected")
                tag = group << 16 | number
                vr = self._implicit_vr(tag)
            else:
                group, number, letters, length = short_header(data, at)
                if group == 0xFFFE:
                    if delimited and number == 0xE00D:
                        return members, at + 8
                    _malformed("a delimiter where an element is expected")
                tag = group << 16 | number
                at += 8
                vr = _SHORT.get(letters, "")
                if not vr:
                    if at + 4 > end:
                        _malformed("cut short in an element header")
                    (length,) = long_length(data, at)
                    at += 4
                    vr = _LONG.get(letters, "UN")  # a VR of a later edition is octets for us
            if length == _UNDEFINED and (vr in _FRAGMENT_VRS or tag == _PIXEL_DATA):
                at = self._behind_fragments(at, end, pair)
                members.setdefault(
                    tag,
                    f'{_opening(tag, vr)},"BulkDataURI":"@{path}{tag:08X}"}}'
                    if path
                    else _opening(tag, vr) + "}",
                )
                continue
            if vr == "SQ" or length == _UNDEFINED:
                items, at = self._items(
                    at,
                    end,
                    length,
                    implicit or vr != "SQ",
                    big and vr == "SQ",
                    charset,
                    f"{path}{tag:08X}/" if path else "",
                    depth + 1,
                )
                opening = _opening(tag, "SQ")
                text = f'{opening},"Value":[{",".join(items)}]}}' if items else opening + "}"
                members.setdefault(tag, text)
                continue
            stop = at + length
            if stop > end:
                _malformed("a value reaches beyond its data set")
            raw = data[at:stop]
            at = stop
            if number == 0 or tag in members:
                continue
            if big and vr in _SWAPS:
                raw = _swapped(raw, _SWAPS[vr])
            if tag == SPECIFIC_CHARACTER_SET:
                charset = character_set(raw.decode("latin-1").strip(" \0"))
                members[tag] = _UTF_8 if raw.strip(b" \0") else _opening(tag, vr) + "}"
                continue
            if tag == _PIXEL_REPRESENTATION and depth == 0:
                self._signed = raw[:1] == b"\1"
            if length > INLINE_BYTES_MAX and path and vr in _BINARY:
                members[tag] = f'{_opening(tag, vr)},"BulkDataURI":"@{path}{tag:08X}"}}'
                continue
            members[tag] = _opening(tag, vr) + _FORMATS[vr](raw, charset)
        if at != end or delimited:
            _malformed("cut short in an element header")
        return members, at

    def _items(
        self,
        at: int,
        end: int,
        length: int,
        implicit: bool,
        big: bool,
        charset: CharacterSet,
        path: str,
        depth: int,
    ) -> tuple[list[str], int]:
        """Return the items of a sequence, and where it ends."""
        data = self._data
        pair = struct.Struct(">HHI" if big else "<HHI").unpack_from
        items: list[str] = []
        if length != _UNDEFINED:
            if at + length > end:
                _malformed("a sequence reaches beyond its data set")
            end = at + length
        while at + 8 <= end:
            group, number, size = pair(data, at)
            at += 8
            if group == 0xFFFE and number == 0xE0DD and length == _UNDEFINED:
                return items, at
            if group != 0xFFFE or number != 0xE000:
                _malformed("something else where an item is expected")
            stop = end if size == _UNDEFINED else at + size
            if stop > end:
                _malformed("an item reaches beyond its sequence")
            item_path = f"{path}{len(items)}/" if path else ""
            members, at = self._level(
                at, stop, implicit, big, charset, item_path, depth, delimited=size == _UNDEFINED
            )
            items.append(_object(members))
        if at != end or length == _UNDEFINED:
            _malformed("a sequence without its end")
        return items, at

    def _behind_fragments(self, at: int, end: int, pair: Callable[[bytes, int], tuple[int, int, int]]) -> int:
        """Return where encapsulated pixel data of an item ends (an icon image). Source: PS3.5 A.4."""
        while at + 8 <= end:
            group, number, length = pair(self._data, at)
            at += 8
            if (group, number) == (0xFFFE, 0xE0DD):
                return at
            if (group, number) != (0xFFFE, 0xE000) or length > end - at:
                _malformed("something else where a fragment is expected")
            at += length
        return _malformed("no delimiter behind the fragments")

    def _implicit_vr(self, tag: int) -> str:
        vr = vr_of(tag)
        return "SS" if vr == "US" and self._signed and _is_us_or_ss(tag) else vr


def _malformed(what: str) -> NoReturn:
    raise DatasetRefused(f"malformed data set: {what}")


def _object(members: dict[int, str]) -> str:
    """Join members in ascending order of their tags. Source: PS3.18 F.2.2."""
    return "{" + ",".join([members[tag] for tag in sorted(members)]) + "}"


@lru_cache(maxsize=8192)
def _opening(tag: int, vr: str) -> str:
    """Return the beginning of a member: nothing of a patient is remembered here."""
    return f'"{tag:08X}":{{"vr":"{vr}"'


@lru_cache(maxsize=1024)
def _is_us_or_ss(tag: int) -> bool:
    try:
        return dictionary_VR(tag).startswith("US or SS")
    except KeyError:
        return False


def _swapped(value: bytes, width: int) -> bytes:
    if len(value) % width:
        return value
    swapped = bytearray(len(value))
    for i in range(width):
        swapped[i::width] = value[width - 1 - i :: width]
    return bytes(swapped)


# --- one value -------------------------------------------------------------------------------------------------
# Each returns what follows the VR, up to the closing brace of the member.

_EMPTY: Final = "}"
_Format = Callable[[bytes, CharacterSet], str]


def _plain_text(raw: bytes, _: CharacterSet) -> str:
    """AE, AS, CS, DA, DT, TM, UI: no character set applies."""
    return _strings(raw.decode("latin-1").strip(" \0"))


def _text(raw: bytes, charset: CharacterSet) -> str:
    """LO, SH: leading and trailing spaces are not significant."""
    return _strings(charset.decode(raw, "LO").strip(" \0"))


def _long_text(raw: bytes, charset: CharacterSet) -> str:
    """UC: only trailing spaces are not significant."""
    return _strings(charset.decode(raw, "UC").rstrip(" \0"))


def _strings(text: str) -> str:
    if not text:
        return _EMPTY
    if "\\" not in text:
        return f',"Value":[{_quoted(text)}]}}'
    values = [_quoted(stripped) if (stripped := value.strip(" \0")) else "null" for value in text.split("\\")]
    return f',"Value":[{",".join(values)}]}}'


def _single_text(raw: bytes, charset: CharacterSet) -> str:
    """LT, ST, UT: one value, a backslash is a character."""
    text = charset.decode(raw, "LT").rstrip(" \0")
    return f',"Value":[{_quoted(text)}]}}' if text else _EMPTY


def _uri(raw: bytes, _: CharacterSet) -> str:
    text = raw.decode("latin-1").rstrip(" \0")
    return f',"Value":[{_quoted(text)}]}}' if text else _EMPTY


_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def _person_name(raw: bytes, charset: CharacterSet) -> str:
    text = charset.decode(raw, "PN").strip(" \0")
    if not text:
        return _EMPTY
    if "=" not in text and "\\" not in text:
        return f',"Value":[{{"Alphabetic":{_quoted(text)}}}]}}'
    return f',"Value":[{",".join(map(_one_name, text.split(chr(92))))}]}}'


def _one_name(text: str) -> str:
    groups = [
        f'"{name}":{_quoted(group)}'
        for name, part in zip(_GROUPS, text.split("="), strict=False)
        if (group := part.strip(" \0"))
    ]
    return f"{{{','.join(groups)}}}" if groups else "null"


def _decimals(raw: bytes, _: CharacterSet) -> str:
    text = raw.decode("latin-1").strip(" \0")
    if not text:
        return _EMPTY
    if "\\" not in text:
        return f',"Value":[{_decimal(text)}]}}'
    return f',"Value":[{",".join(_decimal(value.strip(chr(0) + " ")) for value in text.split(chr(92)))}]}}'


def _decimal(text: str) -> str:
    """Return a DS as a number where it is one: digit for digit where JSON allows it."""
    if not text:
        return "null"
    if _DECIMAL.fullmatch(text) is None or not math.isfinite(value := float(text)):
        return _quoted(text)
    return text if _JSON_NUMBER.fullmatch(text) else repr(value)


def _integers(raw: bytes, _: CharacterSet) -> str:
    text = raw.decode("latin-1").strip(" \0")
    if not text:
        return _EMPTY
    return f',"Value":[{",".join(_integer(value.strip(chr(0) + " ")) for value in text.split(chr(92)))}]}}'


def _integer(text: str) -> str:
    if not text:
        return "null"
    if len(text) > 20 or _INTEGER.fullmatch(text) is None:
        return _quoted(text)
    value = int(text)
    return str(value) if abs(value) <= _EXACT_MAX else _quoted(text)


def _tags(raw: bytes, _: CharacterSet) -> str:
    if not raw:
        return _EMPTY
    words = struct.unpack_from(f"<{len(raw) // 4 * 2}H", raw)
    tags = [f'"{group:04X}{number:04X}"' for group, number in zip(words[::2], words[1::2], strict=True)]
    return f',"Value":[{",".join(tags)}]}}'


def _binary(raw: bytes, _: CharacterSet) -> str:
    return f',"InlineBinary":"{base64.b64encode(raw).decode("ascii")}"}}' if raw else _EMPTY


def _numbers(code: str) -> _Format:
    width = struct.calcsize(code)

    def numbers(raw: bytes, _: CharacterSet) -> str:
        if not raw:
            return _EMPTY
        values = struct.unpack_from(
            f"<{len(raw) // width}{code}", raw
        )  # what does not fill a number is left out
        if code in "fd":
            return f',"Value":[{",".join(map(_float, values))}]}}'
        if code in "qQ":
            texts = [str(value) if abs(value) <= _EXACT_MAX else f'"{value}"' for value in values]
            return f',"Value":[{",".join(texts)}]}}'
        return f',"Value":[{",".join(map(str, values))}]}}'

    return numbers


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"inf"' if value > 0 else '"-inf"'


def _formats() -> dict[str, _Format]:
    formats: dict[str, _Format] = dict.fromkeys((*SHORT_VRS, *LONG_VRS), _plain_text)
    formats.update(dict.fromkeys(CHARACTER_SET_VRS, _text))
    formats.update(dict.fromkeys(("LT", "ST", "UT"), _single_text))
    formats.update(dict.fromkeys(_BINARY, _binary))
    formats.update({vr: _numbers(code) for vr, code in NUMBER_FORMATS.items()})
    formats.update(
        {
            "AT": _tags,
            "DS": _decimals,
            "IS": _integers,
            "PN": _person_name,
            "UC": _long_text,
            "UR": _uri,
        }
    )
    return formats


_FORMATS: Final = _formats()
_SHORT: Final = {vr.encode("ascii"): vr for vr in SHORT_VRS}
_LONG: Final = {vr.encode("ascii"): vr for vr in LONG_VRS}


# --- into a data set -------------------------------------------------------------------------------------------

ResolveBulk = Callable[[str], bytes]
"""Bulk data URI to the octets of the value, little endian.

Only whoever gave the JSON may give the octets too (a part of the same request): a URI that leads anywhere else must be
refused with ``DatasetRefused``.
"""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Nothing is tried twice, and a string without an end reaches to the end: else each of its quotes would be looked at as
a beginning, and 20 KiB of them took 11 s."""
_BRACKET: Final = re.compile(rb"[][{}]")
_BRACKETS_MAX: Final = 3 * (SEQUENCE_DEPTH_MAX + 2)
"""Brackets open at once: three for each sequence (its member, its values, its item)."""

_LOW_GROUPS: Final = frozenset((0x0000, 0x0004, 0x0006, 0xFFFE))
_DS_CHARACTERS_MAX: Final = 16
_SHORT_BYTES_MAX: Final = 0xFFFE
_MULTIPLE_TEXTS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI")
)


def json_to_dataset(document: bytes, resolve: ResolveBulk | None = None) -> Dataset:
    """Return the one data set of a document: an object, alone or the only one of an array. See ``json_to_datasets``."""
    datasets = json_to_datasets(document, resolve)
    if len(datasets) != 1:
        _unfit("one data set is expected")
    return datasets[0]


def json_to_datasets(document: bytes, resolve: ResolveBulk | None = None) -> list[Dataset]:
    """Return the data sets of a document, in UTF-8, ready for ``values.write_dataset``.

    Args:
        document: UTF-8; one object, or an array of them.
        resolve: gives the octets of a BulkDataURI; None: there are none.

    Raises:
        DatasetRefused: too long, too deep, too many elements, or not the DICOM JSON model.
    """
    if len(document) > JSON_BYTES_MAX:
        _unfit(f"longer than {JSON_BYTES_MAX} octets")
    _check_depth(document)
    try:
        decoded = msgspec.json.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DatasetRefused("this is no JSON document") from error
    objects = cast("list[object]", decoded) if isinstance(decoded, list) else [decoded]
    if len(objects) > JSON_DATASETS_MAX:
        _unfit(f"more than {JSON_DATASETS_MAX} data sets")
    reader = _JSONReader(resolve)
    return [reader.top_level(one) for one in objects]


def _check_depth(document: bytes) -> None:
    """Refuse what is nested too deeply, before a parser goes down there (attack: JSON bombs)."""
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", document)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > _BRACKETS_MAX:
            _unfit(f"nested deeper than {SEQUENCE_DEPTH_MAX} sequences")


def _unfit(what: str) -> NoReturn:
    raise DatasetRefused(f"not the DICOM JSON model: {what} (PS3.18 F.2)")


class _JSONReader:
    """Reads objects; counts elements and octets of bulk values over all of them."""

    def __init__(self, resolve: ResolveBulk | None) -> None:
        self._resolve = resolve
        self._elements = 0
        self._bulk_octets = 0

    def top_level(self, value: object) -> Dataset:
        dataset = self._dataset(value)
        dataset[SPECIFIC_CHARACTER_SET] = Element(SPECIFIC_CHARACTER_SET, "CS", UTF_8.encode())
        return {tag: dataset[tag] for tag in sorted(dataset)}

    def _dataset(self, value: object) -> Dataset:
        dataset: Dataset = {}
        for name, member in _mapping(value).items():
            if len(name) != 8 or not name.isascii() or name.strip("0123456789ABCDEFabcdef"):
                _unfit("an attribute is named by eight hexadecimal digits")
            tag = int(name, 16)
            group = tag >> 16
            if group in _LOW_GROUPS:
                _unfit("an element of group 0000, 0004, 0006 or FFFE")
            if group == 2 or not tag & 0xFFFF or tag == SPECIFIC_CHARACTER_SET:
                continue  # of an encoding that the JSON does not have
            self._elements += 1
            if self._elements > JSON_ELEMENTS_MAX:
                _unfit(f"more than {JSON_ELEMENTS_MAX} elements")
            if tag in dataset:
                _unfit("an attribute stands there twice")
            dataset[tag] = self._element(tag, _mapping(member))
        return dataset

    def _element(self, tag: int, member: Mapping[str, object]) -> Element:
        vr = member.get("vr", "") or vr_of(tag)
        if not isinstance(vr, str) or vr not in _FORMATS:
            _unfit("a value representation that is none")
        given = [name for name in ("Value", "InlineBinary", "BulkDataURI") if name in member]
        if len(given) > 1:
            _unfit("an attribute with two kinds of value")
        if not given:
            return Element(tag, vr, b"", () if vr == "SQ" else None)
        content = member[given[0]]
        if given[0] != "Value":
            if vr == "SQ" or not isinstance(content, str):
                _unfit("a bulk value is a text, and no sequence")
            octets = self._inline(content) if given[0] == "InlineBinary" else self._bulk(content)
            return Element(tag, vr, octets)
        if not isinstance(content, list):
            _unfit("Value is an array")
        values = cast("list[object]", content)
        if vr == "SQ":
            return Element(tag, vr, b"", tuple(self._dataset(item or {}) for item in values))
        raw = _encoded(vr, values)
        if len(raw) > _SHORT_BYTES_MAX and vr in SHORT_VRS:
            _unfit("a value is longer than its representation allows")
        return Element(tag, vr, raw)

    def _inline(self, content: str) -> bytes:
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DatasetRefused("InlineBinary is no base64 (PS3.18 F.2.7)") from error

    def _bulk(self, uri: str) -> bytes:
        if self._resolve is None:
            _unfit("a BulkDataURI, but no bulk data comes with it")
        octets = self._resolve(uri)
        self._bulk_octets += len(octets)
        if self._bulk_octets > JSON_BULK_BYTES_MAX:
            _unfit(f"more than {JSON_BULK_BYTES_MAX} octets of bulk data")
        return octets


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        _unfit("an object is expected")
    return cast("dict[str, object]", value)


def _encoded(vr: str, values: Sequence[object]) -> bytes:
    """Return the octets of the values of an attribute, without padding."""
    code = NUMBER_FORMATS.get(vr)
    if code is not None:
        return b"".join(_packed(code, value) for value in values)
    if vr == "AT":
        return b"".join(map(_tag_octets, values))
    if vr in _BINARY:
        if values:
            _unfit("octets are InlineBinary or BulkDataURI")
        return b""
    texts = [_text_of(vr, value) for value in values]
    if vr in _MULTIPLE_TEXTS:
        if any("\\" in text for text in texts):
            _unfit("a backslash inside of one of several values")
    elif len(texts) > 1:
        _unfit("several values of a representation that has one")
    try:
        return "\\".join(texts).encode("utf-8" if vr in CHARACTER_SET_VRS or vr == "UR" else "ascii")
    except UnicodeEncodeError as error:
        raise DatasetRefused("characters that the value representation does not have (PS3.5 6.2)") from error


def _packed(code: str, value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str) and len(value) <= 32:
        # SV and UV beyond what a double holds; values that are not finite.
        try:
            value = float(value) if code in "fd" else int(value)
        except ValueError:
            _unfit("a number is expected")
    if isinstance(value, float) and code not in "fd":
        if not value.is_integer():
            _unfit("a whole number is expected")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _unfit("a number is expected")
    try:
        return struct.pack(f"<{code}", value)
    except (struct.error, OverflowError) as error:
        raise DatasetRefused("a number beyond its value representation (PS3.5 6.2)") from error


def _tag_octets(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 8 or value.strip("0123456789ABCDEFabcdef"):
        _unfit("a tag has eight hexadecimal digits")
    return struct.pack("<HH", int(value[:4], 16), int(value[4:], 16))


def _text_of(vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        return _name_of(cast("dict[str, object]", value))
    if vr in {"DS", "IS"} and isinstance(value, int | float) and not isinstance(value, bool):
        return _decimal_text(vr, value)
    if not isinstance(value, str):
        _unfit("a text is expected")
    if "\0" in value or "\x1b" in value:
        _unfit("a control character in a text")
    return value


def _name_of(groups: Mapping[str, object]) -> str:
    texts: list[str] = []
    for name in _GROUPS:
        text = groups.get(name) or ""
        if not isinstance(text, str) or "=" in text or "\0" in text or "\x1b" in text:
            _unfit("a component group of a name is a text without =")
        texts.append(text)
    return "=".join(texts).rstrip("=")


def _decimal_text(vr: str, value: int | float) -> str:  # noqa: PYI041 - a large int is no float here
    """Return a number in at most 16 characters, as exactly as they allow. Source: PS3.5 6.2 (DS, IS)."""
    if vr == "IS":
        if isinstance(value, float) and not value.is_integer():
            _unfit("a whole number is expected")
        text = str(int(value))
        if len(text) > 12:
            _unfit("a whole number of more than 12 characters")
        return text
    try:
        value = value if isinstance(value, int) and abs(value) < 10**15 else float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        _unfit("a number beyond its value representation")
    text = repr(value)
    digits = _DS_CHARACTERS_MAX
    while len(text) > _DS_CHARACTERS_MAX and digits:
        text = f"{value:.{digits}g}"
        digits -= 1
    return text
