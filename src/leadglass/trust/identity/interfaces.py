"""What other rooms may know about identity, and what identity asks of the rooms above it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from leadglass.base.secret import Secret
from leadglass.trust.identity.models import (
    Device,
    NotAuthenticated,
    PeerFacts,
    Presented,
    Principal,
    Unrecognised,
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
