"""What a provider, or somebody between, may try: S45 as a table, and answers that do not fit together."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from joserfc import jwk, jws, jwt

from leadglass.base.errors import ConfigurationError
from leadglass.trust.identity.federation.models import (
    LogoutRequest,
    OutboundOptions,
    SignedIn,
    SignInBegun,
    SignInRefused,
)
from leadglass.trust.identity.federation.oidc import OIDCClient, Provider, ProviderMisbehaved
from leadglass.trust.identity.federation.outbound import Outbound, OutboundFailed
from leadglass.trust.identity.federation.pending import local_path
from trust.identity.federation.authority import TestAuthority
from trust.identity.federation.hostile_provider import HostileProvider, as_json, hostile_provider
from trust.identity.federation.openid import OpenIDSite

LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def running(authority: TestAuthority) -> Iterator[HostileProvider]:
    with hostile_provider(authority.issue("localhost")) as made:
        yield made


@pytest.fixture
def provider(running: HostileProvider) -> HostileProvider:
    running.behave()
    running.asked.clear()
    return running


@pytest.fixture
def site(tmp_path: Path, authority: TestAuthority, provider: HostileProvider) -> OpenIDSite:
    return OpenIDSite(tmp_path, authority, issuer=provider.origin)


class Attempt:
    """One sign-in at the hostile provider."""

    def __init__(self, site: OpenIDSite, provider: HostileProvider, client: OIDCClient | None = None) -> None:
        self.site, self.provider = site, provider
        self.client = client or site.client()
        begun = self.client.begin("/")
        assert isinstance(begun, SignInBegun)
        self.begun = begun
        self.asked = dict(parse_qsl(urlsplit(begun.redirect_url).query))

    def claims(self, **changes: object) -> dict[str, object]:
        now = int(self.site.clock.now().timestamp())
        made: dict[str, object] = {
            "iss": self.provider.origin,
            "sub": "jdoe",
            "aud": "leadglass",
            "exp": now + 300,
            "iat": now,
            "nonce": self.asked["nonce"],
            "groups": [],
            "name": "Jane Doe",
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    def finish(self, id_token: str, **tokens: object) -> SignedIn | SignInRefused:
        answer = {"id_token": id_token, "access_token": "at", "token_type": "Bearer", **tokens}
        self.provider.routes["/token"] = as_json(answer)
        return self.client.finish([("code", "c"), ("state", self.asked["state"])], self.begun.sealed_state)


def test_an_honest_answer_is_believed(site: OpenIDSite, provider: HostileProvider) -> None:
    attempt = Attempt(site, provider)
    assert isinstance(attempt.finish(provider.sign(attempt.claims())), SignedIn)


CLAIMS: list[tuple[dict[str, object], str]] = [
    ({"iss": "https://evil.example"}, "the token is of another issuer"),
    ({"iss": None}, "the token is of another issuer"),
    ({"aud": "other"}, "the token is for another client"),
    ({"aud": None}, "the token is for another client"),
    ({"aud": ["leadglass", "other"]}, "the token was issued to another party"),
    ({"aud": ["leadglass", "other"], "azp": "other"}, "the token was issued to another party"),
    ({"azp": "other"}, "the token was issued to another party"),
    ({"exp": None}, "the token does not say when it was issued and expires"),
    ({"iat": None}, "the token does not say when it was issued and expires"),
    ({"exp": True}, "the token does not say when it was issued and expires"),
    ({"exp": 0}, "the token has expired: compare the clocks"),
    ({"iat": 4_000_000_000}, "the token is from the future: compare the clocks"),
    ({"iat": 1}, "the token was issued too long ago"),
    ({"nbf": 4_000_000_000}, "the token is not valid yet: compare the clocks"),
    ({"nbf": "x"}, "the token is not valid yet: compare the clocks"),
    ({"nonce": None}, "the ID token belongs to another sign-in"),
    ({"nonce": "other"}, "the ID token belongs to another sign-in"),
    ({"nonce": 7}, "the ID token belongs to another sign-in"),
    ({"at_hash": "AAAA"}, "the access token does not belong to the ID token"),
    ({"at_hash": 7}, "the access token does not belong to the ID token"),
    ({"sub": None}, "the provider names no usable subject"),
    ({"sub": ""}, "the provider names no usable subject"),
    ({"sub": 7}, "the provider names no usable subject"),
    ({"sub": "a" * 256}, "the provider names no usable subject"),
    ({"sub": "a\nb"}, "the provider names no usable subject"),
    ({"groups": [f"g{n}" for n in range(1001)]}, "the provider names more than 1000 groups"),
]


@pytest.mark.parametrize(("changes", "reason"), CLAIMS, ids=[str(c)[:40] for c, _ in CLAIMS])
def test_claims_that_are_refused(
    site: OpenIDSite, provider: HostileProvider, changes: dict[str, object], reason: str
) -> None:
    attempt = Attempt(site, provider)
    assert attempt.finish(provider.sign(attempt.claims(**changes))) == SignInRefused(reason)


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(attempt: Attempt) -> str:
    return f"{encode({'alg': 'none'})}.{encode(attempt.claims())}."


def under_the_public_key(attempt: Attempt) -> str:
    signed = f"{encode({'alg': 'HS256', 'kid': 'k'})}.{encode(attempt.claims())}"
    public = json.dumps(attempt.provider.key.as_dict(private=False)).encode()
    return f"{signed}.{encode(hmac.digest(public, signed.encode(), hashlib.sha256).hex())}"


def under_another_key(attempt: Attempt) -> str:
    return jwt.encode({"alg": "ES256", "kid": "k"}, attempt.claims(), jwk.ECKey.generate_key("P-256"))


def with_a_key_in_the_header(attempt: Attempt) -> str:
    key = jwk.ECKey.generate_key("P-256")
    return jwt.encode({"alg": "ES256", "jwk": key.as_dict(private=False)}, attempt.claims(), key)


def with_keys_at_an_address(attempt: Attempt) -> str:
    return attempt.provider.sign(attempt.claims(), kid="x", jku=f"{attempt.provider.origin}/evil-keys")


def with_a_path_as_key_id(attempt: Attempt) -> str:
    return attempt.provider.sign(attempt.claims(), kid="../../../../dev/null")


def with_a_critical_extension(attempt: Attempt) -> str:
    header = {"alg": "ES256", "kid": "k", "crit": ["x"], "x": 1}
    signature = attempt.provider.sign(attempt.claims()).rpartition(".")[2]
    return f"{encode(header)}.{encode(attempt.claims())}.{signature}"


def cut_off(attempt: Attempt) -> str:
    return attempt.provider.sign(attempt.claims())[:-8]


def of_a_list(attempt: Attempt) -> str:
    return jws.serialize_compact({"alg": "ES256", "kid": "k"}, b"[1]", attempt.provider.key)


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        under_the_public_key,
        under_another_key,
        with_a_key_in_the_header,
        with_keys_at_an_address,
        with_a_path_as_key_id,
        with_a_critical_extension,
        cut_off,
        of_a_list,
        lambda _: "a.b.c",
        lambda _: "a" * 300_000,
    ],
)
def test_forged_tokens_are_refused(
    site: OpenIDSite, provider: HostileProvider, forge: Callable[[Attempt], str]
) -> None:
    attempt = Attempt(site, provider)
    assert isinstance(attempt.finish(forge(attempt)), SignInRefused)
    assert "/evil-keys" not in provider.asked


def test_a_flood_of_unknown_keys_makes_no_flood_of_fetches(
    site: OpenIDSite, provider: HostileProvider
) -> None:
    client = site.client()
    for number in range(20):
        attempt = Attempt(site, provider, client)
        assert isinstance(attempt.finish(provider.sign(attempt.claims(), kid=str(number))), SignInRefused)
    assert provider.asked.count("/keys") == 1


def test_a_provider_that_is_away_holds_up_nobody(site: OpenIDSite) -> None:
    """One question fails; whoever comes within five seconds is told so at once."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return []

    provider = Provider(
        "https://idp.example", Outbound("https://idp.example", OutboundOptions(), resolve), site.clock
    )
    for _ in range(10):
        with pytest.raises(OutboundFailed):
            provider.metadata()
    assert len(asked) == 1
    site.clock.advance(5)
    with pytest.raises(OutboundFailed):
        provider.metadata()
    assert len(asked) == 2


@pytest.mark.parametrize(
    "keys",
    [
        {"keys": []},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]},
        {"keys": [{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "k"}]},
        {"keys": "no"},
        [],
        {"keys": [{"kty": "EC", "kid": "k"}] * 65},
    ],
    ids=lambda keys: str(keys)[:30],
)
def test_poisoned_key_sets_are_refused(site: OpenIDSite, provider: HostileProvider, keys: object) -> None:
    provider.routes["/keys"] = as_json(keys)
    attempt = Attempt(site, provider)
    assert isinstance(attempt.finish(provider.sign(attempt.claims())), SignInRefused)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example"}, "the discovery document is that of another issuer"),
        ({"code_challenge_methods_supported": ["plain"]}, "the provider does not do PKCE with S256"),
        ({"token_endpoint": None}, "the discovery document cannot be read or is incomplete"),
        (
            {"authorization_endpoint": "http://localhost/a"},
            "the authorization endpoint is not at an https URL",
        ),
        (
            {"authorization_endpoint": "javascript:alert(1)"},
            "the authorization endpoint is not at an https URL",
        ),
    ],
)
def test_discovery_that_cannot_be_used(
    site: OpenIDSite, provider: HostileProvider, changes: dict[str, object], reason: str
) -> None:
    provider.behave(**changes)
    with pytest.raises(ProviderMisbehaved, match=reason):
        site.client().begin()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost/token",
        "https://169.254.169.254/token",
        "https://evil.example/token",
        "https://user@localhost/token",
        "https://127.0.0.1/token",
        "file:///etc/passwd",
        "https://localhost.evil.example/token",
    ],
)
def test_an_endpoint_elsewhere_is_never_asked(
    site: OpenIDSite, provider: HostileProvider, endpoint: str
) -> None:
    """S39: the discovery document leads to a place that nobody configured."""
    provider.behave(token_endpoint=endpoint)
    attempt = Attempt(site, provider)
    with pytest.raises(OutboundFailed):
        attempt.finish("")


def test_userinfo_of_another_person_is_refused(site: OpenIDSite, provider: HostileProvider) -> None:
    provider.routes["/userinfo"] = as_json({"sub": "admin", "groups": ["administrators"]})
    attempt = Attempt(site, provider)
    assert attempt.finish(provider.sign(attempt.claims(groups=None))) == SignInRefused(
        "the userinfo endpoint speaks of another person"
    )


def test_what_the_signed_token_says_stands(site: OpenIDSite, provider: HostileProvider) -> None:
    provider.routes["/userinfo"] = as_json({"sub": "jdoe", "groups": ["g"], "name": "Other", "acr": "strong"})
    attempt = Attempt(site, provider)
    outcome = attempt.finish(provider.sign(attempt.claims(groups=None, acr="weak")))
    assert isinstance(outcome, SignedIn)
    identity = outcome.identity
    assert (identity.groups, identity.display_name, identity.acr) == (("g",), "Jane Doe", "weak")


def test_a_header_cannot_be_smuggled_in_by_a_token(site: OpenIDSite, provider: HostileProvider) -> None:
    attempt = Attempt(site, provider)
    outcome = attempt.finish(provider.sign(attempt.claims(groups=None)), access_token="a\r\nX: y")
    assert isinstance(outcome, SignInRefused)


def test_a_parameter_that_comes_twice_is_refused(site: OpenIDSite, provider: HostileProvider) -> None:
    attempt = Attempt(site, provider)
    query = [("code", "c"), ("code", "d"), ("state", attempt.asked["state"])]
    assert attempt.client.finish(query, attempt.begun.sealed_state) == SignInRefused("a parameter came twice")


def test_text_of_a_provider_reaches_no_reason(site: OpenIDSite, provider: HostileProvider) -> None:
    """A reason goes to the log: what a stranger typed into a URL must not stand in it."""
    attempt = Attempt(site, provider)
    query = [("error", "<script>"), ("state", attempt.asked["state"])]
    assert attempt.client.finish(query, attempt.begun.sealed_state) == SignInRefused(
        "the provider answered an error that the standard does not know"
    )
    provider.routes["/token"] = as_json({"error": "<script>"}, 400)
    query = [("code", "c"), ("state", attempt.asked["state"])]
    assert attempt.client.finish(query, attempt.begun.sealed_state) == SignInRefused(
        "the token endpoint answered status 400"
    )


def test_the_request_carries_what_it_must(site: OpenIDSite, provider: HostileProvider) -> None:
    first, second = Attempt(site, provider), Attempt(site, provider)
    for name in ("state", "nonce", "code_challenge"):
        assert len(first.asked[name]) >= 43
        assert first.asked[name] != second.asked[name]
    assert first.asked["code_challenge_method"] == "S256"
    assert first.asked["response_type"] == "code"
    sent: list[dict[str, list[str]]] = []

    def answer(body: bytes) -> tuple[int, dict[str, str], bytes]:
        sent.append(parse_qs(body.decode()))
        return 400, {}, b"{}"

    provider.routes["/token"] = answer
    first.client.finish([("code", "c"), ("state", first.asked["state"])], first.begun.sealed_state)
    verifier = sent[0]["code_verifier"][0]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    assert challenge.decode() == first.asked["code_challenge"]
    assert verifier not in first.begun.redirect_url + first.begun.sealed_state


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/studies?x=1", True),
        ("/", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("javascript:alert(1)", False),
        ("", False),
        ("/\n/evil", False),
        ("/" + "a" * 1024, False),
    ],
)
def test_people_come_back_to_this_site_only(path: str, kept: bool) -> None:
    assert local_path(path) == (path if kept else "/")


class TestBackChannelLogout:
    def claims(self, site: OpenIDSite, **changes: object) -> dict[str, object]:
        now = int(site.clock.now().timestamp())
        made: dict[str, object] = {
            "iss": site.issuer,
            "aud": "leadglass",
            "iat": now,
            "exp": now + 120,
            "jti": "one",
            "sub": "jdoe",
            "sid": "s",
            "events": {LOGOUT: {}},
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    def test_is_believed_once(self, site: OpenIDSite, provider: HostileProvider) -> None:
        client = site.client()
        token = provider.sign(self.claims(site), typ="logout+jwt")
        assert client.back_channel_logout(token) == LogoutRequest(site.issuer, "jdoe", "s")
        assert client.back_channel_logout(token) == SignInRefused("the logout token was used before")

    @pytest.mark.parametrize(
        "changes",
        [
            {"events": None},
            {"events": {}},
            {"nonce": "n"},
            {"jti": None},
            {"sub": None, "sid": None},
            {"aud": "other"},
            {"iss": "https://evil.example"},
            {"exp": 1},
        ],
        ids=str,
    )
    def test_is_refused(
        self, site: OpenIDSite, provider: HostileProvider, changes: dict[str, object]
    ) -> None:
        """An ID token above all: it must never sign anybody out."""
        token = provider.sign(self.claims(site, **changes))
        assert isinstance(site.client().back_channel_logout(token), SignInRefused)


def test_settings_that_contradict_themselves(site: OpenIDSite, tmp_path: Path) -> None:
    for changes in (
        {"private_key_file": None},
        {"private_key_file": tmp_path / "missing"},
        {"private_key_file": site.secret_file},
        {"client_id": ""},
        {"redirect_uri": "http://pacs.example"},
        {"issuer": "http://localhost"},
        {"outbound": OutboundOptions(ca_file=tmp_path / "missing")},
        {"outbound": replace(OutboundOptions(), networks=("nonsense",))},
    ):
        with pytest.raises(ConfigurationError):
            site.client(**changes)
