"""A real node in a process of its own, as an operator runs it: ``leadglass init``, ``device enrol``, ``serve``."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 30


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class DeviceFiles:
    """What ``device enrol`` wrote."""

    device_id: str
    ae_title: str
    folder: Path

    @property
    def toml(self) -> Path:
        return self.folder / f"{self.device_id}.toml"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.device_id}.key.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.device_id}.cert.pem"

    @property
    def authority(self) -> Path:
        return self.folder / f"{self.device_id}.ca.pem"


@dataclass
class Site:
    """A site in a folder; commands run as a user runs them."""

    root: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    https_port: int = 0

    def run(
        self, *arguments: str, status: int | None = 0, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the site; ``status`` is the expected exit status, None for any."""
        done = run_command(*arguments, environment=self.environment, seconds=seconds)
        assert status is None or done.returncode == status, (
            f"leadglass {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def on_site(self, *arguments: str, status: int | None = 0, seconds: float = 120) -> dict[str, Any]:
        """Run a command with ``--site`` and ``--json``; return its document."""
        done = self.run(*arguments, "--site", str(self.root), "--json", status=status, seconds=seconds)
        document: dict[str, Any] = json.loads(done.stdout or "{}")
        return document

    def enrol(
        self,
        device_id: str,
        ae_title: str,
        roles: Sequence[str],
        *,
        host: str = "",
        port: int = 0,
        move_destination: bool = False,
        networks: Sequence[str] = ("127.0.0.0/8",),
    ) -> DeviceFiles:
        """Enrol a device of this machine."""
        folder = self.root.parent / "devices"
        arguments = ["device", "enrol", device_id, "--ae-title", ae_title, "--out", str(folder)]
        arguments += [part for role in roles for part in ("--role", role)]
        arguments += [part for network in networks for part in ("--network", network)]
        arguments += ["--node-host", "localhost"]
        if host:
            arguments += ["--host", host, "--port", str(port)]
        if move_destination:
            arguments.append("--move-destination")
        self.on_site(*arguments)
        return DeviceFiles(device_id, ae_title, folder)

    def start(self, *, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Serve, and return what ``serve --json`` says when its doors are open."""
        assert self.process is None
        with (self.root.parent / "serve.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "leadglass.app.cli.main", "serve", "--site", str(self.root), "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | self.environment,
            )
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line.rstrip() == "}":
                break
        assert lines, f"the node did not start:\n{(self.root.parent / 'serve.err').read_text()}"
        document: dict[str, Any] = json.loads("".join(lines))
        self.https_port = document["listening"]["https_port"]
        return document

    def stop(self) -> int:
        """End the node in order; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self._forget()
        return status

    def kill(self) -> None:
        """End the node with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=60)
        self._forget()

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


def run_command(
    *arguments: str, environment: dict[str, str] | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``leadglass`` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "leadglass.app.cli.main", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env=os.environ | (environment or {}),
    )


@contextmanager
def site(folder: Path, *init_options: str) -> Iterator[Site]:
    """Make a site below ``folder``; a node that still runs at the end is killed."""
    made = Site(folder / "site", free_port())
    made.run(
        "init", str(made.root), "--listen", "127.0.0.1", "--port", str(made.port), "--https-port", "0",
        "--host-name", "localhost", "--host-name", "127.0.0.1", *init_options,
    )  # fmt: skip
    try:
        yield made
    finally:
        if made.process is not None:
            made.kill()
