"""A site's identity for tests: real database, real Argon2id (made cheap where a test says so), a log that remembers."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyotp.totp import TOTP

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable
from leadglass.base.secret import Secret
from leadglass.trust.certs import passcode
from leadglass.trust.certs.passcode import Argon2Passcodes
from leadglass.trust.identity import events
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.authenticator import SessionAuthenticator
from leadglass.trust.identity.badges import Badges
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import PasswordSource
from leadglass.trust.identity.invitations import Invitations
from leadglass.trust.identity.models import Account, CertificateFacts, DeviceRole, Origin, SignedIn
from leadglass.trust.identity.passkeys import Passkeys, PasskeyShown, RelyingParty
from leadglass.trust.identity.passwords import NIST, PasswordProfile, Passwords
from leadglass.trust.identity.recovery_codes import RecoveryCodes
from leadglass.trust.identity.registry import DeviceRegistry
from leadglass.trust.identity.sessions import SessionRules, SessionStore
from leadglass.trust.identity.sign_in import Factors, SignInPolicy, SignInService
from leadglass.trust.identity.standing import RegisteredStanding
from leadglass.trust.identity.throttle import AccountThrottle, FactorThrottle
from leadglass.trust.identity.totp import TimeCodes
from leadglass.trust.identity.zones import NetworkZones
from leadglass.trust.keys.ring import FileMac
from leadglass.trust.keys.row_seal import PayloadSeal
from trust.identity.soft_authenticator import SoftAuthenticator

KEY = Secret(bytes(range(32)))
ORIGIN = "https://pacs.example.org"
PASSWORD = Secret(b"the quick brown fox hops")
HERE = Origin(address="10.1.2.3", correlation_id="c1")
THERE = Origin(address="203.0.113.7")
CERTIFICATES = ("aa" * 32, "bb" * 32)
AT_WS1 = Origin(address="10.1.2.3", certificate_sha256=CERTIFICATES[0])
AT_WS2 = Origin(address="10.1.2.3", certificate_sha256=CERTIFICATES[1])
ADMINISTRATORS = frozenset({"pacs-administrator"})
PASSCODES = Argon2Passcodes()


@contextmanager
def cheap_passcodes() -> Generator[None, None, None]:
    """Argon2id with 1 MiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passcode, "_MEMORY_KIB", 1024)
        patch.setattr(passcode, "_PREFIX", "$argon2id$v=19$m=1024,t=3,p=4$")
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
        policy: SignInPolicy | None = None,
        directories: Sequence[PasswordSource] = (),
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

        self.zones = NetworkZones({"site": ["10.0.0.0/8"]})
        wrong_codes = FactorThrottle(self.database)
        self.factors = Factors(
            Passkeys(self.database, self.recorder, RelyingParty("pacs.example.org", "Site", (ORIGIN,))),
            TimeCodes(self.database, self.recorder, PayloadSeal(bytes(32)), wrong_codes, "Site"),
            RecoveryCodes(self.database, self.recorder, PASSCODES, wrong_codes),
            Badges(self.database, self.recorder, FileMac(bytes(32)), PASSCODES),
        )
        self.policy = policy or SignInPolicy(administrator_roles=ADMINISTRATORS)
        self.invitations = Invitations(
            self.database,
            self.accounts,
            self.passwords,
            self.recorder,
            self.policy.is_administrator,
            ("pacs-administrator",),
        )
        self.devices = _devices(folder, clock)
        self.sign_in = SignInService(
            self.database,
            self.accounts,
            self.passwords,
            self.factors,
            self.invitations,
            self.sessions,
            self.throttle,
            self.devices,
            self.zones,
            self.recorder,
            self.policy,
            directories,
        )
        self.standing = RegisteredStanding(self.devices, self.accounts, self.sessions, None, clock)
        self.authenticator = SessionAuthenticator(
            self.sessions, self.accounts, self.devices, self.zones, None, self.recorder, clock
        )

    def person(self, account_id: str, *roles: str) -> Account:
        """Make an account with a password."""
        account = self.accounts.create(new_account(account_id, *roles), Origin())
        self.passwords.set(account, PASSWORD, Origin(), with_factor=False)
        return account

    def signed_in(self, account_id: str, origin: Origin = HERE) -> SignedIn:
        """Sign somebody in who needs no second factor."""
        outcome = self.sign_in.begin(account_id, PASSWORD, origin)
        assert isinstance(outcome, SignedIn)
        return outcome

    def person_without_password(self, account_id: str, *roles: str) -> Account:
        """Make an account and nothing else."""
        return self.accounts.create(new_account(account_id, *roles), Origin())

    def start(self, account_id: str) -> SignedIn:
        """Begin a session without a sign-in."""
        return self.sessions.start(
            self.account(account_id),
            HERE,
            zone="site",
            workstation="",
            posture="",
            methods=("pwd",),
            strong_at=None,
            phishing_resistant=False,
        )

    def enrol_totp(self, account_id: str) -> str:
        """Give somebody an authenticator application; return its seed. The clock moves on by a step."""
        account = self.account(account_id)
        seed = self.factors.time_codes.new_seed(account).secret
        text = seed.reveal().decode("ascii")
        assert self.factors.time_codes.enrol(account, seed, self.code(text), Origin())
        self.clock.advance(30)
        return text

    def code(self, seed: str) -> str:
        """Return the code of now."""
        return TOTP(seed).at(int(self.clock.now().timestamp()))

    def enrol_passkey(self, account_id: str, key: SoftAuthenticator | None = None) -> SoftAuthenticator:
        """Give somebody a passkey."""
        key = key or SoftAuthenticator()
        account = self.account(account_id)
        challenge, options = self.factors.passkeys.options_to_enrol(account, verify_user=True)
        made = self.factors.passkeys.enrol(
            account, challenge, key.create(options), "key", Origin(), verify_user=True
        )
        assert isinstance(made, PasskeyShown)
        return key

    def account(self, account_id: str) -> Account:
        account = self.accounts.get(account_id)
        assert account is not None
        return account

    def close(self) -> None:
        self.sessions.flush()
        self.database.close()


def _devices(folder: Path, clock: FakeClock) -> DeviceRegistry:
    path, mac = folder / "devices.json", FileMac(bytes(32))
    if path.exists():
        return DeviceRegistry(path, mac, clock)
    registry = DeviceRegistry.create(path, mac, clock)
    for number, name in enumerate(("ws1", "ws2")):
        registry.enrol(
            device_id=name,
            ae_title=name.upper(),
            roles=[DeviceRole.QUERY_RETRIEVE],
            networks=["10.0.0.0/8"],
            certificate=CertificateFacts(
                sha256=CERTIFICATES[number],
                serial=f"{number + 1:02x}",
                not_before=clock.now() - timedelta(days=1),
                not_after=clock.now() + timedelta(days=365),
            ),
        )
    return registry


def new_account(account_id: str, *roles: str) -> Account:
    return Account(account_id, account_id.title(), roles, datetime(2026, 1, 1, tzinfo=UTC))
