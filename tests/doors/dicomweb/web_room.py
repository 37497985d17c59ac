"""The endpoints of this door over a real archive, without TLS and sign-in: those have their own tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from archive.room import CT, EXPLICIT, MODALITY, OPERATOR, READER, STRANGER, Image, Room
from leadglass.archive.deletion import Deletions
from leadglass.archive.rendering import Renderer
from leadglass.base.errors import LeadglassError
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.part10 import file_meta
from leadglass.dicom.sop_classes import ACCEPTED_STORAGE_CLASSES
from leadglass.dicom.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from leadglass.doors.dicomweb.services import Services
from leadglass.doors.https.endpoints import PRINCIPAL_KEY, Endpoint, Handler
from leadglass.doors.https.problems import error_response

BASE = "https://pacs.example"
ROOT_URL = f"{BASE}/dicom-web"
BOUNDARY = "0f9c2a51-boundary"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
WHO = {one.principal_id: one for one in (MODALITY, OPERATOR, READER, STRANGER)}


def services_of(room: Room) -> Services:
    """Return what the door is given, of a room's archive; what a test does not use is not there."""
    absent: Any = None
    return Services(
        access=room.access,
        ingest=room.ingest,
        finder=room.finder,
        reader=getattr(room, "reader", absent),
        renderer=Renderer(room.transcoder),
        deletions=Deletions(room.access, room.index, room.writer),
        clock=room.clock,
        storage_sop_classes=frozenset(ACCEPTED_STORAGE_CLASSES),
        transfer_syntaxes=frozenset({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN}),
        base_url=BASE,
    )


def _handled(endpoint: Endpoint) -> Handler:
    async def handle(request: Request) -> Response:
        request.scope[PRINCIPAL_KEY] = WHO[request.headers["x-who"]]
        try:
            return await endpoint.handler(request)
        except LeadglassError as error:
            return error_response(error, request.scope)

    return handle


@contextmanager
def client_of(endpoints: list[Endpoint], who: str = MODALITY.principal_id) -> Iterator[TestClient]:
    """Return a client of these endpoints that is signed in as ``who``."""
    app = Starlette(routes=[Route(e.path, _handled(e), methods=[e.method]) for e in endpoints])
    with TestClient(app, base_url=BASE, headers={"x-who": who}) as client:
        yield client


def part10(of: Image, *, preamble: bytes = bytes(128), syntax: str = EXPLICIT, sop_class: str = CT) -> bytes:
    """Return an image as the file that a client has."""
    identity = ObjectIdentity(UID(of.study), UID(of.series), UID(of.instance), UID(sop_class), UID(syntax))
    return preamble + file_meta(identity)[128:] + of.dataset


def multipart(*parts: bytes, media_type: str = "application/dicom", boundary: str = BOUNDARY) -> bytes:
    """Return a body of these parts."""
    head = f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
