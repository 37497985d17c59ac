"""Puts the rooms of identity together, and their events into the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leadglass.base.clock import Clock
from leadglass.base.secret import Secret
from leadglass.trust.audit.interfaces import Actor, AuditEvent, AuditLog, EventCode, Outcome
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.database import IDENTITY_VERSION_FACT, IdentityDatabase
from leadglass.trust.identity.interfaces import PasscodeVerifier
from leadglass.trust.identity.models import Origin
from leadglass.trust.identity.passwords import NIST, Blocklist, PasswordProfile, Passwords
from leadglass.trust.identity.sessions import SessionRules, SessionStore
from leadglass.trust.identity.throttle import AccountThrottle
from leadglass.trust.identity.zones import NetworkZones


class AuditedIdentity:
    """Implements ``IdentityEvents`` on the audit log. Each event notes the version of the identity database."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._database: IdentityDatabase | None = None

    def watch(self, database: IdentityDatabase) -> None:
        """Note the version of this database from now on."""
        self._database = database

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
        self._audit.record(
            AuditEvent(
                code=EventCode(code),
                at=self._clock.now(),
                actor=Actor(
                    principal_id=origin.by or principal_id,
                    address=origin.address,
                    certificate_sha256=origin.certificate_sha256,
                ),
                outcome=Outcome.SUCCESS if success else Outcome.MINOR_FAILURE,
                facts=said,
                detail=detail or {},
                correlation_id=origin.correlation_id,
            )
        )


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What a site may say about identity.

    Attributes:
        profile: of passwords.
        blocklists: of passwords, beside the built-in one.
        context_words: names of the site.
        networks: of zones.
        sessions: how long they live.
    """

    profile: PasswordProfile = NIST
    blocklists: Sequence[Blocklist] = ()
    context_words: Sequence[str] = ()
    networks: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    sessions: SessionRules = field(default_factory=SessionRules)


@dataclass(frozen=True, slots=True)
class Identity:
    """The rooms of identity, open."""

    database: IdentityDatabase
    events: AuditedIdentity
    accounts: Accounts
    passwords: Passwords
    throttle: AccountThrottle
    sessions: SessionStore
    zones: NetworkZones

    def close(self) -> None:
        """Write what waits and let go of the database."""
        self.sessions.flush()
        self.database.close()


def open_identity(
    path: Path,
    key: Secret,
    audit: AuditLog,
    passcodes: PasscodeVerifier,
    clock: Clock,
    *,
    minimum_version: int = 0,
    options: IdentityOptions | None = None,
) -> Identity:
    """Open the identity database and what stands on it; make it when there is none.

    Raises:
        ConfigurationError: the folder or an option is not as it must be.
        IntegrityError: the database does not open, or is older than what is on record.
    """
    chosen = options or IdentityOptions()
    recorder = AuditedIdentity(audit, clock)
    database = IdentityDatabase(path, key, clock, minimum_version=minimum_version)
    recorder.watch(database)
    accounts = Accounts(database, recorder)
    sessions = SessionStore(database, accounts, chosen.sessions, recorder)
    accounts.on_changing(sessions.account_changing)
    return Identity(
        database=database,
        events=recorder,
        accounts=accounts,
        passwords=Passwords(
            database,
            passcodes,
            recorder,
            profile=chosen.profile,
            blocklists=chosen.blocklists,
            context_words=chosen.context_words,
        ),
        throttle=AccountThrottle(database),
        sessions=sessions,
        zones=NetworkZones(chosen.networks),
    )
