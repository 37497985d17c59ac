"""People at a node that runs: the first administrator, everybody else, each signed in as a browser would be.

::

    with site(tmp_path) as made:
        made.start()
        people = People(made)
        officer = people.first_administrator()
        admin = people.add("admin", "pacs-administrator")
        assert admin.get("/api/v1/accounts").status_code == 200

``Person`` sends what a page of the node would send: session cookie, Origin, anti-forgery header. Whoever has a second
factor showed it just now, so what needs a fresh one is open for a quarter of an hour.
"""

import ssl
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx2
from pyotp.totp import TOTP

from running_node import Site

PASSWORD = "seven lemons under a quiet bridge"
API = "/api/v1"
_STEP_SECONDS = 30


def browser(site: Site, *, certificate: tuple[str, str] | None = None) -> httpx2.Client:
    """Return a client that trusts the site's authority and keeps cookies; with a client certificate, if there is one.

    Args:
        site: whose node runs.
        certificate: paths of certificate and key.
    """
    context = ssl.create_default_context(cafile=site.root / "certs" / "ca.pem")
    if certificate is not None:
        context.load_cert_chain(*certificate)
    origin = f"https://localhost:{site.https_port}"
    return httpx2.Client(
        base_url=origin,
        verify=context,
        trust_env=False,
        timeout=60,
        headers={"Origin": origin, "X-Leadglass-CSRF": "1"},
    )


@dataclass
class Person:
    """Somebody with a browser of their own."""

    account: str
    client: httpx2.Client
    password: str = PASSWORD
    seed: str = ""
    _last_step: int = field(default=0, repr=False)

    # --- signing in ----------------------------------------------------------------------------------------------

    def sign_in(self, *, second_factor: bool = True) -> httpx2.Response:
        """Sign in with the password; show or enrol an authenticator application where one is asked for.

        With ``second_factor`` somebody who needs none enrols one all the same.
        """
        answer = self.post(f"{API}/sign-in", {"account": self.account, "password": self.password})
        state = answer.json()["state"]
        if state == "second-factor":
            answer = self.post(f"{API}/sign-in/totp", {"code": self.code()})
        elif state == "enrol-factor" or (state == "signed-in" and second_factor):
            answer = self.enrol_totp()
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "signed-in", answer.text
        return answer

    def enrol_totp(self) -> httpx2.Response:
        """Enrol an authenticator application; the session is fresh afterwards."""
        made = self.post(f"{API}/factors/totp/begin")
        assert made.status_code == 200, made.text
        self.seed = made.json()["secret"]
        return self.post(f"{API}/factors/totp", {"code": self.code()})

    def step_up(self) -> httpx2.Response:
        """Show the second factor again."""
        answer = self.post(f"{API}/step-up/totp", {"code": self.code()})
        assert answer.status_code == 200, answer.text
        return answer

    def code(self) -> str:
        """Return six digits that were not shown before: a code is good once, and one step ahead is taken too.

        Whoever shows three in half a minute has to wait for the clock, as a person would.
        """
        step = max(int(time.time()) // _STEP_SECONDS, self._last_step + 1)
        while step > int(time.time()) // _STEP_SECONDS + 1:
            time.sleep(0.2)
        self._last_step = step
        return TOTP(self.seed).at(step * _STEP_SECONDS)

    # --- requests ------------------------------------------------------------------------------------------------

    def get(self, path: str) -> httpx2.Response:
        """GET."""
        return self.client.get(path)

    def post(self, path: str, body: object | None = None) -> httpx2.Response:
        """POST JSON, or nothing."""
        return self.client.post(path) if body is None else self.client.post(path, json=body)

    def put(self, path: str, body: object) -> httpx2.Response:
        """PUT JSON."""
        return self.client.put(path, json=body)

    def delete(self, path: str) -> httpx2.Response:
        """DELETE."""
        return self.client.delete(path)

    def ok(self, method: str, path: str, body: object | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send, expect success, and return the document; None for an answer without one."""
        given: dict[str, Any] = {} if body is None else {"json": body}
        answer = self.client.request(method, path, **given)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class People:
    """Makes people of a site whose node runs, and closes their browsers at the end.

    Args:
        site: as ``running_node`` made it.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._all: list[Person] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for person in self._all:
            person.client.close()

    def first_administrator(self, account: str = "officer") -> Person:
        """Make the security officer that a new site begins with, by the token of the machine's console."""
        token = self.site.on_site("user", "bootstrap")["token"]
        person = self._person(account)
        body = {"token": token, "account": account, "display_name": account, "password": PASSWORD}
        answer = person.post(f"{API}/first-administrator", body)
        assert answer.status_code == 204, answer.text
        person.sign_in()
        return person

    def add(
        self, account: str, *roles: str, second_factor: bool = True, more: tuple[str, ...] = ()
    ) -> Person:
        """Make an account at the command line, redeem its invitation, and sign in.

        Args:
            account: its id.
            roles: that it has.
            second_factor: enrol one even if none is asked for.
            more: further options of ``leadglass user add``.
        """
        person = self.invited(account, *roles, more=more)
        person.sign_in(second_factor=second_factor)
        return person

    def invited(self, account: str, *roles: str, more: tuple[str, ...] = ()) -> Person:
        """The same, without signing in."""
        options = [part for role in roles for part in ("--role", role)]
        invitation = self.site.on_site("user", "add", account, *options, *more)["invitation"]
        person = self._person(account)
        answer = person.post(f"{API}/invitation", {"token": invitation, "password": PASSWORD})
        assert answer.status_code == 204, answer.text
        return person

    def _person(self, account: str) -> Person:
        person = Person(account, browser(self.site))
        self._all.append(person)
        return person
