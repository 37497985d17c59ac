"""The demo as a newcomer runs it: no terminal, twice, and nothing of it is left running."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from archive.room import CT, EXPLICIT, image
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.part10 import file_meta


def demo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leadglass.app.demo", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        cwd=cwd,
    )


def data(folder: Path) -> Path:
    folder.mkdir()
    spec = find_spec("pydicom")
    assert spec is not None
    assert spec.origin is not None
    # One with pixels that can be shown, and the first by name; README.md speaks of its study.
    shutil.copy(Path(spec.origin).parent / "data" / "test_files" / "MR_small.dcm", folder / "0-picture.dcm")
    for number in range(3):
        one = image(number + 1)
        identity = ObjectIdentity(UID(one.study), UID(one.series), UID(one.instance), UID(CT), UID(EXPLICIT))
        (folder / f"{number + 1}.dcm").write_bytes(file_meta(identity) + one.dataset)
    return folder


def running_below(folder: Path) -> list[str]:
    """Return command lines of processes that name the folder."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


def lines_to_paste(text: str) -> Iterator[str]:
    """Yield what stands two columns in below "Lines to paste", continued lines joined."""
    below = text.partition("Lines to paste:")[2].replace("\\\n", " ")
    yield from re.findall(r"^  (\S.*)$", below, re.MULTILINE)


def run_every_line(text: str, cwd: Path) -> None:
    """Run what the demo says can be pasted, in its order."""
    lines = list(lines_to_paste(text))
    assert sum("curl" in line for line in lines) == 11
    for line in lines:
        if shutil.which(line.split()[0]) is None:
            assert line.split()[0] in {"curl", "echoscu", "storescu", "findscu"}, line
            continue
        done = subprocess.run(
            ["/bin/bash", "-c", line], check=False, capture_output=True, text=True, timeout=60, cwd=cwd
        )
        if "no TLS" in line:
            assert done.returncode != 0, line
            continue
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if line.startswith("curl"):
            assert not done.stdout.startswith('{"type":"urn:leadglass:error'), (line, done.stdout)
            assert not done.stdout.startswith('{"state":"refused"'), (line, done.stdout)
        if "Admin" not in line and '"account":"admin"' in line:
            assert '"state":"enrol-factor"' in done.stdout, done.stdout


def run_the_readme(folder: Path, cwd: Path) -> None:
    """Run the lines of README.md that are about the running demo, as they stand there, in one shell."""
    page = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    shown = page[page.index("DICOMweb, as the demo's gateway") : page.index("## Use it")]
    lines = re.findall(r"^    (\S.*)$", shown, re.MULTILINE)
    assert sum(line.startswith("curl ") for line in lines) == 4
    assert sum(line.startswith("leadglass ") for line in lines) == 5
    if shutil.which("curl") is None:
        lines = [line for line in lines if not line.startswith("curl ")]
    port = tomllib.loads((folder / "site" / "leadglass.toml").read_text())["web"]["port"]
    shutil.copy(cwd / "data" / "0-picture.dcm", cwd / "file.dcm")
    script = "set -e\n" + "\n".join(line.replace("8443", str(port)) for line in lines)
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
        env=os.environ
        | {
            "LEADGLASS_SITE": str(folder / "site"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "urn:leadglass:error" not in done.stdout
    if shutil.which("curl") is not None:
        assert "CompressedSamples^MR1" in done.stdout
        assert (cwd / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(900)  # some forty starts of an interpreter, and as many lines to paste
def test_start_twice_and_stop(tmp_path: Path) -> None:
    folder, files = tmp_path / "demo", data(tmp_path / "data")
    try:
        first = demo("start", str(folder), "--data", str(files), cwd=tmp_path)
        assert first.returncode == 0, first.stdout + first.stderr
        for words in ("4 objects sent", "Canary^Anna", "2 studies in all", "all as written", "whole"):
            assert words in first.stdout, first.stdout
        assert "4 of 4 stored" in first.stdout
        assert (folder / "pictures" / "rendered.jpg").read_bytes().startswith(b"\xff\xd8\xff")
        assert len(list((folder / "fetched").glob("*.dcm"))) == 3
        second = demo("start", str(folder), "--data", str(files), cwd=tmp_path)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "is running already" in second.stdout
        assert "4 objects sent" in second.stdout
        run_the_readme(folder, tmp_path)
        run_every_line(second.stdout, tmp_path)
    finally:
        stopped = demo("stop", str(folder), cwd=tmp_path)
    assert stopped.returncode == 0
    assert "has stopped" in stopped.stdout
    assert running_below(folder) == []
    assert not (folder / "site" / "run" / "control.sock").exists()
    again = demo("stop", str(folder), cwd=tmp_path)
    assert "No demo is running" in again.stdout


def test_a_folder_that_is_not_a_demo_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = demo("start", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "not a demo's folder" in done.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"
