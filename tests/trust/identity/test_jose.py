"""Keys, seals and what is remembered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.base.secret import Secret
from leadglass.trust.identity import jose
from leadglass.trust.identity.replay import ReplayMemory

SEALER = jose.Sealer()


@given(st.binary(max_size=2000))
def test_what_was_sealed_is_opened(state: bytes) -> None:
    if state:
        assert SEALER.open(SEALER.seal(state)) == state


@given(number=st.integers(0, 100_000), shift=st.integers(1, 93))
def test_a_seal_of_which_one_character_changed_is_refused(number: int, shift: int) -> None:
    sealed = SEALER.seal(b"who, whither and when")
    place = number % (len(sealed) - 1)  # the last character of the tag holds bits of padding
    other = chr(33 + (ord(sealed[place]) - 33 + shift) % 94)
    with pytest.raises(jose.JoseRefused):
        SEALER.open(sealed[:place] + other + sealed[place + 1 :])


@pytest.mark.parametrize("sealed", ["", "a", "....", "a.b.c.d.e", "x" * 300_000, "ä"])
def test_other_texts_are_no_seals(sealed: str) -> None:
    with pytest.raises(jose.JoseRefused):
        SEALER.open(sealed)


def test_another_process_cannot_open_it() -> None:
    with pytest.raises(jose.JoseRefused):
        jose.Sealer().open(SEALER.seal(b"state"))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (jwk.ECKey.generate_key("P-256"), "ES256"),
        (jwk.OKPKey.generate_key("Ed25519"), "EdDSA"),
        (jwk.RSAKey.generate_key(2048), "PS256"),
    ],
)
def test_private_keys_are_read_in_both_forms(key: jose.Key, algorithm: str) -> None:
    for document in (json.dumps(key.as_dict(private=True)).encode(), key.as_pem(private=True)):
        read, found = jose.read_private_key(Secret(document))
        assert found == algorithm
        assert jose.key_id(read) == key.thumbprint()
        token = jose.sign({"sub": "x"}, read, found, jose.key_id(read))
        assert jose.verify(token, jose.KeySet(jose.public_key_set(read, found))) == {"sub": "x"}
        assert b'"d"' not in jose.public_key_set(read, found)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"nonsense",
        json.dumps(jwk.ECKey.generate_key("P-256").as_dict(private=False)).encode(),
        json.dumps(jwk.ECKey.generate_key("P-384").as_dict(private=True)).encode(),
        json.dumps(jwk.OctKey.generate_key(256).as_dict()).encode(),
    ],
    ids=["empty", "no member", "nonsense", "public", "another curve", "symmetric"],
)
def test_other_documents_are_no_private_keys(document: bytes) -> None:
    with pytest.raises(ConfigurationError):
        jose.read_private_key(Secret(document))


def test_two_keys_of_one_id_are_no_answer() -> None:
    one, two = (jwk.ECKey.generate_key("P-256") for _ in range(2))
    keys = [{**key.as_dict(private=False), "kid": "k"} for key in (one, two)]
    found = jose.KeySet(json.dumps({"keys": keys}).encode())
    assert found.find("k", "ES256") is None
    assert found.find("", "ES256") is None


def test_a_key_for_encryption_verifies_nothing() -> None:
    key = jwk.ECKey.generate_key("P-256")
    for more in ({"use": "enc"}, {"key_ops": ["deriveKey"]}):
        document = {"keys": [{**key.as_dict(private=False), **more}]}
        with pytest.raises(jose.JoseRefused):
            jose.KeySet(json.dumps(document).encode())


def test_what_was_seen_is_not_new_until_it_is_forgotten() -> None:
    clock = FakeClock()
    memory = ReplayMemory(clock, limit=2)
    ends = clock.now().timestamp() + 10
    assert memory.is_new("a", ends)
    assert not memory.is_new("a", ends)
    assert memory.is_new("b", ends + 5)
    assert not memory.is_new("c", ends)  # full: refused, nothing is forgotten for it
    clock.advance(10)
    assert memory.is_new("c", ends + 10)
    assert not memory.is_new("b", ends)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30), st.integers(0, 20)), max_size=40))
def test_nothing_is_new_twice_within_its_life(shown: list[tuple[int, int, int]]) -> None:
    clock = FakeClock()
    memory = ReplayMemory(clock)
    alive: dict[str, float] = {}
    for name, life, pause in shown:
        now = clock.now().timestamp()
        expected = alive.get(str(name), 0.0) <= now
        assert memory.is_new(str(name), now + life) is expected
        if expected:
            alive[str(name)] = now + life
        clock.advance(pause)
