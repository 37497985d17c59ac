"""Who may be shown what: scopes, relations, soft deletion and descriptions, whatever database stands under the index.

Subclass it and give a ``database`` fixture.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.ids import UID
from leadglass.dicom.models import Level
from leadglass.dicom.query import AnyOf, KeyMatch, Query, Range, Single, UIDList, Wildcard
from leadglass.store.index import relations as relations_module
from leadglass.store.index import search
from leadglass.store.index.database import Database
from leadglass.store.index.interfaces import (
    Deletion,
    IndexEntry,
    Relation,
    RelationEntry,
    RowFinding,
    Scope,
    Selector,
    StudyFacts,
    Subject,
    Total,
)
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.trust.keys.ring import SiteKeys
from suites.index_suite import CT, EVERYTHING, IndexFixtures, Maker, answers, find, query, record_of

ME = Subject("user:me")
CLOCK = FakeClock()
TOMORROW = CLOCK.now() + timedelta(days=1)

Permits = Callable[[StudyFacts], bool]

MODALITIES = ("CT", "MR", "US")
SOURCES = ("device:ct1", "device:mr1", "")
PHYSICIANS = ("Doe^Jane", "Roe^Richard", "")


def study_of(entry: IndexEntry) -> UID:
    return entry.head.identity.study_uid


def shown(index: SQLIndex, permits: Permits, wanted: Query | None = None, subject: Subject = ME) -> list[UID]:
    return [m.study_uid for m in index.search(wanted or query(Level.STUDY), Scope(subject, permits))]


def deletion_of(entry: IndexEntry, level: Level = Level.STUDY, number: int = 1) -> Deletion:
    identity = entry.head.identity
    return Deletion(
        deletion_id=number.to_bytes(16, "big"),
        level=level,
        study_uid=identity.study_uid,
        series_uid="" if level is Level.STUDY else identity.series_uid,
        sop_instance_uid=identity.sop_instance_uid if level is Level.IMAGE else "",
        deleted_at=CLOCK.now(),
        deleted_by="user:me",
        reason="wrong patient: Canary",
        restorable_until=TOMORROW,
    )


class IndexAccessSuite(IndexFixtures):
    """What ``Index`` promises about people."""

    # --- facts -------------------------------------------------------------------------------------------------

    def test_facts_are_those_of_all_series_and_all_senders(self, index: SQLIndex, maker: Maker) -> None:
        entries = [
            maker.entry(
                series="1",
                source="device:ct1",
                Modality="CT",
                BodyPartExamined="HEAD",
                InstitutionName="St.  Anna",
            ),
            maker.entry(series="1", source="device:router", Modality="CT"),
            maker.entry(series="2", source="user:importer", Modality="SR", InstitutionName="ST. ANNA"),
        ]
        for entry in entries:
            index.add([entry])
        uid = study_of(entries[0])
        assert index.facts([uid, UID("1.2.3")], ME) == {
            uid: StudyFacts(
                modalities=frozenset({"CT", "SR"}),
                body_parts=frozenset({"HEAD"}),
                institutions=frozenset({"st. anna"}),
                sources=frozenset({"device:ct1", "device:router", "user:importer"}),
            )
        }

    def test_one_transaction_or_many_give_the_same_facts_and_class(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        def entries(study: str) -> list[IndexEntry]:
            return [
                maker.entry(study=study, series=str(n), source=f"device:{n % 2}", Modality=MODALITIES[n % 3])
                for n in (1, 2, 3, 1, 2)
            ]

        index.add(entries("1"))
        for entry in entries("2"):
            index.add([entry])
        one, two = index.facts([UID("1.2.826.0.1.1"), UID("1.2.826.0.1.2")], ME).values()
        assert one == two
        with database.reading() as snapshot:
            assert len(set(snapshot.execute("SELECT class_id FROM listing"))) == 1
        assert not [f for f in index.verify() if isinstance(f, RowFinding)]

    def test_a_study_is_deidentified_as_long_as_every_object_says_so(
        self, index: SQLIndex, maker: Maker
    ) -> None:
        """An identified object that is put into a de-identified study must not reach a researcher."""

        def add(series: str, removed: str) -> bool:
            entry = maker.entry(series=series, PatientIdentityRemoved=removed)
            index.add([entry])
            return index.facts([study_of(entry)], ME)[study_of(entry)].deidentified

        assert add("1", "YES")
        assert add("1", "YES")
        assert add("2", "yes ")
        assert not add("1", "NO"), "in a known series"
        assert not add("1", "YES"), "and for good"

    def test_a_resend_does_not_make_a_source(self, index: SQLIndex, maker: Maker) -> None:
        """Who sends again what is held would otherwise make a study their own."""
        first = maker.entry(instance="7", source="device:ct1")
        index.add([first])
        index.add([maker.entry(instance="7", source="device:intruder")])
        assert index.facts([study_of(first)], ME)[study_of(first)].sources == {"device:ct1"}

    def test_what_a_series_came_from_survives_a_new_process(
        self, database: Database, keys: SiteKeys, index: SQLIndex, maker: Maker
    ) -> None:
        first = maker.entry(source="device:ct1")
        index.add([first])
        again = SQLIndex(database, keys, keys, SiteRows(keys.audit_cipher, CLOCK))
        again.add([maker.entry(source="device:ct2")])
        assert again.facts([study_of(first)], ME)[study_of(first)].sources == {"device:ct1", "device:ct2"}
        assert not [f for f in again.verify() if isinstance(f, RowFinding)]

    # --- scopes ------------------------------------------------------------------------------------------------

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_a_scope_shows_what_deciding_each_study_would(
        self, index: SQLIndex, maker: Maker, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
    ) -> None:
        """By classes, by lists of related studies, from page to page: always the same as study by study."""
        monkeypatch.setattr(search, "PAGE_ROWS", 3)
        monkeypatch.setattr(search, "CHUNK_ROWS", 2)
        monkeypatch.setattr(search, "FOCUS_AFTER_ROWS", data.draw(st.sampled_from([1, 4, 1000])))
        if index.counts().studies == 0:
            index.add(_random_studies(maker))
        names = data.draw(st.sets(st.sampled_from(PHYSICIANS[:2])))
        subject = Subject(f"user:{data.draw(st.sampled_from('abc'))}", tuple(sorted(names)))
        for uid in data.draw(st.sets(st.integers(1, 40), max_size=3)):
            index.relate(
                RelationEntry(subject.principal_id, Relation.ASSIGNED, TOMORROW, f"1.2.826.0.1.{uid}")
            )
        for patient in data.draw(st.sets(st.integers(0, 5), max_size=2)):
            index.relate(
                RelationEntry(subject.principal_id, Relation.TREATING, TOMORROW, patient_id=f"PAT-{patient}")
            )
        permits = data.draw(_PERMITS)
        asked: dict[str, KeyMatch] = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "StudyDate": st.builds(
                        Range, st.sampled_from(["", "20260105"]), st.sampled_from(["", "20260120"])
                    ),
                    "PatientName": st.sampled_from([Wildcard("na*"), Single("name^3"), Wildcard("*^2")]),
                    "ModalitiesInStudy": st.sampled_from([Single("CT"), AnyOf((Single("MR"), Single("US")))]),
                    "PatientID": st.sampled_from([Single("PAT-2"), Single("pat-2")]),
                },
            )
        )
        wanted = query(Level.STUDY, **asked)
        every = [match.study_uid for match in find(index, wanted)]
        facts = index.facts(every, subject)
        expected = [uid for uid in every if permits(facts[uid])]
        scope = Scope(subject, permits)
        found = [match.study_uid for match in index.search(wanted, scope)]
        assert sorted(found) == sorted(expected)
        assert found == expected, "in the same order"
        assert [m.study_uid for m in index.search(wanted, scope, offset=3)] == expected[3:]
        assert index.count(wanted, scope) == Total(len(expected), exact=True)
        series = index.search(replace(wanted, level=Level.SERIES), scope)
        assert {match.study_uid for match in series} == set(expected)

    def test_the_policy_is_asked_once_for_equal_studies(self, index: SQLIndex, maker: Maker) -> None:
        index.add([maker.entry(study=str(n), source=f"device:{n % 5}") for n in range(300)])
        asked: list[StudyFacts] = []

        def permits(facts: StudyFacts) -> bool:
            asked.append(facts)
            return "device:0" in facts.sources

        assert len(shown(index, permits)) == 60
        assert len(asked) <= 10, "classes, and facts of what is shown"

    def test_numbers_tell_nothing_of_what_is_hidden(self, index: SQLIndex, maker: Maker) -> None:
        index.add(
            [
                maker.entry(study=str(n), source=f"device:{n % 2}", PatientID="P1", PatientName="A")
                for n in range(5)
            ]
        )
        wanted = query(
            Level.PATIENT,
            PatientID=None,
            NumberOfPatientRelatedStudies=None,
            NumberOfPatientRelatedSeries=None,
            NumberOfPatientRelatedInstances=None,
        )
        found = list(index.search(wanted, Scope(ME, lambda facts: "device:1" in facts.sources)))
        for keyword in ("Studies", "Series", "Instances"):
            assert [int(str(n)) for n in answers(found, f"NumberOfPatientRelated{keyword}")] == [2]
        assert not list(index.search(wanted, Scope(ME, lambda _: False)))

    def test_totals_say_when_they_are_not_exact(
        self, index: SQLIndex, maker: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index.add([maker.entry(study=str(n), PatientName="A^B") for n in range(7)])
        monkeypatch.setattr(search, "COUNTED_BY_INDEX_MAX", 5)
        monkeypatch.setattr(search, "COUNTED_BY_OPENING_MAX", 3)
        assert index.count(query(Level.STUDY), EVERYTHING) == Total(5, exact=False)
        named = query(Level.STUDY, PatientName=Wildcard("a*"))
        assert index.count(named, EVERYTHING) == Total(3, exact=False)
        monkeypatch.undo()
        assert index.count(query(Level.STUDY), EVERYTHING) == Total(7, exact=True)
        assert index.count(named, EVERYTHING) == Total(7, exact=True)

    # --- relations ---------------------------------------------------------------------------------------------

    def test_relations_come_and_go_and_end(self, database: Database, keys: SiteKeys, maker: Maker) -> None:
        clock = FakeClock()
        index = SQLIndex(database, keys, keys, SiteRows(keys.audit_cipher, clock))
        now = clock.now()
        mine = maker.entry(study="1", PatientID="P1", ReferringPhysicianName="Doe^Jane")
        index.add([mine])
        uid = study_of(mine)
        related: Permits = lambda facts: bool(facts.relations)  # noqa: E731 - short and typed
        assert not shown(index, related)
        assigned = RelationEntry("user:me", Relation.ASSIGNED, now + timedelta(hours=1), uid)
        treating = RelationEntry("user:me", Relation.TREATING, now + timedelta(hours=2), patient_id="P1")
        for entry in (assigned, treating, assigned):
            index.relate(entry)
        assert index.relations("user:me") == [assigned, treating]
        assert index.facts([uid], ME)[uid].relations == {Relation.ASSIGNED, Relation.TREATING}
        assert shown(index, related) == [uid]
        assert not shown(index, related, subject=Subject("user:other"))
        assert shown(index, related, subject=Subject("user:other", ("DOE^JANE",))) == [uid]
        clock.advance(3600)
        assert index.relations("user:me") == [treating]
        assert index.unrelate("user:me", Relation.TREATING, patient_id="P1")
        assert not index.unrelate("user:me", Relation.TREATING, patient_id="P1")
        assert not shown(index, related)

    def test_the_later_end_counts(self, index: SQLIndex) -> None:
        for hours in (2, 5, 1):
            until = CLOCK.now() + timedelta(hours=hours)
            index.relate(RelationEntry("user:me", Relation.ASSIGNED, until, "1.2"))
        (held,) = index.relations("user:me")
        assert held.until == CLOCK.now() + timedelta(hours=5)

    def test_a_token_alone_makes_nobody_a_patients_physician(self, index: SQLIndex, maker: Maker) -> None:
        """``PAT-1`` and ``pat-1`` have one token, and one ID may be given by two issuers."""
        entries = [
            maker.entry(study="1", PatientID="PAT-1"),
            maker.entry(study="2", PatientID="pat-1"),
            maker.entry(study="3", PatientID="PAT-1", IssuerOfPatientID="ELSEWHERE"),
        ]
        index.add(entries)
        related: Permits = lambda facts: Relation.TREATING in facts.relations  # noqa: E731 - short and typed
        index.relate(RelationEntry("user:me", Relation.TREATING, TOMORROW, patient_id="PAT-1"))
        assert shown(index, related) == [study_of(entries[0])]
        index.relate(RelationEntry("user:you", Relation.TREATING, TOMORROW, patient_id="PAT-1^^^ELSEWHERE"))
        assert shown(index, related, subject=Subject("user:you")) == [study_of(entries[2])]

    def test_relations_have_a_bound_and_one_target(
        self, index: SQLIndex, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relations_module, "RELATIONS_PER_PRINCIPAL_MAX", 2)
        for uid in ("1.1", "1.2", "1.1"):
            index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, uid))
        with pytest.raises(OutOfResources):
            index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, "1.3"))
        for study_uid, patient_id in (("", ""), ("1.2", "P1")):
            with pytest.raises(UsageError):
                index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, study_uid, patient_id))

    def test_more_related_studies_than_can_be_listed_are_found_all_the_same(
        self, index: SQLIndex, maker: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relations_module, "RELATED_STUDIES_MAX", 3)
        monkeypatch.setattr(search, "FOCUS_AFTER_ROWS", 1)
        monkeypatch.setattr(search, "PAGE_ROWS", 4)
        index.add(
            [
                maker.entry(study=str(n), ReferringPhysicianName="Doe^Jane" if n % 3 else "Roe^Richard")
                for n in range(30)
            ]
        )
        subject = Subject("user:me", ("Doe^Jane",))
        assert len(shown(index, lambda facts: bool(facts.relations), subject=subject)) == 20

    # --- soft deletion -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("level", "hidden", "left"), [("STUDY", 4, 0), ("SERIES", 2, 2), ("IMAGE", 1, 3)]
    )
    def test_what_is_deleted_is_nowhere_until_it_is_restored(
        self, index: SQLIndex, maker: Maker, level: str, hidden: int, left: int
    ) -> None:
        entries = [
            maker.entry(series=s, SOPClassUID=c, Modality=m, PatientID="P1")
            for s, c, m in (("1", CT, "CT"), ("1", CT, "CT"), ("2", CT, "MR"), ("2", CT, "MR"))
        ]
        index.add(entries)
        everything = _everything_shown(index, entries)
        assert index.delete(deletion_of(entries[0], Level(level))) == hidden
        after = _everything_shown(index, entries)
        gone = {e.head.identity.sop_instance_uid for e in entries[:hidden]}
        assert after["select"] == [u for u in everything["select"] if u not in gone]
        assert after["images"] == sorted(after["select"], key=str)
        assert after["studies"] == ([study_of(entries[0])] if left else [])
        assert after["facts"] == after["studies"]
        if left:
            assert after["numbers"] == [[2 if level == "IMAGE" else 1], [left], [left], [left]]
            assert after["modalities"] == [["CT", "MR"] if level == "IMAGE" else "MR"]
        assert index.lookup(entries[0].head.identity.sop_instance_uid) == record_of(entries[0]), (
            "the UID is taken"
        )
        assert index.restore((1).to_bytes(16, "big")) == hidden
        assert _everything_shown(index, entries) == everything

    def test_deletions_are_told_newest_first_and_sealed(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        entry = maker.entry()
        index.add([entry, maker.entry()])
        image, study = deletion_of(entry, Level.IMAGE, 1), deletion_of(entry, Level.STUDY, 2)
        assert index.delete(image) == 1
        assert index.delete(study) == 1
        assert index.delete(deletion_of(entry, Level.SERIES, 3)) == 0, "hidden already"
        assert list(index.deletions()) == [study, image]
        with database.reading() as snapshot:
            assert "anary" not in repr(snapshot.execute("SELECT * FROM deletion"))
        assert index.restore(study.deletion_id) == 1, "the image stays deleted by itself"
        with pytest.raises(NotFound):
            index.restore(study.deletion_id)

    def test_deleting_what_is_not_there_changes_nothing(self, index: SQLIndex, maker: Maker) -> None:
        entry = maker.entry()
        assert index.delete(deletion_of(entry)) == 0
        index.add([entry])
        assert len(list(find(index, query(Level.STUDY)))) == 1
        with pytest.raises(UsageError):
            index.delete(replace(deletion_of(entry), level=Level.SERIES))

    def test_what_comes_later_into_a_deleted_study_stays_hidden(self, index: SQLIndex, maker: Maker) -> None:
        first = maker.entry(study="1", source="device:ct1")
        index.add([first])
        index.delete(deletion_of(first))
        assert index.add([maker.entry(study="1", series="2"), first]) == [None, None]
        assert not shown(index, lambda _: True)
        assert index.count(query(Level.STUDY), EVERYTHING) == Total(0, exact=True)
        assert index.restore((1).to_bytes(16, "big")) == 2

    def test_a_rebuild_keeps_what_people_did(self, index: SQLIndex, maker: Maker) -> None:
        entries = [maker.entry(study=str(n)) for n in (1, 2)]
        index.add(entries)
        index.delete(deletion_of(entries[0]))
        index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, study_of(entries[1])))
        index.clear()
        index.add(entries)
        assert shown(index, lambda facts: bool(facts.relations)) == [study_of(entries[1])]
        assert shown(index, lambda _: True) == [study_of(entries[1])]
        assert [d.study_uid for d in index.deletions()] == [study_of(entries[0])]
        assert not [f for f in index.verify() if isinstance(f, RowFinding)]

    # --- descriptions ------------------------------------------------------------------------------------------

    def test_outlines_and_metadata_come_back_in_order(self, index: SQLIndex, maker: Maker) -> None:
        entries = [maker.entry(outline=f"outline {n}".encode() if n % 3 else b"") for n in range(9)]
        index.add(entries)
        records = [record_of(entry) for entry in reversed(entries)]
        assert index.outlines(records) == [entry.outline for entry in reversed(entries)]
        assert index.metadata(records) == [b""] * 9
        kept = [(record, f'{{"n": {number}}}'.encode() * 50) for number, record in enumerate(records[:5])]
        index.keep_metadata([*kept, *kept])
        assert index.metadata(records) == [text for _, text in kept] + [b""] * 4
        assert index.outlines(records) == [entry.outline for entry in reversed(entries)]
        assert not [f for f in index.verify() if isinstance(f, RowFinding)]

    def test_a_loser_of_a_race_leaves_no_outline(self, index: SQLIndex, maker: Maker) -> None:
        first = maker.entry(instance="7", outline=b"first")
        second = maker.entry(instance="7", outline=b"second")
        index.add([first])
        index.add([second, maker.entry(outline=b"third")])
        assert index.outlines([record_of(first), record_of(second)]) == [b"first", b""]

    def test_a_changed_or_exchanged_description_is_refused(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        entries = [maker.entry(outline=bytes([n]) * 40) for n in (1, 2)]
        index.add(entries)
        records = [record_of(entry) for entry in entries]
        index.keep_metadata([(record, b"{}") for record in records])
        for column, read in (("outline", index.outlines), ("metadata", index.metadata)):
            with database.writing(durable=True) as transaction:
                rows = transaction.execute(f"SELECT id, sealed FROM {column} ORDER BY id")
                for (row_id, _), (_, other) in zip(rows, reversed(rows), strict=True):
                    transaction.execute(f"UPDATE {column} SET sealed = ? WHERE id = ?", (other, row_id))
            with pytest.raises(IntegrityError, match=column):
                read(records)
            assert len([f for f in index.verify() if isinstance(f, RowFinding)]) == 2
            with database.writing(durable=True) as transaction:
                for row_id, original in rows:
                    transaction.execute(f"UPDATE {column} SET sealed = ? WHERE id = ?", (original, row_id))
        assert index.outlines(records) == [entry.outline for entry in entries]

    # --- a database that lies ----------------------------------------------------------------------------------

    def test_a_changed_class_hides_and_never_reveals(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        index.add([maker.entry(study=str(n), source=f"device:{n}") for n in (1, 2)])
        permits: Permits = lambda facts: facts.sources == frozenset({"device:1"})  # noqa: E731 - short and typed
        before = shown(index, permits)
        for change in (
            "UPDATE listing SET class_id = (SELECT min(id) FROM access_class)",
            "UPDATE listing SET class_id = (SELECT max(id) FROM access_class)",
            "UPDATE listing SET class_id = 999",
            "UPDATE listing SET class_id = NULL",
            "DELETE FROM access_class",
            "DELETE FROM listing",
        ):
            with database.writing(durable=True) as transaction:
                transaction.execute(change)
            assert set(shown(index, permits)) <= set(before), change
            assert [f for f in index.verify() if isinstance(f, RowFinding)], change

    def test_a_class_that_was_made_up_is_refused(
        self, database: Database, keys: SiteKeys, index: SQLIndex, maker: Maker
    ) -> None:
        index.add([maker.entry(study=str(n), source=f"device:{n}") for n in (1, 2)])
        with database.writing(durable=True) as transaction:
            sealed = transaction.execute("SELECT sealed FROM access_class ORDER BY id")[0][0]
            transaction.execute("UPDATE access_class SET sealed = ?", (sealed,))
        fresh = SQLIndex(database, keys, keys, SiteRows(keys.audit_cipher, CLOCK))
        with pytest.raises(IntegrityError, match="access_class"):
            shown(fresh, lambda _: True)

    def test_where_a_series_came_from_cannot_be_taken_from_another(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        """Its source lies under the seal of its row: whoever changes it makes the row unreadable."""
        index.add([maker.entry(study=str(n), source=f"device:{n}") for n in (1, 2)])
        with database.writing(durable=True) as transaction:
            sealed = transaction.execute("SELECT sealed FROM series ORDER BY id")[0][0]
            transaction.execute("UPDATE series SET sealed = ?", (sealed,))
        with pytest.raises(IntegrityError, match="of table series"):
            shown(index, lambda _: True)
        with pytest.raises(IntegrityError, match="of table series"):
            index.facts([UID("1.2.826.0.1.2")], ME)

    @pytest.mark.parametrize("change", ["until = until + 1", "kind = 'treating'", "sealed = sealed_other"])
    def test_a_relation_that_was_made_up_is_refused(
        self, database: Database, index: SQLIndex, maker: Maker, change: str
    ) -> None:
        entry = maker.entry()
        index.add([entry])
        index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, "1.2.3"))
        index.relate(RelationEntry("user:you", Relation.ASSIGNED, TOMORROW, study_of(entry)))
        other = "(SELECT sealed FROM relation ORDER BY id DESC LIMIT 1)"
        with database.writing(durable=True) as transaction:
            transaction.execute(
                f"UPDATE relation SET {change.replace('sealed_other', other)} "
                "WHERE id = (SELECT min(id) FROM relation)"
            )
        with pytest.raises(IntegrityError, match="relation"):
            index.relations("user:me")
        with pytest.raises(IntegrityError, match="relation"):
            shown(index, lambda facts: bool(facts.relations))
        assert [f.where for f in index.verify() if isinstance(f, RowFinding)] == ["relation row 1"]

    def test_a_relation_cannot_be_handed_to_somebody_else(self, database: Database, index: SQLIndex) -> None:
        index.relate(RelationEntry("user:me", Relation.ASSIGNED, TOMORROW, "1.2.3"))
        index.relate(RelationEntry("user:you", Relation.ASSIGNED, TOMORROW, "1.2.4"))
        with database.writing(durable=True) as transaction:
            holders = transaction.execute("SELECT holder FROM relation ORDER BY id")
            transaction.execute("DELETE FROM relation WHERE holder = ?", holders[0])
            transaction.execute("UPDATE relation SET holder = ?", holders[0])
        with pytest.raises(IntegrityError, match="relation"):
            index.relations("user:me")

    def test_a_deletion_that_was_changed_is_named(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        entry = maker.entry()
        index.add([entry])
        index.delete(deletion_of(entry))
        with database.writing(durable=True) as transaction:
            transaction.execute("UPDATE deletion SET restorable_until = restorable_until + 1")
        with pytest.raises(IntegrityError, match="deletion"):
            list(index.deletions())
        with pytest.raises(IntegrityError, match="deletion"):
            index.restore((1).to_bytes(16, "big"))
        assert "deletion row 1" in [f.where for f in index.verify() if isinstance(f, RowFinding)]

    def test_a_deletion_that_was_taken_away_is_found_and_opens_nothing_to_strangers(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        """Whoever owns the database can show again what was deleted softly; nothing of it was gone.

        They win nothing over policy: a study is shown to those who were shown it before. The audit log says that it was
        deleted, and a verification says that the listing does not agree. What is to be out of everybody's reach is
        disposed of with its key.
        """
        entry = maker.entry(source="device:ct1")
        index.add([entry])
        index.delete(deletion_of(entry))
        with database.writing(durable=True) as transaction:
            transaction.execute("DELETE FROM deletion")
        assert [f.where for f in index.verify() if isinstance(f, RowFinding)] == ["study row 1"]
        with database.writing(durable=True) as transaction:
            transaction.execute("UPDATE listing SET hidden = 0")
        assert not shown(index, lambda facts: "device:other" in facts.sources)
        assert shown(index, lambda facts: "device:ct1" in facts.sources) == [study_of(entry)]

    def test_nothing_of_people_stands_in_any_column(
        self, database: Database, index: SQLIndex, maker: Maker
    ) -> None:
        index.add([maker.entry(InstitutionName="CANARY", outline=b"x", source="device:canary")])
        index.relate(RelationEntry("user:canary", Relation.TREATING, TOMORROW, patient_id="CANARY"))
        index.relate(RelationEntry("user:canary", Relation.ASSIGNED, TOMORROW, "1.2.3.4567"))
        with database.reading() as snapshot:
            for table in ("access_class", "relation", "series", "listing", "outline"):
                rows = snapshot.execute(f"SELECT * FROM {table}")
                assert rows
                assert "canary" not in repr(rows).lower()
                assert "4567" not in repr(rows)


_POLICIES: list[Permits] = [
    lambda _: True,
    lambda _: False,
    lambda facts: "device:ct1" in facts.sources,
    lambda facts: facts.modalities == frozenset({"MR"}),
    lambda facts: bool(facts.relations),
    lambda facts: Relation.TREATING in facts.relations or "US" in facts.modalities,
    lambda facts: Relation.REFERRING in facts.relations and "CT" not in facts.modalities,
    lambda facts: not facts.relations,
    lambda facts: facts.relations == frozenset({Relation.ASSIGNED, Relation.REFERRING}),
    lambda facts: facts.deidentified or Relation.ASSIGNED in facts.relations,
]
_PERMITS = st.sampled_from(_POLICIES)


def _random_studies(maker: Maker) -> list[IndexEntry]:
    """Return 40 studies of all kinds, the same in each run."""
    entries: list[IndexEntry] = []
    for n in range(1, 41):
        attributes = {
            "StudyDate": f"202601{1 + n % 28:02}" if n % 7 else "",
            "PatientName": f"Name^{n % 5}",
            "PatientID": f"PAT-{n % 6}",
            "ReferringPhysicianName": PHYSICIANS[n % 3],
            "PatientIdentityRemoved": "YES" if n % 11 == 0 else "",
        }
        entries += [
            maker.entry(
                study=str(n),
                series=str(s),
                source=SOURCES[(n + s) % 3],
                Modality=MODALITIES[(n // 2 + s) % 3],
                **attributes,
            )
            for s in range(1 + n % 3)
        ]
    return entries


def _everything_shown(index: SQLIndex, entries: list[IndexEntry]) -> dict[str, list[object]]:
    uid = study_of(entries[0])
    studies = query(
        Level.STUDY,
        ModalitiesInStudy=None,
        SOPClassesInStudy=None,
        NumberOfStudyRelatedSeries=None,
        NumberOfStudyRelatedInstances=None,
    )
    found = list(find(index, studies))
    patients = list(find(index, query(Level.PATIENT, PatientID=None, NumberOfPatientRelatedInstances=None)))
    series = list(find(index, query(Level.SERIES, NumberOfSeriesRelatedInstances=None)))
    per_series = [int(str(n)) for n in answers(series, "NumberOfSeriesRelatedInstances")]
    return {
        "studies": [match.study_uid for match in found],
        "named": [m.study_uid for m in find(index, query(Level.STUDY, StudyInstanceUID=UIDList((uid,))))],
        "images": sorted(
            answers(find(index, query(Level.IMAGE, SOPInstanceUID=None)), "SOPInstanceUID"), key=str
        ),
        "select": sorted(
            (r.identity.sop_instance_uid for r in index.select(Selector(Level.STUDY, study_uids=(uid,)))),
            key=str,
        ),
        "facts": list(index.facts([uid], ME)),
        "modalities": answers(found, "ModalitiesInStudy"),
        "numbers": [
            [int(str(n)) for n in answers(found, "NumberOfStudyRelatedSeries")],
            [int(str(n)) for n in answers(found, "NumberOfStudyRelatedInstances")],
            [int(str(n)) for n in answers(patients, "NumberOfPatientRelatedInstances")],
            [sum(per_series)],
        ],
    }
