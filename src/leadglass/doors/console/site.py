"""The node and what is connected to it: its state, its devices, its identity providers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.doors.console.bodies import described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.models import Principal

_TAG: Final = "site"

Report = Callable[[Principal], Mapping[str, object]]
"""Asks policy, and says how something stands. Raises AccessDenied."""


@dataclass(frozen=True, slots=True)
class SiteReports:
    """What the node says of itself; the same that its command line prints.

    Attributes:
        status: what is held, who holds the keys, what needs attention.
        devices: enrolled ones, and every certificate with its end.
        identity_test: what is wrong with the set-up of identity providers.
    """

    status: Report
    devices: Report
    identity_test: Report


def endpoints(reports: SiteReports) -> list[Endpoint]:
    """Return the endpoints of the node's own state."""

    def told(report: Report) -> Handler:
        async def handler(request: Request) -> Response:
            return json_response(await in_thread(report, principal_of(request)))

        return handler

    def at(method: str, path: str, report: Report, summary: str) -> Endpoint:
        return Endpoint(method, BASE + path, told(report), described(summary, _TAG))

    return [
        at("GET", "/status", reports.status, "What is held, who holds the keys, what needs attention"),
        at("GET", "/devices", reports.devices, "List devices and certificates"),
        # It asks other machines: nothing that a page should cause by being looked at.
        at("POST", "/identity-test", reports.identity_test, "Say what is wrong with single sign-on"),
    ]
