"""What an index can look up before anything is unsealed.

Everything that matches is among the candidates; not every candidate matches. A key that no column and no token serves
narrows nothing.
"""

import re
from dataclasses import dataclass
from typing import Final

from leadglass.dicom.attributes import BY_KEYWORD, BY_TAG, Attribute, Kind
from leadglass.dicom.match import integer_of
from leadglass.dicom.models import PlainValue
from leadglass.dicom.normalise import fold_name_group, fold_text
from leadglass.dicom.query.models import (
    AnyOf,
    Key,
    KeyMatch,
    Query,
    Range,
    Single,
    UIDList,
    Wildcard,
)
from leadglass.dicom.query.parse import is_supported

_CODE_STRING: Final = re.compile(r"[A-Z0-9_ ]{1,16}", re.ASCII)
_COMPOSES_WITH_NEXT: Final = re.compile("[\u1100-\u11ff\u3040-\u30ff]$")
"""Kana and Hangul letters: what follows may be a voicing mark or another letter, and both become one character."""

_BELOW: Final = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}
"""What is computed over a study, and the attribute below that it is computed from."""


@dataclass(frozen=True, slots=True)
class ColumnCandidates:
    """Rows whose column holds one of ``values``, or lies within ``low``..``high`` (both included, empty is open).

    Attributes:
        attribute: says column and level (``dicom.attributes``).
        values: any of these; None when it is a range.
        low: lower end of a range.
        high: upper end of a range.
        any_below: the column is of a lower level: it suffices that one series or instance of the study has it.
    """

    attribute: Attribute
    values: tuple[PlainValue, ...] | None = None
    low: str = ""
    high: str = ""
    any_below: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class TokenCandidates:
    """Rows that have a token of this field for the folded value, or for the folded beginning.

    Attributes:
        attribute: says field (its keyword) and level.
        exact: the folded value; empty when ``prefix`` is given.
        prefix: what the folded value begins with.
    """

    attribute: Attribute
    exact: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """All that narrows; every entry must hold."""

    columns: tuple[ColumnCandidates, ...]
    tokens: tuple[TokenCandidates, ...]


def narrow(query: Query) -> Narrowing:
    """Return what narrows a query: an intersection of candidate sets, none of which hides a match."""
    columns: list[ColumnCandidates] = []
    tokens: list[TokenCandidates] = []
    for key in query.keys:
        if not is_supported(key, query.level):
            continue
        attribute = BY_TAG[key.tag]
        if attribute.kind is Kind.TOKEN:
            token = _token(attribute, key.match)
            if token is not None:
                tokens.append(token)
        else:
            column = _column(attribute, key)
            if column is not None:
                columns.append(column)
    return Narrowing(tuple(columns), tuple(tokens))


def _column(attribute: Attribute, key: Key) -> ColumnCandidates | None:
    below = attribute.keyword in _BELOW
    if below:
        attribute = BY_KEYWORD[_BELOW[attribute.keyword]]
    if not attribute.column:
        return None
    match key.match:
        case UIDList(values=uids):
            return ColumnCandidates(attribute, uids, any_below=below)
        case Range(low=low, high=high) if attribute.vr in {"DA", "TM"}:
            return ColumnCandidates(attribute, None, low, high)
        case Single(value=value):
            found = _plain(attribute, value)
            return None if found is None else ColumnCandidates(attribute, (found,), any_below=below)
        case AnyOf(matches=matches) if all(isinstance(m, Single) for m in matches):
            plains = [_plain(attribute, m.value) for m in matches if isinstance(m, Single)]
            if None in plains:
                return None
            return ColumnCandidates(attribute, tuple(plains), any_below=below)
        case _:
            return None


def _plain(attribute: Attribute, value: str) -> PlainValue:
    """Return a value as the column holds it, or None where the column might not hold it."""
    if attribute.is_integer:
        return integer_of(value)
    return value if attribute.vr == "CS" and _CODE_STRING.fullmatch(value) else None


def _token(attribute: Attribute, match: KeyMatch) -> TokenCandidates | None:
    match match:
        case Single(value=value):
            exact = _folded(attribute, value)
            return TokenCandidates(attribute, exact=exact) if exact else None
        case Wildcard(pattern=pattern) if attribute.prefixes:
            prefix = _folded_prefix(attribute, pattern)
            return TokenCandidates(attribute, prefix=prefix) if prefix else None
        case Range(low=low, high=high) if low == high:
            return TokenCandidates(attribute, exact=low)
        case _:
            return None


def _folded(attribute: Attribute, value: str) -> str:
    if attribute.vr != "PN":
        return fold_text(value)
    # Every group that the key names must match, so any one of them narrows.
    return next((folded for group in value.split("=") if (folded := fold_name_group(group))), "")


def _folded_prefix(attribute: Attribute, pattern: str) -> str:
    """Return what the folded value surely begins with."""
    groups = pattern.split("=") if attribute.vr == "PN" else [pattern]
    for group in groups:
        # Folded before it is cut: a full-width asterisk within a pattern is a wild card once it is folded.
        folded = fold_name_group(group) if attribute.vr == "PN" else fold_text(group)
        # A name may end where the key still has delimiters: "DOE" meets "DOE^*".
        folded = re.split(r"[*?]", folded, maxsplit=1)[0].rstrip(" ^" if attribute.vr == "PN" else " ")
        stable = _stable_prefix(folded)
        if stable:
            # Every group that the key names must match, so the first that narrows will do.
            return stable
    return ""


def _stable_prefix(folded: str) -> str:
    """Leave out a last character that another one behind it could change (NFKC)."""
    stable = _COMPOSES_WITH_NEXT.sub("", folded)
    if stable and "\uac00" <= stable[-1] <= "\ud7a3" and (ord(stable[-1]) - 0xAC00) % 28 == 0:
        # A Hangul syllable without a final consonant.
        return stable[:-1]
    return stable
