"""The command dictionary. Source: PS3.7 Table E.1-1 (retired elements of E.2 are not here: they are skipped)."""

from enum import IntEnum
from typing import Final, NamedTuple


class E(IntEnum):
    """Command elements by keyword; the value is the tag, whose group is 0000."""

    CommandGroupLength = 0x0000
    AffectedSOPClassUID = 0x0002
    RequestedSOPClassUID = 0x0003
    CommandField = 0x0100
    MessageID = 0x0110
    MessageIDBeingRespondedTo = 0x0120
    MoveDestination = 0x0600
    Priority = 0x0700
    CommandDataSetType = 0x0800
    Status = 0x0900
    OffendingElement = 0x0901
    ErrorComment = 0x0902
    ErrorID = 0x0903
    AffectedSOPInstanceUID = 0x1000
    RequestedSOPInstanceUID = 0x1001
    EventTypeID = 0x1002
    AttributeIdentifierList = 0x1005
    ActionTypeID = 0x1008
    NumberOfRemainingSuboperations = 0x1020
    NumberOfCompletedSuboperations = 0x1021
    NumberOfFailedSuboperations = 0x1022
    NumberOfWarningSuboperations = 0x1023
    MoveOriginatorApplicationEntityTitle = 0x1030
    MoveOriginatorMessageID = 0x1031


class Element(NamedTuple):
    """One row.

    Attributes:
        vm: value multiplicity, ``1`` or ``1-n``.
    """

    vr: str
    vm: str


ELEMENTS: Final[dict[int, Element]] = {
    E.CommandGroupLength: Element("UL", "1"),
    E.AffectedSOPClassUID: Element("UI", "1"),
    E.RequestedSOPClassUID: Element("UI", "1"),
    E.CommandField: Element("US", "1"),
    E.MessageID: Element("US", "1"),
    E.MessageIDBeingRespondedTo: Element("US", "1"),
    E.MoveDestination: Element("AE", "1"),
    E.Priority: Element("US", "1"),
    E.CommandDataSetType: Element("US", "1"),
    E.Status: Element("US", "1"),
    E.OffendingElement: Element("AT", "1-n"),
    E.ErrorComment: Element("LO", "1"),
    E.ErrorID: Element("US", "1"),
    E.AffectedSOPInstanceUID: Element("UI", "1"),
    E.RequestedSOPInstanceUID: Element("UI", "1"),
    E.EventTypeID: Element("US", "1"),
    E.AttributeIdentifierList: Element("AT", "1-n"),
    E.ActionTypeID: Element("US", "1"),
    E.NumberOfRemainingSuboperations: Element("US", "1"),
    E.NumberOfCompletedSuboperations: Element("US", "1"),
    E.NumberOfFailedSuboperations: Element("US", "1"),
    E.NumberOfWarningSuboperations: Element("US", "1"),
    E.MoveOriginatorApplicationEntityTitle: Element("AE", "1"),
    E.MoveOriginatorMessageID: Element("US", "1"),
}
