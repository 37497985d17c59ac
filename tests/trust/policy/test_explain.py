"""Why somebody may, or may not: the rule, what it looked at, and what would change it."""

from datetime import timedelta

import pytest

from leadglass.store.index.interfaces import Relation
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.explain import explain
from leadglass.trust.policy.interfaces import SITE, Allowed, Denied, Permission, Resource
from trust.policy.people import CLOCK, P, fresh, password_only, person, related, study

STALE = fresh(strong_at=CLOCK.now() - timedelta(hours=1))


@pytest.mark.parametrize(
    ("principal", "permission", "resource", "rule", "changes"),
    [
        (
            person("referring-physician"),
            P.STUDY_QUERY,
            study(),
            "",
            ("with relation referring", "with relation treating", "after breaking the glass"),
        ),
        (
            person("referring-physician"),
            P.STUDY_QUERY,
            related(Relation.TREATING),
            "referring-physician-sees-own-patients",
            ("without a purpose", "without relation treating"),
        ),
        (
            person("export-officer", circumstances=STALE),
            P.STUDY_EXPORT,
            study(),
            "fresh-strong-factor",
            ("after step-up",),
        ),
        (
            person("technologist", devices=("device:mr1",)),
            P.STUDY_QUERY,
            study(),
            "",
            ("with a device that acquired it", "after breaking the glass"),
        ),
        (
            person("radiologist", institutions=("elsewhere",)),
            P.STUDY_QUERY,
            study(),
            "institutions-limit",
            ("without a limit to institutions", "after breaking the glass"),
        ),
        (
            person("radiologist", circumstances=password_only(zone="remote")),
            P.STUDY_QUERY,
            study(),
            "remote-needs-second-factor",
            ("after step-up", "at the site"),
        ),
        (person("researcher"), P.STUDY_QUERY, study(), "", ("if it were de-identified",)),
        (
            person("radiologist", circumstances=fresh(scopes=("workitem:query",))),
            P.STUDY_QUERY,
            study(),
            "scopes-limit",
            ("with the scope study:query",),
        ),
        (person("key-custodian", "radiologist"), P.STUDY_QUERY, study(), "keys-and-data-are-apart", ()),
        (
            person("security-officer"),
            P.POLICY_APPLY,
            SITE,
            "security-officer-guards",
            ("without a strong factor", "once the strong factor is older"),
        ),
    ],
)
def test_what_decided_and_what_would_change_it(
    policy: CedarPolicy,
    principal: Principal,
    permission: Permission,
    resource: Resource,
    rule: str,
    changes: tuple[str, ...],
) -> None:
    explanation = explain(policy, principal, permission, resource)
    assert explanation.decision == policy.decide(principal, permission, resource)
    assert [found.rule_id for found in explanation.rules] == ([rule] if rule else [])
    assert explanation.changes == changes


def test_in_plain_words(policy: CedarPolicy) -> None:
    lines = explain(policy, person("export-officer", circumstances=STALE), P.STUDY_EXPORT, study()).lines()
    assert lines[0] == "denied until a strong factor is shown"
    assert lines[1].startswith("forbid fresh-strong-factor (guard_rails.cedar): What lets data out")
    assert '@id("fresh-strong-factor")' in lines
    assert "principal.roles is export-officer" in lines
    assert "context.mfa_minutes is 60" in lines
    assert "context.mfa is yes" in lines
    assert lines[-1] == "would be allowed after step-up"


def test_who_has_no_role_for_it_learns_which_have(policy: CedarPolicy) -> None:
    explanation = explain(policy, person("auditor"), P.STUDY_EXPORT, study())
    assert isinstance(explanation.decision, Denied)
    assert explanation.roles == ()  # a rail decided
    explanation = explain(policy, person(), P.STUDY_EXPORT, study())
    assert explanation.roles == ("export-officer",)
    assert explanation.lines()[:3] == [
        "denied",
        "no policy allows it",
        "roles that permit it somewhere: export-officer",
    ]


def test_a_yes_names_every_permit(policy: CedarPolicy) -> None:
    explanation = explain(
        policy, person("radiologist", "researcher"), P.STUDY_QUERY, study(deidentified=True)
    )
    assert isinstance(explanation.decision, Allowed)
    assert [rule.rule_id for rule in explanation.rules] == [
        "radiologist-reads",
        "researcher-sees-deidentified",
    ]
    assert explanation.lines()[0] == "allowed"
