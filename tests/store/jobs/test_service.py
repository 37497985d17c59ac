"""A job that was promised is done at least once, whoever is killed meanwhile."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.limits import JOB_ATTEMPTS_MAX
from leadglass.base.secret import Secret
from leadglass.store.index.database import Database
from leadglass.store.index.postgresql import PostgreSQLDatabase
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.jobs.interfaces import JobQueue
from leadglass.store.jobs.service import PAUSE_SECONDS, SQLJobQueue
from suites.postgresql_server import new_database

KEY = Secret(b"k" * 32)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Give what opens the same database, as often as a process of its own would."""
    opened: list[Database] = []
    kind: str = request.param
    empty = new_database() if kind == "postgresql" else None
    connection_info = next(empty) if empty is not None else None

    def open_it() -> Database:
        if connection_info is not None:
            opened.append(PostgreSQLDatabase(connection_info))
        else:
            opened.append(SQLiteDatabase(tmp_path / "index.db", KEY))
        return opened[-1]

    yield open_it
    for database in opened:
        database.close()
    if empty is not None:
        assert next(empty, None) is None


@pytest.fixture
def queue(open_database: Callable[[], Database], clock: FakeClock) -> JobQueue:
    return SQLJobQueue(open_database(), clock)


def test_a_job_is_leased_once_and_ended(queue: JobQueue) -> None:
    job_id = queue.enqueue("commitment", b"sealed \x00\xff")
    (job,) = queue.lease(["commitment"], 60)
    assert (job.job_id, job.kind, job.payload, job.attempt) == (job_id, "commitment", b"sealed \x00\xff", 1)
    assert queue.lease(["commitment"], 60) == []
    assert queue.acknowledge(job)
    assert queue.waiting() == 0
    assert not queue.acknowledge(job)


def test_kinds_and_order(queue: JobQueue, clock: FakeClock) -> None:
    assert queue.lease([], 60) == []
    queue.enqueue("b", b"1")
    clock.advance(1)
    queue.enqueue("a", b"2")
    queue.enqueue("c", b"3")
    queue.enqueue("b", b"4")
    assert [job.payload for job in queue.lease(["a", "b"], 60, limit=2)] == [b"1", b"2"]
    assert [job.payload for job in queue.lease(["a", "b"], 60, limit=2)] == [b"4"]
    assert queue.waiting() == 4


def test_not_before(queue: JobQueue, clock: FakeClock) -> None:
    queue.enqueue("a", b"", not_before=clock.now() + timedelta(seconds=10))
    clock.advance(9.9)
    assert queue.lease(["a"], 60) == []
    clock.advance(0.1)
    assert len(queue.lease(["a"], 60)) == 1


def test_a_job_whose_worker_died_is_due_again(
    queue: JobQueue, open_database: Callable[[], Database], clock: FakeClock
) -> None:
    queue.enqueue("a", b"p")
    (lost,) = queue.lease(["a"], 60)
    after_restart = SQLJobQueue(open_database(), clock)
    assert after_restart.lease(["a"], 60) == []
    clock.advance(60)
    (again,) = after_restart.lease(["a"], 60)
    assert (again.payload, again.attempt) == (b"p", 2)
    # The first worker was only slow: what it says now is not believed.
    assert not queue.acknowledge(lost)
    assert not queue.fail(lost, "late")
    assert not queue.renew(lost, 60)
    assert after_restart.acknowledge(again)


def test_a_lease_can_be_renewed(queue: JobQueue, clock: FakeClock) -> None:
    queue.enqueue("a", b"")
    (job,) = queue.lease(["a"], 60)
    clock.advance(50)
    assert queue.renew(job, 60)
    clock.advance(50)
    assert queue.lease(["a"], 60) == []
    clock.advance(10)
    assert len(queue.lease(["a"], 60)) == 1


def test_pauses_double_and_the_last_failure_is_listed(queue: JobQueue, clock: FakeClock) -> None:
    enqueued_at = clock.now()
    job_id = queue.enqueue("a", b"p")
    for attempt in range(1, JOB_ATTEMPTS_MAX + 1):
        (job,) = queue.lease(["a"], 60)
        assert job.attempt == attempt
        assert queue.dead() == []
        assert queue.fail(job, f"failure {attempt}")
        pause = PAUSE_SECONDS * 2 ** (attempt - 1)
        clock.advance(pause - 1)
        assert queue.lease(["a"], 60) == []
        clock.advance(1)
    assert queue.lease(["a"], 60) == []
    assert queue.waiting() == 0
    (dead,) = queue.dead()
    assert (dead.job_id, dead.attempts, dead.payload) == (job_id, JOB_ATTEMPTS_MAX, b"p")
    assert (dead.reason, dead.enqueued_at) == (f"failure {JOB_ATTEMPTS_MAX}", enqueued_at)
    assert queue.retry_dead(job_id)
    assert not queue.retry_dead(job_id)
    assert queue.lease(["a"], 60)[0].attempt == 1


def test_a_job_that_kills_its_worker_every_time_is_given_up(queue: JobQueue, clock: FakeClock) -> None:
    queue.enqueue("a", b"")
    for _ in range(JOB_ATTEMPTS_MAX):
        assert len(queue.lease(["a"], 60)) == 1
        clock.advance(60)
    assert queue.lease(["a"], 60) == []
    assert queue.dead()[0].attempts == JOB_ATTEMPTS_MAX


def test_two_processes_never_hold_one_job(
    queue: JobQueue, open_database: Callable[[], Database], clock: FakeClock
) -> None:
    other = SQLJobQueue(open_database(), clock)
    for n in range(20):
        queue.enqueue("a", bytes([n]))
    taken = [
        job.payload
        for turn in range(5)
        for q in (queue, other)
        for job in q.lease(["a"], 60, limit=2 + turn % 2)
    ]
    assert sorted(taken) == [bytes([n]) for n in range(20)]
