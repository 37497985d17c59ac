"""TLS as strangers find it: S4 (downgrade), S5 (bad certificates), resumption, and what testssl.sh says."""

import http.client
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from doors.https.running import Answer, Running, read_to_end, running
from leadglass.doors.https import server as server_module
from leadglass.trust.certs.authority import IssuedCertificate

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_testssl = pytest.mark.skipif(shutil.which("testssl") is None, reason="testssl.sh is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site")) as server:
        yield server


def enrolled(site: Running, name: str) -> IssuedCertificate:
    certificate = site.site.authority.issue_device(name)
    site.authenticator.certificates[certificate.facts.sha256] = f"device:{name}"
    return certificate


# --- S5: certificates of clients ---------------------------------------------------------------------------------


def test_people_come_without_a_certificate(site: Running) -> None:
    answer = site.request("GET", "/me")
    assert (answer.status, answer.json()["certificate"]) == (200, "")


def test_a_workstation_shows_its_certificate(site: Running) -> None:
    certificate = enrolled(site, "ws1")
    answer = site.request("GET", "/me", token="", certificate=certificate)
    assert answer.status == 200
    assert (answer.json()["principal"], answer.json()["certificate"]) == (
        "device:ws1",
        certificate.facts.sha256,
    )


def test_a_person_at_a_workstation_is_the_person_and_the_certificate_is_known(site: Running) -> None:
    certificate = enrolled(site, "ws2")
    answer = site.request("GET", "/me", certificate=certificate)
    assert (answer.json()["principal"], answer.json()["certificate"]) == (
        "user:alice",
        certificate.facts.sha256,
    )


def test_a_certificate_of_the_site_that_nobody_enrolled_is_nobody(site: Running) -> None:
    assert (
        site.request("GET", "/me", token="", certificate=site.site.authority.issue_device("ws3")).status
        == 401
    )


def test_a_certificate_is_revoked_within_a_connection(site: Running) -> None:
    certificate = enrolled(site, "ws4")
    connection = http.client.HTTPSConnection(
        "localhost", site.server.port, context=site.context(certificate), timeout=20
    )
    connection.request("GET", "/me")
    response = connection.getresponse()
    assert (response.status, bool(response.read())) == (200, True)
    del site.authenticator.certificates[certificate.facts.sha256]
    connection.request("GET", "/me")
    response = connection.getresponse()
    assert (response.status, bool(response.read())) == (401, True)
    connection.close()


@pytest.mark.parametrize("kind", ["expired", "server usage only", "self-signed", "other authority"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_bad_certificate_is_worse_than_none(tmp_path: Path, kind: str, version: ssl.TLSVersion) -> None:
    with running(tmp_path) as site:
        match kind:
            case "expired":
                certificate = site.site.expired()
            case "server usage only":
                certificate = site.site.wrong_usage(ExtendedKeyUsageOID.SERVER_AUTH)
            case "self-signed":
                certificate = site.site.self_signed()
            case _:
                certificate = site.site.other_authority()
        site.authenticator.certificates[certificate.facts.sha256] = "device:forged"
        context = site.context(certificate)
        context.minimum_version = context.maximum_version = version
        with pytest.raises(OSError):
            _ask(site, context)
        assert not site.authenticator.seen
        site.server.stop(5)
        assert any(refusal.reason.startswith("TLS handshake: ") for refusal in site.refusals)


def _ask(
    site: Running, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[Answer, bool | None]:
    """Return the answer to GET /me, and whether its session continued an earlier one."""
    raw = socket.create_connection(("127.0.0.1", site.server.port), timeout=20)
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as connection:
        connection.sendall(f"GET /me HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        return answer, connection.session_reused


# --- resumption --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resuming_a_session_does_not_bypass_revocation(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with running(tmp_path) as site:
        certificate = enrolled(site, "ws5")
        context = site.context(certificate)
        context.maximum_version = version
        raw = socket.create_connection(("127.0.0.1", site.server.port), timeout=20)
        connection = context.wrap_socket(raw, server_hostname="localhost")
        connection.sendall(f"GET /me HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode())
        assert read_to_end(connection).startswith(b"HTTP/1.1 200")
        session = connection.session
        assert session is None or not session.has_ticket
        connection.unwrap()  # OpenSSL forgets sessions that end without close_notify
        connection.close()
        del site.authenticator.certificates[certificate.facts.sha256]
        answer, resumed = _ask(site, context, session)
        assert answer.status == 401
        # TLS 1.2 does resume by session id, so what is asked of the registry is what decides.
        assert resumed is (version is ssl.TLSVersion.TLSv1_2)


# --- S4: downgrade -----------------------------------------------------------------------------------------------


def s_client(site: Running, *arguments: str) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}", *arguments],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).decode("latin-1")


@needs_openssl
@pytest.mark.parametrize(
    "arguments",
    [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"],  # RSA key exchange
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"],  # CBC
        ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "PSK:SRP:@SECLEVEL=0"],
    ],
)
def test_old_versions_and_suites_are_refused(site: Running, arguments: list[str]) -> None:
    said = s_client(site, *arguments)
    assert "Cipher is (NONE)" in said
    assert "BEGIN CERTIFICATE" not in said


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_what_is_agreed_upon(site: Running, version: str) -> None:
    said = s_client(site, version, "-alpn", "h2,http/1.1")
    assert "AES_256_GCM_SHA384" in said.replace("-", "_").replace("AES256", "AES_256")
    assert "Compression: NONE" in said
    assert "ALPN protocol: http/1.1" in said
    assert "TLS session ticket" not in said


def test_plain_http_gets_no_plain_answer(site: Running) -> None:
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""
    assert b"HTTP/" not in answer


def test_a_handshake_that_does_not_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_SECONDS", 0.3)
    with (
        running(tmp_path) as site,
        socket.create_connection(("127.0.0.1", site.server.port), timeout=20) as silent,
    ):
        silent.sendall(b"\x16\x03\x01")
        try:
            assert silent.recv(100) == b""
        except ConnectionError:
            pass


# --- testssl.sh --------------------------------------------------------------------------------------------------

EXPLAINED = {
    # Our authority names no place for lists of revoked certificates: clients would have to reach it. A node's
    # certificate lives 90 days, and the other direction is asked of the registry for every request.
    "cert_revocation",
    # A DNS record is the site's to make, and says nothing of a private authority.
    "DNS_CAArecord",
    # It asks for "/" by a name without our port, and is told that this is not our name.
    "HTTP_status_code",
}


@needs_testssl
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_testssl_finds_nothing_that_is_not_explained(site: Running, tmp_path: Path) -> None:
    authority, report = tmp_path / "ca.pem", tmp_path / "report.json"
    authority.write_bytes(site.site.authority.certificate_pem)
    subprocess.run(
        [
            *("testssl", "--warnings", "off", "--color", "0", "--quiet", "--add-ca", authority),
            *("--jsonfile", report, f"localhost:{site.server.port}"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=800,
        check=False,
    )
    findings = msgspec.json.decode(report.read_bytes())
    assert len(findings) > 100
    ids = {finding["id"] for finding in findings}
    assert {"TLS1_3", "heartbleed", "ROBOT", "secure_renego", "BREACH", "LUCKY13", "RC4", "cert_trust"} <= ids
    harmless = {"OK", "INFO"}
    found = {f["id"]: (f["severity"], f["finding"]) for f in findings if f["severity"] not in harmless}
    assert {name: said for name, said in found.items() if name not in EXPLAINED} == {}
