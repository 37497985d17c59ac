"""The scanner agrees with pydicom on what is there, whatever the cuts, and refuses what does not hold together."""

import csv
import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterable, Mapping

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from corpus import CORPUS, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID
from leadglass.base.limits import ATTRIBUTE_BYTES_MAX, SEQUENCE_DEPTH_MAX
from leadglass.dicom import scan
from leadglass.dicom.attributes import BY_KEYWORD, CAPTURED_TAGS
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner, check_identity, key_of
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES, private_transfer_syntax

IMPLICIT = UID("1.2.840.10008.1.2")
EXPLICIT = UID("1.2.840.10008.1.2.1")
DEFLATED = UID("1.2.840.10008.1.2.1.99")
BIG = UID("1.2.840.10008.1.2.2")
JPEG_2000 = UID("1.2.840.10008.1.2.4.91")


def scanned(data: bytes, syntax: UID, cuts: Iterable[int] = ()) -> DatasetScanner:
    scanner = DatasetScanner(syntax)
    at = 0
    for cut in (*cuts, len(data)):
        piece = bytearray(data[at:cut])
        scanner.feed(memoryview(piece))
        piece[:] = b"\xaa" * len(piece)  # the buffer is the caller's again
        at = max(at, cut)
    scanner.finish()
    return scanner


def every(step: int, data: bytes) -> range:
    return range(step, len(data), step)


def by_tag(scanner: DatasetScanner) -> dict[int, bytes]:
    big = scanner.transfer_syntax.big_endian
    found = scanner.captured()
    return {tag: found[key][1] for tag in CAPTURED_TAGS if (key := key_of(tag, big_endian=big)) in found}


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    plain = zlib_free = syntax
    if syntax == DEFLATED:
        zlib_free = EXPLICIT
    buffer = io.BytesIO()
    implicit, little = zlib_free == IMPLICIT, zlib_free != BIG
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    data = buffer.getvalue()
    if plain == DEFLATED:
        compressor = zlib.compressobj(wbits=-15)
        data = compressor.compress(data) + compressor.flush()
    return data


def small(**more: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.7")
    dataset.SOPInstanceUID = pydicom.uid.UID("1.2.3.4")
    dataset.StudyInstanceUID = pydicom.uid.UID("1.2.3")
    dataset.SeriesInstanceUID = pydicom.uid.UID("1.2.3.1")
    dataset.PatientName = "Doe^Jane"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def sample() -> Dataset:
    """Return sequences of every kind around values that must be found and values that must not."""
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.PatientID = "not this one"
    deeper = Dataset()
    deeper.CodeValue = "121"
    item.ScheduledProtocolCodeSequence = Sequence([deeper, Dataset()])
    dataset = small(
        PatientID="P1", RequestAttributesSequence=Sequence([item, item]), Rows=3, Columns=2, StudyID="7"
    )
    dataset.ReferencedStudySequence = Sequence([])
    dataset.add_new(0x0009_0010, "LO", "MAKER")
    dataset.add_new(0x0009_1001, "UN", b"\xfe\xff\x00\xe0" * 5)
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.PixelData = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00" * 300
    dataset["PixelData"].VR = "OW"
    return dataset


# --- agreement -------------------------------------------------------------------------------------------------


def manifest() -> Mapping[str, dict[str, str]]:
    path = CORPUS / "MANIFEST.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file) if row["kind"] in {"dicom", "dicomdir"}}


def corpus_datasets() -> list[str]:
    # One slice of each series is enough here.
    names = [name for name in manifest() if not name.startswith(("broken/", "dicomdir/"))]
    return sorted(n for n in names if not n.startswith("series/") or n.endswith("0001.dcm"))


NOT_STORED = {
    "has no StudyInstanceUID": "palette/ HTJ2KLossless_08_RGB HTJ2K_08_RGB JLSL_ JLSN_ JPEGLSNear jls_lossy "
    "odil__dataset chrSQEncoding nibabel__decimal_rescale priv_SQ",
    "no value representation": "SC_rgb_jpeg.dcm",
}
"""Why a file of the corpus cannot be stored, and parts of the names of those."""


@needs_corpus
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's opinion on the values of real files
@pytest.mark.parametrize("name", corpus_datasets())
def test_corpus_file_gives_what_pydicom_reads_at_any_cut(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    meta = read_file_meta(data[:FILE_META_BYTES_MAX])
    body = data[meta.dataset_offset :]
    for reason, parts in NOT_STORED.items():
        if any(part in name for part in parts.split()):
            with pytest.raises(DatasetRefused, match=reason):
                scanned(body, meta.transfer_syntax_uid).identity()
            return
    whole = scanned(body, meta.transfer_syntax_uid)
    identity = whole.identity()
    for step in (1 if len(body) < 2_000 else 997, 30_011):
        again = scanned(body, meta.transfer_syntax_uid, every(step, body))
        assert again.captured() == whole.captured()
        assert again.octets == len(body)
    read = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True, defer_size=1 << 20)
    found = by_tag(whole)
    compared = 0
    for tag in CAPTURED_TAGS:
        if tag not in read:
            assert tag not in found, f"{name} {tag:08X}"
            continue
        value: object = read.get_item(tag).value
        if isinstance(value, bytes) and read.get_item(tag).VR != "SQ" and len(value) <= ATTRIBUTE_BYTES_MAX:
            assert found.get(tag) == value, f"{name} {tag:08X}"
            compared += 1
    assert compared >= 4
    assert identity.sop_instance_uid == str(read.SOPInstanceUID)


BROKEN = {
    "dcm4che__3gb-bulk-data-truncated.dcm": "ends inside the value",
    "dcm4che__no_preamble_dicm_in_data.dcm": "has no StudyInstanceUID",
    "dcmjs__invalid-vr-length-test.dcm": "",
    "dcmjs__no-meta-length-test.dcm": "",
    "pydicom-data__bad_sequence.dcm": "is not a UID",
    "pydicom-data__emri_small_jpeg_2k_lossless_too_short.dcm": "ends inside a sequence",
    "pydicom__693_J2KI.dcm": "",
    "pydicom__ExplVR_BigEndNoMeta.dcm": "",
    "pydicom__ExplVR_LitEndNoMeta.dcm": "",
    "pydicom__J2K_pixelrep_mismatch.dcm": "",
    "pydicom__JPEG2000-embedded-sequence-delimiter.dcm": "",
    "pydicom__MR_truncated.dcm": "ends inside the value",
    "pydicom__UN_sequence.dcm": "has no StudyInstanceUID",
    "pydicom__badVR.dcm": "",
    "pydicom__empty_charset_LEI.dcm": "has no StudyInstanceUID",
    "pydicom__meta_missing_tsyntax.dcm": "has no StudyInstanceUID",
    "pydicom__nested_priv_SQ.dcm": "has no StudyInstanceUID",
    "pydicom__no_meta.dcm": "no DICOM file",
    "pydicom__no_meta_group_length.dcm": "has no StudyInstanceUID",
    "pydicom__rtplan_truncated.dcm": "ends inside the value",
    "pynetdicom__CTImageStorage_bad_meta.dcm": "",
}


@needs_corpus
@pytest.mark.parametrize(("name", "reason"), BROKEN.items())
def test_broken_file_is_stored_or_refused_for_its_reason(name: str, reason: str) -> None:
    data = (CORPUS / "broken" / name).read_bytes()

    def verdict() -> None:
        meta = read_file_meta(data[:FILE_META_BYTES_MAX])
        scanned(data[meta.dataset_offset :], meta.transfer_syntax_uid).identity()

    if not reason:
        verdict()
        return
    with pytest.raises(DatasetRefused, match=reason) as caught:
        verdict()
    assert caught.value.dimse_status == (0xA900 if "has no" in reason else 0xC000)


@needs_corpus
def test_broken_folder_is_covered() -> None:
    assert {path.name for path in (CORPUS / "broken").iterdir()} == set(BROKEN)


@needs_corpus
@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit"])
def test_directory_is_no_object(name: str) -> None:
    data = (CORPUS / "dicomdir" / "pydicom" / name).read_bytes()
    meta = read_file_meta(data[:FILE_META_BYTES_MAX])
    with pytest.raises(DatasetRefused, match="group 0000, 0002, 0004"):
        scanned(data[meta.dataset_offset :], meta.transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_cut_gives_the_same(syntax: UID, data: st.DataObject) -> None:
    octets = encoded(sample(), syntax)
    whole = by_tag(scanned(octets, syntax))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=20)))
    assert by_tag(scanned(octets, syntax, cuts)) == whole
    assert whole[BY_KEYWORD["PatientID"].tag].strip() == b"P1"
    assert by_tag(scanned(octets, syntax, range(1, len(octets)))) == whole


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_garbage_is_only_ever_refused(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG_2000]))
    octets = bytearray(encoded(sample(), syntax))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255)), max_size=6)
    ):
        octets[at] = value
    octets = octets[: data.draw(st.integers(0, len(octets)))] + data.draw(st.binary(max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=4)))

    def verdict(cuts: Iterable[int]) -> object:
        try:
            return by_tag(scanned(bytes(octets), syntax, cuts))
        except DatasetRefused:
            return None

    assert verdict(cuts) == verdict(())


# --- identity --------------------------------------------------------------------------------------------------


def test_study_is_known_before_the_pixels_come() -> None:
    data = encoded(small(Rows=512, Columns=512), EXPLICIT) + element(0x7FE0_0010, b"OW", bytes(524_288))
    scanner = DatasetScanner(EXPLICIT)
    known_before = scanner.study_known
    scanner.feed(data[:600])
    assert (known_before, scanner.study_known) == (False, True)
    assert scanner.head_complete
    assert scanner.identity().study_uid == "1.2.3"
    scanner.feed(data[600:])
    scanner.finish()


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_missing_uid_does_not_match_the_sop_class(keyword: str) -> None:
    dataset = small()
    delattr(dataset, keyword)
    with pytest.raises(DatasetRefused, match=keyword) as caught:
        scanned(encoded(dataset, EXPLICIT), EXPLICIT).identity()
    assert caught.value.dimse_status == 0xA900


@pytest.mark.parametrize("value", [b"../../etc", b"1.2.3 4", b"1..2", b"", b"1" * 66])
def test_what_is_no_uid_is_refused(value: bytes) -> None:
    data = encoded(small(), EXPLICIT).replace(
        b"\x08\x00\x18\x00UI\x08\x001.2.3.4\x00", element(0x0008_0018, b"UI", value)
    )
    with pytest.raises(DatasetRefused, match="SOPInstanceUID is not a UID"):
        scanned(data, EXPLICIT).identity()


def test_command_and_data_set_must_name_the_same_instance() -> None:
    identity = scanned(encoded(small(), EXPLICIT), EXPLICIT).identity()
    check_identity(identity, "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4")
    for sop_class, instance in (
        ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),
        ("1.2.840.10008.5.1.4.1.1.7", "1.2.3.5"),
    ):
        with pytest.raises(DatasetRefused) as caught:
            check_identity(identity, sop_class, instance)
        assert caught.value.dimse_status == 0xA900


def test_unknown_transfer_syntax_needs_configuration() -> None:
    uid = UID("1.2.826.0.1.999")
    with pytest.raises(DatasetRefused, match="transfer syntax"):
        DatasetScanner(uid)
    with pytest.raises(DatasetRefused, match="transfer syntax"):
        DatasetScanner(UID("1.2.840.10008.1.2.6.2"))
    scanner = DatasetScanner(uid, syntax=private_transfer_syntax(uid, "ours", encapsulated=False))
    scanner.feed(encoded(small(), EXPLICIT))
    scanner.finish()
    assert scanner.identity().transfer_syntax_uid == uid


# --- hostile structure -----------------------------------------------------------------------------------------


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element in explicit VR little endian; an empty ``vr`` makes it implicit."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in {b"", b"SQ", b"UN", b"OB", b"OW", b"UT"}:
        return head + (b"\0\0" if vr else b"") + struct.pack("<I", size) + value
    return head + struct.pack("<H", size) + value


ITEM, ITEM_END, SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
UNDEFINED = 0xFFFFFFFF


def nested(depth: int, vr: bytes, *, defined: bool) -> bytes:
    """Return ``depth`` sequences in each other."""
    if not defined:
        opening = element(0x0040_A730, vr, b"", UNDEFINED) + element(ITEM, b"", b"", UNDEFINED)
        return opening * depth + (element(ITEM_END, b"", b"") + element(SEQUENCE_END, b"", b"")) * depth
    layers: list[bytes] = []
    size = 0
    for _ in range(depth):
        item = element(ITEM, b"", b"", size)
        head = element(0x0040_A730, vr, b"", size + 8)
        layers.append(head + item)
        size += len(head) + 8
    return b"".join(reversed(layers))


@pytest.mark.parametrize("defined", [False, True])
@pytest.mark.parametrize(("syntax", "vr"), [(EXPLICIT, b"SQ"), (IMPLICIT, b"")])
def test_nesting_has_an_end(syntax: UID, vr: bytes, defined: bool) -> None:
    head = encoded(small(), syntax)
    scanned(head + nested(SEQUENCE_DEPTH_MAX, vr, defined=defined), syntax)
    for depth in (SEQUENCE_DEPTH_MAX + 1, 10_000):
        with pytest.raises(DatasetRefused, match="nested deeper"):
            scanned(head + nested(depth, vr, defined=defined), syntax)


def test_nesting_inside_un_has_an_end() -> None:
    inner = element(ITEM, b"", b"", UNDEFINED) + nested(10_000, b"", defined=False)
    with pytest.raises(DatasetRefused, match="nested deeper"):
        scanned(encoded(small(), EXPLICIT) + element(0x0041_1001, b"UN", inner, UNDEFINED), EXPLICIT)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (element(0x7FE0_0010, b"OW", b"1234", 0xFFFF_FFFE), "ends inside the value"),
        (element(0x0040_A730, b"SQ", b"", 100), "ends inside"),
        (element(0x0040_A730, b"SQ", element(ITEM, b"", b"", 200), 8), "outside of the sequence"),
        (
            element(0x0040_A730, b"SQ", element(ITEM, b"", element(0x0040_A160, b"UT", b"xx", 90)), 22),
            "outside of",
        ),
        (element(0x0040_A730, b"SQ", element(ITEM, b"", b"abcd")), "ends inside an element"),
        (element(0x0040_A730, b"SQ", element(ITEM, b"", b"abcd")) + bytes(9), "outside of the sequence"),
        (element(0x0040_A730, b"SQ", element(ITEM, b"", b"", UNDEFINED)), "outside of the sequence"),
        (element(0x0040_A730, b"SQ", element(0x0040_A160, b"", b"")), "other than items"),
        (element(0x0040_A730, b"SQ", b"", UNDEFINED), "ends inside a sequence"),
        (element(0x7FE0_0010, b"OB", b"", UNDEFINED), "ends inside a sequence"),
        (element(0x7FE0_0010, b"OB", element(ITEM, b"", b"", UNDEFINED), UNDEFINED), "other than items"),
        (element(0x0040_A160, b"UT", b"", UNDEFINED), "undefined length"),
        (element(ITEM_END, b"", b""), "where none is open"),
        (element(SEQUENCE_END, b"", b""), "where none is open"),
        (element(ITEM, b"", b""), "where none is open"),
        (element(0x0000_0002, b"UI", b"1.2\0"), "group 0000"),
        (element(0x0002_0010, b"UI", b"1.2\0"), "group 0000"),
        (element(0x0040_A160, b"  ", b"1234"), "no value representation"),
        (
            element(0x0010_0020, b"LO", b"AB") + element(0x0010_0020, b"LO", b"CD"),
            "twice with different values",
        ),
        (b"\x40\x00", "ends inside an element"),
    ],
)
def test_structure_that_does_not_hold_is_refused(tail: bytes, reason: str) -> None:
    octets = encoded(small(), EXPLICIT) + tail
    for cuts in ((), range(1, len(octets))):
        with pytest.raises(DatasetRefused, match=reason) as caught:
            scanned(octets, EXPLICIT, cuts)
        assert caught.value.dimse_status == 0xC000


@pytest.mark.parametrize(
    "tail",
    [
        element(0x0010_0020, b"LO", b"AB") * 2,
        element(0x0041_1001, b"ZZ", b"\0\0" + b"xyzw", 0)[:6] + b"\0\0\x04\0\0\0xyzw",  # a VR of the future
        element(
            0x0041_1001,
            b"UN",
            element(ITEM, b"", element(0x0010_0020, b"", b"AB")) + element(SEQUENCE_END, b"", b""),
            UNDEFINED,
        ),
        element(
            0x7FE0_0010,
            b"OB",
            element(ITEM, b"", element(SEQUENCE_END, b"", b"")) + element(SEQUENCE_END, b"", b""),
            UNDEFINED,
        ),
        element(0x0007_0001, b"LO", b"AB"),
    ],
)
def test_harmless_oddities_are_stored(tail: bytes) -> None:
    octets = encoded(small(), EXPLICIT) + tail
    for cuts in ((), range(1, len(octets))):
        assert scanned(octets, EXPLICIT, cuts).identity().sop_instance_uid == "1.2.3.4"


def test_empty_data_set_is_refused() -> None:
    for syntax in (IMPLICIT, EXPLICIT):
        with pytest.raises(DatasetRefused, match="empty"):
            scanned(b"", syntax)


def test_number_of_elements_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "ELEMENTS_MAX", 10_000)
    with pytest.raises(DatasetRefused, match="more than 10000 elements"):
        scanned(encoded(small(), EXPLICIT) + element(0x0041_1001, b"LO", b"") * 20_000, EXPLICIT)


def test_uids_must_come_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "DATASET_HEAD_BYTES_MAX", 100_000)
    late = element(0x0009_1001, b"OB", bytes(200_000)) + encoded(small(), EXPLICIT)
    with pytest.raises(DatasetRefused, match="early enough"):
        scanned(late, EXPLICIT, every(50_000, late))


# --- deflated --------------------------------------------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-15)
    return compressor.compress(data) + compressor.flush()


def test_deflate_bomb_is_refused_in_bounded_memory() -> None:
    bomb = deflated(
        encoded(small(), EXPLICIT) + element(0x7FE0_0010, b"OW", b"", 40_000_000) + bytes(40_000_000)
    )
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(DatasetRefused, match="believable"):
            scanned(bomb, DEFLATED, every(16_384, bomb))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_deflated_stream_must_end_and_end_there() -> None:
    stream = deflated(encoded(small(), EXPLICIT))
    scanned(stream + b"\0", DEFLATED)
    scanned(
        stream + b"12345678", DEFLATED, range(1, len(stream) + 8)
    )  # a gzip trailer, as some senders leave it
    for octets in (stream + b"hidden behind it", stream[:-1], b"\xff" + stream, b""):
        with pytest.raises(DatasetRefused):
            scanned(octets, DEFLATED)


# --- memory ----------------------------------------------------------------------------------------------------


def test_memory_does_not_depend_on_the_size() -> None:
    fragment = element(ITEM, b"", b"", 1 << 20)
    data = encoded(small(), EXPLICIT) + element(0x7FE0_0010, b"OB", b"", UNDEFINED)
    block = memoryview(bytes(1 << 20))
    tracemalloc.start()
    try:
        scanner = DatasetScanner(JPEG_2000)
        scanner.feed(data)
        for _ in range(200):
            scanner.feed(fragment)
            scanner.feed(block)
        scanner.feed(element(SEQUENCE_END, b"", b""))
        scanner.finish()
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("defined", [False, True])
def test_long_values_and_sequences_are_not_kept(defined: bool) -> None:
    text = element(0x0040_A160, b"UT", bytes(60_000))
    content = element(ITEM, b"", text + text)
    sequence = (
        element(0x0040_0275, b"SQ", content)
        if defined
        else element(0x0040_0275, b"SQ", content + element(SEQUENCE_END, b"", b""), UNDEFINED)
    )
    short = element(0x0008_1140, b"SQ", element(ITEM, b"", element(0x0008_1150, b"UI", b"1.2\0")))
    data = encoded(small(), EXPLICIT) + sequence + short
    for cuts in ((), every(7001, data), every(13, data)):
        found = by_tag(scanned(data, EXPLICIT, cuts))
        assert 0x0040_0275 not in found
        assert found[0x0008_1140] == short[12:]


def test_every_storable_transfer_syntax_can_be_scanned() -> None:
    for uid, syntax in TRANSFER_SYNTAXES.items():
        if syntax.storable:
            kind = (
                DEFLATED
                if syntax.deflated
                else IMPLICIT
                if syntax.implicit_vr
                else BIG
                if syntax.big_endian
                else EXPLICIT
            )
            assert scanned(encoded(small(), kind), UID(uid)).identity().series_uid == "1.2.3.1"
