"""A study, series or instance as one ZIP file, written while it is sent.

Every name in it is a number that we gave: nothing that an object says becomes part of a path. Files are stored, not
deflated; lengths and checks stand behind each file, and ZIP64 is used throughout, so nothing has to be known beforehand.

Source: PS3.18 10.4.4 (application/zip); APPNOTE.TXT 6.3.10, 4.3.9, 4.5.3.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.reading import InstanceRecord, Part, Reader, Reading, Target
from leadglass.doors.dicomweb.retrieval import (
    PRIVATE,
    as_representation,
    lasting,
    not_modified,
    validators,
)
from leadglass.doors.https.threads import stream
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dicomweb.media_types import MediaType

MEDIA_TYPE: Final = MediaType("application/zip")

Planned = Sequence[tuple[InstanceRecord, str]]


def answer(
    request: Request,
    reader: Reader,
    principal: Principal,
    target: Target,
    plan: Callable[[Reading], Planned],
) -> Response:
    """Return the answer to a request for a ZIP file: an export, decided and on record as one.

    Raises:
        NotFound: nothing of that name is held, or they may not know that it is.
        AccessDenied: they may not export.
        AuditUnavailable: it cannot be put on record.
    """
    reading = reader.open(
        principal, target, Part.OBJECTS, permission=Permission.STUDY_EXPORT, destination="zip"
    )
    try:
        known = validators(reading, reading.etag("application/zip"))
        same = not_modified(request, known)
        if same is not None:
            reading.close()
            return same
        planned = plan(reading)
        files = _Files(reading, planned)
        headers = {
            **PRIVATE,
            **known,
            "Content-Type": MEDIA_TYPE.essence,
            "Content-Disposition": 'attachment; filename="export.zip"',
        }
        return stream(as_representation(files.octets()), headers=headers, on_close=files.closed)
    except BaseException:
        reading.close()
        raise


class _Files:
    def __init__(self, reading: Reading, planned: Planned) -> None:
        self._reading = reading
        self._planned = planned
        self._completed = 0

    def octets(self) -> Iterator[bytes | memoryview]:
        out = _Out()
        # The writer of the standard library, on something that cannot seek: it streams.
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, (record, syntax) in zip(names_of(self._planned), self._planned, strict=True):
                # force_zip64: a file's length is not promised before it was read to its end.
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                    for piece in lasting(self._reading.part10(record, syntax)):
                        file.write(piece)
                        yield from out.taken()
                self._completed += 1
        yield from out.taken()

    def closed(self, complete: bool) -> None:
        # As for files in parts: the last one counts when the connection took it, HEAD sends none.
        completed = self._completed if complete else max(0, self._completed - 1)
        failed = 0 if complete else len(self._planned) - completed
        try:
            self._reading.ended(completed=completed, failed=failed, cancelled=not complete)
        finally:
            self._reading.close()


def names_of(planned: Planned) -> Iterator[str]:
    """Yield a name for each file: number of the series, number of the file in it."""
    series: dict[str, int] = {}
    files: dict[str, int] = {}
    for record, _ in planned:
        uid = record.identity.series_uid
        number = series.setdefault(uid, len(series) + 1)
        files[uid] = files.get(uid, 0) + 1
        yield f"{number:03}/{files[uid]:06}.dcm"


class _Out:
    """What the ZIP writer writes to: a list of pieces until they are taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []

    def write(self, data: bytes | memoryview) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> list[bytes | memoryview]:
        pieces, self._pieces = self._pieces, []
        return pieces
