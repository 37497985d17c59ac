"""TLS as PS3.15 B.12 asks for it, and stricter where that costs nobody anything.

TLS 1.2 and 1.3, forward-secret AEAD suites only, certificates from both sides always, trust in the site's own
authority and in nothing else, no compression, no renegotiation, no tickets. There is no switch to weaken any of it.

A resumed session carries the certificate of the one it continues, so what decides is not that a handshake happened but
that the registry of devices knows the certificate *now* (``trust.identity.registry``, on every connection). Tickets
are off all the same; what is left, TLS 1.2 session ids, the ssl module of Python 3.11 cannot turn off.

Groups are those of OpenSSL's defaults (X25519, P-256, X448, P-521, P-384, ffdhe2048 and larger for TLS 1.3): the ssl
module can pin one group or none, and each of these has at least 112 bits.

Source: PS3.15 B.12; RFC 9325 (BCP 195) 3.1, 3.2, 3.4, 3.5, 4.1, 4.2; RFC 8996.
"""

import hashlib
import hmac
import socket
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import IntegrityError, PeerUnreachable
from leadglass.trust.certs.node_key import NodeCredentials

# The four suites of PS3.15 B.12 (RFC 9325 4.2), the stronger first; ECDSA before RSA because it is what we issue.
# SECLEVEL=2: RSA and DH of 2048 bits at least, no SHA-1 in signatures (OpenSSL, SSL_CTX_set_security_level).
CIPHERS_TLS12: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=2"
)

# X509_V_ERR_*, in words for the audit log. Source: openssl/x509_vfy.h.
_VERIFY_WORDS: Final[Mapping[int, str]] = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate",
    19: "self-signed certificate in the chain",
    20: "issuer unknown",
    21: "issuer unknown",
    24: "issuer is not an authority",
    26: "certificate not meant for this use",
    62: "certificate is for another host",
    64: "certificate is for another address",
    66: "key of the certificate too weak",
    67: "key of the authority too weak",
    68: "signature of the certificate too weak",
}
# SSLError.reason, likewise.
_REASON_WORDS: Final[Mapping[str, str]] = {
    "BAD_SIGNATURE": "bad signature",
    "HTTP_REQUEST": "plain HTTP, no TLS",
    "NO_PROTOCOLS_AVAILABLE": "no common TLS version",
    "NO_SHARED_CIPHER": "no common cipher suite",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no common signature algorithm",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate",
    "UNSUPPORTED_PROTOCOL": "TLS version too old",
    "VERSION_TOO_LOW": "TLS version too old",
    "WRONG_VERSION_NUMBER": "not TLS",
    "SSLV3_ALERT_BAD_CERTIFICATE": "peer refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "peer says our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "peer says our certificate is revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "peer refused our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "peer found no common parameters",
    "TLSV1_ALERT_PROTOCOL_VERSION": "peer refused our TLS version",
    "TLSV1_ALERT_UNKNOWN_CA": "peer does not trust our authority",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "peer wants a client certificate",
    "UNEXPECTED_EOF_WHILE_READING": "peer closed during the handshake",
}


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """What one TLS connection shows.

    Attributes:
        certificate_sha256: hex fingerprint of the peer's verified certificate; empty if it showed none.
        protocol: ``TLSv1.3`` or ``TLSv1.2``.
        suite: as OpenSSL names it.
        resumed: the session continues an earlier one, whose certificate this is.
    """

    certificate_sha256: str
    protocol: str
    suite: str
    resumed: bool

    @property
    def description(self) -> str:
        """Protocol and suite in one line, for ``PeerFacts.tls``."""
        return f"{self.protocol} {self.suite}" + (" resumed" if self.resumed else "")


def server_context(credentials: NodeCredentials, authority_pem: bytes) -> ssl.SSLContext:
    """Return the context of a listener. A client without a certificate of the site does not get through.

    Args:
        credentials: of this node.
        authority_pem: the certificate of the site's authority.

    Raises:
        IntegrityError: key, certificate or authority are not what was written, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, credentials, authority_pem)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    context.num_tickets = 0  # TLS 1.3; OP_NO_TICKET is about TLS 1.2
    return context


def web_context(
    credentials: NodeCredentials, authority_pem: bytes, *, client_certificates: bool = True
) -> ssl.SSLContext:
    """Return the context of a listener for HTTPS: people come without a certificate, workstations and services with one.

    Who shows a certificate must show one of the site; whether it is welcome, the registry says for every request. A
    certificate that is renewed comes with a new context: connections keep the one that they began with, and sessions
    of TLS 1.2 are forgotten with it.

    Args:
        credentials: of this node.
        authority_pem: the certificate of the site's authority.
        client_certificates: ask for one. The ssl module cannot say which authority it should be of, so a browser
            whose user holds certificates of others may ask which to show.

    Raises:
        IntegrityError: key, certificate or authority are not what was written, or do not belong together.
    """
    context = server_context(credentials, authority_pem)
    context.verify_mode = ssl.CERT_OPTIONAL if client_certificates else ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])  # RFC 7301: nobody takes us for another protocol's server
    return context


def client_context(
    credentials: NodeCredentials, authority_pem: bytes, *, pinned: bool = False
) -> ssl.SSLContext:
    """Return the context of a client. Use it with ``wrap_client``.

    Args:
        credentials: of this node or device.
        authority_pem: the certificate of the site's authority.
        pinned: the server is an enrolled device, known by its fingerprint instead of its host name; its chain is
            verified all the same.

    Raises:
        IntegrityError: key, certificate or authority are not what was written, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not pinned
    context.hostname_checks_common_name = False  # RFC 9525 6.3: names are in the SAN
    _harden(context, credentials, authority_pem)
    return context


def _harden(context: ssl.SSLContext, credentials: NodeCredentials, authority_pem: bytes) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    # RFC 5280 to the letter: our own certificates fulfil it, and we trust no others.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= (
        ssl.OP_NO_COMPRESSION  # CRIME; RFC 9325 3.3
        | ssl.OP_NO_RENEGOTIATION  # RFC 9325 3.5
        | ssl.OP_NO_TICKET  # RFC 9325 3.4: a ticket key would undo forward secrecy
    )
    try:
        context.set_ciphers(CIPHERS_TLS12)
        context.load_verify_locations(cadata=authority_pem.decode("ascii"))
        # Without a password OpenSSL would ask the terminal for one: an empty one fails instead.
        password = credentials.password.reveal() if credentials.password is not None else b""
        context.load_cert_chain(credentials.certificate_path, credentials.key_path, password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise IntegrityError("key, certificate or authority for TLS are not what was written") from error


def wrap_client(
    connection: socket.socket,
    context: ssl.SSLContext,
    server_name: str,
    expected_sha256: Collection[str] = (),
) -> ssl.SSLSocket:
    """Do the client's handshake on a connected socket, whose timeout bounds it; nothing is sent before it is whole.

    To speak to a server we need (1) a chain to the site's authority, (2) its host name in the certificate, or, with a
    pinned context, (3) a fingerprint that is one of the expected. The socket is closed when any of it is missing.

    Args:
        connection: connected.
        context: of ``client_context``.
        server_name: host name or address that was connected to.
        expected_sha256: fingerprints the server may show; required with a pinned context.

    Raises:
        PeerUnreachable: the server is not the one that is wanted, or the connection was lost; the message says why.
    """
    if not context.check_hostname and not expected_sha256:
        connection.close()
        raise PeerUnreachable("TLS: neither a host name nor a fingerprint to know the server by")
    try:
        wrapped = context.wrap_socket(connection, server_hostname=server_name)
    except (OSError, ValueError) as error:
        connection.close()
        raise PeerUnreachable(f"TLS: {failure_words(error)}") from error
    if expected_sha256:
        shown = peer_facts(wrapped).certificate_sha256
        if not any(hmac.compare_digest(shown, expected) for expected in expected_sha256):
            wrapped.close()
            raise PeerUnreachable("TLS: the server shows another certificate than the enrolled one")
    return wrapped


def peer_facts(connection: ssl.SSLSocket | ssl.SSLObject) -> TLSFacts:
    """Return what a finished handshake shows; what it means is for ``trust.identity`` to say."""
    certificate = connection.getpeercert(binary_form=True)
    cipher = connection.cipher()
    return TLSFacts(
        certificate_sha256=hashlib.sha256(certificate).hexdigest() if certificate else "",
        protocol=connection.version() or "",
        suite=cipher[0] if cipher is not None else "",
        resumed=bool(connection.session_reused),
    )


def failure_words(error: BaseException) -> str:
    """Return why a handshake failed, in words of ours: nothing that the peer sent is in them."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_WORDS.get(error.verify_code, f"certificate refused (X509 error {error.verify_code})")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "peer closed during the handshake"
    if isinstance(error, ssl.SSLError):
        return _REASON_WORDS.get(error.reason or "", "handshake failed")
    if isinstance(error, TimeoutError):
        return "handshake took too long"
    if isinstance(error, ConnectionError):
        return "connection lost during the handshake"
    return "handshake failed"
