"""What the services of this door work with, and the state of one association."""

import ssl
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from leadglass.archive.access import Access
from leadglass.archive.commitment import Commitment, PendingReport
from leadglass.archive.ingest import Ingest, StoreSession
from leadglass.archive.query import Finder
from leadglass.archive.retrieve import Retriever
from leadglass.base.clock import Clock
from leadglass.base.objects import Origin
from leadglass.doors.dimse.connection import Connection
from leadglass.trust.identity.interfaces import DeviceDirectory
from leadglass.trust.identity.models import Device, PeerFacts, Principal
from leadglass.trust.identity.user_identity import UserIdentityService
from leadglass.wire.ul.negotiation import LocalParameters
from leadglass.wire.ul.pdu import AssociateRQ


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the door was given; made once by ``app.compose``.

    Attributes:
        ae_title: what we call ourselves on outgoing associations.
        storage_sop_classes: what may be stored: the standard's and the site's private ones.
        transfer_syntaxes: what is stored as sent.
        client_tls: a client context for an enrolled device; the peer's certificate is held against the device's
            fingerprints by the requestor.
        users: decides about user identities; None where the site has none.
    """

    ae_title: str
    directory: DeviceDirectory
    access: Access
    ingest: Ingest
    finder: Finder
    retriever: Retriever
    commitment: Commitment
    clock: Clock
    storage_sop_classes: Collection[str]
    transfer_syntaxes: Collection[str]
    client_tls: Callable[[Device], ssl.SSLContext]
    local: LocalParameters
    users: UserIdentityService | None = None


@dataclass(slots=True)
class Reports:
    """Storage commitment reports that go out on the association of the request, one after the other.

    Attributes:
        waiting: those to come, each with the presentation context of its request.
        sent: the one that is not answered yet.
        message_id: of the last one sent.
    """

    waiting: deque[tuple[int, PendingReport]] = field(default_factory=deque[tuple[int, PendingReport]])
    sent: PendingReport | None = None
    message_id: int = 0


@dataclass(slots=True)
class AssociationState:
    """One accepted association. Owned by its thread; nothing of it outlives the association."""

    connection: Connection
    principal: Principal
    facts: PeerFacts
    request: AssociateRQ
    origin: Origin
    store_session: StoreSession | None = field(default=None)
    objects_stored: int = 0
    objects_refused: int = 0
    relational: frozenset[str] = frozenset()
    reports: Reports = field(default_factory=Reports)
