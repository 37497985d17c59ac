"""Requests that were refused before anybody was known, counted for the audit log.

A stranger can cause as many refusals as there are packets. So a kind of refusal from an address is told at once when
it is new, and then once a minute with how often it came again; the number of kinds that are remembered is bounded.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.limits import REFUSALS_REMEMBERED_MAX

WINDOW_SECONDS: Final = 60.0
_TOLD_PER_WINDOW_MAX: Final = 256
"""New kinds that are told at once in one window; further ones are counted together."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something was refused, once or many times.

    Attributes:
        reason: in our words; nothing that was sent is in it.
        address: of who was refused; empty where many were counted together.
        count: how often, at least 1.
        principal_id: who it was, where that was known.
        correlation_id: of the request, where there was one and the count is 1.
    """

    reason: str
    address: str
    count: int = 1
    principal_id: str = ""
    correlation_id: str = ""


class Refusals:
    """Counts refusals. For one thread; ``collect`` gives what there is to tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counted: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._to_tell: list[Refusal] = []
        self._window_ends = clock.monotonic() + WINDOW_SECONDS
        self._told = 0

    def note(self, reason: str, address: str, *, principal_id: str = "", correlation_id: str = "") -> None:
        """Count one."""
        key = (reason, address, principal_id)
        if key in self._counted:
            self._counted[key] += 1
        elif self._told < _TOLD_PER_WINDOW_MAX and len(self._counted) < REFUSALS_REMEMBERED_MAX:
            self._counted[key] = 0
            self._told += 1
            self._to_tell.append(
                Refusal(reason, address, principal_id=principal_id, correlation_id=correlation_id)
            )
        else:
            # Reasons are a fixed set of words, so these are few.
            self._counted[reason, "", ""] = self._counted.get((reason, "", ""), 0) + 1

    def collect(self, *, everything: bool = False) -> list[Refusal]:
        """Return what is to be told now; ``everything`` also what its window has not ended for."""
        told, self._to_tell = self._to_tell, []
        if everything or self._clock.monotonic() >= self._window_ends:
            told += [
                Refusal(reason, address, count, principal_id)
                for (reason, address, principal_id), count in self._counted.items()
                if count
            ]
            self._counted.clear()
            self._told = 0
            self._window_ends = self._clock.monotonic() + WINDOW_SECONDS
        return told
