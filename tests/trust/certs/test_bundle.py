"""What a device is given."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.certs.bundle import write_pem, write_pkcs12
from trust.certs.loopback import Site
from trust.certs.test_authority import csr

PASSPHRASE = Secret(b"correct horse battery")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_pem_bundle_is_readable_by_its_owner_only_and_is_never_overwritten(site: Site) -> None:
    files = write_pem(site.folder, "ct1", site.authority.issue_device("ct1"))
    assert set(files) == {"key", "certificate", "authority"}
    before = {role: path.read_bytes() for role, path in files.items()}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files.values())
    key = serialization.load_pem_private_key(before["key"], None)
    chain = x509.load_pem_x509_certificates(before["certificate"])
    assert key.public_key() == chain[0].public_key()
    assert len(chain) == 2
    with pytest.raises(UsageError):
        write_pem(site.folder, "ct1", site.authority.issue_device("ct1"))
    assert {role: path.read_bytes() for role, path in files.items()} == before


def test_a_passphrase_encrypts_the_key(site: Site) -> None:
    files = write_pem(site.folder, "ct1", site.authority.issue_device("ct1"), PASSPHRASE)
    with pytest.raises(TypeError):
        serialization.load_pem_private_key(files["key"].read_bytes(), None)
    key = serialization.load_pem_private_key(files["key"].read_bytes(), PASSPHRASE.reveal())
    assert key.public_key() == x509.load_pem_x509_certificate(files["certificate"].read_bytes()).public_key()


def test_a_csr_bundle_has_no_key(site: Site) -> None:
    issued = site.authority.sign_csr(csr(ec.generate_private_key(ec.SECP256R1())), "ct1")
    assert set(write_pem(site.folder, "ct1", issued)) == {"certificate", "authority"}
    with pytest.raises(UsageError):
        write_pkcs12(site.folder / "ct1.p12", "ct1", issued, PASSPHRASE)


def test_pkcs12_holds_all_three_and_wants_a_real_passphrase(site: Site) -> None:
    issued = site.authority.issue_device("ct1")
    path = site.folder / "ct1.p12"
    with pytest.raises(UsageError):
        write_pkcs12(path, "ct1", issued, Secret(b"short"))
    write_pkcs12(path, "ct1", issued, PASSPHRASE)
    key, certificate, others = pkcs12.load_key_and_certificates(path.read_bytes(), PASSPHRASE.reveal())
    assert key is not None
    assert certificate is not None
    assert key.public_key() == certificate.public_key()
    assert len(others) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError):
        write_pkcs12(path, "ct1", issued, PASSPHRASE)
