"""PostgreSQL under the same queries, for more than one node.

PostgreSQL is not trusted with content: direct identifiers reach it sealed or as keyed tokens, and every row is bound
to its plain columns. What its owner can do is hide rows. Its pages are not encrypted by Leadglass: a site encrypts the
volume below it.

psycopg is an optional dependency (extra ``postgresql``), so it is imported when a database is opened.

**Invariant:** statements carry no values; a failed connection is dropped and made anew for the next use.
"""

import functools
import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from leadglass.base.errors import ConfigurationError, IntegrityError, LeadglassError, OutOfResources
from leadglass.base.secret import Secret
from leadglass.store.index.database import Parameter, Row, Transaction, Value

if TYPE_CHECKING:
    import psycopg

READERS_MAX: Final = 4
"""Connections that read at once, for each process."""

_MIGRATION_LOCK: Final = 0x4C_47_49_58
"""Key of the advisory lock: "LGIX"."""

_TYPES: Final = {
    "id": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "int": "bigint",
    # Byte order, as in SQLite: ranges of dates and the order of UIDs must not depend on a locale.
    "text": 'text COLLATE "C"',
    "blob": "bytea",
    "table": "",
    "clustered": "",
}


class _PostgreSQLTransaction:
    """Implements ``Transaction`` on one connection."""

    def __init__(self, connection: "psycopg.Connection[Row]") -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        cursor = self._connection.execute(_placeholders(sql), parameters)
        return cursor.fetchall() if cursor.description is not None else []

    def insert_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> int:
        if not rows:
            return 0
        with self._connection.cursor() as cursor:
            cursor.executemany(_placeholders(sql), rows)
            return cursor.rowcount


class PostgreSQLDatabase:
    """Implements ``Database`` on a PostgreSQL server (14 or later).

    Args:
        connection_info: a libpq connection string; a secret, because it may hold a password.

    Raises:
        ConfigurationError: psycopg is not installed, or the server does not let us in.
    """

    def __init__(self, connection_info: Secret) -> None:
        try:
            import psycopg as driver  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise ConfigurationError(
                "an index in PostgreSQL needs psycopg", hint="pip install 'leadglass[postgresql]'"
            ) from None
        self.name = "the index database"
        self._driver = driver
        self._connection_info = connection_info
        self._write_lock = threading.Lock()
        self._writer: psycopg.Connection[Row] | None = None
        self._readers: list[psycopg.Connection[Row]] = []
        self._reader_slots = threading.BoundedSemaphore(READERS_MAX)
        self._closed = False
        try:
            self._writer = self._connect()
        except driver.Error as error:
            raise ConfigurationError(
                f"the index database cannot be opened ({type(error).__name__})",
                hint="check the connection string, the server's pg_hba.conf and its certificate",
            ) from None

    @property
    def types(self) -> dict[str, str]:
        """How PostgreSQL spells the types of the migrations."""
        return dict(_TYPES)

    def reading(self) -> AbstractContextManager[Transaction]:
        """Give a snapshot on one of a few reading connections."""
        return self._reading()

    def probing(self) -> AbstractContextManager[Transaction]:
        """Give a snapshot: one statement is one here."""
        return self._reading()

    def writing(self, *, durable: bool) -> AbstractContextManager[Transaction]:
        """Give the writing connection in a transaction."""
        return self._writing(durable=durable)

    @contextmanager
    def _reading(self) -> Generator[Transaction]:
        with self._reader_slots, self._translated():
            self._require_open()
            connection = self._readers.pop() if self._readers else self._connect()
            try:
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    yield _PostgreSQLTransaction(connection)
            finally:
                if connection.broken:
                    connection.close()
                else:
                    self._readers.append(connection)

    @contextmanager
    def _writing(self, *, durable: bool) -> Generator[Transaction]:
        with self._write_lock, self._translated():
            self._require_open()
            if self._writer is None or self._writer.broken:
                self._writer = self._connect()
            with self._writer.transaction():
                if not durable:
                    # The log is written in order, so a later durable commit makes this one durable too.
                    self._writer.execute("SET LOCAL synchronous_commit TO off")
                yield _PostgreSQLTransaction(self._writer)

    def any_of(
        self, column: str, values: Sequence[str] | Sequence[int] | Sequence[bytes]
    ) -> tuple[str, Parameter]:
        """Return a condition over an array: one parameter, however many values."""
        # The three sequences are told apart by whoever binds them; a list keeps that type.
        return f"{column} = ANY(?)", list(values)  # type: ignore[return-value]  # one of list[str], list[int], list[bytes]

    def lock_migrations(self, transaction: Transaction) -> None:
        """Wait for another node that is migrating."""
        transaction.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))

    def findings(self) -> list[str]:
        """Return nothing: checking pages is the server's work (data checksums, amcheck)."""
        return []

    def close(self) -> None:
        """Release all connections."""
        with self._write_lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                if connection is not None:
                    connection.close()
            self._readers.clear()
            self._writer = None

    def _require_open(self) -> None:
        if self._closed:
            raise OutOfResources(f"{self.name} is closed")

    def _connect(self) -> "psycopg.Connection[Row]":
        return self._driver.connect(
            self._connection_info.reveal().decode(), autocommit=True, application_name="leadglass"
        )

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Turn the errors of psycopg into ours. Their texts are left behind: a text could quote a value."""
        errors: Any = self._driver.errors
        try:
            yield
        except LeadglassError:
            raise
        except (errors.DataCorrupted, errors.IndexCorrupted):
            raise IntegrityError("a page of the index database is not what was written") from None
        except self._driver.Error as error:
            raise OutOfResources(f"the index database failed ({type(error).__name__})") from None


@functools.cache
def _placeholders(sql: str) -> bytes:
    """Return the statement with psycopg's placeholders. No statement of ours holds ``?`` or ``%`` otherwise.

    Bytes, because psycopg's types want a literal string, which a statement made from the columns' names is not; the
    cache is small: statements are made from a fixed set of parts.
    """
    return sql.replace("?", "%s").encode()
