"""``leadglass policy``."""

from pathlib import Path
from typing import Any

import click

from leadglass.app.cli.console import clean, json_option, print_facts, print_json, print_table
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.trust.policy.bundle import read_bundle

_SHORT = 12

folder_argument = click.argument(
    "folder", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True)
)
reason_option = click.option("--reason", required=True, help="Why, for the record; no patient in it.")


@click.group("policy")
def command() -> None:
    """Policies: who may do what, and why.

    What this release ships is always in force. A site adds files of its own (*.cedar, roles.json): write them in a
    folder anywhere, look at what they change with `diff`, and put them in force with `apply`.
    """


@command.command("show")
@click.option("--rules", is_flag=True, help="Print the text of every rule.")
@site_option
@json_option
def show(rules: bool, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Show what is in force, and what is proposed."""
    answer = run_operation(site, passphrase_fd, "policy-show", {}, label="Reading", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    applied, proposal = answer["applied"], answer["proposal"]
    facts: dict[str, object] = {"bundle hash": answer["bundle_hash"], "applied": answer["version"]}
    if applied is not None:
        facts |= {"by": applied["by"], "at": applied["at"][:19], "reason": applied["reason"]}
    if proposal is not None:
        facts |= {"proposed": proposal["bundle"], "proposed by": proposal["by"]}
    print_facts(facts)
    click.echo()
    if rules:
        for rule in answer["rules"]:
            _print_rule(rule)
        return
    print_table(
        ("RULE", "EFFECT", "FILE", "WHAT IT SAYS"),
        [[rule["rule"], rule["effect"], rule["file"], rule["comment"]] for rule in answer["rules"]],
    )


@command.command("validate")
@folder_argument
@site_option
@json_option
def validate(folder: Path, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Say whether the files in FOLDER are sound; exit status 2 if they are not. Nothing changes."""
    answer = _ask(site, passphrase_fd, "policy-diff", folder, as_json=as_json)
    if as_json:
        print_json({"bundle": answer["bundle"], "sound": True})
    else:
        click.echo(f"Sound. Bundle {answer['bundle']}.")


@command.command("diff")
@folder_argument
@site_option
@json_option
def diff(folder: Path, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Say what the files in FOLDER would change: rules, roles, and the verdicts of a dry run. Nothing changes."""
    answer = _ask(site, passphrase_fd, "policy-diff", folder, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    for line in answer["lines"] or ["Nothing changes."]:
        click.echo(clean(line))


@command.command("apply")
@folder_argument
@reason_option
@site_option
@json_option
def apply(folder: Path, reason: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Put the files in FOLDER in force, in place of those that were applied before. An empty folder takes all away."""
    answer = _ask(site, passphrase_fd, "policy-apply", folder, reason=reason, as_json=as_json)
    _print_applied(answer, as_json=as_json)


@command.command("propose")
@folder_argument
@reason_option
@site_option
@json_option
def propose(folder: Path, reason: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Lay the files in FOLDER before somebody else, who approves them."""
    answer = _ask(site, passphrase_fd, "policy-propose", folder, reason=reason, as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo(
            f"Proposed. Somebody else approves it: leadglass policy approve {answer['proposal']['bundle']}"
        )


@command.command("approve")
@click.argument("bundle")
@site_option
@json_option
def approve(bundle: str, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Put in force what somebody else proposed. BUNDLE is its hash, see `policy show`."""
    answer = run_operation(
        site, passphrase_fd, "policy-approve", {"bundle": bundle}, label="Applying", as_json=as_json
    )
    _print_applied(answer, as_json=as_json)


@command.command("withdraw")
@site_option
@json_option
def withdraw(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Take back what is proposed."""
    answer = run_operation(site, passphrase_fd, "policy-withdraw", {}, label="Withdrawing", as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        click.echo("Withdrawn.")


@command.command("history")
@site_option
@json_option
def history(site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """List all that was ever applied, oldest first."""
    answer = run_operation(site, passphrase_fd, "policy-history", {}, label="Reading", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("NO", "AT", "BY", "APPROVED BY", "BUNDLE", "REASON"),
        [
            [
                str(entry["number"]),
                entry["at"][:19],
                entry["by"],
                entry["approved_by"] or "-",
                entry["bundle"][:_SHORT],
                entry["reason"],
            ]
            for entry in answer["applied"]
        ],
    )


@command.command("explain")
@click.argument("principal")
@click.argument("action")
@click.argument("study", required=False, default="")
@click.option(
    "--through", default="", metavar="DEVICE", help="They act through this device, on an association."
)
@click.option("--zone", help="From where: local, site, remote, or of the settings. Default: site for people.")
@click.option(
    "--mfa-minutes",
    type=click.IntRange(min=0),
    help="Minutes since a strong factor. Default: none was shown.",
)
@click.option("--phishing-resistant", is_flag=True, help="That factor was a passkey or a certificate.")
@click.option("--purpose", default="TREAT", show_default=True, help="A code of HL7 PurposeOfUse.")
@click.option("--workstation", default="", metavar="DEVICE", help="They sit at this enrolled workstation.")
@click.option("--risk", type=click.Choice(["low", "high"]), default="low", help="Of the session.")
@click.option("--scope", "scopes", multiple=True, help="Of an access token; again for more.")
@click.option("--break-glass", is_flag=True, help="An emergency access to that study is in force.")
@site_option
@json_option
def explain(
    principal: str,
    action: str,
    study: str,
    through: str,
    zone: str | None,
    mfa_minutes: int | None,
    phishing_resistant: bool,
    purpose: str,
    workstation: str,
    risk: str,
    scopes: tuple[str, ...],
    break_glass: bool,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Say whether PRINCIPAL may do ACTION, about STUDY or on any at all: the rule that decides, and what would change it.

    PRINCIPAL is an account, device:ID, client:ID or operator:UID. ACTION is one of the policies: study:query,
    instance:retrieve, ... STUDY is a Study Instance UID. That somebody asked is on record.
    """
    arguments = {
        "principal": principal,
        "action": action,
        "study": study,
        "through": through,
        "zone": zone,
        "mfa_minutes": mfa_minutes,
        "phishing_resistant": phishing_resistant,
        "purpose": purpose,
        "workstation": workstation,
        "risk": risk,
        "scopes": scopes,
        "break_glass": break_glass,
    }
    answer = run_operation(
        site, passphrase_fd, "policy-explain", arguments, label="Explaining", as_json=as_json
    )
    if as_json:
        print_json(answer)
        return
    click.echo(f"{clean(answer['principal'])}: {'; '.join(_lines(answer)[:1])}")
    for line in _lines(answer)[1:]:
        click.echo(f"  {line}")
    if answer["device"] is not None:
        click.echo(f"the device they act through: {'; '.join(_lines(answer['device'])[:1])}")
        for line in _lines(answer["device"])[1:]:
            click.echo(f"  {line}")
        click.echo(f"both together: {'allowed' if answer['allowed'] else 'denied'}")


def _ask(
    site: Path, passphrase_fd: int | None, operation: str, folder: Path, *, as_json: bool, reason: str = ""
) -> dict[str, Any]:
    """Ask the node about the files in a folder, as whoever runs the command reads them."""
    try:
        bundle = read_bundle(folder)
    except ConfigurationError as error:
        raise UsageError(str(error), hint=error.hint) from error
    arguments: dict[str, Any] = {"files": dict(bundle.files), "roles": bundle.roles}
    if reason:
        arguments["reason"] = reason
    return run_operation(site, passphrase_fd, operation, arguments, label="Comparing", as_json=as_json)


def _lines(explanation: dict[str, Any]) -> list[str]:
    return [clean(line) for line in explanation["lines"]]


def _print_rule(rule: dict[str, Any]) -> None:
    click.echo(f"{rule['file']}: {clean(rule['comment'])}")
    for line in rule["text"].splitlines():
        click.echo(f"  {clean(line)}")
    click.echo()


def _print_applied(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    entry = answer["applied"]
    click.echo(f"In force: number {entry['number']}, bundle {entry['bundle']}.")
