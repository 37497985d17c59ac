"""Access reviews: every grant is looked at by somebody else in time, or it is suspended; and the result is evidence."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, ConfigurationError, IntegrityError, NotFound, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.access_review import AccessReview, Campaign, HeldRole, ReviewOptions
from trust.policy.site import Events

PETRA = Principal("user:petra", ("privacy-officer",))
SVEN = Principal("user:sven", ("security-officer",))
ANNA = HeldRole("user:anna", "radiologist")
BERT = HeldRole("user:bert", "technologist")
OWN = HeldRole("user:petra", "privacy-officer")


@dataclass
class Roles:
    """Who has which role. Implements ``Grants``."""

    roles: set[HeldRole] = field(default_factory=lambda: {ANNA, BERT, OWN})
    removed: list[tuple[HeldRole, str, str]] = field(default_factory=list[tuple[HeldRole, str, str]])

    def held(self) -> set[HeldRole]:
        return self.roles

    def remove(self, held: HeldRole, by: Principal, reason: str) -> None:
        self.removed.append((held, by.principal_id, reason))
        self.roles.discard(held)


@dataclass
class Office:
    """Everything that reviews stand on."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    events: Events = field(default_factory=Events)
    grants: Roles = field(default_factory=Roles)
    options: ReviewOptions = field(default_factory=ReviewOptions)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.database = IdentityDatabase(self.folder / "identity.db", Secret(b"i" * 32), self.clock)
        self.review = AccessReview(self.database, self.events, self.grants, self.clock, self.options)

    def opened(self) -> Campaign:
        return self.review.open(SVEN, "wards merged", reviewer="user:petra", deputy="user:sven")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.database.close()


def test_each_grant_is_confirmed_or_removed_and_the_result_is_evidence(office: Office) -> None:
    campaign = office.opened()
    assert campaign.due_at == office.clock.now() + timedelta(days=30)
    assert [(item.principal_id, item.reviewer) for item in office.review.items(campaign.campaign_id)] == [
        ("user:anna", "user:petra"),
        ("user:bert", "user:petra"),
        ("user:petra", "user:sven"),
    ]
    assert len(office.review.waiting_for("user:petra")) == 2
    assert len(office.review.waiting_for("user:sven")) == 1
    office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=True, reason="reads CT")
    office.review.decide(PETRA, campaign.campaign_id, BERT, confirmed=False, reason="left")
    assert office.grants.removed == [(BERT, "user:petra", "removed by access review")]
    assert office.grants.roles == {ANNA, OWN}
    office.review.decide(SVEN, campaign.campaign_id, OWN, confirmed=True, reason="needed")
    (ended,) = office.review.campaigns()
    assert ended.ended_at == office.clock.now()
    document = office.review.evidence(campaign.campaign_id)
    assert hashlib.sha256(document).hexdigest() == ended.evidence
    told = json.loads(document)
    assert {(grant["principal_id"], grant["state"]) for grant in told["grants"]} == {
        ("user:anna", "confirmed"),
        ("user:bert", "removed"),
        ("user:petra", "confirmed"),
    }
    assert told["campaign"]["cause"] == "wards merged"
    assert office.events.codes() == [
        "policy:access_review:started",
        *["policy:access_review:decided"] * 3,
        "policy:access_review:ended",
    ]
    last = office.events.taken[-1]
    assert last.facts["evidence"] == ended.evidence
    assert (last.facts["confirmed"], last.facts["removed"], last.facts["suspended"]) == (2, 1, 0)
    assert last.detail == {"evidence": told}
    assert office.review.waiting_for("user:petra") == []


def test_nobody_reviews_their_own_nor_what_somebody_else_reviews(office: Office) -> None:
    with pytest.raises(UsageError):
        office.review.open(SVEN, "x", reviewer="user:petra")  # who looks at petra's?
    with pytest.raises(UsageError):
        office.review.open(SVEN, "x", reviewer="user:petra", deputy="user:petra")
    campaign = office.opened()
    for somebody, held in ((PETRA, OWN), (SVEN, ANNA), (Principal("user:anna", ()), ANNA)):
        with pytest.raises(UsageError):
            office.review.decide(somebody, campaign.campaign_id, held, confirmed=True, reason="mine")
    assert {item.state for item in office.review.items(campaign.campaign_id)} == {"open"}


def test_what_nobody_looked_at_is_suspended(office: Office) -> None:
    campaign = office.opened()
    office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=True, reason="reads CT")
    office.clock.advance(30 * 86400 - 1)
    assert office.review.due() == []
    assert office.grants.removed == []
    office.clock.advance(1)
    (ended,) = office.review.due()
    assert ended.ended_at is not None
    assert office.grants.roles == {ANNA}
    assert [(held, by) for held, by, _ in office.grants.removed] == [
        (BERT, "service:leadglass"),
        (OWN, "service:leadglass"),
    ]
    suspended = [event for event in office.events.taken if event.code == "identity:role:suspended"]
    assert [(event.facts["principal"], event.facts["role"]) for event in suspended] == [
        ("user:bert", "technologist"),
        ("user:petra", "privacy-officer"),
    ]
    assert office.review.due() == []
    with pytest.raises(UsageError):
        office.review.decide(PETRA, campaign.campaign_id, BERT, confirmed=True, reason="late")


def test_a_decision_stands_and_has_a_reason(office: Office) -> None:
    campaign = office.opened()
    for reason in ("", "  ", "x" * 201):
        with pytest.raises(UsageError):
            office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=True, reason=reason)
    office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=True, reason="reads CT")
    with pytest.raises(UsageError):
        office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=False, reason="no")
    with pytest.raises(NotFound):
        office.review.decide(PETRA, "none", ANNA, confirmed=True, reason="x")
    with pytest.raises(NotFound):
        office.review.decide(
            PETRA, campaign.campaign_id, HeldRole("user:anna", "auditor"), confirmed=True, reason="x"
        )


def test_what_cannot_be_recorded_does_not_happen(office: Office) -> None:
    campaign = office.opened()
    office.events.full = True
    with pytest.raises(AuditUnavailable):
        office.review.decide(PETRA, campaign.campaign_id, BERT, confirmed=False, reason="left")
    with pytest.raises(AuditUnavailable):
        office.opened()
    office.clock.advance(31 * 86400)
    with pytest.raises(AuditUnavailable):
        office.review.due()
    assert office.grants.removed == []
    assert len(office.review.campaigns()) == 1
    office.events.full = False
    office.review.due()
    assert office.grants.roles == set()


def test_a_campaign_can_be_about_some_roles_or_some_people(office: Office) -> None:
    by_role = office.review.open(SVEN, "x", reviewer="user:petra", roles=("radiologist",))
    assert [item.principal_id for item in office.review.items(by_role.campaign_id)] == ["user:anna"]
    by_person = office.review.open(SVEN, "moved ward", reviewer="user:petra", subjects=("user:bert",))
    assert [item.role for item in office.review.items(by_person.campaign_id)] == ["technologist"]
    with pytest.raises(UsageError):
        office.review.open(SVEN, "x", reviewer="user:petra", roles=("auditor",))


def test_each_quarter_each_role_has_its_campaign_once(tmp_path: Path) -> None:
    office = Office(
        tmp_path,
        clock=FakeClock(datetime(2026, 12, 31, 23, 0, tzinfo=UTC)),
        options=ReviewOptions(reviewer="user:petra", deputy="user:sven"),
    )
    try:
        first = office.review.due()
        assert [campaign.campaign_id for campaign in first] == [
            "2026-Q4:privacy-officer",
            "2026-Q4:radiologist",
            "2026-Q4:technologist",
        ]
        assert office.review.due() == []
        office.database.close()
        office.clock.advance(3600)
        office.start()
        assert [campaign.campaign_id[:7] for campaign in office.review.due()] == ["2027-Q1"] * 3
    finally:
        office.database.close()


@pytest.mark.parametrize("deputy", ["", "user:petra"])
def test_a_schedule_without_a_deputy_does_not_start(office: Office, deputy: str) -> None:
    with pytest.raises(ConfigurationError):
        AccessReview(
            office.database,
            office.events,
            office.grants,
            office.clock,
            ReviewOptions(reviewer="user:petra", deputy=deputy),
        )


def test_a_result_that_was_changed_is_noticed(office: Office) -> None:
    campaign = office.review.open(SVEN, "x", reviewer="user:petra", roles=("radiologist",))
    office.review.decide(PETRA, campaign.campaign_id, ANNA, confirmed=True, reason="reads CT")
    before = office.review.evidence(campaign.campaign_id)
    with office.database.writing() as transaction:
        ((document,),) = transaction.execute("SELECT document FROM review_item")
        transaction.execute(
            "UPDATE review_item SET document = ?", (document.replace(b"reads CT", b"reads MR"),)
        )
    with pytest.raises(IntegrityError):
        office.review.evidence(campaign.campaign_id)
    assert b"reads CT" in before
