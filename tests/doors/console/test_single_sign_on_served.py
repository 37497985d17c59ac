"""Signing in at real identity providers, end to end, through a node that runs: oidc-provider, samlp, slapd.

Attacks: S46 (replay, open redirect, a state that is missing or another browser's, a response to another question), S43.
"""

import base64
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from uuid import uuid4

import httpx2
import pytest
from joserfc import jwk, jwt

from doors.console.signed_in import API, Person
from leadglass.doors.https.gate import SESSION_COOKIE
from running_node import Site, free_port, site
from trust.identity.federation.authority import KeyPair, TestAuthority, self_signed
from trust.identity.federation.npm_peer import Peer, needs, npm_peer
from trust.identity.federation.openid import OpenIDSite, openid_provider, signing_keys
from trust.identity.federation.slapd import (
    PASSWORD,
    PEOPLE,
    RADIOLOGY,
    SERVICE,
    SERVICE_PASSWORD,
    needs_slapd,
    slapd,
)

pytestmark = [pytest.mark.interop, needs("oidc-provider"), needs("samlp"), needs_slapd]

STRONG = "urn:test:strong"
SAML_ISSUER = "https://idp.example/saml"
SAML_GROUPS = "http://schemas.passportjs.com/groups"
STAFF = {
    "jdoe": {"name": "Jane Doe", "groups": ["radiology", "everybody"]},
    "mroe": {"name": "Max Roe", "groups": ["everybody"]},
    "root": {"name": "Rita Root", "groups": ["administrators"]},
}


@dataclass
class Federated:
    """A node, and the providers that its settings name."""

    site: Site
    authority: TestAuthority
    saml: Peer
    pair: KeyPair
    provider: ExitStack
    issuer: str
    signing: Mapping[str, Any]

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.site.https_port}"

    def browser(self) -> "Browser":
        return Browser(self)


class Browser:
    """Goes where it is sent, as a browser would, and shows what it was told on the way."""

    def __init__(self, at: Federated) -> None:
        context = ssl.create_default_context(cafile=at.authority.file)
        context.load_verify_locations(at.site.root / "certs" / "ca.pem")
        self.at = at
        self.client = httpx2.Client(verify=context, trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def begin(self, way: str, return_to: str = "/studies") -> httpx2.Response:
        query = urlencode({"return_to": return_to})
        answer = self.client.get(f"{self.at.origin}/auth/{way}/begin?{query}")
        assert answer.status_code == 303, answer.text
        return answer

    def to_callback(self, begun: httpx2.Response, person: str, **how: str) -> str:
        """Sign in at the OpenID provider; return the address that it sends the browser to."""
        url = begun.headers["location"]
        for _ in range(10):
            answer = self.client.get(url)
            if answer.status_code == 200 and "/interaction/" in url:
                url = url.partition("?")[0] + "?" + urlencode({"login": person, **how})
                continue
            url = urljoin(url, answer.headers["location"])
            if url.startswith(self.at.origin):
                return url
        raise AssertionError("too many redirects")

    def saml_answer(self, begun: httpx2.Response, **changes: object) -> str:
        """Let the SAML provider answer what we asked; return what its page would post."""
        (asked,) = parse_qs(urlsplit(begun.headers["location"]).query)["SAMLRequest"]
        request = self.at.saml.ask({"action": "parse", "request": asked})["request"]
        wanted = {
            "action": "respond",
            "issuer": SAML_ISSUER,
            "certificate": str(self.at.pair.certificate),
            "key": str(self.at.pair.key),
            "audience": f"{self.at.origin}/auth/saml/metadata",
            "recipient": f"{self.at.origin}/auth/saml/acs",
            "destination": f"{self.at.origin}/auth/saml/acs",
            "inResponseTo": request["id"],
            "sign": ["assertion"],
            "person": "jdoe",
            **changes,
        }
        return str(self.at.saml.ask(wanted)["response"])

    def post_saml(self, response: str) -> httpx2.Response:
        """Post it as the page of the provider does: from another site, so only a cookie that may travel goes with it."""
        form = {"SAMLResponse": base64.b64encode(response.encode()).decode()}
        return self.client.post(
            f"{self.at.origin}/auth/saml/acs", data=form, headers={"Origin": "https://idp.example"}
        )

    def me(self) -> httpx2.Response:
        return self.client.get(f"{self.at.origin}{API}/me")

    def person(self) -> Person:
        """Go on as somebody whose page is one of ours."""
        self.client.base_url = httpx2.URL(self.at.origin)
        self.client.headers |= {"Origin": self.at.origin, "X-Leadglass-CSRF": "1"}
        return Person("", self.client)


def cookies_of(answer: httpx2.Response) -> Mapping[str, str]:
    """Return the attributes of each cookie that is set."""
    found = (line.partition("=") for line in answer.headers.get_list("set-cookie"))
    return {name: rest.partition("; ")[2] for name, _, rest in found if not rest.startswith(";")}


def refused(answer: httpx2.Response) -> bool:
    """Tell whether it is the one answer to a sign-in that failed."""
    return (
        answer.status_code == 303
        and answer.headers["location"] == "/sign-in?failed=1"
        and SESSION_COOKIE not in cookies_of(answer)
    )


def toml(name: str, rules: Mapping[str, str], **values: object) -> str:
    lines = [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    for group, role in rules.items():
        lines += [f"[[{name}.rule]]", f"group = {json.dumps(group)}", f'roles = ["{role}"]']
    return "\n".join(lines) + "\n\n"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federated]:
    folder = tmp_path_factory.mktemp("sso")
    folders = {name: folder / name for name in ("oidc", "ldap", "idp")}
    for one in folders.values():
        one.mkdir()
    port = free_port()
    origin = f"https://localhost:{port}"
    authority = TestAuthority(folder)
    openid = OpenIDSite(folders["oidc"], authority, signing_keys())
    with ExitStack() as stack, ExitStack() as provider:
        made = stack.enter_context(site(folder / "node", "--https-port", str(port)))
        issuer = provider.enter_context(
            openid_provider(openid, clients=[_client(openid, origin)], people=STAFF)
        )
        peer = stack.enter_context(npm_peer("saml.mjs", folder / "saml.err"))
        directory = stack.enter_context(slapd(folders["ldap"], authority.issue("localhost")))
        pair = self_signed(folders["idp"], "idp")
        _configure(made, authority, issuer, openid.key_file, directory.tls, _metadata(peer, pair))
        made.start()
        yield Federated(made, authority, peer, pair, provider, issuer, openid.signing)


def _client(openid: OpenIDSite, origin: str) -> dict[str, object]:
    public = {
        **openid.key.as_dict(private=False),
        "kid": openid.key.thumbprint(),
        "alg": "ES256",
        "use": "sig",
    }
    return {
        "client_id": "leadglass",
        "redirect_uris": [f"{origin}/auth/oidc/callback"],
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "id_token_signed_response_alg": "ES256",
        "jwks": {"keys": [public]},
    }


def _metadata(peer: Peer, pair: KeyPair) -> str:
    wanted = {"action": "metadata", "issuer": SAML_ISSUER, "certificate": str(pair.certificate)}
    return str(peer.ask(wanted)["metadata"])


def _configure(
    made: Site, authority: TestAuthority, issuer: str, key: Path, directory: str, metadata: str
) -> None:
    (made.root / "idp.xml").write_text(metadata)
    password = made.root / "ldap.password"
    password.write_text(SERVICE_PASSWORD)
    password.chmod(0o600)
    rules = {"radiology": "radiologist", "administrators": "pacs-administrator"}
    settings = made.root / "leadglass.toml"
    text = settings.read_text().replace("make_accounts = false", "make_accounts = true")
    text += "\n" + toml(
        "oidc",
        rules,
        issuer=issuer,
        client_id="leadglass",
        private_key_file=str(key),
        ca_file=str(authority.file),
        multi_factor=[STRONG],
    )
    text += toml("saml", rules, metadata_file="idp.xml", groups_attribute=SAML_GROUPS)
    text += toml(
        "ldap",
        {RADIOLOGY: "radiologist"},
        url=directory,
        bind_dn=SERVICE,
        bind_password_file="ldap.password",
        user_base=PEOPLE,
        ca_file=str(authority.file),
    )
    settings.write_text(text)


def test_the_sign_in_page_is_told_which_ways_there_are(at: Federated) -> None:
    with at.browser() as browser:
        ways = browser.client.get(f"{at.origin}{API}/sign-in").json()["ways"]
    assert {"way": "oidc", "url": "/auth/oidc/begin"} in ways
    assert {"way": "saml", "url": "/auth/saml/begin"} in ways


def test_the_self_test_finds_nothing_wrong(at: Federated) -> None:
    report = at.site.on_site("identity", "test", "--user", "jdoe")
    assert report["ok"], report
    assert {finding["part"] for finding in report["findings"]} == {"oidc", "saml", "ldap"}
    assert (
        "radiologist"
        in at.site.run("identity", "test", "ldap", "--user", "jdoe", "--site", str(at.site.root)).stdout
    )


# --- OpenID Connect --------------------------------------------------------------------------------------------------


def test_openid_connect_from_end_to_end(at: Federated) -> None:
    with at.browser() as browser:
        begun = browser.begin("oidc")
        # Sent along with the redirect back, by no script, to no other host, not over plain HTTP.
        assert cookies_of(begun) == {"__Host-leadglass-oidc": "Path=/; Secure; HttpOnly; SameSite=Lax"}
        back = browser.client.get(browser.to_callback(begun, "jdoe"))
        assert back.status_code == 200
        assert back.headers["refresh"] == "0; url=/studies"
        assert cookies_of(back)[SESSION_COOKIE] == "Path=/; Secure; HttpOnly; SameSite=Strict"
        assert "__Host-leadglass-oidc" not in browser.client.cookies
        me = browser.me().json()
        assert (me["name"], me["roles"]) == ("Jane Doe", ["radiologist"])
        account = me["principal"].partition(":")[2]
    shown = at.site.on_site("user", "show", account)["user"]
    assert shown["issuer"].startswith("https://localhost:")
    events = at.site.on_site("audit", "show", "--principal", me["principal"])["entries"]
    assert "identity:session:started" in {entry["event"] for entry in events}


def test_whom_no_group_gives_a_role_is_turned_away(at: Federated) -> None:
    with at.browser() as browser:
        assert refused(browser.client.get(browser.to_callback(browser.begin("oidc"), "mroe")))
        assert browser.me().status_code == 401


def test_an_administrator_shows_a_second_factor_here_or_there(at: Federated) -> None:
    with at.browser() as browser:
        back = browser.client.get(browser.to_callback(browser.begin("oidc"), "root"))
        assert back.headers["refresh"] == "0; url=/sign-in?step=second-factor"
        assert SESSION_COOKIE not in cookies_of(back)
        person = browser.person()
        assert person.get(f"{API}/me").status_code == 401
        assert person.enrol_totp().json()["state"] == "signed-in"
        assert person.ok("GET", f"{API}/me")["roles"] == ["pacs-administrator"]
    with at.browser() as browser:
        back = browser.client.get(browser.to_callback(browser.begin("oidc"), "root", acr=STRONG))
        assert back.headers["refresh"] == "0; url=/studies"
        assert browser.me().json()["roles"] == ["pacs-administrator"]


def test_only_the_browser_that_began_may_finish(at: Federated) -> None:
    with at.browser() as browser, at.browser() as other:
        callback = browser.to_callback(browser.begin("oidc"), "jdoe")
        assert refused(other.client.get(callback))  # no state at all
        other.begin("oidc")
        assert refused(other.client.get(callback))  # its own, and somebody else's code
        tampered = re.sub(r"state=[^&]{4}", "state=AAAA", callback)
        assert tampered != callback
        assert refused(browser.client.get(tampered))


def test_a_cookie_that_was_changed_opens_nothing(at: Federated) -> None:
    with at.browser() as browser:
        callback = browser.to_callback(browser.begin("oidc"), "jdoe")
        held = browser.client.cookies["__Host-leadglass-oidc"]
        changed = held[:20] + ("A" if held[20] != "A" else "B") + held[21:]
        browser.client.cookies.clear()
        header = {"Cookie": f"__Host-leadglass-oidc={changed}"}
        assert refused(browser.client.get(callback, headers=header))


def test_a_code_is_good_once(at: Federated) -> None:
    with at.browser() as browser:
        callback = browser.to_callback(browser.begin("oidc"), "jdoe")
        held = browser.client.cookies["__Host-leadglass-oidc"]
        assert browser.client.get(callback).status_code == 200
        header = {"Cookie": f"__Host-leadglass-oidc={held}"}
        assert refused(browser.client.get(callback, headers=header))


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example/", "/\\evil.example", "x"])
def test_nobody_is_sent_elsewhere_afterwards(at: Federated, elsewhere: str) -> None:
    with at.browser() as browser:
        begun = browser.begin("saml", elsewhere)
        back = browser.post_saml(browser.saml_answer(begun))
        assert back.headers["refresh"] == "0; url=/"


def test_too_much_is_refused_and_no_bug(at: Federated) -> None:
    many = "&".join(f"a{number}=b" for number in range(100))
    with at.browser() as browser:
        assert browser.client.get(f"{at.origin}/auth/oidc/callback?{many}").status_code == 400
        for query in ("", "code=x", "code=x&state=y", "error=access_denied&state=y", "state=%ff&code=%00"):
            assert refused(browser.client.get(f"{at.origin}/auth/oidc/callback?{query}"))


def test_who_signs_out_at_the_provider_is_signed_out_here(at: Federated) -> None:
    with at.browser() as browser, at.browser() as backchannel:
        browser.client.get(browser.to_callback(browser.begin("oidc"), "jdoe"))
        assert browser.me().status_code == 200
        url = f"{at.origin}/auth/oidc/logout"
        token = logout_token(at, "jdoe")
        for wrong in ("", token[:-8] + "AAAAAAAA", logout_token(at, "nobody")):
            assert backchannel.client.post(url, data={"logout_token": wrong}).status_code == 400
        assert browser.me().status_code == 200
        assert backchannel.client.post(url, data={"logout_token": token}).status_code == 200
        assert browser.me().status_code == 401
        assert backchannel.client.post(url, data={"logout_token": token}).status_code == 400  # once


def logout_token(at: Federated, subject: str) -> str:
    """Write what the provider would send, with its key. Source: OpenID Connect Back-Channel Logout 1.0, 2.4."""
    (document,) = (key for key in at.signing["keys"] if key["kid"] == "ec")
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": at.issuer,
        "aud": "leadglass",
        "sub": subject,
        "iat": now,
        "exp": now + 60,
        "jti": str(uuid4()),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    header = {"alg": "ES256", "kid": "ec", "typ": "logout+jwt"}
    return jwt.encode(header, claims, jwk.ECKey.import_key(document))


# --- SAML ------------------------------------------------------------------------------------------------------------


def test_saml_from_end_to_end(at: Federated) -> None:
    with at.browser() as browser:
        begun = browser.begin("saml")
        # The response is posted by another site: the cookie has to travel with that, and lives until then.
        assert cookies_of(begun) == {"__Host-leadglass-saml": "Path=/; Secure; HttpOnly; SameSite=None"}
        back = browser.post_saml(browser.saml_answer(begun))
        assert back.status_code == 200, back.text
        assert back.headers["refresh"] == "0; url=/studies"
        assert cookies_of(back)[SESSION_COOKIE] == "Path=/; Secure; HttpOnly; SameSite=Strict"
        assert browser.me().json()["roles"] == ["radiologist"]


def test_saml_responses_that_are_not_for_this_browser(at: Federated) -> None:
    with at.browser() as browser, at.browser() as other:
        begun = browser.begin("saml")
        answer = browser.saml_answer(begun)
        assert refused(other.post_saml(answer))
        other.begin("saml")
        assert refused(other.post_saml(answer))
        assert refused(browser.post_saml(answer.replace("jdoe", "root")))
        assert refused(browser.post_saml(browser.saml_answer(browser.begin("saml"), groups=["everybody"])))
        for nonsense in ("", "<", "not a response"):
            browser.begin("saml")
            assert refused(browser.post_saml(nonsense))


def test_a_response_is_good_once(at: Federated) -> None:
    with at.browser() as browser:
        begun = browser.begin("saml")
        held = browser.client.cookies["__Host-leadglass-saml"]
        answer = browser.saml_answer(begun)
        assert browser.post_saml(answer).status_code == 200
        browser.client.cookies.clear()
        browser.client.headers["Cookie"] = f"__Host-leadglass-saml={held}"
        assert refused(browser.post_saml(answer))


def test_our_metadata_says_where_responses_go(at: Federated) -> None:
    with at.browser() as browser:
        answer = browser.client.get(f"{at.origin}/auth/saml/metadata")
    assert answer.headers["content-type"].startswith("application/samlmetadata+xml")
    assert f'"{at.origin}/auth/saml/acs"' in answer.text


# --- LDAP ------------------------------------------------------------------------------------------------------------


def test_a_directory_knows_passwords(at: Federated) -> None:
    with at.browser() as browser:
        person = browser.person()
        right = person.post(f"{API}/sign-in", {"account": "jdoe", "password": PASSWORD})
        assert right.json()["state"] == "signed-in", right.text
        me = person.ok("GET", f"{API}/me")
        assert (me["name"], me["roles"]) == ("Jane Doe", ["radiologist"])
    with at.browser() as browser:
        person = browser.person()
        for account, password in (
            ("jdoe", "a wrong password"),
            ("twin", ""),  # to a directory a bind without a password is one by nobody, and succeeds
            ("mroe", PASSWORD),  # right, but in no group that gives a role
            ("disabled", PASSWORD),
            ("*", PASSWORD),
        ):
            answer = person.post(f"{API}/sign-in", {"account": account, "password": password})
            assert (answer.status_code, answer.json()) == (401, {"state": "refused"}), account


# --- the provider is gone: last, as it does not come back ------------------------------------------------------------


def test_a_provider_that_went_away_is_a_sign_in_that_failed(at: Federated) -> None:
    with at.browser() as browser:
        callback = browser.to_callback(browser.begin("oidc"), "jdoe")
        at.provider.close()
        assert refused(browser.client.get(callback))
        report = at.site.on_site("identity", "test", "oidc", status=1)
        assert "cannot be fetched" in report["findings"][0]["what"]
        assert browser.client.get(f"{at.origin}{API}/sign-in").status_code == 200
