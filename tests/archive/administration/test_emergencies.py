"""Verbs on emergency access: who may, what it opens and for how long, and that nobody looks at their own."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.room import Image, Room, image
from leadglass.archive.access import Access, EmergencyStudies, PolicyRecorder, subject_of
from leadglass.archive.administration.emergencies import Emergencies
from leadglass.base.errors import AccessDenied, AuditUnavailable, NotFound, StepUpRequired, UsageError
from leadglass.base.ids import UID
from leadglass.base.secret import Phi
from leadglass.store.index.interfaces import Relation
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.break_glass import BreakGlass
from leadglass.trust.policy.interfaces import Permission
from trust.identity.identity_site import KEY

REASON = Phi("unconscious, no allergy record known")
ONE, OTHER = image(1), image(1, "2")


@dataclass(frozen=True)
class Standing:
    """As the node's: emergency access in force belongs to whoever asks."""

    break_glass: BreakGlass

    def current(self, principal: Principal) -> Principal:
        here = replace(principal.circumstances, break_glass=self.break_glass.in_force(principal.principal_id))
        return replace(principal, circumstances=here)


@dataclass
class Ward:
    room: Room
    emergencies: Emergencies
    access: Access

    def person(self, name: str, role: str, *, minutes: float | None = 1) -> Principal:
        strong_at = None if minutes is None else self.room.clock.now() - timedelta(minutes=minutes)
        return Principal(
            f"user:{name}", (role,), circumstances=Circumstances(zone="site", strong_at=strong_at)
        )

    def opens(self, principal: Principal, what: Image) -> bool:
        uid = UID(what.study)
        facts = self.room.index.facts((uid,), subject_of(principal))
        grant = self.access.permit_studies(principal, Permission.INSTANCE_RETRIEVE, facts)
        return uid in (grant.studies or ())


@pytest.fixture
def ward(room: Room, tmp_path: Path) -> Ward:
    folder = tmp_path / "identity"
    folder.mkdir()
    database = IdentityDatabase(folder / "identity.db", KEY, room.clock)
    recorder = PolicyRecorder(room.audit, room.clock)
    glass = BreakGlass(database, recorder, EmergencyStudies(room.index), room.clock)
    access = Access(room.access.policy, room.audit, room.vault, room.clock, Standing(glass))
    room.store(ONE, OTHER)
    room.writer.barrier()
    return Ward(room, Emergencies(access, glass, room.index, room.writer), access)


def test_it_opens_one_study_until_its_time_is_over(ward: Ward) -> None:
    gp = ward.person("gp", "referring-physician")
    assert not ward.opens(gp, ONE)
    begun = ward.emergencies.begin(gp, REASON, study_uid=ONE.study)
    assert (ward.opens(gp, ONE), ward.opens(gp, OTHER)) == (True, False)
    assert ward.emergencies.mine(gp) == [begun]
    assert ward.emergencies.mine(ward.person("other", "referring-physician")) == []
    codes = [entry.leaf["event"] for entry in ward.room.entries()][-2:]
    assert codes == [EventCode.BREAK_GLASS_STARTED, EventCode.SECURITY_ALERT]
    ward.room.clock.advance(59 * 60)
    assert ward.opens(gp, ONE)
    ward.room.clock.advance(60)
    assert not ward.opens(gp, ONE)


def test_what_it_takes(ward: Ward) -> None:
    begin = ward.emergencies.begin
    with pytest.raises(StepUpRequired):
        begin(ward.person("gp", "referring-physician", minutes=None), REASON, study_uid=ONE.study)
    with pytest.raises(StepUpRequired):
        begin(ward.person("gp", "referring-physician", minutes=16), REASON, study_uid=ONE.study)
    gp = ward.person("gp", "referring-physician")
    for wrong in ({}, {"study_uid": ONE.study, "patient_id": "PID-1"}, {"study_uid": "../etc"}):
        with pytest.raises(UsageError):
            begin(gp, REASON, **wrong)
    with pytest.raises(UsageError):
        begin(gp, Phi("urgent"), study_uid=ONE.study)
    for role in ("auditor", "security-officer", "pacs-administrator", "researcher", "export-officer"):
        with pytest.raises(AccessDenied):
            begin(ward.person("x", role), REASON, study_uid=ONE.study)
    ward.room.audit.full = True
    with pytest.raises(AuditUnavailable):
        begin(gp, REASON, study_uid=ONE.study)
    ward.room.audit.full = False
    assert ward.emergencies.mine(gp) == []
    assert not ward.opens(gp, ONE)


def test_what_is_not_held_is_not_told_apart(ward: Ward) -> None:
    gp = ward.person("gp", "referring-physician")
    assert ward.emergencies.begin(gp, REASON, study_uid="1.2.3").study_uid == "1.2.3"


def test_a_patients_studies_and_no_others(ward: Ward) -> None:
    gp = ward.person("gp", "referring-physician")
    ward.emergencies.begin(gp, REASON, patient_id="PID-2")
    assert (ward.opens(gp, ONE), ward.opens(gp, OTHER)) == (False, True)


def test_somebody_else_ends_and_reviews_it(ward: Ward) -> None:
    gp = ward.person("gp", "referring-physician")
    officer = ward.person("pia", "privacy-officer")
    begun = ward.emergencies.begin(gp, REASON, study_uid=ONE.study)
    with pytest.raises(AccessDenied):
        ward.emergencies.end(ward.person("other", "referring-physician"), begun.access_id)
    with pytest.raises(AccessDenied):
        ward.emergencies.waiting(gp)
    assert ward.emergencies.waiting(officer) == [begun]
    assert ward.room.counted(EventCode.BREAK_GLASS_LISTED) == 1
    assert ward.emergencies.waiting(ward.person("ann", "auditor")) == [begun]
    finding = Phi("seen that night")
    with pytest.raises(UsageError):
        ward.emergencies.review(officer, begun.access_id, finding, justified=True)
    assert ward.emergencies.end(officer, begun.access_id).ended_at == ward.room.clock.now()
    assert not ward.opens(gp, ONE)
    with pytest.raises(NotFound):
        ward.emergencies.end(gp, begun.access_id)
    # Whoever broke the glass and came to be a privacy officer since does not look at their own.
    with pytest.raises(AccessDenied):
        ward.emergencies.review(
            ward.person("gp", "privacy-officer"), begun.access_id, finding, justified=True
        )
    with pytest.raises(AccessDenied):
        ward.emergencies.review(
            Principal("operator:0", ("operator",)), begun.access_id, finding, justified=True
        )
    with pytest.raises(AccessDenied):
        ward.emergencies.review(ward.person("ann", "auditor"), begun.access_id, finding, justified=True)
    with pytest.raises(NotFound):
        ward.emergencies.review(officer, "0" * 32, finding, justified=True)
    assert (
        ward.emergencies.review(officer, begun.access_id, finding, justified=False).reviewed_by == "user:pia"
    )
    assert ward.emergencies.waiting(officer) == []


def test_the_relation_is_taken_from_the_index_at_the_end(ward: Ward) -> None:
    gp = ward.person("gp", "referring-physician")
    begun = ward.emergencies.begin(gp, REASON, study_uid=ONE.study)
    given = [entry.relation for entry in ward.room.index.relations("user:gp")]
    assert given == [Relation.EMERGENCY]
    ward.emergencies.end(gp, begun.access_id)
    assert ward.room.index.relations("user:gp") == []
