"""The real clock. Everything else is handed one."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements ``base.clock.Clock``."""

    def now(self) -> datetime:
        """Return the aware UTC wall time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
