"""Passkeys in a real browser: made, and then enough to sign in and to step up.

The API has no pages yet, so the scripts run on one that is ours all the same; its Content-Security-Policy, which allows
no script a request, is set aside for them. Cookies, Origin and Fetch Metadata are the browser's own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from doors.console.signed_in import PASSWORD
from interop.browser import Browser, chromium, needs_browser
from running_node import Site, free_port, site

pytestmark = [pytest.mark.interop, needs_browser, pytest.mark.timeout(240)]

API = "/api/v1"
CREATE = """
const [options, done] = arguments;
navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})
  .then(made => done(["made", made.toJSON()])).catch(error => done([error.name, String(error)]));
"""
GET = """
const [options, done] = arguments;
navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)})
  .then(shown => done(["shown", shown.toJSON()])).catch(error => done([error.name, String(error)]));
"""


@dataclass
class Person:
    """Somebody at the browser."""

    browser: Browser
    authenticator: str

    def ok(self, method: str, path: str, body: object = None, status: int = 200) -> Any:  # noqa: ANN401 - JSON
        given, text = self.browser.fetch(method, API + path, body)
        assert given == status, f"{method} {path}: {given} {text}"
        return json.loads(text) if text else None

    def make_passkey(self) -> Any:  # noqa: ANN401 - JSON
        options = self.ok("POST", "/factors/passkey/options")
        said, made = self.browser.run(CREATE, options.get("publicKey", options))
        assert said == "made", made
        return self.ok("POST", "/factors/passkey", {"response": made, "name": "laptop"})

    def show_passkey(self, options: Any) -> Any:  # noqa: ANN401 - JSON
        said, shown = self.browser.run(GET, options.get("publicKey", options))
        assert said == "shown", shown
        return shown

    def credentials(self) -> list[Any]:
        return list(self.browser.command("GET", f"/webauthn/authenticator/{self.authenticator}/credentials"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node whose port is known beforehand: it is part of the origin that passkeys are made for."""
    with site(tmp_path_factory.mktemp("node"), "--https-port", str(free_port())) as made:
        made.start()
        yield made
        assert made.stop() == 0
        assert (made.root.parent / "serve.err").read_text() == ""


@pytest.fixture(scope="module")
def person(node: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first administrator, signed in with a password and a passkey that was made for that."""
    with chromium(tmp_path_factory.mktemp("browser"), node.https_port) as browser:
        browser.open(f"https://localhost:{node.https_port}/healthz")
        browser.devtools("Page.setBypassCSP", enabled=True)
        browser.open(f"https://localhost:{node.https_port}/healthz")
        someone = Person(browser, browser.add_authenticator())
        token = node.on_site("user", "bootstrap")["token"]
        first = {"token": token, "account": "officer", "display_name": "Officer", "password": PASSWORD}
        someone.ok("POST", "/first-administrator", first, 204)
        state = someone.ok("POST", "/sign-in", {"account": "officer", "password": PASSWORD}, 401)
        assert state["state"] == "enrol-factor"
        assert someone.make_passkey()["state"] == "signed-in"
        yield someone


def test_a_passkey_is_made_and_its_owner_is_signed_in(person: Person) -> None:
    assert person.ok("GET", "/me")["principal"] == "user:officer"
    (credential,) = person.credentials()
    assert credential["isResidentCredential"] is True
    assert credential["rpId"] == "localhost"


def test_no_script_of_the_page_sees_the_session(person: Person) -> None:
    assert person.browser.ask("return document.cookie") == ""
    (cookie,) = person.browser.command("GET", "/cookie")
    assert cookie["name"] == "__Host-leadglass"
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        True,
        True,
        "Strict",
        "/",
    )


def test_a_passkey_alone_signs_in_and_steps_up(person: Person) -> None:
    person.ok("POST", "/sign-out", status=204)
    assert person.browser.fetch("GET", f"{API}/me")[0] == 401
    assert person.browser.command("GET", "/cookie") == []
    shown = person.show_passkey(person.ok("POST", "/sign-in/passkey"))
    assert person.ok("POST", "/sign-in/passkey/finish", {"response": shown})["state"] == "signed-in"
    before = person.ok("GET", "/me")
    assert (before["principal"], before["session"]["methods"]) != ("", [])
    shown = person.show_passkey(person.ok("POST", "/step-up/passkey/options"))
    assert person.ok("POST", "/step-up/passkey", {"response": shown})["state"] == "signed-in"
    assert person.ok("GET", "/me")["session"]["strong_at"] > before["session"]["strong_at"]


def test_an_assertion_is_good_once(person: Person) -> None:
    shown = person.show_passkey(person.ok("POST", "/step-up/passkey/options"))
    person.ok("POST", "/step-up/passkey", {"response": shown})
    assert person.browser.fetch("POST", f"{API}/step-up/passkey", {"response": shown})[0] == 401


def test_the_password_and_the_passkey_as_second_factor(person: Person) -> None:
    person.ok("POST", "/sign-out", status=204)
    state = person.ok("POST", "/sign-in", {"account": "officer", "password": PASSWORD}, 401)
    assert (state["state"], state["factors"]) == ("second-factor", ["passkey"])
    shown = person.show_passkey(person.ok("POST", "/sign-in/passkey/options"))
    assert person.ok("POST", "/sign-in/passkey/finish", {"response": shown})["state"] == "signed-in"


def test_the_same_authenticator_is_not_enrolled_twice(person: Person) -> None:
    options = person.ok("POST", "/factors/passkey/options")
    said, _ = person.browser.run(CREATE, options.get("publicKey", options))
    assert said == "InvalidStateError"


def test_another_origin_cannot_use_the_passkey(person: Person, node: Site) -> None:
    """The same node under another name: the browser itself refuses to make the assertion."""
    options = person.ok("POST", "/step-up/passkey/options")
    person.browser.open(f"https://127.0.0.1:{node.https_port}/healthz")
    said, _ = person.browser.run(GET, options.get("publicKey", options))
    assert said == "SecurityError"
    person.browser.open(f"https://localhost:{node.https_port}/healthz")
