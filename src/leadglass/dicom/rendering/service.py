"""One frame, as it is stored or decoded, becomes a picture.

Source: PS3.18 8.3.5, 10.4.1.1.3; PS3.3 C.7.6.3, C.11.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leadglass.dicom import values
from leadglass.dicom.rendering import description
from leadglass.dicom.rendering.colour import colour_of, through_palettes
from leadglass.dicom.rendering.description import Pixels
from leadglass.dicom.rendering.grey import grey_of, grey_of_floats
from leadglass.dicom.rendering.models import RenderOptions
from leadglass.dicom.rendering.picture import picture_of
from leadglass.dicom.rendering.samples import cells_of
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.transcode import decoded_frame
from leadglass.dicom.values import Dataset


def render(
    header: Dataset, frame: bytes, number: int, transfer_syntax_uid: str, options: RenderOptions
) -> bytes:
    """Return a picture of one frame.

    Args:
        header: the object's attributes, Pixel Data not needed, palettes included; numbers little endian.
        frame: the frame's octets as stored: a code stream, or native cells.
        number: of the frame, from 1.
        transfer_syntax_uid: of the object, as stored.
        options: what is asked for.

    Raises:
        DatasetRefused: it cannot be shown.
    """
    levels = levels_of(header, frame, number, transfer_syntax_uid, options)
    aspect = description.aspect_of(header, number) if options.viewport is not None else 1.0
    return picture_of(levels, options, aspect=aspect, header=header)


def levels_of(
    header: Dataset, frame: bytes, number: int, transfer_syntax_uid: str, options: RenderOptions
) -> NDArray[np.uint8]:
    """Return the frame as grey levels (rows x columns) or colours (rows x columns x 3).

    Raises:
        DatasetRefused: it cannot be shown.
    """
    pixels = description.pixels_of(header, floating=_floating(header))
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated:
        frame, photometric = decoded_frame(header, frame, transfer_syntax_uid)
        pixels = replace(pixels, photometric=photometric, planar=0)
    return _levels(header, frame, number, pixels, options)


def _levels(
    header: Dataset,
    frame: bytes,
    number: int,
    pixels: Pixels,
    options: RenderOptions,
) -> NDArray[np.uint8]:
    if pixels.samples == 3:
        return colour_of(frame, pixels)
    if pixels.photometric == "PALETTE COLOR":
        palettes = description.palettes_of(header, signed=pixels.signed)
        return through_palettes(cells_of(frame, pixels), pixels, palettes)
    transformation = description.transformation_of(header, number, signed=pixels.signed)
    if options.window is not None:
        transformation = replace(transformation, window=options.window)
    if pixels.floating:
        return grey_of_floats(frame, pixels, transformation)
    return grey_of(cells_of(frame, pixels), pixels, transformation)


def _floating(header: Dataset) -> bool:
    return (
        values.tag_of("BitsStored") not in header
        and values.tag_of("PixelRepresentation") not in header
        and description.integer(header, "BitsAllocated", 0) in {32, 64}
    )
