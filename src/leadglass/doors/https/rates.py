"""How often somebody may ask: token buckets in bounded memory.

A bucket is one number: the time at which it will be full again (the generic cell rate algorithm). So an address that
was quiet needs no memory, and one that is forgotten has been given back at most one burst.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from leadglass.base.clock import Clock
from leadglass.base.limits import RATE_KEYS_MAX


@dataclass(frozen=True, slots=True)
class Rate:
    """How often.

    Attributes:
        per_second: in the long run.
        burst: at once, after a rest.
    """

    per_second: float
    burst: int


class Buckets:
    """Token buckets of one rate, one for each key. For one thread.

    Args:
        rate: of every bucket.
        clock: monotonic time.
        keys_max: buckets that are remembered.
    """

    def __init__(self, rate: Rate, clock: Clock, keys_max: int = RATE_KEYS_MAX) -> None:
        self._interval = 1.0 / rate.per_second
        self._depth = rate.burst * self._interval
        self._clock = clock
        self._keys_max = keys_max
        self._full_at: OrderedDict[str, float] = OrderedDict()  # longest untouched first

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str) -> float:
        """Take a token of ``key``; return 0, or the seconds until there is one: then none was taken."""
        now = self._clock.monotonic()
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self._depth
        if wait > 1e-9:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._keys_max:
            self._full_at.popitem(last=False)
        return 0.0

    def wait(self, key: str) -> float:
        """Return the seconds until ``key`` has a token, 0 if it has one; take none."""
        now = self._clock.monotonic()
        return max(max(self._full_at.get(key, now), now) + self._interval - now - self._depth, 0.0)


def network_of(address: str) -> str:
    """Return the network that is counted as one: /24 of IPv4, /56 of IPv6, which is what one customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    bits = 24 if parsed.version == 4 else 56
    return str(ipaddress.ip_network((address, bits), strict=False))
