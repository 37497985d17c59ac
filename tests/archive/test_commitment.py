"""Storage commitment: a request survives everything, a promise is made only for what is held whole."""

from pathlib import Path

import pytest

from archive.room import CT, MODALITY, READER, Image, Room, facts, image, killed, store
from leadglass.base.errors import AccessDenied, AuditUnavailable
from leadglass.base.ids import UID
from leadglass.base.limits import JOB_ATTEMPTS_MAX
from leadglass.dicom.commitment import CommitmentAction, FailureReason, SOPReference
from leadglass.trust.audit.interfaces import EventCode

MR = "1.2.840.10008.5.1.4.1.1.4"


def action(*images: Image, sop_class: str = CT) -> CommitmentAction:
    references = tuple(SOPReference(UID(sop_class), UID(one.instance)) for one in images)
    return CommitmentAction(UID("1.2.826.0.1.99"), references)


def test_held_and_not_held(room: Room) -> None:
    room.store(image(1))
    room.commitment.accept(MODALITY, "ct1", action(image(1), image(2)), listens=True)
    (pending,) = room.commitment.due()
    event = room.commitment.evaluate(MODALITY, pending.request)
    assert [reference.sop_instance_uid for reference in event.committed] == [image(1).instance]
    assert [failed.reason for failed in event.failed] == [FailureReason.NO_SUCH_OBJECT_INSTANCE]
    assert event.transaction_uid == "1.2.826.0.1.99"
    (entry,) = room.entries(EventCode.COMMITMENT_REPORTED)
    assert facts(entry) == {"committed": 1, "failed": 1}
    assert entry.leaf["outcome"] == "minor_failure"


def test_what_still_waits_for_its_row_is_committed(room: Room) -> None:
    session = room.session()
    store(session, image())
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    (pending,) = room.commitment.due()
    assert len(room.commitment.evaluate(MODALITY, pending.request).committed) == 1
    session.close_packs()


def test_another_class_is_a_conflict(room: Room) -> None:
    room.store(image())
    room.commitment.accept(MODALITY, "ct1", action(image(), sop_class=MR), listens=True)
    (pending,) = room.commitment.due()
    (failed,) = room.commitment.evaluate(MODALITY, pending.request).failed
    assert failed.reason == FailureReason.CLASS_INSTANCE_CONFLICT


def test_damage_is_not_committed(room: Room) -> None:
    room.store(image())
    record = room.index.lookup(UID(image().instance))
    assert record is not None
    with room.packs()[0].open("r+b") as file:
        file.seek(record.address.offset + record.address.length - 20)
        file.write(b"\0" * 8)
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    (pending,) = room.commitment.due()
    (failed,) = room.commitment.evaluate(MODALITY, pending.request).failed
    assert failed.reason == FailureReason.PROCESSING_FAILURE
    assert room.counted(EventCode.INTEGRITY_FAILED) == 1


def test_what_is_kept_apart_is_not_committed_in_place_of_what_is_held(room: Room) -> None:
    """The UID is held: the promise is about what is served under it."""
    room.store(image())
    with pytest.raises(Exception, match="kept apart"):
        room.store(image(filling=b"OTHER CONTENT"))
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    (pending,) = room.commitment.due()
    assert len(room.commitment.evaluate(MODALITY, pending.request).committed) == 1


def test_a_request_survives_kill_9(room: Room, tmp_path: Path) -> None:
    room.store(image())
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    after = Room(killed(room, tmp_path / "after"))
    try:
        (pending,) = after.commitment.due()
        assert pending.request.device_id == "ct1"
        assert pending.request.correlation_id == MODALITY.correlation_id
        assert len(after.commitment.evaluate(MODALITY, pending.request).committed) == 1
        after.commitment.settle(pending, "")
        assert after.jobs.waiting() == 0
    finally:
        after.close()


def test_requests_are_sealed_at_rest(room: Room) -> None:
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    (job,) = room.jobs.lease(("commitment.report",), 60)
    assert image().instance.encode() not in job.payload


def test_a_delivery_is_tried_again_until_it_is_given_up(room: Room) -> None:
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    for attempt in range(JOB_ATTEMPTS_MAX):
        (pending,) = room.commitment.due()
        assert pending.job.attempt == attempt + 1
        assert room.commitment.due() == [], "nobody else may have it meanwhile"
        room.commitment.settle(pending, "the device does not answer")
        assert room.commitment.due() == [], "not at once again"
        room.clock.advance(4 * 24 * 3600)
    assert room.commitment.due() == []
    (dead,) = room.jobs.dead()
    assert dead.reason == "the device does not answer"


def test_a_worker_that_died_gives_its_report_back(room: Room) -> None:
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    assert len(room.commitment.due()) == 1
    room.clock.advance(301)
    (pending,) = room.commitment.due()
    room.commitment.settle(pending, "")
    room.clock.advance(301)
    assert room.commitment.due() == []


def test_a_device_that_does_not_listen_gets_its_own_only(room: Room) -> None:
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=False)
    room.commitment.accept(MODALITY, "ct2", action(image()), listens=False)
    assert room.commitment.due() == []
    (pending,) = room.commitment.due("ct1")
    assert pending.request.device_id == "ct1"
    assert room.commitment.due("ct1") == []


def test_a_request_that_was_changed_is_never_followed(room: Room) -> None:
    room.jobs.enqueue("commitment.report", b"not sealed by us")
    room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    (pending,) = room.commitment.due()
    assert pending.request.device_id == "ct1"


def test_who_may_not_ask(room: Room) -> None:
    with pytest.raises(AccessDenied):
        room.commitment.accept(READER, "ws1", action(image()), listens=True)
    assert room.jobs.waiting() == 0
    assert room.entries(EventCode.COMMITMENT_REQUESTED)[0].leaf["outcome"] == "serious_failure"


def test_what_is_not_on_record_is_not_promised(room: Room) -> None:
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        room.commitment.accept(MODALITY, "ct1", action(image()), listens=True)
    room.audit.full = False
    assert room.jobs.waiting() == 0
