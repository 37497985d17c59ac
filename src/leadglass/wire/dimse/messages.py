"""DIMSE messages as values. Source: PS3.7 9.3 and 10.3, Annex E.

The names of PS3.7 are kept. A text that is absent is "", a number that is absent is None. UIDs of instances and
comments are kept out of ``repr``: they may identify a patient's object, and a representation reaches logs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final, TypeVar

from leadglass.base.errors import LocalProtocolError, RemoteProtocolError
from leadglass.base.ids import is_uid
from leadglass.wire.dimse import status
from leadglass.wire.dimse.command import CommandSet, Value, decode_elements, encode_elements
from leadglass.wire.dimse.elements import ELEMENTS, E

RESPONSE_BIT: Final = 0x8000
NO_DATASET: Final = 0x0101
"""Command Data Set Type that says: no data set. Any other value says that there is one. Source: PS3.7 E.1."""

_WITH_DATASET: Final = 0x0001


class CommandField(IntEnum):
    """Source: PS3.7 Table E.1-1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class Priority(IntEnum):
    """Source: PS3.7 E.1. A peer may send any number."""

    MEDIUM = 0x0000
    HIGH = 0x0001
    LOW = 0x0002


@dataclass(frozen=True, slots=True)
class CEchoRQ:
    """C-ECHO-RQ. Source: PS3.7 9.3.5.1."""

    command_field: ClassVar[CommandField] = CommandField.C_ECHO_RQ
    has_dataset: ClassVar[bool] = False
    message_id: int
    affected_sop_class_uid: str


@dataclass(frozen=True, slots=True)
class CEchoRSP:
    """C-ECHO-RSP. Source: PS3.7 9.3.5.2."""

    command_field: ClassVar[CommandField] = CommandField.C_ECHO_RSP
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str = ""
    error_comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CStoreRQ:
    """C-STORE-RQ. Source: PS3.7 9.3.1.1.

    Attributes:
        affected_sop_instance_uid: as the peer wrote it: ``objection`` says whether it is a UID.
        move_originator_ae_title: of the C-MOVE that this is a sub-operation of.
        move_originator_message_id: as above.
    """

    command_field: ClassVar[CommandField] = CommandField.C_STORE_RQ
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str = field(repr=False)
    priority: int = Priority.MEDIUM
    move_originator_ae_title: str = ""
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class CStoreRSP:
    """C-STORE-RSP. Source: PS3.7 9.3.1.2."""

    command_field: ClassVar[CommandField] = CommandField.C_STORE_RSP
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str = ""
    affected_sop_instance_uid: str = field(default="", repr=False)
    offending_elements: tuple[int, ...] = ()
    error_comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CFindRQ:
    """C-FIND-RQ. Source: PS3.7 9.3.2.1."""

    command_field: ClassVar[CommandField] = CommandField.C_FIND_RQ
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class CFindRSP:
    """C-FIND-RSP; with a data set while it is pending. Source: PS3.7 9.3.2.2."""

    command_field: ClassVar[CommandField] = CommandField.C_FIND_RSP
    message_id_being_responded_to: int
    status: int
    has_dataset: bool = False
    affected_sop_class_uid: str = ""
    offending_elements: tuple[int, ...] = ()
    error_comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CCancelRQ:
    """C-CANCEL-RQ: C-CANCEL-FIND, -GET and -MOVE are the same on the wire. Source: PS3.7 9.3.2.3."""

    command_field: ClassVar[CommandField] = CommandField.C_CANCEL_RQ
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int


@dataclass(frozen=True, slots=True)
class CMoveRQ:
    """C-MOVE-RQ. Source: PS3.7 9.3.4.1.

    Attributes:
        move_destination: as the peer wrote it, without padding; not checked to be an AE title.
    """

    command_field: ClassVar[CommandField] = CommandField.C_MOVE_RQ
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    move_destination: str
    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class CMoveRSP:
    """C-MOVE-RSP; its data set is the Failed SOP Instance UID List. Source: PS3.7 9.3.4.2."""

    command_field: ClassVar[CommandField] = CommandField.C_MOVE_RSP
    message_id_being_responded_to: int
    status: int
    has_dataset: bool = False
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    affected_sop_class_uid: str = ""
    offending_elements: tuple[int, ...] = ()
    error_comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CGetRQ:
    """C-GET-RQ. Source: PS3.7 9.3.3.1."""

    command_field: ClassVar[CommandField] = CommandField.C_GET_RQ
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class CGetRSP:
    """C-GET-RSP; its data set is the Failed SOP Instance UID List. Source: PS3.7 9.3.3.2."""

    command_field: ClassVar[CommandField] = CommandField.C_GET_RSP
    message_id_being_responded_to: int
    status: int
    has_dataset: bool = False
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    affected_sop_class_uid: str = ""
    offending_elements: tuple[int, ...] = ()
    error_comment: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NEventReportRQ:
    """N-EVENT-REPORT-RQ. Source: PS3.7 10.3.1.1."""

    command_field: ClassVar[CommandField] = CommandField.N_EVENT_REPORT_RQ
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str = field(repr=False)
    event_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True)
class NEventReportRSP:
    """N-EVENT-REPORT-RSP. Source: PS3.7 10.3.1.2."""

    command_field: ClassVar[CommandField] = CommandField.N_EVENT_REPORT_RSP
    message_id_being_responded_to: int
    status: int
    has_dataset: bool = False
    affected_sop_class_uid: str = ""
    affected_sop_instance_uid: str = field(default="", repr=False)
    event_type_id: int | None = None
    error_comment: str = field(default="", repr=False)
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class NActionRQ:
    """N-ACTION-RQ. Source: PS3.7 10.3.4.1."""

    command_field: ClassVar[CommandField] = CommandField.N_ACTION_RQ
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str = field(repr=False)
    action_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True)
class NActionRSP:
    """N-ACTION-RSP. Source: PS3.7 10.3.4.2."""

    command_field: ClassVar[CommandField] = CommandField.N_ACTION_RSP
    message_id_being_responded_to: int
    status: int
    has_dataset: bool = False
    affected_sop_class_uid: str = ""
    affected_sop_instance_uid: str = field(default="", repr=False)
    action_type_id: int | None = None
    error_comment: str = field(default="", repr=False)
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class OtherMessage:
    """N-GET, N-SET, N-CREATE or N-DELETE, not taken apart.

    Attributes:
        elements: by tag; Command Field and Command Data Set Type are not among them.
    """

    command_field: CommandField
    has_dataset: bool
    elements: Mapping[int, int | str | tuple[int, ...]] = field(repr=False)


_OtherResponse = CEchoRSP | CFindRSP | CGetRSP | CMoveRSP | NEventReportRSP | NActionRSP
Response = CStoreRSP | _OtherResponse

Message = (
    CEchoRQ
    | CEchoRSP
    | CStoreRQ
    | CStoreRSP
    | CFindRQ
    | CFindRSP
    | CCancelRQ
    | CMoveRQ
    | CMoveRSP
    | CGetRQ
    | CGetRSP
    | NEventReportRQ
    | NEventReportRSP
    | NActionRQ
    | NActionRSP
    | OtherMessage
)


def decode(command_set: bytes | bytearray | memoryview) -> Message:
    """Return the message of a whole command set.

    Raises:
        RemoteProtocolError: it is not a command set of PS3.7, or it lies.
    """
    elements = decode_elements(command_set)
    command_field = elements.numbers.get(E.CommandField)
    decoder = _DECODERS.get(command_field)
    if decoder is None:
        raise RemoteProtocolError("a command set without a known Command Field (PS3.7 E.1)")
    # "0101H: no data set; any other value: there is one" (PS3.7 E.1).
    has_dataset = _number(elements, E.CommandDataSetType) != NO_DATASET
    message = decoder(elements, has_dataset)
    if message.has_dataset != has_dataset:
        raise RemoteProtocolError("Command Data Set Type contradicts the command")
    return message


def encode(message: Message) -> bytes:
    """Return the command set, group length included.

    Raises:
        LocalProtocolError: a value does not fit its element.
    """
    head: tuple[tuple[int, Value | None], ...] = (
        (E.CommandField, message.command_field),
        (E.CommandDataSetType, _WITH_DATASET if message.has_dataset else NO_DATASET),
    )
    match message:
        case CStoreRQ():
            _require(message.affected_sop_class_uid, message.affected_sop_instance_uid)
            return encode_elements(
                (
                    (E.AffectedSOPClassUID, message.affected_sop_class_uid),
                    head[0],
                    (E.MessageID, message.message_id),
                    (E.Priority, message.priority),
                    head[1],
                    (E.AffectedSOPInstanceUID, message.affected_sop_instance_uid),
                    (E.MoveOriginatorApplicationEntityTitle, message.move_originator_ae_title),
                    (E.MoveOriginatorMessageID, message.move_originator_message_id),
                )
            )
        case CStoreRSP():
            return encode_elements(
                (
                    (E.AffectedSOPClassUID, message.affected_sop_class_uid),
                    head[0],
                    (E.MessageIDBeingRespondedTo, message.message_id_being_responded_to),
                    head[1],
                    (E.Status, message.status),
                    (E.OffendingElement, message.offending_elements),
                    (E.ErrorComment, message.error_comment),
                    (E.AffectedSOPInstanceUID, message.affected_sop_instance_uid),
                )
            )
        case CEchoRQ() | CFindRQ() | CGetRQ() | CMoveRQ():
            _require(message.affected_sop_class_uid)
            destination = message.move_destination if isinstance(message, CMoveRQ) else ""
            if isinstance(message, CMoveRQ) and not destination:
                raise LocalProtocolError("a C-MOVE-RQ without Move Destination")
            return encode_elements(
                (
                    (E.AffectedSOPClassUID, message.affected_sop_class_uid),
                    head[0],
                    (E.MessageID, message.message_id),
                    (E.MoveDestination, destination),
                    (E.Priority, None if isinstance(message, CEchoRQ) else message.priority),
                    head[1],
                )
            )
        case CCancelRQ():
            return encode_elements(
                (head[0], (E.MessageIDBeingRespondedTo, message.message_id_being_responded_to), head[1])
            )
        case NEventReportRQ():
            _require(message.affected_sop_class_uid, message.affected_sop_instance_uid)
            return encode_elements(
                (
                    (E.AffectedSOPClassUID, message.affected_sop_class_uid),
                    head[0],
                    (E.MessageID, message.message_id),
                    head[1],
                    (E.AffectedSOPInstanceUID, message.affected_sop_instance_uid),
                    (E.EventTypeID, message.event_type_id),
                )
            )
        case NActionRQ():
            _require(message.requested_sop_class_uid, message.requested_sop_instance_uid)
            return encode_elements(
                (
                    (E.RequestedSOPClassUID, message.requested_sop_class_uid),
                    head[0],
                    (E.MessageID, message.message_id),
                    head[1],
                    (E.RequestedSOPInstanceUID, message.requested_sop_instance_uid),
                    (E.ActionTypeID, message.action_type_id),
                )
            )
        case OtherMessage():
            return encode_elements(sorted((*head, *message.elements.items())))
        case CEchoRSP() | CFindRSP() | CGetRSP() | CMoveRSP() | NEventReportRSP() | NActionRSP():
            return _encode_response(message, head)


def _require(*uids: str) -> None:
    if not all(map(is_uid, uids)):
        raise LocalProtocolError("a request of ours without its SOP class or instance UID")


def _encode_response(message: _OtherResponse, head: tuple[tuple[int, Value | None], ...]) -> bytes:
    elements: list[tuple[int, Value | None]] = [
        (E.AffectedSOPClassUID, message.affected_sop_class_uid),
        head[0],
        (E.MessageIDBeingRespondedTo, message.message_id_being_responded_to),
        head[1],
        (E.Status, message.status),
    ]
    if isinstance(message, CFindRSP | CGetRSP | CMoveRSP):
        elements.append((E.OffendingElement, message.offending_elements))
    elements.append((E.ErrorComment, message.error_comment))
    if isinstance(message, NEventReportRSP | NActionRSP):
        elements.append((E.ErrorID, message.error_id))
        elements.append((E.AffectedSOPInstanceUID, message.affected_sop_instance_uid))
    if isinstance(message, NEventReportRSP):
        elements.append((E.EventTypeID, message.event_type_id))
    elif isinstance(message, NActionRSP):
        elements.append((E.ActionTypeID, message.action_type_id))
    elif isinstance(message, CGetRSP | CMoveRSP):
        elements += (
            (E.NumberOfRemainingSuboperations, message.remaining),
            (E.NumberOfCompletedSuboperations, message.completed),
            (E.NumberOfFailedSuboperations, message.failed),
            (E.NumberOfWarningSuboperations, message.warning),
        )
    return encode_elements(elements)


def objection(message: Message, abstract_syntax: str) -> int | None:
    """Return the status that answers a request whose UIDs cannot be right, or None.

    Source: PS3.7 C.5: 0117H, invalid object instance: its UID violates the rules for UIDs; 0118H, no such SOP class:
    the same for the class; 0122H, SOP class not supported: it is not that of the presentation context.

    Args:
        message: a request.
        abstract_syntax: of the presentation context that it came on.
    """
    match message:
        case CStoreRQ() | NEventReportRQ():
            sop_class = message.affected_sop_class_uid
            sop_instances: tuple[str, ...] = (message.affected_sop_instance_uid,)
        case NActionRQ():
            sop_class, sop_instances = message.requested_sop_class_uid, (message.requested_sop_instance_uid,)
        case CEchoRQ() | CFindRQ() | CGetRQ() | CMoveRQ():
            sop_class, sop_instances = message.affected_sop_class_uid, ()
        case _:
            return None
    if not is_uid(sop_class):
        return status.NO_SUCH_SOP_CLASS
    if sop_class != abstract_syntax:
        return status.SOP_CLASS_NOT_SUPPORTED
    if not all(map(is_uid, sop_instances)):
        return status.INVALID_OBJECT_INSTANCE
    return None


# --- decoding ----------------------------------------------------------------------------------------------------


def _number(elements: CommandSet, tag: int) -> int:
    value = elements.numbers.get(tag)
    if value is None:
        raise RemoteProtocolError(f"a command set without {ELEMENTS[tag].keyword}")
    return value


def _text(elements: CommandSet, tag: int) -> str:
    value = elements.texts.get(tag)
    if not value:
        raise RemoteProtocolError(f"a command set without {ELEMENTS[tag].keyword}")
    return value


def _decode_echo_rq(elements: CommandSet, _has_dataset: bool) -> CEchoRQ:
    return CEchoRQ(_number(elements, E.MessageID), _text(elements, E.AffectedSOPClassUID))


def _decode_echo_rsp(elements: CommandSet, _has_dataset: bool) -> CEchoRSP:
    return CEchoRSP(
        _number(elements, E.MessageIDBeingRespondedTo),
        _number(elements, E.Status),
        elements.texts.get(E.AffectedSOPClassUID, ""),
        elements.texts.get(E.ErrorComment, ""),
    )


def _decode_store_rq(elements: CommandSet, _has_dataset: bool) -> CStoreRQ:
    return CStoreRQ(
        _number(elements, E.MessageID),
        _text(elements, E.AffectedSOPClassUID),
        _text(elements, E.AffectedSOPInstanceUID),
        elements.numbers.get(E.Priority, 0),
        elements.texts.get(E.MoveOriginatorApplicationEntityTitle, ""),
        elements.numbers.get(E.MoveOriginatorMessageID),
    )


def _decode_store_rsp(elements: CommandSet, _has_dataset: bool) -> CStoreRSP:
    return CStoreRSP(
        _number(elements, E.MessageIDBeingRespondedTo),
        _number(elements, E.Status),
        elements.texts.get(E.AffectedSOPClassUID, ""),
        elements.texts.get(E.AffectedSOPInstanceUID, ""),
        elements.tags.get(E.OffendingElement, ()),
        elements.texts.get(E.ErrorComment, ""),
    )


def _decode_find_rq(elements: CommandSet, _has_dataset: bool) -> CFindRQ:
    return CFindRQ(
        _number(elements, E.MessageID),
        _text(elements, E.AffectedSOPClassUID),
        elements.numbers.get(E.Priority, 0),
    )


def _decode_find_rsp(elements: CommandSet, has_dataset: bool) -> CFindRSP:
    return CFindRSP(
        _number(elements, E.MessageIDBeingRespondedTo),
        _number(elements, E.Status),
        has_dataset,
        elements.texts.get(E.AffectedSOPClassUID, ""),
        elements.tags.get(E.OffendingElement, ()),
        elements.texts.get(E.ErrorComment, ""),
    )


def _decode_cancel_rq(elements: CommandSet, _has_dataset: bool) -> CCancelRQ:
    return CCancelRQ(_number(elements, E.MessageIDBeingRespondedTo))


def _decode_get_rq(elements: CommandSet, _has_dataset: bool) -> CGetRQ:
    return CGetRQ(
        _number(elements, E.MessageID),
        _text(elements, E.AffectedSOPClassUID),
        elements.numbers.get(E.Priority, 0),
    )


def _decode_move_rq(elements: CommandSet, _has_dataset: bool) -> CMoveRQ:
    return CMoveRQ(
        _number(elements, E.MessageID),
        _text(elements, E.AffectedSOPClassUID),
        _text(elements, E.MoveDestination),
        elements.numbers.get(E.Priority, 0),
    )


_Counted = TypeVar("_Counted", CGetRSP, CMoveRSP)


def _decode_counted(kind: type[_Counted]) -> Callable[[CommandSet, bool], _Counted]:
    """Return the decoder of a response that counts sub-operations."""

    def decoder(elements: CommandSet, has_dataset: bool) -> _Counted:
        return kind(
            _number(elements, E.MessageIDBeingRespondedTo),
            _number(elements, E.Status),
            has_dataset,
            elements.numbers.get(E.NumberOfRemainingSuboperations),
            elements.numbers.get(E.NumberOfCompletedSuboperations),
            elements.numbers.get(E.NumberOfFailedSuboperations),
            elements.numbers.get(E.NumberOfWarningSuboperations),
            elements.texts.get(E.AffectedSOPClassUID, ""),
            elements.tags.get(E.OffendingElement, ()),
            elements.texts.get(E.ErrorComment, ""),
        )

    return decoder


def _decode_event_report_rq(elements: CommandSet, has_dataset: bool) -> NEventReportRQ:
    return NEventReportRQ(
        _number(elements, E.MessageID),
        _text(elements, E.AffectedSOPClassUID),
        _text(elements, E.AffectedSOPInstanceUID),
        _number(elements, E.EventTypeID),
        has_dataset,
    )


def _decode_event_report_rsp(elements: CommandSet, has_dataset: bool) -> NEventReportRSP:
    return NEventReportRSP(
        _number(elements, E.MessageIDBeingRespondedTo),
        _number(elements, E.Status),
        has_dataset,
        elements.texts.get(E.AffectedSOPClassUID, ""),
        elements.texts.get(E.AffectedSOPInstanceUID, ""),
        elements.numbers.get(E.EventTypeID),
        elements.texts.get(E.ErrorComment, ""),
        elements.numbers.get(E.ErrorID),
    )


def _decode_action_rq(elements: CommandSet, has_dataset: bool) -> NActionRQ:
    return NActionRQ(
        _number(elements, E.MessageID),
        _text(elements, E.RequestedSOPClassUID),
        _text(elements, E.RequestedSOPInstanceUID),
        _number(elements, E.ActionTypeID),
        has_dataset,
    )


def _decode_action_rsp(elements: CommandSet, has_dataset: bool) -> NActionRSP:
    return NActionRSP(
        _number(elements, E.MessageIDBeingRespondedTo),
        _number(elements, E.Status),
        has_dataset,
        elements.texts.get(E.AffectedSOPClassUID, ""),
        elements.texts.get(E.AffectedSOPInstanceUID, ""),
        elements.numbers.get(E.ActionTypeID),
        elements.texts.get(E.ErrorComment, ""),
        elements.numbers.get(E.ErrorID),
    )


def _decode_other(elements: CommandSet, has_dataset: bool) -> OtherMessage:
    command_field = CommandField(_number(elements, E.CommandField))
    is_response = bool(command_field & RESPONSE_BIT)
    _number(elements, E.MessageIDBeingRespondedTo if is_response else E.MessageID)
    if is_response:
        _number(elements, E.Status)
    values: dict[int, int | str | tuple[int, ...]] = {**elements.numbers, **elements.texts, **elements.tags}
    del values[E.CommandField], values[E.CommandDataSetType]
    return OtherMessage(command_field, has_dataset, values)


_DECODERS: Final[dict[int | None, Callable[[CommandSet, bool], Message]]] = {
    **dict.fromkeys(CommandField, _decode_other),
    CommandField.C_ECHO_RQ: _decode_echo_rq,
    CommandField.C_ECHO_RSP: _decode_echo_rsp,
    CommandField.C_STORE_RQ: _decode_store_rq,
    CommandField.C_STORE_RSP: _decode_store_rsp,
    CommandField.C_FIND_RQ: _decode_find_rq,
    CommandField.C_FIND_RSP: _decode_find_rsp,
    CommandField.C_CANCEL_RQ: _decode_cancel_rq,
    CommandField.C_GET_RQ: _decode_get_rq,
    CommandField.C_GET_RSP: _decode_counted(CGetRSP),
    CommandField.C_MOVE_RQ: _decode_move_rq,
    CommandField.C_MOVE_RSP: _decode_counted(CMoveRSP),
    CommandField.N_EVENT_REPORT_RQ: _decode_event_report_rq,
    CommandField.N_EVENT_REPORT_RSP: _decode_event_report_rsp,
    CommandField.N_ACTION_RQ: _decode_action_rq,
    CommandField.N_ACTION_RSP: _decode_action_rsp,
}
