"""A pack's own authenticated directory: what was committed, where it ends, and in which order.

::

    pack    = pack header (256) ‖ (record ‖ commit entry (128))* ‖ end entry (128), once closed
    header  = magic "89 LGP 0D 0A 1A 0A" ‖ u16 version 1 ‖ u16 length 256 ‖ u8 flags (1 = quarantine) ‖ 3 zero
              ‖ tenant id (16) ‖ pack id (16) ‖ key id (16) ‖ u32 key generation ‖ 4 zero
              ‖ u64 created, ms ‖ u64 journal floor ‖ 136 zero ‖ MAC (32)
    entry   = magic "89 LGC..." or "89 LGE..." (8) ‖ u64 sequence ‖ u64 offset ‖ u64 length ‖ object id (16)
              ‖ MAC of the entry before, or of the header (32) ‖ 16 zero ‖ MAC (32)

Every MAC is HMAC-SHA-256 under the pack key, which HKDF makes from study key and pack id; header and entries have
labels of their own. Because each MAC covers the one before, entries cannot be dropped, swapped or repeated; because it
covers the offset, a record cannot be moved; because the key covers the pack id, it cannot go to another pack. The end
entry says how many records there are (``sequence``), where it stands (``offset``) and how long the file is (``length``).

How a record's end is found without trusting segments: the length words of the segments lead to a place where a commit
entry should stand, but they are a hint only. What decides is an entry there whose MAC is right, that follows the entry
before and that begins where we stand. If the hint leads nowhere, the rest of the file is searched for authentic
entries. If there is one, the pack was *damaged* before it, and nothing is cut. If there is none, all that follows is
an unfinished record, or zeros of space taken in advance: the *tail*.

An adversary who can write to the folder could cut an open pack at an entry, or take the whole file away; nothing inside
a pack can tell. The index and the audit log can, for they name each record; a closed pack tells by its missing end.
"""

import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from leadglass.base.errors import IntegrityError
from leadglass.base.limits import MIB
from leadglass.store.vault.disk import read_at
from leadglass.store.vault.floe import SEGMENT_OVERHEAD
from leadglass.store.vault.header import HEADER_LENGTH
from leadglass.store.vault.record import SEGMENT

PACK_HEADER_LENGTH: Final = 256
ENTRY_LENGTH: Final = 128
MAC_LENGTH: Final = 32

COMMIT_MAGIC: Final = b"\x89LGC\r\n\x1a\n"
END_MAGIC: Final = b"\x89LGE\r\n\x1a\n"

_PACK_MAGIC: Final = b"\x89LGP\r\n\x1a\n"
_VERSION: Final = 1
_HEADER: Final = struct.Struct(">8sHHB3x16s16s16sI4xQQ136x")
_ENTRY: Final = struct.Struct(">8sQQQ16s32s16x")
_HEADER_LABEL: Final = b"leadglass/vault/v1/pack-header\0"
_ENTRY_LABEL: Final = b"leadglass/vault/v1/pack-entry\0"
_SCAN_BYTES: Final = 1 * MIB


def _mac(pack_key: bytes, label: bytes, body: bytes) -> bytes:
    return hmac.digest(pack_key, label + body, "sha256")


@dataclass(frozen=True, slots=True)
class PackHeader:
    """What a pack is."""

    tenant_id: bytes
    pack_id: bytes
    key_id: bytes
    key_generation: int
    created_ms: int
    journal_floor: int
    quarantine: bool

    def encode(self, pack_key: bytes) -> bytes:
        """Return the 256 octets; the last 32 are the MAC that the first entry continues."""
        body = _HEADER.pack(
            _PACK_MAGIC,
            _VERSION,
            PACK_HEADER_LENGTH,
            self.quarantine,
            self.tenant_id,
            self.pack_id,
            self.key_id,
            self.key_generation,
            self.created_ms,
            self.journal_floor,
        )
        return body + _mac(pack_key, _HEADER_LABEL, body)


def decode_pack_header(raw: bytes) -> PackHeader:
    """Read a pack header. Nothing of it is authentic before ``PackHeader.encode`` gives the same octets.

    Raises:
        IntegrityError: other magic, unknown version or flags.
    """
    if len(raw) != PACK_HEADER_LENGTH:
        raise IntegrityError("pack header: cut short")
    fields = _HEADER.unpack_from(raw)
    magic, version, length, flags = fields[:4]
    if magic != _PACK_MAGIC:
        raise IntegrityError("pack header: not a pack")
    if version != _VERSION or length != PACK_HEADER_LENGTH or flags > 1:
        raise IntegrityError("pack header: unknown version, length or flags")
    tenant_id, pack_id, key_id, generation, created_ms, journal_floor = fields[4:]
    return PackHeader(
        tenant_id, pack_id, key_id, generation, created_ms, journal_floor, quarantine=flags == 1
    )


def authenticate_pack_header(raw: bytes, header: PackHeader, pack_key: bytes) -> bytes:
    """Return the header's MAC if it is right; reserved octets are zero then, for the MAC is that of the encoding.

    Raises:
        IntegrityError: the header is not what was written.
    """
    if not hmac.compare_digest(header.encode(pack_key), raw):
        raise IntegrityError("pack header: wrong MAC")
    return raw[-MAC_LENGTH:]


@dataclass(frozen=True, slots=True)
class Entry:
    """One authentic line of the directory.

    Attributes:
        is_end: it closes the pack.
        sequence: entries before it.
        offset: where its record begins; of an end entry, where it stands itself.
        length: octets of its record; of an end entry, of the whole pack.
        object_id: of its record; of an end entry, the pack's id.
        previous: MAC of the entry before.
        mac: its own; empty while it is not encoded.
    """

    is_end: bool
    sequence: int
    offset: int
    length: int
    object_id: bytes
    previous: bytes
    mac: bytes = b""

    @classmethod
    def closing(cls, pack_id: bytes, *, after: "Entry") -> "Entry":
        """Return the end entry that follows a commit entry."""
        at = after.place + ENTRY_LENGTH
        return cls(True, after.sequence + 1, at, at + ENTRY_LENGTH, pack_id, after.mac)

    def encode(self, pack_key: bytes) -> bytes:
        """Return the 128 octets; the last 32 are the MAC."""
        magic = END_MAGIC if self.is_end else COMMIT_MAGIC
        body = _ENTRY.pack(magic, self.sequence, self.offset, self.length, self.object_id, self.previous)
        return body + _mac(pack_key, _ENTRY_LABEL, body)

    @property
    def place(self) -> int:
        """Where the entry must stand."""
        return self.offset if self.is_end else self.offset + self.length


def decode_entry(raw: bytes, pack_key: bytes) -> Entry | None:
    """Return the entry, or None if these octets are not one that was written under this key."""
    if len(raw) != ENTRY_LENGTH or not raw.startswith((COMMIT_MAGIC, END_MAGIC)):
        return None
    if not hmac.compare_digest(_mac(pack_key, _ENTRY_LABEL, raw[:-MAC_LENGTH]), raw[-MAC_LENGTH:]):
        return None
    magic, sequence, offset, length, object_id, previous = _ENTRY.unpack_from(raw)
    return Entry(magic == END_MAGIC, sequence, offset, length, object_id, previous, raw[-MAC_LENGTH:])


@dataclass(frozen=True, slots=True)
class Committed:
    """A record that was committed."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Damage:
    """Something between two authentic places is not what was written."""

    offset: int
    what: str


@dataclass(frozen=True, slots=True)
class End:
    """The pack was closed; ``trailing`` octets follow its end, which is none in a whole pack."""

    offset: int
    trailing: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The pack was not closed: ``octets`` of an unfinished record follow ``offset``, zeros at the end not counted."""

    offset: int
    octets: int


Step: TypeAlias = Committed | Damage | End | Tail


def walk(fd: int, size: int, header_mac: bytes, pack_key: bytes) -> Iterator[Step]:
    """Read the directory of a pack of ``size`` octets from front to back. The last step is an ``End`` or a ``Tail``."""
    at, previous, count = PACK_HEADER_LENGTH, header_mac, 0
    while True:
        entry = _entry_at(fd, at, pack_key)
        if entry is None or not entry.is_end or entry.offset != at:
            hint = _hinted_end(fd, at, size)
            entry = _entry_at(fd, hint, pack_key) if hint else None
            if entry is None or entry.is_end or entry.offset != at or entry.place != hint:
                found = _search(fd, at, size, pack_key)
                if isinstance(found, Tail):
                    yield found
                    return
                if isinstance(found, Damage):
                    yield found
                    yield Tail(at, size - at)
                    return
                entry = found
        if entry.offset != at:
            yield Damage(at, f"{entry.offset - at} octets are not what was written")
        elif entry.previous != previous or entry.sequence != count:
            yield Damage(at, "directory entries are missing")
        if entry.is_end:
            end = entry.offset + ENTRY_LENGTH
            yield End(entry.offset, size - end)
            return
        yield Committed(entry)
        at, previous, count = entry.place + ENTRY_LENGTH, entry.mac, entry.sequence + 1


def require_committed(fd: int, offset: int, length: int, object_id: bytes, *, pack_key: bytes) -> None:
    """Make sure that a pack committed this object at this place.

    Raises:
        IntegrityError: it did not, or no longer says so.
    """
    entry = _entry_at(fd, offset + length, pack_key)
    if (
        entry is None
        or entry.is_end
        or entry.offset != offset
        or entry.length != length
        or entry.object_id != object_id
    ):
        raise IntegrityError("the pack does not know such a record at this place")


def _entry_at(fd: int, offset: int, pack_key: bytes) -> Entry | None:
    raw = read_at(fd, ENTRY_LENGTH, offset)
    return decode_entry(raw, pack_key)


def _hinted_end(fd: int, offset: int, size: int) -> int:
    """Follow the length words of the segments: where a commit entry should stand, or 0."""
    at = offset + HEADER_LENGTH
    while at + SEGMENT_OVERHEAD <= size:
        word = int.from_bytes(read_at(fd, 4, at), "big")
        if word != 0xFFFF_FFFF:
            return at + word if SEGMENT_OVERHEAD <= word <= SEGMENT else 0
        at += SEGMENT
    return 0


def _search(fd: int, offset: int, size: int, pack_key: bytes) -> Entry | Damage | Tail:
    """Look for the next authentic entry from ``offset`` on.

    Returns:
        The first that stands in its own place; else ``Damage`` if there is an authentic one that was moved; else the
        ``Tail``.
    """
    moved: Damage | None = None
    last_octet = offset  # behind the last octet that is not zero
    at = offset
    while at < size:
        block = read_at(fd, min(_SCAN_BYTES, size - at), at)
        if not block:
            break
        stripped = len(block.rstrip(b"\0"))
        if stripped:
            last_octet = max(last_octet, at + stripped)
        begin = block.find(b"\x89LG")
        while begin >= 0:
            entry = _entry_at(fd, at + begin, pack_key)
            if entry is not None and entry.place == at + begin and entry.offset >= offset:
                return entry
            if entry is not None and moved is None:
                moved = Damage(at + begin, "a directory entry stands where it was not written")
            begin = block.find(b"\x89LG", begin + 1)
        # Blocks overlap, so that a magic across a border is seen.
        at += len(block) if at + len(block) >= size else len(block) - len(COMMIT_MAGIC)
    return moved or Tail(offset, last_octet - offset)
