"""A process that holds keys leaves no core file, and nobody else's debugger looks into it."""

import subprocess
import sys

import pytest

_HARDENED = """
import ctypes, resource
from leadglass.app.hardening import harden_process
harden_process()
libc = ctypes.CDLL(None)
print(resource.getrlimit(resource.RLIMIT_CORE), libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_no_core_not_dumpable_no_new_privileges() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HARDENED], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "(0, 0) 0 1"


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_it_does_not_start_without_its_assertions(flag: str) -> None:
    command = [sys.executable, flag, "-m", "leadglass.app.cli.main", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "python -O" in done.stderr
