"""C-ECHO. Source: PS3.4 Annex A, PS3.7 9.1.5."""

from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dimse.messages import CEchoRQ, CEchoRSP
from leadglass.wire.dimse.status import NOT_AUTHORIZED, SUCCESS


def serve(services: Services, state: AssociationState, context_id: int, message: CEchoRQ) -> None:
    """Answer a C-ECHO."""
    status = SUCCESS if services.access.may(state.principal, Permission.ASSOCIATION_ECHO) else NOT_AUTHORIZED
    state.connection.send_message(
        context_id,
        CEchoRSP(message.message_id, status, message.affected_sop_class_uid),
    )
