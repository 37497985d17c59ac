"""Handshakes as they happen: both directions, good and bad certificates, old protocols, resumption."""

import ssl
import warnings
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from leadglass.base.errors import IntegrityError
from leadglass.base.ids import AETitle
from leadglass.base.secret import Secret
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.node_key import NodeCredentials, open_node_credentials
from leadglass.trust.certs.tls import TLSFacts, client_context, server_context
from leadglass.trust.identity.models import DeviceRole, PeerFacts, Principal, Unrecognised
from leadglass.trust.identity.registry import DeviceRegistry
from leadglass.trust.keys.ring import FileMac
from trust.certs.loopback import Meeting, Site, meet


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def bad_certificate(site: Site, kind: str) -> IssuedCertificate:
    match kind:
        case "expired":
            return site.expired()
        case "client usage only":
            return site.wrong_usage(ExtendedKeyUsageOID.CLIENT_AUTH)
        case "server usage only":
            return site.wrong_usage(ExtendedKeyUsageOID.SERVER_AUTH)
        case "self-signed":
            return site.self_signed()
        case _:
            return site.other_authority()


def test_both_sides_see_each_other_s_certificate_over_tls_1_3(site: Site) -> None:
    device = site.authority.issue_device("ct1")
    meeting = meet(site.server(), site.client(device))
    assert isinstance(meeting.server, TLSFacts)
    assert isinstance(meeting.client, TLSFacts)
    assert meeting.server.certificate_sha256 == device.facts.sha256
    assert meeting.client.certificate_sha256 == site.node.facts.sha256
    assert meeting.server.description == "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_tls_1_2_is_taken_with_the_suites_of_the_profile(site: Site, suite: str) -> None:
    client = site.client(site.authority.issue_device("ct1"))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    meeting = meet(site.server(), client)
    assert isinstance(meeting.server, TLSFacts)
    assert meeting.server.description == f"TLSv1.2 {suite}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "certificate expired"),
        ("server usage only", "certificate not meant for this use"),
        ("self-signed", "self-signed certificate"),
        ("other authority", "bad signature"),
    ],
)
def test_a_client_with_a_bad_certificate_does_not_get_in(site: Site, kind: str, words: str) -> None:
    meeting = meet(site.server(), site.client(bad_certificate(site, kind)))
    assert not isinstance(meeting.client, TLSFacts)
    assert isinstance(meeting.server, str)
    if kind != "other authority":
        assert meeting.server == words


def test_a_client_without_a_certificate_does_not_get_in(site: Site) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=site.authority.certificate_pem.decode())
    meeting = meet(site.server(), client)
    assert meeting.server == "no client certificate"
    assert not isinstance(meeting.client, TLSFacts)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "certificate expired"),
        ("client usage only", "certificate not meant for this use"),
        ("self-signed", "self-signed certificate"),
        ("other authority", ""),
    ],
)
@pytest.mark.parametrize("pinned", [False, True])
def test_we_speak_to_no_server_with_a_bad_certificate(
    site: Site, kind: str, words: str, *, pinned: bool
) -> None:
    bad = bad_certificate(site, kind)
    server = server_context(site.credentials(bad), site.authority.certificate_pem)
    client = site.client(site.authority.issue_device("ct1"), pinned=pinned)
    # Even a pinned fingerprint does not excuse a bad chain.
    meeting = meet(server, client, expected_sha256=[bad.facts.sha256] if pinned else ())
    assert isinstance(meeting.client, str)
    assert words in meeting.client
    assert not isinstance(meeting.server, TLSFacts)


def test_we_speak_to_no_server_without_a_certificate(site: Site) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("AECDH:@SECLEVEL=0")
    meeting = meet(server, site.client(site.authority.issue_device("ct1")))
    assert meeting.server == "no common cipher suite"
    assert isinstance(meeting.client, str)


def test_a_server_under_another_name_is_refused(site: Site) -> None:
    meeting = meet(site.server(), site.client(site.authority.issue_device("ct1")), server_name="pacs.example")
    assert meeting.client == "TLS: certificate is for another host"


def test_a_device_cannot_pass_for_the_node(site: Site) -> None:
    device = site.authority.issue_device("localhost")  # the worst id it could have
    server = server_context(site.credentials(device), site.authority.certificate_pem)
    meeting = meet(server, site.client(site.authority.issue_device("ct1")))
    assert meeting.client == "TLS: certificate is for another host"


def test_an_enrolled_server_is_known_by_its_fingerprint_and_by_nothing_else(site: Site) -> None:
    workstation, impostor = site.authority.issue_device("ws1"), site.authority.issue_device("ws2")
    ours = client_context(site.node_credentials, site.authority.certificate_pem, pinned=True)
    pins = [workstation.facts.sha256]
    right = server_context(site.credentials(workstation), site.authority.certificate_pem)
    assert isinstance(meet(right, ours, expected_sha256=pins).client, TLSFacts)
    wrong = server_context(site.credentials(impostor), site.authority.certificate_pem)
    meeting = meet(wrong, ours, expected_sha256=pins)
    assert meeting.client == "TLS: the server shows another certificate than the enrolled one"


def test_a_pinned_context_without_a_pin_connects_to_nobody(site: Site) -> None:
    ours = client_context(site.node_credentials, site.authority.certificate_pem, pinned=True)
    meeting = meet(site.server(), ours)
    assert isinstance(meeting.client, str)
    assert "neither a host name nor a fingerprint" in meeting.client


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:@SECLEVEL=0"),  # RSA key exchange
        (ssl.TLSVersion.TLSv1_2, "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),  # CBC
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305:@SECLEVEL=0"),  # not in B.12
        (ssl.TLSVersion.TLSv1_2, "AECDH-AES128-SHA:@SECLEVEL=0"),  # anonymous
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"),
    ],
)
def test_old_protocols_and_suites_are_refused(site: Site, version: ssl.TLSVersion, ciphers: str) -> None:
    client = site.client(site.authority.issue_device("ct1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is the point
        client.minimum_version = version
        client.maximum_version = version
    client.set_ciphers(ciphers)
    meeting = meet(site.server(), client)
    assert isinstance(meeting.server, str)
    assert isinstance(meeting.client, str)
    assert meeting.server in {"TLS version too old", "no common cipher suite"}


def test_the_context_offers_what_the_profile_lists_and_nothing_else(site: Site) -> None:
    names = {str(cipher["name"]) for cipher in site.server().get_ciphers()}
    assert {name for name in names if not name.startswith("TLS_")} == {
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    }
    assert names >= {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"}
    for context in (site.server(), site.client(site.authority.issue_device("ct1"))):
        assert context.verify_mode is ssl.CERT_REQUIRED
        for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_TICKET):
            assert context.options & option
        assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resuming_a_session_does_not_bypass_revocation(site: Site, version: ssl.TLSVersion) -> None:
    device = site.authority.issue_device("ct1")
    registry = DeviceRegistry.create(site.folder / "devices", FileMac(bytes(32)), site.clock, ["LEADGLASS"])
    registry.enrol(
        device_id="ct1",
        ae_title="CT1",
        roles=[DeviceRole.STORE],
        networks=["127.0.0.0/8"],
        certificate=device.facts,
    )

    def who(meeting: Meeting) -> Principal | Unrecognised:
        assert isinstance(meeting.server, TLSFacts)
        return registry.resolve(
            PeerFacts(
                certificate_sha256=meeting.server.certificate_sha256,
                address="127.0.0.1",
                calling_ae_title=AETitle("CT1"),
                called_ae_title="LEADGLASS",
                tls=meeting.server.description,
            )
        )

    server, client = site.server(), site.client(device)
    client.maximum_version = version
    first = meet(server, client)
    assert isinstance(who(first), Principal)
    registry.revoke("ct1")
    second = meet(server, client, session=first.session)
    assert isinstance(second.server, TLSFacts)
    # TLS 1.2 does resume by session id, so the check behind the handshake is what decides; TLS 1.3 gave no ticket.
    assert second.server.resumed is (version is ssl.TLSVersion.TLSv1_2)
    assert who(second) == Unrecognised("device is revoked")


def test_no_ticket_is_given_out(site: Site) -> None:
    client = site.client(site.authority.issue_device("ct1"))
    session = meet(site.server(), client).session
    assert session is None or not session.has_ticket


def test_no_private_key_of_the_site_lies_on_disk_in_clear(site: Site) -> None:
    assert site.node.private_key is not None
    secrets = [site.node.private_key.reveal()]
    assert site.node_credentials.password is not None
    secrets.append(site.node_credentials.password.reveal())
    for path in site.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"BEGIN PRIVATE KEY" not in content, path
            assert b"BEGIN EC PRIVATE KEY" not in content, path
            assert not any(secret in content for secret in secrets), path
            assert path.suffix == ".lock" or path.stat().st_mode & 0o077 == 0, path


def test_the_node_s_key_opens_again_with_its_provider(site: Site) -> None:
    opened = open_node_credentials(site.folder, site.provider)
    context = server_context(opened, site.authority.certificate_pem)
    assert isinstance(meet(context, site.client(site.authority.issue_device("ct1"))).server, TLSFacts)


@pytest.mark.parametrize("password", [None, Secret(b"wrong")])
def test_an_encrypted_key_without_its_password_does_not_start_and_does_not_prompt(
    site: Site, password: Secret | None
) -> None:
    good = site.node_credentials
    with pytest.raises(IntegrityError):
        server_context(
            NodeCredentials(good.certificate_path, good.key_path, password, good.facts),
            site.authority.certificate_pem,
        )


def test_a_key_of_another_certificate_does_not_start(site: Site) -> None:
    one, two = (site.credentials(site.authority.issue_device(name)) for name in ("a", "b"))
    mixed = NodeCredentials(one.certificate_path, two.key_path, None, one.facts)
    with pytest.raises(IntegrityError):
        server_context(mixed, site.authority.certificate_pem)


def test_an_authority_that_is_not_a_certificate_does_not_start(site: Site) -> None:
    with pytest.raises(IntegrityError):
        server_context(site.node_credentials, b"nothing")
