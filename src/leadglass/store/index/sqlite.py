"""SQLite with encrypted pages: the embedded index.

Pages are encrypted and authenticated as SQLCipher 4 does it (AES-256-CBC, HMAC-SHA-512, a fresh initialisation vector
per write of a page), in the database and in its write-ahead log; temporary tables stay in memory. A page that was
changed is an error of SQLite, which becomes ``IntegrityError`` here.

One connection writes, a few read. The write-ahead log is not synced at every commit (synchronous=NORMAL): rows are
rebuilt from packs, and a lost tail of commits takes the note "this pack is closed" with it, because that note is
written after the rows and by a commit that is synced.

**Invariant:** no key and no value in any statement but the key pragma; no file but the one that was named.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# apsw's stubs name a type of buffers that pyright does not know; this module is the only one that talks to apsw.

import functools
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

import apsw
import msgspec

from leadglass.base.errors import ConfigurationError, IntegrityError, LeadglassError, OutOfResources
from leadglass.base.limits import MIB
from leadglass.base.secret import Secret
from leadglass.store.index.database import Parameter, Row, Transaction, Value

KEY_BYTES: Final = 32
WRITER_CACHE_BYTES: Final = 8 * MIB
"""For the writer and for look-ups: the inner pages of the indexes over some million instances stay in it."""
READER_CACHE_BYTES: Final = 16 * MIB
"""The inner pages of the trees over a million studies stay in it; a page costs some 20 us to decrypt and authenticate."""
CHECKPOINTER_CACHE_BYTES: Final = 2 * MIB
READERS_MAX: Final = 4
"""Connections that read at once; a further reader waits."""
_ROWS_PER_STATEMENT: Final = (64, 16, 4, 1)
"""Rows inserted by one statement. Every run of a statement gives up Python's lock and must win it back, up to 5 ms
later when another thread computes; so one run for many rows. These sizes keep the prepared statements few."""

BUSY_MILLISECONDS: Final = 10_000
CHECKPOINT_PAGES: Final = 4096
"""16 MiB of write-ahead log; then it is copied into the database. SQLite's own default is 1000 pages."""

_WRONG_KEY_HINT: Final = (
    "either the index key is not the one that this database was made with, or its first page was changed; "
    "the index can be rebuilt from the packs (leadglass vault reindex)"
)


class _SQLiteTransaction:
    """Implements ``Transaction`` on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        bound = tuple(p if not isinstance(p, list) else _json_array(p) for p in parameters)
        return self._connection.execute(sql, bound).fetchall()

    def insert_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> int:
        before = self._connection.total_changes()
        start = 0
        for size in _ROWS_PER_STATEMENT:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                self._connection.execute(_of_rows(sql, size), values)
                start += size
        return self._connection.total_changes() - before


class SQLiteDatabase:
    """Implements ``Database`` on one encrypted file; makes the file (mode 0600) when there is none.

    Args:
        path: the database; its write-ahead log and its lock file stand beside it.
        key: 32 bytes, used for this file only.

    Raises:
        ConfigurationError: the folder is missing or the key has another length.
        IntegrityError: it does not open under this key.
    """

    def __init__(self, path: Path, key: Secret) -> None:
        if len(key.reveal()) != KEY_BYTES:
            raise ConfigurationError(f"the key of the index database has {KEY_BYTES} bytes")
        self.name = "the index database"
        self._path = path
        self._key = key
        self._write_lock = threading.Lock()
        self._readers: list[apsw.Connection] = []
        self._reader_slots = threading.BoundedSemaphore(READERS_MAX)
        self._checkpoint_lock = threading.Lock()
        self._log_pages = 0
        self._closed = False
        _make_file(path)
        with _translated():
            self._checkpointer = self._connect(CHECKPOINTER_CACHE_BYTES)
            self._writer = self._connect(WRITER_CACHE_BYTES)
            self._prober = self._connect(WRITER_CACHE_BYTES)
        self._writer.set_wal_hook(self._note_log_pages)
        self._write_transaction = _SQLiteTransaction(self._writer)
        self._probe_lock = threading.Lock()
        self._probe = _SQLiteTransaction(self._prober)

    def reading(self) -> AbstractContextManager[Transaction]:
        """Give a snapshot on one of a few reading connections."""
        return self._reading()

    def probing(self) -> AbstractContextManager[Transaction]:
        """Give a connection kept for single look-ups; it never waits for the writer.

        A commit empties its page cache. Measured for each look-up: 110 us with a commit between any two, 19 us with
        one for every eight, 7 us with one for every 64; so whoever looks up much, writes in groups (``writer``).
        """
        return self._probing()

    def writing(self, *, durable: bool) -> AbstractContextManager[Transaction]:
        """Give the writing connection in an immediate transaction."""
        return self._writing(durable=durable)

    @property
    def types(self) -> dict[str, str]:
        """How SQLite spells the types of the migrations."""
        return {
            "id": "INTEGER PRIMARY KEY",
            "int": "INTEGER",
            "text": "TEXT",
            "blob": "BLOB",
            "table": "STRICT",
            "clustered": "STRICT, WITHOUT ROWID",
        }

    @contextmanager
    def _reading(self) -> Generator[Transaction]:
        with self._reader_slots, _translated():
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield _SQLiteTransaction(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._readers.append(connection)

    @contextmanager
    def _probing(self) -> Generator[Transaction]:
        with self._probe_lock:
            self._require_open()
            try:
                yield self._probe
            except apsw.Error as error:
                raise _ours(error) from None

    @contextmanager
    def _writing(self, *, durable: bool) -> Generator[Transaction]:
        with _translated():
            with self._write_lock:
                self._require_open()
                if durable:
                    self._writer.execute("PRAGMA synchronous=FULL")
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._write_transaction
                    self._writer.execute("COMMIT")
                finally:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    if durable:
                        self._writer.execute("PRAGMA synchronous=NORMAL")
            if self._log_pages >= CHECKPOINT_PAGES:
                self._checkpoint()

    def any_of(
        self, column: str, values: Sequence[str] | Sequence[int] | Sequence[bytes]
    ) -> tuple[str, Parameter]:
        """Return a condition over a JSON array: one parameter, however many values."""
        element = "unhex(value)" if values and isinstance(values[0], bytes) else "value"
        # A list of any length is one parameter, so no statement is ever built from values.
        condition = f"{column} IN (SELECT {element} FROM json_each(?))"  # noqa: S608 - a name and a constant
        return condition, _as_list(values)

    def lock_migrations(self, transaction: Transaction) -> None:
        """Do nothing: an immediate transaction is alone already."""
        del transaction

    def findings(self) -> list[str]:
        """Authenticate every page in use and check the structure."""
        try:
            with self.reading() as snapshot:
                # It walks every page in use, and each page is authenticated as it is read.
                rows = snapshot.execute("PRAGMA integrity_check")
        except IntegrityError as error:
            return [str(error)]
        # The text of a finding names pages and tables, never a value.
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def close(self) -> None:
        """Copy the write-ahead log into the database, make it durable, and release all connections."""
        with self._write_lock, self._probe_lock:
            if self._closed:
                return
            self._closed = True
        for _ in range(READERS_MAX):
            self._reader_slots.acquire()
        try:
            # The last connection to close copies the log; a damaged page is a finding of the next open or read.
            for connection in (*self._readers, self._checkpointer, self._prober, self._writer):
                connection.close()
        finally:
            self._reader_slots.release(READERS_MAX)

    def _take_reader(self) -> apsw.Connection:
        self._require_open()
        try:
            return self._readers.pop()
        except IndexError:
            return self._connect(READER_CACHE_BYTES)

    def _require_open(self) -> None:
        if self._closed:
            raise OutOfResources(f"{self.name} is closed")

    def _note_log_pages(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the database.

        First while others go on writing, which takes the time of the disk; then the few pages that came meanwhile,
        with the writer waiting, so that the log begins again from its start and does not grow for ever.
        """
        if not self._checkpoint_lock.acquire(blocking=False):
            return
        try:
            self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            with self._write_lock:
                self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._log_pages = 0
        finally:
            self._checkpoint_lock.release()

    def _connect(self, cache_bytes: int) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            # A raw key: it is random already, so no password derivation stands before it (SQLCipher: x'...').
            connection.execute("PRAGMA cipher='sqlcipher'")
            connection.execute(f"PRAGMA key=\"x'{self._key.reveal().hex()}'\"")
            # A name in double quotes that is no column is an error, not a text.
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute(f"PRAGMA cache_size=-{cache_bytes // 1024}")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            _require_log(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.wal_autocheckpoint(0)
        except BaseException:
            connection.close()
            raise
        return connection


@functools.cache
def _of_rows(sql: str, size: int) -> str:
    """Return the insert of one row as the insert of ``size`` rows; the statements of ours are few."""
    head, values, tail = sql.partition("VALUES (")
    marks, end, rest = tail.partition(")")
    return head + "VALUES " + ", ".join([f"({marks})"] * size) + rest if values and end else sql


def _require_log(connection: apsw.Connection) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchall() != [("wal",)]:
        raise ConfigurationError("the index database cannot keep a write-ahead log on this file system")


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"the index database cannot be opened ({error.strerror})",
            hint="does its folder exist, and is it ours?",
        ) from None


def _as_list(values: Sequence[str] | Sequence[int] | Sequence[bytes]) -> Parameter:
    # The three sequences are told apart by whoever binds them; a list keeps that type.
    return list(values)  # type: ignore[return-value]  # one of list[str], list[int], list[bytes]


def _json_array(values: list[str] | list[int] | list[bytes]) -> str:
    plain = [v.hex() if isinstance(v, bytes) else v for v in values]
    return msgspec.json.encode(plain).decode()


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _ours(error) from None


def _ours(error: apsw.Error) -> LeadglassError:
    """Return an error of apsw as one of ours. Its text is left behind: a text could quote a value."""
    if isinstance(error, apsw.NotADBError):
        return IntegrityError("the index database does not open under its key", hint=_WRONG_KEY_HINT)
    if isinstance(error, apsw.CorruptError):
        return IntegrityError(
            "a page of the index database is not what was written",
            hint="restore it, or rebuild it from the packs (leadglass vault reindex)",
        )
    return OutOfResources(f"the index database failed ({type(error).__name__})")
