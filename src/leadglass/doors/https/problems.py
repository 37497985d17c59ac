"""How an error looks from outside: one JSON document, the same for every door.

What a client learns of an error is its kind and a correlation id under which the audit log has the rest. Where more
would tell whether something exists or how we are built, the words are fixed: every NotFound is equal to every other,
whatever raised it, and an error of ours says nothing at all.

Source: RFC 9457; RFC 9110 15; RFC 9470 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    DatasetRefused,
    DuplicateObject,
    IdentifierRefused,
    IntegrityError,
    KeyUnavailable,
    LeadglassError,
    NotFound,
    OutOfResources,
    PeerRefused,
    PeerUnreachable,
    Refused,
    RequestRefused,
    StateConflict,
    StepUpRequired,
    UsageError,
)
from leadglass.doors.https.threads import BodyLost

MEDIA_TYPE: Final = "application/problem+json"
CORRELATION_KEY: Final = "leadglass.correlation_id"
"""Where the server puts the correlation id into the ASGI scope."""

_RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as a client sees it.

    Attributes:
        status: HTTP status.
        code: of the catalogue, ``LG-nnnn``.
        title: of the kind of error: the same each time.
        detail: of this one, in words of ours without PHI; empty where they would tell too much.
        hint: what the client can do about it.
        headers: that the answer needs: ``WWW-Authenticate``, ``Retry-After``.
    """

    status: int
    code: str
    title: str
    detail: str = ""
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def describe(error: BaseException) -> Problem:
    """Return what may be said of ``error``; an exception that nobody planned is a 500 without words."""
    match error:
        case StepUpRequired():
            challenge = (
                'Bearer error="insufficient_user_authentication", '
                f'error_description="A more recent strong authentication is required", max_age={error.max_age}'
            )
            return Problem(
                401, error.code, "Step-up authentication required", headers={"WWW-Authenticate": challenge}
            )
        case AccessDenied():
            return Problem(403, error.code, "Not authorized")
        case NotFound():
            return Problem(404, error.code, "Not found")
        case DatasetRefused() | DuplicateObject() | StateConflict():
            return Problem(409, error.code, "Refused as things stand", str(error), error.hint)
        case RequestRefused():
            return Problem(error.http_status, error.code, _phrase(error.http_status), str(error), error.hint)
        case IdentifierRefused() | UsageError():
            return Problem(400, error.code, "Bad request", str(error), error.hint)
        case OutOfResources() | AuditUnavailable() | KeyUnavailable():
            retry = {"Retry-After": str(_RETRY_SECONDS)}
            return Problem(503, error.code, "Temporarily unable to serve this", headers=retry)
        case IntegrityError():
            return Problem(500, error.code, "Stored data is damaged and is not served")
        case BodyLost():  # it hears this only if it still listens
            return Problem(408, error.code, "The request did not arrive in time")
        case PeerRefused() | PeerUnreachable():
            return Problem(502, error.code, "Another system did not do its part")
        case Refused():
            return Problem(409, error.code, "Refused as things stand")
        case LeadglassError():
            return Problem(500, error.code, "Internal error")
        case _:
            return Problem(500, LeadglassError.code, "Internal error")


def problem_response(problem: Problem, scope: Scope) -> Response:
    """Return the answer to the request of ``scope`` that reports ``problem``."""
    document: dict[str, object] = {
        "type": f"urn:leadglass:error:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "correlation_id": scope.get(CORRELATION_KEY, ""),
    }
    if problem.detail:
        document["detail"] = problem.detail
    if problem.hint:
        document["hint"] = problem.hint
    return Response(
        msgspec.json.encode(document), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def error_response(error: BaseException, scope: Scope) -> Response:
    """Return the answer that reports ``error``. The server does so with whatever a handler raises."""
    return problem_response(describe(error), scope)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Bad request"


PROBLEM_SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:leadglass:error:LG-[0-9]{4}$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "pattern": "^LG-[0-9]{4}$"},
        "correlation_id": {"type": "string"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
    },
}
"""Schema of the document, for the OpenAPI description."""
