"""Blind-index tokens: which keyed tokens stand for a value, and which one a query looks for.

A token is a keyed hash of a field's name and a folded value (``dicom.normalise``), made by ``trust.keys``. Each value has
an exact token; a field whose attribute says ``prefixes`` has tokens of its beginnings of 2, 4 and 8 characters too.

Why these lengths: ``SMITH*`` narrows by ``smit``, ``PAT000123*`` by ``pat00012``, and the matcher decides the rest. Tokens
of one character narrow little and show most (the distribution of first letters is public knowledge), and a token for
every length would draw the whole tree of all names for whoever holds the database. What the chosen ones show is written
in docs/THREATS.md.

**Invariant:** values in clear come in and only tokens go out.
"""

from collections.abc import Mapping
from typing import Final

from leadglass.base.ids import UID
from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.trust.keys.interfaces import Tokeniser

PREFIX_LENGTHS: Final = (2, 4, 8)
"""Characters of a folded value."""

_PATIENT_FIELD: Final = "patient"
_NO_PATIENT_FIELD: Final = "patient:none"
_PACK_FIELD: Final = "index:pack"
_CHECK_FIELD: Final = "index:check"
_CLASS_FIELD: Final = "index:class"
_HOLDER_FIELD: Final = "index:holder"
_STUDY_FIELD: Final = "index:study"


class BlindIndex:
    """Makes tokens of values."""

    def __init__(self, tokeniser: Tokeniser) -> None:
        self._token = tokeniser.token

    def of(self, fields: Mapping[str, tuple[str, ...]]) -> bytes:
        """Return every token of a level's values, sorted, one after the other, without repeats."""
        tokens: set[bytes] = set()
        for field, values in fields.items():
            prefixes = BY_KEYWORD[field].prefixes if field in BY_KEYWORD else False
            for value in values:
                tokens.add(self.exact(field, value))
                if prefixes:
                    tokens.update(
                        self._token(_prefix_field(field), value[:n])
                        for n in PREFIX_LENGTHS
                        if len(value) >= n
                    )
        return b"".join(sorted(tokens))

    def exact(self, field: str, value: str) -> bytes:
        """Return the token of a whole folded value."""
        return self._token(field, value)

    def prefix(self, field: str, beginning: str) -> bytes | None:
        """Return the token that narrows most to values with this beginning; None when none does."""
        lengths = [n for n in PREFIX_LENGTHS if n <= len(beginning)]
        if not lengths or field not in BY_KEYWORD or not BY_KEYWORD[field].prefixes:
            return None
        return self._token(_prefix_field(field), beginning[: lengths[-1]])

    def patient(self, reference: str, study_uid: UID) -> bytes:
        """Return what groups the studies of one patient; a study without a patient ID stands alone."""
        return (
            self._token(_PATIENT_FIELD, reference) if reference else self._token(_NO_PATIENT_FIELD, study_uid)
        )

    def patient_reference(self, reference: str) -> bytes:
        """Return what ``patient`` returns for studies of that patient; "" is no patient."""
        return self._token(_PATIENT_FIELD, reference)

    def study(self, study_uid: str) -> bytes:
        """Return what stands for a study in a relation."""
        return self._token(_STUDY_FIELD, study_uid)

    def holder(self, principal_id: str) -> bytes:
        """Return what stands for somebody who has relations."""
        return self._token(_HOLDER_FIELD, principal_id)

    def access_class(self, facts: str) -> bytes:
        """Return what tells classes of studies apart."""
        return self._token(_CLASS_FIELD, facts)

    def pack_seal(self, pack_id: bytes) -> bytes:
        """Return what authenticates the note that a pack is closed and indexed."""
        return self._token(_PACK_FIELD, pack_id.hex())

    def check(self) -> bytes:
        """Return what tells whether a database was made under this key."""
        return self._token(_CHECK_FIELD, "")


def _prefix_field(field: str) -> str:
    # A field of its own, so that a prefix never looks like a whole value: "smith" and "smith*" are unrelated tokens.
    return f"{field}*"
