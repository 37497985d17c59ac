"""Verification reads everything and changes nothing; whatever is not as written is named."""

import pytest

from archive.room import READER, Room, facts, image
from leadglass.base.errors import AccessDenied, DuplicateObject
from leadglass.base.ids import UID
from leadglass.trust.audit.interfaces import EventCode


def test_whole(room: Room) -> None:
    room.store(*(image(number, study) for number in range(3) for study in ("1", "2")))
    report = room.verify()
    assert (report.packs, report.records, report.rows, report.findings) == (2, 6, 6, [])
    assert report.octets > 6 * 512
    (entry,) = room.entries(EventCode.VAULT_VERIFIED)
    assert entry.leaf["outcome"] == "success"


def test_an_empty_site_is_whole(room: Room) -> None:
    report = room.verify()
    assert (report.packs, report.records, report.rows, report.findings) == (0, 0, 0, [])


def test_every_octet_of_every_record_counts(room: Room) -> None:
    room.store(image(1), image(2))
    room.writer.barrier()
    record = room.index.lookup(UID(image(2).instance))
    assert record is not None
    (pack,) = room.packs()
    whole = pack.read_bytes()
    length = record.address.length
    for at in (0, 1, 17, 200, 255, 256, 300, length // 2, length - 200, length - 17, length - 1):
        damaged = bytearray(whole)
        damaged[record.address.offset + at] ^= 0x80
        pack.write_bytes(damaged)
        findings = room.verify().findings
        assert findings, f"octet {at} of the record is not covered"
        assert all(image(2).instance not in str(finding) for finding in findings)
    pack.write_bytes(whole)
    assert room.verify().findings == []


def test_a_pack_that_vanished(room: Room) -> None:
    room.store(image(1, "1"), image(1, "2"))
    room.packs()[0].unlink()
    findings = room.verify().findings
    assert any("index names a record" in finding.what for finding in findings)


def test_a_row_that_somebody_removed(room: Room) -> None:
    room.store(image(1), image(2))
    with room.database.writing(durable=True) as transaction:
        transaction.execute("DELETE FROM instance WHERE rowid IN (SELECT max(rowid) FROM instance)", ())
    findings = room.verify().findings
    assert any("does not name" in finding.what for finding in findings)


def test_a_file_that_is_no_pack(room: Room) -> None:
    room.store(image())
    (room.packs()[0].parent / "notes.txt").write_text("hello")
    assert len(room.verify().findings) == 1


def test_what_is_kept_apart_is_no_finding(room: Room) -> None:
    room.store(image())
    with pytest.raises(DuplicateObject):
        room.store(image(filling=b"OTHER CONTENT"))
    report = room.verify()
    assert (report.records, report.rows, report.findings) == (2, 1, [])


def test_findings_are_on_record(room: Room) -> None:
    room.store(image())
    room.packs()[0].unlink()
    report = room.verify()
    (entry,) = room.entries(EventCode.VAULT_VERIFIED)
    assert entry.leaf["outcome"] == "serious_failure"
    assert facts(entry)["findings"] == len(report.findings)


def test_who_may(room: Room) -> None:
    with pytest.raises(AccessDenied):
        room.verification.verify(READER, lambda _done, _total: None)
