"""What stands before a data set is read with tolerance and written with none."""

import io

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import CORPUS, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.part10 import (
    FILE_META_BYTES_MAX,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    file_meta,
    read_file_meta,
)

IDENTITY = ObjectIdentity(
    UID("1.2"), UID("1.2.3"), UID("1.2.3.4"), UID("1.2.840.10008.5.1.4.1.1.2"), UID("1.2.840.10008.1.2.1")
)
DATASET = b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00"


@pytest.mark.parametrize("source", ["", "CT1", "CT12"])
def test_our_file_meta_is_read_by_pydicom(source: str) -> None:
    written = file_meta(IDENTITY, source)
    assert written[:132] == bytes(128) + b"DICM"
    read = pydicom.dcmread(io.BytesIO(written + DATASET))
    meta = read.file_meta
    assert str(meta.MediaStorageSOPClassUID) == IDENTITY.sop_class_uid
    assert str(meta.MediaStorageSOPInstanceUID) == IDENTITY.sop_instance_uid
    assert str(meta.TransferSyntaxUID) == IDENTITY.transfer_syntax_uid
    assert str(meta.ImplementationClassUID) == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(written) - 144
    assert meta.get("SourceApplicationEntityTitle", "") == source
    assert read.SOPClassUID == IDENTITY.sop_class_uid


def test_our_file_meta_is_read_back() -> None:
    written = file_meta(IDENTITY, "CT1")
    meta = read_file_meta(written + DATASET)
    assert meta.dataset_offset == len(written)
    assert meta.transfer_syntax_uid == IDENTITY.transfer_syntax_uid
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (IDENTITY.sop_class_uid, IDENTITY.sop_instance_uid)
    assert not meta.guessed
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
    assert len(IMPLEMENTATION_CLASS_UID) <= 64


def test_file_without_preamble_or_group_length_is_read() -> None:
    written = file_meta(IDENTITY)
    for shorter in (written[128:], written[132:], written[:132] + written[144:]):
        meta = read_file_meta(shorter + DATASET)
        assert meta.transfer_syntax_uid == IDENTITY.transfer_syntax_uid
        assert meta.dataset_offset == len(shorter)


def test_prefix_inside_a_data_set_is_not_a_part_10_file() -> None:
    data = DATASET + b"\x08\x00\x81\x00ST\x60\x00" + b"x" * 86 + b"DICM" + b"y" * 6
    assert data[128:132] == b"DICM"
    meta = read_file_meta(data)
    assert meta.dataset_offset == 0
    assert meta.guessed


@pytest.mark.parametrize(
    ("start", "syntax"),
    [
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "1.2.840.10008.1.2.1"),
        (b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100", "1.2.840.10008.1.2.2"),
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100", "1.2.840.10008.1.2"),
        (b"\x08\x00\x06\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", "1.2.840.10008.1.2"),
    ],
)
def test_encoding_is_told_from_the_first_element(start: bytes, syntax: str) -> None:
    meta = read_file_meta(start)
    assert (meta.transfer_syntax_uid, meta.dataset_offset, meta.guessed) == (syntax, 0, True)


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ\x90\x00" + bytes(200), b"%PDF-1.7 something", bytes(300), b"\x89PNG\r\n\x1a\n" + bytes(20)],
)
def test_what_is_no_dicom_file_is_refused(data: bytes) -> None:
    with pytest.raises(DatasetRefused, match="no DICOM file"):
        read_file_meta(data)


def test_file_meta_that_is_cut_or_wrong_is_refused() -> None:
    written = file_meta(IDENTITY, "CT1")
    for size in (140, 150, 170, 200, 230):  # inside of an element before the transfer syntax
        with pytest.raises(DatasetRefused):
            read_file_meta(written[:size])
    with pytest.raises(DatasetRefused, match="not a UID"):
        read_file_meta(written.replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008/1.2.1") + DATASET)


@given(st.binary(max_size=400), st.booleans())
def test_garbage_is_only_ever_refused(data: bytes, prefixed: bool) -> None:
    octets = (bytes(128) + b"DICM\x02\x00" if prefixed else b"") + data
    try:
        meta = read_file_meta(octets)
    except DatasetRefused:
        return
    assert 0 <= meta.dataset_offset <= len(octets)


@needs_corpus
@pytest.mark.parametrize(
    ("name", "offset", "guessed"),
    [
        ("pydicom__ExplVR_BigEndNoMeta.dcm", 0, True),
        ("pydicom__meta_missing_tsyntax.dcm", 202, True),
        ("dcm4che__no_preamble_dicm_in_data.dcm", 0, True),
        ("pydicom__no_meta_group_length.dcm", 338, False),
        ("pynetdicom__CTImageStorage_bad_meta.dcm", 302, False),
    ],
)
def test_broken_file_meta_is_understood(name: str, offset: int, guessed: bool) -> None:
    meta = read_file_meta((CORPUS / "broken" / name).read_bytes()[:FILE_META_BYTES_MAX])
    assert (meta.dataset_offset, meta.guessed) == (offset, guessed)
