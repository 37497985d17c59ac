"""Pictures are those of other implementations, and no object makes the renderer do anything but refuse."""

import io
import shutil
import struct
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from corpus import CORPUS, corpus_files, needs_corpus
from dicom.pictured import Pictured, first_frame
from leadglass.base.errors import DatasetRefused, UsageError
from leadglass.dicom import values
from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.rendering import description
from leadglass.dicom.rendering.colour import expanded
from leadglass.dicom.rendering.description import LookupTable
from leadglass.dicom.rendering.grey import windowed
from leadglass.dicom.rendering.header import WANTED, read_header
from leadglass.dicom.rendering.models import (
    Annotation,
    ImageType,
    RenderOptions,
    Viewport,
    Window,
    WindowFunction,
)
from leadglass.dicom.rendering.png import png_of
from leadglass.dicom.rendering.service import render
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.values import Dataset, Element

EXPLICIT = values.EXPLICIT_LITTLE_ENDIAN
FOLDERS = ("transfer-syntax", "modality", "series", "structured", "private", "broken")

Said = str | int | None
"""What a test says of an attribute; None leaves it out."""

# The other implementations are wrong, or ask for something else.
JFIF_AND_RGB = "google-adapter__example-mg"
"""Its code stream is JFIF, so its colours are YCbCr, whatever Photometric Interpretation says."""


@pytest.fixture(autouse=True)
def quiet_decoders() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def every_image() -> Iterator[Path]:
    for path in corpus_files(*FOLDERS):
        if path.read_bytes()[128:132] == b"DICM":
            yield path


def opened(path: Path) -> Pictured:
    try:
        picture = first_frame(path)
    except (DatasetRefused, KeyError):
        picture = None
    if picture is None:
        pytest.skip("it has no pixels, or is refused as a data set")
    return picture


def distance(one: NDArray[np.uint8], other: NDArray[Any]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# --- beside other implementations ------------------------------------------------------------------------------


@needs_corpus
@pytest.mark.interop
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmj2pnm (DCMTK) is not installed")
@pytest.mark.parametrize("path", list(every_image()), ids=lambda p: p.stem)
def test_levels_are_those_of_dcmtk(path: Path) -> None:
    picture = opened(path)
    try:
        levels = picture.levels()
    except DatasetRefused as refusal:
        assert str(refusal)  # noqa: PT017 - a reason is what it owes
        return
    choice: tuple[str, ...] = ()
    if levels.ndim == 2:
        said = description.transformation_of(picture.header, 1, signed=False)
        # DCMTK's extremes include the padding, which PS3.3 C.7.5.1.1.2 takes out.
        if said.window is None and said.voi_table is None and said.padding is not None:
            pytest.skip("padding is no value")
        choice = ("+Wl", "1") if said.voi_table else ("+Wi", "1") if said.window else ("+Wm",)
    done = subprocess.run(
        ["dcmj2pnm", "-O", "+op", "+F", "1", *choice, str(path)], capture_output=True, check=False
    )
    if done.returncode or not done.stdout:
        pytest.skip("DCMTK has no decoder for it")
    theirs = np.asarray(Image.open(io.BytesIO(done.stdout)))
    if path.stem == JFIF_AND_RGB:
        theirs = np.asarray(Image.open(io.BytesIO(picture.frame)))
    # Colours go through other constants for YCbCr: two levels at most.
    assert distance(levels, theirs) <= (1 if levels.ndim == 2 else 2)


@needs_corpus
@pytest.mark.parametrize("path", list(every_image()), ids=lambda p: p.stem)
def test_levels_are_those_of_pydicom(path: Path) -> None:
    picture = opened(path)
    dataset = dcmread(path, force=True)
    try:
        levels = picture.levels()
        pixels = pixel_array(dataset, index=0, raw=True)
    except (DatasetRefused, NotImplementedError, RuntimeError, AttributeError, ValueError):
        pytest.skip("one of the two cannot decode it")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        through = apply_color_lut(pixels, dataset)
        eight = through if through.max() <= 255 else through >> 8
        assert distance(levels, eight) <= 1
        return
    windowed_by_object = "WindowCenter" in dataset or "VOILUTSequence" in dataset
    if levels.ndim != 2 or not windowed_by_object or not dataset.get("WindowWidth", 1):
        pytest.skip("colour, or pydicom has no window for it")
    values_of_interest = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset, index=0)
    assert distance(levels, _spread(values_of_interest, dataset)) <= 1


def _spread(shown: NDArray[Any], dataset: FileDataset) -> NDArray[Any]:
    """Bring what pydicom gives, in the range of its outputs, to 256 levels."""
    if "VOILUTSequence" in dataset:
        low, high = 0.0, float((1 << dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
        low = (-(1 << (bits - 1)) if signed else 0) * slope + intercept
        high = ((1 << (bits - 1)) - 1 if signed else (1 << bits) - 1) * slope + intercept
    level = (shown.astype(float) - low) * (255.0 / (high - low))
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        level = 255.0 - level
    return np.clip(np.rint(level), 0, 255)


# --- windows ---------------------------------------------------------------------------------------------------


def test_windows_are_the_tables_of_the_standard() -> None:
    shown = np.array([-1000.0, -160.0, -159.5, 39.5, 40.0, 240.0, 3000.0])
    # PS3.3 C.11.2.1.2.1, note 4: c=2048, w=4096 and 12 bits is the identity.
    whole = windowed(np.arange(4096.0), Window(2048, 4096))
    assert np.allclose(whole, np.arange(4096.0) * 255 / 4095)
    exact = windowed(shown, Window(40, 400, WindowFunction.LINEAR_EXACT))
    assert exact[[0, 1, 4, 5]] == pytest.approx([0, 0, 127.5, 255])
    sigmoid = windowed(shown, Window(40, 400, WindowFunction.SIGMOID))
    assert sigmoid[4] == 127.5
    assert windowed(shown, Window(40, 1)).tolist() == [0, 0, 0, 0, 255, 255, 255]


@given(
    st.floats(-1e5, 1e5),
    st.floats(1, 1e5),
    st.sampled_from(WindowFunction),
)
def test_a_window_never_leaves_its_range_and_never_turns_back(
    center: float, width: float, function: WindowFunction
) -> None:
    levels = windowed(np.linspace(-2e5, 2e5, 1000), Window(center, width, function))
    assert levels.min() >= 0
    assert levels.max() <= 255
    assert (np.diff(levels) >= 0).all()


def test_windows_that_are_none() -> None:
    for center, width, function in (
        (40.0, 0.5, "LINEAR"),
        (40.0, 0.0, "SIGMOID"),
        (float("nan"), 1.0, "LINEAR"),
        (0.0, float("inf"), "LINEAR_EXACT"),
    ):
        with pytest.raises(UsageError):
            Window(center, width, WindowFunction(function))


# --- what single attributes do ---------------------------------------------------------------------------------


def header(**said: Said) -> Dataset:
    start: dict[str, Said] = {
        "Rows": 2,
        "Columns": 2,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    elements = [
        values.text_element(values.tag_of(key), value)
        for key, value in {**start, **said}.items()
        if value is not None
    ]
    return {element.tag: element for element in elements}


def grey(said: Dataset, *numbers: int, code: str = "H", window: Window | None = None) -> list[int]:
    frame = struct.pack(f"<{len(numbers)}{code}", *numbers)
    return [int(level) for level in Pictured(said, frame, EXPLICIT).levels(window).reshape(-1)]


def test_without_a_window_the_extent_is_black_to_white() -> None:
    assert grey(header(), 100, 140, 180, 300) == [0, 51, 102, 255]


def test_monochrome1_is_turned_over_once() -> None:
    assert grey(header(PhotometricInterpretation="MONOCHROME1"), 100, 140, 180, 300) == [255, 204, 153, 0]
    said = header(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert grey(said, 100, 140, 180, 300) == [255, 204, 153, 0]


def test_padding_does_not_count_for_the_extent() -> None:
    said = header(PixelPaddingValue=0) | {0x0028_0121: Element(0x0028_0121, "US", b"\x0a\0")}
    assert grey(said, 0, 10, 100, 300) == [0, 0, 0, 255]
    # Of a mask, one value is all that is left: it is told from the padding.
    assert grey(header(PixelPaddingValue=0), 0, 0, 1, 1) == [0, 0, 255, 255]


def test_signed_values_below_high_bit_with_other_bits_above() -> None:
    # 12 bits, sign at bit 11, an overlay in bits 12 to 15.
    said = header(BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter="0", WindowWidth="4096")
    assert grey(said, 0xF800, 0xF7FF, 0x0FFF, 0x0000) == [0, 255, 127, 128]


def test_high_bit_that_is_not_the_lowest_possible() -> None:
    said = header(BitsStored=12, HighBit=15, WindowCenter="2048", WindowWidth="4096")
    assert grey(said, 0xFFFF, 0x000F, 0x8000, 0x0010) == [255, 0, 128, 0]


def test_the_window_that_is_asked_for_goes_before_that_of_the_object() -> None:
    said = header(WindowCenter="50\\5", WindowWidth="100\\9", RescaleIntercept="-100", RescaleSlope="2")
    assert grey(said, 50, 75, 100, 150) == [0, 129, 255, 255]
    assert grey(said, 50, 75, 100, 150, window=Window(0, 400)) == [128, 160, 192, 255]


def test_32_bits_and_floats() -> None:
    said = header(BitsAllocated=32, BitsStored=32, HighBit=31)
    assert grey(said, 0, 2**31, 2**32 - 1, 2**30, code="I") == [0, 128, 255, 64]
    floating = header(BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None)
    frame = struct.pack("<4f", float("nan"), 0.25, 1.0, 0.5)
    assert Pictured(floating, frame, EXPLICIT).levels().reshape(-1).tolist() == [0, 64, 255, 128]


def test_one_bit() -> None:
    said = header(Rows=2, Columns=4, BitsAllocated=1, BitsStored=1, HighBit=0)
    levels = Pictured(said, b"\x35", EXPLICIT).levels()
    assert (levels // 255).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]


def test_functional_groups_of_the_frame_go_before_shared_ones() -> None:
    def group(center: str) -> Dataset:
        window = header(WindowCenter=center, WindowWidth="2")
        return {0x0028_9132: Element(0x0028_9132, "SQ", b"", (window,))}

    said = header() | {
        0x5200_9229: Element(0x5200_9229, "SQ", b"", (group("10"),)),
        0x5200_9230: Element(0x5200_9230, "SQ", b"", ({}, group("100"))),
    }
    first = description.transformation_of(said, 1, signed=False).window
    second = description.transformation_of(said, 2, signed=False).window
    assert first is not None
    assert second is not None
    assert (first.center, second.center) == (10, 100)


# --- colour ----------------------------------------------------------------------------------------------------


def colour(photometric: str, frame: bytes, **said: Said) -> list[list[int]]:
    changed = header(
        Rows=1,
        Columns=2,
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        **said,
    )
    levels: list[list[list[int]]] = Pictured(changed, frame, EXPLICIT).levels().tolist()
    return levels[0]


def test_planes_and_pixels_are_the_same_picture() -> None:
    by_pixel = colour("RGB", bytes([1, 2, 3, 4, 5, 6]), PlanarConfiguration=0)
    by_plane = colour("RGB", bytes([1, 4, 2, 5, 3, 6]), PlanarConfiguration=1)
    assert by_pixel == by_plane == [[1, 2, 3], [4, 5, 6]]


def test_luminance_and_chrominance() -> None:
    red = (76, 85, 255)
    assert colour("YBR_FULL", bytes([*red, 255, 128, 128])) == [[254, 0, 0], [255, 255, 255]]
    assert colour("YBR_FULL_422", bytes([76, 255, 128, 128])) == [[76, 76, 76], [255, 255, 255]]
    assert colour("YBR_PARTIAL_422", bytes([16, 235, 128, 128])) == [[0, 0, 0], [255, 255, 255]]


def palette(descriptor: tuple[int, int, int], *entries: int, code: str = "H") -> Dataset:
    data = struct.pack(f"<{len(entries)}{code}", *entries)
    return {
        tag: element
        for band in (1, 2, 3)
        for tag, element in (
            (0x0028_1100 + band, Element(0x0028_1100 + band, "US", struct.pack("<3H", *descriptor))),
            (0x0028_1200 + band, Element(0x0028_1200 + band, "OW", data)),
        )
    }


def indexed(lookups: Dataset, *indices: int, **said: Said) -> list[int]:
    base = header(PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7, **said)
    levels = Pictured(base | lookups, bytes(indices), EXPLICIT).levels()
    assert levels.shape == (2, 2, 3)
    return [int(level) for level in levels[:, :, 0].reshape(-1)]


def test_palettes() -> None:
    sixteen = palette((3, 10, 16), 0x1000, 0x2000, 0xFF00)
    assert indexed(sixteen, 0, 11, 12, 255) == [0x10, 0x20, 0xFF, 0xFF]
    eight = palette((3, 0, 8), 1, 2, 3)
    assert indexed(eight, 0, 1, 2, 3) == [1, 2, 3, 3]
    packed = palette((4, 0, 8), 1, 2, 3, 4, code="B")
    assert indexed(packed, 0, 1, 2, 3) == [1, 2, 3, 4]
    # 65536 entries are written as 0.
    assert indexed(palette((0, 0, 16), *range(65_536)), 0, 1, 2, 255) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "lookups",
    [
        {},
        palette((3, 0, 16), 1, 2),
        palette((3, 0, 0), 1, 2, 3),
        palette((3, 0, 17), 1, 2, 3),
        palette((3, 0, 16)),
    ],
)
def test_palettes_that_are_none_are_refused(lookups: Dataset) -> None:
    with pytest.raises(DatasetRefused):
        indexed(lookups, 0, 1, 2, 3)


def segments(entries: int, *words: int) -> list[int]:
    data = struct.pack(f"<{len(words)}H", *words)
    return [int(entry) for entry in expanded(LookupTable(0, entries, 16, data, segmented=True))]


def test_segments_of_a_palette() -> None:
    assert segments(3, 0, 3, 7, 8, 9) == [7, 8, 9]
    assert segments(5, 0, 1, 0, 1, 4, 8) == [0, 2, 4, 6, 8]
    # An indirect one repeats the first: offset 0, one segment.
    assert segments(4, 0, 2, 5, 6, 2, 1, 0, 0) == [5, 6, 5, 6]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (3, (0, 3, 7)),  # cut short
        (3, (0, 1, 7)),  # too few
        (3, (1, 3, 7)),  # a line from nowhere
        (3, (9, 1, 7)),  # no such kind
        (2, (0, 4, 1, 2, 3, 4)),  # too many
        (4, (0, 1, 5, 2, 1, 6, 0)),  # itself
        (4, (0, 1, 5, 2, 60_000, 0, 0)),  # more than there is
        (65_535, (0, 1, 0, 1, 0xFFFF, 9)),  # beyond the bound
    ],
)
def test_segments_that_lie_are_refused(entries: int, words: tuple[int, ...]) -> None:
    with pytest.raises(DatasetRefused):
        segments(entries, *words)


@given(st.binary(max_size=64), st.integers(1, 65_536), st.sampled_from([8, 16]))
def test_any_segments_give_a_palette_or_a_refusal(data: bytes, entries: int, bits: int) -> None:
    try:
        out = expanded(LookupTable(0, entries, bits, data, segmented=True))
    except DatasetRefused:
        return
    assert out.size == entries


# --- size and place --------------------------------------------------------------------------------------------


def gradient(rows: int, columns: int, **said: Said) -> Pictured:
    numbers = np.arange(rows * columns, dtype="<u2")
    return Pictured(header(Rows=rows, Columns=columns, **said), numbers.tobytes(), EXPLICIT)


def made(
    picture: Pictured,
    *,
    viewport: Viewport | None = None,
    fraction: tuple[float, float, float, float] | None = None,
    annotations: tuple[Annotation, ...] = (),
) -> Image.Image:
    asked = RenderOptions(ImageType.PNG, viewport=viewport, fraction=fraction, annotations=annotations)
    return Image.open(io.BytesIO(render(picture.header, picture.frame, 1, picture.syntax, asked)))


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(100, 100), (100, 50)),
        (Viewport(10, 100), (10, 5)),
        (Viewport(300, 60), (120, 60)),
        (Viewport(50, 50, 0, 0, 20, 20), (50, 50)),
        (Viewport(20, 20, 10, 10, -20, -20), (20, 20)),
    ],
)
def test_a_viewport_is_filled_without_distortion(viewport: Viewport, size: tuple[int, int]) -> None:
    assert made(gradient(50, 100), viewport=viewport).size == size


def test_pixels_that_are_no_squares_are_shown_as_what_they_are() -> None:
    tall = gradient(50, 100, PixelSpacing="2\\1")
    assert made(tall).size == (100, 50)
    assert made(tall, viewport=Viewport(100, 100)).size == (100, 100)


def test_a_negative_region_is_turned_over() -> None:
    plain = np.asarray(made(gradient(8, 8), viewport=Viewport(4, 4, 2, 2, 4, 4)))
    mirrored = np.asarray(made(gradient(8, 8), viewport=Viewport(4, 4, 2, 2, -4, -4)))
    assert np.array_equal(plain[::-1, ::-1], mirrored)


def test_a_region_outside_of_the_image_is_refused() -> None:
    with pytest.raises(DatasetRefused, match="outside"):
        made(gradient(8, 8), viewport=Viewport(4, 4, 8, 0))


@pytest.mark.parametrize("numbers", [(0, 5), (5, 0), (20_000, 1), (16_384, 16_384), (5, 5, -1, 0)])
def test_viewports_that_are_none(numbers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        Viewport(*numbers)


def test_a_fraction_is_cut_out() -> None:
    levels = np.asarray(made(gradient(10, 10), fraction=(0.5, 0.0, 1.0, 0.2)))
    assert levels.shape == (2, 5)
    assert np.array_equal(levels, np.asarray(made(gradient(10, 10)))[:2, 5:])


def test_annotations_are_written_and_only_when_asked_for() -> None:
    picture = gradient(256, 256, PatientName="Canary^Anna", PatientID="4711", KVP="120")
    plain = np.asarray(made(picture))
    assert np.array_equal(plain, picture.levels())
    names = np.asarray(made(picture, annotations=(Annotation.PATIENT,)))
    both = np.asarray(made(picture, annotations=(Annotation.PATIENT, Annotation.TECHNIQUE)))
    assert (names != plain).sum() > 100
    assert (both != names).sum() > 20
    # Words stand in the upper left; the rest is the image.
    assert np.array_equal(names[128:], plain[128:])


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**32 - 1))
def test_png_is_what_others_read(rows: int, columns: int, colours: bool, seed: int) -> None:
    shape = (rows, columns, 3) if colours else (rows, columns)
    levels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(png_of(levels)))
    image.load()
    assert np.array_equal(np.asarray(image), levels)


def test_jpeg_is_the_picture_nearly() -> None:
    picture = gradient(64, 64)
    data = render(picture.header, picture.frame, 1, EXPLICIT, RenderOptions(quality=95))
    assert distance(picture.levels(), np.asarray(Image.open(io.BytesIO(data)))) <= 4


# --- hostile ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"Rows": 65_535, "Columns": 65_535},
        {"Rows": 0},
        {"Rows": None},
        {"SamplesPerPixel": 65_535},
        {"SamplesPerPixel": 3},
        {"BitsAllocated": 65_535},
        {"BitsAllocated": 64},
        {"BitsStored": 0},
        {"BitsStored": 17},
        {"HighBit": 3},
        {"HighBit": 16},
        {"PhotometricInterpretation": "CMYK"},
        {"PlanarConfiguration": 7, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
    ],
)
def test_impossible_images_are_refused_before_anything_is_allocated(said: dict[str, Said]) -> None:
    with pytest.raises(DatasetRefused):
        Pictured(header(**said), b"\0" * 8, EXPLICIT).levels()


def test_a_frame_that_is_cut_short_is_refused() -> None:
    with pytest.raises(DatasetRefused, match="shorter"):
        Pictured(header(), b"\0" * 7, EXPLICIT).levels()


# --- headers ---------------------------------------------------------------------------------------------------


@needs_corpus
@pytest.mark.parametrize("path", [*corpus_files("transfer-syntax/misc", "modality")], ids=lambda p: p.stem)
def test_a_header_that_is_skimmed_says_what_a_header_that_is_read_says(path: Path) -> None:
    data = path.read_bytes()
    meta = read_file_meta(data)
    syntax = TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
    whole = values.read_whole_object(
        data[meta.dataset_offset :], explicit=not syntax.implicit_vr, big=syntax.big_endian
    )
    skimmed = read_header(data[meta.dataset_offset :], syntax)
    assert skimmed == {tag: whole[tag] for tag in whole if tag in WANTED}


@given(st.binary(max_size=80), st.sampled_from(["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2"]))
def test_any_octets_are_a_header_or_a_refusal(data: bytes, uid: str) -> None:
    try:
        assert set(read_header(data, TRANSFER_SYNTAXES[uid])) <= WANTED
    except DatasetRefused as refusal:
        assert str(refusal)  # noqa: PT017 - a reason is what it owes


WORDS = st.binary(max_size=12)
ATTRIBUTES = [
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope",
    "RescaleIntercept", "PixelPaddingValue", "PixelSpacing", "NumberOfFrames",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(ATTRIBUTES), WORDS, max_size=4), WORDS)
def test_whatever_the_attributes_say_it_is_a_picture_or_a_refusal(
    changes: dict[str, bytes], frame: bytes
) -> None:
    said = header()
    for keyword, value in changes.items():
        tag = values.tag_of(keyword)
        said[tag] = Element(tag, values.vr_of(tag), value)
    try:
        data = render(said, frame, 1, EXPLICIT, RenderOptions(viewport=Viewport(16, 16)))
    except DatasetRefused:
        return
    assert data.startswith(b"\xff\xd8")


@needs_corpus
def test_overlong_values_in_place_of_tables() -> None:
    picture = first_frame(CORPUS / "transfer-syntax" / "misc" / "pydicom-data__vlut_04.dcm")
    assert picture is not None
    voi = picture.header[0x0028_3010]
    assert voi.items is not None
    cut = {**voi.items[0], 0x0028_3006: Element(0x0028_3006, "OW", b"\0\0")}
    broken = {**picture.header, voi.tag: Element(voi.tag, "SQ", b"", (cut,))}
    with pytest.raises(DatasetRefused, match="fewer entries"):
        Pictured(broken, picture.frame, picture.syntax).levels()
