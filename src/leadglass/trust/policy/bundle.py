"""A site's own policies: files that add roles and rules to those of this release.

::

    policy/
        cardiology.cedar    permits and forbids, each with an @id of its own
        roles.json          {"cardiologist": {"description": "...", "includes": ["radiologist"]}}

What this release ships is always in force beside them. A ``forbid`` wins over every ``permit``, so a guard rail cannot
be taken away by adding; and nothing of ours can be replaced, because names of files and rules are taken.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import POLICY_FILE_BYTES_MAX, POLICY_FILES_MAX
from leadglass.trust.policy.cedar import CedarPolicy, shipped_files, shipped_schema
from leadglass.trust.policy.roles import Role, RoleCatalogue, RoleKind

ROLES_FILE: Final = "roles.json"
_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\.cedar", re.ASCII)
_ROLE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_DESCRIPTION_MAX: Final = 500


class _RoleEntry(msgspec.Struct, forbid_unknown_fields=True):
    description: str
    includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteBundle:
    """A site's own policy files and roles; empty for a site that adds nothing.

    Attributes:
        files: text by name of file.
        roles: the text of ``roles.json``; empty for none.
    """

    files: Mapping[str, str]
    roles: str = ""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything in it: under this name it is kept."""
        digest = hashlib.sha256()
        for part in (self.roles, *(text for item in sorted(self.files.items()) for text in item)):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
        return digest.hexdigest()

    def policy(self, clock: Clock, time_zone: tzinfo) -> CedarPolicy:
        """Return it together with what this release ships, validated strictly.

        Raises:
            ConfigurationError: it does not parse, does not fit the schema, takes a name of ours, or names a role that
                there is not.
        """
        ours = shipped_files()
        for name in self.files:
            if _FILE_NAME.fullmatch(name) is None:
                raise ConfigurationError("a policy file is called [a-z0-9_-]+.cedar")
            if name in ours:
                raise ConfigurationError(f"{name} is a file of this release; choose another name")
        if len(self.files) > POLICY_FILES_MAX:
            raise ConfigurationError(f"more than {POLICY_FILES_MAX} policy files")
        catalogue = RoleCatalogue(self._roles())
        policy = CedarPolicy(
            {**ours, **self.files}, shipped_schema(), clock, time_zone=time_zone, roles=catalogue
        )
        for rule in policy.rules.values():
            unknown = sorted(role for role in rule.roles if catalogue.get(role) is None)
            if unknown:
                raise ConfigurationError(
                    f"{rule.file}: {rule.rule_id} names a role that is not there: {unknown[0]}",
                    hint=f"a role of the site's own stands in {ROLES_FILE}",
                )
        return policy

    def _roles(self) -> list[Role]:
        if not self.roles:
            return []
        try:
            entries = msgspec.json.decode(self.roles.encode(), type=dict[str, _RoleEntry])
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise ConfigurationError(f"{ROLES_FILE} is not as it should be: {error}") from error
        ours = RoleCatalogue()
        roles = list[Role]()
        for name, entry in entries.items():
            if _ROLE_NAME.fullmatch(name) is None or ours.get(name) is not None:
                raise ConfigurationError(
                    f"{ROLES_FILE}: a role is called [a-z][a-z0-9-]*, and not as one of ours"
                )
            if not 0 < len(entry.description) <= _DESCRIPTION_MAX:
                raise ConfigurationError(
                    f"{ROLES_FILE}: {name} needs a description of at most 500 characters"
                )
            for included in entry.includes:
                known = ours.get(included)
                if included not in entries and known is None:
                    raise ConfigurationError(f"{ROLES_FILE}: {name} includes a role that is not there")
                if known is not None and known.kind is RoleKind.LOCAL:
                    raise ConfigurationError(
                        f"{ROLES_FILE}: {included} cannot be included: it is never given"
                    )
            roles.append(Role(name, RoleKind.PERSON, entry.description, entry.includes, shipped=False))
        return roles


NOTHING_ADDED: Final = SiteBundle({})


def read_bundle(folder: Path) -> SiteBundle:
    """Read the files that somebody wrote into a folder; nothing of it is in force by that.

    Raises:
        ConfigurationError: a file cannot be read, or is too long.
    """
    files = dict[str, str]()
    roles = ""
    try:
        for path in sorted(folder.iterdir()):
            if path.name == ROLES_FILE or path.name.endswith(".cedar"):
                with path.open("rb") as file:
                    content = file.read(POLICY_FILE_BYTES_MAX + 1)
                if len(content) > POLICY_FILE_BYTES_MAX:
                    raise ConfigurationError(f"{path.name}: longer than {POLICY_FILE_BYTES_MAX} octets")
                text = content.decode("utf-8")
                if path.name == ROLES_FILE:
                    roles = text
                else:
                    files[path.name] = text
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("the policy files cannot be read") from error
    return SiteBundle(files, roles)
