"""The embedded index: the contract, and what is promised of its file."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError, IntegrityError, OutOfResources
from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.dicom.models import Level
from leadglass.dicom.query import Range, Single, UIDList, Wildcard
from leadglass.store.index import sqlite
from leadglass.store.index.database import Database, Parameter, Row
from leadglass.store.index.interfaces import RowFinding, Selector
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys, open_site_keys
from suites.index_access_suite import IndexAccessSuite
from suites.index_suite import IndexSuite, Maker, find, open_index, query

KEY = Secret(bytes(range(32)))


class TestSQLiteIndex(IndexSuite):
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        database = SQLiteDatabase(tmp_path / "index.db", KEY)
        yield database
        database.close()


class TestSQLiteAccess(IndexAccessSuite):
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        database = SQLiteDatabase(tmp_path / "index.db", KEY)
        yield database
        database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[SiteKeys]:
    keys = create_site_keys(tmp_path / "ledger", KeyFileProvider.create(tmp_path / "root.key"), FakeClock())
    yield keys
    keys.close()


def fill(path: Path, keys: SiteKeys, *, canary: str = "A", close: bool = True) -> SQLIndex:
    maker = Maker(keys)
    index = open_index(SQLiteDatabase(path, KEY), keys)
    index.add(
        [
            maker.entry(
                study=str(n % 5), PatientName=canary, PatientID=canary, StudyDescription=canary, Modality="CT"
            )
            for n in range(200)
        ]
    )
    index.close_pack(b"p" * 16)
    if close:
        index.close()
    return index


def test_the_file_is_for_its_owner_only(path: Path, keys: SiteKeys) -> None:
    index = fill(path, keys, close=False)
    for file in (path, path.with_name("index.db-wal"), path.with_name("index.db-shm")):
        assert file.stat().st_mode & 0o777 == 0o600
    index.close()
    assert [p.name for p in path.parent.glob("index.db*")] == ["index.db"]


def test_no_name_stands_in_any_file(path: Path, keys: SiteKeys) -> None:
    index = fill(path, keys, canary="CanaryZebedee", close=False)
    files = list(path.parent.glob("index.db*"))
    assert len(files) == 3
    for file in files:
        octets = file.read_bytes().lower()
        for text in ("canary", "zebedee"):
            assert text.encode() not in octets
            assert text.encode("utf-16-le") not in octets
        # Not even what the index holds in clear: the pages are encrypted.
        assert b"1.2.826" not in octets
        assert b"create table" not in octets
    index.close()


def test_another_key_does_not_open_it_and_the_hint_helps(path: Path, keys: SiteKeys) -> None:
    fill(path, keys)
    with pytest.raises(IntegrityError, match="index database") as caught:
        SQLiteDatabase(path, Secret(b"\1" * 32))
    assert "reindex" in caught.value.hint


def test_a_key_of_another_length_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteDatabase(path, Secret(b"short"))


def test_a_folder_that_is_not_there_is_named_as_such(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SQLiteDatabase(path.parent / "missing" / "index.db", KEY)


def damage_of(path: Path, keys: SiteKeys) -> str:
    """Return how damage is told: by an error at once, or as a finding of a verification."""
    try:
        index = open_index(SQLiteDatabase(path, KEY), keys)
    except IntegrityError as error:
        return str(error)
    findings = [f for f in index.verify() if isinstance(f, RowFinding)]
    index.close()
    return findings[0].what if findings else ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_the_file_is_found(path: Path, keys: SiteKeys, data: st.DataObject) -> None:
    if not path.exists():
        fill(path, keys)
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    copy = path.with_name("damaged.db")
    copy.write_bytes(damaged)
    try:
        assert damage_of(copy, keys)
    finally:
        for file in path.parent.glob("damaged.db*"):
            file.unlink()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_the_log_gives_an_error_or_an_earlier_state(
    path: Path, keys: SiteKeys, data: st.DataObject
) -> None:
    """SQLite reads its log up to the first frame that is not whole, as after a power cut: never a wrong row.

    What is cut off is replayed, because the note that the pack is closed is cut off with it.
    """
    log = path.with_name("index.db-wal")
    saved, saved_log = path.with_name("saved"), path.with_name("saved-log")
    if not saved.exists():
        index = fill(path, keys, close=False)
        saved.write_bytes(path.read_bytes())
        saved_log.write_bytes(log.read_bytes())
        index.close()
    damaged = bytearray(saved_log.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    copy = path.with_name("damaged.db")
    copy.write_bytes(saved.read_bytes())
    path.with_name("damaged.db-wal").write_bytes(damaged)
    try:
        index = open_index(SQLiteDatabase(copy, KEY), keys)
        seen = list(index.verify())
        assert not any(isinstance(one, RowFinding) for one in seen)
        assert len(seen) in {0, 200}
        assert not index.closed_packs() or len(seen) == 200
        index.close()
    except IntegrityError:
        pass
    finally:
        for file in path.parent.glob("damaged.db*"):
            file.unlink()


def test_the_log_is_copied_back_and_does_not_grow_for_ever(
    path: Path, keys: SiteKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 32)
    maker = Maker(keys)
    index = open_index(SQLiteDatabase(path, KEY), keys)
    for n in range(100):
        index.add([maker.entry(study=str(n), PatientName=f"N{n}") for _ in range(3)])
    assert path.with_name("index.db-wal").stat().st_size < 3 * 32 * 4200
    index.close()


def test_only_durable_transactions_wait_for_the_disk(path: Path) -> None:
    database = SQLiteDatabase(path, KEY)
    for durable, expected in ((True, 2), (False, 1), (True, 2), (False, 1)):
        with database.writing(durable=durable) as transaction:
            assert transaction.execute("PRAGMA synchronous") == [(expected,)]
    with pytest.raises(OutOfResources), database.writing(durable=True) as transaction:
        transaction.execute("no SQL")
    with database.writing(durable=False) as transaction:
        assert transaction.execute("PRAGMA synchronous") == [(1,)]
    database.close()


def test_nothing_spills_into_temporary_files(path: Path) -> None:
    database = SQLiteDatabase(path, KEY)
    for give in (database.reading, database.probing):
        with give() as transaction:
            assert transaction.execute("PRAGMA temp_store") == [(2,)]
    database.close()


def test_readers_do_not_wait_for_the_writer(path: Path, keys: SiteKeys) -> None:
    index = fill(path, keys, close=False)
    database = SQLiteDatabase(path, KEY)
    with database.writing(durable=False) as transaction:
        transaction.execute("DELETE FROM instance")
        assert index.counts().instances == 200
        with database.reading() as snapshot:
            assert snapshot.execute("SELECT count(*) FROM instance") == [(200,)]
    assert index.counts().instances == 0
    database.close()
    index.close()


def test_more_readers_than_connections_wait_their_turn(path: Path, keys: SiteKeys) -> None:
    index = fill(path, keys, close=False)
    by_name = query(Level.STUDY, PatientName=Single("A"))
    with ThreadPoolExecutor(3 * sqlite.READERS_MAX) as pool:
        found = list(pool.map(lambda _: len(list(find(index, by_name))), range(60)))
    assert found == [5] * 60
    index.close()


def test_a_closed_database_says_so(path: Path) -> None:
    database = SQLiteDatabase(path, KEY)
    database.close()
    database.close()
    for give in (database.reading, database.probing, lambda: database.writing(durable=False)):
        with pytest.raises(OutOfResources, match="closed"), give():
            pass


def test_queries_walk_an_index(path: Path, keys: SiteKeys) -> None:
    """Named rows are found by an index, whatever the planner guesses of an empty table."""
    database = SQLiteDatabase(path, KEY)
    open_index(database, keys)
    seen: list[str] = []

    class Explaining:
        def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[Row]:
            with database.reading() as transaction:
                plan = transaction.execute("EXPLAIN QUERY PLAN " + sql, parameters)
                seen.extend(str(row[3]) for row in plan)
            return []

    @contextmanager
    def reading() -> Iterator[Explaining]:
        yield Explaining()

    watched = SQLiteDatabase(path, KEY)
    watched.reading = reading  # type: ignore[method-assign,assignment]  # a spy on the real one
    index = open_index(watched, keys)
    uid = UIDList(("1.2.3",))
    for asked in (
        query(Level.STUDY, PatientName=Single("a"), StudyDate=Range("20260101", "20260102")),
        query(Level.STUDY, PatientName=Wildcard("abcd*"), PatientID=Single("x")),
        query(Level.STUDY, StudyInstanceUID=uid, PatientName=Single("a")),
        query(Level.STUDY, StudyDate=Range("20260101", "20260102")),
        query(Level.SERIES, SeriesInstanceUID=uid),
        query(Level.IMAGE, SOPInstanceUID=uid),
    ):
        list(find(index, asked))
    for selector in (
        Selector(Level.PATIENT, patient_id="x"),
        Selector(Level.STUDY, study_uids=(UID("1.2"),)),
        Selector(Level.SERIES, series_uids=(UID("1.2"),)),
        Selector(Level.IMAGE, sop_instance_uids=(UID("1.2"),)),
    ):
        list(index.select(selector))
    assert seen
    tables = ("study", "series", "instance", "walk")
    assert not [step for step in seen if step.startswith("SCAN") and step.split()[1] in tables], seen
    watched.close()
    database.close()


_CHILD = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from fake_clock import FakeClock
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import open_site_keys
from leadglass.base.secret import Secret
from suites.index_suite import Maker, open_index
folder = Path({folder!r})
keys = open_site_keys(folder / "ledger", KeyFileProvider.open(folder / "root.key"), FakeClock())
index = open_index(SQLiteDatabase(folder / "index.db", Secret(bytes(range(32)))), keys)
writer, maker = IndexWriter(index), Maker(keys)
for number in range(1000000):
    writer.admit(maker.entry(study=str(number // 50), PatientName="A"))
    if number % 25 == 24:
        writer.barrier()
        print(number + 1, flush=True)
"""


def test_what_passed_the_barrier_survives_kill_9(path: Path, keys: SiteKeys) -> None:
    keys.close()
    code = _CHILD.format(tests=str(Path(__file__).parents[2]), folder=str(path.parent))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        answered = 0
        for line in child.stdout:
            answered = int(line)
            if answered >= 500:
                child.kill()
                break
        answered = max([answered, *(int(line) for line in child.stdout if line.endswith("\n"))])
    reopened = open_site_keys(
        path.parent / "ledger", KeyFileProvider.open(path.parent / "root.key"), FakeClock()
    )
    index = open_index(SQLiteDatabase(path, KEY), reopened)
    seen = list(index.verify())
    assert not [f for f in seen if isinstance(f, RowFinding)]
    assert len(seen) >= answered
    index.close()
    reopened.close()
