"""Sessions: opaque tokens that stand for somebody who signed in.

A token is 256 random bits; its SHA-256 is kept, so that a copy of the database lets nobody in. It changes whenever its
holder proves something anew (sign-in, step-up, unlocking), so that a token planted or seen before is worth nothing
after. Sessions are held in memory and survive a restart; when each was last used is written lazily, so that after a
crash one may end too early but never too late.

Source: OWASP ASVS 5.0 V7 (7.1.1, 7.1.2, 7.2.3, 7.2.4, 7.3.1, 7.3.2, 7.4.1, 7.4.2, 7.4.5, 7.5.2); NIST SP 800-63B-4 5.
"""

import base64
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase, Row, Transaction
from leadglass.trust.identity.interfaces import AccountDirectory, IdentityEvents
from leadglass.trust.identity.models import Account, NotAuthenticated, Origin, Session, SignedIn
from leadglass.trust.identity.zones import LOCAL, REMOTE, SITE

TOKEN_BYTES: Final = 32
_TOKEN_CHARACTERS: Final = 43
_ID_BYTES: Final = 16

MIGRATIONS: Final = (
    """CREATE TABLE session (session_id TEXT PRIMARY KEY, token_hash BLOB NOT NULL UNIQUE, account_id TEXT NOT NULL,
       zone TEXT NOT NULL, address TEXT NOT NULL, certificate_sha256 TEXT NOT NULL, workstation TEXT NOT NULL,
       posture TEXT NOT NULL, methods TEXT NOT NULL, started_at INTEGER NOT NULL, authenticated_at INTEGER NOT NULL,
       strong_at INTEGER, phishing_resistant INTEGER NOT NULL, last_seen INTEGER NOT NULL, locked_at INTEGER,
       risk TEXT NOT NULL) STRICT""",
    "CREATE INDEX session_account ON session (account_id)",
)
_COLUMNS: Final = (
    "session_id, token_hash, account_id, zone, address, certificate_sha256, workstation, posture, methods, started_at,"
    " authenticated_at, strong_at, phishing_resistant, last_seen, locked_at, risk"
)


@dataclass(frozen=True, slots=True)
class ZoneRules:
    """How long a session of one zone lives.

    Attributes:
        idle_seconds: without a request.
        ends_when_idle: it ends then; else it locks, and quick re-authentication is enough.
        absolute_seconds: in any case, locked or not.
    """

    idle_seconds: float
    ends_when_idle: bool
    absolute_seconds: float = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions live, and how many somebody may have.

    Attributes:
        zones: by name; a zone that is not named is as strict as ``remote``.
        console: for workstations that people share.
        consoles: principal ids of those workstations.
        sessions_per_person: beyond it the oldest ends.
        sessions_per_administrator: the same, for whoever holds an administrator role.
        administrator_roles: which those are.
    """

    zones: Mapping[str, ZoneRules] = field(
        default_factory=lambda: {
            LOCAL: ZoneRules(900.0, ends_when_idle=False),
            SITE: ZoneRules(900.0, ends_when_idle=False),
            REMOTE: ZoneRules(300.0, ends_when_idle=True),
        }
    )
    console: ZoneRules = ZoneRules(300.0, ends_when_idle=False)
    consoles: frozenset[str] = frozenset()
    sessions_per_person: int = 3
    sessions_per_administrator: int = 1
    administrator_roles: frozenset[str] = frozenset()

    def of(self, zone: str, workstation: str) -> ZoneRules:
        """Return the rules of a session."""
        if workstation and workstation in self.consoles:
            return self.console
        strictest = ZoneRules(300.0, ends_when_idle=True)
        return self.zones.get(zone) or self.zones.get(REMOTE) or strictest

    def limit(self, account: Account) -> int:
        """Return how many sessions the account may have at once."""
        if self.administrator_roles.isdisjoint(account.roles):
            return self.sessions_per_person
        return self.sessions_per_administrator


@dataclass(slots=True)
class LiveSession:
    """One session in memory. Only ``SessionStore`` changes it, under its lock.

    Attributes:
        token_hash: SHA-256 of the token that counts now.
        facts: what does not change with every request.
        rules: how long it lives.
        seen: monotonic seconds of the last use.
        ends: monotonic seconds of its absolute end.
        ended: True once it is out of the store, for whoever still holds it.
        dirty: ``seen`` is newer than what the database says.
        wrong_pins: since it was locked.
    """

    token_hash: bytes
    facts: Session
    rules: ZoneRules
    seen: float
    ends: float
    ended: bool = False
    dirty: bool = False
    wrong_pins: int = 0


_UNKNOWN: Final = NotAuthenticated("session is not known or has ended", error="invalid_token")
_IDLE: Final = NotAuthenticated("session ended: it was idle", error="invalid_token")
_OVER: Final = NotAuthenticated("session ended: its time was over", error="invalid_token")
_LOCKED: Final = NotAuthenticated("session is locked", error="invalid_token", locked=True)
_OTHER_PLACE: Final = NotAuthenticated("session was begun in another network zone", error="invalid_token")
_OTHER_STATION: Final = NotAuthenticated("session is bound to another workstation", error="invalid_token")


class SessionStore:
    """Implements ``identity.interfaces.Sessions``; begins, finds and ends sessions. Thread-safe.

    The lock guards memory only and is never held while the database is written, so a request never waits for a disk.

    Args:
        database: where they are kept.
        accounts: whose change ends sessions.
        rules: how long they live.
        recorder: told of begin and end.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        accounts: "AccountDirectory",
        rules: SessionRules,
        recorder: IdentityEvents,
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._accounts = accounts
        self._rules = rules
        self._events = recorder
        self._lock = threading.Lock()
        self._by_hash: dict[bytes, LiveSession] = {}
        self._by_id: dict[str, LiveSession] = {}
        self._by_account: dict[str, list[LiveSession]] = {}
        database.register("sessions", MIGRATIONS)
        self._load()

    # --- the fast path ---------------------------------------------------------------------------------------------

    def find(
        self, token: Secret, zone: str, certificate_sha256: str, workstation: str, *, locked: bool = False
    ) -> LiveSession | NotAuthenticated:
        """Return the session that a token stands for, and note that it is in use.

        Args:
            token: as the cookie carried it.
            zone: of the address that the request came from.
            certificate_sha256: that the connection showed; empty for none.
            workstation: principal id of the enrolled device with that certificate; empty for none.
            locked: a locked one is wanted as well, to open it.
        """
        session = self._by_hash.get(_hash(token))
        if session is None:
            return _UNKNOWN
        facts = session.facts
        # Bound to the device, not to one certificate of it: certificates are renewed while somebody works.
        if facts.workstation:
            if facts.workstation != workstation:
                return _OTHER_STATION
        elif facts.certificate_sha256 and facts.certificate_sha256 != certificate_sha256:
            return _OTHER_STATION
        if facts.zone != zone:
            return _OTHER_PLACE
        now = self._clock.monotonic()
        over = self._over(session, now)
        if over is not None:
            self._remove(session, Origin(), over.reason)
            return over
        if facts.locked_at is None and now - session.seen >= session.rules.idle_seconds:
            self._lock_session(session, Origin(), "idle")
        if session.facts.locked_at is not None:
            return session if locked else _LOCKED
        session.seen = now
        session.dirty = True
        return _UNKNOWN if session.ended else session

    def stands(self, session_id: str) -> bool:
        """Tell whether a session is there and open now; asked before every decision."""
        session = self._by_id.get(session_id)
        if session is None or session.ended or session.facts.locked_at is not None:
            return False
        return self._over(session, self._clock.monotonic()) is None

    # --- begin and renew -------------------------------------------------------------------------------------------

    def start(
        self,
        account: Account,
        origin: Origin,
        *,
        zone: str,
        workstation: str,
        posture: str,
        methods: Collection[str],
        strong_at: datetime | None,
        phishing_resistant: bool,
    ) -> SignedIn:
        """Begin a session; the oldest of the account's ends if there are too many.

        Raises:
            AuditUnavailable: it could not be put on record; there is none.
            AccountGoneError: the account was disabled meanwhile.
        """
        now = self._clock.now()
        monotonic = self._clock.monotonic()
        rules = self._rules.of(zone, workstation)
        token = _new_token()
        facts = Session(
            session_id=secrets.token_hex(_ID_BYTES),
            account_id=account.account_id,
            zone=zone,
            address=origin.address,
            certificate_sha256=origin.certificate_sha256,
            workstation=workstation,
            posture=posture,
            methods=tuple(sorted(methods)),
            started_at=now,
            authenticated_at=now,
            strong_at=strong_at,
            phishing_resistant=phishing_resistant,
            last_seen=now,
            idle_ends_at=now,
            ends_at=now + timedelta(seconds=rules.absolute_seconds),
        )
        session = LiveSession(_hash(token), facts, rules, monotonic, monotonic + rules.absolute_seconds)
        with self._database.writing() as transaction:
            # Asked again here, where no change of accounts can come between: who was disabled a moment ago stays out.
            current = self._accounts.get(account.account_id)
            if current is None or not current.usable(now):
                raise AccountGoneError
            for old in self._too_many(current):
                self._end_in(transaction, old, origin, "too many sessions of one person")
            self._insert(transaction, session)
            self._events.record(
                events.SESSION_STARTED,
                account.principal_id,
                origin,
                facts={"session": facts.session_id, "zone": zone, "methods": ", ".join(facts.methods)},
            )
            transaction.after_commit(lambda: self._hold(session))
        return SignedIn(token, self._shown(session))

    def renew(
        self,
        session: LiveSession,
        *,
        methods: Collection[str] = (),
        authenticated: bool = False,
        strong_at: datetime | None = None,
        phishing_resistant: bool | None = None,
    ) -> SignedIn:
        """Give a session a new token, and note what its holder just proved; an open one and a locked one.

        Args:
            session: whose token dies.
            methods: shown now.
            authenticated: they proved who they are in full; a badge does not.
            strong_at: when a strong factor was shown; None: not now.
            phishing_resistant: of that factor; None: as before.

        Raises:
            OutOfResources: nothing changed.
            AccountGoneError: the session ended meanwhile.
        """
        now = self._clock.now()
        token = _new_token()
        facts = replace(
            session.facts,
            methods=tuple(sorted({*session.facts.methods, *methods})),
            authenticated_at=now if authenticated else session.facts.authenticated_at,
            strong_at=strong_at or session.facts.strong_at,
            phishing_resistant=session.facts.phishing_resistant
            if phishing_resistant is None
            else phishing_resistant,
            last_seen=now,
            locked_at=None,
        )
        fresh = _hash(token)
        with self._database.writing() as transaction:
            if session.ended:
                raise AccountGoneError
            transaction.execute(
                """UPDATE session SET token_hash = ?, methods = ?, authenticated_at = ?, strong_at = ?,
                   phishing_resistant = ?, last_seen = ?, locked_at = NULL WHERE session_id = ?""",
                (
                    fresh,
                    " ".join(facts.methods),
                    _milliseconds(facts.authenticated_at),
                    _maybe_milliseconds(facts.strong_at),
                    int(facts.phishing_resistant),
                    _milliseconds(now),
                    facts.session_id,
                ),
            )
            transaction.after_commit(lambda: self._replace(session, fresh, facts))
        return SignedIn(token, self._shown(session))

    def count_try(self, session: LiveSession) -> int:
        """Count a try to open a locked session; return how many there were since it was locked."""
        with self._lock:
            session.wrong_pins += 1
            return session.wrong_pins

    # --- lists, lock and end ---------------------------------------------------------------------------------------

    def of(self, account_id: str) -> tuple[Session, ...]:
        """Return the account's sessions that have not ended, newest first."""
        with self._lock:
            found = list(self._by_account.get(account_id, ()))
        return self._listed(found)

    def all(self) -> tuple[Session, ...]:
        """Return every session that has not ended, newest first."""
        with self._lock:
            found = list(self._by_id.values())
        return self._listed(found)

    def get(self, session_id: str) -> Session | None:
        """Return the session if it has not ended."""
        session = self._by_id.get(session_id)
        listed = self._listed([session]) if session is not None else ()
        return listed[0] if listed else None

    def lock(self, session_id: str, origin: Origin) -> bool:
        """Lock it now; False when it has ended."""
        session = self._by_id.get(session_id)
        return session is not None and self._lock_session(session, origin, "asked for")

    def end(self, session_id: str, origin: Origin, reason: str) -> bool:
        """End it now; False when it had ended."""
        session = self._by_id.get(session_id)
        return session is not None and self._remove(session, origin, reason)

    def end_all(self, account_id: str, origin: Origin, reason: str, *, but: str = "") -> int:
        """End all sessions of an account, but one if it is named; return how many."""
        with self._lock:
            found = list(self._by_account.get(account_id, ()))
        return sum(self._remove(s, origin, reason) for s in found if s.facts.session_id != but)

    def sweep(self) -> int:
        """End what is over, lock what is idle, write when the others were last used; return how many it ended.

        Called now and then (once a minute): nothing depends on it, as every use of a session looks at the clock.
        """
        now = self._clock.monotonic()
        with self._lock:
            found = list(self._by_id.values())
        ended = 0
        for session in found:
            over = self._over(session, now)
            if over is not None:
                ended += self._remove(session, Origin(), over.reason)
            elif session.facts.locked_at is None and now - session.seen >= session.rules.idle_seconds:
                self._lock_session(session, Origin(), "idle")
        self.flush()
        return ended

    def flush(self) -> None:
        """Write when sessions were last used: in ``sweep``, and before the database is closed."""
        with self._database.writing(durable=False) as transaction:
            with self._lock:
                held = dict(self._by_id)
            # Whoever ended while the audit log took nothing is out of memory, but stands here still.
            for (session_id,) in transaction.execute("SELECT session_id FROM session"):
                if session_id not in held:
                    transaction.execute("DELETE FROM session WHERE session_id = ?", (session_id,))
            for session in held.values():
                if not session.dirty:
                    continue
                session.dirty = False
                transaction.execute(
                    "UPDATE session SET last_seen = ? WHERE session_id = ?",
                    (_milliseconds(self._wall(session.seen)), session.facts.session_id),
                )

    def account_changing(self, transaction: Transaction, before: Account | None, after: Account) -> None:
        """End the sessions of an account that is disabled or gets other roles, with that very change.

        A hook for ``Accounts.on_changing``.
        """
        if before is None:
            return
        if after.disabled_at is not None:
            reason = "account was disabled"
        elif before.roles != after.roles:
            reason = "roles changed"
        elif not after.usable(self._clock.now()):
            reason = "account is over"
        else:
            return
        with self._lock:
            found = list(self._by_account.get(after.account_id, ()))
        for session in found:
            self._end_in(transaction, session, Origin(), reason)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _over(self, session: LiveSession, now: float) -> NotAuthenticated | None:
        if now >= session.ends:
            return _OVER
        if session.rules.ends_when_idle and now - session.seen >= session.rules.idle_seconds:
            return _IDLE
        return None

    def _too_many(self, account: Account) -> list[LiveSession]:
        with self._lock:
            held = sorted(self._by_account.get(account.account_id, ()), key=lambda s: s.facts.started_at)
        return held[: max(0, len(held) + 1 - self._rules.limit(account))]

    def _remove(self, session: LiveSession, origin: Origin, reason: str) -> bool:
        with self._database.writing() as transaction:
            if session.ended:
                return False
            self._end_in(transaction, session, origin, reason)
        return True

    def _end_in(self, transaction: Transaction, session: LiveSession, origin: Origin, reason: str) -> None:
        transaction.execute("DELETE FROM session WHERE session_id = ?", (session.facts.session_id,))
        # Not held back by a log that takes nothing: whoever is to be out is out at once.
        self._drop(session)
        self._events.record(
            events.SESSION_ENDED,
            f"user:{session.facts.account_id}",
            origin,
            facts={"session": session.facts.session_id, "reason": reason},
        )

    def _lock_session(self, session: LiveSession, origin: Origin, reason: str) -> bool:
        with self._database.writing() as transaction:
            if session.ended:
                return False
            if session.facts.locked_at is not None:
                return True
            now = self._clock.now()
            session.facts = replace(session.facts, locked_at=now)
            session.wrong_pins = 0
            transaction.execute(
                "UPDATE session SET locked_at = ? WHERE session_id = ?",
                (_milliseconds(now), session.facts.session_id),
            )
            self._events.record(
                events.SESSION_LOCKED,
                f"user:{session.facts.account_id}",
                origin,
                facts={"session": session.facts.session_id, "reason": reason},
            )
        return True

    def _insert(self, transaction: Transaction, session: LiveSession) -> None:
        facts = session.facts
        transaction.execute(
            f"INSERT INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                facts.session_id,
                session.token_hash,
                facts.account_id,
                facts.zone,
                facts.address,
                facts.certificate_sha256,
                facts.workstation,
                facts.posture,
                " ".join(facts.methods),
                _milliseconds(facts.started_at),
                _milliseconds(facts.authenticated_at),
                _maybe_milliseconds(facts.strong_at),
                int(facts.phishing_resistant),
                _milliseconds(facts.last_seen),
                None,
                facts.risk,
            ),
        )

    def _hold(self, session: LiveSession) -> None:
        with self._lock:
            self._by_hash[session.token_hash] = session
            self._by_id[session.facts.session_id] = session
            self._by_account.setdefault(session.facts.account_id, []).append(session)

    def _replace(self, session: LiveSession, token_hash: bytes, facts: Session) -> None:
        with self._lock:
            self._by_hash.pop(session.token_hash, None)
            session.token_hash = token_hash
            session.facts = facts
            session.seen = self._clock.monotonic()
            session.wrong_pins = 0
            self._by_hash[token_hash] = session

    def _drop(self, session: LiveSession) -> None:
        with self._lock:
            session.ended = True
            self._by_hash.pop(session.token_hash, None)
            self._by_id.pop(session.facts.session_id, None)
            held = self._by_account.get(session.facts.account_id, [])
            if session in held:
                held.remove(session)
            if not held:
                self._by_account.pop(session.facts.account_id, None)

    def _listed(self, found: list[LiveSession]) -> tuple[Session, ...]:
        now = self._clock.monotonic()
        shown = [self._shown(s) for s in found if not s.ended and self._over(s, now) is None]
        return tuple(sorted(shown, key=lambda s: s.started_at, reverse=True))

    def _shown(self, session: LiveSession) -> Session:
        seen = self._wall(session.seen)
        idle = seen + timedelta(seconds=session.rules.idle_seconds)
        return replace(session.facts, last_seen=seen, idle_ends_at=min(idle, session.facts.ends_at))

    def _wall(self, monotonic: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - monotonic)

    def _load(self) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        with self._database.reading() as snapshot:
            rows = snapshot.execute(f"SELECT {_COLUMNS} FROM session ORDER BY started_at")  # noqa: S608 - a constant
        for row in rows:
            session = self._from_row(row, now, monotonic)
            account = self._accounts.get(session.facts.account_id)
            if account is not None and account.usable(now):
                self._hold(session)

    def _from_row(self, row: Row, now: datetime, monotonic: float) -> LiveSession:
        rules = self._rules.of(row[3], row[6])
        started, last_seen = _time(row[9]), _time(row[13])
        facts = Session(
            session_id=row[0],
            account_id=row[2],
            zone=row[3],
            address=row[4],
            certificate_sha256=row[5],
            workstation=row[6],
            posture=row[7],
            methods=tuple(row[8].split()),
            started_at=started,
            authenticated_at=_time(row[10]),
            strong_at=None if row[11] is None else _time(row[11]),
            phishing_resistant=bool(row[12]),
            last_seen=last_seen,
            idle_ends_at=last_seen,
            ends_at=started + timedelta(seconds=rules.absolute_seconds),
            locked_at=None if row[14] is None else _time(row[14]),
            risk=row[15],
        )
        # A wall clock that was put back must not make a session longer than it ever was.
        idle = max(0.0, (now - last_seen).total_seconds())
        age = max(0.0, (now - started).total_seconds())
        return LiveSession(row[1], facts, rules, monotonic - idle, monotonic + rules.absolute_seconds - age)


class AccountGoneError(Exception):
    """The account or the session went away between two steps; whoever meets it refuses."""


def _new_token() -> Secret:
    return Secret(base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"="))


def _hash(token: Secret) -> bytes:
    text = token.reveal()
    # A longer text cannot be a token; hashing megabytes of cookie would be work for nothing.
    return sha256(text if len(text) <= _TOKEN_CHARACTERS else b"").digest()


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _maybe_milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else _milliseconds(moment)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
