"""Retrieve Capabilities: what is said is what there is."""

from collections.abc import Iterator

import pytest
from lxml import etree
from starlette.testclient import TestClient

from archive.room import Room
from doors.dicomweb.web_room import ROOT_URL, client_of, services_of
from leadglass.doors.dicomweb import capabilities, qido, stow
from leadglass.doors.dicomweb.services import ROOT
from leadglass.doors.https.endpoints import Endpoint


@pytest.fixture
def served(room: Room) -> list[Endpoint]:
    services = services_of(room)
    others = [*stow.endpoints(services), *qido.endpoints(services)]
    return [*others, *capabilities.endpoints(services, others)]


@pytest.fixture
def client(served: list[Endpoint]) -> Iterator[TestClient]:
    with client_of(served) as made:
        yield made


@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "/dicom-web/"), ("GET", "/dicom-web/capabilities")])
def test_every_endpoint_is_described_and_nothing_else(
    client: TestClient, served: list[Endpoint], method: str, path: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document["base"] == ROOT_URL
    described = {
        (each["name"], ROOT + resource["path"])
        for resource in document["resources"]
        for each in resource["methods"]
    }
    assert described == {(endpoint.method, endpoint.path) for endpoint in served}


def test_what_is_stored_and_answered_is_told(client: TestClient) -> None:
    document = client.get("/dicom-web/capabilities").json()
    studies = next(r for r in document["resources"] if r["path"] == "/studies")
    post = next(m for m in studies["methods"] if m["name"] == "POST")
    assert 'multipart/related; type="application/dicom"' in post["requestMediaTypes"]
    assert {"status": 415, "mediaTypes": ["application/problem+json"]} in post["responses"]


def test_wadl_for_those_who_ask_for_it(client: TestClient, served: list[Endpoint]) -> None:
    response = client.options("/dicom-web/", headers={"accept": "application/vnd.sun.wadl+xml"})
    assert response.headers["content-type"] == "application/vnd.sun.wadl+xml"
    root = etree.fromstring(response.content, etree.XMLParser(resolve_entities=False))
    space = {"w": "http://wadl.dev.java.net/2009/02"}
    methods = root.xpath("//w:method/@id", namespaces=space)
    assert isinstance(methods, list)
    assert sorted(map(str, methods)) == sorted(str(e.operation["operationId"]) for e in served)


def test_other_documents_are_406(client: TestClient) -> None:
    assert client.options("/dicom-web/", headers={"accept": "text/html"}).status_code == 406
