"""Who may do what: the whole matrix, every policy needed, and no way to fail open."""

from itertools import combinations
from pathlib import Path

import cedarpy
import pytest

from leadglass.base.errors import ConfigurationError
from leadglass.trust.identity.models import DeviceRole, Principal
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import SITE, Allowed, Denied, Permission, Resource

BUNDLE = Path(__file__).resolve().parents[3] / "src" / "leadglass" / "trust" / "policy" / "bundle"
SCHEMA = (BUNDLE / "schema.cedarschema").read_text()
POLICIES = "\n".join(path.read_text() for path in sorted(BUNDLE.glob("*.cedar")))

P = Permission
DIMSE = (
    P.ASSOCIATION_ECHO,
    P.COMMITMENT_REQUEST,
    P.INSTANCE_MOVE,
    P.INSTANCE_RETRIEVE,
    P.INSTANCE_STORE,
    P.STUDY_QUERY,
)
ADMINISTRATION = tuple(permission for permission in Permission if permission not in DIMSE)
MATRIX: dict[str, set[Permission]] = {
    "store": {P.ASSOCIATION_ECHO, P.INSTANCE_STORE, P.COMMITMENT_REQUEST},
    "query-retrieve": {P.ASSOCIATION_ECHO, P.STUDY_QUERY, P.INSTANCE_RETRIEVE, P.INSTANCE_MOVE},
    "router": {P.ASSOCIATION_ECHO, P.INSTANCE_STORE, P.COMMITMENT_REQUEST, P.STUDY_QUERY, P.INSTANCE_MOVE},
    "operator": set(ADMINISTRATION),
    "auditor": {P.AUDIT_READ, P.AUDIT_VERIFY, P.DEVICE_LIST, P.STATUS_READ},
    "unheard-of": set(),
}
DEVICE_ROLES = {role.value for role in DeviceRole}


def somebody(*roles: str, ae_title: str | None = None, through: str = "") -> Principal:
    title = ("CT1" if DEVICE_ROLES & set(roles) else "") if ae_title is None else ae_title
    return Principal(principal_id="device:ct1", roles=roles, ae_title=title, through=through)


def granted(policy: CedarPolicy, principal: Principal) -> set[Permission]:
    return {p for p in Permission if isinstance(policy.decide(principal, p, SITE), Allowed)}


@pytest.fixture(scope="module")
def policy() -> CedarPolicy:
    return CedarPolicy.load()


@pytest.mark.parametrize("role", MATRIX)
@pytest.mark.parametrize("permission", Permission)
def test_each_role_may_do_what_the_matrix_says(
    policy: CedarPolicy, role: str, permission: Permission
) -> None:
    decision = policy.decide(somebody(role), permission, SITE)
    assert isinstance(decision, Allowed) is (permission in MATRIX[role]), decision
    assert (
        bool(decision.rules) is isinstance(decision, Allowed) or "administration-is-local" in decision.rules
    )


@pytest.mark.parametrize("kind", ["Study", "Series", "Instance"])
@pytest.mark.parametrize("permission", DIMSE)
def test_it_is_the_same_for_whatever_is_held(policy: CedarPolicy, kind: str, permission: Permission) -> None:
    for role, allowed in MATRIX.items():
        decision = policy.decide(somebody(role), permission, Resource(kind, {}))
        assert isinstance(decision, Allowed) is (permission in allowed)


@pytest.mark.parametrize("roles", list(combinations(sorted(DEVICE_ROLES), 2)))
def test_two_roles_may_what_either_may(policy: CedarPolicy, roles: tuple[str, str]) -> None:
    assert granted(policy, somebody(*roles)) == MATRIX[roles[0]] | MATRIX[roles[1]]


def test_nobody_may_nothing(policy: CedarPolicy) -> None:
    assert granted(policy, somebody()) == set()


@pytest.mark.parametrize(
    "principal", [somebody("operator", ae_title="CT1"), somebody("operator", through="device:ct1")]
)
def test_administration_is_local_whatever_the_role(policy: CedarPolicy, principal: Principal) -> None:
    assert granted(policy, principal) == set()
    decision = policy.decide(principal, P.DEVICE_ENROL, SITE)
    assert decision == Denied("forbidden by policy", ("administration-is-local",))


def matrix_holds(policy: CedarPolicy) -> bool:
    roles_hold = all(granted(policy, somebody(role)) == allowed for role, allowed in MATRIX.items())
    return roles_hold and granted(policy, somebody("operator", "store", ae_title="CT1")) == MATRIX["store"]


def test_no_policy_is_idle() -> None:
    """Take each policy away in turn: something must change, or the policy is not tested."""
    assert matrix_holds(CedarPolicy(POLICIES, SCHEMA))
    whole = cedarpy.PolicySet.from_str(POLICIES).to_pst()
    names = list(whole.static_policies)
    assert len(names) == 6
    for name in names:
        kept = {key: value for key, value in whole.static_policies.items() if key != name}
        fewer = cedarpy.PolicySet.from_pst(
            cedarpy.pst.PolicySet(templates={}, static_policies=kept, template_links=())
        )
        assert not matrix_holds(CedarPolicy(str(fewer), SCHEMA)), whole.static_policies[name].annotations


# An addition of two large numbers overflows when it is evaluated: strict validation cannot know.
STUMBLING = """
@id("open") permit (principal, action, resource);
@id("stumbles") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };
"""


def test_the_engine_fails_open_and_the_wrapper_does_not() -> None:
    request = {
        "principal": 'Leadglass::Principal::"x"',
        "action": 'Leadglass::Action::"instance:store"',
        "resource": 'Leadglass::Site::"x"',
        "context": {},
    }
    bare = cedarpy.is_authorized(request, STUMBLING, "[]")
    assert bare.decision is cedarpy.Decision.Allow  # the trap is real
    assert bare.diagnostics.errors
    decision = CedarPolicy(STUMBLING, SCHEMA).decide(somebody("store"), P.INSTANCE_STORE, SITE)
    assert decision == Denied("a policy could not be evaluated", ("open",))


@pytest.mark.parametrize(
    "resource",
    [
        Resource("Nowhere", {}),
        Resource("", {}),
        Resource('Site::"x" || true', {}),
        Resource("Study", {"modalty": "CT"}),
        Resource("Study", {"modality": 5}),
        Resource("Site", {"modality": "CT"}),
        Resource("Device", {}),  # DIMSE services are not about devices
    ],
)
def test_a_question_the_schema_does_not_know_is_denied(policy: CedarPolicy, resource: Resource) -> None:
    assert isinstance(policy.decide(somebody("store"), P.INSTANCE_STORE, resource), Denied)


@pytest.mark.parametrize("text", ["\x00", "\ud800", '"', "a" * 100_000])
def test_no_name_makes_it_raise_or_say_yes(policy: CedarPolicy, text: str) -> None:
    stranger = Principal(principal_id=text, roles=(text,), ae_title=text)
    assert isinstance(policy.decide(stranger, P.INSTANCE_STORE, SITE), Denied)


@pytest.mark.parametrize(
    "policies",
    [
        "permit (principal, action, resource)",  # no semicolon
        "permit (principal, action, resource);",  # no name
        '@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);',
        '@id("") permit (principal, action, resource);',
        '@id("a") permit (principal, action == Leadglass::Action::"instance:stor", resource);',
        '@id("a") permit (principal, action, resource is Leadglass::Study) when { resource.modality == "CT" };',
        '@id("a") permit (principal, action, resource is Leadglass::Study) when { resource.modality == 5 };',
        '@id("a") permit (principal, action, resource) when { principal.ae_title == 5 };',
        '@id("a") permit (principal == ?principal, action, resource);',
    ],
)
def test_policies_that_are_not_sound_do_not_start(policies: str) -> None:
    with pytest.raises(ConfigurationError):
        CedarPolicy(policies, SCHEMA)


def test_a_bundle_without_policies_or_schema_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        CedarPolicy.load(tmp_path)
    (tmp_path / "schema.cedarschema").write_text(SCHEMA)
    with pytest.raises(ConfigurationError):
        CedarPolicy.load(tmp_path)
    (tmp_path / "a.cedar").write_text(POLICIES)
    assert matrix_holds(CedarPolicy.load(tmp_path))


def test_the_hash_says_which_policies_are_in_force(policy: CedarPolicy) -> None:
    assert policy.bundle_hash == CedarPolicy(POLICIES, SCHEMA).bundle_hash
    assert policy.bundle_hash != CedarPolicy(POLICIES + "\n", SCHEMA).bundle_hash
    assert len(policy.bundle_hash) == 64


def test_remembered_decisions_are_the_engine_s_and_their_number_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leadglass.trust.policy.cedar.DECISIONS_REMEMBERED_MAX", 8)
    policy = CedarPolicy.load()
    for number in range(40):
        role = "store" if number % 2 else "query-retrieve"
        principal = Principal(f"device:d{number}", (role,), "CT1")
        for _ in range(2):
            assert isinstance(policy.decide(principal, P.INSTANCE_STORE, SITE), Allowed) is bool(number % 2)
        assert len(policy._decisions) <= 8


def test_what_looks_equal_to_python_is_not_one_question() -> None:
    policies = """
    @id("x") permit (principal, action, resource is Leadglass::Study)
    when { resource has modality && resource.modality == "CT" };
    """
    policy = CedarPolicy(policies, SCHEMA)
    asker = somebody("store")
    assert isinstance(policy.decide(asker, P.STUDY_QUERY, Resource("Study", {"modality": "CT"})), Allowed)
    assert isinstance(policy.decide(asker, P.STUDY_QUERY, Resource("Study", {"modality": "MR"})), Denied)
    assert isinstance(policy.decide(asker, P.STUDY_QUERY, Resource("Study", {})), Denied)
    assert isinstance(policy.decide(asker, P.STUDY_QUERY, Resource("Instance", {"modality": "CT"})), Denied)
