"""Against the real oidc-provider, over real TLS."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from leadglass.trust.identity.federation.models import (
    ClientAuthentication,
    ExternalIdentity,
    FederationSettings,
    GroupRule,
    SignedIn,
    SignInRefused,
    Strength,
)
from leadglass.trust.identity.federation.service import open_federation
from leadglass.trust.identity.models import Vouched
from trust.identity.federation.authority import TestAuthority
from trust.identity.federation.npm_peer import needs
from trust.identity.federation.openid import (
    OpenIDSite,
    openid_provider,
    sign_in,
    signing_keys,
)

pytestmark = [pytest.mark.interop, needs("oidc-provider")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIDSite]:
    folder = tmp_path_factory.mktemp("oidc")
    made = OpenIDSite(folder, TestAuthority(folder), signing_keys())
    with openid_provider(made) as origin:
        made.issuer = origin
        yield made


def identity_of(outcome: SignedIn | SignInRefused) -> ExternalIdentity:
    assert isinstance(outcome, SignedIn), outcome
    return outcome.identity


def test_a_person_signs_in_and_is_known_by_issuer_and_subject(site: OpenIDSite) -> None:
    outcome = sign_in(site, site.client(), return_to="/studies?limit=5")

    identity = identity_of(outcome)
    assert (identity.issuer, identity.subject) == (site.issuer, "jdoe")
    assert identity.display_name == "Jane Doe"
    assert identity.groups == ("radiology", "everybody")  # of the userinfo endpoint: the ID token has none
    assert identity.methods == ("pwd",)
    assert identity.acr == "urn:test:password"
    assert identity.auth_time is not None
    assert abs((identity.auth_time - site.clock.now()).total_seconds()) < 60
    assert isinstance(outcome, SignedIn)
    assert outcome.return_to == "/studies?limit=5"


def test_by_a_client_secret_with_characters_that_need_encoding(site: OpenIDSite) -> None:
    client = site.client(
        client_id="by-secret", client_authentication=ClientAuthentication.CLIENT_SECRET_BASIC
    )
    assert identity_of(sign_in(site, client)).subject == "jdoe"


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"])
def test_each_algorithm_that_we_take(site: OpenIDSite, algorithm: str) -> None:
    assert identity_of(sign_in(site, site.client(client_id=f"signed-{algorithm}"))).subject == "jdoe"


def test_an_id_token_under_the_client_secret_is_refused(site: OpenIDSite) -> None:
    client = site.client(
        client_id="signed-HS256", client_authentication=ClientAuthentication.CLIENT_SECRET_BASIC
    )
    assert sign_in(site, client) == SignInRefused("the token is signed by an algorithm that is not allowed")


def test_a_code_is_good_once(site: OpenIDSite) -> None:
    client, browser = site.client(), site.browser()
    begun = client.begin()
    brought = browser.sign_in(begun.redirect_url, "jdoe")
    browser.close()
    assert isinstance(client.finish(brought, begun.sealed_state), SignedIn)
    assert client.finish(brought, begun.sealed_state) == SignInRefused(
        "the token endpoint answered invalid_grant"
    )


def test_a_code_that_was_stolen_is_no_use_in_another_browser(site: OpenIDSite) -> None:
    """PKCE: the thief has his own sealed state, and puts the state of it beside the stolen code."""
    client, browser = site.client(), site.browser()
    victim, thief = client.begin(), client.begin()
    stolen = dict(browser.sign_in(victim.redirect_url, "jdoe"))
    browser.close()
    state = dict(parse_qsl(urlsplit(thief.redirect_url).query))["state"]
    brought = [*{**stolen, "state": state}.items()]
    assert client.finish(brought, thief.sealed_state) == SignInRefused(
        "the token endpoint answered invalid_grant"
    )


def test_an_answer_of_another_sign_in_is_refused(site: OpenIDSite) -> None:
    """Login CSRF: the attacker's answer in the victim's browser."""
    client, browser = site.client(), site.browser()
    attacker, victim = client.begin(), client.begin()
    brought = browser.sign_in(attacker.redirect_url, "mroe")
    browser.close()
    assert client.finish(brought, victim.sealed_state) == SignInRefused(
        "the answer belongs to another sign-in"
    )


@pytest.mark.parametrize(
    ("iss", "reason"),
    [
        (None, "the answer does not say which provider it is from"),
        ("https://evil.example", "the answer is from another provider"),
    ],
)
def test_a_mix_up_of_providers_is_noticed(site: OpenIDSite, iss: str | None, reason: str) -> None:
    """RFC 9207; the code must not even be sent anywhere."""
    client, browser = site.client(), site.browser()
    begun = client.begin()
    brought = dict(browser.sign_in(begun.redirect_url, "jdoe"))
    browser.close()
    assert brought.pop("iss") == site.issuer
    if iss is not None:
        brought["iss"] = iss
    assert client.finish(list(brought.items()), begun.sealed_state) == SignInRefused(reason)


def test_a_sign_in_that_took_too_long_is_refused(site: OpenIDSite) -> None:
    client = site.client()
    begun = client.begin()
    site.clock.advance(601)
    try:
        assert client.finish([], begun.sealed_state) == SignInRefused("the sign-in took too long")
    finally:
        site.clock.advance(-601)


def test_what_another_process_sealed_is_refused(site: OpenIDSite) -> None:
    begun = site.client().begin()
    outcome = site.client().finish([], begun.sealed_state)
    assert outcome == SignInRefused("this browser did not begin a sign-in, or before a restart")


def test_a_step_up_asks_for_strength_and_checks_that_it_came(site: OpenIDSite) -> None:
    client, browser = site.client(), site.browser()
    begun = client.begin(acr_values=["urn:test:strong"], max_age=0)
    brought = browser.sign_in(begun.redirect_url, "jdoe", acr="urn:test:strong", amr="pwd hwk")
    strong = identity_of(client.finish(brought, begun.sealed_state))
    assert (strong.acr, strong.methods) == ("urn:test:strong", ("pwd", "hwk"))

    begun = client.begin(acr_values=["urn:test:strong"], max_age=0)
    brought = browser.sign_in(begun.redirect_url, "jdoe", acr="urn:test:password")
    browser.close()
    assert client.finish(brought, begun.sealed_state) == SignInRefused(
        "the provider did not authenticate as strongly as was asked for"
    )


def test_an_authentication_that_is_too_old_is_refused(site: OpenIDSite) -> None:
    client, browser = site.client(skew_seconds=0), site.browser()
    begun = client.begin(max_age=30)
    brought = browser.sign_in(begun.redirect_url, "jdoe")
    browser.close()
    site.clock.advance(90)
    try:
        assert client.finish(brought, begun.sealed_state) == SignInRefused(
            "the person proved who they are longer ago than was asked for"
        )
    finally:
        site.clock.advance(-90)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (-300, "the token is from the future: compare the clocks"),
        (7200, "the token has expired: compare the clocks"),
    ],
)
def test_clocks_that_differ_are_named(site: OpenIDSite, seconds: int, reason: str) -> None:
    # Begun by the same wrong clock, so that only the token is out of time. A wrong assertion of ours would be refused
    # by the provider first, so we come by a secret.
    site.clock.advance(seconds)
    try:
        client = site.client(
            client_id="by-secret", client_authentication=ClientAuthentication.CLIENT_SECRET_BASIC
        )
        assert sign_in(site, client) == SignInRefused(reason)
    finally:
        site.clock.advance(-seconds)


def test_keys_that_the_provider_changed_are_fetched_once_a_minute(site: OpenIDSite, tmp_path: Path) -> None:
    made = OpenIDSite(tmp_path, site.authority, signing_keys())
    with openid_provider(made) as origin:
        made.issuer = origin
        client = made.client()
        assert identity_of(sign_in(made, client)).subject == "jdoe"
    made.signing = {"keys": [{**key, "kid": key["kid"] + "2"} for key in signing_keys()["keys"]]}
    with openid_provider(made, port=int(origin.rpartition(":")[2])):
        assert sign_in(made, client) == SignInRefused("no known key fits the token")
        made.clock.advance(61)
        assert identity_of(sign_in(made, client)).subject == "jdoe"


def test_signing_out_there_too(site: OpenIDSite) -> None:
    client, browser = site.client(), site.browser()
    begun = client.begin()
    browser.sign_in(begun.redirect_url, "jdoe")
    page = browser.get(client.logout_url())
    browser.close()
    assert page.status_code == 200
    assert "xsrf" in page.text  # the provider asks the person, as we send no hint of who it is


def test_put_together_from_settings(site: OpenIDSite) -> None:
    """From the settings to what the site's own sign-in begins with; another site's person is nobody here."""
    rules = (GroupRule("radiology", ("radiologist",)),)
    strength = Strength(multi_factor=("urn:test:strong",))
    federation = open_federation(
        FederationSettings(oidc=site.settings(rules=rules, strength=strength)), site.clock
    )
    assert federation.oidc is not None
    assert (federation.saml, federation.passwords) == (None, None)
    identity = identity_of(sign_in(site, federation.oidc))
    found = federation.believe(identity)
    assert isinstance(found, Vouched)
    assert (found.issuer, found.subject, found.roles) == (site.issuer, "jdoe", ("radiologist",))
    assert not found.multi_factor
    assert isinstance(federation.believe(replace(identity, issuer="https://evil.example")), SignInRefused)
    assert isinstance(federation.believe(replace(identity, groups=())), SignInRefused)
