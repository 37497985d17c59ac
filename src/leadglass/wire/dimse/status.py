"""Status codes of DIMSE responses and what they mean. Source: PS3.7 Annex C, PS3.4."""

from enum import StrEnum
from typing import Final, NamedTuple


class StatusCategory(StrEnum):
    """Source: PS3.7 C.1 to C.5."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01
"""Pending; one or more optional keys were not supported. Source: PS3.4 Table C.4-1."""
CANCEL: Final = 0xFE00

ATTRIBUTE_LIST_ERROR: Final = 0x0107
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT_VALUE: Final = 0x0115
ATTRIBUTE_VALUE_OUT_OF_RANGE: Final = 0x0116
INVALID_OBJECT_INSTANCE: Final = 0x0117
NO_SUCH_SOP_CLASS: Final = 0x0118
CLASS_INSTANCE_CONFLICT: Final = 0x0119
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
DUPLICATE_INVOCATION: Final = 0x0210
UNRECOGNIZED_OPERATION: Final = 0x0211
MISTYPED_ARGUMENT: Final = 0x0212
RESOURCE_LIMITATION: Final = 0x0213

OUT_OF_RESOURCES: Final = 0xA700
OUT_OF_RESOURCES_MATCHES: Final = 0xA701
OUT_OF_RESOURCES_SUBOPERATIONS: Final = 0xA702
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
SUBOPERATIONS_WITH_FAILURES: Final = 0xB000
ELEMENTS_DISCARDED: Final = 0xB006
DATASET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xB007
CANNOT_UNDERSTAND: Final = 0xC000
UNABLE_TO_PROCESS: Final = 0xC000


class _Range(NamedTuple):
    """Codes from ``first`` to ``last`` that mean the same."""

    first: int
    last: int
    category: StatusCategory
    meaning: str


_RANGES: Final = (
    # PS3.7 Annex C
    _Range(0x0000, 0x0000, StatusCategory.SUCCESS, "Success"),
    _Range(0x0001, 0x0001, StatusCategory.WARNING, "Warning"),
    _Range(0x0105, 0x0105, StatusCategory.FAILURE, "No such attribute"),
    _Range(0x0106, 0x0106, StatusCategory.FAILURE, "Invalid attribute value"),
    _Range(0x0107, 0x0107, StatusCategory.WARNING, "Attribute list error"),
    _Range(0x0110, 0x0110, StatusCategory.FAILURE, "Processing failure"),
    _Range(0x0111, 0x0111, StatusCategory.FAILURE, "Duplicate SOP instance"),
    _Range(0x0112, 0x0112, StatusCategory.FAILURE, "No such SOP instance"),
    _Range(0x0113, 0x0113, StatusCategory.FAILURE, "No such event type"),
    _Range(0x0114, 0x0114, StatusCategory.FAILURE, "No such argument"),
    _Range(0x0115, 0x0115, StatusCategory.FAILURE, "Invalid argument value"),
    _Range(0x0116, 0x0116, StatusCategory.WARNING, "Attribute value out of range"),
    _Range(0x0117, 0x0117, StatusCategory.FAILURE, "Invalid object instance"),
    _Range(0x0118, 0x0118, StatusCategory.FAILURE, "No such SOP class"),
    _Range(0x0119, 0x0119, StatusCategory.FAILURE, "Class-instance conflict"),
    _Range(0x0120, 0x0120, StatusCategory.FAILURE, "Missing attribute"),
    _Range(0x0121, 0x0121, StatusCategory.FAILURE, "Missing attribute value"),
    _Range(0x0122, 0x0122, StatusCategory.FAILURE, "Refused: SOP class not supported"),
    _Range(0x0123, 0x0123, StatusCategory.FAILURE, "No such action"),
    _Range(0x0124, 0x0124, StatusCategory.FAILURE, "Refused: not authorized"),
    _Range(0x0210, 0x0210, StatusCategory.FAILURE, "Duplicate invocation"),
    _Range(0x0211, 0x0211, StatusCategory.FAILURE, "Unrecognized operation"),
    _Range(0x0212, 0x0212, StatusCategory.FAILURE, "Mistyped argument"),
    _Range(0x0213, 0x0213, StatusCategory.FAILURE, "Resource limitation"),
    # PS3.4 Tables B.2-1, C.4-1, C.4-2, C.4-3
    _Range(
        0xA701,
        0xA701,
        StatusCategory.FAILURE,
        "Refused: out of resources, unable to calculate number of matches",
    ),
    _Range(
        0xA702, 0xA702, StatusCategory.FAILURE, "Refused: out of resources, unable to perform sub-operations"
    ),
    _Range(0xA700, 0xA7FF, StatusCategory.FAILURE, "Refused: out of resources"),
    _Range(0xA801, 0xA801, StatusCategory.FAILURE, "Refused: move destination unknown"),
    _Range(0xA900, 0xA9FF, StatusCategory.FAILURE, "Data set or identifier does not match SOP class"),
    _Range(0xA000, 0xAFFF, StatusCategory.FAILURE, "Failure"),
    _Range(
        0xB000, 0xB000, StatusCategory.WARNING, "Coercion of data elements, or sub-operations with failures"
    ),
    _Range(0xB001, 0xB001, StatusCategory.WARNING, "Matching reached response limit"),
    _Range(0xB006, 0xB006, StatusCategory.WARNING, "Elements discarded"),
    _Range(0xB007, 0xB007, StatusCategory.WARNING, "Data set does not match SOP class"),
    _Range(0xB000, 0xBFFF, StatusCategory.WARNING, "Warning"),
    _Range(0xC000, 0xCFFF, StatusCategory.FAILURE, "Cannot understand, or unable to process"),
    _Range(0xFE00, 0xFE00, StatusCategory.CANCEL, "Matching or sub-operations terminated by cancel"),
    _Range(0xFF00, 0xFF00, StatusCategory.PENDING, "Pending"),
    _Range(0xFF01, 0xFF01, StatusCategory.PENDING, "Pending, with optional keys that are not supported"),
)
"""The first range that holds a code decides."""

_UNKNOWN: Final = _Range(0x0000, 0xFFFF, StatusCategory.FAILURE, "Unknown status")
"""A code that the standard does not know is taken as a failure: what is not said to be stored is not stored."""


def _lookup(status: int) -> _Range:
    return next((entry for entry in _RANGES if entry.first <= status <= entry.last), _UNKNOWN)


def category(status: int) -> StatusCategory:
    """Return the category of any 16-bit status."""
    return _lookup(status).category


def meaning(status: int) -> str:
    """Return the standard's words for a status, or its category where it has none."""
    return _lookup(status).meaning
