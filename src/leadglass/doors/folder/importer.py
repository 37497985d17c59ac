"""Imports a folder: every file is taken or refused with a reason, and an interrupted import goes on where it was.

How far an import is stands in a file of keyed tokens, one line a file that is done, of path, size and time of change: it
names nobody, and a file that changed is looked at again.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leadglass.archive.ingest import StoreRequest, StoreSession
from leadglass.base.errors import AuditUnavailable, DatasetRefused, LeadglassError, OutOfResources, UsageError
from leadglass.base.ids import UID
from leadglass.base.limits import MIB
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner

_READ_BYTES: Final = 1 * MIB
_SYNC_EVERY: Final = 256
_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that was not taken: for the operator's eyes, the path may name a patient."""

    path: str
    reason: str
    code: str


@dataclass(slots=True)
class ImportReport:
    """What became of the files of a folder."""

    files: int = 0
    stored: int = 0
    already_held: int = 0
    done_before: int = 0
    octets: int = 0
    refused: list[RefusedFile] = field(default_factory=list[RefusedFile])


class ImportProgress:
    """Which files of a folder are done.

    Args:
        path: of the file of tokens.
        token: keyed token of a text.
    """

    def __init__(self, path: Path, token: Callable[[str], bytes]) -> None:
        self._token = token
        self._done: set[str] = set()
        if path.exists():
            # A line that a crash cut short is no token of anything: its file is looked at again.
            self._done = set(path.read_text(encoding="ascii").split())
        self._file = path.open("a", encoding="ascii")
        self._unsynced = 0

    def is_done(self, relative: str, status: os.stat_result) -> bool:
        """Tell whether this file, as it is now, is done."""
        return self._line(relative, status) in self._done

    def mark(self, relative: str, status: os.stat_result) -> None:
        """Note that the file is done."""
        self._file.write(self._line(relative, status) + "\n")
        self._unsynced += 1
        if self._unsynced >= _SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Make it durable. Losing the last lines only means that some files are looked at again."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Make it durable and close the file."""
        self.sync()
        self._file.close()

    def _line(self, relative: str, status: os.stat_result) -> str:
        return self._token(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}").hex()


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the regular files below a folder, sorted by path; symbolic links are not followed.

    Raises:
        UsageError: it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                yield path


def import_folder(
    folder: Path,
    session: StoreSession,
    progress: ImportProgress,
    tell: Callable[[int, int], None],
) -> ImportReport:
    """Take every file of a folder.

    Args:
        folder: walked to its bottom.
        session: of ``Ingest.session`` with a grant for ``instance:import``; its packs are closed here.
        progress: of this folder.
        tell: called with files done and files in all.

    Raises:
        OutOfResources: no room; what was taken is taken, and the import can go on later.
        AuditUnavailable: as above.
    """
    paths = list(files_below(folder))
    report = ImportReport(files=len(paths))
    try:
        for number, path in enumerate(paths):
            tell(number, len(paths))
            relative = str(path.relative_to(folder))
            status = path.stat()
            if progress.is_done(relative, status):
                report.done_before += 1
                continue
            try:
                _import_file(path, session, report)
            except (AuditUnavailable, OutOfResources, UsageError):
                raise
            except LeadglassError as error:
                report.refused.append(RefusedFile(relative, str(error), error.code))
            except OSError as error:
                report.refused.append(RefusedFile(relative, f"cannot be read: {error.strerror}", "LG-0100"))
            else:
                progress.mark(relative, status)
        tell(len(paths), len(paths))
    finally:
        progress.close()
        session.close_packs()
    return report


def _import_file(path: Path, session: StoreSession, report: ImportReport) -> None:
    with path.open("rb", buffering=0) as file:
        prefix = file.read(FILE_META_BYTES_MAX)
        meta = read_file_meta(prefix)
        if meta.sop_class_uid == _MEDIA_DIRECTORY:
            raise DatasetRefused("a DICOMDIR lists files and is no object itself")
        request = _request(
            meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, prefix, meta.dataset_offset
        )
        incoming = session.begin(request)
        try:
            incoming.write(memoryview(prefix)[meta.dataset_offset :])
            while piece := file.read(_READ_BYTES):
                incoming.write(piece)
            stored = incoming.finish()
        finally:
            incoming.abort()
        report.octets += file.tell()
    if stored.already_held:
        report.already_held += 1
    else:
        report.stored += 1


def _request(
    sop_class: str, sop_instance: str, transfer_syntax: UID, prefix: bytes, offset: int
) -> StoreRequest:
    """Return what the file claims to be. A file without file meta is asked itself."""
    if sop_class and sop_instance:
        return StoreRequest(UID(sop_class), UID(sop_instance), transfer_syntax)
    scanner = DatasetScanner(transfer_syntax)
    scanner.feed(memoryview(prefix)[offset:])
    if not scanner.study_known:
        raise DatasetRefused("neither file meta nor the beginning of the data set say what it is")
    identity = scanner.identity()
    return StoreRequest(identity.sop_class_uid, identity.sop_instance_uid, transfer_syntax)
