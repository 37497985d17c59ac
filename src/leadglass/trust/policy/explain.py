"""Why? Which rule decided, what it looked at, and what would change the verdict. In plain words.

What would change it is found by asking the engine again with one thing different, never by reading the rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import Allowed, Decision, Denied, Permission, Resource
from leadglass.trust.policy.questions import Question
from leadglass.trust.policy.rules import Rule

_NEVER: Final = 1440
_STEP_UP: Final = "after step-up"
_GLASS: Final = "after breaking the glass"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one verdict.

    Attributes:
        decision: as the node would decide now.
        rules: that decided; empty where no policy allows it.
        told: what the deciding rules look at, and its value; where no policy allows it, what those look at that might.
        roles: of which any would bring a permit for this, for somebody who has none that does; sorted.
        changes: what would turn the verdict, one thing at a time; sentences without a full stop.
    """

    decision: Decision
    rules: tuple[Rule, ...]
    told: tuple[tuple[str, str], ...]
    roles: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``allowed``, ``denied``, or ``denied until a strong factor is shown``."""
        if isinstance(self.decision, Allowed):
            return "allowed"
        return "denied until a strong factor is shown" if self.decision.step_up else "denied"

    def lines(self) -> list[str]:
        """Return it in plain words, a line each; the text of a rule takes several."""
        lines = [self.verdict]
        for rule in self.rules:
            lines += [f"{rule.effect} {rule.rule_id} ({rule.file}): {rule.comment}", *rule.text.splitlines()]
        if isinstance(self.decision, Denied) and not self.rules:
            lines.append(self.decision.reason)
            if self.roles:
                lines.append(f"roles that permit it somewhere: {', '.join(self.roles)}")
        lines += [f"{name} is {value}" for name, value in self.told]
        other = "denied" if isinstance(self.decision, Allowed) else "allowed"
        return lines + [f"would be {other} {change}" for change in self.changes]


def explain(
    policy: CedarPolicy, principal: Principal, permission: Permission, resource: Resource
) -> Explanation:
    """Explain what would be decided now.

    Somebody who acts through a device needs a yes for both: explain the device beside them.
    """
    decision = policy.decide(principal, permission, resource)
    question = policy.question(principal, permission, resource)
    rules = tuple(policy.rules[name] for name in decision.rules if name in policy.rules)
    closure = policy.roles.closure(principal.roles)
    permits = [
        rule
        for rule in policy.rules.values()
        if rule.effect == "permit" and (not rule.actions or permission.value in rule.actions)
    ]
    looked_at = rules or [rule for rule in permits if not rule.about_role or rule.about_role in closure]
    told = question.told()
    reads = sorted({name for rule in looked_at for name in rule.reads if name in told})
    return Explanation(
        decision=decision,
        rules=rules,
        told=(
            ("principal.roles", _words(sorted(principal.roles))),
            *((name, _words(told[name])) for name in reads),
        ),
        roles=()
        if rules
        else tuple(sorted({rule.about_role for rule in permits if rule.about_role} - closure)),
        changes=tuple(_changes(policy, question, decision)),
    )


def _changes(policy: CedarPolicy, question: Question, decision: Decision) -> Iterator[str]:
    allowed = isinstance(decision, Allowed)
    yielded = set[str]()
    for words, other in _without(question) if allowed else _with(question):
        if other != question and isinstance(policy.answer_in_full(other), Allowed) is not allowed:
            if words == _GLASS and _STEP_UP in yielded:
                continue  # the factor alone is enough
            yielded.add(words)
            yield words


def _with(question: Question) -> Iterator[tuple[str, Question]]:
    """Yield what somebody might have more of."""
    told = question.told()
    study = question.kind == "Study"
    strong = question.with_strong_factor()
    yield _STEP_UP, strong
    yield "at the site", question.with_circumstances(zone="site")
    yield "with a purpose stated", question.with_circumstances(purpose="TREAT")
    yield "in a session without risk", question.with_circumstances(risk="low")
    yield (
        f"with the scope {question.permission.value}",
        question.with_circumstances(scopes=(question.permission.value,), in_scope=True),
    )
    if not study:
        return
    yield "without a limit to institutions", question.with_subject(institutions=())
    relations = frozenset(_names(told["resource.relations"]))
    for relation in ("assigned", "referring", "treating"):
        yield f"with relation {relation}", question.with_attribute("relations", relations | {relation})
    yield (
        "with a device that acquired it",
        question.with_subject(devices=tuple(_names(told["resource.sources"]))),
    )
    yield "if it were de-identified", question.with_attribute("deidentified", True)
    yield (
        _GLASS,
        strong.with_circumstances(break_glass=True).with_attribute("relations", relations | {"emergency"}),
    )


def _without(question: Question) -> Iterator[tuple[str, Question]]:
    """Yield what somebody might have less of."""
    told = question.told()
    yield (
        "without a strong factor",
        question.with_circumstances(mfa=False, mfa_minutes=_NEVER, phishing_resistant=False),
    )
    yield "once the strong factor is older", question.with_circumstances(mfa_minutes=_NEVER)
    yield "from outside", question.with_circumstances(zone="remote")
    yield "without a purpose", question.with_circumstances(purpose="")
    yield "in a session at risk", question.with_circumstances(risk="high")
    yield "without emergency access", question.with_circumstances(break_glass=False)
    if question.kind == "Study":
        relations = frozenset(_names(told["resource.relations"]))
        for relation in sorted(relations):
            yield (
                f"without relation {relation}",
                question.with_attribute("relations", relations - {relation}),
            )
        yield "without devices of their own", question.with_subject(devices=(), workstation="")
        yield "if it were not de-identified", question.with_attribute("deidentified", False)


def _names(value: str | int | bool | list[str]) -> list[str]:
    return value if isinstance(value, list) else []


def _words(value: str | int | bool | list[str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value) or "none"
