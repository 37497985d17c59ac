"""The head says what the data set says: in clear only facts, the rest in tokens and in the sealed data sets."""

import io
import subprocess
import sys

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from corpus import corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.attributes import CAPTURED_TAGS, Kind, attributes_at
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.models import Head, Level, LevelHead
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import CapturedValue, DatasetScanner, code_of, key_of

SYNTAXES = [UID("1.2.840.10008.1.2"), UID("1.2.840.10008.1.2.1"), UID("1.2.840.10008.1.2.2")]
EXPLICIT = SYNTAXES[1]
IDENTITY = ObjectIdentity(UID("1.2"), UID("1.3"), UID("1.4"), UID("1.5"), EXPLICIT)


def sample() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.2")
    dataset.SOPInstanceUID = pydicom.uid.UID("1.2.3.4")
    dataset.StudyInstanceUID = pydicom.uid.UID("1.2.3")
    dataset.SeriesInstanceUID = pydicom.uid.UID("1.2.3.1")
    dataset.PatientName = "Müller^Jürgen"
    dataset.PatientID = " PAT 1"
    dataset.IssuerOfPatientID = "Clinic"
    dataset.PatientBirthDate = "19701231"
    dataset.PatientSex = "F"
    dataset.StudyDate = "20260102"
    dataset.StudyTime = "1015"
    dataset.StudyDescription = "Head  CT"
    dataset.Modality = "CT"
    dataset.SeriesNumber = 7
    dataset.InstanceNumber = -3
    dataset.Rows = 512
    dataset.Columns = 256
    dataset.NumberOfFrames = 2
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.PatientWeight = "70.5"
    inner = Dataset()
    inner.CodeValue = "C"
    inner.Rows = 9
    item.ScheduledProtocolCodeSequence = Sequence([inner])
    dataset.RequestAttributesSequence = Sequence([item, Dataset()])
    dataset.FrameOfReferenceUID = pydicom.uid.UID("1.2.3.9")
    return dataset


def head_of(dataset: Dataset, syntax: UID) -> Head:
    buffer = io.BytesIO()
    implicit, little = syntax == SYNTAXES[0], syntax != SYNTAXES[2]
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    scanner = DatasetScanner(syntax)
    scanner.feed(buffer.getvalue())
    scanner.finish()
    return ScannedHead.of(scanner)


def opened(level: LevelHead) -> Dataset:
    return pydicom.dcmread(io.BytesIO(level.sealed), force=True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_levels_say_what_the_data_set_says(syntax: UID) -> None:
    head = head_of(sample(), syntax)
    study, series, instance = head.study(), head.series(), head.instance()
    assert study.plain == {"patient_sex": "F", "study_date": "20260102", "study_time": "101500.000000"}
    assert series.plain["modality"] == "CT"
    assert series.plain["series_number"] == 7
    assert series.plain["laterality"] is None
    assert (instance.plain["rows"], instance.plain["columns"]) == (512, 256)
    assert (instance.plain["instance_number"], instance.plain["number_of_frames"]) == (-3, 2)
    assert study.tokens == {
        "PatientName": ("muller^jurgen",),
        "PatientID": ("pat 1",),
        "IssuerOfPatientID": ("clinic",),
        "PatientBirthDate": ("19701231",),
        "StudyDescription": ("head ct",),
    }
    assert series.tokens == instance.tokens == {}
    assert head.patient_reference() == "pat 1^^^clinic"
    assert head.identity.transfer_syntax_uid == syntax


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sealed_data_sets_hold_every_attribute_of_their_level(syntax: UID) -> None:
    dataset = sample()
    head = head_of(dataset, syntax)
    for level_head, levels in (
        (head.study(), (Level.PATIENT, Level.STUDY)),
        (head.series(), (Level.SERIES,)),
        (head.instance(), (Level.IMAGE,)),
    ):
        read = opened(level_head)
        assert next(iter(read)).keyword == "SpecificCharacterSet"
        expected = {a.tag for level in levels for a in attributes_at(level) if a.tag in dataset}
        assert {int(e.tag) for e in read} - {0x0008_0005} == expected
        for tag in expected:
            assert read[tag].VR == dataset[tag].VR
            assert read[tag].value == dataset[tag].value


def test_no_identifier_is_shown_by_repr() -> None:
    head = head_of(sample(), EXPLICIT)
    shown = repr(head) + repr(head.study()) + str(head.instance())
    assert not [word for word in ("ller", "PAT", "pat 1", "1970", "2026", "S1") if word in shown]


def test_level_table_covers_all_that_is_captured() -> None:
    kept = {a.tag for level in Level for a in attributes_at(level) if a.kind is not Kind.COMPUTED}
    assert kept | {0x0008_0005} == CAPTURED_TAGS


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "column"),
    [
        (0x0008_0020, "DA", b"20261345", "study_date"),
        (0x0008_0020, "DA", b"yesterday", "study_date"),
        (0x0008_0020, "DA", b"20260101\\20260102", "study_date"),
        (0x0008_0030, "TM", b"2561", "study_time"),
        (0x0010_0040, "CS", b"Jane Doe was here", "patient_sex"),
        (0x0010_0040, "CS", b"Doe^Jane", "patient_sex"),
    ],
)
def test_garbage_stays_out_of_the_clear_and_in_the_seal(tag: int, vr: str, raw: bytes, column: str) -> None:
    level = ScannedHead(IDENTITY, {key_of(tag): (code_of(vr), raw)}).study()
    assert level.plain[column] is None
    assert raw in level.sealed


@pytest.mark.parametrize("raw", [b"1A", b"", b"99999999999999999999", b"1\\2", "\u0663".encode()])
def test_number_that_is_none_is_absent(raw: bytes) -> None:
    level = ScannedHead(IDENTITY, {key_of(0x0028_0008): (code_of("IS"), raw)}).instance()
    assert level.plain["number_of_frames"] is None


def test_rows_with_several_values_or_another_vr_are_absent() -> None:
    for vr, raw in (("US", b"\x00\x80\x00\x00"), ("UL", b"\x01\x00"), ("US", b"")):
        level = ScannedHead(IDENTITY, {key_of(0x0028_0010): (code_of(vr), raw)}).instance()
        assert level.plain["rows"] is None


def test_ideographic_names_are_found_by_every_group() -> None:
    raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    captured: dict[int, CapturedValue] = {
        key_of(0x0008_0005): (code_of("CS"), b"\\ISO 2022 IR 87"),
        key_of(0x0010_0010): (code_of("PN"), raw),
    }
    study = ScannedHead(IDENTITY, captured).study()
    assert study.tokens["PatientName"] == ("yamada^tarou", "山田^太郎", "やまだ^たろう")
    assert raw in study.sealed


def test_sequence_sent_as_un_is_a_sequence_again() -> None:
    inner = b"\x40\x00\x09\x00\x02\x00\x00\x00S1"
    raw = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    head = ScannedHead(IDENTITY, {key_of(0x0040_0275): (code_of("UN"), raw)})
    assert opened(head.series()).RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
    for junk in (b"no items at all.", raw[:-1]):
        assert ScannedHead(IDENTITY, {key_of(0x0040_0275): (code_of("UN"), junk)}).series().sealed == b""


@given(
    st.dictionaries(
        st.sampled_from(sorted(CAPTURED_TAGS)),
        st.tuples(st.sampled_from(["", "UN", "LO", "SQ", "US"]), st.binary(max_size=30)),
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_captured_value_raises(values: dict[int, tuple[str, bytes]], big: bool) -> None:
    captured = {
        key_of(tag, big_endian=big): (code_of(vr, big_endian=big) if vr else 0, raw)
        for tag, (vr, raw) in values.items()
    }
    head = ScannedHead(IDENTITY, captured, big_endian=big)
    for level in (head.study(), head.series(), head.instance()):
        assert len(level.sealed) % 2 == 0
    head.patient_reference()


@needs_corpus
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's opinion on the values of real files
def test_corpus_heads_are_read_as_pydicom_reads_the_files() -> None:
    compared = 0
    for path in corpus_files(
        "charset", "modality", "private", "structured/sr", "transfer-syntax/pydicom-small"
    ):
        data = path.read_bytes()
        try:
            meta = read_file_meta(data[:FILE_META_BYTES_MAX])
            scanner = DatasetScanner(meta.transfer_syntax_uid)
            scanner.feed(data[meta.dataset_offset :])
            scanner.finish()
            head = ScannedHead.of(scanner)
        except DatasetRefused:
            continue
        read = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        sealed = opened(head.study()), opened(head.series()), opened(head.instance())
        for dataset in sealed:
            for element in dataset:
                if element.VR == "SQ":
                    assert element.value == read[element.tag].value, f"{path.name} {element.tag}"
                    compared += 1
                elif not element.is_empty and "�" not in str(element.value):
                    assert str(element.value) == str(read[element.tag].value), f"{path.name} {element.tag}"
                    compared += 1
        assert all(
            "�" not in v for values in head.study().tokens.values() for v in values
        ) or "charset" in str(path)
    assert compared > 1000


def test_taking_in_an_object_does_not_import_pydicom() -> None:
    script = (
        "import sys; import leadglass.dicom.head, leadglass.dicom.part10, leadglass.dicom.sop_classes;"
        "sys.exit('pydicom' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
