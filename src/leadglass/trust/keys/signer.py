"""Signers and verifiers of checkpoints, in the encodings of C2SP signed-note."""

from typing import Final, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from leadglass.base.errors import ConfigurationError
from leadglass.trust.audit.interfaces import NoteVerifier
from leadglass.trust.keys.derive import label

ED25519: Final = 1
ECDSA_P256: Final = 2

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_SEED: Final = label("checkpoint-signing/p256")
_P256_SEED_BYTES: Final = 40
"""64 bits more than the order has, so that the reduction leaves a bias below 2^-64. Source: FIPS 186-5 A.2.1."""


@final
class Ed25519Signer:
    """Implements ``CheckpointSigner``: Ed25519, signed-note type 1. Deterministic: no nonce can go wrong.

    Source: RFC 8032 5.1; C2SP signed-note, "Signature types".
    """

    algorithm: int = ED25519

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.public_key.hex()})"


@final
class P256Signer:
    """Implements ``CheckpointSigner``: ECDSA with P-256 and SHA-256, signed-note type 2, ASN.1 signatures.

    For sites whose verifiers may use only NIST curves. The public key is a DER SubjectPublicKeyInfo.

    Source: FIPS 186-5 6.4; C2SP signed-note, "Signature types".
    """

    algorithm: int = ECDSA_P256

    def __init__(self, seed: bytes) -> None:
        octets = HKDFExpand(hashes.SHA256(), _P256_SEED_BYTES, _P256_SEED).derive(seed)
        scalar = int.from_bytes(octets, "big") % (_P256_ORDER - 1) + 1
        self._key = ec.derive_private_key(scalar, ec.SECP256R1())
        self.public_key = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        """Return an ASN.1 Ecdsa-Sig-Value; OpenSSL mixes the private key and message into the nonce it draws."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return f"P256Signer({self.public_key.hex()})"


@final
class Ed25519Verifier:
    """Implements ``NoteVerifier`` for signed-note type 1."""

    algorithm: int = ED25519

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is this key's over ``message``."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@final
class P256Verifier:
    """Implements ``NoteVerifier`` for signed-note type 2."""

    algorithm: int = ECDSA_P256

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        key = serialization.load_der_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not a P-256 key")  # noqa: TRY004 - wrapped by ``note_verifier`` like all of the library's
        self._key = key

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is this key's over ``message``."""
        try:
            self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def note_verifier(algorithm: int, public_key: bytes) -> NoteVerifier:
    """Return the verifier of a public key, as it stands in a witness's or a site's configuration.

    Raises:
        ConfigurationError: another algorithm than Ed25519 (1) and ECDSA P-256 (2), or not a public key of it.
    """
    try:
        if algorithm == ED25519:
            return Ed25519Verifier(public_key)
        if algorithm == ECDSA_P256:
            return P256Verifier(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("a checkpoint key is not a public key of its algorithm") from None
    raise ConfigurationError("checkpoints are signed with Ed25519 (1) or ECDSA P-256 (2)")
