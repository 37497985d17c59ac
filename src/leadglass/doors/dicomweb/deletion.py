"""DELETE on a study, a series or an instance: it is hidden, and can be restored inside the site's window.

The standard has no such transaction for studies; these are the requests that other archives and their clients have. Why
something is deleted stands in the header ``Deletion-Reason``, not in the URL, which proxies write down.
"""

from typing import Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from leadglass.base.errors import OutOfResources, RequestRefused
from leadglass.base.ids import UID
from leadglass.doors.dicomweb.services import ROOT, Services, uid_in_path
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.models import Principal
from leadglass.wire.dicomweb.media_types import PROBLEM_JSON

REASON_HEADER: Final = "deletion-reason"
_NO_REASON: Final = "deleted over DICOMweb; no reason was given"

_LEVELS: Final = ("study", "series", "instance")


def _delete(services: Services, principal: Principal, uids: list[UID], reason: str) -> None:
    study_uid, series_uid, sop_instance_uid = [*uids, None, None][:3]
    assert study_uid is not None
    try:
        services.deletions.delete(principal, study_uid, series_uid, sop_instance_uid, reason=reason)
    except OutOfResources as error:
        raise RequestRefused(str(error), http_status=429) from error


def _operation(names: tuple[str, ...]) -> dict[str, object]:
    problem = {"content": {PROBLEM_JSON: {"schema": {"type": "object"}}}}
    uid = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$", "maxLength": 64}
    parameters: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "description": f"UID of the {name}", "schema": uid}
        for name in names
    ]
    parameters.append(
        {
            "name": "Deletion-Reason",
            "in": "header",
            "description": "why, percent-encoded UTF-8; kept sealed, and on record",
            "schema": {"type": "string"},
        }
    )
    return {
        "operationId": f"delete{names[-1].capitalize()}",
        "tags": ["Delete"],
        "summary": f"Delete: {names[-1]}; it can be restored for a while",
        "parameters": parameters,
        "responses": {
            "204": {"description": "nobody finds it any more"},
            "400": problem | {"description": "no UID, or a reason that is too long"},
            "401": problem | {"description": "a strong factor must be shown again first (RFC 9470)"},
            "403": problem | {"description": "not authorized to delete"},
            "404": problem | {"description": "nothing of that name is held"},
            "429": problem | {"description": "too much was deleted in the last hour"},
            "503": problem | {"description": "the audit log takes nothing; try again later"},
        },
    }


def _endpoint(services: Services, depth: int) -> Endpoint:
    names = _LEVELS[:depth]

    async def delete(request: Request) -> Response:
        uids = [uid_in_path(request, name) for name in names]
        reason = unquote(request.headers.get(REASON_HEADER, "")).strip() or _NO_REASON
        await in_thread(_delete, services, principal_of(request), uids, reason)
        return Response(status_code=204)

    path = "/studies/{study}" + "/series/{series}" * (depth > 1) + "/instances/{instance}" * (depth > 2)
    return Endpoint("DELETE", ROOT + path, delete, _operation(names))


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoints of deletion."""
    return [_endpoint(services, depth) for depth in (1, 2, 3)]
