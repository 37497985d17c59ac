"""From grey levels or colours to the octets of a JPEG or PNG: region, size, writing, encoding.

Source: PS3.18 8.3.5.1.1 (annotation), 8.3.5.1.2 (quality), 8.3.5.1.3 (viewport).
"""

import io
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import RENDERED_PIXELS_MAX
from leadglass.dicom.rendering.description import text
from leadglass.dicom.rendering.models import Annotation, ImageType, RenderOptions, Viewport
from leadglass.dicom.rendering.png import png_of
from leadglass.dicom.values import Dataset

_TEXT_MAX: Final = 64
"""Characters of one attribute in a line."""


def picture_of(levels: NDArray[np.uint8], options: RenderOptions, *, aspect: float, header: Dataset) -> bytes:
    """Return the picture.

    Args:
        levels: rows x columns, or rows x columns x 3.
        options: what is asked for.
        aspect: height by width of one pixel; counts where a viewport is given. Without one, pixels are shown one for one.
        header: where the words of an annotation are.

    Raises:
        DatasetRefused: the region lies outside of the image, or the picture would be too large.
    """
    if options.fraction is not None:
        levels = _fraction(levels, options.fraction)
    if options.viewport is not None:
        levels = _region(levels, options.viewport)
    if levels.shape[0] * levels.shape[1] > RENDERED_PIXELS_MAX:
        raise DatasetRefused(f"a picture has at most {RENDERED_PIXELS_MAX} pixels")
    image = Image.fromarray(np.ascontiguousarray(levels))
    if options.viewport is not None:
        image = _fitted(image, options.viewport, aspect)
    if options.annotations:
        _annotate(image, _lines(header, options))
    if options.media_type is ImageType.PNG:
        return png_of(np.asarray(image))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=options.quality, optimize=False)
    return out.getvalue()


def _fraction(levels: NDArray[np.uint8], fraction: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    rows, columns = levels.shape[:2]
    left, top, right, bottom = fraction
    x, y = min(int(left * columns), columns - 1), min(int(top * rows), rows - 1)
    return levels[y : max(y + 1, round(bottom * rows)), x : max(x + 1, round(right * columns))]


def _region(levels: NDArray[np.uint8], viewport: Viewport) -> NDArray[np.uint8]:
    rows, columns = levels.shape[:2]
    width = viewport.region_width or columns - viewport.x
    height = viewport.region_height or rows - viewport.y
    # abs() of a region: a negative size is the same region, turned over.
    part = levels[viewport.y : viewport.y + abs(height), viewport.x : viewport.x + abs(width)]
    if not part.size:
        raise DatasetRefused("the region of the viewport lies outside of the image")
    if width < 0:
        part = part[:, ::-1]
    return part[::-1] if height < 0 else part


def _fitted(image: Image.Image, viewport: Viewport, aspect: float) -> Image.Image:
    height = image.height * aspect
    scale = min(viewport.width / image.width, viewport.height / height)
    size = (
        min(viewport.width, max(1, round(image.width * scale))),
        min(viewport.height, max(1, round(height * scale))),
    )
    if size == image.size:
        return image
    # Averaging first makes thumbnails of large images several times faster, without visible difference.
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _annotate(image: Image.Image, lines: list[str]) -> None:
    size = max(9, min(32, image.height // 32))
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        place = (size // 2, size // 2 + number * (size + size // 4))
        # White on a black rim is read on every background.
        white, black = (255, 0) if image.mode == "L" else ((255,) * 3, (0,) * 3)
        draw.text(place, line, fill=white, font=_font(size), stroke_width=1, stroke_fill=black)


def _lines(header: Dataset, options: RenderOptions) -> list[str]:
    lines: list[str] = []
    if Annotation.PATIENT in options.annotations:
        lines += [_words(header, "PatientName").replace("^", " "), _words(header, "PatientID")]
        lines.append(" ".join(_words(header, key) for key in ("PatientBirthDate", "PatientSex")))
        lines.append(" ".join(_words(header, key) for key in ("StudyDate", "StudyDescription")))
    if Annotation.TECHNIQUE in options.annotations:
        lines.append(" ".join(_words(header, key) for key in ("Modality", "SeriesDescription")))
        named = (("KVP", "kV"), ("XRayTubeCurrent", "mA"), ("ExposureTime", "ms"), ("SliceThickness", "mm"))
        parts = [f"{_words(header, key)} {unit}" for key, unit in named if _words(header, key)]
        lines.append("  ".join(parts))
        if options.window is not None:
            lines.append(f"C {options.window.center:g}  W {options.window.width:g}")
    return [line.strip() for line in lines if line.strip()]


def _words(header: Dataset, keyword: str) -> str:
    # What cannot be printed could break the layout of a line, and nothing more.
    found = text(header, keyword)[:_TEXT_MAX]
    return "".join(character for character in found if character.isprintable())
