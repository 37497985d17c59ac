"""Make the rows of many studies quickly: what an index would have written, put there in bulk.

The rows are sealed by the index's own code, under one key for each study, in a few processes. What is hastened is how
they come into the database: with explicit ids, tokens sorted first, secondary indexes made at the end, and no care for a
power cut. Inserted one by one, twenty tokens a study at random places of a tree were most of the work.
"""

import gc
import importlib
import multiprocessing
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, cast

import apsw
import numpy as np

from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.store.index.facts import facts_of_row, provenance_of
from leadglass.store.index.interfaces import IndexEntry, StudyFacts
from leadglass.store.index.rows import (
    SELECT_INSTANCE,
    SELECT_SERIES,
    SELECT_STUDY,
    STUDY_NAMES,
    TOKEN_BYTES,
    RowSeal,
)
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.tokens import BlindIndex
from leadglass.trust.keys.derive import KEY_BYTES, wrap_bound
from leadglass.trust.keys.hierarchy import ID_BYTES, OpenStudyKey
from leadglass.trust.keys.ledger import KeyLedger, StudyKeyRow
from leadglass.trust.keys.ring import SiteKeys

# ruff: noqa: SLF001 - it does the work of index and ledger, with their own parts
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

STUDIES_AT_ONCE: Final = 2000
PROCESSES: Final = 6
"""More than processors: a machine that others use gives each its share."""
SERIES_MAX: Final = 2
"""Series of a study at most: ids are given without asking."""

_STUDY_DATE: Final = STUDY_NAMES.index("study_date")
_PAIR: Final = np.dtype("V24")
Row = tuple[Any, ...]
Entries = Callable[[Callable[[UID], bytes], int, int], Iterator[IndexEntry]]
"""Objects of studies from a number up to another, each a series of its own; the first argument gives a study's key id."""


def _columns(selected: str) -> tuple[str, ...]:
    return tuple(name.partition(".")[2].strip('"') for name in selected.split(", "))


TABLES: Final = {
    "study": _columns(SELECT_STUDY),
    "listing": ("study_id", "study_date", "class_id", "hidden"),
    "series": (*_columns(SELECT_SERIES), "study_id"),
    "instance": (*_columns(SELECT_INSTANCE), "series_id"),
}
TOKEN_TABLES: Final = ("study_token", "series_token")
INDEXES: Final = ("study_by_patient", "listing_by_date", "series_by_uid", "instance_by_series")


@dataclass(slots=True)
class Batch:
    """Rows of some studies.

    Attributes:
        tokens: by table, token and row id (8 octets, big endian), one after the other.
        keys: rows of the key ledger.
        sum: of their tags.
        studies: how many.
    """

    rows: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in TABLES})
    tokens: dict[str, bytearray] = field(
        default_factory=lambda: {table: bytearray() for table in TOKEN_TABLES}
    )
    keys: list[Row] = field(default_factory=list[Row])
    sum: int = 0
    studies: int = 0


class Keys:
    """Makes study keys without writing them. Implements ``RowCipher`` for the newest one."""

    def __init__(self, ledger: KeyLedger, batch: Batch) -> None:
        self._ledger = ledger
        self._batch = batch
        self._newest = OpenStudyKey(bytes(ID_BYTES), 1, bytes(KEY_BYTES))

    def make(self, study_uid: UID) -> bytes:
        """Make the key of a study; return its id."""
        ledger, secret = self._ledger, secrets.token_bytes(KEY_BYTES)
        version = max(ledger._keks)
        row = StudyKeyRow(
            secrets.token_bytes(ID_BYTES), ledger.study_token(study_uid), 1, version, b"", ledger._now()
        )
        wrapped = wrap_bound(ledger._kek(version), secret, ledger._study_binding(row))
        row = StudyKeyRow(row.key_id, row.token, 1, version, wrapped, row.created)
        self._batch.keys.append((row.key_id, row.token, 1, version, wrapped, row.created))
        self._batch.sum += ledger._row_mac(row)
        self._newest = OpenStudyKey(row.key_id, 1, secret)
        return row.key_id

    def seal_row(self, key_id: bytes, plaintext: bytes, associated: bytes) -> bytes:
        assert key_id == self._newest.key_id
        return self._newest.rows.seal(plaintext, associated)

    def open_row(self, key_id: bytes, sealed: bytes, associated: bytes) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Work:
    """What every process needs; it is given by forking."""

    ledger: KeyLedger
    keys: SiteKeys
    entries: Entries
    classes: dict[StudyFacts, int]
    studies: int

    @property
    def blind(self) -> BlindIndex:
        return BlindIndex(self.keys)


_work: list[Work] = []


def made(first: int) -> Batch:
    """Seal the rows of some studies."""
    work, batch = _work[0], Batch()
    keys = Keys(work.ledger, batch)
    seal, tokens_of = RowSeal(keys), _tokens_of(work)
    study_id, series = 0, 0
    for entry in work.entries(keys.make, first, min(first + STUDIES_AT_ONCE, work.studies)):
        identity, key_id = entry.head.identity, entry.address.key_id
        number = int(identity.study_uid.rpartition(".")[2]) + 1
        head, instance = entry.head.series(), entry.head.instance()
        provenance, tokens = provenance_of(entry.head, entry.source), tokens_of(head.tokens)
        row = seal.series(
            identity.study_uid, identity.series_uid, key_id, head, tokens=tokens, provenance=provenance
        )
        if number != study_id:
            study_id, series = number, 0
            study, study_tokens = entry.head.study(), tokens_of(entry.head.study().tokens)
            patient = work.blind.patient(entry.head.patient_reference(), identity.study_uid)
            study_row = seal.study(identity.study_uid, key_id, study, patient=patient, tokens=study_tokens)
            class_id = work.classes[facts_of_row(row, provenance)]
            batch.rows["study"].append((study_id, *study_row))
            batch.rows["listing"].append((study_id, study_row[_STUDY_DATE], class_id, 0))
            _add_tokens(batch.tokens["study_token"], study_tokens, study_id)
            batch.studies += 1
        series_id = study_id * SERIES_MAX + series
        series += 1
        batch.rows["series"].append((series_id, *row, study_id))
        _add_tokens(batch.tokens["series_token"], tokens, series_id)
        instance_row = seal.instance(entry, instance.plain, instance.sealed)
        batch.rows["instance"].append((series_id, *instance_row, series_id))
    return batch


def _tokens_of(work: Work) -> Callable[[Mapping[str, tuple[str, ...]]], bytes]:
    """Return ``BlindIndex.of``, with the tokens of each field's values remembered."""

    @lru_cache(maxsize=100_000)
    def of_field(field_name: str, values: tuple[str, ...]) -> tuple[bytes, ...]:
        tokens = work.blind.of({field_name: values})
        return tuple(tokens[start : start + TOKEN_BYTES] for start in range(0, len(tokens), TOKEN_BYTES))

    return lambda fields: b"".join(sorted({t for item in fields.items() for t in of_field(*item)}))


def _add_tokens(pairs: bytearray, tokens: bytes, row_id: int) -> None:
    suffix = row_id.to_bytes(8, "big")
    for start in range(0, len(tokens), TOKEN_BYTES):
        pairs += tokens[start : start + TOKEN_BYTES]
        pairs += suffix


class Sink(Protocol):
    """A database that takes rows in bulk."""

    def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None: ...
    def run(self, statement: str) -> None: ...
    def definitions(self) -> list[str]: ...
    def finish(self) -> None: ...


class SQLiteSink:
    """The only connection to an encrypted database that nobody else has open."""

    def __init__(self, path: Path, key: Secret) -> None:
        self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        for pragma in (
            "cipher='sqlcipher'",
            f"key=\"x'{key.reveal().hex()}'\"",
            "locking_mode=EXCLUSIVE",
            "journal_mode=OFF",
            "synchronous=OFF",
            "cache_size=-1000000",
            "temp_store=MEMORY",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("BEGIN EXCLUSIVE")

    def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(columns))
        self._db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)

    def run(self, statement: str) -> None:
        self._db.execute(statement)

    def definitions(self) -> list[str]:
        names = ", ".join(f"'{name}'" for name in INDEXES)
        statement = f"SELECT sql FROM sqlite_schema WHERE name IN ({names})"
        found = cast("list[tuple[str]]", self._db.execute(statement).fetchall())
        return [str(sql) for (sql,) in found]

    def finish(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("ANALYZE")
        self._db.close()


class SQLiteSource:
    """Reads the rows of a database that is complete."""

    def __init__(self, path: Path, key: Secret) -> None:
        self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        self._db.execute("PRAGMA cipher='sqlcipher'")
        self._db.execute(f"PRAGMA key=\"x'{key.reveal().hex()}'\"")

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        names = ", ".join(f'"{name}"' for name in columns)
        yield from self._db.execute(f"SELECT {names} FROM {table}")


class PostgreSQLSink:
    """A server, by COPY."""

    def __init__(self, connection_info: str) -> None:
        self._db: Any = importlib.import_module("psycopg").connect(connection_info)
        self._db.execute("SET synchronous_commit TO off")
        self._db.execute("SET maintenance_work_mem TO '1GB'")

    def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        with self._db.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def run(self, statement: str) -> None:
        self._db.execute(statement)

    def definitions(self) -> list[str]:
        found = self._db.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = ANY(%s)", (list(INDEXES),)
        )
        return [str(sql) for (sql,) in found.fetchall()]

    def finish(self) -> None:
        for table in ("study", "series", "instance", "access_class"):
            self._db.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
        self._db.commit()
        self._db.autocommit = True
        self._db.execute("VACUUM ANALYZE")
        self._db.close()


def fill(sink: Sink, work: Work, keys_file: Path) -> None:
    """Fill an empty database.

    Args:
        sink: takes the rows.
        work: what the rows are made of.
        keys_file: of the key ledger, closed by everybody else; its head must be of an empty ledger.
    """
    _work[:] = [work]
    began, done, tags = time.monotonic(), 0, 0
    definitions = sink.definitions()
    for name in INDEXES:
        sink.run(f"DROP INDEX {name}")
    tokens: dict[str, list[bytearray]] = {table: [] for table in TOKEN_TABLES}
    ledger = apsw.Connection(str(keys_file), flags=apsw.SQLITE_OPEN_READWRITE)
    ledger.execute("PRAGMA synchronous=OFF")
    ledger.execute("BEGIN IMMEDIATE")
    with multiprocessing.get_context("fork").Pool(PROCESSES, gc.disable) as pool:
        for batch in pool.imap(made, range(0, work.studies, STUDIES_AT_ONCE)):
            for table, columns in TABLES.items():
                sink.put(table, columns, batch.rows[table])
            for table, pairs in batch.tokens.items():
                tokens[table].append(pairs)
            ledger.executemany("INSERT INTO study_key VALUES (?, ?, ?, ?, ?, ?)", batch.keys)
            done, tags = done + batch.studies, tags + batch.sum
            rate = done / (time.monotonic() - began)
            print(f"\r{done} of {work.studies} studies, {rate:.0f} a second ", end="", file=sys.stderr)
    ledger.execute("COMMIT")
    ledger.close()
    work.ledger._write_head(done, tags % (1 << 256))
    for table, parts in tokens.items():
        print(f"\n{table} {time.monotonic() - began:.0f} s", file=sys.stderr)
        sink.put(table, ("token", "row_id"), _sorted(b"".join(parts)))
    for statement in definitions:
        print(f"{statement} {time.monotonic() - began:.0f} s", file=sys.stderr)
        sink.run(statement)
    sink.finish()
    print(f"{work.studies} studies in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _sorted(pairs: bytes) -> Iterator[Row]:
    # In the order of the tree, so that it grows at its end.
    ordered = np.sort(np.frombuffer(pairs, dtype="S24")).astype(_PAIR).tobytes()
    for start in range(0, len(ordered), 24):
        middle = start + TOKEN_BYTES
        yield ordered[start:middle], int.from_bytes(ordered[middle : middle + 8], "big")


def copy(source: SQLiteSource, sink: PostgreSQLSink) -> None:
    """Fill an empty database with the rows of another; they are sealed under the same keys."""
    began, definitions = time.monotonic(), sink.definitions()
    for name in INDEXES:
        sink.run(f"DROP INDEX {name}")
    pairs = dict.fromkeys(TOKEN_TABLES, ("token", "row_id"))
    for table, columns in (TABLES | pairs | {"access_class": ("id", "digest", "sealed")}).items():
        sink.put(table, columns, source.rows(table, columns))
        print(f"{table} {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for statement in definitions:
        sink.run(statement)
    sink.finish()
    print(f"copied in {time.monotonic() - began:.0f} s", file=sys.stderr)


def classes_of(index: SQLIndex, every: Iterable[StudyFacts]) -> dict[StudyFacts, int]:
    """Make access classes, and return their numbers."""
    classes = index._classes
    assert classes is not None
    with index._database.writing(durable=True) as transaction:
        return {facts: classes.intern(transaction, facts) for facts in every}


def ledger_of(keys: SiteKeys) -> KeyLedger:
    return keys._ledger
