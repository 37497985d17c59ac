"""What a process does before it touches a key: no core dumps, no debugger, private files, no ``-O``."""

import ctypes
import os
import resource
import sys
from typing import Final

from leadglass.base.errors import ConfigurationError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


def harden_process() -> None:
    """Take from this process what it does not need. What the kernel refuses is not worth a refusal to start.

    Raises:
        ConfigurationError: Python runs with ``-O``, which removes assertions.
    """
    if not __debug__:
        raise ConfigurationError("Leadglass does not run under python -O: its assertions are part of it")
    os.umask(0o077)  # whatever file is made, nobody else reads it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
