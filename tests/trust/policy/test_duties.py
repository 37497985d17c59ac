"""No one person holds data and keys, reviews and administers; and what is given exists."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import UsageError
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.duties import DUTIES, KEYS, RUNS, WATCHES, Conflict, Duties
from leadglass.trust.policy.interfaces import Permission
from leadglass.trust.policy.roles import SHIPPED, Role, RoleCatalogue, RoleKind
from trust.policy.people import MATRIX, may, person, study

P = Permission
NAMES = [role.name for role in SHIPPED]
RUNS_OR_WATCHES = KEYS | RUNS | WATCHES
GIVEN = [role.name for role in SHIPPED if role.kind is not RoleKind.LOCAL]


def test_the_catalogue_has_every_role_that_the_policies_know(policy: CedarPolicy) -> None:
    assert frozenset().union(*(rule.roles for rule in policy.rules.values())) == set(NAMES)
    assert set(MATRIX) - {"unheard-of"} == set(NAMES)
    assert {name for duty in DUTIES for name in duty.one | duty.other} == set(NAMES) - {"operator"}


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        (("key-custodian", "radiologist"), "whoever holds the keys holds no data"),
        (("pacs-administrator", "key-custodian"), "whoever holds the keys does not run the site"),
        (("security-officer", "key-custodian"), "whoever holds the keys does not review their use"),
        (("pacs-administrator", "privacy-officer"), "whoever administers is reviewed by somebody else"),
        (("pacs-administrator", "technologist"), "whoever runs the site sees no images"),
        (("privacy-officer", "radiologist"), "whoever reviews access does not need it themselves"),
        (("auditor", "security-officer"), "an auditor audits the security officer"),
        (("vendor-support", "pacs-administrator"), "vendor support looks at the node and nothing else"),
        (("client", "security-officer"), "a service does not administer"),
    ],
)
def test_what_excludes_each_other(roles: tuple[str, str], reason: str) -> None:
    assert [conflict.reason for conflict in Duties().check(roles)] == [reason]
    assert Duties().check(reversed(roles)) == Duties().check(roles)
    with pytest.raises(UsageError, match=reason):
        Duties().require(roles)


@pytest.mark.parametrize("roles", [(role,) for role in GIVEN] + [("radiologist", "researcher"), ()])
def test_what_does_not(roles: tuple[str, ...]) -> None:
    assert Duties().check(roles) == []
    Duties().require(roles)


def test_a_role_that_is_not_there_or_never_given() -> None:
    for name in ("unheard-of", "operator", "", "Radiologist"):
        with pytest.raises(UsageError):
            Duties().require((name,))


def test_whoever_gets_by_reads_no_record_and_images(policy: CedarPolicy) -> None:
    """No set of roles that passes gives both the record and the images it is about."""
    for roles in combinations(GIVEN, 3):
        if Duties().check(roles):
            continue
        holder = person(*roles, devices=("device:ct1",))
        sees = may(policy, holder, P.INSTANCE_RETRIEVE, study(deidentified=True))
        assert not (sees and RUNS_OR_WATCHES & set(roles)), roles


CATALOGUE = RoleCatalogue(
    (
        Role("cardiologist", RoleKind.PERSON, "x", ("radiologist",), shipped=False),
        Role("chief", RoleKind.PERSON, "x", ("cardiologist",), shipped=False),
        Role("both", RoleKind.PERSON, "x", ("chief", "key-custodian"), shipped=False),
        Role("round", RoleKind.PERSON, "x", ("round",), shipped=False),
    )
)


def test_a_role_stands_for_all_that_it_includes() -> None:
    duties = Duties(lambda: CATALOGUE)
    assert duties.check(("chief", "key-custodian")) == [
        Conflict("chief", "key-custodian", "whoever holds the keys holds no data")
    ]
    assert duties.check(("both",)) == [Conflict("both", "both", "whoever holds the keys holds no data")]
    assert duties.check(("round",)) == []
    assert CATALOGUE.includes["chief"] == ("cardiologist",)
    assert CATALOGUE.closure(("chief",)) == {"chief", "cardiologist", "radiologist"}


@given(st.sets(st.sampled_from(GIVEN), max_size=5), st.sets(st.sampled_from(GIVEN), max_size=3))
def test_more_roles_never_have_fewer_conflicts(roles: set[str], more: set[str]) -> None:
    duties = Duties()
    assert set(duties.check(roles)) <= set(duties.check(roles | more))
