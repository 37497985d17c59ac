"""People: accounts, what they may do, their sessions."""

from datetime import datetime

import msgspec

from leadglass.app.compose import Node, operator
from leadglass.app.control import JSON, Tell
from leadglass.archive.administration.people import NewAccount
from leadglass.base.secret import Secret
from leadglass.trust.identity.models import Account, AccountKind, Session


class _New(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    display_name: str
    roles: tuple[str, ...]
    kind: AccountKind = AccountKind.PERSON
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    known_as: tuple[str, ...] = ()
    email: str = ""
    issuer: str = ""
    subject: str = ""
    expires_at: datetime | None = None
    passcode: str = ""


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    display_name: str | None = None
    devices: tuple[str, ...] | None = None
    institutions: tuple[str, ...] | None = None
    known_as: tuple[str, ...] | None = None
    email: str | None = None


class _Roles(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    roles: tuple[str, ...]


class _Reset(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    factors: bool = False


class _Passcode(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    passcode: str


def user_add(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Make an account; the invitation is told this once."""
    asked = msgspec.convert(arguments, _New)
    account, invitation = node.people.create(
        operator(),
        NewAccount(
            asked.account,
            asked.display_name,
            asked.roles,
            asked.kind,
            asked.devices,
            asked.institutions,
            asked.known_as,
            asked.email,
            asked.issuer,
            asked.subject,
            asked.expires_at,
        ),
        Secret(asked.passcode.encode("utf-8")) if asked.passcode else None,
    )
    return {
        "user": _shown(node, account),
        "invitation": None if invitation is None else invitation.reveal().decode("ascii"),
        "passcode": bool(asked.passcode),
    }


def user_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List accounts."""
    return {"users": [_shown(node, account) for account in node.people.list(operator())]}


def user_show(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Show one account and its sessions."""
    account = node.people.get(operator(), str(arguments["account"]))
    sessions = [s for s in node.people.all_sessions(operator()) if s.account_id == account.account_id]
    return {"user": _shown(node, account), "sessions": [_session(session) for session in sessions]}


def user_change(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Change what an account sees, and what it is called."""
    asked = msgspec.structs.asdict(msgspec.convert(arguments, _Change))
    account = node.people.change(operator(), asked.pop("account"), **asked)
    return {"user": _shown(node, account)}


def user_roles(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Give these roles and no others."""
    asked = msgspec.convert(arguments, _Roles)
    return {"user": _shown(node, node.people.set_roles(operator(), asked.account, asked.roles))}


def user_disable(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Turn somebody away."""
    account = node.people.disable(operator(), str(arguments["account"]), str(arguments["reason"]))
    return {"user": _shown(node, account)}


def user_enable(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Let somebody in again."""
    return {"user": _shown(node, node.people.enable(operator(), str(arguments["account"])))}


def user_reset(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Invite somebody to set a new password; told this once."""
    asked = msgspec.convert(arguments, _Reset)
    invitation = node.people.reset(operator(), asked.account, factors=asked.factors)
    return {"invitation": invitation.reveal().decode("ascii")}


def user_passcode(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Set the passcode that an account shows inside an association."""
    asked = msgspec.convert(arguments, _Passcode)
    node.people.set_passcode(operator(), asked.account, Secret(asked.passcode.encode("utf-8")))
    return {"account": asked.account}


def user_bootstrap(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Make the one-time token of the first administrator."""
    return {"token": node.people.bootstrap(operator()).reveal().decode("ascii")}


def session_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List sessions."""
    return {"sessions": [_session(session) for session in node.people.all_sessions(operator())]}


def session_end(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """End one session, or all of an account."""
    if arguments.get("account"):
        return {"ended": node.people.end_sessions_of(operator(), str(arguments["account"]))}
    node.people.end_session(operator(), str(arguments["session"]))
    return {"ended": 1}


def _shown(node: Node, account: Account) -> JSON:
    return {
        "account": account.account_id,
        "display_name": account.display_name,
        "roles": list(account.roles),
        "kind": account.kind.value,
        "devices": list(account.devices),
        "institutions": list(account.institutions),
        "known_as": list(account.known_as),
        "email": account.email,
        "issuer": account.issuer,
        "factors": [factor.value for factor in node.identity.factors.factors_of(account.account_id)],
        "created_at": account.created_at.isoformat(),
        "expires_at": None if account.expires_at is None else account.expires_at.isoformat(),
        "disabled": account.disabled_at is not None,
    }


def _session(session: Session) -> JSON:
    return {
        "session": session.session_id,
        "account": session.account_id,
        "zone": session.zone,
        "address": session.address,
        "methods": list(session.methods),
        "started_at": session.started_at.isoformat(),
        "last_seen": session.last_seen.isoformat(),
        "ends_at": session.ends_at.isoformat(),
        "locked": session.locked_at is not None,
    }
