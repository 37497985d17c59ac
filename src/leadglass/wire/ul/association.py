"""The upper layer state machine, for both roles. Source: PS3.8 9.2.

``wire.ul.state`` says which action an event causes; here stands what each action does. How a driver uses it stands in
``wire.ul``.
"""

import struct
from collections.abc import Iterator
from typing import Final

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError
from leadglass.base.limits import PDU_BYTES_MAX, PEER_PDU_BYTES_MIN, UL_BUFFER_BYTES
from leadglass.wire.ul.codec import decode, encode
from leadglass.wire.ul.framing import ControlPDU, Framer
from leadglass.wire.ul.negotiation import AcceptedContext, accepted_contexts
from leadglass.wire.ul.outputs import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    CloseConnection,
    DataFragment,
    OpenConnection,
    Output,
    ProtocolViolation,
    ReleaseConfirmed,
    ReleaseRequested,
    Send,
    StartArtim,
    StopArtim,
)
from leadglass.wire.ul.pdu import (
    PDU,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDUType,
    RejectResult,
    RejectSource,
    ReleaseRP,
    ReleaseRQ,
    UserInformation,
)
from leadglass.wire.ul.state import TRANSITIONS, Action, Event, State

_DATA_HEADER: Final = struct.Struct(">BxIIBB")
# 1 PDU-type; 2 reserved; 3-6 PDU-length; then one presentation data value: item-length, context id, message control
# header. Source: PS3.8 Tables 9-22 and 9-23.
_PDV_HEADER_BYTES: Final = 6
_IS_COMMAND: Final = 1
_IS_LAST: Final = 2

_MAY_SEND_DATA: Final = frozenset(state for event, state in TRANSITIONS if event is Event.EVT9)
_INDICATES_DATA: Final = frozenset(
    state
    for (event, state), transition in TRANSITIONS.items()
    if event is Event.EVT10 and transition.action in {Action.DT_2, Action.AR_6}
)

_EVENT_OF_PDU: Final = {
    PDUType.A_ASSOCIATE_RQ: Event.EVT6,
    PDUType.A_ASSOCIATE_AC: Event.EVT3,
    PDUType.A_ASSOCIATE_RJ: Event.EVT4,
    PDUType.P_DATA_TF: Event.EVT10,
    PDUType.A_RELEASE_RQ: Event.EVT12,
    PDUType.A_RELEASE_RP: Event.EVT13,
    PDUType.A_ABORT: Event.EVT16,
}

Buffer = bytes | bytearray | memoryview


class Association:
    """One association, from the opening of its connection to the end; not used again afterwards."""

    def __init__(self) -> None:
        self._state = State.STA1
        self._begun = False
        self._is_requestor = False
        self._rq: AssociateRQ | None = None
        self._contexts: dict[int, AcceptedContext] = {}
        self._framer = Framer()
        self._broken = False  # the stream makes no sense any more: its octets are dropped
        self._taking = False  # an iterator of outputs is not exhausted
        self._piece_max = 0  # octets of data in one P-DATA-TF of ours
        self._buffer = memoryview(bytearray(UL_BUFFER_BYTES))

    @property
    def state(self) -> State:
        """State of Table 9-10."""
        return self._state

    @property
    def closed(self) -> bool:
        """The association was begun, and is over: nothing more will come out."""
        return self._begun and self._state is State.STA1

    @property
    def contexts(self) -> dict[int, AcceptedContext]:
        """Agreed presentation contexts by id; empty until the association is established."""
        return self._contexts

    # --- octets of the peer -------------------------------------------------------------------------------------

    def get_buffer(self) -> memoryview:
        """Return where the next octets go: never empty. Fragments given out before become invalid.

        Raises:
            LocalProtocolError: the outputs of the octets before were not all taken.
        """
        self._check_taken()
        carried = self._framer.carried
        if not carried:
            return self._buffer
        self._buffer[: len(carried)] = carried
        return self._buffer[len(carried) :]

    def buffer_updated(self, count: int) -> Iterator[Output]:
        """Take the first ``count`` octets of what ``get_buffer`` returned.

        Each output is worked out when it is asked for, so that the state is what the driver has seen: take them all,
        and perform each before the next. Primitives may be called in between.

        Raises:
            LocalProtocolError: the outputs of the octets before were not all taken, or there is no connection.
        """
        return self._take(self._buffer[: len(self._framer.carried) + count])

    def receive(self, data: bytes) -> Iterator[Output]:
        """Take octets from elsewhere: for tests, and where octets come in ``bytes``. As ``buffer_updated``."""
        return self._take(memoryview(self._framer.carried + data))

    def _take(self, view: memoryview) -> Iterator[Output]:
        self._check_taken()
        if not self._begun or self._state is State.STA4:
            raise LocalProtocolError("octets without a transport connection")
        if view:  # nothing is carried within a value: the view is what came
            fragment = self._framer.middle(view)
            if fragment is not None:
                return iter((fragment,))
        self._taking = True
        return self._outputs(view)

    def _check_taken(self) -> None:
        if self._taking and not self.closed:
            raise LocalProtocolError("the outputs of the last octets were not all taken")

    def _outputs(self, view: memoryview) -> Iterator[Output]:
        try:
            for item in self._framer.split(view) if self._is_readable() else ():
                if type(item) is DataFragment:
                    yield item
                elif self._is_readable():
                    assert isinstance(item, ControlPDU)
                    yield from self._control(item)
                else:  # it ended, by the item before or by a primitive since: what follows is nobody's
                    break
        except RemoteProtocolError as error:
            if self._is_readable():
                yield from self._violation(error)
        self._taking = False

    def _is_readable(self) -> bool:
        return not self._broken and self._state is not State.STA1

    def _control(self, item: ControlPDU) -> list[Output]:
        pdu_type = PDUType(item.pdu_type)
        pdu: PDU | None = None
        if pdu_type is not PDUType.P_DATA_TF:
            try:
                pdu = decode(pdu_type, item.body)
                self._check_parameters(pdu)
            except RemoteProtocolError as error:
                return self._violation(error)
        return self._step(_EVENT_OF_PDU[pdu_type], pdu)

    def _check_parameters(self, pdu: PDU) -> None:
        """Check what one PDU alone does not show.

        Raises:
            RemoteProtocolError: it answers what was not asked, or no data could be sent to such a peer.
        """
        if isinstance(pdu, AssociateRQ | AssociateAC):
            if 0 < pdu.user_information.maximum_length < PEER_PDU_BYTES_MIN:
                raise RemoteProtocolError(
                    "maximum length of the peer is too small to be of use",
                    abort_reason=AbortReason.INVALID_PARAMETER_VALUE,
                )
            if isinstance(pdu, AssociateAC) and self._state is State.STA5 and self._rq is not None:
                accepted_contexts(self._rq, pdu)

    def _violation(self, error: RemoteProtocolError) -> list[Output]:
        self._broken = True
        return self._step(Event.EVT19, None, error)

    # --- what happens to the connection ---------------------------------------------------------------------------

    def transport_connected(self) -> list[Output]:
        """The transport connection is open: EVT2 for the requestor, EVT5 for the acceptor."""
        return self._step(Event.EVT2 if self._is_requestor else Event.EVT5)

    def connection_lost(self) -> list[Output]:
        """The transport connection is gone, however it went: EVT17. Harmless when the association is over."""
        return [] if self.closed else self._step(Event.EVT17)

    def artim_expired(self) -> list[Output]:
        """The ARTIM timer ran out: EVT18."""
        return self._step(Event.EVT18)

    # --- primitives of the user -----------------------------------------------------------------------------------

    def request(self, rq: AssociateRQ) -> list[Output]:
        """A-ASSOCIATE request: EVT1. The request is sent when the connection is open."""
        self._check_state(Event.EVT1)
        encode(rq)  # a value that does not fit is our bug, and is found before a connection is opened
        self._is_requestor = True
        return self._step(Event.EVT1, rq)

    def accept(self, ac: AssociateAC) -> list[Output]:
        """A-ASSOCIATE response, yes: EVT7."""
        self._check_state(Event.EVT7)
        assert self._rq is not None
        try:
            accepted_contexts(self._rq, ac)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"our answer is wrong: {error}") from error
        return self._step(Event.EVT7, ac)

    def reject(self, result: int, source: int, reason: int) -> list[Output]:
        """A-ASSOCIATE response, no: EVT8. Source: PS3.8 Table 9-21."""
        return self._step(Event.EVT8, AssociateRJ(result, source, reason))

    def release(self) -> list[Output]:
        """A-RELEASE request: EVT11."""
        return self._step(Event.EVT11)

    def respond_release(self) -> list[Output]:
        """A-RELEASE response: EVT14."""
        return self._step(Event.EVT14)

    def abort(self) -> list[Output]:
        """A-ABORT request of the service user: EVT15."""
        return self._step(Event.EVT15)

    def data(
        self,
        context_id: int,
        *,
        is_command: bool,
        payload: Buffer,
        is_last: bool = True,
    ) -> list[Buffer]:
        """P-DATA request: EVT9. Return buffers to send in this order, cut to what the peer takes.

        The payload is not copied: it must not change until the buffers were sent. Headers and slices alternate; join
        them when they are small. An empty payload with ``is_last`` ends a set that was sent in several calls. A
        payload that is not the last has an even length: DCMTK takes no odd fragment.

        Raises:
            LocalProtocolError: no association is established, or the context was not agreed.
        """
        if self._state not in _MAY_SEND_DATA:
            raise LocalProtocolError(f"no data may be sent in {self._state.name}")
        if context_id not in self._contexts:
            raise LocalProtocolError("data for a presentation context that was not agreed")
        control = _IS_COMMAND if is_command else 0
        control_last = control | _IS_LAST if is_last else control
        if isinstance(payload, memoryview) and payload.itemsize != 1:
            payload = payload.cast("B")
        size, step = len(payload), self._piece_max
        if size <= step:
            if not (size or is_last):
                return []
            return [
                _DATA_HEADER.pack(PDUType.P_DATA_TF, size + 6, size + 2, context_id, control_last),
                payload,
            ]
        view = memoryview(payload)
        header = _DATA_HEADER.pack(PDUType.P_DATA_TF, step + 6, step + 2, context_id, control)
        buffers: list[Buffer] = []
        final = (size - 1) // step * step
        for offset in range(0, final, step):
            buffers += (header, view[offset : offset + step])
        left = size - final
        buffers += (
            _DATA_HEADER.pack(PDUType.P_DATA_TF, left + 6, left + 2, context_id, control_last),
            view[final:],
        )
        return buffers

    # --- the table ------------------------------------------------------------------------------------------------

    def _check_state(self, event: Event) -> None:
        if (event, self._state) not in TRANSITIONS or (event in {Event.EVT1, Event.EVT5} and self._begun):
            raise LocalProtocolError(f"{event.name} has no place in {self._state.name} (PS3.8 Table 9-10)")

    def _step(
        self, event: Event, pdu: PDU | None = None, error: RemoteProtocolError | None = None
    ) -> list[Output]:
        """Make one transition, and return what its action gives out."""
        self._check_state(event)
        action, next_state, otherwise = TRANSITIONS[event, self._state]
        other_way = {Action.AE_6: not _is_acceptable(pdu), Action.AR_8: not self._is_requestor}
        if otherwise is not None and other_way[action]:
            next_state = otherwise
        outputs = self._perform(action, event, next_state, pdu, error)
        self._begun = True
        self._state = next_state
        self._framer.data_expected = next_state in _INDICATES_DATA
        return outputs

    def _perform(
        self,
        action: Action,
        event: Event,
        next_state: State,
        pdu: PDU | None,
        error: RemoteProtocolError | None,
    ) -> list[Output]:
        """Return what an action of Tables 9-6 to 9-9 gives out."""
        match action:
            case Action.AE_1:
                assert isinstance(pdu, AssociateRQ)
                self._rq = pdu
                return [OpenConnection()]
            case Action.AE_2:
                assert self._rq is not None
                self._framer.maximum_length = self._rq.user_information.maximum_length
                return [Send(encode(self._rq))]
            case Action.AE_3:
                assert isinstance(pdu, AssociateAC)
                self._establish(pdu, pdu.user_information)
                return [AssociateAccepted(pdu, self._contexts)]
            case Action.AE_4:
                assert isinstance(pdu, AssociateRJ)
                return [AssociateRejected(pdu), CloseConnection()]
            case Action.AE_5:
                return [StartArtim()]
            case Action.AE_6:
                return self._judge(pdu, next_state)
            case Action.AE_7:
                assert isinstance(pdu, AssociateAC)
                assert self._rq is not None
                self._establish(pdu, self._rq.user_information)
                self._framer.maximum_length = pdu.user_information.maximum_length
                return [Send(encode(pdu))]
            case Action.AE_8:
                assert isinstance(pdu, AssociateRJ)
                return [Send(encode(pdu)), StartArtim()]
            case Action.AR_1:
                return [Send(encode(ReleaseRQ()))]
            case Action.AR_2 | Action.AR_8:
                return [ReleaseRequested()]
            case Action.AR_3:
                return [ReleaseConfirmed(), CloseConnection()]
            case Action.AR_4:
                return [Send(encode(ReleaseRP())), StartArtim()]
            case Action.AR_5 | Action.AA_5:
                return [StopArtim()]
            case Action.AR_9:
                return [Send(encode(ReleaseRP()))]
            case Action.AR_10:
                return [ReleaseConfirmed()]
            case Action.DT_1 | Action.AR_7 | Action.DT_2 | Action.AR_6 | Action.AA_6:
                return []  # data pass by this table: see data() and the framer
            case Action.AA_1:
                if event is not Event.EVT15:
                    return [_violated(error), *_abort(AbortSource.SERVICE_USER, 0), StartArtim()]
                return [*_abort(AbortSource.SERVICE_USER, 0), StartArtim()]
            case Action.AA_2:
                return [StopArtim(), CloseConnection()]
            case Action.AA_3:
                assert isinstance(pdu, Abort)
                return [Aborted(pdu.source, pdu.reason), CloseConnection()]
            case Action.AA_4:
                return [
                    Aborted(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED, connection_lost=True)
                ]
            case Action.AA_7:
                violation = _violated(error)
                return [violation, *_abort(AbortSource.SERVICE_PROVIDER, violation.error.abort_reason)]
            case Action.AA_8:
                violation = _violated(error)
                reason = violation.error.abort_reason
                indication = Aborted(AbortSource.SERVICE_PROVIDER, reason)
                return [violation, *_abort(AbortSource.SERVICE_PROVIDER, reason), indication, StartArtim()]

    def _judge(self, pdu: PDU | None, next_state: State) -> list[Output]:
        """AE-6: indicate the request, or reject it for the service provider."""
        assert isinstance(pdu, AssociateRQ)
        if next_state is State.STA3:
            self._rq = pdu
            return [StopArtim(), AssociateRequested(pdu)]
        # protocol-version-not-supported. Source: PS3.8 Table 9-21.
        rj = AssociateRJ(RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, 2)
        return [StopArtim(), Send(encode(rj)), StartArtim()]

    def _establish(self, ac: AssociateAC, peer: UserInformation) -> None:
        assert self._rq is not None
        self._contexts = accepted_contexts(self._rq, ac)
        self._framer.contexts = self._contexts
        # What the peer takes, within what is good for us; even, because DCMTK takes no odd fragment.
        pdu_bytes_max = min(peer.maximum_length or PDU_BYTES_MAX, PDU_BYTES_MAX)
        self._piece_max = (pdu_bytes_max - _PDV_HEADER_BYTES) // 2 * 2


def _is_acceptable(pdu: PDU | None) -> bool:
    """Bit 0 is version 1; it alone is tested. Source: PS3.8 Table 9-11."""
    return isinstance(pdu, AssociateRQ) and pdu.protocol_version & 1 == 1


def _violated(error: RemoteProtocolError | None) -> ProtocolViolation:
    if error is None:
        error = RemoteProtocolError("a PDU came out of its turn", abort_reason=AbortReason.UNEXPECTED_PDU)
    return ProtocolViolation(error)


def _abort(source: int, reason: int) -> tuple[Send]:
    return (Send(encode(Abort(source, reason))),)
