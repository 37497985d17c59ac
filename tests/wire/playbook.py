"""A protocol test is a conversation: ``>>`` arrives, ``<<`` must come out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from leadglass.base.errors import RemoteProtocolError
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.codec import encode
from leadglass.wire.ul.negotiation import ANY, LocalParameters, negotiate
from leadglass.wire.ul.outputs import DataFragment, Output, ProtocolViolation
from leadglass.wire.ul.pdu import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    UserInformation,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
LOCAL = LocalParameters("1.2.826.0.1.3680043.10.1", "LEADGLASS")

RQ = AssociateRQ(
    called_ae_title="LEADGLASS",
    calling_ae_title="CT1",
    presentation_contexts=(
        PresentationContextRQ(1, CT, (EXPLICIT, IMPLICIT)),
        PresentationContextRQ(3, VERIFICATION, (IMPLICIT,)),
    ),
    user_information=UserInformation(16384, "1.2.3", "PEER"),
)
AC = negotiate(RQ, {CT: ANY, VERIFICATION: (IMPLICIT,)}, local=LOCAL)

Arrival = PDU | bytes | Callable[[Association], Iterable[Output]]


def _comparable(output: Output) -> object:
    """Fragments by their octets, violations by their reason: what a test writes down."""
    if isinstance(output, DataFragment):
        return output._replace(data=memoryview(bytes(output.data)))
    if isinstance(output, ProtocolViolation):
        return ("violation", output.error.abort_reason)
    return output


def violation(reason: int) -> ProtocolViolation:
    return ProtocolViolation(RemoteProtocolError("", abort_reason=reason))


class Playbook:
    """Give arrivals with ``>>``, name what comes out with ``<<``; at the end nothing may be left."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self._out: list[object] = []

    def __rshift__(self, arrival: Arrival) -> "Playbook":
        assert not self._out, f"came out, and was not expected: {self._out}"
        if isinstance(arrival, bytes):
            outputs: Iterable[Output] = self.association.receive(arrival)
        elif isinstance(arrival, AssociateRQ | AssociateAC | AssociateRJ | ReleaseRQ | ReleaseRP | Abort):
            outputs = self.association.receive(encode(arrival))
        else:
            outputs = arrival(self.association)
        self._out = [_comparable(output) for output in outputs]
        return self

    def __lshift__(self, expected: Output) -> "Playbook":
        assert self._out, f"did not come out: {expected}"
        assert self._out.pop(0) == _comparable(expected)
        return self

    def done(self) -> None:
        assert not self._out, f"came out, and was not expected: {self._out}"


def drain(outputs: Iterator[Output] | list[Output]) -> list[Any]:
    """Take all outputs."""
    return list(outputs)


def acceptor(rq: AssociateRQ = RQ, ac: AssociateAC = AC) -> Association:
    """Return an established association, seen from the acceptor."""
    association = Association()
    association.transport_connected()
    drain(association.receive(encode(rq)))
    association.accept(ac)
    return association


def requestor(rq: AssociateRQ = RQ, ac: AssociateAC = AC) -> Association:
    """Return an established association, seen from the requestor."""
    association = Association()
    association.request(rq)
    association.transport_connected()
    drain(association.receive(encode(ac)))
    return association


def with_maximum_length(rq: AssociateRQ, length: int) -> AssociateRQ:
    return replace(rq, user_information=replace(rq.user_information, maximum_length=length))


def joined(association: Association, context_id: int, payload: bytes, *, is_command: bool = False) -> bytes:
    """Return the octets of one P-DATA request."""
    return b"".join(association.data(context_id, is_command=is_command, payload=payload))
