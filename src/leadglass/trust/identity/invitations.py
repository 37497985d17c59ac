"""One-time tokens that let somebody set a password: the only way that a first credential comes to be.

Two kinds. ``administrator`` makes the first account with administration rights; it is printed on the console of the
machine, by whoever runs it, and works only while nobody holds such a role. ``password`` belongs to one account, new or
locked out of itself: an administrator hands it over and never knows the password.

There is no default password and no account before the first one was made so.

Source: NIST SP 800-63B-4 4.2 (account recovery); OWASP ASVS 5.0 6.3.2, 6.4.1.
"""

import secrets
from base64 import b32encode
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from leadglass.base.errors import NotFound, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import IdentityEvents
from leadglass.trust.identity.models import Account, Origin
from leadglass.trust.identity.passwords import Passwords

TOKEN_BYTES: Final = 20
"""160 bits: 32 characters to type, in groups of four."""
LIFETIME_SECONDS: Final = 24 * 3600
_FIRST: Final = "administrator"
_PASSWORD: Final = "password"  # noqa: S105 - the name of a kind

MIGRATIONS: Final = (
    """CREATE TABLE invitation (kind TEXT NOT NULL, account_id TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE,
       expires_at INTEGER NOT NULL, PRIMARY KEY (kind, account_id)) STRICT""",
)


class Invitations:
    """Makes and redeems one-time tokens. Thread-safe.

    Args:
        database: where their hashes are kept.
        accounts: of the site.
        passwords: theirs.
        recorder: told of every one that is made or used up.
        is_administrator: tells who counts as one.
        first_roles: of the first administrator.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        accounts: Accounts,
        passwords: Passwords,
        recorder: IdentityEvents,
        is_administrator: Callable[[Account], bool],
        first_roles: tuple[str, ...],
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._accounts = accounts
        self._passwords = passwords
        self._events = recorder
        self.is_administrator = is_administrator
        self._first_roles = first_roles
        database.register("invitations", MIGRATIONS)

    def has_administrator(self) -> bool:
        """Tell whether somebody who can sign in holds an administrator role."""
        now = self._clock.now()
        return any(self.is_administrator(a) and a.usable(now) for a in self._accounts.all())

    def for_first_administrator(self, origin: Origin) -> Secret:
        """Make the token of the first administrator; the one before, if it was not used, is dead.

        Only whoever has the machine's console may ask for it.

        Raises:
            UsageError: there is an administrator.
            AuditUnavailable: it was not put on record; there is none.
        """
        if self.has_administrator():
            raise UsageError(
                "this site has an administrator",
                hint="an administrator invites the others; disable all of them to begin again",
            )
        return self._make(_FIRST, "", origin)

    def for_account(self, account_id: str, origin: Origin) -> Secret:
        """Make a token with which the person sets their password.

        Raises:
            NotFound: there is no such account.
            UsageError: an identity provider vouches for it.
            AuditUnavailable: it was not put on record; there is none.
        """
        account = self._accounts.get(account_id)
        if account is None:
            raise NotFound("there is no account of that id")
        if account.issuer:
            raise UsageError("that account signs in by its identity provider and has no password here")
        return self._make(_PASSWORD, account_id, origin)

    def redeem_first(
        self, token: Secret, account_id: str, display_name: str, password: Secret, origin: Origin
    ) -> Account | None:
        """Make the first administrator; None when the token is not good.

        They sign in afterwards as everybody does, and must enrol a second factor then.

        Raises:
            UsageError: id, name or password are not as they must be; the token stands.
            AuditUnavailable: it was not put on record; nothing happened.
        """
        if not self._good(_FIRST, token):
            self._refused(origin)
            return None
        wanted = Account(account_id, display_name, self._first_roles, self._clock.now())
        problems = self._passwords.problems(wanted, password, with_factor=False)
        if problems:
            raise UsageError(" ".join(problems))
        derived = self._passwords.derive(password)
        with self._database.writing() as transaction:
            # Asked again inside: two who come at once are one administrator, and one who is told no.
            if self.has_administrator() or not transaction.changed(
                "DELETE FROM invitation WHERE kind = ? AND token_hash = ?", (_FIRST, _hash(token))
            ):
                return None
            account = self._accounts.create_in(transaction, wanted, origin)
            self._passwords.set_in(transaction, account, derived, origin)
        return account

    def redeem(self, token: Secret, password: Secret, origin: Origin) -> Account | None:
        """Set the password of the account that the token belongs to; None when it is not good.

        The caller ends the account's sessions (``SignInService.redeem`` does).

        Raises:
            UsageError: the password has problems, in words for the person; the token stands.
            AuditUnavailable: it was not put on record; nothing happened.
        """
        account_id = self._account_of(token)
        account = None if account_id is None else self._accounts.get(account_id)
        if account is None or not account.usable(self._clock.now()):
            self._refused(origin)
            return None
        # As strict as for an account without a second factor: the invited person has none yet, or may have lost it.
        problems = self._passwords.problems(account, password, with_factor=False)
        if problems:
            raise UsageError(" ".join(problems))
        derived = self._passwords.derive(password)
        with self._database.writing() as transaction:
            if not transaction.changed(
                "DELETE FROM invitation WHERE kind = ? AND token_hash = ?", (_PASSWORD, _hash(token))
            ):
                return None
            self._passwords.set_in(transaction, account, derived, origin)
        return account

    def _make(self, kind: str, account_id: str, origin: Origin) -> Secret:
        token = Secret(b32encode(secrets.token_bytes(TOKEN_BYTES)))
        expires = int(self._clock.now().timestamp()) + LIFETIME_SECONDS
        with self._database.writing() as transaction:
            transaction.execute(
                "REPLACE INTO invitation VALUES (?, ?, ?, ?)", (kind, account_id, _hash(token), expires)
            )
            self._events.record(
                events.CREDENTIAL_ENROLLED,
                f"user:{account_id}" if account_id else "",
                origin,
                facts={"credential": "invitation", "kind": kind},
            )
        text = token.reveal()
        return Secret(b"-".join(text[i : i + 4] for i in range(0, len(text), 4)))

    def _good(self, kind: str, token: Secret) -> bool:
        now = int(self._clock.now().timestamp())
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT 1 FROM invitation WHERE kind = ? AND token_hash = ? AND expires_at > ?",
                (kind, _hash(token), now),
            )
        return bool(rows) and not (kind == _FIRST and self.has_administrator())

    def _account_of(self, token: Secret) -> str | None:
        now = int(self._clock.now().timestamp())
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT account_id FROM invitation WHERE kind = ? AND token_hash = ? AND expires_at > ?",
                (_PASSWORD, _hash(token), now),
            )
        return str(rows[0][0]) if rows else None

    def _refused(self, origin: Origin) -> None:
        self._events.record(
            events.AUTHENTICATION_FAILED,
            "",
            origin,
            success=False,
            facts={"reason": "invitation is not known, over or used"},
        )


def _hash(token: Secret) -> bytes:
    text = token.reveal()
    bare = bytes(c for c in text.upper() if chr(c).isalnum()) if len(text) <= 256 else b""
    return sha256(bare).digest()
