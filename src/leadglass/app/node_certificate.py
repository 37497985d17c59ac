"""The node's certificate while it runs: made anew before it ends, and taken up without ending a connection.

New connections get the new one; those that are open keep what they began with.
"""

import ssl
import threading
from collections.abc import Callable

from leadglass.app.compose import Node, record_renewal
from leadglass.trust.certs.renewal import open_node_certificate
from leadglass.trust.certs.tls import client_context, server_context, web_context


class NodeCertificate:
    """TLS contexts of a node with the certificate that is in force. Thread-safe.

    Args:
        node: open.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._credentials = node.credentials
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._server = server_context(self._credentials, node.authority.certificate_pem)
        self._client = client_context(self._credentials, node.authority.certificate_pem, pinned=True)

    def server(self) -> ssl.SSLContext:
        """Return the context of the DICOM listener, for the next connection."""
        return self._server

    def client(self) -> ssl.SSLContext:
        """Return the context of associations that we open to enrolled devices."""
        return self._client

    def web(self) -> ssl.SSLContext:
        """Return a new context of the HTTPS server."""
        return web_context(
            self._credentials,
            self._node.authority.certificate_pem,
            client_certificates=self._node.settings.web.client_certificates,
        )

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever another certificate is in force."""
        self._listeners.append(listener)

    def refresh(self) -> bool:
        """Make the certificate anew if it ends soon; take up the one that lies in the folder. Tell whether it changed.

        Raises:
            IntegrityError: what lies there is not what was written; the old one stays in force.
            AuditUnavailable: a new one cannot be put on record; the old one stays in force until the next try.
        """
        node = self._node
        with self._lock:
            credentials, renewed = open_node_certificate(
                node.paths.node_certificate,
                node.authority,
                node.settings.site.names,
                node.provider,
                node.clock,
            )
            if credentials.facts.sha256 == self._credentials.facts.sha256:
                return False
            if renewed is not None:
                record_renewal(node.audit, node.clock, renewed)
            pem = node.authority.certificate_pem
            server = server_context(credentials, pem)
            client = client_context(credentials, pem, pinned=True)
            self._credentials, self._server, self._client = credentials, server, client
        for listener in self._listeners:
            listener()
        return True
