"""Retrieve Service: what comes out is what was stored, in the form that was asked for, on record, and nobody else's."""

import json
import re
from collections.abc import Iterator
from email.utils import format_datetime
from io import BytesIO

import pytest
from pydicom import dcmread
from starlette.testclient import TestClient

from archive.room import EXPLICIT, READER, STRANGER, Room, facts
from doors.dicomweb.pictures import JPEG, MPEG2, Picture, picture
from doors.dicomweb.web_room import ROOT_URL, client_of, services_of
from leadglass.base.errors import IntegrityError, RequestRefused
from leadglass.base.limits import FRAMES_PER_REQUEST_MAX
from leadglass.doors.dicomweb import wado
from leadglass.trust.audit.interfaces import EventCode
from leadglass.wire.dicomweb.media_types import parse_media_type
from leadglass.wire.dicomweb.multipart import MultipartReader, PartBegins, PartData, boundary_of

DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture
def reader(room: Room) -> Iterator[TestClient]:
    with client_of(wado.endpoints(services_of(room)), READER.principal_id) as client:
        yield client


@pytest.fixture
def stranger(room: Room) -> Iterator[TestClient]:
    with client_of(wado.endpoints(services_of(room)), STRANGER.principal_id) as client:
        yield client


def parts_of(content_type: str, body: bytes) -> list[tuple[PartBegins, bytes]]:
    reader = MultipartReader(boundary_of(parse_media_type(content_type)))
    parts: list[tuple[PartBegins, bytes]] = []
    for event in reader.feed(body):
        if isinstance(event, PartBegins):
            parts.append((event, b""))
        elif isinstance(event, PartData):
            parts[-1] = (parts[-1][0], parts[-1][1] + bytes(event.data))
    reader.finish()
    return parts


def get(client: TestClient, path: str, accept: str = "*/*", **headers: str) -> list[tuple[PartBegins, bytes]]:
    answer = client.get(path, headers={"accept": accept, **headers})
    assert answer.status_code == 200, answer.text
    assert int(answer.headers.get("content-length", len(answer.content))) == len(answer.content)
    return parts_of(answer.headers["content-type"], answer.content)


# --- whole objects ---------------------------------------------------------------------------------------------


def test_a_study_comes_out_as_it_went_in(room: Room, reader: TestClient) -> None:
    images = [picture(number, series=1 + number % 2) for number in range(1, 5)]
    room.store(*images)
    parts = get(reader, images[0].study_path, DICOM)
    assert {begin.location for begin, _ in parts} == {f"https://pacs.example{image.path}" for image in images}
    by_location = {begin.location: octets for begin, octets in parts}
    for image in images:
        octets = by_location[f"https://pacs.example{image.path}"]
        assert octets[:132] == bytes(128) + b"DICM"
        assert octets.endswith(image.dataset)
        assert dcmread(BytesIO(octets)).SOPInstanceUID == image.instance
    series = get(reader, images[0].path.rpartition("/instances")[0], DICOM)
    assert len(series) == 2
    (ended, *_) = room.entries(EventCode.RETRIEVE_ENDED)
    assert facts(ended)["completed"] == 4
    assert facts(ended)["failed"] == 0


def test_one_instance_with_or_without_parts(room: Room, reader: TestClient) -> None:
    image = picture()
    room.store(image)
    ((begin, octets),) = get(reader, image.path, DICOM)
    answer = reader.get(image.path, headers={"accept": "application/dicom"})
    assert answer.content == octets
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert str(begin.media_type) == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert begin.headers["content-length"] == str(len(octets))
    # application/dicom alone is not for more than one.
    assert reader.get(image.study_path, headers={"accept": "application/dicom"}).status_code == 406


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (DICOM, EXPLICIT),
        (f"{DICOM}; transfer-syntax=*", JPEG),
        (f"{DICOM}; transfer-syntax={JPEG}", JPEG),
        (f"{DICOM}; transfer-syntax={EXPLICIT}", EXPLICIT),
        (f"{DICOM}; transfer-syntax={EXPLICIT}, {DICOM}; transfer-syntax={JPEG}", JPEG),
        ("*/*", EXPLICIT),
        ("multipart/related; type=application/dicom", EXPLICIT),
    ],
)
def test_transfer_syntaxes_are_negotiated(room: Room, reader: TestClient, accept: str, expected: str) -> None:
    image = picture(syntax=JPEG, frames=2)
    room.store(image)
    ((begin, octets),) = get(reader, image.path, accept)
    assert begin.media_type.transfer_syntax == expected
    dataset = dcmread(BytesIO(octets))
    assert dataset.file_meta.TransferSyntaxUID == expected
    if expected == JPEG:
        assert octets.endswith(image.dataset)
    else:
        assert len(dataset.PixelData) == 2 * 64 * 64


@pytest.mark.parametrize("syntax", [IMPLICIT, "1.2.840.10008.1.2.4.80", "1.2.3"])
def test_what_cannot_be_had_is_said(room: Room, reader: TestClient, syntax: str) -> None:
    image = picture()
    room.store(image)
    answer = reader.get(image.path, headers={"accept": f"{DICOM}; transfer-syntax={syntax}"})
    assert answer.status_code == 406


def test_a_video_comes_as_it_is_unless_something_else_is_named(room: Room, reader: TestClient) -> None:
    image = picture(syntax=MPEG2, streams=(b"\0\0\1\xb3video!",))
    room.store(image)
    ((begin, octets),) = get(reader, image.path, DICOM)
    assert begin.media_type.transfer_syntax == MPEG2
    assert octets.endswith(image.dataset)
    wanted = {"accept": f"{DICOM}; transfer-syntax={EXPLICIT}"}
    assert reader.get(image.path, headers=wanted).status_code == 406


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png", "application/dicom+xml", "application/dicom;q=0"]
)
def test_other_forms_are_refused_before_anything_is_looked_for(
    room: Room, reader: TestClient, accept: str
) -> None:
    room.store(picture())
    before = room.audit.size()
    assert reader.get(picture().path, headers={"accept": accept}).status_code == 406
    assert reader.get(picture(7, "7").path, headers={"accept": accept}).status_code == 406
    assert room.audit.size() == before


def test_damage_cuts_the_answer_off(room: Room, reader: TestClient) -> None:
    images = [picture(number, size=700) for number in (1, 2, 3)]
    room.store(*images)
    (pack,) = room.packs()
    octets = bytearray(pack.read_bytes())
    octets[len(octets) // 2] ^= 1
    pack.write_bytes(octets)
    with pytest.raises(IntegrityError):
        reader.get(images[0].study_path, headers={"accept": DICOM})
    assert room.counted(EventCode.INTEGRITY_FAILED) == 1
    (ended,) = room.entries(EventCode.RETRIEVE_ENDED)
    assert facts(ended)["failed"] >= 1


# --- who may --------------------------------------------------------------------------------------------------


PATHS = ["", "/metadata", "/frames/1", "/bulkdata/7FE00010"]


@pytest.mark.parametrize("suffix", PATHS)
def test_hidden_is_missing_to_the_last_octet(room: Room, stranger: TestClient, suffix: str) -> None:
    room.store(picture())
    hidden = stranger.get(picture().path + suffix)
    missing = stranger.get(picture(8, "8").path + suffix)
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)
    assert hidden.status_code in {403, 404}
    assert hidden.headers == missing.headers
    assert room.counted(EventCode.INSTANCE_VIEWED) == room.counted(EventCode.RETRIEVE_STARTED) == 0


@pytest.mark.parametrize("suffix", PATHS)
def test_missing_is_404_and_nonsense_400(room: Room, reader: TestClient, suffix: str) -> None:
    room.store(picture())
    path = picture().path
    assert reader.get(picture(2).path + suffix).status_code == 404
    # Every UID of the path must fit.
    assert reader.get(path.replace(picture().series, picture(series=2).series) + suffix).status_code == 404
    assert reader.get(path.replace(picture().instance, "1.2.nonsense") + suffix).status_code == 400


@pytest.mark.parametrize("suffix", PATHS)
def test_what_cannot_be_recorded_is_not_shown(room: Room, reader: TestClient, suffix: str) -> None:
    room.store(picture())
    room.audit.full = True
    answer = reader.get(picture().path + suffix)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("suffix", PATHS)
def test_headers_of_what_is_private(room: Room, reader: TestClient, suffix: str) -> None:
    room.store(picture())
    answer = reader.get(picture().path + suffix)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if suffix in {"", "/bulkdata/7FE00010"}:
        assert answer.headers["content-disposition"] == "attachment"
    # What it says of its validators holds.
    for condition in (
        {"if-none-match": answer.headers["etag"]},
        {"if-none-match": f'"other", W/{answer.headers["etag"]}'},
        {"if-none-match": "*"},
        {"if-modified-since": answer.headers["last-modified"]},
    ):
        again = reader.get(picture().path + suffix, headers=condition)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
    long_ago = room.clock.now().replace(year=2001)
    for condition in (
        {"if-none-match": '"other"', "if-modified-since": answer.headers["last-modified"]},
        {"if-modified-since": format_datetime(long_ago, usegmt=True)},
        {"if-modified-since": "yesterday"},
    ):
        assert reader.get(picture().path + suffix, headers=condition).status_code == 200


def test_a_head_is_a_get_without_its_body(room: Room, reader: TestClient) -> None:
    room.store(picture())
    got = reader.get(picture().path, headers={"accept": "application/dicom"})
    head = reader.head(picture().path, headers={"accept": "application/dicom"})
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == got.headers[name]
    ended = [facts(entry) for entry in room.entries(EventCode.RETRIEVE_ENDED)]
    assert [(one["completed"], one["failed"]) for one in ended] == [(1, 0), (0, 0)]


# --- metadata -------------------------------------------------------------------------------------------------


def test_metadata_names_bulk_data_that_is_there(room: Room, reader: TestClient) -> None:
    images = [picture(number) for number in (1, 2, 3)]
    room.store(*images)
    for path, count in ((images[0].study_path, 3), (images[0].path, 1)):
        answer = reader.get(f"{path}/metadata", headers={"accept": "application/dicom+json"})
        assert answer.headers["content-type"] == "application/dicom+json"
        found = json.loads(answer.content)
        assert len(found) == count
        for one in found:
            url = one["7FE00010"]["BulkDataURI"]
            assert url.startswith(f"{ROOT_URL}/studies/")
            assert reader.get(url).content.endswith(bytes([62 * 2]) + b"\x7d\x7e")
    # A value that says what our marker says stays what it is.
    assert "@/bulkdata" not in answer.text


def test_metadata_in_the_forms_that_clients_name(room: Room, reader: TestClient) -> None:
    room.store(picture())
    path = f"{picture().path}/metadata"
    assert reader.get(path, headers={"accept": "application/json"}).status_code == 200
    assert reader.get(path, params={"accept": "application/dicom+json"}).status_code == 200
    assert (
        reader.get(path, headers={"accept": 'multipart/related; type="application/dicom+xml"'}).status_code
        == 406
    )


# --- frames ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "part", "syntax"),
    [
        ("*/*", "application/octet-stream", EXPLICIT),
        (OCTETS, "application/octet-stream", EXPLICIT),
        (f"{OCTETS}; transfer-syntax=*", "application/octet-stream", JPEG),
        (f"{OCTETS}; transfer-syntax={JPEG}", "application/octet-stream", JPEG),
        ('multipart/related; type="image/jpeg"', "image/jpeg", JPEG),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}', "image/jpeg", JPEG),
        ('multipart/related; type="image/*"', "image/jpeg", JPEG),
        (f'{OCTETS};q=0.5, multipart/related; type="image/jpeg"', "image/jpeg", JPEG),
    ],
)
def test_frames_in_the_form_that_is_asked_for(
    room: Room, reader: TestClient, accept: str, part: str, syntax: str
) -> None:
    image = picture(frames=3, syntax=JPEG)
    room.store(image)
    parts = get(reader, f"{image.path}/frames/3,1", accept)
    assert [begin.location for begin, _ in parts] == [
        f"https://pacs.example{image.path}/frames/{number}" for number in (3, 1)
    ]
    for (begin, octets), number in zip(parts, (3, 1), strict=True):
        assert str(begin.media_type) == f"{part}; transfer-syntax={syntax}"
        if syntax == JPEG:
            assert octets.rstrip(b"\0") == image.frames[number - 1].rstrip(b"\0")
        else:
            assert len(octets) == 64 * 64


@pytest.mark.parametrize("accept", ["image/jls", 'multipart/related; type="image/jp2"', "text/plain"])
def test_frames_in_other_forms_are_refused(room: Room, reader: TestClient, accept: str) -> None:
    room.store(picture(syntax=JPEG))
    assert reader.get(f"{picture().path}/frames/1", headers={"accept": accept}).status_code == 406


@pytest.mark.parametrize("frames", ["2", "3,1", "1,2,3"])
def test_the_length_of_frames_as_stored_is_said_before(room: Room, reader: TestClient, frames: str) -> None:
    image = picture(frames=3)
    room.store(image)
    for accept in (OCTETS, "application/octet-stream") if "," not in frames else (OCTETS,):
        answer = reader.get(f"{image.path}/frames/{frames}", headers={"accept": accept})
        assert answer.headers["content-length"] == str(len(answer.content))


def test_one_frame_without_parts(room: Room, reader: TestClient) -> None:
    image = picture(frames=3)
    room.store(image)
    answer = reader.get(f"{image.path}/frames/2", headers={"accept": "application/octet-stream"})
    assert answer.content == image.frames[1]
    assert answer.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    two = reader.get(f"{image.path}/frames/1,2", headers={"accept": "application/octet-stream"})
    assert two.status_code == 406


@pytest.mark.parametrize("frames", ["0", "x", "1,,2", "-1", "1,1", "1;2", "99999999999", "%31,²"])
def test_frame_lists_that_are_none(room: Room, reader: TestClient, frames: str) -> None:
    room.store(picture(frames=3))
    assert reader.get(f"{picture().path}/frames/{frames}").status_code == 400


def test_frames_that_are_not_there(room: Room, reader: TestClient) -> None:
    room.store(picture(frames=3))
    assert reader.get(f"{picture().path}/frames/4").status_code == 404
    assert reader.get(f"{picture().path}/frames/1,4").status_code == 404
    many = ",".join(str(number) for number in range(1, FRAMES_PER_REQUEST_MAX + 2))
    assert reader.get(f"{picture().path}/frames/{many}").status_code == 400


def test_a_frame_that_cannot_be_decoded_is_an_error_for_that_frame_only(
    room: Room, reader: TestClient
) -> None:
    good = picture(frames=2, syntax=JPEG)
    broken = picture(2, frames=2, syntax=JPEG, streams=(good.frames[0], b"\xff\xd8garbage!"))
    room.store(good, broken)
    # Before its first octet; the server answers with what is raised there.
    with pytest.raises(RequestRefused) as refused:
        reader.get(f"{broken.path}/frames/2")
    assert refused.value.http_status == 406
    assert get(reader, f"{broken.path}/frames/1")
    assert get(reader, f"{broken.path}/frames/2", f"{OCTETS}; transfer-syntax=*")
    assert get(reader, f"{good.path}/frames/2")


# --- bulk data ------------------------------------------------------------------------------------------------


def bulk(image: Picture) -> str:
    return f"{image.path}/bulkdata/7FE00010"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, 9999),
        ("bytes=-5", 9995, 9999),
        ("bytes=9990-20000", 9990, 9999),
    ],
)
def test_ranges(room: Room, reader: TestClient, asked: str, first: int, last: int) -> None:
    image = picture(size=100)
    room.store(image)
    answer = reader.get(bulk(image), headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == image.frames[0][first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10000"
    assert answer.headers["content-length"] == str(last - first + 1)


def test_ranges_that_are_none(room: Room, reader: TestClient) -> None:
    image = picture(size=100)
    room.store(image)
    beyond = reader.get(bulk(image), headers={"range": "bytes=10000-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == "bytes */10000"
    for asked in ("bytes=5-3", "lines=1-2", "bytes=0-0,5-5"):
        whole = reader.get(bulk(image), headers={"range": asked})
        assert (whole.status_code, whole.content) == (200, image.frames[0])
    other = reader.get(bulk(image), headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert other.status_code == 200
    same = reader.get(bulk(image), headers={"range": "bytes=0-9", "if-range": other.headers["etag"]})
    assert same.status_code == 206


def test_bulk_data_in_parts(room: Room, reader: TestClient) -> None:
    image = picture()
    room.store(image)
    ((begin, octets),) = get(reader, bulk(image), OCTETS)
    assert octets == image.frames[0]
    assert begin.location == f"https://pacs.example{bulk(image)}"


@pytest.mark.parametrize(
    "path", ["00100010/0", "7FE00011", "..%2F..%2Fx", "7FE00010/0/1", "'", "00080018/9/00080018"]
)
def test_bulk_data_that_is_none(room: Room, reader: TestClient, path: str) -> None:
    room.store(picture())
    assert reader.get(f"{picture().path}/bulkdata/{path}").status_code == 404


# --- description ----------------------------------------------------------------------------------------------


def test_every_endpoint_describes_its_path(room: Room) -> None:
    for endpoint in wado.endpoints(services_of(room)):
        named = set(re.findall(r"\{(\w+)", endpoint.path))
        parameters = endpoint.operation["parameters"]
        assert isinstance(parameters, list)
        assert {one["name"] for one in parameters if one["in"] == "path"} == named
        assert not endpoint.public
