"""What somebody names on the command line: folders, files, descriptors. What is wrong with them is said in words."""

import os
from pathlib import Path

from leadglass.base.errors import UsageError


def make_folder(path: Path, *, mode: int = 0o777) -> Path:
    """Make a folder, and those above it, where it is not there yet.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from error
    return path


def read_ascii(path: Path) -> str:
    """Return the content of a small text file.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file") from error


def read_descriptor(number: int, octets_max: int) -> bytes:
    """Return the first line that a file descriptor gives, without its end; the descriptor is closed.

    Raises:
        UsageError: it is not open for reading, or the line is longer than ``octets_max``.
    """
    try:
        with os.fdopen(number, "rb") as source:
            line = source.readline(octets_max + 2)
    except (OSError, ValueError) as error:
        raise UsageError(f"file descriptor {number} cannot be read") from error
    line = line.rstrip(b"\r\n")
    if len(line) > octets_max:
        raise UsageError(f"file descriptor {number} gives more than {octets_max} octets")
    return line
