"""Known answers, computed at every start: a broken or exchanged library is noticed before it seals anything."""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from leadglass.base.errors import ConfigurationError
from leadglass.trust.keys.derive import KeyedHash
from leadglass.trust.keys.row_seal import PayloadSeal
from leadglass.trust.keys.signer import Ed25519Signer

_hex = bytes.fromhex


def _aes_gcm() -> bool:
    """Source: McGrew and Viega, The Galois/Counter Mode of Operation, Appendix B, test case 16."""
    key = _hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    nonce = _hex("cafebabefacedbaddecaf888")
    plain = _hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    associated = _hex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = _hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )
    aead = AESGCM(key)
    return (
        aead.encrypt(nonce, plain, associated) == sealed and aead.decrypt(nonce, sealed, associated) == plain
    )


def _aes_kwp() -> bool:
    """Source: RFC 5649 6, both examples."""
    kek = _hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    pairs = (
        (
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    )
    return all(
        aes_key_wrap_with_padding(kek, _hex(key)) == _hex(wrapped)
        and aes_key_unwrap_with_padding(kek, _hex(wrapped)) == _hex(key)
        for key, wrapped in pairs
    )


def _hkdf() -> bool:
    """Source: RFC 5869 A.1, the first 32 octets of its output."""
    prk = _hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = _hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
    return KeyedHash(prk).expand(_hex("f0f1f2f3f4f5f6f7f8f9")) == okm


def _hmac() -> bool:
    """Source: RFC 4231 4.2 and 4.3."""
    first = _hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    second = _hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    return (
        KeyedHash(b"\x0b" * 20).digest(b"Hi There") == first
        and KeyedHash(b"Jefe").digest(b"what do ya want for nothing?") == second
    )


def _xaes() -> bool:
    """Source: C2SP XAES-256-GCM, "Test vectors": one with each most significant bit of the CMAC subkey."""
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    return PayloadSeal(b"\x01" * 32).encrypt(nonce, b"XAES-256-GCM", b"") == _hex(
        "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"
    ) and PayloadSeal(b"\x03" * 32).encrypt(nonce, b"XAES-256-GCM", b"c2sp.org/XAES-256-GCM") == _hex(
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"
    )


def _ed25519() -> bool:
    """Source: RFC 8032 7.1, test 1."""
    signer = Ed25519Signer(_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    return signer.sign(b"") == _hex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


KNOWN_ANSWERS: Final[dict[str, Callable[[], bool]]] = {
    "AES-GCM": _aes_gcm,
    "AES-KWP": _aes_kwp,
    "Ed25519": _ed25519,
    "HKDF": _hkdf,
    "HMAC-SHA-256": _hmac,
    "XAES-256-GCM": _xaes,
}


def run_self_test() -> None:
    """Compute the known answers (0.2 ms).

    Raises:
        ConfigurationError: one of them is wrong.
    """
    wrong = [name for name, known in KNOWN_ANSWERS.items() if not known()]
    if wrong:
        raise ConfigurationError(
            f"the cryptographic library gives wrong answers: {', '.join(wrong)}",
            hint="install the cryptography package of the lock file again; nothing was sealed or opened",
        )
