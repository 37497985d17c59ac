"""Everything that is read is on record, before its first octet leaves. Attacks S68, S69; 45 CFR 164.312(b)."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from hostile.test_one_verdict import EXPORT, FIND, GET, WAYS, Way
from hostile.web import STUDIES, Held, WebNode
from leadglass.base.errors import AuditUnavailable
from leadglass.trust.audit.interfaces import AuditEvent, RecordedEvent

pytestmark = pytest.mark.slow

_HELD: Final = STUDIES[0]
_CANARIES: Final = (
    b"Hostile",
    _HELD.patient.encode(),
    b"ACC-1",
    _HELD.instance.encode(),
    bytes(range(64, 128)),
)


def _tokens_of(node: WebNode, held: Held) -> Mapping[str, set[str]]:
    """Return the tokens that the log gave to patient, study and instance when the study was stored."""
    study = node.node.keys.audit_cipher.token("study", held.study).hex()
    for entry in node.entries():
        objects: Any = entry.leaf.get("objects", {})
        if entry.leaf["event"] == "store:instance:stored" and study in objects.get("study", ()):
            return {kind: set(tokens) for kind, tokens in objects.items()}
    raise AssertionError


def _who(way: Way) -> str:
    return "exporter" if way.right == EXPORT else "radiologist"


def _leaf_of(entries: list[RecordedEvent], correlation_id: str) -> list[Mapping[str, Any]]:
    return [entry.leaf for entry in entries if entry.leaf.get("correlation") == correlation_id]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_who_read_what_from_where_and_why(served: WebNode, way: Way) -> None:
    account = _who(way)
    person = served.people[account]
    # Through a workstation of the site, with its certificate beside the person's cookie.
    client = served.browser(device=served.devices["ws1"])
    client.cookies.update(dict(person.client.cookies.items()))
    correlation_id = f"on-record-{WAYS.index(way):02}"
    before = served.node.audit.size()
    answer = client.get(
        way.path(_HELD),
        headers={"Accept": way.accept, "X-Correlation-ID": correlation_id, "Purpose-Of-Use": "TREAT"},
    )
    assert way.shows(answer, _HELD), answer.text
    assert answer.headers["x-correlation-id"] == correlation_id
    leaves = _leaf_of(served.entries(before), correlation_id)
    assert leaves
    session = person.ok("GET", "/api/v1/me")["session"]["session"]
    named = set[str]()
    for leaf in leaves:
        actor = leaf["actor"]
        assert actor["principal"] == f"user:{account}", leaf
        assert actor["workstation"] == "device:ws1", leaf
        assert actor["purpose"] == "TREAT", leaf
        assert actor["session"] == session, leaf
        assert actor["address"].startswith("127.0."), leaf
        for kind, tokens in leaf.get("objects", {}).items():
            named |= {f"{kind}:{token}" for token in tokens}
    stored = _tokens_of(served, _HELD)
    wanted = {"study"} | ({"patient"} if way.right != FIND else set())
    wanted |= {"instance"} if way.right in {GET, EXPORT} else set()
    for kind in wanted:
        assert {f"{kind}:{token}" for token in stored[kind]} <= named, (kind, leaves)


class _Full:
    """A log whose disk is full."""

    def __init__(self) -> None:
        self.tried = 0

    def __call__(self, _event: AuditEvent, *, durable: bool = True) -> int:
        self.tried += 1
        raise AuditUnavailable("the log takes nothing")


@pytest.fixture
def full(served: WebNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Full]:
    made = _Full()
    monkeypatch.setattr(type(served.node.audit), "record", lambda _self, event, **more: made(event, **more))
    yield made
    monkeypatch.undo()


def test_nothing_is_shown_while_the_log_takes_nothing(served: WebNode, full: _Full) -> None:
    """Each way in is answered 503; a study that was opened a moment ago is no exception."""
    wrong: list[str] = []
    for way in WAYS:
        client = served.people[_who(way)].client
        for method in ("GET", "HEAD"):
            answer = client.request(method, way.path(_HELD), headers={"Accept": way.accept})
            shown = [canary for canary in _CANARIES if canary in answer.content]
            if answer.status_code != 503 or shown or "retry-after" not in answer.headers:
                wrong.append(f"{method} {way.name}: {answer.status_code} {shown}")
    assert wrong == []
    assert full.tried >= 2 * len(WAYS)


def test_the_first_octet_waits_for_the_log(served: WebNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an entry is being written nothing of the answer is there; the whole node's log stands still."""
    log = served.node.audit
    reached, release = threading.Event(), threading.Event()
    record = type(log).record

    def slow(self: Any, event: AuditEvent, **more: Any) -> int:  # noqa: ANN401
        if event.correlation_id == "held-back-1":
            reached.set()
            assert release.wait(30)
        return record(self, event, **more)

    monkeypatch.setattr(type(log), "record", slow)
    client = served.people["radiologist"].client
    with ThreadPoolExecutor(1) as pool:
        for path in (
            _HELD.path,
            f"{_HELD.path}/metadata",
            f"{_HELD.path}/frames/1",
            f"{_HELD.path}/rendered",
        ):
            reached.clear()
            release.clear()

            first: list[bool] = []

            def ask(path: str = path, first: list[bool] = first) -> int:
                with client.stream("GET", path, headers={"X-Correlation-ID": "held-back-1"}) as answer:
                    first.append(release.is_set())
                    answer.read()
                    return answer.status_code

            asked = pool.submit(ask)
            assert reached.wait(30), path
            assert not first, f"{path}: the head of the answer left before the entry was taken"
            assert not asked.done()
            release.set()
            assert asked.result(30) == 200
            assert first == [True]


def test_each_event_has_the_right_user_under_load(served: WebNode) -> None:
    """S69: 500 requests of many people over many connections, some of them sharing one."""
    accounts = ("radiologist", "southern", "technologist", "smith", "researcher", "administrator", "nobody")
    cookies = {account: served.people[account].client.cookies["__Host-leadglass"] for account in accounts}
    clients = [served.client(seconds=120) for _ in range(8)]
    paths = [
        path
        for held in STUDIES
        for path in (
            f"{held.path}/metadata",
            f"{held.path}/frames/1",
            f"/dicom-web/studies?PatientID={held.patient}",
        )
    ]
    before = served.node.audit.size()

    def ask(number: int) -> tuple[str, str, int]:
        account = accounts[number % len(accounts)]
        correlation_id = f"crowd-{number:04}-{account}"
        # The connection belongs to nobody: whose turn it is changes with each request.
        answer = clients[number % len(clients)].get(
            paths[number % len(paths)],
            headers={"Cookie": f"__Host-leadglass={cookies[account]}", "X-Correlation-ID": correlation_id},
        )
        return account, correlation_id, answer.status_code

    with ThreadPoolExecutor(32) as pool:
        asked = list(pool.map(ask, range(500)))
    assert {status for _, _, status in asked} <= {200, 204, 403, 404, 429, 503}
    by_id: dict[object, set[object]] = {}
    for entry in served.entries(before):
        actor: Any = entry.leaf["actor"]
        by_id.setdefault(entry.leaf.get("correlation"), set()).add(actor["principal"])
    answered = [(account, given) for account, given, status in asked if status not in {429, 503}]
    assert len(answered) > 400
    for account, given in answered:
        assert by_id.get(given) == {f"user:{account}"}, (given, by_id.get(given))
