"""Rows as they are stored: plain columns, and one sealed part that is bound to every one of them.

What a row seals: a study its data set and its tokens, a series its data set, its tokens and where it came from, an
instance its data set, an entry of the quarantine nothing. What it is bound to: the name of its table, all UIDs from the study down, where the
record lies, and all plain columns. So a changed date, a row moved to another study, two rows with their sealed parts
exchanged, or a pointer to another record are found when the row is opened.

Row ids are not bound: they are given by the database, and a row's place is told by its UIDs.

**Invariant:** nothing of a row leaves this module before its seal has opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from leadglass.base.errors import IntegrityError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.dicom.attributes import plain_columns
from leadglass.dicom.models import Level, LevelHead, PlainValue
from leadglass.store.index.database import INTEGER_MAX, Row, Value
from leadglass.store.index.interfaces import IndexEntry, InstanceRecord, QuarantineEntry
from leadglass.trust.keys.interfaces import RowCipher

STUDY_COLUMNS: Final = tuple(a.column for a in plain_columns(Level.PATIENT, Level.STUDY))
SERIES_COLUMNS: Final = tuple(a.column for a in plain_columns(Level.SERIES))
INSTANCE_COLUMNS: Final = tuple(a.column for a in plain_columns(Level.IMAGE))

TOKEN_BYTES: Final = 16

_LOCATION_COLUMNS: Final = (
    "pack_id",
    "record_offset",
    "record_length",
    "object_id",
    "key_id",
    "dataset_offset",
    "dataset_length",
    "received_at",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SMALL: Final = 2**31

_encode_columns = msgspec.msgpack.Encoder().encode
"""MessagePack tells texts, octets, integers and nothing apart and gives each its length, so two different rows never
give the same associated data. A tuple of these types has one encoding only."""


def columns(table: str, names: Sequence[str]) -> str:
    """Return column names for a statement; quoted, because ``rows`` and ``columns`` are words of SQL."""
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)


def _insert(table: str, names: Sequence[str], conflict: str) -> str:
    marks = ", ".join("?" * len(names))
    # Names are constants of this package, never input.
    return f"INSERT INTO {table} ({columns('', names)}) VALUES ({marks}) {conflict}"  # noqa: S608


STUDY_NAMES: Final = ("study_uid", "patient", "key_id", *STUDY_COLUMNS, "sealed")
SERIES_NAMES: Final = ("series_uid", "key_id", *SERIES_COLUMNS, "sealed")
_INSTANCE: Final = (
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    *_LOCATION_COLUMNS,
    *INSTANCE_COLUMNS,
    "sealed",
)
_QUARANTINE: Final = (
    "study_uid",
    "series_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    *_LOCATION_COLUMNS,
    "reason",
    "sealed",
)

INSERT_STUDY: Final = _insert("study", STUDY_NAMES, "ON CONFLICT (study_uid) DO NOTHING RETURNING id")
INSERT_SERIES: Final = _insert(
    "series", ("study_id", *SERIES_NAMES), "ON CONFLICT (study_id, series_uid) DO NOTHING RETURNING id"
)
INSERT_INSTANCE: Final = _insert(
    "instance", ("series_id", *_INSTANCE), "ON CONFLICT (sop_instance_uid) DO NOTHING"
)
INSERT_QUARANTINE: Final = _insert("quarantine", _QUARANTINE, "ON CONFLICT (object_id) DO NOTHING")

SELECT_STUDY: Final = columns("study", ("id", *STUDY_NAMES))
SELECT_SERIES: Final = columns("series", ("id", *SERIES_NAMES))
SELECT_INSTANCE: Final = columns("instance", ("id", *_INSTANCE))
SELECT_QUARANTINE: Final = columns("quarantine", ("id", *_QUARANTINE))

STUDY_WIDTH: Final = 1 + len(STUDY_NAMES)


class Provenance(msgspec.Struct, frozen=True, array_like=True):
    """Where a series came from, and what decisions look at beside its columns.

    It is sealed in the row of its series: whoever takes it away takes the series away.

    Attributes:
        sources: principal ids of everybody who stored an object of it.
        institutions: Institution Name of its first object, folded.
        deidentified: every object of it says so.
    """

    sources: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    deidentified: bool = False

    def covers(self, other: "Provenance") -> bool:
        """Tell whether an object of ``other`` changes nothing."""
        return set(self.sources).issuperset(other.sources) and (other.deidentified or not self.deidentified)

    def with_object(self, other: "Provenance") -> "Provenance":
        """Return it with an object of ``other`` added."""
        return Provenance(
            tuple(sorted({*self.sources, *other.sources})),
            self.institutions,
            self.deidentified and other.deidentified,
        )


@dataclass(frozen=True, slots=True)
class OpenedLevel:
    """A study or series whose seal opened.

    Attributes:
        row_id: of the database.
        uid: of the study or series.
        dataset: its attributes, in clear.
        joined_tokens: what its token rows must be, one after the other.
        encoded_provenance: of a series; empty for a study.
    """

    row_id: int
    uid: UID
    dataset: bytes
    joined_tokens: bytes
    encoded_provenance: bytes

    # Most are opened for their data set alone, so the rest is taken apart by whoever looks at it.

    @property
    def tokens(self) -> frozenset[bytes]:
        """What its token rows must be."""
        joined = self.joined_tokens
        return frozenset(joined[i : i + TOKEN_BYTES] for i in range(0, len(joined), TOKEN_BYTES))

    @property
    def provenance(self) -> Provenance:
        """Where a series came from."""
        return _decode_provenance(self.encoded_provenance) if self.encoded_provenance else _NOWHERE


@dataclass(frozen=True, slots=True)
class OpenedInstance:
    """An instance whose seal opened."""

    row_id: int
    record: InstanceRecord
    dataset: bytes


class RowSeal:
    """Seals rows before they are stored, and opens them before they are believed."""

    def __init__(self, cipher: RowCipher) -> None:
        self._cipher = cipher

    def study(
        self, uid: UID, key_id: bytes, head: LevelHead, *, patient: bytes, tokens: bytes
    ) -> tuple[Value, ...]:
        """Return the row of a study; ``tokens`` is all of its tokens, one after the other."""
        values = (uid, patient, key_id, *_plain(head.plain, STUDY_COLUMNS))
        return (*values, self._seal(key_id, _framed(tokens, b"", head.sealed), ("study/1", *values)))

    def series(
        self,
        study_uid: UID,
        uid: UID,
        key_id: bytes,
        head: LevelHead,
        *,
        tokens: bytes,
        provenance: Provenance,
    ) -> tuple[Value, ...]:
        """Return the row of a series, without the id of its study."""
        values = (uid, key_id, *_plain(head.plain, SERIES_COLUMNS))
        associated = ("series/1", study_uid, *values)
        plaintext = _framed(tokens, _encode_columns(provenance), head.sealed)
        return (*values, self._seal(key_id, plaintext, associated))

    def series_again(self, row: Row, study_uid: str, provenance: Provenance) -> bytes:
        """Return what the series of a row of ``SELECT_SERIES`` seals, with another provenance.

        Raises:
            As ``open_series``.
        """
        opened = self.open_series(row, study_uid)
        plaintext = _framed(b"".join(sorted(opened.tokens)), _encode_columns(provenance), opened.dataset)
        return self._seal(row[2], plaintext, ("series/1", study_uid, *row[1:-1]))

    def instance(
        self, entry: IndexEntry, plain: Mapping[str, PlainValue], dataset: bytes
    ) -> tuple[Value, ...]:
        """Return the row of an instance, without the id of its series. This is the hot path."""
        identity, address = entry.head.identity, entry.address
        values = (
            identity.sop_instance_uid,
            identity.sop_class_uid,
            identity.transfer_syntax_uid,
            *_location(address, entry.dataset_offset, entry.dataset_length, entry.received_at),
            *_plain(plain, INSTANCE_COLUMNS),
        )
        associated = ("instance/1", identity.study_uid, identity.series_uid, *values)
        return (*values, self._seal(address.key_id, dataset, associated))

    def quarantine(self, entry: QuarantineEntry) -> tuple[Value, ...]:
        """Return the row of an object that is kept apart."""
        record = entry.record
        identity = record.identity
        values = (
            identity.study_uid,
            identity.series_uid,
            identity.sop_instance_uid,
            identity.sop_class_uid,
            identity.transfer_syntax_uid,
            *_location(record.address, record.dataset_offset, record.dataset_length, record.received_at),
            entry.reason,
        )
        # Nothing is hidden in it; the seal authenticates the columns.
        return (*values, self._seal(record.address.key_id, b"", ("quarantine/1", *values)))

    def open_study(self, row: Row) -> OpenedLevel:
        """Open a row of ``SELECT_STUDY``.

        Raises:
            IntegrityError: it is not what was sealed; the message names table and row id.
            KeyUnavailable: the study's key was destroyed.
        """
        row_id, uid, _patient, key_id = row[:4]
        plaintext = self._open("study", row_id, key_id, row[-1], ("study/1", *row[1:-1]))
        return _opened_level(row_id, uid, plaintext)

    def open_series(self, row: Row, study_uid: str) -> OpenedLevel:
        """Open a row of ``SELECT_SERIES``; as ``open_study``."""
        row_id, uid, key_id = row[:3]
        plaintext = self._open("series", row_id, key_id, row[-1], ("series/1", study_uid, *row[1:-1]))
        return _opened_level(row_id, uid, plaintext)

    def open_instance(self, row: Row, study_uid: str, series_uid: str) -> OpenedInstance:
        """Open a row of ``SELECT_INSTANCE``; as ``open_study``."""
        associated = ("instance/1", study_uid, series_uid, *row[1:-1])
        dataset = self._open("instance", row[0], row[8], row[-1], associated)
        return OpenedInstance(row[0], _record((study_uid, series_uid, *row[1:12])), dataset)

    def open_quarantine(self, row: Row) -> QuarantineEntry:
        """Open a row of ``SELECT_QUARANTINE``; as ``open_study``."""
        self._open("quarantine", row[0], row[10], row[-1], ("quarantine/1", *row[1:-1]))
        return QuarantineEntry(_record(row[1:14]), row[14])

    def _seal(self, key_id: bytes, plaintext: bytes, associated: tuple[Value, ...]) -> bytes:
        return self._cipher.seal_row(key_id, plaintext, _encode_columns(associated))

    def _open(self, table: str, row_id: int, key_id: bytes, sealed: bytes, associated: Row) -> bytes:
        try:
            return self._cipher.open_row(key_id, sealed, _encode_columns(associated))
        except IntegrityError:
            raise IntegrityError(f"row {row_id} of table {table} is not what was written") from None
        except KeyUnavailable:
            raise KeyUnavailable(
                f"the key of row {row_id} of table {table} is destroyed or unknown"
            ) from None


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970 (UTC)."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time of ``microseconds``."""
    return _EPOCH + value * _MICROSECOND


def _location(address: RecordAddress, dataset_offset: int, dataset_length: int, received_at: datetime) -> Row:
    return (
        address.pack_id,
        address.offset,
        address.length,
        address.object_id,
        address.key_id,
        dataset_offset,
        dataset_length,
        microseconds(received_at),
    )


def _record(row: Row) -> InstanceRecord:
    (
        study,
        series,
        sop_instance,
        sop_class,
        syntax,
        pack_id,
        offset,
        length,
        object_id,
        key_id,
        start,
        size,
        at,
    ) = row
    return InstanceRecord(
        ObjectIdentity(UID(study), UID(series), UID(sop_instance), UID(sop_class), UID(syntax)),
        RecordAddress(pack_id, offset, length, object_id, key_id),
        start,
        size,
        moment(at),
    )


def _plain(plain: Mapping[str, PlainValue], names: tuple[str, ...]) -> list[Value]:
    # Absent values and small numbers are most of them; the rest is looked at.
    get = plain.get
    return [
        value
        if (value := get(name)) is None or (type(value) is int and 0 <= value < _SMALL)
        else storable(value)
        for name in names
    ]


def storable(value: PlainValue) -> Value:
    """Return a value as every database can hold it; None for one that none can hold."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        # NUL cannot stand in a PostgreSQL text, a lone surrogate in no UTF-8 at all.
        return None if "\0" in value or not (value.isascii() or _is_utf8(value)) else value
    return value if -INTEGER_MAX <= value <= INTEGER_MAX else None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _framed(tokens: bytes, provenance: bytes, dataset: bytes) -> bytes:
    return b"".join(
        (len(tokens).to_bytes(4, "big"), tokens, len(provenance).to_bytes(4, "big"), provenance, dataset)
    )


_NOWHERE: Final = Provenance()
_decode_provenance = msgspec.msgpack.Decoder(Provenance).decode


def _opened_level(row_id: int, uid: Any, plaintext: bytes) -> OpenedLevel:  # noqa: ANN401 - a column, as the driver gave it
    end = 4 + int.from_bytes(plaintext[:4], "big")
    start = end + 4
    behind = start + int.from_bytes(plaintext[end:start], "big")
    return OpenedLevel(row_id, UID(uid), plaintext[behind:], plaintext[4:end], plaintext[start:behind])
