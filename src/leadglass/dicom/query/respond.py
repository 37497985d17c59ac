"""Decide on one candidate, and answer it.

Values go out as they came in: in the character set that the object has them in. Only when levels of one match are in
different ones, all of them are written in UTF-8.

Source: PS3.4 C.4.1.1.3, C.4.1.2.2.
"""

from collections.abc import Iterable, Mapping, Sequence
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


class Responder:
    """Answers the candidates of one query. Keeps the upper levels of the last candidate decoded. Not thread-safe."""

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

    def respond(self, datasets: Sequence[bytes], computed: Mapping[str, object]) -> bytes | None:
        """Return the response identifier, or None when a key is not met.

        Raises:
            IntegrityError: a level's data set is not one.
        """
        held = self._held(datasets)
        charset = values.character_set("")
        for keyword, value in computed.items():
            element = _computed_element(keyword, value)
            if element is not None:
                held[element.tag] = (element, charset)
        for element in self._fixed:
            held[element.tag] = (element, charset)
        if not all(test.met_by(held) for test in self._tests):
            return None
        return self._answer(held)

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
            out.append(Element(values.SPECIFIC_CHARACTER_SET, "CS", term.encode("latin-1", "replace")))
        return values.write_dataset(out, self._transfer_syntax_uid)


_ASCII: Final = values.character_set("")


class _Test:
    """One key, made ready for many candidates."""

    __slots__ = ("_key", "_name", "_nested", "_patterns")

    def __init__(self, key: Key) -> None:
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
        return found is not None and self._met(found[0], found[1])

    def _met(self, element: Element, charset: CharacterSet) -> bool:
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
