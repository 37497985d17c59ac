"""Searching: candidates by conditions of SQL, each unsealed, and the matcher of ``dicom.query`` decides.

Rows are read in pages by key, each page in a transaction of its own: a peer that reads its answers slowly holds no
snapshot, and the write-ahead log can be cut meanwhile. The newest come first: by study date where the query ranges over
it, else by arrival.

Whether a study may be shown is decided twice: its class narrows (``sieve``), the facts of its unsealed rows decide
(``Authority``). At first the statement narrows by no class: judging every class costs more than passing over a few
hundred rows. When so many were passed over, it does.

**Invariant:** what is yielded was unsealed, met every key, and is permitted by its own facts; a count is what the database
says (a database that hides rows counts less), every other computed value was seen in a row whose seal opened.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from leadglass.base.clock import Clock
from leadglass.base.errors import OutOfResources
from leadglass.base.ids import UID
from leadglass.base.limits import (
    COUNTED_BY_INDEX_MAX,
    COUNTED_BY_OPENING_MAX,
    QUERY_CANDIDATES_MAX,
    QUERY_SECONDS,
)
from leadglass.dicom.models import Level
from leadglass.dicom.query import Query, Range, Responder, Single, UIDList, Universal, narrow
from leadglass.dicom.query.models import AnyOf, Key
from leadglass.store.index.classes import AccessClasses
from leadglass.store.index.conditions import Conditions, Plan, make_plan
from leadglass.store.index.database import INTEGER_MAX, Database, Parameter, Row, Transaction
from leadglass.store.index.deletions import INSTANCE_SHOWN, PARTLY_HIDDEN, SERIES_SHOWN, STUDY_SHOWN
from leadglass.store.index.facts import FactsReader, StudyRows
from leadglass.store.index.interfaces import Match, Scope, StudyFacts, Subject, Total
from leadglass.store.index.relations import Relations
from leadglass.store.index.rows import (
    SELECT_INSTANCE,
    SELECT_SERIES,
    SELECT_STUDY,
    SERIES_NAMES,
    STUDY_NAMES,
    STUDY_WIDTH,
    OpenedInstance,
    OpenedLevel,
    RowSeal,
)
from leadglass.store.index.sieve import Authority, Focus, Sieve, asking_once
from leadglass.store.index.tokens import BlindIndex

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

PAGE_ROWS: Final = 128
"""Rows read at once: some 200 KiB."""

FIRST_PAGE_ROWS: Final = 32
"""Rows read first by who does not say how many they want: the first answer comes early."""

CHUNK_ROWS: Final = 128
"""Studies decided at once: one statement brings the series rows of all."""

FOCUS_AFTER_ROWS: Final = 512
"""Rows passed over until all classes are judged: a row takes some 8 us to pass over, a class some 25 us to judge, and most
classes were met by then."""

UIDS_PER_PAGE: Final = 512
"""Named studies looked up at once."""

_SERIES_UID: Final = 1
"""Where the UID stands in ``SELECT_SERIES``."""

_STUDY_DATE: Final = 1 + STUDY_NAMES.index("study_date")
_MODALITY: Final = 1 + SERIES_NAMES.index("modality")
_LAST_DATE: Final = "99999999"
"""Comes after every Study Date that a column holds."""

_SELECT_LISTED: Final = f"{SELECT_STUDY}, listing.class_id, listing.hidden"
_CLASS_ID: Final = STUDY_WIDTH
_HIDDEN: Final = STUDY_WIDTH + 1

_ONLY_SHOWN: Final = "series.study_id = study.id AND instance.series_id = series.id"
_SHOWN: Final = f" AND {INSTANCE_SHOWN}"
_SERIES_OF_STUDY: Final = (
    "SELECT count(*) FROM series JOIN study ON study.id = series.study_id WHERE study.id = ?"
)
_INSTANCES_OF_STUDY: Final = (
    f"SELECT count(*) FROM study, series, instance WHERE {_ONLY_SHOWN} AND study.id = ?"
)
_INSTANCES_OF_SERIES: Final = (
    f"SELECT count(*) FROM study, series, instance WHERE {_ONLY_SHOWN} AND series.id = ?"
)
_SERIES_PER_MODALITY: Final = f"""
    SELECT {SELECT_SERIES} FROM series WHERE series.id IN (
        SELECT min(series.id) FROM series JOIN study ON study.id = series.study_id
        WHERE study.id = ? AND series.modality IS NOT NULL {{}} GROUP BY series.modality)
"""
_INSTANCE_PER_SOP_CLASS: Final = f"""
    SELECT {SELECT_INSTANCE}, series.series_uid FROM instance JOIN series ON series.id = instance.series_id
    WHERE instance.id IN (
        SELECT min(instance.id) FROM study, series, instance WHERE {_ONLY_SHOWN} AND study.id = ? {{}}
        GROUP BY instance.sop_class_uid)
"""
_OF_PATIENT: Final = f"""FROM listing JOIN study ON study.id = listing.study_id
    WHERE study.patient = ? AND {STUDY_SHOWN}"""

_CHEAP: Final = frozenset(
    {"ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"}
)
"""What is known of a whole chunk by one or two statements."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What may match.

    Attributes:
        partly: something of its study is deleted softly.
    """

    study: OpenedLevel
    patient: bytes
    partly: bool = False
    series: OpenedLevel | None = None
    instance: OpenedInstance | None = None

    @property
    def datasets(self) -> list[bytes]:
        return [level.dataset for level in (self.study, self.series, self.instance) if level is not None]


_T = TypeVar("_T")
_Compute = Callable[[_Candidate], _T]


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What a search works with; the same for all searches on one database."""

    database: Database
    seal: RowSeal
    blind: BlindIndex
    classes: AccessClasses
    reader: FactsReader
    relations: Relations
    clock: Clock


class Search:
    """Answers queries on one database."""

    def __init__(self, parts: SearchParts) -> None:
        self._parts = parts

    def matches(self, query: Query, scope: Scope, offset: int, limit: int | None) -> Iterator[Match]:
        """Yield what matches and may be shown, the newest first. See ``Index.search``."""
        end = None if limit is None else offset + limit
        return islice(_Run(self._parts, query, scope, end).matches(), offset, end)

    def count(self, query: Query, scope: Scope) -> Total:
        """Tell how many match. See ``Index.count``."""
        # What is asked for need not be worked out.
        demanded = tuple(key for key in query.keys if not isinstance(key.match, Universal))
        run = _Run(self._parts, replace(query, keys=demanded), scope)
        return run.counted_by_index() or run.counted_by_opening()

    def facts(self, study_uids: Sequence[UID], subject: Subject, *, deleted: bool) -> dict[UID, StudyFacts]:
        """Return the facts of each study. See ``Index.facts``."""
        parts = self._parts
        shown = "1 = 1" if deleted else STUDY_SHOWN
        found: dict[UID, StudyFacts] = {}
        for start in range(0, len(study_uids), UIDS_PER_PAGE):
            named, parameter = parts.database.any_of(
                "study.study_uid", study_uids[start : start + UIDS_PER_PAGE]
            )
            with parts.database.reading() as snapshot:
                related = parts.relations.of_subject(snapshot, subject)
                rows = snapshot.execute(
                    f"SELECT {SELECT_STUDY} FROM study JOIN listing ON listing.study_id = study.id "
                    f"WHERE {named} AND {shown}",
                    (parameter,),
                )
                studies = {row[0]: (parts.seal.open_study(row), row[2]) for row in rows}
                facts = parts.reader.of(snapshot, [study for study, _ in studies.values()])
            for row_id, (study, patient) in studies.items():
                found[study.uid] = replace(facts[row_id].facts, relations=related.to(study, patient))
        return found


class _Run:
    """One search under way. Not thread-safe.

    Args:
        parts: of the database.
        query: what for.
        scope: for whom.
        wanted: how many matches are looked for at most; None where nobody knows.
    """

    def __init__(self, parts: SearchParts, query: Query, scope: Scope, wanted: int | None = None) -> None:
        scope = asking_once(scope)
        self._first_rows = FIRST_PAGE_ROWS if wanted is None else max(wanted, 1)
        self._database = parts.database
        self._seal = parts.seal
        self._query = query
        self._plan = make_plan(narrow(query), query.level, parts.database, parts.blind)
        with self._database.reading() as snapshot:
            related = parts.relations.of_subject(snapshot, scope.subject)
            self._sieve = Sieve(parts.database, parts.classes, scope, related)
            self._with_modality = self._modality_conditions(snapshot)
        self._authority = Authority(parts.reader, scope, related)
        self._responder = Responder(query)
        self._left = QUERY_CANDIDATES_MAX
        self._monotonic = parts.clock.monotonic
        self._until = self._monotonic() + QUERY_SECONDS
        self._focus: Focus | None = None
        self._patients: dict[bytes, _Patient] = {}
        self._answered: set[bytes] = set()
        # Of the studies of one chunk.
        self._rows: dict[int, StudyRows] = {}
        self._instances_held: dict[int, int] = {}
        self._compute: dict[str, Callable[[_Candidate], str | int | tuple[str, ...]]] = {
            "ModalitiesInStudy": self._modalities_in_study,
            "SOPClassesInStudy": self._once_for_study(self._sop_classes_in_study),
            "NumberOfStudyRelatedSeries": self._series_of_study,
            "NumberOfStudyRelatedInstances": self._once_for_study(self._instances_of_study),
            "NumberOfPatientRelatedStudies": lambda c: self._patient(c).studies,
            "NumberOfPatientRelatedSeries": lambda c: self._patient(c).series,
            "NumberOfPatientRelatedInstances": lambda c: self._patient(c).instances,
            "NumberOfSeriesRelatedInstances": self._once_for_series(self._instances_of_series),
            "AvailableTransferSyntaxUID": _transfer_syntax,
        }
        asked = [key for key in query.keys if key.keyword in self._compute]
        self._deciding = [key.keyword for key in asked if not isinstance(key.match, Universal)]
        self._telling = [key.keyword for key in asked if isinstance(key.match, Universal)]
        self._demanding = any(not isinstance(key.match, Universal) for key in query.keys)
        self._match_first = not _CHEAP.issuperset(self._telling)

    def _modality_conditions(self, snapshot: Transaction) -> Conditions:
        if self._plan.modalities is None:
            return Conditions()
        by_class = self._sieve.with_modality(snapshot, self._plan.modalities)
        if by_class is not None:
            return by_class
        sql, parameter = self._database.any_of("series.modality", sorted(self._plan.modalities))
        conditions = Conditions()
        conditions.add(
            f"EXISTS (SELECT 1 FROM series WHERE series.study_id = listing.study_id AND {sql})", parameter
        )
        return conditions

    # --- matching ----------------------------------------------------------------------------------------------

    def matches(self) -> Iterator[Match]:
        if self._query.level in (Level.PATIENT, Level.STUDY):
            found = (match for chunk in self._chunks() for match in self._matching_studies(chunk))
        else:
            found = (match for chunk in self._chunks() for match in self._matching_below(chunk))
        for candidate, response in found:
            given = self._monotonic()
            yield Match(self._query.level, candidate.study.uid, response)
            self._until += self._monotonic() - given

    def _matching_studies(self, chunk: list[_Candidate]) -> Iterator[tuple[_Candidate, bytes]]:
        """Yield permitted studies that meet every key, and their responses; of a patient one."""
        if self._query.level is Level.PATIENT:
            chunk = [c for c in chunk if c.patient not in self._answered]
        if self._match_first:
            chunk = [c for c in chunk if self._meets(c)]
        permitted = self._permitted(chunk)
        matched = 0
        for candidate in permitted:
            if self._query.level is Level.PATIENT and candidate.patient in self._answered:
                continue
            response = self._response(candidate, self._deciding + self._telling)
            if response is not None:
                matched += 1
                self._answered.add(candidate.patient)
                yield candidate, response
        # What is told of a study is not worth finding out for many that do not match.
        self._match_first = self._match_first or 2 * matched < len(permitted)

    def _matching_below(self, chunk: list[_Candidate]) -> Iterator[tuple[_Candidate, bytes]]:
        """Yield series or instances of permitted studies that meet every key, and their responses."""
        for candidate in self._permitted(chunk):
            for below in self._below(candidate):
                # What is told of an instance is not worth finding out for many that do not match.
                if self._telling and self._demanding and not self._meets(below):
                    continue
                response = self._response(below, self._deciding + self._telling)
                if response is not None:
                    yield below, response

    def _meets(self, candidate: _Candidate) -> bool:
        values = {keyword: self._compute[keyword](candidate) for keyword in self._deciding}
        return self._responder.meets(candidate.datasets, values)

    def _response(self, candidate: _Candidate, computed: list[str]) -> bytes | None:
        values = {keyword: self._compute[keyword](candidate) for keyword in computed}
        return self._responder.respond(candidate.datasets, values)

    def _permitted(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Return those that may be shown, and remember what is known of them."""
        if not candidates:
            return []
        with self._database.reading() as snapshot:
            self._rows = self._authority.permitted(snapshot, [(c.study, c.patient) for c in candidates])
            if "NumberOfStudyRelatedInstances" in self._telling:
                self._instances_held = self._counted_instances(snapshot)
        return [c for c in candidates if c.study.row_id in self._rows]

    def _counted_instances(self, snapshot: Transaction) -> dict[int, int]:
        of_studies, parameter = self._database.any_of("series.study_id", list(self._rows))
        rows = snapshot.execute(
            "SELECT series.study_id, count(*) FROM series JOIN instance ON instance.series_id = series.id "
            f"WHERE {of_studies} GROUP BY series.study_id",
            (parameter,),
        )
        return {int(study_id): int(counted) for study_id, counted in rows}

    def _below(self, candidate: _Candidate) -> Iterator[_Candidate]:
        for with_series in self._series(candidate):
            self._take()
            if self._query.level is Level.SERIES:
                yield with_series
                continue
            for with_instance in self._instances(with_series):
                self._take()
                yield with_instance

    def _take(self) -> None:
        if self._left == 0:
            raise OutOfResources("a query has more candidates than may be opened for it; narrow it")
        self._left -= 1
        self._check_time()

    def _check_time(self) -> None:
        """Refuse to go on for long: who finds nothing after that has not said what they look for."""
        if self._monotonic() > self._until:
            raise OutOfResources("a query takes longer than it may; narrow it")

    # --- studies -----------------------------------------------------------------------------------------------

    def _chunks(self) -> Iterator[list[_Candidate]]:
        for rows in self._pages_of_studies():
            for start in range(0, len(rows), CHUNK_ROWS):
                yield [self._opened(row) for row in rows[start : start + CHUNK_ROWS]]

    def _opened(self, row: Row) -> _Candidate:
        self._take()
        study = self._seal.open_study(row[:STUDY_WIDTH])
        return _Candidate(study, row[2], row[_HIDDEN] == PARTLY_HIDDEN)

    def _pages_of_studies(self) -> Iterator[list[Row]]:
        """Yield pages of rows, without those that are surely not permitted."""
        plan = self._plan
        if plan.study_uids is not None:
            yield from self._named_studies(plan.study_uids)
            return
        walk = _walk_of(plan)
        last: Row | None = None
        passed_over = 0
        rows_asked = min(self._first_rows, PAGE_ROWS)
        while True:
            self._check_time()
            with self._database.reading() as snapshot:
                rows = self._page(snapshot, walk, last, rows_asked)
                passing = self._passing(snapshot, rows)
                passed_over += len(rows) - len(passing)
                if len(rows) == rows_asked and self._focus is None and passed_over >= FOCUS_AFTER_ROWS:
                    self._focus = self._sieve.focus(snapshot)
            yield passing
            if len(rows) < rows_asked:
                return
            last = rows[-1]
            if self._focus is not None and self._focus.only is not None:
                yield from self._listed_studies(self._focus.only, walk, last)
                return
            rows_asked = PAGE_ROWS

    def _page(self, snapshot: Transaction, walk: "_Walk", last: Row | None, most: int) -> list[Row]:
        conditions = self._conditions()
        return snapshot.execute(
            f"SELECT {_SELECT_LISTED} FROM {walk.tables} WHERE {walk.condition} AND {conditions.where()} "
            f"ORDER BY {walk.order} LIMIT {most}",
            (*walk.parameters(last), *conditions.parameters),
        )

    def _conditions(self) -> Conditions:
        """Return all that narrows beside the key of the walk."""
        narrowing = [self._plan.listing, self._plan.study, self._with_modality]
        if self._focus is not None:
            narrowing.append(self._focus.conditions)
        return Conditions(
            [*(sql for part in narrowing for sql in part.sql), STUDY_SHOWN],
            [parameter for part in narrowing for parameter in part.parameters],
        )

    def _passing(self, snapshot: Transaction, rows: list[Row]) -> list[Row]:
        self._sieve.learn(snapshot, {row[_CLASS_ID] for row in rows if row[_CLASS_ID] is not None})
        return [row for row in rows if self._sieve.passes(snapshot, row[0], row[_CLASS_ID])]

    def _named_studies(self, uids: tuple[str, ...]) -> Iterator[list[Row]]:
        for start in range(0, len(uids), UIDS_PER_PAGE):
            named = self._database.any_of("study.study_uid", uids[start : start + UIDS_PER_PAGE])
            yield self._these_studies(*named)

    def _listed_studies(self, only: frozenset[int], walk: "_Walk", last: Row) -> Iterator[list[Row]]:
        """Walk the studies of a list from where the walk over all has come to."""
        listed, parameter = self._database.any_of("listing.study_id", sorted(only))
        with self._database.reading() as snapshot:
            keys = snapshot.execute(
                f"SELECT listing.study_id, listing.study_date FROM listing WHERE {listed}", (parameter,)
            )
        ids = walk.after(keys, last)
        for start in range(0, len(ids), PAGE_ROWS):
            self._check_time()
            wanted = ids[start : start + PAGE_ROWS]
            place = {study_id: number for number, study_id in enumerate(wanted)}
            rows = self._these_studies(*self._database.any_of("study.id", wanted))
            yield sorted(rows, key=lambda row: place[row[0]])

    def _these_studies(self, these: str, parameter: Parameter) -> list[Row]:
        conditions = self._conditions()
        if self._plan.token is not None:
            conditions.add("study.id IN (SELECT row_id FROM study_token WHERE token = ?)", self._plan.token)
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                f"SELECT {_SELECT_LISTED} FROM study JOIN listing ON listing.study_id = study.id "
                f"WHERE {these} AND {conditions.where()} ORDER BY study.id DESC",
                (parameter, *conditions.parameters),
            )
            return self._passing(snapshot, rows)

    # --- series and instances ----------------------------------------------------------------------------------

    def _series(self, candidate: _Candidate) -> Iterator[_Candidate]:
        study, conditions = candidate.study, self._plan.series
        rows = self._pages(
            f"SELECT {SELECT_SERIES} FROM series JOIN study ON study.id = series.study_id "
            f"WHERE series.study_id = ? AND series.series_uid > ? "
            f"AND {conditions.where(*([SERIES_SHOWN] if candidate.partly else []))} "
            f"ORDER BY series.series_uid LIMIT {PAGE_ROWS}",
            lambda last: (study.row_id, last[_SERIES_UID] if last else "", *conditions.parameters),
        )
        for row in rows:
            yield replace(candidate, series=self._seal.open_series(row, study.uid))

    def _instances(self, candidate: _Candidate) -> Iterator[_Candidate]:
        study, series, conditions = candidate.study, candidate.series, self._plan.instance
        assert series is not None
        above = "JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id"
        rows = self._pages(
            f"SELECT {SELECT_INSTANCE} FROM instance {above if candidate.partly else ''} "
            f"WHERE instance.series_id = ? AND instance.id > ? "
            f"AND {conditions.where(*([INSTANCE_SHOWN] if candidate.partly else []))} "
            f"ORDER BY instance.id LIMIT {PAGE_ROWS}",
            lambda last: (series.row_id, last[0] if last else 0, *conditions.parameters),
        )
        for row in rows:
            yield replace(candidate, instance=self._seal.open_instance(row, study.uid, series.uid))

    def _pages(
        self, statement: str, parameters: "Callable[[Row | None], tuple[Parameter, ...]]"
    ) -> Iterator[Row]:
        last: Row | None = None
        while True:
            self._check_time()
            with self._database.reading() as snapshot:
                rows = snapshot.execute(statement, parameters(last))
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1]

    # --- computed ----------------------------------------------------------------------------------------------

    def _once_for_study(self, compute: "_Compute[_T]") -> "_Compute[_T]":
        """Return what remembers its last study: an instance is asked the same as the one before."""
        last: list[tuple[int, _T]] = []

        def computed(candidate: _Candidate) -> _T:
            if not last or last[0][0] != candidate.study.row_id:
                last[:] = [(candidate.study.row_id, compute(candidate))]
            return last[0][1]

        return computed

    def _once_for_series(self, compute: "_Compute[_T]") -> "_Compute[_T]":
        """As ``_once_for_study``."""
        last: list[tuple[int, _T]] = []

        def computed(candidate: _Candidate) -> _T:
            assert candidate.series is not None
            if not last or last[0][0] != candidate.series.row_id:
                last[:] = [(candidate.series.row_id, compute(candidate))]
            return last[0][1]

        return computed

    def _count(self, statement: str, *parameters: Parameter) -> int:
        with self._database.reading() as snapshot:
            return int(snapshot.execute(statement, parameters)[0][0])

    def _series_of_study(self, candidate: _Candidate) -> int:
        known = None if candidate.partly else self._rows.get(candidate.study.row_id)
        if known is not None:
            return known.series
        shown = f" AND {SERIES_SHOWN}" if candidate.partly else ""
        return self._count(_SERIES_OF_STUDY + shown, candidate.study.row_id)

    def _instances_of_study(self, candidate: _Candidate) -> int:
        known = None if candidate.partly else self._instances_held.get(candidate.study.row_id)
        if known is not None:
            return known
        return self._count(_INSTANCES_OF_STUDY + (_SHOWN if candidate.partly else ""), candidate.study.row_id)

    def _instances_of_series(self, candidate: _Candidate) -> int:
        assert candidate.series is not None
        return self._count(
            _INSTANCES_OF_SERIES + (_SHOWN if candidate.partly else ""), candidate.series.row_id
        )

    def _modalities_in_study(self, candidate: _Candidate) -> tuple[str, ...]:
        """Open one series row for every modality: the row proves that the study has it."""
        known = None if candidate.partly else self._rows.get(candidate.study.row_id)
        if known is not None:
            return tuple(sorted(known.facts.modalities))
        shown = f" AND {SERIES_SHOWN}" if candidate.partly else ""
        with self._database.reading() as snapshot:
            rows = snapshot.execute(_SERIES_PER_MODALITY.format(shown), (candidate.study.row_id,))
        for row in rows:
            self._seal.open_series(row, candidate.study.uid)
        return tuple(sorted({row[_MODALITY] for row in rows}))

    def _sop_classes_in_study(self, candidate: _Candidate) -> tuple[str, ...]:
        """Open one instance row for every SOP class: the row proves that the study has it."""
        shown = _SHOWN if candidate.partly else ""
        with self._database.reading() as snapshot:
            rows = snapshot.execute(_INSTANCE_PER_SOP_CLASS.format(shown), (candidate.study.row_id,))
        opened = [self._seal.open_instance(row[:-1], candidate.study.uid, row[-1]) for row in rows]
        return tuple(sorted({o.record.identity.sop_class_uid for o in opened}))

    def _patient(self, candidate: _Candidate) -> "_Patient":
        """Count what the scope permits of a patient: a number must not tell of what is hidden."""
        found = self._patients.get(candidate.patient)
        if found is None:
            found = _Patient()
            for study in self._studies_of_patient(candidate.patient):
                found.studies += 1
                found.series += self._series_of_study(study)
                found.instances += self._instances_of_study(study)
            self._patients[candidate.patient] = found
        return found

    def _studies_of_patient(self, patient: bytes) -> Iterator[_Candidate]:
        last = INTEGER_MAX
        while True:
            self._check_time()
            with self._database.reading() as snapshot:
                rows = snapshot.execute(
                    f"SELECT {_SELECT_LISTED} {_OF_PATIENT} AND study.id < ? ORDER BY study.id DESC LIMIT {PAGE_ROWS}",
                    (patient, last),
                )
                passing = self._passing(snapshot, rows)
                candidates = [self._opened(row) for row in passing]
                permitted = self._authority.permitted(snapshot, [(c.study, c.patient) for c in candidates])
            yield from (c for c in candidates if c.study.row_id in permitted)
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1][0]

    # --- totals ------------------------------------------------------------------------------------------------

    def counted_by_index(self) -> Total | None:
        """Count by the database alone; None where rows must be unsealed to tell."""
        if self._query.level is not Level.STUDY or self._plan.token is not None:
            return None
        with self._database.reading() as snapshot:
            if not all(_decided_by_index(key) for key in self._query.keys):
                return None
            if self._plan.modalities is not None and _some_series_are_hidden(snapshot):
                return None
            self._focus = self._sieve.focus(snapshot)
            if not self._focus.certain:
                return None
            conditions = self._conditions()
            if self._plan.study_uids is not None:
                conditions.add(*self._database.any_of("study.study_uid", self._plan.study_uids))
            joined = bool(self._plan.study.sql) or self._plan.study_uids is not None
            tables = "listing JOIN study ON study.id = listing.study_id" if joined else "listing"
            rows = snapshot.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {conditions.where()} "
                f"LIMIT {COUNTED_BY_INDEX_MAX + 1}) AS counted",
                conditions.parameters,
            )
        counted = int(rows[0][0])
        return Total(min(counted, COUNTED_BY_INDEX_MAX), exact=counted <= COUNTED_BY_INDEX_MAX)

    def counted_by_opening(self) -> Total:
        """Count by unsealing, so far as that is cheap."""
        counted = sum(1 for _ in islice(self.matches(), COUNTED_BY_OPENING_MAX + 1))
        return Total(min(counted, COUNTED_BY_OPENING_MAX), exact=counted <= COUNTED_BY_OPENING_MAX)


@dataclass(slots=True)
class _Patient:
    """How much of one patient may be shown."""

    studies: int = 0
    series: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class _Walk:
    """In which order studies are read, and from where: the newest first.

    ``CROSS JOIN``: SQLite keeps the order of the tables, so that the small rows are looked at first.
    """

    tables: str
    condition: str
    order: str
    start: tuple[Parameter, ...]
    token: bytes | None = None
    by_date: bool = False

    def parameters(self, last: Row | None) -> tuple[Parameter, ...]:
        """Return the parameters of ``condition`` after the last row that was read."""
        key = self.start if last is None else ((last[_STUDY_DATE], last[0]) if self.by_date else (last[0],))
        return key if self.token is None else (self.token, *key)

    def after(self, keys: list[Row], last: Row) -> list[int]:
        """Return the ids of those that come after the last row, in the order of the walk.

        Args:
            keys: id and study date of studies.
            last: the last row that was read.
        """
        if not self.by_date:
            return sorted((row[0] for row in keys if row[0] < last[0]), reverse=True)
        dated = sorted(((row[1], row[0]) for row in keys if row[1] is not None), reverse=True)
        return [study_id for date, study_id in dated if (date, study_id) < (last[_STUDY_DATE], last[0])]


def _walk_of(plan: Plan) -> _Walk:
    if plan.token is not None:
        # The token's rows lie together and in order, so the walk reads nothing else.
        return _Walk(
            "study_token AS walk CROSS JOIN listing CROSS JOIN study",
            "walk.token = ? AND walk.row_id < ? AND listing.study_id = walk.row_id AND study.id = walk.row_id",
            "walk.row_id DESC",
            (INTEGER_MAX,),
            token=plan.token,
        )
    if plan.dates is not None:
        return _Walk(
            "listing CROSS JOIN study",
            "(listing.study_date, listing.study_id) < (?, ?) AND study.id = listing.study_id",
            "listing.study_date DESC, listing.study_id DESC",
            (plan.dates[1] or _LAST_DATE, INTEGER_MAX),
            by_date=True,
        )
    return _Walk(
        "listing CROSS JOIN study",
        "listing.study_id < ? AND study.id = listing.study_id",
        "listing.study_id DESC",
        (INTEGER_MAX,),
    )


def _decided_by_index(key: Key) -> bool:
    """Tell whether what meets the conditions that come of a key meets the key."""
    if isinstance(key.match, Universal):
        return True
    if key.keyword == "StudyInstanceUID":
        return isinstance(key.match, UIDList)
    if key.keyword == "StudyDate":
        # Open at both ends it narrows nothing, and still asks that there be a date.
        return isinstance(key.match, Range) and bool(key.match.low or key.match.high)
    if key.keyword == "ModalitiesInStudy":
        return isinstance(key.match, Single) or (
            isinstance(key.match, AnyOf) and all(isinstance(one, Single) for one in key.match.matches)
        )
    return False


def _some_series_are_hidden(snapshot: Transaction) -> bool:
    return bool(snapshot.execute("SELECT 1 FROM deletion WHERE series_uid <> '' LIMIT 1"))


def _transfer_syntax(candidate: _Candidate) -> UID:
    assert candidate.instance is not None
    return candidate.instance.record.identity.transfer_syntax_uid
