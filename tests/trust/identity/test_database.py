"""The identity database keeps what it was told, encrypted, and notices an older copy of itself."""

import shutil
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError, IntegrityError, OutOfResources
from leadglass.base.secret import Secret
from leadglass.trust.identity.database import IdentityDatabase

KEY = Secret(bytes(range(32)))
TABLE = "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT) STRICT"


def opened(path: Path, minimum_version: int = 0) -> IdentityDatabase:
    return IdentityDatabase(path / "identity.db", KEY, FakeClock(), minimum_version=minimum_version)


def note(database: IdentityDatabase, name: str) -> None:
    with database.writing() as transaction:
        transaction.execute("INSERT INTO note VALUES (?, ?)", (name, "text"))


def names(database: IdentityDatabase) -> list[str]:
    with database.reading() as snapshot:
        return [row[0] for row in snapshot.execute("SELECT name FROM note ORDER BY name")]


def test_what_was_committed_is_there_after_a_restart_and_nothing_of_it_is_readable(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.register("notes", (TABLE,))
    note(database, "jdoe-the-unmistakable")
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"jdoe" not in raw
    assert b"SQLite" not in raw
    assert (tmp_path / "identity.db").stat().st_mode & 0o777 == 0o600
    database.close()
    again = opened(tmp_path)
    again.register("notes", (TABLE, "ALTER TABLE note ADD COLUMN more TEXT"))
    assert names(again) == ["jdoe-the-unmistakable"]
    assert again.findings() == []
    again.close()
    again.close()
    with pytest.raises(OutOfResources):
        names(again)


def test_a_newer_database_and_a_name_used_twice_are_refused(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.register("notes", (TABLE, "ALTER TABLE note ADD COLUMN more TEXT"))
    with pytest.raises(ConfigurationError):
        database.register("notes", (TABLE,))
    database.close()
    with pytest.raises(ConfigurationError):
        opened(tmp_path).register("notes", (TABLE,))


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with pytest.raises(OutOfResources):
        database.register("notes", (TABLE, "CREATE TABLE broken ("))
    database.register("notes", (TABLE,))
    assert names(database) == []


def test_an_error_rolls_back_and_nothing_after_the_commit_runs(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.register("notes", (TABLE,))
    told: list[str] = []
    before = database.version
    with pytest.raises(OutOfResources), database.writing() as transaction:  # noqa: PT012 - what the block leaves is the test
        transaction.execute("INSERT INTO note VALUES ('a', 'b')")
        transaction.after_commit(lambda: told.append("a"))
        transaction.execute("INSERT INTO nowhere VALUES (1)")
    assert (names(database), told, database.version) == ([], [], before)
    with database.writing() as transaction:
        transaction.after_commit(lambda: told.append("b"))
        assert transaction.changed("INSERT INTO note VALUES ('c', 'd')") == 1
    assert (names(database), told, database.version) == (["c"], ["b"], before + 1)


def test_a_write_inside_a_write_is_refused(tmp_path: Path) -> None:
    database = opened(tmp_path)
    with database.writing(), pytest.raises(OutOfResources), database.writing():
        pass


def test_an_older_copy_put_back_is_noticed(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.register("notes", (TABLE,))
    database.close()
    shutil.copy(tmp_path / "identity.db", tmp_path / "copy")
    database = opened(tmp_path)
    database.register("notes", (TABLE,))
    note(database, "removed-account")
    version = database.version
    database.close()
    opened(tmp_path, version).close()
    shutil.copy(tmp_path / "copy", tmp_path / "identity.db")
    with pytest.raises(IntegrityError):
        opened(tmp_path, version)


@pytest.mark.parametrize("where", [10, 5000])
def test_another_key_and_a_changed_page_are_refused(tmp_path: Path, where: int) -> None:
    database = opened(tmp_path)
    database.register("notes", (TABLE,))
    for number in range(200):
        note(database, f"name-{number}")
    database.close()
    path = tmp_path / "identity.db"
    with pytest.raises(IntegrityError):
        IdentityDatabase(path, Secret(bytes(32)), FakeClock())
    with pytest.raises(ConfigurationError):
        IdentityDatabase(path, Secret(bytes(16)), FakeClock())
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    try:
        assert opened(tmp_path).findings()
    except IntegrityError:
        pass  # noticed at once: the page is one that opening reads
