"""The servers that ``web.py`` measures over HTTPS: each a real process in a temporary folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from peers import NO_DELAY, Credentials, Leadglass, Server, Usage

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# Debian 12: the web server inside of Orthanc looks libssl.so up for SSL_get_peer_certificate, which OpenSSL 3 has under
# another name only, and calls a null pointer at the first HTTPS connection. It is given the old name.
_OLD_NAME = """\
extern void *SSL_get1_peer_certificate(const void *);
void *SSL_get_peer_certificate(const void *ssl) { return SSL_get1_peer_certificate(ssl); }
"""


def missing_for_orthanc() -> str:
    """Return what Orthanc's side needs and is not installed; empty when it can run."""
    programs = [name for name in ("Orthanc", "gcc") if shutil.which(name) is None]
    return ", ".join(programs + ([] if _PLUGIN.exists() else [str(_PLUGIN)]))


class WebServer(Protocol):
    """What ``web.py`` asks of each of them."""

    name: str
    root: str

    @property
    def https_port(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...
    def usage(self) -> Usage: ...


class LeadglassWeb(Leadglass):
    """The node; whoever asks shows the certificate of an enrolled device."""

    root = "/dicom-web"

    @property
    def https_port(self) -> int:
        return self.web_port


class OrthancWeb(Server):
    """Orthanc with SQLite and its DICOMweb plugin over HTTPS; nobody needs to sign in. Everything else as it comes."""

    name = "orthanc"
    root = "/dicom-web"

    def __init__(self, work: Path, credentials: Credentials) -> None:
        super().__init__(work)
        self._credentials = credentials

    @property
    def https_port(self) -> int:
        return self.port

    def environment(self) -> dict[str, str]:
        return NO_DELAY | {"LD_LIBRARY_PATH": str(self.work / "lib")}

    def command(self) -> list[str]:
        given = self._credentials
        library = self.work / "lib" / "libssl.so"
        library.parent.mkdir()
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", str(library), "-xc", "-", "-l:libssl.so.3"],
            input=_OLD_NAME.encode(),
            check=True,
        )
        both = self.work / "https.pem"
        both.write_bytes(given.certificate.read_bytes() + given.key.read_bytes())
        settings = {
            "Name": "bench",
            "StorageDirectory": str(self.work / "storage"),
            "IndexDirectory": str(self.work / "index"),
            "DicomServerEnabled": False,
            "HttpServerEnabled": True,
            "HttpPort": self.port,
            "SslEnabled": True,
            "SslCertificate": str(both),
            "KeepAlive": True,
            "TcpNoDelay": True,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            "Plugins": [str(_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": self.root + "/", "Ssl": True},
        }
        path = self.work / "orthanc.json"
        path.write_text(json.dumps(settings))
        return ["Orthanc", str(path)]


class Bare(Server):
    """A file over TLS and nothing else (``bare_https.py``): what the machine gives a server like ours."""

    name = "bare"
    root = ""

    def __init__(self, work: Path, credentials: Credentials, file: Path) -> None:
        super().__init__(work)
        self._credentials = credentials
        self._file = file

    @property
    def https_port(self) -> int:
        return self.port

    def command(self) -> list[str]:
        given = self._credentials
        job = {
            "port": self.port,
            "certificate": str(given.certificate),
            "key": str(given.key),
            "file": str(self._file),
        }
        return [sys.executable, str(Path(__file__).with_name("bare_https.py")), json.dumps(job)]
