"""Is somebody still who they were a moment ago? Asked before every decision.

**Invariant:** a principal whose device, account, session or token is gone has no rights, whatever it was told before.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from leadglass.base.clock import Clock
from leadglass.trust.identity.interfaces import AccessTokens, AccountDirectory, DeviceDirectory
from leadglass.trust.identity.models import Principal
from leadglass.trust.identity.sessions import SessionStore

_AS_THEY_ARE: Final = frozenset({"operator", "service"})

BreakGlass = Callable[[str], str]
"""Returns the id of the emergency access that is in force for a principal id; empty for none."""


def no_break_glass(_principal_id: str) -> str:
    """Where nobody keeps emergency access, there is none."""
    return ""


class RegisteredStanding:
    """Implements ``identity.interfaces.Standing`` on what a site knows. Thread-safe; reads memory only.

    Args:
        devices: the registry of devices.
        accounts: the accounts of people.
        sessions: theirs; None where there are no doors that know sessions.
        tokens: of services and scripts; None where there are none.
        clock: of the site.
        break_glass: emergency access in force, so that one that ended is over with the next decision.
    """

    def __init__(
        self,
        devices: DeviceDirectory,
        accounts: AccountDirectory,
        sessions: SessionStore | None,
        tokens: AccessTokens | None,
        clock: Clock,
        break_glass: BreakGlass = no_break_glass,
    ) -> None:
        self._devices = devices
        self._accounts = accounts
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._break_glass = break_glass

    def current(self, principal: Principal) -> Principal | None:
        """Return the principal with the roles and limits it has now. See ``Standing.current``."""
        kind, _, name = principal.principal_id.partition(":")
        if kind == "device":
            device = self._devices.by_id(name)
            return None if device is None else _with_roles(principal, tuple(r.value for r in device.roles))
        if kind == "user":
            return self._user(principal, name)
        if kind == "client":
            return None if self._tokens is None else self._tokens.current(principal)
        return principal if kind in _AS_THEY_ARE else None

    def _user(self, principal: Principal, account_id: str) -> Principal | None:
        account = self._accounts.get(account_id)
        if account is None or not account.usable(self._clock.now()):
            return None
        circumstances = principal.circumstances
        if circumstances.session_id and (
            self._sessions is None or not self._sessions.stands(circumstances.session_id)
        ):
            return None
        through_roles: tuple[str, ...] = ()
        if principal.through:
            device = self._devices.by_id(principal.through.partition(":")[2])
            if device is None:
                return None
            through_roles = tuple(role.value for role in device.roles)
        emergency = self._break_glass(principal.principal_id)
        told = (
            principal.roles,
            principal.through_roles,
            principal.devices,
            principal.institutions,
            principal.known_as,
            circumstances.break_glass,
        )
        true = (
            account.roles,
            through_roles,
            account.devices,
            account.institutions,
            account.known_as,
            emergency,
        )
        if told == true:
            return principal
        return replace(
            principal,
            roles=account.roles,
            through_roles=through_roles,
            devices=account.devices,
            institutions=account.institutions,
            known_as=account.known_as,
            circumstances=replace(circumstances, break_glass=emergency),
        )


def _with_roles(principal: Principal, roles: tuple[str, ...]) -> Principal:
    return principal if principal.roles == roles else replace(principal, roles=roles)
