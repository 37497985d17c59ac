"""One way to fold text, shared by what is stored and what is asked.

Folding only *narrows*: two values that match by PS3.4 C.2.2.2 have the same folded form, so a token of the folded form
never hides a match; what really matches is decided on the unsealed value.

**Invariant:** pure functions of text; nothing here raises on any input.
"""

import re
import unicodedata
from typing import Final

_ISSUER_DELIMITER: Final = "^^^"
_SPACES: Final = re.compile(r"\s+")
_PLAIN_ASCII: Final = re.compile(r"[!-~]+(?: [!-~]+)*", re.ASCII)
_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
"""Combining Diacritical Marks. Marks of other scripts (voicing of kana, points, vowel signs) tell words apart and
stay."""


def fold_text(text: str) -> str:
    """Return ``text`` without differences of case, width, composition and spacing.

    NFKC, case folding, trimmed, runs of white space as one space; NUL padding is white space here.
    """
    if _PLAIN_ASCII.fullmatch(text):
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _SPACES.sub(" ", folded.replace("\0", " ")).strip()


def fold_patient(patient_id: str, issuer: str = "") -> str:
    """Return a patient as the audit log and the index name them: ID and issuer folded, joined by ``^^^`` as HL7 does (CX).

    The same as ``ScannedHead.patient_reference``, for what names a patient and is no object. An ID may bring its issuer
    behind the delimiter; empty without an ID.
    """
    number, _, behind = patient_id.partition(_ISSUER_DELIMITER)
    number, issuer = fold_text(number), fold_text(issuer or behind)
    return f"{number}{_ISSUER_DELIMITER}{issuer}" if number and issuer else number


def fold_name_component(text: str) -> str:
    """Return one component of a person name folded, accents of Latin, Greek and Cyrillic letters left out.

    Source: PS3.4 C.2.2.2.1 leaves accent-insensitive matching of person names to the provider.
    """
    folded = fold_text(text)
    if folded.isascii():
        return folded
    # A mark of its own folds to a space with the mark: without the mark the spaces are to be put in order again.
    return fold_text(_ACCENTS.sub("", unicodedata.normalize("NFD", folded)))


def fold_name_group(group: str) -> str:
    """Return one component group of a person name folded: trailing empty components are left out.

    ``"DOE^John^^^ "`` gives ``"doe^john"``. Source: PS3.5 6.2.1.1.
    """
    return "^".join(fold_name_component(component) for component in fold_text(group).split("^")).rstrip("^")


def fold_person_name(value: str) -> tuple[str, ...]:
    """Return the folded component groups of one person name: alphabetic, ideographic, phonetic, as far as given.

    Empty groups are left out, equal ones are given once: whoever searches need not know in which script.
    """
    groups = (fold_name_group(group) for group in value.split("="))
    return tuple(dict.fromkeys(group for group in groups if group))
