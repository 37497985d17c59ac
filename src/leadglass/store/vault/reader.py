"""An existing pack file, read with nothing believed: header first, then directory, then records."""

import fcntl
import os
from collections.abc import Iterator
from typing import Final, final

from leadglass.base.errors import IntegrityError
from leadglass.base.objects import RecordAddress
from leadglass.store.vault.directory import (
    PACK_HEADER_LENGTH,
    Entry,
    Step,
    authenticate_pack_header,
    decode_pack_header,
    walk,
)
from leadglass.store.vault.disk import read_at, read_failure, reading
from leadglass.store.vault.interfaces import RecoveredRecord
from leadglass.store.vault.record import SealedRecord
from leadglass.trust.keys.interfaces import KeyRing

_SECTOR: Final = 512


@final
class PackReader:
    """A pack whose header is authentic.

    Args:
        fd: the file; whoever opened it closes it.
        pack_id: what its name says it is.
        keys: study keys.

    Attributes:
        header: the pack's header.
        pack_key: authenticates the directory.

    Raises:
        IntegrityError: the file is not that pack, or not of this tenant, or its header is not what was written.
        KeyUnavailable: the study's key was destroyed.
    """

    __slots__ = ("_fd", "_key", "_mac", "header", "pack_key")

    def __init__(self, fd: int, pack_id: bytes, keys: KeyRing) -> None:
        raw = read_at(fd, PACK_HEADER_LENGTH, 0)
        header = decode_pack_header(raw)
        if header.pack_id != pack_id:
            raise IntegrityError("the file holds another pack than its name says")
        if header.tenant_id != keys.tenant_id:
            raise IntegrityError("the pack belongs to another tenant")
        self._fd = fd
        self._key = keys.by_id(header.key_id)
        self.header: Final = header
        self.pack_key: Final = self._key.pack_key(pack_id)
        self._mac = authenticate_pack_header(raw, header, self.pack_key)

    def steps(self) -> Iterator[Step]:
        """Walk the directory; see ``directory.walk``."""
        with reading():
            size = os.fstat(self._fd).st_size
        return walk(self._fd, size, self._mac, self.pack_key)

    def record(self, entry: Entry) -> RecoveredRecord:
        """Open a committed record as far as its footer.

        Raises:
            IntegrityError: header or footer are not what was written.
        """
        return RecoveredRecord(self._address(entry), self._open(entry).footer)

    def whole_record(self, entry: Entry) -> RecoveredRecord:
        """Open a committed record and authenticate every octet of it.

        Raises:
            IntegrityError: some octet is not what was written.
        """
        opened = self._open(entry)
        opened.check()
        return RecoveredRecord(self._address(entry), opened.footer)

    def is_torn(self, entry: Entry) -> bool:
        """Tell a last record that a power cut left incomplete from one that is whole.

        Every commit but the last of an open pack was waited for. The last may have lost the race with a power cut: its
        commit entry reached the disk and a sector before it did not. Nobody was told that it is stored. A sector that
        was never written reads as zeros, in new space as in space taken in advance; a sealed sector that is all zeros
        has probability 2^-4096. Anything else that does not open was changed after it was written.

        Raises:
            IntegrityError: it was changed.
        """
        try:
            self.whole_record(entry)
        except IntegrityError:
            if self._has_unwritten_sector(entry.offset, entry.place):
                return True
            raise
        return False

    def _open(self, entry: Entry) -> SealedRecord:
        return SealedRecord(
            self._fd,
            entry.offset,
            entry.length,
            tenant_id=self.header.tenant_id,
            object_id=entry.object_id,
            key=self._key,
            identity=None,
        )

    def _address(self, entry: Entry) -> RecordAddress:
        return RecordAddress(
            self.header.pack_id, entry.offset, entry.length, entry.object_id, self.header.key_id
        )

    def _has_unwritten_sector(self, begin: int, end: int) -> bool:
        """Tell whether some sector of the range reads as zeros, as far as it belongs to the range."""
        while begin < end:
            stop = min((begin // _SECTOR + 1) * _SECTOR, end)
            if not read_at(self._fd, stop - begin, begin).strip(b"\0"):
                return True
            begin = stop
        return False


def is_unborn(fd: int) -> bool:
    """Tell whether a power cut left a file without a whole header: the writer syncs that before anything follows it.

    Raises:
        IntegrityError: the file cannot be read.
    """
    with reading():
        size = os.fstat(fd).st_size
        raw = read_at(fd, PACK_HEADER_LENGTH, 0)
    return size < PACK_HEADER_LENGTH or (size == PACK_HEADER_LENGTH and not raw.strip(b"\0"))


def lock(fd: int, how: int) -> bool:
    """Take the lock on a pack file without waiting; False when somebody else holds it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise read_failure(error) from error
    return True
