"""Storage Commitment Push Model, as SCP. Source: PS3.4 Annex J, PS3.7 10.1.

The request is a durable job before it is answered. A device that listens gets its report on a new association
(``commitment_scu``); one that does not gets it on this association, right behind the response.
"""

from leadglass.base.errors import LeadglassError, PeerRefused, PeerUnreachable
from leadglass.dicom.commitment import parse_action
from leadglass.doors.dimse.commitment_scu import report
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.wire.dimse.messages import NActionRQ, NActionRSP, objection
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
    data = connection.small_dataset() if message.has_dataset else b""
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
        _report_here(services, state, context_id, device_id)


def _report_here(services: Services, state: AssociationState, context_id: int, device_id: str) -> None:
    """Deliver what is owed to a device that does not listen, earlier reports that it did not take included."""
    for pending in services.commitment.due(device_id):
        event = services.commitment.evaluate(state.principal, pending.request)
        try:
            report(services, state.connection, context_id, event)
        except PeerRefused as error:
            services.commitment.settle(pending, str(error))
        except PeerUnreachable:
            services.commitment.settle(pending, "the device went away before its report")
            raise
        else:
            services.commitment.settle(pending, "")
