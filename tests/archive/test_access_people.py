"""People at the one door: step-up, standing, circumstances on record, and emergency access from end to end."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.room import READER, ROOT, Room, facts, image
from archive.verdicts import WAYS, asked
from leadglass.archive.access import Access, EmergencyStudies, PolicyRecorder, actor_of
from leadglass.base.errors import AccessDenied, StepUpRequired
from leadglass.base.secret import Phi, Secret
from leadglass.store.index.interfaces import StudyFacts
from leadglass.trust.audit.interfaces import Actor, EventCode
from leadglass.trust.audit.leaf import decode_leaf
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.break_glass import BreakGlass
from leadglass.trust.policy.interfaces import Permission

P = Permission
HERE = Circumstances(session_id="s1", zone="site", workstation="device:ws1", purpose="TREAT")
PERSON = Principal("user:jdoe", ("radiologist",), address="192.0.2.20", circumstances=HERE)


def actors(room: Room, *codes: EventCode) -> list[object]:
    return [entry.leaf["actor"] for entry in room.entries(*codes)]


@dataclass
class Changing:
    """A site where somebody's roles change while they work."""

    now: dict[str, Principal | None]

    def current(self, principal: Principal) -> Principal | None:
        return self.now.get(principal.principal_id, principal)


def test_step_up_is_an_error_of_its_own_and_on_record(room: Room) -> None:
    officer = replace(PERSON, roles=("export-officer",))
    with pytest.raises(StepUpRequired) as refused:
        room.access.permit(officer, P.STUDY_EXPORT)
    assert isinstance(refused.value, AccessDenied)
    assert refused.value.max_age == 900
    (entry,) = room.entries()
    assert facts(entry) == {
        "permission": "study:export",
        "reason": "a strong factor has to be shown first",
    }
    assert entry.leaf["rules"] == ["fresh-strong-factor"]
    fresh = replace(officer, circumstances=replace(HERE, strong_at=room.clock.now()))
    grant = room.access.permit(fresh, P.STUDY_EXPORT)
    assert grant.rules == ("export-officer-exports",)
    room.clock.advance(15 * 60 + 1)
    with pytest.raises(StepUpRequired):
        room.access.permit(fresh, P.STUDY_EXPORT)


def test_whoever_has_not_the_role_is_not_asked_to_step_up(room: Room) -> None:
    with pytest.raises(AccessDenied) as refused:
        room.access.permit(PERSON, P.STUDY_EXPORT)
    assert not isinstance(refused.value, StepUpRequired)


def test_every_decision_is_by_what_somebody_is_now(room: Room) -> None:
    changing = Changing({})
    access = Access(room.access.policy, room.audit, room.vault, room.clock, changing)
    scope = access.scope(PERSON, P.STUDY_QUERY)
    assert access.may(PERSON, P.STUDY_QUERY)
    assert scope.permits(StudyFacts())
    changing.now["user:jdoe"] = replace(PERSON, roles=("researcher",))
    assert access.may(PERSON, P.STUDY_QUERY)
    assert not scope.permits(StudyFacts())
    assert access.permit(PERSON, P.STUDY_QUERY).principal.roles == ("researcher",)
    changing.now["user:jdoe"] = None
    assert not access.may(PERSON, P.STUDY_QUERY)
    assert not scope.permits(StudyFacts())
    with pytest.raises(AccessDenied):
        access.permit(PERSON, P.STUDY_QUERY)
    assert facts(room.entries()[-1])["reason"] == "revoked, disabled or ended since"


def test_the_record_says_from_where_and_why(room: Room) -> None:
    grant = room.access.permit(PERSON, P.STUDY_QUERY)
    room.access.record(grant, EventCode.QUERY_ANSWERED)
    assert actors(room) == [
        {
            "address": "192.0.2.20",
            "ae": "",
            "certificate": "",
            "principal": "user:jdoe",
            "purpose": "TREAT",
            "session": "s1",
            "workstation": "device:ws1",
            "zone": "site",
        }
    ]


def test_what_is_not_known_is_left_out_and_old_entries_read_as_before(room: Room) -> None:
    room.access.record(room.access.permit(READER, P.STUDY_QUERY), EventCode.QUERY_ANSWERED)
    (actor,) = actors(room)
    assert actor == {
        "address": "192.0.2.8",
        "ae": "WS1",
        "certificate": "cd" * 32,
        "principal": "device:ws1",
    }
    old = (
        b'{"actor":{"address":"192.0.2.8","ae":"WS1","certificate":"cd","principal":"device:ws1"},'
        b'"at":"2026-11-22T08:00:00.000000Z","correlation":"","event":"query:study:answered","event_id":"",'
        b'"facts":{},"objects":{},"outcome":"success","payload_commitment":"","rules":[],"seq":0,'
        b'"taken":"2026-11-22T08:00:00.000000Z","v":1}'
    )
    assert decode_leaf(old)["actor"]["principal"] == "device:ws1"


def test_a_user_s_device_is_on_record() -> None:
    through = replace(PERSON, through="device:ws2", circumstances=Circumstances())
    assert actor_of(through) == Actor("user:jdoe", address="192.0.2.20", through="device:ws2")


def test_a_name_that_is_no_text_does_not_stop_the_record(room: Room) -> None:
    odd = replace(PERSON, circumstances=replace(HERE, purpose="\ud800", session_id="x" * 70_000))
    with pytest.raises(AccessDenied):
        room.access.permit(odd, P.STUDY_QUERY)
    (actor,) = actors(room)
    assert isinstance(actor, dict)
    assert actor["purpose"] == "\\ud800"
    assert len(actor["session"]) < 300


def test_emergency_access_from_the_reason_to_the_pixels_and_back(room: Room, tmp_path: Path) -> None:
    one, other = image(study="81"), image(study="82")
    room.store(one, other)
    room.writer.barrier()
    database = IdentityDatabase(tmp_path / "identity.db", Secret(b"i" * 32), room.clock)
    glass = BreakGlass(
        database, PolicyRecorder(room.audit, room.clock), EmergencyStudies(room.index), room.clock
    )
    changing = Changing({})
    object.__setattr__(room.access, "standing", changing)  # as the site's standing asks BreakGlass.in_force
    strong = replace(HERE, strong_at=room.clock.now())
    doctor = replace(PERSON, roles=("referring-physician",), circumstances=strong)

    def seen(study_uid: str) -> set[str]:
        now = replace(strong, break_glass=glass.in_force(doctor.principal_id))
        changing.now[doctor.principal_id] = replace(doctor, circumstances=now)
        return {way.name for way in WAYS if one_shown(asked(room, way, doctor, study_uid))}

    def one_shown(answer: object) -> bool:
        return isinstance(answer, frozenset) and bool(answer)

    assert seen(one.study) == set()
    grant = room.access.permit(doctor, P.BREAK_GLASS_USE)
    glass.begin(grant.principal, Phi("Canary^Anna collapsed"), study_uid=one.study)
    assert seen(one.study) == {way.name for way in WAYS if way.name != "C-MOVE"}
    assert seen(other.study) == set()
    room.clock.advance(timedelta(minutes=60).total_seconds())
    assert seen(one.study) == set()
    glass.due()
    (started,) = room.entries(EventCode.BREAK_GLASS_STARTED)
    (alert,) = room.entries(EventCode.SECURITY_ALERT)
    (ended,) = room.entries(EventCode.BREAK_GLASS_ENDED)
    for entry in (started, alert, ended):
        assert "Canary" not in str(entry.leaf)
        assert ROOT not in str(entry.leaf)
    assert started.payload is not None
    assert "Canary^Anna collapsed" in str(started.payload)
    assert started.leaf["outcome"] == "success"
    assert alert.leaf["outcome"] == "serious_failure"
    database.close()


def test_breaking_the_glass_needs_its_role_and_a_fresh_factor(room: Room) -> None:
    strong = replace(HERE, strong_at=room.clock.now())
    for role, may in (("radiologist", True), ("technologist", True), ("referring-physician", True)):
        assert room.access.may(replace(PERSON, roles=(role,), circumstances=strong), P.BREAK_GLASS_USE) is may
    for role in ("researcher", "pacs-administrator", "security-officer", "key-custodian", "export-officer"):
        assert not room.access.may(replace(PERSON, roles=(role,), circumstances=strong), P.BREAK_GLASS_USE)
    with pytest.raises(StepUpRequired):
        room.access.permit(PERSON, P.BREAK_GLASS_USE)
