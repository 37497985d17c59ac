"""Six digits from an authenticator application.

A code is good once: the time step of the last accepted one is kept, and nothing at or before it is taken again. Only
the server's clock counts.

Source: RFC 6238; OWASP ASVS 5.0 6.5.1, 6.5.5, 6.5.8; NIST SP 800-63B-4 3.1.4, 3.1.5.
"""

import hmac
import secrets
from base64 import b32encode
from typing import Final

from pyotp.totp import TOTP

from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import IdentityEvents, SecretSeal
from leadglass.trust.identity.models import Account, Factor, Origin, TOTPEnrolment
from leadglass.trust.identity.throttle import FactorThrottle

STEP_SECONDS: Final = 30
SEED_BYTES: Final = 20  # RFC 4226 4: 160 bits
_WINDOW: Final = 1
"""Steps before and after the current one: half a minute for slow fingers and clocks."""
_DIGITS: Final = 6

MIGRATIONS: Final = (
    """CREATE TABLE totp (account_id TEXT PRIMARY KEY, sealed BLOB NOT NULL, last_step INTEGER NOT NULL,
       created_at INTEGER NOT NULL) STRICT""",
)


class TimeCodes:
    """Enrols and checks authenticator applications: one for each account. Thread-safe.

    Args:
        database: where sealed seeds are kept.
        recorder: told of what is enrolled and removed.
        seal: of the seeds, under a key of its own beside that of the pages.
        throttle: of wrong codes.
        issuer: what the application shows beside the account.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        recorder: IdentityEvents,
        seal: SecretSeal,
        throttle: FactorThrottle,
        issuer: str,
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._events = recorder
        self._seal = seal
        self._throttle = throttle
        self._issuer = issuer
        database.register("totp", MIGRATIONS)

    def exists(self, account_id: str) -> bool:
        """Tell whether the account has an application."""
        with self._database.reading() as snapshot:
            return bool(snapshot.execute("SELECT 1 FROM totp WHERE account_id = ?", (account_id,)))

    def new_seed(self, account: Account) -> TOTPEnrolment:
        """Make a seed; it is kept nowhere until ``enrol`` saw a code of it."""
        seed = b32encode(secrets.token_bytes(SEED_BYTES)).decode("ascii")
        uri = TOTP(seed).provisioning_uri(name=account.account_id, issuer_name=self._issuer)
        return TOTPEnrolment(Secret(seed.encode("ascii")), Secret(uri.encode("utf-8")))

    def enrol(self, account: Account, seed: Secret, code: str, origin: Origin) -> bool:
        """Keep a seed whose code was shown; the code is used up by that. It replaces the one before.

        Raises:
            AuditUnavailable: it was not put on record; nothing changed.
        """
        if not self._throttle.take(account.account_id, Factor.TOTP.value):
            return False
        step = self._step(seed, code)
        if step is None:
            return False
        sealed = self._seal.seal(seed.reveal(), _place(account.account_id))
        with self._database.writing() as transaction:
            transaction.execute(
                "REPLACE INTO totp VALUES (?, ?, ?, ?)",
                (account.account_id, sealed, step, int(self._clock.now().timestamp())),
            )
            self._events.record(
                events.CREDENTIAL_ENROLLED, account.principal_id, origin, facts={"credential": "totp"}
            )
        self._throttle.succeeded(account.account_id, Factor.TOTP.value)
        return True

    def verify(self, account_id: str, code: str) -> bool:
        """Tell whether it is a code of now that was not used; of two that show the same one, one is told yes."""
        if not self._throttle.take(account_id, Factor.TOTP.value):
            return False
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT sealed FROM totp WHERE account_id = ?", (account_id,))
        if not rows:
            return False
        step = self._step(Secret(self._seal.open(rows[0][0], _place(account_id))), code)
        if step is None:
            return False
        with self._database.writing() as transaction:
            won = transaction.changed(
                "UPDATE totp SET last_step = ?1 WHERE account_id = ?2 AND last_step < ?1 AND sealed = ?3",
                (step, account_id, rows[0][0]),
            )
        if won:
            self._throttle.succeeded(account_id, Factor.TOTP.value)
        return bool(won)

    def remove(self, account: Account, origin: Origin) -> bool:
        """Remove the application; False when there is none."""
        with self._database.writing() as transaction:
            removed = transaction.changed("DELETE FROM totp WHERE account_id = ?", (account.account_id,))
            if removed:
                self._events.record(
                    events.CREDENTIAL_REMOVED, account.principal_id, origin, facts={"credential": "totp"}
                )
        self._throttle.succeeded(account.account_id, Factor.TOTP.value)
        return bool(removed)

    def _step(self, seed: Secret, code: str) -> int | None:
        given = "".join(code.split())
        if len(given) != _DIGITS or not given.isascii() or not given.isdigit():
            return None
        now = int(self._clock.now().timestamp()) // STEP_SECONDS
        totp = TOTP(seed.reveal().decode("ascii"))
        found: int | None = None
        for step in range(now - _WINDOW, now + _WINDOW + 1):  # all of them, always: the time tells nothing
            if hmac.compare_digest(totp.generate_otp(step), given):
                found = step
        return found


def _place(account_id: str) -> bytes:
    return b"totp\0" + account_id.encode("utf-8")
