"""``make demo``: a throw-away site that does the main job once, and keeps running for you to try.

Everything it does, it does through the command line and over HTTPS, as you would. It needs no terminal, and running it
again is harmless: what is there is kept, what runs goes on running.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import click

_PORT_FIRST: Final = 11112
_PORT_LAST: Final = 11199
_HTTPS_PORT_FIRST: Final = 8443
_HTTPS_PORT_LAST: Final = 8499
_START_SECONDS: Final = 60.0
_HTTPS_SECONDS: Final = 60.0
_DICOM_WEB: Final = "/dicom-web"
_RADIOLOGIST: Final = "jane"
_ADMINISTRATOR: Final = "admin"
_DEVICES: Final = (
    ("ct1", "CT1", ("store",)),
    ("workstation", "WORKSTATION", ("query-retrieve",)),
    ("router", "ROUTER", ("router",)),
    ("gateway", "GATEWAY", ("store", "query-retrieve")),
)
# Of the sample files those that go in over HTTPS; the first one is looked at. With data of your own: the first ten.
_OVER_HTTPS: Final = ("examples_rgb_color.dcm", "CT_small.dcm", "MR_small.dcm")
_OVER_HTTPS_MAX: Final = 10
_PREAMBLE_OCTETS: Final = 128  # PS3.10 7.1: then the letters DICM


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

    @property
    def pictures(self) -> Path:
        """What was rendered."""
        return self.root / "pictures"

    @property
    def https_port(self) -> int:
        """Port of DICOMweb and sign-in."""
        port: int = self._settings()["web"]["port"]
        return port

    @property
    def port(self) -> int:
        """Port of DICOM."""
        port: int = self._settings()["dimse"]["port"]
        return port

    def device(self, name: str) -> Path:
        """Return a device's file."""
        return self.devices / f"{name}.toml"

    def curl(self, name: str) -> Path:
        """Return the file with curl's options for a device, or for a person."""
        return self.root / f"{name}.curl"

    def _settings(self) -> dict[str, Any]:
        return tomllib.loads((self.site / "leadglass.toml").read_text(encoding="utf-8"))


@click.group()
def demo() -> None:
    """Start and stop the demo."""


@demo.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), default=None, help="Your own DICOM files."
)
def start(folder: Path, data: Path | None) -> None:
    """Make a site in FOLDER, start it, store studies both ways, find them, fetch them back, verify the record."""
    here = Demo(folder.resolve())
    files = data or _sample_files()
    try:
        _prepare(here)
        _serve(here)
        looked_at = _over_https(here, files)
        _send(here, files)
        study = _find(here)
        if study:
            _fetch(here, study)
        token, invitation = _let_people_in(here)
        _verify(here)
    except DemoFailed as error:
        click.echo(f"\nThe demo stopped: {error}", err=True)
        sys.exit(1)
    _say_what_next(here, study, looked_at, token, invitation)


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
        if not here.device("gateway").exists():
            raise DemoFailed(f"{here.root} is of an earlier version: `make clean` removes it")
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
    port, https_port = _free_port(), _free_https_port()
    _step("Making a throw-away site", "keys, certificate authority, settings")
    _run("init", str(here.site), "--name", "Leadglass demo", "--listen", "127.0.0.1", "--port", str(port),
         "--https-port", str(https_port), "--host-name", "localhost", "--host-name", "127.0.0.1")  # fmt: skip
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
    _write_curl_options(here)


def _write_curl_options(here: Demo) -> None:
    """Write what curl must know, so that the lines to paste are short: ``curl -K FILE URL``."""
    common = ["silent", "show-error", f'cacert = "{here.devices / "gateway.ca.pem"}"']
    certificate = [f'{key} = "{here.devices / f"gateway.{key}.pem"}"' for key in ("cert", "key")]
    here.curl("gateway").write_text("\n".join([*common, *certificate, ""]), encoding="utf-8")
    for name in (_RADIOLOGIST, _ADMINISTRATOR):
        cookies = here.root / f"{name}.cookies"
        person = [
            f'cookie = "{cookies}"',
            f'cookie-jar = "{cookies}"',
            'header = "X-Leadglass-CSRF: 1"',
            f'header = "Origin: https://localhost:{here.https_port}"',
        ]
        here.curl(name).write_text("\n".join([*common, *person, ""]), encoding="utf-8")


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


def _over_https(here: Demo, data: Path) -> str:
    """Store, search and look as the gateway does, with its certificate; return the URL of what was looked at."""
    with _Gateway(here) as gateway:
        files = _files_for_https(data)
        _step("Storing over HTTPS (STOW-RS), as the gateway, with its certificate", f"{len(files)} files")
        stored = gateway.store(files)
        click.echo(f"    {len(stored)} of {len(files)} stored")
        _step("Searching over HTTPS (QIDO-RS)", f"GET {_DICOM_WEB}/studies")
        count, matches = gateway.search("/studies?limit=3")
        for match in matches:
            name, date = _text(match, "00100010") or "(no name)", _text(match, "00080020")
            click.echo(f"    {name[:28]:28}  {date:8}  {_text(match, '00080061')}")
        click.echo(f"    {count} studies in all (X-Total-Count)")
        for instance in stored:
            if gateway.is_picture(instance):
                _look(here, gateway, instance)
                return instance
    click.echo("    nothing among them has a picture")
    return ""


def _look(here: Demo, gateway: "_Gateway", instance: str) -> None:
    _step("Looking (WADO-RS)", "metadata, a frame, a rendered picture")
    [metadata] = json.loads(gateway.get(f"{instance}/metadata", "application/dicom+json"))
    click.echo(f"    metadata: {len(metadata)} attributes, no pack was opened for them")
    frame = gateway.get(f"{instance}/frames/1", 'multipart/related; type="application/octet-stream"')
    click.echo(f"    frame 1: {len(frame):,} octets")
    picture = gateway.get(f"{instance}/rendered", "image/jpeg")
    here.pictures.mkdir(exist_ok=True)
    path = here.pictures / "rendered.jpg"
    path.write_bytes(picture)
    click.echo(f"    rendered: {len(picture):,} octets of JPEG in {path}")


def _let_people_in(here: Demo) -> tuple[str, str]:
    """Return the token of the first administrator (empty where there is one) and the radiologist's invitation."""
    _step("People: the first administrator", "a token for one use, printed on the machine's own console")
    try:
        token = str(_json("user", "bootstrap", "--site", str(here.site))["token"])
    except DemoFailed:
        token = ""
    click.echo(f"    {token or 'there is one already'}")
    _step("People: a radiologist", "an account has no password; it comes with an invitation to set one")
    known = {user["account"] for user in _json("user", "list", "--site", str(here.site))["users"]}
    verb = (
        ("reset", _RADIOLOGIST)
        if _RADIOLOGIST in known
        else ("add", _RADIOLOGIST, "--name", "Jane Roe", "--role", "radiologist")
    )
    invitation = str(_json("user", *verb, "--site", str(here.site))["invitation"])
    click.echo(f"    {_RADIOLOGIST}: {invitation}")
    return token, invitation


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


def _say_what_next(here: Demo, study: str, looked_at: str, token: str, invitation: str) -> None:
    port, web = here.port, f"https://localhost:{here.https_port}"
    binary = _short(Path(sys.executable).with_name("leadglass"))
    tls = "+tls {0}.key.pem {0}.cert.pem +cf {0}.ca.pem"
    ct1 = tls.format(_short(here.devices / "ct1"))
    workstation = tls.format(_short(here.devices / "workstation"))
    site = _short(here.site)
    reader = _short(here.device("workstation"))
    gateway, person, admin = (
        f"curl -K {_short(here.curl(name))}" for name in ("gateway", _RADIOLOGIST, _ADMINISTRATOR)
    )
    instance = f"{web}{_DICOM_WEB}{looked_at}" if looked_at else f"{web}{_DICOM_WEB}/studies/UID"
    one_study = f"{web}{_DICOM_WEB}/studies/{study or 'UID'}"
    password = "a lamp beside the quiet river"  # noqa: S105 - an example; the person chooses
    administrator = f"""
The first administrator, with the token, and then a second factor: the answer says which:

  {admin} --json '{{"token":"{token}","account":"{_ADMINISTRATOR}","display_name":"Admin","password":"{password}"}}' \\
       {web}/api/v1/first-administrator
  {admin} --json '{{"account":"{_ADMINISTRATOR}","password":"{password}"}}' {web}/api/v1/sign-in
"""
    click.echo(f"""
The node runs on in the background (process {_running(here)}): DICOM on localhost port {port}, HTTPS on port {here.https_port}.
Lines to paste:

  {binary} status --site {site}
  {binary} find --device {reader} -k 'PatientName=*'
  {binary} get --device {reader} --study {study or "UID"} --out {_short(here.root / "again")}
  {binary} audit show --site {site} --limit 20

DICOMweb, as the gateway (its certificate is in the file of options):

  {gateway} '{web}{_DICOM_WEB}/studies?PatientName=c*&fuzzymatching=true&limit=5'
  {gateway} {one_study}/metadata
  {gateway} -H 'Accept: image/png' -o {_short(here.pictures / "rendered.png")} {instance}/rendered
  {gateway} -H 'Content-Type: application/dicom' --data-binary @{_short(_sample_files())}/CT_small.dcm {web}{_DICOM_WEB}/studies
  {gateway} {web}/openapi.json

The radiologist: takes the invitation, signs in, reads, signs out:

  {person} --json '{{"token":"{invitation}","password":"{password}"}}' {web}/api/v1/invitation
  {person} --json '{{"account":"{_RADIOLOGIST}","password":"{password}"}}' {web}/api/v1/sign-in
  {person} '{web}{_DICOM_WEB}/studies?limit=2'
  {binary} session list --site {site}
  {person} -X POST {web}/api/v1/sign-out
{administrator if token else ""}
With DCMTK (apt-get install dcmtk), the same doors (its getscu and movescu speak no TLS up to 3.6.7; `leadglass get` does):

  echoscu  {ct1} -aet CT1 -aec LEADGLASS localhost {port}
  storescu {ct1} -aet CT1 -aec LEADGLASS localhost {port} {_short(_sample_files())}/MR_small.dcm
  findscu  {workstation} -aet WORKSTATION -aec LEADGLASS \\
           -S -k QueryRetrieveLevel=STUDY -k PatientName -k StudyInstanceUID localhost {port}
  echoscu  -aet CT1 -aec LEADGLASS localhost {port}      # no TLS: refused, and on record
  {binary} device revoke ct1 --site {site}      # and try again

`make demo-stop` ends it.""")


# --- HTTPS -----------------------------------------------------------------------------------------------------


class _Gateway:
    """The fourth device, over one connection that shows its certificate."""

    def __init__(self, here: Demo) -> None:
        context = ssl.create_default_context(cafile=str(here.devices / "gateway.ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(here.devices / "gateway.cert.pem", here.devices / "gateway.key.pem")
        self._connection = http.client.HTTPSConnection(
            "localhost", here.https_port, context=context, timeout=_HTTPS_SECONDS
        )

    def __enter__(self) -> Self:
        """Return it; the connection opens with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def store(self, files: Sequence[Path]) -> list[str]:
        """Store files in one request; return the paths of what is held now, below the root of DICOMweb."""
        boundary = "leadglass-demo-" + os.urandom(12).hex()
        parts = b"".join(
            b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (boundary.encode(), file.read_bytes())
            for file in files
        )
        media_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        body = parts + b"--%b--\r\n" % boundary.encode()
        # 202: some are held, some are not; 409: none is (PS3.18 Table 10.5.3-1).
        text, _ = self._ask("POST", "/studies", {"Content-Type": media_type}, body, (200, 202, 409))
        report = json.loads(text)
        return [
            item["00081190"]["Value"][0].partition(_DICOM_WEB)[2]
            for item in report.get("00081199", {}).get("Value", ())
        ]

    def search(self, path: str) -> tuple[str, list[dict[str, Any]]]:
        """Return how many there are in all, and those of the first page."""
        text, headers = self._ask("GET", path, {"Accept": "application/dicom+json"}, None, (200, 204))
        return headers.get("X-Total-Count", "0"), json.loads(text or b"[]")

    def is_picture(self, instance: str) -> bool:
        """Whether an instance has pixels."""
        series, _, uid = instance.rpartition("/instances/")
        _, matches = self.search(f"{series}/instances?SOPInstanceUID={uid}")
        return bool(matches and matches[0].get("00280010", {}).get("Value"))

    def get(self, path: str, accept: str) -> bytes:
        """Return a resource."""
        return self._ask("GET", path, {"Accept": accept}, None, (200,))[0]

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, statuses: Sequence[int]
    ) -> tuple[bytes, http.client.HTTPMessage]:
        try:
            self._connection.request(method, _DICOM_WEB + path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"{method} {path.partition('?')[0]}: {type(error).__name__}") from error
        if response.status not in statuses:
            raise DemoFailed(
                f"{method} {path.partition('?')[0]} was answered with {response.status}\n{text[:500].decode()}"
            )
        return text, response.headers


def _files_for_https(data: Path) -> list[Path]:
    """Return some files that begin as DICOM files do."""
    named = [data / name for name in _OVER_HTTPS if (data / name).is_file()]
    found = named or [path for path in _few_files(data) if _is_dicom(path)]
    if not found:
        raise DemoFailed(f"no DICOM file is in {data}")
    return found[:_OVER_HTTPS_MAX]


def _few_files(data: Path) -> Iterator[Path]:
    """Yield files of the folder, in the order of their names, as many as may be needed and no more."""
    for path in sorted(data.rglob("*"))[: 100 * _OVER_HTTPS_MAX] if data.is_dir() else [data]:
        if path.is_file():
            yield path


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_PREAMBLE_OCTETS + 4).endswith(b"DICM")


def _text(match: dict[str, Any], tag: str) -> str:
    """Return the first value of an attribute of the DICOM JSON model, as text (PS3.18 F.2)."""
    element: dict[str, Any] = match.get(tag, {})
    values: list[Any] = element.get("Value") or [""]
    first: dict[str, str] | str = values[0]
    return first.get("Alphabetic", "") if isinstance(first, dict) else str(first)


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
        if _is_free(port) and _is_free(port + 1):
            return port
    raise DemoFailed(f"no free port between {_PORT_FIRST} and {_PORT_LAST}")


def _free_https_port() -> int:
    for port in range(_HTTPS_PORT_FIRST, _HTTPS_PORT_LAST + 1):
        if _is_free(port):
            return port
    raise DemoFailed(f"no free port between {_HTTPS_PORT_FIRST} and {_HTTPS_PORT_LAST}")


def _is_free(port: int) -> bool:
    try:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _running(here: Demo) -> int | None:
    """Return the process id of the demo's node if it runs: the site's lock knows."""
    from leadglass.app.site import SiteLock, SitePaths  # noqa: PLC0415 - `stop` needs nothing else

    return SiteLock(SitePaths(here.site)).owner()


if __name__ == "__main__":
    demo()
