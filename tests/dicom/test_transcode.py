import io
import logging
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import pixel_array

from corpus import CORPUS, corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID
from leadglass.dicom import transcode_main, values
from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.transcode import can_transcode, code_stream_size, transcode
from leadglass.dicom.values import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Element

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED_12_BIT = "1.2.840.10008.1.2.4.51"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"

CHANGED = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
REFUSED = {
    # Retired processes.
    "cornerstone__CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53": "no decoder",
    "cornerstone__CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55": "no decoder",
    # GDCM does not do JPEG-LS of six or seven bits.
    "pydicom-data__JLSL_08_07_0_1F": "cannot be decoded",
    # Implicit VR under an explicit transfer syntax.
    "pydicom__SC_rgb_jpeg": "unknown value representation",
}


@pytest.fixture(autouse=True)
def quiet_decoders() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def dataset_of(path: Path) -> tuple[bytes, str]:
    data = path.read_bytes()
    meta = read_file_meta(data)
    return data[meta.dataset_offset :], meta.transfer_syntax_uid


def opened(dataset: bytes, syntax: str) -> FileDataset:
    return dcmread(io.BytesIO(b"\0" * 128 + b"DICM" + _meta(syntax) + dataset))


def _meta(syntax: str) -> bytes:
    element = values.write_dataset([values.text_element(0x0002_0010, syntax)])
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element)) + element


FILES = [p for p in corpus_files("transfer-syntax") if p.read_bytes()[128:132] == b"DICM"]

JPEG_EXTENDED = [
    p for p in FILES if read_file_meta(p.read_bytes()).transfer_syntax_uid == JPEG_EXTENDED_12_BIT
]
"""pydicom has no decoder for these."""


@needs_corpus
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_file_is_transcoded_or_refused_with_a_reason(path: Path) -> None:
    dataset, syntax = dataset_of(path)
    reason = REFUSED.get(path.stem)
    if reason is not None:
        with pytest.raises(DatasetRefused, match=reason):
            transcode(dataset, syntax, EXPLICIT_LITTLE_ENDIAN)
        return
    source = dcmread(path)
    explicit = transcode(dataset, syntax, EXPLICIT_LITTLE_ENDIAN)
    implicit = transcode(dataset, syntax, IMPLICIT_LITTLE_ENDIAN)
    assert transcode(implicit, IMPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN) == implicit
    target = opened(explicit, EXPLICIT_LITTLE_ENDIAN)
    _same_attributes(source, target)
    if "PixelData" in source and source.get("Rows") and path not in JPEG_EXTENDED:
        for data, target_syntax in ((explicit, EXPLICIT_LITTLE_ENDIAN), (implicit, IMPLICIT_LITTLE_ENDIAN)):
            assert np.array_equal(pixel_array(source), pixel_array(opened(data, target_syntax)))
    _is_storable(explicit, EXPLICIT_LITTLE_ENDIAN)
    _is_storable(implicit, IMPLICIT_LITTLE_ENDIAN)


@needs_corpus
@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmdjpeg (DCMTK) is not installed")
@pytest.mark.parametrize("path", JPEG_EXTENDED, ids=lambda p: p.stem)
def test_twelve_bit_jpeg_is_what_dcmtk_makes_of_it(path: Path, tmp_path: Path) -> None:
    subprocess.run(["dcmdjpeg", str(path), str(tmp_path / "out.dcm")], check=True, capture_output=True)
    target = opened(transcode(*dataset_of(path), EXPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)
    assert target.PixelData == dcmread(tmp_path / "out.dcm").PixelData


def _same_attributes(source: FileDataset, target: FileDataset) -> None:
    assert {e.tag for e in source if e.tag.element} == {e.tag for e in target}
    for element in source:
        # Private elements of unknown representation keep their octets; pydicom's private dictionary has its own view.
        if element.tag.element == 0 or element.tag.is_private or element.keyword in CHANGED:
            continue
        assert target[element.tag].value == element.value, element.keyword


def _is_storable(dataset: bytes, syntax: str) -> None:
    scanner = DatasetScanner(UID(syntax))
    scanner.feed(dataset)
    scanner.finish()


PLUGINS = [
    ("transfer-syntax/nema-wg04/nema-wg04__CT1_J2KR.dcm", "gdcm"),
    ("transfer-syntax/nema-wg04/nema-wg04__VL3_J2KR.dcm", "gdcm"),
    ("transfer-syntax/pydicom-small/pydicom__MR_small_jp2klossless.dcm", "gdcm"),
]


@needs_corpus
@pytest.mark.parametrize(("name", "plugin"), PLUGINS)
def test_pixels_are_those_of_another_decoder(name: str, plugin: str) -> None:
    dataset, syntax = dataset_of(CORPUS / name)
    target = opened(transcode(dataset, syntax, EXPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)
    assert np.array_equal(
        pixel_array(target), pixel_array(dcmread(CORPUS / name), decoding_plugin=plugin, raw=True)
    )


@needs_corpus
@pytest.mark.parametrize(
    "stem",
    ["JPEGLSLosslessTransferSyntax", "JPEG2000LosslessOnlyTransferSyntax", "RLELossless", "JPEGProcess14SV1"],
)
def test_one_slice_is_the_same_whatever_lossless_syntax_it_was_in(stem: str) -> None:
    folder = CORPUS / "transfer-syntax" / "ct-one-slice-14-syntaxes"
    (compressed,) = folder.glob(f"*{stem}*")
    (plain,) = folder.glob("*LittleEndianImplicit*")
    pixels = [
        values.read_whole_object(
            transcode(*dataset_of(path), EXPLICIT_LITTLE_ENDIAN), explicit=True, big=False
        )[0x7FE0_0010].value
        for path in (compressed, plain)
    ]
    assert pixels[0] == pixels[1]


@needs_corpus
def test_big_endian_pixels_of_32_bits() -> None:
    folder = CORPUS / "transfer-syntax" / "misc"
    dataset, syntax = dataset_of(folder / "pydicom-data__SC_rgb_expb_32bit_2frame.dcm")
    assert syntax == values.EXPLICIT_BIG_ENDIAN
    target = opened(transcode(dataset, syntax, EXPLICIT_LITTLE_ENDIAN), EXPLICIT_LITTLE_ENDIAN)
    assert pixel_array(target)[0, 5, 5].tolist() == [2**32 - 1, 0, 0]


# --- hostile ---------------------------------------------------------------------------------------------------


def image(syntax: str, stream: bytes, **changes: int) -> bytes:
    said = {"Rows": 4, "Columns": 4, "SamplesPerPixel": 1, "BitsAllocated": 8, "BitsStored": 8, **changes}
    said.setdefault("PixelRepresentation", 0)
    elements = [values.text_element(values.tag_of(keyword), number) for keyword, number in said.items()]
    elements.append(values.text_element(0x0028_0004, "MONOCHROME2"))
    fragments = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(stream)) + stream
    assert can_transcode(syntax, EXPLICIT_LITTLE_ENDIAN)
    return (
        values.write_dataset(elements)
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFF_FFFF)
        + fragments
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )


def test_frame_bombs_are_refused_before_anything_is_decoded() -> None:
    bomb = image(JPEG_BASELINE, b"\xff\xd8\xff\xd9", Rows=65_535, Columns=65_535, NumberOfFrames=10**6)
    with pytest.raises(DatasetRefused, match="larger than"):
        transcode(bomb, JPEG_BASELINE, EXPLICIT_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (JPEG_BASELINE, b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xd9"),
        (
            JPEG_2000_LOSSLESS,
            b"\xff\x4f\xff\x51\0\x29\0\0"
            + struct.pack(">8I", 2**31, 2**31, 0, 0, 4, 4, 0, 0)
            + b"\0\x01\x07\x01\x01",
        ),
    ],
)
def test_a_code_stream_larger_than_its_attributes_is_refused(syntax: str, stream: bytes) -> None:
    stream += b"\0" * (len(stream) & 1)
    with pytest.raises(DatasetRefused, match="other rows and columns"):
        transcode(image(syntax, stream), syntax, EXPLICIT_LITTLE_ENDIAN)


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_2000_LOSSLESS, RLE, "1.2.840.10008.1.2.4.80"])
@pytest.mark.parametrize(
    "stream", [b"", b"\0\0", b"\xff\xd8", b"\xff" * 100, b"\xff\x4f\xff\x51" + b"\0" * 60]
)
def test_garbage_instead_of_a_code_stream_is_refused(syntax: str, stream: bytes) -> None:
    with pytest.raises(DatasetRefused):
        transcode(image(syntax, stream), syntax, EXPLICIT_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    "changes", [{"Rows": 0}, {"SamplesPerPixel": 9}, {"BitsAllocated": 12}, {"NumberOfFrames": 2}]
)
def test_impossible_images_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(DatasetRefused):
        transcode(image(RLE, b"\0" * 64, **changes), RLE, EXPLICIT_LITTLE_ENDIAN)


@needs_corpus
@pytest.mark.parametrize("path", list(corpus_files("broken")), ids=lambda p: p.stem)
def test_broken_files_crash_nothing(path: Path) -> None:
    try:
        dataset, syntax = dataset_of(path)
        transcode(dataset, syntax, EXPLICIT_LITTLE_ENDIAN)
    except DatasetRefused as refusal:
        assert str(refusal)  # noqa: PT017 - either outcome is right


def test_code_stream_sizes() -> None:
    assert code_stream_size(
        b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\x01\x11", JPEG_BASELINE
    ) == (2, 3)
    assert code_stream_size(b"anything", RLE) is None


def test_what_can_be_transcoded() -> None:
    assert can_transcode(values.DEFLATED_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
    assert can_transcode("1.2.840.10008.1.2.4.201", EXPLICIT_LITTLE_ENDIAN)
    assert not can_transcode("1.2.840.10008.1.2.4.100", EXPLICIT_LITTLE_ENDIAN)  # MPEG-2
    assert not can_transcode(EXPLICIT_LITTLE_ENDIAN, JPEG_BASELINE)
    assert not can_transcode("1.2.3.4", EXPLICIT_LITTLE_ENDIAN)


# --- what the encoding asks for --------------------------------------------------------------------------------


def test_us_or_ss_follows_pixel_representation() -> None:
    elements = [
        values.text_element(0x0028_0103, 1),
        Element(0x0028_0106, "US", b"\xff\xff"),  # Smallest Image Pixel Value: -1
        Element(0x0028_0000, "UL", b"\0\0\0\0"),
    ]
    data = values.write_dataset(elements, IMPLICIT_LITTLE_ENDIAN)
    read = values.read_dataset(transcode(data, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN))
    assert read[0x0028_0106].vr == "SS"
    assert 0x0028_0000 not in read


def test_texts_are_not_touched_whatever_they_are_in() -> None:
    odd = Element(0x0010_0010, "PN", b"\xff\xfe\x1b$ ")
    data = values.write_dataset([odd, Element(0x0009_1001, "UN", b"\x01\x02")])
    for syntax in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN):
        assert transcode(transcode(data, EXPLICIT_LITTLE_ENDIAN, syntax), syntax, EXPLICIT_LITTLE_ENDIAN) == (
            values.write_dataset(
                [Element(0x0010_0010, "PN", odd.value + b" "), Element(0x0009_1001, "UN", b"\x01\x02")]
            )
        )


# --- the process -----------------------------------------------------------------------------------------------


def test_the_process_answers_one_request_after_the_other() -> None:
    good = values.write_dataset([values.text_element(0x0010_0020, "P1")])
    bad = image(JPEG_BASELINE, b"\xff\xd8\xff\xd9", Rows=65_535, Columns=65_535, NumberOfFrames=10**6)
    requests = [
        (good, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN),
        (bad, JPEG_BASELINE, IMPLICIT_LITTLE_ENDIAN),
        (good, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN),
    ]
    source = b"".join(
        transcode_main.request_head(transcode_main.Transcode(from_syntax, to_syntax), 0, len(data)) + data
        for data, from_syntax, to_syntax in requests
    )
    done = subprocess.run(
        [sys.executable, "-m", "leadglass.dicom.transcode_main"],
        input=source,
        capture_output=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    answers = []
    rest = done.stdout
    while rest:
        status, size = rest[0], int.from_bytes(rest[1:9], "big")
        answers.append((status, rest[9 : 9 + size]))
        rest = rest[9 + size :]
    assert answers[0] == (transcode_main.DONE, transcode(*requests[0]))
    assert answers[1][0] == transcode_main.REFUSED
    assert b"larger than" in answers[1][1]
    assert answers[2] == (transcode_main.DONE, good)
    assert done.stderr == b""
