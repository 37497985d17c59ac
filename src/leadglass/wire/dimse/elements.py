"""The command dictionary. Source: PS3.7 Table E.1-1 (retired elements of E.2 are not here: they are skipped)."""

from typing import Final, NamedTuple


class E:
    """Command elements by keyword; the value is the tag, whose group is 0000.

    Plain integers, because they are read for every message: a member of an ``IntEnum`` costs 0.13 us a time.
    """

    CommandGroupLength: Final = 0x0000
    AffectedSOPClassUID: Final = 0x0002
    RequestedSOPClassUID: Final = 0x0003
    CommandField: Final = 0x0100
    MessageID: Final = 0x0110
    MessageIDBeingRespondedTo: Final = 0x0120
    MoveDestination: Final = 0x0600
    Priority: Final = 0x0700
    CommandDataSetType: Final = 0x0800
    Status: Final = 0x0900
    OffendingElement: Final = 0x0901
    ErrorComment: Final = 0x0902
    ErrorID: Final = 0x0903
    AffectedSOPInstanceUID: Final = 0x1000
    RequestedSOPInstanceUID: Final = 0x1001
    EventTypeID: Final = 0x1002
    AttributeIdentifierList: Final = 0x1005
    ActionTypeID: Final = 0x1008
    NumberOfRemainingSuboperations: Final = 0x1020
    NumberOfCompletedSuboperations: Final = 0x1021
    NumberOfFailedSuboperations: Final = 0x1022
    NumberOfWarningSuboperations: Final = 0x1023
    MoveOriginatorApplicationEntityTitle: Final = 0x1030
    MoveOriginatorMessageID: Final = 0x1031


class Element(NamedTuple):
    """One row.

    Attributes:
        keyword: as in PS3.6.
        vm: value multiplicity, ``1`` or ``1-n``.
    """

    keyword: str
    vr: str
    vm: str


ELEMENTS: Final[dict[int, Element]] = {
    E.CommandGroupLength: Element("CommandGroupLength", "UL", "1"),
    E.AffectedSOPClassUID: Element("AffectedSOPClassUID", "UI", "1"),
    E.RequestedSOPClassUID: Element("RequestedSOPClassUID", "UI", "1"),
    E.CommandField: Element("CommandField", "US", "1"),
    E.MessageID: Element("MessageID", "US", "1"),
    E.MessageIDBeingRespondedTo: Element("MessageIDBeingRespondedTo", "US", "1"),
    E.MoveDestination: Element("MoveDestination", "AE", "1"),
    E.Priority: Element("Priority", "US", "1"),
    E.CommandDataSetType: Element("CommandDataSetType", "US", "1"),
    E.Status: Element("Status", "US", "1"),
    E.OffendingElement: Element("OffendingElement", "AT", "1-n"),
    E.ErrorComment: Element("ErrorComment", "LO", "1"),
    E.ErrorID: Element("ErrorID", "US", "1"),
    E.AffectedSOPInstanceUID: Element("AffectedSOPInstanceUID", "UI", "1"),
    E.RequestedSOPInstanceUID: Element("RequestedSOPInstanceUID", "UI", "1"),
    E.EventTypeID: Element("EventTypeID", "US", "1"),
    E.AttributeIdentifierList: Element("AttributeIdentifierList", "AT", "1-n"),
    E.ActionTypeID: Element("ActionTypeID", "US", "1"),
    E.NumberOfRemainingSuboperations: Element("NumberOfRemainingSuboperations", "US", "1"),
    E.NumberOfCompletedSuboperations: Element("NumberOfCompletedSuboperations", "US", "1"),
    E.NumberOfFailedSuboperations: Element("NumberOfFailedSuboperations", "US", "1"),
    E.NumberOfWarningSuboperations: Element("NumberOfWarningSuboperations", "US", "1"),
    E.MoveOriginatorApplicationEntityTitle: Element("MoveOriginatorApplicationEntityTitle", "AE", "1"),
    E.MoveOriginatorMessageID: Element("MoveOriginatorMessageID", "US", "1"),
}
