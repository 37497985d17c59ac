"""Fetching: on record before it is read, authenticated as it leaves, and its end is on record once."""

from dataclasses import replace

import pytest

from archive.room import EXPLICIT, MODALITY, READER, Room, facts, image, retrieve_keys, store
from leadglass.archive import retrieve as retrieve_module
from leadglass.archive import selected as selected_module
from leadglass.archive.retrieve import Retrieval
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    DatasetRefused,
    IntegrityError,
    OutOfResources,
)
from leadglass.dicom.models import Level
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal

TECHNOLOGIST = Principal(
    "user:tech",
    ("technologist",),
    devices=("device:ct1",),
    address="192.0.2.20",
    circumstances=Circumstances(zone="site"),
)
IMPLICIT = "1.2.840.10008.1.2"
JPEG = "1.2.840.10008.1.2.4.50"


def test_the_transfer_is_on_record_before_anything_is_read(room: Room) -> None:
    one = image()
    room.store(one)
    retrieval = room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": one.study}))
    (entry,) = room.entries(EventCode.RETRIEVE_STARTED)
    assert facts(entry) == {
        "level": "STUDY",
        "instances": 1,
        "destination": "WS1",
        "purpose": "TREAT",
    }
    (record,) = retrieval.records
    assert b"".join(map(bytes, retrieval.dataset(record, EXPLICIT))) == one.dataset
    retrieval.ended(completed=1, failed=0)
    retrieval.ended(completed=0, failed=9)
    (end,) = room.entries(EventCode.RETRIEVE_ENDED)
    assert facts(end)["completed"] == 1
    assert end.leaf["outcome"] == "success"


def test_without_its_record_there_is_no_transfer(room: Room) -> None:
    room.store(image())
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": image().study}))


def test_a_modality_fetches_nothing(room: Room) -> None:
    room.store(image())
    with pytest.raises(AccessDenied):
        room.retriever.begin(MODALITY, retrieve_keys({"StudyInstanceUID": image().study}))
    (entry,) = room.entries(EventCode.RETRIEVE_ENDED)
    assert entry.leaf["outcome"] == "serious_failure"
    assert room.counted(EventCode.RETRIEVE_STARTED) == 0


def test_a_move_is_a_permission_and_an_event_of_its_own(room: Room) -> None:
    room.store(image())
    keys = retrieve_keys({"StudyInstanceUID": image().study})
    retrieval = room.retriever.begin(READER, keys, destination="WS2")
    retrieval.ended(completed=0, failed=1, cancelled=True)
    (start,) = room.entries(EventCode.MOVE_STARTED)
    (end,) = room.entries(EventCode.MOVE_ENDED)
    assert facts(start)["destination"] == facts(end)["destination"] == "WS2"
    assert end.leaf["outcome"] == "minor_failure"
    assert facts(end)["cancelled"] is True


def test_levels_narrow(room: Room) -> None:
    room.store(image(1), image(2), image(1, "2"))
    study = {"StudyInstanceUID": image().study}
    assert len(room.retriever.begin(READER, retrieve_keys(study)).records) == 2  # type: ignore[arg-type]  # texts
    series = study | {"SeriesInstanceUID": image().series}
    assert len(room.retriever.begin(READER, retrieve_keys(series, Level.SERIES)).records) == 2  # type: ignore[arg-type]
    one = series | {"SOPInstanceUID": image(2).instance}
    (record,) = room.retriever.begin(READER, retrieve_keys(one, Level.IMAGE)).records  # type: ignore[arg-type]
    assert record.identity.sop_instance_uid == image(2).instance


def test_what_is_kept_apart_is_not_fetched(room: Room) -> None:
    room.store(image())
    with pytest.raises(Exception, match="kept apart"):
        room.store(image(filling=b"OTHER CONTENT"))
    retrieval = room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": image().study}))
    (record,) = retrieval.records
    assert b"".join(map(bytes, retrieval.dataset(record, EXPLICIT))) == image().dataset


def test_what_was_just_stored_can_be_fetched(room: Room) -> None:
    session = room.session()
    store(session, image())
    assert len(room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": image().study})).records) == 1
    session.close_packs()


def test_nothing_found_is_on_record_too(room: Room) -> None:
    retrieval = room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": "1.2.3"}))
    assert retrieval.records == []
    assert facts(room.entries(EventCode.RETRIEVE_STARTED)[0])["instances"] == 0


def test_many_studies_stand_in_several_events(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve_module, "_STUDIES_PER_EVENT", 2)
    studies = [image(1, str(study)) for study in range(1, 6)]
    room.store(*studies)
    room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": [one.study for one in studies]}))
    named = [entry.payload["objects"]["study"] for entry in room.entries(EventCode.RETRIEVE_STARTED)]  # type: ignore[index]  # JSON
    assert [len(part) for part in named] == [2, 2, 1]
    assert sorted(uid for part in named for uid in part) == sorted(one.study for one in studies)


def test_what_policy_hides_is_as_good_as_missing(room: Room) -> None:
    """A technologist sees what their own devices acquired; nothing tells them that there is more."""
    own, others = image(1, "1"), image(1, "2")
    room.store(own)
    room.store(others, principal=replace(MODALITY, principal_id="device:mr1", ae_title="MR1"))
    keys = retrieve_keys({"StudyInstanceUID": [own.study, others.study]})
    both = room.retriever.begin(READER, keys)
    assert len(both.records) == 2
    retrieval = room.retriever.begin(TECHNOLOGIST, keys)
    assert [record.identity.study_uid for record in retrieval.records] == [own.study]
    only = room.retriever.begin(TECHNOLOGIST, retrieve_keys({"StudyInstanceUID": others.study}))
    assert list(only.records) == []
    with pytest.raises(AccessDenied):
        next(iter(replace_grant(retrieval, both).dataset(both.records[1], EXPLICIT)))
    first, second, third = room.entries(EventCode.RETRIEVE_STARTED)
    assert "held_back" not in facts(first)
    assert (facts(second)["instances"], facts(second)["held_back"]) == (1, 1)
    assert (facts(third)["instances"], facts(third)["held_back"]) == (0, 1)
    named = [entry.payload["objects"]["study"] for entry in (second, third) if entry.payload]  # type: ignore[index]  # JSON
    assert named == [[own.study], []]


def replace_grant(narrow: Retrieval, wide: Retrieval) -> Retrieval:
    """Return a retrieval that names more than its grant is good for, as a bug of ours would."""
    return Retrieval(narrow.access, narrow.grant, wide.records, "", narrow.transcoder)


def test_more_than_the_counts_can_say(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected_module, "_AS_OBJECTS_MAX", 1)
    monkeypatch.setattr(selected_module, "RETRIEVE_INSTANCES_MAX", 2)
    room.store(image(1), image(2), image(3))
    with pytest.raises(OutOfResources):
        room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": image().study}))


def test_another_transfer_syntax_is_decoded_in_a_process_of_its_own(room: Room) -> None:
    room.store(image())
    retrieval = room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": image().study}))
    (record,) = retrieval.records
    assert retrieval.can_send(record, EXPLICIT)
    assert retrieval.can_send(record, IMPLICIT)
    assert not retrieval.can_send(record, JPEG)
    implicit = b"".join(map(bytes, retrieval.dataset(record, IMPLICIT)))
    assert implicit[:4] == b"\x08\x00\x16\x00"
    assert implicit[4:8] == (26).to_bytes(4, "little")
    with pytest.raises(DatasetRefused):
        list(retrieval.dataset(record, JPEG))


def test_damage_met_while_streaming_is_on_record_and_ends_the_object(room: Room) -> None:
    one = image(pixels=400_000)
    room.store(one)
    retrieval = room.retriever.begin(READER, retrieve_keys({"StudyInstanceUID": one.study}))
    (record,) = retrieval.records
    with room.packs()[0].open("r+b") as file:
        file.seek(record.address.offset + record.address.length - 100_000)
        file.write(b"\0" * 16)
    came = bytearray()
    with pytest.raises(IntegrityError):
        came.extend(octet for piece in retrieval.dataset(record, EXPLICIT) for octet in bytes(piece))
    assert one.dataset.startswith(bytes(came)), "what came before the damage is what was written"
    assert len(came) < len(one.dataset)
    assert room.counted(EventCode.INTEGRITY_FAILED) == 1
