"""Delivers storage commitment reports: N-EVENT-REPORT to the device that asked. Source: PS3.4 J.3.3, PS3.7 10.1.1."""

from dataclasses import replace
from typing import Final

from leadglass.archive.commitment import PendingReport
from leadglass.base.errors import LeadglassError, PeerRefused, PeerUnreachable
from leadglass.dicom.commitment import CommitmentEvent, build_event
from leadglass.doors.dimse.connection import Connection
from leadglass.doors.dimse.requestor import Peer, associate
from leadglass.doors.dimse.services import Services
from leadglass.trust.identity.models import Device, Principal
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import NEventReportRQ, NEventReportRSP
from leadglass.wire.dimse.status import StatusCategory, category
from leadglass.wire.dimse.uids import (
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
)
from leadglass.wire.ul.pdu import PresentationContextRQ, RoleSelection

_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_MESSAGE_ID: Final = 1


def send_report(
    services: Services, connection: Connection, context_id: int, event: CommitmentEvent, message_id: int
) -> None:
    """Send one report on an open association.

    Raises:
        PeerUnreachable: the association ended.
    """
    syntax = connection.association.contexts[context_id].transfer_syntax
    data = build_event(replace(event, retrieve_ae_title=services.ae_title), syntax)
    connection.send_message(
        context_id,
        NEventReportRQ(
            message_id,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
            event.event_type_id,
            has_dataset=True,
        ),
        (data,),
    )


def objection_of(response: NEventReportRSP) -> str:
    """Return why the device did not take its report; an empty text when it did."""
    if category(response.status) in {StatusCategory.SUCCESS, StatusCategory.WARNING}:
        return ""
    return f"the device answered the report with {response.status:04X}H"


def _deliver_on(services: Services, connection: Connection, context_id: int, event: CommitmentEvent) -> None:
    send_report(services, connection, context_id, event, _MESSAGE_ID)
    answer = connection.next_event()
    if not isinstance(answer, CommandReceived):
        raise PeerUnreachable("the device ended the association instead of taking its report")
    if answer.has_dataset:
        connection.small_dataset()
    if not isinstance(answer.message, NEventReportRSP):
        raise PeerRefused("the device answered something else than N-EVENT-REPORT")
    if reason := objection_of(answer.message):
        raise PeerRefused(reason)


class CommitmentDelivery:
    """Delivers what is due to devices that listen, on associations of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def deliver_due(self) -> None:
        """Try each report that is due once; what fails is tried again later."""
        for pending in self._services.commitment.due():
            try:
                self._deliver(pending)
            except LeadglassError as error:
                self._services.commitment.settle(pending, str(error))
            else:
                self._services.commitment.settle(pending, "")

    def _deliver(self, pending: PendingReport) -> None:
        services = self._services
        device = services.directory.by_id(pending.request.device_id)
        if device is None or not device.host:
            raise PeerRefused("the device is not enrolled as a listener any more")
        principal = Principal(
            principal_id=f"device:{device.device_id}",
            roles=tuple(role.value for role in device.roles),
            ae_title=device.ae_title,
            correlation_id=pending.request.correlation_id,
        )
        event = services.commitment.evaluate(principal, pending.request)
        context = PresentationContextRQ(1, STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS, _SYNTAXES)
        # We are SCP of the class but request the association: PS3.4 J.3.3 asks for role selection.
        role = RoleSelection(STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS, scu=False, scp=True)
        with associate(
            self._peer(device), (context,), clock=services.clock, local=services.local, roles=(role,)
        ) as connection:
            if 1 not in connection.association.contexts:
                raise PeerRefused("the device does not take storage commitment reports")
            _deliver_on(services, connection, 1, event)

    def _peer(self, device: Device) -> Peer:
        return Peer(
            host=device.host,
            port=device.port,
            called_ae_title=device.ae_title,
            calling_ae_title=self._services.ae_title,
            tls=self._services.client_tls(device),
            fingerprints=device.certificate_sha256,
        )
