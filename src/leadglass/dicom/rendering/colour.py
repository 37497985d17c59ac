"""From stored colour samples to red, green and blue of eight bits.

Source: PS3.3 C.7.6.3.1.2 (photometric interpretations), C.7.6.3.1.5, C.7.6.3.1.6, C.7.9 (palettes).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leadglass.base.errors import DatasetRefused
from leadglass.dicom.rendering.description import LookupTable, Pixels
from leadglass.dicom.rendering.grey import entries_of
from leadglass.dicom.rendering.samples import Cells, inputs_of, need

Colour = NDArray[np.uint8]

_ENTRIES_MAX: Final = 65_536
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def colour_of(frame: bytes | memoryview, pixels: Pixels) -> Colour:
    """Return a frame of three samples a pixel as rows x columns x (red, green, blue).

    Raises:
        DatasetRefused: it is cut short, or its interpretation is not one of native pixels.
    """
    samples = _samples_of(frame, pixels)
    if pixels.photometric in {"RGB", "YBR_ICT", "YBR_RCT"}:
        # Decoders undo the transforms of JPEG 2000 themselves.
        return samples
    return _rgb_of(samples, studio=pixels.photometric.startswith("YBR_PARTIAL"))


def _samples_of(frame: bytes | memoryview, pixels: Pixels) -> Colour:
    if pixels.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"}:
        return _whole(frame, pixels)
    if pixels.photometric == "YBR_PARTIAL_420":
        raise DatasetRefused("pixels of YBR_PARTIAL_420 outside of a video")
    need(frame, pixels.bits // 8)
    count = pixels.rows * pixels.columns * 3
    cells: Cells = np.frombuffer(frame, f"<u{pixels.bits_allocated // 8}", count=count)
    if pixels.planar:
        cells = cells.reshape(3, pixels.rows, pixels.columns).transpose(1, 2, 0)
    else:
        cells = cells.reshape(pixels.rows, pixels.columns, 3)
    shift = pixels.high_bit + 1 - pixels.bits_stored
    if shift:
        cells = cells >> np.uint8(shift)
    if pixels.bits_stored < pixels.bits_allocated:
        cells = cells & cells.dtype.type((1 << pixels.bits_stored) - 1)
    if pixels.bits_stored == 8:
        return np.ascontiguousarray(cells, dtype=np.uint8)
    white = (1 << pixels.bits_stored) - 1
    eight = (cells.astype(np.uint64) * np.uint64(255) + np.uint64(white // 2)) // np.uint64(white)
    return eight.astype(np.uint8)


def _whole(frame: bytes | memoryview, pixels: Pixels) -> Colour:
    """Give every pixel the chrominance that two share: Y1 Y2 Cb Cr. Source: PS3.3 C.7.6.3.1.2."""
    if pixels.bits_allocated != 8 or pixels.columns % 2:
        raise DatasetRefused("sub-sampled pixels of more than eight bits, or in an odd number of columns")
    need(frame, pixels.bits // 8)
    pairs = np.frombuffer(frame, np.uint8, count=pixels.rows * pixels.columns * 2)
    pairs = pairs.reshape(pixels.rows, pixels.columns // 2, 4)
    out = np.empty((pixels.rows, pixels.columns, 3), np.uint8)
    out[:, :, 0] = pairs[:, :, :2].reshape(pixels.rows, pixels.columns)
    for band in (1, 2):
        out[:, :, band] = np.repeat(pairs[:, :, band + 1], 2, axis=1)
    return out


def _rgb_of(samples: Colour, *, studio: bool) -> Colour:
    """Return red, green and blue. Source: PS3.3 C.7.6.3.1.2; ITU-R BT.601, for YBR_PARTIAL in its studio range."""
    luminance = samples[:, :, 0].astype(np.float32)
    blue = samples[:, :, 1].astype(np.float32) - np.float32(128)
    red = samples[:, :, 2].astype(np.float32) - np.float32(128)
    if studio:
        luminance = (luminance - np.float32(16)) * np.float32(255 / 219)
        blue, red = blue * np.float32(255 / 224), red * np.float32(255 / 224)
    out = np.empty(samples.shape, np.uint8)
    for band, level in (
        (0, luminance + np.float32(1.402) * red),
        (1, luminance - np.float32(0.344136) * blue - np.float32(0.714136) * red),
        (2, luminance + np.float32(1.772) * blue),
    ):
        out[:, :, band] = np.clip(level + np.float32(0.5), 0, 255)
    return out


# --- palettes --------------------------------------------------------------------------------------------------


def through_palettes(
    cells: Cells, pixels: Pixels, palettes: tuple[LookupTable, LookupTable, LookupTable]
) -> Colour:
    """Return what a frame of palette indices shows.

    Raises:
        DatasetRefused: a palette is malformed, or its segments make more entries than there can be.
    """
    if pixels.bits_stored > 16:
        raise DatasetRefused("palette indices of more than sixteen bits")
    inputs = inputs_of(pixels.bits_stored, signed=pixels.signed).astype(np.int64)
    table = np.empty((inputs.size, 3), np.uint8)
    for band, palette in enumerate(palettes):
        entries = _eight_bits(palette)
        table[:, band] = entries[np.clip(inputs - palette.first, 0, entries.size - 1)]
    return table.take(cells, axis=0)


def _eight_bits(palette: LookupTable) -> Colour:
    entries: NDArray[np.unsignedinteger[Any]]
    entries = expanded(palette) if palette.segmented else entries_of(palette)
    # Palettes that say sixteen bits and hold eight occur, and the other way round: what is there decides.
    if entries.dtype.itemsize > 1 and int(entries.max()) > 255:
        entries = entries >> np.uint8(8)
    return entries.astype(np.uint8)


def expanded(palette: LookupTable) -> NDArray[np.uint16]:
    """Return the entries that the segments of a palette make.

    Raises:
        DatasetRefused: a segment is cut short, of an unknown kind, or refers to what it may not; or the entries are fewer
            or more than the descriptor says.

    Source: PS3.3 C.7.9.2.
    """
    width = 1 if palette.bits <= 8 else 2
    words = np.frombuffer(palette.data[: len(palette.data) // width * width], f"<u{width}").tolist()
    out = _segments(words, 0, len(words), limit=palette.entries, nested=False)
    if len(out) < palette.entries:
        raise DatasetRefused("a segmented palette makes fewer entries than its descriptor says")
    return np.array(out, np.uint16)


def _segments(
    words: list[int], position: int, end: int, *, limit: int, nested: bool, before: list[int] | None = None
) -> list[int]:
    """Walk over segments; a run that an indirect segment names may hold no further indirect one."""
    out: list[int] = before if before is not None else []
    while position + 1 < end and len(out) < limit:
        opcode, length = words[position], words[position + 1]
        if opcode == _DISCRETE:
            run = words[position + 2 : position + 2 + length]
            if len(run) != length:
                raise DatasetRefused("a palette's segment is cut short")
            out.extend(run)
            position += 2 + length
        elif opcode == _LINEAR:
            if position + 2 >= end or not out or not length:
                raise DatasetRefused("a palette's linear segment has no beginning or no end")
            start, stop = out[-1], words[position + 2]
            out.extend(start + round((stop - start) * step / length) for step in range(1, length + 1))
            position += 3
        elif opcode == _INDIRECT and not nested:
            position = _indirect(words, position, length, out, limit)
        else:
            raise DatasetRefused("a palette's segment of an unknown kind")
        if len(out) > min(limit, _ENTRIES_MAX):
            raise DatasetRefused("a segmented palette makes more entries than its descriptor says")
    return out


def _indirect(words: list[int], position: int, count: int, out: list[int], limit: int) -> int:
    """Repeat ``count`` segments from an offset in octets, low part first; return where the next segment stands."""
    if position + 3 >= len(words):
        raise DatasetRefused("a palette's indirect segment is cut short")
    # The offset is 32 bits in two entries of sixteen; a palette of eight bits cannot hold one (PS3.3 C.7.9.2.3).
    offset = words[position + 2] | words[position + 3] << 16
    if offset % 2 or offset // 2 >= position:
        raise DatasetRefused("a palette's indirect segment does not look back")
    start = offset // 2
    stop = start
    for _ in range(count):
        if stop + 1 >= position:
            raise DatasetRefused("a palette's indirect segment repeats more than there is")
        stop += 2 + words[stop + 1] if words[stop] == _DISCRETE else 3
    _segments(words, start, min(stop, position), limit=limit, nested=True, before=out)
    return position + 4
