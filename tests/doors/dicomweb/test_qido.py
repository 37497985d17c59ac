"""QIDO-RS: what is found, by whom, and the same as over C-FIND."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from archive.room import CT, EXPLICIT, MODALITY, READER, ROOT, STRANGER, Image, Room, element, facts, image
from doors.dicomweb.web_room import ROOT_URL, client_of, services_of
from leadglass.base.limits import SEARCH_RESULTS_MAX
from leadglass.dicom.models import Level
from leadglass.dicom.query import build_identifier, parse_identifier, read_response
from leadglass.doors.dicomweb.qido import endpoints
from leadglass.trust.audit.interfaces import EventCode

BASE = "/dicom-web"
UID_TAGS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}


def named(number: int, study: str, name: str, date: str = "20260102") -> Image:
    """Return an image of a patient of that name."""
    made = image(number, study)
    dataset = made.dataset.replace(
        element(0x00100010, "PN", b"Canary^Anna"), element(0x00100010, "PN", name.encode())
    ).replace(element(0x00080020, "DA", b"20260102"), element(0x00080020, "DA", date.encode()))
    if not name.isascii():
        dataset = element(0x00080005, "CS", b"ISO_IR 192") + dataset
    return replace(made, dataset=dataset)


HELD = (
    named(1, "1", "Meyer^Hans", "20260101"),
    named(2, "1", "Meyer^Hans", "20260101"),
    named(1, "2", "M\u00fcller^J\u00f6rg", "20260102"),
    named(1, "3", "Doe^John^Q", "20260103"),
)


@pytest.fixture
def client(room: Room) -> Iterator[TestClient]:
    room.store(*HELD)
    with client_of(endpoints(services_of(room)), READER.principal_id) as made:
        yield made


def found(client: TestClient, path: str, **parameters: str) -> list[dict[str, Any]]:
    response = client.get(f"{BASE}/{path}?{urlencode(parameters)}")
    if response.status_code == 204:
        assert response.content == b""
        return []
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/dicom+json"
    document: list[dict[str, Any]] = response.json()
    return document


def studies(client: TestClient, **parameters: str) -> set[str]:
    return {
        one["0020000D"]["Value"][0].removeprefix(f"{ROOT}.") for one in found(client, "studies", **parameters)
    }


def test_every_resource(client: TestClient) -> None:
    study, series = HELD[0].study, HELD[0].series
    for path, count in {
        "studies": 3,
        "series": 3,
        "instances": 4,
        f"studies/{study}/series": 1,
        f"studies/{study}/instances": 2,
        f"studies/{study}/series/{series}/instances": 2,
        f"studies/{HELD[2].study}/series/{series}/instances": 0,
    }.items():
        results = found(client, path)
        assert len(results) == count, path
        tag = UID_TAGS[path.rpartition("/")[2]]
        assert len({one[tag]["Value"][0] for one in results}) == count


def test_a_study_as_the_standard_wants_it(client: TestClient) -> None:
    (one,) = found(client, "studies", PatientID="PID-2")
    assert one["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "M\u00fcller^J\u00f6rg"}]}
    assert one["00081190"] == {"vr": "UR", "Value": [f"{ROOT_URL}/studies/{HELD[2].study}"]}
    assert one["00080061"] == {"vr": "CS", "Value": ["CT"]}
    assert one["00201206"]["Value"] == [1]
    assert one["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert "00080052" not in one


def test_an_instance_says_where_it_is(client: TestClient) -> None:
    (one,) = found(client, "instances", SOPInstanceUID=HELD[1].instance)
    assert one["00081190"]["Value"] == [
        f"{ROOT_URL}/studies/{HELD[1].study}/series/{HELD[1].series}/instances/{HELD[1].instance}"
    ]
    assert one["00080016"]["Value"] == [CT]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"PatientName": "Meyer^Hans"}, {"1"}),
        ({"PatientName": "me*"}, {"1"}),
        ({"PatientName": "*o*"}, {"2", "3"}),
        ({"PatientName": "Meier"}, set()),
        ({"PatientName": "Meier", "fuzzymatching": "true"}, {"1"}),
        ({"PatientName": "jorg mueller", "fuzzymatching": "true"}, {"2"}),
        ({"PatientID": "PID-3"}, {"3"}),
        ({"00100020": "PID-?"}, {"1", "2", "3"}),
        ({"StudyDate": "20260102"}, {"2"}),
        ({"StudyDate": "20260102-"}, {"2", "3"}),
        ({"StudyDate": "-20260102"}, {"1", "2"}),
        ({"StudyInstanceUID": f"{ROOT}.1,{ROOT}.3"}, {"1", "3"}),
        ({"StudyInstanceUID": f"{ROOT}.1\\{ROOT}.2"}, {"1", "2"}),
        ({"ModalitiesInStudy": "CT"}, {"1", "2", "3"}),
        ({"ModalitiesInStudy": "MR,CT"}, {"1", "2", "3"}),
        ({"ModalitiesInStudy": "MR"}, set()),
        ({"PatientName": "' OR 1=1 --"}, set()),
        ({"PatientID": "%' UNION SELECT * FROM study; --"}, set()),
        ({"AccessionNumber": "_%_%_%"}, set()),
    ],
)
def test_matches(client: TestClient, parameters: dict[str, str], expected: set[str]) -> None:
    assert studies(client, **parameters) == expected


def test_no_match_is_204(client: TestClient) -> None:
    response = client.get(f"{BASE}/studies?PatientID=nobody")
    assert (response.status_code, response.content) == (204, b"")


# --- the same as C-FIND ----------------------------------------------------------------------------------------

_KEYS: dict[str, list[str]] = {
    "PatientName": ["", "Meyer^Hans", "M*", "*^J*", "müller^*", "?oe*", "nobody"],
    "PatientID": ["", "PID-1", "PID-?", "*2", "x"],
    "StudyDate": ["", "20260101", "20260102-", "-20260102", "20260101-20260102"],
    "ModalitiesInStudy": ["", "CT", "MR", "CT\\MR", "C*"],
    "StudyInstanceUID": ["", f"{ROOT}.1", f"{ROOT}.1\\{ROOT}.3", "1.2"],
    "Modality": ["", "CT", "MR"],
    "InstanceNumber": ["", "1", "2", "02"],
    "PatientBirthDate": ["", "19700101"],
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(given) for name, given in _KEYS.items()}),
    st.sampled_from([("studies", Level.STUDY), ("series", Level.SERIES), ("instances", Level.IMAGE)]),
)
def test_c_find_finds_the_same(
    room: Room, client: TestClient, keys: Mapping[str, str], at: tuple[str, Level]
) -> None:
    path, level = at
    uid = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}[path]
    identifier = build_identifier(level, {uid: "", **keys})
    query = parse_identifier(identifier, EXPLICIT, "STUDY", relational=True)
    over_dimse = [read_response(match.response, EXPLICIT)[uid] for match in room.finder.find(READER, query)]
    over_http = [one[UID_TAGS[path]]["Value"][0] for one in found(client, path, **keys)]
    assert over_http == over_dimse


# --- pages -----------------------------------------------------------------------------------------------------


def test_pages_of_one_make_the_whole(client: TestClient) -> None:
    whole = [one["00080018"]["Value"][0] for one in found(client, "instances")]
    paged: list[str] = []
    while True:
        response = client.get(f"{BASE}/instances?limit=1&offset={len(paged)}")
        if response.status_code == 204:
            break
        (one,) = response.json()
        paged.append(one["00080018"]["Value"][0])
        warned = [w for w in response.headers.get_list("warning") if "additional results" in w]
        assert bool(warned) == (len(paged) < len(whole))
    assert paged == whole


def test_the_total_is_of_all_pages(client: TestClient) -> None:
    assert client.get(f"{BASE}/studies?limit=1").headers["x-total-count"] == "3"
    assert client.get(f"{BASE}/studies?limit=0").headers["x-total-count"] == "3"


def test_more_than_a_server_gives_is_cut_and_said(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S36."""
    monkeypatch.setattr("leadglass.doors.dicomweb.qido.SEARCH_RESULTS_MAX", 2)
    response = client.get(f"{BASE}/studies?includefield=all")
    assert len(response.json()) == 2
    (warning,) = response.headers.get_list("warning")
    assert warning.startswith(f'299 {ROOT_URL}: "The number of results exceeded the maximum')
    assert client.get(f"{BASE}/studies?limit={SEARCH_RESULTS_MAX * 10}").status_code == 200


def test_the_last_page_is_not_counted(room: Room, client: TestClient) -> None:
    assert client.get(f"{BASE}/studies?limit=10&offset=1").headers["x-total-count"] == "3"
    assert "counted" not in facts(room.entries(EventCode.QUERY_ANSWERED)[-1])
    assert client.get(f"{BASE}/studies?offset=10").headers["x-total-count"] == "3"


def test_what_took_no_part_is_said(client: TestClient) -> None:
    for query in ("Modality=MR", "00091001=x", "emptyvaluematching=true", "multiplevaluematching=true"):
        response = client.get(f"{BASE}/studies?{query}")
        assert len(response.json()) == 3
        assert len(response.headers.get_list("warning")) == 1


# --- who and what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("Nonsense=x", 400),
        ("limit=x", 400),
        ("StudyDate=tomorrow", 400),
        ("PatientName=" + "*a" * 60, 400),
        ("PatientName=" + "?*" * 600, 400),
        ("accept=text/html", 406),
        ("charset=latin-1", 406),
        ("offset=99999999", 400),
    ],
)
def test_what_cannot_be_asked(room: Room, client: TestClient, query: str, status: int) -> None:
    """S34: wild cards have a bound."""
    before = room.counted(EventCode.QUERY_ANSWERED)
    response = client.get(f"{BASE}/studies?{query}")
    assert response.status_code == status
    assert room.counted(EventCode.QUERY_ANSWERED) == before + 1


@pytest.mark.parametrize("study", ["..%2F", "1" * 65, "1.2%00", "a", "1.2%2F3"])
def test_a_path_of_no_uid(client: TestClient, study: str) -> None:
    """S30."""
    assert client.get(f"{BASE}/studies/{study}/series").status_code in {400, 404}


def test_answers_are_json(client: TestClient) -> None:
    assert client.get(f"{BASE}/studies", headers={"accept": "application/dicom+xml"}).status_code == 406
    plain = client.get(f"{BASE}/studies", headers={"accept": "application/json"})
    assert plain.headers["content-type"] == "application/json"


def test_who_may_not_search_finds_out_nothing(room: Room, client: TestClient) -> None:
    del client
    for who in (STRANGER, MODALITY):
        with client_of(endpoints(services_of(room)), who.principal_id) as other:
            assert other.get(f"{BASE}/studies").status_code == 403


def test_what_is_shown_is_on_record_and_only_that(room: Room, client: TestClient) -> None:
    found(client, "studies", limit="2")
    shown, counted = room.entries(EventCode.QUERY_ANSWERED)[-2:]
    assert (facts(shown)["matches"], facts(counted)["counted"]) == (2, 3)
    assert shown.payload is not None
    assert json.dumps(shown.payload).count(f'"{ROOT}.') == 2


def test_what_cannot_be_recorded_is_not_shown(room: Room, client: TestClient) -> None:
    room.audit.full = True
    assert client.get(f"{BASE}/studies").status_code == 503
