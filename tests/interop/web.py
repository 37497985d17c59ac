"""Peers of the HTTPS side: clients that show a device's certificate, and a raw view of what they receive.

dicomweb-client hands over data sets that pydicom has parsed; here the octets of its multipart reader are kept, so that a
comparison says something.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from interop.peers import RawObject
from running_node import DeviceFiles, Site

Foreign = Any
CONFLICT = 409
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True)
class Gateway:
    """A device that speaks DICOMweb: dicomweb-client, and the same by hand where it has no verb."""

    client: Foreign
    http: httpx2.Client
    url: str

    def post(self, files: Sequence[bytes], study: str = "") -> tuple[dict[str, int], dict[str, int]]:
        """Store Part 10 files with dicomweb-client's writer; return who was taken and who was not, with reasons.

        What was refused before it could be named stands under an empty UID.
        """
        url = f"{self.url}/studies" + (f"/{study}" if study else "")
        try:
            answer = self.client._http_post_multipart_application_dicom(url, files)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != CONFLICT:
                raise
            answer = Dataset.from_json(error.response.json())
        taken = {
            str(item.ReferencedSOPInstanceUID): int(item.get("WarningReason", 0))
            for item in answer.get("ReferencedSOPSequence", ())
        }
        refused = {
            str(item.get("ReferencedSOPInstanceUID", "")): int(item.FailureReason)
            for item in (*answer.get("FailedSOPSequence", ()), *answer.get("OtherFailuresSequence", ()))
        }
        return taken, refused

    def get(self, path: str, accept: str = AS_STORED) -> Iterator[bytes]:
        """Retrieve with dicomweb-client's reader; yield the parts as octets."""
        answer = self.client._http_get(f"{self.url}{path}", headers={"Accept": accept}, stream=True)
        for part in self.client._decode_multipart_message(answer, stream=True):
            yield bytes(part)


@contextmanager
def gateway(node: Site, device: DeviceFiles) -> Iterator[Gateway]:
    """Open both clients with the certificate of ``device``."""
    url = f"https://localhost:{node.https_port}/dicom-web"
    context = ssl.create_default_context(cafile=device.authority)
    context.load_cert_chain(device.certificate, device.key)
    with requests.Session() as session, httpx2.Client(verify=context, trust_env=False, timeout=120) as http:
        session.trust_env = False  # the environment may name other authorities
        session.verify = str(device.authority)
        session.cert = (str(device.certificate), str(device.key))
        yield Gateway(DICOMwebClient(url, session=session, timeout=120), http, url)


def part10(item: RawObject) -> bytes:
    """Return a file as pydicom would write its head, with the data set as it is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(item.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(item.sop_instance_uid)
    meta.TransferSyntaxUID = UID(item.transfer_syntax_uid)
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    return bytes(128) + b"DICM" + head.getvalue() + item.dataset
