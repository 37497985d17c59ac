"""The other side: identifiers that our SCU sends, and responses that it prints."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pydicom.charset import encode_string

from leadglass.base.errors import UsageError
from leadglass.dicom import values
from leadglass.dicom.models import Level
from leadglass.dicom.query.parse import QUERY_RETRIEVE_LEVEL
from leadglass.dicom.values import CharacterSet, Dataset, Element

JSONValue: TypeAlias = "str | int | float | Sequence[JSONValue] | Mapping[str, JSONValue] | None"


def build_identifier(
    level: Level | str,
    keys: Mapping[str, str | Sequence[str]],
    *,
    transfer_syntax_uid: str = values.EXPLICIT_LITTLE_ENDIAN,
    character_set: str = values.UTF_8,
) -> bytes:
    """Return the identifier of a C-FIND, C-MOVE or C-GET request.

    Args:
        level: Query/Retrieve Level.
        keys: by keyword or tag (``GGGG,EEEE``); an empty text asks for the attribute, several values are a list.
            An attribute within a sequence is named by both, ``RequestAttributesSequence.ScheduledProcedureStepID``.
        transfer_syntax_uid: one of ``dicom.values.SYNTAXES``.
        character_set: Specific Character Set of texts that are not ASCII.

    Raises:
        UsageError: an unknown keyword, a value that its attribute cannot hold, or a text that the character set lacks.
    """
    dataset: Dataset = {QUERY_RETRIEVE_LEVEL: values.text_element(QUERY_RETRIEVE_LEVEL, str(level))}
    charset = values.character_set(character_set)
    for name, value in keys.items():
        _put(dataset, name.split("."), value, charset)
    if any(values.needs_character_set(element) for element in dataset.values()):
        tag = values.SPECIFIC_CHARACTER_SET
        dataset[tag] = values.text_element(tag, character_set)
    return values.write_dataset(dataset.values(), transfer_syntax_uid)


def _put(dataset: Dataset, path: list[str], value: str | Sequence[str], charset: CharacterSet) -> None:
    tag = values.tag_of(path[0])
    vr = values.vr_of(tag)
    if len(path) > 1:
        if vr != "SQ":
            raise UsageError(f"{path[0]} is no sequence")
        earlier = dataset.get(tag)
        item: Dataset = dict(earlier.items[0]) if earlier is not None and earlier.items else {}
        _put(item, path[1:], value, charset)
        dataset[tag] = Element(tag, vr, b"", (item,))
    elif vr == "SQ":
        if value:
            raise UsageError(f"{path[0]} is a sequence: name the attribute within it")
        dataset[tag] = Element(tag, vr, b"", ())
    else:
        element = values.text_element(tag, value, vr=vr)
        dataset[tag] = element if element.value.isascii() else _encoded(element, charset)


def _encoded(element: Element, charset: CharacterSet) -> Element:
    if element.vr not in values.CHARACTER_SET_VRS:
        return element
    if charset.encodings in {("UTF8",), ("utf-8",)}:
        return element
    text = element.value.decode()
    # pydicom writes what a character set lacks as "?", which would be a wild card: so it is read back.
    raw = b"".join(_encode_part(part, charset) for part in _parts(text))
    if charset.decode(raw, element.vr) != text:
        raise UsageError("the character set has no such characters")
    return Element(element.tag, element.vr, raw)


def _parts(text: str) -> list[str]:
    """Cut at the delimiters that bring the initial character set back, keeping them. Source: PS3.5 6.1.2.5.3."""
    parts = [""]
    for character in text:
        if character in "\\^=":
            parts.extend((character, ""))
        else:
            parts[-1] += character
    return [part for part in parts if part]


def _encode_part(part: str, charset: CharacterSet) -> bytes:
    if part.isascii():
        return part.encode()
    try:
        return part.encode(charset.encodings[0])
    except (IndexError, UnicodeEncodeError):
        pass
    try:
        return encode_string(part, list(charset.encodings))
    except (IndexError, UnicodeError, UserWarning) as error:
        raise UsageError("the character set has no such characters") from error


def read_response(data: bytes, transfer_syntax_uid: str) -> dict[str, JSONValue]:
    """Return a response identifier as plain values, for people and for ``--json``.

    Keys are keywords, ``GGGGEEEE`` where PS3.6 knows none. One value is itself, several are a list, none is None;
    IS and binary numbers are numbers, a sequence is a list of such mappings.

    Raises:
        DatasetRefused: not decodable.
    """
    return _plain(values.read_dataset(data, transfer_syntax_uid), None)


def _plain(dataset: Dataset, inherited: CharacterSet | None) -> dict[str, JSONValue]:
    charset = values.character_set_of(dataset, inherited)
    return {
        values.keyword_of(tag) or f"{tag:08X}": _plain_value(element, charset)
        for tag, element in sorted(dataset.items())
    }


def _plain_value(element: Element, charset: CharacterSet) -> JSONValue:
    if element.items is not None:
        return [_plain(item, charset) for item in element.items]
    if element.vr in values.NUMBER_FORMATS:
        given: list[JSONValue] = [n if math.isfinite(n) else str(n) for n in values.numbers_of(element)]
    else:
        texts = values.texts_of(element, charset)
        given = [_integer(text) for text in texts] if element.vr == "IS" else list(texts)
    if not given:
        return None
    return given[0] if len(given) == 1 else given


def _integer(text: str) -> int | str:
    digits = text.removeprefix("-").removeprefix("+")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else text
