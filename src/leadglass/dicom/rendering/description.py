"""What a data set says about its pixels, read once and checked before anything is allocated.

Values that an enhanced object keeps in its functional groups are looked up there, the frame's own before the shared
ones.

Source: PS3.3 C.7.6.3 (Image Pixel), C.7.6.16 (functional groups), C.11.1, C.11.2, C.7.9 (palettes).
"""

import math
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import FRAME_BYTES_MAX
from leadglass.dicom import values
from leadglass.dicom.rendering.models import Window, WindowFunction
from leadglass.dicom.values import Dataset, Element

FLOAT_PIXEL_DATA: Final = 0x7FE0_0008
DOUBLE_PIXEL_DATA: Final = 0x7FE0_0009

_SHARED_GROUPS: Final = 0x5200_9229
_FRAME_GROUPS: Final = 0x5200_9230
_PIXEL_VALUE_TRANSFORMATION: Final = 0x0028_9145
_FRAME_VOI_LUT: Final = 0x0028_9132
_PIXEL_MEASURES: Final = 0x0028_9110
_MODALITY_LUT: Final = 0x0028_3000
_VOI_LUT: Final = 0x0028_3010
_LUT_DESCRIPTOR: Final = 0x0028_3002
_LUT_DATA: Final = 0x0028_3006
_PALETTE_DESCRIPTORS: Final = (0x0028_1101, 0x0028_1102, 0x0028_1103)
_PALETTES: Final = (0x0028_1201, 0x0028_1202, 0x0028_1203)
_SEGMENTED_PALETTES: Final = (0x0028_1221, 0x0028_1222, 0x0028_1223)

LOOKED_UP: Final = frozenset({*_PALETTES, *_SEGMENTED_PALETTES})
"""Top-level bulk values that a renderer needs beside the frame."""

_KNOWN_PHOTOMETRIC: Final = frozenset(
    {
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422",
        "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pixels:
    """How one frame's samples lie in its octets, and what they mean.

    Attributes:
        floating: samples are floating point numbers of ``bits_allocated`` bits (PS3.3 C.7.6.24, C.7.6.25).
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int
    photometric: str
    floating: bool = False

    @property
    def bits(self) -> int:
        """Octets would be a fraction for one bit a sample: bits of a frame as it is stored."""
        if self.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"}:
            return self.rows * self.columns * 2 * self.bits_allocated
        if self.photometric == "YBR_PARTIAL_420":
            return self.rows * self.columns * 3 * self.bits_allocated // 2
        return self.rows * self.columns * self.samples * self.bits_allocated


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A LUT as it stands in a data set. Source: PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5.

    Attributes:
        first: input that gives the first entry.
        entries: how many there are (0 in the descriptor means 65536).
        bits: of each entry, as the descriptor says.
        data: octets of the entries, little endian; of a segmented palette the segments.
        segmented: ``data`` are segments (PS3.3 C.7.9.2).
    """

    first: int
    entries: int
    bits: int
    data: bytes
    segmented: bool = False


@dataclass(frozen=True, slots=True)
class Transformation:
    """Everything between stored values and grey levels.

    Attributes:
        slope: of the rescale; 1 where a table does it.
        intercept: of the rescale.
        modality_table: instead of the rescale.
        voi_table: values of interest by table.
        window: values of interest by window: the first that is given; None for the extent of the values.
        inverse: the lowest value is white.
        padding: stored values (from, to) that say nothing about the patient.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    voi_table: LookupTable | None = None
    window: Window | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None


def pixels_of(dataset: Dataset, *, floating: bool = False) -> Pixels:
    """Return how the frames of a data set are made.

    Raises:
        DatasetRefused: it has no pixels that can be shown, says impossible things about them, or a frame would be larger
            than ``FRAME_BYTES_MAX``.
    """
    bits_allocated = integer(dataset, "BitsAllocated")
    samples = integer(dataset, "SamplesPerPixel", 1)
    photometric = text(dataset, "PhotometricInterpretation") or ("RGB" if samples == 3 else "MONOCHROME2")
    bits_stored = bits_allocated if floating else integer(dataset, "BitsStored", bits_allocated)
    pixels = Pixels(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples=samples,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if floating else integer(dataset, "HighBit", bits_stored - 1),
        signed=not floating and integer(dataset, "PixelRepresentation", 0) == 1,
        planar=integer(dataset, "PlanarConfiguration", 0),
        photometric=photometric,
        floating=floating,
    )
    _check(pixels)
    return pixels


def _check(pixels: Pixels) -> None:
    # The product is taken over numbers of any size, so it cannot wrap around; nothing has been allocated yet.
    if not 0 < pixels.bits <= 8 * FRAME_BYTES_MAX or pixels.rows < 1 or pixels.columns < 1:
        raise DatasetRefused(f"a frame of it would be empty or larger than {FRAME_BYTES_MAX} octets")
    if pixels.photometric not in _KNOWN_PHOTOMETRIC:
        raise DatasetRefused("pixels of a photometric interpretation that is not shown")
    colour = not pixels.photometric.startswith(("MONOCHROME", "PALETTE"))
    if pixels.samples != (3 if colour else 1):
        raise DatasetRefused("samples per pixel and photometric interpretation contradict each other")
    allowed = {32, 64} if pixels.floating else {8, 16, 32} if colour else {1, 8, 16, 32}
    if pixels.bits_allocated not in allowed:
        raise DatasetRefused("pixels of an unusual number of bits")
    if not 1 <= pixels.bits_stored <= pixels.bits_allocated:
        raise DatasetRefused("Bits Stored and Bits Allocated contradict each other")
    if not pixels.bits_stored - 1 <= pixels.high_bit < pixels.bits_allocated:
        raise DatasetRefused("High Bit and Bits Stored contradict each other")
    if pixels.planar not in {0, 1}:
        raise DatasetRefused("a planar configuration that does not exist")


def transformation_of(dataset: Dataset, frame: int, *, signed: bool) -> Transformation:
    """Return what happens to the grey values of a frame (from 1), as the object says.

    Raises:
        DatasetRefused: a table of it is malformed.
    """
    rescale = _functional(dataset, frame, _PIXEL_VALUE_TRANSFORMATION) or dataset
    voi = _functional(dataset, frame, _FRAME_VOI_LUT) or dataset
    tables = items(dataset, _MODALITY_LUT)
    voi_tables = items(dataset, _VOI_LUT)
    slope = decimal(rescale, "RescaleSlope", 1.0)
    intercept = decimal(rescale, "RescaleIntercept", 0.0)
    # What comes to the second table may be negative although the stored values are not; the output of a first one is not.
    # Whether a descriptor was written as US or SS is lost in implicit VR, so it is not asked.
    negative = signed or intercept < 0
    return Transformation(
        slope=slope or 1.0,
        intercept=intercept,
        modality_table=_table(tables[0], signed=signed) if tables else None,
        voi_table=_table(voi_tables[0], signed=negative and not tables) if voi_tables else None,
        window=_window(voi),
        inverse=text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or text(dataset, "PresentationLUTShape") == "INVERSE",
        padding=_padding(dataset, signed=signed),
    )


def palettes_of(dataset: Dataset, *, signed: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """Return the red, green and blue palette.

    Raises:
        DatasetRefused: one is missing or malformed.
    """
    found: list[LookupTable] = []
    for descriptor, plain, segmented in zip(
        _PALETTE_DESCRIPTORS, _PALETTES, _SEGMENTED_PALETTES, strict=True
    ):
        data = dataset.get(plain)
        is_segmented = data is None or not data.value
        data = dataset.get(segmented) if is_segmented else data
        if data is None or not data.value:
            raise DatasetRefused("a colour palette is missing")
        first, entries, bits = _descriptor(dataset.get(descriptor), signed=signed)
        found.append(LookupTable(first, entries, bits, data.value, is_segmented))
    red, green, blue = found
    return red, green, blue


def aspect_of(dataset: Dataset, frame: int) -> float:
    """Return height by width of one pixel; 1.0 where nothing is said, or nonsense.

    Source: PS3.3 C.7.6.3.1.7, 10.7.1.
    """
    measures = _functional(dataset, frame, _PIXEL_MEASURES) or dataset
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        numbers = [_finite(value) for value in texts(measures, keyword)]
        if len(numbers) >= 2 and numbers[0] > 0 and numbers[1] > 0:
            ratio = numbers[0] / numbers[1]
            return ratio if 0.01 <= ratio <= 100 else 1.0
    return 1.0


# --- single values ---------------------------------------------------------------------------------------------


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return an attribute's values as texts; nothing where it is absent."""
    element = dataset.get(values.tag_of(keyword))
    if element is None:
        return ()
    if element.vr == "UN":
        element = Element(element.tag, values.vr_of(element.tag), element.value)
    return values.texts_of(element, values.character_set_of(dataset))


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first of them, or nothing."""
    found = texts(dataset, keyword)
    return found[0] if found else ""


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an attribute that is a number from 0.

    Raises:
        DatasetRefused: it is absent and has no default, or is no such number.
    """
    found = text(dataset, keyword)
    if not found and default is not None:
        return default
    if not found.isdecimal() or len(found) > 10:
        raise DatasetRefused(f"{keyword} is missing or no number, so its pixels cannot be shown")
    return int(found)


def decimal(dataset: Dataset, keyword: str, default: float) -> float:
    """Return an attribute that is a decimal number; the default where it is absent or none."""
    number = _finite(text(dataset, keyword))
    return default if math.isnan(number) else number


def items(dataset: Dataset, tag: int) -> tuple[Dataset, ...]:
    """Return the items of a sequence; none where it is absent."""
    element = dataset.get(tag)
    return element.items or () if element is not None else ()


def _finite(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _functional(dataset: Dataset, frame: int, macro: int) -> Dataset | None:
    """Return a functional group macro's item for a frame: its own, else the shared one."""
    per_frame = items(dataset, _FRAME_GROUPS)
    groups = [*per_frame[frame - 1 : frame], *items(dataset, _SHARED_GROUPS)[:1]]
    for group in groups:
        found = items(group, macro)
        if found:
            return found[0]
    return None


def _window(dataset: Dataset) -> Window | None:
    centers, widths = texts(dataset, "WindowCenter"), texts(dataset, "WindowWidth")
    if not centers or not widths:
        return None
    function = text(dataset, "VOILUTFunction")
    if function not in WindowFunction.__members__:
        function = WindowFunction.LINEAR
    center, width = _finite(centers[0]), _finite(widths[0])
    if math.isnan(center) or math.isnan(width):
        return None
    chosen = WindowFunction(function)
    # Widths below 1 occur where values are fractions (PET, ADC, maps); LINEAR has none there.
    if chosen is WindowFunction.LINEAR and 0 < width < 1:
        chosen = WindowFunction.LINEAR_EXACT
    if width <= 0 or abs(center) >= 1e12 or width >= 1e12:
        return None
    return Window(center, width, chosen)


def _padding(dataset: Dataset, *, signed: bool) -> tuple[int, int] | None:
    found = [
        _word(dataset[tag], signed=signed)
        for tag in (0x0028_0120, 0x0028_0121)
        if tag in dataset and len(dataset[tag].value) >= 2
    ]
    if not found or 0x0028_0120 not in dataset:
        return None
    return min(found), max(found)


def _word(element: Element, *, signed: bool) -> int:
    # By sign of the pixels, whatever representation it was written in: "US or SS".
    return int.from_bytes(element.value[:2], "little", signed=signed)


def _descriptor(element: Element | None, *, signed: bool) -> tuple[int, int, int]:
    if element is None or len(element.value) < 6:
        raise DatasetRefused("a lookup table without descriptor")
    value = element.value
    entries = int.from_bytes(value[:2], "little") or 65_536
    first = int.from_bytes(value[2:4], "little", signed=signed)
    bits = int.from_bytes(value[4:6], "little")
    if not 1 <= bits <= 16:
        raise DatasetRefused("a lookup table with entries of an impossible number of bits")
    return first, entries, bits


def _table(item: Dataset, *, signed: bool) -> LookupTable:
    first, entries, bits = _descriptor(item.get(_LUT_DESCRIPTOR), signed=signed)
    data = item.get(_LUT_DATA)
    if data is None or not data.value:
        raise DatasetRefused("a lookup table without entries")
    return LookupTable(first, entries, bits, data.value)
