"""Services and scripts as administrators see them: OAuth clients."""

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.administration.services import NewClient, ServiceClients, fingerprint_of
from leadglass.doors.console.accounts import ReasonAsked
from leadglass.doors.console.bodies import body_of, described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.clients import Client

_TAG: Final = "clients"


class ClientShown(msgspec.Struct, frozen=True):
    """A client as the API shows it; see ``identity.clients.Client``. Nothing in it is secret."""

    client: str
    owner: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    description: str
    jwks: str
    certificate_sha256: tuple[str, ...]
    bound: bool
    devices: tuple[str, ...]
    institutions: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    disabled: bool


class ClientAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new client: keys as a JWK Set, certificates as PEM; one of the two at least."""

    client: str
    owner: str
    scopes: tuple[str, ...]
    expires_at: datetime
    roles: tuple[str, ...] = ("client",)
    jwks: str = ""
    certificates: tuple[str, ...] = ()
    bound: bool = False
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    description: str = ""


class ClientChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed; what is absent stays."""

    owner: str | None = None
    expires_at: datetime | None = None
    jwks: str | None = None
    certificates: tuple[str, ...] | None = None


def shown_client(client: Client) -> ClientShown:
    """Return a client as the API and the command line show it."""
    return ClientShown(
        client=client.client_id,
        owner=client.owner,
        roles=client.roles,
        scopes=client.scopes,
        description=client.description,
        jwks=client.jwks,
        certificate_sha256=client.certificate_sha256,
        bound=client.bound,
        devices=client.devices,
        institutions=client.institutions,
        created_at=client.created_at,
        expires_at=client.expires_at,
        disabled=client.disabled_at is not None,
    )


class ClientDoor:
    """Handlers."""

    def __init__(self, services: ServiceClients) -> None:
        self._services = services

    async def list(self, request: Request) -> Response:
        """List clients."""
        clients = await in_thread(self._services.list, principal_of(request))
        return json_response({"clients": [shown_client(client) for client in clients]})

    async def get(self, request: Request) -> Response:
        """Show one."""
        client = await in_thread(self._services.get, principal_of(request), _client(request))
        return json_response(shown_client(client))

    async def enrol(self, request: Request) -> Response:
        """Enrol one."""
        asked = await body_of(request, ClientAsked)

        def enrol() -> Client:
            new = NewClient(
                client_id=asked.client,
                owner=asked.owner,
                scopes=asked.scopes,
                expires_at=asked.expires_at,
                roles=asked.roles,
                jwks=asked.jwks,
                certificate_sha256=tuple(fingerprint_of(pem) for pem in asked.certificates),
                bound=asked.bound,
                devices=asked.devices,
                institutions=asked.institutions,
                description=asked.description,
            )
            return self._services.enrol(principal_of(request), new)

        return json_response(shown_client(await in_thread(enrol)), 201)

    async def change(self, request: Request) -> Response:
        """Let somebody else answer for it, give it longer, or change what proves it."""
        asked = await body_of(request, ClientChange)

        def change() -> Client:
            prints = None
            if asked.certificates is not None:
                prints = tuple(fingerprint_of(pem) for pem in asked.certificates)
            return self._services.change(
                principal_of(request),
                _client(request),
                owner=asked.owner,
                expires_at=asked.expires_at,
                jwks=asked.jwks,
                certificate_sha256=prints,
            )

        return json_response(shown_client(await in_thread(change)))

    async def disable(self, request: Request) -> Response:
        """Turn it away."""
        asked = await body_of(request, ReasonAsked)
        arguments = (principal_of(request), _client(request), asked.reason)
        return json_response(shown_client(await in_thread(self._services.disable, *arguments)))


def _client(request: Request) -> str:
    return str(request.path_params["client"])


def endpoints(services: ServiceClients) -> list[Endpoint]:
    """Return the endpoints of services and scripts."""
    door = ClientDoor(services)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    one = "/clients/{client}"
    return [
        at("GET", "/clients", door.list, "List services and scripts"),
        at("POST", "/clients", door.enrol, "Enrol a service or script", ClientAsked, "201"),
        at("GET", one, door.get, "Show one"),
        at("PUT", one, door.change, "Change who answers for it, its end, or what proves it", ClientChange),
        at("POST", f"{one}/disable", door.disable, "Turn it away for good", ReasonAsked),
    ]
