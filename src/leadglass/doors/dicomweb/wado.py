"""The Retrieve Service: studies, series, instances, frames, bulk data and metadata.

The form is negotiated before anything is looked for; what is looked for is decided and on record before its first octet
leaves. An answer that fails after it began is cut off, never ended in order.

Source: PS3.18 10.4, 8.7.3 (transfer syntaxes).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.reading import InstanceRecord, Part, Reading
from leadglass.base.errors import NotFound, RequestRefused
from leadglass.base.limits import TRANSCODE_BYTES_MAX
from leadglass.dicom.json import MARKER
from leadglass.doors.dicomweb import archive_zip
from leadglass.doors.dicomweb.retrieval import (
    ATTACHMENT,
    FRAMES,
    INSTANCE,
    PRIVATE,
    SERIES,
    STUDY,
    accepted,
    as_representation,
    frames_of,
    lasting,
    new_boundary,
    not_modified,
    operation,
    target_of,
    url_of,
    validators,
)
from leadglass.doors.dicomweb.services import ROOT, Services
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread, stream
from leadglass.trust.identity.models import Principal
from leadglass.wire.dicomweb.byte_ranges import RangeNotSatisfiable, parse_ranges
from leadglass.wire.dicomweb.media_types import (
    APPLICATION_DICOM,
    DICOM_JSON,
    EXPLICIT_VR_LITTLE_ENDIAN,
    JSON,
    MULTIPART_RELATED,
    OCTET_STREAM,
    MediaType,
    choose,
    multipart_related,
    quality_of,
)
from leadglass.wire.dicomweb.multipart import closing, part_head

_IMAGE_TYPES: Final[Mapping[str, str]] = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media type of one frame by transfer syntax. Source: PS3.18 Table 8.7.3-5."""

_ANY_SYNTAX: Final = "*"


@dataclass(frozen=True, slots=True)
class RetrieveDoor:
    """Handlers of the Retrieve Service."""

    services: Services

    async def objects(self, request: Request) -> Response:
        """Retrieve a study, series or instance. Source: PS3.18 10.4.1.1.1 to .3."""
        return await in_thread(self._objects, request, principal_of(request))

    async def metadata(self, request: Request) -> Response:
        """Retrieve metadata. Source: PS3.18 10.4.1.1.5."""
        return await in_thread(self._metadata, request, principal_of(request))

    async def frames(self, request: Request) -> Response:
        """Retrieve frames. Source: PS3.18 10.4.1.1.6."""
        return await in_thread(self._frames, request, principal_of(request))

    async def bulk_data(self, request: Request) -> Response:
        """Retrieve a bulk value. Source: PS3.18 10.4.1.1.7."""
        return await in_thread(self._bulk_data, request, principal_of(request))

    # --- whole objects ---------------------------------------------------------------------------------------------

    def _objects(self, request: Request, principal: Principal) -> Response:
        target = target_of(request)
        ranges = accepted(request)
        forms = [multipart_related(APPLICATION_DICOM)]
        if target.sop_instance_uid is not None:
            forms.append(MediaType(APPLICATION_DICOM))
        forms.append(archive_zip.MEDIA_TYPE)
        form = _form_of(forms, ranges)
        syntaxes = _syntaxes(form, ranges)
        if form == archive_zip.MEDIA_TYPE:
            return archive_zip.answer(
                request, self.services.reader, principal, target, lambda reading: plan(reading, syntaxes)
            )
        reading = self.services.reader.open(principal, target, Part.OBJECTS)
        try:
            return self._transfer(request, reading, form, plan(reading, syntaxes))
        except BaseException:
            reading.close()
            raise

    def _transfer(
        self,
        request: Request,
        reading: Reading,
        form: MediaType,
        planned: Sequence[tuple[InstanceRecord, str]],
    ) -> Response:
        multipart = form.essence == MULTIPART_RELATED
        chosen = sorted({syntax for _, syntax in planned})
        known = validators(reading, reading.etag(f"{form.essence} {' '.join(chosen)}"))
        same = not_modified(request, known)
        if same is not None:
            reading.close()
            return same
        headers = {**PRIVATE, **ATTACHMENT, **known}
        transfer = Transfer(reading, planned)
        if multipart:
            boundary = new_boundary()
            octets = _objects_in_parts(transfer, self.services.root_of(request), boundary)
            headers["Content-Type"] = str(multipart_related(APPLICATION_DICOM, boundary=boundary))
            length = _length_in_parts(reading, planned, self.services.root_of(request), boundary)
        else:
            (single,) = planned
            octets = transfer.file(*single)
            headers["Content-Type"] = str(MediaType(APPLICATION_DICOM, {"transfer-syntax": single[1]}))
            headers["Content-Location"] = url_of(self.services.root_of(request), single[0])
            length = _length_of(reading, *single)
        if length is not None:
            headers["Content-Length"] = str(length)
        return stream(as_representation(octets), headers=headers, on_close=transfer.closed)

    # --- metadata ----------------------------------------------------------------------------------------------------

    def _metadata(self, request: Request, principal: Principal) -> Response:
        target = target_of(request)
        form = choose((MediaType(DICOM_JSON), MediaType(JSON)), accepted(request))
        reading = self.services.reader.open(principal, target, Part.METADATA)
        try:
            root = self.services.root_of(request)
            known = validators(reading, reading.etag(f"{form.essence} {root}"))
            same = not_modified(request, known)
            if same is not None:
                reading.close()
                return same
            return stream(
                _json_array(reading, root),
                headers={**PRIVATE, **known, "Content-Type": form.essence},
                on_close=lambda _complete: reading.close(),
            )
        except BaseException:
            reading.close()
            raise

    # --- frames ------------------------------------------------------------------------------------------------------

    def _frames(self, request: Request, principal: Principal) -> Response:
        target, numbers, ranges = target_of(request), frames_of(request), accepted(request)
        reading = self.services.reader.open(principal, target, Part.FRAMES, frames=numbers)
        try:
            record = reading.record
            count = reading.frame_count(record)
            if max(numbers) > count:
                raise NotFound("no such frame")
            stored_as = self._syntax_of_frames(reading, record, numbers[0])
            decodes = stored_as != EXPLICIT_VR_LITTLE_ENDIAN and reading.can_send(
                record, EXPLICIT_VR_LITTLE_ENDIAN
            )
            form = choose(_frame_offers(stored_as, ranges, decodes=decodes, single=len(numbers) == 1), ranges)
            asked = ",".join(map(str, numbers))
            known = validators(reading, reading.etag(f"frames {asked} {form}", record))
            same = not_modified(request, known)
            if same is not None:
                reading.close()
                return same
            return self._send_frames(request, reading, numbers, form, stored_as, {**PRIVATE, **known})
        except BaseException:
            reading.close()
            raise

    @staticmethod
    def _syntax_of_frames(reading: Reading, record: InstanceRecord, number: int) -> str:
        octets = reading.frame(record, number)
        try:
            return octets.transfer_syntax_uid
        finally:
            octets.close()

    def _send_frames(
        self,
        request: Request,
        reading: Reading,
        numbers: Sequence[int],
        form: MediaType,
        stored_as: str,
        headers: dict[str, str],
    ) -> Response:
        record = reading.record
        decoded = form.transfer_syntax != stored_as
        part = MediaType(form.type_ or form.essence, {"transfer-syntax": form.transfer_syntax})
        if form.essence == MULTIPART_RELATED:
            boundary = new_boundary()
            location = url_of(self.services.root_of(request), record)
            headers["Content-Type"] = str(
                multipart_related(part.essence, transfer_syntax=form.transfer_syntax, boundary=boundary)
            )
            octets = self._frame_parts(reading, numbers, part, location, boundary, decoded=decoded)
            length = _frame_heads_length(numbers, part, location, boundary)
        else:
            length = 0
            headers["Content-Type"] = str(part)
            headers.update(ATTACHMENT)
            octets = self._frame_octets(reading, numbers[0], decoded=decoded)
        if not decoded:
            length += sum(reading.frame(record, number).length for number in numbers)
            headers["Content-Length"] = str(length)
        return stream(as_representation(octets), headers=headers, on_close=lambda _complete: reading.close())

    def _frame_parts(
        self,
        reading: Reading,
        numbers: Sequence[int],
        part: MediaType,
        location: str,
        boundary: str,
        *,
        decoded: bool,
    ) -> Iterator[bytes]:
        for place, number in enumerate(numbers):
            yield _frame_head(boundary, part, location, number, first=place == 0)
            yield from self._frame_octets(reading, number, decoded=decoded)
        yield closing(boundary)

    def _frame_octets(self, reading: Reading, number: int, *, decoded: bool) -> Iterator[bytes]:
        if decoded:
            yield self.services.renderer.decoded(reading, reading.record, number)
            return
        octets = reading.frame(reading.record, number)
        try:
            yield from octets.stream()
        finally:
            octets.close()

    # --- bulk data ---------------------------------------------------------------------------------------------------

    def _bulk_data(self, request: Request, principal: Principal) -> Response:
        target, path = target_of(request), str(request.path_params["path"])
        form = choose((MediaType(OCTET_STREAM), multipart_related(OCTET_STREAM)), accepted(request))
        reading = self.services.reader.open(principal, target, Part.BULK_DATA)
        try:
            known = validators(reading, reading.etag(f"{form.essence} {path}", reading.record))
            same = not_modified(request, known)
            if same is not None:
                reading.close()
                return same
            headers = {**PRIVATE, **ATTACHMENT, **known}
            if form.essence == MULTIPART_RELATED:
                location = f"{url_of(self.services.root_of(request), reading.record)}/bulkdata/{path}"
                return _bulk_part(reading, path, location, headers)
            return _bulk_range(request, reading, path, headers)
        except BaseException:
            reading.close()
            raise


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoints of this door. Source: PS3.18 Table 10.4.1-1."""
    door = RetrieveDoor(services)
    described: list[Endpoint] = []
    for path, what in ((STUDY, "study"), (SERIES, "series"), (INSTANCE, "instance")):
        whole = f'multipart/related; type="{APPLICATION_DICOM}"'
        forms = [whole, *([APPLICATION_DICOM] if path == INSTANCE else []), archive_zip.MEDIA_TYPE.essence]
        described += [
            Endpoint("GET", ROOT + path, door.objects, operation(f"Retrieve: {what}", path, forms)),
            Endpoint(
                "GET",
                f"{ROOT}{path}/metadata",
                door.metadata,
                operation(f"Retrieve metadata: {what}", path, (DICOM_JSON, JSON)),
            ),
        ]
    pixels = (f'multipart/related; type="{OCTET_STREAM}"', OCTET_STREAM, *sorted(set(_IMAGE_TYPES.values())))
    described.append(
        Endpoint("GET", ROOT + FRAMES, door.frames, operation("Retrieve frames", FRAMES, pixels))
    )
    bulk = f"{INSTANCE}/bulkdata/{{path:path}}"
    described.append(
        Endpoint(
            "GET",
            ROOT + bulk,
            door.bulk_data,
            operation(
                "Retrieve a bulk value",
                bulk,
                pixels[:2],
                also={"206": "the range that was asked for", "416": "no range lies within it"},
            ),
        )
    )
    return described


# --- transfer syntaxes -----------------------------------------------------------------------------------------


def plan(reading: Reading, syntaxes: frozenset[str]) -> list[tuple[InstanceRecord, str]]:
    """Return in which transfer syntax each record is sent.

    As stored where that is acceptable, else decoded. Who names none gets explicit VR little endian, and what has no
    decoder (video) or is too large for one as it is stored: an object in another encoding than the default is of more
    use than none.

    Args:
        reading: whose records are sent.
        syntaxes: UIDs that are acceptable, ``*`` for any, an empty one where none was named.

    Raises:
        RequestRefused: 406, a record cannot be had in any of them.

    Source: PS3.18 8.7.3.5.2, 8.7.3.5.3.
    """
    planned: list[tuple[InstanceRecord, str]] = []
    for record in reading.records:
        stored_as = record.identity.transfer_syntax_uid
        decodes = record.dataset_length <= TRANSCODE_BYTES_MAX and reading.can_send(
            record, EXPLICIT_VR_LITTLE_ENDIAN
        )
        wants_default = bool({"", EXPLICIT_VR_LITTLE_ENDIAN} & syntaxes)
        if stored_as in syntaxes or _ANY_SYNTAX in syntaxes:
            planned.append((record, stored_as))
        elif decodes and wants_default:
            planned.append((record, EXPLICIT_VR_LITTLE_ENDIAN))
        elif "" in syntaxes:
            planned.append((record, stored_as))
        else:
            raise RequestRefused("not every instance can be had in that transfer syntax", http_status=406)
    return planned


def _form_of(forms: Sequence[MediaType], ranges: Sequence[MediaType]) -> MediaType:
    """Return the form that the client likes best, whatever transfer syntaxes it names."""
    named = {media.transfer_syntax for media in ranges} - {_ANY_SYNTAX}
    offers = [_with_syntax(form, syntax) for form in forms for syntax in sorted({"", *named})]
    chosen = choose(offers, ranges)
    return next(form for form in forms if (form.essence, form.type_) == (chosen.essence, chosen.type_))


def _syntaxes(form: MediaType, ranges: Sequence[MediaType]) -> frozenset[str]:
    """Return the transfer syntaxes that the client names for a form."""
    return frozenset(
        media.transfer_syntax
        for media in ranges
        if quality_of(_with_syntax(form, media.transfer_syntax), (media,))
    )


def _with_syntax(form: MediaType, syntax: str) -> MediaType:
    if not syntax or syntax == _ANY_SYNTAX:
        return form
    return MediaType(form.essence, {**form.parameters, "transfer-syntax": syntax})


def _frame_offers(
    stored_as: str, ranges: Sequence[MediaType], *, decodes: bool, single: bool
) -> list[MediaType]:
    """Return the forms in which frames can be had, the standard's default first.

    Source: PS3.18 8.7.3.3.2, 8.7.3.5.2, Table 8.7.3-5.
    """
    image = _IMAGE_TYPES.get(stored_as)
    stored = [(OCTET_STREAM, stored_as)] + ([(image, stored_as)] if image else [])
    native = [(OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN)] if decodes else []
    # "*" asks for what is there, so nothing is decoded; otherwise native pixels are what no name means.
    any_syntax = any(media.transfer_syntax == _ANY_SYNTAX for media in ranges)
    pairs = stored + native if any_syntax else native + stored
    offers = [multipart_related(part, transfer_syntax=syntax) for part, syntax in pairs]
    if single:
        offers += [MediaType(part, {"transfer-syntax": syntax}) for part, syntax in pairs]
    return offers


# --- bodies ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Transfer:
    """Whole objects on their way out, counted for the record of their end."""

    reading: Reading
    planned: Sequence[tuple[InstanceRecord, str]]
    completed: int = field(default=0)

    def file(self, record: InstanceRecord, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
        """Yield one object as a file."""
        yield from lasting(self.reading.part10(record, transfer_syntax_uid))
        self.completed += 1

    def closed(self, complete: bool) -> None:
        """Put the end on record; called when the last octet was handed over, or the client went away."""
        # The last object counts as sent when the connection took it. HEAD sends none, and none failed.
        completed = self.completed if complete else max(0, self.completed - 1)
        failed = 0 if complete else len(self.planned) - completed
        try:
            self.reading.ended(completed=completed, failed=failed, cancelled=not complete)
        finally:
            self.reading.close()


def _objects_in_parts(transfer: Transfer, root: str, boundary: str) -> Iterator[bytes | memoryview]:
    for place, (record, syntax) in enumerate(transfer.planned):
        yield _object_head(transfer.reading, record, syntax, root, boundary, first=place == 0)
        yield from transfer.file(record, syntax)
    yield closing(boundary)


def _object_head(
    reading: Reading, record: InstanceRecord, syntax: str, root: str, boundary: str, *, first: bool
) -> bytes:
    return part_head(
        boundary,
        MediaType(APPLICATION_DICOM, {"transfer-syntax": syntax}),
        location=url_of(root, record),
        length=_length_of(reading, record, syntax),
        first=first,
    )


def _length_of(reading: Reading, record: InstanceRecord, syntax: str) -> int | None:
    if syntax != record.identity.transfer_syntax_uid:
        return None
    return reading.part10_length(record)


def _length_in_parts(
    reading: Reading, planned: Sequence[tuple[InstanceRecord, str]], root: str, boundary: str
) -> int | None:
    """Return the octets of the whole answer; None where something is decoded on the way."""
    total = len(closing(boundary))
    for place, (record, syntax) in enumerate(planned):
        length = _length_of(reading, record, syntax)
        if length is None:
            return None
        total += length + len(_object_head(reading, record, syntax, root, boundary, first=place == 0))
    return total


def _frame_head(boundary: str, part: MediaType, location: str, number: int, *, first: bool) -> bytes:
    return part_head(boundary, part, location=f"{location}/frames/{number}", first=first)


def _frame_heads_length(numbers: Sequence[int], part: MediaType, location: str, boundary: str) -> int:
    """Return the octets of an answer of frames, less those of the frames."""
    heads = (
        _frame_head(boundary, part, location, number, first=place == 0)
        for place, number in enumerate(numbers)
    )
    return sum(map(len, heads)) + len(closing(boundary))


def _json_array(reading: Reading, root: str) -> Iterator[bytes]:
    before = b"["
    for record, item in zip(reading.records, reading.metadata(), strict=True):
        url = url_of(root, record).encode("ascii")
        yield before + item.replace(MARKER, MARKER[:-1] + url)
        before = b","
    yield b"]"


def _bulk_part(reading: Reading, path: str, location: str, headers: dict[str, str]) -> Response:
    boundary = new_boundary()
    octets = reading.bulk(reading.record, path)
    part = MediaType(OCTET_STREAM, {"transfer-syntax": octets.transfer_syntax_uid})

    head = part_head(boundary, part, location=location, length=octets.length, first=True)

    def body() -> Iterator[bytes]:
        yield head
        yield from octets.stream()
        yield closing(boundary)

    def close(_complete: bool) -> None:
        octets.close()
        reading.close()

    headers["Content-Type"] = str(multipart_related(OCTET_STREAM, boundary=boundary))
    headers["Content-Length"] = str(len(head) + octets.length + len(closing(boundary)))
    return stream(body(), headers=headers, on_close=close)


def _bulk_range(request: Request, reading: Reading, path: str, headers: dict[str, str]) -> Response:
    octets = reading.bulk(reading.record, path)

    def close(_complete: bool) -> None:
        octets.close()
        reading.close()

    headers["Content-Type"] = str(MediaType(OCTET_STREAM, {"transfer-syntax": octets.transfer_syntax_uid}))
    headers["Accept-Ranges"] = "bytes"
    asked = request.headers.get("range")
    if_range = request.headers.get("if-range")
    if if_range is not None and if_range != headers["ETag"]:
        asked = None  # RFC 9110 13.1.5: another representation than the client has the rest of
    try:
        ranges = parse_ranges(asked, octets.length)
    except RangeNotSatisfiable:
        close(True)
        return Response(status_code=416, headers={**PRIVATE, "Content-Range": f"bytes */{octets.length}"})
    if ranges is None or len(ranges) != 1:
        # Several ranges may be answered with the whole (RFC 9110 14.2).
        headers["Content-Length"] = str(octets.length)
        return stream(octets.stream(), headers=headers, on_close=close)
    (only,) = ranges
    headers["Content-Length"] = str(only.length)
    headers["Content-Range"] = only.content_range(octets.length)
    return stream(octets.stream(only.first, only.length), status=206, headers=headers, on_close=close)
