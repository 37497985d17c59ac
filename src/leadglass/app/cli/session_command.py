"""``leadglass session``."""

from pathlib import Path

import click

from leadglass.app.cli.console import json_option, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError


@click.group("session")
def command() -> None:
    """Who is signed in."""


@command.command("list")
@site_option
@json_option
def list_sessions(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List sessions that have not ended."""
    answer = run_operation(site, passphrase_fd, "session-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("SESSION", "ACCOUNT", "ZONE", "ADDRESS", "METHODS", "LAST SEEN", "STATE"),
        [
            [
                session["session"],
                session["account"],
                session["zone"],
                session["address"],
                ",".join(session["methods"]),
                session["last_seen"][:19],
                "locked" if session["locked"] else "open",
            ]
            for session in answer["sessions"]
        ],
    )


@command.command("end")
@click.argument("session", required=False, default="")
@click.option("--account", default="", help="End every session of this account instead.")
@site_option
@json_option
def end(session: str, account: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """End SESSION now."""
    if bool(session) == bool(account):
        raise UsageError("name one session, or --account")
    arguments = {"session": session, "account": account}
    answer = run_operation(site, passphrase_fd, "session-end", arguments, label="Ending", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['ended']} ended.")
