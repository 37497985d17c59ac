"""Decides who may associate and for what, and hands each message to its service.

To accept an association we need (1) a verified client certificate, (2) that it, the calling AE title and the address
belong to one enrolled device that is not revoked, and that it wants one of our titles, (3) the DICOM application
context, (4) room, (5) a user identity that is not wrong, where one is presented, and (6) the acceptance on record.
What policy does not allow the device is not negotiated.

Source: PS3.8 7.1.1, PS3.7 Annex D, PS3.15 A.5.3.9.
"""

import secrets
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from leadglass.archive.access import actor_of
from leadglass.base.errors import AuditUnavailable, IntegrityError, LeadglassError, PeerUnreachable
from leadglass.base.objects import Origin
from leadglass.base.secret import Secret
from leadglass.doors.dimse import commitment_scp, find_scp, retrieve_scp, store_scp, verification_scp
from leadglass.doors.dimse.connection import Connection
from leadglass.doors.dimse.services import AssociationState, Services
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode, Outcome
from leadglass.trust.certs.tls import TLSFacts
from leadglass.trust.identity.models import PeerFacts, Principal, Unrecognised
from leadglass.trust.identity.registry import VERSION_FACT
from leadglass.trust.identity.user_identity import UserIdentityClaim, UserIdentityRefused
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    CStoreRQ,
    NActionRQ,
    NEventReportRSP,
)
from leadglass.wire.dimse.uids import STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS, VERIFICATION_SOP_CLASS
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.negotiation import Offer, Roles, negotiate, refusal
from leadglass.wire.ul.outputs import Aborted, AssociateRequested, ProtocolViolation, ReleaseRequested
from leadglass.wire.ul.pdu import AssociateRQ, ContextResult, SOPClassExtended, UserIdentityResponse

_IDENTIFIER_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Identifiers are small: Explicit, then Implicit VR Little Endian."""

_REJECT_TRANSIENT_CONGESTION: Final = (2, 3, 1)
"""rejected-transient, service-provider (presentation), temporary-congestion. Source: PS3.8 Table 9-21."""
_REJECT_NO_REASON: Final = (1, 1, 1)


class Acceptor:
    """Implements ``listener.ConnectionServer``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # --- what the listener tells -------------------------------------------------------------------------------

    def handshake_failed(self, address: str, reason: str) -> None:
        """Put a failed handshake on record; nothing was promised, so a failing log only means that we go on."""
        self._record_refusal(PeerFacts("", address, "", ""), reason, "", durable=False)

    def connection_refused(self, address: str, reason: str) -> None:
        """Put a connection that was closed before its handshake on record."""
        self._record_refusal(PeerFacts("", address, "", ""), reason, "", durable=False)

    def serve(self, sock: ssl.SSLSocket, address: str, tls: TLSFacts) -> None:
        """Serve one connection until it is over."""
        correlation_id = secrets.token_hex(8)
        connection = Connection(sock, Association(), self._services.clock)
        try:
            connection.perform(connection.association.transport_connected())
            event = connection.next_event()
            if not isinstance(event, AssociateRequested):
                reason = (
                    str(event.error)
                    if isinstance(event, ProtocolViolation)
                    else "no association was requested"
                )
                self._record_refusal(
                    PeerFacts(tls.certificate_sha256, address, "", "", tls.description),
                    reason,
                    correlation_id,
                )
                self._drain_quietly(connection)  # what ends it, A-ABORT among it, is sent as it is drawn
                return
            facts = PeerFacts(
                certificate_sha256=tls.certificate_sha256,
                address=address,
                calling_ae_title=event.rq.calling_ae_title,
                called_ae_title=event.rq.called_ae_title,
                tls=tls.description,
            )
            state = self._associate(connection, event.rq, facts, correlation_id)
            if state is not None:
                self._converse(state)
        except PeerUnreachable:
            pass  # before an association: nobody to tell; later: ``_converse`` has recorded the end
        except LeadglassError as error:
            # Before an association: a registry that is not what was written, say. Nobody is let in, and why is on record.
            peer = PeerFacts(tls.certificate_sha256, address, "", "", tls.description)
            self._record_refusal(peer, str(error), correlation_id)
            connection.abort()
        finally:
            connection.close()

    # --- association -------------------------------------------------------------------------------------------

    def _associate(
        self, connection: Connection, rq: AssociateRQ, facts: PeerFacts, correlation_id: str
    ) -> AssociationState | None:
        services = self._services
        try:
            found = services.directory.resolve(facts)
        except IntegrityError as error:
            self._reject(connection, facts, str(error), _REJECT_NO_REASON, correlation_id)
            return None
        if isinstance(found, Unrecognised):
            answer = (found.rj_result, found.rj_source, found.rj_reason)
            self._reject(connection, facts, found.reason, answer, correlation_id)
            return None
        principal = replace(found, correlation_id=correlation_id)
        if (rj := refusal(rq)) is not None:
            reason = "not the DICOM application context"
            self._reject(connection, facts, reason, (rj.result, rj.source, rj.reason), correlation_id)
            return None
        identity_response: UserIdentityResponse | None = None
        claimed = rq.user_information.user_identity
        if claimed is not None and services.users is not None:
            decided = services.users.decide(
                principal,
                UserIdentityClaim(
                    claimed.identity_type,
                    claimed.positive_response_requested,
                    claimed.primary,
                    claimed.secondary,
                ),
            )
            if isinstance(decided, UserIdentityRefused):
                answer = (decided.rj_result, decided.rj_source, decided.rj_reason)
                self._reject(connection, facts, decided.reason, answer, correlation_id)
                return None
            principal = replace(decided.principal, correlation_id=correlation_id)
            if decided.server_response is not None:
                identity_response = UserIdentityResponse(Secret(decided.server_response))
        return self._accept(connection, rq, facts, principal, identity_response)

    def _accept(
        self,
        connection: Connection,
        rq: AssociateRQ,
        facts: PeerFacts,
        principal: Principal,
        identity_response: UserIdentityResponse | None,
    ) -> AssociationState | None:
        services = self._services
        may_store = self._may(principal, Permission.INSTANCE_STORE)
        may_retrieve = self._may(principal, Permission.INSTANCE_RETRIEVE)
        relational: set[str] = set()

        def extended(asked: SOPClassExtended) -> SOPClassExtended | None:
            # First octet: relational queries (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1); the others are not supported.
            if asked.sop_class_uid in find_scp.SOP_CLASSES and asked.information:
                if asked.information[0] == 1:
                    relational.add(asked.sop_class_uid)
                answered = asked.information[:1] + bytes(len(asked.information) - 1)
                return SOPClassExtended(asked.sop_class_uid, answered)
            return None

        storage_role = Roles(scu=may_store, scp=may_retrieve)
        ac = negotiate(
            rq,
            self._offers(rq, principal, may_store=may_store, may_retrieve=may_retrieve),
            local=services.local,
            roles=dict.fromkeys(services.storage_sop_classes, storage_role)
            | {STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS: Roles(scu=True, scp=False)},
            extended=extended,
            user_identity_response=identity_response,
        )
        accepted = sum(context.result == ContextResult.ACCEPTANCE for context in ac.presentation_contexts)
        try:
            services.access.audit.record(
                AuditEvent(
                    code=EventCode.ASSOCIATION_ACCEPTED,
                    at=services.clock.now(),
                    actor=actor_of(principal),
                    facts={
                        VERSION_FACT: services.directory.version,
                        "contexts": accepted,
                        "of": len(rq.presentation_contexts),
                        "tls": facts.tls,
                    },
                    correlation_id=principal.correlation_id,
                )
            )
        except AuditUnavailable:
            connection.perform(connection.association.reject(*_REJECT_TRANSIENT_CONGESTION))
            self._drain(connection)
            return None
        connection.perform(connection.association.accept(ac))
        origin = Origin(
            principal=principal.principal_id,
            calling_ae_title=facts.calling_ae_title,
            called_ae_title=facts.called_ae_title,
            address=facts.address,
            certificate_sha256=facts.certificate_sha256,
            received_at=services.clock.now(),
            correlation_id=principal.correlation_id,
        )
        return AssociationState(connection, principal, facts, rq, origin, relational=frozenset(relational))

    def _offers(
        self, rq: AssociateRQ, principal: Principal, *, may_store: bool, may_retrieve: bool
    ) -> Mapping[str, Offer]:
        """Return what we say to each proposed abstract syntax; what policy denies is a user rejection."""
        services = self._services
        offers: dict[str, Offer] = {}
        may_query = self._may(principal, Permission.STUDY_QUERY)
        may_move = self._may(principal, Permission.INSTANCE_MOVE)
        may_commit = self._may(principal, Permission.COMMITMENT_REQUEST)
        may_echo = self._may(principal, Permission.ASSOCIATION_ECHO)
        for context in rq.presentation_contexts:
            uid = context.abstract_syntax
            allowed: bool
            syntaxes: tuple[str, ...] = _IDENTIFIER_SYNTAXES
            if uid == VERIFICATION_SOP_CLASS:
                allowed = may_echo
            elif uid in find_scp.SOP_CLASSES:
                allowed = may_query
            elif uid in retrieve_scp.MOVE_SOP_CLASSES:
                allowed = may_move
            elif uid in retrieve_scp.GET_SOP_CLASSES:
                allowed = may_retrieve
            elif uid == STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS:
                allowed = may_commit
            elif uid in services.storage_sop_classes:
                allowed = may_store or may_retrieve
                syntaxes = self._storage_syntaxes(rq, uid)
            else:
                continue
            offers[uid] = syntaxes if allowed else ContextResult.USER_REJECTION
        return offers

    def _storage_syntaxes(self, rq: AssociateRQ, abstract_syntax: str) -> tuple[str, ...]:
        """Return the known transfer syntaxes in the requestor's own order.

        Objects are stored as sent, so the requestor's first choice is the one that loses nothing.
        """
        proposed = (
            syntax
            for context in rq.presentation_contexts
            if context.abstract_syntax == abstract_syntax
            for syntax in context.transfer_syntaxes
        )
        return tuple(dict.fromkeys(s for s in proposed if s in self._services.transfer_syntaxes))

    def _may(self, principal: Principal, permission: Permission) -> bool:
        return self._services.access.may(principal, permission)

    def _reject(
        self,
        connection: Connection,
        facts: PeerFacts,
        reason: str,
        answer: tuple[int, int, int],
        correlation_id: str,
    ) -> None:
        self._record_refusal(facts, reason, correlation_id)
        connection.perform(connection.association.reject(*answer))
        self._drain(connection)

    @staticmethod
    def _drain(connection: Connection) -> None:
        """Wait until the requestor closes (PS3.8 9.1.5: ARTIM bounds it)."""
        while connection.is_open:
            connection.next_event()

    def _record_refusal(
        self, facts: PeerFacts, reason: str, correlation_id: str, *, durable: bool = True
    ) -> None:
        """Put a refusal on record.

        Strangers who do not even get through the handshake are not worth a wait for the disk each: their entries become
        durable with the next one that is.
        """
        try:
            self._services.access.audit.record(
                AuditEvent(
                    code=EventCode.ASSOCIATION_REFUSED,
                    at=self._services.clock.now(),
                    actor=Actor(
                        principal_id="unrecognised",
                        ae_title=facts.calling_ae_title,
                        address=facts.address,
                        certificate_sha256=facts.certificate_sha256,
                    ),
                    outcome=Outcome.SERIOUS_FAILURE,
                    facts={"reason": reason, "called": facts.called_ae_title, "tls": facts.tls},
                    correlation_id=correlation_id,
                ),
                durable=durable,
            )
        except AuditUnavailable:
            return  # the answer is a refusal already: nothing is released without its record

    # --- messages ----------------------------------------------------------------------------------------------

    def _converse(self, state: AssociationState) -> None:
        ending = "ended by us: internal error"
        try:
            ending = self._serve_messages(state)
        except PeerUnreachable:
            ending = "connection lost"
        except LeadglassError as error:
            ending = f"ended by us: {error.code}"
            state.connection.abort()
        finally:
            self._end(state, ending)

    def _serve_messages(self, state: AssociationState) -> str:
        connection = state.connection
        while True:
            event = connection.next_event()
            match event:
                case CommandReceived():
                    self._dispatch(state, event)
                    connection.restart_idle_timer()
                case ReleaseRequested():
                    connection.perform(connection.association.respond_release())
                    self._drain_quietly(connection)
                    return "released"
                case Aborted():
                    return "aborted by the peer"
                case ProtocolViolation(error):
                    self._drain_quietly(connection)
                    return f"aborted by us: {error}"
                case _:
                    connection.abort()
                    return "aborted by us: a message out of order"

    def _drain_quietly(self, connection: Connection) -> None:
        try:
            self._drain(connection)
        except PeerUnreachable:
            return

    def _dispatch(self, state: AssociationState, event: CommandReceived) -> None:
        services = self._services
        match event.message:
            case CStoreRQ() as message:
                store_scp.serve(services, state, event.context_id, message)
            case CEchoRQ() as message:
                verification_scp.serve(services, state, event.context_id, message)
            case CFindRQ() as message:
                find_scp.serve(services, state, event.context_id, message)
            case CGetRQ() as message:
                retrieve_scp.serve_get(services, state, event.context_id, message)
            case CMoveRQ() as message:
                retrieve_scp.serve_move(services, state, event.context_id, message)
            case NActionRQ() as message:
                commitment_scp.serve(services, state, event.context_id, message)
            case NEventReportRSP():
                commitment_scp.report_answered(services, state, event)
            case CCancelRQ():
                pass  # of an operation that has ended already: PS3.7 9.3.2.3 asks for nothing
            case _:
                state.connection.abort()

    def _end(self, state: AssociationState, ending: str) -> None:
        """Close what the association opened. Everything was answered: what fails here is made good by recovery."""
        # Each by itself: a queue that fails must not keep files open, nor files that fail keep the end off the record.
        with suppress(LeadglassError):
            commitment_scp.give_back_reports(self._services, state)
        with suppress(LeadglassError):
            if state.store_session is not None:
                state.store_session.close_packs()
        with suppress(LeadglassError):
            self._record_end(state, ending)

    def _record_end(self, state: AssociationState, ending: str) -> None:
        services = self._services
        services.access.audit.record(
            AuditEvent(
                code=EventCode.ASSOCIATION_ENDED,
                at=services.clock.now(),
                actor=actor_of(state.principal),
                facts={
                    "ending": ending,
                    "objects_stored": state.objects_stored,
                    "objects_refused": state.objects_refused,
                },
                correlation_id=state.principal.correlation_id,
            ),
            durable=False,  # nothing is answered after it; the next durable event carries it along
        )
