"""The HTTPS side of a node: which doors there are, who comes in, and what is put on record of those who do not."""

import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from leadglass.app.compose import SERVICE, Node
from leadglass.app.failures import report_failure
from leadglass.app.operations.devices import device_report
from leadglass.app.operations.identity_test import identity_report
from leadglass.app.operations.status import status_report
from leadglass.archive.access import actor_of
from leadglass.base.secret import Secret
from leadglass.doors.console import (
    accounts,
    clients,
    deletions,
    emergencies,
    federation,
    policies,
    relations,
    reviews,
    sign_in,
)
from leadglass.doors.console import site as site_state
from leadglass.doors.console.federation import OIDC_BEGIN, SAML_BEGIN, FederationServices
from leadglass.doors.console.services import SignInServices
from leadglass.doors.dicomweb import capabilities, deletion, qido, rendered, stow, wado, wado_uri, worklist
from leadglass.doors.dicomweb.services import Services
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.refusals import Refusal
from leadglass.doors.https.server import HTTPSServer
from leadglass.trust.audit.interfaces import AuditEvent, EventCode, Outcome
from leadglass.trust.identity.federation.models import LogoutRequest
from leadglass.trust.identity.models import Origin
from leadglass.trust.identity.throttle import AddressBuckets

_SIGNED_OUT_THERE: Final = "signed out at the identity provider"
_REFUSALS_NOTED: Final = 30.0
_REFUSALS_NOTED_PER_SECOND: Final = 0.1


def https_server(node: Node, context: Callable[[], ssl.SSLContext]) -> HTTPSServer:
    """Return the server of DICOMweb and the console's API, not started yet.

    Args:
        node: open.
        context: makes the TLS context of new connections, at the start and at every reload.
    """
    settings = node.settings.web
    return HTTPSServer(
        settings.host,
        settings.port,
        context,
        endpoints_of(node),
        node.identity.authenticator,
        HTTPSOptions(
            names=node.settings.site.names,
            public_port=settings.public_port,
            origins=settings.origins,
            proxies=settings.proxies,
            access_log=settings.access_log,
            security_contact=settings.security_contact,
        ),
        node.clock,
        lambda refusal: _record_refusal(node, refusal),
        standing=node.access.standing,
        on_failure=report_failure,
    )


def endpoints_of(node: Node) -> Sequence[Endpoint | WebSocketEndpoint]:
    """Return every endpoint of the node."""
    services = Services(
        access=node.access,
        ingest=node.ingest,
        finder=node.finder,
        reader=node.reader,
        renderer=node.renderer,
        deletions=node.deletions,
        clock=node.clock,
        storage_sop_classes=node.storage_sop_classes,
        transfer_syntaxes=node.transfer_syntaxes,
    )
    dicomweb = [
        *stow.endpoints(services),
        *qido.endpoints(services),
        *wado.endpoints(services),
        *rendered.endpoints(services),
        *wado_uri.endpoints(services),
        *deletion.endpoints(services),
    ]
    return [
        *dicomweb,
        *capabilities.endpoints(services, dicomweb),
        *worklist.endpoints(worklist.WorklistServices(node.worklist)),
        *sign_in.endpoints(
            SignInServices(
                node.identity.sign_in,
                node.identity.sessions,
                node.identity.accounts,
                node.identity.factors,
                node.identity.sign_in.redeem,
                partial(_redeem_first, node),
                _providers(node),
            )
        ),
        *federation.endpoints(_federation(node)),
        *clients.endpoints(node.services),
        *relations.endpoints(node.relations),
        *deletions.endpoints(node.deletions),
        *site_state.endpoints(
            site_state.SiteReports(
                partial(status_report, node), partial(device_report, node), partial(identity_report, node)
            )
        ),
        *accounts.endpoints(node.people, node.identity.factors),
        *policies.endpoints(node.policies),
        *emergencies.endpoints(node.emergencies),
        *reviews.endpoints(node.reviews),
    ]


def _providers(node: Node) -> dict[str, str]:
    ways = {"oidc": (node.federation.oidc, OIDC_BEGIN), "saml": (node.federation.saml, SAML_BEGIN)}
    return {name: path for name, (provider, path) in ways.items() if provider is not None}


def _federation(node: Node) -> FederationServices:
    # Anybody can come back with a wrong state: of one address a few a minute are put on record, so that nobody fills
    # the log with them.
    noted = AddressBuckets(node.clock, burst=_REFUSALS_NOTED, per_second=_REFUSALS_NOTED_PER_SECOND)

    def refused(reason: str, origin: Origin) -> None:
        if not noted.take(origin.address):
            node.identity.events.record(
                EventCode.AUTHENTICATION_FAILED, "", origin, success=False, facts={"reason": reason}
            )

    def signed_out(said: LogoutRequest, origin: Origin) -> bool:
        account = node.identity.accounts.by_subject(said.issuer, said.subject) if said.subject else None
        if account is not None:
            node.identity.sessions.end_all(account.account_id, origin, _SIGNED_OUT_THERE)
        return account is not None

    return FederationServices(
        node.identity.sign_in,
        node.identity.token_service,
        node.federation.believe,
        refused,
        signed_out,
        node.federation.oidc,
        node.federation.saml,
    )


def _redeem_first(
    node: Node, token: Secret, account_id: str, display_name: str, password: Secret, origin: Origin
) -> bool:
    made = node.identity.invitations.redeem_first(token, account_id, display_name, password, origin)
    return made is not None


def _record_refusal(node: Node, refusal: Refusal) -> None:
    node.audit.record(
        AuditEvent(
            code=EventCode.REQUEST_REFUSED,
            at=node.clock.now(),
            actor=actor_of(SERVICE),
            outcome=Outcome.MINOR_FAILURE,
            facts={"reason": refusal.reason, "address": refusal.address, "count": refusal.count},
            correlation_id=refusal.correlation_id,
        )
    )
