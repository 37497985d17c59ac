"""What every index must do, whatever database stands under it. Subclass it and give a ``database`` fixture."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import (
    ConfigurationError,
    IdentifierRefused,
    IntegrityError,
    KeyUnavailable,
    OutOfResources,
)
from leadglass.base.ids import UID
from leadglass.base.limits import QUERY_SECONDS
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.models import Head, Level
from leadglass.dicom.query import (
    AnyOf,
    Key,
    KeyMatch,
    Model,
    Query,
    Range,
    Responder,
    Single,
    UIDList,
    Universal,
    Wildcard,
    read_response,
)
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.values import Element, write_dataset
from leadglass.store.index import schema, search
from leadglass.store.index.database import Database, Parameter
from leadglass.store.index.interfaces import (
    Index,
    IndexEntry,
    InstanceRecord,
    Match,
    QuarantineEntry,
    RowFinding,
    Scope,
    Selector,
    Subject,
)
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import SiteKeys, create_site_keys

CT = UID("1.2.840.10008.5.1.4.1.1.2")
MR = UID("1.2.840.10008.5.1.4.1.1.4")
EXPLICIT = UID("1.2.840.10008.1.2.1")
RECEIVED = datetime(2026, 11, 22, 8, 0, 0, 123456, tzinfo=UTC)


class Maker:
    """Makes entries of synthetic patients, under real keys."""

    def __init__(self, keys: SiteKeys) -> None:
        self._keys = keys
        self._count = 0

    def entry(
        self,
        study: str = "1",
        series: str = "1",
        instance: str = "",
        **attributes: str | int | bytes,
    ) -> IndexEntry:
        """Return an entry; ``source`` and ``outline`` are those of the entry, all others are attributes."""
        source, outline = str(attributes.pop("source", "")), attributes.pop("outline", b"")
        assert isinstance(outline, bytes)
        self._count += 1
        study_uid = UID(f"1.2.826.0.1.{study}")
        identity = ObjectIdentity(
            study_uid,
            UID(f"{study_uid}.{series}"),
            UID(f"1.2.826.0.2.{instance or self._count}"),
            UID(str(attributes.pop("SOPClassUID", CT))),
            EXPLICIT,
        )
        address = RecordAddress(
            pack_id=study.encode().ljust(16, b"p"),
            offset=1000 * self._count,
            length=900,
            object_id=self._count.to_bytes(16, "big"),
            key_id=self._keys.study_key(study_uid).key_id,
        )
        return IndexEntry(
            head_of(identity, attributes),
            address,
            200,
            700,
            RECEIVED + timedelta(seconds=self._count),
            source,
            outline,
        )


def head_of(identity: ObjectIdentity, attributes: dict[str, str | int | bytes]) -> Head:
    elements = [Element(0x0008_0005, "CS", b"ISO_IR 192")]
    uids = {
        "StudyInstanceUID": identity.study_uid,
        "SeriesInstanceUID": identity.series_uid,
        "SOPInstanceUID": identity.sop_instance_uid,
        "SOPClassUID": identity.sop_class_uid,
    }
    for keyword, value in {**uids, **attributes}.items():
        attribute = BY_KEYWORD[keyword]
        if isinstance(value, int) and attribute.vr == "US":
            raw = value.to_bytes(2, "little")
        else:
            raw = value if isinstance(value, bytes) else str(value).encode()
        elements.append(Element(attribute.tag, attribute.vr, raw))
    scanner = DatasetScanner(identity.transfer_syntax_uid)
    scanner.feed(write_dataset(sorted(elements, key=lambda element: element.tag)))
    scanner.finish()
    return ScannedHead.of(scanner)


def query(level: Level, **matches: KeyMatch | None) -> Query:
    keys = [
        Key(keyword, BY_KEYWORD[keyword].tag, BY_KEYWORD[keyword].vr, Universal() if match is None else match)
        for keyword, match in matches.items()
    ]
    root = Model.PATIENT if level is Level.PATIENT else Model.STUDY
    return Query(root, level, tuple(sorted(keys, key=lambda key: key.tag)))


def answers(matches: Sequence[Match] | Iterator[Match], keyword: str) -> list[object]:
    return [read_response(match.response, EXPLICIT).get(keyword) for match in matches]


EVERYTHING = Scope(Subject("user:anybody"), lambda _: True)


def open_index(database: Database, keys: SiteKeys, tokeniser: SiteKeys | None = None) -> SQLIndex:
    """Open an index as ``app.compose`` does."""
    return SQLIndex(database, keys, tokeniser or keys, SiteRows(keys.audit_cipher, FakeClock()))


def find(index: SQLIndex, wanted: Query) -> Iterator[Match]:
    """Search without a limit to what may be shown."""
    return index.search(wanted, EVERYTHING)


def record_of(entry: IndexEntry) -> InstanceRecord:
    return InstanceRecord(
        entry.head.identity, entry.address, entry.dataset_offset, entry.dataset_length, entry.received_at
    )


@dataclass(frozen=True)
class Person:
    PatientName: str
    PatientID: str
    StudyDate: str
    StudyDescription: str


PEOPLE = (
    Person("Smith^Anna", "PAT-0001", "20260101", "CT ABDOMEN"),
    Person("SMITH^Bob^^Dr", "PAT-0002", "20260215", "MR head"),
    Person("Smithers^Waylon", "PAT-00034", "20260301", "CT THORAX"),
    Person("Müller^Jörg", "x17", "20260301", "Sono"),
    Person("Yamada^Tarou=山田^太郎=やまだ^たろう", "山-1", "", ""),
    Person("", "", "20251231", "phantom"),
    Person("O'Neil^%_;--", "' OR 1=1 --", "20260401", "%"),
    Person("Li", "pat-0001", "20260402", "ct abdomen"),
)


class IndexFixtures:
    """An index over the database of a subclass."""

    @pytest.fixture(scope="class")
    @classmethod
    def keys(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteKeys]:
        folder = tmp_path_factory.mktemp("keys")
        keys = create_site_keys(folder / "ledger", KeyFileProvider.create(folder / "root.key"), FakeClock())
        yield keys
        keys.close()

    @pytest.fixture
    def index(self, database: Database, keys: SiteKeys) -> Iterator[SQLIndex]:
        index = open_index(database, keys)
        yield index
        index.close()

    @pytest.fixture
    def maker(self, keys: SiteKeys) -> Maker:
        return Maker(keys)


class IndexSuite(IndexFixtures):
    """The contract of ``Index``."""

    @pytest.fixture
    def population(self, index: SQLIndex, maker: Maker) -> list[IndexEntry]:
        entries = [
            maker.entry(
                study=str(number), Modality="CT" if number % 2 else "MR", InstanceNumber="1", **vars(person)
            )
            for number, person in enumerate(PEOPLE, 1)
        ]
        assert index.add(entries) == [None] * len(entries)
        return entries

    # --- adding and looking up ---------------------------------------------------------------------------------

    def test_it_is_an_index(self, index: SQLIndex) -> None:
        contract: Index = index
        assert contract.counts().instances == 0

    def test_what_was_added_is_looked_up_in_full(self, index: SQLIndex, maker: Maker) -> None:
        entry = maker.entry(PatientName="Doe^Jane", Rows=512)
        assert index.lookup(entry.head.identity.sop_instance_uid) is None
        assert index.add([entry]) == [None]
        assert index.lookup(entry.head.identity.sop_instance_uid) == record_of(entry)

    def test_adding_the_same_record_again_changes_nothing(self, index: SQLIndex, maker: Maker) -> None:
        entries = [maker.entry(), maker.entry(series="2")]
        assert index.add(entries) == [None, None]
        assert index.add([*entries, maker.entry()]) == [None, None, None]
        assert index.counts().instances == 3

    def test_another_record_with_a_held_uid_is_not_added(self, index: SQLIndex, maker: Maker) -> None:
        first = maker.entry(instance="7")
        index.add([first])
        again = maker.entry(study="2", instance="7")
        fresh = maker.entry(study="3")
        assert index.add([again, fresh]) == [record_of(first), None]
        assert index.counts().studies == 2, (
            "a study without an instance would be found and could not be fetched"
        )

    def test_of_two_with_one_uid_in_one_call_the_first_is_added(self, index: SQLIndex, maker: Maker) -> None:
        first, second = maker.entry(instance="7"), maker.entry(study="2", instance="7")
        assert index.add([first, second]) == [None, record_of(first)]

    def test_the_first_object_decides_what_a_study_says(self, index: SQLIndex, maker: Maker) -> None:
        index.add([maker.entry(PatientName="First"), maker.entry(PatientName="Second")])
        index.add([maker.entry(PatientName="Third")])
        assert answers(find(index, query(Level.STUDY, PatientName=None)), "PatientName") == ["First"]

    def test_a_series_uid_in_two_studies_is_two_series(self, index: SQLIndex, maker: Maker) -> None:
        one = maker.entry(study="1")
        other = maker.entry(study="2")
        moved = ObjectIdentity(
            other.head.identity.study_uid,
            one.head.identity.series_uid,
            other.head.identity.sop_instance_uid,
            CT,
            EXPLICIT,
        )
        index.add([one, replace(other, head=head_of(moved, {}))])
        assert index.counts().series == 2
        assert index.lookup(moved.sop_instance_uid) is not None

    def test_values_that_no_column_can_hold_are_stored_and_harmless(
        self, index: SQLIndex, maker: Maker
    ) -> None:
        entry = maker.entry(
            InstanceNumber="9" * 30, Modality="C\0T", PatientName=b"\xff\xfe^\x00", StudyDescription="a\0b"
        )
        index.add([entry])
        assert index.lookup(entry.head.identity.sop_instance_uid) == record_of(entry)
        found = query(Level.STUDY, StudyInstanceUID=UIDList((entry.head.identity.study_uid,)))
        assert len(list(find(index, found))) == 1
        huge = query(
            Level.IMAGE,
            StudyInstanceUID=UIDList((entry.head.identity.study_uid,)),
            InstanceNumber=Single("9" * 30),
        )
        list(find(index, huge))

    # --- searching ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("match", "expected"),
        [
            (Single("smith^anna"), {1}),
            (Wildcard("SMITH*"), {1, 2, 3}),
            (Wildcard("Smith^*"), {1, 2}),
            (Wildcard("s*"), {1, 2, 3}),
            (Wildcard("*mith*"), {1, 2, 3}),
            (Wildcard("muller*"), {4}),
            (Wildcard("山田*"), {5}),
            (Single("O'Neil^%_;--"), {7}),
            (Single("nobody"), set()),
            (Wildcard("%"), set()),
        ],
    )
    def test_names(
        self, index: SQLIndex, population: list[IndexEntry], match: KeyMatch, expected: set[int]
    ) -> None:
        matches = list(find(index, query(Level.STUDY, PatientName=match)))
        wanted = {population[n - 1].head.identity.study_uid for n in expected}
        assert {m.study_uid for m in matches} == wanted
        assert len(matches) == len(wanted)

    def test_dates(self, index: SQLIndex, population: list[IndexEntry]) -> None:
        """The newest come first."""

        def dates(low: str, high: str) -> list[object]:
            return answers(find(index, query(Level.STUDY, StudyDate=Range(low, high))), "StudyDate")

        assert dates("20260215", "20260301") == ["20260301", "20260301", "20260215"]
        assert dates("", "20260101") == ["20260101", "20251231"]
        assert dates("20260401", "") == ["20260402", "20260401"]

    def test_series_and_images(self, index: SQLIndex, maker: Maker) -> None:
        entries = [
            maker.entry(
                series=str(s), Modality=["CT", "MR"][s % 2], SeriesNumber=s, InstanceNumber=i, PatientName="A"
            )
            for s in (1, 2, 3)
            for i in (1, 2)
        ]
        index.add(entries)
        study = UIDList((entries[0].head.identity.study_uid,))
        series = query(Level.SERIES, StudyInstanceUID=study, Modality=Single("MR"), SeriesNumber=None)
        assert answers(find(index, series), "SeriesNumber") == [1, 3]
        images = query(
            Level.IMAGE,
            StudyInstanceUID=study,
            SeriesInstanceUID=UIDList((entries[2].head.identity.series_uid,)),
            InstanceNumber=Single("2"),
            SOPInstanceUID=None,
            PatientName=None,
        )
        found = list(find(index, images))
        assert answers(found, "SOPInstanceUID") == [entries[3].head.identity.sop_instance_uid]
        assert answers(found, "PatientName") == ["A"]

    def test_a_uid_of_a_lower_level_finds_its_study(
        self, index: SQLIndex, population: list[IndexEntry]
    ) -> None:
        """A relational query may leave out the keys above."""
        wanted = population[4].head.identity
        images = query(Level.IMAGE, SOPInstanceUID=UIDList((wanted.sop_instance_uid,)))
        assert [m.study_uid for m in find(index, images)] == [wanted.study_uid]
        series = query(Level.SERIES, SeriesInstanceUID=UIDList((wanted.series_uid, "1.2")))
        assert [m.study_uid for m in find(index, series)] == [wanted.study_uid]

    def test_what_is_computed(self, index: SQLIndex, maker: Maker) -> None:
        person: dict[str, str] = {"PatientID": "P1", "PatientName": "A"}
        index.add(
            [
                maker.entry(study="1", series="1", Modality="CT", **person),
                maker.entry(study="1", series="1", Modality="CT", **person),
                maker.entry(study="1", series="2", SOPClassUID=MR, Modality="MR", **person),
                maker.entry(study="2", series="1", Modality="CT", **person),
                maker.entry(study="3", series="1", Modality="CT", PatientID="P2"),
            ]
        )
        asked: dict[str, KeyMatch | None] = dict.fromkeys(
            (
                "SOPClassesInStudy",
                "NumberOfStudyRelatedSeries",
                "NumberOfStudyRelatedInstances",
                "NumberOfPatientRelatedStudies",
                "NumberOfPatientRelatedSeries",
                "NumberOfPatientRelatedInstances",
            )
        )
        found = list(find(index, query(Level.STUDY, ModalitiesInStudy=Single("MR"), **asked)))
        assert answers(found, "ModalitiesInStudy") == [["CT", "MR"]]
        assert answers(found, "SOPClassesInStudy") == [[CT, MR]]
        numbers = [int(str(answers(found, keyword)[0])) for keyword in list(asked)[1:]]
        assert numbers == [2, 3, 2, 3, 4]
        series = query(
            Level.SERIES,
            StudyInstanceUID=UIDList((found[0].study_uid,)),
            NumberOfSeriesRelatedInstances=None,
        )
        assert [int(str(n)) for n in answers(find(index, series), "NumberOfSeriesRelatedInstances")] == [
            2,
            1,
        ]
        by_class = query(Level.STUDY, SOPClassesInStudy=UIDList((MR,)))
        assert len(list(find(index, by_class))) == 1

    def test_patients_are_grouped_by_id_and_issuer(self, index: SQLIndex, maker: Maker) -> None:
        index.add(
            [
                maker.entry(study="1", PatientID="P1"),
                maker.entry(study="2", PatientID="P1"),
                maker.entry(study="3", PatientID="P1", IssuerOfPatientID="ELSEWHERE"),
                maker.entry(study="4", PatientID=""),
                maker.entry(study="5", PatientID=""),
            ]
        )
        patients = query(Level.PATIENT, PatientID=None, NumberOfPatientRelatedStudies=None)
        found = answers(find(index, patients), "NumberOfPatientRelatedStudies")
        assert [int(str(n)) for n in found] == [1, 1, 1, 2]

    def test_many_pages_are_walked_once(
        self, index: SQLIndex, maker: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "PAGE_ROWS", 3)
        monkeypatch.setattr(search, "UIDS_PER_PAGE", 2)
        entries = [
            maker.entry(study=str(n), series=str(s), PatientName="Same^Name", StudyDate=f"2026010{1 + n % 2}")
            for n in range(1, 9)
            for s in range(4)
        ]
        index.add(entries)
        uids = {e.head.identity.study_uid for e in entries}
        walks: list[dict[str, KeyMatch]] = [
            {"PatientName": Single("same^name")},
            {"StudyDate": Range("20260101", "20260102")},
            {"StudyInstanceUID": UIDList(tuple(uids))},
            {},
        ]
        for walk in walks:
            studies = [m.study_uid for m in find(index, query(Level.STUDY, **walk))]
            assert sorted(studies) == sorted(uids)
            series = [m.study_uid for m in find(index, query(Level.SERIES, **walk))]
            assert len(series) == 32
            images = answers(find(index, query(Level.IMAGE, SOPInstanceUID=None, **walk)), "SOPInstanceUID")
            assert len(set(images)) == len(images) == 32

    def test_a_query_opens_only_so_many_rows(
        self, index: SQLIndex, population: list[IndexEntry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "QUERY_CANDIDATES_MAX", 3)
        with pytest.raises(OutOfResources):
            list(find(index, query(Level.STUDY, StudyDescription=Wildcard("*nothing"))))
        assert len(list(find(index, query(Level.STUDY, PatientName=Single("Li"))))) == 1

    def test_a_query_works_only_so_long_whatever_the_reader_takes(
        self, index: SQLIndex, population: list[IndexEntry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        monkeypatch.setattr(FakeClock, "monotonic", lambda _clock: now)
        matches = iter(find(index, query(Level.STUDY)))
        next(matches)
        now += 10 * QUERY_SECONDS  # a slow reader is no work
        assert len(list(matches)) == len(list(find(index, query(Level.STUDY)))) - 1

        def ticking() -> float:
            nonlocal now
            now += QUERY_SECONDS / 3
            return now

        monkeypatch.setattr(FakeClock, "monotonic", lambda _clock: ticking())
        with pytest.raises(OutOfResources):
            list(find(index, query(Level.STUDY, StudyDescription=Wildcard("*nothing"))))

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_narrowing_never_hides_a_match(
        self, index: SQLIndex, population: list[IndexEntry], data: st.DataObject
    ) -> None:
        """What the index finds is what the matcher would find among all rows."""
        texts = sorted({value for person in PEOPLE for value in vars(person).values()} - {""})
        piece = st.sampled_from(texts).flatmap(lambda t: st.integers(0, len(t)).map(lambda n: t[:n]))
        text = st.one_of(
            piece.map(lambda p: Wildcard(p + "*")), piece.map(lambda p: Wildcard("?" + p[1:] + "*"))
        )
        text = st.one_of(text, st.sampled_from(texts).map(str.upper).map(Single))
        date = st.sampled_from(["", "20251231", "20260215", "20260301"])
        asked: dict[str, KeyMatch] = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "PatientName": text,
                    "PatientID": text,
                    "StudyDescription": text,
                    "StudyDate": st.builds(Range, date, date),
                    "ModalitiesInStudy": st.sampled_from([Single("CT"), AnyOf((Single("MR"), Single("US")))]),
                },
            )
        )
        wanted = query(Level.STUDY, **asked)
        responder = Responder(wanted)
        expected = {
            entry.head.identity.study_uid
            for entry in population
            if responder.respond(
                [entry.head.study().sealed],
                {"ModalitiesInStudy": [entry.head.series().plain["modality"]]}
                if "ModalitiesInStudy" in asked
                else {},
            )
        }
        assert {m.study_uid for m in find(index, wanted)} == expected

    # --- selecting ---------------------------------------------------------------------------------------------

    def test_instances_are_selected_in_order(self, index: SQLIndex, maker: Maker) -> None:
        entries = [
            maker.entry(series=series, SeriesNumber=number, InstanceNumber=n, PatientID="P1")
            for series, number in (("9", 1), ("1", 2))
            for n in (3, 1, 2)
        ]
        unnumbered = maker.entry(series="1", PatientID="P1")
        index.add([unnumbered, *entries])
        order = [entries[i] for i in (1, 2, 0, 4, 5, 3)]
        # The series of the first object has no number in its row: it comes last.
        index.clear()
        index.add([*entries, unnumbered])
        expected = [record_of(e) for e in [*order, unnumbered]]
        study = entries[0].head.identity.study_uid
        assert list(index.select(Selector(Level.STUDY, study_uids=(study,)))) == expected
        assert list(index.select(Selector(Level.PATIENT, patient_id="P1"))) == expected
        series = entries[3].head.identity.series_uid
        assert list(index.select(Selector(Level.SERIES, series_uids=(series,)))) == expected[3:]
        two = tuple(entries[i].head.identity.sop_instance_uid for i in (0, 4))
        by_uid = Selector(Level.IMAGE, study_uids=(study,), sop_instance_uids=two)
        assert list(index.select(by_uid)) == [record_of(entries[0]), record_of(entries[4])]

    def test_another_patient_is_never_selected(self, index: SQLIndex, population: list[IndexEntry]) -> None:
        """``PAT-0001`` and ``pat-0001`` have one token: it narrows, the value decides."""
        found = list(index.select(Selector(Level.PATIENT, patient_id="PAT-0001")))
        assert found == [record_of(population[0])]
        foreign = population[1].head.identity.study_uid
        assert not list(index.select(Selector(Level.STUDY, patient_id="PAT-0001", study_uids=(foreign,))))

    def test_selecting_nothing_is_refused(self, index: SQLIndex) -> None:
        with pytest.raises(IdentifierRefused):
            list(index.select(Selector(Level.STUDY)))

    def test_a_long_list_is_one_statement(self, index: SQLIndex, population: list[IndexEntry]) -> None:
        uids = tuple(UID(f"1.2.3.{n}") for n in range(70_000))
        held = population[0].head.identity.sop_instance_uid
        found = index.select(Selector(Level.IMAGE, sop_instance_uids=(*uids, held)))
        assert [r.identity.sop_instance_uid for r in found] == [held]

    # --- the rest ----------------------------------------------------------------------------------------------

    def test_what_is_kept_apart_comes_back(self, index: SQLIndex, maker: Maker) -> None:
        kept = [QuarantineEntry(record_of(maker.entry(instance="7")), f"other content {n}") for n in range(3)]
        for entry in (*kept, kept[0]):
            index.add_quarantined(entry)
        assert list(index.quarantined()) == kept
        assert index.counts().quarantined == 3

    def test_closed_packs(self, index: SQLIndex) -> None:
        assert index.closed_packs() == set()
        for _ in range(2):
            index.close_pack(b"p" * 16)
        assert index.closed_packs() == {b"p" * 16}
        assert index.counts().packs_closed == 1

    def test_clear_forgets_everything(self, index: SQLIndex, population: list[IndexEntry]) -> None:
        index.close_pack(b"p" * 16)
        index.clear()
        assert index.closed_packs() == set()
        assert index.counts().instances == index.counts().studies == 0
        assert not list(index.verify())
        assert index.add(population) == [None] * len(population)

    def test_verify_yields_every_instance(self, index: SQLIndex, population: list[IndexEntry]) -> None:
        assert list(index.verify()) == [record_of(entry) for entry in population]

    def test_it_opens_again_with_the_same_keys_only(
        self, database: Database, keys: SiteKeys, tmp_path: Path
    ) -> None:
        open_index(database, keys, keys)
        open_index(database, keys, keys)
        other = create_site_keys(
            tmp_path / "ledger", KeyFileProvider.create(tmp_path / "root.key"), FakeClock()
        )
        with pytest.raises(ConfigurationError, match="another index key"):
            open_index(database, keys, other)
        other.close()

    def test_a_database_of_a_newer_version_is_refused(self, database: Database) -> None:
        schema.migrate(database)
        with database.writing(durable=True) as transaction:
            transaction.execute("INSERT INTO migration (number, checksum) VALUES (999, 'x')")
        with pytest.raises(ConfigurationError, match="newer"):
            schema.migrate(database)

    def test_a_changed_migration_is_refused(self, database: Database) -> None:
        schema.migrate(database)
        with database.writing(durable=True) as transaction:
            transaction.execute("UPDATE migration SET checksum = 'x'")
        with pytest.raises(ConfigurationError, match="migration 1"):
            schema.migrate(database)

    def test_a_failed_transaction_leaves_nothing(self, database: Database, index: SQLIndex) -> None:
        def fail_half_way() -> None:
            with database.writing(durable=False) as transaction:
                transaction.execute("INSERT INTO pack (pack_id, seal) VALUES (?, ?)", (b"x", b"y"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail_half_way()
        assert index.counts().packs_closed == 0

    # --- tampering ---------------------------------------------------------------------------------------------

    def test_every_changed_column_is_found_and_named(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        entry = maker.entry(PatientName="A", InstanceNumber=5, Modality="CT", StudyDate="20260101", Rows=5)
        index.add([entry])
        index.add_quarantined(QuarantineEntry(record_of(maker.entry()), "why"))
        for table in ("study", "series", "instance", "quarantine"):
            for column in _columns(table):
                if column in {"id", "study_id", "series_id"}:
                    continue
                original = _read(database, table, column)
                for value in _others(original, column):
                    _write(database, table, column, value)
                    _assert_found(index, entry, table)
                _write(database, table, column, original)
        assert list(index.verify()) == [record_of(entry)]

    def test_exchanged_rows_are_found(self, database: Database, index: SQLIndex, maker: Maker) -> None:
        one, other = maker.entry(study="1", PatientName="A"), maker.entry(study="2", PatientName="B")
        index.add([one, other])
        for table in ("study", "series", "instance"):
            with database.writing(durable=True) as transaction:
                rows = transaction.execute(f"SELECT id, sealed FROM {table} ORDER BY id")
                for (row_id, _), (_, sealed) in zip(rows, reversed(rows), strict=True):
                    transaction.execute(f"UPDATE {table} SET sealed = ? WHERE id = ?", (sealed, row_id))
            findings = [f for f in index.verify() if isinstance(f, RowFinding)]
            assert {f.where for f in findings} >= {f"{table} row {row_id}" for row_id, _ in rows}
            with database.writing(durable=True) as transaction:
                for row_id, sealed in rows:
                    transaction.execute(f"UPDATE {table} SET sealed = ? WHERE id = ?", (sealed, row_id))

    def test_an_instance_moved_to_another_series_is_found(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        one, other = maker.entry(study="1"), maker.entry(study="2")
        index.add([one, other])
        with database.writing(durable=True) as transaction:
            transaction.execute("UPDATE instance SET series_id = (SELECT max(id) FROM series)")
        with pytest.raises(IntegrityError, match="of table instance"):
            index.lookup(one.head.identity.sop_instance_uid)
        with pytest.raises(IntegrityError, match="of table instance"):
            list(index.select(Selector(Level.STUDY, study_uids=(other.head.identity.study_uid,))))

    @pytest.mark.parametrize("table", ["study_token", "series_token"])
    def test_a_token_row_that_was_changed_or_added_is_found(
        self, database: Database, index: SQLIndex, maker: Maker, table: str
    ) -> None:
        index.add([maker.entry(PatientName="A", StationName="B")])
        with database.writing(durable=True) as transaction:
            row_id, token = transaction.execute(f"SELECT row_id, token FROM {table} LIMIT 1")[0]
            transaction.execute(f"UPDATE {table} SET token = ? WHERE token = ?", (b"x" * 16, token))
        findings = [f for f in index.verify() if isinstance(f, RowFinding)]
        assert [f.where for f in findings] == [f"{table.removesuffix('_token')} row {row_id}"]
        with database.writing(durable=True) as transaction:
            transaction.execute(f"INSERT INTO {table} (token, row_id) VALUES (?, ?)", (token, row_id))
        assert [f.where for f in index.verify() if isinstance(f, RowFinding)] == [f"table {table}"]

    def test_a_forged_note_of_a_closed_pack_counts_for_nothing(
        self, database: Database, index: SQLIndex
    ) -> None:
        index.close_pack(b"p" * 16)
        with database.writing(durable=True) as transaction:
            transaction.execute("UPDATE pack SET pack_id = ?", (b"q" * 16,))
        assert index.closed_packs() == set()
        assert [f.where for f in index.verify() if isinstance(f, RowFinding)] == [f"pack {'71' * 16}"]

    def test_no_identifier_stands_in_any_column(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        canary = "CANARY^ZEBEDEE"
        tokens = [a.keyword for a in BY_KEYWORD.values() if a.kind == "token" and a.vr in ("PN", "LO", "SH")]
        sealed = [
            a.keyword for a in BY_KEYWORD.values() if a.kind == "sealed" and a.vr in ("PN", "LO", "SH", "LT")
        ]
        index.add([maker.entry(**dict.fromkeys([*tokens, *sealed], canary))])
        with database.reading() as transaction:
            for table in ("study", "series", "instance", "study_token", "series_token"):
                rows = transaction.execute(f"SELECT * FROM {table}")
                assert rows
                assert "canary" not in repr(rows).lower()


def _columns(table: str) -> list[str]:
    create = next(s for m in schema.MIGRATIONS for s in m.statements if f"CREATE TABLE {table} (" in s)
    return re.findall(r'"?(\w+)"? \{(?:text|int|blob)\}', create)


def _read(database: Database, table: str, column: str) -> Parameter:
    with database.reading() as transaction:
        rows = transaction.execute(f'SELECT "{column}" FROM {table}')
    assert len(rows) == 1
    value: Parameter = rows[0][0]
    return value


def _write(database: Database, table: str, column: str, value: Parameter) -> None:
    with database.writing(durable=True) as transaction:
        transaction.execute(f'UPDATE {table} SET "{column}" = ?', (value,))


_INTEGERS = {"series_number", "instance_number", "number_of_frames", "rows", "columns", "bits_allocated"}


def _others(value: Parameter, column: str) -> list[Parameter]:
    if isinstance(value, bytes):
        return [bytes([value[0] ^ 1]) + value[1:], value[:-1] + bytes([value[-1] ^ 0x80]), b""]
    if isinstance(value, int):
        return [value + 1, -value]
    if isinstance(value, str):
        return [value[:-1] + ("1" if value[-1] != "1" else "2"), value + "0"]
    return [7 if column in _INTEGERS else "X"]


def _assert_found(index: SQLIndex, entry: IndexEntry, table: str) -> None:
    findings = [f for f in index.verify() if isinstance(f, RowFinding)]
    assert any(f.where.startswith(f"{table} row ") for f in findings), table
    if table == "quarantine":
        _assert_named(lambda: list(index.quarantined()), table)
        return
    # Whatever is asked, the answer is an error that names the row, or nothing; never the row.
    identity = entry.head.identity
    images = query(Level.IMAGE, StudyInstanceUID=UIDList((identity.study_uid,)), ModalitiesInStudy=None)
    assert not _outcome(lambda: list(find(index, images)), "")
    if table == "instance":
        assert not _outcome(lambda: index.lookup(identity.sop_instance_uid), table)


def _outcome(ask: Callable[[], object], table: str) -> object:
    """Return what was answered; nothing where it was an error that names a row of the table."""
    try:
        return ask()
    except (IntegrityError, KeyUnavailable) as error:
        return None if f" of table {table}" in str(error) else error


def _assert_named(ask: Callable[[], object], table: str) -> None:
    with pytest.raises((IntegrityError, KeyUnavailable), match=f"of table {table}"):
        ask()
