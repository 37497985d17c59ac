"""Device posture: what an access proxy signed, and nothing that anybody else sends."""

import time
from collections.abc import Callable

import pytest
from joserfc import jwk

from fake_clock import FakeClock
from leadglass.trust.identity import jose
from leadglass.trust.identity.posture import MANAGED, NoPostures, SignedPostures

ISSUER, AUDIENCE, ADDRESS = "https://proxy.example", "pacs.example", "10.0.0.5"
KEY = jwk.ECKey.generate_key("P-256")
STRANGER = jwk.ECKey.generate_key("P-256")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def postures(clock: FakeClock) -> SignedPostures:
    keys = jose.KeySet(jose.public_key_set(KEY, "ES256"))
    return SignedPostures(ISSUER, AUDIENCE, keys, clock)


def header(clock: FakeClock, changed: dict[str, object] | None = None, key: jwk.ECKey = KEY) -> str:
    now = clock.now().timestamp()
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 300,
        "address": ADDRESS,
        "posture": MANAGED,
    } | (changed or {})
    return jose.sign({k: v for k, v in claims.items() if v is not None}, key, "ES256", jose.key_id(KEY))


def test_a_statement_of_the_proxy_is_believed_until_it_ends(
    postures: SignedPostures, clock: FakeClock
) -> None:
    said = header(clock)
    assert postures.of(said, ADDRESS) == MANAGED
    clock.advance(299)
    assert postures.of(said, ADDRESS) == MANAGED
    clock.advance(2)
    assert postures.of(said, ADDRESS) == ""


@pytest.mark.parametrize("sent", ["managed", "", "a.b.c", "\N{SNOWMAN}", "x" * 5000])
def test_what_anybody_can_send_is_no_posture(postures: SignedPostures, sent: str) -> None:
    assert postures.of(sent, ADDRESS) == ""
    assert NoPostures().of(sent, ADDRESS) == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda now: {"iss": "https://other.example"},
        lambda now: {"aud": "other.example"},
        lambda now: {"address": "10.0.0.6"},
        lambda now: {"address": None},
        lambda now: {"posture": "ill"},
        lambda now: {"exp": now + 86_400},
        lambda now: {"exp": now - 1, "iat": now - 100},
        lambda now: {"iat": now + 3600, "exp": now + 3700},
        lambda now: {"exp": None},
        lambda now: {"exp": "soon"},
        lambda now: {"exp": float("inf")},
    ],
)  # fmt: skip
def test_every_claim_counts(
    postures: SignedPostures, clock: FakeClock, change: Callable[[float], dict[str, object]]
) -> None:
    assert postures.of(header(clock, change(clock.now().timestamp())), ADDRESS) == ""


def test_another_key_does_not_speak_for_the_proxy(postures: SignedPostures, clock: FakeClock) -> None:
    assert postures.of(header(clock, key=STRANGER), ADDRESS) == ""
    unsigned = ".".join((*header(clock).split(".")[:2], ""))
    assert postures.of(unsigned, ADDRESS) == ""


def test_a_statement_is_verified_once(postures: SignedPostures, clock: FakeClock) -> None:
    said = header(clock)
    postures.of(said, ADDRESS)
    began = time.process_time()
    for _ in range(1000):
        assert postures.of(said, ADDRESS) == MANAGED
    assert time.process_time() - began < 0.5
    assert postures.of(said, "10.0.0.6") == ""
