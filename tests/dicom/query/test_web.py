"""A search by URL is the query that the C-FIND identifier of the same keys is."""

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import IdentifierRefused
from leadglass.base.ids import UID
from leadglass.base.limits import SEQUENCE_DEPTH_MAX
from leadglass.dicom import values
from leadglass.dicom.json import dataset_to_json
from leadglass.dicom.models import Level
from leadglass.dicom.query import (
    AnyOf,
    FuzzyName,
    Key,
    KeyMatch,
    Range,
    SequenceMatch,
    Single,
    UIDList,
    Universal,
    Wildcard,
    build_identifier,
    build_query,
    narrow,
    parse_identifier,
    respond,
    web_answer,
)
from leadglass.dicom.values import EXPLICIT_LITTLE_ENDIAN, UTF_8, Dataset, Element

STUDY_UID, SERIES_UID = UID("1.2.3"), UID("1.2.3.4")


def matches(pairs: Mapping[str, str]) -> list[tuple[Sequence[str], str]]:
    return [(name.split("."), value) for name, value in pairs.items()]


def key_of(keyword: str, value: str, *, fuzzy: bool = False) -> KeyMatch:
    """Return what a query by one attribute demands."""
    path = keyword.split(".")
    query = build_query(Level.IMAGE, [(path, value)], fuzzy=fuzzy).query
    return next(key.match for key in query.keys if key.tag == values.tag_of(path[0]))


DEMANDS: dict[tuple[str, str], KeyMatch] = {
    ("PatientID", "17"): Single("17"),
    ("00100020", "17"): Single("17"),
    ("PatientID", " 17 "): Single("17"),
    ("PatientID", ""): Universal(),
    ("PatientID", "*"): Universal(),
    ("PatientName", "DOE*"): Wildcard("DOE*"),
    ("PatientName", "Mu?ller**"): Wildcard("Mu?ller*"),
    ("StudyInstanceUID", "1.2,1.3"): UIDList(("1.2", "1.3")),
    ("StudyInstanceUID", "1.2\\1.3\\1.2"): UIDList(("1.2", "1.3")),
    ("Modality", "CT,MR"): AnyOf((Single("CT"), Single("MR"))),
    ("Modality", "CT\\M*"): AnyOf((Single("CT"), Wildcard("M*"))),
    ("StudyDate", "20260101-20261231"): Range("20260101", "20261231"),
    ("StudyDate", "20260101-"): Range("20260101", ""),
    ("StudyDate", "-20260101"): Range("", "20260101"),
    ("StudyDate", "20260101"): Range("20260101", "20260101"),
    ("StudyTime", "10-11"): Range("100000.000000", "115959.999999"),
    ("Rows", "512"): Single("512"),
    ("SeriesNumber", "3"): Single("3"),
    ("PixelData", "x"): Universal(),
    ("RequestAttributesSequence", ""): Universal(),
    ("RequestAttributesSequence.RequestedProcedureID", ""): Universal(),
    ("00400275.00401001", "R1"): SequenceMatch((Key("RequestedProcedureID", 0x0040_1001, "SH", Single("R1")),)),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "demand"), DEMANDS.items(), ids=lambda value: str(value)[:40])
def test_what_a_value_demands(asked: tuple[str, str], demand: KeyMatch) -> None:
    assert key_of(*asked) == demand


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
@pytest.mark.parametrize(
    "pairs",
    [
        {"PatientName": "DOE*", "StudyDate": "20260101-"},
        {"PatientName": "Müller^Jörg", "AccessionNumber": "?7"},
        {"StudyInstanceUID": "1.2\\1.3", "Modality": "CT\\MR"},
        {"RequestAttributesSequence.RequestedProcedureID": "R1", "Rows": "512"},
        {"ModalitiesInStudy": "CT", "StudyTime": "1015-"},
    ],
)
def test_it_demands_the_same_as_c_find(level: Level, pairs: dict[str, str]) -> None:
    """QIDO and C-FIND give the same answers: their queries demand the same."""
    web = build_query(level, matches(pairs)).query
    find = parse_identifier(build_identifier(level, pairs), EXPLICIT_LITTLE_ENDIAN, "STUDY", relational=True)

    def demanded(keys: Sequence[Key]) -> list[Key]:
        return [key for key in keys if not isinstance(key.match, Universal)]

    assert demanded(web.keys) == demanded(find.keys)
    assert narrow(web).columns == narrow(find).columns


def test_the_path_narrows() -> None:
    query = build_query(Level.IMAGE, study_uid=STUDY_UID, series_uid=SERIES_UID).query
    by_tag = {key.tag: key.match for key in query.keys}
    assert by_tag[0x0020_000D] == UIDList((STUDY_UID,))
    assert by_tag[0x0020_000E] == UIDList((SERIES_UID,))
    assert list(by_tag) == sorted(by_tag)


@pytest.mark.parametrize(
    "pairs",
    [
        [("Nonsense", "x")],
        [("0010002", "x")],
        [("00080005", "ISO_IR 192")],
        [("QueryRetrieveLevel", "STUDY")],
        [("00100000", "1")],
        [("00020010", "1.2")],
        [("PatientID", "1"), ("00100020", "2")],
        [("PatientID", "1\\2")],
        [("StudyInstanceUID", "1.9")],
        [("StudyDate", "yesterday")],
        [("StudyDate", "20260101-20260102-20260103")],
        [("Rows", "many")],
        [("RequestAttributesSequence", "x")],
        [("PatientID.PatientName", "x")],
        [("PatientName", "?a" * 60)],
        [("PatientName", "x" * 2000)],
        [(".".join(["ReferencedSeriesSequence"] * (SEQUENCE_DEPTH_MAX + 1)), "x")],
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_asked_is_refused_not_passed_over(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(IdentifierRefused) as refused:
        build_query(Level.SERIES, [(name.split("."), value) for name, value in pairs], study_uid=STUDY_UID)
    assert not any(len(value) > 8 and value in str(refused.value) for _, value in pairs)


def test_lists_may_be_given_by_repeating() -> None:
    pairs = [(["ModalitiesInStudy"], "CT"), (["ModalitiesInStudy"], "MR")]
    query = build_query(Level.STUDY, pairs).query
    assert next(k.match for k in query.keys if k.keyword == "ModalitiesInStudy") == AnyOf(
        (Single("CT"), Single("MR"))
    )


def test_a_key_of_a_lower_level_takes_no_part_and_that_is_said() -> None:
    assert build_query(Level.STUDY, matches({"Modality": "CT"})).passed_over
    assert not build_query(Level.STUDY, matches({"Modality": ""})).passed_over
    assert not build_query(Level.SERIES, matches({"Modality": "CT"})).passed_over


@given(
    st.sampled_from(["PatientName", "PatientID", "StudyDate", "StudyTime", "Modality", "Rows", "AcquisitionDateTime",
                     "StudyInstanceUID", "RequestAttributesSequence.RequestedProcedureID", "FrameIncrementPointer",
                     "SliceLocation", "00091001", "PixelData"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    st.booleans(),
)  # fmt: skip
def test_any_value_is_understood_or_refused(name: str, value: str, fuzzy: bool) -> None:
    """S35: whatever the text, it is a value or no value, never anything else."""
    try:
        found = build_query(Level.IMAGE, [(name.split("."), value)], fuzzy=fuzzy)
    except IdentifierRefused:
        return
    assert [key.tag for key in found.query.keys] == sorted({key.tag for key in found.query.keys})


# --- answers ---------------------------------------------------------------------------------------------------


STORED_STUDY = values.write_dataset(
    [
        values.text_element(values.SPECIFIC_CHARACTER_SET, UTF_8),
        *(
            values.text_element(values.tag_of(keyword), value)
            for keyword, value in {
                "StudyInstanceUID": STUDY_UID,
                "PatientName": "Müller^Jörg",
                "PatientID": "",
                "StudyDate": "20260102",
                "PatientWeight": "71.5",
            }.items()
        ),
    ]
)
STORED_SERIES = values.write_dataset(
    [values.text_element(values.tag_of(k), v) for k, v in {"SeriesInstanceUID": SERIES_UID, "Modality": "CT"}.items()]
)  # fmt: skip
COMPUTED = {
    "ModalitiesInStudy": ["CT"], "NumberOfStudyRelatedSeries": 1, "NumberOfStudyRelatedInstances": 2,
    "NumberOfSeriesRelatedInstances": 2,
}  # fmt: skip


def answer(level: Level, **options: object) -> dict[str, dict[str, object]]:
    found = build_query(level, **options)  # type: ignore[arg-type]
    datasets = [STORED_STUDY] if level is Level.STUDY else [STORED_STUDY, STORED_SERIES]
    response = respond(found.query, datasets, COMPUTED)
    assert response is not None
    document: dict[str, dict[str, object]] = json.loads(
        dataset_to_json(web_answer(response, found, lambda *uids: "/".join(filter(None, uids))))
    )
    return document


def test_a_study_has_what_the_standard_requires() -> None:
    found = answer(Level.STUDY)
    assert set(found) == {
        "00080005", "00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00081190", "00100010",
        "00100020", "00100030", "00100040", "0020000D", "00200010", "00201206", "00201208",
    }  # fmt: skip
    assert found["00081190"] == {"vr": "UR", "Value": [STUDY_UID]}
    assert found["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}
    assert found["00100020"] == {"vr": "LO"}


def test_a_series_has_its_study_only_where_the_path_does_not_name_it() -> None:
    inside = answer(Level.SERIES, study_uid=STUDY_UID)
    assert "00100010" not in inside
    assert inside["0020000D"]["Value"] == [STUDY_UID]
    assert inside["00081190"]["Value"] == [f"{STUDY_UID}/{SERIES_UID}"]
    assert "00080052" not in inside
    assert "00100010" in answer(Level.SERIES)


def test_fields_that_are_asked_for() -> None:
    assert "00101030" not in answer(Level.STUDY)
    assert answer(Level.STUDY, included=[("PatientWeight",)])["00101030"] == {"vr": "DS", "Value": [71.5]}
    # One that is asked for is answered empty, one that is only in "all" is left out.
    assert answer(Level.STUDY, included=[("PatientSize",)])["00101020"] == {"vr": "DS"}
    everything = answer(Level.STUDY, include_all=True)
    assert everything["00101030"]["Value"] == [71.5]
    assert "00101020" not in everything


def test_a_field_that_is_held_nowhere_is_left_out() -> None:
    assert "00281055" not in answer(Level.STUDY, included=[("WindowCenterWidthExplanation",)])


# --- fuzzy names -----------------------------------------------------------------------------------------------


def test_only_names_are_fuzzy() -> None:
    assert key_of("PatientName", "Meier", fuzzy=True) == FuzzyName("Meier")
    assert key_of("PatientName", "M?ier", fuzzy=True) == FuzzyName("M?ier")
    assert key_of("PatientName", "", fuzzy=True) == Universal()
    assert key_of("PatientID", "Meier", fuzzy=True) == Single("Meier")


def test_a_fuzzy_name_narrows_nothing() -> None:
    query = build_query(Level.STUDY, matches({"PatientName": "Meier", "PatientID": "7"}), fuzzy=True).query
    assert [token.attribute.keyword for token in narrow(query).tokens] == ["PatientID"]


def test_a_fuzzy_query_is_answered() -> None:
    found = build_query(Level.STUDY, matches({"PatientName": "jorg mueler"}), fuzzy=True)
    assert respond(found.query, [STORED_STUDY], COMPUTED) is not None
    other = build_query(Level.STUDY, matches({"PatientName": "jorg smith"}), fuzzy=True)
    assert respond(other.query, [STORED_STUDY], COMPUTED) is None


def test_an_answer_keeps_sequences() -> None:
    item: Dataset = {0x0040_1001: values.text_element(0x0040_1001, "R1")}
    series = values.write_dataset(
        [values.text_element(0x0020_000E, SERIES_UID), Element(0x0040_0275, "SQ", b"", (item,))]
    )
    pairs = matches({"RequestAttributesSequence.RequestedProcedureID": "R1"})
    found = build_query(Level.SERIES, pairs)
    response = respond(found.query, [STORED_STUDY, series], COMPUTED)
    assert response is not None
    document = json.loads(dataset_to_json(web_answer(response, found, lambda *_: "u")))
    assert document["00400275"]["Value"] == [{"00401001": {"vr": "SH", "Value": ["R1"]}}]
