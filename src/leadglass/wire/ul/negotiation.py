"""Association negotiation as pure functions. Source: PS3.8 7.1.1, 9.3.2 and 9.3.3; PS3.7 Annex D."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from leadglass.base.errors import RemoteProtocolError
from leadglass.base.limits import PDU_BYTES_MAX
from leadglass.wire.ul.pdu import (
    APPLICATION_CONTEXT_NAME,
    AbortReason,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsyncOperations,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RejectResult,
    RejectSource,
    RoleSelection,
    SOPClassExtended,
    UserIdentityResponse,
    UserInformation,
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
    asked = rq.user_information
    answers = tuple(
        _answer(context, supported.get(context.abstract_syntax)) for context in rq.presentation_contexts
    )
    identity = asked.user_identity
    answer_identity = identity is not None and identity.positive_response_requested
    return AssociateAC(
        called_ae_title=rq.called_ae_title,
        calling_ae_title=rq.calling_ae_title,
        presentation_contexts=answers,
        user_information=UserInformation(
            maximum_length=local.maximum_length,
            implementation_class_uid=local.implementation_class_uid,
            implementation_version_name=local.implementation_version_name,
            # Synchronous only, which is also what an answer without the item means. Source: PS3.7 D.3.3.3.
            async_operations=None if asked.async_operations is None else AsyncOperations(1, 1),
            role_selections=_answer_roles(asked.role_selections, roles or {}),
            sop_class_extended=tuple(
                answer for item in asked.sop_class_extended if (answer := extended(item)) is not None
            ),
            user_identity_response=user_identity_response if answer_identity else None,
        ),
    )


def _answer(context: PresentationContextRQ, offer: Offer | None) -> PresentationContextAC:
    # The transfer syntax of a refused context is not significant (PS3.8 9.3.3.2), but some peers parse it: send one.
    first = context.transfer_syntaxes[0]
    if offer is None:
        result, transfer_syntax = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, first
    elif isinstance(offer, ContextResult):
        result, transfer_syntax = offer, first
    elif isinstance(offer, AnyTransferSyntax):
        result, transfer_syntax = ContextResult.ACCEPTANCE, first
    else:
        chosen = next((uid for uid in offer if uid in context.transfer_syntaxes), None)
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED if chosen is None else ContextResult.ACCEPTANCE
        transfer_syntax = first if chosen is None else chosen
    return PresentationContextAC(context.context_id, result, transfer_syntax)


def _answer_roles(asked: tuple[RoleSelection, ...], roles: Mapping[str, Roles]) -> tuple[RoleSelection, ...]:
    """Answer 1 only to a proposed 1. Source: PS3.7 D.3.3.4.2."""
    answers: dict[str, RoleSelection] = {}
    for role in asked:
        ours = roles.get(role.sop_class_uid)
        if ours is not None:
            answers[role.sop_class_uid] = RoleSelection(
                role.sop_class_uid, scu=role.scu and ours.scu, scp=role.scp and ours.scp
            )
    return tuple(answers.values())


def accepted_contexts(rq: AssociateRQ, ac: AssociateAC) -> dict[int, AcceptedContext]:
    """Return the agreed contexts by id; an acceptor may call it too, with its own answer.

    A proposed context that the answer leaves out is not agreed.

    Raises:
        RemoteProtocolError: the answer holds something that was not asked for.
    """
    proposed = {context.context_id: context for context in rq.presentation_contexts}
    roles = _agreed_roles(rq.user_information, ac.user_information)
    agreed: dict[int, AcceptedContext] = {}
    for answer in ac.presentation_contexts:
        context = proposed.get(answer.context_id)
        if context is None:
            raise _lie("a presentation context is answered that was not proposed")
        if answer.result is not ContextResult.ACCEPTANCE:
            continue
        if answer.transfer_syntax not in context.transfer_syntaxes:
            raise _lie("a transfer syntax is accepted that was not proposed")
        role = roles.get(context.abstract_syntax, Roles())
        agreed[answer.context_id] = AcceptedContext(
            answer.context_id, context.abstract_syntax, answer.transfer_syntax, role.scu, role.scp
        )
    _check_window(rq.user_information.async_operations, ac.user_information.async_operations)
    return agreed


def _agreed_roles(asked: UserInformation, answered: UserInformation) -> dict[str, Roles]:
    """Source: PS3.7 D.3.3.4: without an answer the requestor is SCU, and only that."""
    proposed = {role.sop_class_uid: role for role in asked.role_selections}
    agreed: dict[str, Roles] = {}
    for answer in answered.role_selections:
        proposal = proposed.get(answer.sop_class_uid)
        if proposal is None:
            raise _lie("a role is answered that was not proposed")
        # A 1 in answer to a 0 breaks PS3.7 D.3.3.4.2, but happens; what was not proposed is not agreed.
        agreed[answer.sop_class_uid] = Roles(scu=answer.scu and proposal.scu, scp=answer.scp and proposal.scp)
    return agreed


def _check_window(asked: AsyncOperations | None, answered: AsyncOperations | None) -> None:
    """Source: PS3.7 D.3.3.3.2: the answer is at most what was asked for; 0 is unlimited, no item is (1, 1)."""
    if answered is None:
        return
    window = asked or AsyncOperations(1, 1)
    for ours, theirs in ((window.invoked, answered.invoked), (window.performed, answered.performed)):
        if ours and (theirs == 0 or theirs > ours):
            raise _lie("a wider asynchronous operations window is answered than was asked for")


def _lie(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)
