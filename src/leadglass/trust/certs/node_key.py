"""The node's own key, as the ssl module can read it without a plaintext file.

``SSLContext.load_cert_chain`` takes nothing but names of files. So the key lies as an encrypted PKCS#8 whose password
is random and lies beside it, sealed under the root KEK: the disk never sees the key, and a thief of the disk has
neither.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from leadglass.base.errors import IntegrityError, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.certs.authority import IssuedCertificate, certificate_facts
from leadglass.trust.certs.sealed_key import read_bounded, seal, unseal, write_new
from leadglass.trust.identity.models import CertificateFacts
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

CERTIFICATE_FILE: Final = "node.cert.pem"
KEY_FILE: Final = "node.key.pem"
PASSWORD_FILE: Final = "node.password.sealed"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """What a TLS context is made of.

    Attributes:
        certificate_path: chain, the node's certificate first.
        key_path: PKCS#8 PEM; encrypted for the node itself.
        password: of the key; None for a device's key that lies in clear (``leadglass send`` on a device).
        facts: of the certificate.
    """

    certificate_path: Path
    key_path: Path
    password: Secret | None
    facts: CertificateFacts


def write_node_credentials(
    folder: Path, issued: IssuedCertificate, provider: KeyEncryptionProvider
) -> NodeCredentials:
    """Keep a node's key and certificate in ``folder``.

    Raises:
        UsageError: the folder holds credentials already, or the certificate came without a key.
    """
    if issued.private_key is None:
        raise UsageError("a node's credentials need its key")
    # 256 random bits in hexadecimal: no dictionary reaches them, so the iterations of the PKCS#8 container (RFC 8018)
    # protect nothing here and may be few; hexadecimal, because OpenSSL takes the password as text.
    password = Secret(os.urandom(32).hex().encode("ascii"))
    key = serialization.load_der_private_key(issued.private_key.reveal(), password=None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.reveal()),
    )
    for name in (PASSWORD_FILE, KEY_FILE, CERTIFICATE_FILE):
        if (folder / name).exists():
            raise UsageError(f"{name} exists already and is not overwritten")
    write_new(folder / PASSWORD_FILE, seal(password, provider, _purpose(issued.facts)))
    write_new(folder / KEY_FILE, pem)
    write_new(folder / CERTIFICATE_FILE, issued.chain_pem)
    return NodeCredentials(folder / CERTIFICATE_FILE, folder / KEY_FILE, password, issued.facts)


def open_node_credentials(folder: Path, provider: KeyEncryptionProvider) -> NodeCredentials:
    """Return the node's credentials, password unsealed.

    Raises:
        IntegrityError: a file is missing, or is not what was written.
        KeyUnavailable: the KEK provider did not unwrap.
    """
    facts = _read_facts(folder / CERTIFICATE_FILE)
    password = unseal(read_bounded(folder / PASSWORD_FILE), provider, _purpose(facts))
    return NodeCredentials(folder / CERTIFICATE_FILE, folder / KEY_FILE, password, facts)


def device_credentials(
    certificate_path: Path, key_path: Path, password: Secret | None = None
) -> NodeCredentials:
    """Return credentials from files that ``bundle.write_pem`` made, for a client that runs on a device.

    Raises:
        IntegrityError: the certificate cannot be read.
    """
    return NodeCredentials(certificate_path, key_path, password, _read_facts(certificate_path))


def _read_facts(path: Path) -> CertificateFacts:
    try:
        return certificate_facts(x509.load_pem_x509_certificate(read_bounded(path)))
    except ValueError as error:
        raise IntegrityError(f"{path.name} is not a certificate in PEM") from error


def _purpose(facts: CertificateFacts) -> str:
    return f"node-key {facts.serial}"
