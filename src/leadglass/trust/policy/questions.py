"""What the engine is told: who asks, under what circumstances, about what.

A question is also the key under which its answer is remembered, so nothing may reach the engine but through it.
"""

from collections.abc import Container, Hashable, Mapping
from datetime import datetime, tzinfo
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from leadglass.base.clock import Clock
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission, Resource
from leadglass.trust.policy.rules import NAMESPACE

Value = str | int | bool | frozenset[str] | tuple[str, ...]
"""A tuple stands for a set: it is the one the principal came with, so no set is made for a remembered answer."""

PRINCIPAL_ATTRIBUTES: Final = ("kind", "ae_title", "through", "devices", "institutions", "workstation")
CIRCUMSTANCES: Final = (
    "zone",
    "posture",
    "purpose",
    "hour",
    "weekday",
    "mfa",
    "mfa_minutes",
    "phishing_resistant",
    "break_glass",
    "risk",
    "scopes",
    "in_scope",
)
"""``address`` stands beside these: it may be absent."""

MFA_MINUTES: Final = (1, 2, 3, 4, 5, 10, 15, 20, 30, 45, 60, 120, 240, 480, 720, 1440)
"""Ages of a strong factor that policies can tell apart; rounded up, so a factor never looks fresher than it is."""
_NEVER: Final = MFA_MINUTES[-1]
_OTHER: Final = "\x00other"
_OTHERS: Final = frozenset({_OTHER})
_RESOURCE_ID: Final = "it"
"""A question is about one thing, told apart by its attributes; policies cannot name single objects."""


_ROLE: Final = f"{NAMESPACE}::Role"
_PRINCIPAL: Final = f"{NAMESPACE}::Principal"
_ACTION: Final = f"{NAMESPACE}::Action"


class _Everything:
    """Every name."""

    def __contains__(self, name: object) -> bool:
        return True


EVERYTHING: Final = _Everything()


class Question(NamedTuple):
    """One question, whole and hashable.

    Attributes:
        subject: values of ``PRINCIPAL_ATTRIBUTES``.
        circumstances: values of ``CIRCUMSTANCES``.
        address: IP address, or empty for none.
        attributes: of the resource: name, name of the type, value. The type stands beside the value because True and
            1 are the same key of a dict but not the same value to the engine.
    """

    principal_id: str
    roles: tuple[str, ...]
    subject: tuple[Value, ...]
    permission: Permission
    kind: str
    attributes: tuple[tuple[str, str, Value], ...]
    circumstances: tuple[Value, ...]
    address: str

    def shape(self) -> Hashable:
        """Return what decides whether the schema knows such a question: names and types, no values."""
        return (
            self.permission,
            self.kind,
            tuple([entry[:2] for entry in self.attributes]),
            bool(self.address),
            tuple([type(value) for value in (self.principal_id, *self.subject, *self.circumstances)]),
        )

    def told(self) -> dict[str, str | int | bool | list[str]]:
        """Return what it says, by the names policies use: ``principal.kind``, ``context.zone``, ``resource.sources``."""
        return {
            "principal.roles": sorted(self.roles),
            **{f"principal.{n}": _plain(v) for n, v in zip(PRINCIPAL_ATTRIBUTES, self.subject, strict=True)},
            **{f"context.{n}": _plain(v) for n, v in zip(CIRCUMSTANCES, self.circumstances, strict=True)},
            **({"context.address": self.address} if self.address else {}),
            **{f"resource.{n}": _plain(v) for n, _, v in self.attributes},
        }

    def with_circumstances(self, **changed: Value) -> "Question":
        """Return it under other circumstances."""
        values = dict(zip(CIRCUMSTANCES, self.circumstances, strict=True)) | changed
        return self._replace(circumstances=tuple(values[name] for name in CIRCUMSTANCES))

    def with_attribute(self, name: str, value: str | int | bool | frozenset[str]) -> "Question":
        """Return it about something that differs in one attribute."""
        changed = (name, type(value).__name__, value)
        return self._replace(
            attributes=tuple(changed if entry[0] == name else entry for entry in self.attributes)
        )

    def with_subject(self, **changed: Value) -> "Question":
        """Return it asked by somebody who differs in these attributes."""
        values = dict(zip(PRINCIPAL_ATTRIBUTES, self.subject, strict=True)) | changed
        return self._replace(subject=tuple(values[name] for name in PRINCIPAL_ATTRIBUTES))

    def with_strong_factor(self) -> "Question":
        """Return it as it would be if a strong factor had been shown just now."""
        return self.with_circumstances(mfa=True, mfa_minutes=1, phishing_resistant=True)

    def entities(self, reads: Container[str] = EVERYTHING) -> list[dict[str, object]]:
        """Return principal and resource as Cedar JSON, with the attributes of these names."""
        subject = zip(PRINCIPAL_ATTRIBUTES, self.subject, strict=True)
        return [
            {
                "uid": self._principal_uid(),
                "attrs": {name: _plain(value) for name, value in subject if name in reads},
                "parents": [{"type": _ROLE, "id": role} for role in self.roles],
            },
            {
                "uid": self._resource_uid(),
                "attrs": {name: _plain(value) for name, _, value in self.attributes if name in reads},
                "parents": [],
            },
        ]

    def request(self, reads: Container[str] = EVERYTHING) -> dict[str, object]:
        """Return the request as Cedar JSON, with the circumstances of these names."""
        circumstances = zip(CIRCUMSTANCES, self.circumstances, strict=True)
        context: dict[str, object] = {name: _plain(value) for name, value in circumstances if name in reads}
        if self.address and "address" in reads:
            context["address"] = {"__extn": {"fn": "ip", "arg": self.address}}
        return {
            "principal": self._principal_uid(),
            "action": {"type": _ACTION, "id": self.permission.value},
            "resource": self._resource_uid(),
            "context": context,
        }

    def _principal_uid(self) -> dict[str, str]:
        return {"type": _PRINCIPAL, "id": self.principal_id}

    def _resource_uid(self) -> dict[str, str]:
        return {"type": f"{NAMESPACE}::{self.kind}", "id": _RESOURCE_ID}


class Questioner:
    """Puts questions so that few differ: a site has ten thousand kinds of studies, and few verdicts on them.

    What no policy looks at is told as nothing. Of a set of names that a resource carries, those that neither a policy
    nor the principal names are told as one: there is no policy that could tell them apart, as the language compares
    sets of names with names and sets, and does nothing else with them.

    Args:
        clock: for the age of factors and the hour.
        time_zone: of the site.
        reads: every attribute that some policy looks at, e.g. ``context.hour``.
        literals: every name that some policy compares with; None where policies compare a resource with itself, so
            that every name counts.
    """

    def __init__(
        self,
        clock: Clock,
        time_zone: tzinfo,
        reads: "frozenset[str] | _Everything",
        literals: frozenset[str] | None,
    ) -> None:
        self._clock = clock
        self._time_zone = time_zone
        self._literals = None if literals is None or _OTHER in literals else literals
        # By the bare name: "has" and nested records may name an attribute without its variable.
        self._reads: Container[str] = (
            frozenset(name.rpartition(".")[2] for name in reads) if isinstance(reads, frozenset) else reads
        )
        self._reads_hour = "hour" in self._reads or "weekday" in self._reads
        self._reads_address = "address" in self._reads
        self._reads_age = "mfa_minutes" in self._reads
        self._hour: tuple[int, int, int] = (-1, 0, 1)

    def question(self, principal: Principal, permission: Permission, resource: Resource) -> Question:
        """Return the question whether somebody may do something now."""
        here = principal.circumstances
        strong_at = here.strong_at
        now = self._clock.now() if self._reads_hour or (self._reads_age and strong_at is not None) else None
        minutes = _NEVER
        if strong_at is not None and now is not None and self._reads_age:
            minutes = _age(strong_at, now)
        hour, weekday = self._local(now) if self._reads_hour and now is not None else (0, 1)
        return Question(
            principal.principal_id,
            principal.roles,
            (
                principal.kind,
                principal.ae_title,
                principal.through,
                principal.devices,
                principal.institutions,
                here.workstation,
            ),
            permission,
            resource.kind,
            self._attributes(principal, resource.attributes) if resource.attributes else (),
            (
                here.zone,
                here.posture,
                here.purpose,
                hour,
                weekday,
                strong_at is not None,
                minutes,
                here.phishing_resistant,
                here.break_glass != "",
                here.risk,
                here.scopes,
                in_scope(permission, here.scopes),
            ),
            _address(principal.address) if self._reads_address else "",
        )

    def _attributes(
        self, principal: Principal, attributes: Mapping[str, str | int | bool | frozenset[str]]
    ) -> tuple[tuple[str, str, Value], ...]:
        reads = self._reads
        named = self._named(principal)
        told = list[tuple[str, str, Value]]()
        for name, value in attributes.items():
            kind = type(value)
            if name not in reads:
                told.append((name, kind.__name__, kind()))
            elif named is None or not isinstance(value, frozenset) or value <= named:
                told.append((name, kind.__name__, value))
            else:
                told.append((name, kind.__name__, (value & named) | _OTHERS))
        return tuple(told)

    def _named(self, principal: Principal) -> frozenset[str] | None:
        """Return every name that the policies or the principal could compare with; None for all there are."""
        if self._literals is None:
            return None
        here = principal.circumstances
        return self._literals.union(
            principal.devices,
            principal.institutions,
            here.scopes,
            (principal.ae_title, principal.through, principal.kind, here.workstation, here.zone),
            (here.posture, here.purpose, here.risk),
        )

    def _local(self, now: datetime) -> tuple[int, int]:
        """Return hour and weekday; worked out once a minute."""
        minute = int(now.timestamp()) // 60
        known = self._hour
        if known[0] != minute:
            local = now.astimezone(self._time_zone)
            self._hour = known = (minute, local.hour, local.isoweekday())
        return known[1], known[2]


def in_scope(permission: Permission, scopes: tuple[str, ...]) -> bool:
    """Tell whether scopes cover a permission: by its name, or all of its kind by ``study:*``; no scopes: no limit."""
    return not scopes or permission.value in scopes or f"{permission.value.partition(':')[0]}:*" in scopes


def _age(strong_at: datetime, now: datetime) -> int:
    """Return the age in minutes, rounded up to one of ``MFA_MINUTES``."""
    minutes = (now - strong_at).total_seconds() / 60
    if minutes < 0:  # the clock was set back: nobody can say how old it is
        return _NEVER
    return next((step for step in MFA_MINUTES if minutes <= step), _NEVER)


def _address(text: str) -> str:
    """Return an address as the engine reads it; empty for what is none. An IPv4 one inside IPv6 is the IPv4 one."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _plain(value: Value) -> str | int | bool | list[str]:
    return sorted(value) if isinstance(value, frozenset | tuple) else value
