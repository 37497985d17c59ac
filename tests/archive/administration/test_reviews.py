"""Verbs on access reviews with real accounts: who opens, who signs, and that a role can always be taken away."""

from pathlib import Path

import pytest

from archive.room import Room
from leadglass.archive.access import PolicyRecorder
from leadglass.archive.administration.reviews import AccountGrants, Reviews
from leadglass.base.errors import AccessDenied, NotFound, UsageError
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Circumstances, Origin, Principal
from leadglass.trust.policy.access_review import AccessReview, HeldRole
from leadglass.trust.policy.duties import Duties
from leadglass.trust.policy.roles import Role, RoleCatalogue, RoleKind
from trust.identity.identity_site import KEY, Recorder, new_account

BY = Origin(by="operator:0")
OPERATOR = Principal("operator:0", ("operator",), address="local")
NIGHT = RoleCatalogue([Role("night", RoleKind.PERSON, "At night.", shipped=False)])


class Office:
    """Reviews of a few people's roles."""

    def __init__(self, room: Room, folder: Path) -> None:
        self.room = room
        self.catalogue = NIGHT
        database = IdentityDatabase(folder / "identity.db", KEY, room.clock)
        self.accounts = Accounts(database, Recorder(), Duties(lambda: self.catalogue).require)
        for account, *roles in (
            ("olga", "security-officer"),
            ("petra", "privacy-officer"),
            ("anna", "radiologist", "night"),
            ("bert", "technologist"),
            ("gone", "radiologist"),
        ):
            self.accounts.create(new_account(account, *roles), BY)
        self.accounts.disable("gone", BY, "left")
        self.grants = AccountGrants(self.accounts)
        recorder = PolicyRecorder(room.audit, room.clock)
        review = AccessReview(database, recorder, self.grants, room.clock)
        self.reviews = Reviews(room.access, review, self.accounts)

    def person(self, account: str) -> Principal:
        here = Circumstances(zone="site", strong_at=self.room.clock.now())
        found = self.accounts.get(account)
        assert found is not None
        return Principal(found.principal_id, found.roles, circumstances=here)


@pytest.fixture
def office(room: Room, tmp_path: Path) -> Office:
    folder = tmp_path / "identity"
    folder.mkdir()
    return Office(room, folder)


def test_what_is_held_is_of_those_who_may_come(office: Office) -> None:
    assert sorted(office.grants.held()) == [
        HeldRole("user:anna", "night"),
        HeldRole("user:anna", "radiologist"),
        HeldRole("user:bert", "technologist"),
        HeldRole("user:olga", "security-officer"),
        HeldRole("user:petra", "privacy-officer"),
    ]


def test_one_role_is_taken_and_the_others_stay(office: Office) -> None:
    office.grants.remove(HeldRole("user:anna", "night"), OPERATOR, "x")
    assert office.person("anna").roles == ("radiologist",)
    office.grants.remove(HeldRole("user:anna", "night"), OPERATOR, "x")
    office.grants.remove(HeldRole("user:nobody", "night"), OPERATOR, "x")
    assert office.person("anna").roles == ("radiologist",)


def test_a_role_is_taken_although_the_rest_cannot_be_held_any_more(office: Office) -> None:
    office.catalogue = RoleCatalogue()  # other policies came into force: there is no such role as night
    office.grants.remove(HeldRole("user:anna", "radiologist"), OPERATOR, "x")
    assert office.person("anna").roles == ()


def test_who_opens_and_who_signs(office: Office) -> None:
    reviews, olga = office.reviews, office.person("olga")
    for nobody in ("anna", "nobody", "user:gone", "device:ct1", "operator:0"):
        with pytest.raises(UsageError, match="cannot sign"):
            reviews.open(OPERATOR, "merger", reviewer=nobody, roles=["technologist"])
    with pytest.raises(UsageError, match="cannot sign"):
        reviews.open(OPERATOR, "merger", reviewer="olga", deputy="bert")
    with pytest.raises(AccessDenied):
        reviews.open(office.person("anna"), "merger", reviewer="olga", roles=["technologist"])
    opened = reviews.open(OPERATOR, "merger", reviewer="olga", deputy="petra")
    assert reviews.all(olga) == [opened]
    assert {item.principal_id for _, item in reviews.mine(olga)} == {"user:anna", "user:bert", "user:petra"}
    assert [item.principal_id for _, item in reviews.mine(office.person("petra"))] == ["user:olga"]
    for stranger in (office.person("anna"), office.person("bert")):
        for look in (reviews.all, reviews.mine):
            with pytest.raises(AccessDenied):
                look(stranger)

    held = HeldRole("bert", "technologist")
    for principal in (OPERATOR, office.person("anna")):
        with pytest.raises(AccessDenied):
            reviews.decide(principal, opened.campaign_id, held, confirmed=True, reason="fits")
    with pytest.raises(UsageError):  # somebody else was named
        reviews.decide(office.person("petra"), opened.campaign_id, held, confirmed=True, reason="fits")
    own = HeldRole("olga", "security-officer")
    with pytest.raises(AccessDenied):
        reviews.decide(olga, opened.campaign_id, own, confirmed=True, reason="fits")
    item = reviews.decide(olga, opened.campaign_id, held, confirmed=False, reason="moved")
    assert item.state == "removed"
    assert office.person("bert").roles == ()
    with pytest.raises(NotFound):
        reviews.decide(olga, "none", held, confirmed=True, reason="fits")


def test_a_review_of_some_people_only(office: Office) -> None:
    opened = office.reviews.open(OPERATOR, "moved ward", reviewer="olga", subjects=["anna"])
    campaign, items = office.reviews.show(office.person("petra"), opened.campaign_id)
    assert campaign == opened
    assert [(item.principal_id, item.role) for item in items] == [
        ("user:anna", "night"),
        ("user:anna", "radiologist"),
    ]
    assert b"moved ward" in office.reviews.evidence(OPERATOR, opened.campaign_id)
