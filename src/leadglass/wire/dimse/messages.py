"""DIMSE messages as values. Source: PS3.7 9.3 and 10.3, Annex E.

Reserved names of PS3.7 are kept. A text that is absent is "", a number that is absent is None. UIDs of instances and
comments are kept out of ``repr``: they may identify a patient's object, and a representation reaches logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final

RESPONSE_BIT: Final = 0x8000
NO_DATASET: Final = 0x0101
"""Command Data Set Type that says: no data set. Any other value says that there is one. Source: PS3.7 E.1."""


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
    raise NotImplementedError


def encode(message: Message) -> bytes:
    """Return the command set, group length included.

    Raises:
        LocalProtocolError: a value does not fit its element.
    """
    raise NotImplementedError


def objection(message: Message, abstract_syntax: str) -> int | None:
    """Return the status that answers a request whose UIDs cannot be right, or None.

    Source: PS3.7 C.5.12 (0117H, invalid object instance), C.5.6 (0118H, no such SOP class), C.5.18 (0122H, SOP
    class not supported): the SOP class is not that of the presentation context.

    Args:
        message: a request.
        abstract_syntax: of the presentation context that it came on.
    """
    raise NotImplementedError
