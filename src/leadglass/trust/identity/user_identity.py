"""User identity negotiation: who acts through the device.

Inside mutual TLS only, and only after the device was recognised. A user narrows what the device may do and never
widens it.

Source: PS3.7 D.3.3.7.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.secret import Secret
from leadglass.trust.identity.interfaces import (
    AccountDirectory,
    PasscodeVerifier,
    TokenRefused,
    TokenVerifier,
)
from leadglass.trust.identity.models import Account, Principal
from leadglass.trust.identity.passwords import Passwords

FAILURES_FREE: Final = 5
"""Wrong passcodes in a row before the first wait."""
WAIT_SECONDS_MAX: Final = 900
"""Waits double up to this; nobody is locked out for good by what a stranger sends."""
FAILURES_REMEMBERED_MAX: Final = 10_000
PASSCODE_OCTETS_MAX: Final = 1024


class UserIdentityType(IntEnum):
    """Source: PS3.7 Table D.3-14."""

    USERNAME = 1
    USERNAME_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class UserIdentityClaim:
    """A user identity sub-item as parsed; nothing in it is believed.

    ``repr`` shows neither field: the primary one may be a token.
    """

    identity_type: int
    positive_response_requested: bool
    primary: Secret
    secondary: Secret


@dataclass(frozen=True, slots=True)
class UserIdentityAccepted:
    """The association may go on.

    Attributes:
        principal: who acts; the device itself where the claim was not looked at.
        server_response: value of the response sub-item (may be a token: not for logs); None for no sub-item.
        hint: a user name that was not verified, for the audit log's sealed detail only.
    """

    principal: Principal
    server_response: bytes | None = field(default=None, repr=False)
    hint: str = ""


@dataclass(frozen=True, slots=True)
class UserIdentityRefused:
    """The association is rejected; ``reason`` goes to audit, never to the peer.

    Permanent, by the ACSE related service-provider, no reason given. Source: PS3.7 D.3.3.7, PS3.8 Table 9-21.
    """

    reason: str
    rj_result: int = 1
    rj_source: int = 2
    rj_reason: int = 1


class UserIdentityService:
    """Decides on user identity claims. Thread-safe.

    Args:
        accounts: who may act through a device, with which roles.
        passwords: keeps the verifiers of passcodes, which are no passwords: devices store them.
        passcodes: checks them, for type 2.
        tokens: for type 5; None where the site has no token issuer.
        clock: waits after wrong passcodes are measured with it.
    """

    def __init__(
        self,
        accounts: AccountDirectory,
        passwords: Passwords,
        passcodes: PasscodeVerifier,
        tokens: TokenVerifier | None,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._passcodes = passcodes
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @cached_property
    def _nobody(self) -> str:
        """What a user who does not exist is checked against, so that the time taken does not tell.

        Made when it is first needed: Argon2id takes 64 MiB, which a node without users never has to spend.
        """
        return self._passcodes.verifier(Secret(b"nobody"))

    def decide(
        self, device: Principal, claim: UserIdentityClaim
    ) -> UserIdentityAccepted | UserIdentityRefused:
        """Say who acts through ``device``, which was recognised already.

        Raises:
            IntegrityError: the identity database is damaged; nobody is accepted then.
        """
        match claim.identity_type:
            case UserIdentityType.USERNAME:
                # Unproven, so never answered: an answer would say that we accepted it.
                return UserIdentityAccepted(device, hint=_text(claim.primary) or "")
            case UserIdentityType.USERNAME_PASSCODE:
                return self._by_passcode(device, claim)
            case UserIdentityType.JWT:
                return self._by_token(device, claim)
            case _:  # Kerberos, SAML, and what the standard does not know yet
                if claim.positive_response_requested:
                    return UserIdentityRefused("user identity type is not supported")
                return UserIdentityAccepted(device)

    def _by_passcode(
        self, device: Principal, claim: UserIdentityClaim
    ) -> UserIdentityAccepted | UserIdentityRefused:
        name = _text(claim.primary)
        if not name or len(claim.secondary.reveal()) > PASSCODE_OCTETS_MAX:
            return UserIdentityRefused("user name or passcode cannot be read")
        # The device is part of the key: one device that guesses does not make a user wait at the others.
        key = f"{device.principal_id} {name}"
        if self._must_wait(key):
            return UserIdentityRefused("too many wrong passcodes, must wait")
        nobody = self._nobody  # known or not, whoever comes first pays for it
        account = self._usable(name)
        verifier = self._passwords.passcode_verifier(name) if account is not None else ""
        if not self._passcodes.verify(claim.secondary, verifier or nobody) or account is None or not verifier:
            self._note_failure(key)
            return UserIdentityRefused("user is unknown or the passcode is wrong")
        with self._lock:
            self._failures.pop(key, None)
        return _accept(device, account, claim)

    def _usable(self, account_id: str) -> Account | None:
        account = self._accounts.get(account_id)
        return account if account is not None and account.usable(self._clock.now()) else None

    def _by_token(
        self, device: Principal, claim: UserIdentityClaim
    ) -> UserIdentityAccepted | UserIdentityRefused:
        if self._tokens is None:
            return UserIdentityRefused("no token issuer is configured")
        verdict = self._tokens.verify(claim.primary.reveal(), device.certificate_sha256)
        if isinstance(verdict, TokenRefused):
            return UserIdentityRefused(verdict.reason)
        account = self._usable(verdict.subject)
        if account is None:
            return UserIdentityRefused("subject of the token is not enrolled")
        return _accept(device, account, claim)

    def _must_wait(self, key: str) -> bool:
        with self._lock:
            _, until = self._failures.get(key, (0, 0.0))
        return self._clock.monotonic() < until

    def _note_failure(self, key: str) -> None:
        with self._lock:
            count = self._failures.pop(key, (0, 0.0))[0] + 1
            beyond = count - FAILURES_FREE
            wait = min(2.0 ** min(beyond, 20), WAIT_SECONDS_MAX) if beyond >= 0 else 0.0
            self._failures[key] = (count, self._clock.monotonic() + wait)
            if len(self._failures) > FAILURES_REMEMBERED_MAX:
                self._failures.popitem(last=False)


def _accept(
    device: Principal, account: Account, claim: UserIdentityClaim
) -> UserIdentityAccepted | UserIdentityRefused:
    if not account.roles:
        return UserIdentityRefused("user has no roles")
    # Least privilege: policy is asked for both, and says yes only where both may (archive.access).
    principal = replace(
        device,
        principal_id=account.principal_id,
        roles=account.roles,
        through=device.principal_id,
        through_roles=device.roles,
        devices=account.devices,
        institutions=account.institutions,
        known_as=account.known_as,
    )
    if not claim.positive_response_requested:
        return UserIdentityAccepted(principal)
    # PS3.7 D.3.3.7.2: no content for type 2, a token for type 5. We issue none, so the requestor gets its own back.
    is_token = claim.identity_type == UserIdentityType.JWT
    return UserIdentityAccepted(principal, claim.primary.reveal() if is_token else b"")


def _text(field: Secret) -> str | None:
    try:
        text = field.reveal().decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and len(text) <= 256 else None
