"""STOW-RS of DICOM JSON with bulk values."""

import json
from collections.abc import Iterator

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from archive.room import CT, Image, Room, image
from doors.dicomweb.web_room import BOUNDARY, client_of, services_of
from leadglass.dicom import values
from leadglass.dicom.json import dataset_to_json
from leadglass.doors.dicomweb import stow_json
from leadglass.doors.dicomweb.stow import endpoints

RELATED = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
JSON, OCTETS = "application/dicom+json", "application/octet-stream"
LOCATION = "bulk/1"


@pytest.fixture
def client(room: Room) -> Iterator[TestClient]:
    with client_of(endpoints(services_of(room))) as made:
        yield made


def body(*parts: tuple[str, str, bytes]) -> bytes:
    """Return a body of parts: media type, location, octets."""
    return (
        b"".join(
            f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Location: {location}\r\n\r\n".encode()
            + octets
            + b"\r\n"
            for media_type, location, octets in parts
        )
        + f"--{BOUNDARY}--\r\n".encode()
    )


def metadata(*images: Image, location: str = LOCATION) -> bytes:
    """Return the metadata of images, their pixels elsewhere."""
    found = []
    for one in images:
        document = json.loads(dataset_to_json(one.dataset))
        document["7FE00010"] = {"vr": "OW", "BulkDataURI": location}
        found.append(document)
    return json.dumps(found).encode()


def pixels(of: Image) -> bytes:
    return values.read_dataset(of.dataset)[0x7FE0_0010].value


def post(client: TestClient, content: bytes, content_type: str = RELATED) -> Response:
    return client.post("/dicom-web/studies", content=content, headers={"content-type": content_type})


def test_metadata_and_bulk_values_become_the_object(room: Room, client: TestClient) -> None:
    one = image(pixels=100_000)
    response = post(client, body((JSON, "m", metadata(one)), (OCTETS, LOCATION, pixels(one))))
    assert response.status_code == 200
    held = values.read_dataset(room.held(one))
    expected = values.read_dataset(one.dataset)
    del held[values.SPECIFIC_CHARACTER_SET]
    assert held == expected


def test_several_instances_may_share_a_value(room: Room, client: TestClient) -> None:
    images = image(1), image(2)
    response = post(client, body((JSON, "m", metadata(*images)), (OCTETS, LOCATION, b"\1\2" * 8)))
    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 2
    assert values.read_dataset(room.held(images[1]))[0x7FE0_0010].value == b"\1\2" * 8


def test_metadata_alone(room: Room, client: TestClient) -> None:
    one = image()
    response = post(client, b"[" + dataset_to_json(one.dataset) + b"]", JSON)
    assert response.status_code == 200
    assert pixels(Image(one.study, one.series, one.instance, room.held(one))) == pixels(one)


def test_each_instance_is_answered_for(client: TestClient) -> None:
    good, other = json.loads(dataset_to_json(image(1).dataset)), json.loads(dataset_to_json(image(2).dataset))
    other["00080016"]["Value"] = ["1.2.840.10008.1.1"]
    nothing: dict[str, object] = {}
    response = post(client, json.dumps([good, other, nothing]).encode(), JSON)
    assert response.status_code == 202
    module = response.json()
    assert module["00081199"]["Value"][0]["00081150"]["Value"] == [CT]
    assert module["00081198"]["Value"][0]["00081197"]["Value"] == [0x0122]
    assert module["0008119A"]["Value"][0]["00081197"]["Value"] == [0xC000]


@pytest.mark.parametrize(
    "location",
    [
        "bulk/2",
        "https://evil.example/x",
        "file:///etc/passwd",
        "/dicom-web/studies/1.2/bulkdata/7FE00010",
        "",
    ],
)
def test_a_bulk_data_uri_leads_nowhere_else(room: Room, client: TestClient, location: str) -> None:
    """S39, S78."""
    one = image()
    response = post(client, body((JSON, "m", metadata(one, location=location)), (OCTETS, LOCATION, b"12")))
    assert response.status_code == 400
    room.writer.barrier()
    assert room.index.counts().instances == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (body((OCTETS, LOCATION, b"12")), 415),
        (body((JSON, "m", b"[]"), (JSON, "n", b"[]")), 415),
        (body((JSON, "m", b"[]"), ("image/jpeg", LOCATION, b"12")), 415),
        (body((JSON, "m", b"[]"), (OCTETS, LOCATION, b"1"), (OCTETS, LOCATION, b"2")), 400),
        (body((JSON, "m", b"[]"), (OCTETS, "", b"1")), 400),
        (body((JSON, "m", b"[]")), 400),
        (body((JSON, "m", b"{")), 400),
        (body((JSON, "m", b"\xff")), 400),
        (body((JSON, "m", b"[" * 100_000)), 400),
        (body((JSON, "m", b'{"00081140":{"vr":"SQ","Value":[' * 1000)), 400),
        (body((JSON, "m", b" " * 17 * 1024 * 1024)), 413),
    ],
)
def test_what_is_malformed_or_costs_too_much(client: TestClient, content: bytes, status: int) -> None:
    """S77."""
    assert post(client, content).status_code == status


def test_only_a_few_at_once(client: TestClient) -> None:
    one = dataset_to_json(image().dataset)
    held = []
    while stow_json.uploads_at_once.acquire(blocking=False):
        held.append(1)
    try:
        assert post(client, one, JSON).status_code == 503
    finally:
        stow_json.uploads_at_once.release(len(held))
    assert post(client, one, JSON).status_code == 200
