"""Storage commitment: a promise in writing, made only for what is held whole.

A request is a durable job before it is answered, so a restart forgets none; the report says *committed* only of an
instance whose record opened: header, commitment, context and sealed footer authentic under its own key.

Source: PS3.4 Annex J.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from leadglass.archive.access import Access, Grant
from leadglass.base.errors import IntegrityError, KeyUnavailable, OutOfResources
from leadglass.base.ids import UID
from leadglass.base.limits import COMMITMENT_REQUESTS_MAX
from leadglass.dicom.commitment import (
    CommitmentAction,
    CommitmentEvent,
    FailedReference,
    FailureReason,
    SOPReference,
)
from leadglass.dicom.models import Level
from leadglass.store.index.interfaces import Index, InstanceRecord, Selector
from leadglass.store.index.writer import IndexWriter
from leadglass.store.jobs.interfaces import Job, JobQueue
from leadglass.trust.audit.interfaces import EventCode, Outcome, PayloadCipher
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

_KIND: Final = "commitment.report"
_ASSOCIATED: Final = b"leadglass/v1/job/commitment.report"
"""Another domain than the payloads of the audit log, under the same key: nonces are random, and what is sealed for
one does not open as the other."""
_LEASE_SECONDS: Final = 300.0
_BATCH: Final = 8


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
class PendingReport:
    """A request whose report is still to be delivered, held for this worker."""

    job: Job
    request: CommitmentRequest


@dataclass(frozen=True, slots=True)
class Commitment:
    """Takes requests, works out reports and remembers what is owed; delivery is the door's."""

    access: Access
    writer: IndexWriter
    index: Index
    jobs: JobQueue
    cipher: PayloadCipher

    def accept(
        self, principal: Principal, device_id: str, action: CommitmentAction, *, listens: bool
    ) -> None:
        """Take a request: durable and on record when this returns.

        Args:
            principal: who asks.
            device_id: to whom the report goes.
            action: what is asked for.
            listens: the device takes associations; else its report waits for one that it opens itself.

        Raises:
            AccessDenied: policy said no.
            OutOfResources: it cannot be kept.
        """
        grant = self.access.permit(principal, Permission.COMMITMENT_REQUEST)
        if self.jobs.waiting() >= COMMITMENT_REQUESTS_MAX:
            raise OutOfResources("too many storage commitment requests wait for their reports")
        request = CommitmentRequest(
            transaction_uid=action.transaction_uid,
            device_id=device_id,
            correlation_id=principal.correlation_id,
            references=[
                (reference.sop_class_uid, reference.sop_instance_uid) for reference in action.references
            ],
        )
        self.access.record(
            grant,
            EventCode.COMMITMENT_REQUESTED,
            facts={"instances": len(action.references)},
            detail={"transaction_uid": action.transaction_uid},
        )
        kind = _KIND if listens else _kind_of(device_id)
        self.jobs.enqueue(kind, self.cipher.seal_payload(msgspec.json.encode(request), _ASSOCIATED))

    def due(self, device_id: str = "") -> list[PendingReport]:
        """Return reports that are to be delivered now; each must be given to ``settle``.

        Args:
            device_id: a device that does not listen, and is here now; without it, those of all that do.
        """
        pending: list[PendingReport] = []
        kind = _kind_of(device_id) if device_id else _KIND
        for job in self.jobs.lease((kind,), _LEASE_SECONDS, limit=_BATCH):
            try:
                text = self.cipher.open_payload(job.payload, _ASSOCIATED)
                request = msgspec.json.decode(text, type=CommitmentRequest)
            except (IntegrityError, msgspec.MsgspecError):
                self.jobs.fail(job, "the request is not what was written")
                continue
            pending.append(PendingReport(job, request))
        return pending

    def settle(self, pending: PendingReport, failure: str) -> None:
        """End a delivery: done when ``failure`` is empty, else tried again later."""
        if failure:
            self.jobs.fail(pending.job, failure)
        else:
            self.jobs.acknowledge(pending.job)

    def evaluate(self, principal: Principal, request: CommitmentRequest) -> CommitmentEvent:
        """Work out which instances are held whole, and put the report on record."""
        grant = self.access.permit(principal, Permission.COMMITMENT_REQUEST)
        self.writer.barrier()
        committed: list[SOPReference] = []
        failed: list[FailedReference] = []
        for sop_class_uid, sop_instance_uid in request.references:
            reference = SOPReference(UID(sop_class_uid), UID(sop_instance_uid))
            reason = self._why_not(grant, reference)
            if reason is None:
                committed.append(reference)
            else:
                failed.append(FailedReference(reference, reason))
        self.access.record(
            grant,
            EventCode.COMMITMENT_REPORTED,
            outcome=Outcome.MINOR_FAILURE if failed else Outcome.SUCCESS,
            facts={"committed": len(committed), "failed": len(failed)},
            detail={"transaction_uid": request.transaction_uid},
        )
        return CommitmentEvent(UID(request.transaction_uid), tuple(committed), tuple(failed))

    def _why_not(self, grant: Grant, reference: SOPReference) -> FailureReason | None:
        """Return the reason why an instance is not committed, or None for one that is held whole."""
        try:
            record = self.index.lookup(reference.sop_instance_uid)
            if record is None or not self._is_shown(record):
                return FailureReason.NO_SUCH_OBJECT_INSTANCE
            if record.identity.sop_class_uid != reference.sop_class_uid:
                return FailureReason.CLASS_INSTANCE_CONFLICT
            self.access.open(grant, record).close()
        except (IntegrityError, KeyUnavailable):
            return FailureReason.PROCESSING_FAILURE
        return None

    def _is_shown(self, record: InstanceRecord) -> bool:
        """Tell whether an instance is not deleted: nobody may delete their own copy of what waits for disposal here."""
        identity = record.identity
        named = Selector(
            Level.IMAGE,
            study_uids=(identity.study_uid,),
            series_uids=(identity.series_uid,),
            sop_instance_uids=(identity.sop_instance_uid,),
        )
        return any(True for _ in self.index.select(named))


def _kind_of(device_id: str) -> str:
    return f"{_KIND}:{device_id}"
