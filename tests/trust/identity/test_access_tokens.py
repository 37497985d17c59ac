"""The token endpoint and what it issues; attack S45 as a table."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk, jwt

from leadglass.base.errors import AuditUnavailable
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.access_tokens import TokenDenied, TokenGranted
from leadglass.trust.identity.models import NotAuthenticated, Origin, Principal
from trust.identity.oauth_site import (
    ADMINISTRATOR,
    CERTIFICATE,
    ENDPOINT,
    ISSUER,
    OTHER_CERTIFICATE,
    TYPE,
    Keys,
    OAuthSite,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OAuthSite]:
    made = OAuthSite(tmp_path)
    made.enrol()
    yield made
    made.identity.close()


def principal_of(site: OAuthSite, granted: TokenGranted, certificate: str = "") -> Principal:
    found = site.tokens.verify(granted.access_token, certificate)
    assert isinstance(found, Principal), found
    return found


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_client_gets_a_token_and_is_known_by_it(site: OAuthSite) -> None:
    granted = site.token()
    assert granted.expires_in == 600
    principal = principal_of(site, granted)
    assert (principal.principal_id, principal.kind, principal.roles) == (
        "client:reporting",
        "client",
        ("client",),
    )
    assert principal.circumstances.scopes == ("study.read", "worklist")
    assert principal.circumstances.authenticated_at == site.clock.now()
    assert principal.circumstances.strong_at is None
    body = json.loads(granted.body())
    assert body == {
        "access_token": granted.access_token.reveal().decode(),
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "study.read worklist",
    }
    event = site.recorder.events[-1]
    assert (event.code, event.principal_id, event.success) == (events.TOKEN_ISSUED, "client:reporting", True)
    assert body["access_token"] not in str(site.recorder.events)


@pytest.mark.parametrize(
    "keys",
    [
        Keys(jwk.OKPKey.generate_key("Ed25519"), "EdDSA"),
        Keys(jwk.OKPKey.generate_key("Ed25519"), "Ed25519"),
        Keys(jwk.RSAKey.generate_key(2048), "PS256"),
    ],
    ids=lambda keys: keys.algorithm,
)
def test_each_algorithm_that_we_take(site: OAuthSite, keys: Keys) -> None:
    site.enrol("other", jwks=keys.jwks)
    assert isinstance(site.ask(site.assertion(site.claims("other"), keys)), TokenGranted)


def test_the_issuer_is_an_audience_too(site: OAuthSite) -> None:
    assert isinstance(site.ask(site.assertion(site.claims(aud=[ISSUER]))), TokenGranted)


CLAIMS: list[tuple[dict[str, object], str]] = [
    ({"iss": "other"}, "the assertion speaks of another client"),
    ({"sub": "other"}, "no client in use of that id has a key"),
    ({"sub": None}, "no client in use of that id has a key"),
    ({"iss": None}, "the assertion speaks of another client"),
    ({"aud": None}, "the assertion is for another audience, or for several"),
    ({"aud": "https://other.example"}, "the assertion is for another audience, or for several"),
    ({"aud": [ENDPOINT, "https://other.example"]}, "the assertion is for another audience, or for several"),
    ({"aud": ENDPOINT + "/"}, "the assertion is for another audience, or for several"),
    ({"exp": None}, "the assertion has expired: compare the clocks"),
    ({"exp": "2099"}, "the assertion has expired: compare the clocks"),
    ({"exp": True}, "the assertion has expired: compare the clocks"),
    ({"exp": -60}, "the assertion has expired: compare the clocks"),
    ({"exp": 331}, "the assertion lives too long"),
    ({"exp": 1e300}, "the assertion has expired: compare the clocks"),
    ({"iat": 31}, "the assertion is from the future: compare the clocks"),
    ({"nbf": 31}, "the assertion is from the future: compare the clocks"),
    ({"nbf": "soon"}, "the assertion is from the future: compare the clocks"),
    ({"jti": None}, "the assertion has no id, or was used before"),
    ({"jti": ""}, "the assertion has no id, or was used before"),
    ({"jti": 7}, "the assertion has no id, or was used before"),
]


@pytest.mark.parametrize(("changes", "reason"), CLAIMS, ids=[str(changes) for changes, _ in CLAIMS])
def test_claims_that_are_refused(site: OAuthSite, changes: dict[str, object], reason: str) -> None:
    now = int(site.clock.now().timestamp())
    changed = {
        name: now + value if name in {"exp", "iat", "nbf"} and type(value) is int else value
        for name, value in changes.items()
    }
    denied = site.ask(site.assertion(site.claims(**changed)))
    assert denied == TokenDenied("invalid_client", 401, reason)
    assert json.loads(denied.body()) == {"error": "invalid_client"}
    event = site.recorder.events[-1]
    assert (event.code, event.success, event.facts) == (
        events.AUTHENTICATION_FAILED,
        False,
        {"reason": reason},
    )


def unsigned(site: OAuthSite) -> str:
    return f"{encode({'alg': 'none', 'kid': 'k1'})}.{encode(site.claims())}."


def under_the_public_key(site: OAuthSite) -> str:
    """HS/RS confusion: the public key as secret of an HMAC."""
    signed = f"{encode({'alg': 'HS256', 'kid': 'k1'})}.{encode(site.claims())}"
    tag = hmac.digest(site.keys.jwks.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def under_another_key(site: OAuthSite) -> str:
    return site.assertion(site.claims(), Keys(jwk.ECKey.generate_key("P-256"), "ES256"))


def with_a_key_in_the_header(site: OAuthSite) -> str:
    key = jwk.ECKey.generate_key("P-256")
    header = {"alg": "ES256", "kid": "k1", "jwk": key.as_dict(private=False)}
    return jwt.encode(header, site.claims(), key)


def with_a_path_as_key_id(site: OAuthSite) -> str:
    return site.assertion(site.claims(), Keys(site.keys.key, "ES256", kid="../../../dev/null"))


def with_a_critical_extension(site: OAuthSite) -> str:
    head, payload, signature = site.assertion(site.claims()).split(".")
    header = {**json.loads(base64.urlsafe_b64decode(head + "==")), "crit": ["b64"], "b64": False}
    return f"{encode(header)}.{payload}.{signature}"


def with_other_claims(site: OAuthSite) -> str:
    head, _, signature = site.assertion(site.claims()).split(".")
    return f"{head}.{encode(site.claims(exp=int(site.clock.now().timestamp()) + 200))}.{signature}"


def of_the_old_algorithm(site: OAuthSite) -> str:
    return site.assertion(site.claims(), Keys(jwk.RSAKey.generate_key(2048), "RS256"))


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        under_the_public_key,
        under_another_key,
        with_a_key_in_the_header,
        with_a_path_as_key_id,
        with_a_critical_extension,
        with_other_claims,
        of_the_old_algorithm,
        lambda _: "",
        lambda _: "..",
        lambda _: "a.b.c",
        lambda _: "a" * 300_000,
    ],
)
def test_forged_assertions_are_refused(site: OAuthSite, forge: Callable[[OAuthSite], str]) -> None:
    for fields in ({}, {"client_id": "reporting"}):
        denied = site.ask(forge(site), **fields)
        assert isinstance(denied, TokenDenied)
        assert (denied.error, denied.status) == ("invalid_client", 401)


def test_an_assertion_is_good_once(site: OAuthSite) -> None:
    assertion = site.assertion(site.claims())
    assert isinstance(site.ask(assertion), TokenGranted)
    assert isinstance(site.ask(assertion), TokenDenied)
    site.clock.advance(61)
    assert isinstance(site.ask(assertion), TokenDenied)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(number=st.integers(0, 100_000), shift=st.integers(1, 93))
def test_an_assertion_of_which_one_character_changed_is_refused(
    site: OAuthSite, number: int, shift: int
) -> None:
    assertion = site.assertion(site.claims())
    # Not the last character of the signature: its lowest bits are padding, and the same octets are the same signature.
    place = number % (len(assertion) - 1)
    other = chr(33 + (ord(assertion[place]) - 33 + shift) % 94)
    assert isinstance(site.ask(assertion[:place] + other + assertion[place + 1 :]), TokenDenied)


def test_by_certificate(site: OAuthSite) -> None:
    site.enrol("router", jwks="", certificate_sha256=(CERTIFICATE,))

    def ask(client_id: str, certificate: str) -> TokenGranted | TokenDenied:
        form = [("grant_type", "client_credentials"), ("client_id", client_id)]
        return site.service.token(form, Origin("192.0.2.7", certificate))

    granted = ask("router", CERTIFICATE)
    assert isinstance(granted, TokenGranted)
    assert principal_of(site, granted, CERTIFICATE).principal_id == "client:router"
    for client_id, certificate in (
        ("router", OTHER_CERTIFICATE),
        ("router", ""),
        ("reporting", CERTIFICATE),
        ("reporting", ""),
        ("", CERTIFICATE),
        ("nobody", CERTIFICATE),
    ):
        assert isinstance(ask(client_id, certificate), TokenDenied)


def test_a_bound_token_is_worth_nothing_without_its_certificate(site: OAuthSite) -> None:
    """RFC 8705 3."""
    granted = site.token(CERTIFICATE)
    principal_of(site, granted, CERTIFICATE)
    for certificate in ("", OTHER_CERTIFICATE):
        refused = site.tokens.verify(granted.access_token, certificate)
        assert isinstance(refused, NotAuthenticated)
        assert refused.error == "invalid_token"


def test_a_client_whose_tokens_are_bound_must_show_a_certificate(site: OAuthSite) -> None:
    site.enrol("careful", bound=True)
    assert isinstance(site.ask(site.assertion(site.claims("careful"))), TokenDenied)
    assert isinstance(site.ask(site.assertion(site.claims("careful")), CERTIFICATE), TokenGranted)


def test_scopes_are_those_that_were_asked_for_and_no_more(site: OAuthSite) -> None:
    assert principal_of(site, site.token(scope="worklist")).circumstances.scopes == ("worklist",)
    for scope in ("study.write", "worklist study.write", "everything", "*", " "):
        denied = site.ask(site.assertion(site.claims()), scope=scope)
        assert isinstance(denied, TokenDenied)
        assert (denied.error, denied.status) == ("invalid_scope", 400)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ([], "unsupported_grant_type"),
        ([("grant_type", "password")], "unsupported_grant_type"),
        ([("grant_type", "client_credentials")], "invalid_client"),
        ([("grant_type", "client_credentials"), ("client_id", "reporting"), ("client_secret", "x")],
         "invalid_client"),
        ([("grant_type", "client_credentials"), ("grant_type", "client_credentials")], "invalid_request"),
        ([("grant_type", "client_credentials"), ("client_assertion", "a.b.c")], "invalid_client"),
        ([("grant_type", "client_credentials"), ("client_assertion_type", TYPE)], "invalid_client"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(site: OAuthSite, form: list[tuple[str, str]], error: str) -> None:
    denied = site.service.token(form, Origin("192.0.2.7"))
    assert isinstance(denied, TokenDenied)
    assert denied.error == error


def test_a_token_ends(site: OAuthSite) -> None:
    granted = site.token()
    site.clock.advance(599)
    principal_of(site, granted)
    site.clock.advance(1)
    assert isinstance(site.tokens.verify(granted.access_token, ""), NotAuthenticated)


@pytest.mark.parametrize("text", [b"", b"x", b"lgat_" + b"A" * 43, b"lgat_" + b"A" * 5000, b"\xff" * 48])
def test_other_texts_are_no_tokens(site: OAuthSite, text: bytes) -> None:
    site.token()
    assert isinstance(site.tokens.verify(Secret(text), ""), NotAuthenticated)


def test_a_client_that_is_disabled_is_out_at_once(site: OAuthSite) -> None:
    granted = site.token()
    principal = principal_of(site, granted)
    site.clients.disable("reporting", ADMINISTRATOR, "compromised")
    assert isinstance(site.tokens.verify(granted.access_token, ""), NotAuthenticated)
    assert site.tokens.current(principal) is None
    assert isinstance(site.ask(site.assertion(site.claims())), TokenDenied)


def test_and_so_is_one_that_nobody_answers_for(site: OAuthSite) -> None:
    granted = site.token()
    principal = principal_of(site, granted)
    site.identity.accounts.disable("boss", ADMINISTRATOR, "left")
    assert isinstance(site.tokens.verify(granted.access_token, ""), NotAuthenticated)
    assert site.tokens.current(principal) is None


def test_roles_and_scopes_that_changed_count_at_once(site: OAuthSite) -> None:
    granted = site.token()
    principal = principal_of(site, granted)
    assert site.tokens.current(principal) is principal
    site.clients.change("reporting", ADMINISTRATOR, roles=("researcher",), scopes=("worklist",))
    now = site.tokens.current(principal)
    assert now is not None
    assert (now.roles, now.circumstances.scopes) == (("researcher",), ("worklist",))
    site.clients.change("reporting", ADMINISTRATOR, scopes=("study.write",))
    # No scope is left; an empty list would mean no limit.
    assert site.tokens.current(principal) is None
    assert isinstance(site.tokens.verify(granted.access_token, ""), NotAuthenticated)


def test_tokens_of_one_client_are_bounded_and_the_oldest_goes(site: OAuthSite) -> None:
    first = site.token()
    second = site.token()
    for _ in range(199):
        site.token()
    assert isinstance(site.tokens.verify(first.access_token, ""), NotAuthenticated)
    principal_of(site, second)


def test_all_tokens_of_a_client_can_be_ended(site: OAuthSite) -> None:
    granted = site.token()
    assert site.tokens.revoke_all("reporting") == 1
    assert isinstance(site.tokens.verify(granted.access_token, ""), NotAuthenticated)


def test_no_token_that_is_not_on_record(site: OAuthSite) -> None:
    site.recorder.full = True
    with pytest.raises(AuditUnavailable):
        site.ask(site.assertion(site.claims()))


def test_our_metadata(site: OAuthSite) -> None:
    document = json.loads(site.service.metadata())
    assert document["issuer"] == ISSUER
    assert document["token_endpoint"] == ENDPOINT
    assert document["grant_types_supported"] == ["client_credentials"]
    assert "none" not in document["token_endpoint_auth_signing_alg_values_supported"]
