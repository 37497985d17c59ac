"""The demo as a newcomer runs it: no terminal, twice, and nothing of it is left running."""

import os
import subprocess
import sys
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
        timeout=200,
        cwd=cwd,
    )


def data(folder: Path) -> Path:
    folder.mkdir()
    for number in range(3):
        one = image(number + 1)
        identity = ObjectIdentity(UID(one.study), UID(one.series), UID(one.instance), UID(CT), UID(EXPLICIT))
        (folder / f"{number}.dcm").write_bytes(file_meta(identity) + one.dataset)
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


@pytest.mark.slow
def test_start_twice_and_stop(tmp_path: Path) -> None:
    folder, files = tmp_path / "demo", data(tmp_path / "data")
    try:
        first = demo("start", str(folder), "--data", str(files), cwd=tmp_path)
        assert first.returncode == 0, first.stdout + first.stderr
        for words in ("3 objects sent", "Canary^Anna", "1 studies in all", "all as written", "whole"):
            assert words in first.stdout, first.stdout
        assert len(list((folder / "fetched").glob("*.dcm"))) == 3
        second = demo("start", str(folder), "--data", str(files), cwd=tmp_path)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "is running already" in second.stdout
        assert "3 objects sent" in second.stdout
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
