"""Time is given, never taken: whoever needs it is handed a clock.

**Invariant:** no implementation stands here; ``app.compose`` owns the real one, the tests a fake one.
"""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the aware UTC wall time, for records."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for intervals."""
        ...
