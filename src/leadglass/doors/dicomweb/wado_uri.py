"""The URI Service: one object or picture, everything in the query.

Source: PS3.18 9.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.reading import Part, Reading, Target
from leadglass.base.errors import RequestRefused, UsageError
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import RENDERED_PIXELS_MAX, RENDERED_SIDE_MAX
from leadglass.dicom.rendering.models import ImageType, RenderOptions, Viewport, Window
from leadglass.doors.dicomweb.rendered import annotations_of, number_of, picture_of
from leadglass.doors.dicomweb.retrieval import (
    ATTACHMENT,
    PRIVATE,
    as_representation,
    not_modified,
    operation,
    validators,
)
from leadglass.doors.dicomweb.services import Services
from leadglass.doors.dicomweb.wado import Transfer, plan
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread, stream
from leadglass.trust.identity.models import Principal
from leadglass.wire.dicomweb.media_types import (
    APPLICATION_DICOM,
    EXPLICIT_VR_LITTLE_ENDIAN,
    MediaType,
    choose,
    parse_accept,
)

PATH: Final = "/wado"
_IMAGES: Final = frozenset(image.value for image in ImageType)
_QUERY: Final[Mapping[str, str]] = {
    "requestType": "WADO",
    "studyUID": "of the study",
    "seriesUID": "of the series",
    "objectUID": "of the instance",
    "contentType": "application/dicom, image/jpeg, image/png",
    "transferSyntax": "with application/dicom: a UID; explicit VR little endian where it is left out",
    "frameNumber": "from 1",
    "rows": "of the picture, at most",
    "columns": "of the picture, at most",
    "region": "left,top,right,bottom as fractions of the image",
    "windowCenter": "with windowWidth",
    "windowWidth": "with windowCenter",
    "imageQuality": "of a JPEG, 1 to 100",
    "annotation": "patient, technique",
    "anonymize": "refused: nothing is de-identified here",
}


@dataclass(frozen=True, slots=True)
class URIDoor:
    """The handler of the URI Service."""

    services: Services

    async def retrieve(self, request: Request) -> Response:
        """Retrieve an instance or a picture of it."""
        return await in_thread(self._retrieve, request, principal_of(request))

    def _retrieve(self, request: Request, principal: Principal) -> Response:
        query = request.query_params
        target = _target_of(query)
        offers = [MediaType(APPLICATION_DICOM), *(MediaType(image) for image in ImageType)]
        asked = parse_accept(query.get("contentType", ""))
        form = choose(offers, asked).essence if asked else ""
        options = _options_of(query, form)
        number = _whole(query, "frameNumber") or 1
        part = Part.OBJECTS if form == APPLICATION_DICOM else Part.RENDERED
        reading = self.services.reader.open(
            principal, target, part, frames=(number,) if part is Part.RENDERED else ()
        )
        try:
            # Source: PS3.18 9.1.2.1.2: images of one frame are JPEG, everything else is DICOM where nothing is said.
            if not form and reading.frame_count(reading.record) != 1 and "frameNumber" not in query:
                reading.close()
                reading = self.services.reader.open(principal, target, Part.OBJECTS)
                form = APPLICATION_DICOM
            if form == APPLICATION_DICOM:
                return self._object(request, reading)
            return self._picture(request, reading, number, options)
        except BaseException:
            reading.close()
            raise

    def _object(self, request: Request, reading: Reading) -> Response:
        wanted = request.query_params.get("transferSyntax", EXPLICIT_VR_LITTLE_ENDIAN)
        named = "transferSyntax" in request.query_params
        planned = plan(reading, frozenset({wanted} if named else {""}))
        ((record, syntax),) = planned
        known = validators(reading, reading.etag(f"{APPLICATION_DICOM} {syntax}"))
        same = not_modified(request, known)
        if same is not None:
            reading.close()
            return same
        transfer = Transfer(reading, planned)
        headers = {
            **PRIVATE,
            **ATTACHMENT,
            **known,
            "Content-Type": str(MediaType(APPLICATION_DICOM, {"transfer-syntax": syntax})),
        }
        if syntax == record.identity.transfer_syntax_uid:
            headers["Content-Length"] = str(reading.part10_length(record))
        octets = as_representation(transfer.file(record, syntax))
        return stream(octets, headers=headers, on_close=transfer.closed)

    def _picture(self, request: Request, reading: Reading, number: int, options: RenderOptions) -> Response:
        known = validators(reading, reading.etag(f"rendered {number} {options}"))
        same = not_modified(request, known)
        if same is None:
            picture = picture_of(self.services, reading, reading.record, number, options)
            headers = {**PRIVATE, **known}
            same = Response(picture, headers=headers, media_type=options.media_type.value)
        reading.close()
        return same


def _target_of(query: Mapping[str, str]) -> Target:
    if query.get("requestType", "").upper() != "WADO":
        raise RequestRefused("requestType=WADO is missing (PS3.18 9.1.2.1.1)")
    if query.get("anonymize", "no").lower() != "no":
        raise RequestRefused("nothing is de-identified here; what is not, is not called so")
    if "presentationUID" in query:
        raise RequestRefused("presentation states are not applied")
    uids: list[UID] = []
    for name in ("studyUID", "seriesUID", "objectUID"):
        text = query.get(name, "")
        if not is_uid(text):
            raise RequestRefused(f"{name} is missing, or no UID (PS3.5 9.1)")
        uids.append(UID(text))
    return Target(*uids)


def _options_of(query: Mapping[str, str], form: str) -> RenderOptions:
    center, width = query.get("windowCenter"), query.get("windowWidth")
    if (center is None) != (width is None):
        raise RequestRefused("windowCenter and windowWidth stand together (PS3.18 9.1.2.2.7)")
    try:
        return RenderOptions(
            media_type=ImageType(form) if form in _IMAGES else ImageType.JPEG,
            window=None if center is None or width is None else Window(number_of(center), number_of(width)),
            viewport=_viewport_of(query),
            fraction=_region_of(query.get("region", "")),
            annotations=annotations_of(query.get("annotation", "")),
            quality=_whole(query, "imageQuality") or 90,
        )
    except UsageError as error:
        raise RequestRefused(str(error)) from error


def _viewport_of(query: Mapping[str, str]) -> Viewport | None:
    rows, columns = _whole(query, "rows"), _whole(query, "columns")
    if not rows and not columns:
        return None
    # Where one side is left open, the other decides: as much room as a picture can have.
    return Viewport(
        columns or min(RENDERED_SIDE_MAX, RENDERED_PIXELS_MAX // rows),
        rows or min(RENDERED_SIDE_MAX, RENDERED_PIXELS_MAX // columns),
    )


def _region_of(text: str) -> tuple[float, float, float, float] | None:
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 4:
        raise RequestRefused("a region is left,top,right,bottom (PS3.18 9.1.2.2.6)")
    left, top, right, bottom = map(number_of, parts)
    return left, top, right, bottom


def _whole(query: Mapping[str, str], name: str) -> int:
    """Return a number from 1; 0 where it is not given."""
    text = query.get(name)
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise RequestRefused(f"{name} is a number from 1")
    return int(text)


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoint of this door."""
    door = URIDoor(services)
    forms = (APPLICATION_DICOM, *(image.value for image in ImageType))
    described = operation("Retrieve an instance or a picture of it", PATH, forms, query=_QUERY)
    return [Endpoint("GET", PATH, door.retrieve, described)]
