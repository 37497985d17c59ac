"""The upper layer state machine, for both roles. Source: PS3.8 9.2.

How a driver uses it stands in ``wire.ul``.
"""

from leadglass.wire.ul.negotiation import AcceptedContext
from leadglass.wire.ul.outputs import Output
from leadglass.wire.ul.pdu import AssociateAC, AssociateRQ
from leadglass.wire.ul.state import State


class Association:
    """One association, from the opening of its connection to the end; not used again afterwards."""

    @property
    def state(self) -> State:
        """State of Table 9-10."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """The association was begun, and is over: nothing more will come out."""
        raise NotImplementedError

    @property
    def contexts(self) -> dict[int, AcceptedContext]:
        """Agreed presentation contexts by id; empty until the association is established."""
        raise NotImplementedError

    def get_buffer(self) -> memoryview:
        """Return where the next octets go: never empty. Fragments given out before become invalid."""
        raise NotImplementedError

    def buffer_updated(self, count: int) -> list[Output]:
        """Take the first ``count`` octets of what ``get_buffer`` returned."""
        raise NotImplementedError

    def receive(self, data: bytes) -> list[Output]:
        """Take octets from elsewhere: for tests and small answers. The fragments it returns own their memory."""
        raise NotImplementedError

    def transport_connected(self) -> list[Output]:
        """The transport connection is open: EVT2 for the requestor, EVT5 for the acceptor."""
        raise NotImplementedError

    def connection_lost(self) -> list[Output]:
        """The transport connection is gone, however it went: EVT17. Harmless when the association is over."""
        raise NotImplementedError

    def artim_expired(self) -> list[Output]:
        """The ARTIM timer ran out: EVT18."""
        raise NotImplementedError

    def request(self, rq: AssociateRQ) -> list[Output]:
        """A-ASSOCIATE request: EVT1. The request is sent when the connection is open."""
        raise NotImplementedError

    def accept(self, ac: AssociateAC) -> list[Output]:
        """A-ASSOCIATE response, yes: EVT7."""
        raise NotImplementedError

    def reject(self, result: int, source: int, reason: int) -> list[Output]:
        """A-ASSOCIATE response, no: EVT8. Source: PS3.8 Table 9-21."""
        raise NotImplementedError

    def release(self) -> list[Output]:
        """A-RELEASE request: EVT11."""
        raise NotImplementedError

    def respond_release(self) -> list[Output]:
        """A-RELEASE response: EVT14."""
        raise NotImplementedError

    def abort(self) -> list[Output]:
        """A-ABORT request of the service user: EVT15."""
        raise NotImplementedError

    def data(
        self,
        context_id: int,
        *,
        is_command: bool,
        payload: bytes | bytearray | memoryview,
        is_last: bool = True,
    ) -> list[bytes | memoryview]:
        """P-DATA request: EVT9. Return buffers to send in this order, cut to what the peer takes.

        The payload is not copied: it must not change until the buffers were sent. Headers and slices alternate; join
        them when they are small. An empty payload with ``is_last`` ends a set that was sent in several calls.

        Raises:
            LocalProtocolError: no association is established, or the context was not agreed.
        """
        raise NotImplementedError
