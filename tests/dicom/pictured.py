"""A corpus file as the renderer gets it: attributes, one frame, its transfer syntax."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from leadglass.dicom import values
from leadglass.dicom.part10 import read_file_meta
from leadglass.dicom.rendering.models import RenderOptions, Window
from leadglass.dicom.rendering.service import levels_of
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.values import Dataset

PIXEL_DATA = 0x7FE0_0010


@dataclass(frozen=True)
class Pictured:
    header: Dataset
    frame: bytes
    syntax: str

    def levels(self, window: Window | None = None) -> NDArray[np.uint8]:
        return levels_of(self.header, self.frame, 1, self.syntax, RenderOptions(window=window))


def first_frame(path: Path) -> Pictured | None:
    """Return the first frame of a file; None where it has no pixels, or is deflated."""
    data = path.read_bytes()
    meta = read_file_meta(data)
    syntax = TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
    if syntax.deflated:
        return None
    header = values.read_whole_object(
        data[meta.dataset_offset :], explicit=not syntax.implicit_vr, big=syntax.big_endian
    )
    pixel_data = header.pop(PIXEL_DATA, None)
    if pixel_data is None:
        return None
    if not pixel_data.encapsulated:
        # The archive hands native frames out in little endian.
        return Pictured(header, pixel_data.value, values.EXPLICIT_LITTLE_ENDIAN)
    frames = header.get(values.tag_of("NumberOfFrames"))
    count = int(values.texts_of(frames, values.character_set(""))[0]) if frames else 1
    return Pictured(header, next(generate_frames(pixel_data.value, number_of_frames=count)), syntax.uid)
