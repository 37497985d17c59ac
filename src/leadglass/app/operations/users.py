"""Enrolling and revoking people who act through devices."""

import msgspec

from leadglass.app.compose import Node, operator
from leadglass.app.control import JSON, Tell
from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity.models import Account, DeviceRole, Origin
from leadglass.trust.policy.interfaces import Permission


class _UserEnrolment(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str
    roles: list[str]
    passcode: str = ""


def user_enrol(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Enrol somebody who may act through a device; without a passcode they come by token only."""
    asked = msgspec.convert(arguments, _UserEnrolment)
    grant = node.access.permit(operator(), Permission.USER_ENROL)
    roles = roles_of(asked.roles)
    if not roles:
        raise UsageError("a user needs at least one role")
    origin = Origin(address="local", by=grant.principal.principal_id)
    accounts = node.identity.accounts
    wanted = Account(asked.user_id, asked.user_id, tuple(sorted(set(roles))), node.clock.now())
    passcode = Secret(asked.passcode.encode("utf-8"))
    if asked.passcode:  # looked at first: no account is made for one that would be refused
        node.identity.passwords.check_passcode(wanted, passcode)
    account = accounts.create(wanted, origin)
    if asked.passcode:
        node.identity.passwords.set_passcode(account, passcode, origin)
    return {"user": account.account_id, "roles": list(account.roles), "passcode": bool(asked.passcode)}


def user_revoke(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Revoke a user."""
    grant = node.access.permit(operator(), Permission.USER_REVOKE)
    user_id = str(arguments["user_id"])
    origin = Origin(address="local", by=grant.principal.principal_id)
    node.identity.accounts.disable(user_id, origin, "revoked at the command line")
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
