"""``leadglass identity``."""

import sys
from pathlib import Path
from typing import Final

import click

from leadglass.app.cli.console import clean, json_option, print_json
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_MARKS: Final = {"ok": "ok      ", "warning": "warning ", "error": "ERROR   "}


@click.group("identity")
def command() -> None:
    """Single sign-on and directories."""


@command.command("test")
@click.argument("part", type=click.Choice(["oidc", "saml", "ldap"]), required=False, default=None)
@click.option("--user", default="", metavar="NAME", help="Show what the directory says of somebody.")
@site_option
@json_option
def test(part: str | None, user: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Say in plain words what is wrong with the set-up of an identity provider.

    Asks what a sign-in would ask, up to the point where a person is needed; signs nobody in. Ends with 1 if nobody
    could sign in.
    """
    if user and part not in {None, "ldap"}:
        raise UsageError("--user is for a directory: leadglass identity test ldap --user NAME")
    arguments = {"part": part or "", "user": user}
    answer = run_operation(site, passphrase_fd, "identity-test", arguments, label="Testing", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        for finding in answer["findings"]:
            click.echo(clean(f"{_MARKS[finding['severity']]}{finding['part']}: {finding['what']}"))
            for line in (finding["why"], finding["remedy"]):
                if line:
                    click.echo(clean(f"          {line}"))
    if not answer["ok"]:
        sys.exit(1)
