"""The Retrieve Service as a client meets it: over TLS, with a library that others wrote."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from archive.room import Room, facts
from doors.dicomweb.pictures import JPEG, picture
from doors.dicomweb.web_room import services_of
from doors.https.running import TOKEN, Running, running
from leadglass.doors.dicomweb import rendered, wado, wado_uri
from leadglass.doors.dicomweb.services import Services
from leadglass.doors.https.endpoints import Endpoint
from leadglass.trust.audit.interfaces import EventCode


def retrieve(services: Services) -> list[Endpoint]:
    return [*wado.endpoints(services), *rendered.endpoints(services), *wado_uri.endpoints(services)]


@dataclass
class Served:
    room: Room
    server: Running
    client: DICOMwebClient


@pytest.fixture
def served(room: Room, tmp_path: Path) -> Iterator[Served]:
    services = replace(services_of(room), base_url="")
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server", endpoints=retrieve(services), clock=room.clock) as server:
        authority = tmp_path / "authority.pem"
        authority.write_bytes(server.site.authority.certificate_pem)
        session = requests.Session()
        session.trust_env = False  # the environment may name other authorities
        session.verify = str(authority)
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        url = f"https://localhost:{server.server.port}/dicom-web"
        client = DICOMwebClient(url, session=session)
        yield Served(room, server, client)
        session.close()


def test_dicomweb_client_retrieves_everything(served: Served) -> None:
    plain = picture(frames=3)
    images = [plain, picture(2, series=2, syntax=JPEG)]
    served.room.store(*images)
    client = served.client
    of = (plain.study, plain.series, plain.instance)
    assert {one.SOPInstanceUID for one in client.retrieve_study(plain.study)} == {
        image.instance for image in images
    }
    assert [one.SOPInstanceUID for one in client.retrieve_series(plain.study, images[1].series)] == [
        images[1].instance
    ]
    assert client.retrieve_instance(*of).PixelData == b"".join(plain.frames)
    assert client.retrieve_instance_frames(*of, frame_numbers=[3, 1]) == [plain.frames[2], plain.frames[0]]
    (metadata,) = client.retrieve_series_metadata(plain.study, plain.series)
    assert metadata["00280008"]["Value"] == [3]
    (octets,) = client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
    assert octets == b"".join(plain.frames)
    jpeg = client.retrieve_instance_rendered(*of, media_types=("image/jpeg",))
    assert jpeg.startswith(b"\xff\xd8")
    frame = client.retrieve_instance_frames_rendered(*of, frame_numbers=[2], media_types=("image/png",))
    assert frame.startswith(b"\x89PNG")
    stored = client.retrieve_instance_frames(
        images[1].study,
        images[1].series,
        images[1].instance,
        frame_numbers=[1],
        media_types=(("image/jpeg", JPEG),),
    )
    assert stored[0].rstrip(b"\0") == images[1].frames[0].rstrip(b"\0")


def test_damage_in_the_middle_is_never_a_whole_answer(served: Served) -> None:
    images = [picture(number, size=1000) for number in range(1, 6)]
    served.room.store(*images)
    (pack,) = served.room.packs()
    octets = bytearray(pack.read_bytes())
    octets[-100_000] ^= 1
    pack.write_bytes(octets)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        served.server.request("GET", images[0].study_path)


def test_one_connection_carries_many_answers_and_each_is_on_record_as_whole(served: Served) -> None:
    """Who counts octets asks again as soon as the last has come, before we have closed our files."""
    images = [picture(number, size=700) for number in range(1, 21)]
    served.room.store(*images)
    connection = http.client.HTTPSConnection(
        "localhost", served.server.server.port, context=served.server.context(), timeout=20
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/dicom"}
    for image in images:
        connection.request("GET", image.path, headers=headers)
        answer = connection.getresponse()
        assert answer.read().endswith(image.dataset)
    connection.close()
    served.server.server.stop(2.0)
    ended = [facts(entry) for entry in served.room.entries(EventCode.RETRIEVE_ENDED)]
    assert [(one["completed"], one["failed"], one["cancelled"]) for one in ended] == [(1, 0, False)] * 20


def test_what_cannot_be_decoded_is_406_before_the_first_octet(served: Served) -> None:
    good = picture(syntax=JPEG)
    served.room.store(picture(syntax=JPEG, frames=2, streams=(good.frames[0], b"\xff\xd8garbage!")))
    for resource in ("", "/frames/2", "/frames/2/rendered", "/frames/1,2/rendered"):
        answer = served.server.request("GET", good.path + resource)
        assert answer.status == 406, resource
        assert answer.headers["content-type"] == "application/problem+json"
    assert served.server.request("GET", f"{good.path}/frames/1/rendered").status == 200
    assert not served.server.failures


def test_nobody_in_particular_gets_nothing(served: Served) -> None:
    served.room.store(picture())
    for path in (picture().path, f"{picture().path}/rendered", f"{picture().path}/metadata", "/wado"):
        assert served.server.request("GET", path, token="").status == 401
