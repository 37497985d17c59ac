r"""A small document in one file: authenticated, replaced as a whole, written by one at a time.

::

    leadglass-<kind> 1 <tag in hex>\n
    <document>

The tag covers the first line up to the tag and the document, so that no octet of the file can change unseen and no
file can pass for another kind. What a tag cannot see is an older file put back as a whole: the documents carry a
version for that. A reader refuses one that runs backwards while it lives, and one below the version that it was told to
require; that one must come from somewhere else than this file's folder, as the audit log is.
"""

import fcntl
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from leadglass.base.errors import IntegrityError, OutOfResources, UsageError
from leadglass.base.limits import REGISTRY_BYTES_MAX
from leadglass.trust.identity.interfaces import FileAuthenticator

_FORMAT: Final = "1"
_MODE: Final = 0o600

Stamp = tuple[int, int, int]
"""Modification time in ns, size, inode: a replaced file differs in at least one of them."""


class AuthenticatedFile:
    """One authenticated document. Reading needs no lock: a reader sees the old file or the new one, whole."""

    def __init__(self, path: Path, kind: str, authenticator: FileAuthenticator) -> None:
        self._path = path
        self._prefix = f"leadglass-{kind} {_FORMAT} ".encode("ascii")
        self._authenticator = authenticator
        self._threads = threading.Lock()

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    def stamp(self) -> Stamp:
        """Return what changes whenever the file is replaced.

        Raises:
            IntegrityError: there is no such file.
        """
        try:
            found = os.stat(self._path)  # noqa: PTH116 - on the path of every connection, half the cost of Path.stat
        except OSError as error:
            raise IntegrityError(f"{self._path.name} cannot be read: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self) -> tuple[bytes, Stamp]:
        """Return the document, authenticated, and the stamp of the file it was read from.

        Raises:
            IntegrityError: it is missing, too long, or not what was written.
        """
        try:
            with self._path.open("rb") as file:
                # The stamp is that of the opened file, not of the name, which may be replaced at any moment.
                found = os.fstat(file.fileno())
                content = file.read(REGISTRY_BYTES_MAX + 1)
        except OSError as error:
            raise IntegrityError(f"{self._path.name} cannot be read: {error.strerror}") from error
        if len(content) > REGISTRY_BYTES_MAX:
            raise IntegrityError(f"{self._path.name} is longer than {REGISTRY_BYTES_MAX} octets")
        return self._open(content), (found.st_mtime_ns, found.st_size, found.st_ino)

    def _open(self, content: bytes) -> bytes:
        head, newline, document = content.partition(b"\n")
        if not newline or not head.startswith(self._prefix):
            raise IntegrityError(f"{self._path.name} is not a file of this kind")
        tag_text = head[len(self._prefix) :]
        try:
            tag = bytes.fromhex(tag_text.decode("ascii"))
        except ValueError as error:  # UnicodeDecodeError included
            raise IntegrityError(f"{self._path.name} carries no readable tag") from error
        if tag.hex().encode("ascii") != tag_text:  # one spelling only, so that no octet may change
            raise IntegrityError(f"{self._path.name} carries no readable tag")
        try:
            self._authenticator.check(self._prefix + document, tag)
        except IntegrityError:
            raise IntegrityError(
                f"{self._path.name} is not what this site wrote: its tag does not fit"
            ) from None
        return document

    def create(self, document: bytes) -> None:
        """Write the first document.

        Raises:
            UsageError: the file is there already.
        """
        with self.locked():
            if self._path.exists():
                raise UsageError(f"{self._path.name} exists already")
            self.replace(document)

    def replace(self, document: bytes) -> None:
        """Replace the document as a whole and durably; only inside ``locked``.

        Raises:
            OutOfResources: it is too long, or the disk refused it; the old document stands.
        """
        tag = self._authenticator.tag(self._prefix + document)
        content = self._prefix + tag.hex().encode("ascii") + b"\n" + document
        if len(content) > REGISTRY_BYTES_MAX:
            raise OutOfResources(f"{self._path.name} would be longer than {REGISTRY_BYTES_MAX} octets")
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            # Under the lock a file of this name can only be the leftover of a crash; its mode is nobody's choice.
            fresh.unlink(missing_ok=True)
            descriptor = os.open(
                fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise OutOfResources(f"{self._path.name} cannot be written: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the only writer, among threads and among processes.

        Raises:
            UsageError: another command is changing it.
        """
        with self._threads:
            try:
                lock = os.open(
                    self._path.with_name(self._path.name + ".lock"),
                    os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                    _MODE,
                )
            except OSError as error:
                raise OutOfResources(f"{self._path.name} cannot be locked: {error.strerror}") from error
            try:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise UsageError(
                        f"{self._path.name} is being changed by another command", hint="try again in a moment"
                    ) from error
                yield
            finally:
                os.close(lock)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
