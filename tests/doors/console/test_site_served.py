"""Relations, soft deletions, devices and status at a node that runs, over the console's API."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archive.room import image
from doors.console.signed_in import API, People, Person
from doors.dicomweb.web_room import part10
from running_node import Site, site

STUDIES = "/dicom-web/studies"
LATER = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@dataclass
class Served:
    site: Site
    people: People
    admin: Person
    reader: Person


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("site")
    with site(folder) as made:
        disk = folder / "disk"
        disk.mkdir()
        for number, one in enumerate((image(1), image(2), image(1, "2"))):
            (disk / f"{number}.dcm").write_bytes(part10(one))
        made.on_site("import", str(disk))
        made.start()
        with People(made) as people:
            admin = people.add("admin", "pacs-administrator")
            yield Served(made, people, admin, people.add("reader", "radiologist", second_factor=False))


def found(person: Person) -> set[str]:
    answer = person.get(STUDIES)
    assert answer.status_code in {200, 204}, answer.text
    studies: list[dict[str, Any]] = answer.json() if answer.content else []
    return {one["0020000D"]["Value"][0] for one in studies}


def test_a_relation_opens_a_patients_studies_until_it_ends(served: Served) -> None:
    physician = served.people.add("gp", "referring-physician", second_factor=False)
    assert found(physician) == set()
    body = {"account": "gp", "kind": "treating", "patient": "PID-1"}
    served.admin.ok("POST", f"{API}/relations", {**body, "until": LATER})
    assert found(physician) == {image(1).study}
    (listed,) = served.admin.ok("GET", f"{API}/relations?account=gp")["relations"]
    assert (listed["account"], listed["kind"], listed["patient"]) == ("gp", "treating", "PID-1")
    assert served.admin.ok("POST", f"{API}/relations/end", body) == {"ended": True}
    assert found(physician) == set()
    assert served.admin.ok("POST", f"{API}/relations/end", body) == {"ended": False}


def test_what_is_no_relation(served: Served) -> None:
    body = {"account": "reader", "kind": "assigned", "study": "1.2.3", "until": LATER}
    for wrong in (
        {**body, "account": "nobody"},
        {**body, "kind": "emergency"},
        {**body, "patient": "PID-1"},
        {**body, "until": "2001-01-01T00:00:00Z"},
        {**body, "until": "2030-01-01T00:00:00"},
        {**body, "kind": "friend"},
    ):
        assert served.admin.post(f"{API}/relations", wrong).status_code == 400, wrong
    assert served.admin.get(f"{API}/relations").status_code == 400
    assert served.reader.post(f"{API}/relations", body).status_code == 403
    assert served.reader.get(f"{API}/relations?account=reader").status_code == 403


def test_what_is_deleted_is_hidden_and_comes_back(served: Served) -> None:
    study = image(1, "2").study
    assert served.reader.delete(f"{STUDIES}/{study}?reason=mine").status_code in {403, 404}
    deleted = served.site.on_site("study", "delete", study, "--reason", "wrong patient")["deletion"]
    assert found(served.reader) == {image(1).study}
    assert served.reader.get(f"{STUDIES}/{study}/metadata").status_code == 404
    (listed,) = served.admin.ok("GET", f"{API}/deletions")["deletions"]
    assert (listed["deletion"], listed["study"], listed["reason"]) == (
        deleted["deletion"],
        study,
        "wrong patient",
    )
    assert served.reader.get(f"{API}/deletions").status_code == 403
    back = f"{API}/deletions/{deleted['deletion']}/restore"
    assert served.reader.post(back).status_code == 403
    assert served.admin.ok("POST", back) == {"instances": 1}
    assert served.admin.post(back).status_code == 404
    assert served.admin.post(f"{API}/deletions/nonsense/restore").status_code == 404
    assert found(served.reader) == {image(1).study, study}


def test_devices_and_status(served: Served) -> None:
    served.site.enrol("ct1", "CT1", ["store"])
    devices = served.admin.ok("GET", f"{API}/devices")
    assert [device["id"] for device in devices["devices"]] == ["ct1"]
    assert {row["holder"] for row in devices["certificates"]} >= {"device:ct1"}
    status = served.admin.ok("GET", f"{API}/status")
    assert status["held"]["instances"] == 3
    # Where things lie on the disk is for who is at the machine.
    assert str(served.site.root) not in str(status)
    assert str(served.site.root) in str(served.site.on_site("status"))
    for path in ("devices", "status"):
        assert served.reader.get(f"{API}/{path}").status_code == 403
    assert served.admin.post(f"{API}/identity-test").status_code == 400  # there is no identity provider
    assert served.reader.post(f"{API}/identity-test").status_code == 403
