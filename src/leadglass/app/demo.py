"""``make demo``: a throw-away site that does the main job once, and keeps running for you to try.

Everything it does, it does through the command line, as you would. It needs no terminal, and running it again is
harmless: what is there is kept, what runs goes on running.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

_PORT_FIRST: Final = 11112
_PORT_LAST: Final = 11199
_START_SECONDS: Final = 60.0
_DEVICES: Final = (
    ("ct1", "CT1", ("store",)),
    ("workstation", "WORKSTATION", ("query-retrieve",)),
    ("router", "ROUTER", ("router",)),
)


class DemoFailed(Exception):
    """A step of the demo did not work; the step's own words were printed."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's folder."""

    root: Path

    @property
    def site(self) -> Path:
        """The throw-away site."""
        return self.root / "site"

    @property
    def devices(self) -> Path:
        """Keys and certificates of the devices."""
        return self.root / "devices"

    @property
    def log(self) -> Path:
        """What the node prints."""
        return self.root / "node.log"

    @property
    def pid_file(self) -> Path:
        """Process id of the node."""
        return self.root / "node.pid"

    def device(self, name: str) -> Path:
        """Return a device's file."""
        return self.devices / f"{name}.toml"


@click.group()
def demo() -> None:
    """Start and stop the demo."""


@demo.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), default=None, help="Your own DICOM files."
)
def start(folder: Path, data: Path | None) -> None:
    """Make a site in FOLDER, start it, send studies, find them, fetch one back, verify the record."""
    here = Demo(folder.resolve())
    try:
        _prepare(here)
        _serve(here)
        _send(here, data or _sample_files())
        study = _find(here)
        if study:
            _fetch(here, study)
        _verify(here)
    except DemoFailed as error:
        click.echo(f"\nThe demo stopped: {error}", err=True)
        sys.exit(1)
    _say_what_next(here, study)


@demo.command()
@click.argument("folder", type=click.Path(path_type=Path))
def stop(folder: Path) -> None:
    """Stop the demo's node; its folder stays."""
    here = Demo(folder.resolve())
    pid = _running(here)
    if pid is None:
        click.echo("No demo is running.")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while _running(here) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    here.pid_file.unlink(missing_ok=True)
    click.echo("The demo's node has stopped.")


# --- steps -----------------------------------------------------------------------------------------------------


def _prepare(here: Demo) -> None:
    if (here.site / "leadglass.toml").exists():
        _step("The site is there already", str(here.site))
        return
    if here.root.exists() and any(here.root.iterdir()):
        # A folder that an earlier demo left half made; anything else is not ours to touch.
        if not (here.root / ".leadglass-demo").exists():
            raise DemoFailed(
                f"{here.root} exists and is not a demo's folder: choose another with DEMO=folder"
            )
        shutil.rmtree(here.root)
    here.root.mkdir(parents=True, exist_ok=True)
    (here.root / ".leadglass-demo").touch()
    port = _free_port()
    _step("Making a throw-away site", "keys, certificate authority, settings")
    _run("init", str(here.site), "--name", "Leadglass demo", "--listen", "127.0.0.1", "--port", str(port),
         "--host-name", "localhost", "--host-name", "127.0.0.1")  # fmt: skip
    for name, ae_title, roles in _DEVICES:
        _step(
            "Enrolling a device", f"{name} ({', '.join(roles)}): its own key, certificate, AE title, network"
        )
        arguments = [
            "device",
            "enrol",
            name,
            "--site",
            str(here.site),
            "--ae-title",
            ae_title,
            "--out",
            str(here.devices),
        ]
        arguments += ["--network", "127.0.0.0/8", "--network", "::1/128", "--node-host", "localhost"]
        if name == "workstation":
            arguments += ["--host", "localhost", "--port", str(port + 1), "--move-destination"]
        _run(*arguments, *(part for role in roles for part in ("--role", role)))


def _serve(here: Demo) -> None:
    if _running(here) is not None:
        _step("The node is running already", f"process {_running(here)}")
        return
    _step("Starting the node", f"its words go to {here.log}")
    with here.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "leadglass.app.cli.main", "serve", "--site", str(here.site)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    here.pid_file.write_text(f"{process.pid}\n", encoding="ascii")
    deadline = time.monotonic() + _START_SECONDS
    while not (here.site / "run" / "control.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed(
                f"the node did not start; it said:\n{here.log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.1)
    _run("echo", "--device", str(here.device("ct1")))


def _send(here: Demo, data: Path) -> None:
    _step("Sending real studies over DICOM TLS, as the CT", str(data))
    done = _run("send", str(data), "--device", str(here.device("ct1")), show_progress=True, statuses=(0, 7))
    click.echo("    " + done.rstrip().replace("\n", "\n    "))
    if data == _sample_files():
        click.echo(
            "    (What was not taken is broken on purpose, or shares its UID with another file: each is on record.)"
        )


def _find(here: Demo) -> str:
    _step("Finding them, as the workstation", "leadglass find")
    answer = _json("find", "--device", str(here.device("workstation")))
    matches: list[dict[str, Any]] = answer["matches"]
    for match in matches[:5]:
        modalities = match.get("ModalitiesInStudy") or ""
        text = str(modalities).strip("[]").replace("'", "").replace(", ", ",")
        click.echo(
            f"    {str(match.get('PatientName') or '(no name)')[:28]:28}  {match.get('StudyDate') or ''!s:8}  {text:8}  "
            f"{match.get('NumberOfStudyRelatedInstances') or 0:>4} objects"
        )
    click.echo(f"    {len(matches)} studies in all")
    if not matches:
        return ""
    largest = max(matches, key=lambda match: int(match.get("NumberOfStudyRelatedInstances") or 0))
    return str(largest["StudyInstanceUID"])


def _fetch(here: Demo, study: str) -> None:
    _step("Fetching one back, as the workstation", "leadglass get")
    out = here.root / "fetched"
    done = _run("get", "--device", str(here.device("workstation")), "--study", study, "--out", str(out))
    click.echo(f"    {done.strip()} They are in {out}")


def _verify(here: Demo) -> None:
    _step("Verifying what is held", "every octet of every sealed pack")
    click.echo("    " + _run("vault", "verify", "--site", str(here.site)).strip())
    _step("Verifying the audit log", "every entry, every hash, every signature")
    click.echo("    " + _run("audit", "verify", "--site", str(here.site)).strip().replace("\n", "\n    "))


def _say_what_next(here: Demo, study: str) -> None:
    settings = (here.device("ct1")).read_text(encoding="utf-8")
    port = next(line.split("=")[1].strip() for line in settings.splitlines() if line.startswith("node_port"))
    binary = _short(Path(sys.executable).with_name("leadglass"))
    tls = "+tls {0}.key.pem {0}.cert.pem +cf {0}.ca.pem"
    ct1 = tls.format(_short(here.devices / "ct1"))
    workstation = tls.format(_short(here.devices / "workstation"))
    site = _short(here.site)
    reader = _short(here.device("workstation"))
    click.echo(f"""
The node runs on in the background (process {_running(here)}), on localhost port {port}. Try next:

  {binary} status --site {site}
  {binary} find --device {reader} -k 'PatientName=*'
  {binary} get --device {reader} --study {study or "UID"} --out fetched
  {binary} audit show --site {site} --limit 20
  {binary} device revoke ct1 --site {site}      (and send again)

With DCMTK (apt-get install dcmtk), the same doors (its getscu and movescu speak no TLS up to 3.6.7; `leadglass get` does):

  echoscu  {ct1} -aet CT1 -aec LEADGLASS localhost {port}
  storescu {ct1} -aet CT1 -aec LEADGLASS localhost {port} {_short(_sample_files())}/MR_small.dcm
  findscu  {workstation} -aet WORKSTATION -aec LEADGLASS \\
           -S -k QueryRetrieveLevel=STUDY -k PatientName -k StudyInstanceUID localhost {port}
  echoscu  -aet CT1 -aec LEADGLASS localhost {port}      (no TLS: refused, and on record)

`make demo-stop` ends it.""")


# --- small things ----------------------------------------------------------------------------------------------


def _short(path: Path) -> str:
    """Return the path as it is best pasted: relative where it lies below this folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _step(title: str, more: str) -> None:
    click.secho(f"* {title}", bold=True, nl=False)
    click.echo(f": {more}")


def _run(*arguments: str, show_progress: bool = False, statuses: Sequence[int] = (0,)) -> str:
    """Run a command of ours; return what it printed."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "leadglass.app.cli.main", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show_progress else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in statuses:
        raise DemoFailed(
            f"`leadglass {arguments[0]}` ended with {done.returncode}\n{done.stdout}{done.stderr or ''}"
        )
    return done.stdout


def _json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_run(*arguments, "--json"))
    return document


def _sample_files() -> Path:
    """Return the folder of DICOM files inside the pydicom package."""
    # find_spec: importing pydicom takes most of a second, and only the name of its folder is wanted.
    from importlib.util import find_spec  # noqa: PLC0415

    spec = find_spec("pydicom")
    if spec is None or spec.origin is None:
        raise DemoFailed("pydicom is not installed: name your own files with DATA=folder")
    return Path(spec.origin).parent / "data" / "test_files"


def _free_port() -> int:
    """Return a port of which the next one is free too: the workstation listens there."""
    for port in range(_PORT_FIRST, _PORT_LAST, 2):
        try:
            for candidate in (port, port + 1):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port
    raise DemoFailed(f"no free port between {_PORT_FIRST} and {_PORT_LAST}")


def _running(here: Demo) -> int | None:
    """Return the process id of the demo's node if it runs: the site's lock knows."""
    from leadglass.app.site import SiteLock, SitePaths  # noqa: PLC0415 - `stop` needs nothing else

    return SiteLock(SitePaths(here.site)).owner()


if __name__ == "__main__":
    demo()
