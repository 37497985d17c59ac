"""Services and scripts at a node that runs: they prove themselves, get a token, read with it, and are turned away.

Attacks: S55 (a right that outlives its end), S48 (credentials of another, or used before).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from joserfc import jwk, jwt

from archive.room import image
from doors.console.signed_in import API, People, Person, browser
from doors.dicomweb.web_room import part10
from running_node import Site, free_port, site

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
STUDIES = "/dicom-web/studies"


@dataclass
class Script:
    """A service that signs its assertions itself."""

    site: Site
    client_id: str
    key: jwk.ECKey = field(default_factory=lambda: jwk.ECKey.generate_key("P-256"))

    @property
    def jwks(self) -> str:
        return json.dumps({"keys": [{**self.key.as_dict(private=False), "kid": "k1"}]})

    def assertion(self, **changes: object) -> str:
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": f"https://localhost:{self.site.https_port}/oauth/token",
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + 60,
            **changes,
        }
        return jwt.encode({"alg": "ES256", "kid": "k1"}, claims, self.key)

    def form(self, **fields: str) -> dict[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": self.assertion(),
            **fields,
        }


@dataclass
class Served:
    site: Site
    people: People
    admin: Person
    boss: Person

    def script(self, client_id: str, *scopes: str) -> Script:
        made = Script(self.site, client_id)
        self.admin.ok(
            "POST",
            f"{API}/clients",
            {
                "client": client_id,
                "owner": "boss",
                "scopes": scopes,
                "jwks": made.jwks,
                "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
            },
        )
        return made

    def http(self, certificate: tuple[str, str] | None = None) -> httpx2.Client:
        made = browser(self.site, certificate=certificate)
        made.headers.clear()
        return made


def token_of(client: httpx2.Client, form: dict[str, str]) -> str:
    answer = client.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document["token_type"] == "Bearer"
    assert document["expires_in"] <= 600
    return str(document["access_token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clients")
    with site(folder, "--https-port", str(free_port())) as made:
        disk = folder / "disk"
        disk.mkdir()
        (disk / "a.dcm").write_bytes(part10(image(1)))
        made.on_site("import", str(disk))
        made.start()
        with People(made) as people:
            yield Served(
                made, people, people.add("admin", "pacs-administrator"), people.add("boss", "radiologist")
            )


def test_a_script_that_signs_reads_with_its_token(served: Served) -> None:
    script = served.script("reader", "study:query", "instance:retrieve")
    with served.http() as client:
        described = client.get("/.well-known/oauth-authorization-server").json()
        assert described["token_endpoint"] == f"https://localhost:{served.site.https_port}/oauth/token"
        assert described["issuer"] == f"https://localhost:{served.site.https_port}"
        token = token_of(client, script.form())
        found = client.get(STUDIES, headers=bearer(token))
        assert found.status_code == 200, found.text
        assert found.json()[0]["0020000D"]["Value"] == [image(1).study]
        metadata = client.get(f"{STUDIES}/{image(1).study}/metadata", headers=bearer(token))
        assert metadata.status_code == 200
        assert client.get(f"{API}/accounts", headers=bearer(token)).status_code == 403


def test_a_token_does_what_its_scopes_say_and_nothing_else(served: Served) -> None:
    script = served.script("finder", "study:query")
    with served.http() as client:
        token = token_of(client, script.form())
        assert client.get(STUDIES, headers=bearer(token)).status_code == 200
        # It may find, so it knows that there is something; what it may not open is as good as missing.
        assert client.get(f"{STUDIES}/{image(1).study}/metadata", headers=bearer(token)).status_code in {
            403,
            404,
        }
        asked = client.post("/oauth/token", data=script.form(scope="instance:retrieve"))
        assert asked.status_code == 400
        assert asked.json() == {"error": "invalid_scope"}


def test_less_than_all_scopes_may_be_asked_for(served: Served) -> None:
    script = served.script("modest", "study:query", "workitem:query")
    with served.http() as client:
        token = token_of(client, script.form(scope="workitem:query"))
        assert client.get(STUDIES, headers=bearer(token)).status_code == 403
        assert client.get("/dicom-web/workitems", headers=bearer(token)).status_code in {200, 204}


def test_revocation_bites_on_the_next_request(served: Served) -> None:
    script = served.script("doomed", "study:query")
    with served.http() as client:
        token = token_of(client, script.form())
        assert client.get(STUDIES, headers=bearer(token)).status_code == 200
        served.admin.ok("POST", f"{API}/clients/doomed/disable", {"reason": "test"})
        answer = client.get(STUDIES, headers=bearer(token))
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert client.post("/oauth/token", data=script.form()).status_code == 401


def test_a_client_goes_with_the_person_who_answers_for_it(served: Served) -> None:
    served.people.invited("leaver", "radiologist")
    script = served.script("orphan", "study:query")
    served.admin.ok("PUT", f"{API}/clients/orphan", {"owner": "leaver"})
    with served.http() as client:
        token = token_of(client, script.form())
        served.site.on_site("user", "disable", "leaver", "--reason", "left")
        assert client.get(STUDIES, headers=bearer(token)).status_code == 401
        served.admin.ok("PUT", f"{API}/clients/orphan", {"owner": "boss"})
        assert (
            client.get(STUDIES, headers=bearer(token)).status_code == 401
        )  # the old token ended with the change
        assert client.get(STUDIES, headers=bearer(token_of(client, script.form()))).status_code == 200


def test_a_certificate_proves_a_client_and_its_token_is_good_with_it_only(served: Served) -> None:
    folder = served.site.root.parent / "clients"
    served.site.on_site(
        "client", "add", "bound", "--owner", "boss", "--scope", "study:query", "--bound", "--out", str(folder)
    )  # fmt: skip
    pair = (str(folder / "bound.cert.pem"), str(folder / "bound.key.pem"))
    form = {"grant_type": "client_credentials", "client_id": "bound"}
    with served.http(pair) as client, served.http() as thief:
        token = token_of(client, form)
        assert client.get(STUDIES, headers=bearer(token)).status_code == 200
        assert thief.get(STUDIES, headers=bearer(token)).status_code == 401
        assert thief.post("/oauth/token", data=form).status_code == 401
        # The certificate alone is nobody: it is not that of a device.
        assert client.get(STUDIES).status_code == 401


def test_what_is_no_proof(served: Served) -> None:
    script = served.script("honest", "study:query")
    other = Script(served.site, "honest")
    used = script.form()
    with served.http() as client:
        token_of(client, used)
        for form in (
            used,  # the second time
            other.form(),
            script.form(client_assertion=script.assertion(aud="https://elsewhere.example")),
            script.form(client_assertion=script.assertion(exp=int(time.time()) - 120)),
            script.form(client_secret="a shared one"),
            {"grant_type": "client_credentials", "client_id": "honest"},
        ):
            answer = client.post("/oauth/token", data=form)
            assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
        assert client.post("/oauth/token", json={}).status_code == 415
        many = "&".join(f"a{number}=b" for number in range(40))
        form_type = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.post("/oauth/token", content=many, headers=form_type).status_code == 400
        assert client.post("/oauth/token", content=b"a=\xff", headers=form_type).status_code == 400


def test_administration_of_clients(served: Served) -> None:
    script = served.script("listed", "study:query")
    listed = {one["client"] for one in served.admin.ok("GET", f"{API}/clients")["clients"]}
    assert "listed" in listed
    one = served.admin.ok("GET", f"{API}/clients/listed")
    assert (one["owner"], one["scopes"], one["disabled"]) == ("boss", ["study:query"], False)
    assert json.loads(one["jwks"]) == json.loads(script.jwks)
    assert served.boss.get(f"{API}/clients").status_code == 403
    assert served.admin.get(f"{API}/clients/nobody").status_code == 404
    body = {"client": "x", "owner": "boss", "scopes": ["study:query"], "expires_at": "2027-01-01T00:00:00Z"}
    assert served.boss.post(f"{API}/clients", {**body, "jwks": script.jwks}).status_code == 403
    assert served.admin.post(f"{API}/clients", body).status_code == 400  # nothing that it proves itself by
    # Another role than that of a service is the matter of whoever gives roles.
    roles = {**body, "jwks": script.jwks, "roles": ["radiologist"]}
    assert served.admin.post(f"{API}/clients", roles).status_code == 403
