from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus import corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused, IdentifierRefused, IntegrityError, UsageError
from leadglass.base.ids import UID
from leadglass.base.limits import IDENTIFIER_BYTES_MAX
from leadglass.dicom import query, values
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.models import LevelHead
from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.query import Query, narrow, parse_identifier, parse_retrieve, read_response, respond
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.values import EXPLICIT_LITTLE_ENDIAN, UTF_8, Element

STUDY = {
    "PatientName": "Müller^Jörg",
    "PatientID": "PID-1",
    "PatientBirthDate": "19700229",
    "PatientSex": "M",
    "StudyInstanceUID": "1.2.3",
    "StudyDate": "20240301",
    "StudyTime": "101530.25",
    "StudyDescription": "CT Thorax ",
    "AccessionNumber": "ACC 7",
    "OtherPatientIDs": "A\\B",
    "PatientWeight": "71.50",
    "PregnancyStatus": "4",
}
COMPUTED = {"ModalitiesInStudy": ["CT", "SR"], "NumberOfStudyRelatedInstances": 12}


def sealed(attributes: Mapping[str, str], *more: Element) -> bytes:
    elements = [values.text_element(values.tag_of(k), v) for k, v in attributes.items()]
    charset = values.text_element(values.SPECIFIC_CHARACTER_SET, UTF_8)
    return values.write_dataset([charset, *elements, *more])


CODE = Element(
    0x0008_1032,
    "SQ",
    b"",
    (
        {
            0x0008_0100: values.text_element(0x0008_0100, "C1"),
            0x0008_0102: values.text_element(0x0008_0102, "X"),
        },
        {
            0x0008_0100: values.text_element(0x0008_0100, "C2"),
            0x0008_0102: values.text_element(0x0008_0102, "Y"),
        },
    ),
)
STORED = sealed(STUDY, CODE)


def ask(level: str, keys: Mapping[str, str], model: str = "STUDY", *, relational: bool = False) -> Query:
    data = query.build_identifier(level, keys)
    return parse_identifier(data, EXPLICIT_LITTLE_ENDIAN, model, relational=relational)


def answer(keys: Mapping[str, str]) -> dict[str, query.JSONValue] | None:
    response = respond(ask("STUDY", keys), [STORED], COMPUTED, retrieve_ae_title="LEADGLASS")
    return None if response is None else read_response(response, EXPLICIT_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        # Universal, PS3.4 C.2.2.2.3
        ("PatientName", "", True),
        ("PatientName", "*", True),
        ("PatientName", "***", True),
        ("StudyDate", "*", True),
        # Single value, C.2.2.2.1: names without regard to case and accents, the rest exact
        ("PatientName", "muller^jorg", True),
        ("PatientName", "Müller", False),
        ("PatientID", "PID-1", True),
        ("PatientID", "pid-1", False),
        ("PatientID", " PID-1 ", True),
        ("AccessionNumber", "ACC 7", True),
        ("AccessionNumber", "ACC7", False),
        ("OtherPatientIDs", "B", True),
        ("OtherPatientIDs", "A?B", False),
        ("PatientWeight", "71.5", True),
        ("PatientWeight", "71.6", False),
        ("PregnancyStatus", "4", True),
        ("PregnancyStatus", "3", False),
        ("NumberOfStudyRelatedInstances", "012", True),
        ("PatientSex", "M", True),
        ("PatientSex", "m", False),
        # Wild cards, C.2.2.2.4
        ("PatientName", "mül*", True),
        ("PatientName", "*^j?rg", True),
        ("StudyDescription", "CT*", True),
        ("StudyDescription", "*thorax", False),
        ("StudyDescription", "CT?Thorax", True),
        ("PatientSex", "?", True),
        # List of UID, C.2.2.2.2
        ("StudyInstanceUID", "1.2.3", True),
        ("StudyInstanceUID", "9.9\\1.2.3", True),
        ("StudyInstanceUID", "1.2.*", False),
        ("StudyInstanceUID", "1.2.30", False),
        # Ranges, C.2.2.2.5
        ("StudyDate", "20240301", True),
        ("StudyDate", "20240101-20240301", True),
        ("StudyDate", "20240302-", False),
        ("StudyDate", "-20240301", True),
        ("StudyDate", "2024.03.01", True),
        ("StudyTime", "10", True),
        ("StudyTime", "101530", True),
        ("StudyTime", "1015-1016", True),
        ("StudyTime", "1016-", False),
        ("StudyTime", "101530.25-101530.25", True),
        # Computed, C.6.2.1.2
        ("ModalitiesInStudy", "CT", True),
        ("ModalitiesInStudy", "MR", False),
        ("ModalitiesInStudy", "MR\\SR", True),
        ("ModalitiesInStudy", "C?", True),
        # Sequences, C.2.2.2.6: one item must meet all
        ("ProcedureCodeSequence.CodeValue", "C2", True),
        ("ProcedureCodeSequence.CodeValue", "C3", False),
        # Not held at all: a value cannot match, but an unsupported key is not looked at, C.2.2.1.3
        ("ReferringPhysicianName", "X*", False),
        ("SeriesDescription", "X", True),
        # Context, no key
        ("TimezoneOffsetFromUTC", "+0100", True),
        # Attacks: texts like any other
        ("PatientName", "' OR 1=1; --", False),
        ("PatientID", "<script>alert(1)</script>", False),
        ("PatientID", "PID%", False),
        ("PatientID", "PID__", False),
        ("StudyInstanceUID", "'; DROP TABLE study; --", False),
    ],
)
def test_matching(keyword: str, value: str, *, expected: bool) -> None:
    assert (answer({keyword: value}) is not None) is expected


def test_all_keys_of_one_item_are_met_by_the_same_item() -> None:
    code = "ProcedureCodeSequence.CodeValue"
    scheme = "ProcedureCodeSequence.CodingSchemeDesignator"
    assert answer({code: "C1", scheme: "X"}) is not None
    assert answer({code: "C1", scheme: "Y"}) is None


def test_an_item_of_empty_keys_excludes_nobody() -> None:
    """Also not an object that has no such sequence. Source: PS3.4 C.2.2.2.3, C.2.2.2.6."""
    absent = "PatientSpeciesCodeSequence.CodeValue"
    nested = "PatientSpeciesCodeSequence.EquivalentCodeSequence.CodeValue"
    for keys in ({absent: ""}, {absent: "*"}, {nested: ""}, {absent: "", nested: ""}):
        response = answer(keys)
        assert response is not None
        assert response["PatientSpeciesCodeSequence"] == []
    assert answer({absent: "", nested: "C1"}) is None
    assert answer({"ProcedureCodeSequence.CodeValue": ""}) is not None


def test_a_response_has_what_was_asked_what_identifies_and_where_to_get_it() -> None:
    given = {
        "PatientName": "*",
        "StudyID": "",
        "ModalitiesInStudy": "",
        "ProcedureCodeSequence.CodeValue": "",
        "SeriesDescription": "",
    }
    assert answer(given) == {
        "SpecificCharacterSet": "ISO_IR 192",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "LEADGLASS",
        "InstanceAvailability": "ONLINE",
        "PatientName": "Müller^Jörg",
        "StudyID": None,
        "ModalitiesInStudy": ["CT", "SR"],
        "ProcedureCodeSequence": [{"CodeValue": "C1"}, {"CodeValue": "C2"}],
        "SeriesDescription": None,
        "StudyInstanceUID": "1.2.3",
    }
    assert [key.keyword for key in query.unsupported(ask("STUDY", given))] == ["SeriesDescription"]


@pytest.mark.parametrize("syntax", sorted(values.SYNTAXES))
def test_a_response_is_in_the_syntax_of_the_request(syntax: str) -> None:
    data = query.build_identifier(
        "STUDY", {"PatientName": "MÜLLER*", "StudyDate": ""}, transfer_syntax_uid=syntax
    )
    response = respond(parse_identifier(data, syntax, "STUDY"), [STORED], {})
    assert response is not None
    assert read_response(response, syntax)["PatientName"] == "Müller^Jörg"


def test_an_ascii_response_has_no_character_set() -> None:
    found = answer({"PatientID": ""})
    assert found is not None
    assert "SpecificCharacterSet" not in found


def test_levels_in_different_character_sets_are_answered_in_utf_8() -> None:
    study = values.write_dataset(
        [
            values.text_element(values.SPECIFIC_CHARACTER_SET, "ISO_IR 100"),
            Element(0x0010_0010, "PN", b"M\xfcller"),
            values.text_element(0x0020_000D, "1.2"),
        ]
    )
    series = values.write_dataset(
        [
            values.text_element(values.SPECIFIC_CHARACTER_SET, "ISO_IR 144"),
            Element(0x0008_103E, "LO", b"\xbb\xee\xda"),
            values.text_element(0x0020_000E, "1.3"),
        ]
    )
    keys = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "", "PatientName": "", "SeriesDescription": ""}
    response = respond(ask("SERIES", keys), [study, series], {})
    assert response is not None
    found = read_response(response, EXPLICIT_LITTLE_ENDIAN)
    assert (found["SpecificCharacterSet"], found["PatientName"]) == ("ISO_IR 192", "Müller")
    assert found["SeriesDescription"] == "\u041b\u044e\u043a"


def test_a_broken_level_is_named() -> None:
    with pytest.raises(IntegrityError):
        respond(ask("STUDY", {"PatientName": "A"}), [STORED[:-3]], {})


def test_the_cache_of_upper_levels_does_not_mix_candidates() -> None:
    responder = query.Responder(ask("STUDY", {"PatientID": ""}))
    other = sealed({"StudyInstanceUID": "1.9"})
    found = [responder.respond([data], {}) for data in (STORED, other, STORED)]
    ids = [read_response(data, EXPLICIT_LITTLE_ENDIAN)["PatientID"] for data in found if data is not None]
    assert ids == ["PID-1", None, "PID-1"]


# --- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "keys", "model", "reason"),
    [
        ("", {"PatientName": "A"}, "STUDY", "no Query/Retrieve Level"),
        ("WORKLIST", {"PatientName": "A"}, "STUDY", "unknown Query/Retrieve Level"),
        ("PATIENT", {"PatientName": "A"}, "STUDY", "no level PATIENT"),
        ("SERIES", {"SeriesInstanceUID": ""}, "STUDY", "no unique key of level STUDY"),
        ("SERIES", {"StudyInstanceUID": "1.2\\1.3"}, "STUDY", "no single value"),
        ("IMAGE", {"StudyInstanceUID": "1.2"}, "STUDY", "no unique key of level SERIES"),
        ("STUDY", {"StudyInstanceUID": ""}, "PATIENT", "no unique key of level PATIENT"),
        ("STUDY", {"PatientID": "A*"}, "PATIENT", "no single value"),
        ("STUDY", {"AccessionNumber": "A\\B"}, "STUDY", "more than one value"),
        ("STUDY", {"StudyDate": "yesterday"}, "STUDY", "no date or time"),
        ("STUDY", {"StudyDate": "2024*"}, "STUDY", "no date or time"),
        ("STUDY", {"StudyDate": "-"}, "STUDY", "no date or time"),
        ("STUDY", {"PatientName": "*a" * 60}, "STUDY", "too many wild cards"),
        ("STUDY", {"PatientName": "?" * 60}, "STUDY", "too many wild cards"),
        ("STUDY", {"PatientName": "A" * 2000}, "STUDY", "longer than"),
    ],
)
def test_refused_identifiers(level: str, keys: dict[str, str], model: str, reason: str) -> None:
    with pytest.raises(IdentifierRefused, match=reason) as refusal:
        ask(level, keys, model)
    assert refusal.value.dimse_status == 0xA900
    assert len(str(refusal.value)) <= 64, "Error Comment is LO: the end would be cut off"


def test_sixty_stars_are_one() -> None:
    assert answer({"PatientName": "*" * 60 + "Jörg" + "*" * 60}) is not None


def test_relational_queries_are_taken_when_negotiated() -> None:
    assert ask("IMAGE", {"SOPInstanceUID": "1.2"}, relational=True).level == "IMAGE"


def test_undecodable_and_too_long_identifiers_are_refused() -> None:
    for data in (b"\x08", b"\x08\x00\x52\x00CS\xff\xff", b"\0" * (IDENTIFIER_BYTES_MAX + 2)):
        with pytest.raises(IdentifierRefused, match="cannot be decoded"):
            parse_identifier(data, EXPLICIT_LITTLE_ENDIAN, "STUDY")


def test_two_items_in_a_sequence_key_are_refused() -> None:
    level = values.text_element(0x0008_0052, "STUDY")
    with pytest.raises(IdentifierRefused, match="more than one item"):
        parse_identifier(values.write_dataset([level, CODE]), EXPLICIT_LITTLE_ENDIAN, "STUDY")


@given(st.binary(max_size=120))
def test_garbage_behind_a_level_is_parsed_or_refused(garbage: bytes) -> None:
    level = values.write_dataset([values.text_element(0x0008_0052, "STUDY")])
    for syntax in values.SYNTAXES - {values.DEFLATED_LITTLE_ENDIAN}:
        try:
            parsed = parse_identifier(level + garbage, syntax, "STUDY")
        except IdentifierRefused:
            continue
        narrow(parsed)
        respond(parsed, [STORED], {})


def test_no_refusal_repeats_what_was_asked() -> None:
    for keys in ({"PatientName": "CANARY*" * 20}, {"StudyDate": "CANARY"}, {"PatientID": "CANARY\\X"}):
        with pytest.raises(IdentifierRefused) as refusal:
            ask("STUDY", keys)
        assert "CANARY" not in str(refusal.value)
    assert "CANARY" not in repr(ask("STUDY", {"PatientName": "CANARY", "PatientID": "CANARY*"}))


# --- narrowing -------------------------------------------------------------------------------------------------


def scanned(dataset: bytes, syntax: str = EXPLICIT_LITTLE_ENDIAN) -> ScannedHead:
    scanner = DatasetScanner(UID(syntax))
    scanner.feed(dataset)
    scanner.finish()
    return ScannedHead.of(scanner)


def candidate(head: LevelHead, asked: Query) -> bool:
    """What an index does with the tokens and columns, without an index."""
    narrowing = narrow(asked)
    for token in narrowing.tokens:
        held = head.tokens.get(token.attribute.keyword, ())
        if not any(text == token.exact if token.exact else text.startswith(token.prefix) for text in held):
            return False
    for column in narrowing.columns:
        if column.any_below or column.attribute.column not in head.plain:
            continue
        value = head.plain[column.attribute.column]
        if column.values is not None:
            if value not in column.values:
                return False
        elif not isinstance(value, str) or value < column.low or (column.high and value > column.high):
            return False
    return True


names = st.text(alphabet="aAéE\u0301ßΣς山ｶﾞがﾊﾟ가각^= \uff0a*?", max_size=8)


@settings(max_examples=400)
@example("\uff0a", "?", "PatientName")
@example("A\uff0aB?", "AxxBx", "PatientName")
@example("\uff76\uff9e?", "\uff76\uff9e?", "PatientName")
@given(names, names, st.sampled_from(["PatientName", "StudyDescription", "PatientID", "PatientSex"]))
def test_narrowing_never_hides_a_match(key: str, value: str, keyword: str) -> None:
    dataset = sealed(
        {
            keyword: value,
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.3",
            "SOPInstanceUID": "1.4",
            "SOPClassUID": "1.5",
        }
    )
    head = scanned(dataset).study()
    asked = ask("STUDY", {keyword: key})
    if respond(asked, [head.sealed], {}) is not None:
        assert candidate(head, asked)


def test_what_narrows() -> None:
    keys = {
        "PatientName": "Mül*",
        "PatientID": "PID-1",
        "PatientBirthDate": "19700228",
        "StudyDate": "20240101-",
        "ModalitiesInStudy": "CT\\MR",
        "StudyInstanceUID": "1.2.3",
        "StudyDescription": "*x",
    }
    narrowing = narrow(ask("STUDY", keys))
    tokens = {t.attribute.keyword: (t.exact, t.prefix) for t in narrowing.tokens}
    columns = {c.attribute.column: (c.values, c.low, c.high, c.any_below) for c in narrowing.columns}
    assert tokens == {
        "PatientName": ("", "mul"),
        "PatientID": ("pid-1", ""),
        "PatientBirthDate": ("19700228", ""),
    }
    assert columns == {
        "study_date": (None, "20240101", "", False),
        "modality": (("CT", "MR"), "", "", True),
        "study_uid": (("1.2.3",), "", "", False),
    }


# --- character sets --------------------------------------------------------------------------------------------

NAMES = {
    "chrArab": "قباني^لنزار",
    "chrFren": "Buc^Jérôme",
    "chrFrenMulti": "Buc^Jérôme",
    "chrGerm": "Äneas^Rüdiger",
    "chrGreek": "Διονυσιος",
    "chrH31": "山田^太郎",
    "chrH32": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "chrHbrw": "שרון^דבורה",
    "chrI2": "洪^吉洞",
    "chrJapMulti": "やまだ^たろう",
    "chrKoreanMulti": "김희중",
    "chrRuss": "\u041b\u044e\u043a\u0063\u0065\u043c\u0431\u0079\u0070\u0433",
    "chrX1": "王^小東",
    "chrX2": "王^小东",
}


@needs_corpus
@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_unicode_name_finds_every_encoding(name: str) -> None:
    (path,) = [p for p in corpus_files("charset") if p.stem.endswith(f"__{name}")]
    data = path.read_bytes()
    meta = read_file_meta(data)
    head = scanned(data[meta.dataset_offset :], meta.transfer_syntax_uid).study()
    for key in (NAMES[name], NAMES[name][:2] + "*", "*" + NAMES[name][-2:]):
        asked = ask("STUDY", {"PatientName": key})
        response = respond(asked, [head.sealed], {})
        assert response is not None, key
        assert candidate(head, asked)
        found = read_response(response, EXPLICIT_LITTLE_ENDIAN)["PatientName"]
        assert isinstance(found, str)
        assert NAMES[name] in found
    assert respond(ask("STUDY", {"PatientName": NAMES[name] + "X"}), [head.sealed], {}) is None


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 100"])
def test_a_key_in_another_character_set_than_the_object(charset: str) -> None:
    data = query.build_identifier("STUDY", {"PatientName": "MÜLLER^J*"}, character_set=charset)
    asked = parse_identifier(data, EXPLICIT_LITTLE_ENDIAN, "STUDY")
    assert asked.character_set == charset
    assert respond(asked, [STORED], {}) is not None


def test_a_text_that_the_character_set_lacks_is_not_sent() -> None:
    with pytest.raises(UsageError):
        query.build_identifier("STUDY", {"PatientName": "山田"}, character_set="ISO_IR 100")


# --- retrieve --------------------------------------------------------------------------------------------------


def keys_of(level: str, keys: Mapping[str, str], model: str = "STUDY") -> query.RetrieveKeys:
    return parse_retrieve(query.build_identifier(level, keys), EXPLICIT_LITTLE_ENDIAN, model)


def test_a_retrieve_names_one_path_and_a_list() -> None:
    found = keys_of("SERIES", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3\\1.4\\1.3"})
    assert (found.study_uids, found.series_uids, found.sop_instance_uids) == (("1.2",), ("1.3", "1.4"), ())
    found = keys_of("PATIENT", {"PatientID": "P1", "StudyInstanceUID": ""}, "PATIENT")
    assert found.patient_id.reveal() == "P1"


@pytest.mark.parametrize(
    ("level", "keys", "model", "reason"),
    [
        ("STUDY", {}, "STUDY", "no unique key of its level"),
        ("STUDY", {"StudyInstanceUID": ""}, "STUDY", "no unique key of its level"),
        ("SERIES", {"SeriesInstanceUID": "1.3"}, "STUDY", "no unique key of level STUDY"),
        ("SERIES", {"StudyInstanceUID": "1\\2", "SeriesInstanceUID": "1.3"}, "STUDY", "several values"),
        ("STUDY", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}, "STUDY", "below its level"),
        ("STUDY", {"StudyInstanceUID": "1.2.*"}, "STUDY", "other characters"),
        ("STUDY", {"StudyInstanceUID": "../../etc"}, "STUDY", "other characters"),
        ("PATIENT", {"PatientID": "A*"}, "PATIENT", "wild card"),
        ("PATIENT", {"PatientID": "A\\B"}, "PATIENT", "several Patient IDs"),
        ("STUDY", {"StudyInstanceUID": "1.2"}, "PATIENT", "no unique key of level PATIENT"),
    ],
)
def test_refused_retrieves(level: str, keys: dict[str, str], model: str, reason: str) -> None:
    with pytest.raises(IdentifierRefused, match=reason):
        keys_of(level, keys, model)


# --- client ----------------------------------------------------------------------------------------------------


def test_keys_of_the_command_line() -> None:
    data = query.build_identifier(
        "STUDY", {"0010,0010": "DOE*", "StudyInstanceUID": ["1.2", "1.3"], "RequestAttributesSequence": ""}
    )
    assert read_response(data, EXPLICIT_LITTLE_ENDIAN) == {
        "QueryRetrieveLevel": "STUDY",
        "PatientName": "DOE*",
        "StudyInstanceUID": ["1.2", "1.3"],
        "RequestAttributesSequence": [],
    }


@pytest.mark.parametrize(
    "keys",
    [{"PatientNam": "A"}, {"Rows": "many"}, {"PatientName.CodeValue": "A"}, {"ProcedureCodeSequence": "A"}],
)
def test_mistyped_keys_are_told(keys: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        query.build_identifier("STUDY", keys)


def test_a_response_that_is_none_is_refused() -> None:
    with pytest.raises(DatasetRefused):
        read_response(b"\x01\x02\x03", EXPLICIT_LITTLE_ENDIAN)
