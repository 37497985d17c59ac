"""Many threads add, one writes: nothing is admitted twice, nothing is lost, and a failing database is said at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import IntegrityError, LeadglassError, OutOfResources
from leadglass.base.secret import Secret
from leadglass.store.index import writer as writer_module
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.store.index.service import PreparedEntry, SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys
from suites.index_suite import Maker, record_of


class SteeredIndex(SQLIndex):
    """A real index whose next writes can be held back or made to fail."""

    def __init__(self, database: SQLiteDatabase, keys: SiteKeys) -> None:
        super().__init__(database, keys, keys, SiteRows(keys.site_seal("index"), FakeClock()))
        self.gate = threading.Event()
        self.gate.set()
        self.failure: LeadglassError | None = None
        self.groups: list[int] = []

    def add_prepared(self, entries: Sequence[PreparedEntry]) -> list[InstanceRecord | None]:
        assert self.gate.wait(20)
        if self.failure is not None:
            raise self.failure
        self.groups.append(len(entries))
        return super().add_prepared(entries)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[SiteKeys]:
    keys = create_site_keys(tmp_path / "ledger", KeyFileProvider.create(tmp_path / "root.key"), FakeClock())
    yield keys
    keys.close()


@pytest.fixture
def maker(keys: SiteKeys) -> Maker:
    return Maker(keys)


@pytest.fixture
def index(tmp_path: Path, keys: SiteKeys) -> Iterator[SteeredIndex]:
    index = SteeredIndex(SQLiteDatabase(tmp_path / "index.db", Secret(b"k" * 32)), keys)
    yield index
    index.close()


@pytest.fixture
def writer(index: SteeredIndex) -> Iterator[IndexWriter]:
    writer = IndexWriter(index)
    yield writer
    index.gate.set()
    writer.close()


def test_what_was_admitted_is_there_after_the_barrier(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    entries = [maker.entry(series=str(n % 3)) for n in range(300)]
    assert [writer.admit(entry) for entry in entries] == [None] * 300
    writer.barrier()
    assert [index.lookup(e.head.identity.sop_instance_uid) for e in entries] == [
        record_of(e) for e in entries
    ]
    assert max(index.groups) <= writer_module.GROUP_ROWS_MAX


def test_rows_gather_while_the_database_is_busy(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    index.gate.clear()
    for _ in range(100):
        writer.admit(maker.entry())
    index.gate.set()
    writer.barrier()
    assert len(index.groups) <= 2
    assert sum(index.groups) == 100


def test_a_full_group_is_written_without_being_asked_for(index: SteeredIndex, maker: Maker) -> None:
    done = threading.Semaphore(0)
    for least in (1, 8):
        writer = IndexWriter(index, group_rows_min=least)
        for _ in range(least):
            writer.admit(maker.entry(), lambda _: done.release())
        for _ in range(least):
            assert done.acquire(timeout=20)
        writer.close()


def test_a_waiting_row_is_looked_up_and_holds_its_uid(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    index.gate.clear()
    first = maker.entry(instance="7")
    assert writer.admit(first) is None
    assert writer.lookup(first.head.identity.sop_instance_uid) == record_of(first)
    assert writer.admit(maker.entry(study="2", instance="7")) == record_of(first)
    index.gate.set()
    writer.barrier()
    assert writer.admit(maker.entry(study="3", instance="7")) == record_of(first)
    assert index.counts().studies == 1


def test_of_many_threads_with_one_uid_one_wins(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    entries = [[maker.entry(study=str(n), instance=str(i)) for n in range(8)] for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = [list(pool.map(writer.admit, same)) for same in entries]
    writer.barrier()
    for same, results in zip(entries, outcomes, strict=True):
        assert results.count(None) == 1
        winner = same[results.index(None)]
        assert {r for r in results if r is not None} == {record_of(winner)}
        assert index.lookup(winner.head.identity.sop_instance_uid) == record_of(winner)
    assert index.counts().instances == 40


@pytest.mark.parametrize("others", [0, 1, 3, 4, 5, 9, 40])
def test_a_uid_found_free_is_taken_by_whoever_comes_first(
    writer: IndexWriter, maker: Maker, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """However many rows came since the look-up: those that are remembered, and those that are forgotten."""
    monkeypatch.setattr(writer_module, "REMEMBERED_MIN", 4)
    mine = maker.entry(study="2", instance="7")
    since = writer.admitted
    assert writer.lookup(mine.head.identity.sop_instance_uid) is None
    first = maker.entry(study="1", instance="7")
    assert writer.admit(first, free_since=writer.admitted) is None
    for _ in range(others):
        writer.admit(maker.entry(), free_since=writer.admitted)
    assert writer.admit(mine, free_since=since) == record_of(first)
    writer.barrier()
    assert writer.admit(mine, free_since=since) == record_of(first)


def test_replayed_entries_may_be_there_already(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    entries = [maker.entry() for _ in range(5)]
    index.add(entries[:3])
    for entry in entries:
        writer.enqueue(entry)
    writer.barrier()
    assert index.counts().instances == 5


def test_whoever_asked_is_told_when_it_is_committed(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    seen: list[tuple[LeadglassError | None, bool]] = []
    entry = maker.entry()
    told = threading.Event()

    def on_done(error: LeadglassError | None) -> None:
        seen.append((error, index.lookup(entry.head.identity.sop_instance_uid) is not None))
        told.set()

    writer.admit(entry, on_done)
    writer.barrier()
    assert told.wait(20)
    assert seen == [(None, True)]


def test_a_failing_database_admits_nothing_and_recovers(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    first = maker.entry()
    index.gate.clear()
    writer.admit(first)
    index.failure = OutOfResources("the disk is full")
    index.gate.set()
    with pytest.raises(OutOfResources, match="disk is full"):
        writer.barrier()
    refused = maker.entry()
    for attempt in (writer.admit, writer.enqueue):
        with pytest.raises(OutOfResources, match="disk is full"):
            attempt(refused)
    assert writer.lookup(first.head.identity.sop_instance_uid) == record_of(first)
    assert writer.lookup(refused.head.identity.sop_instance_uid) is None
    index.failure = None
    assert writer.admit(refused) is None, "there is room again"
    writer.barrier()
    assert index.counts().instances == 2


def test_damage_is_for_good(writer: IndexWriter, index: SteeredIndex, maker: Maker) -> None:
    index.failure = IntegrityError("a page is not what was written")
    index.gate.clear()
    writer.admit(maker.entry())
    index.gate.set()
    with pytest.raises(IntegrityError):
        writer.barrier()
    index.failure = None
    with pytest.raises(IntegrityError):
        writer.admit(maker.entry())


def test_a_sender_that_is_too_fast_waits(
    index: SteeredIndex, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "INDEX_QUEUE_MAX", 4)
    writer = IndexWriter(index)
    index.gate.clear()
    admitted = threading.Semaphore(0)
    entries = [maker.entry() for _ in range(10)]

    def send() -> None:
        for entry in entries:
            writer.admit(entry)
            admitted.release()

    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(4):
        assert admitted.acquire(timeout=20)
    assert not admitted.acquire(timeout=0.05)
    index.gate.set()
    sender.join(20)
    writer.close()
    assert index.counts().instances == 10


def test_close_writes_what_waits_and_admits_nothing_more(index: SteeredIndex, maker: Maker) -> None:
    writer = IndexWriter(index)
    index.gate.clear()
    for _ in range(300):
        writer.admit(maker.entry())
    index.gate.set()
    writer.close()
    assert index.counts().instances == 300
    with pytest.raises(OutOfResources, match="closed"):
        writer.admit(maker.entry())


def test_close_with_a_failing_database_ends_and_tells(index: SteeredIndex, maker: Maker) -> None:
    writer = IndexWriter(index)
    told: list[LeadglassError | None] = []
    index.failure = OutOfResources("the disk is full")
    index.gate.clear()
    for _ in range(200):
        writer.admit(maker.entry(), told.append)
    index.gate.set()
    writer.close()
    assert told == [index.failure] * 200


def test_an_entry_whose_key_is_gone_hurts_nobody_else(
    writer: IndexWriter, index: SteeredIndex, maker: Maker
) -> None:
    entry = maker.entry()
    object.__setattr__(entry.address, "key_id", b"?" * 16)
    ask: Callable[[], object] = lambda: writer.admit(entry)  # noqa: E731 - short and typed
    with pytest.raises(LeadglassError):
        ask()
    assert writer.admit(maker.entry()) is None
    writer.barrier()
    assert index.counts().instances == 1
