"""Octets of PDUs: round trips, garbage, lies, and a foreign implementation in both directions."""

import contextlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError
from leadglass.base.limits import ASSOCIATE_BYTES_MAX
from leadglass.base.secret import Secret
from leadglass.wire.ul.codec import check_length, decode, encode
from leadglass.wire.ul.pdu import (
    PDU,
    Abort,
    AbortReason,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsyncOperations,
    ContextResult,
    PDUType,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtended,
    SOPClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserIdentityType,
)
from wire.playbook import AC, CT, IMPLICIT, RQ
from wire.ul.pdus import answers, pdus, requests

FULL = replace(
    RQ,
    user_information=replace(
        RQ.user_information,
        async_operations=AsyncOperations(3, 4),
        role_selections=(RoleSelection(CT, scu=True, scp=True),),
        sop_class_extended=(SOPClassExtended(CT, b"\x02\x00\x03\x00\x01\x00"),),
        sop_class_common_extended=(SOPClassCommonExtended(CT, "1.2.840.10008.4.2", ("1.2.3", "1.2.4")),),
        user_identity=UserIdentity(
            UserIdentityType.USERNAME_PASSCODE,
            positive_response_requested=True,
            primary=Secret(b"ann"),
            secondary=Secret(b"open"),
        ),
    ),
)


def body(data: bytes) -> tuple[int, bytes]:
    return data[0], data[6:]


def item(item_type: int, value: bytes) -> bytes:
    return struct.pack(">BxH", item_type, len(value)) + value


def request(*items: bytes) -> bytes:
    return struct.pack(">H2x16s16s32x", 1, b"B".ljust(16), b"A".ljust(16)) + b"".join(items)


APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
CONTEXT = item(0x20, b"\x01\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode()))
USER = item(0x50, item(0x51, b"\0\0\x40\0"))


@given(pdus)
def test_what_is_decoded_encodes_to_the_same_octets(pdu: PDU) -> None:
    data = encode(pdu)
    assert struct.unpack(">I", data[2:6])[0] == len(data) - 6
    assert encode(decode(*body(data))) == data


@given(pdus)
def test_values_survive(pdu: PDU) -> None:
    # Secrets have no equality: compare the rest, and the secrets by the octets (test above).
    if isinstance(pdu, AssociateRQ | AssociateAC):
        pdu = replace(
            pdu,
            user_information=replace(pdu.user_information, user_identity=None, user_identity_response=None),
        )
    assert decode(*body(encode(pdu))) == pdu


@given(st.integers(0, 255), st.binary(max_size=300))
def test_garbage_gives_only_remote_protocol_error(pdu_type: int, garbage: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(pdu_type, garbage)


@given(st.one_of(requests, answers), st.data())
def test_damage_gives_only_remote_protocol_error(pdu: AssociateRQ | AssociateAC, data: st.DataObject) -> None:
    octets = bytearray(encode(pdu))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(6, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(6, len(octets)))
    with contextlib.suppress(RemoteProtocolError):
        decode(octets[0], octets[6:cut])


@pytest.mark.parametrize(
    ("name", "octets", "reason"),
    [
        ("no application context", request(CONTEXT, USER), 6),
        ("no presentation context", request(APPLICATION, USER), 6),
        ("two application contexts", request(APPLICATION, APPLICATION, CONTEXT, USER), 5),
        ("two user informations", request(APPLICATION, CONTEXT, USER, USER), 5),
        ("the same context id twice", request(APPLICATION, CONTEXT, CONTEXT, USER), 6),
        (
            "an even context id",
            request(APPLICATION, CONTEXT.replace(b"\x01\0\0\0", b"\x02\0\0\0", 1), USER),
            6,
        ),
        ("no abstract syntax", request(APPLICATION, item(0x20, b"\x01\0\0\0" + item(0x40, b"1.2"))), 6),
        ("no transfer syntax", request(APPLICATION, item(0x20, b"\x01\0\0\0" + item(0x30, b"1.2"))), 6),
        (
            "two abstract syntaxes",
            request(APPLICATION, item(0x20, b"\x01\0\0\0" + item(0x30, b"1.2") * 2)),
            5,
        ),
        (
            "an abstract syntax that is a path",
            request(APPLICATION, CONTEXT.replace(CT.encode(), b"../../../../../etc/shadow")),
            6,
        ),
        ("an item that reaches out", request(APPLICATION, CONTEXT, USER)[:-1], 6),
        ("half an item header", request(APPLICATION, CONTEXT, USER, b"\x50\0"), 6),
        ("a short maximum length", request(APPLICATION, CONTEXT, item(0x50, item(0x51, b"\0\0\0"))), 6),
        ("a role of 2", request(APPLICATION, CONTEXT, item(0x50, item(0x54, b"\0\x031.2\x02\0"))), 6),
        (
            "a role without its end",
            request(APPLICATION, CONTEXT, item(0x50, item(0x54, b"\0\x031.2\x01"))),
            6,
        ),
        ("two maximum lengths", request(APPLICATION, CONTEXT, item(0x50, item(0x51, b"\0\0\x40\0") * 2)), 5),
        (
            "user identity type 6",
            request(APPLICATION, CONTEXT, item(0x50, item(0x58, b"\x06\0\0\x01a\0\0"))),
            6,
        ),
        (
            "user identity that reaches out",
            request(APPLICATION, CONTEXT, item(0x50, item(0x58, b"\x01\0\xff\xffa\0\0"))),
            6,
        ),
        (
            "an empty called AE title",
            request(APPLICATION, CONTEXT, USER).replace(b"B" + b" " * 15, b" " * 16),
            6,
        ),
        (
            "a newline in the calling AE title",
            request(APPLICATION, CONTEXT, USER).replace(b"A   ", b"A\nB "),
            6,
        ),
    ],
)
def test_a_request_that_lies_is_refused_with_its_reason(name: str, octets: bytes, reason: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(PDUType.A_ASSOCIATE_RQ, octets)
    assert caught.value.abort_reason == reason, name


def test_unknown_items_are_skipped() -> None:
    unknown = item(0x7F, b"something else")
    user = item(0x50, unknown + item(0x51, b"\0\0\x40\0") + unknown)
    rq = decode(PDUType.A_ASSOCIATE_RQ, request(unknown, APPLICATION, CONTEXT, user, unknown))
    assert isinstance(rq, AssociateRQ)
    assert rq.user_information.maximum_length == 0x4000


def test_padded_uids_are_taken() -> None:
    padded = item(
        0x20, b"\x01\0\0\0" + item(0x30, CT.encode() + b"\0") + item(0x40, IMPLICIT.encode() + b"\0 ")
    )
    rq = decode(PDUType.A_ASSOCIATE_RQ, request(APPLICATION, padded, USER))
    assert isinstance(rq, AssociateRQ)
    assert rq.presentation_contexts == (PresentationContextRQ(1, CT, (IMPLICIT,)),)


def test_ten_thousand_presentation_contexts_are_refused() -> None:
    octets = request(
        APPLICATION,
        *(
            item(0x20, bytes((2 * n % 256 | 1, 0, 0, 0)) + item(0x30, b"1.2") + item(0x40, b"1.2"))
            for n in range(10_000)
        ),
        USER,
    )
    assert len(octets) < ASSOCIATE_BYTES_MAX
    with pytest.raises(RemoteProtocolError):
        decode(PDUType.A_ASSOCIATE_RQ, octets)


def test_128_presentation_contexts_are_taken() -> None:
    contexts = tuple(PresentationContextRQ(2 * n + 1, CT, (IMPLICIT,)) for n in range(128))
    assert decode(*body(encode(replace(RQ, presentation_contexts=contexts)))) == replace(
        RQ, presentation_contexts=contexts
    )


def test_a_thousand_transfer_syntaxes_are_refused() -> None:
    context = item(0x20, b"\x01\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.2") * 1000)
    with pytest.raises(RemoteProtocolError):
        decode(PDUType.A_ASSOCIATE_RQ, request(APPLICATION, context, USER))


@pytest.mark.parametrize("pdu_type", [0, 4, 8, 0xFF])
def test_other_types_are_unrecognized(pdu_type: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_length(pdu_type, 4)
    assert caught.value.abort_reason == AbortReason.UNRECOGNIZED_PDU


@pytest.mark.parametrize(
    ("pdu_type", "length"), [(1, 67), (1, ASSOCIATE_BYTES_MAX + 1), (2, 2**32 - 1), (5, 5), (7, 0)]
)
def test_lengths_are_refused_by_the_header(pdu_type: int, length: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_length(pdu_type, length)
    assert caught.value.abort_reason == AbortReason.INVALID_PARAMETER_VALUE


def test_secrets_are_not_in_a_representation() -> None:
    shown = repr(decode(*body(encode(FULL))))
    assert "open" not in shown
    assert "ann" not in shown


@pytest.mark.parametrize(
    "pdu",
    [
        replace(RQ, calling_ae_title="seventeen letters"),
        replace(RQ, application_context_name="not a uid"),
        replace(RQ, presentation_contexts=(PresentationContextRQ(2, CT, (IMPLICIT,)),)),
        replace(RQ, presentation_contexts=(PresentationContextRQ(1, CT, ()),)),
        replace(RQ, called_ae_title="Größe"),
        AssociateRJ(256, 0, 0),
        Abort(-1, 0),
    ],
)
def test_our_own_nonsense_is_not_sent(pdu: PDU) -> None:
    with pytest.raises(LocalProtocolError):
        encode(pdu)


# --- pynetdicom, both ways -----------------------------------------------------------------------------------------


def test_pynetdicom_reads_our_request() -> None:
    theirs: Any = A_ASSOCIATE_RQ()
    theirs.decode(encode(FULL))
    assert theirs.called_ae_title.strip() == "LEADGLASS"
    primitive = theirs.to_primitive()
    assert [c.context_id for c in primitive.presentation_context_definition_list] == [1, 3]
    assert primitive.presentation_context_definition_list[0].abstract_syntax == CT
    assert primitive.maximum_length_received == 16384
    assert theirs.user_information.user_identity.primary == b"ann"
    assert theirs.user_information.user_identity.secondary == b"open"
    assert theirs.user_information.async_ops_window.maximum_number_operations_performed == 4
    assert theirs.user_information.role_selection[CT].scp_role == 1
    assert theirs.user_information.common_ext_neg[0].related_general_sop_class_identification == [
        "1.2.3",
        "1.2.4",
    ]


def test_what_pynetdicom_encodes_again_is_the_same_to_us() -> None:
    theirs: Any = A_ASSOCIATE_RQ()
    theirs.decode(encode(FULL))
    again = decode(*body(theirs.encode()))
    assert encode(again) == encode(FULL)


def test_pynetdicom_reads_our_answer_and_we_read_theirs() -> None:
    ours = replace(
        AC,
        user_information=replace(
            AC.user_information, user_identity_response=UserIdentityResponse(Secret(b"ticket"))
        ),
    )
    theirs: Any = A_ASSOCIATE_AC()
    theirs.decode(encode(ours))
    assert [c.result for c in theirs.presentation_context] == [ContextResult.ACCEPTANCE] * 2
    assert theirs.user_information.user_identity.server_response == b"ticket"
    assert encode(decode(*body(theirs.encode()))) == encode(ours)


def test_pynetdicom_reads_our_refusals() -> None:
    rejection = A_ASSOCIATE_RJ()
    rejection.decode(encode(AssociateRJ(1, 1, 3)))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (1, 1, 3)
    abort = A_ABORT_RQ()
    abort.decode(encode(Abort(2, 6)))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    assert decode(*body(abort.encode())) == Abort(2, 6)
