"""What a study key gives, against the formulas written out."""

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import LocalProtocolError
from leadglass.trust.keys.hierarchy import OpenStudyKey
from leadglass.trust.keys.interfaces import StudyKey

SK = bytes(range(32))
FROZEN = [
    "6f74d74fe41f9dfe697836f1e6a34eae49d35e53d5ac3c7220a1a40a41bb5d9b",
    "c6579595d9fefbef2f2a4ef05cdd5ca60340add05e453043f50d3abaca2993e0",
    "7769478d66c5db1f783e79c8994a9eb038fc91e722ef64d2c3187b2550ab9ecc",
]
ids = st.binary(min_size=16, max_size=16)


def study_key() -> OpenStudyKey:
    return OpenStudyKey(b"k" * 16, 1, SK)


def expand(info: bytes) -> bytes:
    return HKDFExpand(hashes.SHA256(), 32, info).derive(SK)


@given(object_id=ids, version=st.integers(0, 2**64 - 1), suite=st.integers(0, 2**16 - 1))
def test_object_keys_follow_the_formula(object_id: bytes, version: int, suite: int) -> None:
    key: StudyKey = study_key()
    info = b"leadglass/v1/object-key\x00" + object_id + struct.pack(">Q", version) + struct.pack(">H", suite)
    assert key.object_key(object_id, version, suite) == expand(info)


@given(context=st.binary(max_size=300))
def test_context_tags_follow_the_formula(context: bytes) -> None:
    expected = hmac.digest(expand(b"leadglass/v1/context-key\x00"), context, hashlib.sha256)
    assert study_key().context_tag(context) == expected


@given(pack_id=ids)
def test_pack_keys_follow_the_formula(pack_id: bytes) -> None:
    assert study_key().pack_key(pack_id) == expand(b"leadglass/v1/pack-key\x00" + pack_id)


def test_frozen_answers() -> None:
    """The bytes on disks depend on these: they never change within format version 1."""
    key = study_key()
    frozen = [
        key.object_key(bytes(range(16)), 1, 1).hex(),
        key.context_tag(b"context").hex(),
        key.pack_key(bytes(range(16))).hex(),
    ]
    assert frozen == FROZEN


@pytest.mark.parametrize("wrong", [b"", b"x" * 15, b"x" * 17])
def test_an_id_has_sixteen_bytes(wrong: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        study_key().object_key(wrong, 1, 1)
    with pytest.raises(LocalProtocolError):
        study_key().pack_key(wrong)


def test_no_two_uses_share_a_key() -> None:
    key = study_key()
    made = {
        key.object_key(b"a" * 16, 1, 1),
        key.object_key(b"b" * 16, 1, 1),
        key.object_key(b"a" * 16, 2, 1),
        key.object_key(b"a" * 16, 1, 2),
        key.pack_key(b"a" * 16),
        key.context_tag(b""),
        OpenStudyKey(b"k" * 16, 1, SK[::-1]).object_key(b"a" * 16, 1, 1),
    }
    assert len(made) == 7


def test_it_does_not_show_itself() -> None:
    assert repr(study_key()) == f"OpenStudyKey({(b'k' * 16).hex()}, generation 1)"
