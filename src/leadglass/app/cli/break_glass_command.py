"""``leadglass break-glass``."""

from pathlib import Path

import click

from leadglass.app.cli.console import clean, json_option, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option


@click.group("break-glass")
def command() -> None:
    """Emergency accesses.

    Whoever needs one signs in and asks for it (POST /api/v1/break-glass). Somebody else reviews each.
    """


@command.command("list")
@click.option("--reasons", is_flag=True, help="Print reasons, studies and patients too: they name patients.")
@site_option
@json_option
def list_emergencies(reasons: bool, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List those that are in force or wait for review. That somebody looked is on record."""
    answer = run_operation(site, passphrase_fd, "break-glass-list", {}, label="Listing", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("ID", "WHO", "STARTED", "ENDS", "STATE", "ESCALATED"),
        [
            [
                one["id"],
                one["principal"],
                one["started_at"][:19],
                (one["ended_at"] or one["until"])[:19],
                "ended" if one["ended_at"] else "in force",
                str(one["escalations"]),
            ]
            for one in answer["emergencies"]
        ],
    )
    if reasons:
        for one in answer["emergencies"]:
            about = one["study"] or one["patient_id"]
            click.echo(f"{one['id']}: {clean(about)}: {clean(one['reason'])}")


@command.command("review")
@click.argument("emergency")
@click.option("--justified/--not-justified", required=True, help="What you found.")
@click.option("--finding", required=True, help="In words; kept sealed.")
@site_option
@json_option
def review(
    emergency: str, justified: bool, finding: str, site: Path, passphrase_fd: int | None, as_json: bool
) -> None:
    """Sign the review of EMERGENCY.

    Reviews are signed by people who signed in (POST /api/v1/break-glass/ID/review): the people at the machine may not,
    unless a policy of the site's own permits break-glass:review to the role operator.
    """
    arguments = {"id": emergency, "justified": justified, "finding": finding}
    answer = run_operation(
        site, passphrase_fd, "break-glass-review", arguments, label="Signing", as_json=as_json
    )
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['emergency']['id']} is reviewed.")
