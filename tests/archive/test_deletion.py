"""Soft deletion: on record before it counts, undone inside its window, and not as a weapon."""

from dataclasses import replace
from datetime import timedelta

import pytest

from archive.room import READER, STRANGER, Image, Room, facts, find_query, image, store
from leadglass.archive.deletion import Deletions
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    NotFound,
    OutOfResources,
    StateConflict,
    UsageError,
)
from leadglass.base.ids import UID
from leadglass.dicom.models import Level
from leadglass.store.index.interfaces import Selector
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.identity.models import Circumstances, Principal

WHY = "sent twice: Canary"


@pytest.fixture
def admin(room: Room) -> Principal:
    """A PACS administrator who has just shown a strong factor."""
    return Principal(
        "user:admin",
        ("pacs-administrator",),
        address="192.0.2.10",
        correlation_id="c-admin",
        circumstances=Circumstances(
            session_id="s", zone="site", methods=("pwd", "hwk"), strong_at=room.clock.now()
        ),
    )


@pytest.fixture
def deletions(room: Room) -> Deletions:
    return Deletions(room.access, room.index, room.writer, instances_per_hour=4)


def uids(of: Image) -> tuple[UID, UID, UID]:
    return UID(of.study), UID(of.series), UID(of.instance)


def found(room: Room) -> list[str]:
    return [match.study_uid for match in room.finder.find(READER, find_query({}))]


def test_a_deleted_study_is_found_and_sent_by_nobody_until_it_is_restored(
    room: Room, deletions: Deletions, admin: Principal
) -> None:
    session = room.session()
    store(session, image(1, "1"))
    store(session, image(1, "2"))
    deletion = deletions.delete(admin, UID(image(1, "1").study), reason=WHY)
    assert found(room) == [image(1, "2").study]
    assert not list(room.index.select(Selector(Level.STUDY, study_uids=(deletion.study_uid,))))
    assert deletions.list(admin) == [deletion]
    assert deletions.restore(admin, deletion.deletion_id) == 1
    assert sorted(found(room)) == [image(1, "1").study, image(1, "2").study]
    assert deletions.list(admin) == []
    session.close_packs()


def test_it_is_on_record_before_it_takes_effect(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(image(1))
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        deletions.delete(admin, UID(image().study), reason=WHY)
    room.audit.full = False
    assert found(room) == [image().study]
    deletion = deletions.delete(admin, *uids(image(1)), reason=WHY)
    (entry,) = [e for e in room.entries(EventCode.STUDY_DELETED) if e.payload is not None]
    assert facts(entry)["instances"] == 1
    assert facts(entry)["level"] == "IMAGE"
    assert "Canary" not in str(entry.leaf)
    assert "Canary" in str(entry.payload)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        deletions.restore(admin, deletion.deletion_id)
    room.audit.full = False
    assert found(room) == []
    deletions.restore(admin, deletion.deletion_id)
    assert room.counted(EventCode.STUDY_RESTORED) == 1


def test_a_resend_brings_nothing_back(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(image(1))
    deletions.delete(admin, UID(image().study), reason=WHY)
    (stored,) = room.store(image(1))
    assert stored.already_held
    room.store(image(2))
    assert found(room) == []


def test_who_may_not_is_refused_and_learns_nothing(
    room: Room, deletions: Deletions, admin: Principal
) -> None:
    room.store(image(1))
    study = UID(image().study)
    for principal in (READER, STRANGER, replace(admin, circumstances=Circumstances(zone="site"))):
        with pytest.raises(AccessDenied):
            deletions.delete(principal, study, reason=WHY)
    elsewhere = replace(admin, institutions=("another hospital",))
    with pytest.raises(NotFound) as hidden:
        deletions.delete(elsewhere, study, reason=WHY)
    with pytest.raises(NotFound) as missing:
        deletions.delete(admin, UID("1.2.3"), reason=WHY)
    assert str(hidden.value) == str(missing.value)
    deletion = deletions.delete(admin, study, reason=WHY)
    assert deletions.list(elsewhere) == []
    with pytest.raises(NotFound):
        deletions.restore(elsewhere, deletion.deletion_id)
    with pytest.raises(AccessDenied):
        deletions.restore(READER, deletion.deletion_id)
    with pytest.raises(NotFound):
        deletions.delete(admin, study, reason=WHY)


def test_after_its_window_nothing_is_restored(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(image(1))
    deletion = deletions.delete(admin, UID(image().study), reason=WHY)
    assert deletion.restorable_until == room.clock.now() + timedelta(days=30)
    room.clock.advance(30 * 86400)
    still = replace(admin, circumstances=replace(admin.circumstances, strong_at=room.clock.now()))
    with pytest.raises(StateConflict):
        deletions.restore(still, deletion.deletion_id)
    assert found(room) == []


def test_what_is_asked_for_must_make_sense(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(image(1))
    study, series, instance = uids(image(1))
    for reason in ("", " ", "x" * 1001):
        with pytest.raises(UsageError):
            deletions.delete(admin, study, reason=reason)
    with pytest.raises(UsageError):
        deletions.delete(admin, study, None, instance, reason=WHY)
    with pytest.raises(NotFound):
        deletions.delete(admin, study, UID(series + ".9"), reason=WHY)


def test_s88_mass_deletion_is_stopped_and_an_alert(
    room: Room, deletions: Deletions, admin: Principal
) -> None:
    """Attack: with an administrator's rights, delete the archive and ask for ransom."""
    room.store(*(image(n, study) for study in "123" for n in (1, 2)))
    for study in "12":
        deletions.delete(admin, UID(image(1, study).study), reason=WHY)
    with pytest.raises(OutOfResources):
        deletions.delete(admin, UID(image(1, "3").study), reason=WHY)
    (alert,) = room.entries(EventCode.SECURITY_ALERT)
    assert alert.leaf["outcome"] == Outcome.SERIOUS_FAILURE.value
    assert facts(alert)["what"] == "mass deletion"
    assert found(room) == [image(1, "3").study]
    other = replace(admin, principal_id="user:other")
    room.clock.advance(600)
    deletions.delete(other, *uids(image(1, "3")), reason=WHY)
    room.clock.advance(3000)
    again = replace(admin, circumstances=replace(admin.circumstances, strong_at=room.clock.now()))
    deletions.delete(again, UID(image(1, "3").study), reason=WHY)


def test_one_large_study_is_no_attack(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(*(image(n) for n in range(1, 7)))
    deletions.delete(admin, UID(image().study), reason=WHY)
    assert found(room) == []


def test_a_list_of_deletions_is_on_record(room: Room, deletions: Deletions, admin: Principal) -> None:
    room.store(image(1))
    deletions.delete(admin, UID(image().study), reason=WHY)
    room.audit.full = True
    with pytest.raises(AuditUnavailable):
        deletions.list(admin)
    room.audit.full = False
    deletions.list(admin)
    (entry,) = room.entries(EventCode.DELETIONS_LISTED)
    assert facts(entry)["deletions"] == 1
