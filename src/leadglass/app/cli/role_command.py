"""``leadglass role``."""

from pathlib import Path

import click

from leadglass.app.cli.console import clean, json_option, print_facts, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option


@click.group("role")
def command() -> None:
    """Roles: which there are, what each may do, and who has them."""


@command.command("list")
@site_option
@json_option
def list_roles(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List roles, of this release and of the site."""
    answer = run_operation(site, passphrase_fd, "role-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("ROLE", "FOR", "ACCOUNTS", "WHAT IT IS"),
        [
            [role["role"], role["kind"], str(len(role["accounts"])), role["description"]]
            for role in answer["roles"]
        ],
    )


@command.command("show")
@click.argument("role")
@site_option
@json_option
def show(role: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Show ROLE: the rules that are about it, and who has it."""
    answer = run_operation(site, passphrase_fd, "role-show", {"role": role}, label="Reading", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    facts = {
        "role": answer["role"],
        "for": answer["kind"],
        "what it is": answer["description"],
        "includes": ", ".join(answer["includes"]),
        "accounts": ", ".join(answer["accounts"]),
    }
    print_facts({name: value for name, value in facts.items() if value})
    for rule in answer["rules"]:
        click.echo(f"\n{rule['effect']} {rule['rule']} ({rule['file']}): {clean(rule['comment'])}")
        for action in rule["actions"] or ["everything"]:
            click.echo(f"  {action}")


@command.command("assign")
@click.argument("account")
@click.argument("role")
@site_option
@json_option
def assign(account: str, role: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Give ACCOUNT the role ROLE beside those it has. Its sessions end."""
    _change("role-assign", account, role, site, passphrase_fd, as_json=as_json)


@command.command("remove")
@click.argument("account")
@click.argument("role")
@site_option
@json_option
def remove(account: str, role: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Take the role ROLE from ACCOUNT. Its sessions end."""
    _change("role-remove", account, role, site, passphrase_fd, as_json=as_json)


def _change(
    operation: str, account: str, role: str, site: Path, passphrase_fd: int | None, *, as_json: bool
) -> None:
    arguments = {"account": account, "role": role}
    answer = run_operation(site, passphrase_fd, operation, arguments, label="Changing", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['account']}: {', '.join(answer['roles']) or 'no roles'}.")
