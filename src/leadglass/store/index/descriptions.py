"""Beside the rows: the outline of an object and its metadata, each sealed under the study's key.

They are found by object id, which is given to one object only, and bound to it and to its SOP Instance UID: what belongs
to another object does not open. An outline comes compressed; metadata are compressed here.

**Invariant:** nothing leaves this module before its seal has opened.
"""

import zlib
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from leadglass.base.errors import IntegrityError
from leadglass.store.index.database import Database
from leadglass.store.index.interfaces import IndexEntry, InstanceRecord
from leadglass.trust.keys.interfaces import RowCipher

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

INSERT_OUTLINE: Final = """INSERT INTO outline (object_id, sealed) VALUES (?, ?)
    ON CONFLICT (object_id) DO NOTHING"""
_KEEP_METADATA: Final = """INSERT INTO metadata (object_id, sealed) VALUES (?, ?)
    ON CONFLICT (object_id) DO UPDATE SET sealed = excluded.sealed"""

_LEVEL: Final = 1
"""Of zlib: metadata of 15 KB shrink to a fifth in 0.1 ms; the best level takes four times that for a tenth less."""
_AT_ONCE: Final = 1024
"""Records of one statement."""
_Table = Literal["outline", "metadata"]

_encode = msgspec.msgpack.Encoder().encode


class Descriptions:
    """The descriptions in one database."""

    def __init__(self, database: Database, cipher: RowCipher) -> None:
        self._database = database
        self._cipher = cipher

    def outline_row(self, entry: IndexEntry) -> tuple[bytes, bytes] | None:
        """Return the row of ``INSERT_OUTLINE`` of an entry, sealed; None where there is no outline."""
        if not entry.outline:
            return None
        address = entry.address
        bound = _bound("outline", entry.head.identity.sop_instance_uid, address.object_id)
        return address.object_id, self._cipher.seal_row(address.key_id, entry.outline, bound)

    def outlines(self, records: Sequence[InstanceRecord]) -> list[bytes]:
        """Return outlines. See ``Index.outlines``."""
        return self._read("outline", records)

    def metadata(self, records: Sequence[InstanceRecord]) -> list[bytes]:
        """Return metadata. See ``Index.metadata``."""
        return [zlib.decompress(packed) if packed else b"" for packed in self._read("metadata", records)]

    def keep_metadata(self, records: Sequence[tuple[InstanceRecord, bytes]]) -> None:
        """Keep metadata. See ``Index.keep_metadata``."""
        rows = [
            (record.address.object_id, self._sealed_metadata(record, metadata))
            for record, metadata in records
        ]
        for start in range(0, len(rows), _AT_ONCE):
            with self._database.writing(durable=False) as transaction:
                transaction.insert_many(_KEEP_METADATA, rows[start : start + _AT_ONCE])

    def open_both(self, record: InstanceRecord, outline: bytes | None, metadata: bytes | None) -> None:
        """Open what is kept of a record.

        Raises:
            IntegrityError: it is not what was written.
        """
        self._open("outline", record, outline)
        self._open("metadata", record, metadata)

    def _sealed_metadata(self, record: InstanceRecord, metadata: bytes) -> bytes:
        bound = _bound("metadata", record.identity.sop_instance_uid, record.address.object_id)
        return self._cipher.seal_row(record.address.key_id, zlib.compress(metadata, _LEVEL), bound)

    def _read(self, table: _Table, records: Sequence[InstanceRecord]) -> list[bytes]:
        sealed: dict[bytes, bytes] = {}
        for start in range(0, len(records), _AT_ONCE):
            ids = [record.address.object_id for record in records[start : start + _AT_ONCE]]
            condition, parameter = self._database.any_of("object_id", ids)
            with self._database.reading() as snapshot:
                rows = snapshot.execute(
                    f"SELECT object_id, sealed FROM {table} WHERE {condition}", (parameter,)
                )
            sealed.update((bytes(object_id), value) for object_id, value in rows)
        return [self._open(table, record, sealed.get(record.address.object_id)) for record in records]

    def _open(self, table: _Table, record: InstanceRecord, sealed: bytes | None) -> bytes:
        if sealed is None:
            return b""
        bound = _bound(table, record.identity.sop_instance_uid, record.address.object_id)
        try:
            return self._cipher.open_row(record.address.key_id, sealed, bound)
        except IntegrityError:
            raise IntegrityError(f"the {table} of an instance is not what was written") from None


def _bound(table: _Table, sop_instance_uid: str, object_id: bytes) -> bytes:
    return _encode((f"{table}/1", sop_instance_uid, object_id))
