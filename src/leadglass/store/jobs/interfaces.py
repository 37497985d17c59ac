"""What other rooms may know about jobs: work that must still be done when the process that promised it is gone.

A job is done at least once: whoever takes one must be ready to do it again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was leased.

    Attributes:
        job_id: of the queue.
        kind: which worker does it.
        payload: as it was enqueued; sealed by whoever did.
        attempt: 1 for the first.
        lease: 16 random bytes; only who holds them may end the job.
    """

    job_id: int
    kind: str
    payload: bytes
    attempt: int
    lease: bytes


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up. ``reason`` is that of the last attempt; no PHI."""

    job_id: int
    kind: str
    payload: bytes
    attempts: int
    enqueued_at: datetime
    reason: str


class JobQueue(Protocol):
    """A durable queue. Thread-safe, and safe for several processes on one database."""

    def enqueue(self, kind: str, payload: bytes, *, not_before: datetime | None = None) -> int:
        """Keep a job; return its id. It is durable when the call returns.

        Raises:
            OutOfResources: it could not be kept.
        """
        ...

    def lease(self, kinds: Collection[str], seconds: float, *, limit: int = 1) -> list[Job]:
        """Take jobs that are due, the longest waiting first; nobody else gets them for ``seconds``.

        If they are not ended by then (the process was killed, say), they are due again.
        """
        ...

    def renew(self, job: Job, seconds: float) -> bool:
        """Hold a job for ``seconds`` from now; False when the lease was lost."""
        ...

    def acknowledge(self, job: Job) -> bool:
        """End a job that is done; False when the lease was lost, so that somebody else may have it now."""
        ...

    def fail(self, job: Job, reason: str) -> bool:
        """Put a job back for another attempt after a pause that doubles, or give it up after the last.

        Args:
            job: as leased.
            reason: in our own words; no PHI.

        Returns:
            False when the lease was lost.
        """
        ...

    def waiting(self) -> int:
        """Return how many jobs are not done and not given up."""
        ...

    def dead(self) -> list[DeadJob]:
        """Return the jobs that were given up, oldest first."""
        ...

    def retry_dead(self, job_id: int) -> bool:
        """Begin a job that was given up anew; False when there is none of that id."""
        ...
