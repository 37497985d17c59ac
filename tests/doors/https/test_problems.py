"""Every error of the tree has an answer, and none of them says more than it may."""

import msgspec
import pytest

from leadglass.base import errors
from leadglass.base.errors import LeadglassError
from leadglass.doors.https.problems import CORRELATION_KEY, describe, error_response
from leadglass.doors.https.threads import BodyLost

STATUS = {
    "AccessDenied": 403,
    "AuditUnavailable": 503,
    "ConfigurationError": 500,
    "DatasetRefused": 409,
    "DuplicateObject": 409,
    "IdentifierRefused": 400,
    "IntegrityError": 500,
    "KeyUnavailable": 503,
    "LeadglassError": 500,
    "LocalProtocolError": 500,
    "NotFound": 404,
    "OutOfResources": 503,
    "PeerRefused": 502,
    "PeerUnreachable": 502,
    "ProtocolError": 500,
    "Refused": 409,
    "RemoteProtocolError": 500,
    "RequestRefused": 400,
    "StateConflict": 409,
    "StepUpRequired": 401,
    "UsageError": 400,
}
SAYS_WHY = {
    "DatasetRefused",
    "DuplicateObject",
    "IdentifierRefused",
    "RequestRefused",
    "StateConflict",
    "UsageError",
}

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LeadglassError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_answer(kind: type[LeadglassError]) -> None:
    response = error_response(kind("these words"), {CORRELATION_KEY: "c-1"})
    said = msgspec.json.decode(bytes(response.body))
    assert response.status_code == said["status"] == STATUS[kind.__name__]
    assert response.media_type == "application/problem+json"
    assert said["code"] == kind.code
    assert said["correlation_id"] == "c-1"
    assert (said.get("detail") == "these words") is (kind.__name__ in SAYS_WHY)
    assert ("retry-after" in response.headers) is (response.status_code == 503)
    assert ("www-authenticate" in response.headers) is (response.status_code == 401)


def test_a_body_that_was_lost_is_the_client_s_fault() -> None:
    assert describe(BodyLost("gone")).status == 408


def test_what_nobody_planned_says_nothing() -> None:
    problem = describe(ValueError("DOE^JANE"))
    assert (problem.status, problem.code, problem.detail, problem.hint) == (500, "LG-0001", "", "")
