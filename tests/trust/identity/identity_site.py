"""A site's identity for tests: real database, real Argon2id (made cheap where a test says so), a log that remembers."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable
from leadglass.base.secret import Secret
from leadglass.trust.certs import passcode
from leadglass.trust.certs.passcode import Argon2Passcodes
from leadglass.trust.identity import events
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Account, Origin
from leadglass.trust.identity.passwords import NIST, PasswordProfile, Passwords
from leadglass.trust.identity.sessions import SessionRules, SessionStore
from leadglass.trust.identity.throttle import AccountThrottle

KEY = Secret(bytes(range(32)))
ADMINISTRATORS = frozenset({"pacs-administrator"})
PASSCODES = Argon2Passcodes()


@contextmanager
def cheap_passcodes() -> Generator[None, None, None]:
    """Argon2id with 1 MiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passcode, "_MEMORY_KIB", 1024)
        patch.setattr(passcode, "_PREFIX", passcode._PREFIX.replace("m=65536", "m=1024"))
        yield


@dataclass(frozen=True)
class Event:
    code: str
    principal_id: str
    origin: Origin
    success: bool
    facts: Mapping[str, str | int | bool]
    detail: Mapping[str, object]


@dataclass
class Recorder:
    """Implements ``IdentityEvents``: remembers, or takes nothing while ``full``."""

    events: list[Event] = field(default_factory=list[Event])
    full: bool = False

    def record(
        self,
        code: str,
        principal_id: str,
        origin: Origin,
        *,
        success: bool = True,
        facts: Mapping[str, str | int | bool] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        assert code in events.ALL
        if self.full:
            raise AuditUnavailable("the log takes nothing")
        self.events.append(Event(code, principal_id, origin, success, facts or {}, detail or {}))

    def codes(self) -> list[str]:
        return [event.code for event in self.events]


class IdentitySite:
    """Accounts, passwords and sessions of one site in a folder."""

    def __init__(
        self,
        folder: Path,
        clock: FakeClock,
        *,
        profile: PasswordProfile = NIST,
        rules: SessionRules | None = None,
    ) -> None:
        self.clock = clock
        self.recorder = Recorder()
        self.database = IdentityDatabase(folder / "identity.db", KEY, clock)
        self.accounts = Accounts(self.database, self.recorder)
        self.passwords = Passwords(
            self.database, PASSCODES, self.recorder, profile=profile, context_words=["St. Mary", "stmary"]
        )
        self.throttle = AccountThrottle(self.database)
        self.rules = rules or SessionRules(administrator_roles=ADMINISTRATORS)
        self.sessions = SessionStore(self.database, self.accounts, self.rules, self.recorder)
        self.accounts.on_changing(self.sessions.account_changing)

    def account(self, account_id: str) -> Account:
        account = self.accounts.get(account_id)
        assert account is not None
        return account

    def close(self) -> None:
        self.sessions.flush()
        self.database.close()


def new_account(account_id: str, *roles: str) -> Account:
    return Account(account_id, account_id.title(), roles, datetime(2026, 1, 1, tzinfo=UTC))
