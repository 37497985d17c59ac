"""The index over one database: adds rows, looks them up, searches, and verifies them.

How much of it is believed: a row only after its seal has opened (``rows``). What the database could still do is leave a
row out; ``verify`` finds missing token rows, and the packs are the truth from which everything is rebuilt.

**Invariant:** no value of a data set stands in any statement or message; study and series rows are written once (the
first object of a study decides what the study says).
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from leadglass.base.errors import ConfigurationError, IntegrityError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.dicom.query import Query
from leadglass.store.index.classes import AccessClasses
from leadglass.store.index.database import Database, Row, Transaction, Value
from leadglass.store.index.deletions import DeletionRows
from leadglass.store.index.descriptions import INSERT_OUTLINE, Descriptions
from leadglass.store.index.facts import FactsReader, facts_of_row, is_deidentified, joined, provenance_of
from leadglass.store.index.interfaces import (
    Counts,
    Deletion,
    IndexEntry,
    InstanceRecord,
    Match,
    QuarantineEntry,
    Relation,
    RelationEntry,
    RowFinding,
    Scope,
    Selector,
    StudyFacts,
    Subject,
    Total,
)
from leadglass.store.index.relations import Relations
from leadglass.store.index.rows import (
    INSERT_INSTANCE,
    INSERT_QUARANTINE,
    INSERT_SERIES,
    INSERT_STUDY,
    SELECT_INSTANCE,
    SELECT_QUARANTINE,
    SELECT_SERIES,
    SELECT_STUDY,
    STUDY_NAMES,
    TOKEN_BYTES,
    OpenedLevel,
    Provenance,
    RowSeal,
)
from leadglass.store.index.schema import migrate
from leadglass.store.index.search import Search, SearchParts
from leadglass.store.index.selection import Selection
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.tokens import BlindIndex
from leadglass.trust.keys.interfaces import RowCipher, Tokeniser

# Table and column names in statements are constants of this package; values are parameters.
# ruff: noqa: S608

KNOWN_MAX: Final = 4096
"""Studies, and series, whose rows are known to be there; the senders of one moment work on far fewer."""

PREPARED_MAX: Final = 256
"""Rows of new studies, and of new series, that are kept until they are written; each is some KiB."""

VERIFY_BATCH: Final = 256
"""Rows that a verification reads at once."""

_LOOKUP: Final = f"SELECT series_id, {SELECT_INSTANCE} FROM instance WHERE sop_instance_uid = ?"
_PLACE: Final = """
    SELECT study.study_uid, series.series_uid FROM series JOIN study ON study.id = series.study_id WHERE series.id = ?
"""
"""Apart from ``_LOOKUP``: one join with all columns took 54 us, the two take 20."""

_FIND_SERIES: Final = f"SELECT {SELECT_SERIES} FROM series WHERE study_id = ? AND series_uid = ?"
_LIST_STUDY: Final = """INSERT INTO listing (study_id, study_date, class_id, hidden) VALUES (?, ?, NULL, ?)
    ON CONFLICT (study_id) DO NOTHING"""
_STUDY_DATE: Final = STUDY_NAMES.index("study_date")
_NOWHERE: Final = Provenance()

_SeriesKey = tuple[str, str]
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class _LevelRow:
    """Row of a study, or of a series without the id of its study; and its tokens, one after the other.

    Attributes:
        provenance: of a series.
    """

    row: tuple[Value, ...]
    tokens: bytes
    provenance: Provenance = _NOWHERE


@dataclass(frozen=True, slots=True)
class _KnownSeries:
    """A series whose row is there."""

    row_id: int
    study_id: int
    provenance: Provenance


@dataclass(slots=True)
class PreparedEntry:
    """An entry whose rows are sealed and ready for the database.

    Attributes:
        entry: as it was given.
        instance_row: without the id of its series.
        study: row of its study; None while that is known to be there.
        series: row of its series; None while that is known to be there.
        outline_row: of its outline; None where it has none.
    """

    entry: IndexEntry
    instance_row: tuple[Value, ...]
    study: _LevelRow | None
    series: _LevelRow | None
    outline_row: tuple[bytes, bytes] | None

    @property
    def series_key(self) -> _SeriesKey:
        """Study and series UID."""
        identity = self.entry.head.identity
        return identity.study_uid, identity.series_uid


class SQLIndex:
    """Implements ``Index`` on SQLite or PostgreSQL.

    Args:
        database: opened; it is migrated here, and closed by ``close``.
        cipher: seals and opens rows under the key of their study.
        tokeniser: makes blind-index tokens.
        site: seals what belongs to no single study.

    Raises:
        ConfigurationError: the database is of a newer version, or was made under another index key.
        IntegrityError: it is not what was written.
    """

    def __init__(self, database: Database, cipher: RowCipher, tokeniser: Tokeniser, site: SiteRows) -> None:
        self._database = database
        self._seal = RowSeal(cipher)
        self._blind = BlindIndex(tokeniser)
        self._classes = AccessClasses(database, site, self._blind)
        self._reader = FactsReader(database, self._seal)
        self._relations = Relations(database, site, self._blind)
        self._deletions = DeletionRows(database, site)
        self._descriptions = Descriptions(database, cipher)
        # What is known to be there (written by the writing thread only), and what was prepared for what is not.
        self._known = _Known()
        self._levels_lock = threading.Lock()
        self._prepared_studies: OrderedDict[str, _LevelRow] = OrderedDict()
        self._prepared_series: OrderedDict[_SeriesKey, _LevelRow] = OrderedDict()
        self._search = Search(
            SearchParts(
                database, self._seal, self._blind, self._classes, self._reader, self._relations, site.clock
            )
        )
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
        outline = self._descriptions.outline_row(entry)
        identity = entry.head.identity
        key = (identity.study_uid, identity.series_uid)
        known = self._known.series.get(key)
        if known is not None and _is_covered(entry, known.provenance):
            return PreparedEntry(entry, row, None, None, outline)
        study = None if identity.study_uid in self._known.studies else self._prepared_study(entry)
        return PreparedEntry(entry, row, study, self._prepared_series_row(key, entry), outline)

    def add_prepared(self, entries: Sequence[PreparedEntry]) -> list[InstanceRecord | None]:
        """Add all in one transaction. See ``Index.add``."""
        if not entries:
            return []
        found = _Known()
        try:
            with self._database.writing(durable=False) as transaction:
                rows = [(self._series_id(transaction, e, found), *e.instance_row) for e in entries]
                _insert_all(transaction, rows)
                transaction.insert_many(INSERT_OUTLINE, [e.outline_row for e in entries if e.outline_row])
        except _SomeAreHeldError:
            return self._add_one_by_one(entries)
        self._remember(found)
        return [None] * len(entries)

    def _add_one_by_one(self, entries: Sequence[PreparedEntry]) -> list[InstanceRecord | None]:
        outcomes: list[InstanceRecord | None] = []
        found = _Known()
        with self._database.writing(durable=False) as transaction:
            for entry in entries:
                holder = self._held(transaction, entry.entry.head.identity.sop_instance_uid)
                if holder is None:
                    row = (self._series_id(transaction, entry, found), *entry.instance_row)
                    if transaction.insert_many(INSERT_INSTANCE, [row]) == 0:
                        # Another node was quicker, between the two statements.
                        holder = self._held(transaction, entry.entry.head.identity.sop_instance_uid)
                same = holder is None or holder.address == entry.entry.address
                if same and entry.outline_row:
                    transaction.insert_many(INSERT_OUTLINE, [entry.outline_row])
                outcomes.append(None if same else holder)
        self._remember(found)
        return outcomes

    def _series_id(self, transaction: Transaction, entry: PreparedEntry, found: "_Known") -> int:
        key = entry.series_key
        known = found.series.get(key) or self._known.series.get(key)
        if known is None:
            known = found.series[key] = self._found_series(transaction, entry, found)
        if not _is_covered(entry.entry, known.provenance):
            known = found.series[key] = self._with_object(transaction, entry, known)
        return known.row_id

    def _found_series(self, transaction: Transaction, entry: PreparedEntry, found: "_Known") -> _KnownSeries:
        study_uid, series_uid = entry.series_key
        study_id = self._study_id(transaction, entry, found)
        level = entry.series or self._prepared_series_row(entry.series_key, entry.entry)
        rows = transaction.execute(_FIND_SERIES, (study_id, series_uid))
        if not rows:
            series_id = _insert(transaction, (INSERT_SERIES, (study_id, *level.row)), "series", level.tokens)
            if series_id is not None:
                fresh = study_id in found.unclassified
                found.unclassified.discard(study_id)
                self._classify(
                    transaction, study_id, study_uid, facts_of_row(level.row, level.provenance), fresh=fresh
                )
                return _KnownSeries(series_id, study_id, level.provenance)
            # Another node inserted it after the first look; its transaction has ended, so now it is visible.
            rows = transaction.execute(_FIND_SERIES, (study_id, series_uid))
        opened = self._seal.open_series(rows[0], study_uid)
        return _KnownSeries(opened.row_id, study_id, opened.provenance)

    def _with_object(
        self, transaction: Transaction, entry: PreparedEntry, known: _KnownSeries
    ) -> _KnownSeries:
        """Seal a series again with where another object of it came from."""
        study_uid = entry.series_key[0]
        # The first statement keeps other nodes from doing the same meanwhile.
        transaction.execute("UPDATE series SET study_id = study_id WHERE id = ?", (known.row_id,))
        row = transaction.execute(f"SELECT {SELECT_SERIES} FROM series WHERE id = ?", (known.row_id,))[0]
        opened = self._seal.open_series(row, study_uid)
        provenance = opened.provenance.with_object(provenance_of(entry.entry.head, entry.entry.source))
        sealed = self._seal.series_again(row, study_uid, provenance)
        transaction.execute("UPDATE series SET sealed = ? WHERE id = ?", (sealed, known.row_id))
        facts = self._reader.of_series((*row[:-1], sealed), study_uid)
        self._classify(transaction, known.study_id, study_uid, facts)
        return _KnownSeries(known.row_id, known.study_id, provenance)

    def _classify(
        self,
        transaction: Transaction,
        study_id: int,
        study_uid: str,
        facts: StudyFacts,
        *,
        fresh: bool = False,
    ) -> None:
        """Move a study to its class, after one of its series got these facts.

        Args:
            transaction: in which it got them.
            study_id: the study.
            study_uid: of the study.
            facts: of the series.
            fresh: it is the first series of a study that is new.
        """
        current: int | None = None
        if not fresh:
            # The update keeps other nodes from moving the study meanwhile.
            listed = transaction.execute(
                "UPDATE listing SET hidden = hidden WHERE study_id = ? RETURNING class_id", (study_id,)
            )
            if not listed:
                return  # somebody took it away; a verification says so
            current = listed[0][0]
            if current is None:
                rows = transaction.execute(
                    f"SELECT {SELECT_SERIES} FROM series WHERE study_id = ?", (study_id,)
                )
                facts = joined([self._reader.of_series(row, study_uid) for row in rows])
            else:
                known = self._classes.facts(transaction, [current], committed=False)
                facts = joined([*known.values(), facts])
        class_id = self._classes.intern(transaction, facts)
        if class_id != current:
            transaction.execute("UPDATE listing SET class_id = ? WHERE study_id = ?", (class_id, study_id))

    def _study_id(self, transaction: Transaction, entry: PreparedEntry, found: "_Known") -> int:
        study_uid = entry.series_key[0]
        study_id = found.studies.get(study_uid) or self._known.studies.get(study_uid)
        if study_id is None:
            find = ("SELECT id FROM study WHERE study_uid = ?", (study_uid,))
            rows = transaction.execute(*find)
            if not rows:
                level = entry.study or self._prepared_study(entry.entry)
                study_id = _insert(transaction, (INSERT_STUDY, level.row), "study", level.tokens)
                if study_id is not None:
                    found.unclassified.add(study_id)
                    hidden = self._deletions.state(transaction, study_uid)
                    transaction.execute(_LIST_STUDY, (study_id, level.row[_STUDY_DATE], hidden))
                # Else another node inserted it after the first look; now it is visible.
            if study_id is None:
                study_id = int((rows or transaction.execute(*find))[0][0])
            found.studies[study_uid] = study_id
        return study_id

    def _prepared_study(self, entry: IndexEntry) -> _LevelRow:
        """Return the row of a study that is not known, made once for all the instances that wait for it."""
        identity, key_id = entry.head.identity, entry.address.key_id
        prepared = self._prepared_studies.get(identity.study_uid)
        if prepared is None:
            head = entry.head.study()
            patient = self._blind.patient(entry.head.patient_reference(), identity.study_uid)
            tokens = self._blind.of(head.tokens)
            row = self._seal.study(identity.study_uid, key_id, head, patient=patient, tokens=tokens)
            prepared = _LevelRow(row, tokens)
            with self._levels_lock:
                _put(self._prepared_studies, identity.study_uid, prepared, PREPARED_MAX)
        return prepared

    def _prepared_series_row(self, key: _SeriesKey, entry: IndexEntry) -> _LevelRow:
        """As ``_prepared_study``, for a series."""
        prepared = self._prepared_series.get(key)
        if prepared is None:
            identity, head = entry.head.identity, entry.head.series()
            tokens = self._blind.of(head.tokens)
            provenance = provenance_of(entry.head, entry.source)
            row = self._seal.series(
                identity.study_uid,
                identity.series_uid,
                entry.address.key_id,
                head,
                tokens=tokens,
                provenance=provenance,
            )
            prepared = _LevelRow(row, tokens, provenance)
            with self._levels_lock:
                _put(self._prepared_series, key, prepared, PREPARED_MAX)
        return prepared

    def _remember(self, found: "_Known") -> None:
        """Keep what a committed transaction found. Called by the writing thread; others only look."""
        for study_uid, study_id in found.studies.items():
            _put(self._known.studies, study_uid, study_id, KNOWN_MAX)
        for key, series in found.series.items():
            _put(self._known.series, key, series, KNOWN_MAX)
        with self._levels_lock:
            for study_uid in found.studies:
                self._prepared_studies.pop(study_uid, None)
            for key in found.series:
                self._prepared_series.pop(key, None)

    # --- looking up --------------------------------------------------------------------------------------------

    def lookup(self, sop_instance_uid: UID) -> InstanceRecord | None:
        """Return the instance of that UID. See ``Index.lookup``."""
        with self._database.probing() as transaction:
            return self._held(transaction, sop_instance_uid)

    def _held(self, transaction: Transaction, sop_instance_uid: UID) -> InstanceRecord | None:
        found = transaction.execute(_LOOKUP, (sop_instance_uid,))
        if not found:
            return None
        series_id, *instance = found[0]
        place = transaction.execute(_PLACE, (series_id,))
        if not place:
            raise IntegrityError(f"row {instance[0]} of table instance belongs to no series")
        study_uid, series_uid = place[0]
        return self._seal.open_instance(tuple(instance), study_uid, series_uid).record

    def search(
        self, query: Query, scope: Scope, *, offset: int = 0, limit: int | None = None
    ) -> Iterator[Match]:
        """Yield what matches. See ``Index.search``."""
        return self._search.matches(query, scope, offset, limit)

    def select(self, selector: Selector) -> Iterator[InstanceRecord]:
        """Yield the instances that a retrieve names. See ``Index.select``."""
        return self._selection.instances(selector)

    def count(self, query: Query, scope: Scope) -> Total:
        """Tell how many ``search`` would yield. See ``Index.count``."""
        return self._search.count(query, scope)

    def facts(
        self, study_uids: Sequence[UID], subject: Subject, *, deleted: bool = False
    ) -> dict[UID, StudyFacts]:
        """Return the facts of each study. See ``Index.facts``."""
        return self._search.facts(study_uids, subject, deleted=deleted)

    def outlines(self, records: Sequence[InstanceRecord]) -> list[bytes]:
        """Return the outline of each record. See ``Index.outlines``."""
        return self._descriptions.outlines(records)

    def metadata(self, records: Sequence[InstanceRecord]) -> list[bytes]:
        """Return the DICOM JSON of each record. See ``Index.metadata``."""
        return self._descriptions.metadata(records)

    def keep_metadata(self, records: Sequence[tuple[InstanceRecord, bytes]]) -> None:
        """Keep the DICOM JSON of records. See ``Index.keep_metadata``."""
        self._descriptions.keep_metadata(records)

    # --- people's ----------------------------------------------------------------------------------------------

    def relate(self, entry: RelationEntry) -> None:
        """Give somebody a relation. See ``Index.relate``."""
        self._relations.relate(entry)

    def unrelate(
        self, principal_id: str, relation: Relation, *, study_uid: str = "", patient_id: str = ""
    ) -> bool:
        """Take a relation away. See ``Index.unrelate``."""
        return self._relations.unrelate(principal_id, relation, study_uid, patient_id)

    def relations(self, principal_id: str) -> list[RelationEntry]:
        """Return the relations somebody has. See ``Index.relations``."""
        return self._relations.of(principal_id)

    def delete(self, deletion: Deletion) -> int:
        """Hide what a deletion names. See ``Index.delete``."""
        return self._deletions.add(deletion)

    def restore(self, deletion_id: bytes) -> int:
        """Undo a deletion. See ``Index.restore``."""
        return self._deletions.remove(deletion_id)

    def deletions(self) -> Iterator[Deletion]:
        """Yield what is deleted softly. See ``Index.deletions``."""
        return self._deletions.all()

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
            transaction.insert_many(INSERT_QUARANTINE, [row])

    def quarantined(self) -> Iterator[QuarantineEntry]:
        """Yield what is kept apart, oldest first."""
        for row in self._pages(f"SELECT {SELECT_QUARANTINE} FROM quarantine", "quarantine"):
            yield self._seal.open_quarantine(row)

    def quarantined_as(self, sop_instance_uid: UID) -> list[QuarantineEntry]:
        """Return what is kept apart under that UID."""
        with self._database.reading() as transaction:
            rows = transaction.execute(
                f"SELECT {SELECT_QUARANTINE} FROM quarantine WHERE sop_instance_uid = ? ORDER BY id",
                (sop_instance_uid,),
            )
        return [self._seal.open_quarantine(row) for row in rows]

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
            yield from self._verify_people()
        except IntegrityError as error:
            # A page that cannot be read ends the walk: rows behind it cannot be reached either.
            yield RowFinding(self._database.name, str(error))

    def _verify_studies(self, tally: "_TokenTally") -> Iterator[RowFinding]:
        statement = f"""SELECT {SELECT_STUDY}, listing.study_id, listing.study_date, listing.class_id, listing.hidden
            FROM study LEFT JOIN listing ON listing.study_id = study.id"""
        for row in self._pages(statement, "study"):
            try:
                opened = self._seal.open_study(row[:-4])
                yield from self._verify_listing(opened, row[1 + _STUDY_DATE], row[-4:])
            except (IntegrityError, KeyUnavailable) as error:
                yield RowFinding(f"study row {row[0]}", str(error))
                continue
            tally.study += len(opened.tokens)
            yield from self._missing_tokens("study", opened)

    def _verify_listing(self, opened: OpenedLevel, date: str | None, listing: Row) -> Iterator[RowFinding]:
        """Compare what lists are walked by with what the rows say."""
        listed, listed_date, class_id, hidden = listing
        with self._database.reading() as transaction:
            facts = self._reader.of(transaction, [opened])
            state = self._deletions.state(transaction, opened.uid)
            known = None
            if class_id is not None:
                known = self._classes.facts(transaction, [class_id]).get(class_id)
        where = f"study row {opened.row_id}"
        if listed is None or listed_date != date:
            yield RowFinding(where, "its listing is missing or has another date: it is hidden")
        elif state != hidden:
            yield RowFinding(where, "its listing does not agree with what was deleted")
        elif known != facts[opened.row_id].facts:
            yield RowFinding(where, "it is listed in a class of other studies: it may be hidden")

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
            SELECT {SELECT_INSTANCE}, study.study_uid, series.series_uid, outline.sealed, metadata.sealed
            FROM instance
            LEFT JOIN series ON series.id = instance.series_id LEFT JOIN study ON study.id = series.study_id
            LEFT JOIN outline ON outline.object_id = instance.object_id
            LEFT JOIN metadata ON metadata.object_id = instance.object_id
        """
        for row in self._pages(statement, "instance"):
            try:
                record = self._seal.open_instance(row[:-4], row[-4], row[-3]).record
                self._descriptions.open_both(record, row[-2], row[-1])
                yield record
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

    def _verify_people(self) -> Iterator[RowFinding]:
        """Open relations and deletions."""
        yield from (*self._relations.findings(), *self._deletions.findings())

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
        """Forget everything that packs tell again; jobs, relations and deletions they do not."""
        tables = (
            "study_token",
            "series_token",
            "listing",
            "access_class",
            "outline",
            "metadata",
            "instance",
            "series",
            "study",
            "quarantine",
            "pack",
        )
        with self._database.writing(durable=True) as transaction:
            for table in tables:
                transaction.execute(f"DELETE FROM {table}")
        self._known = _Known()
        self._classes.forget()
        with self._levels_lock:
            self._prepared_studies.clear()
            self._prepared_series.clear()

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


@dataclass(frozen=True, slots=True)
class _Known:
    """Ids of studies by UID, and series by study and series UID.

    Attributes:
        unclassified: ids of studies that this transaction made and that have no class yet.
    """

    studies: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    series: OrderedDict[_SeriesKey, _KnownSeries] = field(
        default_factory=OrderedDict[_SeriesKey, _KnownSeries]
    )
    unclassified: set[int] = field(default_factory=set[int])


@dataclass(slots=True)
class _TokenTally:
    study: int = field(default=0)
    series: int = field(default=0)


class _SomeAreHeldError(Exception):
    """Leaves a transaction; never leaves this module."""


def _put(cache: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)


def _insert_all(transaction: Transaction, rows: Sequence[tuple[Value, ...]]) -> None:
    if transaction.insert_many(INSERT_INSTANCE, rows) != len(rows):
        raise _SomeAreHeldError


def _insert(
    transaction: Transaction, insert: tuple[str, tuple[Value, ...]], table: str, joined_tokens: bytes
) -> int | None:
    """Insert a row and its tokens; return its id, None where another node was quicker."""
    inserted = transaction.execute(*insert)
    if not inserted:
        return None
    row_id = int(inserted[0][0])
    tokens = [joined_tokens[i : i + TOKEN_BYTES] for i in range(0, len(joined_tokens), TOKEN_BYTES)]
    transaction.insert_many(
        f"INSERT INTO {table}_token (token, row_id) VALUES (?, ?)", [(token, row_id) for token in tokens]
    )
    return row_id


def _is_covered(entry: IndexEntry, provenance: Provenance) -> bool:
    """Tell whether the row of a series says already where this object of it came from."""
    if entry.source and entry.source not in provenance.sources:
        return False
    # Most objects are of people that are named, and so is their series: then there is nothing to look at.
    return not provenance.deidentified or is_deidentified(entry.head.study().sealed)
