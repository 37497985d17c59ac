"""``leadglass audit``."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from leadglass.app.asking import JSON
from leadglass.app.cli.console import clean, json_option, print_json, progress
from leadglass.app.cli.given import read_ascii
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError

_DAMAGED = 8


@click.group("audit")
def command() -> None:
    """The record: who did what, and the proof that it is whole."""


@command.command("show")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest entries to show."
)
@click.option("--event", default="", help="Event code, or the beginning of one, e.g. store: or association:")
@click.option("--principal", default="", help="E.g. device:ct1")
@click.option(
    "--outcome",
    type=click.Choice(["", "success", "minor_failure", "serious_failure"]),
    default="",
    help="How it ended.",
)
@click.option("--correlation", default="", help="Everything of one association or command.")
@click.option("--since", type=click.DateTime(), default=None, help="UTC")
@click.option("--until", type=click.DateTime(), default=None, help="UTC")
@click.option("--study", default="", help="Study Instance UID")
@click.option("--instance", default="", help="SOP Instance UID")
@click.option("--patient", default="", help="Patient ID")
@click.option("--details", is_flag=True, help="Unseal what each entry concerned: may show PHI.")
@site_option
@json_option
def show(
    limit: int,
    event: str,
    principal: str,
    outcome: str,
    correlation: str,
    since: datetime | None,
    until: datetime | None,
    study: str,
    instance: str,
    patient: str,
    details: bool,
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Show entries, newest first. That you looked is an entry too."""
    arguments: JSON = {
        "limit": limit,
        "event": event,
        "principal": principal,
        "outcome": outcome,
        "correlation": correlation,
        "since": since.isoformat() + "Z" if since else None,
        "until": until.isoformat() + "Z" if until else None,
        "study": study,
        "instance": instance,
        "patient": patient,
        "details": details,
    }
    answer = run_operation(site, passphrase_fd, "audit-show", arguments, label="Reading", as_json=as_json)
    if as_json:
        print_json(answer)
        return
    for entry in answer["entries"]:
        click.echo(_line(entry))
        if details and entry.get("detail"):
            click.echo("      " + clean(msgspec.json.encode(entry["detail"]).decode()))
    if not answer["entries"]:
        click.echo(f"No entry of {answer['size']} matches.")


def _line(entry: dict[str, Any]) -> str:
    actor = entry.get("actor", {})
    facts = " ".join(f"{name}={value}" for name, value in entry.get("facts", {}).items() if value != "")
    who = " ".join(
        part for part in (actor.get("principal", ""), actor.get("ae", ""), actor.get("address", "")) if part
    )
    mark = "" if entry.get("outcome") == "success" else f" [{entry.get('outcome')}]"
    return clean(f"{entry['seq']:>7}  {entry['at'][:23]}  {entry['event']}{mark}  {who}  {facts}")


@command.command("verify")
@click.option(
    "--log", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A copy of a log, offline."
)
@click.option(
    "--key", default="", help="Its public key (certs/audit.vkey of the site), or the file that holds it."
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that you kept elsewhere: the log must continue it. Again for more.",
)
@site_option
@json_option
def verify(
    log: Path | None,
    key: str,
    checkpoints: tuple[Path, ...],
    site: Path,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Recompute every hash and check every signature.

    Of a site, the sealed payloads are compared too. With --log and --key no site and no secret is needed: anybody can
    verify a copy. Ends with status 8 when anything is not what was written.
    """
    if log is not None:
        answer = _verify_copy(log, key, checkpoints, as_json=as_json)
    elif checkpoints:
        raise UsageError("--checkpoint goes with --log and --key")
    else:
        answer = run_operation(
            site, passphrase_fd, "audit-verify", {}, label="Verifying entries", as_json=as_json
        )
    if as_json:
        print_json(answer)
    else:
        verdict = "whole" if not answer["errors"] else f"{answer['errors']} errors"
        click.echo(
            f"{answer['entries']} entries, {answer['checkpoints']} signed roots, {answer['payloads']} payloads "
            f"compared: {verdict}"
        )
        if answer["root"]:
            click.echo(f"root of {answer['signed_size']} entries: {answer['root']}")
        for finding in answer["findings"]:
            click.echo(
                f"  {finding['severity'].upper()}  {clean(finding['where'])}: {clean(finding['what'])}"
            )
    if answer["errors"]:
        raise SystemExit(_DAMAGED)


def _verify_copy(log: Path, key: str, checkpoints: tuple[Path, ...], *, as_json: bool) -> JSON:
    from leadglass.app.offline import verify_copy  # noqa: PLC0415 - imports the trust rooms

    if not key:
        raise UsageError("--log needs --key: the log's public key is in certs/audit.vkey of its site")
    text = read_ascii(Path(key)) if Path(key).is_file() else key
    with progress("Verifying entries", as_json=as_json) as tell:
        return verify_copy(log, text.strip(), [path.read_bytes() for path in checkpoints], tell)


@command.command("proof")
@click.argument("sequence", type=int)
@site_option
@json_option
def proof(sequence: int, site: Path, passphrase_fd: int | None, as_json: bool) -> None:  # noqa: ARG001 - it is JSON anyway
    """Print the proof that entry SEQUENCE stands in the log: the entry, its path to the root, the signed root.

    Always one JSON document.
    """
    print_json(
        run_operation(
            site, passphrase_fd, "audit-proof", {"sequence": sequence}, label="Proving", as_json=True
        )
    )
