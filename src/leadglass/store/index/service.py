"""The index over one database: adds rows, looks them up, searches, and verifies them.

How much of it is believed: a row only after its seal has opened (``rows``). What the database could still do is leave a
row out; ``verify`` finds missing token rows, and the packs are the truth from which everything is rebuilt.

**Invariant:** no value of a data set stands in any statement or message; study and series rows are written once (the
first object of a study decides what the study says).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from leadglass.base.errors import ConfigurationError, IntegrityError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.dicom.query import Query
from leadglass.store.index.database import Database, Row, Transaction, Value
from leadglass.store.index.interfaces import (
    Counts,
    IndexEntry,
    InstanceRecord,
    Match,
    QuarantineEntry,
    RowFinding,
    Selector,
)
from leadglass.store.index.rows import (
    INSERT_INSTANCE,
    INSERT_QUARANTINE,
    INSERT_SERIES,
    INSERT_STUDY,
    SELECT_INSTANCE,
    SELECT_QUARANTINE,
    SELECT_SERIES,
    SELECT_STUDY,
    TOKEN_BYTES,
    OpenedLevel,
    RowSeal,
)
from leadglass.store.index.schema import migrate
from leadglass.store.index.search import Search
from leadglass.store.index.selection import Selection
from leadglass.store.index.tokens import BlindIndex
from leadglass.trust.keys.interfaces import RowCipher, Tokeniser

# Table and column names in statements are constants of this package; values are parameters.
# ruff: noqa: S608

KNOWN_SERIES_MAX: Final = 4096
"""Series whose row is known to be there; the senders of one moment work on far fewer."""

VERIFY_BATCH: Final = 256
"""Rows that a verification reads at once."""

_LOOKUP: Final = f"""
    SELECT study.study_uid, series.series_uid, {SELECT_INSTANCE}
    FROM instance JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
    WHERE instance.sop_instance_uid = ?
"""
_IS_HELD: Final = "SELECT 1 FROM instance WHERE sop_instance_uid = ?"

_SeriesKey = tuple[str, str]


@dataclass(slots=True)
class PreparedEntry:
    """An entry whose rows are sealed and ready for the database.

    Attributes:
        entry: as it was given.
        instance_row: without the id of its series.
        level_rows: rows of its study and series; None while the series is known to be there.
    """

    entry: IndexEntry
    instance_row: tuple[Value, ...]
    level_rows: "_LevelRows | None"

    @property
    def series_key(self) -> _SeriesKey:
        """Study and series UID."""
        identity = self.entry.head.identity
        return identity.study_uid, identity.series_uid


@dataclass(frozen=True, slots=True)
class _LevelRows:
    study_row: tuple[Value, ...]
    study_tokens: bytes
    series_row: tuple[Value, ...]
    series_tokens: bytes


class SQLIndex:
    """Implements ``Index`` on SQLite or PostgreSQL.

    Args:
        database: opened; it is migrated here, and closed by ``close``.
        cipher: seals and opens rows under the key of their study.
        tokeniser: makes blind-index tokens.

    Raises:
        ConfigurationError: the database is of a newer version, or was made under another index key.
        IntegrityError: it is not what was written.
    """

    def __init__(self, database: Database, cipher: RowCipher, tokeniser: Tokeniser) -> None:
        self._database = database
        self._seal = RowSeal(cipher)
        self._blind = BlindIndex(tokeniser)
        self._known_series: OrderedDict[_SeriesKey, int] = OrderedDict()
        self._search = Search(database, self._seal, self._blind)
        self._selection = Selection(database, self._seal, self._blind)
        migrate(database)
        self._check_key()

    # --- adding ------------------------------------------------------------------------------------------------

    def add(self, entries: Sequence[IndexEntry]) -> list[InstanceRecord | None]:
        """Add all in one transaction. See ``Index.add``."""
        return self.add_prepared([self.prepare(entry) for entry in entries])

    def prepare(self, entry: IndexEntry) -> PreparedEntry:
        """Seal an entry's rows: all work that needs no database, so that threads can share it.

        Raises:
            KeyUnavailable: the study's key was destroyed.
        """
        head = entry.head.instance()
        row = self._seal.instance(entry, head.plain, head.sealed)
        identity = entry.head.identity
        known = (identity.study_uid, identity.series_uid) in self._known_series
        return PreparedEntry(entry, row, None if known else self._level_rows(entry))

    def add_prepared(self, entries: Sequence[PreparedEntry]) -> list[InstanceRecord | None]:
        """Add all in one transaction. See ``Index.add``."""
        if not entries:
            return []
        found: dict[_SeriesKey, int] = {}
        try:
            with self._database.writing(durable=False) as transaction:
                rows = [(self._series_id(transaction, e, found), *e.instance_row) for e in entries]
                _insert_all(transaction, rows)
        except _SomeAreHeldError:
            return self._add_one_by_one(entries)
        self._remember(found)
        return [None] * len(entries)

    def _add_one_by_one(self, entries: Sequence[PreparedEntry]) -> list[InstanceRecord | None]:
        outcomes: list[InstanceRecord | None] = []
        found: dict[_SeriesKey, int] = {}
        with self._database.writing(durable=False) as transaction:
            for entry in entries:
                holder = self._held(transaction, entry.entry.head.identity.sop_instance_uid)
                if holder is None:
                    row = (self._series_id(transaction, entry, found), *entry.instance_row)
                    if transaction.execute_many(INSERT_INSTANCE, [row]) == 0:
                        # Another node was quicker, between the two statements.
                        holder = self._held(transaction, entry.entry.head.identity.sop_instance_uid)
                same = holder is None or holder.address == entry.entry.address
                outcomes.append(None if same else holder)
        self._remember(found)
        return outcomes

    def _series_id(self, transaction: Transaction, entry: PreparedEntry, found: dict[_SeriesKey, int]) -> int:
        key = entry.series_key
        series_id = self._known_series.get(key) or found.get(key)
        if series_id is None:
            rows = entry.level_rows or self._level_rows(entry.entry)
            study_id = _find_or_insert(
                transaction,
                ("SELECT id FROM study WHERE study_uid = ?", (key[0],)),
                (INSERT_STUDY, rows.study_row),
                ("study_token", rows.study_tokens),
            )
            series_id = _find_or_insert(
                transaction,
                ("SELECT id FROM series WHERE study_id = ? AND series_uid = ?", (study_id, key[1])),
                (INSERT_SERIES, (study_id, *rows.series_row)),
                ("series_token", rows.series_tokens),
            )
            found[key] = series_id
        return series_id

    def _level_rows(self, entry: IndexEntry) -> _LevelRows:
        head, key_id = entry.head, entry.address.key_id
        study_uid, series_uid = head.identity.study_uid, head.identity.series_uid
        study, series = head.study(), head.series()
        patient = self._blind.patient(head.patient_reference(), study_uid)
        study_tokens, series_tokens = self._blind.of(study.tokens), self._blind.of(series.tokens)
        return _LevelRows(
            self._seal.study(study_uid, key_id, study, patient=patient, tokens=study_tokens),
            study_tokens,
            self._seal.series(study_uid, series_uid, key_id, series, tokens=series_tokens),
            series_tokens,
        )

    def _remember(self, found: dict[_SeriesKey, int]) -> None:
        """Keep what a committed transaction found. Called by the writing thread; readers only ask for presence."""
        known = self._known_series
        known.update(found)
        while len(known) > KNOWN_SERIES_MAX:
            known.popitem(last=False)

    # --- looking up --------------------------------------------------------------------------------------------

    def lookup(self, sop_instance_uid: UID) -> InstanceRecord | None:
        """Return the instance of that UID. See ``Index.lookup``."""
        with self._database.probing() as transaction:
            return self._held(transaction, sop_instance_uid)

    def _held(self, transaction: Transaction, sop_instance_uid: UID) -> InstanceRecord | None:
        if not transaction.execute(_IS_HELD, (sop_instance_uid,)):
            return None
        rows = transaction.execute(_LOOKUP, (sop_instance_uid,))
        if not rows:
            raise IntegrityError("a row of table instance belongs to no series")
        study_uid, series_uid, *instance = rows[0]
        return self._seal.open_instance(tuple(instance), study_uid, series_uid).record

    def search(self, query: Query) -> Iterator[Match]:
        """Yield what matches. See ``Index.search``."""
        return self._search.matches(query)

    def select(self, selector: Selector) -> Iterator[InstanceRecord]:
        """Yield the instances that a retrieve names. See ``Index.select``."""
        return self._selection.instances(selector)

    def counts(self) -> Counts:
        """Return how much is held."""
        tables = ("study", "series", "instance", "quarantine", "pack")
        with self._database.reading() as transaction:
            counted = [int(transaction.execute(f"SELECT count(*) FROM {table}")[0][0]) for table in tables]
        return Counts(*counted)

    # --- what is kept apart ------------------------------------------------------------------------------------

    def add_quarantined(self, entry: QuarantineEntry) -> None:
        """Note an object that is kept apart. See ``Index.add_quarantined``."""
        row = self._seal.quarantine(entry)
        with self._database.writing(durable=False) as transaction:
            transaction.execute_many(INSERT_QUARANTINE, [row])

    def quarantined(self) -> Iterator[QuarantineEntry]:
        """Yield what is kept apart, oldest first."""
        for row in self._pages(f"SELECT {SELECT_QUARANTINE} FROM quarantine", "quarantine"):
            yield self._seal.open_quarantine(row)

    # --- packs -------------------------------------------------------------------------------------------------

    def close_pack(self, pack_id: bytes) -> None:
        """Make every row so far durable, and note that the pack is closed.

        One durable commit does both: the log of either database is written in order, so the note is there only when
        the rows before it are.
        """
        with self._database.writing(durable=True) as transaction:
            transaction.execute(
                "INSERT INTO pack (pack_id, seal) VALUES (?, ?) ON CONFLICT (pack_id) DO UPDATE SET seal = excluded.seal",
                (pack_id, self._blind.pack_seal(pack_id)),
            )

    def closed_packs(self) -> set[bytes]:
        """Return the packs that need no replay; a note that is not ours counts as none."""
        with self._database.reading() as transaction:
            notes = transaction.execute("SELECT pack_id, seal FROM pack")
        return {bytes(pack_id) for pack_id, seal in notes if seal == self._blind.pack_seal(pack_id)}

    # --- verifying ---------------------------------------------------------------------------------------------

    def verify(self) -> Iterator[InstanceRecord | RowFinding]:
        """Open every row; yield each good instance, and each finding by name."""
        for finding in self._database.findings():
            yield RowFinding(self._database.name, finding)
        try:
            tokens = _TokenTally()
            yield from self._verify_studies(tokens)
            yield from self._verify_series(tokens)
            yield from self._verify_token_counts(tokens)
            yield from self._verify_instances()
            yield from self._verify_quarantine_and_packs()
        except IntegrityError as error:
            # A page that cannot be read ends the walk: rows behind it cannot be reached either.
            yield RowFinding(self._database.name, str(error))

    def _verify_studies(self, tally: "_TokenTally") -> Iterator[RowFinding]:
        for row in self._pages(f"SELECT {SELECT_STUDY} FROM study", "study"):
            try:
                opened = self._seal.open_study(row)
            except (IntegrityError, KeyUnavailable) as error:
                yield RowFinding(f"study row {row[0]}", str(error))
                continue
            tally.study += len(opened.tokens)
            yield from self._missing_tokens("study", opened)

    def _verify_series(self, tally: "_TokenTally") -> Iterator[RowFinding]:
        statement = f"SELECT {SELECT_SERIES}, study.study_uid FROM series LEFT JOIN study ON study.id = series.study_id"
        for row in self._pages(statement, "series"):
            try:
                opened = self._seal.open_series(row[:-1], row[-1])
            except (IntegrityError, KeyUnavailable) as error:
                yield RowFinding(f"series row {row[0]}", str(error))
                continue
            tally.series += len(opened.tokens)
            yield from self._missing_tokens("series", opened)

    def _missing_tokens(self, table: str, opened: OpenedLevel) -> Iterator[RowFinding]:
        if not opened.tokens:
            return
        condition, wanted = self._database.any_of("token", sorted(opened.tokens))
        with self._database.reading() as transaction:
            statement = f"SELECT count(*) FROM {table}_token WHERE row_id = ? AND {condition}"
            present = int(transaction.execute(statement, (opened.row_id, wanted))[0][0])
        if present != len(opened.tokens):
            missing = len(opened.tokens) - present
            yield RowFinding(
                f"{table} row {opened.row_id}", f"{missing} of its token rows are missing: it is hidden"
            )

    def _verify_token_counts(self, tally: "_TokenTally") -> Iterator[RowFinding]:
        with self._database.reading() as transaction:
            for table, expected in (("study_token", tally.study), ("series_token", tally.series)):
                present = int(transaction.execute(f"SELECT count(*) FROM {table}")[0][0])
                if present > expected:
                    yield RowFinding(
                        f"table {table}", f"{present - expected} rows belong to nothing that was opened"
                    )

    def _verify_instances(self) -> Iterator[InstanceRecord | RowFinding]:
        statement = f"""
            SELECT {SELECT_INSTANCE}, study.study_uid, series.series_uid FROM instance
            LEFT JOIN series ON series.id = instance.series_id LEFT JOIN study ON study.id = series.study_id
        """
        for row in self._pages(statement, "instance"):
            try:
                yield self._seal.open_instance(row[:-2], row[-2], row[-1]).record
            except (IntegrityError, KeyUnavailable) as error:
                yield RowFinding(f"instance row {row[0]}", str(error))

    def _verify_quarantine_and_packs(self) -> Iterator[RowFinding]:
        for row in self._pages(f"SELECT {SELECT_QUARANTINE} FROM quarantine", "quarantine"):
            try:
                self._seal.open_quarantine(row)
            except (IntegrityError, KeyUnavailable) as error:
                yield RowFinding(f"quarantine row {row[0]}", str(error))
        with self._database.reading() as transaction:
            notes = transaction.execute("SELECT pack_id, seal FROM pack")
        for pack_id, seal in notes:
            if seal != self._blind.pack_seal(pack_id):
                yield RowFinding(f"pack {bytes(pack_id).hex()}", "the note that it is closed is not ours")

    def _pages(self, statement: str, table: str) -> Iterator[Row]:
        """Yield every row in the order of ids, in short transactions: a slow reader holds nothing."""
        after = 0
        while True:
            with self._database.reading() as transaction:
                rows = transaction.execute(
                    f"{statement} WHERE {table}.id > ? ORDER BY {table}.id LIMIT {VERIFY_BATCH}", (after,)
                )
            yield from rows
            if len(rows) < VERIFY_BATCH:
                return
            after = int(rows[-1][0])

    # --- whole -------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget everything but jobs, which cannot be rebuilt from packs."""
        tables = ("study_token", "series_token", "instance", "series", "study", "quarantine", "pack")
        with self._database.writing(durable=True) as transaction:
            for table in tables:
                transaction.execute(f"DELETE FROM {table}")
        self._known_series.clear()

    def close(self) -> None:
        """Release the database."""
        self._database.close()

    def _check_key(self) -> None:
        """Note the index key's fingerprint in a new database; refuse one that was made under another key.

        Under another key every token search would find nothing, silently.
        """
        with self._database.writing(durable=True) as transaction:
            transaction.execute(
                "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                ("index key", self._blind.check()),
            )
            rows = transaction.execute("SELECT value FROM meta WHERE name = ?", ("index key",))
        if rows != [(self._blind.check(),)]:
            raise ConfigurationError(
                "the index database was made under another index key",
                hint="open it with the keys it was made with, or rebuild it (leadglass vault reindex)",
            )


@dataclass(slots=True)
class _TokenTally:
    study: int = field(default=0)
    series: int = field(default=0)


class _SomeAreHeldError(Exception):
    """Leaves a transaction; never leaves this module."""


def _insert_all(transaction: Transaction, rows: Sequence[tuple[Value, ...]]) -> None:
    if transaction.execute_many(INSERT_INSTANCE, rows) != len(rows):
        raise _SomeAreHeldError


def _find_or_insert(
    transaction: Transaction,
    find: tuple[str, tuple[Value, ...]],
    insert: tuple[str, tuple[Value, ...]],
    tokens: tuple[str, bytes],
) -> int:
    """Return the id of a row, inserting it and its tokens where it is new."""
    found = transaction.execute(*find)
    if found:
        return int(found[0][0])
    inserted = transaction.execute(*insert)
    if not inserted:
        # Another node inserted it after the first look; its transaction has ended, so now it is visible.
        return int(transaction.execute(*find)[0][0])
    row_id = int(inserted[0][0])
    table, joined = tokens
    rows = [(joined[i : i + TOKEN_BYTES], row_id) for i in range(0, len(joined), TOKEN_BYTES)]
    transaction.execute_many(f"INSERT INTO {table} (token, row_id) VALUES (?, ?)", rows)
    return row_id
