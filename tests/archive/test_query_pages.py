"""Pages and totals of a list, and that the list is the policy's."""

import pytest

from archive.room import READER, STRANGER, Room, facts, find_query, image
from leadglass.archive import query as query_module
from leadglass.base.errors import AccessDenied, AuditUnavailable
from leadglass.store.index.interfaces import Total
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal

TECHNOLOGIST = Principal("user:tech", ("technologist",), devices=("device:ct1",), correlation_id="c")
OTHER = Principal("user:other", ("technologist",), devices=("device:ct2",), correlation_id="c")


def studies(room: Room, *, offset: int = 0, limit: int | None = None) -> list[str]:
    return [m.study_uid for m in room.finder.find(READER, find_query({}), offset=offset, limit=limit)]


def test_pages_are_the_whole_in_order(room: Room) -> None:
    room.store(*(image(1, str(study)) for study in range(1, 8)))
    whole = studies(room)
    assert len(whole) == 7
    assert [uid for start in range(0, 9, 3) for uid in studies(room, offset=start, limit=3)] == whole
    assert studies(room, limit=0) == []
    assert studies(room, offset=7) == []


def test_only_what_is_shown_is_on_record_as_shown(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "_BATCH", 2)
    room.store(*(image(1, str(study)) for study in range(1, 8)))
    assert len(studies(room, offset=2, limit=3)) == 3
    entries = room.entries(EventCode.QUERY_ANSWERED)
    assert [facts(entry)["matches"] for entry in entries] == [2, 1]
    assert [facts(entry)["matches_before"] for entry in entries] == [2, 4]


def test_a_total_is_on_record(room: Room) -> None:
    room.store(image(1, "1"), image(1, "2"))
    assert room.finder.count(READER, find_query({})) == Total(2, exact=True)
    assert room.finder.count(READER, find_query({"PatientID": "PID-2"})) == Total(1, exact=True)
    counted = [facts(entry)["counted"] for entry in room.entries(EventCode.QUERY_ANSWERED)]
    assert counted == [2, 1]
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        room.finder.count(READER, find_query({}))
    room.audit.full = False
    with pytest.raises(AccessDenied):
        room.finder.count(STRANGER, find_query({}))


def test_a_technologist_lists_what_their_device_sent(room: Room) -> None:
    room.store(image(1, "1"))
    assert [m.study_uid for m in room.finder.find(TECHNOLOGIST, find_query({}))] == [image(1, "1").study]
    assert list(room.finder.find(OTHER, find_query({}))) == []
    assert room.finder.count(TECHNOLOGIST, find_query({})) == Total(1, exact=True)
    assert room.finder.count(OTHER, find_query({})) == Total(0, exact=True)
