"""Sign-ins between two steps, and ceremonies of sessions: in memory, bounded, short.

**Invariant:** a challenge or seed is handed out once; whoever asks a second time gets nothing.
"""

import base64
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.limits import SIGN_INS_PENDING_MAX
from leadglass.base.secret import Secret

FACTOR_TRIES: Final = 5
"""Wrong second factors of one sign-in; then it begins again with the password."""


@dataclass(slots=True)
class PendingSignIn:
    """What somebody has proved so far.

    Attributes:
        account_id: who they say they are; empty until a passkey named its user.
        zone: they must stay in it.
        certificate_sha256: the workstation must stay the same.
        workstation: as above.
        posture: of the connection that began it.
        methods: shown so far (RFC 8176).
        strong_at: when a second or phishing-resistant factor was shown.
        phishing_resistant: that factor was one.
        must_change: the password that was shown must be changed.
        failures: wrong second factors.
        expires: monotonic seconds.
        expires_at: the same for people.
    """

    account_id: str
    zone: str
    certificate_sha256: str
    workstation: str
    posture: str
    expires: float
    expires_at: datetime
    methods: set[str] = field(default_factory=set[str])
    strong_at: datetime | None = None
    phishing_resistant: bool = False
    must_change: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Ceremony:
    """Half of an exchange with an authenticator: the challenge or the seed that was handed out."""

    challenge: bytes = b""
    seed: Secret = field(default_factory=lambda: Secret(b""))


class PendingSignIns:
    """The sign-ins under way. Thread-safe; the oldest goes when there are too many.

    Args:
        clock: of the site.
        seconds: how long one lives.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.seconds = seconds
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, PendingSignIn] = OrderedDict()

    def add(self, entry: PendingSignIn) -> Secret:
        """Keep an entry; return the token that gets it back."""
        token = Secret(base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"="))
        with self._lock:
            self._entries[_hash(token)] = entry
            while len(self._entries) > SIGN_INS_PENDING_MAX:
                self._entries.popitem(last=False)
        return token

    def get(
        self, token: Secret, zone: str, certificate_sha256: str, workstation: str
    ) -> PendingSignIn | None:
        """Return the entry, if it is shown from where it was begun and lives still."""
        with self._lock:
            entry = self._entries.get(_hash(token))
            if entry is not None and self._clock.monotonic() >= entry.expires:
                del self._entries[_hash(token)]
                return None
        if entry is None or (entry.zone, entry.workstation) != (zone, workstation):
            return None
        return entry if entry.certificate_sha256 == certificate_sha256 or workstation else None

    def take(self, token: Secret) -> bool:
        """Remove it; False when somebody else took it first: only one of two can finish a sign-in."""
        with self._lock:
            return self._entries.pop(_hash(token), None) is not None

    def failed(self, token: Secret) -> None:
        """Count a wrong second factor."""
        with self._lock:
            entry = self._entries.get(_hash(token))
            if entry is None:
                return
            entry.failures += 1
            if entry.failures >= FACTOR_TRIES:
                del self._entries[_hash(token)]


class Ceremonies:
    """Challenges and seeds that wait for their answer, by whose they are and what for. Thread-safe.

    Args:
        clock: of the site.
        seconds: how long one lives.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[bytes, str], tuple[float, Ceremony]] = OrderedDict()

    def put(self, holder: bytes, purpose: str, ceremony: Ceremony) -> None:
        """Keep one; it replaces the one before of the same holder and purpose."""
        key = (holder, purpose)
        with self._lock:
            self._entries[key] = (self._clock.monotonic() + self._seconds, ceremony)
            self._entries.move_to_end(key)
            while len(self._entries) > SIGN_INS_PENDING_MAX:
                self._entries.popitem(last=False)

    def take(self, holder: bytes, purpose: str) -> Ceremony | None:
        """Return it, once."""
        with self._lock:
            expires, ceremony = self._entries.pop((holder, purpose), (0.0, None))
        return ceremony if self._clock.monotonic() < expires else None

    def peek(self, holder: bytes, purpose: str) -> Ceremony | None:
        """Return it and leave it there: a seed may be tried again after a slip of the finger."""
        with self._lock:
            expires, ceremony = self._entries.get((holder, purpose), (0.0, None))
        return ceremony if self._clock.monotonic() < expires else None


def _hash(token: Secret) -> bytes:
    text = token.reveal()
    return sha256(text if len(text) <= 64 else b"").digest()


def holder_of(token: Secret) -> bytes:
    """Return under what the ceremonies of a pending sign-in are kept."""
    return _hash(token)
