"""Badge and PIN: opening a locked session again at the workstation it was begun at.

One factor and a half, and never a way to sign in: the session was begun with full authentication, is bound to an
enrolled workstation, and five wrong PINs end it.
"""

from typing import Final

from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import FileAuthenticator, IdentityEvents, PasscodeVerifier
from leadglass.trust.identity.models import Account, Origin

PIN_DIGITS_MIN: Final = 6
PIN_DIGITS_MAX: Final = 12
_BADGE_OCTETS_MAX: Final = 256
_UP: Final = "01234567890123456789"

MIGRATIONS: Final = (
    "CREATE TABLE badge (tag BLOB PRIMARY KEY, account_id TEXT NOT NULL UNIQUE, pin_verifier TEXT NOT NULL) STRICT",
)


class Badges:
    """Enrols and checks badges. Thread-safe.

    Args:
        database: where they are kept.
        recorder: told of what is enrolled and removed.
        mac: tags the numbers of badges, which are short and would be guessed from a plain hash.
        verifier: Argon2id, for PINs.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        recorder: IdentityEvents,
        mac: FileAuthenticator,
        verifier: PasscodeVerifier,
    ) -> None:
        self._database = database
        self._events = recorder
        self._mac = mac
        self._verifier = verifier
        database.register("badges", MIGRATIONS)

    def exists(self, account_id: str) -> bool:
        """Tell whether the account has a badge."""
        with self._database.reading() as snapshot:
            return bool(snapshot.execute("SELECT 1 FROM badge WHERE account_id = ?", (account_id,)))

    def enrol(self, account: Account, badge: Secret, pin: Secret, origin: Origin) -> None:
        """Give an account a badge and its PIN; they replace the ones before.

        Raises:
            UsageError: the badge cannot be read or is another account's, or the PIN is too short or too plain.
            AuditUnavailable: it was not put on record; nothing changed.
        """
        if not 4 <= len(badge.reveal()) <= _BADGE_OCTETS_MAX:
            raise UsageError("that badge cannot be read")
        digits = pin.reveal().decode("ascii", "replace")
        if not PIN_DIGITS_MIN <= len(digits) <= PIN_DIGITS_MAX or not (digits.isascii() and digits.isdigit()):
            raise UsageError(f"a PIN has {PIN_DIGITS_MIN} to {PIN_DIGITS_MAX} digits")
        if len(set(digits)) < 3 or digits in _UP or digits in _UP[::-1]:
            raise UsageError("that PIN is among those that are guessed first")
        tag, verifier = self._tag(badge), self._verifier.verifier(pin)
        with self._database.writing() as transaction:
            rows = transaction.execute("SELECT account_id FROM badge WHERE tag = ?", (tag,))
            if rows and rows[0][0] != account.account_id:
                raise UsageError("that badge is another account's")
            transaction.execute("DELETE FROM badge WHERE account_id = ?", (account.account_id,))
            transaction.execute("INSERT INTO badge VALUES (?, ?, ?)", (tag, account.account_id, verifier))
            self._events.record(
                events.CREDENTIAL_ENROLLED, account.principal_id, origin, facts={"credential": "badge"}
            )

    def verify(self, account_id: str, badge: Secret, pin: Secret) -> bool:
        """Tell whether it is the account's badge, with its PIN."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT tag, pin_verifier FROM badge WHERE account_id = ?", (account_id,))
        if not rows or len(badge.reveal()) > _BADGE_OCTETS_MAX or len(pin.reveal()) > PIN_DIGITS_MAX:
            return False
        right = self._verifier.verify(pin, rows[0][1])
        return right and bool(rows[0][0] == self._tag(badge))

    def remove(self, account: Account, origin: Origin) -> bool:
        """Remove the badge: it was lost. False when there is none."""
        with self._database.writing() as transaction:
            removed = transaction.changed("DELETE FROM badge WHERE account_id = ?", (account.account_id,))
            if removed:
                self._events.record(
                    events.CREDENTIAL_REMOVED, account.principal_id, origin, facts={"credential": "badge"}
                )
        return bool(removed)

    def _tag(self, badge: Secret) -> bytes:
        return self._mac.tag(b"badge\0" + badge.reveal())
