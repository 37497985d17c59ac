"""The accounts of a site: who may sign in, held in memory, kept in the identity database.

An account is never deleted and its id never given to somebody else: audit records name it for ever. Whoever leaves is
disabled.

**Invariant:** a change is on record before it counts, on the disk before it is seen, and seen by every thread as soon
as the call returns.
"""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.limits import ACCOUNTS_MAX
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.interfaces import IdentityEvents
from leadglass.trust.identity.models import Account, AccountKind, Origin

ACCOUNT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?", re.ASCII)
_TEXT_CHARACTERS_MAX: Final = 256
_LIST_MAX: Final = 256

MIGRATIONS: Final = (
    """CREATE TABLE account (account_id TEXT PRIMARY KEY, issuer TEXT NOT NULL, subject TEXT NOT NULL,
       document BLOB NOT NULL) STRICT""",
    "CREATE UNIQUE INDEX account_subject ON account (issuer, subject) WHERE issuer <> ''",
)

ChangeHook = Callable[[Transaction, Account | None, Account], None]
"""Called inside the transaction that makes or changes an account: the account before (None: new) and after."""


def _any_roles(_roles: Sequence[str]) -> None:
    """Where nobody says which roles exclude each other, none do."""


class Accounts:
    """Implements ``AccountDirectory``, and changes accounts. Thread-safe.

    Args:
        database: where they are kept.
        recorder: told of every change, before it counts.
        check_roles: raises UsageError for roles that no one person may hold together, or that do not exist; asked
            whenever roles are given, by whomever: an administrator, or a group of an identity provider.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        recorder: IdentityEvents,
        check_roles: Callable[[Sequence[str]], None] = _any_roles,
    ) -> None:
        self._database = database
        self._events = recorder
        self._check_roles = check_roles
        self._hooks: list[ChangeHook] = []
        self._listeners: list[Callable[[Account], None]] = []
        self._lock = threading.Lock()
        self._by_id: dict[str, Account] = {}
        self._by_subject: dict[tuple[str, str], str] = {}
        database.register("accounts", MIGRATIONS)
        with database.reading() as snapshot:
            for (document,) in snapshot.execute("SELECT document FROM account"):
                self._hold(_decoded(document))

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, account_id: str) -> Account | None:
        """Return the account of that id, disabled or not; None when there never was one."""
        return self._by_id.get(account_id)

    def by_subject(self, issuer: str, subject: str) -> Account | None:
        """Return the account that this issuer vouches for under this subject, disabled or not."""
        account_id = self._by_subject.get((issuer, subject)) if issuer else None
        return None if account_id is None else self._by_id.get(account_id)

    def all(self) -> tuple[Account, ...]:
        """Return every account, by id, disabled ones included."""
        with self._lock:
            accounts = list(self._by_id.values())
        return tuple(sorted(accounts, key=lambda account: account.account_id))

    def on_change(self, listener: Callable[[Account], None]) -> None:
        """Tell ``listener`` of every account that was made or changed, as it is now; it must not raise or wait."""
        self._listeners.append(listener)

    def on_changing(self, hook: ChangeHook) -> None:
        """Call ``hook`` inside the transaction of every change: what it writes stands or falls with it."""
        self._hooks.append(hook)

    # --- changing --------------------------------------------------------------------------------------------------

    def create(self, account: Account, origin: Origin) -> Account:
        """Make an account. ``created_at`` is set here.

        Raises:
            UsageError: malformed, or the id or the subject is or was somebody's, or the roles exclude each other.
            OutOfResources: there are as many accounts as there may be.
        """
        with self._database.writing() as transaction:
            return self.create_in(transaction, account, origin)

    def create_in(self, transaction: Transaction, account: Account, origin: Origin) -> Account:
        """Make an account inside a transaction of the caller. See ``create``."""
        account = replace(account, created_at=self._database.clock.now(), disabled_at=None)
        self._check(account)
        if account.account_id in self._by_id:
            raise UsageError("an account of that id exists or existed; ids are never used again")
        if len(self._by_id) >= ACCOUNTS_MAX:
            raise OutOfResources(f"a site holds {ACCOUNTS_MAX} accounts")
        self._write(transaction, None, account)
        self._events.record(
            events.ACCOUNT_CREATED,
            account.principal_id,
            origin,
            facts={"roles": ", ".join(account.roles), "kind": account.kind.value},
        )
        return account

    def change(
        self,
        account_id: str,
        origin: Origin,
        *,
        display_name: str | None = None,
        devices: Sequence[str] | None = None,
        institutions: Sequence[str] | None = None,
        known_as: Sequence[str] | None = None,
        email: str | None = None,
        subject: tuple[str, str] | None = None,
        must_change: bool | None = None,
    ) -> Account:
        """Change what is given; roles have ``set_roles``.

        Raises:
            NotFound: there is no such account.
            UsageError: as ``create``.
        """
        changes: dict[str, object] = {
            "display_name": display_name,
            "devices": None if devices is None else tuple(devices),
            "institutions": None if institutions is None else tuple(institutions),
            "known_as": None if known_as is None else tuple(known_as),
            "email": email,
            "issuer": None if subject is None else subject[0],
            "subject": None if subject is None else subject[1],
            "must_change": must_change,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        return self._change(account_id, origin, events.ACCOUNT_CHANGED, given, {"what": ", ".join(given)})

    def set_roles(self, account_id: str, roles: Sequence[str], origin: Origin) -> Account:
        """Give these roles and no others; the account's sessions end if they differ.

        Raises:
            NotFound: there is no such account.
            UsageError: the roles exclude each other, or one of them does not exist.
        """
        new = tuple(sorted(set(roles)))
        before = self._required(account_id)
        if before.roles == new:
            return before
        facts = {"before": ", ".join(before.roles), "after": ", ".join(new)}
        return self._change(account_id, origin, events.ROLE_CHANGED, {"roles": new}, facts)

    def set_expiry(self, account_id: str, expires_at: datetime | None, origin: Origin) -> Account:
        """Set the end of an account: the window of a vendor's support.

        Raises:
            NotFound: there is no such account.
            UsageError: a vendor's account without an end.
        """
        facts = {"what": "end", "expires_at": "" if expires_at is None else expires_at.isoformat()}
        return self._change(account_id, origin, events.ACCOUNT_CHANGED, {"expires_at": expires_at}, facts)

    def disable(self, account_id: str, origin: Origin, reason: str) -> Account:
        """Turn somebody away, from this moment on: their sessions end with it. Harmless when they are disabled.

        Args:
            account_id: whose account.
            origin: by whom.
            reason: in words, for the record; no PHI.

        Raises:
            NotFound: there is no such account.
        """
        before = self._required(account_id)
        if before.disabled_at is not None:
            return before
        now = self._database.clock.now()
        return self._change(
            account_id, origin, events.ACCOUNT_DISABLED, {"disabled_at": now}, {"reason": reason}
        )

    def enable(self, account_id: str, origin: Origin) -> Account:
        """Let somebody in again.

        Raises:
            NotFound: there is no such account.
        """
        return self._change(
            account_id, origin, events.ACCOUNT_CHANGED, {"disabled_at": None}, {"what": "enabled"}
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _required(self, account_id: str) -> Account:
        account = self._by_id.get(account_id)
        if account is None:
            raise NotFound("there is no account of that id")
        return account

    def _change(
        self,
        account_id: str,
        origin: Origin,
        code: str,
        changes: dict[str, object],
        facts: dict[str, str | int | bool] | dict[str, str],
    ) -> Account:
        with self._database.writing() as transaction:
            before = self._required(account_id)
            after = replace(before, **changes)  # type: ignore[arg-type]  # names and types are those of our callers
            if after == before:
                return before
            self._check(after)
            self._write(transaction, before, after)
            self._events.record(code, after.principal_id, origin, facts=dict(facts))
            return after

    def _check(self, account: Account) -> None:
        if ACCOUNT_ID.fullmatch(account.account_id) is None:
            raise UsageError("an account id has 1 to 64 of a-z, 0-9, dot, underscore, at sign and hyphen")
        texts = (account.display_name, account.email, account.issuer, account.subject)
        lists = (account.roles, account.devices, account.institutions, account.known_as)
        for text in (*texts, *(item for items in lists for item in items)):
            if len(text) > _TEXT_CHARACTERS_MAX or not text.isprintable():
                raise UsageError(
                    f"a text of an account has at most {_TEXT_CHARACTERS_MAX} printable characters"
                )
        if any(len(items) > _LIST_MAX for items in lists):
            raise UsageError(f"a list of an account has at most {_LIST_MAX} entries")
        if bool(account.issuer) != bool(account.subject):
            raise UsageError("issuer and subject go together")
        if account.kind is AccountKind.VENDOR and account.expires_at is None:
            raise UsageError("the account of a vendor needs an end")
        taken = self._by_subject.get((account.issuer, account.subject)) if account.issuer else None
        if taken is not None and taken != account.account_id:
            raise UsageError("that subject of that issuer has an account")
        self._check_roles(account.roles)

    def _write(self, transaction: Transaction, before: Account | None, after: Account) -> None:
        transaction.execute(
            """INSERT INTO account VALUES (?, ?, ?, ?) ON CONFLICT (account_id)
               DO UPDATE SET issuer = excluded.issuer, subject = excluded.subject, document = excluded.document""",
            (after.account_id, after.issuer, after.subject, msgspec.json.encode(after)),
        )
        for hook in self._hooks:
            hook(transaction, before, after)
        transaction.after_commit(lambda: self._announce(before, after))

    def _announce(self, before: Account | None, after: Account) -> None:
        with self._lock:
            if before is not None and before.issuer:
                self._by_subject.pop((before.issuer, before.subject), None)
            self._hold(after)
        for listener in self._listeners:
            listener(after)

    def _hold(self, account: Account) -> None:
        self._by_id[account.account_id] = account
        if account.issuer:
            self._by_subject[account.issuer, account.subject] = account.account_id


def _decoded(document: bytes) -> Account:
    try:
        return msgspec.json.decode(document, type=Account)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError("an account in the identity database cannot be read") from error
