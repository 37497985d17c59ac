"""C-FIND, as SCP: Patient Root and Study Root. Source: PS3.4 C.4.1, C.6; PS3.7 9.1.2."""

from collections.abc import Mapping
from typing import Final

from leadglass.base.errors import IdentifierRefused, LeadglassError, PeerUnreachable
from leadglass.dicom.query import Model, Query, parse_identifier, unsupported
from leadglass.dicom.sop_classes import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.audit.interfaces import EventCode
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import CCancelRQ, CFindRQ, CFindRSP
from leadglass.wire.dimse.status import CANCEL, PENDING, PENDING_WARNING, SUCCESS

SOP_CLASSES: Final[Mapping[str, Model]] = {
    PATIENT_ROOT_FIND: Model.PATIENT,
    STUDY_ROOT_FIND: Model.STUDY,
}
"""Query/Retrieve Information Model - FIND. Patient/Study Only is retired (PS3.4 C.6.3)."""


def serve(services: Services, state: AssociationState, context_id: int, message: CFindRQ) -> None:
    """Answer with one pending response a match, then a final one."""
    connection = state.connection
    context = connection.association.contexts[context_id]
    comment = ""
    try:
        identifier = connection.small_dataset()
        model = SOP_CLASSES.get(context.abstract_syntax)
        if model is None:
            raise IdentifierRefused("the presentation context is not one of C-FIND", dimse_status=0x0122)
        query = parse_identifier(
            identifier,
            context.transfer_syntax,
            model,
            relational=context.abstract_syntax in state.relational,
            retrieve_ae_title=services.ae_title,
        )
        status = _answer(services, state, context_id, message, query)
    except PeerUnreachable:
        raise
    except LeadglassError as error:
        status, comment = error.dimse_status, str(error)
        services.access.record_refused(state.principal, EventCode.QUERY_ANSWERED, error)
    _respond(state, context_id, message, status, comment=comment)


def _answer(
    services: Services, state: AssociationState, context_id: int, message: CFindRQ, query: Query
) -> int:
    pending = PENDING_WARNING if unsupported(query) else PENDING
    for match in services.finder.find(state.principal, query):
        if cancelled(state, message.message_id):
            return CANCEL
        _respond(state, context_id, message, pending, match.response)
        state.connection.restart_idle_timer()
    return SUCCESS


def _respond(
    state: AssociationState,
    context_id: int,
    message: CFindRQ,
    status: int,
    identifier: bytes | None = None,
    *,
    comment: str = "",
) -> None:
    response = CFindRSP(
        message.message_id,
        status,
        has_dataset=identifier is not None,
        affected_sop_class_uid=message.affected_sop_class_uid,
        error_comment=comment[:64],
    )
    state.connection.send_message(context_id, response, None if identifier is None else (identifier,))


def cancelled(state: AssociationState, message_id: int) -> bool:
    """Tell, without waiting, whether the peer cancelled this operation (PS3.7 9.3.2.3).

    Raises:
        PeerUnreachable: it aborted, or sent something else in the middle of an operation, which (1,1) forbids.
    """
    event = state.connection.poll_event()
    if event is None:
        return False
    if isinstance(event, CommandReceived) and isinstance(event.message, CCancelRQ):
        return event.message.message_id_being_responded_to == message_id
    state.connection.abort()
    raise PeerUnreachable("the peer broke off in the middle of an operation")
