"""The Unified Worklist through the one door: claims, races, who may know, who is told, what the database reads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.room import MODALITY, Room, image
from leadglass.archive.worklist import EventType, WorkitemEvent, Worklist, parse_filter, render_filter
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    DuplicateObject,
    IntegrityError,
    NotFound,
    StateConflict,
)
from leadglass.base.ids import UID
from leadglass.dicom.values import Dataset, Element, text_element
from leadglass.dicom.workitem import (
    FILTERED_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    PATIENT_ID,
    PERFORMED,
    STATE,
    STUDY_INSTANCE_UID,
    Demand,
    State,
    state_of,
    value_of,
)
from leadglass.store.worklist.service import SQLWorkitemStore
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal

READER = Principal(
    "user:reader",
    ("radiologist",),
    address="10.0.0.7",
    correlation_id="read",
    circumstances=Circumstances(session_id="s1", zone="site"),
)
OTHER = replace(READER, principal_id="user:other", correlation_id="other")
TECHNOLOGIST = replace(
    READER, principal_id="user:tech", roles=("technologist",), devices=("device:elsewhere",)
)
ADMINISTRATOR = replace(READER, principal_id="user:adm", roles=("pacs-administrator",))

ITEM = UID("1.2.3.10")
MINE, THEIRS = "1.2.3.90", "1.2.3.91"
LABEL = 0x0074_1204
CANARY = "CANARY^PATIENT"


def asked(**more: str) -> Dataset:
    values = {
        0x0040_4005: "20261122120000",
        0x0040_4041: "READY",
        STATE: "SCHEDULED",
        0x0074_1200: "HIGH",
        LABEL: "Read the chest",
        0x0010_0010: CANARY,
        PATIENT_ID: "CANARY-ID",
    } | {int(tag[1:], 16): value for tag, value in more.items()}
    return {tag: text_element(tag, value) for tag, value in values.items()}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "room")
    yield made
    made.close()


@pytest.fixture
def worklist(room: Room) -> Worklist:
    return open_worklist(room)


def open_worklist(room: Room) -> Worklist:
    return Worklist(room.access, SQLWorkitemStore(room.database, room.keys.site_seal("worklist")), room.index)


def test_a_workitem_is_kept_found_and_shown(room: Room, worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())
    again = open_worklist(room).get(READER, ITEM)
    assert value_of(again, LABEL) == "Read the chest"
    assert state_of(again) is State.SCHEDULED
    found = worklist.search(READER, (Demand((PATIENT_ID,), "CANARY-ID"),))
    assert [value_of(item, 0x0008_0018) for item in found] == [ITEM]
    assert worklist.search(READER, (Demand((PATIENT_ID,), "SOMEBODY"),)) == []
    with pytest.raises(DuplicateObject):
        worklist.create(READER, ITEM, asked())
    with pytest.raises(NotFound):
        worklist.get(READER, UID("1.2.3.11"))


def test_paging_passes_over_what_was_shown(worklist: Worklist) -> None:
    for number in range(5):
        worklist.create(READER, UID(f"1.2.3.{number}"), asked())
    pages = [worklist.search(READER, (), offset=offset, limit=2) for offset in (0, 2, 4)]
    shown = [value_of(item, 0x0008_0018) for page in pages for item in page]
    assert shown == [f"1.2.3.{number}" for number in (4, 3, 2, 1, 0)]


def test_of_many_who_claim_at_once_one_holds_it(worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())

    def claim(number: int) -> str:
        transaction = f"1.2.3.90.{number}"
        try:
            worklist.move(READER, ITEM, "IN PROGRESS", transaction)
        except StateConflict:
            return ""
        return transaction

    with ThreadPoolExecutor(8) as pool:
        winners = [one for one in pool.map(claim, range(24)) if one]
    assert len(winners) == 1
    worklist.update(READER, ITEM, {LABEL: text_element(LABEL, "mine")}, winners[0])
    with pytest.raises(StateConflict):
        worklist.update(READER, ITEM, {LABEL: text_element(LABEL, "theirs")}, THEIRS)
    assert value_of(worklist.get(READER, ITEM), LABEL) == "mine"


def test_nobody_without_the_right_learns_anything(room: Room, worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())
    for attempt in (
        lambda: worklist.get(ADMINISTRATOR, ITEM),
        lambda: worklist.search(ADMINISTRATOR, ()),
        lambda: worklist.create(ADMINISTRATOR, UID("1.2.3.77"), asked()),
        lambda: worklist.move(ADMINISTRATOR, ITEM, "IN PROGRESS", MINE),
    ):
        with pytest.raises(AccessDenied):
            attempt()
    created = [entry.leaf["outcome"] for entry in room.entries(EventCode.WORKITEM_CREATED)]
    assert created == ["success", "serious_failure"]  # the technologist's is on record as refused


def test_a_workitem_of_a_hidden_study_is_as_good_as_missing(room: Room, worklist: Worklist) -> None:
    of_study = image()
    room.store(of_study, principal=MODALITY)
    room.writer.barrier()
    worklist.create(READER, ITEM, asked(**{f"x{STUDY_INSTANCE_UID:08X}": of_study.study}))
    assert worklist.get(READER, ITEM)
    assert worklist.search(TECHNOLOGIST, ()) == []
    with pytest.raises(NotFound) as hidden:
        worklist.get(TECHNOLOGIST, ITEM)
    with pytest.raises(NotFound) as missing:
        worklist.get(TECHNOLOGIST, UID("1.2.3.4.5.6"))
    assert str(hidden.value) == str(missing.value)
    own = replace(TECHNOLOGIST, devices=(MODALITY.principal_id,))
    assert len(worklist.search(own, ())) == 1


def test_every_reading_and_change_is_on_record_first(room: Room, worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())
    worklist.get(READER, ITEM)
    worklist.move(READER, ITEM, "IN PROGRESS", MINE)
    codes = (EventCode.WORKITEM_CREATED, EventCode.WORKITEM_READ, EventCode.WORKITEM_CHANGED)
    assert [room.counted(code) for code in codes] == [1, 1, 1]
    assert all(entry.leaf["correlation"] == "read" for entry in room.entries(*codes))
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        worklist.get(READER, ITEM)
    with pytest.raises(AuditUnavailable):
        worklist.move(READER, ITEM, "CANCELED", MINE)
    room.audit.full = False
    assert state_of(worklist.get(READER, ITEM)) is State.IN_PROGRESS


def test_subscribers_who_listen_are_told(worklist: Worklist) -> None:
    told: list[WorkitemEvent] = []
    worklist.subscribe(READER, "READER", GLOBAL_SUBSCRIPTION)
    close = worklist.listen(READER, "READER", told.append)
    worklist.create(READER, ITEM, asked())
    worklist.move(READER, ITEM, "IN PROGRESS", MINE)
    assert not worklist.request_cancellation(
        OTHER, ITEM, {0x0074_1238: text_element(0x0074_1238, "patient left")}
    )
    progress = Element(0x0074_1002, "SQ", items=({0x0074_1004: text_element(0x0074_1004, "50")},))
    worklist.update(READER, ITEM, {0x0074_1002: progress}, MINE)
    worklist.move(READER, ITEM, "CANCELED", MINE)
    assert [event.event_type for event in told] == [
        EventType.STATE_REPORT,
        EventType.STATE_REPORT,
        EventType.CANCEL_REQUESTED,
        EventType.PROGRESS_REPORT,
        EventType.STATE_REPORT,
    ]
    assert value_of(told[-1].dataset, STATE) == "CANCELED"
    assert value_of(told[2].dataset, 0x0074_1238) == "patient left"
    close()
    worklist.create(READER, UID("1.2.3.12"), asked())
    assert len(told) == 5


def test_a_filter_and_a_single_subscription_narrow_what_is_told(worklist: Worklist) -> None:
    told: list[WorkitemEvent] = []
    demands = (Demand((LABEL,), "Read*"), Demand((PATIENT_ID,), "A=B"))
    assert parse_filter(render_filter(demands)) == demands
    worklist.subscribe(READER, "READER", FILTERED_SUBSCRIPTION, demands=render_filter(demands[:1]))
    worklist.listen(READER, "READER", told.append)
    worklist.create(READER, UID("1.2.3.20"), asked(**{f"x{LABEL:08X}": "Write"}))
    worklist.create(READER, UID("1.2.3.21"), asked())
    worklist.unsubscribe(READER, "READER", FILTERED_SUBSCRIPTION)
    worklist.subscribe(READER, "READER", UID("1.2.3.20"))
    worklist.move(READER, UID("1.2.3.20"), "IN PROGRESS", MINE)
    worklist.move(READER, UID("1.2.3.21"), "IN PROGRESS", MINE)
    assert [event.workitem_uid for event in told] == ["1.2.3.21", "1.2.3.20"]


def test_an_event_of_a_hidden_study_is_not_told(room: Room, worklist: Worklist) -> None:
    of_study = image()
    room.store(of_study, principal=MODALITY)
    room.writer.barrier()
    told: list[WorkitemEvent] = []
    worklist.subscribe(TECHNOLOGIST, "TECH", GLOBAL_SUBSCRIPTION)
    worklist.listen(TECHNOLOGIST, "TECH", told.append)
    worklist.create(READER, ITEM, asked(**{f"x{STUDY_INSTANCE_UID:08X}": of_study.study}))
    assert told == []


def test_an_ae_title_belongs_to_who_subscribed_first(worklist: Worklist) -> None:
    worklist.subscribe(READER, "READER", GLOBAL_SUBSCRIPTION)
    for attempt in (
        lambda: worklist.subscribe(OTHER, "READER", GLOBAL_SUBSCRIPTION),
        lambda: worklist.unsubscribe(OTHER, "READER", GLOBAL_SUBSCRIPTION),
        lambda: worklist.listen(OTHER, "READER", lambda _event: None),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_what_nobody_performs_is_canceled_at_once_and_what_is_done_is_not(worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())
    assert worklist.request_cancellation(OTHER, ITEM, {})
    assert state_of(worklist.get(READER, ITEM)) is State.CANCELED
    done = UID("1.2.3.14")
    worklist.create(READER, done, asked())
    worklist.move(READER, done, "IN PROGRESS", MINE)
    with pytest.raises(StateConflict) as nobody:
        worklist.request_cancellation(OTHER, done, {})
    assert nobody.value.dimse_status == 0xC312
    code = ({0x0008_0100: text_element(0x0008_0100, "110005")},)
    performed: Dataset = {
        0x0040_4028: Element(0x0040_4028, "SQ", items=code),
        0x0040_4050: text_element(0x0040_4050, "20261122120100"),
        0x0040_4019: Element(0x0040_4019, "SQ", items=code),
        0x0040_4051: text_element(0x0040_4051, "20261122120500"),
        0x0040_4033: Element(0x0040_4033, "SQ", items=()),
    }
    worklist.update(READER, done, {PERFORMED: Element(PERFORMED, "SQ", items=(performed,))}, MINE)
    worklist.move(READER, done, "COMPLETED", MINE)
    with pytest.raises(StateConflict) as over:
        worklist.request_cancellation(OTHER, done, {})
    assert over.value.dimse_status == 0xC311


def test_what_ended_is_forgotten_after_a_while_unless_it_is_locked(room: Room, worklist: Worklist) -> None:
    for uid in ("1.2.3.30", "1.2.3.31", "1.2.3.32"):
        worklist.create(READER, UID(uid), asked())
    worklist.request_cancellation(READER, UID("1.2.3.30"), {})
    worklist.request_cancellation(READER, UID("1.2.3.31"), {})
    worklist.subscribe(READER, "READER", "1.2.3.31", deletion_lock=True)
    assert worklist.forget_ended() == 0
    room.clock.advance(timedelta(days=31).total_seconds())
    assert worklist.forget_ended() == 1
    assert {value_of(item, 0x0008_0018) for item in worklist.search(READER, ())} == {"1.2.3.31", "1.2.3.32"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE workitem SET state = 'COMPLETED'",
        "UPDATE workitem SET version = version + 1",
        "UPDATE workitem SET changed_at = changed_at + 1",
        "UPDATE workitem SET uid = '1.2.3.999'",
    ],
)
def test_a_row_that_somebody_changed_is_refused(room: Room, worklist: Worklist, change: str) -> None:
    worklist.create(READER, ITEM, asked())
    with room.database.writing(durable=True) as transaction:
        transaction.execute(change)
    with pytest.raises(IntegrityError):
        worklist.get(READER, UID("1.2.3.999") if "999" in change else ITEM)


def test_the_database_reads_no_patient(room: Room, worklist: Worklist) -> None:
    worklist.create(READER, ITEM, asked())
    worklist.subscribe(
        READER, "READER", FILTERED_SUBSCRIPTION, demands=render_filter((Demand((PATIENT_ID,), "CANARY-ID"),))
    )
    with room.database.reading() as transaction:
        rows = transaction.execute("SELECT uid, state, sealed FROM workitem")
        rows += transaction.execute("SELECT ae_title, target, sealed FROM workitem_subscription")
    assert all(b"CANARY" not in bytes(row[-1]) for row in rows)
    assert "CANARY" not in str([row[:-1] for row in rows])


def test_who_is_limited_to_institutions_sees_their_items_only(room: Room, worklist: Worklist) -> None:
    limited = replace(READER, principal_id="user:alpha", institutions=("alpha hospital",))
    for uid, institution in (("1.2.3.40", "Alpha Hospital"), ("1.2.3.41", "Beta Clinic"), ("1.2.3.42", "")):
        worklist.create(READER, UID(uid), asked(x00080080=institution))
    assert {value_of(item, 0x0008_0018) for item in worklist.search(limited, ())} == {"1.2.3.40"}
    assert len(worklist.search(READER, ())) == 3
    for uid in ("1.2.3.41", "1.2.3.42"):
        with pytest.raises(NotFound):
            worklist.get(limited, UID(uid))
