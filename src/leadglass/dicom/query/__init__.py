"""Query and retrieve identifiers: parsed, matched, answered. Source: PS3.4 C.2.2, C.4, C.6.

The index *narrows* (``narrow``), the matcher *decides* (``Responder``): whatever candidates an index brings, only
those that meet every key by the rules of its value representation are answered.
"""

from leadglass.dicom.query.client import JSONValue, build_identifier, read_response
from leadglass.dicom.query.models import (
    AnyOf,
    FuzzyName,
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
from leadglass.dicom.query.narrow import ColumnCandidates, Narrowing, TokenCandidates, narrow
from leadglass.dicom.query.parse import UNIQUE_KEYS, parse_identifier, parse_retrieve, unsupported
from leadglass.dicom.query.respond import Responder, respond
from leadglass.dicom.query.web import WebQuery, build_query, web_answer

__all__ = [
    "UNIQUE_KEYS",
    "AnyOf",
    "ColumnCandidates",
    "FuzzyName",
    "JSONValue",
    "Key",
    "KeyMatch",
    "Model",
    "Narrowing",
    "Query",
    "Range",
    "Responder",
    "RetrieveKeys",
    "SequenceMatch",
    "Single",
    "TokenCandidates",
    "UIDList",
    "Universal",
    "WebQuery",
    "Wildcard",
    "build_identifier",
    "build_query",
    "narrow",
    "parse_identifier",
    "parse_retrieve",
    "read_response",
    "respond",
    "unsupported",
    "web_answer",
]
