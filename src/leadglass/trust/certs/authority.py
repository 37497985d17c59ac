"""The site's certificate authority.

One self-signed root that issues end-entity certificates only. Its key lies sealed beside its certificate and is
unsealed while a certificate is issued.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, IntegrityError, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.certs.sealed_key import read_bounded, seal, unseal, write_new
from leadglass.trust.identity.models import CertificateFacts
from leadglass.trust.identity.registry import DEVICE_ID
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

CERTIFICATE_FILE: Final = "ca.pem"
KEY_FILE: Final = "ca.key.sealed"

AUTHORITY_LIFETIME: Final = timedelta(days=3653)
SERVER_LIFETIME: Final = timedelta(days=90)
DEVICE_LIFETIME: Final = timedelta(days=365)
BACKDATE: Final = timedelta(minutes=5)
"""Clocks of modalities drift; five minutes is what Kerberos allows (RFC 4120)."""

RSA_BITS_MIN: Final = 2048
"""Floor of PS3.15 B.12 (RFC 9325 4.5) for keys that devices bring; we make none."""
RSA_BITS_MAX: Final = 8192
"""Larger keys cost the verifier tens of milliseconds each: a way to keep us busy."""
CSR_BYTES_MAX: Final = 64 * 1024

_DNS: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)

_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that was just issued.

    Attributes:
        facts: what the registry of devices keeps.
        certificate_pem: the certificate alone.
        authority_pem: the certificate of its issuer, which is what the holder must trust.
        private_key: PKCS#8 DER; None when the holder brought its own key.
    """

    facts: CertificateFacts
    certificate_pem: bytes
    authority_pem: bytes
    private_key: Secret | None

    @property
    def chain_pem(self) -> bytes:
        """Return certificate and issuer, the holder's first."""
        return self.certificate_pem + self.authority_pem


class CertificateAuthority:
    """Issues the certificates of one site. ``create`` or ``open`` gives one."""

    def __init__(
        self, certificate: x509.Certificate, sealed_key: bytes, provider: KeyEncryptionProvider, clock: Clock
    ) -> None:
        self._certificate = certificate
        self._sealed_key = sealed_key
        self._provider = provider
        self._clock = clock

    @classmethod
    def create(
        cls, folder: Path, provider: KeyEncryptionProvider, clock: Clock, site_name: str
    ) -> "CertificateAuthority":
        """Make the authority of a new site: ECDSA P-256, ten years, for end-entity certificates only.

        Args:
            folder: exists already.
            provider: wraps the key that seals the authority's key.
            clock: of the site.
            site_name: 1 to 64 characters, shown as the name of the issuer.

        Raises:
            UsageError: there is one already, or the name does not fit into a certificate.
        """
        if not 0 < len(site_name) <= 64 or not site_name.isprintable():
            raise UsageError("the name of a site has 1 to 64 printable characters")
        key = ec.generate_private_key(ec.SECP256R1())
        now = clock.now()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, site_name),
                x509.NameAttribute(NameOID.COMMON_NAME, "Leadglass site CA"),
            ]
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())  # 159 random bits; RFC 5280 4.1.2.2 allows 20 octets
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        sealed = seal(Secret(_pkcs8(key)), provider, _purpose(certificate))
        # The key first: a certificate without its key would look like an authority and could issue nothing.
        write_new(folder / KEY_FILE, sealed)
        write_new(folder / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, sealed, provider, clock)

    @classmethod
    def open(cls, folder: Path, provider: KeyEncryptionProvider, clock: Clock) -> "CertificateAuthority":
        """Open the authority of a site. Its key stays sealed.

        Raises:
            IntegrityError: its files are missing or are not what was written.
        """
        try:
            certificate = x509.load_pem_x509_certificate(read_bounded(folder / CERTIFICATE_FILE))
            certificate.verify_directly_issued_by(certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise IntegrityError("the authority's certificate is not what was written") from error
        return cls(certificate, read_bounded(folder / KEY_FILE), provider, clock)

    @property
    def certificate_pem(self) -> bytes:
        """What every device and every node of the site trusts, and nothing else."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def facts(self) -> CertificateFacts:
        """Return what the inventory shows of the authority itself."""
        return certificate_facts(self._certificate)

    def issue_server(self, names: Sequence[str], lifetime: timedelta = SERVER_LIFETIME) -> IssuedCertificate:
        """Issue a certificate for a node of the site, with a new P-256 key.

        It serves for both directions: a node that forwards objects is a client of the device it sends to.

        Args:
            names: host names and IP addresses under which the node is reached; at least one.
            lifetime: from now.

        Raises:
            UsageError: no name, or one that is neither.
        """
        if not names:
            raise UsageError("a node's certificate needs at least one host name or address")
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = [_general_name(name) for name in names]
        certificate = self._issue(key.public_key(), names[0][:64], alternative, lifetime)
        return self._issued(certificate, Secret(_pkcs8(key)))

    def issue_device(
        self, device_id: str, names: Sequence[str] = (), lifetime: timedelta = DEVICE_LIFETIME
    ) -> IssuedCertificate:
        """Issue a certificate for a device, with a new P-256 key that the caller hands over and does not keep.

        Args:
            device_id: becomes the common name, and ``leadglass:device:<id>`` in the SAN.
            names: host names for peers that insist on them. We do not need any, since we know a device by its
                fingerprint; a name that a node also has would let the device pass for that node.
            lifetime: from now.

        Raises:
            UsageError: the id or a name is malformed.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue_device(key.public_key(), device_id, names, lifetime)
        return self._issued(certificate, Secret(_pkcs8(key)))

    def sign_csr(
        self,
        csr: bytes,
        device_id: str,
        names: Sequence[str] = (),
        lifetime: timedelta = DEVICE_LIFETIME,
    ) -> IssuedCertificate:
        """Issue a certificate for the key of a certificate signing request.

        Taken from it: the public key, nothing else. Names, key usage and lifetime are ours to say.

        Args:
            csr: PKCS#10, PEM or DER.
            device_id: as in ``issue_device``.
            names: as above.
            lifetime: from now.

        Raises:
            UsageError: it cannot be read, is not signed by its own key, or the key is weak.

        Source: RFC 2986, RFC 9325 4.5.
        """
        if len(csr) > CSR_BYTES_MAX:
            raise UsageError("the certificate signing request is too long")
        try:
            load = (
                x509.load_pem_x509_csr if csr.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_csr
            )
            request = load(csr)
            key = request.public_key()
            signed = request.is_signature_valid
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UsageError("the certificate signing request cannot be read") from error
        if not signed:
            raise UsageError("the certificate signing request is not signed by its own key")
        return self._issued(self._issue_device(check_public_key(key), device_id, names, lifetime), None)

    def _issue_device(
        self, key: _PublicKey, device_id: str, names: Sequence[str], lifetime: timedelta
    ) -> x509.Certificate:
        if DEVICE_ID.fullmatch(device_id) is None:
            raise UsageError("a device id has 1 to 32 of a-z, 0-9 and hyphens, and no hyphen at its ends")
        alternative: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(f"leadglass:device:{device_id}")
        ]
        alternative.extend(_general_name(name) for name in names)
        return self._issue(key, device_id, alternative, lifetime)

    def _issue(
        self, key: _PublicKey, common_name: str, alternative: Sequence[x509.GeneralName], lifetime: timedelta
    ) -> x509.Certificate:
        now = self._clock.now()
        issuer = self._certificate
        if now >= issuer.not_valid_after_utc:
            raise ConfigurationError("the site's certificate authority has expired")
        if now < issuer.not_valid_before_utc:
            raise ConfigurationError(
                "the clock stands before the beginning of the site's certificate authority"
            )
        if lifetime <= timedelta(0):
            raise UsageError("a certificate needs a lifetime")
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATE, issuer.not_valid_before_utc))
            .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
                ),
                critical=False,
            )
            .sign(self._key(), hashes.SHA256())
        )

    def _key(self) -> ec.EllipticCurvePrivateKey:
        plain = unseal(self._sealed_key, self._provider, _purpose(self._certificate))
        key = serialization.load_der_private_key(plain.reveal(), password=None)
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != self._certificate.public_key()
        ):
            raise IntegrityError("the authority's key does not belong to its certificate")
        return key

    def _issued(self, certificate: x509.Certificate, key: Secret | None) -> IssuedCertificate:
        return IssuedCertificate(
            facts=certificate_facts(certificate),
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
            authority_pem=self.certificate_pem,
            private_key=key,
        )


def certificate_facts(certificate: x509.Certificate) -> CertificateFacts:
    """Return what the inventory keeps of a certificate."""
    return CertificateFacts(
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def read_certificate(pem: bytes) -> CertificateFacts:
    """Return the facts of the first certificate of a PEM text.

    Raises:
        UsageError: there is none.
    """
    try:
        return certificate_facts(x509.load_pem_x509_certificate(pem))
    except ValueError as error:
        raise UsageError("not a certificate in PEM") from error


def check_public_key(key: object) -> _PublicKey:
    """Return ``key`` if it is strong enough: ECDSA on P-256 or P-384, or RSA of 2048 to 8192 bits.

    Raises:
        UsageError: it is not.

    Source: RFC 9325 4.5; NIST SP 800-57 Part 1 5.6.1.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        raise UsageError("an elliptic curve key must be on P-256 or P-384")
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise UsageError(
                f"an RSA key must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits", hint="3072 is a good size"
            )
        exponent = key.public_numbers().e
        if exponent < 65537 or exponent.bit_length() > 64:  # FIPS 186-5 A.1.1 (and no slow exponents)
            raise UsageError("an RSA key must have the exponent 65537 or a little above")
        return key
    raise UsageError("the key must be ECDSA P-256 or P-384, or RSA")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    lowered = name.lower()
    if _DNS.fullmatch(lowered) is None:
        raise UsageError("neither a host name nor an IP address")
    return x509.DNSName(lowered)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    # digitalSignature alone is what ECDHE suites need; no key of ours ever decrypts. Source: RFC 5280 4.2.1.3.
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _purpose(certificate: x509.Certificate) -> str:
    # Bound to the serial number: the sealed key of another authority is of no use beside this certificate.
    return f"certificate-authority {certificate.serial_number:x}"
