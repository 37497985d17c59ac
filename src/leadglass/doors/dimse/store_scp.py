"""C-STORE, as SCP. The status says what happened, and the comment says it in words. Source: PS3.4 B.2, PS3.7 9.1.1."""

from leadglass.archive.ingest import StoreRequest
from leadglass.base.errors import LeadglassError
from leadglass.base.ids import UID
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dimse.messages import CStoreRQ, CStoreRSP, objection
from leadglass.wire.dimse.status import SUCCESS

_COMMENT_LENGTH_MAX = 64  # Error Comment (0000,0902) is LO


def serve(services: Services, state: AssociationState, context_id: int, message: CStoreRQ) -> None:
    """Take one object and answer when it is durable, visible and on record."""
    status, comment = _store(services, state, context_id, message)
    if status == SUCCESS:
        state.objects_stored += 1
    else:
        state.objects_refused += 1
    state.connection.send_message(
        context_id,
        CStoreRSP(
            message.message_id,
            status,
            message.affected_sop_class_uid,
            message.affected_sop_instance_uid,
            error_comment=comment[:_COMMENT_LENGTH_MAX],
        ),
    )


def _store(
    services: Services, state: AssociationState, context_id: int, message: CStoreRQ
) -> tuple[int, str]:
    connection = state.connection
    context = connection.association.contexts[context_id]
    status = objection(message, context.abstract_syntax)
    if status is not None:
        _swallow(state)
        return status, "the UIDs of the request cannot be right"
    if state.store_session is None:
        try:
            grant = services.access.permit(state.principal, Permission.INSTANCE_STORE)
        except LeadglassError as error:
            _swallow(state)
            return error.dimse_status, str(error)
        state.store_session = services.ingest.session(grant, state.origin)
    incoming = state.store_session.begin(
        StoreRequest(
            UID(message.affected_sop_class_uid),
            UID(message.affected_sop_instance_uid),
            UID(context.transfer_syntax),
        )
    )
    try:
        for chunk in connection.dataset():
            incoming.write(chunk)
        incoming.finish()
    except LeadglassError as error:
        incoming.abort()
        if not connection.is_open:
            raise
        return error.dimse_status, str(error)
    return SUCCESS, ""


def _swallow(state: AssociationState) -> None:
    for _ in state.connection.dataset():
        pass
