"""Tables, and how they came to be: numbered migrations, each with the checksum under which it was applied.

Only the index itself is made here. Its content is rebuilt from packs, but for jobs, relations and deletions, so there is no
way back down.

**Invariant:** a migration that was released is never edited: its checksum stands in databases. None was so far: the
first one is still written in place.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import ConfigurationError
from leadglass.store.index.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. ``statements`` name types in braces, as in ``Database.types``."""

    number: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Hex SHA-256 over number, name and statements, before a dialect spells them."""
        text = "\0".join((str(self.number), self.name, *self.statements))
        return hashlib.sha256(text.encode()).hexdigest()


_LOCATION: Final = """
    pack_id {blob} NOT NULL, record_offset {int} NOT NULL, record_length {int} NOT NULL,
    object_id {blob} NOT NULL, key_id {blob} NOT NULL,
    dataset_offset {int} NOT NULL, dataset_length {int} NOT NULL, received_at {int} NOT NULL
"""

MIGRATIONS: Final = (
    Migration(
        1,
        "studies, series, instances; tokens; lists; relations; deletions; what is kept apart; packs; jobs",
        (
            "CREATE TABLE meta (name {text} PRIMARY KEY, value {blob} NOT NULL) {table}",
            # patient: keyed token of the patient's reference; groups the studies of one patient.
            """CREATE TABLE study (
                id {id}, study_uid {text} NOT NULL UNIQUE, patient {blob} NOT NULL, key_id {blob} NOT NULL,
                patient_sex {text}, study_date {text}, study_time {text},
                sealed {blob} NOT NULL) {table}""",
            "CREATE INDEX study_by_patient ON study (patient)",
            # What lists are walked by: small rows, so that passing over a study that is not shown costs little, and a
            # change of its class does not rewrite the sealed row. Nothing here decides (``sieve``).
            # class_id: of access_class; null while it is not known. hidden: see ``deletions``.
            """CREATE TABLE listing (
                study_id {int} PRIMARY KEY, study_date {text}, class_id {int}, hidden {int} NOT NULL) {table}""",
            # Covers the walk from the newest on.
            "CREATE INDEX listing_by_date ON listing (study_date, study_id, class_id, hidden)",
            "CREATE INDEX listing_without_class ON listing (study_id) WHERE class_id IS NULL",
            # digest: keyed token of the facts. sealed: the facts.
            """CREATE TABLE access_class (
                id {id}, digest {blob} NOT NULL UNIQUE, sealed {blob} NOT NULL) {table}""",
            # A series UID that came in two studies is two series: neither is hidden by the other.
            """CREATE TABLE series (
                id {id}, study_id {int} NOT NULL, series_uid {text} NOT NULL, key_id {blob} NOT NULL,
                modality {text}, series_number {int}, series_date {text}, series_time {text},
                body_part_examined {text}, laterality {text},
                performed_procedure_step_start_date {text}, performed_procedure_step_start_time {text},
                sealed {blob} NOT NULL,
                UNIQUE (study_id, series_uid)) {table}""",
            "CREATE INDEX series_by_uid ON series (series_uid)",
            f"""CREATE TABLE instance (
                id {{id}}, series_id {{int}} NOT NULL, sop_instance_uid {{text}} NOT NULL UNIQUE,
                sop_class_uid {{text}} NOT NULL, transfer_syntax_uid {{text}} NOT NULL,
                {_LOCATION},
                instance_number {{int}}, content_date {{text}}, content_time {{text}},
                acquisition_date {{text}}, acquisition_time {{text}},
                number_of_frames {{int}}, "rows" {{int}}, "columns" {{int}}, bits_allocated {{int}},
                sealed {{blob}} NOT NULL) {{table}}""",
            "CREATE INDEX instance_by_series ON instance (series_id)",
            "CREATE TABLE study_token (token {blob}, row_id {int}, PRIMARY KEY (token, row_id)) {clustered}",
            "CREATE TABLE series_token (token {blob}, row_id {int}, PRIMARY KEY (token, row_id)) {clustered}",
            f"""CREATE TABLE quarantine (
                id {{id}}, study_uid {{text}} NOT NULL, series_uid {{text}} NOT NULL,
                sop_instance_uid {{text}} NOT NULL,
                sop_class_uid {{text}} NOT NULL, transfer_syntax_uid {{text}} NOT NULL,
                {_LOCATION},
                reason {{text}} NOT NULL, sealed {{blob}} NOT NULL, UNIQUE (object_id)) {{table}}""",
            "CREATE INDEX quarantine_instance ON quarantine (sop_instance_uid)",
            # What describes an object, sealed and bound to it (``descriptions``).
            # Apart, because whoever reads the one would read over the other.
            "CREATE TABLE outline (id {id}, object_id {blob} NOT NULL UNIQUE, sealed {blob} NOT NULL) {table}",
            "CREATE TABLE metadata (id {id}, object_id {blob} NOT NULL UNIQUE, sealed {blob} NOT NULL) {table}",
            # Of people, not of packs: not rebuilt. holder, target: keyed tokens. until: microseconds since 1970.
            """CREATE TABLE relation (
                id {id}, holder {blob} NOT NULL, kind {text} NOT NULL, target {blob} NOT NULL, until {int} NOT NULL,
                sealed {blob} NOT NULL, UNIQUE (holder, kind, target)) {table}""",
            # As relation. UIDs below the deleted level are empty.
            """CREATE TABLE deletion (
                id {id}, deletion_id {blob} NOT NULL UNIQUE, level {text} NOT NULL, study_uid {text} NOT NULL,
                series_uid {text} NOT NULL, sop_instance_uid {text} NOT NULL, deleted_at {int} NOT NULL,
                restorable_until {int} NOT NULL, sealed {blob} NOT NULL) {table}""",
            "CREATE INDEX deletion_by_study ON deletion (study_uid, series_uid, sop_instance_uid)",
            # seal: keyed token over the pack's id; a note that does not verify is as good as none (replay).
            "CREATE TABLE pack (pack_id {blob} PRIMARY KEY, seal {blob} NOT NULL) {table}",
            """CREATE TABLE job (
                id {id}, kind {text} NOT NULL, payload {blob} NOT NULL, state {text} NOT NULL,
                attempts {int} NOT NULL, due_at {int} NOT NULL, lease {blob},
                enqueued_at {int} NOT NULL, reason {text} NOT NULL) {table}""",
            "CREATE INDEX job_by_due ON job (state, due_at)",
        ),
    ),
    Migration(
        2,
        "worklist",
        (
            """CREATE TABLE workitem (
                id {id}, uid {text} NOT NULL UNIQUE, state {text} NOT NULL, version {int} NOT NULL,
                changed_at {int} NOT NULL, sealed {blob} NOT NULL) {table}""",
            "CREATE INDEX workitem_by_state ON workitem (state)",
            """CREATE TABLE workitem_subscription (
                ae_title {text}, target {text}, sealed {blob} NOT NULL, PRIMARY KEY (ae_title, target)) {table}""",
        ),
    ),
)


def migrate(database: Database) -> None:
    """Bring the database to the newest schema.

    Raises:
        ConfigurationError: it was made by a newer Leadglass, or a migration was not what it is now.
    """
    with database.writing(durable=True) as transaction:
        database.lock_migrations(transaction)
        types = database.types
        transaction.execute(
            "CREATE TABLE IF NOT EXISTS migration (number {int} PRIMARY KEY, checksum {text} NOT NULL) {table}".format_map(
                types
            )
        )
        applied = _applied(transaction)
        if applied and max(applied) > MIGRATIONS[-1].number:
            raise ConfigurationError(
                "the index database was made by a newer version of Leadglass",
                hint="run that version, or rebuild the index from the packs (leadglass vault reindex)",
            )
        for migration in MIGRATIONS:
            known = applied.get(migration.number)
            if known is None:
                for statement in migration.statements:
                    transaction.execute(statement.format_map(types))
                transaction.execute(
                    "INSERT INTO migration (number, checksum) VALUES (?, ?)",
                    (migration.number, migration.checksum),
                )
            elif known != migration.checksum:
                raise ConfigurationError(
                    f"migration {migration.number} of the index database is not the one of this version",
                    hint="rebuild the index from the packs (leadglass vault reindex)",
                )


def _applied(transaction: Transaction) -> dict[int, str]:
    return {
        int(number): str(checksum)
        for number, checksum in transaction.execute("SELECT number, checksum FROM migration")
    }
