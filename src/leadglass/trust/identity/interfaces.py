"""What other rooms may know about identity, and what identity asks of the rooms above it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from leadglass.base.secret import Secret
from leadglass.trust.identity.models import (
    Account,
    Device,
    Factor,
    NotAuthenticated,
    Origin,
    PeerFacts,
    Presented,
    Principal,
    Session,
    SignInOutcome,
    TOTPEnrolment,
    Unrecognised,
    Vouched,
)


class FileAuthenticator(Protocol):
    """Authenticates small files of ours; implemented in ``trust.keys`` under a key of its own."""

    def tag(self, data: bytes) -> bytes:
        """Return the authentication tag of ``data``."""
        ...

    def check(self, data: bytes, tag: bytes) -> None:
        """Compare in constant time.

        Raises:
            IntegrityError: ``tag`` is not the tag of ``data``.
        """
        ...


class PasscodeVerifier(Protocol):
    """Stores passcodes so that they cannot be read back; implemented in ``trust.certs.passcode``."""

    def verifier(self, passcode: Secret) -> str:
        """Return what is kept instead of the passcode."""
        ...

    def verify(self, passcode: Secret, verifier: str) -> bool:
        """Tell whether ``passcode`` is the one; a verifier that cannot be read is a no."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token said, after everything about it was checked."""

    subject: str
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """Why a token is not believed: in words of ours, for the audit log; nothing of the token is in it."""

    reason: str


class TokenVerifier(Protocol):
    """Checks a JSON Web Token; implemented in ``trust.certs.token``."""

    def verify(self, token: bytes, certificate_sha256: str) -> VerifiedToken | TokenRefused:
        """Check signature, issuer, audience, times, replay and binding to the client certificate; never raises."""
        ...


class Standing(Protocol):
    """Tells whether somebody still is who they were a moment ago: revoked rights bite on the next request."""

    def current(self, principal: Principal) -> Principal | None:
        """Return the principal with the roles and limits it has now; None when it was revoked, disabled or ended.

        Cheap: asked before every decision, on the hot path too (in memory; no Argon2id, no file read when nothing
        changed). Thread-safe. A principal of kind ``operator`` or ``service`` is returned as it is.

        Raises:
            IntegrityError: the registry it would be looked up in is damaged.
        """
        ...


class Authenticator(Protocol):
    """Says who sends a request over HTTPS. Thread-safe; called once for every request."""

    def authenticate(self, presented: Presented) -> Principal | NotAuthenticated:
        """Believe a session token, an access token, or the certificate of an enrolled device, in this order.

        A session or token that is bound to a certificate counts only with it. Records refusals itself.

        Raises:
            IntegrityError: a registry is damaged.
        """
        ...


class IdentityEvents(Protocol):
    """Where identity's events go: ``app.compose`` makes audit events of them."""

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
        """Put it on record before its effect counts.

        Args:
            code: a value of ``trust.audit.interfaces.EventCode``; ``identity.events`` lists those that are used.
            principal_id: whom it is about, who is also who did it unless ``origin.by`` says otherwise; empty where
                nobody is known.
            origin: from where, and by whom.
            success: False is a failure: a refusal, an alert.
            facts: for the leaf; no name that somebody typed stands in it.
            detail: for the sealed payload, as a user name that is unknown.

        Raises:
            AuditUnavailable: it was not taken; what it would have recorded must not happen.
        """
        ...


class SecretSeal(Protocol):
    """Seals secrets that must be read back (seeds of TOTP); implemented in ``trust.keys.row_seal``."""

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return them sealed, bound to ``associated``."""
        ...

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of it, or of ``associated``, is not what was sealed.
        """
        ...


class AccessTokens(Protocol):
    """Believes access tokens of services and scripts; implemented in ``identity.clients``. Thread-safe."""

    def verify(self, token: Secret, certificate_sha256: str) -> Principal | NotAuthenticated:
        """Say whose token it is: a principal of kind ``client`` (or ``user``), with its roles and scopes.

        ``address``, ``certificate_sha256``, ``correlation_id`` and the zone and purpose are filled in by the caller.
        Everything else of ``circumstances`` is kept. A token bound to a certificate counts only with it. No event is
        recorded here.

        Raises:
            IntegrityError: the registry of clients is damaged.
        """
        ...

    def current(self, principal: Principal) -> Principal | None:
        """Return a principal of kind ``client`` with the roles and limits it has now; None when it was revoked."""
        ...


class AccountDirectory(Protocol):
    """The accounts of a site, held in memory: reads are cheap and see every change at once. Thread-safe."""

    def get(self, account_id: str) -> Account | None:
        """Return the account of that id, disabled or not; None when there never was one."""
        ...

    def by_subject(self, issuer: str, subject: str) -> Account | None:
        """Return the account that this issuer vouches for under this subject, disabled or not."""
        ...

    def all(self) -> tuple[Account, ...]:
        """Return every account, by id, disabled ones included."""
        ...

    def on_change(self, listener: Callable[[Account], None]) -> None:
        """Tell ``listener`` of every account that was made or changed, as it is now; it must not raise or wait."""
        ...


class PasswordSource(Protocol):
    """Another place that knows passwords, as a directory (LDAP); implemented in ``identity.directory``."""

    def check(self, name: str, password: Secret) -> Vouched | None:
        """Say who it is, or None: unknown, wrong, disabled there. An empty password is always None.

        Raises:
            OutOfResources: it does not answer.
        """
        ...


class SignIn(Protocol):
    """How somebody becomes a session, without HTTP; ``identity.sign_in.SignInService`` implements it. Thread-safe.

    Every method that takes a ``pending`` or a session's token answers ``SignInRefused`` when it is not known, over, or
    shown from another workstation. Passkey messages are JSON of WebAuthn, as browsers' ``toJSON`` makes them.

    Raises:
        AuditUnavailable: the event was not taken; nothing was granted.
    """

    def begin(self, account_id: str, password: Secret, origin: Origin) -> SignInOutcome:
        """Begin with a name and a password. Unknown names and wrong passwords take the same time."""
        ...

    def begin_vouched(self, vouched: Vouched, origin: Origin) -> SignInOutcome:
        """Begin with what an identity provider vouches for; makes the account if the settings allow it."""
        ...

    def begin_passkey(self, origin: Origin) -> tuple[Secret, str]:
        """Begin with a passkey alone (it verifies its user): a pending and the options for the browser."""
        ...

    def passkey_options(self, pending: Secret, origin: Origin) -> str | None:
        """Return options to assert one of the account's passkeys, or None when ``pending`` is not good."""
        ...

    def finish_passkey(self, pending: Secret, response: str, origin: Origin) -> SignInOutcome:
        """Take the browser's assertion."""
        ...

    def finish_totp(self, pending: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take six digits."""
        ...

    def finish_recovery_code(self, pending: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take a recovery code; it is used up by that."""
        ...

    def change_password(self, pending: Secret, new: Secret, origin: Origin) -> SignInOutcome:
        """Take the new password that ``MustChangePassword`` asked for."""
        ...

    def redeem(self, token: Secret, password: Secret, origin: Origin) -> bool:
        """Redeem an invitation; the person signs in with the password afterwards. False when it is not good.

        Raises:
            UsageError: the password has problems, in words for the person; the token stands.
        """
        ...

    def passkey_enrolment_options(self, holder: Secret, origin: Origin) -> str | None:
        """Return options to make a passkey.

        Args:
            holder: the pending of ``MustEnrolFactor``, or the token of a session whose last strong factor (or, while
                the account has none, whose sign-in) is fresh; else None is the answer.
            origin: from where.
        """
        ...

    def enrol_passkey(self, holder: Secret, response: str, name: str, origin: Origin) -> SignInOutcome:
        """Take the browser's attestation; the session's token is rotated."""
        ...

    def totp_enrolment(self, holder: Secret, origin: Origin) -> TOTPEnrolment | None:
        """Make a seed; it counts when its first code was shown."""
        ...

    def enrol_totp(self, holder: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Take the first code of the seed; the session's token is rotated."""
        ...

    def new_recovery_codes(self, token: Secret, origin: Origin) -> tuple[str, ...] | None:
        """Replace the recovery codes; they are shown this once. None when the session is not fresh."""
        ...

    def step_up_options(self, token: Secret, origin: Origin) -> str | None:
        """Return options to assert a passkey for step-up (RFC 9470), or None."""
        ...

    def step_up_passkey(self, token: Secret, response: str, origin: Origin) -> SignInOutcome:
        """Renew ``strong_at``; the token is rotated."""
        ...

    def step_up_totp(self, token: Secret, code: str, origin: Origin) -> SignInOutcome:
        """Renew ``strong_at``; the token is rotated."""
        ...

    def unlock_badge(self, token: Secret, badge: Secret, pin: Secret, origin: Origin) -> SignInOutcome:
        """Open a locked session at its enrolled workstation; five wrong PINs end the session."""
        ...

    def unlock_password(self, token: Secret, password: Secret, origin: Origin) -> SignInOutcome:
        """Open a locked session with its account's password."""
        ...

    def sign_out(self, token: Secret, origin: Origin) -> None:
        """End the session; harmless when it has ended."""
        ...


class Sessions(Protocol):
    """The sessions of a site. Thread-safe; ``identity.sessions.SessionStore`` implements it."""

    def of(self, account_id: str) -> tuple[Session, ...]:
        """Return the account's sessions that have not ended, newest first."""
        ...

    def all(self) -> tuple[Session, ...]:
        """Return every session that has not ended, newest first."""
        ...

    def get(self, session_id: str) -> Session | None:
        """Return the session if it has not ended."""
        ...

    def lock(self, session_id: str, origin: Origin) -> bool:
        """Lock it now: the person leaves the console. False when it has ended."""
        ...

    def end(self, session_id: str, origin: Origin, reason: str) -> bool:
        """End it now; False when it had ended. The caller asked policy unless it is the person's own."""
        ...

    def end_all(self, account_id: str, origin: Origin, reason: str) -> int:
        """End all sessions of an account; return how many."""
        ...


class FactorDirectory(Protocol):
    """Which factors an account has, for settings pages and administrators."""

    def factors_of(self, account_id: str) -> tuple[Factor, ...]:
        """Return the kinds of factors that are enrolled."""
        ...


class DeviceDirectory(Protocol):
    """The enrolled devices, as doors and archive see them. Thread-safe."""

    @property
    def version(self) -> int:
        """Counts up with every change: what the audit log notes, so that an older registry put back is noticed."""
        ...

    def resolve(self, facts: PeerFacts) -> Principal | Unrecognised:
        """Say who is at the other end.

        Raises:
            IntegrityError: the registry is damaged or missing; nobody is recognised then.
        """
        ...

    def by_ae_title(self, ae_title: str) -> Device | None:
        """Return the device that calls itself so and is not revoked.

        Raises:
            IntegrityError: as above.
        """
        ...

    def by_id(self, device_id: str) -> Device | None:
        """Return the device of that id if it is not revoked.

        Raises:
            IntegrityError: as above.
        """
        ...

    def by_fingerprint(self, certificate_sha256: str) -> Device | None:
        """Return the device, not revoked, that may present this certificate.

        Raises:
            IntegrityError: as above.
        """
        ...


class WorkstationDirectory(DeviceDirectory, Protocol):
    """The enrolled devices, as requests over HTTPS are held against them."""

    def recognise(self, certificate_sha256: str, address: str) -> Principal | Unrecognised:
        """Say which device shows this certificate, from one of its networks.

        Raises:
            IntegrityError: the registry is damaged or missing; nobody is recognised then.
        """
        ...
