"""Attacks on JSON Web Tokens, one row each."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.trust.certs.token import JWTVerifier
from leadglass.trust.identity.interfaces import TokenRefused, VerifiedToken

EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
FINGERPRINT = hashlib.sha256(b"certificate").hexdigest()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ec_jwk(kid: str) -> dict[str, str]:
    numbers = EC_KEY.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": kid,
        "x": b64(numbers.x.to_bytes(32)),
        "y": b64(numbers.y.to_bytes(32)),
    }


def ed_jwk(kid: str) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(ED_KEY.public_key().public_bytes_raw())}


JWKS = json.dumps({"keys": [ec_jwk("ec"), ed_jwk("ed")]}).encode()


def sign_ec(data: bytes, key: ec.EllipticCurvePrivateKey = EC_KEY) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def token(
    clock: FakeClock,
    *,
    header: dict[str, object] | None = None,
    claims: dict[str, object] | None = None,
    without: str = "",
    sign: Callable[[bytes], bytes] = sign_ec,
) -> bytes:
    now = int(clock.now().timestamp())
    body: dict[str, object] = {
        "iss": "https://idp.example",
        "sub": "jdoe",
        "aud": "LEADGLASS",
        "iat": now,
        "exp": now + 300,
        "jti": "one",
    }
    body |= claims or {}
    body.pop(without, None)
    head: dict[str, object] = {"alg": "ES256", "kid": "ec", "typ": "at+jwt"} | (header or {})
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(body).encode())}".encode()
    return signed + b"." + b64(sign(signed)).encode()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(clock: FakeClock) -> JWTVerifier:
    return JWTVerifier("https://idp.example", "LEADGLASS", JWKS, clock)


@pytest.mark.parametrize(
    ("header", "sign"), [({}, sign_ec), ({"alg": "EdDSA", "kid": "ed"}, ED_KEY.sign)], ids=["ES256", "EdDSA"]
)
def test_a_good_token_is_believed_once(
    verifier: JWTVerifier, clock: FakeClock, header: dict[str, object], sign: Callable[[bytes], bytes]
) -> None:
    good = token(clock, header=header, sign=sign)
    verdict = verifier.verify(good, FINGERPRINT)
    assert isinstance(verdict, VerifiedToken)
    assert verdict.subject == "jdoe"
    assert verifier.verify(good, FINGERPRINT) == TokenRefused("token was used before")


PUBLIC = json.dumps(ec_jwk("ec")).encode()
NOW = int(FakeClock().now().timestamp())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"header": {"alg": "none"}, "sign": lambda _: b"\x00"}, "algorithm"),
        ({"header": {"alg": "None"}}, "algorithm"),
        ({"header": {"alg": "HS256"}, "sign": lambda d: hmac.digest(PUBLIC, d, "sha256")}, "algorithm"),
        ({"header": {"alg": "RS256"}}, "algorithm"),
        ({"header": {"alg": "EdDSA"}}, "algorithm"),
        ({"header": {"kid": "../../dev/null"}}, "unknown key"),
        ({"header": {"kid": "ed"}}, "algorithm"),
        ({"header": {"jwk": ec_jwk("ec")}}, "header"),
        ({"header": {"jku": "https://evil.example"}}, "header"),
        ({"header": {"x5u": "https://evil.example"}}, "header"),
        ({"header": {"crit": ["exp"]}}, "header"),
        ({"header": {"typ": "dpop+jwt"}}, "type"),
        ({"sign": lambda d: sign_ec(d, OTHER_KEY)}, "signature"),
        ({"sign": lambda _: bytes(64)}, "signature"),  # CVE-2022-21449
        ({"sign": lambda d: sign_ec(d)[:63]}, "signature"),
        ({"claims": {"iss": "https://idp.example/"}}, "issuer"),
        ({"claims": {"aud": "ORTHANC"}}, "audience"),
        ({"claims": {"aud": []}}, "audience"),
        ({"claims": {"iat": NOW - 400, "exp": NOW - 100}}, "expired"),
        ({"claims": {"iat": NOW + 100, "exp": NOW + 300}}, "not valid yet"),
        ({"claims": {"nbf": NOW + 100}}, "not valid yet"),
        ({"claims": {"exp": NOW + 86_400}}, "lives too long"),
        ({"claims": {"exp": 10**30}}, "lives too long"),
        ({"claims": {"exp": 10**30, "iat": 10**30 - 9}}, "not valid yet"),
        ({"claims": {"exp": "soon"}}, "claims"),
        ({"claims": {"exp": NOW, "iat": NOW}}, "lives too long"),
        ({"claims": {"sub": ""}}, "subject"),
        ({"claims": {"cnf": {"x5t#S256": b64(bytes(32))}}}, "another certificate"),
        ({"claims": {"cnf": {"jkt": "x"}}}, "claims"),
        *(({"without": name}, "claims") for name in ("iss", "sub", "aud", "exp", "iat", "jti")),
    ],
)
def test_each_attack_is_refused(
    verifier: JWTVerifier, clock: FakeClock, arguments: dict[str, object], reason: str
) -> None:
    make: Callable[..., bytes] = token
    verdict = verifier.verify(make(clock, **arguments), FINGERPRINT)
    assert isinstance(verdict, TokenRefused)
    assert reason in verdict.reason
    # What was refused took no room: the real token with the same id still counts.
    assert isinstance(verifier.verify(token(clock), FINGERPRINT), VerifiedToken)


def test_a_bound_token_counts_with_its_certificate_only(clock: FakeClock) -> None:
    verifier = JWTVerifier("https://idp.example", "LEADGLASS", JWKS, clock, require_binding=True)
    assert verifier.verify(token(clock), FINGERPRINT) == TokenRefused("token is not bound to a certificate")
    bound = token(clock, claims={"cnf": {"x5t#S256": b64(bytes.fromhex(FINGERPRINT))}})
    assert isinstance(verifier.verify(bound, ""), TokenRefused)
    assert isinstance(verifier.verify(bound, FINGERPRINT), VerifiedToken)


def test_the_memory_of_used_tokens_is_bounded_and_forgets_the_expired(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadglass.trust.certs.token.TOKENS_REMEMBERED_MAX", 3)
    verifier = JWTVerifier("https://idp.example", "LEADGLASS", JWKS, clock)
    verdicts = [verifier.verify(token(clock, claims={"jti": str(n)}), "") for n in range(4)]
    assert [isinstance(verdict, VerifiedToken) for verdict in verdicts] == [True, True, True, False]
    clock.advance(331)
    assert isinstance(verifier.verify(token(clock, claims={"jti": "later"}), ""), VerifiedToken)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(b".".join)
    )
)
def test_garbage_is_refused_and_never_raises(garbage: bytes) -> None:
    assert isinstance(JWTVerifier("i", "a", JWKS, FakeClock()).verify(garbage, ""), TokenRefused)


def test_no_changed_octet_of_a_token_is_believed(clock: FakeClock) -> None:
    good = token(clock)
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 0x01
        verifier = JWTVerifier("https://idp.example", "LEADGLASS", JWKS, clock)
        assert isinstance(verifier.verify(bytes(changed), FINGERPRINT), TokenRefused), position


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [ec_jwk("")],
        [ec_jwk("a"), ed_jwk("a")],
        [ec_jwk("a") | {"y": b64(bytes(32))}],
        [ec_jwk("a") | {"crv": "P-521"}],
        [ec_jwk("a") | {"alg": "HS256"}],
        [{"kty": "oct", "kid": "a", "crv": "", "x": "", "k": b64(bytes(32))}],
    ],
)
def test_keys_that_are_not_ours_do_not_start(clock: FakeClock, keys: list[dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError):
        JWTVerifier("i", "a", json.dumps({"keys": keys}).encode(), clock)
