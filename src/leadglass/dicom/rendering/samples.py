"""From the octets of a native frame, numbers little endian, to an array of samples.

Source: PS3.5 8.1.1 (order of cells), 8.2; PS3.3 C.7.6.3.1.1 to .3.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadglass.base.errors import DatasetRefused
from leadglass.dicom.rendering.description import Pixels

Cells = NDArray[np.unsignedinteger[Any]]


def cells_of(frame: bytes | memoryview, pixels: Pixels) -> Cells:
    """Return a grey or palette frame, rows by columns: what Bits Stored and High Bit cut out of each cell, unsigned.

    Two's complement is left to whoever knows the range: a table over all values is smaller than an image.

    Raises:
        DatasetRefused: the frame has fewer octets than its attributes say.
    """
    shape = (pixels.rows, pixels.columns)
    if pixels.bits_allocated == 1:
        need(frame, (pixels.bits + 7) // 8)
        # Source: PS3.5 8.1.1: the first pixel is the least significant bit.
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), count=pixels.bits, bitorder="little")
        return bits.reshape(shape)
    need(frame, pixels.bits // 8)
    count = pixels.rows * pixels.columns
    cells: Cells = np.frombuffer(frame, f"<u{pixels.bits_allocated // 8}", count=count).reshape(shape)
    shift = pixels.high_bit + 1 - pixels.bits_stored
    if shift:
        cells = cells >> np.uint8(shift)
    if pixels.bits_stored < pixels.bits_allocated:
        cells = cells & cells.dtype.type((1 << pixels.bits_stored) - 1)
    return cells


def numbers_of(cells: Cells, pixels: Pixels) -> NDArray[np.float64]:
    """Return the numbers that cells stand for."""
    numbers = cells.astype(np.float64)
    if pixels.signed:
        numbers[cells >> np.uint8(pixels.bits_stored - 1) != 0] -= 2.0**pixels.bits_stored
    return numbers


@lru_cache(maxsize=8)
def inputs_of(bits: int, *, signed: bool) -> NDArray[np.float64]:
    """Return the number that each pattern of so many bits stands for. Not to be changed."""
    numbers = np.arange(1 << bits, dtype=np.float64)
    if signed:
        numbers[1 << (bits - 1) :] -= 2.0**bits
    return numbers


def floats_of(frame: bytes | memoryview, pixels: Pixels) -> NDArray[np.float64]:
    """Return a frame of floating point samples; what is no number is 0.

    Raises:
        DatasetRefused: the frame has fewer octets than its attributes say.
    """
    need(frame, pixels.bits // 8)
    count = pixels.rows * pixels.columns
    numbers = np.frombuffer(frame, f"<f{pixels.bits_allocated // 8}", count=count).astype(np.float64)
    numbers[np.isnan(numbers)] = 0.0
    # Larger numbers than these have no meaning, and their differences no end.
    return np.clip(numbers, -1e30, 1e30).reshape(pixels.rows, pixels.columns)


def need(frame: bytes | memoryview, octets: int) -> None:
    """Refuse a frame that is cut short.

    Raises:
        DatasetRefused: it is.
    """
    if len(frame) < octets:
        raise DatasetRefused("a frame is shorter than its attributes say")
