"""The vault over a folder of packs.

``<root>/packs/<two hex digits of the pack id's random end>/<pack id in hex>.pack``: the names are made here and come
from nowhere else. Files have mode 0600, folders 0700.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError, KeyUnavailable, LocalProtocolError, UsageError
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.store.vault.directory import (
    ENTRY_LENGTH,
    PACK_HEADER_LENGTH,
    Committed,
    Damage,
    End,
    Entry,
    PackHeader,
    Step,
    Tail,
    require_committed,
)
from leadglass.store.vault.disk import FOLDER_MODE, read_failure, reading, sync_folder, write_failure
from leadglass.store.vault.floe import RandomSource
from leadglass.store.vault.interfaces import Finding, RecoveredPack, RecoveredRecord
from leadglass.store.vault.pack import BufferPool, FilePackWriter, append_end
from leadglass.store.vault.reader import PackReader, is_unborn, lock
from leadglass.store.vault.record import SealedRecord
from leadglass.store.vault.uuid7 import milliseconds, uuid7
from leadglass.trust.keys.interfaces import KeyRing

_SUFFIX: Final = ".pack"
_SHARD: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_PACK_NAME: Final = re.compile(r"[0-9a-f]{32}\.pack", re.ASCII)


@final
class FileVault:
    """Implements ``Vault`` in a folder. Safe for many threads; one process writes at a time.

    Args:
        root: an existing folder; ``packs`` is made in it.
        keys: study keys.
        clock: for the time in ids and headers.
        random: source of ids, IVs and nonces; only a test with known answers gives another one.

    Raises:
        OutOfResources: the folder cannot be made.
    """

    def __init__(self, root: Path, keys: KeyRing, clock: Clock, *, random: RandomSource = os.urandom) -> None:
        self._packs = root / "packs"
        self._keys = keys
        self._clock = clock
        self._random = random
        self._buffers = BufferPool()
        try:
            if not self._packs.is_dir():
                self._packs.mkdir(mode=FOLDER_MODE)
                sync_folder(root)
        except OSError as error:
            raise write_failure(error) from error

    def open_pack(self, study_uid: UID, journal_floor: int, *, quarantine: bool = False) -> FilePackWriter:
        """Begin a pack. Its file is made with its first record.

        Raises:
            KeyUnavailable: the study's key was destroyed, or cannot be made.
        """
        key = self._keys.study_key(study_uid)
        created_ms = milliseconds(self._clock.now())
        header = PackHeader(
            tenant_id=self._keys.tenant_id,
            pack_id=uuid7(created_ms, self._random),
            key_id=key.key_id,
            key_generation=key.generation,
            created_ms=created_ms,
            journal_floor=journal_floor,
            quarantine=quarantine,
        )
        return FilePackWriter(
            self._path(header.pack_id),
            header,
            study_uid,
            key,
            clock=self._clock,
            buffers=self._buffers,
            random=self._random,
        )

    def open(self, address: RecordAddress, identity: ObjectIdentity) -> SealedRecord:
        """Open a record: the pack must say that it committed it there, and ``SealedRecord`` makes its own checks.

        Raises:
            IntegrityError: header, context, commitment, commit entry or footer do not match what is expected.
            KeyUnavailable: the study's key was destroyed.
        """
        key = self._keys.by_id(address.key_id)
        fd = self._open_file(address.pack_id, os.O_RDONLY)
        try:
            require_committed(
                fd, address.offset, address.length, address.object_id, pack_key=key.pack_key(address.pack_id)
            )
            return SealedRecord(
                fd,
                address.offset,
                address.length,
                tenant_id=self._keys.tenant_id,
                object_id=address.object_id,
                key=key,
                identity=identity,
                close_fd=os.close,
            )
        except BaseException:
            os.close(fd)
            raise

    def pack_ids(self) -> Iterator[bytes]:
        """Yield the id of every pack file there is, oldest first."""
        yield from sorted(pack_id for pack_id, _ in self._pack_files())

    def bytes_used(self) -> int:
        """Octets of all packs, space taken in advance included."""
        return sum(size for _, size in self._pack_files())

    def foreign_files(self) -> Iterator[Finding]:
        """Yield whatever lies in the folder of the packs and is not a pack in its place."""
        with reading():
            for shard in sorted(os.scandir(self._packs), key=lambda e: e.name):
                if not (shard.is_dir(follow_symlinks=False) and _SHARD.fullmatch(shard.name)):
                    yield Finding("packs", "a foreign file or folder")
                    continue
                for item in sorted(os.scandir(shard.path), key=lambda e: e.name):
                    if not _is_pack_file(shard.name, item):
                        yield Finding(f"packs/{shard.name}", "a foreign file or folder")

    def recover(self, pack_id: bytes) -> RecoveredPack:
        """Read a pack's own directory, cut a torn tail, and give back every committed record.

        Closes the pack if it was open. A pack without any committed record is removed and comes back empty.

        Raises:
            IntegrityError: something before the tail is not what was written. Nothing is cut then.
            KeyUnavailable: the study's key was destroyed.
            UsageError: a writer holds the pack.
            OutOfResources: the end could not be written.
        """
        fd = self._open_file(pack_id, os.O_RDWR)
        try:
            if not lock(fd, fcntl.LOCK_EX):
                raise UsageError("the pack is being written; recover it when its writer is gone")
            if is_unborn(fd):
                self._remove(pack_id)
                return RecoveredPack(pack_id, closed=True, cut_octets=0, journal_floor=0, records=())
            return self._replay(fd, PackReader(fd, pack_id, self._keys))
        except IntegrityError as error:
            raise IntegrityError(f"pack {pack_id.hex()}: {error}") from error
        finally:
            os.close(fd)

    def _replay(self, fd: int, pack: PackReader) -> RecoveredPack:
        entries: list[Entry] = []
        last: End | Tail = Tail(PACK_HEADER_LENGTH, 0)
        for step in pack.steps():
            match step:
                case Committed(entry):
                    entries.append(entry)
                case Damage(offset, what):
                    raise IntegrityError(f"{what}, at {offset}")
                case End() | Tail():
                    last = step
        cut = 0
        if isinstance(last, Tail):
            cut = last.octets
            if entries and pack.is_torn(entries[-1]):
                torn = entries.pop()
                cut += torn.place + ENTRY_LENGTH - torn.offset
        elif last.trailing:
            raise IntegrityError("octets follow the end")
        records = tuple(pack.record(entry) for entry in entries)
        if isinstance(last, Tail):
            self._close(fd, pack, entries)
        return RecoveredPack(
            pack.header.pack_id,
            closed=True,
            cut_octets=cut,
            journal_floor=pack.header.journal_floor,
            records=records,
        )

    def _close(self, fd: int, pack: PackReader, entries: list[Entry]) -> None:
        if not entries:
            self._remove(pack.header.pack_id)
            return
        end = Entry.closing(pack.header.pack_id, after=entries[-1])
        try:
            append_end(fd, end, pack.pack_key)
        except OSError as error:
            raise write_failure(error) from error

    def verify(self, pack_id: bytes) -> Iterator[Finding | RecoveredRecord]:
        """Authenticate every octet of a pack; yield each whole record, and each finding by name.

        A pack that is being written is read up to its last commit; its missing end is no finding. A pack whose key is
        destroyed or unknown is a finding: nothing can be said about it, and a changed key id looks the same.
        """
        where = pack_id.hex()
        try:
            fd = self._open_file(pack_id, os.O_RDONLY)
        except IntegrityError as error:
            yield Finding(where, str(error))
            return
        try:
            in_use = not lock(fd, fcntl.LOCK_SH)
            pack = PackReader(fd, pack_id, self._keys)
            for step in pack.steps():
                yield from _judge(pack, step, in_use=in_use)
        except (IntegrityError, KeyUnavailable) as error:
            yield Finding(where, str(error))
        finally:
            os.close(fd)

    # --- files -------------------------------------------------------------------------------------------------

    def _path(self, pack_id: bytes) -> Path:
        name = pack_id.hex()
        return self._packs / _shard(name) / (name + _SUFFIX)

    def _open_file(self, pack_id: bytes, flags: int) -> int:
        if len(pack_id) != 16:
            raise LocalProtocolError("a pack id has 16 octets")
        try:
            # No link is followed, and a pipe that was put in the file's place does not make us wait.
            return os.open(self._path(pack_id), flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise IntegrityError("the pack's file is missing") from None
            raise read_failure(error) from error

    def _pack_files(self) -> Iterator[tuple[bytes, int]]:
        with reading():
            for shard in os.scandir(self._packs):
                if _SHARD.fullmatch(shard.name) and shard.is_dir(follow_symlinks=False):
                    for item in os.scandir(shard.path):
                        if _is_pack_file(shard.name, item):
                            yield bytes.fromhex(item.name[:32]), item.stat(follow_symlinks=False).st_size

    def _remove(self, pack_id: bytes) -> None:
        path = self._path(pack_id)
        try:
            path.unlink()
            sync_folder(path.parent)
        except OSError as error:
            raise write_failure(error) from error


def _judge(pack: PackReader, step: Step, *, in_use: bool) -> Iterator[Finding | RecoveredRecord]:
    name = pack.header.pack_id.hex()
    match step:
        case Committed(entry):
            try:
                yield pack.whole_record(entry)
            except IntegrityError as error:
                yield Finding(f"{name}@{entry.offset}", str(error))
        case Damage(offset, what):
            yield Finding(f"{name}@{offset}", what)
        case End(offset, trailing):
            if trailing:
                yield Finding(f"{name}@{offset + ENTRY_LENGTH}", f"{trailing} octets follow the pack's end")
        case Tail(offset, octets):
            if not in_use:
                what = f"the pack has no end: it was cut, or never recovered ({octets} octets follow its last record)"
                yield Finding(f"{name}@{offset}", what)


def _shard(name: str) -> str:
    # The last twelve digits of a UUIDv7 are random; the first ones are the time, and would fill one folder a day.
    return name[20:22]


def _is_pack_file(shard: str, item: os.DirEntry[str]) -> bool:
    name = item.name
    return (
        _PACK_NAME.fullmatch(name) is not None
        and _shard(name) == shard
        and item.is_file(follow_symlinks=False)
    )
