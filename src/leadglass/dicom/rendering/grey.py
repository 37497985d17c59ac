"""From stored values to grey levels: modality, values of interest, presentation, in this order.

All of it is a function of one value. For up to 16 bits it is worked out once for every possible value and looked up; for
larger ones it is worked out for every pixel.

Source: PS3.3 C.11.1 (modality), C.11.2 (values of interest), C.11.6 (presentation), C.7.5.1.1.2 (padding).
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leadglass.base.errors import DatasetRefused
from leadglass.dicom.rendering.description import LookupTable, Pixels, Transformation
from leadglass.dicom.rendering.models import Window, WindowFunction
from leadglass.dicom.rendering.samples import Cells, floats_of, inputs_of, numbers_of

Numbers = NDArray[np.float64]
Grey = NDArray[np.uint8]

_TABLE_BITS_MAX: Final = 16
_WHITE: Final = 255.0


def grey_of(cells: Cells, pixels: Pixels, transformation: Transformation) -> Grey:
    """Return a frame in 256 grey levels, 0 black.

    Args:
        cells: of ``samples.cells_of``.
        pixels: how they were made.
        transformation: what the object says, with the window that was asked for in place of its own.

    Raises:
        DatasetRefused: a table is malformed.
    """
    if pixels.bits_stored > _TABLE_BITS_MAX:
        numbers = numbers_of(cells, pixels)
        return _levels(numbers, numbers, transformation)
    if transformation.window is not None or transformation.voi_table is not None:
        return _table_of(pixels.bits_stored, pixels.signed, transformation).take(cells)
    # Only where no window is given does it matter which values there are.
    inputs = inputs_of(pixels.bits_stored, signed=pixels.signed)
    used = np.bincount(cells.reshape(-1), minlength=inputs.size)
    return _levels(inputs, inputs[used > 0], transformation).take(cells)


@lru_cache(maxsize=16)
def _table_of(bits: int, signed: bool, transformation: Transformation) -> Grey:
    """Return the level of every possible value: slices of a series mostly share it."""
    inputs = inputs_of(bits, signed=signed)
    return _levels(inputs, inputs, transformation)


def grey_of_floats(frame: bytes | memoryview, pixels: Pixels, transformation: Transformation) -> Grey:
    """Return a frame of floating point samples in 256 grey levels.

    Raises:
        DatasetRefused: the frame is cut short.
    """
    numbers = floats_of(frame, pixels)
    return _levels(numbers, numbers, transformation)


def _levels(stored: Numbers, occurring: Numbers, transformation: Transformation) -> Grey:
    """Return the level of each stored value; without a window, ``occurring`` spread from black to white."""
    shown = modality_values(stored, transformation)
    if transformation.window is not None:
        level = windowed(shown, transformation.window)
    elif transformation.voi_table is not None:
        table = entries_of(transformation.voi_table)
        white = _largest(transformation.voi_table, table)
        level = _looked_up(shown, table, transformation.voi_table.first) * (_WHITE / white)
    else:
        level = _spread(shown, modality_values(_without_padding(occurring, transformation), transformation))
    if transformation.inverse:
        level = _WHITE - level
    # Half a level up, so that the cut to whole numbers rounds.
    return (level + 0.5).astype(np.uint8)


def modality_values(stored: Numbers, transformation: Transformation) -> Numbers:
    """Return what the stored values mean in units of the modality."""
    if transformation.modality_table is not None:
        table = entries_of(transformation.modality_table)
        return _looked_up(stored, table, transformation.modality_table.first)
    if transformation.slope == 1.0 and transformation.intercept == 0.0:
        return stored
    return stored * transformation.slope + transformation.intercept


def windowed(shown: Numbers, window: Window) -> Numbers:
    """Return levels 0.0 to 255.0. Source: PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2."""
    center, width = window.center, window.width
    if window.function is WindowFunction.SIGMOID:
        # Beyond 700 the exponential has no number; the level is black long before.
        exponent = np.clip(-4.0 * (shown - center) / width, -700.0, 700.0)
        level: Numbers = _WHITE / (1.0 + np.exp(exponent))
        return level
    if window.function is WindowFunction.LINEAR_EXACT:
        level = ((shown - center) / width + 0.5) * _WHITE
    elif width == 1:
        level = np.where(shown > center - 0.5, _WHITE, 0.0)
    else:
        level = ((shown - (center - 0.5)) / (width - 1) + 0.5) * _WHITE
    return np.clip(level, 0.0, _WHITE)


def entries_of(table: LookupTable) -> NDArray[np.unsignedinteger[Any]]:
    """Return the entries of a table that is not segmented.

    Entries of up to eight bits stand in words of sixteen or, two in one word, in octets: their number tells.

    Raises:
        DatasetRefused: there are fewer than its descriptor says.

    Source: PS3.3 C.11.1.1.1; PS3.5 8.1.1.
    """
    data = table.data
    if len(data) >= 2 * table.entries:
        return np.frombuffer(data, "<u2", count=table.entries)
    if table.bits <= 8 and len(data) >= table.entries:
        return np.frombuffer(data, np.uint8, count=table.entries)
    raise DatasetRefused("a lookup table has fewer entries than its descriptor says")


def _looked_up(numbers: Numbers, table: NDArray[np.unsignedinteger[Any]], first: int) -> Numbers:
    # Below the first input its entry counts, above the last that one's.
    index = np.clip(np.rint(numbers) - first, 0, table.size - 1).astype(np.intp)
    found: Numbers = table[index].astype(np.float64)
    return found


def _largest(table: LookupTable, entries: NDArray[np.unsignedinteger[Any]]) -> float:
    # White is what the bits of the descriptor can say; descriptors that say too few occur.
    return float(max((1 << table.bits) - 1, int(entries.max())))


def _without_padding(occurring: Numbers, transformation: Transformation) -> Numbers:
    if transformation.padding is None:
        return occurring
    low, high = transformation.padding
    rest = occurring[(occurring < low) | (occurring > high)]
    # Where one value is all the rest, as in a mask, the contrast is against the padding.
    return rest if rest.size and rest.min() < rest.max() else occurring


def _spread(shown: Numbers, occurring: Numbers) -> Numbers:
    low, high = float(occurring.min()), float(occurring.max())
    if high <= low:
        return np.where(shown > low, _WHITE, 0.0)
    return np.clip((shown - low) * (_WHITE / (high - low)), 0.0, _WHITE)
