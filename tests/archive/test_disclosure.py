"""Views on record: the first is durable before it is shown, and none is lost by a crash of the process."""

from dataclasses import replace
from pathlib import Path

import pytest

from archive.room import READER, Image, Room, facts, image, killed
from leadglass.archive.disclosure import Disclosures, Shown
from leadglass.archive.reading import InstanceRecord, Part, Target
from leadglass.base.errors import AuditUnavailable
from leadglass.base.ids import UID
from leadglass.base.limits import DISCLOSURE_SECONDS
from leadglass.trust.audit.interfaces import AuditEvent, EventCode
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.interfaces import Permission


@pytest.fixture
def waited(room: Room, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each view whether it waited for the disk; the log is the real one."""
    noted: list[bool] = []
    record = room.audit.log.record

    def noting(event: AuditEvent, *, durable: bool = True) -> int:
        if event.code in {EventCode.INSTANCE_VIEWED, EventCode.RETRIEVE_STARTED}:
            noted.append(durable)
        return record(event, durable=durable)

    monkeypatch.setattr(room.audit.log, "record", noting)
    return noted


def view(
    room: Room, of: Image, principal: Principal = READER, part: Part = Part.FRAMES, frame: int = 1
) -> None:
    target = Target(UID(of.study), UID(of.series), UID(of.instance))
    room.reader.open(principal, target, part, frames=(frame,)).close()


def acting(**circumstances: str) -> Principal:
    return replace(READER, circumstances=Circumstances(**circumstances))  # type: ignore[arg-type]


def test_the_first_view_waits_for_the_disk_and_the_next_do_not(room: Room, waited: list[bool]) -> None:
    one, two = image(1), image(2)
    room.store(one, two)
    for number in range(1, 4):
        view(room, one, frame=number)
    view(room, two, part=Part.RENDERED)
    room.reader.open(READER, Target(UID(one.study)), Part.METADATA).close()
    assert waited == [True, False, False, False, False]
    entries = room.entries(EventCode.INSTANCE_VIEWED)
    assert [facts(entry).get("frames", 0) for entry in entries] == [1, 1, 1, 1, 0]
    assert [entry.payload["detail"] for entry in entries[:3] if entry.payload] == [
        {"frames": str(n)} for n in (1, 2, 3)
    ]
    assert [facts(entry)["instances"] for entry in entries] == [1, 1, 1, 1, 2]
    # Patient and study stand in every one of them, not only in the first.
    assert len({entry.leaf["objects"]["patient"][0] for entry in entries}) == 1  # type: ignore[index]
    assert len({entry.leaf["objects"]["study"][0] for entry in entries}) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    "other",
    [
        acting(purpose="HRESCH"),
        acting(session_id="s2"),
        acting(workstation="device:ws2"),
        acting(break_glass="b1"),
        replace(READER, address="192.0.2.99"),
        replace(READER, principal_id="device:ws7"),
    ],
)
def test_another_reason_is_another_first_view(room: Room, waited: list[bool], other: Principal) -> None:
    one = image()
    room.store(one)
    view(room, one)
    view(room, one, other)
    view(room, one, other)
    view(room, one)
    assert waited == [True, True, False, False]


def test_another_study_is_another_first_view(room: Room, waited: list[bool]) -> None:
    one, two = image(1, "1"), image(1, "2")
    room.store(one, two)
    view(room, one)
    view(room, two)
    assert waited == [True, True]


def test_the_time_runs_from_the_durable_event_on(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    view(room, one)
    for _ in range(2):
        room.clock.advance(DISCLOSURE_SECONDS / 2 - 1)
        view(room, one)
    room.clock.advance(2)
    view(room, one)
    assert waited == [True, False, False, True]


def test_whole_objects_wait_although_parts_did(room: Room, waited: list[bool]) -> None:
    one, two = image(1), image(2)
    room.store(one, two)
    view(room, one)
    view(room, one, part=Part.OBJECTS)
    view(room, one, part=Part.OBJECTS)
    view(room, two, part=Part.OBJECTS)
    view(room, one)
    assert waited == [True, True, False, False, False]
    assert len(room.entries(EventCode.RETRIEVE_STARTED)) == len(room.entries(EventCode.RETRIEVE_ENDED)) == 3


def test_whole_objects_cover_parts(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    view(room, one, part=Part.OBJECTS)
    view(room, one)
    assert waited == [True, False]


def test_whole_objects_to_another_place_wait(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    target = Target(UID(one.study))
    for destination in ("A", "B", "A"):
        room.reader.open(READER, target, Part.OBJECTS, destination=destination).close()
    assert waited == [True, True, False]


def test_whole_objects_wait_again_after_a_while(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    view(room, one, part=Part.OBJECTS)
    room.clock.advance(DISCLOSURE_SECONDS - 1)
    view(room, one, part=Part.OBJECTS)
    room.clock.advance(2)
    view(room, one, part=Part.OBJECTS)
    assert waited == [True, False, True]


def test_what_is_remembered_is_bounded(room: Room, waited: list[bool]) -> None:
    room.store(*(image(1, str(study)) for study in range(1, 5)))
    disclosures = Disclosures(room.access, remembered_max=2)
    grant = room.access.permit(READER, Permission.INSTANCE_RETRIEVE)
    records: list[InstanceRecord] = []
    room.writer.barrier()
    for study in range(1, 5):
        record = room.index.lookup(UID(image(1, str(study)).instance))
        assert record is not None
        records.append(record)
    for record in (*records, records[0], records[3], records[0]):
        disclosures.record(grant, EventCode.INSTANCE_VIEWED, Shown("frames", [record]))
    assert waited == [True, True, True, True, True, False, False]


def test_a_log_that_takes_nothing_shows_nothing_later_either(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    view(room, one)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        view(room, one)
    room.audit.full = False
    view(room, one)
    assert waited == [True, False]


def test_a_first_view_that_failed_is_not_remembered(room: Room, waited: list[bool]) -> None:
    one = image()
    room.store(one)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        view(room, one)
    room.audit.full = False
    view(room, one)
    assert waited == [True]


def test_a_killed_process_loses_no_view(room: Room, tmp_path: Path) -> None:
    one = image()
    room.store(one)
    for number in range(1, 20):
        view(room, one, frame=number)
    again = Room(killed(room, tmp_path / "killed"))
    try:
        entries = again.entries(EventCode.INSTANCE_VIEWED)
        shown = [entry.payload["detail"] for entry in entries if entry.payload]
        assert shown == [{"frames": str(number)} for number in range(1, 20)]
    finally:
        again.close()


def test_every_frame_is_named(room: Room) -> None:
    one = image()
    room.store(one)
    target = Target(UID(one.study))
    room.reader.open(READER, target, Part.FRAMES, frames=[*range(1, 10_001), 5, 7, 8]).close()
    (entry,) = room.entries(EventCode.INSTANCE_VIEWED)
    assert facts(entry)["frames"] == 10_003
    assert entry.payload is not None
    assert entry.payload["detail"] == {"frames": "1-10000,5,7-8"}
