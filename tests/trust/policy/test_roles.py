"""The roles and guard rails of this release: the whole matrix, each condition, and no policy that is idle."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest

from leadglass.store.index.interfaces import Relation
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.cedar import CedarPolicy, shipped_files, shipped_schema
from leadglass.trust.policy.interfaces import SITE, Allowed, Denied, Permission, Resource
from leadglass.trust.policy.rules import GUARD_RAILS
from trust.policy.people import (
    CLOCK,
    DEVICE_ROLES,
    MATRIX,
    READS,
    P,
    comer,
    fresh,
    granted,
    may,
    password_only,
    person,
    related,
    study,
)

HIDDEN_FROM = ("technologist", "referring-physician", "researcher")
IMAGES = {P.INSTANCE_RETRIEVE, P.INSTANCE_MOVE, P.STUDY_EXPORT}
DATA = {*IMAGES, P.STUDY_QUERY}
OWN = {"own": True}
OTHERS = {"own": False}
TEN_MINUTES = CLOCK.now() - timedelta(minutes=10)
SIXTEEN_MINUTES = CLOCK.now() - timedelta(minutes=16)
MODALITY = replace(
    comer("store"), circumstances=Circumstances(zone="site", posture="managed", workstation="device:ct1")
)
TECHNOLOGIST = person("technologist", devices=("device:ct1", "device:ct2"))
REFERRING = person("referring-physician")
LIMITED = person("radiologist", institutions=("south hospital",))
EMERGENCY = fresh(break_glass="bg-1", purpose="BTG")
CLIENT = comer("client")

Case = tuple[str, Principal, Permission, Resource, bool]
CASES: list[Case] = [
    # Which studies a role is good for.
    ("own device", TECHNOLOGIST, P.STUDY_QUERY, study(), True),
    ("own device, moved", TECHNOLOGIST, P.INSTANCE_MOVE, study(), True),
    ("another's device", TECHNOLOGIST, P.STUDY_QUERY, study(sources=frozenset({"device:mr1"})), False),
    ("nobody's device", TECHNOLOGIST, P.STUDY_QUERY, study(sources=frozenset()), False),
    (
        "the workstation's own",
        person("technologist", circumstances=fresh(workstation="device:ct1")),
        P.INSTANCE_RETRIEVE,
        study(),
        True,
    ),
    ("no workstation", person("technologist"), P.INSTANCE_RETRIEVE, study(sources=frozenset({""})), False),
    ("technologist's relation is nothing", TECHNOLOGIST, P.STUDY_QUERY, related(Relation.TREATING), True),
    ("referring", REFERRING, P.INSTANCE_RETRIEVE, related(Relation.REFERRING), True),
    ("treating", REFERRING, P.STUDY_QUERY, related(Relation.TREATING), True),
    ("assigned is not treating", REFERRING, P.STUDY_QUERY, related(Relation.ASSIGNED), False),
    ("no relation", REFERRING, P.STUDY_QUERY, study(), False),
    ("referring physicians move nothing", REFERRING, P.INSTANCE_MOVE, related(Relation.TREATING), False),
    ("de-identified", person("researcher"), P.INSTANCE_RETRIEVE, study(deidentified=True), True),
    ("identified", person("researcher"), P.STUDY_QUERY, study(), False),
    ("exported", person("export-officer"), P.STUDY_EXPORT, study(), True),
    ("exported, not viewed", person("export-officer"), P.INSTANCE_RETRIEVE, study(), False),
    ("deleted", person("pacs-administrator"), P.STUDY_DELETE, study(), True),
    ("administrators do not look", person("pacs-administrator"), P.STUDY_QUERY, study(), False),
    # Purpose.
    ("no purpose", person("radiologist", circumstances=fresh(purpose="")), P.STUDY_QUERY, study(), False),
    # Step-up.
    (
        "ten minutes ago",
        person("export-officer", circumstances=fresh(strong_at=TEN_MINUTES)),
        P.STUDY_EXPORT,
        study(),
        True,
    ),
    (
        "sixteen minutes ago",
        person("export-officer", circumstances=fresh(strong_at=SIXTEEN_MINUTES)),
        P.STUDY_EXPORT,
        study(),
        False,
    ),
    (
        "administration with a password",
        person("security-officer", circumstances=password_only()),
        P.AUDIT_READ,
        SITE,
        False,
    ),
    (
        "others' sessions with a password",
        person("security-officer", circumstances=password_only()),
        P.SESSION_END,
        Resource("Session", OTHERS),
        False,
    ),
    (
        "own session with a password",
        person("radiologist", circumstances=password_only()),
        P.SESSION_END,
        Resource("Session", OWN),
        True,
    ),
    ("others' session", person("radiologist"), P.SESSION_END, Resource("Session", OTHERS), False),
    # Zone, vendor support, institutions, scopes, risk.
    (
        "remote with a password",
        person("radiologist", circumstances=password_only(zone="remote")),
        P.STUDY_QUERY,
        study(),
        False,
    ),
    (
        "remote with a key",
        person("radiologist", circumstances=fresh(zone="remote")),
        P.STUDY_QUERY,
        study(),
        True,
    ),
    (
        "site with a password",
        person("radiologist", circumstances=password_only()),
        P.STUDY_QUERY,
        study(),
        True,
    ),
    (
        "vendor support with a password ends not even its own session",
        person("vendor-support", circumstances=password_only()),
        P.SESSION_END,
        Resource("Session", OWN),
        False,
    ),
    ("another institution", LIMITED, P.STUDY_QUERY, study(), False),
    ("no institution", LIMITED, P.STUDY_QUERY, study(institutions=frozenset()), False),
    (
        "one of two institutions",
        LIMITED,
        P.STUDY_QUERY,
        study(institutions=frozenset({"south hospital", "north hospital"})),
        False,
    ),
    (
        "both of two institutions",
        person("radiologist", institutions=("south hospital", "north hospital")),
        P.STUDY_QUERY,
        study(institutions=frozenset({"south hospital", "north hospital"})),
        True,
    ),
    (
        "a token for something else",
        person("radiologist", circumstances=fresh(scopes=("instance:retrieve",))),
        P.STUDY_QUERY,
        study(),
        False,
    ),
    (
        "a token for it",
        person("radiologist", circumstances=fresh(scopes=("study:*",))),
        P.STUDY_QUERY,
        study(),
        True,
    ),
    ("a client's token", CLIENT, P.STUDY_QUERY, study(), True),
    (
        "a client without scopes",
        replace(CLIENT, circumstances=Circumstances(zone="site")),
        P.STUDY_QUERY,
        study(),
        False,
    ),
    (
        "risky export",
        person("export-officer", circumstances=fresh(risk="high")),
        P.STUDY_EXPORT,
        study(),
        False,
    ),
    ("risky look", person("radiologist", circumstances=fresh(risk="high")), P.STUDY_QUERY, study(), True),
    # Emergency access.
    (
        "emergency",
        person("referring-physician", circumstances=EMERGENCY),
        P.STUDY_QUERY,
        related(Relation.EMERGENCY),
        True,
    ),
    (
        "emergency, another study",
        person("referring-physician", circumstances=EMERGENCY),
        P.STUDY_QUERY,
        study(),
        False,
    ),
    ("emergency that is over", REFERRING, P.STUDY_QUERY, related(Relation.EMERGENCY), False),
    (
        "emergency in another institution",
        replace(LIMITED, circumstances=EMERGENCY),
        P.INSTANCE_RETRIEVE,
        related(Relation.EMERGENCY),
        True,
    ),
    (
        "emergency of somebody who may not",
        person("researcher", circumstances=EMERGENCY),
        P.INSTANCE_RETRIEVE,
        related(Relation.EMERGENCY),
        False,
    ),
    (
        "emergency moves nothing",
        person("referring-physician", circumstances=EMERGENCY),
        P.INSTANCE_MOVE,
        related(Relation.EMERGENCY),
        False,
    ),
    # What no collection of roles brings together.
    ("keys and data", person("key-custodian", "radiologist"), P.STUDY_QUERY, study(), False),
    (
        "administration and images",
        person("pacs-administrator", "radiologist"),
        P.INSTANCE_RETRIEVE,
        study(),
        False,
    ),
    ("a device that administers", replace(comer("store"), roles=("operator",)), P.DEVICE_LIST, SITE, False),
    (
        "administration through a device",
        person("security-officer", through="device:ws1"),
        P.AUDIT_READ,
        SITE,
        False,
    ),
    (
        "administration with a device's certificate",
        person("security-officer", ae_title="WS1"),
        P.AUDIT_READ,
        SITE,
        False,
    ),
    ("a client that administers", replace(CLIENT, roles=("auditor",)), P.AUDIT_READ, SITE, False),
    ("an operator from elsewhere", person("operator"), P.DEVICE_LIST, SITE, False),
    ("an operator from elsewhere deletes", person("operator"), P.STUDY_DELETE, study(), False),
    # Technologists send what they acquired, from where the site knows.
    ("sends from just anywhere", TECHNOLOGIST, P.INSTANCE_STORE, SITE, False),
    (
        "sends from a managed workstation",
        person("technologist", circumstances=fresh(posture="managed")),
        P.INSTANCE_STORE,
        SITE,
        True,
    ),
    ("sends through a modality", replace(TECHNOLOGIST, through="device:ct1"), P.INSTANCE_STORE, SITE, True),
    (
        "a radiologist sends nothing",
        person("radiologist", circumstances=fresh(posture="managed")),
        P.INSTANCE_STORE,
        SITE,
        False,
    ),
    # A modality works its list, and of what is held only what it acquired.
    ("a modality's next step", MODALITY, P.WORKITEM_PERFORM, Resource("Workitem", {}), True),
    ("a modality's own study", MODALITY, P.WORKITEM_PERFORM, study(), True),
    ("another's study", MODALITY, P.WORKITEM_QUERY, study(sources=frozenset({"device:mr1"})), False),
    ("a modality makes no work", MODALITY, P.WORKITEM_CREATE, SITE, False),
    ("a router has no list", comer("router"), P.WORKITEM_QUERY, SITE, False),
    ("a workstation performs nothing", comer("query-retrieve"), P.WORKITEM_PERFORM, SITE, False),
    # Nobody is their own judge.
    ("own roles", person("security-officer"), P.ROLE_ASSIGN, Resource("Account", OWN), False),
    ("another's roles", person("security-officer"), P.ROLE_ASSIGN, Resource("Account", OTHERS), True),
    ("own review", person("privacy-officer"), P.BREAK_GLASS_REVIEW, Resource("Review", OWN), False),
    ("another's review", person("privacy-officer"), P.BREAK_GLASS_REVIEW, Resource("Review", OTHERS), True),
]


@pytest.mark.parametrize("role", MATRIX)
def test_each_role_may_do_what_the_matrix_says(policy: CedarPolicy, role: str) -> None:
    assert granted(policy, comer(role)) == MATRIX[role]


@pytest.mark.parametrize("role", MATRIX)
def test_about_a_study_of_no_concern_it_is_the_same_or_nothing(policy: CedarPolicy, role: str) -> None:
    about_studies = {
        permission
        for permission in Permission
        if permission.value.partition(":")[0] in {"association", "commitment", "instance", "study"}
    } - {P.INSTANCE_IMPORT}
    expected = set[Permission]() if role in HIDDEN_FROM else MATRIX[role] & about_studies
    assert granted(policy, comer(role), study()) & about_studies == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_conditions(policy: CedarPolicy, case: Case) -> None:
    _, principal, permission, resource, expected = case
    decision = policy.decide(principal, permission, resource)
    assert isinstance(decision, Allowed) is expected, decision


@pytest.mark.parametrize("roles", list(combinations(sorted(DEVICE_ROLES), 2)))
def test_two_roles_may_what_either_may(policy: CedarPolicy, roles: tuple[str, str]) -> None:
    both = replace(comer(roles[0]), roles=roles)
    assert granted(policy, both) == MATRIX[roles[0]] | MATRIX[roles[1]]


def test_nobody_may_nothing(policy: CedarPolicy) -> None:
    assert granted(policy, person()) == set()
    assert granted(policy, Principal("", ())) == set()


@pytest.mark.parametrize("role", [role for role in MATRIX if role not in {*DEVICE_ROLES, "operator"}])
def test_no_image_for_whoever_runs_or_watches_the_site(policy: CedarPolicy, role: str) -> None:
    seen = {p for p in IMAGES if may(policy, comer(role), p, study(deidentified=True))}
    runs = role in {
        "auditor",
        "key-custodian",
        "pacs-administrator",
        "privacy-officer",
        "security-officer",
        "vendor-support",
    }
    assert not (runs and seen)
    if runs:
        for other in ("radiologist", "technologist", "export-officer", "query-retrieve"):
            collector = person(role, other, devices=("device:ct1",))
            assert not granted(policy, collector, study()) & IMAGES


def test_step_up_is_said_where_it_would_help_and_only_there(policy: CedarPolicy) -> None:
    stale = person("export-officer", circumstances=fresh(strong_at=SIXTEEN_MINUTES))
    decision = policy.decide(stale, P.STUDY_EXPORT, study())
    assert decision == Denied("a strong factor has to be shown first", ("fresh-strong-factor",), step_up=True)
    for nobody in (
        person("radiologist", circumstances=fresh(strong_at=SIXTEEN_MINUTES)),  # has not the role
        replace(
            stale, circumstances=replace(stale.circumstances, risk="high")
        ),  # another rail stands as well
        replace(stale, institutions=("south hospital",)),
        replace(stale, principal_id="client:ris"),  # cannot show a factor
        replace(stale, circumstances=fresh()),
    ):
        other = policy.decide(nobody, P.STUDY_EXPORT, study())
        assert not (isinstance(other, Denied) and other.step_up), other


@pytest.mark.parametrize("role", ["pacs-administrator", "security-officer", "radiologist", "export-officer"])
def test_whoever_steps_up_may_what_step_up_promised(policy: CedarPolicy, role: str) -> None:
    weak = person(role, circumstances=password_only(zone="remote"))
    promised = {
        permission
        for permission in Permission
        if isinstance(decision := policy.decide(weak, permission, SITE), Denied) and decision.step_up
    }
    assert promised == MATRIX[role]
    assert granted(policy, weak) == set()
    assert granted(policy, person(role, circumstances=fresh(zone="remote"))) == promised


def test_what_users_do_through_a_device_has_the_same_limits(policy: CedarPolicy) -> None:
    through = replace(TECHNOLOGIST, through="device:ws1", ae_title="WS1", circumstances=Circumstances())
    assert may(policy, through, P.STUDY_QUERY, study())
    assert not may(policy, through, P.STUDY_QUERY, study(sources=frozenset({"device:mr1"})))


def test_a_clock_set_back_makes_no_factor_fresh(policy: CedarPolicy) -> None:
    ahead = person("export-officer", circumstances=fresh(strong_at=CLOCK.now() + timedelta(minutes=1)))
    assert not may(policy, ahead, P.STUDY_EXPORT, study())


def holds(policy: CedarPolicy) -> bool:
    return all(granted(policy, comer(role)) == allowed for role, allowed in MATRIX.items()) and all(
        may(policy, principal, permission, resource) is expected
        for _, principal, permission, resource, expected in CASES
    )


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    policy = CedarPolicy.load(CLOCK)
    return {rule_id: rule.text for rule_id, rule in policy.rules.items()}


@pytest.mark.parametrize("rule_id", CedarPolicy.load(CLOCK).rules)
def test_no_policy_is_idle(texts: dict[str, str], rule_id: str) -> None:
    """Take each policy away in turn: something must change, or the policy is not tested."""
    kept = {name: text for name, text in texts.items() if name != rule_id}
    assert not holds(CedarPolicy(kept, shipped_schema(), CLOCK))


def test_every_policy_says_why_it_is_there(policy: CedarPolicy) -> None:
    assert all(rule.comment for rule in policy.rules.values())
    assert holds(policy)
    rails = [rule for rule in policy.rules.values() if rule.file == GUARD_RAILS]
    assert rails
    assert {rule.effect for rule in rails} == {"forbid"}
    assert {rule.effect for rule in policy.rules.values() if rule.file != GUARD_RAILS} == {"permit"}
    assert set(shipped_files()) == {rule.file for rule in policy.rules.values()}


def test_reading_needs_its_role(policy: CedarPolicy) -> None:
    readers = {role for role in MATRIX if granted(policy, comer(role)) & READS}
    assert readers == {
        "client",
        "export-officer",
        "query-retrieve",
        "radiologist",
        "referring-physician",
        "researcher",
        "router",
        "technologist",
    }
