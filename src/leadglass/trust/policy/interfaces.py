"""What other rooms may know about policy: one question, and a value as its answer."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from leadglass.base.errors import AccessDenied
from leadglass.trust.identity.models import Principal


class Permission(StrEnum):
    """``resource:action``, alphabetical."""

    ACCOUNT_CREATE = "account:create"
    ACCOUNT_DISABLE = "account:disable"
    ACCOUNT_LIST = "account:list"
    ACCOUNT_RESET = "account:reset"
    ASSOCIATION_ECHO = "association:echo"
    AUDIT_READ = "audit:read"
    AUDIT_VERIFY = "audit:verify"
    BREAK_GLASS_REVIEW = "break-glass:review"
    BREAK_GLASS_USE = "break-glass:use"
    CLIENT_ENROL = "client:enrol"
    CLIENT_REVOKE = "client:revoke"
    COMMITMENT_REQUEST = "commitment:request"
    DEVICE_ENROL = "device:enrol"
    DEVICE_LIST = "device:list"
    DEVICE_REVOKE = "device:revoke"
    IDENTITY_TEST = "identity:test"
    INSTANCE_IMPORT = "instance:import"
    INSTANCE_MOVE = "instance:move"
    INSTANCE_RETRIEVE = "instance:retrieve"
    INSTANCE_STORE = "instance:store"
    POLICY_APPLY = "policy:apply"
    POLICY_EXPLAIN = "policy:explain"
    POLICY_READ = "policy:read"
    RELATION_ASSIGN = "relation:assign"
    REVIEW_OPEN = "review:open"
    REVIEW_SIGN = "review:sign"
    ROLE_ASSIGN = "role:assign"
    SESSION_END = "session:end"
    SESSION_LIST = "session:list"
    STATUS_READ = "status:read"
    STUDY_DELETE = "study:delete"
    STUDY_EXPORT = "study:export"
    STUDY_QUERY = "study:query"
    STUDY_RESTORE = "study:restore"
    USER_ENROL = "user:enrol"
    USER_REVOKE = "user:revoke"
    VAULT_REINDEX = "vault:reindex"
    VAULT_VERIFY = "vault:verify"
    WORKITEM_CANCEL = "workitem:cancel"
    WORKITEM_CREATE = "workitem:create"
    WORKITEM_PERFORM = "workitem:perform"
    WORKITEM_QUERY = "workitem:query"
    WORKITEM_SUBSCRIBE = "workitem:subscribe"


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on. ``attributes`` are plain values that policies may look at; no PHI is needed there.

    Attributes:
        kind: an entity type of the schema: ``Site``, ``Study``, ``Device``, ``Account``, ``Workitem``, ...
        attributes: by the names of the schema; a frozenset is a Cedar set of strings.
    """

    kind: str
    attributes: Mapping[str, str | int | bool | frozenset[str]]


SITE = Resource("Site", {})


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes, by these policies."""

    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """No. ``reason`` goes to audit, never to the peer.

    Attributes:
        step_up: it would be a yes if the person showed a strong factor now. A door answers so (RFC 9470); whoever
            asks learns nothing that their role does not tell them anyway.
    """

    reason: str
    rules: tuple[str, ...] = ()
    step_up: bool = False


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

    def standpoint(self, principal: Principal, permission: Permission) -> Hashable | None:
        """Return all that a decision of this moment looks at beside the resource: policies, principal, circumstances, hour.

        From equal standpoints the same resource gets the same decision. None: nothing may be remembered.
        """
        ...


class PolicyEvents(Protocol):
    """Where policy's events go; ``archive.access`` makes audit events of them."""

    def record(
        self,
        code: str,
        by: Principal,
        *,
        success: bool = True,
        objects: Mapping[str, Collection[str]] | None = None,
        facts: Mapping[str, str | int | bool] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Put it on record before its effect counts.

        Args:
            code: a value of ``trust.audit.interfaces.EventCode``.
            by: who did it.
            success: False is a failure: a refusal, an alert.
            objects: kind to values in clear; only tokens of them reach the leaf.
            facts: for the leaf; no PHI.
            detail: for the sealed payload.

        Raises:
            AuditUnavailable: it was not taken; what it would have recorded must not happen.
        """
        ...


def require(decision: Decision) -> Allowed:
    """Return the decision if it is a yes.

    Raises:
        AccessDenied: it is a no; the message does not say why.
    """
    if isinstance(decision, Denied):
        raise AccessDenied("not authorized")
    return decision
