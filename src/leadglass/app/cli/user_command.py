"""``leadglass user``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from leadglass.app.cli.console import json_option, print_facts, print_json, print_table
from leadglass.app.cli.given import read_descriptor
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_PASSCODE_BYTES_MAX: Final = 1024

role_option = click.option(
    "--role", "roles", multiple=True, help="A role, see `leadglass role list`; again for more."
)


@click.group("user")
def command() -> None:
    """People: who may sign in, or act through a device, and as what.

    Nobody is given a password: an account comes with an invitation, with which its person sets one.
    """


@command.command("bootstrap")
@site_option
@json_option
def bootstrap(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Print the one-time token of the first administrator. It works once, for a day, while there is none."""
    answer = run_operation(site, passphrase_fd, "user-bootstrap", {}, label="Inviting", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    click.echo(f"One-time token of the first administrator, good for 24 hours:\n\n    {answer['token']}\n")
    click.echo("With it: POST /api/v1/first-administrator; at the first sign-in a second factor is enrolled.")


@command.command("add")
@click.argument("account")
@click.option("--name", "display_name", default="", help="Of the person. Default: as ACCOUNT.")
@role_option
@click.option(
    "--vendor", is_flag=True, help="Support of a vendor: needs --until, always with a second factor."
)
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="End of the account, UTC.")
@click.option("--device", "devices", multiple=True, help="Device whose studies they see (technologists).")
@click.option("--institution", "institutions", multiple=True, help="Limit to studies of this institution.")
@click.option(
    "--known-as", multiple=True, help="How objects name them, e.g. DOE^JANE (referring physicians)."
)
@click.option("--email", default="", help="For notices.")
@click.option("--issuer", default="", help="Identity provider that vouches for them, with --subject.")
@click.option("--subject", default="", help="What that provider calls them.")
@click.option(
    "--passcode-fd",
    type=int,
    default=None,
    metavar="N",
    help="Read a passcode for associations (PS3.7 D.3.3.7) from file descriptor N.",
)
@site_option
@json_option
def add(
    account: str,
    display_name: str,
    roles: tuple[str, ...],
    vendor: bool,
    until: datetime | None,
    devices: tuple[str, ...],
    institutions: tuple[str, ...],
    known_as: tuple[str, ...],
    email: str,
    issuer: str,
    subject: str,
    passcode_fd: int | None,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make an account for somebody, and an invitation with which they set their password."""
    arguments = {
        "account": account,
        "display_name": display_name or account,
        "roles": roles,
        "kind": "vendor" if vendor else "person",
        "devices": _device_principals(devices),
        "institutions": institutions,
        "known_as": known_as,
        "email": email,
        "issuer": issuer,
        "subject": subject,
        "expires_at": None if until is None else until.replace(tzinfo=UTC).isoformat(),
        "passcode": "" if passcode_fd is None else _passcode(passcode_fd),
    }
    answer = run_operation(site, passphrase_fd, "user-add", arguments, label="Adding", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    click.echo(f"{account} has an account" + (", with a passcode." if answer["passcode"] else "."))
    if answer["invitation"]:
        click.echo(f"Invitation, good for 24 hours, shown this once:\n\n    {answer['invitation']}\n")


@command.command("list")
@site_option
@json_option
def list_users(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List accounts."""
    answer = run_operation(site, passphrase_fd, "user-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("ACCOUNT", "NAME", "ROLES", "SECOND FACTORS", "STATE"),
        [
            [
                user["account"],
                user["display_name"],
                ",".join(user["roles"]) or "-",
                ",".join(user["factors"]) or "-",
                _state(user),
            ]
            for user in answer["users"]
        ],
    )


@command.command("show")
@click.argument("account")
@site_option
@json_option
def show(account: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Show ACCOUNT and its sessions."""
    answer = run_operation(
        site, passphrase_fd, "user-show", {"account": account}, label="Reading", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    user = answer["user"]
    print_facts({name: value for name, value in user.items() if value})
    for session in answer["sessions"]:
        click.echo(
            f"session {session['session']} from {session['address']}, last seen {session['last_seen'][:19]}"
        )


@command.command("roles")
@click.argument("account")
@role_option
@site_option
@json_option
def roles(account: str, roles: tuple[str, ...], site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Give ACCOUNT these roles and no others. Its sessions end."""
    arguments = {"account": account, "roles": roles}
    answer = run_operation(site, passphrase_fd, "user-roles", arguments, label="Changing", as_json=as_json)
    _print_user(answer, as_json=as_json)


@command.command("change")
@click.argument("account")
@click.option("--name", "display_name", help="Of the person.")
@click.option("--device", "devices", multiple=True, help="Device whose studies they see; replaces all.")
@click.option(
    "--institution", "institutions", multiple=True, help="Limit to these institutions; replaces all."
)
@click.option("--known-as", multiple=True, help="How objects name them; replaces all.")
@click.option("--email", help="For notices.")
@site_option
@json_option
def change(
    account: str,
    display_name: str | None,
    devices: tuple[str, ...],
    institutions: tuple[str, ...],
    known_as: tuple[str, ...],
    email: str | None,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Change what ACCOUNT sees, or what it is called; what is not given stays."""
    arguments = {
        "account": account,
        "display_name": display_name,
        "devices": _device_principals(devices) or None,
        "institutions": institutions or None,
        "known_as": known_as or None,
        "email": email,
    }
    answer = run_operation(site, passphrase_fd, "user-change", arguments, label="Changing", as_json=as_json)
    _print_user(answer, as_json=as_json)


@command.command("disable")
@click.argument("account")
@click.option("--reason", required=True, help="Why, for the record; no patient in it.")
@site_option
@json_option
def disable(account: str, reason: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Turn ACCOUNT away: its sessions end now."""
    arguments = {"account": account, "reason": reason}
    answer = run_operation(site, passphrase_fd, "user-disable", arguments, label="Disabling", as_json=as_json)
    _print_user(answer, as_json=as_json)


@command.command("enable")
@click.argument("account")
@site_option
@json_option
def enable(account: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Let ACCOUNT in again."""
    answer = run_operation(
        site, passphrase_fd, "user-enable", {"account": account}, label="Enabling", as_json=as_json
    )
    _print_user(answer, as_json=as_json)


@command.command("reset")
@click.argument("account")
@click.option("--factors", is_flag=True, help="Remove second factors too: they were lost.")
@site_option
@json_option
def reset(account: str, factors: bool, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Invite ACCOUNT to set a new password; its sessions end. Make sure who asks."""
    arguments = {"account": account, "factors": factors}
    answer = run_operation(site, passphrase_fd, "user-reset", arguments, label="Resetting", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    click.echo(f"Invitation, good for 24 hours, shown this once:\n\n    {answer['invitation']}\n")


@command.command("passcode")
@click.argument("account")
@click.option("--passcode-fd", type=int, required=True, metavar="N", help="Read it from file descriptor N.")
@site_option
@json_option
def passcode(account: str, passcode_fd: int, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Set the passcode that ACCOUNT shows inside an association (PS3.7 D.3.3.7, type 2)."""
    arguments = {"account": account, "passcode": _passcode(passcode_fd)}
    answer = run_operation(site, passphrase_fd, "user-passcode", arguments, label="Setting", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{account} has a passcode.")


def _print_user(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    user = answer["user"]
    click.echo(f"{user['account']}: {', '.join(user['roles']) or 'no roles'}, {_state(user)}.")


def _state(user: dict[str, Any]) -> str:
    if user["disabled"]:
        return "disabled"
    return f"until {user['expires_at'][:16]}" if user["expires_at"] else "active"


def _device_principals(devices: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(device if ":" in device else f"device:{device}" for device in devices)


def _passcode(descriptor: int) -> str:
    try:
        return read_descriptor(descriptor, _PASSCODE_BYTES_MAX).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("a passcode is UTF-8 text") from error
