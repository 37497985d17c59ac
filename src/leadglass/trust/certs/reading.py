"""What stands in a certificate that others gave us."""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from leadglass.trust.identity.federation.interfaces import CertificateReading

_EDWARDS_BITS: Final = {"Ed25519": 256, "Ed448": 456}


def read_certificate(pem: str) -> CertificateReading:
    """Implements ``identity.federation.interfaces.ReadCertificate``.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        key = certificate.public_key()
        named = certificate.signature_hash_algorithm
    except Exception as error:  # the library has no common base for what a strange certificate may raise
        raise ValueError("the certificate cannot be read") from error
    if isinstance(key, rsa.RSAPublicKey):
        kind, bits = "RSA", key.key_size
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind, bits = "EC", key.key_size
    elif isinstance(key, dsa.DSAPublicKey):
        kind, bits = "DSA", key.key_size
    elif isinstance(key, ed25519.Ed25519PublicKey):
        kind, bits = "Ed25519", _EDWARDS_BITS["Ed25519"]
    elif isinstance(key, ed448.Ed448PublicKey):
        kind, bits = "Ed448", _EDWARDS_BITS["Ed448"]
    else:
        kind, bits = "another kind", 0
    return CertificateReading(
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        kind,
        bits,
        named.name if named is not None else "",
    )
