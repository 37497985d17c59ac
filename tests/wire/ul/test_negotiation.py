"""What is answered to a request, and what is believed of an answer."""

from dataclasses import replace

import pytest
from hypothesis import given

from leadglass.base.errors import RemoteProtocolError
from leadglass.base.secret import Secret
from leadglass.wire.ul.negotiation import (
    ANY,
    AcceptedContext,
    Offer,
    Roles,
    accepted_contexts,
    negotiate,
    refusal,
)
from leadglass.wire.ul.pdu import (
    AssociateRJ,
    AssociateRQ,
    AsyncOperations,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserIdentityType,
)
from wire.playbook import AC, CT, EXPLICIT, IMPLICIT, LOCAL, RQ, VERIFICATION
from wire.ul.pdus import requests

JPEG = "1.2.840.10008.1.2.4.70"


def ask(**user: object) -> AssociateRQ:
    return replace(RQ, user_information=replace(RQ.user_information, **user))  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("offer", "result", "transfer_syntax"),
    [
        (ANY, ContextResult.ACCEPTANCE, EXPLICIT),
        ((IMPLICIT, EXPLICIT), ContextResult.ACCEPTANCE, IMPLICIT),
        ((JPEG, EXPLICIT), ContextResult.ACCEPTANCE, EXPLICIT),
        ((JPEG,), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, EXPLICIT),
        (ContextResult.USER_REJECTION, ContextResult.USER_REJECTION, EXPLICIT),
        (ContextResult.NO_REASON, ContextResult.NO_REASON, EXPLICIT),
    ],
)
def test_each_offer_has_its_answer(offer: Offer, result: ContextResult, transfer_syntax: str) -> None:
    ac = negotiate(RQ, {CT: offer}, local=LOCAL)
    assert ac.presentation_contexts == (
        PresentationContextAC(1, result, transfer_syntax),
        PresentationContextAC(3, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    )


def test_titles_are_copied_and_we_say_who_we_are() -> None:
    assert (AC.called_ae_title, AC.calling_ae_title) == (RQ.called_ae_title, RQ.calling_ae_title)
    assert AC.user_information.implementation_class_uid == LOCAL.implementation_class_uid
    assert AC.user_information.maximum_length == LOCAL.maximum_length


def test_a_role_is_granted_only_when_proposed_and_allowed() -> None:
    rq = ask(
        role_selections=(
            RoleSelection(CT, scu=True, scp=True),
            RoleSelection(VERIFICATION, scu=True, scp=True),
        )
    )
    ac = negotiate(rq, {CT: ANY, VERIFICATION: ANY}, local=LOCAL, roles={CT: Roles(scu=False, scp=True)})
    assert ac.user_information.role_selections == (RoleSelection(CT, scu=False, scp=True),)
    contexts = accepted_contexts(rq, ac)
    assert contexts[1] == AcceptedContext(1, CT, EXPLICIT, requestor_scu=False, requestor_scp=True)
    assert contexts[3] == AcceptedContext(3, VERIFICATION, IMPLICIT, requestor_scu=True, requestor_scp=False)


def test_a_role_that_is_not_proposed_is_not_granted() -> None:
    rq = ask(role_selections=(RoleSelection(CT, scu=True, scp=False),))
    ac = negotiate(rq, {CT: ANY}, local=LOCAL, roles={CT: Roles(scu=True, scp=True)})
    assert ac.user_information.role_selections == (RoleSelection(CT, scu=True, scp=False),)


def test_the_window_is_one_by_one() -> None:
    assert negotiate(RQ, {}, local=LOCAL).user_information.async_operations is None
    for window in (AsyncOperations(0, 0), AsyncOperations(5, 5)):
        ac = negotiate(ask(async_operations=window), {}, local=LOCAL)
        assert ac.user_information.async_operations == AsyncOperations(1, 1)


def test_extended_negotiation_is_answered_where_known() -> None:
    asked = (SOPClassExtended(CT, b"\x01\x01"), SOPClassExtended(VERIFICATION, b"\x01"))
    ac = negotiate(
        ask(sop_class_extended=asked),
        {},
        local=LOCAL,
        extended=lambda item: SOPClassExtended(CT, b"\x01\x00") if item.sop_class_uid == CT else None,
    )
    assert ac.user_information.sop_class_extended == (SOPClassExtended(CT, b"\x01\x00"),)


@pytest.mark.parametrize("asked", [True, False])
def test_an_identity_is_answered_only_when_asked_for(asked: bool) -> None:
    identity = UserIdentity(UserIdentityType.JWT, asked, Secret(b"token"))
    ac = negotiate(
        ask(user_identity=identity), {}, local=LOCAL, user_identity_response=UserIdentityResponse()
    )
    assert (ac.user_information.user_identity_response is not None) is asked


def test_another_application_context_is_rejected() -> None:
    assert refusal(RQ) is None
    assert refusal(replace(RQ, application_context_name="1.2.3")) == AssociateRJ(1, 1, 2)


@given(requests)
def test_our_own_answer_is_always_believed(rq: AssociateRQ) -> None:
    supported: dict[str, Offer] = {context.abstract_syntax: ANY for context in rq.presentation_contexts}
    ac = negotiate(rq, supported, local=LOCAL)
    assert set(accepted_contexts(rq, ac)) == {context.context_id for context in rq.presentation_contexts}


@pytest.mark.parametrize(
    "lie",
    [
        replace(AC, presentation_contexts=(PresentationContextAC(5, ContextResult.ACCEPTANCE, EXPLICIT),)),
        replace(AC, presentation_contexts=(PresentationContextAC(5, ContextResult.NO_REASON),)),
        replace(AC, presentation_contexts=(PresentationContextAC(1, ContextResult.ACCEPTANCE, JPEG),)),
        replace(AC, user_information=replace(AC.user_information, async_operations=AsyncOperations(2, 1))),
        replace(AC, user_information=replace(AC.user_information, async_operations=AsyncOperations(1, 0))),
        replace(
            AC,
            user_information=replace(
                AC.user_information, role_selections=(RoleSelection(CT, scu=True, scp=True),)
            ),
        ),
    ],
)
def test_an_answer_to_what_was_not_asked_is_a_violation(lie: object) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        accepted_contexts(RQ, lie)  # type: ignore[arg-type]  # all are AssociateAC
    assert caught.value.abort_reason == 6


def test_a_context_left_unanswered_is_not_agreed() -> None:
    assert accepted_contexts(RQ, replace(AC, presentation_contexts=())) == {}


def test_two_contexts_of_one_class_are_kept_apart() -> None:
    rq = replace(
        RQ,
        presentation_contexts=(
            PresentationContextRQ(1, CT, (EXPLICIT,)),
            PresentationContextRQ(5, CT, (JPEG,)),
        ),
    )
    contexts = accepted_contexts(rq, negotiate(rq, {CT: (JPEG, EXPLICIT)}, local=LOCAL))
    assert {i: c.transfer_syntax for i, c in contexts.items()} == {1: EXPLICIT, 5: JPEG}
