"""The key ledger: what it keeps, and what it notices."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, ConfigurationError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.trust.keys import ledger as ledger_module
from leadglass.trust.keys.derive import fingerprint, label, length_prefixed
from leadglass.trust.keys.ledger import KeyLedger, LedgerFinding, StudyKeyRow
from leadglass.trust.keys.providers.key_file import KeyFileProvider

STUDIES = [UID(f"1.2.840.113619.2.55.{n}") for n in range(5)]


def accept(_row: StudyKeyRow) -> None:
    """Stand for an audit log that takes everything."""


@pytest.fixture
def provider(tmp_path: Path) -> KeyFileProvider:
    return KeyFileProvider.create(tmp_path / "root.key")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def ledger(path: Path, provider: KeyFileProvider) -> Iterator[KeyLedger]:
    made = KeyLedger.create(path, provider, FakeClock())
    for study in STUDIES:
        made.create_study_key(study, accept)
    yield made
    made.close()


def tamper(path: Path, sql: str, *arguments: object) -> None:
    """Change the file as somebody would who holds it but no key."""
    # The same SQLite as the ledger's: two in one process would lose each other's file locks.
    db = apsw.Connection(str(path))
    db.execute(sql, arguments)
    assert db.changes() > 0
    db.close()


def read(path: Path, sql: str) -> tuple[Any, ...]:
    db = apsw.Connection(str(path))
    (row,) = db.execute(sql).fetchall()
    db.close()
    return row


def test_keys_come_back_after_a_restart(path: Path, provider: KeyFileProvider) -> None:
    first = KeyLedger.create(path, provider, FakeClock())
    row, key = first.create_study_key(STUDIES[0], accept)
    purpose = first.purpose_key("index-token")
    first.close()
    again = KeyLedger.open(path, provider, FakeClock())
    found = again.find(STUDIES[0])
    assert found == row
    assert again.unwrap(found) == key
    assert again.by_id(row.key_id) == row
    assert again.purpose_key("index-token") == purpose
    assert again.tenant_id == first.tenant_id
    again.close()


def test_a_key_that_was_returned_survives_a_crash(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider
) -> None:
    """The files are copied as they lie, write-ahead log included, with nothing closed."""
    row, key = ledger.create_study_key(UID("9.9"), accept)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    after = KeyLedger.open(copy, provider, FakeClock())
    assert after.unwrap(after.by_id(row.key_id)) == key
    assert not list(after.verify())
    after.close()


def test_the_disk_is_asked_before_a_key_is_returned(ledger: KeyLedger) -> None:
    (synchronous,) = ledger._db.execute("PRAGMA synchronous").fetchone() or (None,)
    assert synchronous == 2  # FULL


def test_a_study_has_one_key(ledger: KeyLedger) -> None:
    row, key = ledger.create_study_key(STUDIES[0], accept)
    assert ledger.find(STUDIES[0]) == row
    assert ledger.create_study_key(STUDIES[0], accept) == (row, key)
    keys = {ledger.create_study_key(study, accept)[1] for study in STUDIES}
    assert len(keys) == len(STUDIES)


def test_two_processes_make_one_key(ledger: KeyLedger, path: Path, provider: KeyFileProvider) -> None:
    second = KeyLedger.open(path, provider, FakeClock())
    assert second.create_study_key(UID("7.7"), accept) == ledger.create_study_key(UID("7.7"), accept)
    second.close()


def test_an_unknown_study_has_none(ledger: KeyLedger) -> None:
    assert ledger.find(UID("9.9")) is None
    with pytest.raises(KeyUnavailable):
        ledger.by_id(b"x" * 16)


def test_where_the_event_is_refused_there_is_no_key(ledger: KeyLedger) -> None:
    def refuse(_row: StudyKeyRow) -> None:
        raise AuditUnavailable("full")

    with pytest.raises(AuditUnavailable):
        ledger.create_study_key(UID("9.9"), refuse)
    assert ledger.find(UID("9.9")) is None
    assert not list(ledger.verify())
    ledger.create_study_key(UID("9.9"), accept)
    assert ledger.find(UID("9.9")) is not None


def test_an_existing_ledger_is_never_made_again(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider
) -> None:
    with pytest.raises(ConfigurationError, match="never overwritten"):
        KeyLedger.create(path, provider, FakeClock())
    assert not list(ledger.verify())


def test_a_provider_that_does_not_wrap_leaves_nothing_behind(
    path: Path, provider: KeyFileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise KeyUnavailable("does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(KeyFileProvider, "wrap", fail)
        with pytest.raises(KeyUnavailable):
            KeyLedger.create(path, provider, FakeClock())
    assert [p.name for p in path.parent.iterdir()] == ["root.key"]
    KeyLedger.create(path, provider, FakeClock()).close()


def test_a_missing_ledger_is_not_made_by_accident(path: Path, provider: KeyFileProvider) -> None:
    with pytest.raises(ConfigurationError, match="no key ledger"):
        KeyLedger.open(path, provider, FakeClock())
    assert not path.exists()


def test_another_root_key_is_named(ledger: KeyLedger, path: Path, tmp_path: Path) -> None:
    assert ledger.tenant_id
    other = KeyFileProvider.create(tmp_path / "other.key")
    with pytest.raises(KeyUnavailable, match="another root key") as caught:
        KeyLedger.open(path, other, FakeClock())
    assert other.provider_id in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0" + bytes(5000)])
def test_what_is_no_ledger_is_refused(path: Path, provider: KeyFileProvider, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        KeyLedger.open(path, provider, FakeClock())


def test_no_uid_and_no_key_stand_in_the_files(ledger: KeyLedger, path: Path) -> None:
    keys = [ledger.create_study_key(study, accept)[1] for study in STUDIES]
    keys += [ledger.purpose_key("index-token"), *ledger._keks.values()]
    files = b"".join(p.read_bytes() for p in path.parent.iterdir() if p.name.startswith(path.name))
    assert len(files) > 4096
    for study in STUDIES:
        assert study.encode() not in files
    for key in keys:
        assert key not in files
        assert key.hex().encode() not in files


def columns_of(table: str) -> list[str]:
    statement = re.search(rf"CREATE TABLE {table} \((.*?)\) STRICT", ledger_module._SCHEMA, re.DOTALL)
    assert statement
    return re.findall(r"(\w+) (?:BLOB|INTEGER|TEXT)", statement.group(1))


STUDY_COLUMNS = columns_of("study_key")
SITE_COLUMNS = [
    (table, column)
    for table in ("ledger", "tenant_kek", "purpose_key", "head")
    for column in columns_of(table)
    if column != "one"  # held by the schema
]


def test_the_columns_are_those_that_are_tested() -> None:
    assert STUDY_COLUMNS == ["key_id", "token", "generation", "kek_version", "wrapped", "created"]
    assert len(SITE_COLUMNS) == 1 + 4 + 4 + 3


@pytest.mark.parametrize("column", STUDY_COLUMNS)
def test_each_changed_bit_of_a_study_row_is_noticed(ledger: KeyLedger, path: Path, column: str) -> None:
    row = ledger.find(STUDIES[2])
    assert row is not None
    value = getattr(row, column)
    octets = value if isinstance(value, bytes) else value.to_bytes(8, "big", signed=True)
    for bit in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        altered = bytes(changed) if isinstance(value, bytes) else int.from_bytes(changed, "big", signed=True)
        with pytest.raises(KeyUnavailable):
            ledger.unwrap(
                StudyKeyRow(**{name: getattr(row, name) for name in STUDY_COLUMNS} | {column: altered})
            )
    # And once through the file, with the last of them.
    tamper(path, f"UPDATE study_key SET {column} = ? WHERE key_id = ?", altered, row.key_id)
    findings = list(ledger.verify())
    assert {f.table for f in findings} >= {"study_key", "head"}
    assert len([f for f in findings if f.table == "study_key"]) == 1
    assert all(study not in repr(findings) for study in STUDIES)


@pytest.mark.parametrize(("table", "column"), SITE_COLUMNS)
def test_each_changed_column_of_a_site_row_is_noticed(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider, table: str, column: str
) -> None:
    ledger.close()
    (value,) = read(path, f"SELECT {column} FROM {table} LIMIT 1")
    if isinstance(value, bytes):
        altered: object = bytes([value[0] ^ 1]) + value[1:]
    else:
        altered = value + 1 if isinstance(value, int) else value + "x"
    tamper(path, f"UPDATE {table} SET {column} = ? WHERE {column} = ?", altered, value)
    with pytest.raises(KeyUnavailable, match="head" if table == "head" else "."):
        KeyLedger.open(path, provider, FakeClock())


@pytest.mark.parametrize("column", ["studies", "sum", "tag"])
def test_a_changed_head_is_noticed_by_an_open_ledger(ledger: KeyLedger, path: Path, column: str) -> None:
    (value,) = read(path, f"SELECT {column} FROM head")
    altered = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    tamper(path, f"UPDATE head SET {column} = ?", altered)
    assert [f.table for f in ledger.verify()] == ["head"]
    with pytest.raises(KeyUnavailable, match="head"):
        ledger.create_study_key(UID("9.9"), accept)


@pytest.mark.parametrize(
    ("table", "column"), [("tenant_kek", "wrapped"), ("tenant_kek", "created"), ("ledger", "tenant_id")]
)
def test_verify_sees_changed_site_rows_of_an_open_ledger(
    ledger: KeyLedger, path: Path, table: str, column: str
) -> None:
    (value,) = read(path, f"SELECT {column} FROM {table} LIMIT 1")
    altered = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value + 1
    tamper(path, f"UPDATE {table} SET {column} = ?", altered)
    assert [f.table for f in ledger.verify()] == ["tenant_kek"]


@pytest.mark.parametrize("column", STUDY_COLUMNS)
@pytest.mark.parametrize("value", [None, "text", 1.5, 7, b"", "not UTF-8"])
def test_values_of_other_types_are_an_error_of_ours(
    ledger: KeyLedger, path: Path, column: str, value: float | bytes | str | None
) -> None:
    """Who writes the file can leave STRICT aside."""
    db = apsw.Connection(str(path))
    kept = ", ".join(STUDY_COLUMNS)
    literal = "CAST(x'ff' AS TEXT)" if value == "not UTF-8" else "?"
    changed = ", ".join(literal if name == column else name for name in STUDY_COLUMNS)
    db.execute(f"CREATE TABLE loose AS SELECT {kept} FROM study_key")
    db.execute("DROP TABLE study_key")
    db.execute(f"CREATE TABLE study_key ({kept})")
    arguments = () if value == "not UTF-8" else (value,)
    db.execute(f"INSERT INTO study_key SELECT {changed} FROM loose", arguments)
    db.close()
    assert list(ledger.verify())
    try:
        row = ledger.find(STUDIES[0])
        if row is not None:
            with pytest.raises(KeyUnavailable):
                ledger.unwrap(row)
        else:
            assert column == "token"
    except KeyUnavailable:
        pass


def test_blobs_do_not_change_places(ledger: KeyLedger, path: Path) -> None:
    one, two = ledger.find(STUDIES[0]), ledger.find(STUDIES[1])
    assert one is not None
    assert two is not None
    tamper(path, "UPDATE study_key SET wrapped = ? WHERE key_id = ?", two.wrapped, one.key_id)
    (finding, head) = ledger.verify()
    assert (finding.table, finding.row) == ("study_key", one.key_id.hex())
    assert head.table == "head"


def test_a_study_cannot_be_given_the_key_of_another(ledger: KeyLedger, path: Path) -> None:
    """Swapping two tokens would seal new objects of one study under the key of another."""
    one, two = ledger.find(STUDIES[0]), ledger.find(STUDIES[1])
    assert one is not None
    assert two is not None
    tamper(path, "DELETE FROM study_key WHERE key_id = ?", two.key_id)
    tamper(path, "UPDATE study_key SET token = ? WHERE key_id = ?", two.token, one.key_id)
    row = ledger.find(STUDIES[1])
    assert row is not None
    with pytest.raises(KeyUnavailable):
        ledger.unwrap(row)


def test_a_row_that_vanished_is_noticed(ledger: KeyLedger, path: Path) -> None:
    tamper(path, "DELETE FROM study_key WHERE token = ?", ledger.study_token(STUDIES[0]))
    assert list(ledger.verify()) == [LedgerFinding("head", "1", "5 study keys were written, 4 are there")]


def test_a_row_that_came_back_is_noticed(ledger: KeyLedger, path: Path) -> None:
    """One row out, one of an older copy in: the count fits, the sum does not."""
    row = ledger.find(STUDIES[0])
    assert row is not None
    head = read(path, "SELECT studies, sum, tag FROM head")
    ledger.create_study_key(UID("9.9"), accept)  # the head counts six
    tamper(path, "DELETE FROM study_key WHERE token = ?", row.token)  # five are there
    tamper(path, "UPDATE head SET studies = ?, sum = ?, tag = ?", *head)  # an older head, genuine
    with pytest.raises(KeyUnavailable, match=path.name):
        ledger.create_study_key(STUDIES[0], accept)
    assert [f.reason for f in ledger.verify()] == ["the study keys are not those that were written"]


def test_damaged_pages_are_an_error_of_ours(ledger: KeyLedger, path: Path, provider: KeyFileProvider) -> None:
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(KeyUnavailable):
        KeyLedger.open(path, provider, FakeClock())


def test_a_closed_ledger_is_an_error_of_ours(path: Path, provider: KeyFileProvider) -> None:
    ledger = KeyLedger.create(path, provider, FakeClock())
    ledger.close()
    with pytest.raises(KeyUnavailable):
        ledger.find(STUDIES[0])


def test_verify_does_not_hold_up_new_studies(ledger: KeyLedger, path: Path) -> None:
    tamper(path, "UPDATE tenant_kek SET created = created + 1")
    findings = ledger.verify()
    assert next(findings).table == "tenant_kek"  # in the middle of its snapshot
    ledger.create_study_key(UID("9.9"), accept)
    assert not list(findings)


def test_a_study_whose_key_was_deleted_gets_no_second_one(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider
) -> None:
    """Objects under the first key would be lost, and nobody would have been told."""
    token = ledger.study_token(STUDIES[0])
    tamper(path, "DELETE FROM study_key WHERE token = ?", token)
    told: list[StudyKeyRow] = []
    for study in (STUDIES[0], UID("9.9")):  # the ledger cannot tell whose key is gone
        with pytest.raises(KeyUnavailable, match=rf"{path.name} was written with 5 study keys and holds 4"):
            ledger.create_study_key(study, told.append)
    assert not told
    assert ledger.find(STUDIES[0]) is None
    found = ledger.find(STUDIES[1])
    assert found is not None
    assert ledger.unwrap(found)  # what is there is served
    ledger.close()
    with pytest.raises(KeyUnavailable, match=path.name) as caught:
        KeyLedger.open(path, provider, FakeClock())
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("column", STUDY_COLUMNS)
def test_a_changed_row_keeps_the_ledger_shut(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider, column: str
) -> None:
    ledger.close()
    (value,) = read(path, f"SELECT {column} FROM study_key LIMIT 1")
    altered = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value + 1
    tamper(path, f"UPDATE study_key SET {column} = ? WHERE {column} = ?", altered, value)
    with pytest.raises(KeyUnavailable):
        KeyLedger.open(path, provider, FakeClock())


def test_a_row_made_twice_is_noticed(ledger: KeyLedger, path: Path, provider: KeyFileProvider) -> None:
    ledger.close()
    tamper(
        path,
        "INSERT INTO study_key SELECT randomblob(16), randomblob(32), generation, kek_version, wrapped, created"
        " FROM study_key LIMIT 1",
    )
    with pytest.raises(KeyUnavailable, match="5 study keys and holds 6"):
        KeyLedger.open(path, provider, FakeClock())


def test_keys_of_a_second_process_are_no_tampering(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider
) -> None:
    second = KeyLedger.open(path, provider, FakeClock())
    for number in range(3):
        second.create_study_key(UID(f"8.{number}"), accept)
        ledger.create_study_key(UID(f"7.{number}"), accept)
    second.close()
    assert not list(ledger.verify())
    again = KeyLedger.open(path, provider, FakeClock())
    assert again.find(UID("7.2")) is not None
    again.close()


def test_the_rows_are_read_again_only_if_somebody_else_wrote(
    ledger: KeyLedger, path: Path, provider: KeyFileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = KeyLedger.open(path, provider, FakeClock())
    checks: list[int] = []
    real = KeyLedger._check_studies

    def counted(self: KeyLedger) -> None:
        checks.append(1)
        real(self)

    monkeypatch.setattr(KeyLedger, "_check_studies", counted)
    for number in range(5):
        ledger.create_study_key(UID(f"6.{number}"), accept)
    assert not checks
    second.create_study_key(UID("4.4"), accept)
    second.close()
    checks.clear()
    for number in range(5):
        ledger.create_study_key(UID(f"5.{number}"), accept)
    assert len(checks) == 1


def test_a_row_is_bound_as_it_always_was(ledger: KeyLedger) -> None:
    row = ledger.find(STUDIES[0])
    assert row is not None
    numbers = [n.to_bytes(8, "big", signed=True) for n in (row.generation, row.kek_version, row.created)]
    fields = length_prefixed(ledger.tenant_id, row.key_id, row.token, *numbers)
    assert ledger._study_binding(row) == fingerprint(label("ledger/study-row") + fields)


def test_the_file_is_the_owners_alone(ledger: KeyLedger, path: Path) -> None:
    assert ledger.tenant_id
    assert path.stat().st_mode & 0o7777 == 0o600
    for suffix in ("-wal", "-shm"):
        assert path.with_name(path.name + suffix).stat().st_mode & 0o077 == 0


def test_sqlite_is_as_expected() -> None:
    assert apsw.sqlitelibversion() >= "3.37"  # STRICT tables
