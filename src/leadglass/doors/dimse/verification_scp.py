"""C-ECHO. Source: PS3.4 Annex A, PS3.7 9.1.5."""

from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.policy.interfaces import Denied, Permission, Resource
from leadglass.wire.dimse.messages import CEchoRQ, CEchoRSP
from leadglass.wire.dimse.status import SUCCESS


def serve(services: Services, state: AssociationState, context_id: int, message: CEchoRQ) -> None:
    """Answer a C-ECHO."""
    resource = Resource("Association", {})
    decision = services.access.policy.decide(state.principal, Permission.ASSOCIATION_ECHO, resource)
    status = 0x0124 if isinstance(decision, Denied) else SUCCESS
    state.connection.send_message(
        context_id,
        CEchoRSP(message.message_id, status, message.affected_sop_class_uid),
    )
