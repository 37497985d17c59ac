"""Association negotiation as pure functions. Source: PS3.8 7.1.1, 9.3.2 and 9.3.3; PS3.7 Annex D."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from leadglass.base.limits import PDU_BYTES_MAX
from leadglass.wire.ul.pdu import (
    APPLICATION_CONTEXT_NAME,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    RejectResult,
    RejectSource,
    SOPClassExtended,
    UserIdentityResponse,
)


class AnyTransferSyntax(Enum):
    """Type of ``ANY``."""

    ANY = "any"


ANY: Final = AnyTransferSyntax.ANY
"""Accept whatever transfer syntax is proposed, the requestor's first choice."""

Offer = tuple[str, ...] | AnyTransferSyntax | ContextResult
"""What we say to an abstract syntax: the transfer syntaxes we take, in our order of preference; ``ANY``; or the
result that refuses it (USER_REJECTION where policy says no, NO_REASON where a limit does)."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Roles that a requestor may take for a SOP class. Without negotiation it is SCU only (PS3.7 D.3.3.4)."""

    scu: bool = True
    scp: bool = False


@dataclass(frozen=True, slots=True)
class LocalParameters:
    """What we say about ourselves.

    Attributes:
        maximum_length: octets of the variable field of a P-DATA-TF that we take.
    """

    implementation_class_uid: str
    implementation_version_name: str
    maximum_length: int = PDU_BYTES_MAX


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on.

    Attributes:
        requestor_scu: the requestor may be SCU of its SOP class.
        requestor_scp: the requestor may be SCP of its SOP class (C-STORE sub-operations of C-GET, N-EVENT-REPORT).
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_scu: bool = True
    requestor_scp: bool = False


def _answer_nothing(_asked: SOPClassExtended) -> SOPClassExtended | None:
    return None


def refusal(rq: AssociateRQ) -> AssociateRJ | None:
    """Return the A-ASSOCIATE-RJ that the request itself calls for, whoever sent it, or None.

    Source: PS3.8 Table 9-21: service-user, application-context-name-not-supported.
    """
    if rq.application_context_name == APPLICATION_CONTEXT_NAME:
        return None
    return AssociateRJ(RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, 2)


def negotiate(
    rq: AssociateRQ,
    supported: Mapping[str, Offer],
    *,
    local: LocalParameters,
    roles: Mapping[str, Roles] | None = None,
    extended: Callable[[SOPClassExtended], SOPClassExtended | None] = _answer_nothing,
    user_identity_response: UserIdentityResponse | None = None,
) -> AssociateAC:
    """Return the acceptor's answer.

    Args:
        rq: the request.
        supported: what we say to each abstract syntax; only ``get`` is used. One that is missing is answered
            ABSTRACT_SYNTAX_NOT_SUPPORTED.
        local: what we say about ourselves.
        roles: SOP classes for which a role proposal is answered, with the roles a requestor may take.
        extended: what we say to an extended negotiation item; None leaves it unanswered, which means no support.
        user_identity_response: what we say to a user identity, where the requestor asked for an answer.
    """
    raise NotImplementedError


def accepted_contexts(rq: AssociateRQ, ac: AssociateAC) -> dict[int, AcceptedContext]:
    """Return the agreed contexts by id; an acceptor may call it too, with its own answer.

    Raises:
        RemoteProtocolError: the answer holds something that was not asked for.
    """
    raise NotImplementedError
