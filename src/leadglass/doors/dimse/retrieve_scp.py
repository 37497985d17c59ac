"""C-GET and C-MOVE, as SCP. Source: PS3.4 C.4.2, C.4.3; PS3.7 9.1.3, 9.1.4.

Both answer with C-STORE sub-operations: C-GET on the same association, C-MOVE on a new one to an enrolled device. A
destination that is not enrolled for it is refused, whatever its name; its address comes from the enrolment only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from leadglass.archive.retrieve import InstanceRecord, Retrieval
from leadglass.base.errors import IdentifierRefused, LeadglassError, PeerUnreachable
from leadglass.dicom.failed_list import failed_instance_list
from leadglass.dicom.query import Model, parse_retrieve
from leadglass.dicom.sop_classes import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from leadglass.doors.dimse.find_scp import cancelled
from leadglass.doors.dimse.requestor import Peer, associate
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.doors.dimse.store_scu import StoreSCU, proposals
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Device
from leadglass.wire.dimse.messages import CGetRQ, CGetRSP, CMoveRQ, CMoveRSP
from leadglass.wire.dimse.status import (
    CANCEL,
    MOVE_DESTINATION_UNKNOWN,
    OUT_OF_RESOURCES_SUBOPERATIONS,
    PENDING,
    SUBOPERATIONS_WITH_FAILURES,
    SUCCESS,
    StatusCategory,
    category,
)

MOVE_SOP_CLASSES: Final[Mapping[str, Model]] = {
    PATIENT_ROOT_MOVE: Model.PATIENT,
    STUDY_ROOT_MOVE: Model.STUDY,
}
GET_SOP_CLASSES: Final[Mapping[str, Model]] = {
    PATIENT_ROOT_GET: Model.PATIENT,
    STUDY_ROOT_GET: Model.STUDY,
}
"""Query/Retrieve Information Model - MOVE and GET. Patient/Study Only is retired (PS3.4 C.6.3)."""


@dataclass(slots=True)
class SubOperations:
    """Counts of one retrieve. Source: PS3.7 9.1.3.1, PS3.4 C.4.2.1.6."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list[str])

    def count(self, sop_instance_uid: str, status: int) -> None:
        """Take the outcome of one sub-operation."""
        self.remaining -= 1
        match category(status):
            case StatusCategory.SUCCESS:
                self.completed += 1
            case StatusCategory.WARNING:
                self.warning += 1
            case _:
                self.failed += 1
                self.failed_uids.append(sop_instance_uid)

    def fail_rest(self, sop_instance_uids: list[str]) -> None:
        """Count what was not even tried."""
        self.failed += len(sop_instance_uids)
        self.remaining -= len(sop_instance_uids)
        self.failed_uids += sop_instance_uids

    def final_status(self) -> int:
        """Return the status of the last response when nothing was cancelled."""
        if not self.failed and not self.warning:
            return SUCCESS
        if self.failed and not self.completed and not self.warning:
            return OUT_OF_RESOURCES_SUBOPERATIONS
        return SUBOPERATIONS_WITH_FAILURES


def serve_get(services: Services, state: AssociationState, context_id: int, message: CGetRQ) -> None:
    """Send what was asked for on this association."""

    def respond(status: int, counts: SubOperations | None, comment: str = "") -> None:
        _respond(state, context_id, message, CGetRSP, status, counts, comment)

    try:
        retrieval = _begin(services, state, context_id, GET_SOP_CLASSES, destination="")
    except PeerUnreachable:
        raise
    except LeadglassError as error:
        services.access.record_refused(state.principal, EventCode.RETRIEVE_ENDED, error)
        respond(error.dimse_status, None, str(error))
        return
    counts = SubOperations(len(retrieval.records))
    sender = StoreSCU(state.connection, as_requestor=False)
    try:
        status = _send_all(state, retrieval, sender, counts, message.message_id, None, respond)
    except LeadglassError:
        # The association is lost, or an object turned out damaged when part of it was sent: nothing can follow.
        counts.fail_rest(_untried(retrieval, counts))
        _finish(retrieval, counts, counts.final_status())
        raise
    _finish(retrieval, counts, status)
    respond(status, counts)


def serve_move(services: Services, state: AssociationState, context_id: int, message: CMoveRQ) -> None:
    """Send what was asked for to an enrolled device."""

    def respond(status: int, counts: SubOperations | None, comment: str = "") -> None:
        _respond(state, context_id, message, CMoveRSP, status, counts, comment)

    try:
        device = services.directory.by_ae_title(message.move_destination)
        if device is None or not device.move_destination or not device.host:
            device = None
        destination = device.ae_title if device else message.move_destination.strip()[:16] or "(empty)"
        retrieval = _begin(services, state, context_id, MOVE_SOP_CLASSES, destination=destination)
    except PeerUnreachable:
        raise
    except LeadglassError as error:
        services.access.record_refused(state.principal, EventCode.MOVE_ENDED, error)
        respond(error.dimse_status, None, str(error))
        return
    counts = SubOperations(len(retrieval.records))
    if device is None:
        retrieval.ended(completed=0, failed=len(retrieval.records))
        respond(MOVE_DESTINATION_UNKNOWN, None, "move destination unknown")
        return
    status = SUCCESS
    if retrieval.records:
        try:
            status = _move(services, state, retrieval, device, counts, message, respond)
        except LeadglassError:
            # The destination is lost, or an object turned out damaged when part of it was sent.
            counts.fail_rest(_untried(retrieval, counts))
            status = counts.final_status()
            if not state.connection.is_open:
                _finish(retrieval, counts, status)
                raise
    _finish(retrieval, counts, status)
    respond(status, counts)


def _move(
    services: Services,
    state: AssociationState,
    retrieval: Retrieval,
    device: Device,
    counts: SubOperations,
    message: CMoveRQ,
    respond: Callable[[int, SubOperations | None], None],
) -> int:
    peer = Peer(
        host=device.host,
        port=device.port,
        called_ae_title=device.ae_title,
        calling_ae_title=services.ae_title,
        tls=services.client_tls(device),
        fingerprints=device.certificate_sha256,
    )
    encodings = [(r.identity.sop_class_uid, r.identity.transfer_syntax_uid) for r in retrieval.records]
    with associate(peer, proposals(encodings), clock=services.clock, local=services.local) as connection:
        sender = StoreSCU(connection, as_requestor=True)
        originator = (state.facts.calling_ae_title, message.message_id)
        return _send_all(state, retrieval, sender, counts, message.message_id, originator, respond)


def _begin(
    services: Services,
    state: AssociationState,
    context_id: int,
    models: Mapping[str, Model],
    *,
    destination: str,
) -> Retrieval:
    context = state.connection.association.contexts[context_id]
    identifier = state.connection.small_dataset()
    model = models.get(context.abstract_syntax)
    if model is None:
        raise IdentifierRefused("the presentation context is not one of this operation", dimse_status=0x0122)
    keys = parse_retrieve(identifier, context.transfer_syntax, model)
    return services.retriever.begin(state.principal, keys, destination=destination)


def _send_all(
    state: AssociationState,
    retrieval: Retrieval,
    sender: StoreSCU,
    counts: SubOperations,
    message_id: int,
    originator: tuple[str, int] | None,
    respond: Callable[[int, SubOperations | None], None],
) -> int:
    """Perform the sub-operations; return the final status."""
    on_same_association = originator is None
    for record in retrieval.records:
        counts.count(record.identity.sop_instance_uid, _send_one(retrieval, sender, record, originator))
        stop = sender.cancelled_message_id == message_id
        if not on_same_association:
            stop = cancelled(state, message_id)
        if stop:
            return CANCEL
        if counts.remaining:
            respond(PENDING, counts)
        state.connection.restart_idle_timer()
    return counts.final_status()


def _send_one(
    retrieval: Retrieval, sender: StoreSCU, record: InstanceRecord, originator: tuple[str, int] | None
) -> int:
    """Send one object; return the status of its sub-operation, ours where it could not be sent."""
    identity = record.identity
    chosen = sender.contexts.choose(identity.sop_class_uid, identity.transfer_syntax_uid)
    if chosen is None or not retrieval.can_send(record, chosen[1]):
        return OUT_OF_RESOURCES_SUBOPERATIONS
    context_id, syntax = chosen
    dataset = retrieval.dataset(record, syntax)
    try:
        # The first piece is asked for before the command goes out: what cannot be opened or decoded then costs one
        # sub-operation, not the association.
        first = next(dataset, b"")
    except PeerUnreachable:
        raise
    except LeadglassError as error:
        return error.dimse_status

    status, _ = sender.store(
        context_id,
        identity.sop_class_uid,
        identity.sop_instance_uid,
        chain((bytes(first),), dataset),
        originator=originator,
    )
    return status


def _untried(retrieval: Retrieval, counts: SubOperations) -> list[str]:
    records = retrieval.records[len(retrieval.records) - counts.remaining :]
    return [record.identity.sop_instance_uid for record in records]


def _finish(retrieval: Retrieval, counts: SubOperations, status: int) -> None:
    retrieval.ended(
        completed=counts.completed,
        failed=counts.failed,
        warning=counts.warning,
        cancelled=status == CANCEL,
    )


def _respond(
    state: AssociationState,
    context_id: int,
    message: CGetRQ | CMoveRQ,
    response: type[CGetRSP] | type[CMoveRSP],
    status: int,
    counts: SubOperations | None,
    comment: str,
) -> None:
    final = status != PENDING
    dataset: bytes | None = None
    if counts is not None and final and counts.failed_uids:
        syntax = state.connection.association.contexts[context_id].transfer_syntax
        dataset = failed_instance_list(counts.failed_uids, syntax)
    state.connection.send_message(
        context_id,
        response(
            message.message_id,
            status,
            has_dataset=dataset is not None,
            # Remaining is there while pending and after a cancel, and must not be there otherwise (PS3.7 9.3.3.2).
            remaining=counts.remaining if counts is not None and (not final or status == CANCEL) else None,
            completed=counts.completed if counts is not None else None,
            failed=counts.failed if counts is not None else None,
            warning=counts.warning if counts is not None else None,
            affected_sop_class_uid=message.affected_sop_class_uid,
            error_comment=comment[:64],
        ),
        None if dataset is None else (dataset,),
    )
