"""From an identifier to a readable object: the only way.

To read a stored object we need (1) a decision for this principal and this permission, (2) an event in the audit log,
durable, (3) the instance's row, unsealed, and (4) the record, authenticated against that row. ``Access`` does (1), (2)
and (4) in this order; nobody else calls ``Vault.open`` for a person or a device.

Source: 45 CFR 164.312(a)(1), 164.312(b).
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from leadglass.base.clock import Clock
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    IntegrityError,
    LeadglassError,
    StepUpRequired,
)
from leadglass.base.ids import UID
from leadglass.base.limits import VERDICTS_REMEMBERED_MAX, VERDICTS_SECONDS
from leadglass.dicom.normalise import fold_patient
from leadglass.store.index.interfaces import (
    Index,
    InstanceRecord,
    Relation,
    RelationEntry,
    Scope,
    StudyFacts,
    Subject,
)
from leadglass.store.vault.interfaces import SealedObject, Vault
from leadglass.trust.audit.interfaces import Actor, AuditEvent, AuditLog, EventCode, Outcome
from leadglass.trust.identity.interfaces import Standing
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.interfaces import SITE, Allowed, Decision, Denied, Permission, Policy, Resource

_REFUSAL_EVENT: Mapping[Permission, EventCode] = {
    Permission.ACCOUNT_CREATE: EventCode.ACCOUNT_CREATED,
    Permission.ACCOUNT_DISABLE: EventCode.ACCOUNT_DISABLED,
    Permission.ACCOUNT_RESET: EventCode.ACCOUNT_CHANGED,
    Permission.ASSOCIATION_ECHO: EventCode.ASSOCIATION_REFUSED,
    Permission.AUDIT_READ: EventCode.AUDIT_USED,
    Permission.AUDIT_VERIFY: EventCode.AUDIT_USED,
    Permission.BREAK_GLASS_REVIEW: EventCode.BREAK_GLASS_REVIEWED,
    Permission.BREAK_GLASS_USE: EventCode.BREAK_GLASS_STARTED,
    Permission.CLIENT_ENROL: EventCode.CLIENT_ENROLLED,
    Permission.CLIENT_REVOKE: EventCode.CLIENT_REVOKED,
    Permission.COMMITMENT_REQUEST: EventCode.COMMITMENT_REQUESTED,
    Permission.DEVICE_ENROL: EventCode.DEVICE_ENROLLED,
    Permission.DEVICE_REVOKE: EventCode.DEVICE_REVOKED,
    Permission.INSTANCE_IMPORT: EventCode.INSTANCE_REFUSED,
    Permission.INSTANCE_MOVE: EventCode.MOVE_ENDED,
    Permission.INSTANCE_RETRIEVE: EventCode.RETRIEVE_ENDED,
    Permission.INSTANCE_STORE: EventCode.INSTANCE_REFUSED,
    Permission.POLICY_APPLY: EventCode.POLICY_CHANGED,
    Permission.POLICY_EXPLAIN: EventCode.POLICY_EXPLAINED,
    Permission.RELATION_ASSIGN: EventCode.RELATION_CHANGED,
    Permission.REVIEW_OPEN: EventCode.REVIEW_STARTED,
    Permission.REVIEW_SIGN: EventCode.REVIEW_DECIDED,
    Permission.ROLE_ASSIGN: EventCode.ROLE_CHANGED,
    Permission.SESSION_END: EventCode.SESSION_ENDED,
    Permission.STUDY_DELETE: EventCode.STUDY_DELETED,
    Permission.STUDY_EXPORT: EventCode.EXPORT_ENDED,
    Permission.STUDY_QUERY: EventCode.QUERY_ANSWERED,
    Permission.STUDY_RESTORE: EventCode.STUDY_RESTORED,
    Permission.USER_ENROL: EventCode.ACCOUNT_CREATED,
    Permission.USER_REVOKE: EventCode.ACCOUNT_DISABLED,
    Permission.VAULT_REINDEX: EventCode.VAULT_REINDEXED,
    Permission.VAULT_VERIFY: EventCode.VAULT_VERIFIED,
    Permission.WORKITEM_CANCEL: EventCode.WORKITEM_CHANGED,
    Permission.WORKITEM_CREATE: EventCode.WORKITEM_CREATED,
    Permission.WORKITEM_PERFORM: EventCode.WORKITEM_CHANGED,
    Permission.WORKITEM_QUERY: EventCode.WORKITEM_READ,
    Permission.WORKITEM_SUBSCRIBE: EventCode.WORKITEM_SUBSCRIBED,
}
"""Under which code a refusal stands: that of the deed, with an outcome of failure. What has no deed on record (reading a
list, a status) is a refused request."""

_STANDPOINTS_MAX = 1000

_NO_CIRCUMSTANCES = Circumstances()

_READING = frozenset(
    {
        Permission.COMMITMENT_REQUEST,
        Permission.INSTANCE_MOVE,
        Permission.INSTANCE_RETRIEVE,
        Permission.INSTANCE_STORE,  # a resend is compared with what is held
        Permission.INSTANCE_IMPORT,
        Permission.STUDY_EXPORT,
        Permission.VAULT_VERIFY,
    }
)


def actor_of(principal: Principal) -> Actor:
    """Return the principal in the words of the audit log.

    A purpose is named where circumstances were: an association states none, so none is put into its mouth.
    """
    here = principal.circumstances
    return Actor(
        principal_id=principal.principal_id,
        ae_title=principal.ae_title,
        address=principal.address,
        certificate_sha256=principal.certificate_sha256,
        through=principal.through,
        workstation=here.workstation,
        session_id=here.session_id,
        purpose="" if here == _NO_CIRCUMSTANCES else here.purpose,
        zone=here.zone,
        break_glass=here.break_glass,
    )


def _device_of(user: Principal) -> Principal:
    """Return the device that a user acts through, as a principal of its own."""
    return replace(
        user,
        principal_id=user.through,
        roles=user.through_roles,
        through="",
        through_roles=(),
        devices=(),
    )


def subject_of(principal: Principal) -> Subject:
    """Return whose relations to studies count."""
    return Subject(principal.principal_id, principal.known_as)


def study_resource(facts: StudyFacts) -> Resource:
    """Return a study in the words of the policies' schema."""
    return Resource(
        "Study",
        {
            "modalities": facts.modalities,
            "body_parts": facts.body_parts,
            "institutions": facts.institutions,
            "sources": facts.sources,
            "deidentified": facts.deidentified,
            "relations": frozenset(relation.value for relation in facts.relations),
        },
    )


@dataclass(frozen=True, slots=True)
class PolicyRecorder:
    """Implements ``policy.interfaces.PolicyEvents``: policy's events in the words of the audit log."""

    audit: AuditLog
    clock: Clock

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
        """Put it on record. See ``PolicyEvents.record``."""
        named = dict(objects or {})
        if "patient" in named:  # as everywhere in the log, or an accounting of disclosures would miss it
            named["patient"] = [fold_patient(patient_id) for patient_id in named["patient"]]
        self.audit.record(
            AuditEvent(
                code=EventCode(code),
                at=self.clock.now(),
                actor=actor_of(by),
                outcome=Outcome.SUCCESS if success else Outcome.SERIOUS_FAILURE,
                objects=named,
                facts=facts or {},
                detail=detail or {},
                correlation_id=by.correlation_id,
            )
        )


@dataclass(frozen=True, slots=True)
class EmergencyStudies:
    """Implements ``policy.break_glass.EmergencyRelations`` in the index."""

    index: Index

    def give(self, principal_id: str, until: datetime, *, study_uid: str, patient_id: str) -> None:
        """Open a study, or a patient's studies, until then."""
        self.index.relate(
            RelationEntry(principal_id, Relation.EMERGENCY, until, study_uid=study_uid, patient_id=patient_id)
        )

    def take(self, principal_id: str, *, study_uid: str, patient_id: str) -> None:
        """Close it again."""
        self.index.unrelate(principal_id, Relation.EMERGENCY, study_uid=study_uid, patient_id=patient_id)


@dataclass(frozen=True, slots=True)
class Grant:
    """A decision that was a yes, and what it is good for. Only ``Access`` makes one.

    Attributes:
        principal: as it stood when this was decided, emergency access included.
        studies: whose objects may be opened with it; None for a grant that is not about single studies.
    """

    principal: Principal
    permission: Permission
    rules: tuple[str, ...]
    studies: frozenset[UID] | None = None


class Verdicts:
    """Remembers what policy said of kinds of studies, by standpoint: lists ask the same again and again. Thread-safe.

    At most ``VERDICTS_REMEMBERED_MAX``; the standpoint that was looked from longest ago goes first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from: OrderedDict[Hashable, dict[StudyFacts, bool]] = OrderedDict()
        self._held = 0

    def of(self, standpoint: Hashable) -> Mapping[StudyFacts, bool]:
        """Return what is known from there; it grows."""
        with self._lock:
            known = self._from.setdefault(standpoint, {})
            self._from.move_to_end(standpoint)
            while len(self._from) > _STANDPOINTS_MAX:
                self._held -= len(self._from.popitem(last=False)[1])
            return known

    def remember(self, standpoint: Hashable, facts: StudyFacts, *, permitted: bool) -> None:
        """Remember one."""
        with self._lock:
            known = self._from.get(standpoint)
            if known is None or facts in known:
                return
            known[facts] = permitted
            self._held += 1
            while self._held > VERDICTS_REMEMBERED_MAX:
                self._held -= len(self._from.popitem(last=False)[1])


class _View:
    """What one list may show. Not thread-safe.

    Whether somebody still stands is asked for every verdict; where they stand is looked at anew when it changed, when
    other policies came into force, and after ``VERDICTS_SECONDS``.
    """

    def __init__(self, access: "Access", principal: Principal, permission: Permission) -> None:
        self._access = access
        self._principal = principal
        self._permission = permission
        self._current: Principal | None = None
        self._bundle_hash = ""
        self._until = 0.0
        self._standpoint: Hashable | None = None
        self._known: Mapping[StudyFacts, bool] = {}

    def permits(self, facts: StudyFacts) -> bool:
        """Tell whether studies with these facts may be shown."""
        access = self._access
        current = access.standing.current(self._principal)
        if current is None:
            return False
        if (
            current is not self._current
            or access.policy.bundle_hash != self._bundle_hash
            or access.clock.monotonic() >= self._until
        ):
            self._look(current)
        known = self._known.get(facts)
        if known is not None:
            return known
        decision = access.decided(current, self._permission, study_resource(facts))
        permitted = isinstance(decision, Allowed)
        # It is the answer from this standpoint only if that was the same before and after.
        if self._standpoint is not None and access.standpoint(current, self._permission) == self._standpoint:
            access.verdicts.remember(self._standpoint, facts, permitted=permitted)
        return permitted

    def _look(self, current: Principal) -> None:
        access = self._access
        self._current = current
        self._bundle_hash = access.policy.bundle_hash
        self._until = access.clock.monotonic() + VERDICTS_SECONDS
        self._standpoint = access.standpoint(current, self._permission)
        self._known = {} if self._standpoint is None else access.verdicts.of(self._standpoint)


@dataclass(frozen=True, slots=True)
class Access:
    """Policy first, audit before the answer, and only then bytes."""

    policy: Policy
    audit: AuditLog
    vault: Vault
    clock: Clock
    standing: Standing
    verdicts: Verdicts = field(default_factory=Verdicts)

    def may(self, principal: Principal, permission: Permission, resource: Resource = SITE) -> bool:
        """Tell whether ``permit`` would grant: for what is offered, never instead of ``permit``."""
        return isinstance(self._decide(principal, permission, resource)[0], Allowed)

    def permit(self, principal: Principal, permission: Permission, resource: Resource = SITE) -> Grant:
        """Return a grant, or put the refusal on record and raise.

        About ``SITE``, a permission on studies means "on any at all"; ``permit_studies`` and ``scope`` say on which.

        Raises:
            StepUpRequired: it would be a yes with a strong factor shown now.
            AccessDenied: policy said no; the reason is in the audit log only.
            AuditUnavailable: the refusal could not be recorded.
        """
        decision, current = self._decide(principal, permission, resource)
        if isinstance(decision, Denied):
            self._record_denial(current, permission, decision)
            if decision.step_up:
                raise StepUpRequired("a strong factor has to be shown first")
            raise AccessDenied("not authorized")
        return Grant(principal=current, permission=permission, rules=decision.rules)

    def permit_studies(
        self, principal: Principal, permission: Permission, facts: Mapping[UID, StudyFacts]
    ) -> Grant:
        """Return a grant for those of the studies that policy permits: the others are as good as missing.

        A grant for none of them is no error: whoever asked finds nothing. ``permit`` on the site comes first.

        Raises:
            AccessDenied: not permitted on any study at all.
            AuditUnavailable: the refusal could not be recorded.
        """
        site = self.permit(principal, permission)
        rules: set[str] = set()
        studies: set[UID] = set()
        for study_uid, study in facts.items():
            decision, _ = self._decide(principal, permission, study_resource(study))
            if isinstance(decision, Allowed):
                studies.add(study_uid)
                rules.update(decision.rules)
        return Grant(
            principal=site.principal,
            permission=permission,
            rules=tuple(sorted(rules)) or site.rules,
            studies=frozenset(studies),
        )

    def scope(self, principal: Principal, permission: Permission) -> Scope:
        """Return which studies a list may show. ``permit`` on the site comes first."""
        view = _View(self, principal, permission)
        return Scope(subject=subject_of(principal), permits=view.permits)

    def standpoint(self, current: Principal, permission: Permission) -> Hashable | None:
        """Return all that a decision of this moment looks at beside the resource; None where it cannot be told.

        Args:
            current: as it stands now.
            permission: to do what.
        """
        own = self.policy.standpoint(current, permission)
        if own is None or not current.through:
            return own
        devices = self.policy.standpoint(_device_of(current), permission)
        return None if devices is None else (own, devices)

    def decided(self, current: Principal, permission: Permission, resource: Resource) -> Decision:
        """Return the decision about somebody as they stand now."""
        decision = self.policy.decide(current, permission, resource)
        if isinstance(decision, Allowed) and current.through:
            # A user narrows what the device may do and never widens it: both are asked.
            asked = self.policy.decide(_device_of(current), permission, resource)
            if isinstance(asked, Denied):
                return asked
            return Allowed(tuple(sorted({*decision.rules, *asked.rules})))
        return decision

    def _decide(
        self, principal: Principal, permission: Permission, resource: Resource
    ) -> tuple[Decision, Principal]:
        """Return the decision, and the principal as it stands now."""
        current = self.standing.current(principal)
        if current is None:
            return Denied("revoked, disabled or ended since"), principal
        return self.decided(current, permission, resource), current

    def _record_denial(self, principal: Principal, permission: Permission, decision: Denied) -> None:
        self.audit.record(
            AuditEvent(
                code=_REFUSAL_EVENT.get(permission, EventCode.REQUEST_REFUSED),
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
        durable: bool = True,
    ) -> int:
        """Put what is about to happen, or has happened, on record, durably.

        Without ``durable`` it is in the log's file when this returns, but a power cut may take it: only for what
        repeats a durable event of the same disclosure.

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
            ),
            durable=durable,
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
        if grant.studies is not None and record.identity.study_uid not in grant.studies:
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
