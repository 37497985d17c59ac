"""Reading over HTTP: metadata, frames, bulk values and whole objects, each after policy and after the log.

``Reader.open`` decides, selects and puts on record; what it returns gives out octets of just those instances. Nothing
is read from a pack that the index can answer, and of a pack only the segments that hold what was asked for.

Source: PS3.18 10.4 (retrieve transaction); 45 CFR 164.312(a)(1), 164.312(b).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from leadglass.base.ids import UID
from leadglass.dicom.outline import Outline
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

# Doors name InstanceRecord and may not import the store: it is given out here.
__all__ = ["InstanceRecord", "Part", "Reader", "Reading", "StoredOctets", "Target"]


class Part(StrEnum):
    """What of the instances is asked for; it stands in the log."""

    OBJECTS = "objects"
    """Whole instances: begun and ended on record, as a C-GET is."""
    METADATA = "metadata"
    FRAMES = "frames"
    BULK_DATA = "bulkdata"
    RENDERED = "rendered"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True)
class Target:
    """A study, one of its series, or one of its instances; of a longer path every UID must fit."""

    study_uid: UID
    series_uid: UID | None = None
    sop_instance_uid: UID | None = None


class StoredOctets(Protocol):
    """Octets as stored: of one frame or one bulk value. Used by one thread at a time; ``close`` it.

    Every octet is authenticated before it is given out; only the segments that hold what is asked for are opened.
    """

    @property
    def vr(self) -> str:
        """Value representation of the attribute; OB for an encapsulated frame."""
        ...

    @property
    def length(self) -> int:
        """Octets in all."""
        ...

    @property
    def transfer_syntax_uid(self) -> UID:
        """How they are encoded: of an encapsulated frame that of the object, else as bulk data (explicit VR little endian)."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return a range; shorter where it reaches beyond the end.

        Raises:
            IntegrityError: it is not what was written; on record already.
        """
        ...

    def stream(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a range in pieces of at most 1 MiB; raises as ``read``."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class Reader(Protocol):
    """Opens readings; thread-safe."""

    def open(
        self,
        principal: Principal,
        target: Target,
        part: Part,
        *,
        frames: Sequence[int] = (),
        permission: Permission = Permission.INSTANCE_RETRIEVE,
        destination: str = "",
    ) -> "Reading":
        """Decide, select, and put on record what is about to be shown. Nothing is shown without it.

        Args:
            principal: who asks.
            target: what they name.
            part: what of it they want.
            frames: numbers from 1, for the record.
            permission: ``INSTANCE_RETRIEVE``, or ``STUDY_EXPORT``.
            destination: where to, in our words; for the record.

        Raises:
            NotFound: nothing of that name is held, or they may not know that it is.
            AccessDenied: they may not read anything at all.
            AuditUnavailable: it cannot be put on record.
            OutOfResources: more instances than one retrieve may have.
            IntegrityError: a row is not what was written.
        """
        ...


class Reading(Protocol):
    """What one request may read. A context manager; ``close`` puts the end of a transfer on record."""

    @property
    def records(self) -> Sequence[InstanceRecord]:
        """The instances, ordered by series and instance number; at least one."""
        ...

    @property
    def record(self) -> InstanceRecord:
        """The first of them: the one where a single instance was named."""
        ...

    def metadata(self) -> Iterator[bytes]:
        """Yield the DICOM JSON object of each record, in their order, without opening a pack where the index has it.

        Values left out have ``"BulkDataURI":"@/bulkdata/GGGGEEEE"``; put the URL of the instance in place of the ``@`` of
        ``"BulkDataURI":"@``: no value of an object can hold these octets, because a quote inside of a value is escaped.
        """
        ...

    def outline(self, record: InstanceRecord) -> Outline:
        """Return everything but the bulk values, and where those lie."""
        ...

    def frame_count(self, record: InstanceRecord) -> int:
        """Return the number of frames; 0 where there is no pixel data.

        Raises:
            DatasetRefused: the object does not say it, or lies about it.
        """
        ...

    def frame(self, record: InstanceRecord, number: int) -> StoredOctets:
        """Return a frame as stored.

        Args:
            record: of this reading.
            number: from 1.

        Raises:
            NotFound: there is no frame of that number.
            DatasetRefused: the object lies about where its frames are.
        """
        ...

    def bulk(self, record: InstanceRecord, path: str) -> StoredOctets:
        """Return a value.

        Args:
            record: of this reading.
            path: as in the BulkDataURI: ``7FE00010``, or ``00081140/0/00041500`` inside of sequences.

        Raises:
            NotFound: there is no such value.
        """
        ...

    def can_send(self, record: InstanceRecord, transfer_syntax_uid: str) -> bool:
        """Tell whether that instance can be had in that transfer syntax."""
        ...

    def dataset(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield the data set; each piece is valid until the next is asked for.

        Raises:
            IntegrityError: it is not what was written; on record already.
            KeyUnavailable: its key was destroyed.
            DatasetRefused: it cannot be decoded.
        """
        ...

    def part10(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield the file: preamble of zeros, file meta, data set; raises as ``dataset``."""
        ...

    def part10_length(self, record: InstanceRecord) -> int:
        """Return the octets of ``part10`` in the transfer syntax as stored."""
        ...

    def etag(self, representation: str = "", record: InstanceRecord | None = None) -> str:
        """Return an entity tag, with quotes, for one record or for all; it changes only when the content does.

        Args:
            representation: what else the answer depends on: media type, frame numbers, rendering parameters.
            record: only this one.
        """
        ...

    def last_modified(self) -> datetime:
        """Return when the newest of the records was stored; aware UTC."""
        ...

    def ended(self, *, completed: int, failed: int, cancelled: bool = False) -> None:
        """Put the outcome of a transfer of whole objects on record, once; nothing for parts."""
        ...

    def close(self) -> None:
        """Release everything; a transfer that nobody ended is on record as cancelled."""
        ...

    def __enter__(self) -> "Reading": ...

    def __exit__(self, *_: object) -> None: ...
