"""Reading over HTTP: metadata, frames, bulk values and whole objects, each after policy and after the log.

``Reader.open`` decides, selects and puts on record; the ``Reading`` that it returns gives out octets of just those
instances. Nothing is read from a pack that the index can answer, and of a pack only the segments that hold what was
asked for.

**Invariant:** what is hidden is answered as what is missing; nothing is given out before it is on record.

Source: PS3.18 10.4 (retrieve transaction); 45 CFR 164.312(a)(1), 164.312(b).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar, final

from leadglass.archive.access import Access, Grant, actor_of, subject_of
from leadglass.archive.disclosure import Disclosures, Shown
from leadglass.archive.outlining import scan_sealed
from leadglass.archive.retrieve import Retrieval, Transcoder
from leadglass.archive.selected import selected
from leadglass.base.errors import (
    DatasetRefused,
    IntegrityError,
    LocalProtocolError,
    NotFound,
    OutOfResources,
)
from leadglass.base.ids import UID
from leadglass.base.limits import MIB, OUTLINE_READ_BYTES_MAX, TRANSCODE_BYTES_MAX
from leadglass.dicom.frames import FrameLayout, FramePlace, cut_bits, frame_layout
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.json import metadata_to_json
from leadglass.dicom.models import Level
from leadglass.dicom.outline import BulkValue, Outline, decode_outline
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    PrivateSyntaxes,
    TransferSyntax,
)
from leadglass.dicom.transcode import can_transcode
from leadglass.dicom.values import Dataset, Element, read_whole_object
from leadglass.store.index.interfaces import Index, InstanceRecord, Selector
from leadglass.store.index.writer import IndexWriter
from leadglass.store.vault.interfaces import SealedObject
from leadglass.trust.audit.interfaces import AuditEvent, EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

# Doors name these and may not import the store, nor need to know in which file of the archive they stand.
__all__ = ["InstanceRecord", "Outline", "Part", "Reader", "Reading", "StoredOctets", "Target"]

_RECORDS_AT_ONCE: Final = 128
"""Instances whose metadata one statement fetches: some 500 KiB of JSON in memory."""

_OPEN_MAX: Final = 4
"""Outlines and stored objects that one reading keeps open; a request that goes through many reads them one by one."""

_PIECE: Final = 1 * MIB

_SWAPS: Final[Mapping[str, int]] = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}


_Kept = TypeVar("_Kept")


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


@dataclass(frozen=True, slots=True)
class Reader:
    """Opens readings. Thread-safe."""

    access: Access
    writer: IndexWriter
    index: Index
    transcoder: Transcoder
    disclosures: Disclosures
    private_syntaxes: PrivateSyntaxes = field(default_factory=dict[str, TransferSyntax])

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
        self.writer.barrier()
        facts = self.index.facts((target.study_uid,), subject_of(principal))
        grant = self.access.permit_studies(principal, permission, facts)
        permitted = target.study_uid in (grant.studies or ())
        records: Sequence[InstanceRecord] = self._records(target) if permitted else ()
        if not records:
            self._record_nothing(principal, permission, target, hidden=bool(facts) and not grant.studies)
            raise NotFound("nothing of that name is held")
        reading = Reading(self, grant, records, part, destination)
        try:
            reading.record_beginning(frames)
        except BaseException:
            reading.release()
            raise
        return reading

    def _records(self, target: Target) -> Sequence[InstanceRecord]:
        level = Level.STUDY
        if target.series_uid is not None:
            level = Level.SERIES
        if target.sop_instance_uid is not None:
            level = Level.IMAGE
        selector = Selector(
            level=level,
            study_uids=(target.study_uid,),
            series_uids=(target.series_uid,) if target.series_uid is not None else (),
            sop_instance_uids=(target.sop_instance_uid,) if target.sop_instance_uid is not None else (),
        )
        return selected(self.index.select(selector))

    def _record_nothing(
        self, principal: Principal, permission: Permission, target: Target, *, hidden: bool
    ) -> None:
        """Put a request for something missing or hidden on record: both the same way, and neither waits for the disk.

        Nothing is shown, and whoever asks must not learn from the time it takes which of the two it is.
        """
        self.access.audit.record(
            AuditEvent(
                code=EventCode.REQUEST_REFUSED,
                at=self.access.clock.now(),
                actor=actor_of(principal),
                outcome=Outcome.MINOR_FAILURE,
                objects={"study": (target.study_uid,)},
                facts={
                    "permission": permission.value,
                    "reason": "policy hides the study" if hidden else "nothing of that name is held",
                    "purpose": principal.circumstances.purpose,
                },
                correlation_id=principal.correlation_id,
            ),
            durable=False,
        )


@final
class Reading:
    """What one request may read. A context manager, used by one thread at a time."""

    def __init__(
        self, reader: Reader, grant: Grant, records: Sequence[InstanceRecord], part: Part, destination: str
    ) -> None:
        """Made by ``Reader.open``."""
        self._reader = reader
        self._grant = grant
        self._records = records
        self._part = part
        self._retrieval = Retrieval(
            reader.access,
            grant,
            records,
            destination or grant.principal.ae_title,
            reader.transcoder,
        )
        self._cursor = 0
        self._encoded: dict[bytes, bytes] = {}  # outlines fetched ahead, by object id
        self._outlines: OrderedDict[bytes, Outline] = OrderedDict()
        self._layouts: OrderedDict[bytes, FrameLayout] = OrderedDict()
        self._opened: OrderedDict[bytes, SealedObject] = OrderedDict()
        self._inflated: tuple[bytes, bytes] = (b"", b"")

    @property
    def records(self) -> Sequence[InstanceRecord]:
        """The instances, ordered by series and instance number; at least one."""
        return self._records

    @property
    def record(self) -> InstanceRecord:
        """The first of them: the one where a single instance was named."""
        return self._records[0]

    def record_beginning(self, frames: Sequence[int]) -> None:
        """Put on record what is about to be shown. Called by ``Reader.open``."""
        disclosures = self._reader.disclosures
        study_uid = self.record.identity.study_uid
        patients: dict[UID, str] = {}
        if disclosures.patient(self._grant.principal, study_uid) is None:
            patients[study_uid] = self._patient_reference(self.record)
        whole = self._part is Part.OBJECTS
        disclosures.record(
            self._grant,
            self._beginning(whole=whole),
            Shown(
                part=self._part.value,
                records=self._records,
                patients=patients,
                frames=frames,
                destination=self._retrieval.destination,
            ),
        )

    def _beginning(self, *, whole: bool) -> EventCode:
        if self._grant.permission is Permission.STUDY_EXPORT:
            return EventCode.EXPORT_STARTED
        return EventCode.RETRIEVE_STARTED if whole else EventCode.INSTANCE_VIEWED

    def _patient_reference(self, record: InstanceRecord) -> str:
        """Return whose study it is, for the log's tokens; empty where the object cannot say."""
        try:
            scanner = self._scanner(record)
            scanner.feed(self.outline(record).header)
            return ScannedHead.of(scanner).patient_reference()
        except (DatasetRefused, IntegrityError, OutOfResources):
            return ""

    def _scanner(self, record: InstanceRecord) -> DatasetScanner:
        """Return a scanner for the header of an outline, which is inflated."""
        syntax = self._syntax(record)
        uid = EXPLICIT_VR_LITTLE_ENDIAN if syntax.deflated else record.identity.transfer_syntax_uid
        return DatasetScanner(uid, syntax=self._reader.private_syntaxes.get(uid))

    def _syntax(self, record: InstanceRecord) -> TransferSyntax:
        uid = record.identity.transfer_syntax_uid
        syntax = self._reader.private_syntaxes.get(uid) or TRANSFER_SYNTAXES.get(uid)
        if syntax is None:
            raise DatasetRefused("the transfer syntax is not known")
        return syntax

    # --- metadata ----------------------------------------------------------------------------------------------

    def metadata(self) -> Iterator[bytes]:
        """Yield the DICOM JSON object of each record, in their order, without opening a pack where the index has it.

        Values left out have ``"BulkDataURI":"@/bulkdata/GGGGEEEE"``; put the URL of the instance in place of the ``@`` of
        ``"BulkDataURI":"@`` (``dicom.json.MARKER``): no value of an object can hold these octets, because a quote inside
        of a value is escaped.

        Raises:
            IntegrityError: a row or an object is not what was written.
            DatasetRefused: an object cannot be understood.
        """
        for start in range(0, len(self._records), _RECORDS_AT_ONCE):
            chunk = self._records[start : start + _RECORDS_AT_ONCE]
            texts = self._reader.index.metadata(chunk)
            missing = [record for record, text in zip(chunk, texts, strict=True) if not text]
            if missing:
                made = self._make_metadata(missing)
                yield from (
                    text or made[record.address.object_id] for record, text in zip(chunk, texts, strict=True)
                )
            else:
                yield from texts

    def _make_metadata(self, records: Sequence[InstanceRecord]) -> dict[bytes, bytes]:
        self._fetch_outlines(records)
        made = {
            record.address.object_id: metadata_to_json(
                self.outline(record), self._available(record), self._reader.private_syntaxes
            )
            for record in records
        }
        self._encoded.clear()
        try:
            self._reader.index.keep_metadata([(record, made[record.address.object_id]) for record in records])
        except OutOfResources:
            pass  # it is made again the next time
        return made

    def _available(self, record: InstanceRecord) -> tuple[str, ...]:
        """Return the transfer syntaxes that an instance can be had in. Source: PS3.18 10.4.1.1.5."""
        stored_as = record.identity.transfer_syntax_uid
        if stored_as != EXPLICIT_VR_LITTLE_ENDIAN and self.can_send(record, EXPLICIT_VR_LITTLE_ENDIAN):
            return (stored_as, EXPLICIT_VR_LITTLE_ENDIAN)
        return (stored_as,)

    # --- outlines ----------------------------------------------------------------------------------------------

    def outline(self, record: InstanceRecord) -> Outline:
        """Return everything but the bulk values, and where those lie.

        Raises:
            IntegrityError: row or object are not what was written.
            DatasetRefused: the object cannot be outlined.
        """
        object_id = record.address.object_id
        outline = self._outlines.get(object_id)
        if outline is None:
            if object_id not in self._encoded:
                self._fetch_outlines(self._ahead(record))
            encoded = self._encoded.pop(object_id, b"")
            outline = decode_outline(encoded) if encoded else self._outline_of_pack(record)
            _keep(self._outlines, object_id, outline)
        return outline

    def _ahead(self, record: InstanceRecord) -> Sequence[InstanceRecord]:
        """Return the record and those that will be asked for next."""
        if len(self._records) == 1:
            return self._records
        # They are asked for in their order, so a record is looked for where the last one was found.
        for start in (self._cursor, 0):
            try:
                self._cursor = self._records.index(record, start)
            except ValueError:
                continue
            return self._records[self._cursor : self._cursor + _RECORDS_AT_ONCE]
        raise LocalProtocolError("an instance that this reading was not opened for")

    def _fetch_outlines(self, records: Sequence[InstanceRecord]) -> None:
        outlines = self._reader.index.outlines(records)
        self._encoded = {
            record.address.object_id: outline for record, outline in zip(records, outlines, strict=True)
        }

    def _outline_of_pack(self, record: InstanceRecord) -> Outline:
        """Return the outline of an object whose row has none: of an earlier release, or with a very long header."""
        uid = record.identity.transfer_syntax_uid
        scanner = DatasetScanner(
            uid,
            syntax=self._reader.private_syntaxes.get(uid),
            outlining=True,
            header_bytes_max=OUTLINE_READ_BYTES_MAX,
        )
        sealed = self.sealed(record)
        with self._damage_on_record(record):
            scan_sealed(sealed, record.dataset_offset, record.dataset_length, scanner)
        taken = scanner.outline()
        if taken is None:
            raise OutOfResources("the object has a longer header than is held in memory")
        return taken.outline()

    # --- frames and bulk values --------------------------------------------------------------------------------

    def frame_count(self, record: InstanceRecord) -> int:
        """Return the number of frames; 0 where there is no pixel data.

        Raises:
            DatasetRefused: the object does not say it, or lies about it.
        """
        return self._layout(record).count

    def frame(self, record: InstanceRecord, number: int) -> "StoredOctets":
        """Return a frame as stored.

        Args:
            record: of this reading.
            number: from 1.

        Raises:
            NotFound: there is no frame of that number.
            DatasetRefused: the object lies about where its frames are.
        """
        layout = self._layout(record)
        if not 1 <= number <= layout.count or layout.value is None:
            raise NotFound("there is no frame of that number")
        return self._octets(record, layout.value, layout.place(number))

    def bulk(self, record: InstanceRecord, path: str) -> "StoredOctets":
        """Return a value.

        Args:
            record: of this reading.
            path: as in the BulkDataURI: ``7FE00010``, or ``00081140/0/00041500`` inside of sequences.

        Raises:
            NotFound: there is no such value.
            DatasetRefused: the object cannot be understood.
        """
        tag, *rest = _steps(path)
        if not rest:
            for value in self.outline(record).bulk:
                if value.tag == tag:
                    return self._octets(record, value, FramePlace(((value.offset, value.length),)))
        element = _element_at(self._header(record), tag, rest)
        return StoredOctets.of_value(element.vr, element.value)

    def _layout(self, record: InstanceRecord) -> FrameLayout:
        object_id = record.address.object_id
        layout = self._layouts.get(object_id)
        if layout is None:
            outline = self.outline(record)
            layout = frame_layout(
                outline,
                lambda offset, length: self.read(record, offset, length),
                self._reader.private_syntaxes,
            )
            _keep(self._layouts, object_id, layout)
        return layout

    def _header(self, record: InstanceRecord) -> Dataset:
        syntax = self._syntax(record)
        header = self.outline(record).header
        return read_whole_object(header, explicit=not syntax.implicit_vr, big=syntax.big_endian)

    def _octets(self, record: InstanceRecord, value: BulkValue, place: FramePlace) -> "StoredOctets":
        big_endian = self._syntax(record).big_endian
        swap = _SWAPS.get(value.vr, 1) if big_endian and not value.encapsulated else 1
        uid = record.identity.transfer_syntax_uid if value.encapsulated else EXPLICIT_VR_LITTLE_ENDIAN
        return StoredOctets(self, record, value, place, swap, UID(uid))

    def read(self, record: InstanceRecord, offset: int, length: int) -> bytes:
        """Return octets of the data set, inflated where it is deflated; for ``StoredOctets``."""
        if self._syntax(record).deflated:
            return self._inflated_dataset(record)[offset : offset + length]
        sealed = self.sealed(record)
        with self._damage_on_record(record):
            if offset + length > record.dataset_length:
                raise IntegrityError("an outline names octets beyond its object")
            return sealed.read(record.dataset_offset + offset, length)

    def _inflated_dataset(self, record: InstanceRecord) -> bytes:
        object_id = record.address.object_id
        if self._inflated[0] != object_id:
            # The transcoding process inflates: bounded there, and what a stranger deflated is not inflated here.
            whole = b"".join(
                bytes(piece) for piece in self._retrieval.dataset(record, EXPLICIT_VR_LITTLE_ENDIAN)
            )
            self._inflated = (object_id, whole)
        return self._inflated[1]

    def sealed(self, record: InstanceRecord) -> SealedObject:
        """Return the stored object, open until the reading ends or others take its place; for ``StoredOctets``."""
        object_id = record.address.object_id
        opened = self._opened.get(object_id)
        if opened is None:
            opened = self._reader.access.open(self._grant, record)
            self._opened[object_id] = opened
            if len(self._opened) > _OPEN_MAX:
                self._opened.popitem(last=False)[1].close()
        else:
            self._opened.move_to_end(object_id)
        return opened

    def _damage_on_record(self, record: InstanceRecord) -> "_DamageOnRecord":
        return _DamageOnRecord(self._reader.access, self._grant.principal, record)

    # --- whole objects -----------------------------------------------------------------------------------------

    def can_send(self, record: InstanceRecord, transfer_syntax_uid: str) -> bool:
        """Tell whether that instance can be had in that transfer syntax."""
        stored_as = record.identity.transfer_syntax_uid
        return stored_as == transfer_syntax_uid or (
            record.dataset_length <= TRANSCODE_BYTES_MAX and can_transcode(stored_as, transfer_syntax_uid)
        )

    def dataset(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield the data set; each piece is valid until the next is asked for.

        Raises:
            IntegrityError: it is not what was written; on record already.
            KeyUnavailable: its key was destroyed.
            DatasetRefused: it cannot be decoded.
        """
        return self._retrieval.dataset(record, transfer_syntax_uid)

    def part10(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield the file: preamble of zeros, file meta, data set; raises as ``dataset``."""
        return self._retrieval.part10(record, transfer_syntax_uid)

    def part10_length(self, record: InstanceRecord) -> int:
        """Return the octets of ``part10`` in the transfer syntax as stored."""
        return record.dataset_offset + record.dataset_length

    # --- conditional requests ----------------------------------------------------------------------------------

    def etag(self, representation: str = "", record: InstanceRecord | None = None) -> str:
        """Return an entity tag, with quotes, for one record or for all; it changes only when the content does.

        It is a digest over object ids: 74 random bits each, so it tells nothing of them, nor of the content.

        Args:
            representation: what else the answer depends on: media type, frame numbers, rendering parameters.
            record: only this one.
        """
        digest = hashlib.sha256(b"leadglass entity tag 1\0" + representation.encode() + b"\0")
        for one in (record,) if record is not None else self._records:
            digest.update(one.address.object_id)
        return f'"{digest.hexdigest()[:32]}"'

    def last_modified(self) -> datetime:
        """Return when the newest of the records was stored; aware UTC."""
        return max(record.received_at for record in self._records)

    # --- the end -----------------------------------------------------------------------------------------------

    def ended(self, *, completed: int, failed: int, cancelled: bool = False) -> None:
        """Put the outcome of a transfer of whole objects on record, once; nothing for parts."""
        if self._part is Part.OBJECTS:
            # Nobody waits for it but the next request on the connection: see ``Retrieval.ended``.
            self._retrieval.ended(completed=completed, failed=failed, cancelled=cancelled, durable=False)

    def release(self) -> None:
        """Release files and memory."""
        while self._opened:
            self._opened.popitem()[1].close()
        self._inflated = (b"", b"")

    def close(self) -> None:
        """Release everything; a transfer that nobody ended is on record as cancelled."""
        self.release()
        self.ended(completed=0, failed=0, cancelled=True)

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class StoredOctets:
    """Octets as stored: of one frame or one bulk value. Valid while its reading is open, in the reading's thread.

    Every octet is authenticated before it is given out; only the segments that hold what is asked for are opened.
    Numbers are in little endian, whatever the object's transfer syntax.

    Attributes:
        vr: value representation of the attribute.
        length: octets in all.
        transfer_syntax_uid: how they are encoded: of an encapsulated value that of the object, else explicit VR little
            endian.
        encapsulated: of a whole Pixel Data: it is a run of fragment items, its offset table first; a frame is not.
    """

    __slots__ = (
        "_place", "_reading", "_record", "_swap", "_value", "_whole", "encapsulated", "length", "transfer_syntax_uid", "vr",
    )  # fmt: skip

    def __init__(
        self,
        reading: Reading | None,
        record: InstanceRecord | None,
        value: BulkValue,
        place: FramePlace,
        swap: int,
        transfer_syntax_uid: UID,
    ) -> None:
        """Made by ``Reading``."""
        self._reading = reading
        self._record = record
        self._value = value
        self._place = place
        self._swap = swap
        self._whole: bytes | None = None
        self.vr: Final = value.vr
        self.transfer_syntax_uid: Final = transfer_syntax_uid
        held = sum(length for _, length in place.pieces)
        self.length: Final = (place.bits + 7) // 8 if place.bits else held
        self.encapsulated: Final = value.encapsulated and held == value.length

    @classmethod
    def of_value(cls, vr: str, value: bytes) -> "StoredOctets":
        """Return a value that is in memory."""
        octets = cls(
            None,
            None,
            BulkValue(0, vr, 0, len(value)),
            FramePlace(((0, len(value)),)),
            1,
            EXPLICIT_VR_LITTLE_ENDIAN,
        )
        octets._whole = value
        return octets

    def read(self, offset: int, length: int) -> bytes:
        """Return a range; shorter where it reaches beyond the end.

        Raises:
            IntegrityError: it is not what was written; on record already.
        """
        length = max(0, min(length, self.length - offset))
        if self._place.bits and self._whole is None:
            # A frame of odd bits is shifted as a whole: segmentations, some hundred KiB.
            ((begin, size),) = self._place.pieces
            self._whole = cut_bits(self._stored(begin, size), self._place)
        if self._whole is not None:
            return self._whole[offset : offset + length]
        pieces: list[bytes] = []
        for begin, size in self._place.pieces:
            if not length:
                break
            if offset >= size:
                offset -= size
                continue
            step = min(size - offset, length)
            pieces.append(self._stored(begin + offset, step))
            length -= step
            offset = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stream(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a range in pieces of at most 1 MiB; raises as ``read``."""
        end = self.length if length is None else min(self.length, offset + length)
        while offset < end:
            piece = self.read(offset, min(_PIECE, end - offset))
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Nothing of its own is held: the reading is closed."""
        self._whole = None if self._reading is not None else self._whole

    def _stored(self, offset: int, length: int) -> bytes:
        assert self._reading is not None
        assert self._record is not None
        if self._swap == 1:
            return self._reading.read(self._record, offset, length)
        # Whole numbers around the range, turned round.
        width, start = self._swap, self._value.offset
        begin = (offset - start) // width * width
        end = min(-(-(offset - start + length) // width) * width, self._value.length)
        octets = self._reading.read(self._record, start + begin, end - begin)
        whole = len(octets) // width * width
        turned = bytearray(octets)
        for i in range(width):
            turned[i:whole:width] = octets[width - 1 - i : whole : width]
        skip = offset - start - begin
        return bytes(turned[skip : skip + length])


class _DamageOnRecord:
    """Puts damage that reading finds on record, and lets it go on."""

    def __init__(self, access: Access, principal: Principal, record: InstanceRecord) -> None:
        self._access = access
        self._principal = principal
        self._record = record

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, IntegrityError):
            self._access.record_damage(self._principal, self._record, str(error))


def _keep(kept: OrderedDict[bytes, _Kept], key: bytes, value: _Kept) -> None:
    kept[key] = value
    if len(kept) > _OPEN_MAX:
        kept.popitem(last=False)


def _steps(path: str) -> list[int]:
    """Return tags and item numbers of a path, in turn.

    Raises:
        NotFound: it is no path that was ever given out.
    """
    parts = path.split("/")
    if len(parts) % 2 == 0 or len(parts) > 65:
        raise NotFound("there is no such value")
    steps: list[int] = []
    for position, part in enumerate(parts):
        digits = "0123456789" if position % 2 else "0123456789ABCDEFabcdef"
        size = 1 <= len(part) <= 8 if position % 2 else len(part) == 8
        if not size or part.strip(digits):
            raise NotFound("there is no such value")
        steps.append(int(part, 10 if position % 2 else 16))
    return steps


def _element_at(dataset: Dataset, tag: int, rest: Sequence[int]) -> Element:
    """Return the element at a path.

    Raises:
        NotFound: there is none, or it is a sequence.
    """
    element = dataset.get(tag)
    if element is None:
        raise NotFound("there is no such value")
    if not rest:
        if element.items is not None:
            raise NotFound("there is no such value")
        return element
    number, inner, *further = rest
    if element.items is None or number >= len(element.items):
        raise NotFound("there is no such value")
    return _element_at(element.items[number], inner, further)
