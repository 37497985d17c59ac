r"""The append-only truth of the audit log: entries in order, with their sealed payloads.

Format, all numbers big endian. A journal is a folder of segments; a segment is named by the sequence number of its
first entry, 20 digits, ``.journal``::

    header   8  "LGJRNL\0\1"   magic and version
             8  first sequence number
            16  SHA-256(origin)[:16]
             4  CRC-32 of the 32 octets before
    record   4  length of the leaf, > 0
             4  length of the sealed payload, 0 where there is none
                leaf, sealed payload
             4  CRC-32 of the record so far, begun with the low 32 bits of its sequence number

Only the last segment grows. Each other one has an ``.index`` beside it, made when it was closed, so that one entry
is one ``pread`` away; it is rebuilt from the segment where it is missing::

             8  "LGJIDX\0\1"   then 8 first sequence number, 8 length of the segment
           4*n  offset of each record
             4  CRC-32 of all before

The CRC finds accidents; that nobody wrote on purpose is shown by the tree, the seals and the signatures. This is the
only place where a sealed payload lies; leaves lie in the entry bundles too.

Durability: ``append`` returns after ``write()``, so a killed process loses nothing; with ``durable`` it returns after an
``fdatasync`` that began later than its write. Who finds no sync under way leads one for all that is written by then;
the others wait for it, or lead the next. There is no timer: under load the sync itself is the batching interval.

**Invariant:** one writer (``flock`` on the folder); after a failed write or sync nothing is accepted until the journal is
opened again, because the kernel may have dropped the pages that it could not write (fsync(2), "EIO").
"""

import errno
import fcntl
import os
import threading
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, final

from leadglass.base.errors import AuditUnavailable, IntegrityError
from leadglass.base.limits import (
    AUDIT_LEAF_BYTES_MAX,
    AUDIT_PAYLOAD_BYTES_MAX,
    AUDIT_SEGMENT_BYTES_MAX,
    KIB,
    MIB,
)
from leadglass.trust.audit.tiles import durable_write, make_folders

SEGMENT_MAGIC: Final = b"LGJRNL\x00\x01"
INDEX_MAGIC: Final = b"LGJIDX\x00\x01"
HEADER_BYTES: Final = 36
SEALED_BYTES_MAX: Final = AUDIT_PAYLOAD_BYTES_MAX + KIB
"""A sealed payload: the payload, r, and what sealing adds."""

_LENGTHS: Final = Struct(">II")
_CRC: Final = Struct(">I")
_ENTRIES_READ: Final = 32
"""Entries of one read, about 32 KiB."""
_INDEXES_KEPT: Final = 8
"""Indexes of closed segments held in memory: about 100 KiB each."""


class Entry(NamedTuple):
    """One record of the journal."""

    sequence: int
    leaf: bytes
    sealed: bytes


@dataclass(slots=True)
class Segment:
    """One file of the journal; ``offsets`` is there for the growing one only."""

    path: Path
    first: int
    count: int
    length: int
    offsets: "array[int] | None" = None


@dataclass(slots=True)
class Scan:
    """What reading a whole segment found.

    Attributes:
        offsets: of the records that follow one another without fault.
        end: octets up to the end of the last of them.
        size: octets of the file.
    """

    offsets: "array[int]" = field(default_factory=lambda: array("I"))
    end: int = HEADER_BYTES
    size: int = 0


def segment_header(first: int, origin: str) -> bytes:
    """Return the 36 octets that a segment begins with."""
    head = SEGMENT_MAGIC + first.to_bytes(8, "big") + sha256(origin.encode()).digest()[:16]
    return head + zlib.crc32(head).to_bytes(4, "big")


def encode_record(sequence: int, leaf: bytes, sealed: bytes) -> bytes:
    """Return the record of an entry."""
    record = _LENGTHS.pack(len(leaf), len(sealed)) + leaf + sealed
    return record + _CRC.pack(zlib.crc32(record, sequence & 0xFFFFFFFF))


def record_length(head: bytes) -> int:
    """Return the length of the record that begins with these 8 octets; 0 where none does."""
    leaf, sealed = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    if len(head) < 8 or not 0 < leaf <= AUDIT_LEAF_BYTES_MAX or sealed > SEALED_BYTES_MAX:
        return 0
    return 12 + leaf + sealed


def decode_record(sequence: int, record: bytes) -> Entry | None:
    """Return the entry of a whole record, or None where it is not what was written."""
    if record_length(record[:8]) != len(record):
        return None
    if zlib.crc32(record[:-4], sequence & 0xFFFFFFFF) != int.from_bytes(record[-4:], "big"):
        return None
    stop = 8 + int.from_bytes(record[:4], "big")
    return Entry(sequence, record[8:stop], record[stop:-4])


def walk_segment(path: Path, first: int, origin: str) -> Iterator[tuple[int, Entry | None, int]]:
    """Yield (offset, entry, octets of the record) of a segment from its first record on.

    A record with a wrong CRC but a plausible length is given as None, and the walk goes on behind it. The walk ends at the
    end of the file, or with (offset, None, 0) where it cannot go on. A bad header is (0, None, 36).
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if head != segment_header(first, origin):
            yield 0, None, min(HEADER_BYTES, len(head))
        offset, sequence = HEADER_BYTES, first
        file.seek(offset)
        while head := file.read(8):
            length = record_length(head)
            record = head + file.read(length - 8) if length else b""
            if not length or len(record) < length:
                yield offset, None, 0
                return
            yield offset, decode_record(sequence, record), length
            offset += length
            sequence += 1


def scan_segment(path: Path, first: int, origin: str) -> Scan:
    """Read a segment up to its first fault.

    Raises:
        IntegrityError: its header is not that of this log at this place.
    """
    scan = Scan(size=path.stat().st_size)
    for offset, entry, length in walk_segment(path, first, origin):
        if offset == 0:
            raise IntegrityError(f"audit log: {path.name} does not begin as a segment of this log")
        if entry is None:
            break
        scan.offsets.append(offset)
        scan.end = offset + length
    return scan


def encode_index(first: int, length: int, offsets: "array[int]") -> bytes:
    """Return the index of a closed segment."""
    body = INDEX_MAGIC + first.to_bytes(8, "big") + length.to_bytes(8, "big")
    body += b"".join([offset.to_bytes(4, "big") for offset in offsets])
    return body + zlib.crc32(body).to_bytes(4, "big")


def decode_index(data: bytes, first: int) -> tuple[int, "array[int]"] | None:
    """Return length and offsets of a closed segment, or None where the index is not what was written."""
    body = data[:-4]
    if len(body) < 24 or len(body) % 4 or body[:16] != INDEX_MAGIC + first.to_bytes(8, "big"):
        return None
    if zlib.crc32(body) != int.from_bytes(data[-4:], "big"):
        return None
    offsets = array("I", [int.from_bytes(body[i : i + 4], "big") for i in range(24, len(body), 4)])
    return int.from_bytes(body[16:24], "big"), offsets


def segment_files(folder: Path) -> list[tuple[int, Path]]:
    """Return (first sequence number, path) of each segment, in order."""
    paths = folder.glob("*.journal") if folder.is_dir() else ()
    return sorted(
        (int(path.stem), path)
        for path in paths
        if len(path.stem) == 20 and path.stem.isascii() and path.stem.isdecimal()
    )


class JournalView:
    """A journal for reading, as it was when it was opened. Thread-safe. Changes nothing.

    Raises:
        IntegrityError: a segment is missing, or is not one of this log.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self._origin = origin
        self._segments: list[Segment] = []
        self._indexes: OrderedDict[int, array[int]] = OrderedDict()
        self._indexes_lock = threading.Lock()
        self._tail = Scan()
        files = segment_files(folder)
        for number, (first, path) in enumerate(files):
            if first != self._end():
                raise IntegrityError(
                    f"audit log: entries {self._end()} to {first - 1} are missing from the journal"
                )
            if number == len(files) - 1:
                self._tail = scan_segment(path, first, origin)
                self._segments.append(
                    Segment(path, first, len(self._tail.offsets), self._tail.end, self._tail.offsets)
                )
            else:
                self._segments.append(self._open_closed(path, first))

    def _open_closed(self, path: Path, first: int) -> Segment:
        found: tuple[int, array[int]] | None = None
        index = path.with_suffix(".index")
        if index.is_file():
            found = decode_index(index.read_bytes(), first)
        if found is None:
            scan = scan_segment(path, first, self._origin)
            if scan.end != scan.size:
                raise IntegrityError(f"audit log: {path.name} is damaged from octet {scan.end} on")
            found = scan.end, scan.offsets
            self._keep_index(path, first, scan)
        length, offsets = found
        if path.stat().st_size != length:
            raise IntegrityError(f"audit log: {path.name} has not the length it was closed with")
        return Segment(path, first, len(offsets), length)

    def _keep_index(self, path: Path, first: int, scan: Scan) -> None:
        """A reader keeps no index; a writer does."""

    def _end(self) -> int:
        return self._segments[-1].first + self._segments[-1].count if self._segments else 0

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._end()

    @property
    def torn_bytes(self) -> int:
        """Octets behind the last whole record."""
        return self._tail.size - self._tail.end if self._segments else 0

    @property
    def last_segment_first(self) -> int:
        """Sequence number of the first entry of the growing segment."""
        return self._segments[-1].first if self._segments else 0

    def _offsets(self, segment: Segment) -> "array[int]":
        offsets = segment.offsets  # read once: the writer takes it away when it closes the segment
        if offsets is not None:
            return offsets
        with self._indexes_lock:
            offsets = self._indexes.get(segment.first)
            if offsets is None:
                index = segment.path.with_suffix(".index")
                found = decode_index(index.read_bytes(), segment.first) if index.is_file() else None
                offsets = (
                    found[1] if found else scan_segment(segment.path, segment.first, self._origin).offsets
                )
                self._indexes[segment.first] = offsets
                if len(self._indexes) > _INDEXES_KEPT:
                    self._indexes.popitem(last=False)
            else:
                self._indexes.move_to_end(segment.first)
            return offsets

    def entry(self, sequence: int) -> Entry:
        """Return one entry.

        Raises:
            IndexError: there is none with that number.
            IntegrityError: it is not what was written.
        """
        for entry in self.entries(sequence, sequence + 1):
            return entry
        raise IndexError("no such entry")

    def entries(self, start: int, stop: int) -> Iterator[Entry]:
        """Yield entries ``start <= sequence < stop``.

        Raises:
            IntegrityError: one is not what was written.
        """
        stop = min(stop, self.size)
        sequence = max(start, 0)
        while sequence < stop:
            segments = list(self._segments)
            segment = segments[bisect_right(segments, sequence, key=lambda s: s.first) - 1]
            last = min(stop, segment.first + segment.count)
            yield from self._segment_entries(segment, sequence, last)
            sequence = last

    def _segment_entries(self, segment: Segment, start: int, stop: int) -> Iterator[Entry]:
        try:
            offsets = self._offsets(segment)
            with segment.path.open("rb", buffering=0) as file:
                for first in range(start, stop, _ENTRIES_READ):
                    last = min(first + _ENTRIES_READ, stop)
                    yield from _read_entries(file.fileno(), segment, offsets, first, last)
        except OSError as error:
            raise AuditUnavailable(f"audit log: the journal cannot be read ({error.strerror})") from None


def _read_entries(fd: int, segment: Segment, offsets: "array[int]", start: int, stop: int) -> Iterator[Entry]:
    """Yield a run of entries from one read; where they end is known from the index, but for the last one."""
    begin = offsets[start - segment.first]
    final = offsets[stop - 1 - segment.first]
    if final - begin > MIB and stop - start > 1:  # long payloads: memory stays small
        middle = (start + stop) // 2
        yield from _read_entries(fd, segment, offsets, start, middle)
        yield from _read_entries(fd, segment, offsets, middle, stop)
        return
    length = record_length(os.pread(fd, 8, final))
    data = os.pread(fd, final + length - begin, begin)
    for sequence in range(start, stop):
        place = sequence - segment.first
        after = offsets[place + 1] if sequence + 1 < stop else final + length
        entry = decode_record(sequence, data[offsets[place] - begin : after - begin])
        if entry is None:
            raise IntegrityError(f"audit log: entry {sequence} in {segment.path.name} is damaged")
        yield entry


@final
class Journal(JournalView):
    """A journal for its one writer.

    Args:
        folder: where the segments are; made if it is not there.
        origin: name of the log.
        entries_min: how many entries were signed for. Where fewer are whole, nothing is cut: it is evidence.
        segment_bytes_max: length at which a segment is closed.

    Raises:
        AuditUnavailable: another process writes to it, or the folder cannot be used.
        IntegrityError: a segment is missing or is not one of this log, or entries that were signed for are gone.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        *,
        entries_min: int = 0,
        segment_bytes_max: int = AUDIT_SEGMENT_BYTES_MAX,
    ) -> None:
        self._segment_bytes_max = min(segment_bytes_max, AUDIT_SEGMENT_BYTES_MAX + 16 * MIB)
        self._lock = threading.Lock()  # that of the state; entering it by itself is half the cost
        self._state = threading.Condition(self._lock)
        self._failed = ""
        self._syncing = False
        self._fd = -1
        self._folder_fd = -1
        try:
            make_folders(folder)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            super().__init__(folder, origin)
            self._require(entries_min)
            self.cut_bytes = self.torn_bytes
            self._open_tail()
        except OSError as error:
            self._release()
            raise AuditUnavailable(f"audit log: the journal cannot be opened ({error.strerror})") from None
        except BaseException:
            self._release()
            raise
        self._durable = self.size

    def _require(self, entries_min: int) -> None:
        if self.size < entries_min:
            raise IntegrityError(
                f"audit log: {entries_min} entries were signed for and the journal holds {self.size}: "
                "it was truncated or altered"
            )

    def _keep_index(self, path: Path, first: int, scan: Scan) -> None:
        durable_write(path.with_suffix(".index"), encode_index(first, scan.end, scan.offsets))

    def _open_tail(self) -> None:
        """Cut a torn tail, and make durable what is there: from now on it counts as recorded."""
        if not self._segments:
            self._begin_segment(0)
            return
        segment = self._segments[-1]
        self._fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        if self.cut_bytes:
            with segment.path.open("rb") as file:
                file.seek(segment.length)
                torn = file.read()
            # Kept for whoever asks whether this was a power cut or a hand.
            durable_write(self._folder / f"{self.size:020d}.torn", torn)
            os.ftruncate(self._fd, segment.length)
        os.fsync(self._fd)

    def _begin_segment(self, first: int) -> None:
        path = self._folder / f"{first:020d}.journal"
        durable_write(path, segment_header(first, self._origin))
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._segments.append(Segment(path, first, 0, HEADER_BYTES, array("I")))

    def _close_segment(self) -> None:
        """Begin the next segment; with the state held and no sync under way."""
        segment = self._segments[-1]
        offsets = self._offsets(segment)
        os.fdatasync(self._fd)
        self._durable = segment.first + segment.count
        durable_write(
            segment.path.with_suffix(".index"), encode_index(segment.first, segment.length, offsets)
        )
        self._begin_segment(segment.first + segment.count)
        segment.offsets = None

    @property
    def durable_size(self) -> int:
        """Number of entries that are known to be on the disk."""
        return self._durable

    @property
    def failed(self) -> str:
        """Why nothing is accepted any more; empty while all is well."""
        return self._failed

    def _check(self) -> None:
        if self._failed:
            raise AuditUnavailable(f"audit log: closed for writing ({self._failed})")

    def fail(self, reason: str) -> None:
        """Accept nothing from now on."""
        with self._state:
            self._failed = self._failed or reason
            self._state.notify_all()

    def _fail_held(self, error: OSError) -> AuditUnavailable:
        self._failed = self._failed or (error.strerror or type(error).__name__)
        self._state.notify_all()
        return AuditUnavailable(f"audit log: the journal cannot be written ({self._failed})")

    def append(self, make: Callable[[int], tuple[bytes, bytes]], *, durable: bool) -> int:
        """Write one entry; return its sequence number.

        Args:
            make: gives (leaf, sealed payload) for a sequence number; called with the journal locked.
            durable: return only when it is on the disk.

        Raises:
            AuditUnavailable: it was not taken. With ``durable`` it may stand in the file all the same.
        """
        with self._lock:
            self._check()
            segment = self._segments[-1]
            while segment.length >= self._segment_bytes_max:
                if self._syncing:
                    self._state.wait()
                else:
                    try:
                        self._close_segment()
                    except OSError as error:
                        raise self._fail_held(error) from None
                self._check()
                segment = self._segments[-1]
            sequence = segment.first + segment.count
            record = encode_record(sequence, *make(sequence))
            try:
                _write_whole(self._fd, record)
            except OSError as error:
                raise self._fail_held(error) from None
            if segment.offsets is None:
                raise AssertionError("the growing segment keeps its offsets")
            segment.offsets.append(segment.length)
            segment.length += len(record)
            segment.count += 1
            if durable:
                self._wait_durable(sequence + 1)
            return sequence

    def _wait_durable(self, target: int) -> None:
        """Return when ``target`` entries are on the disk; with the state held."""
        while self._durable < target:
            self._check()
            if self._syncing:
                self._state.wait()
                continue
            self._syncing = True
            goal = self._end()
            self._state.release()
            try:
                error = _sync(self._fd)
            finally:
                self._state.acquire()
                self._syncing = False
            if error is not None:
                raise self._fail_held(error)
            self._durable = max(self._durable, goal)
            self._state.notify_all()

    def sync(self) -> int:
        """Make all entries so far durable; return their number.

        Raises:
            AuditUnavailable: that is not certain; nothing is accepted any more.
        """
        with self._state:
            self._check()
            target = self._end()
            self._wait_durable(target)
            return target

    def close(self) -> None:
        """Release the files. Does not sync."""
        with self._state:
            self._failed = self._failed or "closed"
            while self._syncing:
                self._state.wait()
            self._state.notify_all()
            self._release()

    def _release(self) -> None:
        for fd in (self._fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._folder_fd = -1


def _write_whole(fd: int, record: bytes) -> None:
    """Write one record in one call; half a record (the disk is full) is a torn tail that the next open cuts."""
    if os.write(fd, record) != len(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync(fd: int) -> OSError | None:
    try:
        os.fdatasync(fd)
    except OSError as error:
        return error
    return None
