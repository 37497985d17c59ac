"""``leadglass relation``."""

from datetime import UTC, datetime
from pathlib import Path

import click

from leadglass.app.cli.console import clean, json_option, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_kind = click.option(
    "--kind",
    type=click.Choice(["assigned", "treating"]),
    help="Default: assigned for a study, treating for a patient.",
)
_study = click.option("--study", default="", metavar="UID", help="Study Instance UID.")
_patient = click.option("--patient", default="", metavar="ID", help="Patient ID.")
_account = click.option("--account", required=True, help="Who.")


@click.group("relation")
def command() -> None:
    """Who works on which study, and who treats whom; policies look at it."""


@command.command("assign")
@_account
@_study
@_patient
@_kind
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    help="When it ends by itself, UTC. Default: in 30 days.",
)
@site_option
@json_option
def assign(
    account: str,
    study: str,
    patient: str,
    kind: str | None,
    until: datetime | None,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Give somebody a study to work on, or say that they treat a patient."""
    arguments = {
        **_arguments(account, study, patient, kind),
        "until": None if until is None else until.replace(tzinfo=UTC).isoformat(),
    }
    answer = run_operation(
        site, passphrase_fd, "relation-assign", arguments, label="Assigning", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    relation = answer["relation"]
    click.echo(clean(f"{relation['account']}: {relation['kind']} until {relation['until'][:16]}."))


@command.command("list")
@_account
@site_option
@json_option
def list_relations(account: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List what somebody has. That you looked is on record: it names patients."""
    answer = run_operation(
        site, passphrase_fd, "relation-list", {"account": account}, label="Listing", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    print_table(
        ("KIND", "STUDY OR PATIENT", "UNTIL"),
        [
            [relation["kind"], relation["study"] or relation["patient"], relation["until"][:16]]
            for relation in answer["relations"]
        ],
    )


@command.command("end")
@_account
@_study
@_patient
@_kind
@site_option
@json_option
def end(
    account: str,
    study: str,
    patient: str,
    kind: str | None,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """End a relation now."""
    arguments = _arguments(account, study, patient, kind)
    answer = run_operation(site, passphrase_fd, "relation-end", arguments, label="Ending", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo("Ended." if answer["ended"] else "There was none.")


def _arguments(account: str, study: str, patient: str, kind: str | None) -> dict[str, str]:
    if bool(study) == bool(patient):
        raise UsageError("name a study or a patient: --study UID, or --patient ID")
    return {
        "account": account,
        "study": study,
        "patient": patient,
        "kind": kind or ("assigned" if study else "treating"),
    }
