"""Roles: which there are, and who has them."""

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.base.errors import UsageError
from leadglass.doors.console.policies import shown_role, shown_rule


def role_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List roles, and which accounts have each."""
    holders = _holders(node)
    return {
        "roles": [
            {**shown_role(role), "accounts": holders.get(role.name, [])}
            for role in node.policies.roles(operator())
        ]
    }


def role_show(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Show a role, the rules that are about it, and who has it."""
    role, rules = node.policies.role(operator(), str(arguments["role"]))
    return {
        **shown_role(role),
        "accounts": _holders(node).get(role.name, []),
        "rules": [shown_rule(rule) for rule in rules],
    }


def role_assign(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Give somebody a role beside those they have."""
    account_id, role = str(arguments["account"]), str(arguments["role"])
    before = node.people.get(operator(), account_id)
    account = node.people.set_roles(operator(), account_id, (*before.roles, role))
    return {"account": account_id, "roles": list(account.roles)}


def role_remove(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Take a role away."""
    account_id, role = str(arguments["account"]), str(arguments["role"])
    before = node.people.get(operator(), account_id)
    if role not in before.roles:
        raise UsageError("the account does not have that role")
    rest = [one for one in before.roles if one != role]
    account = node.people.set_roles(operator(), account_id, rest)
    return {"account": account_id, "roles": list(account.roles)}


def _holders(node: Node) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    for account in node.people.list(operator()):
        if account.disabled_at is None:
            for role in account.roles:
                found.setdefault(role, []).append(account.account_id)
    return found
