"""The contract of the index on a real PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.base.errors import ConfigurationError, OutOfResources
from leadglass.base.secret import Secret
from leadglass.store.index.database import Database
from leadglass.store.index.postgresql import PostgreSQLDatabase
from suites.index_access_suite import IndexAccessSuite
from suites.index_suite import IndexSuite
from suites.postgresql_server import new_database


@pytest.fixture
def connection_info() -> Iterator[Secret]:
    yield from new_database()


@pytest.fixture
def database(connection_info: Secret) -> Iterator[Database]:
    database = PostgreSQLDatabase(connection_info)
    yield database
    database.close()


class TestPostgreSQLIndex(IndexSuite):
    pass


class TestPostgreSQLAccess(IndexAccessSuite):
    pass


def test_a_lost_connection_is_made_anew(database: Database) -> None:
    with pytest.raises(OutOfResources), database.writing(durable=False) as transaction:
        transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with database.writing(durable=False) as transaction:
        assert transaction.execute("SELECT 1") == [(1,)]
    with pytest.raises(OutOfResources), database.reading() as transaction:
        transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with database.reading() as transaction:
        assert transaction.execute("SELECT 1") == [(1,)]


def test_only_durable_transactions_wait_for_the_disk(database: Database) -> None:
    for durable, expected in ((True, "on"), (False, "off")):
        with database.writing(durable=durable) as transaction:
            assert transaction.execute("SHOW synchronous_commit") == [(expected,)]


def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises(OutOfResources), database.reading() as transaction:
        transaction.execute("CREATE TABLE intruder (x int)")


def test_a_server_that_does_not_answer_is_a_matter_of_configuration(tmp_path: Path) -> None:
    secret = "host={} password=hunter2 connect_timeout=1"
    with pytest.raises(ConfigurationError) as caught:
        PostgreSQLDatabase(Secret(secret.format(tmp_path).encode()))
    assert "hunter2" not in str(caught.value) + caught.value.hint
