"""STOW-RS of DICOM JSON: metadata first, bulk values in parts of their own. Source: PS3.18 10.5.1.2, 8.6, Annex F.

A data set can only be put together when all of its values are there, so everything is held in memory, and few such requests
are served at once. Who has large objects sends files. A BulkDataURI leads to a part of the same body and nowhere else:
nothing is ever fetched.
"""

import threading
from collections.abc import Iterable
from typing import Final, Protocol

from leadglass.archive.ingest import Incoming
from leadglass.base.errors import DatasetRefused, LeadglassError, OutOfResources, RequestRefused
from leadglass.base.limits import JSON_BULK_BYTES_MAX, JSON_BYTES_MAX, JSON_UPLOADS_MAX
from leadglass.dicom import values
from leadglass.dicom.json import json_to_datasets
from leadglass.dicom.values import Dataset
from leadglass.wire.dicomweb.media_types import DICOM_JSON, OCTET_STREAM
from leadglass.wire.dicomweb.multipart import PartBegins, PartData, PartEnds

_SOP_CLASS_UID: Final = 0x0008_0016
_SOP_INSTANCE_UID: Final = 0x0008_0018
_WRITTEN_BYTES: Final = 1024 * 1024

uploads_at_once: Final = threading.BoundedSemaphore(JSON_UPLOADS_MAX)


class Upload(Protocol):
    """What is needed of ``stow.Upload``."""

    def begin(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Incoming | None:
        """Begin an instance; None where it is refused, and reported, at once."""
        ...

    def finish(self, incoming: Incoming, sop_class_uid: str, sop_instance_uid: str) -> None:
        """End an instance and report what became of it."""
        ...

    def unreadable(self, error: LeadglassError) -> None:
        """Report something that says not even what it is."""
        ...


def take_json(upload: Upload, events: Iterable[PartBegins | PartData | PartEnds]) -> None:
    """Take a body of metadata and bulk values.

    Raises:
        RequestRefused: 400, not the DICOM JSON model, or a BulkDataURI without its part; 413, more than is held in memory;
            415, a part of another type. Nothing is stored then.
        OutOfResources: too many such bodies at once.
    """
    if not uploads_at_once.acquire(blocking=False):
        raise OutOfResources("too many uploads of DICOM JSON at once")
    try:
        metadata, bulk = _collected(events)
        for dataset in _datasets(metadata, bulk):
            _store(upload, dataset)
    finally:
        uploads_at_once.release()


def _collected(events: Iterable[PartBegins | PartData | PartEnds]) -> tuple[bytes, dict[str, bytes]]:
    """Return the metadata, and the bulk values by their Content-Location."""
    metadata: bytes | None = None
    bulk: dict[str, bytes] = {}
    location = ""
    octets = 0
    part = bytearray()
    for event in events:
        match event:
            case PartBegins(media_type=media_type):
                expected = DICOM_JSON if metadata is None else OCTET_STREAM
                if media_type.essence != expected:
                    raise RequestRefused(
                        "metadata of application/dicom+json, then bulk values of application/octet-stream "
                        "are expected",
                        http_status=415,
                    )
                location = event.location
                part = bytearray()
                if metadata is not None and (not location or location in bulk):
                    raise RequestRefused("a bulk value without a Content-Location of its own")
            case PartData(data=data):
                octets += len(data)
                if octets > (JSON_BYTES_MAX if metadata is None else JSON_BYTES_MAX + JSON_BULK_BYTES_MAX):
                    raise RequestRefused("more than is held in memory: send files", http_status=413)
                part += data
            case PartEnds():
                if metadata is None:
                    metadata = bytes(part)
                else:
                    bulk[location] = bytes(part)
    if metadata is None:
        raise RequestRefused("the body has no metadata")
    return metadata, bulk


def _datasets(metadata: bytes, bulk: dict[str, bytes]) -> list[Dataset]:
    def resolve(uri: str) -> bytes:
        try:
            return bulk[uri]
        except KeyError:
            raise DatasetRefused("a BulkDataURI that no part of the body has as its location") from None

    try:
        return json_to_datasets(metadata, resolve)
    except DatasetRefused as error:
        raise RequestRefused(str(error)) from error


def _store(upload: Upload, dataset: Dataset) -> None:
    sop_class_uid, sop_instance_uid = (_uid(dataset, tag) for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID))
    try:
        incoming = upload.begin(sop_class_uid, sop_instance_uid, values.EXPLICIT_LITTLE_ENDIAN)
    except DatasetRefused as error:
        upload.unreadable(error)
        return
    if incoming is None:
        return
    try:
        octets = memoryview(values.write_dataset(dataset.values()))
        for start in range(0, len(octets), _WRITTEN_BYTES):
            incoming.write(octets[start : start + _WRITTEN_BYTES])
        upload.finish(incoming, sop_class_uid, sop_instance_uid)
    finally:
        incoming.abort()  # harmless when it is finished


def _uid(dataset: Dataset, tag: int) -> str:
    element = dataset.get(tag)
    texts = () if element is None else values.texts_of(element, values.character_set(""))
    return texts[0] if texts else ""
