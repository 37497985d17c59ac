"""The identity database: accounts, credentials, sessions, and what other rooms know about people.

One SQLite file with encrypted pages (SQLCipher 4: AES-256-CBC and HMAC-SHA-512 for each page, in the write-ahead log
too). One process owns a site, so one process opens it; what is asked often is held in memory by the modules above.

A room keeps tables of its own here: it names itself and its migrations, once, before it reads or writes::

    database.register("break-glass", ("CREATE TABLE emergency_access (... ) STRICT", "ALTER TABLE ..."))
    with database.writing() as transaction:
        transaction.execute("INSERT INTO emergency_access VALUES (?, ?)", (access_id, reason))

That the whole file was exchanged for an older copy cannot be seen from inside it. So every durable commit counts
``version`` up; the audit log notes it as ``IDENTITY_VERSION_FACT``, and whoever starts hands in the highest on record.

**Invariant:** no value stands in a statement; a commit that was durable is on the disk (``synchronous=FULL``).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# apsw's stubs name a type of buffers that pyright does not know.

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, IntegrityError, LeadglassError, OutOfResources
from leadglass.base.secret import Secret

IDENTITY_VERSION_FACT: Final = "identity_version"
"""Name of the fact under which the audit log notes the version."""

KEY_BYTES: Final = 32
APPLICATION_ID: Final = 0x4C474944  # "LGID"
_CACHE_KIB: Final = 2048
_BUSY_MILLISECONDS: Final = 10_000
_CHECKPOINT_PAGES: Final = 256
"""1 MiB of write-ahead log."""

Value = str | int | bytes | None
"""What a column holds."""
Row = tuple[Any, ...]
"""One row as SQLite gave it; the tables are STRICT and the pages authenticated."""

_SCHEMA: Final = (
    "CREATE TABLE site (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL) STRICT",
    "CREATE TABLE migration (room TEXT PRIMARY KEY, applied INTEGER NOT NULL) STRICT",
    "INSERT INTO site VALUES (1, 1)",
)


class Transaction:
    """Statements that take effect together, or not at all."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._after: list[Callable[[], None]] = []

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement; return all its rows."""
        return self._connection.execute(sql, tuple(parameters)).fetchall()

    def changed(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; return how many rows it changed."""
        before = self._connection.total_changes()
        self.execute(sql, parameters)
        return self._connection.total_changes() - before

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do this once the transaction stands, before anybody else writes: for what is held in memory."""
        self._after.append(action)

    def committed(self) -> None:
        """Run what waits for the commit; the database calls it."""
        for action in self._after:
            action()


class IdentityDatabase:
    """One encrypted file; made (mode 0600) when there is none. Thread-safe.

    Args:
        path: the database; its write-ahead log stands beside it.
        key: 32 bytes, used for this file only.
        clock: of the site, for whoever dates rows by the database's clock.
        minimum_version: the highest version on record elsewhere; 0 for none.

    Raises:
        ConfigurationError: the folder is missing or the key has another length.
        IntegrityError: it does not open under this key, or it is older than what is on record.
    """

    def __init__(self, path: Path, key: Secret, clock: Clock, *, minimum_version: int = 0) -> None:
        if len(key.reveal()) != KEY_BYTES:
            raise ConfigurationError(f"the key of the identity database has {KEY_BYTES} bytes")
        self.clock = clock
        self._path = path
        self._key = key
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._rooms: set[str] = set()
        self._closed = False
        self._writing = False
        _make_file(path)
        with _translated():
            self._writer = self._connect()
            self._version = self._prepare(minimum_version)
            self._reader = self._connect()

    @property
    def version(self) -> int:
        """Counts up with every durable commit."""
        return self._version

    def register(self, room: str, migrations: Sequence[str]) -> None:
        """Bring the tables of a room up to date: run those of its migrations that did not run yet, in their order.

        Migrations are never changed once released, only added to.

        Args:
            room: name of our own, e.g. ``accounts``.
            migrations: one statement each.

        Raises:
            ConfigurationError: the database was written by a newer release, or the room registered already.

        """
        if room in self._rooms:
            raise ConfigurationError(f"two parts of the node keep tables under the name {room}")
        with self.reading() as snapshot:
            rows = snapshot.execute("SELECT applied FROM migration WHERE room = ?", (room,))
        applied = int(rows[0][0]) if rows else 0
        if applied > len(migrations):
            raise ConfigurationError(
                "the identity database was written by a newer release",
                hint="use that release, or restore the database that belongs to this one",
            )
        if applied < len(migrations):  # nothing is written, and nothing counted, where nothing is new
            with self.writing() as transaction:
                for migration in migrations[applied:]:
                    transaction.execute(migration)
                transaction.execute("REPLACE INTO migration VALUES (?, ?)", (room, len(migrations)))
        self._rooms.add(room)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Generator[Transaction, None, None]:
        """Give the one writing transaction; committed at the end, or rolled back when an error leaves the block.

        With ``durable`` it is on the disk when the block is left, and counts ``version`` up. Without, a power cut may
        take it: for what is written lazily, as the time a session was last used.

        Raises:
            IntegrityError: the database's bytes are not what was written.
            OutOfResources: no room, closed, or another failure that may pass.
        """
        with self._write_lock, _translated():
            if self._closed:
                raise OutOfResources("the identity database is closed")
            if self._writing:
                # Nested: the inner commit would be no commit of its own.
                raise OutOfResources("the identity database is being written by this thread already")
            self._writing = True
            transaction = Transaction(self._writer)
            try:
                self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._writer.execute("BEGIN IMMEDIATE")
                yield transaction
                if durable:
                    self._writer.execute("UPDATE site SET version = version + 1")
                self._writer.execute("COMMIT")
                self._version += durable
                transaction.committed()
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                self._writing = False

    @contextmanager
    def reading(self) -> Generator[Transaction, None, None]:
        """Give a snapshot of what was committed; it never waits for the writer.

        Raises:
            IntegrityError: as ``writing``.
            OutOfResources: as ``writing``.
        """
        with self._read_lock, _translated():
            if self._closed:
                raise OutOfResources("the identity database is closed")
            try:
                self._reader.execute("BEGIN")
                yield Transaction(self._reader)
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("ROLLBACK")

    def findings(self) -> list[str]:
        """Authenticate every page and check the structure; empty when nothing is wrong."""
        try:
            with self.reading() as snapshot:
                rows = snapshot.execute("PRAGMA integrity_check")
        except IntegrityError as error:
            return [str(error)]
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def close(self) -> None:
        """Release it. Harmless when it is closed."""
        with self._write_lock, self._read_lock:
            if self._closed:
                return
            self._closed = True
            self._reader.close()
            self._writer.close()

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            # A raw key: it is random already, so no password derivation stands before it.
            connection.execute("PRAGMA cipher='sqlcipher'")
            connection.execute(f"PRAGMA key=\"x'{self._key.reveal().hex()}'\"")
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            if connection.execute("PRAGMA journal_mode=WAL").fetchall() != [("wal",)]:
                raise ConfigurationError(
                    "the identity database cannot keep a write-ahead log on this file system"
                )
            connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, minimum_version: int) -> int:
        db = self._writer
        try:
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN IMMEDIATE")
            found = db.execute("PRAGMA application_id").fetchall()[0][0]
            if found == 0 and not db.execute("SELECT 1 FROM sqlite_schema").fetchall():
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            elif found != APPLICATION_ID:
                raise IntegrityError("the identity database is a database of another kind")
            version = db.execute("SELECT version FROM site").fetchall()[0][0]
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
            raise
        if not isinstance(version, int) or version < minimum_version:
            db.close()
            raise IntegrityError(
                "the identity database is older than what the audit log has on record: it was rolled back",
                hint="restore the newest copy; accounts and credentials removed since would come back otherwise",
            )
        return version


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"the identity database cannot be opened ({error.strerror})",
            hint="does its folder exist, and is it ours?",
        ) from None


@contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except apsw.Error as error:
        raise _ours(error) from None


def _ours(error: apsw.Error) -> LeadglassError:
    """Return an error of apsw as one of ours. Its text is left behind: a text could quote a value."""
    if isinstance(error, apsw.NotADBError):
        return IntegrityError(
            "the identity database does not open under its key",
            hint="either the key is not the one it was made with, or its first page was changed",
        )
    if isinstance(error, apsw.CorruptError):
        return IntegrityError("a page of the identity database is not what was written", hint="restore it")
    return OutOfResources(f"the identity database failed ({type(error).__name__})")
