"""``leadglass import``."""

from pathlib import Path
from typing import Any

import click

from leadglass.app.cli.console import clean, json_option, octets, print_by_reason, print_json
from leadglass.app.cli.on_site import run_operation, site_option
from leadglass.base.errors import UsageError


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the refused files to this file too.",
)
@site_option
@json_option
def command(folder: Path, report: Path | None, site: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Take every DICOM file below FOLDER. An interrupted import goes on where it was when it is run again.

    Ends with status 7 when a file was refused; the report says which and why. Names of files may name patients: the
    report is for your eyes, the audit log keeps it sealed.
    """
    answer = run_operation(
        site, passphrase_fd, "import", {"folder": str(folder.resolve())}, label="Importing", as_json=as_json
    )
    refused = answer["refused_files"]
    if report is not None:
        _write_report(report, refused)
    if as_json:
        print_json(answer)
    else:
        click.echo(
            f"{answer['files']} files: {answer['stored']} stored, {answer['already_held']} held already, "
            f"{answer['done_before']} done before, {answer['refused']} refused; {octets(answer['octets'])} read."
        )
        print_by_reason([(row["path"], row["reason"]) for row in refused])
        if refused:
            click.echo("  --json or --report FILE names every file.")
    if refused:
        raise SystemExit(7)


def _write_report(path: Path, refused: list[dict[str, Any]]) -> None:
    """Write one line a file; names of files may name patients, so nobody else may read it."""
    try:
        path.touch(mode=0o600)
        # A name of a file may hold any octets but NUL and the slash.
        text = "".join(f"{clean(row['path'])}\t{clean(row['reason'])}\n" for row in refused)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
