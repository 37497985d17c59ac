"""Query and retrieve identifiers: parsed, matched, answered. Source: PS3.4 C.2.2, C.4, C.6.

The index *narrows* (``narrow``), the matcher *decides* (``Responder``): whatever candidates an index brings, only
those that meet every key by the rules of its value representation are answered.
"""

from leadglass.dicom.query.models import (
    AnyOf,
    Key,
    KeyMatch,
    Model,
    Query,
    Range,
    RetrieveKeys,
    SequenceMatch,
    Single,
    UIDList,
    Universal,
    Wildcard,
)

__all__ = [
    "AnyOf",
    "Key",
    "KeyMatch",
    "Model",
    "Query",
    "Range",
    "RetrieveKeys",
    "SequenceMatch",
    "Single",
    "UIDList",
    "Universal",
    "Wildcard",
]
