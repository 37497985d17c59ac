"""What the machine gives back: commands for the driver, and indications for the user."""

from dataclasses import dataclass
from typing import NamedTuple

from leadglass.base.errors import RemoteProtocolError
from leadglass.wire.ul.negotiation import AcceptedContext
from leadglass.wire.ul.pdu import AssociateAC, AssociateRJ, AssociateRQ


class DataFragment(NamedTuple):
    """Octets of one presentation data value, as they came. Source: PS3.8 9.3.5, E.2.

    A value that was cut by the network comes in pieces; only its final piece can be ``is_last``.

    Attributes:
        is_command: part of a command set, else of a data set.
        is_last: the command set or data set ends with this piece.
        data: a window of the receive buffer: valid until the next ``get_buffer`` or ``receive``.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class Send:
    """Write these octets."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartArtim:
    """Start, or restart, the ARTIM timer. Source: PS3.8 9.1.5."""


@dataclass(frozen=True, slots=True)
class StopArtim:
    """Stop the ARTIM timer if it runs."""


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Open the transport connection, then call ``transport_connected``."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the transport connection; the machine is idle."""


@dataclass(frozen=True, slots=True)
class AssociateRequested:
    """A-ASSOCIATE indication: answer with ``accept`` or ``reject``."""

    rq: AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociateAccepted:
    """A-ASSOCIATE confirmation: yes.

    Attributes:
        contexts: what was accepted, by context id; checked against the request.
    """

    ac: AssociateAC
    contexts: dict[int, AcceptedContext]


@dataclass(frozen=True, slots=True)
class AssociateRejected:
    """A-ASSOCIATE confirmation: no."""

    rj: AssociateRJ


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """A-RELEASE indication: answer with ``respond_release``."""


@dataclass(frozen=True, slots=True)
class ReleaseConfirmed:
    """A-RELEASE confirmation."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """A-ABORT or A-P-ABORT indication: the association is gone.

    Attributes:
        source: ``AbortSource``, or whatever number the peer sent.
        reason: ``AbortReason``, or whatever number the peer sent.
        connection_lost: the transport connection went without a word.
    """

    source: int
    reason: int
    connection_lost: bool = False


@dataclass(frozen=True, slots=True)
class ProtocolViolation:
    """The peer broke the rule; for the record. What Table 9-10 says about it follows in the list."""

    error: RemoteProtocolError


Output = (
    DataFragment
    | Send
    | StartArtim
    | StopArtim
    | OpenConnection
    | CloseConnection
    | AssociateRequested
    | AssociateAccepted
    | AssociateRejected
    | ReleaseRequested
    | ReleaseConfirmed
    | Aborted
    | ProtocolViolation
)
