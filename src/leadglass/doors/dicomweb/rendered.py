"""Rendered images and thumbnails: pictures that anybody can look at.

Source: PS3.18 8.3.5 (query parameters), 10.4.1.1.3 (rendered), 10.4.1.1.4 (thumbnails).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.reading import InstanceRecord, Part, Reading, Target
from leadglass.base.errors import DatasetRefused, NotFound, RequestRefused, UsageError
from leadglass.dicom.rendering.models import (
    Annotation,
    ImageType,
    RenderOptions,
    Viewport,
    Window,
    WindowFunction,
)
from leadglass.doors.dicomweb.retrieval import (
    FRAMES,
    INSTANCE,
    PRIVATE,
    SERIES,
    STUDY,
    accepted,
    as_representation,
    frames_of,
    new_boundary,
    not_modified,
    operation,
    target_of,
    unacceptable,
    url_of,
    validators,
)
from leadglass.doors.dicomweb.services import ROOT, Services
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread, stream
from leadglass.trust.identity.models import Principal
from leadglass.wire.dicomweb.media_types import MULTIPART_RELATED, MediaType, choose, multipart_related
from leadglass.wire.dicomweb.multipart import closing, part_head

THUMBNAIL: Final = Viewport(200, 200)
_QUERY: Final[Mapping[str, str]] = {
    "window": "center,width,function: LINEAR, LINEAR_EXACT or SIGMOID",
    "viewport": "width,height, and of the region x,y,width,height",
    "annotation": "patient, technique",
    "quality": "of a JPEG, 1 to 100",
}
_VIEWPORT_QUERY: Final[Mapping[str, str]] = {"viewport": _QUERY["viewport"]}


@dataclass(frozen=True, slots=True)
class RenderedDoor:
    """Handlers of rendered resources."""

    services: Services

    async def rendered(self, request: Request) -> Response:
        """Retrieve a rendered study, series, instance or frames."""
        return await in_thread(self._rendered, request, principal_of(request))

    async def thumbnail(self, request: Request) -> Response:
        """Retrieve a thumbnail: of a study or series, of an instance in its middle."""
        return await in_thread(self._thumbnail, request, principal_of(request))

    def _rendered(self, request: Request, principal: Principal) -> Response:
        target = target_of(request)
        numbers = frames_of(request) if "frames" in request.path_params else ()
        options = options_of(request.query_params)
        form = choose(_offers(target, numbers), accepted(request))
        options = replace(options, media_type=ImageType(form.type_ or form.essence))
        reading = self.services.reader.open(principal, target, Part.RENDERED, frames=numbers)
        try:
            known = validators(reading, reading.etag(f"rendered {form} {numbers} {options}"))
            same = not_modified(request, known)
            if same is not None:
                reading.close()
                return same
            if form.essence == MULTIPART_RELATED:
                return self._in_parts(request, reading, numbers, options, known)
            if target.sop_instance_uid is None:
                record, number = self._stands_for(reading)
            else:
                record, number = reading.record, numbers[0] if numbers else 1
            return self._picture(reading, record, number, options, known)
        except BaseException:
            reading.close()
            raise

    def _thumbnail(self, request: Request, principal: Principal) -> Response:
        target = target_of(request)
        numbers = frames_of(request) if "frames" in request.path_params else ()
        viewport = viewport_of(request.query_params.get("viewport", "")) or THUMBNAIL
        form = choose([MediaType(image.value) for image in ImageType], accepted(request))
        options = RenderOptions(ImageType(form.essence), viewport=viewport)
        reading = self.services.reader.open(principal, target, Part.THUMBNAIL, frames=numbers[:1])
        try:
            known = validators(reading, reading.etag(f"thumbnail {form} {numbers[:1]} {viewport}"))
            same = not_modified(request, known)
            if same is not None:
                reading.close()
                return same
            record, middle = self._stands_for(reading)
            return self._picture(reading, record, numbers[0] if numbers else middle, options, known)
        except BaseException:
            reading.close()
            raise

    def _stands_for(self, reading: Reading) -> tuple[InstanceRecord, int]:
        try:
            return self.services.renderer.representative(reading)
        except NotFound as error:
            # It is there, and they may see it: only not as a picture.
            raise RequestRefused("nothing of it can be shown as a picture", http_status=406) from error

    def _picture(
        self,
        reading: Reading,
        record: InstanceRecord,
        number: int,
        options: RenderOptions,
        known: Mapping[str, str],
    ) -> Response:
        picture = picture_of(self.services, reading, record, number, options)
        reading.close()
        return Response(picture, headers={**PRIVATE, **known}, media_type=options.media_type.value)

    def _in_parts(
        self,
        request: Request,
        reading: Reading,
        numbers: Sequence[int],
        options: RenderOptions,
        known: Mapping[str, str],
    ) -> Response:
        if numbers and max(numbers) > reading.frame_count(reading.record):
            raise NotFound("no such frame")
        shown = _shown(reading, numbers)
        first = next(shown, None)
        if first is None:
            raise RequestRefused("nothing of it can be shown as a picture", http_status=406)
        boundary = new_boundary()
        root = self.services.root_of(request)

        def body() -> Iterator[bytes]:
            place: tuple[InstanceRecord, int] | None = first
            while place is not None:
                picture = self.services.renderer.render(reading, *place, options)
                record, number = place
                yield part_head(
                    boundary,
                    options.media_type.value,
                    location=f"{url_of(root, record)}/frames/{number}/rendered",
                    length=len(picture),
                    first=place is first,
                )
                yield picture
                place = next(shown, None)
            yield closing(boundary)

        return stream(
            as_representation(body()),
            headers={
                **PRIVATE,
                **known,
                "Content-Type": str(multipart_related(options.media_type.value, boundary=boundary)),
            },
            on_close=lambda _complete: reading.close(),
        )


def picture_of(
    services: Services, reading: Reading, record: InstanceRecord, number: int, options: RenderOptions
) -> bytes:
    """Return one picture.

    Raises:
        NotFound: there is no such frame.
        RequestRefused: 406, it has no pixels, or they cannot be shown.
    """
    try:
        if not reading.frame_count(record):
            raise RequestRefused("it has no pixels that could be shown", http_status=406)
        return services.renderer.render(reading, record, number, options)
    except DatasetRefused as error:
        raise unacceptable(error) from error


def _shown(reading: Reading, numbers: Sequence[int]) -> Iterator[tuple[InstanceRecord, int]]:
    """Yield what is rendered: the frames that are named, or every frame of every instance with pixels."""
    if numbers:
        yield from ((reading.record, number) for number in numbers)
        return
    for record in reading.records:
        for number in range(1, reading.frame_count(record) + 1):
            yield record, number


def _offers(target: Target, numbers: Sequence[int]) -> list[MediaType]:
    """Return the forms of a rendered resource, the usual one first.

    Who asks for one picture of a study or series, and for no parts, gets the one in its middle, as with thumbnails:
    clients do (dicomweb-client knows no other way).
    """
    pictures = [MediaType(image.value) for image in ImageType]
    parts = [multipart_related(image.value) for image in ImageType]
    if len(numbers) > 1:
        return parts
    return [*parts, *pictures] if target.sop_instance_uid is None else [*pictures, *parts]


# --- query parameters ------------------------------------------------------------------------------------------


def options_of(query: Mapping[str, str]) -> RenderOptions:
    """Return what the query parameters ask for.

    Raises:
        RequestRefused: 400, one of them is malformed or asks for what is not made.
    """
    if query.get("iccprofile", "no").lower() != "no":
        raise RequestRefused("pictures are made without ICC profile: iccprofile=no")
    try:
        return RenderOptions(
            window=window_of(query.get("window", "")),
            viewport=viewport_of(query.get("viewport", "")),
            annotations=annotations_of(query.get("annotation", "")),
            quality=_integer(query.get("quality", "90"), "quality"),
        )
    except UsageError as error:
        raise RequestRefused(str(error)) from error


def window_of(text: str) -> Window | None:
    """Return a window: ``center,width`` and a function, LINEAR where it is left out.

    Raises:
        RequestRefused: 400, malformed.
    """
    if not text:
        return None
    parts = text.split(",")
    if len(parts) not in {2, 3}:
        raise RequestRefused("a window is center,width,function (PS3.18 8.3.5.1.4)")
    function = (parts[2] if len(parts) == 3 else "LINEAR").strip().upper().replace("-", "_")
    if function not in WindowFunction.__members__:
        raise RequestRefused("the function of a window is LINEAR, LINEAR_EXACT or SIGMOID")
    try:
        return Window(number_of(parts[0]), number_of(parts[1]), WindowFunction(function))
    except UsageError as error:
        raise RequestRefused(str(error)) from error


def viewport_of(text: str) -> Viewport | None:
    """Return a viewport: ``width,height`` and a region ``x,y,width,height``, of which any may be empty.

    Raises:
        RequestRefused: 400, malformed.
    """
    if not text:
        return None
    parts = text.split(",")
    if len(parts) not in {2, 6}:
        raise RequestRefused("a viewport is width,height or width,height,x,y,width,height (PS3.18 8.3.5.1.3)")
    try:
        return Viewport(*(_integer(part or "0", "viewport") for part in parts))
    except UsageError as error:
        raise RequestRefused(str(error)) from error


def annotations_of(text: str) -> tuple[Annotation, ...]:
    """Return what is written into the picture.

    Raises:
        RequestRefused: 400, something else than patient and technique.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    known = {annotation.value: annotation for annotation in Annotation}
    if not known.keys() >= set(names):
        raise RequestRefused("an annotation is patient or technique (PS3.18 8.3.5.1.1)")
    return tuple(known[name] for name in sorted(set(names)))


def number_of(text: str) -> float:
    """Return a decimal number.

    Raises:
        RequestRefused: 400, none, or not finite.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or len(text) > 32:
        raise RequestRefused("a parameter is no decimal number")
    return number


def _integer(text: str, name: str) -> int:
    # Regions may be fractions of a pixel in the standard; whole pixels are cut out.
    number = number_of(text)
    if abs(number) > 1e9:
        raise RequestRefused(f"a number of {name} is too large")
    return round(number)


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoints of this door. Source: PS3.18 Tables 10.4.1-2 and 10.4.1-3."""
    door = RenderedDoor(services)
    images = [image.value for image in ImageType]
    parts = [f'multipart/related; type="{image}"' for image in images]
    described: list[Endpoint] = []
    for path, what in ((STUDY, "study"), (SERIES, "series"), (INSTANCE, "instance"), (FRAMES, "frames")):
        forms = [*parts, *images] if path in {STUDY, SERIES} else [*images, *parts]
        described += [
            Endpoint(
                "GET",
                f"{ROOT}{path}/rendered",
                door.rendered,
                operation(f"Retrieve as pictures: {what}", path, forms, query=_QUERY),
            ),
            Endpoint(
                "GET",
                f"{ROOT}{path}/thumbnail",
                door.thumbnail,
                operation(f"Retrieve a thumbnail: {what}", path, images, query=_VIEWPORT_QUERY),
            ),
        ]
    return described
