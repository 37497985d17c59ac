"""Breaking the glass: a signed-in person asks, somebody else looks at it afterwards."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.administration.emergencies import Emergencies
from leadglass.base.secret import Phi
from leadglass.doors.console.bodies import body_of, described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.policy.break_glass import Emergency

_TAG: Final = "emergency access"


class EmergencyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, and what for: one study, by UID, or one patient's studies, by Patient ID."""

    justification: str
    study: str = ""
    patient_id: str = ""


class FindingAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a review found."""

    justified: bool
    finding: str


def shown_emergency(emergency: Emergency) -> dict[str, Any]:
    """Return one as JSON, reason and finding included: for its person and for reviewers."""
    shown: dict[str, Any] = msgspec.to_builtins(emergency)
    renamed = {"access_id": "id", "principal_id": "principal", "study_uid": "study", "session_id": "session"}
    return {renamed.get(name, name): value for name, value in shown.items()}


class EmergencyDoor:
    """Handlers."""

    def __init__(self, emergencies: Emergencies) -> None:
        self._emergencies = emergencies

    async def begin(self, request: Request) -> Response:
        """Break the glass."""
        asked = await body_of(request, EmergencyAsked)

        def begin() -> Emergency:
            return self._emergencies.begin(
                principal_of(request),
                Phi(asked.justification),
                study_uid=asked.study,
                patient_id=asked.patient_id,
            )

        return json_response(shown_emergency(await in_thread(begin)), 201)

    async def mine(self, request: Request) -> Response:
        """List one's own that are in force or wait for review."""
        found = await in_thread(self._emergencies.mine, principal_of(request))
        return json_response({"emergencies": [shown_emergency(one) for one in found]})

    async def end(self, request: Request) -> Response:
        """End one before its time."""
        ended = await in_thread(self._emergencies.end, principal_of(request), _access(request))
        return json_response(shown_emergency(ended))

    async def waiting(self, request: Request) -> Response:
        """List all that are in force or wait for review."""
        found = await in_thread(self._emergencies.waiting, principal_of(request))
        return json_response({"emergencies": [shown_emergency(one) for one in found]})

    async def review(self, request: Request) -> Response:
        """Sign the review of somebody else's."""
        asked = await body_of(request, FindingAsked)

        def review() -> Emergency:
            return self._emergencies.review(
                principal_of(request), _access(request), Phi(asked.finding), justified=asked.justified
            )

        return json_response(shown_emergency(await in_thread(review)))


def _access(request: Request) -> str:
    return str(request.path_params["emergency"])


def endpoints(emergencies: Emergencies) -> list[Endpoint]:
    """Return the endpoints of emergency access."""
    door = EmergencyDoor(emergencies)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    one = "/break-glass/{emergency}"
    return [
        at("POST", "/break-glass", door.begin, "Break the glass", EmergencyAsked, "201"),
        at("GET", "/break-glass", door.mine, "List one's own emergency accesses"),
        at("GET", "/break-glass/waiting", door.waiting, "List emergency accesses that wait for review"),
        at("POST", f"{one}/end", door.end, "End an emergency access"),
        at("POST", f"{one}/review", door.review, "Sign a review", FindingAsked),
    ]
