"""Is somebody still who they were a moment ago? Asked before every decision.

**Invariant:** a principal whose device or account is gone has no rights, whatever it was told before.
"""

from dataclasses import replace

from leadglass.trust.identity.models import Principal
from leadglass.trust.identity.registry import DeviceRegistry
from leadglass.trust.identity.users import UserRegistry


class RegisteredStanding:
    """Implements ``identity.interfaces.Standing`` on the registries of a site. Thread-safe."""

    def __init__(self, devices: DeviceRegistry, users: UserRegistry) -> None:
        self._devices = devices
        self._users = users

    def current(self, principal: Principal) -> Principal | None:
        """Return the principal with the roles it has now. See ``Standing.current``."""
        kind, _, name = principal.principal_id.partition(":")
        if kind == "device":
            device = self._devices.by_id(name)
            return None if device is None else replace(principal, roles=tuple(r.value for r in device.roles))
        if kind == "user":
            user = self._users.get(name)
            device = self._devices.by_id(principal.through.partition(":")[2]) if principal.through else None
            if user is None or (principal.through and device is None):
                return None
            through = () if device is None else tuple(r.value for r in device.roles)
            return replace(principal, roles=tuple(r.value for r in user.roles), through_roles=through)
        return principal
