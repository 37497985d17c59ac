"""What a device is given: key, certificate and the authority to trust."""

from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.sealed_key import write_new

PASSPHRASE_OCTETS_MIN: Final = 12
"""Such a file travels: its passphrase is what stands between a found memory stick and the device's identity."""
PASSPHRASE_OCTETS_MAX: Final = 1023  # OpenSSL takes no more


def write_pem(
    folder: Path, name: str, issued: IssuedCertificate, passphrase: Secret | None = None
) -> dict[str, Path]:
    """Write ``<name>.key.pem`` (if we made the key), ``<name>.cert.pem`` (chain) and ``<name>.ca.pem``, mode 0600.

    The key lies there in clear unless a passphrase is given: that is what DCMTK, Orthanc and most modalities can read.
    It belongs to the device, is to be moved there and not to be kept.

    Returns:
        The files written: ``key`` (absent for a CSR), ``certificate`` and ``authority``.

    Raises:
        UsageError: one of the files exists; none is ever overwritten; or the passphrase is short.
    """
    if passphrase is not None:
        _check_passphrase(passphrase)
    files: dict[str, tuple[Path, bytes]] = {}
    if issued.private_key is not None:
        encryption = (
            serialization.BestAvailableEncryption(passphrase.reveal())
            if passphrase is not None
            else serialization.NoEncryption()
        )
        pem = _load(issued.private_key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        files["key"] = (folder / f"{name}.key.pem", pem)
    files["certificate"] = (folder / f"{name}.cert.pem", issued.chain_pem)
    files["authority"] = (folder / f"{name}.ca.pem", issued.authority_pem)
    taken = [path.name for path, _ in files.values() if path.exists()]
    if taken:
        raise UsageError(f"{taken[0]} exists already and is not overwritten")
    for path, content in files.values():
        write_new(path, content)
    return {role: path for role, (path, _) in files.items()}


def write_pkcs12(path: Path, name: str, issued: IssuedCertificate, passphrase: Secret) -> None:
    """Write key, certificate and authority as one PKCS#12 file (AES-256, HMAC-SHA-256), mode 0600.

    Raises:
        UsageError: the file exists, the holder brought its own key, or the passphrase is short.

    Source: RFC 7292.
    """
    if issued.private_key is None:
        raise UsageError("the device has the key: there is nothing to put into a PKCS#12 file")
    _check_passphrase(passphrase)
    content = pkcs12.serialize_key_and_certificates(
        name.encode("utf-8"),
        _load(issued.private_key),
        x509.load_pem_x509_certificate(issued.certificate_pem),
        [x509.load_pem_x509_certificate(issued.authority_pem)],
        serialization.BestAvailableEncryption(passphrase.reveal()),
    )
    write_new(path, content)


def _check_passphrase(passphrase: Secret) -> None:
    if not PASSPHRASE_OCTETS_MIN <= len(passphrase.reveal()) <= PASSPHRASE_OCTETS_MAX:
        raise UsageError(f"a passphrase has {PASSPHRASE_OCTETS_MIN} to {PASSPHRASE_OCTETS_MAX} octets")


def _load(key: Secret) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    loaded = serialization.load_der_private_key(key.reveal(), password=None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return loaded
