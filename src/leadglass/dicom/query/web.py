"""A search of QIDO-RS as the same ``Query`` that a C-FIND identifier becomes, so that both give the same answers.

Attributes that nothing is held for are answered as C-FIND answers them: they do not take part in the match. C-FIND says
so by its pending status; here ``WebQuery.passed_over`` is true, for a Warning header.

Decisions that the standard leaves open:

- A list of UIDs or of code strings may be delimited by commas, by backslashes, or by repeating the parameter.
- Any other attribute that is given twice is refused: nobody could say which of both counts.
- A sequence that is only to be returned is returned whole.
- Answers of instances have the counts of their series and study only where those are asked for.

Source: PS3.18 8.3.4, 10.6.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from leadglass.base.errors import IdentifierRefused, UsageError
from leadglass.base.ids import UID
from leadglass.base.limits import SEQUENCE_DEPTH_MAX
from leadglass.dicom import values
from leadglass.dicom.attributes import BY_KEYWORD, BY_TAG, LEVELS, Kind, attributes_at
from leadglass.dicom.models import Level
from leadglass.dicom.query.models import (
    FuzzyName,
    Key,
    KeyMatch,
    Model,
    Query,
    SequenceMatch,
    Single,
    Universal,
    Wildcard,
)
from leadglass.dicom.query.parse import (
    QUERY_RETRIEVE_LEVEL,
    UNIQUE_KEYS,
    name_of,
    unsupported,
    value_match,
)
from leadglass.dicom.value_representations import LONG_VRS
from leadglass.dicom.values import Element

RETRIEVE_URL: Final = 0x0008_1190
_RETRIEVE_AE_TITLE: Final = 0x0008_0054
_INSTANCE_AVAILABILITY: Final = 0x0008_0056
_PATIENT_COUNTS: Final = frozenset({0x0020_1200, 0x0020_1202, 0x0020_1204})
_NOT_SEARCHED: Final = frozenset({values.SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x0008_0053})
_NOT_ANSWERED: Final = frozenset({QUERY_RETRIEVE_LEVEL, _RETRIEVE_AE_TITLE, RETRIEVE_URL})
_UIDS_OF: Final = {
    level: tuple(UNIQUE_KEYS[upper] for upper in LEVELS[1 : LEVELS.index(level) + 1]) for level in LEVELS[1:]
}
_HEADER: Final = struct.Struct("<HH2sH")
_LENGTH: Final = struct.Struct("<I")
_LONG_VRS: Final = frozenset(vr.encode() for vr in LONG_VRS)
_FIRST_TAG: Final = 0x0008_0001
_LISTED_VRS: Final = frozenset({"CS", "UI"})
"""Lists of these may be delimited by commas: no value of theirs holds one."""

_ANSWERED: Final = {
    Level.STUDY: (
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "PatientName",
        "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances",
    ),
    Level.IMAGE: ("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
}  # fmt: skip
"""What every answer has. Source: PS3.18 Tables 10.6.3-3 to 10.6.3-5."""

_ANSWERED_WHERE_KNOWN: Final = {
    Level.STUDY: ("TimezoneOffsetFromUTC", "StudyDescription"),
    Level.SERIES: (
        "SeriesDescription", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    Level.IMAGE: ("Rows", "Columns", "BitsAllocated", "NumberOfFrames", "AvailableTransferSyntaxUID"),
}  # fmt: skip
"""What an answer has where the object has it."""


@dataclass(frozen=True, slots=True)
class WebQuery:
    """A search that has passed the rules.

    Attributes:
        query: the same that a C-FIND identifier becomes.
        passed_over: an attribute to be matched is not held at this level; it takes no part.
        left_out_if_empty: tags that an answer shows only with a value.
    """

    query: Query
    passed_over: bool
    left_out_if_empty: frozenset[int]


@dataclass(slots=True)
class _Node:
    """One attribute of the search, while it is put together."""

    value: str = ""
    inner: "dict[int, _Node]" = field(default_factory=dict[int, "_Node"])

    @property
    def demanding(self) -> bool:
        """Something is demanded of it: a value, of it or within, that not everything has."""
        return bool(self.value.strip("* ")) or any(node.demanding for node in self.inner.values())


def build_query(
    level: Level,
    matches: Iterable[tuple[Sequence[str], str]] = (),
    *,
    study_uid: UID | None = None,
    series_uid: UID | None = None,
    included: Iterable[Sequence[str]] = (),
    include_all: bool = False,
    fuzzy: bool = False,
) -> WebQuery:
    """Return the query of a search.

    Args:
        level: what is listed.
        matches: attribute paths, from the outermost sequence inwards, with what is asked of each.
        study_uid: the study that the path names.
        series_uid: the series that the path names.
        included: attribute paths to be answered beside the usual ones.
        include_all: all attributes of the level are to be answered, and those of the levels that the path leaves open.
        fuzzy: person names match fuzzily.

    Raises:
        IdentifierRefused: with the rule that was broken, without values.
    """
    nodes: dict[int, _Node] = {}
    for tag, uid in ((UNIQUE_KEYS[Level.STUDY], study_uid), (UNIQUE_KEYS[Level.SERIES], series_uid)):
        if uid is not None:
            nodes[tag] = _Node(uid)
    for path, value in matches:
        _put(nodes, _searched(_tags(path)), value)
    asked = set(nodes)
    for path in included:
        tag = _tags(path)[0]
        asked.add(tag)
        # What is held nowhere is left out of the answers: nobody is misled by that.
        if tag in BY_TAG:
            nodes.setdefault(tag, _Node())
    levels = _levels(level, study_uid, series_uid)
    optional = _usual(levels, nodes)
    if include_all:
        optional |= _all(levels, nodes)
    keys = tuple(_key(tag, node, fuzzy=fuzzy) for tag, node in sorted(nodes.items()) if tag != RETRIEVE_URL)
    query = Query(
        root=Model.STUDY,
        level=level,
        keys=keys,
        character_set=values.UTF_8,
        relational=True,
    )
    nowhere = {key.tag for key in unsupported(query)}
    universal = {key.tag for key in keys if isinstance(key.match, Universal)}
    return WebQuery(
        query=query,
        passed_over=any(
            node.demanding and tag in nowhere | universal | {RETRIEVE_URL} for tag, node in nodes.items()
        ),
        left_out_if_empty=frozenset(optional - asked | nowhere),
    )


def web_answer(response: bytes, found: WebQuery, url_of: Callable[[str, str, str], str]) -> bytes:
    """Return a response identifier as an answer of QIDO-RS: a data set in Explicit VR Little Endian.

    The octets of elements are moved, not decoded: a page has a thousand answers.

    Args:
        response: ``Match.response`` of ``found.query``.
        found: from ``build_query``.
        url_of: makes the Retrieve URL of study, series and SOP Instance UID; the latter are empty above their level.
    """
    uids = dict.fromkeys(_UIDS_OF[found.query.level], "")
    pieces: dict[int, bytes] = {}
    for tag, start, value, end in _elements(response):
        if tag in _NOT_ANSWERED or (value == end and tag in found.left_out_if_empty):
            continue
        if tag in uids:
            uids[tag] = response[value:end].decode("latin-1").strip(" \0")
        pieces[tag] = response[start:end]
    study_uid, series_uid, sop_instance_uid = [*uids.values(), "", ""][:3]
    url = values.text_element(RETRIEVE_URL, url_of(study_uid, series_uid, sop_instance_uid))
    pieces[RETRIEVE_URL] = values.write_dataset((url,))
    return b"".join(pieces[tag] for tag in sorted(pieces))


def _elements(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, start, start of the value and end of each element of a data set that ``values`` wrote."""
    position = 0
    while position < len(data):
        group, element, vr, length = _HEADER.unpack_from(data, position)
        value = position + 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(data, value)
            value += 4
        yield group << 16 | element, position, value, value + length
        position = value + length


# --- what is answered ------------------------------------------------------------------------------------------


def _levels(level: Level, study_uid: UID | None, series_uid: UID | None) -> tuple[Level, ...]:
    """Return the levels whose attributes an answer has: its own, and those that the path does not name."""
    upper: list[Level] = []
    if study_uid is None and level is not Level.STUDY:
        upper.append(Level.STUDY)
    if series_uid is None and level is Level.IMAGE:
        upper.append(Level.SERIES)
    return (*upper, level)


def _usual(levels: tuple[Level, ...], nodes: dict[int, _Node]) -> set[int]:
    """Ask for what every answer of these levels has; return the tags that are shown only with a value.

    What is computed over a whole study or series is left out of the answers of single instances.
    """
    for level in levels:
        for attribute in (BY_KEYWORD[keyword] for keyword in _ANSWERED[level]):
            if attribute.kind is not Kind.COMPUTED or Level.IMAGE not in levels:
                nodes.setdefault(attribute.tag, _Node())
    known = {BY_KEYWORD[keyword].tag for level in levels for keyword in _ANSWERED_WHERE_KNOWN[level]}
    for tag in known:
        nodes.setdefault(tag, _Node())
    return known


def _all(levels: tuple[Level, ...], nodes: dict[int, _Node]) -> set[int]:
    """Ask for all that is held of these levels; return their tags. Patient counts, dear and of no use, are left out."""
    wanted = [attribute for level in levels for attribute in attributes_at(level)]
    if Level.STUDY in levels:
        wanted += attributes_at(Level.PATIENT)
    tags = {
        attribute.tag
        for attribute in wanted
        if attribute.kind is not Kind.COMPUTED
        or attribute.tag not in _PATIENT_COUNTS | {RETRIEVE_URL, _RETRIEVE_AE_TITLE, _INSTANCE_AVAILABILITY}
    }
    usual = {BY_KEYWORD[keyword].tag for level in levels for keyword in _ANSWERED[level]}
    for tag in tags:
        nodes.setdefault(tag, _Node())
    return tags - usual


# --- what is asked ---------------------------------------------------------------------------------------------


def _tags(path: Sequence[str]) -> tuple[int, ...]:
    if len(path) > SEQUENCE_DEPTH_MAX:
        raise IdentifierRefused("sequences nested too deep")
    tags = tuple(_tag(part) for part in path)
    if any(values.vr_of(tag) != "SQ" for tag in tags[:-1]):
        raise IdentifierRefused("a path goes through an attribute that is no sequence (PS3.18 8.3.4.1)")
    return tags


def _tag(part: str) -> int:
    try:
        return values.tag_of(part)
    except UsageError:
        raise IdentifierRefused(
            "a parameter is neither one of a search, nor a keyword of PS3.6, nor a tag of eight hexadecimal digits"
        ) from None


def _searched(tags: tuple[int, ...]) -> tuple[int, ...]:
    if tags[0] in _NOT_SEARCHED:
        raise IdentifierRefused(f"{name_of(tags[0])} is no attribute of a search")
    if any(tag < _FIRST_TAG or tag & 0xFFFF == 0 or tag >> 16 == 0xFFFF for tag in tags):
        raise IdentifierRefused("an attribute that no data set of an object has")
    return tags


def _put(nodes: dict[int, _Node], tags: tuple[int, ...], value: str) -> None:
    tag, *inner = tags
    node = nodes.get(tag)
    if inner:
        node = nodes.setdefault(tag, _Node())
        _put(node.inner, tuple(inner), value)
        return
    vr = values.vr_of(tag)
    if vr == "SQ" and value:
        raise IdentifierRefused(f"{name_of(tag)} is a sequence: name the attribute within it")
    if vr in _LISTED_VRS:
        value = value.replace(",", "\\")
    if node is None:
        nodes[tag] = _Node(value)
    elif vr in _LISTED_VRS and tag not in UNIQUE_KEYS.values() and node.value and value:
        node.value += "\\" + value
    elif vr != "SQ" and value != node.value:
        raise IdentifierRefused(f"{name_of(tag)} is given twice, or stands in the path already")


def _key(tag: int, node: _Node, *, fuzzy: bool) -> Key:
    vr = values.vr_of(tag)
    keyword = values.keyword_of(tag)
    if node.inner:
        inner = tuple(_key(nested, of, fuzzy=fuzzy) for nested, of in sorted(node.inner.items()))
        # A sequence of which nothing is demanded is not demanded either.
        demanded = any(not isinstance(key.match, Universal) for key in inner)
        return Key(keyword, tag, vr, SequenceMatch(inner) if demanded else Universal())
    if vr == "SQ" or not node.value:
        return Key(keyword, tag, vr, Universal())
    return Key(keyword, tag, vr, _match(tag, vr, node.value, fuzzy=fuzzy))


def _match(tag: int, vr: str, text: str, *, fuzzy: bool) -> KeyMatch:
    try:
        element = _element(tag, vr, text)
    except UsageError:
        raise IdentifierRefused(f"{name_of(tag)} has no such values") from None
    demanded = value_match(element, values.character_set(values.UTF_8))
    if fuzzy and vr == "PN":
        if isinstance(demanded, Single):
            return FuzzyName(demanded.value)
        if isinstance(demanded, Wildcard):
            return FuzzyName(demanded.pattern)
    return demanded


def _element(tag: int, vr: str, text: str) -> Element:
    if vr in values.NUMBER_FORMATS:
        return values.text_element(tag, text.split("\\"), vr=vr)
    if vr == "AT":
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", text):
            raise UsageError("not a tag")
        return Element(tag, vr, struct.pack("<HH", int(text[:4], 16), int(text[4:], 16)))
    return values.text_element(tag, text, vr=vr)
