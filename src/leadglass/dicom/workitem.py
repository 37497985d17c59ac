"""Workitems of Unified Worklist and Procedure Step: what one must hold, and how its state may change.

The state machine is Table CC.1.1-2 as data; the attribute rules are those rows of Table CC.2.5-3 that a creator, a
performer and a final state are bound by.

**Invariant:** pure; a workitem is a ``Dataset`` in Explicit VR Little Endian and UTF-8, and none of its values appears
in an error.

Source: PS3.4 Annex CC; PS3.18 11.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from leadglass.base.errors import DatasetRefused, StateConflict
from leadglass.base.ids import UID, is_uid
from leadglass.dicom.match import NamePattern, WildcardPattern, comparable, in_range, numbers_equal, span
from leadglass.dicom.values import (
    Dataset,
    Element,
    character_set_of,
    keyword_of,
    text_element,
    texts_of,
    vr_of,
)

UPS_PUSH_SOP_CLASS: Final = UID("1.2.840.10008.5.1.4.34.6.1")
"""Unified Procedure Step - Push. Source: PS3.4 CC.2."""
GLOBAL_SUBSCRIPTION: Final = "1.2.840.10008.5.1.4.34.5"
"""Well-known instance: subscribes to every workitem. Source: PS3.4 CC.2.3."""
FILTERED_SUBSCRIPTION: Final = "1.2.840.10008.5.1.4.34.5.1"
"""Well-known instance: subscribes to workitems that meet a filter. Source: PS3.4 CC.2.3."""

SPECIFIC_CHARACTER_SET: Final = 0x0008_0005
SOP_CLASS_UID: Final = 0x0008_0016
SOP_INSTANCE_UID: Final = 0x0008_0018
TRANSACTION_UID: Final = 0x0008_1195
STUDY_INSTANCE_UID: Final = 0x0020_000D
INSTITUTION_NAME: Final = 0x0008_0080
PATIENT_ID: Final = 0x0010_0020
STATE: Final = 0x0074_1000
PROGRESS: Final = 0x0074_1002
PERFORMED: Final = 0x0074_1216
INPUT_READINESS: Final = 0x0040_4041
REASON_FOR_CANCELLATION: Final = 0x0074_1238
DISCONTINUATION_REASONS: Final = 0x0074_100E
CANCELLATION_DATE_TIME: Final = 0x0040_4052
CONTACT_NAME: Final = 0x0074_100C
CONTACT_URI: Final = 0x0074_100A
MODIFIED_AT: Final = 0x0040_4010


class State(StrEnum):
    """Procedure Step State (0074,1000). Source: PS3.4 Table CC.1.1-1."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    CANCELED = "CANCELED"
    COMPLETED = "COMPLETED"

    @property
    def final(self) -> bool:
        """Nothing follows it."""
        return self in {State.CANCELED, State.COMPLETED}


_NEXT: Final[Mapping[State, frozenset[State]]] = {
    # To cancel what nobody has begun is the request for cancellation: the SCP moves it through IN PROGRESS.
    State.SCHEDULED: frozenset({State.IN_PROGRESS}),
    State.IN_PROGRESS: frozenset({State.COMPLETED, State.CANCELED}),
    State.COMPLETED: frozenset(),
    State.CANCELED: frozenset(),
}
"""Source: PS3.4 Table CC.1.1-2."""

# fmt: off
_WANTED_AT_CREATION: Final[Mapping[int, str]] = {
    0x0040_4005: "DT",  # Scheduled Procedure Step Start DateTime, type 1
    0x0040_4041: "CS",  # Input Readiness State, type 1
    0x0074_1000: "CS",  # Procedure Step State, type 1
    0x0074_1200: "CS",  # Scheduled Procedure Step Priority, type 1
    0x0074_1204: "LO",  # Procedure Step Label, type 1
}
"""Attributes of type 1 for the SCU of N-CREATE. Source: PS3.4 Table CC.2.5-3."""

_EMPTY_AT_CREATION: Final = (
    0x0008_1195,  # Transaction UID
    0x0074_1002,  # Procedure Step Progress Information Sequence
    0x0074_1216,  # Unified Procedure Step Performed Procedure Sequence
)
"""Present without value, or absent. Source: PS3.4 Table CC.2.5-3."""

_ADDED_EMPTY: Final[Mapping[int, str]] = {
    0x0010_0010: "PN", 0x0010_0020: "LO", 0x0010_0030: "DA", 0x0010_0040: "CS",
    0x0038_0010: "LO", 0x0040_0400: "LT",
    0x0040_4018: "SQ", 0x0040_4021: "SQ", 0x0040_4025: "SQ", 0x0040_4026: "SQ", 0x0040_4027: "SQ",
    0x0040_A370: "SQ",
    0x0074_1002: "SQ", 0x0074_1202: "LO", 0x0074_1210: "SQ", 0x0074_1216: "SQ", 0x0074_1224: "SQ",
}
"""Attributes of type 2: an SCP that was not given them holds them without value. Source: PS3.4 Table CC.2.5-3."""

_VALUES: Final[Mapping[int, frozenset[str]]] = {
    0x0040_4041: frozenset({"INCOMPLETE", "UNAVAILABLE", "READY"}),
    0x0074_1000: frozenset(State),
    0x0074_1200: frozenset({"HIGH", "MEDIUM", "LOW"}),
}
"""Defined terms. Source: PS3.3 C.30.1, C.30.2."""

_NEVER_SET: Final = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STATE, TRANSACTION_UID})
"""Not changed by an update: state and transaction have a service of their own. Source: PS3.4 CC.2.6.3."""

_WHOSE: Final = (
    0x0010_0010,  # Patient's Name
    0x0010_0020,  # Patient ID
    0x0010_0021,  # Issuer of Patient ID
    0x0010_0030,  # Patient's Birth Date
    0x0010_0040,  # Patient's Sex
    0x0020_000D,  # Study Instance UID
)
"""Of whom and of which study a workitem is, which also says who may know of it: not allowed in an N-SET, but as it is
when clients send back all that they were given. Source: PS3.4 Table CC.2.5-3."""

_ITEM_WANTED_WHEN_COMPLETED: Final = (
    0x0040_4028,  # Performed Station Name Code Sequence
    0x0040_4050,  # Performed Procedure Step Start DateTime
    0x0040_4019,  # Performed Workitem Code Sequence
    0x0040_4051,  # Performed Procedure Step End DateTime
    0x0040_4033,  # Output Information Sequence
)
"""Of the Performed Procedure Sequence in state COMPLETED; all but the last with a value. Source: PS3.4 Table CC.2.5-3."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Demand:
    """One attribute that a search names.

    Attributes:
        path: tags from the outermost sequence to the attribute.
        value: as in the query; empty: everything matches.
    """

    path: tuple[int, ...]
    value: str


def value_of(workitem: Dataset, tag: int) -> str:
    """Return the first value of an attribute as text; empty when it is absent."""
    element = workitem.get(tag)
    if element is None:
        return ""
    values = texts_of(element, character_set_of(workitem))
    return values[0] if values else ""


def state_of(workitem: Dataset) -> State:
    """Return the state of a workitem that was taken."""
    return State(value_of(workitem, STATE))


def created(workitem: Dataset, uid: UID) -> Dataset:
    """Return a new workitem as it is kept: checked, and completed by what an SCP adds.

    Raises:
        DatasetRefused: an attribute is missing, has a value it must not have, or is not SCHEDULED (0xC309).
    """
    for tag in _WANTED_AT_CREATION:
        if not value_of(workitem, tag):
            raise DatasetRefused(f"a new workitem needs {keyword_of(tag)}", dimse_status=0x0120)
    if value_of(workitem, STATE) != State.SCHEDULED:
        raise DatasetRefused(
            "the provided value of Procedure Step State was not SCHEDULED", dimse_status=0xC309
        )
    for tag in _EMPTY_AT_CREATION:
        element = workitem.get(tag)
        if element is not None and (element.value.strip(b" \0") or element.items):
            raise DatasetRefused(f"a new workitem has no {keyword_of(tag)} yet", dimse_status=0x0106)
    named = value_of(workitem, SOP_INSTANCE_UID)
    if named and named != uid:
        raise DatasetRefused("the workitem names another UID than the request", dimse_status=0x0106)
    _check_values(workitem)
    kept = dict(workitem)
    for tag, vr in _ADDED_EMPTY.items():
        kept.setdefault(tag, Element(tag, vr, items=() if vr == "SQ" else None))
    kept[SOP_CLASS_UID] = text_element(SOP_CLASS_UID, UPS_PUSH_SOP_CLASS)
    kept[SOP_INSTANCE_UID] = text_element(SOP_INSTANCE_UID, uid)
    kept[TRANSACTION_UID] = Element(TRANSACTION_UID, "UI")
    kept[SPECIFIC_CHARACTER_SET] = text_element(SPECIFIC_CHARACTER_SET, "ISO_IR 192")
    return kept


def updated(workitem: Dataset, changes: Dataset, transaction_uid: str) -> Dataset:
    """Return a workitem with attributes replaced. Source: PS3.4 CC.2.6.

    Raises:
        DatasetRefused: an attribute that an update never sets, or a value that it cannot have.
        StateConflict: it is final, or the transaction is not the one that holds it.
    """
    state = state_of(workitem)
    if state.final:
        raise StateConflict(f"the workitem is {state.value}: it cannot be changed", dimse_status=0xC300)
    if state is State.IN_PROGRESS:
        _check_transaction(workitem, transaction_uid)
    for tag in changes:
        if tag in _NEVER_SET and changes[tag].value:
            raise DatasetRefused(f"{keyword_of(tag)} is not set by an update", dimse_status=0x0106)
    for tag in _WHOSE:
        if tag in changes and value_of(changes, tag) != value_of(workitem, tag):
            raise DatasetRefused(f"{keyword_of(tag)} is not set by an update", dimse_status=0x0106)
    _check_values(changes)
    kept = dict(workitem)
    kept.update(
        (tag, element)
        for tag, element in changes.items()
        if tag not in _NEVER_SET and tag not in _WHOSE and tag != SPECIFIC_CHARACTER_SET
    )
    return kept


def moved(workitem: Dataset, to: str, transaction_uid: str) -> Dataset:
    """Return a workitem in another state. Source: PS3.4 CC.2.1, Table CC.1.1-2.

    Raises:
        DatasetRefused: that is no state, or no UID.
        StateConflict: the state machine does not go there, the transaction is not the one that holds it, or what a
            final state needs is missing.
    """
    if to not in set(State):
        raise DatasetRefused("no such Procedure Step State", dimse_status=0x0106)
    if not is_uid(transaction_uid):
        raise StateConflict("the Transaction UID is missing or is no UID", dimse_status=0xC301)
    now, then = state_of(workitem), State(to)
    if now is State.IN_PROGRESS:
        if then is State.IN_PROGRESS:
            raise StateConflict("the workitem is IN PROGRESS already", dimse_status=0xC302)
        _check_transaction(workitem, transaction_uid)
    if then not in _NEXT[now]:
        status = {State.SCHEDULED: 0xC310 if then is not State.SCHEDULED else 0xC303}.get(now, 0xC300)
        raise StateConflict(
            f"a workitem that is {now.value} does not become {then.value}", dimse_status=status
        )
    if then is State.COMPLETED:
        _check_completed(workitem)
    kept = dict(workitem)
    kept[STATE] = text_element(STATE, then)
    kept[TRANSACTION_UID] = text_element(TRANSACTION_UID, transaction_uid)
    return kept


def cancelled(workitem: Dataset, details: Dataset, at: str) -> Dataset:
    """Return a scheduled workitem after a request for cancellation: canceled by the SCP itself. Source: PS3.4 CC.2.2.

    Args:
        workitem: that nobody has begun.
        details: of the request: reason, contact.
        at: date and time, DT.
    """
    item: Dataset = {
        CANCELLATION_DATE_TIME: text_element(CANCELLATION_DATE_TIME, at),
        **{
            tag: details[tag]
            for tag in (REASON_FOR_CANCELLATION, DISCONTINUATION_REASONS, CONTACT_NAME, CONTACT_URI)
            if tag in details
        },
    }
    kept = dict(workitem)
    kept[STATE] = text_element(STATE, State.CANCELED)
    kept[PROGRESS] = Element(PROGRESS, "SQ", items=(item,))
    return kept


def shown(workitem: Dataset) -> Dataset:
    """Return a workitem as it leaves: the Transaction UID is a key, only its holder knows it. Source: PS3.4 CC.2.7.3."""
    return {tag: element for tag, element in workitem.items() if tag != TRANSACTION_UID}


def matches(workitem: Dataset, demands: tuple[Demand, ...]) -> bool:
    """Tell whether a workitem meets every demand. Source: PS3.4 C.2.2.2."""
    return all(_meets(workitem, demand.path, demand.value) for demand in demands)


def _meets(dataset: Dataset, path: tuple[int, ...], value: str) -> bool:
    if not value:
        return True
    tag, *rest = path
    element = dataset.get(tag)
    if element is None:
        return False
    if rest:
        return any(_meets(item, tuple(rest), value) for item in element.items or ())
    vr = element.vr or vr_of(tag)
    return any(_value_meets(vr, value, held) for held in texts_of(element, character_set_of(dataset)))


def _value_meets(vr: str, wanted: str, held: str) -> bool:
    if vr in {"DA", "TM", "DT"}:
        low, dash, high = wanted.partition("-")
        # A zone stands behind the same sign; a range has a whole date or time on its other side, or nothing.
        first = span(vr, low) if low else ("", "")
        last = span(vr, high) if high else ("", "")
        if first is None or last is None or not dash:
            spanned = span(vr, wanted)
            return spanned is not None and in_range(vr, spanned[0], spanned[1], held)
        return in_range(vr, first[0], last[1], held)
    if vr == "UI":
        return held in wanted.replace(",", "\\").split("\\")
    if vr == "PN":
        return NamePattern(wanted).matches(held)
    if vr in {"DS", "IS"}:
        return numbers_equal(wanted, held)
    if "*" in wanted or "?" in wanted:
        return WildcardPattern(comparable(wanted)).matches(comparable(held))
    return comparable(wanted) == comparable(held)


def _check_values(dataset: Dataset) -> None:
    for tag, allowed in _VALUES.items():
        value = value_of(dataset, tag)
        if value and value not in allowed:
            raise DatasetRefused(f"{keyword_of(tag)} has a value that it cannot have", dimse_status=0x0106)


def _check_transaction(workitem: Dataset, transaction_uid: str) -> None:
    if not transaction_uid or value_of(workitem, TRANSACTION_UID) != transaction_uid:
        raise StateConflict("the Transaction UID is not the one that holds the workitem", dimse_status=0xC301)


def _check_completed(workitem: Dataset) -> None:
    performed = workitem.get(PERFORMED)
    items = performed.items if performed is not None and performed.items else ()
    if not items:
        raise StateConflict("a completed workitem says what was performed", dimse_status=0xC304)
    for item in items:
        for tag in _ITEM_WANTED_WHEN_COMPLETED:
            element = item.get(tag)
            filled = element is not None and bool(element.value or element.items)
            if not filled and not (element is not None and tag == 0x0040_4033):
                raise StateConflict(f"what was performed lacks {keyword_of(tag)}", dimse_status=0xC304)
