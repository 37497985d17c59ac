"""Synthetic images with pixels, of any transfer syntax, for the doors that show them."""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from archive.room import CT, EXPLICIT, ROOT, Image, element
from leadglass.archive.ingest import StoreRequest
from leadglass.base.ids import UID

JPEG = "1.2.840.10008.1.2.4.50"
MPEG2 = "1.2.840.10008.1.2.4.100"


@dataclass(frozen=True)
class Picture(Image):
    """An image that says in what it is encoded."""

    syntax: str = EXPLICIT
    frames: tuple[bytes, ...] = ()

    @property
    def request(self) -> StoreRequest:
        return StoreRequest(UID(CT), UID(self.instance), UID(self.syntax))

    @property
    def path(self) -> str:
        return f"/dicom-web/studies/{self.study}/series/{self.series}/instances/{self.instance}"

    @property
    def study_path(self) -> str:
        return f"/dicom-web/studies/{self.study}"


def picture(
    number: int = 1,
    study: str = "1",
    *,
    series: int = 1,
    size: int = 64,
    frames: int = 1,
    syntax: str = EXPLICIT,
    streams: tuple[bytes, ...] = (),
) -> Picture:
    """Return an 8 bit image of a gradient that differs by frame; ``streams`` in place of its own frames."""
    study_uid = f"{ROOT}.{study}"
    series_uid = f"{study_uid}.{series}"
    instance = f"{series_uid}.{number}"
    levels = [_levels(size, frame) for frame in range(frames)]
    if syntax == EXPLICIT:
        stored = tuple(one.tobytes() for one in levels)
        pixel_data = element(0x7FE00010, "OB", b"".join(stored))
    else:
        stored = streams or tuple(_jpeg(one) for one in levels)
        pixel_data = _encapsulated(stored)
    head = [
        (0x00080016, "UI", CT.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080020, "DA", b"20260102"),
        (0x00080060, "CS", b"CT"),
        (0x00100010, "PN", b"Canary^Anna"),
        (0x00100020, "LO", f"PID-{study}".encode()),
        (0x0020000D, "UI", study_uid.encode()),
        (0x0020000E, "UI", series_uid.encode()),
        (0x00200011, "IS", str(series).encode()),
        (0x00200013, "IS", str(number).encode()),
        (0x00280002, "US", struct.pack("<H", 1)),
        (0x00280004, "CS", b"MONOCHROME2"),
        (0x00280008, "IS", str(frames).encode()),
        (0x00280010, "US", struct.pack("<H", size)),
        (0x00280011, "US", struct.pack("<H", size)),
        (0x00280100, "US", struct.pack("<H", 8)),
        (0x00280101, "US", struct.pack("<H", 8)),
        (0x00280102, "US", struct.pack("<H", 7)),
        (0x00280103, "US", struct.pack("<H", 0)),
        (0x00281050, "DS", b"128"),
        (0x00281051, "DS", b"256"),
    ]
    dataset = b"".join(element(*each) for each in head) + pixel_data
    return Picture(study_uid, series_uid, instance, dataset, syntax, stored)


def document(number: int = 9, study: str = "1") -> Picture:
    """Return an object without pixels."""
    whole = picture(number, study)
    end = whole.dataset.index(struct.pack("<HH", 0x0028, 0x0002))
    return Picture(whole.study, whole.series, whole.instance, whole.dataset[:end])


def _levels(size: int, frame: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return (np.add.outer(np.arange(size), np.arange(size)) + 10 * frame).astype(np.uint8)


def _jpeg(levels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(levels).save(out, "JPEG", quality=95)
    data = out.getvalue()
    return data + b"\0" * (len(data) & 1)


def _encapsulated(streams: tuple[bytes, ...]) -> bytes:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for stream in streams:
        items += struct.pack("<HHI", 0xFFFE, 0xE000, len(stream)) + stream
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFF_FFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
