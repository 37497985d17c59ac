"""``leadglass get``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from leadglass.app.cli.as_device import DeviceCaller, device_option
from leadglass.app.cli.console import clean, json_option, octets, print_json, progress
from leadglass.app.cli.given import make_folder
from leadglass.base.errors import UsageError
from leadglass.base.ids import UID, is_uid
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.models import Level
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.query import build_identifier, read_response
from leadglass.dicom.sop_classes import ACCEPTED_STORAGE_CLASSES, STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from leadglass.dicom.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORABLE_TRANSFER_SYNTAXES,
)
from leadglass.doors.dimse.query_scu import (
    RetrieveOutcome,
    contexts_for,
    find,
    get,
    get_contexts,
    move,
)
from leadglass.wire.dimse.status import meaning

_CANNOT_UNDERSTAND: Final = 0xC000
_OUT_OF_RESOURCES: Final = 0xA700
_COMMON: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_SYNTAXES: Final = (*_COMMON, *(uid for uid in STORABLE_TRANSFER_SYNTAXES if uid not in _COMMON))


@click.command("get")
@click.option("--study", default="", help="Study Instance UID")
@click.option("--series", default="", help="Series Instance UID; needs --study")
@click.option("--instance", default="", help="SOP Instance UID; needs --study and --series")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write files to.")
@click.option(
    "--to",
    "destination",
    default="",
    help="AE title of an enrolled device: have the node send there (C-MOVE).",
)
@device_option
@json_option
def command(
    study: str,
    series: str,
    instance: str,
    out: Path | None,
    destination: str,
    device_path: Path,
    host: str,
    port: int,
    called: str,
    as_json: bool,
) -> None:
    """Fetch a study, a series or one object: here with --out (C-GET), or to another device with --to (C-MOVE).

    Files are named by SOP Instance UID and hold the data set as the node keeps it. Ends with status 7 when an object
    did not come.
    """
    if bool(out) == bool(destination):
        raise UsageError("say either --out FOLDER or --to AE_TITLE")
    level, keys = _keys(study, series, instance)
    caller = DeviceCaller.load(device_path, host=host, port=port, called=called)

    def identifier(syntax: str) -> bytes:
        return build_identifier(level, keys, transfer_syntax_uid=syntax)

    with progress("Fetching", as_json=as_json) as tell:

        def told(outcome: RetrieveOutcome, remaining: int) -> None:
            done = outcome.completed + outcome.failed + outcome.warning
            tell(done, done + remaining)

        if out is None:
            with caller.associate(contexts_for(STUDY_ROOT_MOVE)) as connection:
                outcome = move(connection, identifier, destination, told)
            files = None
        else:
            files = _Files(out)
            contexts, roles = get_contexts(_classes_of(caller, study), ACCEPTED_STORAGE_CLASSES, _SYNTAXES)
            with caller.associate(contexts, roles) as connection:
                outcome = get(connection, identifier, files.receive, told)
    _print(outcome, files, as_json=as_json)


def _keys(study: str, series: str, instance: str) -> tuple[Level, dict[str, str]]:
    for name, value in (("--study", study), ("--series", series), ("--instance", instance)):
        if value and not is_uid(value):
            raise UsageError(f"{name} is not a UID")
    if not study or (instance and not series):
        raise UsageError("--study is needed, and for --instance also --series")
    if instance:
        return Level.IMAGE, {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "SOPInstanceUID": instance,
        }
    if series:
        return Level.SERIES, {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    return Level.STUDY, {"StudyInstanceUID": study}


def _classes_of(caller: DeviceCaller, study: str) -> list[str]:
    asked = {"StudyInstanceUID": study, "SOPClassesInStudy": ""}
    present: list[str] = []
    with caller.associate(contexts_for(STUDY_ROOT_FIND)) as connection:
        matches = find(
            connection,
            STUDY_ROOT_FIND,
            lambda syntax: build_identifier(Level.STUDY, asked, transfer_syntax_uid=syntax),
        )
        for identifier, syntax in matches:
            value: Any = read_response(identifier, syntax).get("SOPClassesInStudy")
            present += [value] if isinstance(value, str) else list(value or ())
    return list(dict.fromkeys(present))


class _Files:
    """Writes what comes: a part of a file is never left under its final name."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_folder(folder)
        self.octets = 0
        self.reasons: Counter[str] = Counter()

    def receive(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        dataset: Iterator[memoryview],
    ) -> int:
        """Write one object; return the status to answer."""
        # The name comes from outside: only the digits and dots of a UID become a name of a file.
        if not is_uid(sop_instance_uid):
            self.reasons["not a SOP Instance UID"] += 1
            return _CANNOT_UNDERSTAND
        final = self._folder / f"{sop_instance_uid}.dcm"
        part = self._folder / f"{sop_instance_uid}.part"
        try:
            with part.open("wb") as file:
                self._write(file, sop_class_uid, sop_instance_uid, transfer_syntax_uid, dataset)
                self.octets += file.tell()
            part.replace(final)
        except OSError as error:
            part.unlink(missing_ok=True)
            self.reasons[error.strerror or "cannot be written"] += 1
            return _OUT_OF_RESOURCES
        return 0

    @staticmethod
    def _write(
        file: BinaryIO,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        dataset: Iterator[memoryview],
    ) -> None:
        empty = UID("")
        identity = ObjectIdentity(
            empty, empty, UID(sop_instance_uid), UID(sop_class_uid), UID(transfer_syntax_uid)
        )
        file.write(file_meta(identity))
        file.writelines(dataset)


def _print(outcome: RetrieveOutcome, files: _Files | None, *, as_json: bool) -> None:
    complete = outcome.status == 0 and not outcome.failed
    if as_json:
        document: dict[str, Any] = {
            "status": f"{outcome.status:04X}",
            "completed": outcome.completed,
            "failed": outcome.failed,
            "warning": outcome.warning,
        }
        if files is not None:
            document |= {"octets": files.octets, "reasons": dict(files.reasons)}
        print_json(document)
    else:
        size = f" ({octets(files.octets)})" if files is not None else ""
        click.echo(
            f"{outcome.completed} objects came{size}, {outcome.failed} failed: {clean(meaning(outcome.status))}."
        )
        if complete and not outcome.completed:
            click.echo("  Nothing of that UID is held there.")
        for reason, count in files.reasons.items() if files is not None else ():
            click.echo(f"  {count}: {reason}")
    if not complete or not outcome.completed:
        raise SystemExit(7)
