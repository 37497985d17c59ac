"""What changes when one set of policies takes the place of another: which rules, and which verdicts.

The verdicts are a dry run of every role, every action and a sample of studies under both. A sample finds what it has an
example of; the list of rules is complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from leadglass.base.limits import POLICY_SAMPLES_MAX
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import SITE, Decision, Denied, Permission, Resource
from leadglass.trust.policy.roles import Role, RoleKind
from leadglass.trust.policy.rules import Rule

_ABOUT_STUDIES: Final = (
    Permission.INSTANCE_MOVE,
    Permission.INSTANCE_RETRIEVE,
    Permission.STUDY_DELETE,
    Permission.STUDY_EXPORT,
    Permission.STUDY_QUERY,
)
_NOTHING: Final[frozenset[str]] = frozenset()
_DEVICE: Final = "device:sample"


@dataclass(frozen=True, slots=True, order=True)
class VerdictChange:
    """A verdict of the dry run that is another one."""

    role: str
    permission: str
    about: str
    circumstances: str
    before: str
    after: str

    def __str__(self) -> str:
        return (
            f"{self.role}: {self.permission} on {self.about}, {self.circumstances}: "
            f"{self.before} becomes {self.after}"
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two sets of policies.

    Attributes:
        added: ids of rules, as ``removed`` and ``changed``.
        roles_added: names of roles, as ``roles_removed`` and ``roles_changed``.
        verdicts: of the dry run.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    roles_added: tuple[str, ...]
    roles_removed: tuple[str, ...]
    roles_changed: tuple[str, ...]
    verdicts: tuple[VerdictChange, ...]

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.changed, self.roles_added, self.roles_removed)) or bool(
            self.roles_changed or self.verdicts
        )

    def lines(self) -> list[str]:
        """Return it in words, a line each."""
        named = (
            ("rule added", self.added),
            ("rule removed", self.removed),
            ("rule changed", self.changed),
            ("role added", self.roles_added),
            ("role removed", self.roles_removed),
            ("role changed", self.roles_changed),
        )
        return [f"{what}: {name}" for what, names in named for name in names] + [
            str(verdict) for verdict in self.verdicts
        ]


def difference(old: CedarPolicy, new: CedarPolicy, now: datetime | None = None) -> Difference:
    """Return what changes when ``new`` takes the place of ``old``.

    Args:
        old: in force.
        new: to come.
        now: aware UTC; the people of the dry run show their factors at this moment. Without it there is no dry run,
            which takes a second or so.
    """
    changed = tuple(
        sorted(
            name
            for name in old.rules.keys() & new.rules.keys()
            if old.rules[name].text != new.rules[name].text
        )
    )
    added = tuple(sorted(new.rules.keys() - old.rules.keys()))
    removed = tuple(sorted(old.rules.keys() - new.rules.keys()))
    before = {role.name: role for role in old.roles.all()}
    after = {role.name: role for role in new.roles.all()}
    touched = [p.rules[name] for name in (*added, *removed, *changed) for p in (old, new) if name in p.rules]
    roles_changed = tuple(
        sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    )
    return Difference(
        added=added,
        removed=removed,
        changed=changed,
        roles_added=tuple(sorted(after.keys() - before.keys())),
        roles_removed=tuple(sorted(before.keys() - after.keys())),
        roles_changed=roles_changed,
        verdicts=() if now is None else tuple(_verdicts(old, new, {**before, **after}, touched, now)),
    )


def _verdicts(
    old: CedarPolicy, new: CedarPolicy, roles: dict[str, Role], touched: list[Rule], now: datetime
) -> Iterator[VerdictChange]:
    samples = _studies(sorted(frozenset[str]().union(*(rule.literals for rule in touched))))
    for name in sorted(roles):
        # A verdict can only change where a rule did, or where the role came, went or includes something else.
        same_role = old.roles.closure((name,)) == new.roles.closure((name,))
        actions = frozenset[str]().union(*(rule.actions for rule in touched))
        everything = not same_role or any(not rule.actions for rule in touched)
        for how, principal in _comers(roles[name], now):
            for permission in Permission:
                if not everything and permission.value not in actions:
                    continue
                about = {"the site": SITE, **(samples if permission in _ABOUT_STUDIES else {})}
                for what, resource in about.items():
                    before = _verdict(old.decide(principal, permission, resource))
                    after = _verdict(new.decide(principal, permission, resource))
                    if before != after:
                        yield VerdictChange(name, permission.value, what, how, before, after)


def _verdict(decision: Decision) -> str:
    if isinstance(decision, Denied):
        return "denied until a strong factor is shown" if decision.step_up else "denied"
    return "allowed"


def _comers(role: Role, now: datetime) -> Iterator[tuple[str, Principal]]:
    """Yield somebody who has the role, under the circumstances that matter."""
    if role.kind is RoleKind.DEVICE:
        yield "from a device", Principal(_DEVICE, (role.name,), "SAMPLE")
    elif role.kind is RoleKind.LOCAL:
        yield "at the command line", Principal("operator:0", (role.name,))
    elif role.kind is RoleKind.SERVICE:
        scopes = tuple(permission.value for permission in Permission)
        yield (
            "with every scope",
            Principal("client:sample", (role.name,), circumstances=Circumstances(zone="site", scopes=scopes)),
        )
    else:
        strong = Circumstances(zone="site", strong_at=now, phishing_resistant=True)
        for how, here in (
            ("at the site with a strong factor", strong),
            ("at the site with a password", Circumstances(zone="site")),
            (
                "from outside with a strong factor",
                Circumstances(zone="remote", strong_at=now, phishing_resistant=True),
            ),
        ):
            yield (
                how,
                Principal("user:sample", (role.name,), devices=(_DEVICE,), circumstances=here),
            )


def _studies(literals: list[str]) -> dict[str, Resource]:
    def study(**changed: frozenset[str] | bool) -> Resource:
        attributes: dict[str, str | int | bool | frozenset[str]] = {
            "modalities": frozenset({"CT"}),
            "body_parts": _NOTHING,
            "institutions": _NOTHING,
            "sources": _NOTHING,
            "deidentified": False,
            "relations": _NOTHING,
        }
        return Resource("Study", {**attributes, **changed})

    samples = {
        "a study of no concern": study(),
        "a study of an own device": study(sources=frozenset({_DEVICE})),
        "a de-identified study": study(deidentified=True),
        **{
            f"a study with relation {relation}": study(relations=frozenset({relation}))
            for relation in ("assigned", "referring", "treating")
        },
    }
    for literal in literals[:POLICY_SAMPLES_MAX]:
        for name in ("modalities", "body_parts", "institutions", "sources"):
            samples[f"a study with {name} {literal}"] = study(**{name: frozenset({literal})})
    return samples
