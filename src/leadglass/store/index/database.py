"""The thin layer under the index: what it needs of a database, and nothing of a dialect beyond it.

Statements are plain SQL with ``?`` for parameters; values never become part of a statement. The two dialects differ
in types, in how a list is a parameter, and in how an error is called: that is all that stands in ``sqlite`` and
``postgresql``.

**Invariant:** knows no table and no row.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Value = str | int | bytes | None
"""What a column holds: TEXT, INTEGER (64 bit), BLOB, or nothing."""

Parameter = Value | list[str] | list[int] | list[bytes]
Row = tuple[Any, ...]
"""One row as the driver gave it. Nothing of it is believed before its seal has opened."""

INTEGER_MAX = 2**63 - 1


class Transaction(Protocol):
    """Statements that take effect together, or not at all."""

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
        """Run one statement; return all its rows."""
        ...

    def insert_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> int:
        """Run one ``INSERT INTO ... VALUES (?, ...)`` for every row; return how many rows it inserted."""
        ...


class Database(Protocol):
    """One database, thread-safe.

    Every context manager translates the driver's errors:

    Raises:
        IntegrityError: the database's bytes are not what was written.
        OutOfResources: no room, no connection, or another failure that may pass.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def types(self) -> dict[str, str]:
        """How the dialect spells what the migrations call ``{id} {int} {text} {blob} {table} {clustered}``."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """Give a snapshot. It sees everything that was committed before, and never waits for a writer."""
        ...

    def probing(self) -> AbstractContextManager[Transaction]:
        """Give the quickest way to one row by its key, for the hot path: every statement sees what was committed."""
        ...

    def writing(self, *, durable: bool) -> AbstractContextManager[Transaction]:
        """Give the one writing transaction; it is committed at the end, or rolled back when an error leaves it.

        With ``durable`` it, and with it every transaction before it, is on the disk when the block is left. Without,
        it may be lost by a power cut: but only together with every transaction after it.
        """
        ...

    def any_of(
        self, column: str, values: Sequence[str] | Sequence[int] | Sequence[bytes]
    ) -> tuple[str, Parameter]:
        """Return a condition that ``column`` is one of ``values`` (of one type), and its one parameter."""
        ...

    def lock_migrations(self, transaction: Transaction) -> None:
        """Keep every other process from migrating until the transaction ends."""
        ...

    def findings(self) -> list[str]:
        """Return what the database itself finds wrong with its pages; empty when it finds nothing."""
        ...

    def close(self) -> None:
        """Release it. Harmless when it is closed."""
        ...
