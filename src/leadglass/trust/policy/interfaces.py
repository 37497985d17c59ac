"""What other rooms may know about policy: one question, and a value as its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from leadglass.base.errors import AccessDenied
from leadglass.trust.identity.models import Principal


class Permission(StrEnum):
    """``resource:action``, alphabetical."""

    ASSOCIATION_ECHO = "association:echo"
    AUDIT_READ = "audit:read"
    AUDIT_VERIFY = "audit:verify"
    COMMITMENT_REQUEST = "commitment:request"
    DEVICE_ENROL = "device:enrol"
    DEVICE_LIST = "device:list"
    DEVICE_REVOKE = "device:revoke"
    INSTANCE_IMPORT = "instance:import"
    INSTANCE_MOVE = "instance:move"
    INSTANCE_RETRIEVE = "instance:retrieve"
    INSTANCE_STORE = "instance:store"
    STATUS_READ = "status:read"
    STUDY_QUERY = "study:query"
    USER_ENROL = "user:enrol"
    USER_REVOKE = "user:revoke"
    VAULT_REINDEX = "vault:reindex"
    VAULT_VERIFY = "vault:verify"


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on. ``attributes`` are plain values that policies may look at; no PHI is needed there."""

    kind: str
    attributes: Mapping[str, str | int | bool]


SITE = Resource("Site", {})


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes, by these policies."""

    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """No. ``reason`` goes to audit, never to the peer."""

    reason: str
    rules: tuple[str, ...] = ()


Decision = Allowed | Denied


class Policy(Protocol):
    """The one decision point."""

    @property
    def bundle_hash(self) -> str:
        """Hex SHA-256 of the policies in force, for audit records."""
        ...

    def decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        """Decide. Denies by default and on every error or diagnostic; never raises."""
        ...


def require(decision: Decision) -> Allowed:
    """Return the decision if it is a yes.

    Raises:
        AccessDenied: it is a no; the message does not say why.
    """
    if isinstance(decision, Denied):
        raise AccessDenied("not authorized")
    return decision
