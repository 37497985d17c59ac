"""Status codes of DIMSE responses and what they mean. Source: PS3.7 Annex C, PS3.4."""

from enum import StrEnum
from typing import Final, NamedTuple


class StatusCategory(StrEnum):
    """Source: PS3.7 C.1 to C.5; PS3.4 Annex C."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


class StatusCode(NamedTuple):
    """One code, or the first of a range that ends in ``xx``."""

    code: int
    name: str
    clause: str


SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01
"""Pending, but one or more optional keys were not supported. Source: PS3.4 Table C.4-1."""
CANCEL: Final = 0xFE00


def category(status: int) -> StatusCategory:
    """Return the category of any 16-bit status."""
    raise NotImplementedError


def meaning(status: int) -> str:
    """Return the standard's words for a status, or its category where it has none."""
    raise NotImplementedError
