"""Searching: candidates by conditions of SQL, each unsealed, and the matcher of ``dicom.query`` decides.

Rows are read in pages by key, each page in a transaction of its own: a peer that reads its answers slowly holds no
snapshot, and the write-ahead log can be cut meanwhile.

**Invariant:** what is yielded was unsealed and met every key; a count is what the database says (a database that hides
rows counts less), every other computed value was seen in a row whose seal opened.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import OutOfResources
from leadglass.base.ids import UID
from leadglass.base.limits import QUERY_CANDIDATES_MAX
from leadglass.dicom.models import Level
from leadglass.dicom.query import Query, Responder, Universal, narrow
from leadglass.store.index.conditions import Conditions, Plan, make_plan
from leadglass.store.index.database import Database, Parameter, Row
from leadglass.store.index.interfaces import Match
from leadglass.store.index.rows import (
    SELECT_INSTANCE,
    SELECT_SERIES,
    SELECT_STUDY,
    SERIES_NAMES,
    STUDY_NAMES,
    OpenedInstance,
    OpenedLevel,
    RowSeal,
)
from leadglass.store.index.tokens import BlindIndex

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

PAGE_ROWS: Final = 128
"""Rows read at once: some 200 KiB."""

UIDS_PER_PAGE: Final = 512
"""Named studies looked up at once."""

_SERIES_UID: Final = 1
"""Where the UID stands in ``SELECT_SERIES``."""

_STUDY_DATE: Final = 1 + STUDY_NAMES.index("study_date")
_MODALITY: Final = 1 + SERIES_NAMES.index("modality")

_SERIES_OF_STUDY: Final = "SELECT count(*) FROM series WHERE study_id = ?"
_INSTANCES_OF_SERIES: Final = "SELECT count(*) FROM instance WHERE series_id = ?"
_INSTANCES_OF_STUDY: Final = """
    SELECT count(*) FROM series JOIN instance ON instance.series_id = series.id WHERE series.study_id = ?
"""
_STUDIES_OF_PATIENT: Final = "SELECT count(*) FROM study WHERE patient = ?"
_SERIES_OF_PATIENT: Final = """
    SELECT count(*) FROM study JOIN series ON series.study_id = study.id WHERE study.patient = ?
"""
_INSTANCES_OF_PATIENT: Final = """
    SELECT count(*) FROM study JOIN series ON series.study_id = study.id
    JOIN instance ON instance.series_id = series.id WHERE study.patient = ?
"""
_SERIES_PER_MODALITY: Final = f"""
    SELECT {SELECT_SERIES} FROM series WHERE series.id IN (
        SELECT min(id) FROM series WHERE study_id = ? AND modality IS NOT NULL GROUP BY modality)
"""
_INSTANCE_PER_SOP_CLASS: Final = f"""
    SELECT {SELECT_INSTANCE}, series.series_uid FROM instance JOIN series ON series.id = instance.series_id
    WHERE instance.id IN (
        SELECT min(instance.id) FROM series JOIN instance ON instance.series_id = series.id
        WHERE series.study_id = ? GROUP BY instance.sop_class_uid)
"""

Computed = dict[str, str | int | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Candidate:
    study: OpenedLevel
    patient: bytes
    series: OpenedLevel | None = None
    instance: OpenedInstance | None = None

    @property
    def datasets(self) -> list[bytes]:
        return [level.dataset for level in (self.study, self.series, self.instance) if level is not None]


class Search:
    """Answers queries on one database."""

    def __init__(self, database: Database, seal: RowSeal, blind: BlindIndex) -> None:
        self._database = database
        self._seal = seal
        self._blind = blind
        self._compute: dict[str, Callable[[_Candidate], str | int | tuple[str, ...]]] = {
            "ModalitiesInStudy": self._modalities_in_study,
            "SOPClassesInStudy": self._sop_classes_in_study,
            "NumberOfStudyRelatedSeries": lambda c: self._count(_SERIES_OF_STUDY, c.study.row_id),
            "NumberOfStudyRelatedInstances": lambda c: self._count(_INSTANCES_OF_STUDY, c.study.row_id),
            "NumberOfPatientRelatedStudies": lambda c: self._count(_STUDIES_OF_PATIENT, c.patient),
            "NumberOfPatientRelatedSeries": lambda c: self._count(_SERIES_OF_PATIENT, c.patient),
            "NumberOfPatientRelatedInstances": lambda c: self._count(_INSTANCES_OF_PATIENT, c.patient),
            "NumberOfSeriesRelatedInstances": self._instances_of_series,
            "AvailableTransferSyntaxUID": _transfer_syntax,
        }

    def matches(self, query: Query) -> Iterator[Match]:
        """Yield what matches, in the order of arrival (of the walk's key). See ``Index.search``."""
        asked = [key for key in query.keys if key.keyword in self._compute]
        deciding = [key.keyword for key in asked if not isinstance(key.match, Universal)]
        telling = [key.keyword for key in asked if isinstance(key.match, Universal)]
        responder = Responder(query)
        patients_answered: set[bytes] = set()
        for candidate in self._candidates(query):
            if query.level is Level.PATIENT and candidate.patient in patients_answered:
                continue
            computed = self._computed(candidate, deciding)
            response = responder.respond(candidate.datasets, computed)
            if response is None:
                continue
            if telling:
                # Counting is for matches only: a name with wild cards may have a thousand candidates for one match.
                response = responder.respond(
                    candidate.datasets, computed | self._computed(candidate, telling)
                )
            if response is None:
                continue
            if query.level is Level.PATIENT:
                patients_answered.add(candidate.patient)
            yield Match(query.level, candidate.study.uid, response)

    def _computed(self, candidate: _Candidate, keywords: list[str]) -> Computed:
        return {keyword: self._compute[keyword](candidate) for keyword in keywords}

    # --- candidates --------------------------------------------------------------------------------------------

    def _candidates(self, query: Query) -> Iterator[_Candidate]:
        plan = make_plan(narrow(query), query.level, self._database, self._blind)
        allowance = _Allowance()
        for row in self._studies(plan):
            allowance.take()
            candidate = _Candidate(self._seal.open_study(row), row[2])
            if query.level in (Level.PATIENT, Level.STUDY):
                yield candidate
                continue
            for with_series in self._series(plan, candidate):
                allowance.take()
                if query.level is Level.SERIES:
                    yield with_series
                    continue
                for with_instance in self._instances(plan, with_series):
                    allowance.take()
                    yield with_instance

    def _studies(self, plan: Plan) -> Iterator[Row]:
        if plan.study_uids is not None:
            yield from self._named_studies(plan, plan.study_uids)
        elif plan.token is not None:
            # The token's rows lie together and in order, so the walk reads nothing else.
            # CROSS JOIN: SQLite keeps the order of the tables.
            yield from self._pages(
                f"SELECT {SELECT_STUDY} FROM study_token AS walk CROSS JOIN study "
                f"WHERE walk.token = ? AND walk.row_id > ? AND study.id = walk.row_id AND {plan.study.where()} "
                f"ORDER BY walk.row_id LIMIT {PAGE_ROWS}",
                lambda last: (plan.token, last[0] if last else 0, *plan.study.parameters),
            )
        elif plan.dates is not None:
            yield from self._pages(
                f"SELECT {SELECT_STUDY} FROM study "
                f"WHERE (study.study_date, study.id) > (?, ?) AND {plan.study.where()} "
                f"ORDER BY study.study_date, study.id LIMIT {PAGE_ROWS}",
                lambda last: (*((last[_STUDY_DATE], last[0]) if last else ("", 0)), *plan.study.parameters),
            )
        else:
            yield from self._pages(
                f"SELECT {SELECT_STUDY} FROM study WHERE study.id > ? AND {plan.study.where()} "
                f"ORDER BY study.id LIMIT {PAGE_ROWS}",
                lambda last: (last[0] if last else 0, *plan.study.parameters),
            )

    def _named_studies(self, plan: Plan, uids: tuple[str, ...]) -> Iterator[Row]:
        conditions = plan.study
        if plan.token is not None:
            conditions = Conditions(list(plan.study.sql), list(plan.study.parameters))
            conditions.add("study.id IN (SELECT row_id FROM study_token WHERE token = ?)", plan.token)
        for start in range(0, len(uids), UIDS_PER_PAGE):
            named, parameter = self._database.any_of("study.study_uid", uids[start : start + UIDS_PER_PAGE])
            with self._database.reading() as snapshot:
                rows = snapshot.execute(
                    f"SELECT {SELECT_STUDY} FROM study WHERE {named} AND {conditions.where()} ORDER BY study.id",
                    (parameter, *conditions.parameters),
                )
            yield from rows

    def _series(self, plan: Plan, candidate: _Candidate) -> Iterator[_Candidate]:
        study = candidate.study
        rows = self._pages(
            f"SELECT {SELECT_SERIES} FROM series "
            f"WHERE series.study_id = ? AND series.series_uid > ? AND {plan.series.where()} "
            f"ORDER BY series.series_uid LIMIT {PAGE_ROWS}",
            lambda last: (study.row_id, last[_SERIES_UID] if last else "", *plan.series.parameters),
        )
        for row in rows:
            yield _Candidate(study, candidate.patient, self._seal.open_series(row, study.uid))

    def _instances(self, plan: Plan, candidate: _Candidate) -> Iterator[_Candidate]:
        study, series = candidate.study, candidate.series
        assert series is not None
        rows = self._pages(
            f"SELECT {SELECT_INSTANCE} FROM instance "
            f"WHERE instance.series_id = ? AND instance.id > ? AND {plan.instance.where()} "
            f"ORDER BY instance.id LIMIT {PAGE_ROWS}",
            lambda last: (series.row_id, last[0] if last else 0, *plan.instance.parameters),
        )
        for row in rows:
            opened = self._seal.open_instance(row, study.uid, series.uid)
            yield _Candidate(study, candidate.patient, series, opened)

    def _pages(
        self, statement: str, parameters: "Callable[[Row | None], tuple[Parameter, ...]]"
    ) -> Iterator[Row]:
        last: Row | None = None
        while True:
            with self._database.reading() as snapshot:
                rows = snapshot.execute(statement, parameters(last))
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1]

    # --- computed ----------------------------------------------------------------------------------------------

    def _count(self, statement: str, key: Parameter) -> int:
        with self._database.reading() as snapshot:
            return int(snapshot.execute(statement, (key,))[0][0])

    def _instances_of_series(self, candidate: _Candidate) -> int:
        assert candidate.series is not None
        return self._count(_INSTANCES_OF_SERIES, candidate.series.row_id)

    def _modalities_in_study(self, candidate: _Candidate) -> tuple[str, ...]:
        """Open one series row for every modality: the row proves that the study has it."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute(_SERIES_PER_MODALITY, (candidate.study.row_id,))
        for row in rows:
            self._seal.open_series(row, candidate.study.uid)
        return tuple(sorted({row[_MODALITY] for row in rows}))

    def _sop_classes_in_study(self, candidate: _Candidate) -> tuple[str, ...]:
        """Open one instance row for every SOP class: the row proves that the study has it."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute(_INSTANCE_PER_SOP_CLASS, (candidate.study.row_id,))
        opened = [self._seal.open_instance(row[:-1], candidate.study.uid, row[-1]) for row in rows]
        return tuple(sorted({o.record.identity.sop_class_uid for o in opened}))


class _Allowance:
    """Rows that one query may still open."""

    def __init__(self) -> None:
        self._left = QUERY_CANDIDATES_MAX

    def take(self) -> None:
        if self._left == 0:
            raise OutOfResources("a query has more candidates than may be opened for it; narrow it")
        self._left -= 1


def _transfer_syntax(candidate: _Candidate) -> UID:
    assert candidate.instance is not None
    return candidate.instance.record.identity.transfer_syntax_uid
