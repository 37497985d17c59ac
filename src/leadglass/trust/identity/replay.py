"""What was shown once is not taken twice."""

import heapq
import threading

from leadglass.base.clock import Clock
from leadglass.base.limits import ASSERTIONS_REMEMBERED_MAX


class ReplayMemory:
    """Ids of statements that were used, until they would be refused for their age anyway. Thread-safe.

    It lives as long as the process. What it forgets with a restart is bounded by the life of the statements, some
    minutes, and by what else binds them: to a sign-in that the same process began, or to a certificate.
    """

    def __init__(self, clock: Clock, limit: int = ASSERTIONS_REMEMBERED_MAX) -> None:
        self._clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._forget_at: list[tuple[float, str]] = []

    def is_new(self, statement_id: str, expires_at: float) -> bool:
        """Tell whether this id is shown for the first time, and remember it until ``expires_at`` (seconds since 1970).

        When the memory is full nothing is new: refusing is safe, forgetting is not.
        """
        now = self._clock.now().timestamp()
        with self._lock:
            while self._forget_at and self._forget_at[0][0] <= now:
                self._seen.discard(heapq.heappop(self._forget_at)[1])
            if statement_id in self._seen or len(self._seen) >= self._limit:
                return False
            self._seen.add(statement_id)
            heapq.heappush(self._forget_at, (expires_at, statement_id))
            return True
