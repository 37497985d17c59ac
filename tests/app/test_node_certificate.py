"""The node's certificate is exchanged under way: new connections see the new one, open ones go on."""

import hashlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running_node import DeviceFiles, Site, site

# A node of its own, stopped: it writes a fresh certificate under the keys of the site, as a renewal would.
RENEW = """
import sys
from pathlib import Path
from datetime import timedelta
import os
from leadglass.app.compose import open_node
from leadglass.app.site import SitePaths
from leadglass.trust.certs import renewal
node = open_node(SitePaths(Path(sys.argv[1])), None, os.environ)
renewal.RENEW_BEFORE = timedelta(days=10_000)
renewal.open_node_certificate(
    node.paths.node_certificate, node.authority, node.settings.site.names, node.provider, node.clock
)
node.close()
"""


def connect(node: Site, device: DeviceFiles, port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(device.authority))
    context.load_cert_chain(device.certificate, device.key)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


def fingerprint(connection: ssl.SSLSocket) -> str:
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"ok\n"):
        piece = connection.recv(65_536)
        assert piece, "the connection was cut"
        answer += piece
    return answer


@pytest.mark.slow
def test_a_new_certificate_is_taken_up_and_nobody_is_cut_off(tmp_path: Path) -> None:
    with site(tmp_path) as node:
        node.start()
        device = node.enrol("gw", "GW", ["query-retrieve"])
        assert node.stop() == 0
        folder = node.root / "certs" / "node"
        shutil.copytree(folder, tmp_path / "before")
        subprocess.run([sys.executable, "-c", RENEW, str(node.root)], check=True)
        shutil.move(folder, tmp_path / "after")
        shutil.copytree(tmp_path / "before", folder)
        node.start()
        old = {port: connect(node, device, port) for port in (node.https_port, node.port)}
        assert b"200 OK" in ask(old[node.https_port])
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "after", folder)
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        for port, before in old.items():
            deadline = time.monotonic() + 30
            while True:
                with connect(node, device, port) as fresh:
                    now = fingerprint(fresh)
                if now != fingerprint(before):
                    break
                assert time.monotonic() < deadline, "the old certificate is still shown"
        assert b"200 OK" in ask(old[node.https_port])
        for connection in old.values():
            connection.close()
        assert node.stop() == 0
