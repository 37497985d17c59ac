"""The server and its description, fuzzed: whatever the description allows, and what it does not, is answered as it says.

No 5xx, no answer that the description does not know, no body that is not as described. ``LEADGLASS_FUZZ_EXAMPLES`` asks each
operation so many questions of each kind; a run of the suite has time for one.
"""

import os
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from doors.console.signed_in import API
from hostile.web import WEB, WebNode

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("LEADGLASS_FUZZ_EXAMPLES", "1"))
_ENDING = {f"{API}/sign-out", f"{API}/lock"}
"""Would end what the test comes in with; ``test_routes`` has them."""


@pytest.fixture(scope="module", params=["administrator", "radiologist", "ws1", "ct1"])
def session(request: pytest.FixtureRequest, served: WebNode) -> Iterator[requests.Session]:
    """Somebody to ask as."""
    who: str = request.param
    with requests.Session() as made:
        made.trust_env = False
        made.verify = str(served.node.paths.authority)
        if who in served.people:
            cookie = served.people[who].client.cookies["__Host-leadglass"]
            made.headers["Origin"] = served.origin
            made.headers["X-Leadglass-CSRF"] = "1"
            made.headers["Cookie"] = f"__Host-leadglass={cookie}"
        else:
            device = served.devices[who]
            made.cert = (str(device.certificate), str(device.key))
        yield made


def test_every_operation_does_what_its_description_says(served: WebNode, session: requests.Session) -> None:
    document = session.get(f"{served.origin}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    wrong: dict[str, str] = {}
    asked = 0
    person = "Cookie" in session.headers
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path in _ENDING or not (person or operation.path.startswith((WEB, "/wado"))):
            continue
        for mode in schemathesis.GenerationMode:
            try:
                asked += _ask(served, session, operation.as_strategy(generation_mode=mode))
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - all are told at once
                if "Unsatisfiable" in type(error).__name__:
                    continue
                wrong[f"{operation.method} {operation.path} {mode.name}"] = "".join(
                    traceback.format_exception_only(error)
                )[:900]
    told = "\n\n".join(f"{operation}: {what}" for operation, what in wrong.items())
    assert not wrong, told
    assert asked > 60  # one question of each kind to each operation; a device knows fewer bodies


def _ask(served: WebNode, session: requests.Session, cases: "st.SearchStrategy[Any]") -> int:
    asked = 0

    @seed(20260102)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(case=cases)
    def ask(case: Any) -> None:  # noqa: ANN401 - of schemathesis
        nonlocal asked
        asked += 1
        response = case.call(
            base_url=served.origin, session=session, timeout=30, verify=session.verify, cert=session.cert
        )
        case.validate_response(
            response,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ],
        )

    ask()
    return asked
