"""``leadglass study``."""

from pathlib import Path

import click

from leadglass.app.cli.console import json_option, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option


@click.group("study")
def command() -> None:
    """Delete studies softly, and bring them back.

    What is deleted is hidden from everybody, and not one octet of it is gone while it can be restored.
    """


@command.command("delete")
@click.argument("study", metavar="STUDY-UID")
@click.option("--series", default="", metavar="UID", help="Only this series.")
@click.option("--instance", default="", metavar="UID", help="Only this instance, with --series.")
@click.option("--reason", required=True, help="Why; kept sealed.")
@site_option
@json_option
def delete(
    study: str,
    series: str,
    instance: str,
    reason: str,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Hide a study, a series or an instance."""
    arguments = {"study": study, "series": series, "instance": instance, "reason": reason}
    answer = run_operation(site, passphrase_fd, "study-delete", arguments, label="Deleting", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    deletion = answer["deletion"]
    click.echo(f"Deleted; until {deletion['restorable_until'][:16]} it comes back with")
    click.echo(f"    leadglass study restore {deletion['deletion']}")


@command.command("restore")
@click.argument("deletion")
@site_option
@json_option
def restore(deletion: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Undo DELETION, as `leadglass study deleted` shows it."""
    answer = run_operation(
        site, passphrase_fd, "study-restore", {"deletion": deletion}, label="Restoring", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['instances']} instances are back.")


@command.command("deleted")
@site_option
@json_option
def deleted(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List what was deleted, newest first. That you looked is on record."""
    answer = run_operation(site, passphrase_fd, "study-deleted", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("DELETION", "LEVEL", "UID", "BY", "AT", "RESTORABLE UNTIL", "REASON"),
        [
            [
                one["deletion"],
                one["level"].lower(),
                one["instance"] or one["series"] or one["study"],
                one["deleted_by"],
                one["deleted_at"][:16],
                one["restorable_until"][:16],
                one["reason"],
            ]
            for one in answer["deletions"]
        ],
    )
