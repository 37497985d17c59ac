"""Soft deletion: what nobody is shown any more, and can be shown again.

A row names what is hidden by its UIDs, and hides what comes later under the same UIDs too: an image that arrives in a
deleted study stays hidden with it, whichever of the two was first. It is kept by a rebuild of the index, as it is of
people and not of packs.

How much of it is believed: the seal binds who, when and why. The database can show again what was deleted, by leaving
out the row; policy still decides who sees it, and the audit log still says that it was deleted. It gains nothing that
the deletion was to protect from: that is the disposal of the octets, which needs a key.

``listing.hidden`` repeats what the rows say for the walk over a million studies: 0 nothing is hidden, 1 all of the study
is, 2 some of it is.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError, NotFound, UsageError
from leadglass.base.ids import UID
from leadglass.dicom.models import Level
from leadglass.store.index.database import Database, Row, Transaction
from leadglass.store.index.interfaces import Deletion, RowFinding
from leadglass.store.index.rows import microseconds, moment
from leadglass.store.index.site_rows import SiteRows

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

VISIBLE: Final = 0
HIDDEN: Final = 1
PARTLY_HIDDEN: Final = 2

INSTANCE_SHOWN: Final = """NOT EXISTS (SELECT 1 FROM deletion WHERE deletion.study_uid = study.study_uid
    AND deletion.series_uid = series.series_uid AND deletion.sop_instance_uid IN ('', instance.sop_instance_uid))"""
"""Where study, series and instance are joined and the study is not ``HIDDEN``."""

SERIES_SHOWN: Final = (
    f"EXISTS (SELECT 1 FROM instance WHERE instance.series_id = series.id AND {INSTANCE_SHOWN})"
)
"""Where study and series are joined."""

STUDY_SHOWN: Final = f"""(listing.hidden = {VISIBLE} OR (listing.hidden = {PARTLY_HIDDEN} AND EXISTS (
    SELECT 1 FROM study JOIN series ON series.study_id = study.id
    WHERE study.id = listing.study_id AND {SERIES_SHOWN})))"""
"""Of a row of ``listing``. A study of which nothing is left to show is not shown either."""

_KIND: Final = "deletion"
_COLUMNS: Final = (
    "deletion_id, level, study_uid, series_uid, sop_instance_uid, deleted_at, restorable_until, sealed"
)
_Sealed = tuple[str, str]
_decode = msgspec.msgpack.Decoder(_Sealed).decode
_PAGE_ROWS: Final = 256


class DeletionRows:
    """What is deleted softly in one database."""

    def __init__(self, database: Database, site: SiteRows) -> None:
        self._database = database
        self._site = site

    def add(self, deletion: Deletion) -> int:
        """Hide what a deletion names. See ``Index.delete``.

        Raises:
            UsageError: its level does not go with its UIDs.
        """
        _require_uids(deletion)
        columns = (
            deletion.deletion_id,
            deletion.level.value,
            str(deletion.study_uid),
            deletion.series_uid,
            deletion.sop_instance_uid,
            microseconds(deletion.deleted_at),
            microseconds(deletion.restorable_until),
        )
        sealed = self._site.seal(_KIND, (deletion.deleted_by, deletion.reason), *columns)
        with self._database.writing(durable=True) as transaction:
            hidden = self._locked(transaction, deletion.study_uid)
            if hidden in (None, HIDDEN):
                return 0
            instances = _shown(transaction, deletion)
            if instances:
                transaction.execute(
                    f"INSERT INTO deletion ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*columns, sealed)
                )
                self._refresh(transaction, deletion.study_uid)
        return instances

    def remove(self, deletion_id: bytes) -> int:
        """Undo a deletion. See ``Index.restore``."""
        with self._database.writing(durable=True) as transaction:
            found = transaction.execute(
                f"SELECT {_COLUMNS} FROM deletion WHERE deletion_id = ?", (deletion_id,)
            )
            if not found:
                raise NotFound("there is no such deletion")
            deletion = self._opened(found[0])
            self._locked(transaction, deletion.study_uid)
            transaction.execute("DELETE FROM deletion WHERE deletion_id = ?", (deletion_id,))
            hidden = self._refresh(transaction, deletion.study_uid)
            return 0 if hidden == HIDDEN else _shown(transaction, deletion)

    def all(self) -> Iterator[Deletion]:
        """Yield what is deleted softly, newest first. See ``Index.deletions``."""
        before: int | None = None
        while True:
            with self._database.reading() as snapshot:
                rows = snapshot.execute(
                    f"SELECT id, {_COLUMNS} FROM deletion WHERE id < ? ORDER BY id DESC LIMIT {_PAGE_ROWS}",
                    (2**63 - 1 if before is None else before,),
                )
            for _, *row in rows:
                yield self._opened(tuple(row))
            if len(rows) < _PAGE_ROWS:
                return
            before = int(rows[-1][0])

    def findings(self) -> list[RowFinding]:
        """Open every row; return what does not open."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute(f"SELECT id, {_COLUMNS} FROM deletion ORDER BY id")
        found: list[RowFinding] = []
        for row_id, *row in rows:
            try:
                self._opened(tuple(row))
            except IntegrityError as error:
                found.append(RowFinding(f"deletion row {row_id}", str(error)))
        return found

    def state(self, transaction: Transaction, study_uid: str) -> int:
        """Return what ``listing.hidden`` must be."""
        rows = transaction.execute(
            "SELECT min(series_uid) FROM deletion WHERE study_uid = ?", (study_uid,)
        )  # a deletion of the whole study has none
        least = rows[0][0]
        return VISIBLE if least is None else HIDDEN if least == "" else PARTLY_HIDDEN

    def _refresh(self, transaction: Transaction, study_uid: str) -> int:
        hidden = self.state(transaction, study_uid)
        transaction.execute(
            "UPDATE listing SET hidden = ? WHERE study_id = (SELECT id FROM study WHERE study_uid = ?)",
            (hidden, study_uid),
        )
        return hidden

    @staticmethod
    def _locked(transaction: Transaction, study_uid: str) -> int | None:
        """Return whether a study is hidden, None for one that is not held; other nodes wait until we are done."""
        rows = transaction.execute(
            "UPDATE listing SET hidden = hidden WHERE study_id = (SELECT id FROM study WHERE study_uid = ?) "
            "RETURNING hidden",
            (study_uid,),
        )
        return int(rows[0][0]) if rows else None

    def _opened(self, row: Row) -> Deletion:
        *columns, sealed = row
        deletion_id, level, study, series, instance, at, until = columns
        try:
            deleted_by, reason = _decode(self._site.open(_KIND, sealed, *columns))
            return Deletion(
                bytes(deletion_id),
                Level(level),
                UID(study),
                series,
                instance,
                moment(at),
                deleted_by,
                reason,
                moment(until),
            )
        except (msgspec.MsgspecError, ValueError):
            raise IntegrityError("a row of table deletion is not what was written") from None


def _shown(transaction: Transaction, deletion: Deletion) -> int:
    """Return how many instances that a deletion names are shown; its study is not ``HIDDEN``."""
    conditions, parameters = ["study.study_uid = ?"], [str(deletion.study_uid)]
    for column, value in (
        ("series.series_uid", deletion.series_uid),
        ("instance.sop_instance_uid", deletion.sop_instance_uid),
    ):
        if value:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    rows = transaction.execute(
        "SELECT count(*) FROM study JOIN series ON series.study_id = study.id "
        f"JOIN instance ON instance.series_id = series.id WHERE {' AND '.join(conditions)} AND {INSTANCE_SHOWN}",
        parameters,
    )
    return int(rows[0][0])


def _require_uids(deletion: Deletion) -> None:
    given = (bool(deletion.series_uid), bool(deletion.sop_instance_uid))
    wanted = {Level.STUDY: (False, False), Level.SERIES: (True, False), Level.IMAGE: (True, True)}
    if wanted.get(deletion.level) != given:
        raise UsageError("the level of a deletion does not go with the UIDs that it names")
