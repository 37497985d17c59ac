"""After a crash, and without an index: everything comes back from the packs, once."""

from collections.abc import Collection
from pathlib import Path

import pytest

from archive.room import EXPLICIT, OPERATOR, READER, Room, find_query, image, killed, store
from leadglass.base.errors import DuplicateObject
from leadglass.base.ids import UID
from leadglass.store.index.interfaces import InstanceRecord, StudyFacts, Subject
from leadglass.trust.audit.interfaces import EventCode


def rows(room: Room) -> dict[str, InstanceRecord]:
    room.writer.barrier()
    return {
        item.identity.sop_instance_uid: item
        for item in room.index.verify()
        if isinstance(item, InstanceRecord)
    }


def answers(room: Room) -> list[bytes]:
    keys = {"PatientName": "", "PatientID": "", "StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""}
    return sorted(match.response for match in room.finder.find(READER, find_query(keys)))  # type: ignore[arg-type]  # texts


def test_replay_after_a_crash_is_idempotent_and_events_stand_once(room: Room, tmp_path: Path) -> None:
    images = [image(number, study) for number in range(5) for study in ("1", "2")]
    room.store(image(1, "3"))
    session = room.session()
    for one in images:
        store(session, one)
    # Nobody called a barrier: the rows wait in memory. And the event of the last one never got out.
    room.audit.full = True
    last = image(9, "1")
    with pytest.raises(Exception, match="disk is full"):
        store(session, last)
    crashed = Room(killed(room, tmp_path / "crashed"))
    try:
        first = crashed.replay()
        assert first.packs == 2, "the pack of the burst that had ended needs no replay"
        assert first.records == len(images) + 1
        assert first.events_added == 1
        assert first.findings == []
        assert crashed.counted(EventCode.INSTANCE_STORED) == len(images) + 2
        for one in (*images, last, image(1, "3")):
            assert crashed.held(one) == one.dataset
        again = Room(killed(crashed, tmp_path / "again"))
        try:
            second = again.replay()
            assert (second.packs, second.rows_added, second.events_added) == (0, 0, 0)
            assert again.counted(EventCode.INSTANCE_STORED) == len(images) + 2
            assert rows(again) == rows(crashed)
        finally:
            again.close()
        assert crashed.verify().findings == []
    finally:
        crashed.close()


def test_a_crash_in_the_middle_of_replay_changes_nothing(room: Room, tmp_path: Path) -> None:
    """Rows and events are known by record and object id, so replay over half a replay adds the other half."""
    session = room.session()
    for number in range(5):
        store(session, image(number))
    crashed = Room(killed(room, tmp_path / "crashed"))
    crashed.replay()
    # As if the process had died after the rows and events, before the pack was noted as closed.
    with crashed.database.writing(durable=True) as transaction:
        transaction.execute("DELETE FROM pack", ())
    crashed.close()
    again = Room(tmp_path / "crashed")
    try:
        report = again.replay()
        assert (report.packs, report.records, report.events_added) == (1, 5, 0)
        assert again.counted(EventCode.INSTANCE_STORED) == 5
        assert len(rows(again)) == 5
    finally:
        again.close()


def test_a_torn_tail_is_cut_and_the_rest_is_whole(room: Room, tmp_path: Path) -> None:
    session = room.session()
    store(session, image(1))
    unfinished = session.begin(image(2, pixels=3_000_000).request)
    unfinished.write(image(2, pixels=3_000_000).dataset[:2_900_000])
    folder = killed(room, tmp_path / "crashed")
    unfinished.abort()
    session.close_packs()
    crashed = Room(folder)
    try:
        report = crashed.replay()
        assert (report.records, report.findings) == (1, [])
        assert report.octets_cut > 0
        assert crashed.held(image(1)) == image(1).dataset
        assert crashed.index.lookup(UID(image(2).instance)) is None
        assert crashed.verify().findings == []
        assert not crashed.store(image(2))[0].already_held
    finally:
        crashed.close()


def test_quarantine_survives_a_crash(room: Room, tmp_path: Path) -> None:
    room.store(image())
    session = room.session()
    with pytest.raises(DuplicateObject):
        store(session, image(filling=b"OTHER CONTENT"))
    crashed = Room(killed(room, tmp_path / "crashed"))
    try:
        report = crashed.replay()
        assert (report.quarantined, report.events_added) == (1, 0)
        assert len(list(crashed.index.quarantined())) == 1
        assert crashed.counted(EventCode.INSTANCE_QUARANTINED) == 1
        assert crashed.held(image()) == image().dataset
    finally:
        crashed.close()


def test_the_index_is_made_again_from_the_packs_and_equals_the_first(room: Room) -> None:
    room.store(*(image(number, study) for number in range(4) for study in ("1", "2", "3")))
    room.store(image(1, "1"))  # a resend
    with pytest.raises(DuplicateObject):
        room.store(image(1, "2", filling=b"OTHER CONTENT"))
    before, shown, kept = rows(room), answers(room), list(room.index.quarantined())
    counts, closed = room.index.counts(), room.index.closed_packs()
    told: list[tuple[int, int]] = []
    report = room.recovery.rebuild(OPERATOR, lambda done, total: told.append((done, total)))
    assert report.findings == []
    assert report.rows_added == 12
    assert report.events_added == 0
    assert rows(room) == before
    assert answers(room) == shown
    assert list(room.index.quarantined()) == kept
    assert room.index.counts() == counts
    assert room.index.closed_packs() == closed
    assert told == [(done, len(closed)) for done in range(len(closed) + 1)]
    assert room.verify().findings == []
    assert room.counted(EventCode.VAULT_REINDEXED) == 1


def test_without_any_index_file_at_all(room: Room, tmp_path: Path) -> None:
    room.store(image(1), image(2))
    before = rows(room)
    folder = killed(room, tmp_path / "after")
    for path in folder.glob("index.db*"):
        path.unlink()
    after = Room(folder)
    try:
        report = after.replay()
        assert (report.rows_added, report.events_added) == (2, 0)
        assert rows(after) == before
    finally:
        after.close()


def test_damage_is_named_and_the_rest_comes_back(room: Room, tmp_path: Path) -> None:
    room.store(image(1, "1"), image(1, "2"))
    folder = killed(room, tmp_path / "after")
    for path in folder.glob("index.db*"):
        path.unlink()
    damaged = min((folder / "vault").rglob("*.pack"))
    octets = bytearray(damaged.read_bytes())
    octets[4096 if len(octets) > 4200 else len(octets) // 2] ^= 1
    damaged.write_bytes(octets)
    after = Room(folder)
    try:
        report = after.replay()
        assert report.findings
        assert all(damaged.stem in finding.where for finding in report.findings)
        assert report.rows_added >= 1
        event = after.entries(EventCode.VAULT_RECOVERED)[0]
        assert event.leaf["outcome"] == "minor_failure"
    finally:
        after.close()


def test_an_empty_vault_needs_no_recovery(room: Room) -> None:
    assert room.replay().packs == 0
    assert room.audit.size() == 0


def test_what_was_recovered_is_served_in_its_own_words(room: Room, tmp_path: Path) -> None:
    """Origin and time of reception come from the sealed footer, not from the moment of recovery."""
    session = room.session()
    store(session, image())
    room.audit.full = True
    with pytest.raises(Exception, match="disk is full"):
        store(session, image(2))
    crashed = Room(killed(room, tmp_path / "crashed"))
    try:
        crashed.clock.advance(86_400)
        crashed.replay()
        first, second = crashed.entries(EventCode.INSTANCE_STORED)
        assert second.leaf["at"] == first.leaf["at"]
        assert second.leaf["actor"] == first.leaf["actor"]
        assert second.leaf["facts"] == first.leaf["facts"]
        record = rows(crashed)[image(2).instance]
        assert record.received_at == room.clock.now()
        assert record.identity.transfer_syntax_uid == EXPLICIT
    finally:
        crashed.close()


def test_the_log_is_read_once_for_many_packs(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading for each pack would be packs times entries: a site of a hundred thousand studies never came back."""
    for study in range(1, 8):
        room.store(image(study, str(study)))
    before = rows(room)
    readings = 0
    looked_up = room.audit.recorded

    def counted(event_ids: Collection[bytes], since: int) -> dict[bytes, str]:
        nonlocal readings
        readings += 1
        return looked_up(event_ids, since)

    monkeypatch.setattr(room.audit, "recorded", counted)
    report = room.recovery.rebuild(OPERATOR, lambda _done, _total: None)
    assert (report.packs, report.rows_added, report.events_added) == (7, 7, 0)
    assert readings == 1
    assert rows(room) == before


def test_outlines_and_sources_are_made_again_from_the_packs(room: Room) -> None:
    one = image(pixels=300_000)
    room.store(one)
    room.writer.barrier()

    def described() -> tuple[list[bytes], StudyFacts]:
        record = room.index.lookup(UID(one.instance))
        assert record is not None
        facts = room.index.facts([UID(one.study)], Subject("user:nobody"))
        return room.index.outlines([record]), facts[UID(one.study)]

    before = described()
    assert before[0] != [b""]
    assert before[1].sources == {"device:ct1"}
    room.recovery.rebuild(OPERATOR, lambda _done, _total: None)
    assert described() == before
