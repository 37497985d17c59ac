"""``leadglass user``."""

from pathlib import Path
from typing import Final

import click

from leadglass.app.cli.console import json_option, print_json
from leadglass.app.cli.given import read_descriptor
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_PASSCODE_BYTES_MAX: Final = 1024


@click.group("user")
def command() -> None:
    """People who name themselves inside an association (user identity negotiation, PS3.7 D.3.3.7).

    A user acts through an enrolled device and may do what both may do.
    """


@command.command("enrol")
@click.argument("user_id")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["store", "query-retrieve", "router"]),
    help="What they may do, of what the device may do; again for more.",
)
@click.option(
    "--passcode-fd",
    type=int,
    default=None,
    metavar="N",
    help="Read a passcode from file descriptor N. Default: token only.",
)
@site_option
@json_option
def enrol(
    user_id: str,
    roles: tuple[str, ...],
    passcode_fd: int | None,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Enrol USER_ID, who shows a passcode (type 2) or a token of the site's issuer (type 5)."""
    passcode = ""
    if passcode_fd is not None:
        try:
            passcode = read_descriptor(passcode_fd, _PASSCODE_BYTES_MAX).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError("a passcode is UTF-8 text") from error
    arguments = {"user_id": user_id, "roles": list(roles), "passcode": passcode}
    answer = run_operation(site, passphrase_fd, "user-enrol", arguments, label="Enrolling", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        how = "with a passcode" if answer["passcode"] else "by token"
        click.echo(f"{user_id} is enrolled, {how}.")


@command.command("revoke")
@click.argument("user_id")
@site_option
@json_option
def revoke(user_id: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Revoke USER_ID: from the next association on they are nobody."""
    arguments = {"user_id": user_id}
    answer = run_operation(site, passphrase_fd, "user-revoke", arguments, label="Revoking", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{user_id} is revoked.")
