"""Puts the rooms of identity together, and their events into the audit log."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leadglass.base.clock import Clock
from leadglass.base.secret import Secret
from leadglass.trust.audit.interfaces import Actor, AuditEvent, AuditLog, EventCode, Outcome
from leadglass.trust.identity.access_tokens import IssuedTokens, TokenService
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.authenticator import SessionAuthenticator
from leadglass.trust.identity.badges import Badges
from leadglass.trust.identity.clients import Clients
from leadglass.trust.identity.database import IDENTITY_VERSION_FACT, IdentityDatabase
from leadglass.trust.identity.interfaces import (
    FileAuthenticator,
    PasscodeVerifier,
    PasswordSource,
    SecretSeal,
    WorkstationDirectory,
)
from leadglass.trust.identity.invitations import Invitations
from leadglass.trust.identity.models import Account, AccountKind, Origin
from leadglass.trust.identity.passkeys import Passkeys, RelyingParty
from leadglass.trust.identity.passwords import NIST, Blocklist, PasswordProfile, Passwords
from leadglass.trust.identity.posture import Postures
from leadglass.trust.identity.recovery_codes import RecoveryCodes
from leadglass.trust.identity.sessions import SessionRules, SessionStore
from leadglass.trust.identity.sign_in import ADMINISTRATOR_ROLES, Factors, SignInPolicy, SignInService
from leadglass.trust.identity.standing import RegisteredStanding
from leadglass.trust.identity.throttle import AccountThrottle, FactorThrottle
from leadglass.trust.identity.totp import TimeCodes
from leadglass.trust.identity.zones import NetworkZones
from leadglass.trust.policy.break_glass import BreakGlass


class AuditedIdentity:
    """Implements ``IdentityEvents`` on the audit log. Each event notes the version of the identity database."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._database: IdentityDatabase | None = None
        self._suspects: Callable[[str], bool] = _nobody

    def watch(self, database: IdentityDatabase) -> None:
        """Note the version of this database from now on."""
        self._database = database

    def alert(self, suspects: Callable[[str], bool]) -> None:
        """Raise an alert from now on whenever a session of such a principal begins: somebody is to watch it."""
        self._suspects = suspects

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
        """Record it durably; see ``IdentityEvents.record``."""
        said = dict(facts or {})
        if origin.by and origin.by != principal_id:
            said["about"] = principal_id
        if self._database is not None:
            said[IDENTITY_VERSION_FACT] = self._database.version
        if code == EventCode.SESSION_STARTED and self._suspects(principal_id):
            # Before the session it is about, and without it the session does not begin.
            self._put(
                EventCode.SECURITY_ALERT,
                origin.by or principal_id,
                origin,
                Outcome.SERIOUS_FAILURE,
                {**said, "what": "vendor support signed in"},
            )
        outcome = Outcome.SUCCESS if success else Outcome.MINOR_FAILURE
        self._put(EventCode(code), origin.by or principal_id, origin, outcome, said, detail or {})

    def _put(
        self,
        code: EventCode,
        actor: str,
        origin: Origin,
        outcome: Outcome,
        facts: Mapping[str, str | int | bool],
        detail: Mapping[str, object] | None = None,
    ) -> None:
        self._audit.record(
            AuditEvent(
                code=code,
                at=self._clock.now(),
                actor=Actor(
                    principal_id=actor,
                    address=origin.address,
                    certificate_sha256=origin.certificate_sha256,
                ),
                outcome=outcome,
                facts=facts,
                detail=detail or {},
                correlation_id=origin.correlation_id,
            )
        )


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What a site may say about identity.

    Attributes:
        site_name: shown by browsers and authenticator applications.
        host_name: what passkeys are made for.
        origins: exact ones that people reach the site under; https.
        profile: of passwords.
        blocklists: of passwords, beside the built-in one.
        context_words: names of the site.
        networks: of zones.
        sessions: how long they live.
        policy: what is asked of people who sign in.
        first_roles: of the first administrator.
        check_roles: raises UsageError for roles that exclude each other; None: none do.
        directories: further places that know passwords.
        postures: says what the access proxy's header is worth; None: nothing.
        watched: whose sessions raise an alert when they begin; a vendor's support.
        token_endpoint: path where services and scripts get access tokens; at the first of ``origins``.
        scopes: all that their tokens may be limited to.
    """

    site_name: str = "Leadglass"
    host_name: str = "localhost"
    origins: tuple[str, ...] = ("https://localhost",)
    profile: PasswordProfile = NIST
    blocklists: Sequence[Blocklist] = ()
    context_words: Sequence[str] = ()
    networks: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    sessions: SessionRules = field(
        default_factory=lambda: SessionRules(administrator_roles=ADMINISTRATOR_ROLES)
    )
    policy: SignInPolicy = field(default_factory=SignInPolicy)
    first_roles: tuple[str, ...] = ("security-officer",)
    check_roles: Callable[[Sequence[str]], None] | None = None
    directories: Sequence[PasswordSource] = ()
    postures: Postures | None = None
    watched: Callable[[Account], bool] = lambda account: account.kind is AccountKind.VENDOR
    token_endpoint: str = "/oauth/token"  # noqa: S105 - a path
    scopes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """The rooms of identity, open."""

    database: IdentityDatabase
    events: AuditedIdentity
    accounts: Accounts
    passwords: Passwords
    factors: Factors
    invitations: Invitations
    throttle: AccountThrottle
    sessions: SessionStore
    zones: NetworkZones
    clients: Clients
    tokens: IssuedTokens
    token_service: TokenService
    sign_in: SignInService
    standing: RegisteredStanding
    authenticator: SessionAuthenticator
    break_glass: BreakGlass

    def close(self) -> None:
        """Write what waits and let go of the database."""
        self.sessions.flush()
        self.database.close()


@dataclass(frozen=True, slots=True)
class IdentityKeys:
    """What identity is given of the site's keys, and no key itself but that of its database's pages."""

    pages: Secret
    seal: SecretSeal
    mac: FileAuthenticator


def open_identity(
    path: Path,
    keys: IdentityKeys,
    audit: AuditLog,
    devices: WorkstationDirectory,
    passcodes: PasscodeVerifier,
    clock: Clock,
    emergencies: Callable[[IdentityDatabase], BreakGlass],
    *,
    minimum_version: int = 0,
    options: IdentityOptions | None = None,
) -> Identity:
    """Open the identity database and what stands on it; make it when there is none.

    Args:
        path: of the database.
        keys: see there.
        audit: takes the events.
        devices: the registry.
        passcodes: Argon2id.
        clock: of the site.
        emergencies: makes what keeps emergency accesses, in the open database.
        minimum_version: the highest on record.
        options: of the site.

    Raises:
        ConfigurationError: the folder or an option is not as it must be.
        IntegrityError: the database does not open, or is older than what is on record.
    """
    chosen = options or IdentityOptions()
    recorder = AuditedIdentity(audit, clock)
    database = IdentityDatabase(path, keys.pages, clock, minimum_version=minimum_version)
    recorder.watch(database)
    zones = NetworkZones(chosen.networks)
    accounts = (
        Accounts(database, recorder)
        if chosen.check_roles is None
        else Accounts(database, recorder, chosen.check_roles)
    )
    sessions = SessionStore(database, accounts, chosen.sessions, recorder)
    accounts.on_changing(sessions.account_changing)
    recorder.alert(lambda principal_id: _is_watched(accounts, chosen.watched, principal_id))
    break_glass = emergencies(database)
    passwords = Passwords(
        database,
        passcodes,
        recorder,
        profile=chosen.profile,
        blocklists=chosen.blocklists,
        context_words=chosen.context_words,
    )
    wrong_codes = FactorThrottle(database)
    factors = Factors(
        Passkeys(database, recorder, RelyingParty(chosen.host_name, chosen.site_name, chosen.origins)),
        TimeCodes(database, recorder, keys.seal, wrong_codes, chosen.site_name),
        RecoveryCodes(database, recorder, passcodes, wrong_codes),
        Badges(database, recorder, keys.mac, passcodes),
    )
    invitations = Invitations(
        database, accounts, passwords, recorder, chosen.policy.is_administrator, chosen.first_roles
    )
    throttle = AccountThrottle(database)
    clients = Clients(database, accounts, recorder, chosen.check_roles or _any_roles, chosen.scopes)
    access_tokens = IssuedTokens(clients, clock)
    issuer = chosen.origins[0]
    return Identity(
        database=database,
        events=recorder,
        accounts=accounts,
        passwords=passwords,
        factors=factors,
        invitations=invitations,
        throttle=throttle,
        sessions=sessions,
        zones=zones,
        clients=clients,
        tokens=access_tokens,
        token_service=TokenService(
            clients, access_tokens, issuer + chosen.token_endpoint, issuer, recorder, clock
        ),
        sign_in=SignInService(
            database,
            accounts,
            passwords,
            factors,
            invitations,
            sessions,
            throttle,
            devices,
            zones,
            recorder,
            chosen.policy,
            chosen.directories,
        ),
        standing=RegisteredStanding(devices, accounts, sessions, access_tokens, clock, break_glass.in_force),
        authenticator=SessionAuthenticator(
            sessions,
            accounts,
            devices,
            zones,
            access_tokens,
            recorder,
            clock,
            break_glass.in_force,
            chosen.postures,
        ),
        break_glass=break_glass,
    )


def _nobody(_principal_id: str) -> bool:
    return False


def _is_watched(accounts: Accounts, watched: Callable[[Account], bool], principal_id: str) -> bool:
    account = accounts.get(principal_id.removeprefix("user:"))
    return account is not None and watched(account)


def _any_roles(_roles: Sequence[str]) -> None:
    """Where no roles exclude each other."""
