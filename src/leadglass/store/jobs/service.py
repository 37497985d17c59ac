"""The job queue in the database of the index.

A job is *open* until it is done or given up. ``due_at`` says when it may be taken; taking it moves ``due_at`` to the end of
the lease, so a job whose worker was killed needs no recovery: it is due again.

A lease and its end are not synced to the disk: after a power cut a job may be done again, which every job must bear.
That a job exists is synced.

**Invariant:** payloads are opaque; time is given.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError
from leadglass.base.limits import JOB_ATTEMPTS_MAX
from leadglass.store.index.database import Database
from leadglass.store.index.rows import microseconds, moment
from leadglass.store.index.schema import migrate
from leadglass.store.jobs.interfaces import DeadJob, Job

PAUSE_SECONDS: Final = 90
"""After the first failure; it doubles. Eleven pauses are 51 hours: a weekend's outage of a peer is outlived."""

_LEASE_BYTES: Final = 16

_OPEN: Final = "open"
_DEAD: Final = "dead"


class SQLJobQueue:
    """Implements ``JobQueue``.

    Args:
        database: shared with the index; migrated here, closed by its owner.
        clock: wall time; several nodes on one database should agree within seconds.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        migrate(database)

    def enqueue(self, kind: str, payload: bytes, *, not_before: datetime | None = None) -> int:
        """Keep a job. See ``JobQueue.enqueue``."""
        now = self._clock.now()
        with self._database.writing(durable=True) as transaction:
            rows = transaction.execute(
                "INSERT INTO job (kind, payload, state, attempts, due_at, enqueued_at, reason) "
                "VALUES (?, ?, ?, 0, ?, ?, '') RETURNING id",
                (kind, payload, _OPEN, microseconds(not_before or now), microseconds(now)),
            )
        return int(rows[0][0])

    def lease(self, kinds: Collection[str], seconds: float, *, limit: int = 1) -> list[Job]:
        """Take jobs that are due. See ``JobQueue.lease``."""
        if not kinds:
            return []
        now = self._clock.now()
        of_kind, parameter = self._database.any_of("kind", sorted(kinds))
        jobs: list[Job] = []
        with self._database.writing(durable=False) as transaction:
            due = transaction.execute(
                # The condition's name is a constant, its values are a parameter.
                f"SELECT id FROM job WHERE state = ? AND due_at <= ? AND {of_kind} ORDER BY due_at, id LIMIT ?",  # noqa: S608
                (_OPEN, microseconds(now), parameter, limit),
            )
            for (job_id,) in due:
                lease = secrets.token_bytes(_LEASE_BYTES)
                # The condition is asked again: another node may have taken it after the SELECT.
                taken = transaction.execute(
                    "UPDATE job SET due_at = ?, lease = ?, attempts = attempts + 1 "
                    "WHERE id = ? AND state = ? AND due_at <= ? RETURNING kind, payload, attempts",
                    (_after(now, seconds), lease, job_id, _OPEN, microseconds(now)),
                )
                for kind, payload, attempts in taken:
                    if attempts > JOB_ATTEMPTS_MAX:
                        # It never ended one way or the other: each time its worker was killed or hung.
                        transaction.execute(
                            "UPDATE job SET state = ?, attempts = ?, lease = NULL, reason = ? WHERE id = ?",
                            (_DEAD, JOB_ATTEMPTS_MAX, "no attempt came to an end", job_id),
                        )
                    else:
                        jobs.append(Job(job_id, kind, bytes(payload), attempts, lease))
        return jobs

    def renew(self, job: Job, seconds: float) -> bool:
        """Hold a job longer. See ``JobQueue.renew``."""
        return self._change(
            "UPDATE job SET due_at = ? WHERE id = ? AND lease = ? RETURNING id",
            (_after(self._clock.now(), seconds), job.job_id, job.lease),
        )

    def acknowledge(self, job: Job) -> bool:
        """End a job that is done. See ``JobQueue.acknowledge``."""
        return self._change(
            "DELETE FROM job WHERE id = ? AND lease = ? RETURNING id", (job.job_id, job.lease)
        )

    def fail(self, job: Job, reason: str) -> bool:
        """Put a job back, or give it up. See ``JobQueue.fail``."""
        pause = PAUSE_SECONDS * 2 ** (job.attempt - 1)
        state = _DEAD if job.attempt >= JOB_ATTEMPTS_MAX else _OPEN
        return self._change(
            "UPDATE job SET state = ?, due_at = ?, lease = NULL, reason = ? WHERE id = ? AND lease = ? RETURNING id",
            (state, _after(self._clock.now(), pause), reason, job.job_id, job.lease),
        )

    def waiting(self) -> int:
        """Return how many jobs are open. See ``JobQueue.waiting``."""
        with self._database.reading() as transaction:
            return int(transaction.execute("SELECT count(*) FROM job WHERE state = ?", (_OPEN,))[0][0])

    def dead(self) -> list[DeadJob]:
        """Return the jobs that were given up. See ``JobQueue.dead``."""
        with self._database.reading() as transaction:
            rows = transaction.execute(
                "SELECT id, kind, payload, attempts, enqueued_at, reason FROM job WHERE state = ? ORDER BY id",
                (_DEAD,),
            )
        return [
            DeadJob(i, kind, bytes(p), attempts, moment(at), reason)
            for i, kind, p, attempts, at, reason in rows
        ]

    def retry_dead(self, job_id: int) -> bool:
        """Begin a job anew. See ``JobQueue.retry_dead``."""
        return self._change(
            "UPDATE job SET state = ?, attempts = 0, due_at = ? WHERE id = ? AND state = ? RETURNING id",
            (_OPEN, microseconds(self._clock.now()), job_id, _DEAD),
        )

    def _change(self, statement: str, parameters: tuple[str | int | bytes, ...]) -> bool:
        with self._database.writing(durable=False) as transaction:
            changed = transaction.execute(statement, parameters)
        if len(changed) > 1:
            raise IntegrityError("two jobs have the same id")
        return bool(changed)


def _after(now: datetime, seconds: float) -> int:
    return microseconds(now + timedelta(seconds=seconds))
