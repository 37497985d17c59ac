"""One process owns a site, and the kernel knows which."""

import subprocess
import sys
from pathlib import Path

import pytest

from leadglass.app.site import SiteBusy, SiteLock, SitePaths
from leadglass.base.errors import UsageError

_OWNER = """
import sys
from pathlib import Path
from leadglass.app.site import SiteLock, SitePaths
lock = SiteLock(SitePaths(Path(sys.argv[1])))
lock.take()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> SitePaths:
    made = SitePaths(tmp_path / "site")
    made.make()
    return made


def test_two_processes(paths: SitePaths) -> None:
    lock = SiteLock(paths)
    assert lock.owner() is None
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(paths.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        assert lock.owner() == other.pid
        with pytest.raises(SiteBusy):
            lock.take()
        other.kill()
        other.wait()
    # However it died, the site is free at once, and what it left in the lock file does not matter.
    assert lock.owner() is None
    lock.take()
    lock.release()


def test_release_is_for_good_and_harmless_twice(paths: SitePaths) -> None:
    first, second = SiteLock(paths), SiteLock(paths)
    first.take()
    with pytest.raises(SiteBusy):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()


def test_a_new_site_is_for_its_owner_only(paths: SitePaths) -> None:
    for folder in (paths.root, *(path for path in paths.root.iterdir())):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_site_is_not_made_over_another(paths: SitePaths) -> None:
    paths.settings.touch()
    with pytest.raises(UsageError, match="holds a site already"):
        paths.make()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        SitePaths(tmp_path / "file" / "site").make()
