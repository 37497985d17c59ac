"""Relations: who gives them, that they are on record first, and that they open and end."""

from datetime import timedelta

import pytest

from archive.room import READER, Room, facts, find_query, image
from leadglass.archive.relations import RelationKeeper
from leadglass.base.errors import AccessDenied, AuditUnavailable, UsageError
from leadglass.dicom.query import read_response
from leadglass.store.index.interfaces import Relation, RelationEntry
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal

ADMIN = Principal(
    "user:admin", ("pacs-administrator",), correlation_id="c", circumstances=Circumstances(zone="site")
)
PHYSICIAN = Principal("user:gp", ("referring-physician",), correlation_id="c")


@pytest.fixture
def keeper(room: Room) -> RelationKeeper:
    return RelationKeeper(room.access, room.index)


def found(room: Room) -> list[str]:
    return [match.study_uid for match in room.finder.find(PHYSICIAN, find_query({}))]


def treating(room: Room, *, hours: float = 8, patient: str = "PID-1") -> RelationEntry:
    until = room.clock.now() + timedelta(hours=hours)
    return RelationEntry("user:gp", Relation.TREATING, until, patient_id=patient)


def test_a_relation_opens_a_patients_studies_and_ends(room: Room, keeper: RelationKeeper) -> None:
    room.store(image(1, "1"), image(1, "2"))
    assert found(room) == []
    keeper.assign(ADMIN, treating(room))
    assert found(room) == [image(1, "1").study]
    (match,) = room.finder.find(PHYSICIAN, find_query({"PatientID": "", "StudyInstanceUID": ""}))
    assert read_response(match.response, "1.2.840.10008.1.2.1")["PatientID"] == "PID-1"
    assert room.finder.count(PHYSICIAN, find_query({})).value == 1
    room.clock.advance(8 * 3600)
    assert found(room) == []
    assert keeper.list(ADMIN, "user:gp") == []


def test_each_change_and_each_list_is_on_record_first(room: Room, keeper: RelationKeeper) -> None:
    entry = treating(room)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        keeper.assign(ADMIN, entry)
    room.audit.full = False
    assert keeper.list(ADMIN, "user:gp") == []
    keeper.assign(ADMIN, entry)
    assert keeper.list(ADMIN, "user:gp") == [entry]
    room.audit.full = True
    for ask in (
        lambda: keeper.list(ADMIN, "user:gp"),
        lambda: keeper.unassign(ADMIN, "user:gp", Relation.TREATING, patient_id="PID-1"),
    ):
        with pytest.raises(AuditUnavailable):
            ask()
    room.audit.full = False
    assert keeper.unassign(ADMIN, "user:gp", Relation.TREATING, patient_id="PID-1")
    assert not keeper.unassign(ADMIN, "user:gp", Relation.TREATING, patient_id="PID-1")
    changes = [facts(e)["change"] for e in room.entries(EventCode.RELATION_CHANGED)]
    assert changes == ["given", "taken", "taken"]
    assert all("PID-1" not in str(e.leaf) for e in room.entries(EventCode.RELATION_CHANGED))
    assert room.counted(EventCode.RELATION_LISTED) == 2


def test_nobody_gives_themselves_a_relation(room: Room, keeper: RelationKeeper) -> None:
    for principal in (PHYSICIAN, READER):
        with pytest.raises(AccessDenied):
            keeper.assign(principal, treating(room))
        with pytest.raises(AccessDenied):
            keeper.unassign(principal, "user:gp", Relation.TREATING, patient_id="PID-1")
        with pytest.raises(AccessDenied):
            keeper.list(principal, "user:gp")


def test_relations_end_and_are_to_one_thing(room: Room, keeper: RelationKeeper) -> None:
    until = room.clock.now() + timedelta(hours=1)
    for entry in (
        treating(room, hours=0),
        treating(room, hours=24 * 367),
        RelationEntry("user:gp", Relation.TREATING, until),
        RelationEntry("user:gp", Relation.ASSIGNED, until, "1.2.3", "PID-1"),
        RelationEntry("user:gp", Relation.REFERRING, until, "1.2.3"),
        RelationEntry("user:gp", Relation.EMERGENCY, until, "1.2.3"),
    ):
        with pytest.raises(UsageError):
            keeper.assign(ADMIN, entry)
    assert not room.counted(EventCode.RELATION_CHANGED)
