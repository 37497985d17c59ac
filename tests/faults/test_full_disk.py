"""No room: senders hear 0xA700, nothing answered is lost, the node says so, and goes on when there is room again."""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.state_of_site import assert_served, assert_whole
from hostile.peer import Gone, Peer, Slice, ct_slice
from running_node import DeviceFiles, Site, site

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system is mounted")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Leave ``leave`` octets of room."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        for _ in range(
            20
        ):  # space that was taken in advance is given back a little after the association ends
            stat = os.statvfs(folder)
            room = stat.f_bavail * stat.f_frsize - leave
            if room > 0:
                with contextlib.suppress(OSError):  # the node wrote since: what is left is asked for again
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), room)
            threading.Event().wait(0.05)
    return ballast


def pump(node: Site, device: DeviceFiles, images: list[Slice]) -> tuple[list[Slice], set[int]]:
    """Send all; return what was answered with success, and the other statuses."""
    answered: list[Slice] = []
    others: set[int] = set()
    waiting = list(images)
    while waiting:
        before = len(waiting)
        try:
            with Peer(node, device, seconds=20) as peer:
                peer.accepted()
                while waiting:
                    status = peer.store(waiting[0])
                    image = waiting.pop(0)
                    if status == 0:
                        answered.append(image)
                    else:
                        others.add(status)
        except (Gone, AssertionError):
            if len(waiting) == before:
                return answered, others
    return answered, others


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["vault", "index", "audit"])
def test_no_room(tmp_path: Path, small_disk: Path, folder: str) -> None:
    images = [ct_slice(i, pixels=65_536) for i in range(40)]
    with site(tmp_path) as node:
        device = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
        moved = node.root / folder
        shutil.move(moved, small_disk / folder)
        moved.symlink_to(small_disk / folder)
        node.start()
        answered, others = pump(node, device, images[:5])
        assert len(answered) == 5
        ballast = fill(small_disk, leave={"vault": 200_000, "index": 65_536, "audit": 4_096}[folder])
        more, others = pump(node, device, images[5:20])
        assert all(0xA700 <= status <= 0xA7FF for status in others), {hex(status) for status in others}
        answered += more
        if (
            folder != "index"
        ):  # rows wait in memory and in the packs: a full index disk may not be felt at once
            assert len(more) < 15
        told = node.run("status", "--site", str(node.root), "--json", status=None)
        assert told.returncode == 0 or "LG-0405" in told.stderr or "LG-0700" in told.stderr, told.stderr
        assert node.process is not None
        assert node.process.poll() is None
        ballast.unlink()

        after, others = pump(node, device, images[20:30])
        if (
            len(after) < 10
        ):  # the audit log, or a poisoned pack, may ask for a restart: then the status says so
            said = node.run("status", "--site", str(node.root), "--json", status=None)
            assert "audit" in said.stdout + said.stderr
            node.kill()
            node.start()
            after += pump(node, device, [i for i in images[20:30] if i not in after])[0]
        answered += after
        assert len(after) == 10
        left = [image for image in images if image not in answered]
        assert pump(node, device, left)[0] == left
        assert_served(node, device, images)
        assert_whole(node)
        assert node.stop() == 0
    assert "Traceback" not in (tmp_path / "serve.err").read_text()
