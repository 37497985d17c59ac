"""Small files that must survive a power cut, and must never replace one another."""

import os
import secrets
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_durably(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600: whole and durable, or not at all.

    A link, not a rename, gives the file its name: rename would replace what is there.

    Raises:
        FileExistsError: something of that name is there.
        OSError: the folder cannot be written, or its file system has no hard links.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path, follow_symlinks=False)
    finally:
        temporary.unlink()
    sync_folder(path.parent)
