"""Enrolling and revoking people who act through devices."""

import msgspec

from leadglass.app.compose import Node, operator
from leadglass.app.control import JSON, Tell
from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import DeviceRole
from leadglass.trust.policy.interfaces import Permission


class _UserEnrolment(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str
    roles: list[str]
    passcode: str = ""


def user_enrol(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Enrol somebody who may act through a device; without a passcode they come by token only."""
    asked = msgspec.convert(arguments, _UserEnrolment)
    grant = node.access.permit(operator(), Permission.USER_ENROL)
    verifier = node.passcodes.verifier(Secret(asked.passcode.encode("utf-8"))) if asked.passcode else ""
    user = node.users.enrol(asked.user_id, roles_of(asked.roles), verifier)
    facts = {"what": "user enrolled", "user": user.user_id, "roles": ", ".join(user.roles)}
    node.access.record(grant, EventCode.CONFIGURATION_CHANGED, facts=facts)
    return {"user": user.user_id, "roles": list(user.roles), "passcode": bool(verifier)}


def user_revoke(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Revoke a user."""
    grant = node.access.permit(operator(), Permission.USER_REVOKE)
    user_id = str(arguments["user_id"])
    node.users.revoke(user_id)
    node.access.record(
        grant, EventCode.CONFIGURATION_CHANGED, facts={"what": "user revoked", "user": user_id}
    )
    return {"user": user_id}


def roles_of(names: list[str]) -> list[DeviceRole]:
    """Return the roles of these names.

    Raises:
        UsageError: one of them is none.
    """
    try:
        return [DeviceRole(name) for name in names]
    except ValueError as error:
        known = ", ".join(role.value for role in DeviceRole)
        raise UsageError(f"a role is one of: {known}") from error
