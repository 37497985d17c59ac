"""From what narrows a query to conditions of SQL: parameters only, never a value in a statement.

A condition never hides a match. A value that no column can hold (``rows.storable``) may still be one that an object has,
so it asks for rows whose column is empty.

**Invariant:** table and column names come from ``dicom.attributes`` and from this package.
"""

from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.attributes import Kind
from leadglass.dicom.models import Level
from leadglass.dicom.query import ColumnCandidates, Narrowing, TokenCandidates
from leadglass.store.index.database import Database, Parameter
from leadglass.store.index.rows import storable
from leadglass.store.index.tokens import BlindIndex

# ruff: noqa: S608 - names are constants, see the invariant

TABLE_OF_LEVEL: Final = {
    Level.PATIENT: "study",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
"""A study keeps what it said of its patient; there is no table of patients."""

_UNIQUE_KEYS: Final = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"})

_STUDIES_WITH: Final = {
    "series": "study.id IN (SELECT series.study_id FROM series WHERE {})",
    "instance": "study.id IN (SELECT series.study_id FROM instance "
    "JOIN series ON series.id = instance.series_id WHERE {})",
}
_SERIES_WITH: Final = "series.id IN (SELECT instance.series_id FROM instance WHERE {})"


@dataclass(slots=True)
class Conditions:
    """Conditions on one table, all of which must hold, and their parameters in the same order."""

    sql: list[str] = field(default_factory=list[str])
    parameters: list[Parameter] = field(default_factory=list[Parameter])

    def add(self, sql: str, *parameters: Parameter) -> None:
        """Add one."""
        self.sql.append(sql)
        self.parameters.extend(parameters)

    def where(self, *more: str) -> str:
        """Return them, and ``more`` after them, as one condition."""
        return " AND ".join((*self.sql, *more)) or "1 = 1"


@dataclass(slots=True)
class Plan:
    """How the candidates of a query are found.

    Attributes:
        listing: conditions on the study's row in ``listing``.
        study: conditions on the study, those from lower levels included.
        series: conditions on the series.
        instance: conditions on the instance.
        study_uids: the studies, when the query names them; walked instead of the table.
        token: a token of the study to walk by, instead of the table.
        dates: lower and upper Study Date to walk by; empty is open.
        modalities: of which the study has one; None where any will do. Classes of studies tell it.
    """

    listing: Conditions = field(default_factory=Conditions)
    study: Conditions = field(default_factory=Conditions)
    series: Conditions = field(default_factory=Conditions)
    instance: Conditions = field(default_factory=Conditions)
    study_uids: tuple[str, ...] | None = None
    token: bytes | None = None
    dates: tuple[str, str] | None = None
    modalities: frozenset[str] | None = None


def make_plan(narrowing: Narrowing, level: Level, database: Database, blind: BlindIndex) -> Plan:
    """Return how to find the candidates of a query at ``level``."""
    plan = Plan()
    on = {"study": plan.study, "series": plan.series, "instance": plan.instance}
    selective: list[tuple[str, str, tuple[Parameter, ...]]] = []
    for candidates in narrowing.tokens:
        token = _token(candidates, blind)
        table = TABLE_OF_LEVEL[candidates.attribute.level]
        if token is None or table == "instance":
            continue
        if table == "study" and (plan.token is None or candidates.exact):
            if plan.token is not None:
                plan.study.add(_has_token("study"), plan.token)
            plan.token = token
            continue
        on[table].add(_has_token(table), token)
        selective.append((table, _has_token(table), (token,)))
    for column in narrowing.columns:
        _add_column(plan, on, selective, column, database)
    if plan.study_uids is None:
        for table, sql, parameters in selective:
            if table in _STUDIES_WITH:
                plan.study.add(_STUDIES_WITH[table].format(sql), *parameters)
    if level is Level.IMAGE:
        for table, sql, parameters in selective:
            if table == "instance":
                plan.series.add(_SERIES_WITH.format(sql), *parameters)
    return plan


def _add_column(
    plan: Plan,
    on: dict[str, Conditions],
    selective: list[tuple[str, str, tuple[Parameter, ...]]],
    column: ColumnCandidates,
    database: Database,
) -> None:
    attribute = column.attribute
    if attribute.keyword == "StudyInstanceUID" and column.values is not None:
        plan.study_uids = tuple(dict.fromkeys(str(v) for v in column.values if storable(v) is not None))
        return
    if attribute.keyword == "StudyDate" and column.values is None:
        _add_dates(plan, column, database)
        return
    table = TABLE_OF_LEVEL[attribute.level]
    condition = _on_column(f'{table}."{attribute.column}"', column, database)
    if condition is None:
        return
    sql, parameters = condition
    if column.any_below:
        if attribute.column == "modality" and plan.modalities is None and column.values is not None:
            plan.modalities = frozenset(str(value) for value in column.values)
            return
        plan.study.add(_exists_below(table, sql), *parameters)
        return
    on[table].add(sql, *parameters)
    if attribute.kind is Kind.IDENTITY and attribute.keyword in _UNIQUE_KEYS:
        selective.append((table, sql, parameters))


def _add_dates(plan: Plan, column: ColumnCandidates, database: Database) -> None:
    condition = _on_column("listing.study_date", column, database)
    if condition is not None:
        sql, parameters = condition
        plan.listing.add(sql, *parameters)
        plan.dates = (column.low, column.high)


def _on_column(
    name: str, column: ColumnCandidates, database: Database
) -> tuple[str, tuple[Parameter, ...]] | None:
    if column.values is None:
        ends = [(op, storable(end)) for op, end in ((">=", column.low), ("<=", column.high)) if end]
        held = [(op, end) for op, end in ends if end is not None]
        if not held:
            return None
        return " AND ".join(f"{name} {op} ?" for op, _ in held), tuple(end for _, end in held)
    values = [storable(value) for value in column.values]
    texts = [v for v in values if isinstance(v, str)]
    numbers = [v for v in values if isinstance(v, int)]
    sql, parameter = database.any_of(name, numbers or texts)
    return (f"({sql} OR {name} IS NULL)" if None in values else sql), (parameter,)


def _exists_below(table: str, sql: str) -> str:
    if table == "series":
        return f"EXISTS (SELECT 1 FROM series WHERE series.study_id = study.id AND {sql})"
    return (
        "EXISTS (SELECT 1 FROM series JOIN instance ON instance.series_id = series.id "
        f"WHERE series.study_id = study.id AND {sql})"
    )


def _has_token(table: str) -> str:
    return f"{table}.id IN (SELECT row_id FROM {table}_token WHERE token = ?)"


def _token(candidates: TokenCandidates, blind: BlindIndex) -> bytes | None:
    field_name = candidates.attribute.keyword
    if candidates.exact:
        return blind.exact(field_name, candidates.exact)
    return blind.prefix(field_name, candidates.prefix)
