"""What the authority issues, what it refuses to sign, and that its files cannot be changed unseen."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leadglass.base.errors import (
    ConfigurationError,
    IntegrityError,
    KeyUnavailable,
    LeadglassError,
    UsageError,
)
from leadglass.trust.certs.authority import CertificateAuthority, read_certificate
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from trust.certs.loopback import Site

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def csr(key: PrivateKey) -> bytes:
    """Make a request that asks for more than it will get."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None).public_bytes(serialization.Encoding.PEM)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_authority_is_a_p_256_root_for_ten_years_that_signs_leaves_only(site: Site) -> None:
    root = x509.load_pem_x509_certificate(site.authority.certificate_pem)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert timedelta(days=3650) < root.not_valid_after_utc - root.not_valid_before_utc < timedelta(days=3660)


def test_a_device_s_certificate_says_who_it_is_and_names_no_host(site: Site) -> None:
    issued = site.authority.issue_device("ct1")
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert certificate.subject.rfc4514_string() == "CN=ct1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("leadglass:device:ct1")]
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert certificate.not_valid_after_utc <= site.clock.now() + timedelta(days=365)
    assert issued.facts == read_certificate(issued.certificate_pem)


def test_serial_numbers_are_random_and_long(site: Site) -> None:
    serials = {site.authority.issue_device("ct1").facts.serial for _ in range(20)}
    assert len(serials) == 20
    assert max(int(serial, 16).bit_length() for serial in serials) > 128


def test_an_authority_opened_again_issues_under_the_same_root(site: Site) -> None:
    again = CertificateAuthority.open(site.folder, site.provider, site.clock)
    leaf = x509.load_pem_x509_certificate(again.issue_device("ct2").certificate_pem)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(site.authority.certificate_pem))


def test_a_second_authority_is_never_made_over_the_first(site: Site) -> None:
    before = (site.folder / "ca.pem").read_bytes()
    with pytest.raises(UsageError):
        CertificateAuthority.create(site.folder, site.provider, site.clock, "Other")
    assert (site.folder / "ca.pem").read_bytes() == before


def test_a_certificate_never_outlives_its_authority(site: Site) -> None:
    site.clock.advance(timedelta(days=3630).total_seconds())
    assert site.authority.issue_device("ct1").facts.not_after == site.authority.facts.not_after
    site.clock.advance(timedelta(days=30).total_seconds())
    with pytest.raises(ConfigurationError):
        site.authority.issue_device("ct1")


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())],
    ids=["P-256", "P-384"],
)
def test_a_csr_gets_our_names_and_usages_and_nothing_it_asked_for(
    site: Site, key: ec.EllipticCurvePrivateKey
) -> None:
    issued = site.authority.sign_csr(csr(key), "mr1")
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert issued.private_key is None
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=mr1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []


def test_an_rsa_csr_of_2048_bits_is_signed(site: Site) -> None:
    key = rsa.generate_private_key(65537, 2048)
    certificate = x509.load_pem_x509_certificate(site.authority.sign_csr(csr(key), "mr1").certificate_pem)
    assert certificate.public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(3, 2048),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["RSA-1024", "RSA e=3", "P-224", "secp256k1", "Ed25519"],
)
def test_a_csr_with_a_weak_or_unusual_key_is_refused(site: Site, key: PrivateKey) -> None:
    with pytest.raises(UsageError):
        site.authority.sign_csr(csr(key), "mr1")


def test_a_csr_that_its_key_did_not_sign_is_refused(site: Site) -> None:
    request = x509.load_pem_x509_csr(csr(ec.generate_private_key(ec.SECP256R1())))
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(UsageError):
        site.authority.sign_csr(bytes(der), "mr1")


@pytest.mark.parametrize(
    "garbage", [b"", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\x30\x82", b"x" * 70_000]
)
def test_garbage_is_not_a_csr(site: Site, garbage: bytes) -> None:
    with pytest.raises(UsageError):
        site.authority.sign_csr(garbage, "mr1")


@pytest.mark.parametrize("name", ["", "a b", "*.example", "-x", "x" * 300, "a..b", "é"])
def test_names_that_are_neither_host_nor_address_are_refused(site: Site, name: str) -> None:
    with pytest.raises(UsageError):
        site.authority.issue_server([name])


@pytest.mark.parametrize("device_id", ["", "CT1", "a/b", "-a", "a" * 33, "a\nb"])
def test_ids_that_are_not_ids_are_refused(site: Site, device_id: str) -> None:
    with pytest.raises(UsageError):
        site.authority.issue_device(device_id)


def test_no_changed_octet_of_the_sealed_key_signs_anything(site: Site) -> None:
    sealed = (site.folder / "ca.key.sealed").read_bytes()
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 0x01
        (site.folder / "ca.key.sealed").write_bytes(changed)
        with pytest.raises((IntegrityError, KeyUnavailable)):
            CertificateAuthority.open(site.folder, site.provider, site.clock).issue_device("ct1")


def test_the_sealed_key_of_another_authority_is_of_no_use(site: Site) -> None:
    (site.folder / "other").mkdir()
    CertificateAuthority.create(site.folder / "other", site.provider, site.clock, "Other")
    (site.folder / "ca.key.sealed").write_bytes((site.folder / "other" / "ca.key.sealed").read_bytes())
    with pytest.raises(LeadglassError):
        CertificateAuthority.open(site.folder, site.provider, site.clock).issue_device("ct1")


def test_without_the_root_kek_nothing_is_issued(site: Site) -> None:
    stranger = KeyFileProvider.create(site.folder / "stranger.key")
    with pytest.raises((KeyUnavailable, IntegrityError)):
        CertificateAuthority.open(site.folder, stranger, site.clock).issue_device("ct1")
