"""``leadglass vault``."""

from pathlib import Path

import click

from leadglass.app.asking import JSON
from leadglass.app.cli.console import clean, json_option, octets, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option

_DAMAGED = 8


@click.group("vault")
def command() -> None:
    """What is held: sealed packs and their index."""


@command.command("verify")
@site_option
@json_option
def verify(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Authenticate every octet of every pack and every row of the index, and hold them against each other.

    Ends with status 8 when something is not what was written; each finding is named.
    """
    answer = run_operation(site, passphrase_fd, "vault-verify", {}, label="Verifying packs", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(
            f"{answer['packs']} packs, {answer['records']} objects, {octets(answer['octets'])}, "
            f"{answer['rows']} index rows, {answer['entries']} entries of the record: {_verdict(answer)}"
        )
        _print_findings(answer)
    if answer["findings"]:
        raise SystemExit(_DAMAGED)


@command.command("reindex")
@site_option
@json_option
def reindex(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Forget the index and make it again from packs and keys alone.

    On a running node, queries find only what is indexed so far until it is done. Ends with status 8 when an object
    could not be read.
    """
    answer = run_operation(
        site, passphrase_fd, "vault-reindex", {}, label="Reindexing packs", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        click.echo(
            f"{answer['packs']} packs, {answer['records']} objects, {answer['rows_added']} rows written, "
            f"{answer['quarantined']} kept apart: {_verdict(answer)}"
        )
        _print_findings(answer)
    if answer["findings"]:
        raise SystemExit(_DAMAGED)


@command.command("quarantine")
@site_option
@json_option
def quarantine(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List what is kept apart: objects that were refused because their UID is held with other content."""
    answer = run_operation(site, passphrase_fd, "vault-quarantine", {}, label="Reading", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("RECEIVED", "REASON", "SOP INSTANCE UID"),
        [(row["received_at"][:19], row["reason"], row["sop_instance_uid"]) for row in answer["kept_apart"]],
    )
    click.echo(
        f"{len(answer['kept_apart'])} kept apart; `leadglass audit show --instance UID` says who sent them."
    )


def _verdict(answer: JSON) -> str:
    count = len(answer["findings"])
    return f"{count} findings" if count else "all as written"


def _print_findings(answer: JSON) -> None:
    for finding in answer["findings"]:
        click.echo(f"  DAMAGE  {clean(finding['where'])}: {clean(finding['what'])}")
