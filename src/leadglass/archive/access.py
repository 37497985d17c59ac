"""From an identifier to a readable object: the only way.

To read a stored object we need (1) a decision for this principal and this permission, (2) an event in the audit log,
durable, (3) the instance's row, unsealed, and (4) the record, authenticated against that row. ``Access`` does (1), (2)
and (4) in this order; nobody else calls ``Vault.open`` for a person or a device.

Source: 45 CFR 164.312(a)(1), 164.312(b).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from leadglass.base.clock import Clock
from leadglass.base.errors import AccessDenied, AuditUnavailable, IntegrityError, LeadglassError
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.store.vault.interfaces import SealedObject, Vault
from leadglass.trust.audit.interfaces import Actor, AuditEvent, AuditLog, EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import SITE, Allowed, Denied, Permission, Policy, Resource

_REFUSAL_EVENT: Mapping[Permission, EventCode] = {
    Permission.INSTANCE_STORE: EventCode.INSTANCE_REFUSED,
    Permission.INSTANCE_IMPORT: EventCode.INSTANCE_REFUSED,
    Permission.STUDY_QUERY: EventCode.QUERY_ANSWERED,
    Permission.INSTANCE_RETRIEVE: EventCode.RETRIEVE_ENDED,
    Permission.INSTANCE_MOVE: EventCode.MOVE_ENDED,
    Permission.COMMITMENT_REQUEST: EventCode.COMMITMENT_REQUESTED,
}

_READING = frozenset(
    {
        Permission.COMMITMENT_REQUEST,
        Permission.INSTANCE_MOVE,
        Permission.INSTANCE_RETRIEVE,
        Permission.INSTANCE_STORE,  # a resend is compared with what is held
        Permission.INSTANCE_IMPORT,
        Permission.VAULT_VERIFY,
    }
)

_INSTANCE = Resource("Instance", {})
_STUDY = Resource("Study", {})
_RESOURCES: Mapping[Permission, Resource] = {
    **dict.fromkeys(Permission, SITE),
    Permission.COMMITMENT_REQUEST: _INSTANCE,
    Permission.INSTANCE_MOVE: _STUDY,
    Permission.INSTANCE_RETRIEVE: _STUDY,
    Permission.INSTANCE_STORE: _INSTANCE,
    Permission.STUDY_QUERY: _STUDY,
}
"""What each permission is about. Decisions do not depend on single objects yet; when they do, it is here that the
question becomes more precise."""


def actor_of(principal: Principal) -> Actor:
    """Return the principal in the words of the audit log."""
    return Actor(
        principal_id=principal.principal_id,
        ae_title=principal.ae_title,
        address=principal.address,
        certificate_sha256=principal.certificate_sha256,
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """A decision that was a yes, and what it is good for. Only ``Access`` makes one."""

    principal: Principal
    permission: Permission
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Policy first, audit before the answer, and only then bytes."""

    policy: Policy
    audit: AuditLog
    vault: Vault
    clock: Clock

    def may(self, principal: Principal, permission: Permission) -> bool:
        """Tell whether ``permit`` would grant: for what is offered, never instead of ``permit``."""
        return isinstance(self.policy.decide(principal, permission, _RESOURCES[permission]), Allowed)

    def permit(self, principal: Principal, permission: Permission) -> Grant:
        """Return a grant, or put the refusal on record and raise.

        Raises:
            AccessDenied: policy said no; the reason is in the audit log only.
            AuditUnavailable: the refusal could not be recorded.
        """
        decision = self.policy.decide(principal, permission, _RESOURCES[permission])
        if isinstance(decision, Denied):
            self._record_denial(principal, permission, decision)
            raise AccessDenied("not authorized")
        return self._grant(principal, permission, decision)

    @staticmethod
    def _grant(principal: Principal, permission: Permission, decision: Allowed) -> Grant:
        return Grant(principal=principal, permission=permission, rules=decision.rules)

    def _record_denial(self, principal: Principal, permission: Permission, decision: Denied) -> None:
        self.audit.record(
            AuditEvent(
                code=_REFUSAL_EVENT.get(permission, EventCode.ASSOCIATION_REFUSED),
                at=self.clock.now(),
                actor=actor_of(principal),
                outcome=Outcome.SERIOUS_FAILURE,
                facts={"permission": permission.value, "reason": decision.reason},
                rules=decision.rules,
                correlation_id=principal.correlation_id,
            )
        )

    def record(
        self,
        grant: Grant,
        code: EventCode,
        *,
        outcome: Outcome = Outcome.SUCCESS,
        objects: Mapping[str, Collection[str]] | None = None,
        facts: Mapping[str, str | int | bool] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Put what is about to happen, or has happened, on record, durably.

        Raises:
            AuditUnavailable: it was not taken; the caller must not go on.
        """
        return self.audit.record(
            AuditEvent(
                code=code,
                at=self.clock.now(),
                actor=actor_of(grant.principal),
                outcome=outcome,
                objects=objects or {},
                facts=facts or {},
                detail=detail or {},
                rules=grant.rules,
                correlation_id=grant.principal.correlation_id,
            )
        )

    def record_refused(self, principal: Principal, code: EventCode, error: LeadglassError) -> None:
        """Put a request on record that is answered with a failure before anything was looked for.

        Nothing is released, so a log that takes nothing does not change the answer. What ``permit`` refused is on
        record already.
        """
        if isinstance(error, AccessDenied | AuditUnavailable):
            return
        event = AuditEvent(
            code=code,
            at=self.clock.now(),
            actor=actor_of(principal),
            outcome=Outcome.MINOR_FAILURE,
            facts={"reason": str(error), "code": error.code, "status": error.dimse_status},
            correlation_id=principal.correlation_id,
        )
        try:
            self.audit.record(event)
        except AuditUnavailable:
            return

    def open(self, grant: Grant, record: InstanceRecord) -> SealedObject:
        """Open a stored object for the holder of a reading grant.

        Raises:
            AccessDenied: the grant is for something else: a bug of the caller, refused all the same.
            IntegrityError: the record is not what was written; recorded before it is raised.
            KeyUnavailable: the study's key was destroyed.
        """
        if grant.permission not in _READING:
            raise AccessDenied("not authorized")
        try:
            return self.vault.open(record.address, record.identity)
        except IntegrityError as error:
            self.record_damage(grant.principal, record, str(error))
            raise

    def record_damage(self, principal: Principal, record: InstanceRecord, what: str) -> None:
        """Put on record that a stored object is not what was written."""
        self.audit.record(
            AuditEvent(
                code=EventCode.INTEGRITY_FAILED,
                at=self.clock.now(),
                actor=actor_of(principal),
                outcome=Outcome.SERIOUS_FAILURE,
                objects={
                    "study": (record.identity.study_uid,),
                    "instance": (record.identity.sop_instance_uid,),
                },
                facts={
                    "what": what,
                    "pack": record.address.pack_id.hex(),
                    "offset": record.address.offset,
                },
                detail={"sop_instance_uid": record.identity.sop_instance_uid},
                correlation_id=principal.correlation_id,
            )
        )
