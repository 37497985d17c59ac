"""From where a request comes, for those who sign in and those who administer."""

from starlette.requests import Request

from leadglass.doors.https.endpoints import PRINCIPAL_KEY
from leadglass.doors.https.gate import ADDRESS_KEY
from leadglass.doors.https.problems import CORRELATION_KEY
from leadglass.doors.https.protocol import TLS_KEY
from leadglass.trust.certs.tls import TLSFacts
from leadglass.trust.identity.models import Origin, Principal


def origin_of(request: Request) -> Origin:
    """Return what the server knows of where a request comes from."""
    scope = request.scope
    tls, principal = scope[TLS_KEY], scope.get(PRINCIPAL_KEY)
    assert isinstance(tls, TLSFacts)
    return Origin(
        address=str(scope[ADDRESS_KEY]),
        certificate_sha256=tls.certificate_sha256,
        posture=principal.circumstances.posture if isinstance(principal, Principal) else "",
        correlation_id=str(scope[CORRELATION_KEY]),
    )
