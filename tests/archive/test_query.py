"""Finding: what is shown was put on record before, and what was admitted is seen."""

import pytest

from archive.room import MODALITY, READER, Room, facts, find_query, image, store
from leadglass.archive import query as query_module
from leadglass.base.errors import AccessDenied, AuditUnavailable, OutOfResources
from leadglass.dicom.models import Level
from leadglass.dicom.query import read_response
from leadglass.store.index.interfaces import Match
from leadglass.trust.audit.interfaces import EventCode

EXPLICIT = "1.2.840.10008.1.2.1"


def test_what_was_answered_success_is_found_at_once(room: Room) -> None:
    """The row may wait for a group: the barrier makes it visible, the open pack does not matter."""
    session = room.session()
    store(session, image(1))
    (match,) = room.finder.find(READER, find_query({"PatientName": "", "StudyInstanceUID": ""}))
    assert match.study_uid == image().study
    assert read_response(match.response, EXPLICIT)["PatientName"] == "Canary^Anna"
    session.close_packs()


def test_matching_narrows(room: Room) -> None:
    room.store(image(1, "1"), image(1, "2"), image(2, "2"))
    query = find_query({"PatientID": "PID-2", "NumberOfStudyRelatedInstances": ""})
    (match,) = room.finder.find(READER, query)
    assert read_response(match.response, EXPLICIT)["NumberOfStudyRelatedInstances"] == 2
    assert list(room.finder.find(READER, find_query({"PatientID": "PID-3"}))) == []


def test_the_record_has_what_was_asked_and_what_was_shown(room: Room) -> None:
    room.store(image(1, "1"), image(1, "2"))
    before = room.audit.size()
    assert len(list(room.finder.find(READER, find_query({"PatientName": "CANARY*"})))) == 2
    (entry,) = room.entries(EventCode.QUERY_ANSWERED)
    assert entry.sequence == before
    assert facts(entry) == {"level": "STUDY", "matches": 2, "matches_before": 0}
    assert entry.payload is not None
    assert sorted(entry.payload["objects"]["study"]) == sorted((image(1, "1").study, image(1, "2").study))  # type: ignore[index]  # JSON
    assert "CANARY" not in str(entry.leaf)
    assert "CANARY*" in str(entry.payload)


def test_a_query_without_matches_is_on_record_once(room: Room) -> None:
    assert list(room.finder.find(READER, find_query({"PatientName": "NOBODY"}))) == []
    (entry,) = room.entries(EventCode.QUERY_ANSWERED)
    assert facts(entry)["matches"] == 0


def test_each_batch_is_on_record_before_its_first_match_is_shown(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "_BATCH", 2)
    room.store(*(image(1, str(study)) for study in range(1, 6)))
    shown = 0
    for _ in room.finder.find(READER, find_query({})):
        recorded = sum(facts(entry)["matches"] for entry in room.entries(EventCode.QUERY_ANSWERED))
        assert recorded > shown
        shown += 1
    assert shown == 5
    befores = [facts(entry)["matches_before"] for entry in room.entries(EventCode.QUERY_ANSWERED)]
    assert befores == [0, 2, 4]


def test_what_cannot_be_recorded_is_not_shown(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "_BATCH", 1)
    room.store(image(1, "1"), image(1, "2"))
    matches = room.finder.find(READER, find_query({}))
    next(matches)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        next(matches)


def test_a_cancelled_query_stops(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "_BATCH", 1)
    room.store(image(1, "1"), image(1, "2"))
    matches = room.finder.find(READER, find_query({}))
    next(matches)
    matches.close()  # type: ignore[attr-defined]  # a generator
    assert room.counted(EventCode.QUERY_ANSWERED) == 1


def test_too_many_matches_are_an_error_never_silence(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "_BATCH", 1)
    monkeypatch.setattr(query_module, "QUERY_RESULTS_MAX", 2)
    room.store(*(image(1, str(study)) for study in range(1, 5)))
    shown: list[Match] = []
    with pytest.raises(OutOfResources) as refused:
        shown.extend(room.finder.find(READER, find_query({})))
    assert refused.value.dimse_status == 0xA700


def test_who_may_not_ask_learns_nothing(room: Room) -> None:
    room.store(image())
    with pytest.raises(AccessDenied):
        next(room.finder.find(MODALITY, find_query({})))
    (entry,) = room.entries(EventCode.QUERY_ANSWERED)
    assert entry.leaf["outcome"] == "serious_failure"
    assert facts(entry)["permission"] == "study:query"


def test_sequences_and_universal_keys_are_described(room: Room) -> None:
    room.store(image())
    keys: dict[str, object] = {
        "StudyInstanceUID": image().study,
        "RequestAttributesSequence.ScheduledProcedureStepID": "S1",
        "Modality": "",
    }
    list(room.finder.find(READER, find_query(keys, Level.SERIES)))  # type: ignore[arg-type]  # values are texts
    (entry,) = room.entries(EventCode.QUERY_ANSWERED)
    assert entry.payload is not None
    asked = entry.payload["detail"]["keys"]  # type: ignore[index]  # JSON
    assert asked["Modality"] == "*"
    assert "S1" in str(asked["RequestAttributesSequence"])
