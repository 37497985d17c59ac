"""People as administrators see them: accounts, roles, invitations, sessions."""

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.administration.people import AccountChange, NewAccount, People
from leadglass.base.secret import Secret
from leadglass.doors.console.bodies import body_of, described, json_response, no_content
from leadglass.doors.console.sign_in import BASE, shown_session
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.interfaces import FactorDirectory
from leadglass.trust.identity.models import Account, AccountKind, Factor

_TAG: Final = "people"


class AccountShown(msgspec.Struct, frozen=True):
    """An account as the API shows it; see ``identity.models.Account``."""

    account: str
    display_name: str
    roles: tuple[str, ...]
    kind: AccountKind
    devices: tuple[str, ...]
    institutions: tuple[str, ...]
    known_as: tuple[str, ...]
    email: str
    issuer: str
    factors: tuple[Factor, ...]
    created_at: datetime
    expires_at: datetime | None
    disabled: bool


class RolesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These roles and no others."""

    roles: tuple[str, ...]


class ReasonAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, in words; no patient in them."""

    reason: str


class ResetAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether second factors are removed too."""

    factors: bool = False


class AccountDoor:
    """Handlers."""

    def __init__(self, people: People, factors: FactorDirectory) -> None:
        self._people = people
        self._factors = factors

    async def list(self, request: Request) -> Response:
        """List accounts."""

        def listed() -> Response:
            # Beside the loop: the factors of each are looked up in the database.
            found = self._people.list(principal_of(request))
            return json_response({"accounts": [self._shown(account) for account in found]})

        return await in_thread(listed)

    async def get(self, request: Request) -> Response:
        """Show one."""
        return json_response(
            self._shown(await in_thread(self._people.get, principal_of(request), _account(request)))
        )

    async def create(self, request: Request) -> Response:
        """Make one; the invitation is shown this once."""
        new = await body_of(request, NewAccount)
        account, invitation = await in_thread(self._people.create, principal_of(request), new)
        return json_response({"account": self._shown(account), "invitation": _text(invitation)}, 201)

    async def change(self, request: Request) -> Response:
        """Change what it sees, and what it is called."""
        asked = await body_of(request, AccountChange)
        arguments = (principal_of(request), _account(request), asked)
        return json_response(self._shown(await in_thread(self._people.change, *arguments)))

    async def set_roles(self, request: Request) -> Response:
        """Give these roles and no others."""
        asked = await body_of(request, RolesAsked)
        arguments = (principal_of(request), _account(request), asked.roles)
        return json_response(self._shown(await in_thread(self._people.set_roles, *arguments)))

    async def disable(self, request: Request) -> Response:
        """Turn somebody away."""
        asked = await body_of(request, ReasonAsked)
        arguments = (principal_of(request), _account(request), asked.reason)
        return json_response(self._shown(await in_thread(self._people.disable, *arguments)))

    async def enable(self, request: Request) -> Response:
        """Let somebody in again."""
        account = await in_thread(self._people.enable, principal_of(request), _account(request))
        return json_response(self._shown(account))

    async def reset(self, request: Request) -> Response:
        """Invite somebody to set a new password; shown this once."""
        asked = await body_of(request, ResetAsked)

        def reset() -> Secret:
            return self._people.reset(principal_of(request), _account(request), factors=asked.factors)

        return json_response({"invitation": _text(await in_thread(reset))})

    async def sessions(self, request: Request) -> Response:
        """List every session."""
        sessions = await in_thread(self._people.all_sessions, principal_of(request))
        return json_response({"sessions": [shown_session(session) for session in sessions]})

    async def end_session(self, request: Request) -> Response:
        """End somebody's session."""
        wanted = str(request.path_params["session"])
        await in_thread(self._people.end_session, principal_of(request), wanted)
        return no_content()

    async def end_sessions_of(self, request: Request) -> Response:
        """End every session of an account."""
        ended = await in_thread(self._people.end_sessions_of, principal_of(request), _account(request))
        return json_response({"ended": ended})

    def _shown(self, account: Account) -> AccountShown:
        return shown_account(account, self._factors)


def shown_account(account: Account, factors: FactorDirectory) -> AccountShown:
    """Return an account as the API and the command line show it."""
    return AccountShown(
        account=account.account_id,
        display_name=account.display_name,
        roles=account.roles,
        kind=account.kind,
        devices=account.devices,
        institutions=account.institutions,
        known_as=account.known_as,
        email=account.email,
        issuer=account.issuer,
        factors=factors.factors_of(account.account_id),
        created_at=account.created_at,
        expires_at=account.expires_at,
        disabled=account.disabled_at is not None,
    )


def _account(request: Request) -> str:
    return str(request.path_params["account"])


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal().decode("ascii")


def endpoints(people: People, factors: FactorDirectory) -> list[Endpoint]:
    """Return the endpoints of people."""
    door = AccountDoor(people, factors)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    one = "/accounts/{account}"
    return [
        at("GET", "/accounts", door.list, "List accounts"),
        at("POST", "/accounts", door.create, "Make an account", NewAccount, "201"),
        at("GET", one, door.get, "Show an account"),
        at("PUT", one, door.change, "Change an account", AccountChange),
        at("PUT", f"{one}/roles", door.set_roles, "Give roles", RolesAsked),
        at("POST", f"{one}/disable", door.disable, "Disable an account", ReasonAsked),
        at("POST", f"{one}/enable", door.enable, "Enable an account"),
        at("POST", f"{one}/reset", door.reset, "Invite to a new password", ResetAsked),
        at("DELETE", f"{one}/sessions", door.end_sessions_of, "End every session of an account"),
        at("GET", "/sessions", door.sessions, "List sessions"),
        at("DELETE", "/sessions/{session}", door.end_session, "End a session", ok="204"),
    ]
