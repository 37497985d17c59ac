"""Decide on one candidate, and answer it.

Values go out as they came in: in the character set that the object has them in. Only when levels of one match are in
different ones, all of them are written in UTF-8.

Source: PS3.4 C.4.1.1.3, C.4.1.2.2.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from leadglass.base.errors import DatasetRefused, IntegrityError, UsageError
from leadglass.dicom import match, values
from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.dicom.models import Level
from leadglass.dicom.query.models import (
    AnyOf,
    FuzzyName,
    Key,
    Model,
    Query,
    Range,
    SequenceMatch,
    Single,
    UIDList,
    Universal,
    Wildcard,
)
from leadglass.dicom.query.parse import QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS, is_supported
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS
from leadglass.dicom.values import CharacterSet, Dataset, Element

_RETRIEVE_AE_TITLE: Final = 0x0008_0054
_INSTANCE_AVAILABILITY: Final = 0x0008_0056

_Held = dict[int, tuple[Element, CharacterSet]]
"""What is known of a candidate: by tag, with the character set of its level."""


def respond(
    query: Query,
    datasets: Sequence[bytes],
    computed: Mapping[str, object],
    *,
    retrieve_ae_title: str | None = None,
    transfer_syntax_uid: str | None = None,
) -> bytes | None:
    """Return the response identifier of one candidate, or None when it does not match.

    For many candidates make one ``Responder``.

    Args:
        query: what is asked.
        datasets: ``LevelHead.sealed`` of the candidate in clear, from study level down to the query's level.
        computed: what no object carries, by keyword: texts, numbers, or sequences of them.
        retrieve_ae_title: instead of that of the query.
        transfer_syntax_uid: instead of that of the query.
    """
    responder = Responder(query, retrieve_ae_title=retrieve_ae_title, transfer_syntax_uid=transfer_syntax_uid)
    return responder.respond(datasets, computed)


@dataclass(frozen=True, slots=True)
class _Moved:
    """An element that goes out as the octets it came in.

    Attributes:
        octets: header and value, in explicit VR little endian.
        charset: of its level.
    """

    octets: bytes
    vr: str
    charset: CharacterSet

    @property
    def element(self) -> Element:
        """Taken apart, for a key to look at."""
        tag = int.from_bytes(self.octets[:2], "little") << 16 | int.from_bytes(self.octets[2:4], "little")
        return Element(tag, self.vr, self.octets[_HEADER_BYTES:])


_Level = dict[int, _Moved]


class Responder:
    """Answers the candidates of one query. Keeps the levels of the last candidate. Not thread-safe.

    Of a level only the elements that are asked for are looked at, and they go out as octets. Where that cannot be
    (sequences, values with a long header, levels in different character sets), the data sets are decoded.
    """

    def __init__(
        self, query: Query, *, retrieve_ae_title: str | None = None, transfer_syntax_uid: str | None = None
    ) -> None:
        self._keys = query.keys
        self._transfer_syntax_uid = transfer_syntax_uid or query.transfer_syntax_uid
        self._tests = tuple(
            _Test(key) for key in query.keys if is_supported(key, query.level) and _demands(key)
        )
        self._fixed = _fixed_elements(query, retrieve_ae_title)
        fixed = {element.tag for element in self._fixed}
        unique = {tag for level, tag in UNIQUE_KEYS.items() if _is_identified_by(query, level)}
        self._asked = tuple(key for key in query.keys if key.tag not in fixed)
        self._unique = tuple(sorted(unique - {key.tag for key in query.keys}))
        self._decoded: list[tuple[bytes, _Held]] = []
        self._scanned: list[tuple[bytes, _Level]] = []
        self._made: dict[tuple[str, str | int | tuple[str, ...]], _Moved | None] = {}
        self._fixed_moved: _Level = {element.tag: _moved(element) for element in self._fixed}
        wanted = {key.tag for key in query.keys} | unique | {values.SPECIFIC_CHARACTER_SET}
        self._wanted = {struct.pack("<HH", tag >> 16, tag & 0xFFFF): tag for tag in wanted}
        empty = {key.tag: _moved(Element(key.tag, key.vr, b"")) for key in self._asked}
        out: dict[int, _Moved | None] = dict.fromkeys(self._unique)
        self._out = tuple(sorted((out | empty | self._fixed_moved).items()))
        """Tags of a response in their order, and what stands there when a candidate has none; None for nothing."""
        self._scans = values.SPECIFIC_CHARACTER_SET not in {key.tag for key in query.keys}
        self._moves = (
            self._scans
            and self._transfer_syntax_uid == values.EXPLICIT_LITTLE_ENDIAN
            and len(empty) == len(self._asked)
        )

    def respond(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> bytes | None:
        """Return the response identifier, or None when a key is not met.

        Raises:
            IntegrityError: a level's data set is not one.
        """
        if self._moves:
            moved = self._moved_levels(datasets, computed)
            if moved is not None:
                if not self._met_by_moved(moved):
                    return None
                response = self._moved_answer(moved)
                if response is not None:
                    return response
        return self._respond_decoded(datasets, computed)

    def meets(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> bool:
        """Tell whether ``respond`` would return a response, without making one.

        Raises:
            As ``respond``.
        """
        moved = self._moved_levels(datasets, computed) if self._scans else None
        if moved is not None:
            return self._met_by_moved(moved)
        held = self._all_held(datasets, computed)
        return all(test.met_by(held) for test in self._tests)

    # --- octets ------------------------------------------------------------------------------------------------

    def _moved_levels(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> _Level | None:
        """Return what is known of a candidate, level by level; None where it must be decoded."""
        moved: _Level = {}
        for number, data in enumerate(datasets):
            level = self._scanned_level(number, data)
            if level is None:
                return None
            moved.update(level)
        for keyword, value in computed.items():
            made = self._made_of(keyword, value)
            if made is not None:
                moved[BY_KEYWORD[keyword].tag] = made
        moved.update(self._fixed_moved)
        return moved

    def _scanned_level(self, number: int, data: bytes) -> _Level | None:
        if number < len(self._scanned) and self._scanned[number][0] == data:
            return self._scanned[number][1]
        found = _scan(data, self._wanted)
        if found is None:
            return None
        charset = _ASCII
        term = found.pop(values.SPECIFIC_CHARACTER_SET, None)
        if term is not None:
            charset = values.character_set(term[1][_HEADER_BYTES:].decode("latin-1").strip(" \0"))
        level = {tag: _Moved(octets, vr, charset) for tag, (vr, octets) in found.items()}
        del self._scanned[number:]
        self._scanned.append((data, level))
        return level

    def _made_of(self, keyword: str, value: object) -> _Moved | None:
        """Return a computed element; most values come again and again."""
        if not isinstance(value, (str, int, tuple)):
            element = _computed_element(keyword, value)
            return None if element is None else _moved(element)
        plain = cast("str | int | tuple[str, ...]", value)
        key = (keyword, plain)
        if key not in self._made:
            element = _computed_element(keyword, plain)
            if len(self._made) >= _MADE_MAX:
                self._made.clear()
            self._made[key] = None if element is None else _moved(element)
        return self._made[key]

    def _met_by_moved(self, moved: _Level) -> bool:
        for test in self._tests:
            found = moved.get(test.tag)
            if found is None or not test.met(found.element, found.charset):
                return False
        return True

    def _moved_answer(self, moved: _Level) -> bytes | None:
        """Return the response; None where levels are in different character sets."""
        chosen = [found for tag, empty in self._out if (found := moved.get(tag, empty)) is not None]
        response = b"".join([found.octets for found in chosen])
        if response.isascii() and _ESCAPE not in response:
            return response
        terms = {
            found.charset.term
            for found in chosen
            if found.vr in values.CHARACTER_SET_VRS
            and not (found.octets[_HEADER_BYTES:].isascii() and _ESCAPE not in found.octets[_HEADER_BYTES:])
        }
        if len(terms) > 1:
            return None
        term = terms.pop() if terms else ""
        if not term:
            return response
        charset = _moved(_charset_element(term)).octets
        before = sum(len(f.octets) for f in chosen if f.element.tag < values.SPECIFIC_CHARACTER_SET)
        return response[:before] + charset + response[before:]

    # --- decoded -----------------------------------------------------------------------------------------------

    def _respond_decoded(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> bytes | None:
        held = self._all_held(datasets, computed)
        if not all(test.met_by(held) for test in self._tests):
            return None
        return self._answer(held)

    def _all_held(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> _Held:
        held = self._held(datasets)
        for keyword, value in computed.items():
            element = _computed_element(keyword, value)
            if element is not None:
                held[element.tag] = (element, _ASCII)
        for element in self._fixed:
            held[element.tag] = (element, _ASCII)
        return held

    def _held(self, datasets: Sequence[bytes]) -> _Held:
        """Merge the levels; those above the last are most often those of the candidate before."""
        held: _Held = {}
        for number, data in enumerate(datasets):
            if number < len(self._decoded) and self._decoded[number][0] == data:
                held.update(self._decoded[number][1])
                continue
            try:
                dataset = values.read_dataset(data)
            except DatasetRefused as error:
                raise IntegrityError("the data set of a level is not decodable") from error
            charset = values.character_set_of(dataset)
            level: _Held = {tag: (element, charset) for tag, element in dataset.items()}
            del self._decoded[number:]
            self._decoded.append((data, level))
            held.update(level)
        return held

    def _answer(self, held: _Held) -> bytes:
        chosen: list[tuple[Element, CharacterSet]] = []
        for key in self._asked:
            found = held.get(key.tag)
            if found is None:
                chosen.append((Element(key.tag, key.vr, b"", () if key.vr == "SQ" else None), _ASCII))
            elif isinstance(key.match, SequenceMatch):
                chosen.append((_selected(found[0], key.match), found[1]))
            else:
                chosen.append(found)
        chosen.extend(held[tag] for tag in self._unique if tag in held)
        out = list(self._fixed)
        terms = {charset.term for element, charset in chosen if values.needs_character_set(element)}
        if len(terms) > 1:
            out.extend(values.in_utf_8(element, charset) for element, charset in chosen)
            term = values.UTF_8
        else:
            out.extend(element for element, _ in chosen)
            term = terms.pop() if terms else ""
        if term:
            out.append(_charset_element(term))
        return values.write_dataset(out, self._transfer_syntax_uid)


def _moved(element: Element) -> _Moved:
    items = () if element.vr == "SQ" and element.items is None else element.items
    whole = Element(element.tag, element.vr, element.value, items)
    return _Moved(values.write_dataset([whole]), element.vr, _ASCII)


def _charset_element(term: str) -> Element:
    return Element(values.SPECIFIC_CHARACTER_SET, "CS", term.encode("latin-1", "replace"))


def _scan(data: bytes, wanted: Mapping[bytes, int]) -> dict[int, tuple[str, bytes]] | None:
    """Return the wanted elements of a data set in explicit VR little endian, as they stand; None where that cannot be.

    Only elements with a short header, and of even length, are moved; others are passed over by their length.
    """
    found: dict[int, tuple[str, bytes]] = {}
    position, length_of_all = 0, len(data)
    while position < length_of_all:
        letters = data[position + 4 : position + 6]
        vr = _SHORT_VRS.get(letters)
        tag = wanted.get(data[position : position + 4])
        if vr is not None and position + _HEADER_BYTES <= length_of_all:
            length = data[position + 6] | data[position + 7] << 8
            end = position + _HEADER_BYTES + length
            if tag is not None:
                if length & 1:
                    return None
                found[tag] = vr, data[position:end]
        elif letters in _LONG_VRS and position + _LONG_HEADER_BYTES <= length_of_all and tag is None:
            end = position + _LONG_HEADER_BYTES
            end += int.from_bytes(data[position + _HEADER_BYTES : end], "little")
        else:
            return None
        if end > length_of_all:
            return None
        position = end
    return found


_ESCAPE: Final = b"\x1b"
_HEADER_BYTES: Final = 8
_LONG_HEADER_BYTES: Final = 12
_SHORT_VRS: Final = {vr.encode(): vr for vr in SHORT_VRS}
_LONG_VRS: Final = frozenset(vr.encode() for vr in LONG_VRS)
_MADE_MAX: Final = 1024
"""Computed elements that a query remembers."""
_ASCII: Final = values.character_set("")


class _Test:
    """One key, made ready for many candidates."""

    __slots__ = ("_key", "_name", "_nested", "_patterns", "tag")

    def __init__(self, key: Key) -> None:
        self.tag = key.tag
        self._key = key
        self._nested: tuple[_Test, ...] = ()
        self._patterns: tuple[match.WildcardPattern, ...] = ()
        self._name: match.NamePattern | match.FuzzyNamePattern | None = None
        demanded = key.match
        if isinstance(demanded, SequenceMatch):
            self._nested = tuple(_Test(k) for k in demanded.keys if _demands(k))
        elif isinstance(demanded, (Single, Wildcard)) and key.vr == "PN":
            text = demanded.value if isinstance(demanded, Single) else demanded.pattern
            self._name = match.NamePattern(text)
        elif isinstance(demanded, FuzzyName):
            self._name = match.FuzzyNamePattern(demanded.value)
        elif isinstance(demanded, Wildcard):
            self._patterns = (match.WildcardPattern(demanded.pattern),)
        elif isinstance(demanded, AnyOf):
            self._patterns = tuple(
                match.WildcardPattern(m.pattern) for m in demanded.matches if isinstance(m, Wildcard)
            )

    def met_by(self, held: _Held) -> bool:
        found = held.get(self._key.tag)
        return found is not None and self.met(found[0], found[1])

    def met(self, element: Element, charset: CharacterSet) -> bool:
        """Tell whether an element meets the key."""
        if isinstance(self._key.match, SequenceMatch):
            return any(self._item_meets(item, charset) for item in element.items or ())
        return any(self._value_meets(text) for text in values.texts_of(element, charset))

    def _item_meets(self, item: Dataset, inherited: CharacterSet) -> bool:
        charset = values.character_set_of(item, inherited)
        return all(test.met_by({tag: (e, charset) for tag, e in item.items()}) for test in self._nested)

    def _value_meets(self, text: str) -> bool:
        if self._name is not None:
            return self._name.matches(text)
        match self._key.match:
            case UIDList(values=uids):
                return text in uids
            case Range(low=low, high=high):
                return match.in_range(self._key.vr, low, high, text)
            case Single(value=value):
                return self._equal(value, match.comparable(text))
            case Wildcard():
                return self._patterns[0].matches(match.comparable(text))
            case AnyOf(matches=matches):
                return any(isinstance(m, Single) and m.value == text for m in matches) or any(
                    pattern.matches(text) for pattern in self._patterns
                )
            case _:
                return True

    def _equal(self, key: str, value: str) -> bool:
        if key == value:
            return True
        vr = self._key.vr
        return (vr in {"DS", "IS"} or vr in values.NUMBER_FORMATS) and match.numbers_equal(key, value)


def _demands(key: Key) -> bool:
    """Tell whether anything fails to meet ``key``; an item of which nothing is demanded is met by no item too.

    Source: PS3.4 C.2.2.2.3, C.2.2.2.6.
    """
    if isinstance(key.match, SequenceMatch):
        return any(map(_demands, key.match.keys))
    return not isinstance(key.match, Universal)


def _is_identified_by(query: Query, level: Level) -> bool:
    """Tell whether responses carry the unique key of ``level``: that of the query's level and those above."""
    order = list(UNIQUE_KEYS)
    if level is Level.PATIENT and query.root is Model.STUDY:
        return False
    return order.index(level) <= order.index(query.level)


def _fixed_elements(query: Query, retrieve_ae_title: str | None) -> tuple[Element, ...]:
    title = query.retrieve_ae_title if retrieve_ae_title is None else retrieve_ae_title
    elements = [Element(QUERY_RETRIEVE_LEVEL, "CS", query.level.encode())]
    if title:
        elements.append(Element(_RETRIEVE_AE_TITLE, "AE", title.encode("latin-1", "replace")))
    if query.instance_availability:
        elements.append(Element(_INSTANCE_AVAILABILITY, "CS", query.instance_availability.encode()))
    return tuple(elements)


def _computed_element(keyword: str, value: object) -> Element | None:
    attribute = BY_KEYWORD.get(keyword)
    if attribute is None:
        raise UsageError(f"{keyword} is no attribute of a query")
    if isinstance(value, (str, int)):
        return values.text_element(attribute.tag, value, vr=attribute.vr)
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [str(single) for single in cast("Iterable[object]", value)]
        if isinstance(value, (set, frozenset)):
            texts.sort()
        return values.text_element(attribute.tag, texts, vr=attribute.vr)
    return None


def _selected(element: Element, demanded: SequenceMatch) -> Element:
    """Return the sequence with what the key's item asks for in each of its items. Source: PS3.4 C.2.2.2.6."""
    return Element(
        element.tag, "SQ", b"", tuple(_selected_of(item, demanded) for item in element.items or ())
    )


def _selected_of(item: Dataset, demanded: SequenceMatch) -> Dataset:
    selected: Dataset = {}
    charset = item.get(values.SPECIFIC_CHARACTER_SET)
    if charset is not None:
        selected[charset.tag] = charset
    for key in demanded.keys:
        found = item.get(key.tag)
        if found is None:
            selected[key.tag] = Element(key.tag, key.vr, b"", () if key.vr == "SQ" else None)
        elif isinstance(key.match, SequenceMatch) and found.items is not None:
            selected[key.tag] = _selected(found, key.match)
        else:
            selected[key.tag] = found
    return selected
