"""ZIP: whole, streamed, named by us, and an export to policy and log."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from archive.room import EXPLICIT, READER, Room, facts
from doors.dicomweb.pictures import JPEG, picture
from doors.dicomweb.web_room import WHO, client_of, services_of
from leadglass.base.errors import IntegrityError
from leadglass.doors.dicomweb import wado
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal

ZIP = {"accept": "application/zip"}
OFFICER = Principal("account:officer", ("export-officer",), address="192.0.2.50", correlation_id="c-export")


@pytest.fixture
def officer(room: Room, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    now = room.clock.now()
    strong = Circumstances(
        session_id="s-1",
        zone="site",
        posture="managed",
        methods=("pwd", "hwk"),
        authenticated_at=now,
        strong_at=now,
        phishing_resistant=True,
    )
    monkeypatch.setitem(WHO, OFFICER.principal_id, replace(OFFICER, circumstances=strong))
    with client_of(wado.endpoints(services_of(room)), OFFICER.principal_id) as client:
        yield client


def test_a_study_in_one_file(room: Room, officer: TestClient) -> None:
    images = [picture(number, series=series) for series in (1, 2) for number in (1, 2, 3)]
    room.store(*images)
    answer = officer.get(images[0].study_path, headers=ZIP)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="export.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert archive.namelist() == [f"{series:03}/{number:06}.dcm" for series in (1, 2) for number in (1, 2, 3)]
    assert [archive.read(name)[-64 * 64 :] for name in archive.namelist()] == [
        image.frames[0] for image in images
    ]
    # Nothing that an object says stands in a name, and nothing is packed (S22, S31).
    names = b"".join(info.orig_filename.encode() + info.extra for info in archive.infolist())
    assert b"Canary" not in names
    assert images[0].study.encode() not in names
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    started, ended = room.entries(EventCode.EXPORT_STARTED, EventCode.EXPORT_ENDED)
    assert facts(started)["instances"] == facts(ended)["completed"] == 6
    assert facts(started)["destination"] == "zip"


def test_series_instance_and_query_parameter(room: Room, officer: TestClient) -> None:
    room.store(*(picture(number, series=series) for series in (1, 2) for number in (1, 2)))
    path = picture().path
    for of, count in ((path.rpartition("/instances")[0], 2), (path, 1)):
        answer = officer.get(of, params={"accept": "application/zip"})
        assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) == count


def test_transfer_syntaxes(room: Room, officer: TestClient) -> None:
    image = picture(syntax=JPEG)
    room.store(image)
    for accept, syntax in (
        ("application/zip; transfer-syntax=*", JPEG),
        (f"application/zip; transfer-syntax={EXPLICIT}", EXPLICIT),
    ):
        answer = officer.get(image.path, headers={"accept": accept})
        octets = zipfile.ZipFile(io.BytesIO(answer.content)).read("001/000001.dcm")
        assert syntax.encode() + b"\0" * (len(syntax) & 1) in octets[:600]


def test_who_may_read_may_not_export(room: Room) -> None:
    room.store(picture())
    with client_of(wado.endpoints(services_of(room)), READER.principal_id) as reader:
        assert reader.get(picture().path, headers={"accept": "application/dicom"}).status_code == 200
        assert reader.get(picture().path, headers=ZIP).status_code in {403, 404}
    assert room.counted(EventCode.EXPORT_STARTED) == 0


def test_an_export_asks_for_a_fresh_strong_factor(room: Room, officer: TestClient) -> None:
    room.store(picture())
    room.clock.advance(3600)
    answer = officer.get(picture().path, headers=ZIP)
    assert answer.status_code in {401, 403, 404}
    assert room.counted(EventCode.EXPORT_STARTED) == 0


def test_who_exports_does_not_look(room: Room, officer: TestClient) -> None:
    room.store(picture())
    for accept in ("application/dicom", 'multipart/related; type="application/dicom"'):
        assert officer.get(picture().path, headers={"accept": accept}).status_code in {403, 404}
    assert officer.get(f"{picture().path}/frames/1").status_code in {403, 404}


def test_damage_never_ends_in_a_whole_file(room: Room, officer: TestClient) -> None:
    images = [picture(number, size=700) for number in (1, 2, 3)]
    room.store(*images)
    (pack,) = room.packs()
    octets = bytearray(pack.read_bytes())
    octets[len(octets) // 2] ^= 1
    pack.write_bytes(octets)
    with pytest.raises(IntegrityError):
        officer.get(images[0].study_path, headers=ZIP)
    (ended,) = room.entries(EventCode.EXPORT_ENDED)
    assert facts(ended)["failed"] >= 1


def test_what_cannot_be_recorded_does_not_leave(room: Room, officer: TestClient) -> None:
    room.store(picture())
    room.audit.full = True
    assert officer.get(picture().path, headers=ZIP).status_code == 503
