"""Ten codes for the day the other factors are lost: shown once, each good once.

A code is its number and 80 random bits: ``4-K3ZQ-7WMA-XX2P-9RTD``. The number says which verifier it is held against,
so that one derivation of Argon2id is enough. Making ten takes as long as ten.

Source: NIST SP 800-63B-4 3.1.2 (look-up secrets below 112 bits are hashed as passwords); OWASP ASVS 5.0 6.5.1, 6.5.2.
"""

import secrets
from base64 import b32encode
from functools import cached_property
from typing import Final

from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import IdentityEvents, PasscodeVerifier
from leadglass.trust.identity.models import Account, Factor, Origin
from leadglass.trust.identity.throttle import FactorThrottle

CODES: Final = 10
CODE_BYTES: Final = 10
_CHARACTERS: Final = 16

MIGRATIONS: Final = (
    """CREATE TABLE recovery_code (account_id TEXT NOT NULL, number INTEGER NOT NULL, verifier TEXT NOT NULL,
       PRIMARY KEY (account_id, number)) STRICT""",
)


class RecoveryCodes:
    """Makes and takes recovery codes. Thread-safe.

    Args:
        database: where verifiers are kept.
        recorder: told of every code that is used up.
        verifier: Argon2id.
        throttle: of wrong codes.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        recorder: IdentityEvents,
        verifier: PasscodeVerifier,
        throttle: FactorThrottle,
    ) -> None:
        self._database = database
        self._events = recorder
        self._verifier = verifier
        self._throttle = throttle
        database.register("recovery-codes", MIGRATIONS)

    @cached_property
    def _nobody(self) -> str:
        return self._verifier.verifier(Secret(secrets.token_bytes(CODE_BYTES)))

    def left(self, account_id: str) -> int:
        """Return how many codes the account has."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT count(*) FROM recovery_code WHERE account_id = ?", (account_id,))
        return int(rows[0][0])

    def replace(self, account: Account, origin: Origin) -> tuple[str, ...]:
        """Make ten new codes, to be shown this once; the ones before are dead.

        Raises:
            AuditUnavailable: it was not put on record; the ones before still stand.
        """
        codes = [b32encode(secrets.token_bytes(CODE_BYTES)).decode("ascii") for _ in range(CODES)]
        verifiers = [self._verifier.verifier(Secret(code.encode("ascii"))) for code in codes]
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM recovery_code WHERE account_id = ?", (account.account_id,))
            for number, verifier in enumerate(verifiers):
                transaction.execute(
                    "INSERT INTO recovery_code VALUES (?, ?, ?)", (account.account_id, number, verifier)
                )
            self._events.record(
                events.CREDENTIAL_ENROLLED,
                account.principal_id,
                origin,
                facts={"credential": "recovery codes"},
            )
        return tuple(
            f"{number}-{code[:4]}-{code[4:8]}-{code[8:12]}-{code[12:]}" for number, code in enumerate(codes)
        )

    def use(self, account: Account, code: str, origin: Origin) -> bool:
        """Take a code; it is used up by that, even if the sign-in goes no further.

        Raises:
            AuditUnavailable: it was not put on record; the code still stands, and the answer is no.
        """
        if not self._throttle.take(account.account_id, Factor.RECOVERY_CODE.value):
            return False
        bare = "".join(c for c in code.upper() if c.isascii() and c.isalnum())
        number, text = bare[:1], bare[1:]
        readable = len(text) == _CHARACTERS and number.isdigit()
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT verifier FROM recovery_code WHERE account_id = ? AND number = ?",
                (account.account_id, int(number) if readable else -1),
            )
        verifier = rows[0][0] if rows else self._nobody
        if not self._verifier.verify(Secret(text.encode("ascii")), verifier) or not rows:
            return False
        with self._database.writing() as transaction:
            won = transaction.changed(
                "DELETE FROM recovery_code WHERE account_id = ? AND number = ? AND verifier = ?",
                (account.account_id, int(number), verifier),
            )
            if won:
                self._events.record(
                    events.CREDENTIAL_USED_UP,
                    account.principal_id,
                    origin,
                    facts={"credential": "recovery code", "number": int(number)},
                )
        if won:
            self._throttle.succeeded(account.account_id, Factor.RECOVERY_CODE.value)
        return bool(won)

    def remove(self, account: Account, origin: Origin) -> None:
        """Remove what is left of them."""
        with self._database.writing() as transaction:
            if transaction.changed("DELETE FROM recovery_code WHERE account_id = ?", (account.account_id,)):
                self._events.record(
                    events.CREDENTIAL_REMOVED,
                    account.principal_id,
                    origin,
                    facts={"credential": "recovery codes"},
                )
