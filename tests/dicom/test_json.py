"""The DICOM JSON model: what pydicom says too, for every value representation; and nothing unbounded comes in."""

import base64
import json
import math
import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset as PydicomDataset

from corpus import CORPUS, corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import (
    JSON_BULK_BYTES_MAX,
    JSON_BYTES_MAX,
    JSON_DATASETS_MAX,
    JSON_ELEMENTS_MAX,
    SEQUENCE_DEPTH_MAX,
)
from leadglass.dicom.json import (
    MARKER,
    dataset_to_json,
    json_to_dataset,
    json_to_datasets,
    metadata_to_json,
)
from leadglass.dicom.outline import BulkValue, Outline, decode_outline
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS
from leadglass.dicom.values import Dataset, Element, read_dataset, write_dataset

EXPLICIT = "1.2.840.10008.1.2.1"


def element(tag: int, vr: str, value: bytes) -> bytes:
    value += (b"\0" if vr in {"UI", "OB", "UN"} else b" ") * (len(value) & 1)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + struct.pack("<xxI" if vr in LONG_VRS else "<H", len(value)) + value


def one(vr: str, value: bytes, charset: bytes = b"") -> dict[str, Any]:
    """Return the JSON of one private element of that representation."""
    data = element(0x00080005, "CS", charset) if charset else b""
    found: dict[str, Any] = json.loads(dataset_to_json(data + element(0x00211010, vr, value)))
    member: dict[str, Any] = found["00211010"]
    assert member.pop("vr") == vr
    return member


@pytest.mark.parametrize(
    ("vr", "raw", "member"),
    [
        ("AE", b" STORE ", {"Value": ["STORE"]}),
        ("AS", b"042Y", {"Value": ["042Y"]}),
        ("AT", struct.pack("<HHHH", 0x10, 0x20, 0x7FE0, 0x10), {"Value": ["00100020", "7FE00010"]}),
        ("CS", b"A\\\\B", {"Value": ["A", None, "B"]}),
        ("DA", b"20260102", {"Value": ["20260102"]}),
        ("DS", b"1.50\\+2\\.5\\3.\\1E3\\-0\\01", {"Value": [1.5, 2.0, 0.5, 3.0, 1000.0, 0, 1.0]}),
        ("DS", b"1e999\\abc\\1,5\\nan", {"Value": ["1e999", "abc", "1,5", "nan"]}),
        ("DT", b"20260102101112.5+0100", {"Value": ["20260102101112.5+0100"]}),
        (
            "FD",
            struct.pack("<4d", 1.5, math.inf, -math.inf, math.nan),
            {"Value": [1.5, "inf", "-inf", "NaN"]},
        ),
        ("FL", struct.pack("<2f", 0.1, math.nan), {"Value": [0.10000000149011612, "NaN"]}),
        ("IS", b"7\\+8\\-09\\ 1 \\x", {"Value": [7, 8, -9, 1, "x"]}),
        ("IS", b"99999999999999999999", {"Value": ["99999999999999999999"]}),
        ("LO", b" a\\b  ", {"Value": ["a", "b"]}),
        ("LT", b" a\\b\r\n ", {"Value": [" a\\b\r\n"]}),
        ("OB", b"\0\1", {"InlineBinary": "AAE="}),
        ("OD", struct.pack("<d", 1.0), {"InlineBinary": base64.b64encode(struct.pack("<d", 1.0)).decode()}),
        ("OF", b"\0\0\0\0", {"InlineBinary": "AAAAAA=="}),
        ("OL", b"\0\0\0\0", {"InlineBinary": "AAAAAA=="}),
        ("OV", b"\0" * 8, {"InlineBinary": "AAAAAAAAAAA="}),
        ("OW", b"\1\2", {"InlineBinary": "AQI="}),
        ("PN", b"Doe^J=I=P", {"Value": [{"Alphabetic": "Doe^J", "Ideographic": "I", "Phonetic": "P"}]}),
        ("PN", b"A\\\\=I", {"Value": [{"Alphabetic": "A"}, None, {"Ideographic": "I"}]}),
        ("SH", b'q"\\\x07', {"Value": ['q"', "\x07"]}),
        ("SL", struct.pack("<i", -5), {"Value": [-5]}),
        ("SS", struct.pack("<2h", -5, 6), {"Value": [-5, 6]}),
        ("ST", b"a\\b", {"Value": ["a\\b"]}),
        ("SV", struct.pack("<3q", -5, 2**53, 2**53 + 1), {"Value": [-5, 2**53, str(2**53 + 1)]}),
        ("TM", b"101112", {"Value": ["101112"]}),
        ("UC", b" a\\b ", {"Value": ["a", "b"]}),
        ("UI", b"1.2\\3.4\0", {"Value": ["1.2", "3.4"]}),
        ("UL", struct.pack("<I", 2**32 - 1), {"Value": [2**32 - 1]}),
        ("UN", b"\xff\0", {"InlineBinary": "/wA="}),
        ("UR", b"http://x/a,b\\c ", {"Value": ["http://x/a,b\\c"]}),
        ("US", struct.pack("<H", 65535), {"Value": [65535]}),
        ("US", b"\1\0\2", {"Value": [1, 8194]}),
        ("UT", b"long", {"Value": ["long"]}),
        ("UV", struct.pack("<2Q", 1, 2**64 - 1), {"Value": [1, str(2**64 - 1)]}),
    ],
)
def test_every_representation(vr: str, raw: bytes, member: dict[str, Any]) -> None:
    assert one(vr, raw) == member


def test_every_representation_is_in_the_table_above() -> None:
    (mark,) = test_every_representation.pytestmark
    assert {row[0] for row in mark.args[1]} == (SHORT_VRS | LONG_VRS) - {"SQ"}


@pytest.mark.parametrize("vr", sorted((SHORT_VRS | LONG_VRS) - {"SQ"}))
def test_empty_values_have_no_value(vr: str) -> None:
    assert one(vr, b"") == {}


@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "IS", "DS", "LT", "CS"])
def test_padding_alone_is_empty(vr: str) -> None:
    assert one(vr, b"  ") == {}


@pytest.mark.parametrize(
    ("term", "raw", "text"),
    [
        (b"ISO_IR 100", "Äneas".encode("latin-1"), "Äneas"),
        (b"ISO_IR 192", "Wang^王".encode(), "Wang^王"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        (b"ISO_IR 192", b"\xff\xfeA", "\ufffd\ufffdA"),
    ],
)
def test_texts_are_utf_8(term: bytes, raw: bytes, text: str) -> None:
    data = element(0x00080005, "CS", term) + element(0x00211010, "LO", raw)
    out = dataset_to_json(data)
    assert json.loads(out)["00211010"]["Value"] == [text]
    assert json.loads(out)["00080005"]["Value"] == ["ISO_IR 192"]
    assert text.encode() in out


def test_utf_8_is_said_where_the_object_forgot_to_say_anything() -> None:
    assert "00080005" not in json.loads(dataset_to_json(element(0x00211010, "LO", b"plain")))
    said = json.loads(dataset_to_json(element(0x00211010, "LO", "Ä".encode("latin-1"))))
    assert said["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}


def test_members_ascend_and_group_lengths_are_left_out() -> None:
    data = element(0x00210000, "UL", b"\4\0\0\0") + element(0x00211012, "LO", b"b")
    data += element(0x00211010, "LO", b"a") + element(0x00211010, "LO", b"again")
    found = json.loads(dataset_to_json(data))
    assert list(found) == ["00211010", "00211012"]
    assert found["00211010"]["Value"] == ["a"]


# --- held against pydicom --------------------------------------------------------------------------------------


def _same(ours: dict[str, Any], theirs: dict[str, Any], vr: str) -> bool:
    """Compare a member with what pydicom makes of it, but for what is explained here."""
    if "BulkDataURI" in ours:
        return True  # pydicom puts everything inside
    if "InlineBinary" in ours or "InlineBinary" in theirs:
        return ours.get("InlineBinary") == theirs.get("InlineBinary") or vr == "UN"
    mine, other = ours.get("Value", []), theirs.get("Value", [])
    if vr == "SQ":
        return len(mine) == len(other) and all(
            _same_object(a or {}, b or {}) for a, b in zip(mine, other, strict=True)
        )
    return [_plain(value, vr) for value in mine] == [_plain(value, vr) for value in other]


def _plain(value: object, vr: str) -> object:
    """Return a value without what pydicom does otherwise.

    It keeps empty values among others as empty texts, spaces around texts, empty component groups, DS with the text of a
    Python number, and takes a component group for a name with carets at its end.
    """
    if value is None or value in ("", {}):
        return None
    if isinstance(value, dict):
        groups = cast("dict[str, str]", value)
        return {name: stripped for name, text in groups.items() if (stripped := text.strip(" \0"))} or None
    if vr in {"DS", "IS", "FL", "FD", "SV", "UV"} and isinstance(value, str | int | float):
        return value.strip() if isinstance(value, str) and not _is_number(value) else float(value)
    return value.strip(" \0") if isinstance(value, str) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _same_object(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    wanted = {tag: member for tag, member in theirs.items() if tag != "00080005" and tag[4:] != "0000"}
    mine = {tag: member for tag, member in ours.items() if tag not in {"00080005", "00083002"}}
    if set(mine) != set(wanted):
        return False
    for tag, member in mine.items():
        # An implicit VR data set says no representation: pydicom asks its private dictionary too.
        if member["vr"] != wanted[tag]["vr"]:
            if {member["vr"], wanted[tag]["vr"]} <= {"OB", "OW", "US", "SS"} or member["vr"] == "UN":
                continue
            return False
        if not _same(member, wanted[tag], member["vr"]):
            return False
    return True


@needs_corpus
def test_corpus_says_what_pydicom_says() -> None:
    compared = 0
    different: list[str] = []
    for path in corpus_files("."):
        raw = path.read_bytes()
        try:
            meta = read_file_meta(raw[:FILE_META_BYTES_MAX])
            scanner = DatasetScanner(meta.transfer_syntax_uid, outlining=True)
            scanner.feed(raw[meta.dataset_offset :])
            scanner.finish()
        except DatasetRefused:
            continue
        taken = scanner.outline()
        assert taken is not None
        # Whatever the scanner takes in can be said in JSON: no object makes its study unreadable.
        ours = json.loads(metadata_to_json(decode_outline(taken.encode()), ["1.2.3"]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = pydicom.dcmread(BytesIO(raw), force=True, stop_before_pixels=True).to_json_dict()
        except Exception:  # noqa: BLE001 - pydicom gives up on some of them in ways of its own
            continue
        compared += 1
        ours = {tag: one for tag, one in ours.items() if tag < "7FE0"}
        if not _same_object(ours, {tag: one for tag, one in theirs.items() if tag < "7FE0"}):
            different.append(str(path.relative_to(CORPUS)))
    assert compared > 200
    # pydicom takes the letters DICM inside of this data set for the prefix of a file.
    assert different == ["broken/dcm4che__no_preamble_dicm_in_data.dcm"]


# --- bulk values and the marker --------------------------------------------------------------------------------


def test_bulk_values_are_named_by_their_path() -> None:
    inner = element(0x54001010, "OW", b"\1" * 2000) + element(0x54001011, "OB", b"\1\2")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    header = element(0x54000100, "SQ", item) + element(0x7FE00001, "OV", b"")
    outline = Outline(
        EXPLICIT, header, (BulkValue(0x7FE00010, "OW", 0, 10), BulkValue(0x7FE00008, "OF", 0, 0))
    )
    found = json.loads(metadata_to_json(outline))
    nested = found["54000100"]["Value"][0]
    assert nested["54001010"] == {"vr": "OW", "BulkDataURI": "@/bulkdata/54000100/0/54001010"}
    assert nested["54001011"] == {"vr": "OB", "InlineBinary": "AQI="}
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "@/bulkdata/7FE00010"}
    assert found["7FE00008"] == {"vr": "OF"}
    # Without a place of its own, as in the answer to a query, a value stands inside.
    assert "InlineBinary" in json.loads(dataset_to_json(header))["54000100"]["Value"][0]["54001010"]


FORGERIES = st.text(
    st.sampled_from(['"', "\\", "B", "@", ":", ",", "{", "}", "[", "]", "/", " ", "\x01", "ä"]), max_size=20
).map(lambda text: text.replace("B", "BulkDataURI"))


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(["LO", "LT", "PN", "UT", "UR", "DS", "IS", "UI", "CS"]), FORGERIES),
        max_size=8,
    )
)
def test_no_value_forges_the_marker(values: list[tuple[str, str]]) -> None:
    values = [*values, ("LT", '"BulkDataURI":"@'), ("PN", '","BulkDataURI":"@'), ("UR", '\\"BulkDataURI":"@')]
    data = element(0x00080005, "CS", b"ISO_IR 192") + b"".join(
        element(0x00211010 + number, vr, text.encode()) for number, (vr, text) in enumerate(values)
    )
    outline = Outline(EXPLICIT, data, (BulkValue(0x7FE00010, "OW", 0, 10),))
    text = metadata_to_json(outline)
    assert text.count(MARKER) == 1
    found = json.loads(text.replace(MARKER, MARKER[:-1] + b"https://pacs.example/i"))
    assert found.pop("7FE00010")["BulkDataURI"] == "https://pacs.example/i/bulkdata/7FE00010"
    assert all("BulkDataURI" not in member for member in found.values())


# --- into a data set -------------------------------------------------------------------------------------------


def test_back_again() -> None:
    item: Dataset = {0x00080100: Element(0x00080100, "SH", b"CODE")}
    dataset: Dataset = {
        e.tag: e
        for e in (
            Element(0x00080005, "CS", b"ISO_IR 192"),
            Element(0x00080008, "CS", b"A\\\\B"),
            Element(0x00080018, "UI", b"1.2.3"),
            Element(0x00100010, "PN", "Wang^X=王^小=x".encode()),
            Element(0x00101030, "DS", b"70.5\\1e-05"),
            Element(0x00200013, "IS", b"-7"),
            Element(0x00280009, "AT", struct.pack("<HH", 0x18, 0x1063)),
            Element(0x00280010, "US", b"\0\2"),
            Element(0x00081140, "SQ", b"", (item, {})),
            Element(0x00189074, "DT", b"20260101"),
            Element(0x00189087, "FD", struct.pack("<2d", 1.25, math.inf)),
            Element(0x00211010, "OB", b"\1\2"),
            Element(0x00211011, "SV", struct.pack("<q", -(2**62))),
            Element(0x00211012, "UR", b"https://x/y"),
            Element(0x00211013, "LT", b"a\\b"),
        )
    }
    document = dataset_to_json(dataset)
    assert json_to_dataset(document) == {tag: dataset[tag] for tag in sorted(dataset)}
    assert json_to_dataset(b"[" + document + b"]") == json_to_dataset(document)
    octets = write_dataset(json_to_dataset(document).values())
    assert dataset_to_json(octets) == document


@needs_corpus
def test_corpus_headers_come_back() -> None:
    compared = 0
    for path in corpus_files("modality", "charset", "structured"):
        raw = path.read_bytes()
        meta = read_file_meta(raw[:FILE_META_BYTES_MAX])
        scanner = DatasetScanner(meta.transfer_syntax_uid, outlining=True)
        try:
            scanner.feed(raw[meta.dataset_offset :])
            scanner.finish()
            taken = scanner.outline()
            assert taken is not None
            document = metadata_to_json(
                Outline(taken.transfer_syntax_uid, decode_outline(taken.encode()).header, ())
            )
            dataset = json_to_dataset(document)
        except DatasetRefused:
            continue  # values that do not fit their representation go out as they are, but do not come in
        again = json.loads(dataset_to_json(write_dataset(dataset.values())))
        assert set(again) == {"00080005", *json.loads(document)}
        assert json_to_dataset(json.dumps(again).encode()) == dataset
        compared += 1
    assert compared > 30


def member(**content: object) -> bytes:
    return json.dumps({"00211010": content}).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[]",
        b"[1]",
        b"[{},{}]",
        b'{"0021101":{}}',
        b'{"PatientName":{"vr":"PN"}}',
        b'{"00000002":{"vr":"UI"}}',
        b'{"FFFEE000":{"vr":"UI"}}',
        b'{"00211010":[]}',
        b'{"0021101a":{"vr":"LO"},"0021101A":{"vr":"LO"}}',
        member(vr="XX"),
        member(vr=7),
        member(vr="LO", Value="x"),
        member(vr="LO", Value=["a"], InlineBinary="AA=="),
        member(vr="LO", Value=["a\\b"]),
        member(vr="LO", Value=["a\0b"]),
        member(vr="LO", Value=["a\x1b$B"]),
        member(vr="LO", Value=[7]),
        member(vr="LO", Value=["x" * 70_000]),
        member(vr="LT", Value=["a", "b"]),
        member(vr="CS", Value=["Ä"]),
        member(vr="PN", Value=[{"Alphabetic": "a=b"}]),
        member(vr="PN", Value=[{"Alphabetic": "a\\b"}]),
        member(vr="PN", Value=[{"Alphabetic": 7}]),
        member(vr="US", Value=[65536]),
        member(vr="US", Value=[-1]),
        member(vr="US", Value=[1.5]),
        member(vr="US", Value=[True]),
        member(vr="US", Value=["x"]),
        member(vr="FL", Value=[1e300]),
        member(vr="FD", Value=["1" * 40]),
        b'{"00211010":{"vr":"DS","Value":[1e999]}}',
        b'{"00211010":{"vr":"DS","Value":[' + b"9" * 4000 + b"]}}",
        member(vr="IS", Value=[1.5]),
        member(vr="IS", Value=[10**13]),
        member(vr="AT", Value=["0010"]),
        member(vr="OB", Value=[1]),
        member(vr="OB", InlineBinary="***"),
        member(vr="OB", InlineBinary=7),
        member(vr="SQ", InlineBinary="AA=="),
        member(vr="SQ", Value=[7]),
        member(vr="OB", BulkDataURI="https://elsewhere/"),
    ],
)
def test_what_is_not_the_model_is_refused(document: bytes) -> None:
    with pytest.raises(DatasetRefused):
        json_to_dataset(document)


def test_json_bombs_are_refused() -> None:
    """Attack S77."""
    deep = b'{"00081140":{"vr":"SQ","Value":[' * (SEQUENCE_DEPTH_MAX + 5)
    closed = deep + b"{}" + b"]}}" * (SEQUENCE_DEPTH_MAX + 5)
    for document in (
        closed,
        deep,
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b" " * (JSON_BYTES_MAX + 1),
        b"[" + b"{}," * JSON_DATASETS_MAX + b"{}]",
    ):
        with pytest.raises(DatasetRefused):
            json_to_datasets(document)
    # Brackets inside of strings are no nesting.
    text = "[{" * 1000
    assert json_to_dataset(member(vr="LT", Value=[text + '\\"']))[0x00211010].value == (text + '\\"').encode()


def test_elements_are_counted_over_all_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.dicom.json.JSON_ELEMENTS_MAX", 10)
    assert JSON_ELEMENTS_MAX > 10
    with pytest.raises(DatasetRefused, match="elements"):
        json_to_datasets(b"[" + b",".join([member(vr="LO")] * 11) + b"]")
    assert len(json_to_datasets(b"[" + b",".join([member(vr="LO")] * 10) + b"]")) == 10


def resolver(octets: bytes) -> tuple[Callable[[str], bytes], list[str]]:
    asked: list[str] = []

    def resolve(uri: str) -> bytes:
        asked.append(uri)
        if uri.startswith("http"):
            raise DatasetRefused("no part of this request")
        return octets

    return resolve, asked


def test_bulk_data_comes_from_the_same_request_or_not_at_all() -> None:
    """Attack S78."""
    resolve, asked = resolver(b"\1\2\3\4")
    dataset = json_to_dataset(member(vr="OW", BulkDataURI="cid:1"), resolve)
    assert dataset[0x00211010].value == b"\1\2\3\4"
    assert asked == ["cid:1"]
    with pytest.raises(DatasetRefused, match="no part"):
        json_to_dataset(member(vr="OW", BulkDataURI="https://pacs/studies/1.2.3/bulkdata/x"), resolve)


def test_bulk_data_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.dicom.json.JSON_BULK_BYTES_MAX", 1000)
    assert JSON_BULK_BYTES_MAX > 1000
    resolve, _ = resolver(b"\1" * 600)
    with pytest.raises(DatasetRefused, match="bulk"):
        json_to_datasets(b"[" + b",".join([member(vr="OW", BulkDataURI="x")] * 2) + b"]", resolve)


@given(st.binary(max_size=200))
def test_garbage_is_only_ever_refused(junk: bytes) -> None:
    for data in (junk, element(0x00081140, "SQ", junk), element(0x00280010, "US", junk)):
        try:
            json.loads(dataset_to_json(data))
        except DatasetRefused:
            pass
    try:
        json_to_datasets(junk)
    except DatasetRefused:
        pass


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "InlineBinary", "00080100", "Alphabetic"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(SHORT_VRS | LONG_VRS)), JSON_VALUES)
def test_any_json_is_a_data_set_or_refused(vr: str, value: object) -> None:
    document = json.dumps({"00211010": {"vr": vr, "Value": value}, "00211011": value}).encode()
    try:
        dataset = json_to_dataset(document)
    except DatasetRefused:
        return
    assert read_dataset(write_dataset(dataset.values())).keys() == dataset.keys()
    json.loads(dataset_to_json(dataset))


def test_pydicom_reads_what_we_write() -> None:
    dataset = PydicomDataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Äneas^Dido"
    dataset.PatientWeight = "70.5"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    again = PydicomDataset.from_json(dataset_to_json(buffer.getvalue()).decode())
    assert str(again.PatientName) == "Äneas^Dido"
    assert again.PatientWeight == 70.5
