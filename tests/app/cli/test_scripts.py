"""The command line as somebody types it: each ``*.txt`` beside this file is a session, run from top to bottom.

::

    leadglass status --site $SITE        must succeed
    ! leadglass status                   must fail
    exit 3                               exit status of the command before
    stdout 'regex'    ! stdout 'regex'   what it printed (stderr likewise)
    json keys.provider "key-file"        a member of the document it printed; '#' is the length of a list
    keep NAME keys.provider              a variable that holds such a member
    fd 9 'text'                          the next command reads this from descriptor 9
    env NAME value                       for the commands that follow
    serve, stop, kill                    the node of $SITE in the background
    image NAME STUDY NUMBER [FILLING]    write a synthetic CT file
    file NAME 'text'    csr NAME         write a file; a signing request with a key of its own
    append NAME 'text'    secret NAME    add to a file; let only its owner read it
    copy FROM TO    damage GLOB          copy a folder; change an octet in the middle of a file
    set NAME GLOB                        a variable that holds the content of a file
    occupy                               somebody else listens on $PORT from now on
    exists GLOB   ! exists GLOB   mode PATH 600

``$WORK`` is the folder of the session, ``$SITE``, ``$OUT`` and ``$PORT`` are what they say.
"""

import contextlib
import importlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archive.room import CT, EXPLICIT, image
from leadglass.app.cli.main import cli, main
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.part10 import file_meta
from running_node import free_port

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))
SECONDS = 60
_LEADGLASS = (sys.executable, "-m", "leadglass.app.cli.main")


def run_forked(
    arguments: Sequence[str], work: Path, environment: Mapping[str, str], descriptors: Mapping[int, bytes]
) -> subprocess.CompletedProcess[str]:
    """Run ``leadglass`` in a process of its own that has imported everything already: a session has many commands."""
    with (work / ".stdout").open("w+b") as out, (work / ".stderr").open("w+b") as err:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                _become_command(arguments, work, environment, descriptors, out.fileno(), err.fileno())
                main()
                status = 0
            except SystemExit as exited:
                if isinstance(exited.code, str):
                    print(exited.code, file=sys.stderr)
                status = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
            except BaseException:  # noqa: BLE001 - as the interpreter would
                traceback.print_exc()
                status = 1
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)
        handle = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([handle], [], [], SECONDS)
        finally:
            os.close(handle)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            ["leadglass", *arguments], status, out.read().decode(), err.read().decode()
        )


def _become_command(
    arguments: Sequence[str],
    work: Path,
    environment: Mapping[str, str],
    descriptors: Mapping[int, bytes],
    out: int,
    err: int,
) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for number, content in descriptors.items():
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        os.dup2(reader, number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(work)
    sys.argv = ["leadglass", *arguments]


for _name in (
    "app.compose", "app.operations", "app.offline", "app.server",
    *(f"app.cli.{name.replace('-', '_')}_command" for name in cli.list_commands(click.Context(cli))),
):  # fmt: skip
    importlib.import_module(f"leadglass.{_name}")


class Session:
    """One run of a script."""

    def __init__(self, work: Path) -> None:
        self.work = work
        port = free_port()
        self.port = port
        self.variables = {
            "WORK": str(work),
            "SITE": str(work / "site"),
            "OUT": str(work / "devices"),
            "PORT": str(port),
        }
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("LEADGLASS")}
        self.descriptors: dict[int, bytes] = {}
        self.done: subprocess.CompletedProcess[str] | None = None
        self.node: subprocess.Popen[str] | None = None
        self.occupied: socket.socket | None = None

    def close(self) -> None:
        if self.node is not None:
            self.do_kill()
        if self.occupied is not None:
            self.occupied.close()

    def run(self, line: str) -> None:
        negated = line.startswith("! ")
        text = string.Template(line.removeprefix("! ")).safe_substitute(self.variables)
        word, *arguments = shlex.split(text)
        if word in {"leadglass", "stdout", "stderr", "exists"}:
            getattr(self, f"check_{word}")(negated, *arguments)
        else:
            assert not negated, f"{word} cannot be negated"
            action: Callable[..., None] = getattr(self, f"do_{word}")
            action(*arguments)

    # --- checks --------------------------------------------------------------------------------------------------

    def check_leadglass(self, negated: bool, *arguments: str) -> None:
        descriptors, self.descriptors = self.descriptors, {}
        self.done = run_forked(arguments, self.work, self.environment, descriptors)
        assert (self.done.returncode != 0) == negated, f"ended with {self.done.returncode}{self.told}"
        assert "Traceback" not in self.done.stderr, self.told

    @property
    def told(self) -> str:
        assert self.done is not None, "no command ran yet"
        return f"\n--- stdout\n{self.done.stdout}\n--- stderr\n{self.done.stderr}"

    def check_stdout(self, negated: bool, pattern: str) -> None:
        assert self.done is not None
        found = re.search(pattern, self.done.stdout, re.MULTILINE)
        assert bool(found) != negated, self.told

    def check_stderr(self, negated: bool, pattern: str) -> None:
        assert self.done is not None
        found = re.search(pattern, self.done.stderr, re.MULTILINE)
        assert bool(found) != negated, self.told

    def check_exists(self, negated: bool, pattern: str) -> None:
        assert bool(list(self.work.glob(pattern))) != negated, sorted(self.work.rglob("*"))

    def do_exit(self, status: str) -> None:
        assert self.done is not None
        assert self.done.returncode == int(status), f"{self.done.returncode}{self.told}"

    def do_json(self, path: str, value: str) -> None:
        found = self._member(path)
        wanted = json.loads(value) if re.fullmatch(r'-?\d+|true|false|null|\[.*\]|".*"', value) else value
        assert found == wanted, f"{found!r}{self.told}"

    def _member(self, path: str) -> Any:  # noqa: ANN401 - JSON
        assert self.done is not None
        found: Any = json.loads(self.done.stdout)
        for part in path.split("."):
            if part == "#":
                found = len(found)
            else:
                found = found[int(part)] if isinstance(found, list) else found[part]
        return found

    def do_keep(self, name: str, path: str) -> None:
        self.variables[name] = str(self._member(path))

    def do_mode(self, path: str, mode: str) -> None:
        assert f"{(self.work / path).stat().st_mode & 0o7777:o}" == mode

    # --- things --------------------------------------------------------------------------------------------------

    def do_fd(self, number: str, text: str) -> None:
        self.descriptors[int(number)] = text.encode().decode("unicode_escape").encode()

    def do_env(self, name: str, value: str) -> None:
        self.environment[name] = value

    def do_file(self, name: str, text: str) -> None:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.encode().decode("unicode_escape"))

    def do_append(self, name: str, text: str) -> None:
        with (self.work / name).open("a") as file:
            file.write(text.encode().decode("unicode_escape"))

    def do_secret(self, name: str) -> None:
        (self.work / name).chmod(0o600)

    def do_image(self, name: str, study: str, number: str, filling: str = "") -> None:
        one = image(int(number), study, filling=filling.encode())
        identity = ObjectIdentity(UID(one.study), UID(one.series), UID(one.instance), UID(CT), UID(EXPLICIT))
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_meta(identity) + one.dataset)

    def do_csr(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever it says")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        (self.work / name).write_bytes(request.public_bytes(serialization.Encoding.PEM))

    def do_copy(self, source: str, target: str) -> None:
        shutil.copytree(self.work / source, self.work / target)

    def do_damage(self, pattern: str) -> None:
        (path, *_) = sorted(self.work.glob(pattern))
        octets = bytearray(path.read_bytes())
        octets[len(octets) // 2] ^= 1
        path.write_bytes(octets)

    def do_set(self, name: str, pattern: str) -> None:
        (path,) = self.work.glob(pattern)
        self.variables[name] = path.read_text().strip()

    def do_occupy(self) -> None:
        self.occupied = socket.create_server(("127.0.0.1", self.port))

    # --- the node ------------------------------------------------------------------------------------------------

    def do_serve(self) -> None:
        assert self.node is None
        with (self.work / "serve.err").open("ab") as errors:
            self.node = subprocess.Popen(
                [*_LEADGLASS, "serve", "--site", self.variables["SITE"], "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment,
            )
        assert self.node.stdout is not None
        for line in self.node.stdout:
            if line == "}\n":
                return
        raise AssertionError((self.work / "serve.err").read_text())

    def do_stop(self) -> None:
        assert self.node is not None
        self.node.send_signal(signal.SIGTERM)
        status = self.node.wait(30)
        self._forget()
        assert status == 0, (self.work / "serve.err").read_text()

    def do_kill(self) -> None:
        assert self.node is not None
        self.node.kill()
        self.node.wait(30)
        self._forget()

    def _forget(self) -> None:
        assert self.node is not None
        assert self.node.stdout is not None
        self.node.stdout.close()
        self.node = None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    try:
        for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), 1):
            if not line or line.startswith("#"):
                continue
            try:
                session.run(line)
            except AssertionError as error:
                raise AssertionError(f"{script.name}:{number}: {line}\n{error}") from None
    finally:
        session.close()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 8
