"""What is asked of a renderer. Values only: doors make them, the decoding process reads them.

Source: PS3.18 8.3.5.1.
"""

from dataclasses import dataclass
from enum import StrEnum

from leadglass.base.errors import UsageError
from leadglass.base.limits import RENDERED_PIXELS_MAX, RENDERED_SIDE_MAX


class WindowFunction(StrEnum):
    """VOI LUT Function. Source: PS3.3 C.11.2.1.3."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


class Annotation(StrEnum):
    """What may be written into the picture. Source: PS3.18 8.3.5.1.1."""

    PATIENT = "patient"
    TECHNIQUE = "technique"


class ImageType(StrEnum):
    """Media types that are made. Source: PS3.18 Table 8.7.4-1; GIF and video are not offered."""

    JPEG = "image/jpeg"
    PNG = "image/png"


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the values behind the modality transformation.

    Attributes:
        center: in units of the modality (HU for CT).
        width: at least 1 for LINEAR, above 0 for the others.

    Raises:
        UsageError: the width is not one that its function has, or a number is not finite.
    """

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR

    def __post_init__(self) -> None:
        if not (abs(self.center) < 1e12 and abs(self.width) < 1e12):
            raise UsageError("a window needs a centre and a width that are numbers")
        if self.width < 1 if self.function is WindowFunction.LINEAR else self.width <= 0:
            raise UsageError("a window's width is at least 1 (LINEAR), or above 0 (LINEAR_EXACT, SIGMOID)")


@dataclass(frozen=True, slots=True)
class Viewport:
    """How large the picture is at most, and which part of the image it shows.

    The region is scaled until it fits one side, its aspect ratio kept; nothing is padded.

    Attributes:
        width: of the viewport, pixels.
        height: of the viewport, pixels.
        x: left edge of the region in the image, pixels.
        y: upper edge of it.
        region_width: of the region; 0 for all to the right of ``x``; a negative one is shown mirrored.
        region_height: of the region; 0 for all below ``y``; a negative one is shown upside down.

    Raises:
        UsageError: larger than what is made, or of no size.

    Source: PS3.18 8.3.5.1.3.
    """

    width: int
    height: int
    x: int = 0
    y: int = 0
    region_width: int = 0
    region_height: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.width <= RENDERED_SIDE_MAX and 1 <= self.height <= RENDERED_SIDE_MAX):
            raise UsageError(f"a viewport has 1 to {RENDERED_SIDE_MAX} pixels a side")
        if self.width * self.height > RENDERED_PIXELS_MAX:
            raise UsageError(f"a viewport has at most {RENDERED_PIXELS_MAX} pixels")
        if self.x < 0 or self.y < 0:
            raise UsageError("the region of a viewport begins inside the image")


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """One picture of one frame.

    Attributes:
        media_type: JPEG or PNG.
        window: instead of what the object says; None for that.
        viewport: None for the image's own pixels, one for one.
        fraction: the region in fractions of rows and columns (left, top, right, bottom; WADO-URI), within the viewport.
        annotations: what is written into it.
        quality: of a JPEG, 1 to 100.
    """

    media_type: ImageType = ImageType.JPEG
    window: Window | None = None
    viewport: Viewport | None = None
    fraction: tuple[float, float, float, float] | None = None
    annotations: tuple[Annotation, ...] = ()
    quality: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError("quality is 1 to 100")
        if self.fraction is not None:
            left, top, right, bottom = self.fraction
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise UsageError("a region is left, top, right, bottom as fractions, 0.0 to 1.0")
