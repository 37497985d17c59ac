"""Workitems: what one must hold, and how its state may change. Source: PS3.4 Annex CC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import DatasetRefused, StateConflict
from leadglass.base.ids import UID
from leadglass.dicom.values import Dataset, Element, read_dataset, text_element, write_dataset
from leadglass.dicom.workitem import (
    INPUT_READINESS,
    PERFORMED,
    PROGRESS,
    SOP_INSTANCE_UID,
    STATE,
    TRANSACTION_UID,
    Demand,
    State,
    cancelled,
    created,
    matches,
    moved,
    shown,
    state_of,
    updated,
    value_of,
)

MINE = "1.2.3.100"
OTHER = "1.2.3.200"
THE_UID = UID("1.2.3.4")
LABEL = 0x0074_1204
PRIORITY = 0x0074_1200
START = 0x0040_4005
PATIENT_NAME = 0x0010_0010
STATION = 0x0040_4025
CODE_VALUE = 0x0008_0100


def asked(**changes: str) -> Dataset:
    values = {
        START: "20261122120000",
        INPUT_READINESS: "READY",
        STATE: "SCHEDULED",
        PRIORITY: "HIGH",
        LABEL: "Read the chest",
    } | {int(tag[1:], 16): value for tag, value in changes.items()}
    return {tag: text_element(tag, value) for tag, value in values.items() if value}


def performed(*, complete: bool = True) -> Element:
    code = Element(0, "SQ", items=({CODE_VALUE: text_element(CODE_VALUE, "110005")},))
    item = {
        0x0040_4028: Element(0x0040_4028, "SQ", items=code.items),
        0x0040_4050: text_element(0x0040_4050, "20261122120100"),
        0x0040_4019: Element(0x0040_4019, "SQ", items=code.items),
        0x0040_4051: text_element(0x0040_4051, "20261122120500"),
        0x0040_4033: Element(0x0040_4033, "SQ", items=()),
    }
    if not complete:
        del item[0x0040_4051]
    return Element(PERFORMED, "SQ", items=(item,))


def claimed() -> Dataset:
    return moved(created(asked(), THE_UID), "IN PROGRESS", MINE)


def in_state(state: State) -> Dataset:
    if state is State.SCHEDULED:
        return created(asked(), THE_UID)
    if state is State.IN_PROGRESS:
        return claimed()
    return moved({**claimed(), PERFORMED: performed()}, state, MINE)


def test_a_new_workitem_is_scheduled_and_complete() -> None:
    item = created(asked(), THE_UID)
    assert state_of(item) is State.SCHEDULED
    assert value_of(item, SOP_INSTANCE_UID) == THE_UID
    assert value_of(item, TRANSACTION_UID) == ""
    assert item[0x0040_4021].items == ()  # Input Information Sequence, type 2
    again = read_dataset(write_dataset(item.values()))
    assert {tag: (e.value.rstrip(b" \0"), e.items) for tag, e in again.items()} == {
        tag: (e.value, e.items) for tag, e in item.items()
    }


@pytest.mark.parametrize("tag", [START, INPUT_READINESS, STATE, PRIORITY, LABEL])
def test_what_is_of_type_1_must_be_there(tag: int) -> None:
    wanted = asked()
    del wanted[tag]
    with pytest.raises(DatasetRefused):
        created(wanted, THE_UID)


@pytest.mark.parametrize(
    ("tag", "value", "status"),
    [
        (STATE, "IN PROGRESS", 0xC309),
        (PRIORITY, "URGENT", 0x0106),
        (INPUT_READINESS, "SOON", 0x0106),
        (TRANSACTION_UID, MINE, 0x0106),
        (SOP_INSTANCE_UID, OTHER, 0x0106),
    ],
)
def test_what_a_new_workitem_cannot_hold(tag: int, value: str, status: int) -> None:
    with pytest.raises(DatasetRefused) as refused:
        created(asked(**{f"x{tag:08X}": value}), THE_UID)
    assert refused.value.dimse_status == status


ALLOWED = {
    (State.SCHEDULED, State.IN_PROGRESS),
    (State.IN_PROGRESS, State.COMPLETED),
    (State.IN_PROGRESS, State.CANCELED),
}


@pytest.mark.parametrize("now", State)
@pytest.mark.parametrize("then", State)
def test_the_state_machine(now: State, then: State) -> None:
    item = {**in_state(now), PERFORMED: performed()}
    if (now, then) in ALLOWED:
        assert state_of(moved(item, then, MINE)) is then
    else:
        with pytest.raises(StateConflict):
            moved(item, then, MINE)


def test_only_the_holder_of_the_transaction_goes_on() -> None:
    item = {**claimed(), PERFORMED: performed()}
    for state in ("COMPLETED", "CANCELED"):
        with pytest.raises(StateConflict) as refused:
            moved(item, state, OTHER)
        assert refused.value.dimse_status == 0xC301
    with pytest.raises(StateConflict):
        updated(item, {LABEL: text_element(LABEL, "x")}, OTHER)
    with pytest.raises(StateConflict):
        updated(item, {LABEL: text_element(LABEL, "x")}, "")
    assert value_of(updated(item, {LABEL: text_element(LABEL, "x")}, MINE), LABEL) == "x"


def test_the_transaction_is_never_shown() -> None:
    assert TRANSACTION_UID not in shown(claimed())


def test_completion_says_what_was_performed() -> None:
    with pytest.raises(StateConflict) as refused:
        moved(claimed(), "COMPLETED", MINE)
    assert refused.value.dimse_status == 0xC304
    with pytest.raises(StateConflict):
        moved({**claimed(), PERFORMED: performed(complete=False)}, "COMPLETED", MINE)


@pytest.mark.parametrize("tag", [STATE, TRANSACTION_UID, SOP_INSTANCE_UID])
def test_an_update_does_not_touch_state_or_identity(tag: int) -> None:
    with pytest.raises(DatasetRefused):
        updated(created(asked(), THE_UID), {tag: text_element(tag, "1.2")}, "")


@pytest.mark.parametrize("state", [State.COMPLETED, State.CANCELED])
def test_what_is_final_stays(state: State) -> None:
    with pytest.raises(StateConflict):
        updated(in_state(state), {LABEL: text_element(LABEL, "x")}, MINE)


def test_a_request_cancels_what_nobody_began() -> None:
    reason = text_element(0x0074_1238, "patient left")
    item = cancelled(created(asked(), THE_UID), {0x0074_1238: reason}, "20261122130000")
    assert state_of(item) is State.CANCELED
    assert item[PROGRESS].items == (
        {0x0040_4052: text_element(0x0040_4052, "20261122130000"), 0x0074_1238: reason},
    )


@pytest.mark.parametrize(
    ("path", "value", "met"),
    [
        ((LABEL,), "Read*", True),
        ((LABEL,), "Write*", False),
        ((LABEL,), "", True),
        ((START,), "20261122", True),
        ((START,), "20261101-20261130", True),
        ((START,), "-20261121", False),
        ((START,), "20261122115959-", True),
        ((PATIENT_NAME,), "müller^*", True),
        ((PATIENT_NAME,), "MEIER^*", False),
        ((STATION, CODE_VALUE), "CT1", True),
        ((STATION, CODE_VALUE), "CT2", False),
        ((SOP_INSTANCE_UID,), "1.2.3.5,1.2.3.4", True),
        ((0x0040_1001,), "A", False),
    ],
)
def test_searching(path: tuple[int, ...], value: str, met: bool) -> None:
    wanted = asked(x00100010="Müller^Jörg")
    wanted[STATION] = Element(STATION, "SQ", items=({CODE_VALUE: text_element(CODE_VALUE, "CT1")},))
    item = created(wanted, THE_UID)
    assert matches(item, (Demand(path, value),)) is met


@given(st.lists(st.tuples(st.sampled_from(list(State)), st.sampled_from([MINE, OTHER, ""])), max_size=12))
def test_no_sequence_of_requests_leaves_the_state_machine(steps: list[tuple[State, str]]) -> None:
    item = {**created(asked(), THE_UID), PERFORMED: performed()}
    holder = ""
    for wanted, transaction in steps:
        before = state_of(item)
        try:
            item = moved(item, wanted, transaction)
        except StateConflict:
            assert state_of(item) is before
            continue
        assert (before, wanted) in ALLOWED
        assert holder in {"", transaction}
        holder = transaction
        assert value_of(item, TRANSACTION_UID) == holder
