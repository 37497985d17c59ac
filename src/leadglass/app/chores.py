"""What a running node does now and then: one worker, and a due time for each."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from leadglass.app.failures import report_failure
from leadglass.base.clock import Clock
from leadglass.base.errors import LeadglassError

ONCE: Final = math.inf
"""Seconds between for what is done at the start and never again."""


@dataclass(frozen=True, slots=True)
class Chore:
    """One of them.

    Attributes:
        name: for whoever reads where it failed.
        seconds: between two times; the first is at the start.
        work: must end by itself; nothing may depend on when it is done.
    """

    name: str
    seconds: float
    work: Callable[[], object]


class Chores:
    """Does what is due, one after the other. One that fails is tried again at its next time and stops no other."""

    def __init__(self, chores: Sequence[Chore], clock: Clock) -> None:
        self._clock = clock
        self._due = [(chore, clock.monotonic()) for chore in chores]
        self._lock = threading.Lock()

    def run_due(self) -> None:
        """Do what is due; call it every second or so."""
        with self._lock:
            now = self._clock.monotonic()
            for place, (chore, due) in enumerate(self._due):
                if now < due:
                    continue
                self._due[place] = (chore, now + chore.seconds)
                try:
                    chore.work()
                except LeadglassError:
                    continue  # of a log that takes nothing `status` tells; what was to be recorded did not happen
                except Exception as error:  # noqa: BLE001 - a bug in one chore must not stop the others
                    report_failure(error, f"chore {chore.name}")
