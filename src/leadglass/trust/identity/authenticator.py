"""Who sends a request over HTTPS: a session, an access token, or an enrolled device.

Every request comes through here, so the way of a session that is good reads memory only: one SHA-256, one look into
the registry of devices when a certificate was shown, two values made.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.errors import LeadglassError
from leadglass.trust.identity import events
from leadglass.trust.identity.interfaces import (
    AccessTokens,
    AccountDirectory,
    IdentityEvents,
    WorkstationDirectory,
)
from leadglass.trust.identity.models import (
    Circumstances,
    NotAuthenticated,
    Origin,
    Presented,
    Principal,
    Unrecognised,
)
from leadglass.trust.identity.posture import MANAGED, NoPostures, Postures
from leadglass.trust.identity.sessions import SessionStore
from leadglass.trust.identity.standing import BreakGlass, no_break_glass
from leadglass.trust.identity.throttle import AddressBuckets
from leadglass.trust.identity.zones import NetworkZones

PURPOSES: Final = frozenset(
    {
        "COVERAGE",  # coverage under policy or programme
        "ETREAT",  # emergency treatment
        "HLEGAL",  # legal
        "HOPERAT",  # healthcare operations
        "HPAYMT",  # healthcare payment
        "HRESCH",  # healthcare research
        "HSYSADMIN",  # health system administration
        "PATADMIN",  # patient administration
        "PATRQT",  # patient requested
        "PUBHLTH",  # public health
        "TREAT",  # treatment
        "TREATDS",  # treatment, disclosure to another provider
    }
)
"""What a request may say it is for. Source: HL7 v3 PurposeOfUse. Not BTG: breaking the glass is no word in a header."""
DEFAULT_PURPOSE: Final = "TREAT"

_NOTHING: Final = NotAuthenticated()
_PURPOSE: Final = NotAuthenticated("purpose of use is not one of ours", error="invalid_request")
_ACCOUNT: Final = NotAuthenticated("account is disabled or over", error="invalid_token")
_NO_TOKENS: Final = NotAuthenticated("no access tokens are taken here", error="invalid_token")


class SessionAuthenticator:
    """Implements ``identity.interfaces.Authenticator``. Thread-safe.

    Args:
        sessions: of people.
        accounts: theirs.
        devices: workstations and devices with certificates.
        zones: names of networks.
        tokens: of services and scripts; None where there are none.
        recorder: told of refusals; of one address a few a minute at most, so that nobody fills the log with them.
        clock: of the site.
        break_glass: emergency access in force.
        postures: says what the access proxy's header is worth; None: nothing.
    """

    def __init__(
        self,
        sessions: SessionStore,
        accounts: AccountDirectory,
        devices: WorkstationDirectory,
        zones: NetworkZones,
        tokens: AccessTokens | None,
        recorder: IdentityEvents,
        clock: Clock,
        break_glass: BreakGlass = no_break_glass,
        postures: Postures | None = None,
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._devices = devices
        self._zones = zones
        self._tokens = tokens
        self._events = recorder
        self._clock = clock
        self._break_glass = break_glass
        self._postures = postures or NoPostures()
        self._refusals = AddressBuckets(clock, burst=30.0, per_second=0.1)

    def authenticate(self, presented: Presented) -> Principal | NotAuthenticated:
        """Believe a session token, an access token, or the certificate of an enrolled device, in this order."""
        answer = self._authenticate(presented)
        if isinstance(answer, NotAuthenticated) and answer.reason and not answer.locked:
            self._note(presented, answer)
        return answer

    def _authenticate(self, presented: Presented) -> Principal | NotAuthenticated:
        purpose = presented.purpose or DEFAULT_PURPOSE
        if purpose not in PURPOSES:
            return _PURPOSE
        # What is shown must hold: a dead session does not fall back to the certificate of the workstation beneath it.
        if presented.session_token.reveal():
            return self._by_session(presented, purpose)
        if presented.access_token.reveal():
            return self._by_access_token(presented, purpose)
        if presented.certificate_sha256:
            return self._by_certificate(presented, purpose)
        return _NOTHING

    def _by_session(self, presented: Presented, purpose: str) -> Principal | NotAuthenticated:
        workstation = workstation_of(self._devices, presented.certificate_sha256, presented.address)
        zone = self._zones.of(presented.address)
        session = self._sessions.find(
            presented.session_token, zone, presented.certificate_sha256, workstation
        )
        if isinstance(session, NotAuthenticated):
            return session
        facts = session.facts
        account = self._accounts.get(facts.account_id)
        if account is None or not account.usable(self._clock.now()):
            return _ACCOUNT
        return Principal(
            principal_id=account.principal_id,
            roles=account.roles,
            address=presented.address,
            certificate_sha256=presented.certificate_sha256,
            correlation_id=presented.correlation_id,
            devices=account.devices,
            institutions=account.institutions,
            known_as=account.known_as,
            circumstances=Circumstances(
                session_id=facts.session_id,
                zone=zone,
                posture=MANAGED if workstation else self._postures.of(presented.posture, presented.address),
                workstation=workstation,
                purpose=purpose,
                methods=facts.methods,
                authenticated_at=facts.authenticated_at,
                strong_at=facts.strong_at,
                phishing_resistant=facts.phishing_resistant,
                break_glass=self._break_glass(account.principal_id),
                risk=facts.risk,
            ),
        )

    def _by_access_token(self, presented: Presented, purpose: str) -> Principal | NotAuthenticated:
        if self._tokens is None:
            return _NO_TOKENS
        principal = self._tokens.verify(presented.access_token, presented.certificate_sha256)
        if isinstance(principal, NotAuthenticated):
            return principal
        workstation = workstation_of(self._devices, presented.certificate_sha256, presented.address)
        return replace(
            principal,
            address=presented.address,
            certificate_sha256=presented.certificate_sha256,
            correlation_id=presented.correlation_id,
            circumstances=replace(
                principal.circumstances,
                zone=self._zones.of(presented.address),
                posture=MANAGED if workstation else self._postures.of(presented.posture, presented.address),
                workstation=workstation,
                purpose=purpose,
                break_glass=self._break_glass(principal.principal_id),
            ),
        )

    def _by_certificate(self, presented: Presented, purpose: str) -> Principal | NotAuthenticated:
        resolved = self._devices.recognise(presented.certificate_sha256, presented.address)
        if isinstance(resolved, Unrecognised):
            return NotAuthenticated(resolved.reason)
        return replace(
            resolved,
            correlation_id=presented.correlation_id,
            circumstances=Circumstances(
                zone=self._zones.of(presented.address),
                posture=MANAGED,
                workstation=resolved.principal_id,
                purpose=purpose,
                phishing_resistant=True,
            ),
        )

    def _note(self, presented: Presented, answer: NotAuthenticated) -> None:
        if self._refusals.take(presented.address):
            return
        origin = Origin(
            presented.address, presented.certificate_sha256, presented.posture, presented.correlation_id
        )
        # Nothing is released, so a log that takes nothing does not change the answer.
        with suppress(LeadglassError):
            self._events.record(
                events.REQUEST_REFUSED, "", origin, success=False, facts={"reason": answer.reason}
            )


def workstation_of(devices: WorkstationDirectory, certificate_sha256: str, address: str) -> str:
    """Return the principal id of the enrolled device that a connection shows; empty for none."""
    if not certificate_sha256:
        return ""
    device = devices.recognise(certificate_sha256, address)
    return "" if isinstance(device, Unrecognised) else device.principal_id
