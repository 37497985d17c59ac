"""Signers and verifiers of checkpoints."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import ConfigurationError
from leadglass.trust.audit.interfaces import CheckpointSigner, NoteVerifier
from leadglass.trust.keys.signer import Ed25519Signer, P256Signer, note_verifier

SEED = bytes(range(32))
each = pytest.mark.parametrize("make", [Ed25519Signer, P256Signer])


@each
def test_a_signature_verifies_with_the_public_key_alone(make: type[Ed25519Signer | P256Signer]) -> None:
    @settings(max_examples=20, deadline=None)
    @given(message=st.binary(max_size=200), other=st.binary(max_size=200))
    def verifies(message: bytes, other: bytes) -> None:
        signer: CheckpointSigner = make(SEED)
        verifier: NoteVerifier = note_verifier(signer.algorithm, signer.public_key)
        signature = signer.sign(message)
        assert (verifier.algorithm, verifier.public_key) == (signer.algorithm, signer.public_key)
        assert verifier.verify(message, signature)
        if other != message:
            assert not verifier.verify(other, signature)

    verifies()


@each
@settings(max_examples=60, deadline=None)
@given(signature=st.binary(max_size=100))
def test_no_octets_make_a_verifier_raise(make: type[Ed25519Signer | P256Signer], signature: bytes) -> None:
    signer = make(SEED)
    assert not note_verifier(signer.algorithm, signer.public_key).verify(b"message", signature)


@each
def test_each_flipped_bit_of_a_signature_is_noticed(make: type[Ed25519Signer | P256Signer]) -> None:
    signer = make(SEED)
    verifier = note_verifier(signer.algorithm, signer.public_key)
    signature = signer.sign(b"message")
    for bit in range(len(signature) * 8):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verifier.verify(b"message", bytes(changed))


@each
def test_a_seed_gives_its_key_again_and_is_not_shown(make: type[Ed25519Signer | P256Signer]) -> None:
    assert make(SEED).public_key == make(SEED).public_key
    assert make(SEED).public_key != make(SEED[::-1]).public_key
    assert SEED.hex() not in repr(make(SEED))


@pytest.mark.parametrize(
    ("algorithm", "public_key"), [(1, b""), (1, b"x" * 31), (2, b""), (2, b"\x30\x00"), (3, b"x" * 32)]
)
def test_what_is_no_key_is_refused(algorithm: int, public_key: bytes) -> None:
    with pytest.raises(ConfigurationError):
        note_verifier(algorithm, public_key)


def test_another_curve_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    der = other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigurationError):
        note_verifier(2, der)
