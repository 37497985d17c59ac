"""Remembered verdicts are those that policy would give now; refusals stand under the code of the deed."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import pytest

from archive.room import READER, Room
from leadglass.archive import access as access_module
from leadglass.archive.access import Access
from leadglass.base.errors import AccessDenied
from leadglass.store.index.interfaces import StudyFacts
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.interfaces import Allowed, Decision, Denied, Permission, Policy, Resource

P = Permission
PERSON = Principal("user:jdoe", ("radiologist",), circumstances=Circumstances(session_id="s1"))
CT, MR = StudyFacts(frozenset({"CT"})), StudyFacts(frozenset({"MR"}))


@dataclass
class Steered:
    """A policy by which some may see all of one moment, and nothing of the next. Implements ``Policy``."""

    permits: bool = True
    bundle_hash: str = "1"
    moment: Hashable = 0
    asked: int = 0

    def decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        del principal, permission, resource
        self.asked += 1
        return Allowed(("rule",)) if self.permits else Denied("no")

    def standpoint(self, principal: Principal, permission: Permission) -> Hashable | None:
        return None if self.moment is None else (self.bundle_hash, self.moment, principal, permission)


def with_policy(room: Room, policy: Policy) -> Access:
    return Access(policy, room.audit, room.vault, room.clock, room.access.standing)


def test_the_next_list_asks_nothing_again(room: Room) -> None:
    policy = Steered()
    access = with_policy(room, policy)
    for _ in range(3):
        scope = access.scope(PERSON, P.STUDY_QUERY)
        assert scope.permits(CT)
        assert scope.permits(MR)
    assert policy.asked == 2
    assert access.scope(replace(PERSON, roles=("researcher",)), P.STUDY_QUERY).permits(CT)
    assert access.scope(PERSON, P.STUDY_EXPORT).permits(CT)
    assert policy.asked == 4


def test_a_list_under_way_notices_other_policies_at_once_and_another_hour_soon(room: Room) -> None:
    policy = Steered()
    scope = with_policy(room, policy).scope(PERSON, P.STUDY_QUERY)
    assert scope.permits(CT)
    policy.permits, policy.bundle_hash = False, "2"
    assert not scope.permits(CT)
    policy.permits, policy.moment = True, 1
    assert not scope.permits(CT)
    room.clock.advance(1)
    assert scope.permits(CT)


def test_an_answer_of_a_moment_that_passed_meanwhile_is_not_remembered(room: Room) -> None:
    policy = Steered()
    access = with_policy(room, policy)
    early = access.scope(PERSON, P.STUDY_QUERY)
    assert early.permits(MR)  # where it stands is known from now on
    policy.moment = 1  # the hour changes, and with it the answer
    assert early.permits(CT)
    policy.moment, policy.permits = 0, False
    assert not access.scope(PERSON, P.STUDY_QUERY).permits(CT)


def test_a_policy_that_cannot_say_where_it_stands_is_asked_every_time(room: Room) -> None:
    policy = Steered(moment=None)
    scope = with_policy(room, policy).scope(PERSON, P.STUDY_QUERY)
    assert scope.permits(CT)
    policy.permits = False
    assert not scope.permits(CT)


def test_both_a_user_and_the_device_are_remembered(room: Room) -> None:
    user = replace(READER, principal_id="user:u", through="device:ws", through_roles=("modality",))
    for roles in (("modality",), ("workstation",), ("modality",)):
        seen = room.access.scope(replace(user, through_roles=roles), P.STUDY_QUERY).permits(CT)
        assert seen == room.access.may(
            replace(user, through_roles=roles), P.STUDY_QUERY, access_module.study_resource(CT)
        )


def test_what_is_remembered_is_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "VERDICTS_REMEMBERED_MAX", 10)
    policy = Steered()
    access = with_policy(room, policy)
    for who in range(5):
        scope = access.scope(replace(PERSON, principal_id=f"user:{who}"), P.STUDY_QUERY)
        for number in range(4):
            assert scope.permits(StudyFacts(frozenset({str(number)})))
    assert policy.asked == 20
    again = access.scope(replace(PERSON, principal_id="user:4"), P.STUDY_QUERY)
    assert again.permits(StudyFacts(frozenset({"3"})))
    assert policy.asked == 20
    assert access.scope(replace(PERSON, principal_id="user:0"), P.STUDY_QUERY).permits(
        StudyFacts(frozenset({"0"}))
    )
    assert policy.asked == 21


@pytest.mark.parametrize("permission", list(Permission))
def test_no_refusal_but_of_an_association_stands_as_one(room: Room, permission: Permission) -> None:
    with pytest.raises(AccessDenied):
        room.access.permit(Principal("user:nobody", ()), permission)
    (entry,) = room.entries()
    assert entry.leaf["outcome"] == "serious_failure"
    refused = entry.leaf["event"] == EventCode.ASSOCIATION_REFUSED.value
    assert refused == (permission is Permission.ASSOCIATION_ECHO)
