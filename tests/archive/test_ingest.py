"""An object arrives: what is promised by success, what each failure leaves behind."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.room import (
    CT,
    EXPLICIT,
    MODALITY,
    OPERATOR,
    READER,
    Image,
    Room,
    element,
    facts,
    image,
    killed,
    store,
)
from leadglass.archive.access import Access, Grant
from leadglass.archive.ingest import QUARANTINE_DUPLICATE, StoreRequest
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    DatasetRefused,
    DuplicateObject,
    LeadglassError,
    OutOfResources,
)
from leadglass.base.ids import UID
from leadglass.dicom.syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from leadglass.dicom.transcode import transcode
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.store.index.writer import IndexWriter
from leadglass.store.vault.interfaces import SealedObject
from leadglass.store.vault.pack import FileRecordWriter
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import Permission


def test_success_means_held_found_and_on_record(room: Room) -> None:
    one = image()
    (outcome,) = room.store(one)
    assert not outcome.already_held
    assert room.held(one) == one.dataset
    (entry,) = room.entries(EventCode.INSTANCE_STORED)
    assert entry.leaf["outcome"] == "success"
    assert facts(entry) == {"octets": len(one.dataset)}
    assert entry.payload is not None
    assert entry.payload["objects"] == {
        "patient": ["pid-1"],
        "study": [one.study],
        "instance": [one.instance],
    }
    assert "Canary" not in str(entry)
    assert room.verify().findings == []


def test_order_of_steps(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy for the session and for the object, then a durable record, the row, the event, the answer."""
    steps: list[str] = []

    def noted(owner: type, name: str, word: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def wrapper(*args: object, **kwargs: object) -> object:
            answer = real(*args, **kwargs)
            steps.append(word)
            return answer

        monkeypatch.setattr(owner, name, wrapper)

    noted(CedarPolicy, "decide", "policy")
    noted(FileRecordWriter, "commit", "durable")
    noted(IndexWriter, "admit", "row")
    noted(type(room.audit), "record", "event")
    session = room.session()
    store(session, image())
    steps.append("answer")
    session.close_packs()
    assert steps == ["policy", "policy", "durable", "row", "event", "answer"]


def test_a_session_needs_a_grant_for_storing(room: Room) -> None:
    grant = room.access.permit(READER, Permission.INSTANCE_RETRIEVE)
    with pytest.raises(AccessDenied):
        room.ingest.session(grant, room.origin(READER))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 900), min_size=1, max_size=40), number=st.integers(1, 10**6))
def test_the_cut_does_not_matter(room: Room, cuts: list[int], number: int) -> None:
    one = image(number, "9")
    session = room.session()
    incoming = session.begin(one.request)
    at = 0
    for cut in cuts:
        incoming.write(one.dataset[at : at + cut])
        at += cut
    incoming.write(one.dataset[at:])
    incoming.finish()
    session.close_packs()
    assert room.held(one) == one.dataset


# --- audit fails -------------------------------------------------------------------------------------------------


def test_without_its_event_there_is_no_success_and_recovery_brings_the_object_back(
    room: Room, tmp_path: Path
) -> None:
    one = image()
    session = room.session()
    store(session, image(2))
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        store(session, one)
    with pytest.raises(AuditUnavailable):
        session.close_packs()
    after = Room(killed(room, tmp_path / "after"))
    try:
        report = after.replay()
        assert (report.records, report.events_added, report.findings) == (2, 1, [])
        assert after.held(one) == one.dataset
        assert after.counted(EventCode.INSTANCE_STORED) == 2
        assert after.verify().findings == []
    finally:
        after.close()


def test_a_refusal_that_cannot_be_recorded_is_no_answer(room: Room) -> None:
    session = room.session()
    incoming = session.begin(image().request)
    room.audit.full = True
    incoming.write(b"\xff" * 64)
    incoming.write(b"\xff" * 64)  # the rest of the data set is swallowed, so that the answer has its place
    with pytest.raises(AuditUnavailable):
        incoming.finish()
    assert room.packs() == []


def test_a_failing_index_is_no_success(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutOfResources("the index is full")

    session = room.session()
    with monkeypatch.context() as patch:
        patch.setattr(IndexWriter, "admit", full)
        with pytest.raises(OutOfResources):
            store(session, image())
    assert room.counted(EventCode.INSTANCE_STORED) == 0
    assert room.counted(EventCode.INSTANCE_REFUSED) == 1
    # Once there is room again the same object is welcome.
    assert not store(session, image()).already_held
    session.close_packs()
    assert room.held(image()) == image().dataset


# --- one UID twice -----------------------------------------------------------------------------------------------


def test_the_same_again_is_answered_with_success_and_kept_once(room: Room) -> None:
    one = image()
    room.store(one)
    octets = room.vault.bytes_used()
    (again,) = room.store(one)
    assert again.already_held
    assert room.vault.bytes_used() == octets
    assert len(room.packs()) == 1
    (entry,) = room.entries(EventCode.INSTANCE_ALREADY_HELD)
    assert entry.leaf["outcome"] == "success"
    assert room.verify().findings == []


def test_the_same_again_within_one_burst(room: Room) -> None:
    """The row may still wait for its commit: the resend must meet it all the same."""
    one = image()
    first, second = room.store(one, one)
    assert (first.already_held, second.already_held) == (False, True)
    assert room.verify().records == 1


def test_other_content_under_a_held_uid_is_kept_apart_and_never_served(room: Room) -> None:
    one, other = image(), image(filling=b"OTHER CONTENT")
    room.store(one)
    with pytest.raises(DuplicateObject) as refused:
        room.store(other)
    assert refused.value.dimse_status == 0x0111
    assert room.held(one) == one.dataset
    (kept,) = room.index.quarantined()
    assert kept.reason == QUARANTINE_DUPLICATE
    sealed = room.vault.open(kept.record.address, kept.record.identity)
    assert sealed.read(kept.record.dataset_offset, kept.record.dataset_length) == other.dataset
    sealed.close()
    (entry,) = room.entries(EventCode.INSTANCE_QUARANTINED)
    assert entry.leaf["event_id"] == kept.record.address.object_id.hex()
    assert room.counted(EventCode.INSTANCE_REFUSED) == 0
    assert room.verify().findings == []


def test_the_same_object_written_anew_is_held_already(room: Room) -> None:
    """A toolkit on the way may write the same attributes in another encoding: that is no other object."""
    one = image()
    room.store(one)
    anew = transcode(one.dataset, EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN)
    assert anew != one.dataset
    session = room.session()
    incoming = session.begin(StoreRequest(UID(CT), UID(one.instance), IMPLICIT_VR_LITTLE_ENDIAN))
    incoming.write(anew)
    stored = incoming.finish()
    assert (stored.already_held, stored.in_other_encoding) == (True, True)
    session.close_packs()
    assert list(room.index.quarantined()) == []
    assert room.held(one) == one.dataset


def test_a_sender_that_tries_again_does_not_fill_the_disk(room: Room) -> None:
    room.store(image())
    for _ in range(3):
        with pytest.raises(DuplicateObject):
            room.store(image(filling=b"OTHER CONTENT"))
    assert len(list(room.index.quarantined())) == 1
    assert room.counted(EventCode.INSTANCE_QUARANTINED) == 1
    assert room.counted(EventCode.INSTANCE_REFUSED) == 2
    with pytest.raises(DuplicateObject):
        room.store(image(filling=b"a third content"))
    assert len(list(room.index.quarantined())) == 2
    assert len(room.packs()) == 3


@pytest.mark.parametrize("longer", [True, False])
def test_a_prefix_is_not_the_same(room: Room, longer: bool) -> None:
    small, large = image(pixels=512), image(pixels=514)
    first, second = (small, large) if longer else (large, small)
    room.store(first)
    with pytest.raises(DuplicateObject):
        room.store(second)
    assert room.held(first) == first.dataset


def test_the_same_octets_in_another_study_are_another_object(room: Room) -> None:
    one = image()
    moved = Image(
        one.study + ".7",
        one.series,
        one.instance,
        one.dataset.replace(
            element(0x0020000D, "UI", one.study.encode()),
            element(0x0020000D, "UI", (one.study + ".7").encode()),
        ),
    )
    room.store(one)
    with pytest.raises(DuplicateObject):
        room.store(moved)
    assert room.held(one) == one.dataset


@pytest.mark.parametrize("same", [True, False])
def test_two_senders_store_one_uid_at_the_same_moment(room: Room, same: bool) -> None:
    """Both begin before either is done, so neither sees the other: the row decides."""
    images = (image(), image() if same else image(filling=b"OTHER CONTENT"))
    sessions = (room.session(), room.session(OPERATOR))
    incoming = [session.begin(one.request) for session, one in zip(sessions, images, strict=True)]
    for into, one in zip(incoming, images, strict=True):
        into.write(one.dataset)
    assert not incoming[0].finish().already_held
    if same:
        assert incoming[1].finish().already_held
    else:
        with pytest.raises(DuplicateObject):
            incoming[1].finish()
    for session in sessions:
        session.close_packs()
    assert room.held(images[0]) == images[0].dataset
    assert room.counted(EventCode.INSTANCE_STORED) == 1
    assert room.counted(EventCode.INSTANCE_ALREADY_HELD) == (1 if same else 0)
    assert room.counted(EventCode.INSTANCE_QUARANTINED) == (0 if same else 1)
    assert room.verify().findings == []


def test_many_threads_race_for_the_same_uids(room: Room) -> None:
    """Whatever the interleaving: one object, one event that says stored, and the vault is whole."""
    images = [image(number) for number in range(12)]
    outcomes: list[bool] = []

    def run() -> None:
        session = room.session()
        for one in images:
            outcomes.append(store(session, one).already_held)  # noqa: PERF401 - one append at a time is the point
        session.close_packs()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes.count(False) == len(images)
    assert outcomes.count(True) == 3 * len(images)
    assert room.counted(EventCode.INSTANCE_STORED) == len(images)
    assert room.verify().findings == []


# --- refusals ----------------------------------------------------------------------------------------------------


def refused(room: Room, request: StoreRequest, dataset: bytes, error: type[LeadglassError]) -> LeadglassError:
    session = room.session()
    incoming = session.begin(request)
    incoming.write(dataset)
    with pytest.raises(error) as caught:
        incoming.finish()
    session.close_packs()
    assert room.packs() == []
    assert room.vault.bytes_used() == 0
    assert room.counted(EventCode.INSTANCE_STORED) == 0
    (entry,) = room.entries(EventCode.INSTANCE_REFUSED)
    assert facts(entry)["code"] == caught.value.code
    assert facts(entry)["status"] == caught.value.dimse_status
    assert entry.payload is not None
    assert entry.payload["objects"] == {"instance": [request.sop_instance_uid]}
    assert room.verify().findings == []
    return caught.value


def test_a_refusal_leaves_no_pack_behind(room: Room) -> None:
    one = image()
    error = refused(room, one.request, one.dataset[:-100], DatasetRefused)
    assert error.dimse_status == 0xC000


def test_an_empty_data_set(room: Room) -> None:
    refused(room, image().request, b"", DatasetRefused)


def test_another_instance_than_announced(room: Room) -> None:
    request = StoreRequest(UID(CT), UID("1.2.3"), UID(EXPLICIT))
    assert refused(room, request, image().dataset, DatasetRefused).dimse_status == 0xA900


def test_another_class_than_announced(room: Room) -> None:
    request = StoreRequest(UID("1.2.840.10008.5.1.4.1.1.4"), UID(image().instance), UID(EXPLICIT))
    assert refused(room, request, image().dataset, DatasetRefused).dimse_status == 0xA900


def test_no_study_in_a_very_long_head(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.archive.ingest.DATASET_HEAD_BYTES_MAX", 4096)
    head = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00091010, "OB", bytes(5000))
    refused(room, image().request, head, DatasetRefused)


def test_an_object_larger_than_any_may_be(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.archive.ingest.OBJECT_BYTES_MAX", 600)
    assert refused(room, image().request, image().dataset, OutOfResources).dimse_status == 0xA700


def test_the_burst_goes_on_after_a_refusal(room: Room) -> None:
    session = room.session()
    store(session, image(1))
    broken = session.begin(image(2).request)
    broken.write(image(2).dataset[:-50])
    with pytest.raises(DatasetRefused):
        broken.finish()
    store(session, image(3))
    session.close_packs()
    assert room.held(image(1)) == image(1).dataset
    assert room.held(image(3)) == image(3).dataset
    assert len(room.packs()) == 1
    assert room.verify().findings == []


def test_a_sender_that_went_away_in_the_middle(room: Room) -> None:
    session = room.session()
    incoming = session.begin(image().request)
    incoming.write(image().dataset[:-50])
    incoming.abort()
    session.close_packs()
    assert room.packs() == []
    assert not room.store(image())[0].already_held


# --- packs -------------------------------------------------------------------------------------------------------


def test_one_pack_per_study_of_a_burst(room: Room) -> None:
    room.store(*(image(number, study) for number in range(4) for study in ("1", "2", "3")))
    assert len(room.packs()) == 3
    assert room.index.counts().packs_closed == 3
    for number in range(4):
        for study in ("1", "2", "3"):
            assert room.held(image(number, study)) == image(number, study).dataset


def test_more_open_studies_than_a_burst_may_have(room: Room) -> None:
    session = room.session()
    for round_ in range(2):
        for study in range(12):
            store(session, image(round_, str(study)))
            assert len(session._packs) <= 8
    session.close_packs()
    report = room.verify()
    assert (report.records, report.rows, report.findings) == (24, 24, [])
    assert room.index.closed_packs() == set(room.vault.pack_ids())


def test_a_full_pack_is_followed_by_another(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.store.vault.pack.PACK_BYTES_MAX", 4000)
    room.store(*(image(number, pixels=2048) for number in range(4)))
    assert len(room.packs()) > 1
    assert room.verify().findings == []


_LARGE = """
import resource, sys
from pathlib import Path
from archive.room import Room, image
room = Room(Path(sys.argv[1]))
room.store(image(1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
one = image(2)
head = one.dataset[: one.dataset.index(b"\\xe0\\x7f\\x10\\x00")]
megabytes = int(sys.argv[2])
session = room.session()
incoming = session.begin(one.request)
incoming.write(head + b"\\xe0\\x7f\\x10\\x00OW\\0\\0" + (megabytes << 20).to_bytes(4, "little"))
piece = bytes(range(256)) * 4096
for _ in range(megabytes):
    incoming.write(piece)
incoming.finish()
session.close_packs()
room.writer.barrier()
record = room.index.lookup(one.instance)
sealed = room.vault.open(record.address, record.identity)
read = 0
for part in sealed.stream(record.dataset_offset):
    read += len(part)
sealed.close()
room.close()
assert read == record.dataset_length
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, read)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path / "room"), "200"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[1],
        env={"PYTHONPATH": f"{Path(__file__).parents[2] / 'src'}:{Path(__file__).parents[1]}"},
    )
    assert done.returncode == 0, done.stderr
    kibibytes, read = map(int, done.stdout.split())
    assert read > 200 << 20
    assert kibibytes < 24 * 1024, "an object of 200 MiB must not cost more than some buffers"


def test_access_is_the_only_one_that_asks_the_vault(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resend is compared with what is held: through Access, with the sender's own grant."""
    opened: list[str] = []
    real = Access.open

    def noted(self: Access, grant: Grant, record: InstanceRecord) -> SealedObject:
        opened.append(grant.principal.principal_id)
        return real(self, grant, record)

    monkeypatch.setattr(Access, "open", noted)
    room.store(image(), image())
    assert opened == [MODALITY.principal_id]
