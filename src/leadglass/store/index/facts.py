"""What decisions look at: the facts of a study, from unsealed rows only.

The facts of a series lie in its own row: modality and body part in columns that its seal is bound to, the rest inside
the seal. So a database that leaves out a fact leaves out the series and all of its images with it: it can hide, and never
make a study look like one that somebody may see.

Facts are those of every series that is held, deleted softly or not: a list and a direct access agree, and a restored
series changes no decision.

**Invariant:** nothing here believes a row before its seal has opened.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from leadglass.base.limits import FACTS_READ_MAX
from leadglass.dicom.models import Head
from leadglass.dicom.normalise import fold_text
from leadglass.store.index.database import Database, Row, Transaction
from leadglass.store.index.interfaces import StudyFacts
from leadglass.store.index.rows import SELECT_SERIES, SERIES_NAMES, OpenedLevel, Provenance, RowSeal

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

_MODALITY: Final = SERIES_NAMES.index("modality")
_BODY_PART: Final = SERIES_NAMES.index("body_part_examined")

_PATIENT_IDENTITY_REMOVED: Final = b"\x12\x00\x62\x00"
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_HEADER_BYTES: Final = 8
_LONG_HEADER_BYTES: Final = 12


def provenance_of(head: Head, source: str) -> Provenance:
    """Return what one object says of where its series came from."""
    institutions = head.series().tokens.get("InstitutionName", ())
    sources = (source,) if source else ()
    return Provenance(sources, tuple(sorted(set(institutions))), is_deidentified(head.study().sealed))


def is_deidentified(dataset: bytes) -> bool:
    """Tell whether a sealed data set of the study level says Patient Identity Removed YES. Source: PS3.15 E.1.1."""
    return fold_text(_value(dataset, _PATIENT_IDENTITY_REMOVED).decode("latin-1")) == "yes"


def facts_of_row(row: Row, provenance: Provenance) -> StudyFacts:
    """Return the facts of a study that has this one series.

    Args:
        row: its columns in the order of ``SERIES_NAMES``; they were sealed just now, or their seal opened.
        provenance: of it.
    """
    modality, body_part = row[_MODALITY], row[_BODY_PART]
    return StudyFacts(
        modalities=frozenset([modality] if modality else []),
        body_parts=frozenset([body_part] if body_part else []),
        institutions=frozenset(provenance.institutions),
        sources=frozenset(provenance.sources),
        deidentified=provenance.deidentified,
    )


def joined(facts: Iterable[StudyFacts]) -> StudyFacts:
    """Return the facts of a study from those of its series."""
    every = list(facts)
    if every and all(other is every[0] or other == every[0] for other in every):
        return every[0]
    return StudyFacts(
        modalities=frozenset[str]().union(*(f.modalities for f in every)),
        body_parts=frozenset[str]().union(*(f.body_parts for f in every)),
        institutions=frozenset[str]().union(*(f.institutions for f in every)),
        sources=frozenset[str]().union(*(f.sources for f in every)),
        deidentified=bool(every) and all(f.deidentified for f in every),
    )


@dataclass(frozen=True, slots=True)
class StudyRows:
    """What the series rows of a study say, each of them unsealed.

    Attributes:
        facts: without relations.
        series: how many there are.
    """

    facts: StudyFacts
    series: int


class FactsReader:
    """Reads facts, many studies at once. Thread-safe.

    Every row is opened. What is remembered is how the few ways in which octets that were opened can read do read.
    """

    def __init__(self, database: Database, seal: RowSeal) -> None:
        self._database = database
        self._seal = seal
        self._read: dict[tuple[str | None, str | None, bytes], StudyFacts] = {}

    def of(self, snapshot: Transaction, studies: Sequence[OpenedLevel]) -> dict[int, StudyRows]:
        """Return what is known of each study by row id.

        Raises:
            IntegrityError: a series row is not what was written.
            KeyUnavailable: a study's key was destroyed.
        """
        uids = {study.row_id: study.uid for study in studies}
        if not uids:
            return {}
        by_study: defaultdict[int, list[StudyFacts]] = defaultdict(list)
        for study_id, facts in self._series(snapshot, uids):
            by_study[study_id].append(facts)
        return {
            study_id: StudyRows(joined(found), len(found))
            for study_id in uids
            for found in [by_study[study_id]]
        }

    def _series(self, snapshot: Transaction, uids: Mapping[int, str]) -> Iterable[tuple[int, StudyFacts]]:
        of_studies, parameter = self._database.any_of("series.study_id", list(uids))
        rows = snapshot.execute(
            f"SELECT series.study_id, {SELECT_SERIES} FROM series WHERE {of_studies}", (parameter,)
        )
        for study_id, *row in rows:
            yield study_id, self.of_series(tuple(row), uids[study_id])

    def of_series(self, row: Row, study_uid: str) -> StudyFacts:
        """Return the facts of a row of ``SELECT_SERIES``."""
        opened = self._seal.open_series(row, study_uid)
        said = (row[1 + _MODALITY], row[1 + _BODY_PART], opened.encoded_provenance)
        facts = self._read.get(said)
        if facts is None:
            if len(self._read) >= FACTS_READ_MAX:
                self._read.clear()
            facts = self._read[said] = facts_of_row(row[1:], opened.provenance)
        return facts


def canonical(facts: StudyFacts) -> tuple[Collection[str] | bool, ...]:
    """Return facts without relations in the one order in which they are sealed and told apart."""
    return (
        sorted(facts.modalities),
        sorted(facts.body_parts),
        sorted(facts.institutions),
        sorted(facts.sources),
        facts.deidentified,
    )


def _value(dataset: bytes, tag: bytes) -> bytes:
    """Return the value of an element of a data set that ``dicom.head`` wrote: explicit lengths, sequences too."""
    position = 0
    while position + _HEADER_BYTES <= len(dataset):
        if dataset[position + 4 : position + 6] in _LONG_VRS:
            start = position + _LONG_HEADER_BYTES
            end = start + int.from_bytes(dataset[position + 8 : start], "little")
        else:
            start = position + _HEADER_BYTES
            end = start + int.from_bytes(dataset[position + 6 : start], "little")
        if dataset[position : position + 4] == tag:
            return dataset[start:end]
        position = end
    return b""
