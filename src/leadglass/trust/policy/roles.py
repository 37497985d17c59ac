"""The roles there are: those of this release, and those a site adds.

What a role may do is said by the policies alone; here stands what it is for, in words for whoever gives it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RoleKind(StrEnum):
    """Who may have a role."""

    DEVICE = "device"
    LOCAL = "local"
    """The people at the machine's own command line; it is never given."""
    PERSON = "person"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Role:
    """One role.

    Attributes:
        name: ``[a-z0-9-]``, as policies name it.
        kind: who may have it.
        description: one sentence.
        includes: roles whose rights and limits it has as well; a site's own roles only.
        shipped: it is of this release.
    """

    name: str
    kind: RoleKind
    description: str
    includes: tuple[str, ...] = ()
    shipped: bool = True


SHIPPED: Final = (
    Role("auditor", RoleKind.PERSON, "Reads the record and checks that it is whole; changes nothing."),
    Role("client", RoleKind.SERVICE, "A service that does what the scopes of its token say."),
    Role("export-officer", RoleKind.PERSON, "Finds studies and hands them out whole; does not view them."),
    Role("key-custodian", RoleKind.PERSON, "Keeps keys; sees no studies."),
    Role("operator", RoleKind.LOCAL, "Runs the site at its own command line; sees no images."),
    Role(
        "pacs-administrator",
        RoleKind.PERSON,
        "Keeps devices, accounts, services and relations; sees no images.",
    ),
    Role("privacy-officer", RoleKind.PERSON, "Reads the record and signs reviews; sees no images."),
    Role("query-retrieve", RoleKind.DEVICE, "A workstation: finds and fetches."),
    Role("radiologist", RoleKind.PERSON, "Reads all studies of their institutions; works the reading list."),
    Role(
        "referring-physician",
        RoleKind.PERSON,
        "Reads the studies that name them and those of patients they treat.",
    ),
    Role("researcher", RoleKind.PERSON, "Reads de-identified studies."),
    Role("router", RoleKind.DEVICE, "Passes on what others made."),
    Role(
        "security-officer",
        RoleKind.PERSON,
        "Gives roles, applies policies, ends sessions, reads the record, signs reviews; sees no images.",
    ),
    Role("store", RoleKind.DEVICE, "A modality: sends, and asks whether what it sent is kept."),
    Role(
        "technologist",
        RoleKind.PERSON,
        "Reads what their own devices, those of their shift or their workstation acquired.",
    ),
    Role(
        "vendor-support",
        RoleKind.PERSON,
        "Looks at the node and its devices, for a time; sees no images.",
    ),
)


class RoleCatalogue:
    """Which roles there are. Immutable.

    Args:
        added: the site's own.
    """

    def __init__(self, added: Iterable[Role] = ()) -> None:
        self._roles = {role.name: role for role in (*SHIPPED, *added)}

    def get(self, name: str) -> Role | None:
        """Return the role of that name."""
        return self._roles.get(name)

    def all(self) -> tuple[Role, ...]:
        """Return every role, by name."""
        return tuple(self._roles[name] for name in sorted(self._roles))

    @property
    def includes(self) -> Mapping[str, tuple[str, ...]]:
        """What each of the site's own roles includes directly."""
        return {name: role.includes for name, role in self._roles.items() if role.includes}

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """Return these roles and all that they include."""
        reached = set[str]()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                role = self._roles.get(name)
                waiting.extend(role.includes if role is not None else ())
        return frozenset(reached)
