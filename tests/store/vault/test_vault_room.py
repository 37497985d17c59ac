"""The tests' key ring keeps the contract that the vault relies on."""

import pytest

from leadglass.base.errors import KeyUnavailable
from leadglass.store.vault.uuid7 import uuid7
from leadglass.trust.keys.interfaces import KeyRing
from store.vault.vault_room import OTHER_STUDY, STUDY, HKDFKeyRing, counted_random


def test_keys_are_stable_and_apart() -> None:
    keys: KeyRing = HKDFKeyRing()
    key, other = keys.study_key(STUDY), keys.study_key(OTHER_STUDY)
    assert keys.by_id(key.key_id).pack_key(b"p" * 16) == key.pack_key(b"p" * 16)
    derived = [
        *(k.pack_key(p * 16) for k in (key, other) for p in (b"p", b"q")),
        *(
            k.object_key(o * 16, v, s)
            for k in (key, other)
            for o in (b"p", b"q")
            for v in (1, 2)
            for s in (1, 2)
        ),
        *(k.context_tag(c) for k in (key, other) for c in (b"p", b"q")),
    ]
    assert len(set(derived)) == len(derived) == 24
    assert {len(d) for d in derived} == {32}


def test_unknown_and_destroyed_keys_are_unavailable() -> None:
    keys = HKDFKeyRing()
    key_id = keys.study_key(STUDY).key_id
    keys.destroyed.add(key_id)
    for wanted in (key_id, bytes(16)):
        with pytest.raises(KeyUnavailable):
            keys.by_id(wanted)


def test_a_uuid7_has_its_version_its_variant_and_its_time() -> None:
    name = uuid7(0x0123_4567_89AB, counted_random())
    assert name[:6] == bytes.fromhex("0123456789ab")
    assert name[6] >> 4 == 7
    assert name[8] >> 6 == 0b10
    assert len(name) == 16
    assert uuid7(1, counted_random(b"a")) < uuid7(2, counted_random(b"b"))
