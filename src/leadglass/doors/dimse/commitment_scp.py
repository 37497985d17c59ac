"""Storage Commitment Push Model, as SCP. Source: PS3.4 Annex J, PS3.7 10.1.

The request is a durable job before it is answered. A device that listens gets its report on a new association
(``commitment_scu``); one that does not gets it on this association, right behind the response.
"""

from leadglass.base.errors import LeadglassError, OutOfResources
from leadglass.dicom.commitment import parse_action
from leadglass.doors.dimse.commitment_scu import objection_of, send_report
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import NActionRQ, NActionRSP, NEventReportRSP, objection
from leadglass.wire.dimse.status import SUCCESS
from leadglass.wire.dimse.uids import (
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
)

_REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID. Source: PS3.4 J.3.2.1."""
_NO_SUCH_ACTION_TYPE = 0x0123
_NO_SUCH_SOP_INSTANCE = 0x0112


def serve(services: Services, state: AssociationState, context_id: int, message: NActionRQ) -> None:
    """Take a request for storage commitment."""
    connection = state.connection
    context = connection.association.contexts[context_id]
    device = services.directory.by_ae_title(state.facts.calling_ae_title)
    device_id = device.device_id if device is not None else ""
    listens = False
    comment = ""
    status: int | None = None
    data = b""
    try:
        data = connection.small_dataset() if message.has_dataset else b""
    except OutOfResources as error:
        status, comment = error.dimse_status, str(error)
    if status is None:
        status = objection(message, context.abstract_syntax)
    if status is None and message.requested_sop_instance_uid != STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE:
        status = _NO_SUCH_SOP_INSTANCE
    if status is None and message.action_type_id != _REQUEST_STORAGE_COMMITMENT:
        status = _NO_SUCH_ACTION_TYPE
    if status is None:
        try:
            action = parse_action(data, context.transfer_syntax)
            listens = device is not None and bool(device.host)
            services.commitment.accept(state.principal, device_id, action, listens=listens)
            status = SUCCESS
        except LeadglassError as error:
            status, comment = error.dimse_status, str(error)
    connection.send_message(
        context_id,
        NActionRSP(
            message.message_id,
            status,
            affected_sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
            affected_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
            action_type_id=message.action_type_id,
            error_comment=comment[:64],
        ),
    )
    if status == SUCCESS and not listens and device_id:
        # What is owed from before comes along: reports that an earlier association ended without taking.
        state.reports.waiting.extend((context_id, owed) for owed in services.commitment.due(device_id))
        _report_next(services, state)


def report_answered(services: Services, state: AssociationState, event: CommandReceived) -> None:
    """Take the answer to a report, and send the next."""
    if event.has_dataset:
        state.connection.small_dataset()
    sent, response = state.reports.sent, event.message
    if (
        sent is None
        or not isinstance(response, NEventReportRSP)
        or response.message_id_being_responded_to != state.reports.message_id
    ):
        state.connection.abort()  # an answer to nothing that was asked
        return
    state.reports.sent = None
    services.commitment.settle(sent, objection_of(response))
    _report_next(services, state)


def give_back_reports(services: Services, state: AssociationState) -> None:
    """Keep what the device did not take for its next association: it may release whenever it likes."""
    reports = state.reports
    left = [pending for _, pending in reports.waiting]
    if reports.sent is not None:
        left.append(reports.sent)
    reports.sent = None
    reports.waiting.clear()
    for pending in left:
        services.commitment.settle(pending, "the association ended before the device took its report")


def _report_next(services: Services, state: AssociationState) -> None:
    """Send the next report, if none is out. Its answer comes whenever it comes: the device may ask on meanwhile."""
    reports = state.reports
    if reports.sent is not None or not reports.waiting:
        return
    context_id, reports.sent = reports.waiting.popleft()
    event = services.commitment.evaluate(state.principal, reports.sent.request)
    reports.message_id = reports.message_id % 0xFFFF + 1
    send_report(services, state.connection, context_id, event, reports.message_id)
