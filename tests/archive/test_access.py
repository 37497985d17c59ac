"""The one door to an object: a decision, a record of it, and only then octets."""

import pytest

from archive.room import MODALITY, OPERATOR, READER, STRANGER, Room, facts, image
from leadglass.base.errors import AccessDenied, AuditUnavailable, IntegrityError
from leadglass.base.ids import UID
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission


def stored(room: Room) -> InstanceRecord:
    one = image()
    room.store(one)
    room.writer.barrier()
    record = room.index.lookup(UID(one.instance))
    assert record is not None
    return record


def test_a_denial_is_on_record_with_its_reason_and_gives_nothing(room: Room) -> None:
    for number, permission in enumerate(Permission):
        with pytest.raises(AccessDenied) as refused:
            room.access.permit(STRANGER, permission)
        assert str(refused.value) == "not authorized"  # the reason is for the log only
        entry = room.entries()[-1]
        assert entry.sequence == number
        assert entry.leaf["outcome"] == "serious_failure"
        assert facts(entry)["permission"] == permission.value
        assert facts(entry)["reason"] in {"no policy allows it", "forbidden by policy"}
        assert entry.leaf["actor"] == {
            "principal": "device:nobody",
            "ae": "NOBODY",
            "address": "192.0.2.9",
            "certificate": "ef" * 32,
        }


def test_a_yes_is_not_an_entry_by_itself_but_names_its_rules(room: Room) -> None:
    grant = room.access.permit(MODALITY, Permission.INSTANCE_STORE)
    assert grant.rules == ("store-sends",)
    assert room.audit.size() == 0


def test_a_denial_that_cannot_be_recorded_is_still_no(room: Room) -> None:
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        room.access.permit(STRANGER, Permission.STUDY_QUERY)


def test_may_says_what_permit_would_and_leaves_no_trace(room: Room) -> None:
    for principal in (MODALITY, READER, OPERATOR, STRANGER):
        for permission in Permission:
            before = room.audit.size()
            may = room.access.may(principal, permission)
            assert room.audit.size() == before
            try:
                room.access.permit(principal, permission)
            except AccessDenied:
                assert not may
            else:
                assert may


@pytest.mark.parametrize(
    ("principal", "permission"),
    [
        (READER, Permission.STUDY_QUERY),
        (MODALITY, Permission.ASSOCIATION_ECHO),
        (OPERATOR, Permission.AUDIT_READ),
        (OPERATOR, Permission.STATUS_READ),
    ],
)
def test_a_grant_for_something_else_opens_nothing(
    room: Room, principal: Principal, permission: Permission
) -> None:
    record = stored(room)
    grant = room.access.permit(principal, permission)
    with pytest.raises(AccessDenied):
        room.access.open(grant, record)


def test_a_reading_grant_opens(room: Room) -> None:
    record = stored(room)
    sealed = room.access.open(room.grant(READER, Permission.INSTANCE_RETRIEVE), record)
    try:
        assert sealed.read(record.dataset_offset, record.dataset_length) == image().dataset
    finally:
        sealed.close()


def test_damage_is_on_record_before_it_is_raised(room: Room) -> None:
    record = stored(room)
    (pack,) = room.packs()
    with pack.open("r+b") as file:
        file.seek(record.address.offset + 40)
        octet = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((octet[0] ^ 1,)))
    with pytest.raises(IntegrityError):
        room.access.open(room.grant(READER, Permission.INSTANCE_RETRIEVE), record)
    (entry,) = room.entries(EventCode.INTEGRITY_FAILED)
    assert facts(entry)["pack"] == record.address.pack_id.hex()
    assert facts(entry)["offset"] == record.address.offset
    leaf = str(entry.leaf)
    assert record.identity.sop_instance_uid not in leaf
    assert record.identity.study_uid not in leaf


def test_damage_that_cannot_be_recorded_is_not_served_either(room: Room) -> None:
    record = stored(room)
    room.packs()[0].write_bytes(b"")
    grant = room.grant(READER, Permission.INSTANCE_RETRIEVE)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        room.access.open(grant, record)
