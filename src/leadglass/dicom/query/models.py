"""A query as the archive understands it: keys and what each of them demands.

**Invariant:** values only. Texts are Unicode: in which character set the peer wrote them, and in which one an object
holds them, is no concern of a match.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from leadglass.base.ids import UID
from leadglass.base.secret import Phi
from leadglass.dicom.models import Level

EXPLICIT_LITTLE_ENDIAN: Final = UID("1.2.840.10008.1.2.1")


class Model(StrEnum):
    """Roots of the query/retrieve information models. Source: PS3.4 C.6.1, C.6.2."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"


@dataclass(frozen=True, slots=True)
class Universal:
    """Everything matches; the value is asked for. Source: PS3.4 C.2.2.2.3."""


@dataclass(frozen=True, slots=True, repr=False)
class Single:
    """One value, without its insignificant spaces. Source: PS3.4 C.2.2.2.1."""

    value: str


@dataclass(frozen=True, slots=True)
class UIDList:
    """Any of these UIDs. A single UID is a list of one. Source: PS3.4 C.2.2.2.2."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Wildcard:
    """A text with ``*`` (any run of characters) or ``?`` (any one). Source: PS3.4 C.2.2.2.4."""

    pattern: str


@dataclass(frozen=True, slots=True, repr=False)
class FuzzyName:
    """A person name that need not be written the same way: ``match.FuzzyNamePattern`` (PS3.4 C.2.2.2.1.1)."""

    value: str


@dataclass(frozen=True, slots=True, repr=False)
class Range:
    """Dates or times from ``low`` to ``high``, both included; an empty end is open. Source: PS3.4 C.2.2.2.5.

    Ends are in the form of the index: ``YYYYMMDD`` (DA), ``HHMMSS.FFFFFF`` (TM), ``YYYYMMDDHHMMSS.FFFFFF`` (DT), so
    that they compare as texts. A single date or time is the range that its precision spans.
    """

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    r"""Any of several code strings, as ``CT\MR`` of Modalities in Study. Source: PS3.4 C.2.2.2.8."""

    matches: "tuple[Single | Wildcard, ...]"


@dataclass(frozen=True, slots=True)
class SequenceMatch:
    """One item of the sequence meets all these keys. Source: PS3.4 C.2.2.2.6."""

    keys: "tuple[Key, ...]"


KeyMatch = Universal | Single | UIDList | Wildcard | FuzzyName | Range | AnyOf | SequenceMatch


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute that a query names.

    Attributes:
        keyword: of PS3.6; empty for an attribute that is not in it (private ones).
        tag: group * 65536 + element.
        vr: value representation: of PS3.6, or what the peer wrote where PS3.6 does not know the attribute.
        match: what is demanded of it.
    """

    keyword: str
    tag: int
    vr: str
    match: KeyMatch


@dataclass(frozen=True, slots=True)
class Query:
    """A C-FIND or QIDO request that has passed the rules of its information model.

    Attributes:
        root: information model.
        level: what is to be listed.
        keys: in tag order; without Query/Retrieve Level and Specific Character Set. A sequence that is asked for as
            a whole has a ``Universal`` match.
        character_set: Specific Character Set of the identifier as written, values joined by a backslash.
        transfer_syntax_uid: how the identifier was encoded; the responses are encoded the same way.
        relational: relational queries were negotiated, so unique keys of higher levels may be absent.
        retrieve_ae_title: where matches can be retrieved from: our own title; set by the caller.
        instance_availability: what a response says of it. Source: PS3.4 C.4.1.1.3.2.
    """

    root: Model
    level: Level
    keys: tuple[Key, ...]
    character_set: str = ""
    transfer_syntax_uid: UID = EXPLICIT_LITTLE_ENDIAN
    relational: bool = False
    retrieve_ae_title: str = ""
    instance_availability: str = "ONLINE"


@dataclass(frozen=True, slots=True)
class RetrieveKeys:
    """What a C-MOVE or C-GET names. Source: PS3.4 C.4.2.2.1, C.4.3.2.1.

    Every list that is given narrows; at least the list of ``level`` (or the patient ID at patient level) is given.
    """

    level: Level
    patient_id: Phi[str]
    study_uids: tuple[UID, ...]
    series_uids: tuple[UID, ...]
    sop_instance_uids: tuple[UID, ...]
