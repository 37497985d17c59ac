"""Octets of the PDUs of PS3.8 9.3, except P-DATA-TF, which is streamed.

Integers are unsigned and big endian (PS3.8 9.3.1). Reserved fields are sent as zero and never tested. Items of an
unrecognized type are skipped (PS3.8 9.3.1).

**Invariant:** whatever is decoded, the only error is ``RemoteProtocolError``.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError, UsageError
from leadglass.base.ids import AE_TITLE_LENGTH_MAX, is_uid, parse_ae_title
from leadglass.base.limits import (
    ASSOCIATE_BYTES_MAX,
    PRESENTATION_CONTEXTS_MAX,
    TRANSFER_SYNTAXES_PER_CONTEXT_MAX,
)
from leadglass.base.secret import Secret
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
    PresentationContextAC,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    SOPClassCommonExtended,
    SOPClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserIdentityType,
    UserInformation,
)

HEADER: Final = struct.Struct(">BxI")
"""PDU-type, reserved, PDU-length. Source: PS3.8 9.3.1."""

_ITEM: Final = struct.Struct(">BxH")
"""Item-type, reserved, item-length. Source: PS3.8 9.3.2."""

_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_U16_PAIR: Final = struct.Struct(">HH")

_CONTEXT_RESULTS: Final = frozenset(ContextResult)
_IDENTITY_TYPES: Final = frozenset(UserIdentityType)

# Item types. Source: PS3.8 9.3.2, 9.3.3, D.1; PS3.7 D.3.3.
_APPLICATION_CONTEXT: Final = 0x10
_PRESENTATION_CONTEXT_RQ: Final = 0x20
_PRESENTATION_CONTEXT_AC: Final = 0x21
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51
_IMPLEMENTATION_CLASS_UID: Final = 0x52
_ASYNC_OPERATIONS: Final = 0x53
_ROLE_SELECTION: Final = 0x54
_IMPLEMENTATION_VERSION_NAME: Final = 0x55
_SOP_CLASS_EXTENDED: Final = 0x56
_SOP_CLASS_COMMON_EXTENDED: Final = 0x57
_USER_IDENTITY_RQ: Final = 0x58
_USER_IDENTITY_AC: Final = 0x59

_ONCE: Final = frozenset(
    {
        _MAXIMUM_LENGTH,
        _IMPLEMENTATION_CLASS_UID,
        _ASYNC_OPERATIONS,
        _IMPLEMENTATION_VERSION_NAME,
        _USER_IDENTITY_RQ,
        _USER_IDENTITY_AC,
    }
)
"""User information sub-items that a peer may send at most once."""

_SUB_ITEMS_MAX: Final = 4096
"""Items of one PDU and of one user information item. 1 MiB could hold 260 000 empty ones; requests in the field have
some 300 (128 contexts, and a role selection for each)."""

T = TypeVar("T")


def _invalid(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)


# --- decoding --------------------------------------------------------------------------------------------------


def decode(pdu_type: int, body: bytes | bytearray | memoryview) -> PDU:
    """Return the PDU of that type whose octets after the header are ``body``.

    Raises:
        RemoteProtocolError: it is not well formed, with the reason for the A-ABORT (PS3.8 Table 9-26).
    """
    decoder = _DECODERS.get(pdu_type)
    if decoder is None:
        raise RemoteProtocolError("unrecognized PDU type", abort_reason=AbortReason.UNRECOGNIZED_PDU)
    check_length(pdu_type, len(body))
    return decoder(bytes(body))


def check_length(pdu_type: int, length: int) -> None:
    """Check the PDU-length of anything but P-DATA-TF, before its octets are awaited.

    Raises:
        RemoteProtocolError: the type is unknown, or no PDU of that type has this length.
    """
    if pdu_type in {PDUType.A_ASSOCIATE_RQ, PDUType.A_ASSOCIATE_AC}:
        if not _ASSOCIATE_FIXED.size <= length <= ASSOCIATE_BYTES_MAX:
            raise _invalid("PDU-length of an A-ASSOCIATE PDU is out of bounds")
    elif pdu_type not in _DECODERS:
        raise RemoteProtocolError("unrecognized PDU type", abort_reason=AbortReason.UNRECOGNIZED_PDU)
    elif length != 4:
        raise _invalid("PDU-length must be 4 (PS3.8 9.3.4, 9.3.6 to 9.3.8)")


def _items(data: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item that ``data`` is made of."""
    offset, end = 0, len(data)
    count = 0
    while offset < end:
        count += 1
        if count > _SUB_ITEMS_MAX:
            raise _invalid(f"too many items in {where}")
        if end - offset < 4:
            raise _invalid(f"an item header is cut short in {where}")
        item_type, length = _ITEM.unpack_from(data, offset)
        offset += 4
        if length > end - offset:
            raise _invalid(f"item-length reaches beyond {where}")
        yield item_type, data[offset : offset + length]
        offset += length


def _uid(value: bytes, what: str) -> str:
    """Return a UID. Padding is not allowed (PS3.8 Annex F) but common, as NUL and as space."""
    try:
        text = value.rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise _invalid(f"{what} is not a UID") from None
    if not is_uid(text):
        raise _invalid(f"{what} is not a UID")
    return text


def _prefixed(data: bytes, offset: int, what: str) -> tuple[bytes, int]:
    """Return a value that stands behind its two-octet length, and the offset behind it."""
    if len(data) - offset < 2:
        raise _invalid(f"{what} is cut short")
    (length,) = _U16.unpack_from(data, offset)
    end = offset + 2 + length
    if end > len(data):
        raise _invalid(f"{what} is cut short")
    return data[offset + 2 : end], end


def _printable(value: bytes, length_max: int) -> str:
    """Return text that only informs, without what could hurt a log: it decides nothing, so it is never an error."""
    text = "".join(chr(octet) for octet in value[:length_max] if 0x20 <= octet < 0x7F)
    return text.strip(" ")


def _ae_title(value: bytes) -> str:
    try:
        return parse_ae_title(value.rstrip(b"\0").decode("ascii"))
    except (UnicodeDecodeError, UsageError):
        raise _invalid("not an AE title (PS3.8 Table 9-11)") from None


_ASSOCIATE_FIXED: Final = struct.Struct(">H2x16s16s32x")
# 7-8    Protocol-version: bit 0 is version 1.
# 9-10   Reserved.
# 11-26  Called-AE-title: 16 characters of ISO 646 G0; leading and trailing spaces not significant.
# 27-42  Calling-AE-title: as above.
# 43-74  Reserved.
# 75-    Variable items. Source: PS3.8 Tables 9-11 and 9-17.


def _decode_associate_rq(body: bytes) -> AssociateRQ:
    version, called, calling = _ASSOCIATE_FIXED.unpack_from(body)
    application_context: str | None = None
    user_information: UserInformation | None = None
    contexts: dict[int, PresentationContextRQ] = {}
    for item_type, value in _items(body[_ASSOCIATE_FIXED.size :], "A-ASSOCIATE-RQ"):
        if item_type == _PRESENTATION_CONTEXT_RQ:
            if len(contexts) == PRESENTATION_CONTEXTS_MAX:
                raise _invalid("more than 128 presentation contexts")
            context = _decode_context_rq(value)
            if context.context_id in contexts:
                raise _invalid("a presentation context id is used twice")
            contexts[context.context_id] = context
        elif item_type == _APPLICATION_CONTEXT:
            _expect_first(application_context)
            application_context = _uid(value, "application-context-name")
        elif item_type == _USER_INFORMATION:
            _expect_first(user_information)
            user_information = _decode_user_information(value)
    if application_context is None:
        raise _invalid("A-ASSOCIATE-RQ without an application context")
    if not contexts:
        raise _invalid("A-ASSOCIATE-RQ without a presentation context")
    return AssociateRQ(
        called_ae_title=_ae_title(called),
        calling_ae_title=_ae_title(calling),
        presentation_contexts=tuple(contexts.values()),
        # Its absence breaks PS3.8 9.3.2, but says nothing wrong: no limit, no name.
        user_information=user_information or UserInformation(maximum_length=0),
        application_context_name=application_context,
        protocol_version=version,
    )


def _decode_associate_ac(body: bytes) -> AssociateAC:
    version, called, calling = _ASSOCIATE_FIXED.unpack_from(body)
    application_context = ""
    user_information: UserInformation | None = None
    contexts: dict[int, PresentationContextAC] = {}
    for item_type, value in _items(body[_ASSOCIATE_FIXED.size :], "A-ASSOCIATE-AC"):
        if item_type == _PRESENTATION_CONTEXT_AC:
            if len(contexts) == PRESENTATION_CONTEXTS_MAX:
                raise _invalid("more than 128 presentation contexts")
            context = _decode_context_ac(value)
            if context.context_id in contexts:
                raise _invalid("a presentation context id is used twice")
            contexts[context.context_id] = context
        elif item_type == _APPLICATION_CONTEXT:
            _expect_first(application_context or None)
            application_context = _uid(value, "application-context-name")
        elif item_type == _USER_INFORMATION:
            _expect_first(user_information)
            user_information = _decode_user_information(value)
    return AssociateAC(
        # Reserved in an A-ASSOCIATE-AC: "shall not be tested when received" (PS3.8 Table 9-17).
        called_ae_title=_printable(called, AE_TITLE_LENGTH_MAX),
        calling_ae_title=_printable(calling, AE_TITLE_LENGTH_MAX),
        presentation_contexts=tuple(contexts.values()),
        user_information=user_information or UserInformation(maximum_length=0),
        application_context_name=application_context,
        protocol_version=version,
    )


def _expect_first(seen: object | None) -> None:
    if seen is not None:
        raise RemoteProtocolError(
            "an item comes twice that may come once", abort_reason=AbortReason.UNEXPECTED_PARAMETER
        )


def _context_id(value: bytes) -> int:
    # 5 presentation-context-ID: odd, 1 to 255. Source: PS3.8 Table 9-13.
    if len(value) < 4:
        raise _invalid("a presentation context item is cut short")
    if value[0] % 2 == 0:
        raise _invalid("a presentation context id is even")
    return value[0]


def _decode_context_rq(value: bytes) -> PresentationContextRQ:
    # 5 presentation-context-ID; 6-8 reserved; 9- one abstract syntax, one or more transfer syntaxes.
    # Source: PS3.8 Table 9-13.
    context_id = _context_id(value)
    abstract_syntax: str | None = None
    transfer_syntaxes: list[str] = []
    for item_type, name in _items(value[4:], "a presentation context"):
        if item_type == _ABSTRACT_SYNTAX:
            _expect_first(abstract_syntax)
            abstract_syntax = _uid(name, "abstract-syntax-name")
        elif item_type == _TRANSFER_SYNTAX:
            if len(transfer_syntaxes) == TRANSFER_SYNTAXES_PER_CONTEXT_MAX:
                raise _invalid("too many transfer syntaxes in a presentation context")
            transfer_syntaxes.append(_uid(name, "transfer-syntax-name"))
    if abstract_syntax is None or not transfer_syntaxes:
        raise _invalid("a presentation context without abstract or transfer syntax")
    return PresentationContextRQ(context_id, abstract_syntax, tuple(transfer_syntaxes))


def _decode_context_ac(value: bytes) -> PresentationContextAC:
    # 5 presentation-context-ID; 6 reserved; 7 result/reason; 8 reserved; 9- one transfer syntax, significant only
    # when accepted. Source: PS3.8 Table 9-18.
    context_id = _context_id(value)
    result = ContextResult(value[2]) if value[2] in _CONTEXT_RESULTS else ContextResult.NO_REASON
    if result is not ContextResult.ACCEPTANCE:
        return PresentationContextAC(context_id, result)
    names = [
        name
        for item_type, name in _items(value[4:], "a presentation context")
        if item_type == _TRANSFER_SYNTAX
    ]
    if len(names) != 1:
        raise _invalid("an accepted presentation context has one transfer syntax")
    return PresentationContextAC(context_id, result, _uid(names[0], "transfer-syntax-name"))


def _decode_user_information(value: bytes) -> UserInformation:
    """Source: PS3.8 Table 9-16; sub-items in PS3.8 D.1 and PS3.7 D.3.3."""
    once: dict[int, bytes] = {}
    roles: list[RoleSelection] = []
    extended: list[SOPClassExtended] = []
    common: list[SOPClassCommonExtended] = []
    for item_type, item in _items(value, "user information"):
        if item_type in _ONCE:
            _expect_first(once.get(item_type))
            once[item_type] = item
        elif item_type == _ROLE_SELECTION:
            roles.append(_decode_role(item))
        elif item_type == _SOP_CLASS_EXTENDED:
            extended.append(_decode_extended(item))
        elif item_type == _SOP_CLASS_COMMON_EXTENDED:
            common.append(_decode_common_extended(item))
    return UserInformation(
        # Absence breaks PS3.8 D.1.1 but says nothing wrong: no limit.
        maximum_length=_optional(once, _MAXIMUM_LENGTH, _decode_maximum_length) or 0,
        implementation_class_uid=_optional(once, _IMPLEMENTATION_CLASS_UID, _decode_implementation_class_uid)
        or "",
        implementation_version_name=_printable(once.get(_IMPLEMENTATION_VERSION_NAME, b""), 16),
        async_operations=_optional(once, _ASYNC_OPERATIONS, _decode_async_operations),
        role_selections=tuple(roles),
        sop_class_extended=tuple(extended),
        sop_class_common_extended=tuple(common),
        user_identity=_optional(once, _USER_IDENTITY_RQ, _decode_user_identity),
        user_identity_response=_optional(once, _USER_IDENTITY_AC, _decode_user_identity_response),
    )


def _optional(values: dict[int, bytes], item_type: int, decoder: Callable[[bytes], T]) -> T | None:
    value = values.get(item_type)
    return None if value is None else decoder(value)


def _decode_maximum_length(item: bytes) -> int:
    # 5-8 maximum-length-received. Source: PS3.8 Table D.1-1.
    if len(item) != 4:
        raise _invalid("maximum-length-received has four octets")
    (length,) = _U32.unpack(item)
    return int(length)


def _decode_implementation_class_uid(item: bytes) -> str:
    # 5-xxx implementation-class-uid; empty where a toolkit has none. Source: PS3.7 Table D.3-1.
    return _uid(item, "implementation-class-uid") if item.rstrip(b"\0 ") else ""


def _decode_async_operations(item: bytes) -> AsyncOperations:
    # 5-6 maximum-number-operations-invoked; 7-8 -performed. Source: PS3.7 Table D.3-7.
    if len(item) != 4:
        raise _invalid("an asynchronous operations window has four octets")
    return AsyncOperations(*_U16_PAIR.unpack(item))


def _decode_role(item: bytes) -> RoleSelection:
    # 5-6 UID-length; 7- SOP-class-uid; then SCU-role and SCP-role, one octet each. Source: PS3.7 Table D.3-9.
    uid, offset = _prefixed(item, 0, "a role selection")
    if len(item) - offset != 2:
        raise _invalid("a role selection ends with two octets")
    if item[offset] > 1 or item[offset + 1] > 1:
        raise _invalid("a role is 0 or 1")
    return RoleSelection(_uid(uid, "SOP-class-uid"), scu=item[offset] == 1, scp=item[offset + 1] == 1)


def _decode_extended(item: bytes) -> SOPClassExtended:
    # 5-6 SOP-class-uid-length; 7- SOP-class-uid; rest service-class-application-information.
    # Source: PS3.7 Table D.3-11.
    uid, offset = _prefixed(item, 0, "an extended negotiation")
    return SOPClassExtended(_uid(uid, "SOP-class-uid"), item[offset:])


def _decode_common_extended(item: bytes) -> SOPClassCommonExtended:
    # 5-6 SOP-class-uid-length; 7- SOP-class-uid; service-class-uid-length; service-class-uid;
    # related-general-sop-class-identification-length; that many octets of length-prefixed UIDs; rest reserved.
    # Source: PS3.7 Tables D.3-12 and D.3-13.
    uid, offset = _prefixed(item, 0, "a common extended negotiation")
    service, offset = _prefixed(item, offset, "a common extended negotiation")
    identification, _ = _prefixed(item, offset, "a common extended negotiation")
    related: list[str] = []
    offset = 0
    while offset < len(identification):
        name, offset = _prefixed(identification, offset, "a related general SOP class")
        related.append(_uid(name, "related-general-sop-class-uid"))
    return SOPClassCommonExtended(
        _uid(uid, "SOP-class-uid"), _uid(service, "service-class-uid"), tuple(related)
    )


def _decode_user_identity(item: bytes) -> UserIdentity | None:
    # 5 user-identity-type; 6 positive-response-requested; 7-8 primary-field-length; primary-field;
    # secondary-field-length; secondary-field. Source: PS3.7 Table D.3-14.
    if len(item) < 2:
        raise _invalid("a user identity is cut short")
    primary, offset = _prefixed(item, 2, "a user identity")
    secondary, offset = _prefixed(item, offset, "a user identity")
    if offset != len(item):
        raise _invalid("a user identity is followed by other octets")
    if item[0] not in _IDENTITY_TYPES:
        raise _invalid("user-identity-type is 1 to 5")
    return UserIdentity(UserIdentityType(item[0]), item[1] == 1, Secret(primary), Secret(secondary))


def _decode_user_identity_response(item: bytes) -> UserIdentityResponse:
    # 5-6 server-response-length; server-response. Source: PS3.7 Table D.3-15.
    response, offset = _prefixed(item, 0, "a user identity response")
    if offset != len(item):
        raise _invalid("a user identity response is followed by other octets")
    return UserIdentityResponse(Secret(response))


def _decode_associate_rj(body: bytes) -> AssociateRJ:
    # 7 reserved; 8 result; 9 source; 10 reason/diag. Source: PS3.8 Table 9-21.
    return AssociateRJ(body[1], body[2], body[3])


def _decode_release_rq(_body: bytes) -> ReleaseRQ:
    return ReleaseRQ()  # 7-10 reserved. Source: PS3.8 Table 9-24.


def _decode_release_rp(_body: bytes) -> ReleaseRP:
    return ReleaseRP()  # 7-10 reserved. Source: PS3.8 Table 9-25.


def _decode_abort(body: bytes) -> Abort:
    # 7-8 reserved; 9 source; 10 reason/diag. Source: PS3.8 Table 9-26.
    return Abort(body[2], body[3])


_DECODERS: Final[dict[int, Callable[[bytes], PDU]]] = {
    PDUType.A_ASSOCIATE_RQ: _decode_associate_rq,
    PDUType.A_ASSOCIATE_AC: _decode_associate_ac,
    PDUType.A_ASSOCIATE_RJ: _decode_associate_rj,
    PDUType.A_RELEASE_RQ: _decode_release_rq,
    PDUType.A_RELEASE_RP: _decode_release_rp,
    PDUType.A_ABORT: _decode_abort,
}


# --- encoding --------------------------------------------------------------------------------------------------


def encode(pdu: PDU) -> bytes:
    """Return the octets of a PDU, header included.

    Raises:
        LocalProtocolError: a value does not fit its field.
    """
    try:
        pdu_type, body = _encode_body(pdu)
    except (struct.error, ValueError) as error:  # ValueError: non-ASCII text, or a number beyond an octet
        raise LocalProtocolError(f"a value does not fit its field in {type(pdu).__name__}") from error
    if len(body) > ASSOCIATE_BYTES_MAX:
        raise LocalProtocolError("an A-ASSOCIATE PDU of ours is too long")
    return HEADER.pack(pdu_type, len(body)) + body


def _encode_body(pdu: PDU) -> tuple[PDUType, bytes]:
    match pdu:
        case AssociateRQ():
            contexts = [_encode_context_rq(context) for context in pdu.presentation_contexts]
            return PDUType.A_ASSOCIATE_RQ, _encode_associate(pdu, contexts)
        case AssociateAC():
            contexts = [_encode_context_ac(context) for context in pdu.presentation_contexts]
            return PDUType.A_ASSOCIATE_AC, _encode_associate(pdu, contexts)
        case AssociateRJ():
            return PDUType.A_ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason))
        case ReleaseRQ():
            return PDUType.A_RELEASE_RQ, bytes(4)
        case ReleaseRP():
            return PDUType.A_RELEASE_RP, bytes(4)
        case Abort():
            return PDUType.A_ABORT, bytes((0, 0, pdu.source, pdu.reason))


def _item(item_type: int, value: bytes) -> bytes:
    return _ITEM.pack(item_type, len(value)) + value


def _encode_prefixed(value: bytes) -> bytes:
    return _U16.pack(len(value)) + value


def _encode_uid(uid: str) -> bytes:
    if not is_uid(uid):
        raise ValueError("not a UID")
    return uid.encode("ascii")


def _encode_ae_title(title: str) -> bytes:
    encoded = title.encode("ascii").ljust(AE_TITLE_LENGTH_MAX, b" ")
    if len(encoded) > AE_TITLE_LENGTH_MAX:
        raise ValueError("longer than 16 characters")
    return encoded


def _encode_associate(pdu: AssociateRQ | AssociateAC, contexts: list[bytes]) -> bytes:
    if len(contexts) > PRESENTATION_CONTEXTS_MAX:
        raise ValueError("more than 128 presentation contexts")
    fixed = _ASSOCIATE_FIXED.pack(
        pdu.protocol_version, _encode_ae_title(pdu.called_ae_title), _encode_ae_title(pdu.calling_ae_title)
    )
    application_context = _item(_APPLICATION_CONTEXT, _encode_uid(pdu.application_context_name))
    user_information = _item(_USER_INFORMATION, _encode_user_information(pdu.user_information))
    return b"".join((fixed, application_context, *contexts, user_information))


def _encode_context_rq(context: PresentationContextRQ) -> bytes:
    if context.context_id % 2 == 0 or not context.transfer_syntaxes:
        raise ValueError("an even presentation context id, or no transfer syntax")
    parts = [
        bytes((context.context_id, 0, 0, 0)),
        _item(_ABSTRACT_SYNTAX, _encode_uid(context.abstract_syntax)),
    ]
    parts += [_item(_TRANSFER_SYNTAX, _encode_uid(uid)) for uid in context.transfer_syntaxes]
    return _item(_PRESENTATION_CONTEXT_RQ, b"".join(parts))


def _encode_context_ac(context: PresentationContextAC) -> bytes:
    accepted = context.result is ContextResult.ACCEPTANCE
    # The item is always there; its value is significant only when accepted. Source: PS3.8 9.3.3.2.
    name = _encode_uid(context.transfer_syntax) if accepted or context.transfer_syntax else b""
    fixed = bytes((context.context_id, 0, context.result, 0))
    return _item(_PRESENTATION_CONTEXT_AC, fixed + _item(_TRANSFER_SYNTAX, name))


def _encode_user_information(user: UserInformation) -> bytes:
    parts = [_item(_MAXIMUM_LENGTH, _U32.pack(user.maximum_length))]
    if user.implementation_class_uid:
        parts.append(_item(_IMPLEMENTATION_CLASS_UID, _encode_uid(user.implementation_class_uid)))
    if user.async_operations is not None:
        window = _U16_PAIR.pack(user.async_operations.invoked, user.async_operations.performed)
        parts.append(_item(_ASYNC_OPERATIONS, window))
    for role in user.role_selections:
        uid = _encode_prefixed(_encode_uid(role.sop_class_uid))
        parts.append(_item(_ROLE_SELECTION, uid + bytes((role.scu, role.scp))))
    if user.implementation_version_name:
        if len(user.implementation_version_name) > 16:
            raise ValueError("implementation version name has more than 16 characters")
        parts.append(_item(_IMPLEMENTATION_VERSION_NAME, user.implementation_version_name.encode("ascii")))
    for extended in user.sop_class_extended:
        uid = _encode_prefixed(_encode_uid(extended.sop_class_uid))
        parts.append(_item(_SOP_CLASS_EXTENDED, uid + extended.information))
    for common in user.sop_class_common_extended:
        related = b"".join(
            _encode_prefixed(_encode_uid(uid)) for uid in common.related_general_sop_class_uids
        )
        names = (_encode_uid(common.sop_class_uid), _encode_uid(common.service_class_uid), related)
        parts.append(_item(_SOP_CLASS_COMMON_EXTENDED, b"".join(map(_encode_prefixed, names))))
    if user.user_identity is not None:
        parts.append(_item(_USER_IDENTITY_RQ, _encode_user_identity(user.user_identity)))
    if user.user_identity_response is not None:
        response = user.user_identity_response.server_response.reveal()
        parts.append(_item(_USER_IDENTITY_AC, _encode_prefixed(response)))
    return b"".join(parts)


def _encode_user_identity(identity: UserIdentity) -> bytes:
    fixed = bytes((identity.identity_type, identity.positive_response_requested))
    primary = _encode_prefixed(identity.primary.reveal())
    return fixed + primary + _encode_prefixed(identity.secondary.reveal())
