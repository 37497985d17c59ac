"""Who is not an enrolled device, with its certificate, its AE title and its network, gets nowhere (S1, S2, S3, S5)."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from faults.state_of_site import entries
from hostile.conftest import Target
from hostile.peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    STORING,
    Gone,
    Peer,
    association_request,
    connect,
    tls_context,
)
from leadglass.app.clock import SystemClock
from leadglass.app.compose import open_provider
from leadglass.app.config import load_settings
from leadglass.app.site import SitePaths
from leadglass.trust.certs.authority import CertificateAuthority
from leadglass.trust.certs.bundle import write_pem
from running_node import DeviceFiles

CALLING_NOT_RECOGNIZED = bytes((0, 1, 1, 3))
CALLED_NOT_RECOGNIZED = bytes((0, 1, 1, 7))


def refusals(target: Target) -> list[str]:
    shown = entries(target.site, "--event", "association:peer:refused", limit=20)
    return [entry["facts"]["reason"] for entry in shown]


def test_no_tls(target: Target) -> None:
    with connect(target.site.port, None) as sock:
        sock.sendall(association_request(b"CT1", b"LEADGLASS", STORING))
        try:
            answer = sock.recv(100)
        except ConnectionResetError:
            answer = b""
    assert answer[:1] in {b"", b"\x15"}  # closed, or a TLS alert: never a PDU
    assert "TLS handshake: not TLS" in refusals(target)


def test_no_client_certificate(target: Target) -> None:
    tls = tls_context(target.ct, with_certificate=False)
    with pytest.raises((ssl.SSLError, Gone, OSError)), Peer(target.site, target.ct, tls=tls) as peer:
        peer.associate()
    assert "TLS handshake: no client certificate" in refusals(target)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls(target: Target, version: ssl.TLSVersion) -> None:
    tls = tls_context(target.ct)
    tls.minimum_version = tls.maximum_version = version
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        connect(target.site.port, tls)


@pytest.mark.parametrize("calling", [b"OTHER", b"UNKNOWN", b"ct1", b"*", b"$(id)"])
def test_ae_title_of_somebody_else(target: Target, calling: bytes) -> None:
    with Peer(target.site, target.ct) as peer:
        assert peer.associate(calling=calling) == (ASSOCIATE_RJ, CALLING_NOT_RECOGNIZED)


def test_calling_somebody_else(target: Target) -> None:
    with Peer(target.site, target.ct) as peer:
        assert peer.associate(called=b"ORTHANC") == (ASSOCIATE_RJ, CALLED_NOT_RECOGNIZED)


def test_from_another_network(target: Target) -> None:
    with Peer(target.site, target.far) as peer:
        assert peer.associate() == (ASSOCIATE_RJ, CALLING_NOT_RECOGNIZED)
    assert any("network" in reason for reason in refusals(target)), refusals(target)


def test_revoked_device_is_a_stranger_on_its_next_connection(target: Target) -> None:
    """A resumed TLS 1.2 session does not show its certificate again: the registry decides all the same."""
    tls = tls_context(target.leaving)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with Peer(target.site, target.leaving, tls=tls) as peer:
        assert peer.associate()[0] == ASSOCIATE_AC
        assert isinstance(peer.sock, ssl.SSLSocket)
        session = peer.sock.session
    target.site.on_site("device", "revoke", "leaving")
    assert any(
        entry["facts"].get("device") == "leaving"
        for entry in entries(target.site, "--event", "identity:device:revoked")
    )
    raw = connect(target.site.port, None)
    with tls.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
        peer = Peer.__new__(Peer)
        peer.device, peer.sock = target.leaving, sock
        assert peer.associate() == (ASSOCIATE_RJ, CALLING_NOT_RECOGNIZED)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        fresh = tls_context(target.leaving)
        fresh.maximum_version = version
        with Peer(target.site, target.leaving, tls=fresh) as again:
            assert again.associate() == (ASSOCIATE_RJ, CALLING_NOT_RECOGNIZED)


def issued(target: Target, folder: Path, name: str, lifetime: timedelta) -> DeviceFiles:
    """A certificate of the site's real authority that nobody enrolled."""
    paths = SitePaths(target.site.root)
    provider = open_provider(paths, load_settings(paths.settings), None, {})
    authority = CertificateAuthority.open(paths.certs, provider, SystemClock())
    write_pem(folder, name, authority.issue_device(name, lifetime=lifetime))
    (folder / f"{name}.ca.pem").write_bytes(target.ct.authority.read_bytes())
    return DeviceFiles(name, "CT1", folder)


def test_certificate_that_has_expired(target: Target, tmp_path: Path) -> None:
    old = issued(target, tmp_path, "old", timedelta(milliseconds=1))
    with pytest.raises((ssl.SSLError, Gone, OSError)), Peer(target.site, old) as peer:
        peer.associate()
    assert "TLS handshake: certificate expired" in refusals(target)


def test_certificate_of_the_authority_that_nobody_enrolled(target: Target, tmp_path: Path) -> None:
    stray = issued(target, tmp_path, "stray", timedelta(days=1))
    with Peer(target.site, stray) as peer:
        assert peer.associate() == (ASSOCIATE_RJ, CALLING_NOT_RECOGNIZED)
