"""What the head of a data set says, in the form that the index keeps.

**Invariant:** values only; nothing here reads a stream or knows a database.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from leadglass.base.objects import ObjectIdentity


class Level(StrEnum):
    """Levels of the query/retrieve information models. Source: PS3.4 C.6."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


PlainValue = str | int | None


@dataclass(frozen=True, slots=True, repr=False)
class LevelHead:
    """What one level (study, series or instance) of an object says.

    Patient attributes are part of the study level: each study keeps what it said of its patient, so that shredding
    the study's key leaves nothing behind (docs/decisions/0004). Its ``repr`` shows no value.

    Attributes:
        plain: columns that queries range and sort over, by column name (``dicom.attributes``): at most a Limited
            Data Set in the sense of 45 CFR 164.514(e). Dates are ``YYYYMMDD``, times ``HHMMSS.FFFFFF``. None is absent
            or unfit: who narrows by a column keeps rows of None, for the matcher to decide on the sealed value.
        tokens: per searchable identifier field (``dicom.attributes``), its normalised values in clear, for the
            caller to turn into keyed tokens; never stored.
        sealed: the level's attributes as one Explicit VR Little Endian data set, Specific Character Set first,
            values as received. To be sealed before it is stored.
    """

    plain: Mapping[str, PlainValue]
    tokens: Mapping[str, tuple[str, ...]]
    sealed: bytes


class Head(Protocol):
    """The part of a data set that the index keeps; levels are worked out when asked for."""

    @property
    def identity(self) -> ObjectIdentity:
        """The object's UIDs and its transfer syntax."""
        ...

    def study(self) -> LevelHead:
        """Patient and study attributes."""
        ...

    def series(self) -> LevelHead:
        """Series attributes."""
        ...

    def instance(self) -> LevelHead:
        """Instance attributes."""
        ...

    def patient_reference(self) -> str:
        """Patient ID, with issuer where there is one, for the audit log's token; may be empty."""
        ...
