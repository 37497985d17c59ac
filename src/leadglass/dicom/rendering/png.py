"""PNG of eight bits, grey or colour, written so that it takes little time.

Every row is filtered by Sub and deflated by runs and Huffman codes only. On CT slices that is a third of the time that a
search for matches takes, and the file is not larger.

Source: W3C PNG (Third Edition) 5, 7.3, 9, 11.2.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _TRUE_COLOUR = 0, 2
_SUB: Final = 1


def png_of(levels: NDArray[np.uint8]) -> bytes:
    """Return the file of rows x columns, or rows x columns x 3."""
    rows, columns = levels.shape[:2]
    samples = 1 if levels.ndim == 2 else levels.shape[2]
    flat = levels.reshape(rows, columns * samples)
    filtered = np.empty((rows, 1 + columns * samples), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + samples] = flat[:, :samples]
    # Differences are modulo 256, as the filter wants them.
    np.subtract(flat[:, samples:], flat[:, :-samples], out=filtered[:, 1 + samples :])
    deflater = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = deflater.compress(filtered.data) + deflater.flush()
    head = struct.pack(">IIBBBBB", columns, rows, 8, _GREY if samples == 1 else _TRUE_COLOUR, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(name))
    return len(data).to_bytes(4, "big") + name + data + checksum.to_bytes(4, "big")
