"""What other rooms may know about the vault.

A pack is the append-only file of one sender's burst into one study; a record in it is one sealed SOP instance.
A record exists when ``RecordWriter.commit`` has returned, and not a moment before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, Origin, RecordAddress


@dataclass(frozen=True, slots=True)
class Footer:
    """The sealed end of a record: enough to rebuild its index row and the audit event of its ingest.

    Attributes:
        dataset_offset: octets of preamble, prefix and file meta before the data set, in the record's plaintext.
        dataset_length: octets of the data set.
        quarantined: why it is kept apart; empty for an object that is served.
    """

    identity: ObjectIdentity
    origin: Origin
    dataset_offset: int
    dataset_length: int
    quarantined: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written. ``where`` names pack and offset; no PHI."""

    where: str
    what: str


class RecordWriter(Protocol):
    """One object on its way into a pack. Memory is constant whatever its size."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and append more of the Part 10 stream. The buffer may be reused after the call.

        Raises:
            OutOfResources: no room; the record never happened.
        """
        ...

    def commit(self, footer: Footer) -> RecordAddress:
        """Seal the footer, make all of it durable (fdatasync), and return where it lies.

        Raises:
            OutOfResources: no room, or the disk failed; the record never happened.
        """
        ...

    def abort(self) -> None:
        """Forget the record: cut the pack back to where it began. Harmless after commit."""
        ...


class PackWriter(Protocol):
    """An open pack, used by one thread at a time."""

    @property
    def pack_id(self) -> bytes:
        """16 bytes."""
        ...

    @property
    def study_uid(self) -> UID:
        """The study that every record of it belongs to."""
        ...

    @property
    def full(self) -> bool:
        """No further record should begin here."""
        ...

    @property
    def record_count(self) -> int:
        """Committed records."""
        ...

    def begin(self, identity: ObjectIdentity) -> RecordWriter:
        """Start a record. The one before it must be committed or aborted."""
        ...

    def close(self) -> None:
        """Write the pack's end, make it durable, and never touch it again. An empty pack leaves no file.

        Raises:
            OutOfResources: the end could not be written, or the disk failed before. The file is released, every committed
                record is durable, and ``recover`` will close the pack: whoever notes closed packs must not note it.
        """
        ...


class SealedObject(Protocol):
    """One stored object, opened: every octet that leaves it has been authenticated."""

    @property
    def footer(self) -> Footer:
        """Its sealed end."""
        ...

    @property
    def length(self) -> int:
        """Octets of the Part 10 stream, footer not counted."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return octets of the Part 10 stream; opens only the segments that hold them.

        Raises:
            IntegrityError: a segment is not what was written.
        """
        ...

    def stream(self, offset: int = 0) -> Iterator[memoryview]:
        """Yield the Part 10 stream from ``offset`` in pieces; each piece is valid until the next is asked for."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@dataclass(frozen=True, slots=True)
class RecoveredRecord:
    """A record that replay found in a pack."""

    address: RecordAddress
    footer: Footer


@dataclass(frozen=True, slots=True)
class RecoveredPack:
    """What replay found in one pack file, after the torn tail (if any) was cut.

    Attributes:
        cut_octets: octets of an unfinished record that were removed from the end.
        closed: the pack carries its authenticated end.
        journal_floor: what the opener of the pack noted (see ``Vault.open_pack``).
    """

    pack_id: bytes
    closed: bool
    cut_octets: int
    journal_floor: int
    records: tuple[RecoveredRecord, ...]


class Vault(Protocol):
    """Sealed packs in a folder that is not trusted."""

    def open_pack(self, study_uid: UID, journal_floor: int, *, quarantine: bool = False) -> PackWriter:
        """Begin a pack.

        ``journal_floor`` is an opaque number that replay gives back: the size of the audit log when the pack was
        opened, so that replay knows from where to look for its events.
        """
        ...

    def open(self, address: RecordAddress, identity: ObjectIdentity) -> SealedObject:
        """Open a record.

        Raises:
            IntegrityError: header, context, commitment or footer do not match what is expected.
            KeyUnavailable: the study's key was destroyed.
        """
        ...

    def pack_ids(self) -> Iterator[bytes]:
        """Yield the id of every pack file there is, oldest first."""
        ...

    def recover(self, pack_id: bytes) -> RecoveredPack:
        """Read a pack's own directory, cut a torn tail, and give back every committed record.

        Only for packs that no writer of this process holds. Closes the pack if it was open.

        Raises:
            IntegrityError: something before the tail is not what was written.
        """
        ...

    def verify(self, pack_id: bytes) -> Iterator[Finding | RecoveredRecord]:
        """Authenticate every octet of a pack; yield each whole record, and each finding by name."""
        ...

    def foreign_files(self) -> Iterator[Finding]:
        """Yield whatever lies in the folder of the packs and is not a pack in its place."""
        ...

    def bytes_used(self) -> int:
        """Octets of all packs."""
        ...
