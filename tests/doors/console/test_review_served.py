"""An access review from its opening to what nobody looked at, at a node that runs in this process: time goes as we say."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from doors.console.signed_in import API, People, Person
from leadglass.app.asking import ask
from leadglass.app.compose import open_node
from leadglass.app.server import Server
from leadglass.app.site import SitePaths
from running_node import Site, site

pytestmark = pytest.mark.slow


class ShiftedClock:
    """The machine's clock, put forward: it goes on, so that codes and certificates stay what they are."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead.total_seconds()

    def advance(self, by: timedelta) -> None:
        self._ahead += by


@dataclass
class Served:
    site: Site
    server: Server
    clock: ShiftedClock
    people: People


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with site(tmp_path) as made:
        clock = ShiftedClock()
        server = Server(open_node(SitePaths(made.root), None, {}, clock))
        server.start()
        try:
            assert server.web is not None
            made.https_port = server.web.port
            with People(made) as people:
                yield Served(made, server, clock, people)
        finally:
            server.stop()


def asked(served: Served, operation: str, **arguments: str) -> Any:  # noqa: ANN401 - JSON
    return ask(SitePaths(served.site.root).control_socket, operation, arguments, lambda _done, _total: None)


def roles_of(served: Served, account: str) -> list[str]:
    found: list[str] = asked(served, "user-show", account=account)["user"]["roles"]
    return found


def test_what_is_decided_counts_and_what_nobody_looked_at_is_suspended(served: Served) -> None:
    officer = served.people.first_administrator()
    kept = served.people.add("kept", "radiologist", second_factor=False)
    removed = served.people.add("removed", "radiologist", second_factor=False)
    idle = served.people.add("idle", "radiologist", second_factor=False)
    unfit = {"cause": "reorganisation", "reviewer": "kept", "roles": ["radiologist"]}
    assert officer.post(f"{API}/access-reviews", unfit).status_code == 400, "a reviewer who could not sign"
    assert kept.post(f"{API}/access-reviews", unfit).status_code == 403
    own = {"cause": "all", "reviewer": "officer"}
    assert officer.post(f"{API}/access-reviews", own).status_code == 400, (
        "a grant of their own, and no deputy"
    )

    review = officer.ok("POST", f"{API}/access-reviews", {**unfit, "reviewer": "officer"})
    path = f"{API}/access-reviews/{review['review']}"
    mine = officer.ok("GET", f"{API}/access-reviews/mine")["grants"]
    assert [grant["principal"] for grant in mine] == ["user:idle", "user:kept", "user:removed"]
    decision = {"role": "radiologist", "reason": "looked at the rota"}
    for account, confirmed in (("kept", True), ("removed", False)):
        officer.ok("POST", f"{path}/decisions", {**decision, "principal": account, "confirmed": confirmed})
    assert json.loads(officer.get(f"{path}/evidence").content)["campaign"]["evidence"] == ""
    assert officer.get(f"{API}/access-reviews/none/evidence").status_code == 404
    again = {**decision, "principal": "kept", "confirmed": False}
    assert officer.post(f"{path}/decisions", again).status_code == 400
    assert kept.post(f"{path}/decisions", again).status_code == 403
    assert officer.post(f"{path}/decisions", {**again, "principal": "nobody"}).status_code == 404
    assert removed.get(f"{API}/me").status_code == 401, "what is removed is over at once"
    assert roles_of(served, "removed") == []

    # Ten minutes before the end somebody works; then the time is over.
    due = datetime.fromisoformat(review["due_at"])
    served.clock.advance(due - served.clock.now() - timedelta(minutes=10))
    served.server.node.access_review.due()
    idle.sign_in(second_factor=False)
    assert idle.ok("GET", f"{API}/me")["roles"] == ["radiologist"]
    served.clock.advance(timedelta(minutes=11))
    assert idle.ok("GET", f"{API}/me")["roles"] == ["radiologist"], "the session would go on"
    (ended,) = served.server.node.access_review.due()
    assert idle.get(f"{API}/me").status_code == 401
    assert roles_of(served, "idle") == []
    assert roles_of(served, "kept") == ["radiologist"]

    # By now the codes of the officer's application are a month behind the node: the machine's own commands look.
    shown = asked(served, "access-review-show", review=review["review"])
    assert {grant["principal"]: grant["state"] for grant in shown["grants"]} == {
        "user:idle": "suspended",
        "user:kept": "confirmed",
        "user:removed": "removed",
    }
    written = served.site.root.parent / "evidence.json"
    served.site.on_site("access-review", "evidence", review["review"], "--out", str(written))
    document = written.read_bytes()
    assert hashlib.sha256(document).hexdigest() == ended.evidence == shown["evidence"]
    assert json.loads(document)["campaign"]["cause"] == "reorganisation"
    ends = asked(served, "audit-show", event="policy:access_review:ended")["entries"]
    assert [entry["facts"]["evidence"] for entry in ends] == [ended.evidence]


def opened(officer: Person) -> list[str]:
    return [one["review"] for one in officer.ok("GET", f"{API}/access-reviews")["reviews"]]


def test_at_the_command_line_a_review_is_opened_and_not_signed(served: Served) -> None:
    officer = served.people.first_administrator()
    served.people.add("reader", "radiologist", second_factor=False)
    ordered = ("access-review", "open", "--cause", "audit", "--role", "radiologist", "--reviewer")
    served.site.on_site(*ordered, "reader", status=2)
    served.site.on_site(*ordered, "nobody", status=2)
    review = served.site.on_site(*ordered, "officer")["review"]["review"]
    assert opened(officer) == [review]
    assert [one["review"] for one in served.site.on_site("access-review", "list")["reviews"]] == [review]
    (grant,) = served.site.on_site("access-review", "show", review)["grants"]
    assert (grant["principal"], grant["reviewer"], grant["state"]) == ("user:reader", "user:officer", "open")
    decided = ("access-review", "decide", review, "reader", "radiologist", "--confirm", "--reason", "fits")
    assert served.site.run(*decided, "--site", str(served.site.root), status=None).returncode == 7
    assert roles_of(served, "reader") == ["radiologist"]
