"""What a hostile review found in the archive, each as the test that found it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.room import (
    CT,
    EXPLICIT,
    MODALITY,
    OPERATOR,
    ORIGIN,
    READER,
    Room,
    find_query,
    image,
    killed,
    retrieve_keys,
    store,
)
from leadglass.archive import commitment as commitment_module
from leadglass.archive import ingest as ingest_module
from leadglass.archive import query as query_module
from leadglass.archive import retrieve as retrieve_module
from leadglass.base.errors import DatasetRefused, DuplicateObject, OutOfResources
from leadglass.base.ids import UID
from leadglass.dicom.commitment import CommitmentAction, SOPReference
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode
from leadglass.trust.audit.journal import walk_segment


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "room")
    yield made
    made.close()


def test_a_durable_record_without_a_row_is_looked_at_by_the_next_start(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pack was noted as closed all the same: nobody would ever have replayed it."""

    def fails(*_: object, **__: object) -> None:
        raise OutOfResources("the index failed just now")

    session = room.session()
    store(session, image(1))
    with monkeypatch.context() as patch:
        patch.setattr(IndexWriter, "admit", fails)
        with pytest.raises(OutOfResources):
            store(session, image(2))
    store(session, image(3))
    session.close_packs()
    crashed = Room(killed(room, tmp_path / "crashed"))
    try:
        assert crashed.replay().events_added == 1
        assert crashed.held(image(2)) == image(2).dataset
        assert crashed.verify().findings == []
    finally:
        crashed.close()


@pytest.mark.parametrize("crash", [True, False])
def test_who_was_answered_with_success_keeps_the_uid(room: Room, tmp_path: Path, crash: bool) -> None:
    """The pack of the sender that lost the race is older; replay gave the UID to whichever came first."""
    lost, won = image(1), image(1, filling=b"OTHER CONTENT")
    sessions = room.session(), room.session()
    incoming = [s.begin(one.request) for s, one in zip(sessions, (lost, won), strict=True)]
    incoming[0].write(lost.dataset)
    room.clock.advance(5)
    incoming[1].write(won.dataset)
    incoming[1].finish()
    with pytest.raises(DuplicateObject):
        incoming[0].finish()
    if not crash:
        for session in sessions:
            session.close_packs()
        room.recovery.rebuild(OPERATOR, lambda _done, _total: None)
        assert room.held(won) == won.dataset
        return
    folder = killed(room, tmp_path / "crashed")
    (folder / "index.db").unlink()
    for left in folder.glob("index.db-*"):
        left.unlink()
    crashed = Room(folder)
    try:
        report = crashed.replay()
        assert (report.records, report.rows_added, report.quarantined, report.events_added) == (2, 1, 1, 0)
        assert crashed.held(won) == won.dataset
        assert crashed.replay().packs == 0
    finally:
        crashed.close()


def test_ever_new_content_does_not_fill_the_disk(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "QUARANTINED_PER_UID_MAX", 3)
    room.store(image())
    session = room.session()
    for number in range(5):
        with pytest.raises(DuplicateObject):
            store(session, image(filling=b"OTHER CONTENT %d" % number))
    session.close_packs()
    assert len(list(room.index.quarantined())) == 3
    assert room.counted(EventCode.INSTANCE_QUARANTINED) == 3
    assert room.counted(EventCode.INSTANCE_REFUSED) == 2
    assert room.held(image()) == image().dataset
    assert room.verify().findings == []


def test_a_long_identifier_stands_in_the_log_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood in the event of every batch: 390 times 4 MiB of log for one query."""
    monkeypatch.setattr(query_module, "_BATCH", 1)
    room.store(*(image(1, str(study)) for study in range(4)))
    asked = find_query({"StudyInstanceUID": "", "PatientID": "PID-*"})
    assert len(list(room.finder.find(READER, asked))) == 4
    described = [bool(e.payload and e.payload["detail"]) for e in room.entries(EventCode.QUERY_ANSWERED)]
    assert described[0]
    assert not any(described[1:])
    assert len(described) >= 4


def test_what_is_too_large_to_decode_is_not_read_at_all(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an object was held in memory before the decoder's own bound was asked."""
    room.store(image())
    monkeypatch.setattr(retrieve_module, "TRANSCODE_BYTES_MAX", 100)
    keys = retrieve_keys({"StudyInstanceUID": image().study})
    retrieval = room.retriever.begin(READER, keys)
    record = retrieval.records[0]
    assert b"".join(bytes(piece) for piece in retrieval.dataset(record, EXPLICIT)) == image().dataset
    with pytest.raises(DatasetRefused):
        next(retrieval.dataset(record, "1.2.840.10008.1.2"))


def keep_entries(folder: Path, count: int) -> None:
    """Cut the journal behind its first entries."""
    (journal,) = (folder / "audit" / "journal").glob("*.journal")
    steps = walk_segment(journal, 0, ORIGIN)
    end = [offset + length for offset, _, length in steps][count - 1]
    journal.write_bytes(journal.read_bytes()[:end])


def test_an_event_stands_once_after_a_power_cut_and_a_crash(room: Room, tmp_path: Path) -> None:
    """Replay looked from the size of the log on, unsynced entries included; a power cut takes those away."""
    room.store(image(1, "2"))
    room.audit.sync()
    durable = room.audit.size()
    assert durable > 0
    for _ in range(10):
        event = AuditEvent(EventCode.ASSOCIATION_REFUSED, room.clock.now(), Actor("unrecognised"))
        room.audit.record(event, durable=False)
    session = room.session()
    store(session, image())
    folder = killed(room, tmp_path / "cut")
    keep_entries(
        folder, durable
    )  # what the power cut left of the log: the pack is whole, the entries are gone
    for _ in range(2):
        again = Room(folder)
        try:
            again.replay()
            with again.database.writing(durable=True) as transaction:
                transaction.execute("DELETE FROM pack", ())  # as if it had crashed before the note
            assert again.counted(EventCode.INSTANCE_STORED) == 2
        finally:
            again.close()


@pytest.mark.parametrize("reindex", [True, False])
def test_one_changed_octet_does_not_take_its_pack_from_the_index(
    room: Room, tmp_path: Path, reindex: bool
) -> None:
    """All other objects of the pack, answered with success, were found no more."""
    images = [image(number) for number in range(4)]
    session = room.session()
    for one in images:
        store(session, one)
    if reindex:
        session.close_packs()
    folder = killed(room, tmp_path / "damaged")
    (pack,) = (folder / "vault").rglob("*.pack")
    octets = bytearray(pack.read_bytes())
    octets[256 + 300] ^= 1  # in the first record, behind its header
    pack.write_bytes(octets)
    damaged = Room(folder)
    try:
        report = (
            damaged.recovery.rebuild(OPERATOR, lambda _done, _total: None) if reindex else damaged.replay()
        )
        assert len(report.findings) == 1
        assert (report.records, report.events_added) == (3, 0)
        for one in images[1:]:
            assert damaged.held(one) == one.dataset
        assert damaged.index.lookup(UID(images[0].instance)) is None
        assert len(damaged.replay().findings) == 1, "it is named at every start"
        assert pack.read_bytes() == octets
    finally:
        damaged.close()


def test_requests_for_commitment_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty requests of 20 000 instances took 52 MB of database; nobody counted them."""
    monkeypatch.setattr(commitment_module, "COMMITMENT_REQUESTS_MAX", 2)
    action = CommitmentAction(UID("1.2.3"), (SOPReference(UID(CT), UID(image().instance)),))
    for _ in range(2):
        room.commitment.accept(MODALITY, "ct1", action, listens=False)
    with pytest.raises(OutOfResources):
        room.commitment.accept(MODALITY, "ct1", action, listens=False)
    (first, second) = room.commitment.due("ct1")
    room.commitment.settle(first, "")
    room.commitment.accept(MODALITY, "ct1", action, listens=False)
    room.commitment.settle(second, "")
    assert room.jobs.waiting() == 1
