"""``leadglass find``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from leadglass.app.cli.as_device import DeviceCaller, device_option
from leadglass.app.cli.console import json_option, print_json, print_table
from leadglass.base.errors import UsageError
from leadglass.dicom.models import Level
from leadglass.dicom.query import JSONValue, build_identifier, read_response
from leadglass.dicom.sop_classes import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from leadglass.doors.dimse.query_scu import contexts_for, find

_COLUMNS: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "NumberOfPatientRelatedStudies"),
    Level.STUDY: (
        "PatientName",
        "PatientID",
        "StudyDate",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
        "StudyDescription",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}


@click.command("find")
@click.option(
    "--level",
    type=click.Choice(["patient", "study", "series", "image"]),
    default="study",
    show_default=True,
    help="What to list.",
)
@click.option(
    "-k",
    "--key",
    "keys",
    multiple=True,
    metavar="NAME=VALUE",
    help="Attribute to match, e.g. PatientName=DOE*, StudyDate=20240101-, or NAME alone to have it returned.",
)
@click.option("--limit", default=0, help="Stop after so many. Default: all.")
@device_option
@json_option
def command(
    level: str,
    keys: tuple[str, ...],
    limit: int,
    device_path: Path,
    host: str,
    port: int,
    called: str,
    as_json: bool,
) -> None:
    """Find patients, studies, series or images (C-FIND).

    Wild cards * and ?, ranges of dates and times, lists of UIDs with a backslash. Series need a StudyInstanceUID,
    images a SeriesInstanceUID as well.
    """
    caller = DeviceCaller.load(device_path, host=host, port=port, called=called)
    wanted = Level(level.upper())
    asked: dict[str, str] = dict.fromkeys(_COLUMNS[wanted], "")
    for key in keys:
        name, _, value = key.partition("=")
        if not name:
            raise UsageError("a key is NAME=VALUE")
        asked[name] = value
    for needed in {
        Level.SERIES: ("StudyInstanceUID",),
        Level.IMAGE: ("StudyInstanceUID", "SeriesInstanceUID"),
    }.get(wanted, ()):
        if not asked.get(needed):
            raise UsageError(f"--level {level} needs -k {needed}=UID")
    model = PATIENT_ROOT_FIND if wanted is Level.PATIENT else STUDY_ROOT_FIND
    found: list[dict[str, JSONValue]] = []
    with caller.associate(contexts_for(model)) as connection:
        matches = find(
            connection, model, lambda syntax: build_identifier(wanted, asked, transfer_syntax_uid=syntax)
        )
        for identifier, syntax in matches:
            found.append(dict(read_response(identifier, syntax)))
            if limit and len(found) >= limit:
                break
        if limit and len(found) >= limit:
            connection.abort()  # the rest is not wanted; C-CANCEL would still send what is under way
    if as_json:
        print_json({"level": wanted.value, "matches": found})
        return
    columns = list(dict.fromkeys((*_COLUMNS[wanted], *(k.partition("=")[0] for k in keys))))
    print_table(columns, [[_cell(match.get(name)) for name in columns] for match in found])
    click.echo(f"{len(found)} found.")


def _cell(value: JSONValue) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case int() | float():
            return str(value)
        case Mapping():
            return "; ".join(f"{name}={_cell(item)}" for name, item in value.items())
        case _:
            return ",".join(_cell(item) for item in value)
