"""The audit log in a folder: journal, tiles, checkpoints.

::

    journal/                 the truth (see ``journal``)
    tile/                    the tree and its entries, C2SP tlog-tiles
    checkpoint               the newest signed checkpoint
    checkpoints/<size>       some older ones, 20 digits
    signer-state             the last (size, root) that was given to the signer

``record`` writes to the journal; ``seal`` hashes what is new, writes tiles and signs. What a crash leaves between the two
is made up at the next start. The order within ``seal`` is journal durable, tiles, signer-state, signature, checkpoint: so
a checkpoint that anybody holds never says more than the disk.

**Invariant:** opening compares the journal with what was signed, and refuses to go on from another past.
"""

import threading
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import AuditUnavailable, IntegrityError, LeadglassError
from leadglass.base.limits import AUDIT_RECENT_LEAF_BYTES_MAX, AUDIT_RECENT_LEAVES_MAX
from leadglass.trust.audit.bundle import InclusionBundle
from leadglass.trust.audit.checkpoint import Checkpoint, SigningGuard, parse_checkpoint_text
from leadglass.trust.audit.interfaces import (
    AuditEvent,
    CheckpointSigner,
    NoteVerifier,
    PayloadCipher,
    RecordedEvent,
)
from leadglass.trust.audit.journal import Entry, Journal, JournalView
from leadglass.trust.audit.leaf import LeafWriter, decode_leaf, open_payload, payload_context
from leadglass.trust.audit.merkle import consistency_proof, hash_leaf, inclusion_proof
from leadglass.trust.audit.past import (
    CHECKPOINT,
    CHECKPOINTS,
    JOURNAL,
    SIGNER_STATE,
    checkpoint_name,
    read_past,
)
from leadglass.trust.audit.signed_note import check_name, parse_note
from leadglass.trust.audit.tiles import (
    ENTRIES,
    TILE_WIDTH,
    RightEdge,
    TileStore,
    durable_write,
    encode_bundle,
    make_folders,
)

KEEP_INTERVAL: Final = timedelta(hours=1)
"""An old checkpoint is kept this often, and at each close: 2 MB in a year. Any of them pins all before it."""


class _EventId(msgspec.Struct):
    """The fields that ``recorded`` reads."""

    event_id: str = ""
    event: str = ""


_event_id: Final = msgspec.json.Decoder(_EventId)


def recorded_event(entry: Entry, origin: str, cipher: PayloadCipher | None) -> RecordedEvent:
    """Decode an entry; a payload that cannot be unsealed (key destroyed, octets changed) is None.

    Raises:
        IntegrityError: the leaf is not one.
    """
    leaf = decode_leaf(entry.leaf)
    payload: dict[str, Any] | None = None
    if entry.sealed and cipher is not None:
        try:
            payload = open_payload(
                cipher, entry.sealed, entry.sequence, origin, str(leaf.get("payload_commitment"))
            )
        except LeadglassError:
            payload = None
    return RecordedEvent(entry.sequence, leaf, payload)


@final
class FileAuditLog:
    """Implements ``AuditLog`` in one folder. Thread-safe; one process at a time.

    Args:
        root: the log's folder; made if it is not there.
        origin: name of the log, a schema-less URL such as ``pacs.example/audit``; also the name of its key.
        cipher: seals payloads, makes tokens.
        signer: signs checkpoints.
        clock: says when an entry was taken.
        verifiers: keys that checkpoints found at start must be signed by; without any, their text is believed.
        segment_bytes_max: length at which a segment of the journal is closed.
        must_exist: the site has a log already: where its files are gone, none is begun.

    Raises:
        AuditUnavailable: another process has it open, or the folder cannot be used.
        IntegrityError: it was truncated or altered since it was signed, or files that say what was signed are gone.
    """

    def __init__(
        self,
        root: Path,
        origin: str,
        cipher: PayloadCipher,
        signer: CheckpointSigner,
        clock: Clock,
        *,
        verifiers: tuple[NoteVerifier, ...] = (),
        segment_bytes_max: int | None = None,
        must_exist: bool = False,
    ) -> None:
        check_name(origin)
        self._root = root
        self._origin = origin
        self._cipher = cipher
        self._clock = clock
        self._leaves = LeafWriter(cipher)
        self._seal_lock = threading.Lock()
        self._tiles = TileStore(root)
        self._edge = RightEdge()
        self._bundle: list[bytes] = []
        self._recent: dict[int, bytes] = {}
        self._published_size = -1
        try:
            signed, state, published = read_past(root, origin, verifiers, must_exist=must_exist)
            if published:
                self._published_size = signed.size
            make_folders(root / CHECKPOINTS)
            self._guard = SigningGuard(root / SIGNER_STATE, origin, signer)
            needed = max(signed.size, state.size)
            if segment_bytes_max is None:
                self._journal = Journal(root / JOURNAL, origin, entries_min=needed)
            else:
                self._journal = Journal(
                    root / JOURNAL, origin, entries_min=needed, segment_bytes_max=segment_bytes_max
                )
        except OSError as error:
            raise AuditUnavailable(f"audit log: cannot be opened ({error.strerror})") from None
        try:
            self._resume(signed, state)
            self._kept_at = clock.now()
            self.seal()
        except BaseException:
            self._journal.close()
            raise

    @property
    def cut_bytes(self) -> int:
        """Octets of a torn tail that opening cut off (kept beside the journal as ``.torn``); 0 when it was whole."""
        return self._journal.cut_bytes

    @property
    def failed(self) -> str:
        """Why the log takes nothing any more; empty while all is well."""
        return self._journal.failed

    @property
    def checkpoint(self) -> Checkpoint:
        """The last signed (size, root)."""
        return self._guard.last

    def _resume(self, signed: Checkpoint, state: Checkpoint) -> None:
        """Rebuild the right edge at what was signed last, and compare it with the journal.

        The growing segment is compared leaf by leaf; ``verify`` compares the others.
        """
        try:
            edge = RightEdge.load(self._tiles, signed.size)
            self._compare_tail(signed.size)
        except IntegrityError:
            # A tile is missing or damaged. The journal is the truth: write all tiles again, if it gives the root
            # that was signed; a tile with other octets stops that, by its name.
            edge = RightEdge()
        if edge.size == signed.size and edge.root() != signed.root:
            raise IntegrityError(
                f"audit log: the tiles of {signed.size} entries are not those that were signed"
            )
        first = edge.size - edge.size % TILE_WIDTH
        self._bundle = [entry.leaf for entry in self._journal.entries(first, edge.size)]
        self._edge = edge
        for checkpoint in (signed, state):
            self._write_tiles(checkpoint.size)
            if self._edge.root() != checkpoint.root:
                raise IntegrityError(
                    f"audit log: the {checkpoint.size} entries are not those that were signed"
                )

    def _compare_tail(self, size: int) -> None:
        """Compare the growing segment with the tiles.

        Raises:
            IntegrityError: they differ, or a tile is missing.
        """
        hashes: list[bytes] = []
        tile = -1
        for entry in self._journal.entries(self._journal.last_segment_first, size):
            if entry.sequence // TILE_WIDTH != tile:
                tile = entry.sequence // TILE_WIDTH
                hashes = self._tiles.hashes(0, tile, size)
            if hash_leaf(entry.leaf) != hashes[entry.sequence % TILE_WIDTH]:
                raise IntegrityError(f"audit log: entry {entry.sequence} is not the one that was signed")

    def record(self, event: AuditEvent, *, durable: bool = True) -> int:
        """Take an event; see ``AuditLog.record``."""
        draft = self._leaves.draft(event)
        cipher, clock, origin, recent = self._cipher, self._clock, self._origin, self._recent

        def make(sequence: int) -> tuple[bytes, bytes]:
            sealed = b""
            if draft.blinded:
                sealed = cipher.seal_payload(draft.blinded, payload_context(sequence, origin))
            leaf = draft.leaf(sequence, clock.now())
            if len(recent) < AUDIT_RECENT_LEAVES_MAX and len(leaf) <= AUDIT_RECENT_LEAF_BYTES_MAX:
                recent[sequence] = leaf
            return leaf, sealed

        try:
            return self._journal.append(make, durable=durable)
        except AuditUnavailable:
            raise
        except LeadglassError as error:
            raise AuditUnavailable(f"audit: the payload cannot be sealed ({error.code})") from error

    def sync(self) -> None:
        """Make all entries so far durable.

        Raises:
            AuditUnavailable: that is not certain.
        """
        self._journal.sync()

    def size(self) -> int:
        """Return the number of entries."""
        return self._journal.size

    def durable_size(self) -> int:
        """Return the number of entries that no power cut takes away."""
        return self._journal.durable_size

    def seal(self) -> Checkpoint:
        """Make all entries so far durable, write their tiles, sign, and return what was signed. Nothing new: no work.

        Raises:
            AuditUnavailable: it could not be written; the log takes nothing any more.
            IntegrityError: what is on the disk does not continue what was signed; nothing is signed.
        """
        with self._seal_lock:
            try:
                size = self._journal.sync()
                if size == self._published_size:
                    return self._guard.last
                self._write_tiles(size)
                last = self._guard.last
                proof = consistency_proof(last.size, size, lambda level, i: self._tiles.node(size, level, i))
                note = self._guard.sign(size, self._edge.root(), proof)
                durable_write(self._root / CHECKPOINT, note)
                self._published_size = size
                if self._clock.now() - self._kept_at >= KEEP_INTERVAL:
                    self._keep(note)
            except OSError as error:
                self._journal.fail(error.strerror or type(error).__name__)
                raise AuditUnavailable(f"audit log: cannot be sealed ({error.strerror})") from None
            except IntegrityError:
                self._journal.fail("it is not what was signed")
                raise
            return self._guard.last

    def _write_tiles(self, size: int) -> None:
        """Write all tiles of the tree of ``size`` entries that are not there yet."""
        edge, tiles = self._edge, self._tiles
        while edge.size < size:
            room = min(TILE_WIDTH - len(self._bundle), size - edge.size)
            leaves = self._leaves_of(edge.size, edge.size + room)
            self._bundle += leaves
            full = edge.extend([hash_leaf(leaf) for leaf in leaves])
            if len(self._bundle) == TILE_WIDTH:
                self._write_full((edge.size - 1) // TILE_WIDTH, full)
        for level, index, width, data in edge.partials():
            tiles.write(level, index, width, data)
        if self._bundle:
            tiles.write(ENTRIES, size // TILE_WIDTH, len(self._bundle), encode_bundle(self._bundle))

    def _leaves_of(self, start: int, stop: int) -> list[bytes]:
        """Return leaves ``start <= sequence < stop``: those just written from memory, others from the journal.

        What was handed to ``write()`` is what is hashed, so an octet that the disk changed since does not become the
        signed truth; ``verify`` and the next start compare the two.
        """
        pop = self._recent.pop
        leaves = [pop(sequence, b"") for sequence in range(start, stop)]
        if not all(leaves):
            for entry in self._journal.entries(start, stop):
                leaves[entry.sequence - start] = leaves[entry.sequence - start] or entry.leaf
        return leaves

    def _write_full(self, index: int, full: list[tuple[int, int, bytes]]) -> None:
        self._tiles.write(ENTRIES, index, TILE_WIDTH, encode_bundle(self._bundle))
        self._bundle = []
        for level, number, data in full:
            self._tiles.write(level, number, TILE_WIDTH, data)
            self._tiles.drop_partials(level, number)
        self._tiles.drop_partials(ENTRIES, index)

    def _keep(self, note: bytes) -> None:
        durable_write(self._root / CHECKPOINTS / checkpoint_name(self._guard.last.size), note)
        self._kept_at = self._clock.now()

    def recorded(self, event_ids: Collection[bytes], since: int) -> dict[bytes, str]:
        """Return which of ``event_ids`` stand in the log at sequence ``since`` or later, and as what: 3 us per entry."""
        wanted = {event_id.hex(): event_id for event_id in event_ids if event_id}
        found: dict[bytes, str] = {}
        if not wanted:
            return found
        for entry in self._journal.entries(since, self._journal.size):
            seen = _event_id.decode(entry.leaf)
            event_id = wanted.get(seen.event_id)
            if event_id is not None:
                found.setdefault(event_id, seen.event)
        return found

    def read(self, start: int, stop: int) -> Iterator[RecordedEvent]:
        """Yield entries ``start <= sequence < stop``; see ``recorded_event``."""
        for entry in self._journal.entries(start, stop):
            yield recorded_event(entry, self._origin, self._cipher)

    def inclusion_bundle(self, sequence: int) -> InclusionBundle:
        """Seal, and return the proof that an entry stands in the log.

        Raises:
            IndexError: there is no such entry.
        """
        self.seal()
        return export_bundle(self._root, self._origin, sequence, view=self._journal)

    def close(self) -> None:
        """Sign what is there, keep that checkpoint, and release the files. Again is harmless.

        Raises:
            AuditUnavailable: what is there could not be signed; the files are released all the same.
        """
        if self._journal.failed == "closed":
            return
        try:
            if not self._journal.failed:
                self.seal()
                self._keep((self._root / CHECKPOINT).read_bytes())
        except OSError as error:
            raise AuditUnavailable(f"audit log: cannot be closed well ({error.strerror})") from None
        finally:
            self._journal.close()


def export_bundle(
    root: Path, origin: str, sequence: int, *, view: JournalView | None = None
) -> InclusionBundle:
    """Return entry, inclusion proof and checkpoint of one entry, from the files of a log.

    Raises:
        IndexError: no such entry, or it is not sealed yet.
        IntegrityError: a file of the log is missing or damaged.
    """
    note = (root / CHECKPOINT).read_bytes()
    size = parse_checkpoint_text(parse_note(note).text).size
    if not 0 <= sequence < size:
        raise IndexError("no such sealed entry")
    tiles = TileStore(root)
    proof = inclusion_proof(sequence, size, lambda level, index: tiles.node(size, level, index))
    entry = (view or JournalView(root / JOURNAL, origin)).entry(sequence)
    return InclusionBundle(sequence, entry.leaf, tuple(proof), note)
