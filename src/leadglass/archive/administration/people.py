"""Accounts, what they may do, and their sessions.

An administrator never knows a password: an account is made without one, and an invitation lets its person set it.

Source: 45 CFR 164.308(a)(3), (4); 164.312(a)(2)(i), (d).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from leadglass.archive.access import Access
from leadglass.base.errors import NotFound, UsageError
from leadglass.base.secret import Secret
from leadglass.dicom.normalise import fold_text
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.interfaces import Sessions
from leadglass.trust.identity.invitations import Invitations
from leadglass.trust.identity.models import Account, AccountKind, Origin, Principal, Session
from leadglass.trust.identity.passwords import Passwords
from leadglass.trust.identity.sign_in import Factors
from leadglass.trust.policy.duties import KEYS, WATCHES
from leadglass.trust.policy.interfaces import Permission

_ENDED: Final = "ended by an administrator"


def origin_of(principal: Principal) -> Origin:
    """Return where a change to somebody's account comes from, and by whom."""
    return Origin(
        address=principal.address,
        certificate_sha256=principal.certificate_sha256,
        correlation_id=principal.correlation_id,
        by=principal.principal_id,
    )


def folded(institutions: Sequence[str]) -> tuple[str, ...]:
    """Return institutions as somebody types them in the form that studies are compared in: a limit that never fits hides all."""
    return tuple(fold_text(institution) for institution in institutions)


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an account begins with, as it comes from a command or a request; see ``identity.models.Account``."""

    account: str
    display_name: str
    roles: tuple[str, ...]
    kind: AccountKind = AccountKind.PERSON
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    known_as: tuple[str, ...] = ()
    email: str = ""
    issuer: str = ""
    subject: str = ""
    expires_at: datetime | None = None


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed; what is absent stays."""

    display_name: str | None = None
    devices: tuple[str, ...] | None = None
    institutions: tuple[str, ...] | None = None
    known_as: tuple[str, ...] | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class People:
    """Verbs on accounts and sessions; holds no state."""

    access: Access
    accounts: Accounts
    passwords: Passwords
    factors: Factors
    invitations: Invitations
    sessions: Sessions
    unlock: Callable[[str], None]
    """Forgets the failures of an account: ``AccountThrottle.reset``."""

    def list(self, principal: Principal) -> tuple[Account, ...]:
        """Return every account, by id.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.ACCOUNT_LIST)
        return self.accounts.all()

    def get(self, principal: Principal, account_id: str) -> Account:
        """Return one account.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none.
        """
        self.access.permit(principal, Permission.ACCOUNT_LIST)
        return self._required(account_id)

    def create(
        self, principal: Principal, new: NewAccount, passcode: Secret | None = None
    ) -> tuple[Account, Secret | None]:
        """Make an account.

        Args:
            principal: who does it.
            new: what it begins with.
            passcode: that it shows inside an association; None: none.

        Returns:
            The account, and the invitation that its person needs; None where an identity provider vouches for it.

        Raises:
            AccessDenied: policy said no, to the account or to its roles.
            UsageError: malformed, taken, or roles that exclude each other.
        """
        self.access.permit(principal, Permission.ACCOUNT_CREATE)
        if new.roles:
            self.access.permit(principal, Permission.ROLE_ASSIGN)
        origin = origin_of(principal)
        wanted = Account(
            account_id=new.account,
            display_name=new.display_name,
            roles=tuple(sorted(set(new.roles))),
            created_at=self.access.clock.now(),
            kind=new.kind,
            devices=new.devices,
            institutions=folded(new.institutions),
            known_as=new.known_as,
            email=new.email,
            issuer=new.issuer,
            subject=new.subject,
            expires_at=new.expires_at,
        )
        if passcode is not None:  # looked at first: no account is made for one that would be refused
            self.passwords.check_passcode(wanted, passcode)
        account = self.accounts.create(wanted, origin)
        if passcode is not None:
            self.passwords.set_passcode(account, passcode, origin)
        return account, None if new.issuer else self.invitations.for_account(new.account, origin)

    def bootstrap(self, principal: Principal) -> Secret:
        """Make the one-time token of the first administrator: for the machine's own console.

        Raises:
            AccessDenied: not asked from there.
            UsageError: there is an administrator already.
        """
        if principal.kind != "operator":
            raise NotFound("no such thing")
        self.access.permit(principal, Permission.ACCOUNT_CREATE)
        return self.invitations.for_first_administrator(origin_of(principal))

    def set_roles(self, principal: Principal, account_id: str, roles: Sequence[str]) -> Account:
        """Give these roles and no others; the account's sessions end if they differ.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
            UsageError: unknown roles, roles that exclude each other, or one's own.
        """
        self.access.permit(principal, Permission.ROLE_ASSIGN)
        if principal.principal_id == f"user:{account_id}":
            raise UsageError("nobody gives themselves a role: somebody else has to")
        return self.accounts.set_roles(account_id, roles, origin_of(principal))

    def change(self, principal: Principal, account_id: str, change: AccountChange) -> Account:
        """Change what an account sees, and what it is called.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
            UsageError: malformed.
        """
        self.access.permit(principal, Permission.ACCOUNT_CREATE)
        asked = msgspec.structs.asdict(change)
        if change.institutions is not None:
            asked["institutions"] = folded(change.institutions)
        return self.accounts.change(account_id, origin_of(principal), **asked)

    def set_expiry(self, principal: Principal, account_id: str, expires_at: datetime | None) -> Account:
        """Set the end of an account: the window of a vendor's support.

        Raises:
            AccessDenied, NotFound, UsageError: as ``change``.
        """
        self.access.permit(principal, Permission.ACCOUNT_CREATE)
        return self.accounts.set_expiry(account_id, expires_at, origin_of(principal))

    def disable(self, principal: Principal, account_id: str, reason: str) -> Account:
        """Turn somebody away: every session of theirs ends now.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
        """
        self.access.permit(principal, Permission.ACCOUNT_DISABLE)
        return self.accounts.disable(account_id, origin_of(principal), reason)

    def enable(self, principal: Principal, account_id: str) -> Account:
        """Let somebody in again.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
        """
        self.access.permit(principal, Permission.ACCOUNT_CREATE)
        return self.accounts.enable(account_id, origin_of(principal))

    def reset(self, principal: Principal, account_id: str, *, factors: bool) -> Secret:
        """Invite somebody to set a new password: forgotten, or compromised. Their sessions end.

        Args:
            principal: who does it, after making sure who asks.
            account_id: whose.
            factors: remove their second factors too: they were lost.

        Raises:
            AccessDenied: policy said no, to this or to what the account may do: whoever holds its invitation can be who
                it is for. So one that watches over the site, or keeps its keys, is reset by whoever may give its roles.
            NotFound: there is no such account.
            UsageError: an identity provider vouches for it.
        """
        self.access.permit(principal, Permission.ACCOUNT_RESET)
        account, origin = self._required(account_id), origin_of(principal)
        if self._is_above(account, principal):
            self.access.permit(principal, Permission.ROLE_ASSIGN)
        invitation = self.invitations.for_account(account_id, origin)
        self.passwords.remove(account, origin)
        if factors:
            self.factors.reset(account, origin)
        self.unlock(account_id)
        self.sessions.end_all(account_id, origin, _ENDED)
        return invitation

    # --- DIMSE ---------------------------------------------------------------------------------------------------

    def set_passcode(self, principal: Principal, account_id: str, passcode: Secret) -> None:
        """Set the passcode that the account shows inside an association (PS3.7 D.3.3.7, type 2).

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
            UsageError: it is too easy.
        """
        self.access.permit(principal, Permission.ACCOUNT_RESET)
        self.passwords.set_passcode(self._required(account_id), passcode, origin_of(principal))

    # --- sessions ------------------------------------------------------------------------------------------------

    def all_sessions(self, principal: Principal) -> tuple[Session, ...]:
        """Return every session that has not ended.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.SESSION_LIST)
        return self.sessions.all()

    def end_session(self, principal: Principal, session_id: str) -> None:
        """End somebody's session now.

        Raises:
            AccessDenied: policy said no.
            NotFound: it has ended, or never was.
        """
        self.access.permit(principal, Permission.SESSION_END)
        if not self.sessions.end(session_id, origin_of(principal), _ENDED):
            raise NotFound("no such session")

    def end_sessions_of(self, principal: Principal, account_id: str) -> int:
        """End every session of an account; return how many.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account.
        """
        self.access.permit(principal, Permission.SESSION_END)
        self._required(account_id)
        return self.sessions.end_all(account_id, origin_of(principal), _ENDED)

    # --- inside --------------------------------------------------------------------------------------------------

    def _is_above(self, account: Account, principal: Principal) -> bool:
        """Tell whether an account watches, keeps keys or administers beyond what the principal does."""
        roles = set(account.roles) - set(principal.roles)
        beyond = replace(account, roles=tuple(sorted(roles)))
        return not (KEYS | WATCHES).isdisjoint(roles) or self.invitations.is_administrator(beyond)

    def _required(self, account_id: str) -> Account:
        account = self.accounts.get(account_id)
        if account is None:
            raise NotFound("there is no account of that id")
        return account
