"""One verdict for every way in, at a running node: who may see a study sees it on all of them, who may not on none.

Attacks S51 to S54. The same table for every way; ``archive.verdicts`` has it for the rooms behind the doors.
"""

import json
import statistics
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import httpx2
import pytest

from hostile.peer import ASSOCIATE_AC, CT, FINDING, GETTING, Gone, Peer, explicit, role
from hostile.web import (
    ALL,
    ASSOCIATING,
    DEVICES,
    MISSING,
    NONE,
    OF_CT1,
    PASSCODE,
    PEOPLE,
    STUDIES,
    WEB,
    Held,
    WebNode,
    workitem_of,
)

pytestmark = pytest.mark.slow

FIND, GET, EXPORT, WORK = "find", "get", "export", "work"


@dataclass(frozen=True)
class Row:
    """Studies that somebody may find, fetch, hand out, and see workitems of."""

    find: frozenset[str] = NONE
    get: frozenset[str] = NONE
    export: frozenset[str] = NONE
    work: frozenset[str] = NONE

    def expected(self, right: str) -> frozenset[str]:
        found: frozenset[str] = getattr(self, right)
        return found


_SOUTH: Final = frozenset({"other device"})
_SMITH: Final = frozenset({"referred", "treated"})
_DEIDENTIFIED: Final = frozenset({"deidentified"})
ROWS: Final[Mapping[str, Row]] = {
    "nobody": Row(),
    "radiologist": Row(ALL, ALL, work=ALL),
    "southern": Row(_SOUTH, _SOUTH, work=_SOUTH),
    "technologist": Row(OF_CT1, OF_CT1, work=OF_CT1),
    "newcomer": Row(),
    "smith": Row(_SMITH, _SMITH),
    "miller": Row(),
    "researcher": Row(_DEIDENTIFIED, _DEIDENTIFIED),
    "exporter": Row(ALL, export=ALL),
    "administrator": Row(),
    "security": Row(),
    "privacy": Row(),
    "custodian": Row(),
    "auditor": Row(),
    "vendor": Row(),
    "ct1": Row(work=OF_CT1),
    "mr1": Row(work=_SOUTH),
    "ws1": Row(ALL, ALL, work=ALL),
    "rt1": Row(ALL),
}


@dataclass(frozen=True)
class Way:
    """A way in over HTTPS: what is asked for, and what in the answer says that it was shown."""

    name: str
    right: str
    path: Callable[[Held], str]
    accept: str = "*/*"
    shows: Callable[[httpx2.Response, Held], bool] = lambda answer, _held: answer.status_code == 200


def _lists(key: str, value: Callable[[Held], str]) -> Callable[[httpx2.Response, Held], bool]:
    def shows(answer: httpx2.Response, held: Held) -> bool:
        if answer.status_code != 200:
            return False
        listed = [item[key]["Value"][0] for item in answer.json()]
        total = answer.headers.get("x-total-count")
        assert total is None or int(total) == len(listed)
        return value(held) in listed

    return shows


def _holds(answer: httpx2.Response, held: Held) -> bool:
    return answer.status_code == 200 and held.instance.encode() in answer.content


def _pictures(answer: httpx2.Response, _held: Held) -> bool:
    return answer.status_code == 200 and b"\xff\xd8\xff" in answer.content


def _zipped(answer: httpx2.Response, held: Held) -> bool:
    if answer.status_code != 200:
        return False
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        return all(held.instance.encode() in archive.read(name) for name in archive.namelist())


def _study(held: Held) -> str:
    return f"{WEB}/studies/{held.study}"


def _series(held: Held) -> str:
    return f"{_study(held)}/series/{held.series}"


def _wado(held: Held, more: str = "") -> str:
    return f"/wado?requestType=WADO&studyUID={held.study}&seriesUID={held.series}&objectUID={held.instance}{more}"


_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "0020000D", "0020000E", "00080018"
_OF_STUDY = _lists(_STUDY_UID, lambda held: held.study)
_OF_INSTANCE = _lists(_INSTANCE_UID, lambda held: held.instance)

WAYS: Final = (
    Way("QIDO studies", FIND, lambda _: f"{WEB}/studies", shows=_OF_STUDY),
    Way("QIDO study by UID", FIND, lambda h: f"{WEB}/studies?StudyInstanceUID={h.study}", shows=_OF_STUDY),
    Way("QIDO by patient", FIND, lambda h: f"{WEB}/studies?PatientID={h.patient}", shows=_OF_STUDY),
    Way("QIDO by accession", FIND, lambda h: f"{WEB}/studies?00080050=ACC-{h.number}", shows=_OF_STUDY),
    Way(
        "QIDO fuzzy", FIND, lambda _: f"{WEB}/studies?PatientName=hostile&fuzzymatching=true", shows=_OF_STUDY
    ),
    Way("QIDO by modality", FIND, lambda h: f"{WEB}/studies?ModalitiesInStudy={h.modality}", shows=_OF_STUDY),
    Way("QIDO all fields", FIND, lambda _: f"{WEB}/studies?includefield=all", shows=_OF_STUDY),
    Way("QIDO series", FIND, lambda _: f"{WEB}/series", shows=_lists(_SERIES_UID, lambda h: h.series)),
    Way("QIDO instances", FIND, lambda _: f"{WEB}/instances", shows=_OF_INSTANCE),
    Way(
        "QIDO series of study",
        FIND,
        lambda h: f"{_study(h)}/series",
        shows=_lists(_SERIES_UID, lambda h: h.series),
    ),
    Way("QIDO instances of study", FIND, lambda h: f"{_study(h)}/instances", shows=_OF_INSTANCE),
    Way("QIDO instances of series", FIND, lambda h: f"{_series(h)}/instances", shows=_OF_INSTANCE),
    Way("study", GET, _study, shows=_holds),
    Way("series", GET, _series, shows=_holds),
    Way("instance", GET, lambda h: h.path, shows=_holds),
    Way("instance as one part", GET, lambda h: h.path, "application/dicom", _holds),
    Way("metadata of study", GET, lambda h: f"{_study(h)}/metadata", shows=_OF_INSTANCE),
    Way("metadata of series", GET, lambda h: f"{_series(h)}/metadata", shows=_OF_INSTANCE),
    Way("metadata of instance", GET, lambda h: f"{h.path}/metadata", shows=_OF_INSTANCE),
    Way("frames", GET, lambda h: f"{h.path}/frames/1"),
    Way("bulk data", GET, lambda h: f"{h.path}/bulkdata/7FE00010"),
    Way("rendered study", GET, lambda h: f"{_study(h)}/rendered", shows=_pictures),
    Way("rendered series", GET, lambda h: f"{_series(h)}/rendered", shows=_pictures),
    Way("rendered instance", GET, lambda h: f"{h.path}/rendered", shows=_pictures),
    Way("rendered frame", GET, lambda h: f"{h.path}/frames/1/rendered", shows=_pictures),
    Way("thumbnail of study", GET, lambda h: f"{_study(h)}/thumbnail", shows=_pictures),
    Way("thumbnail of series", GET, lambda h: f"{_series(h)}/thumbnail", shows=_pictures),
    Way("thumbnail of instance", GET, lambda h: f"{h.path}/thumbnail", shows=_pictures),
    Way("thumbnail of frame", GET, lambda h: f"{h.path}/frames/1/thumbnail", shows=_pictures),
    Way("WADO-URI picture", GET, _wado, shows=_pictures),
    Way("WADO-URI object", GET, lambda h: _wado(h, "&contentType=application/dicom"), shows=_holds),
    Way("ZIP of study", EXPORT, _study, "application/zip", _zipped),
    Way("ZIP of series", EXPORT, _series, "application/zip", _zipped),
    Way("ZIP of instance", EXPORT, lambda h: h.path, "application/zip", _zipped),
    Way(
        "workitem",
        WORK,
        lambda h: f"{WEB}/workitems/{h.workitem}",
        shows=_lists(_INSTANCE_UID, lambda h: h.workitem),
    ),
    Way("workitems", WORK, lambda _: f"{WEB}/workitems", shows=_lists(_INSTANCE_UID, lambda h: h.workitem)),
)


@pytest.fixture(scope="module")
def callers(served: WebNode) -> Mapping[str, httpx2.Client]:
    people = {account: served.people[account].client for account in PEOPLE}
    return people | {device: served.client(device=served.devices[device]) for device in DEVICES}


def outcome(answer: httpx2.Response) -> tuple[object, ...]:
    """Return everything of an answer that may not tell hidden from missing."""
    headers = sorted(
        (name, value)
        for name, value in answer.headers.multi_items()
        if name not in {"date", "x-correlation-id"}
    )
    body = answer.content
    if body and "problem+json" in answer.headers.get("content-type", ""):
        problem = json.loads(body)
        assert problem.pop("correlation_id") == answer.headers["x-correlation-id"]
        body = json.dumps(problem).encode()
    return answer.status_code, tuple(headers), body


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_gives_the_same_verdict(callers: Mapping[str, httpx2.Client], way: Way) -> None:
    wrong: list[str] = []
    for who, client in callers.items():
        accept = {"Accept": way.accept}
        missing = client.get(way.path(MISSING), headers=accept)
        assert missing.status_code in {200, 204, 401, 403, 404}, (who, missing.status_code, missing.text)
        for held in STUDIES:
            answer = client.get(way.path(held), headers=accept)
            shown = way.shows(answer, held)
            if shown != (held.name in ROWS[who].expected(way.right)):
                wrong.append(f"{who} {'sees' if shown else 'does not see'} {held.name}: {answer.status_code}")
            elif not shown and outcome(answer) != outcome(missing):
                listing = way.path(held) == way.path(MISSING) or "Modalit" in way.path(held)
                if not listing:
                    wrong.append(f"{who}: {held.name} is hidden but not as what is missing")
    assert wrong == []


def test_each_way_shows_something_to_somebody_and_hides_something_from_somebody() -> None:
    assert set(ROWS) == set(PEOPLE) | set(DEVICES)
    for way in WAYS:
        sizes = {len(row.expected(way.right)) for row in ROWS.values()}
        assert {0, len(STUDIES)} <= sizes


# --- the same over DIMSE ---------------------------------------------------------------------------------------


def _user_identity(account: str) -> bytes:
    """Return the sub-item of a user name with passcode. Source: PS3.7 D.3.3.7."""
    primary, secondary = account.encode(), PASSCODE.encode()
    body = struct.pack(">BBH", 2, 0, len(primary)) + primary + struct.pack(">H", len(secondary)) + secondary
    return struct.pack(">BxH", 0x58, len(body)) + body


def _found(node: WebNode, device: str, identity: bytes) -> frozenset[str]:
    keys = (
        explicit(0x00080052, "CS", b"STUDY")
        + explicit(0x00100020, "LO", b"")
        + explicit(0x0020000D, "UI", b"")
    )
    with Peer(node.site, node.devices[device], seconds=30) as peer:
        if peer.associate(*FINDING, more_user_items=identity)[0] != ASSOCIATE_AC:
            return NONE
        try:
            _, found = peer.find(keys)
        except Gone:  # the presentation context was not accepted
            return NONE
    text = b"".join(found)
    return frozenset(held.name for held in STUDIES if held.study.encode() in text)


def _got(node: WebNode, device: str, identity: bytes) -> frozenset[str]:
    got = set[str]()
    for held in STUDIES:
        with Peer(node.site, node.devices[device], seconds=30) as peer:
            if peer.associate(*GETTING, more_user_items=role(CT) + identity)[0] != ASSOCIATE_AC:
                return NONE
            try:
                if held.instance in peer.get(held.study)[1]:
                    got.add(held.name)
            except Gone:
                return NONE
    return frozenset(got)


@pytest.mark.parametrize("who", sorted(ASSOCIATING | set(DEVICES)))
def test_associations_give_the_same_verdict(served: WebNode, who: str) -> None:
    """People come through a workstation, which may see everything: they see no more for it."""
    device, identity = (who, b"") if who in DEVICES else ("ws1", _user_identity(who))
    assert _found(served, device, identity) == ROWS[who].find
    assert _got(served, device, identity) == ROWS[who].get


# --- what could still tell -------------------------------------------------------------------------------------


def _hidden(who: str) -> Held:
    return next(held for held in STUDIES if held.name not in ROWS[who].find)


@pytest.mark.parametrize("who", ["smith", "researcher", "southern"])
def test_conditions_ranges_and_head_do_not_tell_hidden_from_missing(
    callers: Mapping[str, httpx2.Client], who: str
) -> None:
    client, hidden = callers[who], _hidden(who)
    asked = (
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"Range": "bytes=0-1"},
        {"Accept": "image/tiff"},
        {"Accept": "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"},
        {"Purpose-Of-Use": "BTG"},
        {"Purpose-Of-Use": ""},
    )
    for way in WAYS:
        if way.right == FIND:
            continue
        for headers in asked:
            for method in ("GET", "HEAD"):
                one = client.request(method, way.path(hidden), headers=headers)
                other = client.request(method, way.path(MISSING), headers=headers)
                assert outcome(one) == outcome(other), (way.name, headers, method)
                assert one.status_code != 304


def test_a_frame_that_is_not_there_is_answered_the_same_where_the_study_is_hidden(
    callers: Mapping[str, httpx2.Client],
) -> None:
    client = callers["smith"]
    hidden, shown = _hidden("smith"), next(held for held in STUDIES if held.name == "referred")
    for tail in ("frames/9", "frames/9/rendered", "bulkdata/00100010", "bulkdata/7FE00010"):
        assert outcome(client.get(f"{hidden.path}/{tail}")) == outcome(client.get(f"{MISSING.path}/{tail}"))
    assert client.get(f"{shown.path}/frames/9").status_code == 404
    crossed = shown.path.replace(shown.study + "/", hidden.study + "/", 1)
    assert outcome(client.get(crossed)) == outcome(client.get(MISSING.path))
    borrowed = f"{WEB}/studies/{shown.study}/series/{hidden.series}/instances/{hidden.instance}"
    for path in (borrowed, f"{borrowed}/metadata", f"{borrowed}/frames/1", f"{borrowed}/rendered"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("who", ["southern", "technologist"])
def test_a_workitem_of_a_hidden_study_cannot_be_touched(served: WebNode, who: str) -> None:
    person, hidden = served.people[who], _hidden(who)
    json_type = {"Content-Type": "application/dicom+json"}
    claim = {
        "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]},
        "00081195": {"vr": "UI", "Value": ["1.2.3"]},
    }
    for method, tail, body in (
        ("PUT", "/state", claim),
        ("POST", "", {"00741204": {"vr": "LO", "Value": ["mine"]}}),
        ("POST", "/cancelrequest", {}),
        ("POST", "/subscribers/SPY", None),
        ("DELETE", "/subscribers/SPY", None),
    ):
        answers = [
            person.client.request(
                method,
                f"{WEB}/workitems/{held.workitem}{tail}",
                headers=json_type,
                content=b"" if body is None else json.dumps(body).encode(),
            )
            for held in (hidden, MISSING)
        ]
        assert answers[0].status_code in {403, 404}, (method, tail, answers[0].text)
        assert outcome(answers[0]) == outcome(answers[1]), (method, tail)
    assert served.people["radiologist"].get(f"{WEB}/workitems/{hidden.workitem}").json()[0]["00741000"] == {
        "vr": "CS",
        "Value": ["SCHEDULED"],
    }


def test_only_an_administrator_deletes_and_others_learn_nothing_by_trying(
    served: WebNode, callers: Mapping[str, httpx2.Client]
) -> None:
    csrf = {"Origin": served.origin, "X-Leadglass-CSRF": "1"}
    for who, client in callers.items():
        if who == "administrator":
            continue
        for tail in (
            "",
            f"/series/{STUDIES[0].series}",
            f"/series/{STUDIES[0].series}/instances/{STUDIES[0].instance}",
        ):
            held = client.delete(f"{WEB}/studies/{STUDIES[0].study}{tail}", headers=csrf)
            missing = client.delete(f"{WEB}/studies/{MISSING.study}{tail}", headers=csrf)
            assert held.status_code in {401, 403}, (who, held.status_code)
            assert outcome(held) == outcome(missing), who
    assert callers["radiologist"].get(STUDIES[0].path).status_code == 200


@pytest.mark.parametrize("name", ["metadata of study", "instance", "rendered instance", "QIDO study by UID"])
def test_hidden_and_missing_take_the_same_time(callers: Mapping[str, httpx2.Client], name: str) -> None:
    """The fastest of answers that alternate: what the machine does beside makes none of them faster."""
    client, hidden, again = callers["smith"], _hidden("smith"), Held("missing too", 98)
    way = next(way for way in WAYS if way.name == name)
    took: dict[str, list[float]] = {"hidden": [], "missing": [], "again": []}
    for _ in range(120):
        for which, held in (("hidden", hidden), ("missing", MISSING), ("again", again)):
            began = time.perf_counter()
            client.get(way.path(held))
            took[which].append(time.perf_counter() - began)
    fast = {which: statistics.quantiles(times, n=20)[0] for which, times in took.items()}
    noise = abs(fast["missing"] - fast["again"])
    difference = abs(fast["hidden"] - (fast["missing"] + fast["again"]) / 2)
    # Without the gate's tick a hidden study took an eighth longer.
    assert difference < max(4 * noise, 0.04 * fast["missing"]), fast


# --- rights that end -------------------------------------------------------------------------------------------


def _sees(client: httpx2.Client, held: Held) -> list[int]:
    paths = (f"{held.path}/metadata", held.path, f"{held.path}/frames/1", f"{held.path}/rendered")
    found = client.get(f"{WEB}/studies?StudyInstanceUID={held.study}").status_code
    return [found, *(client.get(path).status_code for path in paths)]


def test_a_relation_that_ends_bites_on_the_next_request(served: WebNode) -> None:
    from leadglass.store.index.interfaces import Relation  # noqa: PLC0415

    treated = next(held for held in STUDIES if held.name == "plain")
    reader = served.add("jones", "referring-physician")
    assert _sees(reader.client, treated) == [204, 404, 404, 404, 404]
    served.relate("user:jones", Relation.TREATING, treated)
    assert _sees(reader.client, treated) == [200] * 5
    etag = reader.get(f"{treated.path}/metadata").headers["etag"]
    assert served.node.index.unrelate("user:jones", Relation.TREATING, patient_id=treated.patient)
    assert _sees(reader.client, treated) == [204, 404, 404, 404, 404]
    again = reader.client.get(f"{treated.path}/metadata", headers={"If-None-Match": etag})
    assert again.status_code == 404


@pytest.mark.parametrize("how", ["role taken", "disabled", "session ended", "signed out", "password reset"])
def test_a_right_that_was_taken_bites_on_the_next_request(served: WebNode, how: str) -> None:
    from leadglass.app.compose import operator  # noqa: PLC0415

    held, people = STUDIES[0], served.node.people
    account = how.replace(" ", "-")
    reader = served.add(account, "radiologist")
    cookie = dict(reader.client.cookies.items())
    assert _sees(reader.client, held) == [200] * 5
    match how:
        case "role taken":
            people.set_roles(operator(), account, ["pacs-administrator"])
        case "disabled":
            people.disable(operator(), account, "left")
        case "session ended":
            (session,) = (s for s in people.all_sessions(operator()) if s.account_id == account)
            people.end_session(operator(), session.session_id)
        case "signed out":
            assert reader.post("/api/v1/sign-out").is_success
        case _:
            people.reset(operator(), account, factors=False)
    reader.client.cookies.update(cookie)  # as a thief would keep it
    assert _sees(reader.client, held) == [401] * 5


def test_a_revoked_device_is_a_stranger_on_a_connection_that_it_has_open(served: WebNode) -> None:
    from leadglass.app.operations import SERVED_OPERATIONS  # noqa: PLC0415

    device = served.enrol("ws9", "WS9", "query-retrieve")
    client = served.client(device=device)
    assert _sees(client, STUDIES[0]) == [200] * 5
    SERVED_OPERATIONS["device-revoke"](served.node, {"device_id": "ws9"}, lambda _done, _total: None)
    assert _sees(client, STUDIES[0]) == [401] * 5
    assert _sees(served.client(device=device), STUDIES[0]) == [401] * 5


def test_a_stream_begun_before_is_not_more_than_what_was_on_record(served: WebNode) -> None:
    """A study that is deleted is gone for everybody with the next request, and its workitem shows it to nobody new."""
    held = Held("to go", 60)
    served.store(held)
    assert served.people["radiologist"].get(held.path).status_code == 200
    answer = served.people["radiologist"].client.post(
        f"{WEB}/workitems?{held.workitem}",
        json=workitem_of(held),
        headers={"Content-Type": "application/dicom+json"},
    )
    assert answer.status_code == 201
    southern = served.people["southern"]
    assert southern.get(f"{WEB}/workitems/{held.workitem}").status_code == 404
    gone = served.people["administrator"].delete(f"{WEB}/studies/{held.study}")
    assert gone.status_code == 204, gone.text
    assert _sees(served.people["radiologist"].client, held) == [204, 404, 404, 404, 404]
    assert southern.get(f"{WEB}/workitems/{held.workitem}").status_code == 404
