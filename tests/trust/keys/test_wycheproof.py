"""The primitives as we call them, against Project Wycheproof."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from corpus import CORPUS
from leadglass.trust.keys.derive import KeyedHash
from leadglass.trust.keys.signer import note_verifier

FOLDER = CORPUS / "crypto" / "wycheproof"
_hex = bytes.fromhex


def _every(_group: dict[str, Any], _test: dict[str, Any]) -> bool:
    return True


def vectors(name: str, ours: Callable[[dict[str, Any], dict[str, Any]], bool] = _every) -> list[Any]:
    """Return one parameter for each vector that is ``ours``; a skipped one where the corpus is absent."""
    path = FOLDER / name
    if not path.is_file():
        reason = "the Wycheproof vectors are not beside the project"
        return [pytest.param({}, {}, marks=pytest.mark.skip(reason=reason), id="absent")]
    groups = json.loads(path.read_text("utf-8"))["testGroups"]
    return [
        pytest.param(group, test, id=str(test["tcId"]))
        for group in groups
        for test in group["tests"]
        if ours(group, test)
    ]


def _nonce_of_96_bits(group: dict[str, Any], _test: dict[str, Any]) -> bool:
    return bool(group["ivSize"] == 96)


def _at_least_32_octets(_group: dict[str, Any], test: dict[str, Any]) -> bool:
    return bool(test["size"] >= 32 and test["result"] == "valid")


@pytest.mark.parametrize(("group", "test"), vectors("aes_kwp_test.json"))
def test_aes_kwp(group: dict[str, Any], test: dict[str, Any]) -> None:
    key, plain, wrapped = _hex(test["key"]), _hex(test["msg"]), _hex(test["ct"])
    if test["result"] == "valid":
        assert aes_key_wrap_with_padding(key, plain) == wrapped
        assert aes_key_unwrap_with_padding(key, wrapped) == plain
    else:
        with pytest.raises((InvalidUnwrap, ValueError)):
            aes_key_unwrap_with_padding(key, wrapped)


@pytest.mark.parametrize(("group", "test"), vectors("aes_gcm_test.json", _nonce_of_96_bits))
def test_aes_gcm(group: dict[str, Any], test: dict[str, Any]) -> None:
    aead = AESGCM(_hex(test["key"]))
    nonce, plain, associated = _hex(test["iv"]), _hex(test["msg"]), _hex(test["aad"])
    sealed = _hex(test["ct"] + test["tag"])
    if test["result"] == "valid":
        assert aead.encrypt(nonce, plain, associated) == sealed
        assert aead.decrypt(nonce, sealed, associated) == plain
    else:
        with pytest.raises(InvalidTag):
            aead.decrypt(nonce, sealed, associated)


@pytest.mark.parametrize(("group", "test"), vectors("hkdf_sha256_test.json", _at_least_32_octets))
def test_hkdf_expand(group: dict[str, Any], test: dict[str, Any]) -> None:
    salt = _hex(test["salt"]) or bytes(32)  # RFC 5869 2.2: no salt is HashLen zeros
    extracted = hmac.digest(salt, _hex(test["ikm"]), hashlib.sha256)
    assert KeyedHash(extracted).expand(_hex(test["info"])) == _hex(test["okm"])[:32]


@pytest.mark.parametrize(("group", "test"), vectors("hmac_sha256_test.json"))
def test_hmac_sha256(group: dict[str, Any], test: dict[str, Any]) -> None:
    keyed, message, tag = KeyedHash(_hex(test["key"])), _hex(test["msg"]), _hex(test["tag"])
    length = group["tagSize"] // 8
    assert (keyed.digest(message)[:length] == tag) == (test["result"] == "valid")
    if length == 32:
        assert keyed.matches(message, tag) == (test["result"] == "valid")


@pytest.mark.parametrize(("group", "test"), vectors("ed25519_test.json"))
def test_ed25519(group: dict[str, Any], test: dict[str, Any]) -> None:
    verifier = note_verifier(1, _hex(group["publicKey"]["pk"]))
    assert verifier.verify(_hex(test["msg"]), _hex(test["sig"])) == (test["result"] == "valid")


@pytest.mark.parametrize(("group", "test"), vectors("ecdsa_secp256r1_sha256_test.json"))
def test_ecdsa_p256(group: dict[str, Any], test: dict[str, Any]) -> None:
    verifier = note_verifier(2, _hex(group["publicKeyDer"]))
    assert verifier.verify(_hex(test["msg"]), _hex(test["sig"])) == (test["result"] == "valid")
