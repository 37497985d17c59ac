"""Emergency access: a reason, a fresh factor, an alert, an end, and somebody else's look. Attack S70."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, NotFound, OutOfResources, StepUpRequired, UsageError
from leadglass.base.limits import BREAK_GLASS_UNREVIEWED_MAX
from leadglass.base.secret import Phi, Secret
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.break_glass import BreakGlass, Emergency
from trust.policy.site import Events

REASON = Phi("unconscious, allergic reaction, CANARY^ANNA")
STUDY = "1.2.3.4"
KEY = Secret(b"i" * 32)
PRIVACY = Principal("user:petra", ("privacy-officer",))


@dataclass
class Relations:
    """Keeps what is open, as the index would."""

    open: dict[tuple[str, str, str], datetime] = field(default_factory=dict[tuple[str, str, str], datetime])

    def give(self, principal_id: str, until: datetime, *, study_uid: str, patient_id: str) -> None:
        self.open[principal_id, study_uid, patient_id] = until

    def take(self, principal_id: str, *, study_uid: str, patient_id: str) -> None:
        self.open.pop((principal_id, study_uid, patient_id), None)


@dataclass
class Ward:
    """Everything that emergency access stands on."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    events: Events = field(default_factory=Events)
    relations: Relations = field(default_factory=Relations)
    notified: list[Emergency] = field(default_factory=list[Emergency])
    escalated: list[Emergency] = field(default_factory=list[Emergency])

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.database = IdentityDatabase(self.folder / "identity.db", KEY, self.clock)
        self.glass = BreakGlass(
            self.database,
            self.events,
            self.relations,
            self.clock,
            notify=self.notified.append,
            escalate=self.escalated.append,
        )

    def somebody(self, name: str = "erik", strong_minutes: float = 1) -> Principal:
        strong_at = self.clock.now() - timedelta(minutes=strong_minutes)
        return Principal(
            f"user:{name}",
            ("referring-physician",),
            circumstances=Circumstances(session_id="s1", zone="site", strong_at=strong_at),
        )

    def began(self, name: str = "erik", study: str = STUDY) -> Emergency:
        return self.glass.begin(self.somebody(name), REASON, study_uid=study)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = Ward(tmp_path)
    yield made
    made.database.close()


def test_it_opens_what_it_is_for_raises_an_alert_and_ends_by_itself(ward: Ward) -> None:
    emergency = ward.began()
    assert ward.glass.in_force("user:erik") == emergency.access_id
    assert ward.glass.in_force("user:other") == ""
    assert emergency.until == ward.clock.now() + timedelta(minutes=60)
    assert ward.relations.open == {("user:erik", STUDY, ""): emergency.until}
    assert ward.notified == [emergency]
    started, alert = ward.events.taken
    assert (started.code, started.success) == ("policy:break_glass:started", True)
    assert (alert.code, alert.success) == ("site:security:alert", False)
    for event in (started, alert):
        assert event.objects == {"study": (STUDY,)}
        assert event.facts["emergency"] == emergency.access_id
        assert "CANARY" not in str(event.facts)
        assert STUDY not in str(event.facts)
    assert started.detail == {"reason": REASON.reveal()}
    assert "CANARY" not in repr(emergency)
    ward.clock.advance(59 * 60 + 59)
    assert ward.glass.in_force("user:erik") == emergency.access_id
    ward.clock.advance(1)
    assert ward.glass.in_force("user:erik") == ""
    ward.glass.due()
    ended = ward.events.taken[-1]
    assert (ended.code, ended.facts["why"]) == ("policy:break_glass:ended", "time")
    assert ward.relations.open == {}
    ward.glass.due()
    assert ward.events.codes().count("policy:break_glass:ended") == 1


@pytest.mark.parametrize("reason", ["", " " * 50, "too short", "x" * 2001])
def test_without_a_reason_nothing_opens(ward: Ward, reason: str) -> None:
    with pytest.raises(UsageError):
        ward.glass.begin(ward.somebody(), Phi(reason), study_uid=STUDY)
    nothing_opened(ward)


@pytest.mark.parametrize("about", [{}, {"study_uid": STUDY, "patient_id": "P1"}])
def test_it_is_for_one_study_or_one_patient(ward: Ward, about: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        ward.glass.begin(ward.somebody(), REASON, **about)
    nothing_opened(ward)


@pytest.mark.parametrize("minutes", [15.1, 600, -1])
def test_a_factor_that_is_not_fresh_opens_nothing(ward: Ward, minutes: float) -> None:
    with pytest.raises(StepUpRequired):
        ward.glass.begin(ward.somebody(strong_minutes=minutes), REASON, study_uid=STUDY)
    nobody = replace(ward.somebody(), circumstances=Circumstances(zone="site"))
    with pytest.raises(StepUpRequired):
        ward.glass.begin(nobody, REASON, study_uid=STUDY)
    nothing_opened(ward)


def test_what_cannot_be_recorded_opens_nothing(ward: Ward) -> None:
    ward.events.full = True
    with pytest.raises(AuditUnavailable):
        ward.began()
    nothing_opened(ward)


def nothing_opened(ward: Ward) -> None:
    assert ward.glass.in_force("user:erik") == ""
    assert ward.relations.open == {}
    assert ward.events.taken == []
    assert ward.notified == []
    assert ward.glass.waiting() == []


def test_a_patient_is_only_a_token_on_record(ward: Ward) -> None:
    ward.glass.begin(ward.somebody(), REASON, patient_id="PID-7")
    assert ward.relations.open.keys() == {("user:erik", "", "PID-7")}
    assert ward.events.taken[0].objects == {"patient": ("PID-7",)}
    assert "PID-7" not in str(ward.events.taken[0].facts)


def test_it_is_not_extended_a_new_one_is_a_new_one(ward: Ward) -> None:
    first = ward.began()
    ward.clock.advance(50 * 60)
    second = ward.began(study="1.2.3.5")
    assert second.access_id != first.access_id
    assert ward.relations.open == {("user:erik", "1.2.3.5", ""): second.until}
    assert ward.glass.in_force("user:erik") == second.access_id
    assert [event.facts.get("why") for event in ward.events.taken] == [
        None,
        None,
        "another one began",
        None,
        None,
    ]
    assert [one.access_id for one in ward.glass.waiting()] == [first.access_id, second.access_id]
    assert len(ward.notified) == 2


def test_it_is_not_used_again_once_it_is_over(ward: Ward) -> None:
    emergency = ward.began()
    ward.clock.advance(3600)
    for _ in range(2):
        assert ward.glass.in_force("user:erik") == ""
        with pytest.raises(NotFound):
            ward.glass.end(ward.somebody(), emergency.access_id)
    ward.database.close()
    ward.start()
    assert ward.glass.in_force("user:erik") == ""


def test_it_survives_a_restart_with_its_end(ward: Ward) -> None:
    emergency = ward.began()
    ward.database.close()
    ward.clock.advance(1800)
    ward.start()
    assert ward.glass.in_force("user:erik") == emergency.access_id
    ward.clock.advance(1800)
    assert ward.glass.in_force("user:erik") == ""


def test_it_is_ended_before_its_time(ward: Ward) -> None:
    emergency = ward.began()
    ended = ward.glass.end(PRIVACY, emergency.access_id)
    assert ended.ended_at == ward.clock.now()
    assert ward.glass.in_force("user:erik") == ""
    assert ward.relations.open == {}
    assert ward.events.taken[-1].by == PRIVACY
    ward.database.close()
    ward.start()
    assert ward.glass.in_force("user:erik") == ""


def test_somebody_else_signs_the_review(ward: Ward) -> None:
    emergency = ward.began()
    with pytest.raises(UsageError):  # still in force
        ward.glass.review(PRIVACY, emergency.access_id, Phi("fine"), justified=True)
    ward.clock.advance(3600)
    with pytest.raises(UsageError):
        ward.glass.review(ward.somebody(), emergency.access_id, Phi("fine"), justified=True)
    refused = ward.events.taken[-1]
    assert (refused.code, refused.success, refused.facts["reason"]) == (
        "policy:break_glass:reviewed",
        False,
        "own use",
    )
    with pytest.raises(UsageError):
        ward.glass.review(PRIVACY, emergency.access_id, Phi("  "), justified=True)
    with pytest.raises(NotFound):
        ward.glass.review(PRIVACY, "00", Phi("fine"), justified=True)
    assert ward.glass.waiting() != []
    reviewed = ward.glass.review(PRIVACY, emergency.access_id, Phi("patient of the night"), justified=True)
    assert (reviewed.reviewed_by, reviewed.justified) == ("user:petra", True)
    assert reviewed.ended_at == emergency.until
    assert ward.glass.get(emergency.access_id) == reviewed
    assert ward.glass.waiting() == []
    assert ward.events.taken[-1].facts["used_by"] == "user:erik"
    assert ward.events.taken[-1].detail == {"finding": "patient of the night"}
    with pytest.raises(UsageError):
        ward.glass.review(PRIVACY, emergency.access_id, Phi("again"), justified=False)


def test_a_review_that_cannot_be_recorded_is_none(ward: Ward) -> None:
    emergency = ward.began()
    ward.clock.advance(3600)
    ward.events.full = True
    with pytest.raises(AuditUnavailable):
        ward.glass.review(PRIVACY, emergency.access_id, Phi("fine"), justified=True)
    assert ward.glass.in_force("user:erik") == ""
    assert [one.reviewed_by for one in ward.glass.waiting()] == [""]


def test_unreviewed_ones_escalate_once_a_step(ward: Ward) -> None:
    emergency = ward.began()
    ward.clock.advance(24 * 3600 - 1)
    assert ward.glass.due() == []
    ward.clock.advance(1)
    steps = list[int]()
    for _ in range(3):
        steps += [one.escalations for one in ward.glass.due()]
    ward.clock.advance(24 * 3600)
    ward.database.close()
    ward.start()
    for _ in range(3):
        steps += [one.escalations for one in ward.glass.due()]
    assert steps == [1, 2]
    assert [one.access_id for one in ward.escalated] == [emergency.access_id] * 2
    escalations = [event for event in ward.events.taken if event.code == "policy:break_glass:escalated"]
    assert [event.facts["step"] for event in escalations] == [1, 2]
    ward.glass.review(PRIVACY, emergency.access_id, Phi("late, fine"), justified=True)
    ward.clock.advance(72 * 3600)
    assert ward.glass.due() == []


def test_whoever_is_never_reviewed_stops(ward: Ward) -> None:
    for number in range(BREAK_GLASS_UNREVIEWED_MAX):
        ward.began(study=f"1.2.{number}")
    with pytest.raises(OutOfResources):
        ward.began()
    ward.began("other")


def test_the_reason_is_not_on_the_disk_in_clear(ward: Ward) -> None:
    ward.began()
    ward.database.close()
    for path in ward.folder.iterdir():
        assert b"CANARY" not in path.read_bytes()
        assert STUDY.encode() not in path.read_bytes()
