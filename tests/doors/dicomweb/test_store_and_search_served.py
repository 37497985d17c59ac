"""Storing, searching and deleting through the real server over TLS, with dicomweb-client and with rude clients."""

import http.client
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from archive.room import MODALITY, OPERATOR, READER, STRANGER, Room, element, image
from doors.dicomweb.web_room import BOUNDARY, RELATED, multipart, part10, services_of
from doors.https.running import Running, running
from leadglass.base.limits import MIB
from leadglass.doors.dicomweb import capabilities, deletion, qido, stow
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import NotAuthenticated, Presented, Principal

TOKENS = {"modality": MODALITY, "reader": READER, "operator": OPERATOR, "stranger": STRANGER}


class Tokens:
    """Believes a token for each principal of the room."""

    def authenticate(self, presented: Presented) -> Principal | NotAuthenticated:
        found = TOKENS.get(presented.access_token.reveal().decode("latin-1"))
        if found is None:
            return NotAuthenticated("unknown token", "invalid_token")
        return replace(found, correlation_id=presented.correlation_id, address=presented.address)


@dataclass
class Served:
    running: Running
    room: Room
    authority: Path

    def client(self, token: str) -> DICOMwebClient:
        session = requests.Session()
        session.verify = str(self.authority)
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token}"
        client = DICOMwebClient(f"https://{self.running.host}/dicom-web", session=session)
        client.host = self.running.host  # its Host header leaves the port out (0.61)
        return client

    def post(self, body: object, **headers: str) -> int:
        given = {"Content-Type": RELATED} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.running.request(
            "POST", "/dicom-web/studies", body, token="modality", headers=given
        ).status


@pytest.fixture
def served(room: Room, tmp_path: Path) -> Iterator[Served]:
    services = replace(services_of(room), base_url="")
    endpoints = [*stow.endpoints(services), *qido.endpoints(services), *deletion.endpoints(services)]
    endpoints += capabilities.endpoints(services, endpoints)
    (tmp_path / "tls").mkdir()
    with running(tmp_path / "tls", endpoints=endpoints, authenticator=Tokens()) as made:
        authority = tmp_path / "ca.pem"
        authority.write_bytes(made.site.authority.certificate_pem)
        yield Served(made, room, authority)
        assert not made.failures


def test_dicomweb_client_stores_finds_and_deletes(served: Served) -> None:
    images = [image(number, pixels=300_000) for number in (1, 2)] + [image(1, "2")]
    datasets = [pydicom.dcmread(BytesIO(part10(one))) for one in images]
    stored = served.client("modality").store_instances(datasets)
    assert [item.ReferencedSOPInstanceUID for item in stored.ReferencedSOPSequence] == [
        one.instance for one in images
    ]
    assert "FailedSOPSequence" not in stored
    again = served.client("modality").store_instances(datasets[:2], study_instance_uid=images[0].study)
    assert again.RetrieveURL == f"https://{served.running.host}/dicom-web/studies/{images[0].study}"

    reader = served.client("reader")
    found = [pydicom.Dataset.from_json(one) for one in reader.search_for_studies(fields=["PatientSize"])]
    assert {one.StudyInstanceUID for one in found} == {images[0].study, images[2].study}
    assert len(reader.search_for_series(images[0].study)) == 1
    assert len(reader.search_for_instances(images[0].study, images[0].series)) == 2
    assert len(reader.search_for_instances(search_filters={"PatientID": "PID-2"})) == 1
    assert reader.search_for_studies(search_filters={"PatientName": "nobody"}) == []
    assert len(reader.search_for_studies(limit=1, offset=1, fuzzymatching=True)) == 1

    served.client("operator").delete_study(images[0].study)
    assert len(reader.search_for_studies()) == 1


def test_nobody_is_let_in_without_a_token(served: Served) -> None:
    for method, path in (
        ("POST", "/dicom-web/studies"),
        ("GET", "/dicom-web/studies"),
        ("DELETE", "/dicom-web/studies/1.2"),
        ("OPTIONS", "/dicom-web/"),
        ("GET", "/dicom-web/capabilities"),
    ):
        assert served.running.request(method, path, token="").status == 401


def test_memory_does_not_depend_on_the_size_of_an_object(served: Served) -> None:
    """The most that this process ever held does not grow by what passes through it."""
    pixels = 256 * MIB
    head = part10(image(1, pixels=0))[: -len(element(0x7FE00010, "OW", b""))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def pieces() -> Iterator[bytes]:
        yield multipart(b"")[: -len(f"\r\n--{BOUNDARY}--\r\n")] + head
        yield b"\xe0\x7f\x10\x00OW\0\0" + pixels.to_bytes(4, "little")
        for _ in range(pixels // MIB):
            yield b"\r\n" * (MIB // 2)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    assert served.post(pieces()) == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert served.room.index.counts().instances == 1


def test_a_client_that_goes_away_leaves_nothing_half(served: Served) -> None:
    one, two = image(1), image(2, pixels=500_000)
    body = multipart(part10(one), part10(two))
    with served.running.connect() as connection:
        connection.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {served.running.host}\r\nAuthorization: Bearer modality\r\n"
            f"Content-Type: {RELATED}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:-1000]
        )
    # The next upload is answered when the thread of the one before is free again, or beside it: either way the first
    # instance is whole and the second is not.
    assert served.post(multipart(part10(image(1, "9")))) == 200
    reader = served.client("reader")
    assert reader.search_for_instances(search_filters={"SOPInstanceUID": two.instance}) == []
    assert served.post(body) == 200
    assert len(reader.search_for_instances(one.study)) == 2
    assert served.room.counted(EventCode.INSTANCE_STORED) == 3


@pytest.mark.parametrize("length", ["99999999999999999999", "-1", "1e3", "0x10"])
def test_a_length_that_lies_costs_nothing(served: Served, length: str) -> None:
    """S75: nothing is set aside for what is only announced."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with served.running.connect() as connection:
        connection.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {served.running.host}\r\nAuthorization: Bearer modality\r\n"
            f"Content-Type: {RELATED}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
    assert served.post(multipart(part10(image()))) == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_a_shorter_body_than_announced_is_no_success(served: Served) -> None:
    body = multipart(part10(image()))
    connection = http.client.HTTPSConnection(
        "localhost", served.running.server.port, context=served.running.context(), timeout=20
    )
    connection.putrequest("POST", "/dicom-web/studies")
    connection.putheader("Authorization", "Bearer modality")
    connection.putheader("Content-Type", RELATED)
    connection.putheader("Content-Length", str(len(body) - 10))
    connection.endheaders(body[:-10])
    assert connection.getresponse().status == 400
    connection.close()


def test_searches_are_bounded_and_headers_are_safe(served: Served) -> None:
    answer = served.running.request("GET", "/dicom-web/studies?PatientName=" + "*a" * 60, token="reader")
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "*a*a" not in answer.body.decode()
    empty = served.running.request("GET", "/dicom-web/studies?PatientID=nobody", token="reader")
    assert (empty.status, empty.body) == (204, b"")
    assert empty.headers["cache-control"].startswith("no-store")
