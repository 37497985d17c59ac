"""The requesting side: connect, handshake, associate, and release at the end. Source: PS3.8 7.1, PS3.15 B.12."""

import contextlib
import socket
import ssl
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.errors import PeerRefused, PeerUnreachable
from leadglass.base.limits import HANDSHAKE_SECONDS, RECEIVE_BUFFER_BYTES
from leadglass.doors.dimse.connection import Connection
from leadglass.trust.certs.tls import wrap_client
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.negotiation import LocalParameters
from leadglass.wire.ul.outputs import AssociateAccepted, AssociateRejected, ReleaseConfirmed
from leadglass.wire.ul.pdu import (
    AssociateRQ,
    PresentationContextRQ,
    RoleSelection,
    SOPClassExtended,
    UserIdentity,
    UserInformation,
)

_REJECTIONS: Final = {
    (1, 1, 1): "no reason given",
    (1, 1, 2): "application context name not supported",
    (1, 1, 3): "calling AE title not recognized",
    (1, 1, 7): "called AE title not recognized",
    (2, 2, 1): "no reason given (ACSE)",
    (1, 2, 2): "protocol version not supported",
    (2, 3, 1): "temporary congestion",
    (2, 3, 2): "local limit exceeded",
}
"""Source: PS3.8 Table 9-21."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to call.

    Attributes:
        fingerprints: hex SHA-256 of certificates it may show; empty when it is known by host name.
    """

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    tls: ssl.SSLContext
    fingerprints: Collection[str] = ()


@contextlib.contextmanager
def associate(
    peer: Peer,
    contexts: Collection[PresentationContextRQ],
    *,
    clock: Clock,
    local: LocalParameters,
    roles: Collection[RoleSelection] = (),
    extended: Collection[SOPClassExtended] = (),
    user_identity: UserIdentity | None = None,
) -> Generator[Connection, None, None]:
    """Open an association; release it on the way out, or abort it when the body raised.

    Raises:
        PeerUnreachable: no connection, no handshake, or not the peer that is wanted.
        PeerRefused: it rejected the association.
    """
    sock = _connect(peer)
    connection = Connection(sock, Association(), clock)
    try:
        request = AssociateRQ(
            called_ae_title=peer.called_ae_title,
            calling_ae_title=peer.calling_ae_title,
            presentation_contexts=tuple(contexts),
            user_information=UserInformation(
                maximum_length=local.maximum_length,
                implementation_class_uid=local.implementation_class_uid,
                implementation_version_name=local.implementation_version_name,
                role_selections=tuple(roles),
                sop_class_extended=tuple(extended),
                user_identity=user_identity,
            ),
        )
        connection.perform(connection.association.request(request))
        connection.perform(connection.association.transport_connected())
        event = connection.next_event()
        if isinstance(event, AssociateRejected):
            rj = event.rj
            words = _REJECTIONS.get(
                (rj.result, rj.source, rj.reason), f"{rj.result}, {rj.source}, {rj.reason}"
            )
            raise PeerRefused(f"association rejected: {words}")
        if not isinstance(event, AssociateAccepted):
            raise PeerUnreachable(
                "the peer ended the connection instead of answering the association request"
            )
        yield connection
        if connection.is_open:  # the caller may have aborted it: what came was enough
            _release(connection)
    except BaseException:
        connection.abort()
        raise
    finally:
        connection.close()


def _connect(peer: Peer) -> ssl.SSLSocket:
    try:
        sock = socket.create_connection((peer.host, peer.port), timeout=HANDSHAKE_SECONDS)
    except OSError as error:
        raise PeerUnreachable(
            f"no connection to {peer.host} port {peer.port}: {error.strerror or 'timed out'}"
        ) from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return wrap_client(sock, peer.tls, peer.host, peer.fingerprints)
    except BaseException:
        sock.close()
        raise


def _release(connection: Connection) -> None:
    connection.perform(connection.association.release())
    with contextlib.suppress(PeerUnreachable):
        while not isinstance(connection.next_event(), ReleaseConfirmed):
            pass
