"""From the octets of an identifier to a ``Query`` or to ``RetrieveKeys``, or to a refusal with its reason.

What is not understood is refused rather than left out: a key that were silently ignored would widen the answer.
Only what the standard tells an SCP to ignore is ignored: optional keys that it does not support (``unsupported``).

Source: PS3.4 C.2.2, C.4.1.2.1, C.4.2.2.1, C.4.3.2.1, C.6.
"""

import re
from collections.abc import Mapping
from typing import Final

from leadglass.base.errors import DatasetRefused, IdentifierRefused
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import SEQUENCE_DEPTH_MAX
from leadglass.base.secret import Phi
from leadglass.dicom import match, values
from leadglass.dicom.attributes import BY_TAG, LEVELS
from leadglass.dicom.models import Level
from leadglass.dicom.query.models import (
    AnyOf,
    Key,
    KeyMatch,
    Model,
    Query,
    Range,
    RetrieveKeys,
    SequenceMatch,
    Single,
    UIDList,
    Universal,
    Wildcard,
)
from leadglass.dicom.values import CharacterSet, Dataset, Element

QUERY_RETRIEVE_LEVEL: Final = 0x0008_0052
_QUERY_RETRIEVE_VIEW: Final = 0x0008_0053
_TIMEZONE_OFFSET: Final = 0x0008_0201
_NO_KEYS: Final = frozenset({values.SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, _QUERY_RETRIEVE_VIEW})

UNIQUE_KEYS: Final[Mapping[Level, int]] = {
    Level.PATIENT: 0x0010_0020,
    Level.STUDY: 0x0020_000D,
    Level.SERIES: 0x0020_000E,
    Level.IMAGE: 0x0008_0018,
}
"""Patient ID, Study, Series and SOP Instance UID. Source: PS3.4 C.6.1.1, C.6.2.1."""

_MODEL_LEVELS: Final[Mapping[Model, tuple[Level, ...]]] = {Model.PATIENT: LEVELS, Model.STUDY: LEVELS[1:]}

_KEY_CHARACTERS_MAX: Final = 1024
"""Longest text of a key that is matched. The longest short representation is LT with 10 240, but nobody searches by
it; PN may have 3 * 64."""

_UNMATCHED_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_TIME_VRS: Final = frozenset({"DA", "TM", "DT"})


def parse_identifier(
    data: bytes,
    transfer_syntax_uid: str,
    information_model: Model | str,
    *,
    relational: bool = False,
    retrieve_ae_title: str = "",
) -> Query:
    """Return the query that a C-FIND identifier states.

    Args:
        data: the identifier, at most ``IDENTIFIER_BYTES_MAX`` octets.
        transfer_syntax_uid: of its presentation context.
        information_model: root of the SOP class, ``PATIENT`` or ``STUDY``.
        relational: relational queries were negotiated (PS3.4 C.5.1.1).
        retrieve_ae_title: what responses say of where to retrieve from.

    Raises:
        IdentifierRefused: with the reason, without its values.
    """
    dataset = _decode(data, transfer_syntax_uid)
    model = Model(information_model)
    charset = values.character_set_of(dataset)
    level = _level(dataset, model)
    keys = tuple(
        _key(element, charset, depth=0)
        for _, element in sorted(dataset.items())
        if element.tag not in _NO_KEYS and element.tag & 0xFFFF
    )
    if not relational:
        _require_unique_keys(keys, model, level)
    return Query(
        root=model,
        level=level,
        keys=keys,
        character_set=charset.term,
        transfer_syntax_uid=UID(transfer_syntax_uid),
        relational=relational,
        retrieve_ae_title=retrieve_ae_title,
    )


def parse_retrieve(
    data: bytes, transfer_syntax_uid: str, information_model: Model | str, *, relational: bool = False
) -> RetrieveKeys:
    """Return what a C-MOVE or C-GET identifier names.

    Only unique keys are looked at; other attributes must not be there (PS3.4 C.4.2.2.1), but real workstations send
    them empty, and nothing depends on them. The patient level is taken in the study root too, which has none: Orthanc
    (1.10) moves patients that way, and a Patient ID names the same objects in either root.

    Raises:
        IdentifierRefused: with the reason, without its values.
    """
    dataset = _decode(data, transfer_syntax_uid)
    level = _level(dataset, Model.PATIENT)
    model = Model.PATIENT if level is Level.PATIENT else Model(information_model)
    charset = values.character_set_of(dataset)
    levels = _MODEL_LEVELS[model]
    given = {key_level: _unique_values(dataset, key_level, charset) for key_level in LEVELS}
    for upper in levels[: levels.index(level)]:
        if len(given[upper]) > 1:
            raise IdentifierRefused(f"several values of the unique key of level {upper} above {level}")
        if not given[upper] and not relational:
            raise IdentifierRefused(f"no unique key of level {upper} above {level}")
    if not given[level]:
        raise IdentifierRefused(f"no unique key of its level {level}")
    if level is Level.PATIENT and len(given[level]) > 1:
        raise IdentifierRefused("several Patient IDs: only UIDs may be a list")
    if any(given[lower] for lower in LEVELS[LEVELS.index(level) + 1 :]):
        # Left out, the request would send more than it names.
        raise IdentifierRefused(f"a unique key below its level {level}")
    patient_id = given[Level.PATIENT][0] if given[Level.PATIENT] and model is Model.PATIENT else ""
    if any(wildcard in patient_id for wildcard in match.WILDCARDS):
        raise IdentifierRefused("a wild card in a retrieve")
    return RetrieveKeys(
        level=level,
        patient_id=Phi(patient_id),
        study_uids=_uids(given[Level.STUDY]),
        series_uids=_uids(given[Level.SERIES]),
        sop_instance_uids=_uids(given[Level.IMAGE]),
    )


def unsupported(query: Query) -> tuple[Key, ...]:
    """Return the keys that nothing is held for at this level or above; a response then has the status 0xFF01.

    They are answered empty and do not take part in the match. Source: PS3.4 C.2.2.1.3, Table C.4-1.
    """
    return tuple(key for key in query.keys if not is_supported(key, query.level))


def is_supported(key: Key, level: Level) -> bool:
    """Tell whether a key can be matched at a level."""
    attribute = BY_TAG.get(key.tag)
    return attribute is not None and LEVELS.index(attribute.level) <= LEVELS.index(level)


def _decode(data: bytes, transfer_syntax_uid: str) -> Dataset:
    try:
        return values.read_dataset(data, transfer_syntax_uid)
    except DatasetRefused as error:
        raise IdentifierRefused(f"the identifier cannot be decoded: {error}") from error


def _level(dataset: Dataset, model: Model) -> Level:
    element = dataset.get(QUERY_RETRIEVE_LEVEL)
    text = element.value.decode("latin-1").strip(" \0") if element is not None else ""
    if not text:
        raise IdentifierRefused("no Query/Retrieve Level (0008,0052)")
    try:
        level = Level(text)
    except ValueError:
        raise IdentifierRefused("an unknown Query/Retrieve Level (0008,0052)") from None
    if level not in _MODEL_LEVELS[model]:
        raise IdentifierRefused(f"the {model} root has no level {level}")
    return level


def _require_unique_keys(keys: tuple[Key, ...], model: Model, level: Level) -> None:
    """Check the unique keys above the level. Source: PS3.4 C.4.1.2.1, C.4.1.3.1.1 (hierarchical search)."""
    by_tag = {key.tag: key.match for key in keys}
    levels = _MODEL_LEVELS[model]
    for upper in levels[: levels.index(level)]:
        match by_tag.get(UNIQUE_KEYS[upper]):
            case Single():
                continue
            case UIDList(values=(_,)):
                continue
            case None | Universal():
                raise IdentifierRefused(f"no unique key of level {upper} above {level}, and not relational")
            case _:
                raise IdentifierRefused(f"no single value of the unique key of {upper} above {level}")


def _unique_values(dataset: Dataset, level: Level, charset: CharacterSet) -> tuple[str, ...]:
    element = dataset.get(UNIQUE_KEYS[level])
    if element is None:
        return ()
    return tuple(value for value in values.texts_of(element, charset) if value)


def _uids(texts: tuple[str, ...]) -> tuple[UID, ...]:
    if not all(is_uid(text) for text in texts):
        raise IdentifierRefused("a UID of other characters than digits and dots, or too long")
    return tuple(UID(text) for text in dict.fromkeys(texts))


def _key(element: Element, charset: CharacterSet, *, depth: int) -> Key:
    tag = element.tag
    known = values.vr_of(tag)
    vr = known if known != "UN" else element.vr
    if (vr == "SQ") != (element.items is not None) and (element.value or element.items):
        raise IdentifierRefused(f"{name_of(tag)} is not encoded as {vr}")
    keyword = values.keyword_of(tag)
    if vr == "SQ":
        return Key(keyword, tag, vr, _sequence(element, charset, depth))
    if element.vr != vr and element.vr in values.NUMBER_FORMATS:
        raise IdentifierRefused(f"{name_of(tag)} is not encoded as {vr}")
    return Key(keyword, tag, vr, value_match(Element(tag, vr, element.value), charset))


def _sequence(element: Element, charset: CharacterSet, depth: int) -> KeyMatch:
    items = list(element.items or ())
    if len(items) > 1:
        raise IdentifierRefused(f"more than one item in {name_of(element.tag)}")
    item = items.pop() if items else None
    if not item:
        return Universal()
    if depth >= SEQUENCE_DEPTH_MAX:
        raise IdentifierRefused("sequences nested too deep")
    inner = values.character_set_of(item, charset)
    return SequenceMatch(
        tuple(
            _key(nested, inner, depth=depth + 1)
            for _, nested in sorted(item.items())
            if nested.tag != values.SPECIFIC_CHARACTER_SET and nested.tag & 0xFFFF
        )
    )


def value_match(element: Element, charset: CharacterSet) -> KeyMatch:
    """Return what a value asks for. Source: PS3.4 C.2.2.2.

    Raises:
        IdentifierRefused: nothing that its value representation can be asked for.
    """
    vr = element.vr
    if vr in _UNMATCHED_VRS or element.tag == _TIMEZONE_OFFSET:
        # Timezone Offset From UTC is context of the query, no key (PS3.4 C.4.1.1.3.1); times are compared as written.
        return Universal()
    texts = [text for text in values.texts_of(element, charset) if text]
    if not texts or all(set(text) == {"*"} for text in texts):
        return Universal()
    if any(len(text) > _KEY_CHARACTERS_MAX for text in texts):
        raise IdentifierRefused(f"{name_of(element.tag)} is longer than {_KEY_CHARACTERS_MAX} characters")
    if vr == "UI":
        return UIDList(tuple(dict.fromkeys(texts)))
    if len(texts) > 1:
        if vr != "CS":
            raise IdentifierRefused(f"more than one value of {name_of(element.tag)}")
        return AnyOf(tuple(_text_match(element.tag, vr, text) for text in texts))
    if vr in _TIME_VRS:
        return _range(element.tag, vr, texts[0])
    return _text_match(element.tag, vr, texts[0])


def _text_match(tag: int, vr: str, text: str) -> Single | Wildcard:
    text = match.comparable(text)
    if vr not in values.TEXT_VRS or not any(character in match.WILDCARDS for character in text):
        return Single(text)
    if match.too_many_wildcards(text):
        raise IdentifierRefused(f"too many wild cards in {name_of(tag)}")
    return Wildcard(re.sub(r"\*+", "*", text))


def _range(tag: int, vr: str, text: str) -> Range:
    """Return the range that a date or time means. Source: PS3.4 C.2.2.2.5."""
    single = match.span(vr, text)
    if single is not None:
        return Range(*single)
    # In a DT a hyphen may also begin an offset from UTC, so every hyphen is tried.
    for hyphen in re.finditer("-", text):
        low_text, high_text = text[: hyphen.start()].strip(" "), text[hyphen.end() :].strip(" ")
        low = match.span(vr, low_text) if low_text else ("", "")
        high = match.span(vr, high_text) if high_text else ("", "")
        if low is not None and high is not None and (low_text or high_text):
            return Range(low[0], high[1])
    raise IdentifierRefused(f"{name_of(tag)} is no date or time, and no range of them")


def name_of(tag: int) -> str:
    """Return how messages call an attribute: its keyword, or ``(GGGG,EEEE)``."""
    return values.keyword_of(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
