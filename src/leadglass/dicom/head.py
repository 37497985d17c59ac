"""The head of an object in the form that the index keeps, worked out from what the scanner captured.

Most objects come into a series that is known already, so only the instance level of them is ever asked for: levels are
made when asked.

Garbage is harmless: a value that does not fit its column is absent there and stays, as received, in the sealed data
set. A column of None therefore means "absent or unfit"; who narrows by a column must keep such rows.

**Invariant:** nothing here raises on any captured value; identifiers appear only in ``tokens`` and ``sealed``.
"""

import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from leadglass.base.errors import DatasetRefused
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.attributes import (
    BY_KEYWORD,
    SPECIFIC_CHARACTER_SET,
    Attribute,
    Kind,
    attributes_at,
)
from leadglass.dicom.match import integer_of
from leadglass.dicom.match import span as parse_span
from leadglass.dicom.models import Level, LevelHead, PlainValue
from leadglass.dicom.normalise import fold_person_name, fold_text
from leadglass.dicom.scan import CapturedValue, DatasetScanner, code_of, key_of
from leadglass.dicom.syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS

_CODE_STRING: Final = re.compile(r"[A-Z0-9_ ]{1,16}", re.ASCII)
"""Value of a CS. What is not one might be a name in the wrong place, and stays out of the clear. Source: PS3.5 6.2."""

_DATE_TIME_CHARACTERS_MAX: Final = 28
"""Of a range of TM; a longer value is none (PS3.5 6.2), and must not be kept in a cache."""

_SHAPES_REMEMBERED: Final = 128
"""Sets of elements of which is remembered which rows they fill."""
_SHORT_VALUE: Final = 32
"""Octets of a value whose column is remembered; the objects of a study repeat few of them."""
_LENGTHS: Final = tuple(n.to_bytes(2, "little") for n in range(256))

_BINARY_INTEGERS: Final = {"US": "H", "UL": "I", "SS": "h", "SL": "i"}
_SWAPPED_OCTETS: Final = {"US": 2, "SS": 2, "AT": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
_TEXT_VRS: Final = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)


@lru_cache(maxsize=1024)
def _first_instant(vr: str, text: str) -> str | None:
    """Return the first instant of a date or time. The objects of a study repeat few of them."""
    spanned = parse_span(vr, text)
    return None if spanned is None else spanned[0]


class _Row(NamedTuple):
    """One attribute, prepared for one order of octets.

    Attributes:
        key: ``scan.key_of`` its tag.
        attribute: of the table.
        kind: of the attribute.
        code: ``scan.code_of`` its VR.
        header: its tag in little endian.
        short_header: tag and VR in little endian; empty where it takes more than to add a 16-bit length.
    """

    key: int
    attribute: Attribute
    kind: Kind
    code: int
    header: bytes
    short_header: bytes


class _Rows:
    """The rows of a level in the order of a data set, and its columns while nothing is known."""

    __slots__ = ("_present", "columns", "rows")

    def __init__(self, rows: tuple[_Row, ...], columns: dict[str, PlainValue]) -> None:
        self.rows = rows
        self.columns = columns

        @lru_cache(maxsize=_SHAPES_REMEMBERED)
        def present(keys: tuple[int, ...]) -> tuple[_Row, ...]:
            known = frozenset(keys)
            return tuple(row for row in rows if row.key in known)

        self._present = present

    def present(self, keys: tuple[int, ...]) -> tuple[_Row, ...]:
        """Return the rows of which there is a value. The objects of a series have the same."""
        return self._present(keys)


def _prepare(*levels: Level, big_endian: bool) -> _Rows:
    attributes = [a for level in levels for a in attributes_at(level) if a.kind is not Kind.COMPUTED]
    rows: list[_Row] = []
    for a in sorted(attributes, key=lambda a: a.tag):
        header = struct.pack("<HH", a.tag >> 16, a.tag & 0xFFFF)
        simple = a.vr not in LONG_VRS and not (big_endian and a.vr in _SWAPPED_OCTETS)
        key, code = key_of(a.tag, big_endian=big_endian), code_of(a.vr, big_endian=big_endian)
        rows.append(_Row(key, a, a.kind, code, header, header + a.vr.encode("ascii") if simple else b""))
    return _Rows(tuple(rows), {a.column: None for a in attributes if a.kind is Kind.PLAIN})


# By big_endian: False, True.
_STUDY: Final = tuple(_prepare(Level.PATIENT, Level.STUDY, big_endian=big) for big in (False, True))
_SERIES: Final = tuple(_prepare(Level.SERIES, big_endian=big) for big in (False, True))
_INSTANCE: Final = tuple(_prepare(Level.IMAGE, big_endian=big) for big in (False, True))
_VR_NAMES: Final = tuple(
    {code_of(vr, big_endian=big): vr for vr in (*SHORT_VRS, *LONG_VRS)} for big in (False, True)
)
_PATIENT_ID: Final = BY_KEYWORD["PatientID"]
_ISSUER: Final = BY_KEYWORD["IssuerOfPatientID"]


def _plain(vr: str, as_expected: bool, big_endian: bool, raw: bytes) -> PlainValue:
    """Return the value of a column, or None where it does not fit. Source: PS3.5 6.2."""
    number = _BINARY_INTEGERS.get(vr)
    if number is not None:
        if not as_expected or len(raw) != struct.calcsize(number):
            return None
        value: int = struct.unpack((">" if big_endian else "<") + number, raw)[0]
        return value
    text = raw.decode("latin-1").strip(" \0")
    if vr == "IS":
        return integer_of(text)
    if vr in {"DA", "TM"}:
        return _first_instant(vr, text) if len(text) <= _DATE_TIME_CHARACTERS_MAX else None
    return text if _CODE_STRING.fullmatch(text) else None


_plain_remembered: Final = lru_cache(maxsize=1024)(_plain)

_PATIENTS_REMEMBERED: Final = 64
_patient: Final[dict[tuple[bytes, bytes, bytes], str]] = {}
"""References of the patients whose objects are coming in; guarded by the interpreter: each use is one step."""


class ScannedHead:
    """A ``models.Head`` made of what a scanner captured."""

    __slots__ = ("_big_endian", "_captured", "_character_set", "_identity")

    def __init__(
        self,
        identity: ObjectIdentity,
        captured: Mapping[int, CapturedValue],
        *,
        big_endian: bool = False,
    ) -> None:
        """Keep what was captured.

        Args:
            identity: as ``DatasetScanner.identity`` gives it.
            captured: as ``DatasetScanner.captured`` gives it.
            big_endian: of the object's transfer syntax.
        """
        self._identity = identity
        self._captured = captured
        self._big_endian = big_endian
        found = captured.get(key_of(SPECIFIC_CHARACTER_SET, big_endian=big_endian))
        self._character_set = b"" if found is None else found[1].strip(b" \0")

    @classmethod
    def of(cls, scanner: DatasetScanner) -> "ScannedHead":
        """Return the head of what ``scanner`` has read, usually after ``finish``.

        Raises:
            DatasetRefused: a UID of the identity is missing or none.
        """
        return cls(scanner.identity(), scanner.captured(), big_endian=scanner.transfer_syntax.big_endian)

    @property
    def identity(self) -> ObjectIdentity:
        """The object's UIDs and its transfer syntax."""
        return self._identity

    def study(self) -> LevelHead:
        """Patient and study attributes."""
        return self._level(_STUDY[self._big_endian])

    def series(self) -> LevelHead:
        """Series attributes."""
        return self._level(_SERIES[self._big_endian])

    def instance(self) -> LevelHead:
        """Instance attributes."""
        return self._level(_INSTANCE[self._big_endian])

    def patient_reference(self) -> str:
        """Patient ID and issuer, folded, joined by ``^^^`` as HL7 does (CX); empty without a Patient ID."""
        patient_id, issuer = self._raw(_PATIENT_ID), self._raw(_ISSUER)
        if len(patient_id) > _SHORT_VALUE or len(issuer) > _SHORT_VALUE:
            return self._patient_reference(patient_id, issuer)
        # One patient's objects follow one another, so one is enough to remember; it is no more than what is under way.
        key = (patient_id, issuer, self._character_set)
        remembered = _patient.get(key)
        if remembered is None:
            remembered = self._patient_reference(patient_id, issuer)
            if len(_patient) >= _PATIENTS_REMEMBERED:
                _patient.clear()
            _patient[key] = remembered
        return remembered

    def _patient_reference(self, raw_id: bytes, raw_issuer: bytes) -> str:
        patient_id = " ".join(self._tokens(_PATIENT_ID, raw_id))
        issuer = " ".join(self._tokens(_ISSUER, raw_issuer))
        return f"{patient_id}^^^{issuer}" if patient_id and issuer else patient_id

    def _raw(self, attribute: Attribute) -> bytes:
        found = self._captured.get(key_of(attribute.tag, big_endian=self._big_endian))
        return b"" if found is None else found[1]

    # --- one level ------------------------------------------------------------------------------------------------

    def _level(self, prepared: _Rows) -> LevelHead:
        captured = self._captured
        plain = prepared.columns.copy()
        tokens: dict[str, tuple[str, ...]] = {}
        sealed: list[bytes] = []
        if self._character_set:
            sealed.append(_element(b"\x08\x00\x05\x00", "CS", self._character_set))
        is_plain, is_token = Kind.PLAIN, Kind.TOKEN
        for key, attribute, kind, code, header, short_header in prepared.present(tuple(captured)):
            vr, raw = captured[key]
            as_expected = vr in (code, 0)
            size = len(raw)
            if kind is is_plain:
                column_of = _plain_remembered if size <= _SHORT_VALUE else _plain
                plain[attribute.column] = column_of(attribute.vr, as_expected, self._big_endian, raw)
            elif kind is is_token:
                values = self._tokens(attribute, raw)
                if values:
                    tokens[attribute.keyword] = values
            if short_header and as_expected and not size & 1 and size <= 0xFF:
                sealed += (short_header, _LENGTHS[size], raw)
            else:
                sealed.append(self._sealed(header, attribute, vr, raw))
        return LevelHead(plain, tokens, b"".join(sealed))

    def _tokens(self, attribute: Attribute, raw: bytes) -> tuple[str, ...]:
        """Return the folded values of an attribute, each once."""
        texts = self._text(attribute.vr, raw).split("\\")
        if attribute.vr == "PN":
            return tuple(dict.fromkeys(group for text in texts for group in fold_person_name(text)))
        if attribute.vr == "DA":
            dates = (
                _first_instant("DA", d)
                for text in texts
                if len(d := text.strip(" \0")) <= _DATE_TIME_CHARACTERS_MAX
            )
            return tuple(dict.fromkeys(date for date in dates if date is not None))
        return tuple(dict.fromkeys(folded for text in texts if (folded := fold_text(text))))

    def _text(self, vr: str, raw: bytes) -> str:
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        # Here and not above: the character set tables bring pydicom along, which most objects never need.
        from leadglass.dicom.values import character_set  # noqa: PLC0415 - 0.8 s for the few that need it

        return character_set(self._character_set.decode("latin-1")).decode(raw, vr)

    def _sealed(self, header: bytes, attribute: Attribute, code: int, raw: bytes) -> bytes:
        """Return one element in Explicit VR Little Endian, or nothing where its octets make no sense as its VR."""
        vr = _VR_NAMES[self._big_endian].get(code, "UN") if code else ""
        expected = attribute.vr
        if expected == "SQ":
            if vr == "SQ" and not self._big_endian:
                return _element(header, "SQ", raw)
            return self._sequence(header, attribute.tag, vr, raw)
        if vr == "SQ":
            return b""
        if vr in ("", "UN") or (vr in _TEXT_VRS and expected in _TEXT_VRS):
            vr = expected
        if self._big_endian and vr in _SWAPPED_OCTETS:
            raw = _swap(raw, _SWAPPED_OCTETS[vr])
        return _element(header, vr, raw)

    def _sequence(self, header: bytes, tag: int, vr: str, raw: bytes) -> bytes:
        """Return a sequence that is not in Explicit VR Little Endian yet, rewritten."""
        if vr not in ("", "UN", "SQ") or not raw:
            return _element(header, "SQ", b"") if not raw else b""
        # Here and not above, as in ``_text``.
        from leadglass.dicom.values import read_dataset, write_dataset  # noqa: PLC0415 - as above

        group, element = tag >> 16, tag & 0xFFFF
        try:
            if vr == "SQ":
                octets = struct.pack(">HH2s2xI", group, element, b"SQ", len(raw)) + raw
                dataset = read_dataset(octets, EXPLICIT_VR_BIG_ENDIAN)
            else:  # UN is implicit VR inside, whatever the transfer syntax (PS3.5 6.2.2)
                octets = struct.pack("<HHI", group, element, len(raw)) + raw
                dataset = read_dataset(octets, IMPLICIT_VR_LITTLE_ENDIAN)
            return write_dataset(dataset.values(), EXPLICIT_VR_LITTLE_ENDIAN)
        except DatasetRefused:
            return b""  # a UN of defined length is not walked by the scanner: it may hold anything


def _element(header: bytes, vr: str, raw: bytes) -> bytes:
    """Return an element of even length; nothing where a short VR cannot hold it."""
    if len(raw) & 1:
        raw += b" " if vr in _TEXT_VRS and vr != "UI" else b"\0"
    size = len(raw)
    if vr in LONG_VRS:
        return b"%b%b\0\0%b%b" % (header, vr.encode("ascii"), size.to_bytes(4, "little"), raw)
    if size > 0xFFFF:
        return b""
    return b"%b%b%b%b" % (header, vr.encode("ascii"), size.to_bytes(2, "little"), raw)


def _swap(raw: bytes, width: int) -> bytes:
    """Return numbers of ``width`` octets with the order of their octets turned; octets left over stay."""
    whole = len(raw) // width * width
    turned = bytearray(raw)
    for offset in range(width):
        turned[offset:whole:width] = raw[width - 1 - offset : whole : width]
    return bytes(turned)
