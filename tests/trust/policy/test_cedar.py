"""The engine's wrapper: no way to fail open, and a memory that is the engine's own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.store.index.interfaces import Relation
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.cedar import CedarPolicy, shipped_files, shipped_schema
from leadglass.trust.policy.interfaces import SITE, Allowed, Denied, Permission, Resource
from leadglass.trust.policy.questions import MFA_MINUTES, in_scope
from leadglass.trust.policy.roles import Role, RoleCatalogue, RoleKind
from trust.policy.people import CLOCK, P, comer, fresh, may, person, study

SCHEMA = shipped_schema()
_POLICY = CedarPolicy.load(CLOCK)


def policy_of(text: str, clock: FakeClock = CLOCK, time_zone: tzinfo = UTC) -> CedarPolicy:
    return CedarPolicy({"a.cedar": text}, SCHEMA, clock, time_zone=time_zone)


def own_roles(includes: dict[str, tuple[str, ...]]) -> RoleCatalogue:
    return RoleCatalogue(
        Role(name, RoleKind.PERSON, "x", included, shipped=False) for name, included in includes.items()
    )


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
    decision = policy_of(STUMBLING).decide(comer("store"), P.INSTANCE_STORE, SITE)
    assert decision == Denied("a policy could not be evaluated", ("open",))


@pytest.mark.parametrize(
    "resource",
    [
        Resource("Nowhere", {}),
        Resource("", {}),
        Resource('Site::"x" || true', {}),
        Resource("Study", {}),  # of a study everything is told
        Resource("Study", {**study().attributes, "modalty": "CT"}),
        Resource("Study", {**study().attributes, "modalities": 5}),
        Resource("Study", {**study().attributes, "deidentified": 0}),
        Resource("Site", {"modality": "CT"}),
        Resource("Device", {}),  # DIMSE services are not about devices
    ],
)
def test_a_question_the_schema_does_not_know_is_denied(policy: CedarPolicy, resource: Resource) -> None:
    assert may(policy, comer("store"), P.INSTANCE_STORE, study())
    assert not may(policy, comer("store"), P.INSTANCE_STORE, resource)


@pytest.mark.parametrize("text", ["\x00", "\ud800", '"', "a" * 100_000])
def test_no_name_makes_it_raise_or_say_yes(policy: CedarPolicy, text: str) -> None:
    here = Circumstances(zone=text, purpose=text, posture=text, workstation=text, risk=text, scopes=(text,))
    stranger = Principal(text, (text,), text, text, devices=(text,), institutions=(text,), circumstances=here)
    assert isinstance(policy.decide(stranger, P.INSTANCE_STORE, SITE), Denied)
    assert isinstance(policy.decide(stranger, P.STUDY_QUERY, study()), Denied)


@pytest.mark.parametrize(
    "policies",
    [
        "",
        "permit (principal, action, resource)",  # no semicolon
        "permit (principal, action, resource);",  # no name
        '@id("a") permit (principal, action, resource);\n@id("a") forbid (principal, action, resource);',
        '@id("") permit (principal, action, resource);',
        '@id("a") permit (principal, action == Leadglass::Action::"instance:stor", resource);',
        '@id("a") permit (principal, action, resource is Leadglass::Study) when { resource.modality == "CT" };',
        '@id("a") permit (principal, action, resource is Leadglass::Study) when { resource.deidentified == 5 };',
        '@id("a") permit (principal, action, resource) when { principal.ae_title == 5 };',
        '@id("a") permit (principal, action, resource) when { context.adress == "" };',
        '@id("a") permit (principal, action, resource) when { context.address.isLoopback() };',  # may be absent
        '@id("a") permit (principal == ?principal, action, resource);',
        '@id("a") @step_up("true") permit (principal, action, resource);',
        '@id("a") @step_up("yes") forbid (principal, action, resource);',
        '@id("a") @note("x") forbid (principal, action, resource);',
    ],
)
def test_policies_that_are_not_sound_do_not_start(policies: str) -> None:
    with pytest.raises(ConfigurationError):
        policy_of(policies)


def test_the_hash_says_which_policies_are_in_force(policy: CedarPolicy) -> None:
    files = shipped_files()
    assert policy.bundle_hash == CedarPolicy(files, SCHEMA, CLOCK).bundle_hash
    assert len(policy.bundle_hash) == 64
    longer = CedarPolicy({**files, "people.cedar": files["people.cedar"] + "\n"}, SCHEMA, CLOCK)
    including = CedarPolicy(files, SCHEMA, CLOCK, roles=own_roles({"cardiologist": ("radiologist",)}))
    assert len({policy.bundle_hash, longer.bundle_hash, including.bundle_hash}) == 3


def test_a_role_may_include_others_and_their_limits(policy: CedarPolicy) -> None:
    including = CedarPolicy(
        shipped_files(),
        SCHEMA,
        CLOCK,
        roles=own_roles(
            {
                "cardiologist": ("radiologist",),
                "head": ("cardiologist",),
                "odd": ("key-custodian", "head"),
            }
        ),
    )
    assert not may(policy, person("head"), P.STUDY_QUERY, study())
    assert may(including, person("cardiologist"), P.STUDY_QUERY, study())
    assert may(including, person("head"), P.STUDY_QUERY, study())
    assert not may(including, person("odd"), P.STUDY_QUERY, study())


# --- memory ----------------------------------------------------------------------------------------------------


def test_remembered_decisions_are_the_engine_s_and_their_number_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leadglass.trust.policy.cedar.DECISIONS_REMEMBERED_MAX", 8)
    policy = CedarPolicy.load(CLOCK)
    for number in range(40):
        role = "store" if number % 2 else "query-retrieve"
        principal = Principal(f"device:d{number}", (role,), "CT1")
        for _ in range(2):
            assert may(policy, principal, P.INSTANCE_STORE) is bool(number % 2)
        assert len(policy._decisions) <= 8


SAYS_ONE_THING = {
    # A policy that looks at one thing only, and two askers or things that differ in nothing else.
    "principal.kind": ('principal.kind == "user"', {"principal_id": "user:x"}, {"principal_id": "device:x"}),
    "principal.id": (
        'principal == Leadglass::Principal::"user:x"',
        {"principal_id": "user:x"},
        {"principal_id": "user:y"},
    ),
    "principal.role": ('principal in Leadglass::Role::"a"', {"roles": ("a",)}, {"roles": ("b",)}),
    "principal.ae_title": ('principal.ae_title == "A"', {"ae_title": "A"}, {"ae_title": "B"}),
    "principal.through": ('principal.through == "device:a"', {"through": "device:a"}, {"through": ""}),
    "principal.devices": (
        'principal.devices.contains("device:a")',
        {"devices": ("device:a",)},
        {"devices": ()},
    ),
    "principal.institutions": (
        'principal.institutions.contains("a")',
        {"institutions": ("a",)},
        {"institutions": ()},
    ),
    "context.address": (
        'context has address && context.address.isInRange(ip("192.0.2.0/24"))',
        {"address": "192.0.2.1"},
        {"address": "198.51.100.1"},
    ),
    "context.address, mapped": (
        'context has address && context.address.isInRange(ip("192.0.2.0/24"))',
        {"address": "::ffff:192.0.2.1"},
        {"address": "local"},
    ),
}
SAYS_ONE_CIRCUMSTANCE = {
    "workstation": ('principal.workstation == "device:a"', "device:a", ""),
    "zone": ('context.zone == "site"', "site", "remote"),
    "posture": ('context.posture == "managed"', "managed", ""),
    "purpose": ('context.purpose == "TREAT"', "TREAT", "HRESCH"),
    "phishing_resistant": ("context.phishing_resistant", True, False),
    "break_glass": ("context.break_glass", "bg-1", ""),
    "risk": ('context.risk == "low"', "low", "high"),
    "scopes": ('context.scopes.contains("a")', ("a",), ("b",)),
    "strong_at": ("context.mfa", CLOCK.now(), None),
}


@pytest.mark.parametrize("name", SAYS_ONE_THING)
def test_whatever_a_policy_looks_at_tells_questions_apart(name: str) -> None:
    condition, yes, no = SAYS_ONE_THING[name]
    policy = policy_of(f'@id("x") permit (principal, action, resource) when {{ {condition} }};')
    base = Principal("user:x", ("r",), circumstances=fresh())
    for _ in range(2):
        assert may(policy, replace(base, **yes), P.STUDY_QUERY)  # type: ignore[arg-type]
        assert not may(policy, replace(base, **no), P.STUDY_QUERY)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SAYS_ONE_CIRCUMSTANCE)
def test_whatever_circumstance_a_policy_looks_at_tells_questions_apart(name: str) -> None:
    condition, yes, no = SAYS_ONE_CIRCUMSTANCE[name]
    policy = policy_of(f'@id("x") permit (principal, action, resource) when {{ {condition} }};')
    for _ in range(2):
        assert may(policy, person(circumstances=fresh(**{name: yes})), P.STUDY_QUERY)
        assert not may(policy, person(circumstances=fresh(**{name: no})), P.STUDY_QUERY)


@pytest.mark.parametrize("name", ["modalities", "body_parts", "institutions", "sources", "relations"])
def test_whatever_a_policy_looks_at_of_a_study_tells_questions_apart(name: str) -> None:
    policy = policy_of(
        '@id("x") permit (principal, action, resource is Leadglass::Study)'
        f' when {{ resource.{name}.contains("a") }};'
    )
    for _ in range(2):
        for value, expected in ((frozenset({"a"}), True), (frozenset({"b"}), False), (frozenset(), False)):
            resource = Resource("Study", {**study().attributes, name: value})
            assert may(policy, person(), P.STUDY_QUERY, resource) is expected
        assert not may(policy, person(), P.STUDY_QUERY)  # the site is not a study


def test_what_looks_equal_to_python_is_not_one_question() -> None:
    policy = policy_of(
        '@id("x") permit (principal, action, resource is Leadglass::Study) when { resource.deidentified };'
    )
    assert may(
        policy, person(), P.STUDY_QUERY, Resource("Study", {**study().attributes, "deidentified": True})
    )
    assert not may(
        policy, person(), P.STUDY_QUERY, Resource("Study", {**study().attributes, "deidentified": 1})
    )


def test_what_no_policy_looks_at_and_nobody_names_makes_no_new_question() -> None:
    policy = CedarPolicy.load(CLOCK)
    who = person("technologist", devices=("device:ct1",))
    for number in range(50):
        mine, others = (
            study(
                body_parts=frozenset({f"P{number}"}),
                sources=frozenset({f"device:x{number}", *own}),
                institutions=frozenset({f"hospital {number}"}),
            )
            for own in (("device:ct1",), ())
        )
        assert may(policy, who, P.STUDY_QUERY, mine)
        assert not may(policy, who, P.STUDY_QUERY, others)
    assert len(policy._decisions) == 2


@pytest.mark.parametrize(
    ("condition", "names", "expected"),
    [
        ("resource.modalities.isEmpty()", (), True),
        ("resource.modalities.isEmpty()", ("XX",), False),
        ('resource.modalities == ["CT"]', ("CT",), True),
        ('resource.modalities == ["CT"]', ("CT", "XX"), False),
        ('["CT", "MR"].containsAll(resource.modalities)', ("CT",), True),
        ('["CT", "MR"].containsAll(resource.modalities)', ("CT", "XX"), False),
        ('resource.modalities.containsAll(["CT", "MR"])', ("CT", "MR", "XX"), True),
        ("resource.modalities.containsAny(resource.body_parts)", ("XX",), True),
        ("resource.modalities.containsAny(resource.body_parts)", ("YY",), False),
        ("resource.modalities.contains(principal.workstation)", ("device:ws9", "XX"), True),
        ("resource.modalities.containsAny(context.scopes)", ("study:query", "XX"), True),
    ],
)
def test_names_that_are_told_as_one_are_told_apart_where_it_matters(
    condition: str, names: tuple[str, ...], expected: bool
) -> None:
    policy = policy_of(
        f'@id("x") permit (principal, action, resource is Leadglass::Study) when {{ {condition} }};'
    )
    who = person(circumstances=fresh(workstation="device:ws9", scopes=("study:query",)))
    resource = study(modalities=frozenset(names), body_parts=frozenset({"XX"}))
    for _ in range(2):
        assert may(policy, who, P.STUDY_QUERY, resource) is expected


# --- time ------------------------------------------------------------------------------------------------------


def test_the_hour_is_the_site_s_and_remembered_no_longer_than_it_lasts() -> None:
    clock = FakeClock(datetime.fromisoformat("2026-03-29T00:30:00+00:00"))  # the night the clocks go forward
    policy = policy_of(
        '@id("x") permit (principal, action, resource) when { context.hour == 3 && context.weekday == 7 };',
        clock=clock,
        time_zone=ZoneInfo("Europe/Zurich"),
    )
    seen = list[tuple[int, bool]]()
    for _ in range(4):
        seen.append((clock.now().hour, may(policy, person(), P.STUDY_QUERY)))
        clock.advance(1800)
    assert seen == [(0, False), (1, True), (1, True), (2, False)]


def test_a_factor_grows_old_while_its_holder_does_nothing() -> None:
    clock = FakeClock()
    policy = CedarPolicy.load(clock)
    officer = person("export-officer", circumstances=fresh(strong_at=clock.now()))
    for _ in range(16):
        assert may(policy, officer, P.STUDY_EXPORT)
        clock.advance(56)
    clock.advance(10)
    assert not may(policy, officer, P.STUDY_EXPORT)


@given(st.integers(min_value=0, max_value=3 * 86400))
def test_a_factor_never_looks_fresher_than_it_is(seconds: int) -> None:
    policy = _POLICY
    here = fresh(strong_at=CLOCK.now() - timedelta(seconds=seconds))
    told = policy.question(person(circumstances=here), P.STUDY_QUERY, SITE).told()
    minutes = told["context.mfa_minutes"]
    assert minutes in MFA_MINUTES
    assert isinstance(minutes, int)
    assert minutes * 60 >= min(seconds, MFA_MINUTES[-1] * 60)
    shorter = [step for step in MFA_MINUTES if step < minutes]
    assert not shorter or shorter[-1] * 60 < seconds


def test_steps_grow() -> None:
    assert all(a < b for a, b in pairwise(MFA_MINUTES))


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((), True),
        (("study:query",), True),
        (("study:*",), True),
        (("study",), False),
        (("*",), False),
        (("*:query",), False),
        (("study:quer",), False),
        (("STUDY:QUERY",), False),
        (("study:query ",), False),
        (("",), False),
        (("instance:retrieve", "study:query"), True),
    ],
)
def test_scopes(scopes: tuple[str, ...], expected: bool) -> None:
    assert in_scope(P.STUDY_QUERY, scopes) is expected


def test_an_allow_says_by_which_policies(policy: CedarPolicy) -> None:
    assert policy.decide(person("radiologist"), P.STUDY_QUERY, study()) == Allowed(("radiologist-reads",))


# --- what is left out for speed changes nothing ----------------------------------------------------------------

_ROLES = ("client", "export-officer", "head", "key-custodian", "operator", "radiologist", "researcher")
_ROLES_MORE = ("referring-physician", "security-officer", "store", "technologist", "vendor-support", "x")
_INCLUDES = {"head": ("radiologist",), "x": ("head", "key-custodian")}
_WITH_INCLUDES = CedarPolicy(shipped_files(), SCHEMA, CLOCK, roles=own_roles(_INCLUDES))
_some_devices = st.lists(
    st.sampled_from(("device:ct1", "device:mr1", "device:x1", "device:x2")), max_size=2, unique=True
)
_principals = st.builds(
    Principal,
    principal_id=st.sampled_from(("user:a", "device:ct1", "client:c", "operator:0")),
    roles=st.lists(st.sampled_from((*_ROLES, *_ROLES_MORE)), max_size=3, unique=True).map(tuple),
    ae_title=st.sampled_from(("", "CT1")),
    through=st.sampled_from(("", "device:ws1")),
    devices=_some_devices.map(tuple),
    institutions=st.sampled_from(((), ("north",))),
    circumstances=st.builds(
        Circumstances,
        zone=st.sampled_from(("", "site", "remote")),
        purpose=st.sampled_from(("", "TREAT")),
        workstation=st.sampled_from(("", "device:ct1")),
        strong_at=st.sampled_from((None, CLOCK.now(), CLOCK.now() - timedelta(hours=1))),
        break_glass=st.sampled_from(("", "bg")),
        risk=st.sampled_from(("low", "high")),
        scopes=st.sampled_from(((), ("study:*",), ("instance:retrieve",))),
    ),
)
_studies = st.builds(
    lambda sources, institutions, deidentified, relations: study(
        sources=frozenset(sources),
        institutions=frozenset(institutions),
        deidentified=deidentified,
        relations=frozenset(relations),
    ),
    _some_devices,
    st.lists(st.sampled_from(("north", "south")), max_size=2),
    st.booleans(),
    st.lists(st.sampled_from(list(Relation)), max_size=2),
)
_resources = st.one_of(
    st.just(SITE),
    _studies,
    st.sampled_from(
        [Resource("Session", {"own": True}), Resource("Review", {"own": True}), Resource("Workitem", {})]
    ),
)


@given(_principals, st.sampled_from(list(Permission)), _resources)
def test_the_policies_that_are_left_out_would_have_said_nothing(
    principal: Principal, permission: Permission, resource: Resource
) -> None:
    for policy in (_POLICY, _WITH_INCLUDES):
        in_full = policy.answer_in_full(policy.question(principal, permission, resource))
        for _ in range(2):  # the first of its shape is asked in full anyway
            quick = policy.decide(principal, permission, resource)
            assert type(quick) is type(in_full)
            assert quick.rules == in_full.rules
