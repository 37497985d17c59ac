"""STOW-RS: instances arrive over HTTPS. Source: PS3.18 10.5.

A body of files is read while it comes and each octet goes on to ingest, so memory depends neither on the length of a part
nor on the number of parts; JSON is another matter (``stow_json``). Each instance is answered for by itself. What was stored before a body broke off, or turned out
malformed, is held; a client that sends all of it again is answered that it is.

The preamble of a file is dropped (whoever put something there could have put a program there), and its file meta is
written anew, as on import.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.ingest import Incoming, StoreRequest, StoreSession
from leadglass.base.errors import DatasetRefused, LeadglassError, RequestRefused
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import UNREADABLE_PARTS_MAX
from leadglass.base.objects import Origin
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.doors.dicomweb.services import ROOT, Services, uid_in_path
from leadglass.doors.dicomweb.store_report import (
    CANNOT_UNDERSTAND,
    COERCION_OF_DATA_ELEMENTS,
    SOP_CLASS_NOT_SUPPORTED,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    StoreReport,
    reason_of,
)
from leadglass.doors.dicomweb.stow_json import take_json
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import BodyReader, with_body
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission
from leadglass.wire.dicomweb.media_types import (
    APPLICATION_DICOM,
    DICOM_JSON,
    JSON,
    MULTIPART_RELATED,
    PROBLEM_JSON,
    MediaType,
    acceptable,
    choose,
    parse_media_type,
)
from leadglass.wire.dicomweb.multipart import (
    MultipartReader,
    PartBegins,
    PartData,
    PartEnds,
    boundary_of,
)

_ANSWERS: Final = (MediaType(DICOM_JSON), MediaType(JSON))
_TAKEN: Final = frozenset({APPLICATION_DICOM, DICOM_JSON})
_RETRY_SECONDS: Final = 5


class Part(Protocol):
    """One part of a body, while it comes."""

    def write(self, data: memoryview) -> None:
        """Take more of it, in any cut; never raises a refusal."""
        ...

    def finish(self) -> None:
        """It was whole: report what became of it."""
        ...

    def abort(self) -> None:
        """Forget it, unless it is finished."""
        ...


class Upload:
    """One request: its session with the archive, and what it is answered. Owned by one thread."""

    def __init__(
        self,
        services: Services,
        principal: Principal,
        session: StoreSession,
        report: StoreReport,
        study_uid: UID | None,
    ) -> None:
        self.services = services
        self.principal = principal
        self.session = session
        self.report = report
        self.study_uid = study_uid
        self._unreadable = 0

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Incoming | None:
        """Begin an instance of which these UIDs are claimed; None where it is refused, and reported, at once.

        Raises:
            DatasetRefused: what is claimed are no UIDs.
        """
        if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid) and is_uid(transfer_syntax_uid)):
            raise DatasetRefused("the file meta has no UIDs (PS3.10 7.1)")
        request = StoreRequest(
            UID(sop_class_uid), UID(sop_instance_uid), UID(transfer_syntax_uid), study_uid=self.study_uid
        )
        refused = self._objection(request)
        if refused is None:
            return self.session.begin(request)
        reason = reason_of(refused)
        try:
            self.session.record_refusal(request, refused, 0)
        except LeadglassError as error:
            reason = reason_of(error)
        self.report.failed(sop_class_uid, sop_instance_uid, reason)
        return None

    def _objection(self, request: StoreRequest) -> DatasetRefused | None:
        """Return why an instance is not stored here, as over DIMSE its presentation context would not be."""
        if request.sop_class_uid not in self.services.storage_sop_classes:
            return DatasetRefused(
                "objects of that SOP class are not stored here", dimse_status=SOP_CLASS_NOT_SUPPORTED
            )
        if request.transfer_syntax_uid not in self.services.transfer_syntaxes:
            return DatasetRefused(
                "objects in that transfer syntax are not stored here",
                dimse_status=TRANSFER_SYNTAX_NOT_SUPPORTED,
            )
        return None

    def finish(self, incoming: Incoming, sop_class_uid: str, sop_instance_uid: str) -> None:
        """End an instance and report what became of it."""
        try:
            stored = incoming.finish()
        except LeadglassError as error:
            self.report.failed(sop_class_uid, sop_instance_uid, reason_of(error))
            return
        identity = incoming.identity
        assert identity is not None
        self.report.stored(identity, COERCION_OF_DATA_ELEMENTS if stored.in_other_encoding else 0)

    def unreadable(self, error: LeadglassError) -> None:
        """Report, and put on record, something that says not even what it is.

        Raises:
            RequestRefused: 400, there was too much of that: each costs an event of the log.
        """
        self.services.access.record_refused(self.principal, EventCode.INSTANCE_REFUSED, error)
        self.report.unreadable(reason_of(error))
        self._unreadable += 1
        if self._unreadable > UNREADABLE_PARTS_MAX:
            raise RequestRefused("too many parts are no DICOM files; the rest is not looked at")


class Part10File:
    """A part that is a DICOM file. Implements ``Part``."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._prefix = bytearray()
        self._incoming: Incoming | None = None
        self._refused = False
        self._sop_class_uid = ""
        self._sop_instance_uid = ""

    def write(self, data: memoryview) -> None:
        """Take more of the file."""
        if self._incoming is not None:
            self._incoming.write(data)
        elif not self._refused:
            self._prefix += data
            if len(self._prefix) >= FILE_META_BYTES_MAX:
                self._begin()

    def finish(self) -> None:
        """The file is whole."""
        if self._incoming is None and not self._refused:
            self._begin()
        if self._incoming is not None:
            self._upload.finish(self._incoming, self._sop_class_uid, self._sop_instance_uid)

    def abort(self) -> None:
        """Forget it, unless it is finished."""
        if self._incoming is not None:
            self._incoming.abort()

    def _begin(self) -> None:
        try:
            meta = read_file_meta(bytes(self._prefix[:FILE_META_BYTES_MAX]))
            if meta.guessed:
                raise DatasetRefused("the part is no DICOM file: it has no file meta (PS3.10 7.1)")
            self._sop_class_uid, self._sop_instance_uid = meta.sop_class_uid, meta.sop_instance_uid
            self._incoming = self._upload.begin(
                meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
            )
        except DatasetRefused as error:
            self._upload.unreadable(error)
        else:
            if self._incoming is not None:
                self._incoming.write(memoryview(self._prefix)[meta.dataset_offset :])
        self._refused = self._incoming is None
        self._prefix = bytearray()


class NotTaken:
    """A part of a media type that says nothing to us. Implements ``Part``."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def write(self, data: memoryview) -> None:
        """Pass over it."""

    def finish(self) -> None:
        """Report that it was not taken."""
        self._upload.unreadable(
            DatasetRefused("a part is of another media type than its body", dimse_status=CANNOT_UNDERSTAND)
        )

    def abort(self) -> None:
        """Nothing is held."""


def store(
    services: Services,
    principal: Principal,
    root: str,
    study_uid: UID | None,
    media_type: MediaType,
    pieces: Iterable[bytes | memoryview],
) -> StoreReport:
    """Take the body of a request, and report on each instance of it. Blocks while the body comes.

    Args:
        services: of this door.
        principal: who sends.
        root: absolute URL of the service.
        study_uid: the study that the URL names, or None.
        media_type: Content-Type of the body.
        pieces: of the body, as they come.

    Raises:
        AccessDenied: they may not store anything.
        RequestRefused: a body of another type (415), malformed (400) or of too many parts (413), of which nothing was
            stored.
        PeerUnreachable: the client went away; what was whole by then is held.
        OutOfResources: too many bodies of JSON at once.
        AuditUnavailable: the refusal of a part cannot be put on record.
    """
    kind, events = _opened(media_type, pieces)
    grant = services.access.permit(principal, Permission.INSTANCE_STORE)
    session = services.ingest.session(grant, origin_of(principal, services))
    report = StoreReport(root)
    upload = Upload(services, principal, session, report, study_uid)
    try:
        if kind == DICOM_JSON:
            take_json(upload, events)
        else:
            _take(upload, events)
    except RequestRefused as error:
        if not report.any_stored:
            raise
        report.unreadable(reason_of(error))
        services.access.record_refused(principal, EventCode.INSTANCE_REFUSED, error)
    finally:
        session.close_packs()
    if report.empty:
        raise RequestRefused("the body has no instance")
    return report


def origin_of(principal: Principal, services: Services) -> Origin:
    """Return who sends, in the words of a record's footer."""
    return Origin(
        principal=principal.principal_id,
        calling_ae_title=principal.ae_title,
        called_ae_title="",
        address=principal.address,
        certificate_sha256=principal.certificate_sha256,
        received_at=services.clock.now(),
        correlation_id=principal.correlation_id,
    )


def _opened(
    media_type: MediaType, pieces: Iterable[bytes | memoryview]
) -> tuple[str, Iterator[PartBegins | PartData | PartEnds]]:
    """Return what a body consists of, files or JSON, and its parts."""
    if media_type.essence == MULTIPART_RELATED:
        kind = media_type.type_ or APPLICATION_DICOM
        if kind not in _TAKEN:
            raise _unsupported()
        return kind, _events(MultipartReader(boundary_of(media_type), kind), pieces)
    if media_type.essence not in _TAKEN:
        raise _unsupported()
    return media_type.essence, _single(media_type, pieces)


def _unsupported() -> RequestRefused:
    return RequestRefused(
        "application/dicom or application/dicom+json is expected, or multipart/related of one of them",
        http_status=415,
    )


def _events(
    reader: MultipartReader, pieces: Iterable[bytes | memoryview]
) -> Iterator[PartBegins | PartData | PartEnds]:
    for piece in pieces:
        yield from reader.feed(bytes(piece))
    reader.finish()


def _single(
    media_type: MediaType, pieces: Iterable[bytes | memoryview]
) -> Iterator[PartBegins | PartData | PartEnds]:
    yield PartBegins({}, media_type)
    for piece in pieces:
        yield PartData(memoryview(piece))
    yield PartEnds()


def _take(upload: Upload, events: Iterable[PartBegins | PartData | PartEnds]) -> None:
    part: Part = NotTaken(upload)
    try:
        for event in events:
            match event:
                case PartBegins(media_type=media_type):
                    taken = media_type.essence == APPLICATION_DICOM
                    part = Part10File(upload) if taken else NotTaken(upload)
                case PartData(data=data):
                    part.write(data)
                case PartEnds():
                    part.finish()
    finally:
        part.abort()  # harmless for one that is finished


# --- the endpoints ---------------------------------------------------------------------------------------------


class _Stow:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def to_any_study(self, request: Request) -> Response:
        return await self._store(request, None)

    async def to_study(self, request: Request) -> Response:
        return await self._store(request, uid_in_path(request, "study"))

    async def _store(self, request: Request, study_uid: UID | None) -> Response:
        services = self._services
        answer = choose(_ANSWERS, acceptable(request.headers.get("accept")))
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise RequestRefused("compressed bodies are not taken", http_status=415)
        content_type = request.headers.get("content-type")
        if content_type is None:
            raise _unsupported()
        media_type = parse_media_type(content_type)
        principal = principal_of(request)
        root = services.root_of(request)

        def take(body: BodyReader) -> StoreReport:
            return store(services, principal, root, study_uid, media_type, body)

        report = await with_body(request, take)
        headers = {"Retry-After": str(_RETRY_SECONDS)} if report.status == 503 else {}
        return Response(report.document(), report.status, headers, str(answer))


_OBJECT: Final[dict[str, object]] = {"schema": {"type": "object"}}


def _module(description: str) -> dict[str, object]:
    """Return a response that is a Store Instances Response Module (PS3.18 Annex I)."""
    return {"description": description, "content": {DICOM_JSON: _OBJECT, JSON: _OBJECT}}


def _problem(description: str) -> dict[str, object]:
    return {"description": description, "content": {PROBLEM_JSON: _OBJECT}}


def _operation(operation_id: str, summary: str, *, in_study: bool) -> dict[str, object]:
    parameters = [
        {
            "name": "study",
            "in": "path",
            "required": True,
            "description": "Study Instance UID",
            "schema": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$", "maxLength": 64},
        }
    ]
    body = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": operation_id,
        "tags": ["STOW-RS"],
        "summary": summary,
        "parameters": parameters if in_study else [],
        "requestBody": {
            "required": True,
            "content": {
                'multipart/related; type="application/dicom"': body,
                APPLICATION_DICOM: body,
                'multipart/related; type="application/dicom+json"': body,
                DICOM_JSON: {"schema": {"type": "array", "items": {"type": "object"}}},
            },
        },
        "responses": {
            "200": _module("all instances are held"),
            "202": _module("some are held, or with warnings; the module says which"),
            "400": _problem("malformed; nothing is held"),
            "403": _problem("not authorized to store"),
            "406": _problem("answers are application/dicom+json"),
            "409": _module("no instance is held; the module says why"),
            "413": _problem("more parts, or longer headers of one, than are taken"),
            "415": _problem("not a media type that is stored, or a compressed body"),
            "503": {
                "description": "no room, or the audit log takes nothing; try again later",
                "content": {DICOM_JSON: _OBJECT, JSON: _OBJECT, PROBLEM_JSON: _OBJECT},
            },
        },
    }


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoints of STOW-RS."""
    stow = _Stow(services)
    return [
        Endpoint(
            "POST",
            f"{ROOT}/studies",
            stow.to_any_study,
            _operation("storeInstances", "Store instances of any study", in_study=False),
            body_bytes_max=None,
        ),
        Endpoint(
            "POST",
            f"{ROOT}/studies/{{study}}",
            stow.to_study,
            _operation("storeInstancesOfStudy", "Store instances of one study", in_study=True),
            body_bytes_max=None,
        ),
    ]
