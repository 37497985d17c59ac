"""The few system calls a pack is made of, with their errors in the house's words."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from leadglass.base.errors import IntegrityError, LeadglassError, OutOfResources

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_failure(error: OSError) -> OutOfResources:
    """Say in the house's words why nothing could be written."""
    if error.errno in _NO_ROOM:
        return OutOfResources("no room left for the vault", hint="free some space, or add a disk")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return OutOfResources("too many open files", hint="raise the limit of open files (LimitNOFILE)")
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return OutOfResources(
        f"the vault's disk failed ({name})", hint="look at the kernel's log, then at the disk"
    )


@contextmanager
def reading() -> Generator[None]:
    """Turn what the system says about a read into the house's words.

    A file that is missing, a link in its place or an octet that the disk cannot give back are all the same thing to
    whoever asked for an object: what was written is not there.
    """
    try:
        yield
    except OSError as error:
        raise read_failure(error) from error


def read_failure(error: OSError) -> LeadglassError:
    """Say in the house's words why something could not be read."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return write_failure(error)
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return IntegrityError(f"a pack cannot be read ({name})")


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of ``data``; in one call unless the system takes less.

    Raises:
        OSError: as the system says; an unknown part of ``data`` may have been written.
    """
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        more = os.pwrite(fd, data[written:], offset + written)
        if more == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Return ``length`` octets from ``offset``, fewer at the end of the file.

    Raises:
        IntegrityError: the disk cannot give them back.
    """
    try:
        data = os.pread(fd, length, offset)
        while len(data) < length:
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
    except OSError as error:
        raise read_failure(error) from error
    return data


def read_into(fd: int, buffer: memoryview, offset: int) -> None:
    """Fill ``buffer``.

    Raises:
        IntegrityError: the file ends before, or the disk cannot give the octets back.
    """
    got = 0
    try:
        while got < len(buffer):
            more = os.preadv(fd, (buffer[got:],), offset + got)
            if more == 0:
                raise IntegrityError("a pack ends before its record")
            got += more
    except OSError as error:
        raise read_failure(error) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
