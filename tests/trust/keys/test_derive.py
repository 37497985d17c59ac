"""Derivation and bound wrapping."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import KeyUnavailable
from leadglass.trust.keys.derive import KeyedHash, fingerprint, length_prefixed, unwrap_bound, wrap_bound

keys = st.binary(min_size=32, max_size=32)


@given(key=keys, data=st.binary(max_size=300))
def test_the_keyed_hash_is_hmac_sha256(key: bytes, data: bytes) -> None:
    keyed = KeyedHash(key)
    assert keyed.digest(data) == hmac.digest(key, data, hashlib.sha256)
    assert keyed.matches(data, hmac.digest(key, data, hashlib.sha256))


@given(key=keys, info=st.binary(max_size=300))
def test_the_expansion_is_hkdf_expand(key: bytes, info: bytes) -> None:
    assert KeyedHash(key).expand(info) == HKDFExpand(hashes.SHA256(), 32, info).derive(key)


@given(key=keys, data=st.binary(max_size=60), bit=st.integers(0, 255))
def test_a_flipped_bit_of_a_tag_does_not_match(key: bytes, data: bytes, bit: int) -> None:
    keyed = KeyedHash(key)
    tag = bytearray(keyed.digest(data))
    tag[bit // 8] ^= 1 << bit % 8
    assert not keyed.matches(data, bytes(tag))
    assert not keyed.matches(data, bytes(tag)[:16])
    assert not keyed.matches(data, b"")


@given(one=st.lists(st.binary(max_size=5), max_size=4), two=st.lists(st.binary(max_size=5), max_size=4))
def test_two_lists_never_give_the_same_bytes(one: list[bytes], two: list[bytes]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*two)) == (one == two)


@given(kek=keys, key=st.binary(min_size=1, max_size=128), one=st.binary(), two=st.binary())
def test_a_wrapped_key_opens_for_its_binding_only(kek: bytes, key: bytes, one: bytes, two: bytes) -> None:
    wrapped = wrap_bound(kek, key, fingerprint(one))
    assert unwrap_bound(kek, wrapped, fingerprint(one)) == key
    if one != two:
        with pytest.raises(KeyUnavailable):
            unwrap_bound(kek, wrapped, fingerprint(two))


def test_a_binding_alone_is_no_key() -> None:
    with pytest.raises(KeyUnavailable):
        unwrap_bound(bytes(32), wrap_bound(bytes(32), b"", fingerprint(b"x")), fingerprint(b"x"))
