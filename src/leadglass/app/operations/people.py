"""People: accounts, what they may do, their sessions."""

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.archive.administration.people import AccountChange, NewAccount
from leadglass.base.secret import Secret
from leadglass.doors.console.accounts import shown_account
from leadglass.trust.identity.models import Account, Session


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
    asked = dict(arguments)
    passcode = str(asked.pop("passcode", ""))
    account, invitation = node.people.create(
        operator(), msgspec.convert(asked, NewAccount), Secret(passcode.encode("utf-8")) if passcode else None
    )
    return {
        "user": _shown(node, account),
        "invitation": None if invitation is None else invitation.reveal().decode("ascii"),
        "passcode": bool(passcode),
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
    asked = dict(arguments)
    account_id = str(asked.pop("account"))
    account = node.people.change(operator(), account_id, msgspec.convert(asked, AccountChange))
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
    shown: JSON = msgspec.to_builtins(shown_account(account, node.identity.factors))
    return shown


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
