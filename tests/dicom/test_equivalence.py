"""The same attributes in another encoding are the same object; anything else is not."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.dicom.equivalence import same_content
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from leadglass.dicom.transcode import transcode

RLE = "1.2.840.10008.1.2.5"


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + struct.pack("<H", len(value)) + value


UID = _element(0x0008_0018, b"UI", b"1.2.3\0")
NAME = _element(0x0010_0010, b"PN", b"DOE^JANE")


@needs_corpus
@pytest.mark.parametrize(
    "path", list(corpus_files("modality", "structured", "private")), ids=lambda p: p.name
)
def test_a_re_encoded_object_is_the_same(path: Path) -> None:
    content = path.read_bytes()
    try:
        meta = read_file_meta(content[:FILE_META_BYTES_MAX])
    except DatasetRefused:
        pytest.skip("no DICOM file")
    syntax = meta.transfer_syntax_uid
    dataset = content[meta.dataset_offset :]
    if TRANSFER_SYNTAXES[syntax].deflated:
        assert not same_content(dataset, syntax, dataset, syntax)
        return
    assert same_content(dataset, syntax, dataset, syntax)
    if not TRANSFER_SYNTAXES[syntax].encapsulated:
        assert same_content(
            dataset, syntax, transcode(dataset, syntax, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN
        )


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (UID + NAME, True),
        (_element(0x0008_0000, b"UL", struct.pack("<I", 14)) + UID + NAME, True),
        (UID + NAME + _element(0xFFFC_FFFC, b"LO", b"fill"), True),
        (UID + _element(0x0010_0010, b"PN", b"DOE^JANE "), True),
        (UID + _element(0x0010_0010, b"PN", b"DOE^JOHN"), False),
        (UID, False),
        (UID + NAME + _element(0x0010_0020, b"LO", b"42"), False),
        (UID + NAME[:-1], False),
        (b"", False),
    ],
)
def test_what_carries_content_counts_and_nothing_else(other: bytes, *, same: bool) -> None:
    explicit = EXPLICIT_VR_LITTLE_ENDIAN
    assert same_content(UID + NAME, explicit, other, explicit) is same
    assert same_content(other, explicit, UID + NAME, explicit) is same


def test_big_endian_numbers_are_compared_as_numbers() -> None:
    little = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 512)
    big = struct.pack(">HH2sHH", 0x0028, 0x0010, b"US", 2, 512)
    assert same_content(little, EXPLICIT_VR_LITTLE_ENDIAN, big, EXPLICIT_VR_BIG_ENDIAN)


def test_compressed_and_uncompressed_are_never_the_same() -> None:
    assert not same_content(UID + NAME, EXPLICIT_VR_LITTLE_ENDIAN, UID + NAME, RLE)
    assert same_content(UID + NAME, RLE, UID + NAME, RLE)


@given(
    st.binary(max_size=64), st.sampled_from([EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, "1.2.3"])
)
def test_garbage_is_no_error(garbage: bytes, syntax: str) -> None:
    assert not same_content(garbage, syntax, UID + NAME, EXPLICIT_VR_LITTLE_ENDIAN)
