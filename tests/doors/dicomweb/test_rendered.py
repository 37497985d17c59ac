"""Pictures over HTTP: every level, every parameter, and no way around policy, log or bounds."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from archive.room import EXPLICIT, READER, STRANGER, Room, facts
from doors.dicomweb.pictures import JPEG, MPEG2, document, picture
from doors.dicomweb.test_wado import get
from doors.dicomweb.web_room import client_of, services_of
from leadglass.base.errors import RequestRefused
from leadglass.doors.dicomweb import rendered, wado_uri
from leadglass.trust.audit.interfaces import EventCode


@pytest.fixture
def reader(room: Room) -> Iterator[TestClient]:
    services = services_of(room)
    with client_of(
        rendered.endpoints(services) + wado_uri.endpoints(services), READER.principal_id
    ) as client:
        yield client


@pytest.fixture
def stranger(room: Room) -> Iterator[TestClient]:
    services = services_of(room)
    with client_of(
        rendered.endpoints(services) + wado_uri.endpoints(services), STRANGER.principal_id
    ) as client:
        yield client


def shown(client: TestClient, path: str, accept: str = "image/png", **query: str) -> Pillow.Image:
    answer = client.get(path, params=query, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    image = Pillow.open(io.BytesIO(answer.content))
    image.load()
    return image


def gradient(frame: int = 0) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The pixels of ``picture``: its window is the whole range."""
    return (np.add.outer(np.arange(64), np.arange(64)) + 10 * frame).astype(np.uint8)


def test_one_image(room: Room, reader: TestClient) -> None:
    image = picture(frames=3)
    room.store(image)
    png = np.asarray(shown(reader, f"{image.path}/rendered"))
    assert np.array_equal(png, gradient())
    jpeg = np.asarray(shown(reader, f"{image.path}/rendered", "image/jpeg", quality="100"))
    assert np.abs(jpeg.astype(int) - gradient()).max() <= 2
    third = np.asarray(shown(reader, f"{image.path}/frames/3/rendered"))
    assert np.array_equal(third, gradient(2))
    entries = [facts(entry) for entry in room.entries(EventCode.INSTANCE_VIEWED)]
    assert {one["part"] for one in entries} == {"rendered"}
    assert len(entries) == 3


def test_what_is_stored_compressed_is_shown(room: Room, reader: TestClient) -> None:
    image = picture(frames=2, syntax=JPEG)
    room.store(image)
    png = np.asarray(shown(reader, f"{image.path}/frames/2/rendered"))
    assert np.abs(png.astype(int) - gradient(1)).max() <= 2


def test_without_a_wish_it_is_a_jpeg(room: Room, reader: TestClient) -> None:
    room.store(picture())
    for accept in ("*/*", "image/*", "text/html, image/*;q=0.1"):
        answer = reader.get(f"{picture().path}/rendered", headers={"accept": accept})
        assert answer.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("accept", ["image/gif", "video/mp4", "application/dicom", "text/html"])
@pytest.mark.parametrize("resource", ["rendered", "thumbnail", "frames/1/rendered"])
def test_other_media_types_are_refused(room: Room, reader: TestClient, accept: str, resource: str) -> None:
    room.store(picture())
    assert reader.get(f"{picture().path}/{resource}", headers={"accept": accept}).status_code == 406


def test_several_frames_and_instances_come_in_parts(room: Room, reader: TestClient) -> None:
    room.store(picture(1, frames=3), picture(2), document())
    png = 'multipart/related; type="image/png"'
    path = picture().path
    frames = get(reader, f"{path}/frames/3,1/rendered", png)
    assert [begin.location.rpartition("/instances")[2] for begin, _ in frames] == [
        f"/{picture().instance}/frames/{number}/rendered" for number in (3, 1)
    ]
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(frames[0][1]))), gradient(2))
    assert len(get(reader, f"{picture().study_path}/rendered", png)) == 4
    assert len(get(reader, f"{path.rpartition('/instances')[0]}/rendered", "*/*")) == 4
    assert len(get(reader, f"{path}/rendered", 'multipart/related; type="image/jpeg"')) == 3
    # Who takes one picture only gets that of the instance in the middle.
    for resource in (picture().study_path, path.rpartition("/instances")[0]):
        assert np.array_equal(np.asarray(shown(reader, f"{resource}/rendered").convert("L")), gradient(0))
    # One picture cannot stand for several frames.
    assert reader.get(f"{path}/frames/1,2/rendered", headers={"accept": "image/png"}).status_code == 406


def test_parameters(room: Room, reader: TestClient) -> None:
    room.store(picture())
    path = f"{picture().path}/rendered"
    narrow = np.asarray(shown(reader, path, window="63,2,linear-exact"))
    assert set(np.unique(narrow)) == {0, 128, 255}
    assert shown(reader, path, viewport="32,100").size == (32, 32)
    region = np.asarray(shown(reader, path, viewport="8,8,10,20,8,8"))
    assert np.array_equal(region, gradient()[20:28, 10:18])
    named = np.asarray(shown(reader, path, annotation="patient,technique"))
    assert (named != gradient()).any()
    small = reader.get(path, params={"quality": "5"}, headers={"accept": "image/jpeg"})
    large = reader.get(path, params={"quality": "95"}, headers={"accept": "image/jpeg"})
    assert len(small.content) < len(large.content)
    assert small.headers["etag"] != large.headers["etag"]


@pytest.mark.parametrize(
    "query",
    [
        {"window": "1"},
        {"window": "a,b,LINEAR"},
        {"window": "1,2,CUBIC"},
        {"window": "nan,2,LINEAR"},
        {"window": "1,0,LINEAR"},
        {"window": "1,-1,SIGMOID"},
        {"window": "1e400,1,LINEAR"},
        {"viewport": "1"},
        {"viewport": "0,10"},
        {"viewport": "1,2,3"},
        {"viewport": "99999,99999"},
        {"viewport": "16384,16384"},
        {"viewport": "10,10,-1,0,5,5"},
        {"viewport": "1e99,1"},
        {"quality": "0"},
        {"quality": "101"},
        {"quality": ""},
        {"annotation": "patient,logo"},
        {"iccprofile": "srgb"},
    ],
)
def test_parameters_that_are_none(room: Room, reader: TestClient, query: dict[str, str]) -> None:
    room.store(picture())
    before = room.audit.size()
    assert reader.get(f"{picture().path}/rendered", params=query).status_code == 400
    assert room.audit.size() == before


def test_a_region_outside_is_refused(room: Room, reader: TestClient) -> None:
    room.store(picture())
    answer = reader.get(f"{picture().path}/rendered", params={"viewport": "8,8,64,64,0,0"})
    assert answer.status_code == 406


def test_thumbnails_at_every_level(room: Room, reader: TestClient) -> None:
    room.store(*(picture(number, size=512) for number in (1, 2, 3)), document())
    path = picture().path
    for level in (picture().study_path, path.rpartition("/instances")[0], path, f"{path}/frames/1"):
        assert shown(reader, f"{level}/thumbnail", "image/jpeg").size == (200, 200)
        assert shown(reader, f"{level}/thumbnail", "image/png", viewport="50,60").size == (50, 50)
    assert {facts(entry)["part"] for entry in room.entries(EventCode.INSTANCE_VIEWED)} == {"thumbnail"}


@pytest.mark.parametrize("resource", ["rendered", "thumbnail"])
def test_what_has_no_pixels_has_no_picture(room: Room, reader: TestClient, resource: str) -> None:
    room.store(document(), picture(2, "2", syntax=MPEG2, streams=(b"\0\0\1\xb3video!",)))
    for path in (document().path, document().study_path, picture(2, "2").path):
        assert reader.get(f"{path}/{resource}").status_code == 406


def test_a_frame_that_is_not_there(room: Room, reader: TestClient) -> None:
    room.store(picture(frames=2))
    assert reader.get(f"{picture().path}/frames/3/rendered").status_code == 404
    assert reader.get(f"{picture().path}/frames/3/thumbnail").status_code == 404
    both = reader.get(
        f"{picture().path}/frames/1,3/rendered", headers={"accept": 'multipart/related; type="image/png"'}
    )
    assert both.status_code == 404


RESOURCES = ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"]


@pytest.mark.parametrize("resource", RESOURCES)
def test_hidden_is_missing(room: Room, stranger: TestClient, resource: str) -> None:
    room.store(picture())
    hidden = stranger.get(f"{picture().path}/{resource}")
    missing = stranger.get(f"{picture(8, '8').path}/{resource}")
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)
    assert hidden.status_code in {403, 404}
    assert room.counted(EventCode.INSTANCE_VIEWED) == 0


@pytest.mark.parametrize("resource", RESOURCES)
def test_what_was_made_for_one_is_not_shown_to_another(room: Room, reader: TestClient, resource: str) -> None:
    """Pictures are kept for a while: policy and log are asked again each time."""
    room.store(picture())
    path = f"{picture().path}/{resource}"
    first = reader.get(path)
    assert first.status_code == 200
    services = services_of(room)
    with client_of(rendered.endpoints(services), STRANGER.principal_id) as other:
        assert other.get(path).status_code in {403, 404}
    room.audit.full = True
    assert reader.get(path).status_code == 503
    room.audit.full = False
    assert reader.get(path).content == first.content
    assert room.counted(EventCode.INSTANCE_VIEWED) == 2


def test_headers(room: Room, reader: TestClient) -> None:
    room.store(picture())
    for resource in RESOURCES:
        answer = reader.get(f"{picture().path}/{resource}")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = reader.get(f"{picture().path}/{resource}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304


def test_a_render_loop_is_told_to_wait(
    room: Room, reader: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S87: more frames than may wait for a decoder are a 503, and the rest come out."""
    monkeypatch.setattr("leadglass.archive.transcoding.DECODERS_WAITING_MAX", 1)
    room.store(picture(frames=64, size=256))
    path = picture().path

    def one(frame: int) -> tuple[int, str]:
        answer = reader.get(f"{path}/frames/{frame}/rendered")
        return answer.status_code, answer.headers.get("retry-after", "")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(1, 65)))
    assert {status for status, _ in answers} <= {200, 503}
    assert (200, "") in answers
    assert all(retry for status, retry in answers if status == 503)
    assert reader.get(f"{path}/frames/1/rendered").status_code == 200


# --- URI Service ----------------------------------------------------------------------------------------------


def uri(image: "object", **query: str) -> dict[str, str]:
    study, series, instance = (getattr(image, name) for name in ("study", "series", "instance"))
    return {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance, **query}


def test_uri_pictures(room: Room, reader: TestClient) -> None:
    image = picture(frames=2)
    room.store(image, picture(2))
    answer = reader.get("/wado", params=uri(picture(2)))
    assert answer.headers["content-type"] == "image/jpeg"
    png = {"contentType": "image/png"}
    second = shown(reader, "/wado", "image/png", **uri(image, frameNumber="2", **png))
    assert np.array_equal(np.asarray(second), gradient(1))
    part = shown(reader, "/wado", "image/png", **uri(image, region="0.5,0,1,0.5", **png))
    assert np.array_equal(np.asarray(part), gradient()[:32, 32:])
    small = shown(reader, "/wado", "image/png", **uri(image, rows="16", **png))
    assert small.size == (16, 16)
    window = uri(image, windowCenter="63", windowWidth="1", **png)
    assert set(np.unique(np.asarray(shown(reader, "/wado", "image/png", **window)))) == {0, 255}


def test_uri_objects(room: Room, reader: TestClient) -> None:
    image = picture(frames=2, syntax=JPEG)
    room.store(image)
    dicom = {"contentType": "application/dicom"}
    default = reader.get("/wado", params=uri(image, **dicom))
    assert default.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert default.headers["content-disposition"] == "attachment"
    stored = reader.get("/wado", params=uri(image, transferSyntax=JPEG, **dicom))
    assert stored.content.endswith(image.dataset)
    # Several frames are no picture unless one is named.
    assert reader.get("/wado", params=uri(image)).headers["content-type"].startswith("application/dicom")
    other = reader.get("/wado", params=uri(image, transferSyntax="1.2.840.10008.1.2.4.80", **dicom))
    assert other.status_code == 406


@pytest.mark.parametrize(
    "query",
    [
        {"requestType": "QIDO"},
        {"studyUID": ""},
        {"objectUID": "../../etc/passwd"},
        {"anonymize": "yes"},
        {"presentationUID": "1.2.3"},
        {"frameNumber": "0"},
        {"rows": "-1"},
        {"rows": "99999"},
        {"windowCenter": "1"},
        {"region": "0,0,2,2"},
        {"region": "0.5,0.5,0.5,0.5"},
        {"imageQuality": "1000"},
        {"annotation": "logo"},
    ],
)
def test_uri_parameters_that_are_none(room: Room, reader: TestClient, query: dict[str, str]) -> None:
    room.store(picture())
    before = room.audit.size()
    assert reader.get("/wado", params=uri(picture()) | query).status_code == 400
    assert room.audit.size() == before


def test_uri_hides_as_the_others_do(room: Room, stranger: TestClient, reader: TestClient) -> None:
    room.store(picture())
    hidden = stranger.get("/wado", params=uri(picture()))
    missing = stranger.get("/wado", params=uri(picture(8, "8")))
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)
    assert hidden.status_code in {403, 404}
    assert reader.get("/wado", params=uri(picture(8, "8"))).status_code == 404


def test_uri_media_types_that_are_not_made(room: Room, reader: TestClient) -> None:
    room.store(picture())
    assert reader.get("/wado", params=uri(picture(), contentType="image/gif")).status_code == 406
    either = reader.get("/wado", params=uri(picture(), contentType="image/gif,image/png"))
    assert either.headers["content-type"] == "image/png"


def test_an_undecodable_frame_in_the_middle_is_an_error(room: Room, reader: TestClient) -> None:
    good = picture(syntax=JPEG)
    room.store(picture(syntax=JPEG, frames=2, streams=(good.frames[0], b"\xff\xd8garbage!")))
    with pytest.raises(RequestRefused):
        reader.get(f"{good.path}/rendered", headers={"accept": 'multipart/related; type="image/png"'})
    assert reader.get(f"{good.path}/frames/2/rendered").status_code == 406
    assert reader.get(f"{good.path}/frames/1/rendered").status_code == 200
