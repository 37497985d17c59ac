"""How often somebody may try: waits by account and place, buckets by address.

Nobody is locked out for good by what a stranger sends. Failures are counted for each account and place: places are the
workstations and addresses from which that account signed in before, each for itself, and one place for all the rest of
the world. A stranger who guesses makes strangers wait, and after ``FAILURES_MAX`` of them no password from an unknown
place is looked at any more until an administrator resets it; the person goes on at the places they are known at.

Source: NIST SP 800-63B-4 3.2.2 (at most 100 consecutive failures; requests from places of earlier successes may be
told apart); OWASP ASVS 5.0 6.1.1, 6.3.1.
"""

import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.limits import ADDRESSES_REMEMBERED_MAX
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.models import Origin
from leadglass.trust.identity.zones import parse_address

FAILURES_MAX: Final = 100
"""Consecutive failures of one account from one place. Source: NIST SP 800-63B-4 3.2.2."""
WAIT_SECONDS_MAX: Final = 900
_PLACES_MAX: Final = 16
"""Places that are remembered of one account; the one that was used longest ago goes first."""
_PLACE_DAYS: Final = 90
"""A place at which nobody signed in for so long is an unknown one again."""
_SLOTS: Final = 1 << 16
"""Counters for names that are nobody's: as many, however many names somebody tries. Two names may share one."""
_ELSEWHERE: Final = ""

MIGRATIONS: Final = (
    """CREATE TABLE sign_in_place (account_id TEXT NOT NULL, place TEXT NOT NULL, succeeded_at INTEGER NOT NULL,
       PRIMARY KEY (account_id, place)) STRICT""",
    """CREATE TABLE sign_in_failure (account_id TEXT NOT NULL, place TEXT NOT NULL, failures INTEGER NOT NULL,
       failed_at INTEGER NOT NULL, PRIMARY KEY (account_id, place)) STRICT""",
)


def wait_after(failures: int) -> int:
    """Return the seconds to wait after so many consecutive failures: none after one, then 1, 2, 4, ... 900."""
    return 0 if failures < 2 else min(1 << min(failures - 2, 20), WAIT_SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class Throttled:
    """Not now.

    Attributes:
        retry_after: seconds, rounded up.
        closed: not until an administrator resets it.
    """

    retry_after: int
    closed: bool = False


class AccountThrottle:
    """Waits of accounts, kept in the identity database, and of names that are nobody's. Thread-safe."""

    def __init__(self, database: IdentityDatabase) -> None:
        self._database = database
        self._clock = database.clock
        self._key = secrets.token_bytes(32)
        self._strangers: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()
        database.register("throttle", MIGRATIONS)

    def remembers(self, name: str) -> bool:
        """Tell whether somebody signed in under that name: an account, or a name that only a directory knows."""
        with self._database.reading() as snapshot:
            return bool(snapshot.execute("SELECT 1 FROM sign_in_place WHERE account_id = ? LIMIT 1", (name,)))

    def check(self, account_id: str, origin: Origin, workstation: str, *, known: bool) -> Throttled | None:
        """Say whether a try must wait; a try that must is not looked at and does not count.

        Args:
            account_id: the name as it was given.
            origin: from where.
            workstation: principal id of the enrolled device; empty for none.
            known: there is such an account, or the throttle ``remembers`` the name.
        """
        if known:
            with self._database.reading() as snapshot:
                place = self._place(snapshot, account_id, origin, workstation)
                rows = snapshot.execute(
                    "SELECT failures, failed_at FROM sign_in_failure WHERE account_id = ? AND place = ?",
                    (account_id, place),
                )
            failures, at = rows[0] if rows else (0, 0)
        else:
            with self._lock:
                failures, at = self._strangers.get(self._slot(account_id), (0, 0))
        if failures >= FAILURES_MAX:
            return Throttled(WAIT_SECONDS_MAX, closed=True)
        left = at + wait_after(failures) - self._now()
        return Throttled(left) if left > 0 else None

    def failed(self, account_id: str, origin: Origin, workstation: str, *, known: bool) -> bool:
        """Count a failure; return True when it was the last one that is allowed from there."""
        if not known:
            slot = self._slot(account_id)
            with self._lock:
                failures = min(self._strangers.get(slot, (0, 0))[0] + 1, FAILURES_MAX)
                self._strangers[slot] = (failures, self._now())
            return False
        # Not durable: a power cut may forgive a few, but a write that waits for the disk would tell who is known.
        with self._database.writing(durable=False) as transaction:
            rows = transaction.execute(
                """INSERT INTO sign_in_failure VALUES (?, ?, 1, ?) ON CONFLICT (account_id, place)
                   DO UPDATE SET failures = failures + 1, failed_at = excluded.failed_at RETURNING failures""",
                (account_id, self._place(transaction, account_id, origin, workstation), self._now()),
            )
        return bool(rows[0][0] == FAILURES_MAX)

    def succeeded(self, account_id: str, origin: Origin, workstation: str) -> None:
        """Forget the failures from there, and remember the place: after all factors that were asked for.

        Failures from elsewhere stay, or a stranger could go on guessing whenever the person signs in. Under a name of
        a directory it is called after the password: what was counted while nobody knew the name is forgotten then.
        """
        with self._lock:
            self._strangers.pop(self._slot(account_id), None)
        with self._database.writing(durable=False) as transaction:
            transaction.execute(
                "DELETE FROM sign_in_failure WHERE account_id = ? AND place = ?",
                (account_id, self._place(transaction, account_id, origin, workstation)),
            )
            transaction.execute(
                "REPLACE INTO sign_in_place VALUES (?, ?, ?)",
                (account_id, _name(origin, workstation), self._now()),
            )
            transaction.execute(
                """DELETE FROM sign_in_place WHERE account_id = ?1 AND place NOT IN (SELECT place FROM sign_in_place
                   WHERE account_id = ?1 ORDER BY succeeded_at DESC LIMIT ?2)""",
                (account_id, _PLACES_MAX),
            )

    def reset(self, account_id: str) -> None:
        """Forget every failure: an administrator says so."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM sign_in_failure WHERE account_id = ?", (account_id,))

    def _place(self, snapshot: Transaction, account_id: str, origin: Origin, workstation: str) -> str:
        """Return the place whose failures count for this try."""
        place = _name(origin, workstation)
        known = snapshot.execute(
            "SELECT 1 FROM sign_in_place WHERE account_id = ? AND place = ? AND succeeded_at > ?",
            (account_id, place, self._now() - _PLACE_DAYS * 86_400),
        )
        return place if known else _ELSEWHERE

    def _slot(self, name: str) -> int:
        digest = hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), sha256)
        return int.from_bytes(digest[:8], "big") % _SLOTS

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _name(origin: Origin, workstation: str) -> str:
    return workstation or f"address:{origin.address}"


class AddressBuckets:
    """Token buckets of addresses, and of their networks (/24, /64) with four times as much. Thread-safe.

    Args:
        clock: of the site.
        burst: tries at once.
        per_second: tries that are given back each second.
    """

    def __init__(self, clock: Clock, *, burst: float = 20.0, per_second: float = 0.5) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_second
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> int:
        """Take one try; return 0, or the seconds until there is one."""
        now = self._clock.monotonic()
        with self._lock:
            wait = 0.0
            levels: list[tuple[str, float]] = []
            for key, size in ((address, 1.0), (_network(address), 4.0)):
                level, at = self._levels.get(key, (self._burst * size, now))
                level = min(self._burst * size, level + (now - at) * self._per_second * size)
                levels.append((key, level))
                if level < 1:
                    wait = max(wait, (1 - level) / (self._per_second * size))
            for key, level in levels:
                self._levels[key] = (level if wait else level - 1, now)
                self._levels.move_to_end(key)
            while len(self._levels) > ADDRESSES_REMEMBERED_MAX:
                self._levels.popitem(last=False)
        return 0 if not wait else int(wait) + 1

    def give_back(self, address: str) -> None:
        """Give back a try that was none of a stranger's: many people may come from one address."""
        with self._lock:
            for key, size in ((address, 1.0), (_network(address), 4.0)):
                if key in self._levels:
                    level, at = self._levels[key]
                    self._levels[key] = (min(self._burst * size, level + 1), at)


def _network(address: str) -> str:
    parsed = parse_address(address)
    if parsed is None:
        return "network:none"
    kept = 8 if parsed.version == 4 else 64
    return f"network:{parsed.version}:{int(parsed) >> kept:x}"


FACTOR_TRIES: Final = 5
FACTOR_SECONDS: Final = 900

_FACTOR_MIGRATIONS: Final = (
    """CREATE TABLE factor_failure (account_id TEXT NOT NULL, factor TEXT NOT NULL, failures INTEGER NOT NULL,
       since INTEGER NOT NULL, consecutive INTEGER NOT NULL, PRIMARY KEY (account_id, factor)) STRICT""",
)


class FactorThrottle:
    """Five wrong codes of one factor in a quarter of an hour, and a hundred in a row at all. Thread-safe.

    Whoever gets here has shown the password, so this is no way for a stranger to keep somebody out.
    """

    def __init__(self, database: IdentityDatabase) -> None:
        self._database = database
        self._clock = database.clock
        database.register("factor-throttle", _FACTOR_MIGRATIONS)

    def take(self, account_id: str, factor: str) -> bool:
        """Count a try before it is looked at, so that tries at once do not get past it; False when it must wait."""
        now = int(self._clock.now().timestamp())
        with self._database.writing() as transaction:
            rows = transaction.execute(
                "SELECT failures, since, consecutive FROM factor_failure WHERE account_id = ? AND factor = ?",
                (account_id, factor),
            )
            failures, since, consecutive = rows[0] if rows else (0, now, 0)
            if now - since >= FACTOR_SECONDS:
                failures, since = 0, now
            if failures >= FACTOR_TRIES or consecutive >= FAILURES_MAX:
                return False
            transaction.execute(
                "REPLACE INTO factor_failure VALUES (?, ?, ?, ?, ?)",
                (account_id, factor, failures + 1, since, consecutive + 1),
            )
        return True

    def succeeded(self, account_id: str, factor: str) -> None:
        """Forget the failures."""
        with self._database.writing(durable=False) as transaction:
            transaction.execute(
                "DELETE FROM factor_failure WHERE account_id = ? AND factor = ?", (account_id, factor)
            )
