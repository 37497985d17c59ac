"""What a second review found in the archive behind HTTPS, each as the test that found it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from archive.room import MODALITY, OPERATOR, Image, Room, image, store
from leadglass.archive.access import Access
from leadglass.archive.deletion import Deletions
from leadglass.archive.ingest import Ingest
from leadglass.archive.worklist import Worklist
from leadglass.base.errors import AccessDenied, DatasetRefused, RequestRefused
from leadglass.base.ids import UID
from leadglass.dicom.commitment import CommitmentAction, FailureReason, SOPReference
from leadglass.dicom.json import json_to_datasets
from leadglass.dicom.values import Dataset, text_element
from leadglass.dicom.workitem import PATIENT_ID, STUDY_INSTANCE_UID, created, updated
from leadglass.doors.dicomweb import worklist as worklist_door
from leadglass.store.worklist.service import SQLWorkitemStore
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "room")
    yield made
    made.close()


@dataclass
class Site:
    """A site where devices are revoked while they work."""

    revoked: set[str] = field(default_factory=set[str])

    def current(self, principal: Principal) -> Principal | None:
        return None if principal.principal_id in self.revoked else principal


def test_whoever_is_revoked_stores_nothing_more(room: Room) -> None:
    """An association or an upload that was open went on storing for as long as it was kept open."""
    site = Site()
    access = Access(room.access.policy, room.audit, room.vault, room.clock, site)
    ingest = Ingest(access, room.vault, room.writer, room.index)
    session = ingest.session(access.permit(MODALITY, Permission.INSTANCE_STORE), room.origin())
    store(session, image(1))
    site.revoked.add(MODALITY.principal_id)
    with pytest.raises(AccessDenied):
        store(session, image(2))
    session.close_packs()
    room.writer.barrier()
    assert room.index.lookup(UID(image(1).instance)) is not None
    assert room.index.lookup(UID(image(2).instance)) is None
    assert room.counted(EventCode.INSTANCE_REFUSED)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_is_deleted_is_not_promised_to_be_kept(room: Room, level: int) -> None:
    """A modality was told that its images are safe, and may have deleted its own: they waited for disposal."""
    room.store(image(1), image(2))
    deletions = Deletions(room.access, room.index, room.writer)
    gone = image(1)
    uids = (UID(gone.study), UID(gone.series), UID(gone.instance))[:level]
    deletion = deletions.delete(OPERATOR, *uids, reason="wrong patient")
    assert promised(room, gone) == FailureReason.NO_SUCH_OBJECT_INSTANCE
    assert promised(room, image(2)) == (None if level == 3 else FailureReason.NO_SUCH_OBJECT_INSTANCE)
    deletions.restore(OPERATOR, deletion.deletion_id)
    assert promised(room, gone) is None


def promised(room: Room, of: Image) -> FailureReason | None:
    """Return why the storage of an instance is not committed; None for one that is."""
    reference = SOPReference(UID("1.2.840.10008.5.1.4.1.1.2"), UID(of.instance))
    asked = CommitmentAction(UID("1.2.826.0.1.99"), (reference,))
    room.commitment.accept(MODALITY, "ct1", asked, listens=True)
    (pending,) = room.commitment.due()
    event = room.commitment.evaluate(MODALITY, pending.request)
    room.commitment.settle(pending, "")
    return FailureReason(event.failed[0].reason) if event.failed else None


@pytest.mark.parametrize(
    "tag", [0x0010_0010, PATIENT_ID, 0x0010_0021, 0x0010_0030, 0x0010_0040, STUDY_INSTANCE_UID]
)
def test_a_workitem_stays_with_its_patient_and_its_study(tag: int) -> None:
    """An update gave it to another patient, or out of the study that says who may know of it."""
    item = created(workitem(), UID("1.2.3"))
    changed = updated(item, {tag: text_element(tag, _value_of(item, tag))}, "")
    assert changed[tag].value == item[tag].value
    with pytest.raises(DatasetRefused):
        updated(item, {tag: text_element(tag, "1.2.3.99")}, "")


def _value_of(item: Dataset, tag: int) -> str:
    return item[tag].value.decode().strip(" \0")


@pytest.mark.parametrize("end", [b"", b"\\", b'"'])
def test_a_string_without_an_end_is_looked_at_once(end: bytes) -> None:
    """20 KiB took 11 s, in the loop of the server and before anybody was asked for rights: it stood still."""
    bomb = b'"' + b'\\"' * 500_000 + end
    began = time.process_time()
    with pytest.raises(DatasetRefused):
        json_to_datasets(bomb)
    assert time.process_time() - began < 5


def test_workitems_are_read_beside_the_loop(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it takes to read one, others are answered meanwhile."""
    worklist = Worklist(
        room.access, SQLWorkitemStore(room.database, room.keys.site_seal("worklist")), room.index
    )
    threads: set[int] = set()

    def read(_document: bytes) -> Dataset:
        threads.add(threading.get_ident())
        raise DatasetRefused("none")

    async def body() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    headers = [(b"content-type", b"application/dicom+json")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, body)
    monkeypatch.setattr(worklist_door, "json_to_dataset", read)
    with pytest.raises(RequestRefused):
        asyncio.run(worklist_door.WorklistDoor(worklist_door.WorklistServices(worklist)).create(request))
    assert threads
    assert threading.get_ident() not in threads


def workitem() -> Dataset:
    values = {
        0x0010_0010: "A^B",
        PATIENT_ID: "P1",
        0x0010_0021: "I",
        0x0010_0030: "19700101",
        0x0010_0040: "O",
        STUDY_INSTANCE_UID: "1.2.3.4",
        0x0040_4005: "20261122120000",
        0x0040_4041: "READY",
        0x0074_1000: "SCHEDULED",
        0x0074_1200: "HIGH",
        0x0074_1204: "Read",
    }
    return {tag: text_element(tag, value) for tag, value in values.items()}
