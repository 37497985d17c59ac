"""DELETE: what is deleted is found by nobody, is on record, and is not gone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from archive.room import MODALITY, OPERATOR, READER, STRANGER, Room, image
from doors.dicomweb.web_room import client_of, services_of
from leadglass.archive.deletion import Deletions
from leadglass.doors.dicomweb import deletion, qido
from leadglass.trust.audit.interfaces import EventCode

HELD = (image(1, "1"), image(2, "1"), image(1, "2"))
STUDY = f"/dicom-web/studies/{HELD[0].study}"
SERIES = f"{STUDY}/series/{HELD[0].series}"
INSTANCE = f"{SERIES}/instances/{HELD[0].instance}"


@pytest.fixture
def client(room: Room) -> Iterator[TestClient]:
    room.store(*HELD)
    services = services_of(room)
    with client_of([*deletion.endpoints(services), *qido.endpoints(services)], OPERATOR.principal_id) as made:
        yield made


def left(client: TestClient) -> int:
    response = client.get("/dicom-web/instances", headers={"x-who": READER.principal_id})
    return len(response.json()) if response.status_code == 200 else 0


@pytest.mark.parametrize(("url", "remaining"), [(STUDY, 1), (SERIES, 1), (INSTANCE, 2)])
def test_what_is_deleted_is_found_by_nobody(room: Room, client: TestClient, url: str, remaining: int) -> None:
    assert client.delete(url).status_code == 204
    assert left(client) == remaining
    assert room.counted(EventCode.STUDY_DELETED) == 1
    # Who asks again is told that there is nothing, as of everything that never was.
    again, never = client.delete(url), client.delete("/dicom-web/studies/1.2.3")
    assert (again.status_code, again.content) == (404, never.content)


def test_it_can_be_restored(room: Room, client: TestClient) -> None:
    assert client.delete(STUDY).status_code == 204
    deletions = Deletions(room.access, room.index, room.writer)
    (one,) = deletions.list(OPERATOR)
    assert deletions.restore(OPERATOR, one.deletion_id) == 2
    assert left(client) == 3


def test_the_reason_is_kept_sealed(room: Room, client: TestClient) -> None:
    reason = "wrong patient: M%C3%BCller"
    assert client.delete(INSTANCE, headers={"Deletion-Reason": reason}).status_code == 204
    (entry,) = room.entries(EventCode.STUDY_DELETED)
    assert "ller" not in str(entry.leaf)
    assert entry.payload is not None
    assert "wrong patient: M\u00fcller" in str(entry.payload)


@pytest.mark.parametrize("who", [READER, MODALITY, STRANGER])
def test_by_permission_only(client: TestClient, who: object) -> None:
    assert getattr(who, "principal_id", "")
    headers = {"x-who": str(getattr(who, "principal_id", ""))}
    assert client.delete(STUDY, headers=headers).status_code == 403
    assert left(client) == 3


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/dicom-web/studies/a", 400),
        ("/dicom-web/studies/" + "1" * 65, 400),
        (f"{STUDY}/series/1.2..", 400),
        (f"{STUDY}/series/1.2", 404),
        (f"/dicom-web/studies/{HELD[2].study}/series/{HELD[0].series}", 404),
        (f"/dicom-web/studies/{HELD[2].study}/series/{HELD[2].series}/instances/{HELD[0].instance}", 404),
    ],
)
def test_what_is_not_there(client: TestClient, url: str, status: int) -> None:
    """S30; and a longer path must fit together."""
    assert client.delete(url).status_code == status
    assert left(client) == 3


def test_a_reason_has_a_bound(client: TestClient) -> None:
    assert client.delete(STUDY, headers={"Deletion-Reason": "x" * 100_000}).status_code == 400
    assert left(client) == 3


def test_what_cannot_be_recorded_is_not_deleted(room: Room, client: TestClient) -> None:
    room.audit.full = True
    assert client.delete(STUDY).status_code == 503
    room.audit.full = False
    assert left(client) == 3


def test_an_allowance_stops_a_mass_deletion(room: Room) -> None:
    """S88."""
    room.store(*HELD)
    services = replace(
        services_of(room), deletions=Deletions(room.access, room.index, room.writer, instances_per_hour=1)
    )
    with client_of(deletion.endpoints(services), OPERATOR.principal_id) as client:
        assert client.delete(INSTANCE).status_code == 204
        assert client.delete(STUDY).status_code == 429
    assert room.counted(EventCode.SECURITY_ALERT) == 1
