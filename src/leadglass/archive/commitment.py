"""Storage commitment: a promise in writing, made only for what is held whole.

A request is a durable job before it is answered, so a restart forgets none; the report says *committed* only of an
instance whose record opened: header, commitment, context and sealed footer authentic under its own key.

Source: PS3.4 Annex J.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from leadglass.archive.access import Access, Grant
from leadglass.base.errors import IntegrityError, KeyUnavailable, OutOfResources
from leadglass.base.ids import UID
from leadglass.base.limits import COMMITMENT_INSTANCES_MAX
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission, Resource

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119


@dataclass(frozen=True, slots=True)
class Reference:
    """A Referenced SOP Sequence item: class and instance UID."""

    sop_class_uid: str
    sop_instance_uid: str


class CommitmentRequest(msgspec.Struct, frozen=True):
    """One N-ACTION, as it is kept until its report was delivered.

    Attributes:
        device_id: who asked, and to whom the report goes.
        references: pairs of SOP class and SOP instance UID.
    """

    transaction_uid: str
    device_id: str
    correlation_id: str
    references: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What the N-EVENT-REPORT says. ``failed`` pairs a reference with its Failure Reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


@dataclass(frozen=True, slots=True)
class Commitment:
    """Takes requests and works out reports; delivery is the door's."""

    access: Access
    writer: IndexWriter

    def permit(self, principal: Principal, references: Sequence[Reference]) -> Grant:
        """Allow and record a request.

        Raises:
            AccessDenied: policy said no.
            OutOfResources: more references than one request may have.
        """
        if len(references) > COMMITMENT_INSTANCES_MAX:
            raise OutOfResources("too many instances in one commitment request")
        grant = self.access.permit(principal, Permission.COMMITMENT_REQUEST, Resource("Instance", {}))
        self.access.record(grant, EventCode.COMMITMENT_REQUESTED, facts={"instances": len(references)})
        return grant

    def evaluate(self, principal: Principal, request: CommitmentRequest) -> CommitmentResult:
        """Work out which instances are held whole, and put the report on record."""
        grant = self.access.permit(principal, Permission.COMMITMENT_REQUEST, Resource("Instance", {}))
        self.writer.barrier()
        committed: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for sop_class_uid, sop_instance_uid in request.references:
            reference = Reference(sop_class_uid, sop_instance_uid)
            reason = self._why_not(grant, reference)
            if reason is None:
                committed.append(reference)
            else:
                failed.append((reference, reason))
        self.access.record(
            grant,
            EventCode.COMMITMENT_REPORTED,
            outcome=Outcome.MINOR_FAILURE if failed else Outcome.SUCCESS,
            facts={"committed": len(committed), "failed": len(failed)},
            detail={"transaction_uid": request.transaction_uid},
        )
        return CommitmentResult(request.transaction_uid, tuple(committed), tuple(failed))

    def _why_not(self, grant: Grant, reference: Reference) -> int | None:
        """Return the Failure Reason, or None for an instance that is held whole."""
        try:
            record = self.writer.index.lookup(UID(reference.sop_instance_uid))
            if record is None:
                return NO_SUCH_OBJECT_INSTANCE
            if record.identity.sop_class_uid != reference.sop_class_uid:
                return CLASS_INSTANCE_CONFLICT
            self.access.open(grant, record).close()
        except (IntegrityError, KeyUnavailable):
            return PROCESSING_FAILURE
        return None
