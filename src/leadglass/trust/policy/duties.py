"""Separation of duties: which roles no one person may hold together.

The guard rails of the policies hold against whoever collected such roles all the same; this says so before, to
whoever gives them.

Source: 45 CFR 164.308(a)(3), (a)(4); NIST SP 800-53 AC-5.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import UsageError
from leadglass.trust.policy.roles import RoleCatalogue, RoleKind

KEYS: Final = frozenset({"key-custodian"})
RUNS: Final = frozenset({"pacs-administrator"})
WATCHES: Final = frozenset({"auditor", "privacy-officer", "security-officer"})
DATA: Final = frozenset(
    {
        "export-officer",
        "query-retrieve",
        "radiologist",
        "referring-physician",
        "researcher",
        "router",
        "store",
        "technologist",
    }
)
OUTSIDE: Final = frozenset({"vendor-support"})
SERVICES: Final = frozenset({"client"})


@dataclass(frozen=True, slots=True)
class Duty:
    """Two groups of roles, and why nobody may hold one of each."""

    one: frozenset[str]
    other: frozenset[str]
    reason: str


DUTIES: Final = (
    Duty(KEYS, DATA, "whoever holds the keys holds no data"),
    Duty(KEYS, RUNS, "whoever holds the keys does not run the site"),
    Duty(KEYS, WATCHES, "whoever holds the keys does not review their use"),
    Duty(RUNS, WATCHES, "whoever administers is reviewed by somebody else"),
    Duty(RUNS, DATA, "whoever runs the site sees no images"),
    Duty(WATCHES, DATA, "whoever reviews access does not need it themselves"),
    Duty(frozenset({"auditor"}), frozenset({"security-officer"}), "an auditor audits the security officer"),
    Duty(OUTSIDE, KEYS | RUNS | WATCHES | DATA, "vendor support looks at the node and nothing else"),
    Duty(SERVICES, KEYS | RUNS | WATCHES | OUTSIDE, "a service does not administer"),
)


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """Two roles that no one person may hold, and why."""

    one: str
    other: str
    reason: str


class Duties:
    """Checks roles before they are given.

    Args:
        catalogue: asked for each check, so that a site's new roles count as soon as they are applied.
        duties: what must stay apart.
    """

    def __init__(
        self, catalogue: Callable[[], RoleCatalogue] = RoleCatalogue, duties: Sequence[Duty] = DUTIES
    ) -> None:
        self._catalogue = catalogue
        self._duties = duties

    def check(self, roles: Iterable[str]) -> list[Conflict]:
        """Return every pair of these roles that excludes each other; a role stands for all that it includes."""
        catalogue = self._catalogue()
        reach = {role: catalogue.closure((role,)) for role in sorted(set(roles))}
        found = set[Conflict]()
        for one, ones in reach.items():
            for other, others in reach.items():
                for duty in self._duties:
                    if ones & duty.one and others & duty.other:
                        first, second = sorted((one, other))
                        found.add(Conflict(first, second, duty.reason))
        return sorted(found)

    def require(self, roles: Sequence[str]) -> None:
        """Check roles that somebody is to be given, by whomever: a person, or a group of an identity provider.

        Raises:
            UsageError: there is no such role, it is never given, or two exclude each other.
        """
        catalogue = self._catalogue()
        for name in roles:
            role = catalogue.get(name)
            if role is None:
                raise UsageError("there is no such role", hint="leadglass role list shows those there are")
            if role.kind is RoleKind.LOCAL:
                raise UsageError(f"{name} is for the people at the machine itself and cannot be given")
        conflicts = self.check(roles)
        if conflicts:
            first = conflicts[0]
            both = first.one if first.one == first.other else f"{first.one} and {first.other}"
            raise UsageError(f"{both}: {first.reason}")
