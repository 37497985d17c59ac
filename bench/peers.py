"""The servers that ``store.py`` measures: each a real process in a temporary folder, TLS with client certificates."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Credentials:
    """Key, certificate and authority, as files."""

    key: Path
    certificate: Path
    authority: Path


@dataclass(frozen=True)
class Usage:
    """What a server and its children used so far."""

    cpu_seconds: float
    peak_kib: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Server(ABC):
    """One run of one server; ``start``, load, ``usage``, ``stop``."""

    name = ""
    called = "BENCH"

    def __init__(self, work: Path) -> None:
        self.work = work
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare the folder, and return what to run."""

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self.work.mkdir(parents=True)
        log = (self.work.parent / f"{self.name}.log").open("ab")
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | self.environment(),
            cwd=self.work,
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                time.sleep(0.2)
                return
        raise SystemExit(f"{self.name} did not start: see {self.work.parent / (self.name + '.log')}")

    def pids(self) -> list[int]:
        """Return the process and all that descend from it."""
        assert self._process is not None
        return [self._process.pid, *_children(self._process.pid)]

    def usage(self) -> Usage:
        """Return CPU seconds of the whole tree, and the largest peak of resident memory in it."""
        root, *others = self.pids()
        cpu, peak = 0.0, 0
        for pid in (root, *others):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            # Children that were waited for count in their parent; those of others, once they are gone, nowhere.
            cpu += sum(map(int, fields[11:15] if pid == root else fields[11:13])) / _TICKS
            peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
            peak = max(peak, int(peaks[0]) if peaks else 0)
        return Usage(cpu, peak)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def _children(pid: int) -> list[int]:
    try:
        direct = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*direct, *(grandchild for child in direct for grandchild in _children(child))]


class Leadglass(Server):
    """The node, as ``leadglass serve`` runs it, on a copy of a fresh site."""

    name = "leadglass"
    called = "LEADGLASS"
    profile: Path | None = None

    def __init__(self, work: Path, template: Path) -> None:
        super().__init__(work)
        self._template = template
        self.web_port = free_port()

    def command(self) -> list[str]:
        site = self.work / "site"
        shutil.copytree(self._template, site)
        settings = site / "leadglass.toml"
        lines: list[str] = []
        port = self.port
        for line in settings.read_text().splitlines():
            if line.startswith("["):
                port = self.web_port if line == "[web]" else self.port
            lines.append(f"port = {port}" if line.startswith("port =") else line)
        settings.write_text("\n".join(lines))
        program = ["-m", "leadglass.app.cli.main"]
        if self.profile is not None:
            program = [str(Path(__file__).with_name("profiled_node.py")), str(self.profile)]
        return [sys.executable, *program, "serve", "--site", str(site)]


NO_DELAY = {"TCP_NODELAY": "1"}
"""DCMTK, which Orthanc builds on, leaves Nagle's algorithm on unless told so: every answer then waits 40 ms."""


class StoreSCP(Server):
    """DCMTK's storescp: writes files, keeps no index, does not wait for the disk. One process per association."""

    name = "storescp"

    def __init__(self, work: Path, credentials: Credentials) -> None:
        super().__init__(work)
        self._credentials = credentials

    def command(self) -> list[str]:
        given = self._credentials
        return [
            "storescp", "--fork", "--output-directory", str(self.work), "--aetitle", self.called,
            "+tls", str(given.key), str(given.certificate), "--add-cert-file", str(given.authority),
            str(self.port),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return NO_DELAY


class Orthanc(Server):
    """Orthanc with SQLite and DICOM TLS; everything else as it comes."""

    name = "orthanc"

    def __init__(self, work: Path, credentials: Credentials) -> None:
        super().__init__(work)
        self._credentials = credentials

    def environment(self) -> dict[str, str]:
        return NO_DELAY

    def command(self) -> list[str]:
        given = self._credentials
        settings = {
            "Name": "bench",
            "StorageDirectory": str(self.work / "storage"),
            "IndexDirectory": str(self.work / "index"),
            "DicomAet": self.called,
            "DicomPort": self.port,
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "DicomTlsEnabled": True,
            "DicomTlsPrivateKey": str(given.key),
            "DicomTlsCertificate": str(given.certificate),
            "DicomTlsTrustedCertificates": str(given.authority),
            "DicomTlsRemoteCertificateRequired": True,
            "HttpServerEnabled": False,
            "Plugins": [],
        }
        path = self.work / "orthanc.json"
        path.write_text(json.dumps(settings))
        return ["Orthanc", str(path)]
