"""C-STORE, as SCP. The status says what happened, and the comment says it in words. Source: PS3.4 B.2, PS3.7 9.1.1."""

from leadglass.archive.ingest import StoreRequest
from leadglass.base.errors import DatasetRefused, LeadglassError, PeerUnreachable
from leadglass.base.ids import UID, is_uid
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dimse.messages import CStoreRQ, CStoreRSP, objection
from leadglass.wire.dimse.status import COERCION_OF_DATA_ELEMENTS, SUCCESS

_COMMENT_LENGTH_MAX = 64  # Error Comment (0000,0902) is LO


def serve(services: Services, state: AssociationState, context_id: int, message: CStoreRQ) -> None:
    """Take one object and answer when it is durable, visible and on record."""
    status, comment = _store(services, state, context_id, message)
    if status in {SUCCESS, COERCION_OF_DATA_ELEMENTS}:
        state.objects_stored += 1
    else:
        state.objects_refused += 1
    sop_class, sop_instance = message.affected_sop_class_uid, message.affected_sop_instance_uid
    state.connection.send_message(
        context_id,
        CStoreRSP(
            message.message_id,
            status,
            # What is no UID is not repeated: peers drop a response that they cannot parse, and wait for another.
            sop_class if is_uid(sop_class) else "",
            sop_instance if is_uid(sop_instance) else "",
            error_comment=comment[:_COMMENT_LENGTH_MAX],
        ),
    )


def _store(
    services: Services, state: AssociationState, context_id: int, message: CStoreRQ
) -> tuple[int, str]:
    connection = state.connection
    context = connection.association.contexts[context_id]
    if state.store_session is None:
        try:
            grant = services.access.permit(state.principal, Permission.INSTANCE_STORE)
        except LeadglassError as error:
            _swallow(state)
            return error.dimse_status, str(error)
        state.store_session = services.ingest.session(grant, state.origin)
    session = state.store_session
    request = StoreRequest(
        UID(message.affected_sop_class_uid),
        UID(message.affected_sop_instance_uid),
        UID(context.transfer_syntax),
    )
    status = objection(message, context.abstract_syntax)
    if status is not None:
        octets = _swallow(state)
        refused = DatasetRefused("the UIDs of the request cannot be right", dimse_status=status)
        try:
            session.record_refusal(request, refused, octets)
        except LeadglassError as error:
            return error.dimse_status, str(error)
        return status, str(refused)
    incoming = session.begin(request)
    try:
        for chunk in connection.dataset():
            incoming.write(chunk)
        stored = incoming.finish()
    except PeerUnreachable:
        raise
    except LeadglassError as error:
        return error.dimse_status, str(error)
    finally:
        incoming.abort()  # harmless when it is committed
    if stored.in_other_encoding:
        return COERCION_OF_DATA_ELEMENTS, "held already in another encoding, which is kept"
    return SUCCESS, ""


def _swallow(state: AssociationState) -> int:
    """Read a data set that nobody wants to its end; return its length."""
    return sum(map(len, state.connection.dataset()))
