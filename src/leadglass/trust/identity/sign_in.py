"""How somebody becomes a session: a state machine without HTTP.

::

    begin, begin_vouched, begin_passkey
        │ first factor right
        ├─ SecondFactorNeeded ── finish_passkey | finish_totp | finish_recovery_code
        ├─ MustEnrolFactor ───── enrol_passkey | enrol_totp
        ├─ MustChangePassword ── change_password
        └─ SignedIn

Whatever is missing is asked for in this order, and nothing else may be done before it is there: a ``pending`` is no
session. Refusals are all the same value; why is in the audit log.

Source: NIST SP 800-63B-4 2.2, 3.2.2; OWASP ASVS 5.0 V6; RFC 9470.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.authenticator import workstation_of
from leadglass.trust.identity.badges import Badges
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.interfaces import IdentityEvents, PasswordSource, WorkstationDirectory
from leadglass.trust.identity.invitations import Invitations
from leadglass.trust.identity.models import (
    Account,
    AccountKind,
    Factor,
    MustChangePassword,
    MustEnrolFactor,
    NotAuthenticated,
    Origin,
    SecondFactorNeeded,
    SignInOutcome,
    SignInRefused,
    TOTPEnrolment,
    Vouched,
)
from leadglass.trust.identity.passkeys import PasskeyRefused, Passkeys, PasskeyShown
from leadglass.trust.identity.passwords import Passwords, PasswordVerdict
from leadglass.trust.identity.pending import (
    Ceremonies,
    Ceremony,
    PendingSignIn,
    PendingSignIns,
    holder_of,
)
from leadglass.trust.identity.posture import MANAGED
from leadglass.trust.identity.recovery_codes import RecoveryCodes
from leadglass.trust.identity.sessions import AccountGoneError, LiveSession, SessionStore
from leadglass.trust.identity.throttle import AccountThrottle, AddressBuckets
from leadglass.trust.identity.totp import TimeCodes
from leadglass.trust.identity.zones import REMOTE, NetworkZones

PINS_MAX: Final = 5
_NAME_CHARACTERS_MAX: Final = 64
_REFUSED: Final = SignInRefused()
_BUSY: Final = SignInRefused(retry_after=2)

ADMINISTRATOR_ROLES: Final = frozenset(
    {"key-custodian", "pacs-administrator", "privacy-officer", "security-officer", "vendor-support"}
)
"""Roles with administration rights among those that are shipped."""


@dataclass(frozen=True, slots=True)
class SignInPolicy:
    """What a site asks of people who sign in.

    Attributes:
        administrator_roles: who holds one needs a second factor, and passkeys that verify their user.
        second_factor_roles: further roles that need a second factor.
        second_factor_zones: zones from which everybody needs one.
        second_factor_always: everybody needs one from everywhere.
        pending_seconds: how long a sign-in may take between its steps.
        fresh_seconds: how old a strong factor may be for changing one's own factors.
        make_accounts: an account is made for whom an identity provider vouches for with at least one role.
    """

    administrator_roles: frozenset[str] = ADMINISTRATOR_ROLES
    second_factor_roles: frozenset[str] = frozenset({"auditor", "export-officer"})
    second_factor_zones: frozenset[str] = frozenset({REMOTE})
    second_factor_always: bool = False
    pending_seconds: float = 300.0
    fresh_seconds: float = 900.0
    make_accounts: bool = False

    def is_administrator(self, account: Account) -> bool:
        """Tell whether the account holds a role with administration rights."""
        return not self.administrator_roles.isdisjoint(account.roles)

    def needs_second_factor(self, account: Account, zone: str) -> bool:
        """Tell whether the account may not sign in from there without a second factor."""
        return (
            self.second_factor_always
            or zone in self.second_factor_zones
            or account.kind is AccountKind.VENDOR
            or self.is_administrator(account)
            or not self.second_factor_roles.isdisjoint(account.roles)
        )


@dataclass(frozen=True, slots=True)
class Factors:
    """What somebody may show beside a password; implements ``FactorDirectory``."""

    passkeys: Passkeys
    time_codes: TimeCodes
    recovery_codes: RecoveryCodes
    badges: Badges

    def factors_of(self, account_id: str) -> tuple[Factor, ...]:
        """Return the kinds of factors that are enrolled."""
        found = (
            (Factor.PASSKEY, bool(self.passkeys.of(account_id))),
            (Factor.TOTP, self.time_codes.exists(account_id)),
            (Factor.RECOVERY_CODE, self.recovery_codes.left(account_id) > 0),
            (Factor.BADGE, self.badges.exists(account_id)),
        )
        return tuple(factor for factor, there in found if there)

    def reset(self, account: Account, origin: Origin) -> None:
        """Remove every factor: they were lost; an administrator made sure who asks."""
        self.passkeys.remove_all(account, origin)
        self.time_codes.remove(account, origin)
        self.recovery_codes.remove(account, origin)
        self.badges.remove(account, origin)


@dataclass(frozen=True, slots=True)
class _Place:
    """From where a request comes, as it was verified."""

    zone: str
    workstation: str
    posture: str


class SignInService:
    """Implements ``identity.interfaces.SignIn``. Thread-safe.

    Args:
        database: asked for its clock.
        accounts: of the site.
        passwords: theirs.
        factors: theirs.
        invitations: by which passwords come to be.
        sessions: what a sign-in ends in.
        throttle: of accounts.
        devices: enrolled workstations.
        zones: names of networks.
        recorder: told of every success and failure.
        policy: what the site asks for.
        directories: further places that know passwords, asked for names without a local one.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        accounts: Accounts,
        passwords: Passwords,
        factors: Factors,
        invitations: Invitations,
        sessions: SessionStore,
        throttle: AccountThrottle,
        devices: WorkstationDirectory,
        zones: NetworkZones,
        recorder: IdentityEvents,
        policy: SignInPolicy | None = None,
        directories: Sequence[PasswordSource] = (),
    ) -> None:
        self._clock = database.clock
        self._accounts = accounts
        self._passwords = passwords
        self._factors = factors
        self._invitations = invitations
        self._sessions = sessions
        self._throttle = throttle
        self._devices = devices
        self._zones = zones
        self._events = recorder
        self.policy = policy or SignInPolicy()
        self._directories = tuple(directories)
        self._addresses = AddressBuckets(self._clock)
        self._notes = AddressBuckets(self._clock, burst=30.0, per_second=0.1)
        self._pending = PendingSignIns(self._clock, self.policy.pending_seconds)
        self._ceremonies = Ceremonies(self._clock, self.policy.pending_seconds)

    # --- the first factor --------------------------------------------------------------------------------------------

    def begin(self, account_id: str, password: Secret, origin: Origin) -> SignInOutcome:
        """Begin with a name and a password. Unknown names and wrong passwords take the same time."""
        wait = self._addresses.take(origin.address)
        if wait:
            return self._throttled(origin, "too many tries from this address", wait)
        name = account_id.strip().lower()[: _NAME_CHARACTERS_MAX + 1]
        account = self._accounts.get(name)
        place = self._place(origin)
        known = self._throttle.remembers(name) or account is not None
        throttled = self._throttle.check(name, origin, place.workstation, known=known)
        if throttled is not None:
            return self._throttled(origin, "too many failures of this account", throttled.retry_after)
        usable = account is not None and account.usable(self._clock.now())
        verdict = self._passwords.verify(name, password, usable=usable, with_factor=self._has_strong(name))
        if verdict is None:
            return _BUSY
        if not verdict.right and not self._passwords.exists(name):
            vouched = self._ask_directories(name, password)
            if vouched is not None:
                self._addresses.give_back(origin.address)
                # Under the name that was typed, which is the directory's: the account has another one.
                self._throttle.succeeded(name, origin, place.workstation)
                return self._begin_vouched(vouched, origin, place)
        if account is None or not verdict.right:
            return self._failed(name, account, origin, place, "account or password is wrong")
        self._addresses.give_back(origin.address)
        return self._begin_known(account, verdict, origin, place)

    def begin_vouched(self, vouched: Vouched, origin: Origin) -> SignInOutcome:
        """Begin with what an identity provider vouches for; makes the account if the settings allow it."""
        return self._begin_vouched(vouched, origin, self._place(origin))

    def begin_passkey(self, origin: Origin) -> tuple[Secret, str]:
        """Begin with a passkey alone (it verifies its user): a pending and the options for the browser."""
        pending = self._pending.add(self._new_pending("", origin, self._place(origin)))
        challenge, options = self._factors.passkeys.options_to_assert("", verify_user=True)
        self._ceremonies.put(holder_of(pending), "assert", Ceremony(challenge))
        return pending, options

    # --- the second factor -------------------------------------------------------------------------------------------

    def passkey_options(self, pending: Secret, origin: Origin) -> str | None:
        """Return options to assert one of the account's passkeys, or None when ``pending`` is not good."""
        entry = self._entry(pending, origin)
        account = None if entry is None else self._accounts.get(entry.account_id)
        if account is None:
            return None
        challenge, options = self._factors.passkeys.options_to_assert(
            account.account_id, verify_user=self.policy.is_administrator(account)
        )
        self._ceremonies.put(holder_of(pending), "assert", Ceremony(challenge))
        return options

    def finish_passkey(self, pending: Secret, response: str, origin: Origin) -> SignInOutcome:
        """Take the browser's assertion."""
        entry = self._entry(pending, origin)
        ceremony = self._ceremonies.take(holder_of(pending), "assert")
        if entry is None or ceremony is None:
            return _REFUSED
        known = self._accounts.get(entry.account_id)
        shown = self._factors.passkeys.verify(
            ceremony.challenge,
            response,
            entry.account_id,
            verify_user=known is None or self.policy.is_administrator(known),
        )
        if isinstance(shown, PasskeyRefused):
            self._alert_clone(shown, entry.account_id, origin)
            return self._factor_failed(pending, entry, origin, Factor.PASSKEY, shown.reason)
        account = self._accounts.get(shown.account_id)
        if account is None or (self.policy.is_administrator(account) and not shown.user_verified):
            return self._factor_failed(pending, entry, origin, Factor.PASSKEY, "user was not verified")
        if account.issuer and not entry.account_id:
            # Alone it would let in whoever left the provider since, with the roles of the last time.
            reason = "an identity provider vouches for the account: a passkey is its second factor only"
            return self._factor_failed(pending, entry, origin, Factor.PASSKEY, reason)
        entry.account_id = account.account_id
        self._strong(entry, _passkey_methods(shown), phishing_resistant=True)
        return self._advance(pending, entry, origin)

    def finish_totp(self, pending: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take six digits."""
        entry = self._entry(pending, origin)
        if entry is None or not entry.account_id:
            return _REFUSED
        if not self._factors.time_codes.verify(entry.account_id, code):
            return self._factor_failed(pending, entry, origin, Factor.TOTP, "code is wrong, old or used")
        self._strong(entry, ("otp", "mfa"), phishing_resistant=False)
        return self._advance(pending, entry, origin)

    def finish_recovery_code(self, pending: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take a recovery code; it is used up by that."""
        entry = self._entry(pending, origin)
        account = None if entry is None else self._accounts.get(entry.account_id)
        if entry is None or account is None:
            return _REFUSED
        if not self._factors.recovery_codes.use(account, code, origin):
            return self._factor_failed(pending, entry, origin, Factor.RECOVERY_CODE, "code is wrong or used")
        self._strong(entry, ("otp", "mfa"), phishing_resistant=False)
        return self._advance(pending, entry, origin)

    def change_password(self, pending: Secret, new: Secret, origin: Origin) -> SignInOutcome:
        """Take the new password that ``MustChangePassword`` asked for; the account's other sessions end."""
        entry = self._entry(pending, origin)
        account = None if entry is None else self._accounts.get(entry.account_id)
        if entry is None or account is None or not self._complete(account, entry):
            return _REFUSED
        if not (account.must_change or entry.must_change):
            return _REFUSED
        problems = self._passwords.problems(account, new, with_factor=self._has_strong(account.account_id))
        if not problems and self._is_current(account, new):
            problems = ("It is the one that must be changed.",)
        if problems:
            return MustChangePassword(pending, entry.expires_at, problems)
        self.set_password(account, new, origin)
        entry.must_change = False
        return self._advance(pending, entry, origin)

    def set_password(self, account: Account, new: Secret, origin: Origin, *, keep_session: str = "") -> None:
        """Set a password, and end the account's sessions but ``keep_session``: who knew the old one is out.

        Raises:
            UsageError: it has problems, in words for the person.
            AuditUnavailable: it was not put on record.
        """
        self._passwords.set(account, new, origin, with_factor=self._has_strong(account.account_id))
        if account.must_change:
            self._accounts.change(account.account_id, origin, must_change=False)
        self._sessions.end_all(account.account_id, origin, "password changed", but=keep_session)

    def change_own_password(self, token: Secret, old: Secret, new: Secret, origin: Origin) -> SignInOutcome:
        """Change one's own password with the old one; the token is rotated, the account's other sessions end.

        Raises:
            UsageError: the new one has problems, in words for the person.
            AuditUnavailable: it was not put on record; nothing happened.
        """
        session = self._session(token, origin)
        account = None if session is None else self._account_of(session)
        if session is None or account is None:
            return _REFUSED
        place = self._place(origin)
        throttled = self._throttle.check(account.account_id, origin, place.workstation, known=True)
        if throttled is not None:
            return self._throttled(origin, "too many failures of this account", throttled.retry_after)
        verdict = self._passwords.verify(account.account_id, old, usable=True, with_factor=True)
        if verdict is None:
            return _BUSY
        if not verdict.right:
            return self._failed(account.account_id, account, origin, place, "password is wrong")
        self.set_password(account, new, origin, keep_session=session.facts.session_id)
        return self._renewed(session, ("pwd",), origin, authenticated=True)

    def redeem(self, token: Secret, password: Secret, origin: Origin) -> bool:
        """Redeem an invitation: set the password, end the account's sessions, forget its failures.

        Raises:
            UsageError: the password has problems, in words for the person; the token stands.
            AuditUnavailable: it was not put on record; nothing happened.
        """
        if self._addresses.take(origin.address):
            return False
        account = self._invitations.redeem(token, password, origin)
        if account is None:
            return False
        self._addresses.give_back(origin.address)
        if account.must_change:
            self._accounts.change(account.account_id, origin, must_change=False)
        self._sessions.end_all(account.account_id, origin, "password set by invitation")
        self._throttle.reset(account.account_id)
        return True

    # --- enrolling factors -------------------------------------------------------------------------------------------

    def passkey_enrolment_options(self, holder: Secret, origin: Origin) -> str | None:
        """Return options to make a passkey. See ``SignIn.passkey_enrolment_options``."""
        account = self._may_enrol(holder, origin)
        if account is None:
            return None
        challenge, options = self._factors.passkeys.options_to_enrol(
            account, verify_user=self.policy.is_administrator(account)
        )
        self._ceremonies.put(holder_of(holder), "enrol", Ceremony(challenge))
        return options

    def enrol_passkey(self, holder: Secret, response: str, name: str, origin: Origin) -> SignInOutcome:
        """Take the browser's attestation; the session's token is rotated.

        Raises:
            UsageError: the name cannot be shown, or there are as many passkeys as there may be.
        """
        account = self._may_enrol(holder, origin)
        ceremony = self._ceremonies.take(holder_of(holder), "enrol")
        if account is None or ceremony is None:
            return _REFUSED
        made = self._factors.passkeys.enrol(
            account,
            ceremony.challenge,
            response,
            name,
            origin,
            verify_user=self.policy.is_administrator(account),
        )
        if isinstance(made, PasskeyRefused):
            self._note_failure(account.principal_id, origin, made.reason, Factor.PASSKEY)
            return _REFUSED
        return self._enrolled(holder, account, _passkey_methods(made), origin, phishing_resistant=True)

    def totp_enrolment(self, holder: Secret, origin: Origin) -> TOTPEnrolment | None:
        """Make a seed; it counts when its first code was shown."""
        account = self._may_enrol(holder, origin)
        if account is None:
            return None
        enrolment = self._factors.time_codes.new_seed(account)
        self._ceremonies.put(holder_of(holder), "seed", Ceremony(seed=enrolment.secret))
        return enrolment

    def enrol_totp(self, holder: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take the first code of the seed; the session's token is rotated."""
        account = self._may_enrol(holder, origin)
        ceremony = self._ceremonies.peek(holder_of(holder), "seed")
        if account is None or ceremony is None:
            return _REFUSED
        if not self._factors.time_codes.enrol(account, ceremony.seed, code, origin):
            self._note_failure(account.principal_id, origin, "code is not of the new seed", Factor.TOTP)
            return _REFUSED
        self._ceremonies.take(holder_of(holder), "seed")
        return self._enrolled(holder, account, ("otp", "mfa"), origin, phishing_resistant=False)

    def new_recovery_codes(self, token: Secret, origin: Origin) -> tuple[str, ...] | None:
        """Replace the recovery codes; they are shown this once. None when the session is not fresh."""
        session = self._session(token, origin)
        account = None if session is None else self._fresh(session)
        return None if account is None else self._factors.recovery_codes.replace(account, origin)

    def enrol_badge(self, token: Secret, badge: Secret, pin: Secret, origin: Origin) -> bool:
        """Give the session's own account a badge and a PIN; False when the session is not fresh.

        Raises:
            UsageError: see ``Badges.enrol``.
        """
        session = self._session(token, origin)
        account = None if session is None else self._fresh(session)
        if account is None:
            return False
        self._factors.badges.enrol(account, badge, pin, origin)
        return True

    def remove_factor(self, token: Secret, factor: Factor, passkey_id: str, origin: Origin) -> bool:
        """Remove one of one's own factors; False when the session is not fresh, or it would be the last one needed."""
        session = self._session(token, origin)
        account = None if session is None else self._fresh(session)
        if session is None or account is None:
            return False
        strong = len(self._factors.passkeys.of(account.account_id))
        strong += self._factors.time_codes.exists(account.account_id)
        needed = self.policy.needs_second_factor(account, session.facts.zone)
        if factor in {Factor.PASSKEY, Factor.TOTP} and needed and strong < 2:
            return False
        match factor:
            case Factor.PASSKEY:
                return self._factors.passkeys.remove(account, passkey_id, origin)
            case Factor.TOTP:
                return self._factors.time_codes.remove(account, origin)
            case Factor.BADGE:
                return self._factors.badges.remove(account, origin)
            case Factor.RECOVERY_CODE:
                self._factors.recovery_codes.remove(account, origin)
                return True

    # --- sessions: step-up, unlock, end ------------------------------------------------------------------------------

    def step_up_options(self, token: Secret, origin: Origin) -> str | None:
        """Return options to assert a passkey for step-up (RFC 9470), or None."""
        session = self._session(token, origin)
        account = None if session is None else self._account_of(session)
        if session is None or account is None:
            return None
        challenge, options = self._factors.passkeys.options_to_assert(
            account.account_id, verify_user=self.policy.is_administrator(account)
        )
        self._ceremonies.put(_of_session(session), "step-up", Ceremony(challenge))
        return options

    def step_up_passkey(self, token: Secret, response: str, origin: Origin) -> SignInOutcome:
        """Renew ``strong_at``; the token is rotated."""
        session = self._session(token, origin)
        account = None if session is None else self._account_of(session)
        ceremony = None if session is None else self._ceremonies.take(_of_session(session), "step-up")
        if session is None or account is None or ceremony is None:
            return _REFUSED
        shown = self._factors.passkeys.verify(
            ceremony.challenge,
            response,
            account.account_id,
            verify_user=self.policy.is_administrator(account),
        )
        if isinstance(shown, PasskeyRefused):
            self._alert_clone(shown, account.account_id, origin)
            self._note_failure(account.principal_id, origin, shown.reason, Factor.PASSKEY)
            return _REFUSED
        return self._stepped_up(session, _passkey_methods(shown), origin, phishing_resistant=True)

    def step_up_totp(self, token: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Renew ``strong_at``; the token is rotated."""
        session = self._session(token, origin)
        account = None if session is None else self._account_of(session)
        if session is None or account is None:
            return _REFUSED
        if not self._factors.time_codes.verify(account.account_id, code):
            self._note_failure(account.principal_id, origin, "code is wrong, old or used", Factor.TOTP)
            return _REFUSED
        return self._stepped_up(session, ("otp", "mfa"), origin, phishing_resistant=False)

    def unlock_badge(self, token: Secret, badge: Secret, pin: Secret, origin: Origin) -> SignInOutcome:
        """Open a locked session at its enrolled workstation; five wrong PINs end the session."""
        session = self._session(token, origin, locked=True)
        account = None if session is None else self._account_of(session)
        if session is None or account is None or session.facts.locked_at is None:
            return _REFUSED
        if not session.facts.workstation:
            return _REFUSED
        # Counted before it is looked at, so that tries at once do not get past it.
        tries = self._sessions.count_try(session)
        if tries > PINS_MAX or not self._factors.badges.verify(account.account_id, badge, pin):
            self._note_failure(account.principal_id, origin, "badge or PIN is wrong", Factor.BADGE)
            if tries >= PINS_MAX:
                self._sessions.end(session.facts.session_id, origin, "too many wrong PINs")
            return _REFUSED
        return self._renewed(session, ("pin",), origin, authenticated=False)

    def unlock_password(self, token: Secret, password: Secret, origin: Origin) -> SignInOutcome:
        """Open a locked session with its account's password."""
        session = self._session(token, origin, locked=True)
        account = None if session is None else self._account_of(session)
        if session is None or account is None or session.facts.locked_at is None:
            return _REFUSED
        place = self._place(origin)
        throttled = self._throttle.check(account.account_id, origin, place.workstation, known=True)
        if throttled is not None:
            return self._throttled(origin, "too many failures of this account", throttled.retry_after)
        verdict = self._passwords.verify(account.account_id, password, usable=True, with_factor=True)
        if verdict is None:
            return _BUSY
        right = verdict.right
        if not right and not self._passwords.exists(account.account_id):
            vouched = self._ask_directories(account.account_id, password)
            right = vouched is not None and (vouched.issuer, vouched.subject) == (
                account.issuer,
                account.subject,
            )
        if not right:
            return self._failed(account.account_id, account, origin, place, "password is wrong")
        return self._renewed(session, ("pwd",), origin, authenticated=True)

    def sign_out(self, token: Secret, origin: Origin) -> None:
        """End the session; harmless when it has ended."""
        session = self._session(token, origin, locked=True)
        if session is not None:
            self._sessions.end(session.facts.session_id, replace(origin, by=""), "signed out")

    # --- inside: how far somebody is ---------------------------------------------------------------------------------

    def _begin_known(
        self, account: Account, verdict: PasswordVerdict, origin: Origin, place: _Place
    ) -> SignInOutcome:
        entry = self._new_pending(account.account_id, origin, place)
        entry.methods.add("pwd")
        entry.must_change = verdict.must_change
        return self._advance(self._pending.add(entry), entry, origin)

    def _begin_vouched(self, vouched: Vouched, origin: Origin, place: _Place) -> SignInOutcome:
        account = self._accounts.by_subject(vouched.issuer, vouched.subject)
        try:
            if account is None and self.policy.make_accounts and vouched.roles:
                account = self._accounts.create(_account_for(vouched, self._clock.now()), origin)
            if account is not None and account.usable(self._clock.now()):
                if vouched.roles is not None:
                    account = self._accounts.set_roles(account.account_id, vouched.roles, origin)
                if vouched.institutions is not None:
                    account = self._accounts.change(
                        account.account_id, origin, institutions=vouched.institutions
                    )
        except UsageError as error:
            return self._refused_vouched(account, origin, str(error))
        if account is None or not account.usable(self._clock.now()):
            return self._refused_vouched(account, origin, "no account, or it is disabled")
        entry = self._new_pending(account.account_id, origin, place)
        entry.methods.update(vouched.methods)
        if vouched.multi_factor:
            entry.methods.add("mfa")
            entry.strong_at = min(vouched.authenticated_at, self._clock.now())
            entry.phishing_resistant = vouched.phishing_resistant
        return self._advance(self._pending.add(entry), entry, origin)

    def _refused_vouched(self, account: Account | None, origin: Origin, reason: str) -> SignInRefused:
        self._events.record(
            events.AUTHENTICATION_FAILED,
            "" if account is None else account.principal_id,
            origin,
            success=False,
            facts={"reason": reason, "how": "vouched for"},
        )
        return _REFUSED

    def _advance(self, pending: Secret, entry: PendingSignIn, origin: Origin) -> SignInOutcome:
        """Say what is missing, or sign in."""
        account = self._accounts.get(entry.account_id)
        if account is None or not account.usable(self._clock.now()):
            self._pending.take(pending)
            return _REFUSED
        if not self._complete(account, entry):
            held = tuple(f for f in self._factors.factors_of(account.account_id) if f is not Factor.BADGE)
            if Factor.PASSKEY in held or Factor.TOTP in held:
                return SecondFactorNeeded(pending, held, entry.expires_at)
            return MustEnrolFactor(pending, (Factor.PASSKEY, Factor.TOTP), entry.expires_at)
        by_password = "pwd" in entry.methods and not account.issuer
        if by_password and (account.must_change or entry.must_change):
            return MustChangePassword(pending, entry.expires_at)
        return self._signed_in(pending, entry, account, origin)

    def _complete(self, account: Account, entry: PendingSignIn) -> bool:
        """Tell whether all factors that this account must show were shown: those it has, or those it needs."""
        if entry.strong_at is not None:
            return True
        if not entry.methods:
            return False
        # Whoever has a second factor shows it, needed or not: else it would protect nothing.
        return not self._has_strong(account.account_id) and not self.policy.needs_second_factor(
            account, entry.zone
        )

    def _signed_in(
        self, pending: Secret, entry: PendingSignIn, account: Account, origin: Origin
    ) -> SignInOutcome:
        if not self._pending.take(pending):
            return _REFUSED
        self._events.record(
            events.AUTHENTICATION_SUCCEEDED,
            account.principal_id,
            origin,
            facts={"methods": ", ".join(sorted(entry.methods)), "zone": entry.zone},
        )
        try:
            signed_in = self._sessions.start(
                account,
                origin,
                zone=entry.zone,
                workstation=entry.workstation,
                posture=entry.posture,
                methods=entry.methods,
                strong_at=entry.strong_at,
                phishing_resistant=entry.phishing_resistant,
            )
        except AccountGoneError:
            return _REFUSED
        self._throttle.succeeded(account.account_id, origin, entry.workstation)
        return signed_in

    def _enrolled(
        self,
        holder: Secret,
        account: Account,
        methods: tuple[str, ...],
        origin: Origin,
        *,
        phishing_resistant: bool,
    ) -> SignInOutcome:
        entry = self._entry(holder, origin)
        if entry is not None:
            self._strong(entry, methods, phishing_resistant=phishing_resistant)
            return self._advance(holder, entry, origin)
        session = self._session(holder, origin)
        if session is None or session.facts.account_id != account.account_id:
            return _REFUSED
        # Not strong by that: making a key proves less than showing one that was there before.
        return self._renewed(session, (), origin, authenticated=False)

    def _stepped_up(
        self, session: LiveSession, methods: tuple[str, ...], origin: Origin, *, phishing_resistant: bool
    ) -> SignInOutcome:
        self._events.record(
            events.STEP_UP_SUCCEEDED,
            f"user:{session.facts.account_id}",
            origin,
            facts={"session": session.facts.session_id, "methods": ", ".join(methods)},
        )
        try:
            return self._sessions.renew(
                session,
                methods=methods,
                authenticated=True,
                strong_at=self._clock.now(),
                phishing_resistant=phishing_resistant,
            )
        except AccountGoneError:
            return _REFUSED

    def _renewed(
        self, session: LiveSession, methods: tuple[str, ...], origin: Origin, *, authenticated: bool
    ) -> SignInOutcome:
        if session.facts.locked_at is not None:
            self._events.record(
                events.AUTHENTICATION_SUCCEEDED,
                f"user:{session.facts.account_id}",
                origin,
                facts={"session": session.facts.session_id, "methods": ", ".join(methods), "how": "unlocked"},
            )
        try:
            return self._sessions.renew(session, methods=methods, authenticated=authenticated)
        except AccountGoneError:
            return _REFUSED

    def _strong(self, entry: PendingSignIn, methods: tuple[str, ...], *, phishing_resistant: bool) -> None:
        entry.methods.update(methods)
        entry.strong_at = self._clock.now()
        entry.phishing_resistant = phishing_resistant

    # --- inside: who asks --------------------------------------------------------------------------------------------

    def _place(self, origin: Origin) -> _Place:
        workstation = workstation_of(self._devices, origin.certificate_sha256, origin.address)
        managed = workstation or origin.posture == MANAGED
        return _Place(self._zones.of(origin.address), workstation, MANAGED if managed else "")

    def _new_pending(self, account_id: str, origin: Origin, place: _Place) -> PendingSignIn:
        seconds = self.policy.pending_seconds
        return PendingSignIn(
            account_id=account_id,
            zone=place.zone,
            certificate_sha256=origin.certificate_sha256,
            workstation=place.workstation,
            posture=place.posture,
            expires=self._clock.monotonic() + seconds,
            expires_at=self._clock.now() + timedelta(seconds=seconds),
        )

    def _entry(self, pending: Secret, origin: Origin) -> PendingSignIn | None:
        place = self._place(origin)
        return self._pending.get(pending, place.zone, origin.certificate_sha256, place.workstation)

    def _session(self, token: Secret, origin: Origin, *, locked: bool = False) -> LiveSession | None:
        place = self._place(origin)
        found = self._sessions.find(
            token, place.zone, origin.certificate_sha256, place.workstation, locked=locked
        )
        return None if isinstance(found, NotAuthenticated) else found

    def _account_of(self, session: LiveSession) -> Account | None:
        account = self._accounts.get(session.facts.account_id)
        return account if account is not None and account.usable(self._clock.now()) else None

    def _fresh(self, session: LiveSession) -> Account | None:
        """Return the account of a session that may change its own factors now."""
        account = self._account_of(session)
        if account is None:
            return None
        at = (
            session.facts.strong_at
            if self._has_strong(account.account_id)
            else session.facts.authenticated_at
        )
        if at is None or (self._clock.now() - at).total_seconds() > self.policy.fresh_seconds:
            return None
        return account

    def _may_enrol(self, holder: Secret, origin: Origin) -> Account | None:
        entry = self._entry(holder, origin)
        if entry is not None:
            account = self._accounts.get(entry.account_id)
            # Only the first one: whoever has a factor must show it and not make another.
            if account is None or not entry.methods or self._has_strong(account.account_id):
                return None
            return account if account.usable(self._clock.now()) else None
        session = self._session(holder, origin)
        return None if session is None else self._fresh(session)

    def _has_strong(self, account_id: str) -> bool:
        return self._factors.time_codes.exists(account_id) or bool(self._factors.passkeys.of(account_id))

    def _is_current(self, account: Account, password: Secret) -> bool:
        verdict = self._passwords.verify(account.account_id, password, usable=True, with_factor=True)
        return verdict is not None and verdict.right

    def _ask_directories(self, name: str, password: Secret) -> Vouched | None:
        if not password.reveal():
            return None
        for directory in self._directories:
            vouched = directory.check(name, password)
            if vouched is not None:
                return vouched
        return None

    # --- inside: refusals --------------------------------------------------------------------------------------------

    def _failed(
        self, name: str, account: Account | None, origin: Origin, place: _Place, reason: str
    ) -> SignInRefused:
        known = self._throttle.remembers(name) or account is not None
        principal_id = account.principal_id if account is not None else ""
        closed = self._throttle.failed(name, origin, place.workstation, known=known)
        self._events.record(
            events.AUTHENTICATION_FAILED,
            principal_id,
            origin,
            success=False,
            facts={"reason": reason, "zone": place.zone},
            # What is typed as a name may be a password in the wrong field: sealed, and only where nobody is known.
            detail={} if account is not None else {"name": name},
        )
        if closed:
            self._events.record(
                events.ACCOUNT_LOCKED_OUT,
                principal_id,
                origin,
                success=False,
                facts={"reason": "too many failures in a row; from known places the account may go on"},
            )
        throttled = self._throttle.check(name, origin, place.workstation, known=known)
        return SignInRefused(retry_after=0 if throttled is None else throttled.retry_after)

    def _factor_failed(
        self, pending: Secret, entry: PendingSignIn, origin: Origin, factor: Factor, reason: str
    ) -> SignInRefused:
        self._pending.failed(pending)
        principal_id = f"user:{entry.account_id}" if entry.account_id else ""
        self._note_failure(principal_id, origin, reason, factor)
        return _REFUSED

    def _note_failure(self, principal_id: str, origin: Origin, reason: str, factor: Factor) -> None:
        self._events.record(
            events.AUTHENTICATION_FAILED,
            principal_id,
            origin,
            success=False,
            facts={"reason": reason, "factor": factor.value},
        )

    def _alert_clone(self, refused: PasskeyRefused, account_id: str, origin: Origin) -> None:
        if refused.cloned:
            self._events.record(
                events.SECURITY_ALERT,
                f"user:{account_id}" if account_id else "",
                origin,
                success=False,
                facts={"what": "a passkey's counter ran backwards: two authenticators may hold its key"},
            )

    def _throttled(self, origin: Origin, reason: str, seconds: int) -> SignInRefused:
        # A few a minute of one address: whoever hammers must not fill the log.
        if not self._notes.take(origin.address):
            self._events.record(
                events.AUTHENTICATION_FAILED, "", origin, success=False, facts={"reason": reason}
            )
        return SignInRefused(retry_after=seconds)


def _passkey_methods(shown: PasskeyShown) -> tuple[str, ...]:
    return ("pop", "user", "mfa") if shown.user_verified else ("pop", "user")


def _of_session(session: LiveSession) -> bytes:
    return session.facts.session_id.encode("ascii")


def _account_for(vouched: Vouched, now: datetime) -> Account:
    """Return a new account for somebody: named after them, and apart from everybody by a hash of who vouches."""
    name = re.sub(r"[^a-z0-9]+", "-", vouched.display_name.casefold()).strip("-")[:40].strip("-")
    digest = sha256(f"{vouched.issuer}\0{vouched.subject}".encode()).hexdigest()[:8]
    return Account(
        account_id=f"{name or 'sso'}-{digest}",
        display_name=vouched.display_name or vouched.subject,
        roles=tuple(sorted(set(vouched.roles or ()))),
        created_at=now,
        email=vouched.email,
        institutions=vouched.institutions or (),
        issuer=vouched.issuer,
        subject=vouched.subject,
    )
