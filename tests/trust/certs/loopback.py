"""A site with real keys, and real handshakes over loopback TCP."""

import socket
import ssl
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fake_clock import FakeClock
from leadglass.base.secret import Secret
from leadglass.trust.certs.authority import CertificateAuthority, IssuedCertificate, certificate_facts
from leadglass.trust.certs.node_key import NodeCredentials, device_credentials, write_node_credentials
from leadglass.trust.certs.tls import (
    TLSFacts,
    client_context,
    failure_words,
    peer_facts,
    server_context,
    wrap_client,
)
from leadglass.trust.keys.providers.key_file import KeyFileProvider


class Site:
    """An authority that is ten days old, a node, and as many devices as a test wants.

    OpenSSL reads the real clock, so the fake one starts there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(datetime.now(UTC) - timedelta(days=10))
        self.provider = KeyFileProvider.create(folder / "root.key")
        self.authority = CertificateAuthority.create(folder, self.provider, self.clock, "Test site")
        self.clock.advance(timedelta(days=10).total_seconds())
        self.node = self.authority.issue_server(["localhost", "127.0.0.1"])
        self.node_credentials = write_node_credentials(folder, self.node, self.provider)

    def server(self) -> ssl.SSLContext:
        return server_context(self.node_credentials, self.authority.certificate_pem)

    def client(self, issued: IssuedCertificate, *, pinned: bool = False) -> ssl.SSLContext:
        return client_context(self.credentials(issued), self.authority.certificate_pem, pinned=pinned)

    def credentials(self, issued: IssuedCertificate) -> NodeCredentials:
        """Write key and certificate as a device would hold them."""
        assert issued.private_key is not None
        stem = self.folder / issued.facts.sha256[:16]
        key = serialization.load_der_private_key(issued.private_key.reveal(), None)
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        stem.with_suffix(".crt").write_bytes(issued.certificate_pem)
        return device_credentials(stem.with_suffix(".crt"), stem.with_suffix(".key"))

    def expired(self) -> IssuedCertificate:
        self.clock.advance(-timedelta(days=5).total_seconds())
        issued = self.authority.issue_device("old", ["localhost"], lifetime=timedelta(days=1))
        self.clock.advance(timedelta(days=5).total_seconds())
        return issued

    def wrong_usage(self, usage: x509.ObjectIdentifier) -> IssuedCertificate:
        return self._forge([usage], self_signed=False)

    def self_signed(self) -> IssuedCertificate:
        return self._forge(
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], self_signed=True
        )

    def other_authority(self) -> IssuedCertificate:
        folder = self.folder / "other"
        folder.mkdir()
        other = CertificateAuthority.create(folder, self.provider, self.clock, "Test site")
        return other.issue_device("ct1", ["localhost"])

    def _forge(self, usages: list[x509.ObjectIdentifier], *, self_signed: bool) -> IssuedCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ct1")])
        issuer = x509.load_pem_x509_certificate(self.authority.certificate_pem)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name if self_signed else issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.clock.now() - timedelta(hours=1))
            .not_valid_after(self.clock.now() + timedelta(hours=1))
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    key.public_key() if self_signed else self.authority._key().public_key()
                ),
                critical=False,
            )
            .sign(key if self_signed else self.authority._key(), hashes.SHA256())
        )
        return IssuedCertificate(
            facts=certificate_facts(certificate),
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
            authority_pem=self.authority.certificate_pem,
            private_key=Secret(
                key.private_bytes(
                    serialization.Encoding.DER,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            ),
        )


@dataclass
class Meeting:
    """What both sides saw: facts, or words on why not."""

    server: TLSFacts | str
    client: TLSFacts | str
    session: ssl.SSLSession | None = None


def meet(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    *,
    server_name: str = "localhost",
    expected_sha256: Collection[str] = (),
    session: ssl.SSLSession | None = None,
) -> Meeting:
    """Shake hands over loopback and pass one octet each way: in TLS 1.3 the client hears of a refusal only then."""
    outcome: list[TLSFacts | str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            connection, _ = listener.accept()
            connection.settimeout(5)
            try:
                with server.wrap_socket(connection, server_side=True) as wrapped:
                    question = wrapped.recv(1)
                    if question:
                        wrapped.sendall(question)
                    outcome.append(peer_facts(wrapped) if question else "peer closed")
                    # OpenSSL forgets sessions that end without close_notify; a resumption test needs it remembered.
                    wrapped.unwrap()
            except OSError as error:
                outcome[:] = outcome or [failure_words(error)]
            finally:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        connection = socket.create_connection(listener.getsockname(), timeout=5)
        seen: TLSFacts | str = ""
        kept: ssl.SSLSession | None = None
        try:
            if session is not None or client.verify_mode is not ssl.CERT_REQUIRED:
                wrapped = client.wrap_socket(connection, server_hostname=server_name, session=session)
            else:
                wrapped = wrap_client(connection, client, server_name, expected_sha256)
            with wrapped:
                wrapped.sendall(b"?")
                answer = wrapped.recv(1)
                seen = peer_facts(wrapped) if answer else "peer closed"
                kept = wrapped.session
                wrapped.unwrap()
        except OSError as error:
            seen = failure_words(error) if seen == "" else seen
        except Exception as error:  # noqa: BLE001 - the words are what is tested
            seen = str(error)
        finally:
            connection.close()
            thread.join(10)
    return Meeting(outcome[0] if outcome else "nobody came", seen, kept)
