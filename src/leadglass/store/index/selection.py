"""Selecting the instances of a retrieve: by UIDs and by patient, ordered as a reader would hang them.

**Invariant:** a patient is not selected by token alone: the unsealed Patient ID decides. Nothing that is deleted softly is
selected.
"""

from collections.abc import Iterator
from typing import Final

from leadglass.base.errors import IdentifierRefused
from leadglass.dicom.models import Level
from leadglass.dicom.normalise import fold_text
from leadglass.dicom.query import Key, Model, Query, Responder, Single
from leadglass.store.index.conditions import Conditions
from leadglass.store.index.database import Database, Row
from leadglass.store.index.deletions import HIDDEN, INSTANCE_SHOWN, PARTLY_HIDDEN
from leadglass.store.index.interfaces import InstanceRecord, Selector
from leadglass.store.index.rows import SELECT_INSTANCE, SELECT_STUDY, STUDY_WIDTH, RowSeal
from leadglass.store.index.tokens import BlindIndex

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

_PATIENT_ID: Final = ("PatientID", 0x0010_0020, "LO")


class Selection:
    """Answers selectors on one database."""

    def __init__(self, database: Database, seal: RowSeal, blind: BlindIndex) -> None:
        self._database = database
        self._seal = seal
        self._blind = blind

    def instances(self, selector: Selector) -> Iterator[InstanceRecord]:
        """Yield instances by study, series number and instance number. See ``Index.select``.

        Raises:
            IdentifierRefused: it names nothing at all.
        """
        named = (selector.patient_id, selector.study_uids, selector.series_uids, selector.sop_instance_uids)
        if not any(named):
            raise IdentifierRefused("a retrieve names neither a patient nor a UID")
        belongs = _Belongs(self._seal, selector.patient_id)
        for series_id, series_uid, hidden, *study in self._series(selector):
            if belongs.to_patient(tuple(study)):
                study_uid = study[1]
                for row in self._rows(series_id, selector, partly=hidden == PARTLY_HIDDEN):
                    yield self._seal.open_instance(row, study_uid, series_uid).record

    def _series(self, selector: Selector) -> list[Row]:
        conditions = Conditions()
        if selector.patient_id:
            token = self._blind.exact("PatientID", fold_text(selector.patient_id))
            conditions.add("study.id IN (SELECT row_id FROM study_token WHERE token = ?)", token)
        if selector.study_uids:
            sql, parameter = self._database.any_of("study.study_uid", selector.study_uids)
            conditions.add(sql, parameter)
        if selector.series_uids:
            sql, parameter = self._database.any_of("series.series_uid", selector.series_uids)
            conditions.add(sql, parameter)
        if selector.sop_instance_uids:
            sql, parameter = self._database.any_of("sop_instance_uid", selector.sop_instance_uids)
            conditions.add(f"series.id IN (SELECT series_id FROM instance WHERE {sql})", parameter)
        with self._database.reading() as snapshot:
            return snapshot.execute(
                f"SELECT series.id, series.series_uid, listing.hidden, {SELECT_STUDY} "
                "FROM study JOIN listing ON listing.study_id = study.id JOIN series ON series.study_id = study.id "
                f"WHERE {conditions.where(f'listing.hidden <> {HIDDEN}')} "
                "ORDER BY study.id, series.series_number IS NULL, series.series_number, series.id",
                conditions.parameters,
            )

    def _rows(self, series_id: int, selector: Selector, *, partly: bool) -> list[Row]:
        conditions = Conditions()
        tables = "instance"
        if partly:
            tables += (
                " JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id"
            )
            conditions.add(INSTANCE_SHOWN)
        conditions.add("instance.series_id = ?", series_id)
        if selector.sop_instance_uids:
            # An expression, so that the walk goes over the series and not, for every series, over the whole list.
            sql, parameter = self._database.any_of(
                "(instance.sop_instance_uid || '')", selector.sop_instance_uids
            )
            conditions.add(sql, parameter)
        with self._database.reading() as snapshot:
            return snapshot.execute(
                f"SELECT {SELECT_INSTANCE} FROM {tables} WHERE {conditions.where()} "
                "ORDER BY instance.instance_number IS NULL, instance.instance_number, instance.id",
                conditions.parameters,
            )


class _Belongs:
    """Tells whether a study is of the patient that a retrieve names; remembers its last answer."""

    def __init__(self, seal: RowSeal, patient_id: str) -> None:
        self._seal = seal
        self._last: tuple[int, bool] | None = None
        self._responder: Responder | None = None
        if patient_id:
            key = Key(*_PATIENT_ID, Single(patient_id))
            self._responder = Responder(Query(Model.PATIENT, Level.STUDY, (key,)))

    def to_patient(self, study: Row) -> bool:
        if self._responder is None:
            return True
        assert len(study) == STUDY_WIDTH
        if self._last is None or self._last[0] != study[0]:
            opened = self._seal.open_study(study)
            self._last = (study[0], self._responder.respond([opened.dataset], {}) is not None)
        return self._last[1]
