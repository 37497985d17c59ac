"""The offline verifier: believes the keys it is given, and no file.

Every leaf is hashed again; from the hashes every tile, every root that was ever signed here, and the signer's state are
computed and compared. Every file of the log is accounted for, so any changed octet of any file is a finding that names
the entry or the file.

What it cannot see: that the newest entries and everything that names them were taken away together and the log put
back as it was at an older checkpoint. For that it takes checkpoints that somebody else kept (``pinned``).

**Invariant:** reads only; needs no lock, so it also runs beside a server (entries that come meanwhile are not judged).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, final

from leadglass.base.errors import IntegrityError, KeyUnavailable
from leadglass.trust.audit.checkpoint import Checkpoint, open_checkpoint, read_state
from leadglass.trust.audit.interfaces import NoteVerifier, PayloadCipher
from leadglass.trust.audit.journal import (
    HEADER_BYTES,
    Entry,
    decode_index,
    segment_files,
    walk_segment,
)
from leadglass.trust.audit.leaf import decode_leaf, open_payload
from leadglass.trust.audit.merkle import CompactRange, hash_leaf
from leadglass.trust.audit.past import CHECKPOINT, CHECKPOINTS, JOURNAL, SIGNER_STATE, checkpoint_name
from leadglass.trust.audit.tiles import (
    ENTRIES,
    TILE_WIDTH,
    RightEdge,
    decode_bundle,
    encode_bundle,
    tile_path,
)

PROGRESS_EVERY: Final = 4096


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written, or that a person should look at.

    Attributes:
        severity: an error means altered, damaged or missing; a warning may have an innocent cause.
        where: ``entry 17``, or the path of a file below the log's folder.
        what: in words, without PHI.
    """

    severity: Severity
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the verifier is; ``of`` is the size that the newest checkpoint says."""

    entries: int
    of: int


@dataclass(frozen=True, slots=True)
class Verified:
    """Given last: what was looked at.

    Attributes:
        entries: read and hashed.
        checkpoint: the newest one, if it is well signed.
        checkpoints: signed roots that were compared.
        payloads: unsealed and compared with their leaf.
        payloads_unavailable: sealed under a key that does not exist any more.
        errors: number of findings of that severity.
        warnings: as above.
    """

    entries: int
    checkpoint: Checkpoint | None
    checkpoints: int
    payloads: int
    payloads_unavailable: int
    errors: int
    warnings: int


@final
class _Verifier:
    """One run over one log."""

    def __init__(
        self,
        root: Path,
        origin: str,
        verifiers: Sequence[NoteVerifier],
        cipher: PayloadCipher | None,
        pinned: Sequence[bytes],
    ) -> None:
        self._root = root
        self._origin = origin
        self._verifiers = verifiers
        self._cipher = cipher
        self._pinned = pinned
        self._seen: set[str] = set()
        self._claims: dict[int, list[tuple[str, bytes]]] = {}
        self._newest: Checkpoint | None = None
        self._tree = CompactRange()
        self._edge = RightEdge()
        self._bundle: list[bytes] = []
        self._taken = ""
        self._payloads = 0
        self._unavailable = 0
        self._errors = 0
        self._warnings = 0
        self._files: list[Path] = []

    def run(self) -> Iterator[Finding | Progress | Verified]:
        for found in self._run():
            if isinstance(found, Finding):
                self._errors += found.severity is Severity.ERROR
                self._warnings += found.severity is Severity.WARNING
            yield found
        yield Verified(
            self._tree.size,
            self._newest,
            sum(len(claims) for claims in self._claims.values()),
            self._payloads,
            self._unavailable,
            self._errors,
            self._warnings,
        )

    def _run(self) -> Iterator[Finding | Progress]:
        self._files = sorted(self._root.rglob("*"))  # now: what a server beside us adds later is not judged
        yield from self._read_claims()
        yield from self._check_claims()  # of the empty tree
        total = self._newest.size if self._newest else 0
        for entry in self._entries():
            if isinstance(entry, Finding):
                yield entry
                continue
            yield from self._take(entry)
            if self._tree.size % PROGRESS_EVERY == 0:
                yield Progress(self._tree.size, max(total, self._tree.size))
        if self._bundle:
            yield from self._check_files(ENTRIES, self._tree.size // TILE_WIDTH, encode_bundle(self._bundle))
        for level, index, _, data in self._edge.partials():
            yield from self._check_files(level, index, data)
        yield from self._check_missing()
        for size, claims in sorted(self._claims.items()):
            if size > self._tree.size:
                for where, _ in claims:
                    yield _error(
                        where, f"was signed for {size} entries; the log holds {self._tree.size}: truncated"
                    )
        yield from self._check_strangers()
        yield Progress(self._tree.size, self._tree.size)

    # --- what was signed ---------------------------------------------------------------------------------------

    def _read_claims(self) -> Iterator[Finding]:
        """Collect every (size, root) that somebody signed, from the log and from outside."""
        path = self._root / CHECKPOINT
        if path.is_file():
            self._seen.add(CHECKPOINT)
            try:
                self._newest = open_checkpoint(path.read_bytes(), self._origin, self._verifiers)
                self._claim(CHECKPOINT, self._newest)
            except IntegrityError as error:
                yield _error(CHECKPOINT, str(error))
        else:
            yield _error(CHECKPOINT, "is missing")
        folder = self._root / CHECKPOINTS
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            where = f"{CHECKPOINTS}/{path.name}"
            if path.name.startswith(".") or not path.is_file():
                continue
            self._seen.add(where)
            try:
                kept = open_checkpoint(path.read_bytes(), self._origin, self._verifiers)
            except IntegrityError as error:
                yield _error(where, str(error))
                continue
            if checkpoint_name(kept.size) != path.name:
                yield _error(where, f"is the checkpoint of {kept.size} entries under another name")
            self._claim(where, kept)
        for number, data in enumerate(self._pinned):
            where = f"pinned checkpoint {number + 1}"
            try:
                self._claim(where, open_checkpoint(data, self._origin, self._verifiers))
            except IntegrityError as error:
                yield _error(where, str(error))
        yield from self._read_state()

    def _read_state(self) -> Iterator[Finding]:
        if not (self._root / SIGNER_STATE).is_file():
            yield _error(SIGNER_STATE, "is missing")
            return
        self._seen.add(SIGNER_STATE)
        try:
            state = read_state(self._root / SIGNER_STATE, self._origin)
        except IntegrityError as error:
            yield _error(SIGNER_STATE, str(error))
            return
        self._claim(SIGNER_STATE, state)
        if self._newest and state.size < self._newest.size:
            yield _error(SIGNER_STATE, "is older than the checkpoint: it was put back")

    def _claim(self, where: str, checkpoint: Checkpoint) -> None:
        self._claims.setdefault(checkpoint.size, []).append((where, checkpoint.root))

    def _check_claims(self) -> Iterator[Finding]:
        size = self._tree.size
        claims = self._claims.get(size)
        if claims is None:
            return
        root = self._tree.root()
        for where, claimed in claims:
            if claimed != root:
                yield _error(
                    where, f"the first {size} entries do not give the root that it says: altered or forked"
                )

    # --- entries -----------------------------------------------------------------------------------------------

    def _entries(self) -> Iterator[Entry | Finding]:
        """Yield the journal's entries in order; where one is damaged, the bundle's copy of its leaf."""
        sequence = 0
        files = segment_files(self._root / JOURNAL)
        if not files:
            yield _error(JOURNAL, "holds no segment")
        for number, (first, path) in enumerate(files):
            where = f"{JOURNAL}/{path.name}"
            self._seen.add(where)
            if first < sequence:
                yield _error(
                    where, f"begins at entry {first}, but entries up to {sequence - 1} stand before it"
                )
                return
            for missing in self._from_bundles(sequence, first):
                yield missing
                sequence += isinstance(missing, Entry)
            if sequence != first:
                yield _error(where, f"entries {sequence} to {first - 1} are missing")
                return
            last = number == len(files) - 1
            offsets: list[int] = []
            end = HEADER_BYTES
            for offset, entry, length in walk_segment(path, first, self._origin):
                if offset == 0:
                    yield _error(where, "does not begin as a segment of this log at this place")
                    continue
                if length == 0:
                    yield self._torn(where, offset, sequence, last=last)
                    break
                offsets.append(offset)
                end = offset + length
                if entry is None:
                    yield _error(f"entry {sequence}", f"is damaged in {where} at octet {offset}")
                    entry = self._bundled(sequence)  # noqa: PLW2901 - the other copy takes its place
                    if entry is None:
                        yield _error(
                            f"entry {sequence}", "has no readable copy: what follows cannot be judged"
                        )
                        return
                yield entry
                sequence += 1
            yield from self._check_index(path, first, offsets, end, last=last)
        sealed = self._newest.size if self._newest else 0
        yield from self._from_bundles(sequence, sealed)

    def _torn(self, where: str, offset: int, sequence: int, *, last: bool) -> Finding:
        sealed = max(self._claims, default=0)
        if last and sequence >= sealed:
            return Finding(
                Severity.WARNING,
                where,
                f"ends in a torn record at octet {offset}, behind all that was signed",
            )
        return _error(where, f"is damaged at octet {offset}, from entry {sequence} on")

    def _bundled(self, sequence: int) -> Entry | None:
        """Return an entry from its bundle, without payload; None where that is not readable either."""
        index, place = divmod(sequence, TILE_WIDTH)
        for path in self._versions(ENTRIES, index):
            try:
                leaves = decode_bundle(path.read_bytes())
            except (IntegrityError, OSError):
                continue
            if place < len(leaves):
                return Entry(sequence, leaves[place], b"")
        return None

    def _from_bundles(self, start: int, stop: int) -> Iterator[Entry | Finding]:
        """Yield entries that the journal should have, from the bundles as far as they go."""
        if start >= stop:
            return
        where = f"entry {start}" if stop == start + 1 else f"entries {start} to {stop - 1}"
        yield _error(where, "missing from the journal, or not readable there")
        for sequence in range(start, stop):
            entry = self._bundled(sequence)
            if entry is None:
                return
            yield entry

    def _check_index(
        self, path: Path, first: int, offsets: list[int], end: int, *, last: bool
    ) -> Iterator[Finding]:
        index = path.with_suffix(".index")
        where = f"{JOURNAL}/{index.name}"
        if not index.is_file():
            if not last:
                yield Finding(Severity.WARNING, where, "is missing; it is rebuilt at the next start")
            return
        self._seen.add(where)
        found = decode_index(index.read_bytes(), first)
        if found is None or found[0] != end or list(found[1]) != offsets:
            yield _error(where, "is not the index of its segment")

    def _take(self, entry: Entry) -> Iterator[Finding]:
        """Judge one entry and add it to the tree."""
        where = f"entry {entry.sequence}"
        try:
            leaf = decode_leaf(entry.leaf)
        except IntegrityError as error:
            yield _error(where, str(error))
        else:
            if leaf.get("seq") != entry.sequence:
                yield _error(where, "says another sequence number: entries were removed, added or reordered")
            yield from self._check_time(where, leaf)
            yield from self._check_payload(entry, leaf)
        self._tree.append(hash_leaf(entry.leaf))
        self._bundle.append(entry.leaf)
        full = self._edge.append(hash_leaf(entry.leaf))
        if len(self._bundle) == TILE_WIDTH:
            yield from self._check_files(ENTRIES, entry.sequence // TILE_WIDTH, encode_bundle(self._bundle))
            self._bundle = []
        for level, index, data in full:
            yield from self._check_files(level, index, data)
        yield from self._check_claims()

    def _check_time(self, where: str, leaf: dict[str, Any]) -> Iterator[Finding]:
        taken = str(leaf.get("taken"))
        try:
            datetime.fromisoformat(taken)
        except ValueError:
            yield _error(where, "says no time at which it was taken")
            return
        if taken < self._taken:
            yield Finding(
                Severity.WARNING, where, f"was taken before the one in front of it: clock set back to {taken}"
            )
        self._taken = taken

    def _check_payload(self, entry: Entry, leaf: dict[str, Any]) -> Iterator[Finding]:
        where = f"entry {entry.sequence}"
        committed = str(leaf.get("payload_commitment"))
        if not entry.sealed:
            if committed:
                yield _error(where, "its payload is missing")
            return
        if not committed:
            yield _error(where, "has a payload that its leaf does not know")
        elif self._cipher is not None:
            try:
                open_payload(self._cipher, entry.sealed, entry.sequence, self._origin, committed)
                self._payloads += 1
            except KeyUnavailable:
                self._unavailable += 1
            except IntegrityError:
                yield _error(where, "its payload is not what was sealed")

    # --- files -------------------------------------------------------------------------------------------------

    def _versions(self, level: int | str, index: int) -> list[Path]:
        """Return the files of a tile: the full one and the partial ones, widest first."""
        full = self._root / tile_path(level, index)
        folder = full.with_name(f"{full.name}.p")
        partial = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
        partial.sort(key=lambda p: int(p.name), reverse=True)
        return [full, *partial] if full.is_file() else partial

    def _check_files(self, level: int | str, index: int, data: bytes) -> Iterator[Finding]:
        """Compare all files of a tile with what it must hold at this size or, where partial, at a smaller one."""
        ends = [0]
        if level == ENTRIES:
            while ends[-1] < len(data):
                ends.append(ends[-1] + 2 + int.from_bytes(data[ends[-1] : ends[-1] + 2], "big"))
        else:
            ends = list(range(0, len(data) + 1, 32))
        for path in self._versions(level, index):
            name = path.relative_to(self._root).as_posix()
            self._seen.add(name)
            width = int(path.name) if path.parent.suffix == ".p" else TILE_WIDTH
            try:
                found = path.read_bytes()
            except FileNotFoundError:  # the server beside us filled the tile and dropped the partial one
                continue
            if name != tile_path(level, index, width):
                yield _error(name, "is not the name of a tile")
            elif width >= len(ends):
                if not found.startswith(data):
                    yield _error(name, "is not what the entries give")
                else:  # a server that runs beside us may have sealed more than we had read; no signature says so yet
                    yield Finding(
                        Severity.WARNING, name, "has more entries than the journal had when it was read"
                    )
            elif found != data[: ends[width]]:
                yield _error(name, self._difference(level, index, found, data[: ends[width]]))

    def _difference(self, level: int | str, index: int, found: bytes, expected: bytes) -> str:
        """Name the first entry that differs."""
        if level == 0:
            place = (
                next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), 0) // 32
            )
            return f"is not what the entries give, first at entry {index * TILE_WIDTH + place}"
        if level == ENTRIES:
            try:
                pairs = zip(decode_bundle(found), decode_bundle(expected), strict=False)
                place = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
            except IntegrityError:
                return "is not a bundle of whole entries"
            return f"is not what the journal says, first at entry {index * TILE_WIDTH + place}"
        return "is not what the entries give"

    def _check_missing(self) -> Iterator[Finding]:
        """Name tiles of the newest checkpoint that are not there."""
        size = self._newest.size if self._newest else 0
        size = min(size, self._tree.size)
        levels: list[tuple[int | str, int]] = [(ENTRIES, size)]
        level = 0
        while size >> (8 * level):
            levels.append((level, size >> (8 * level)))
            level += 1
        for name, count in levels:
            for index in range(count // TILE_WIDTH):
                if tile_path(name, index) not in self._seen:
                    yield _error(tile_path(name, index), "is missing")
            index, width = divmod(count, TILE_WIDTH)
            # A full tile takes the place of its partial ones.
            if width and not {tile_path(name, index, width), tile_path(name, index)} & self._seen:
                yield _error(tile_path(name, index, width), "is missing")

    def _check_strangers(self) -> Iterator[Finding]:
        """Name every file that belongs to nothing."""
        for path in self._files:
            name = path.relative_to(self._root).as_posix()
            if path.is_symlink():
                yield _error(name, "is a link; a log holds none")
            elif path.is_dir() or name in self._seen or not path.exists():
                continue
            elif path.suffix == ".torn" and path.parent.name == JOURNAL:
                yield Finding(
                    Severity.WARNING, name, "was cut off the journal at a start: a power cut, or a hand"
                )
            elif path.name.startswith(".") and path.name.endswith(".new"):
                yield Finding(
                    Severity.WARNING, name, "is an unfinished file that a crash left; it is never read"
                )
            else:
                yield _error(name, "belongs to nothing in this log")


def _error(where: str, what: str) -> Finding:
    return Finding(Severity.ERROR, where, what)


def verify_log(
    root: Path,
    origin: str,
    verifiers: Sequence[NoteVerifier],
    cipher: PayloadCipher | None = None,
    *,
    pinned: Sequence[bytes] = (),
) -> Iterator[Finding | Progress | Verified]:
    """Verify a log: yield findings and progress as they come, and a ``Verified`` last.

    Args:
        root: the log's folder.
        origin: name of the log.
        verifiers: keys that may have signed checkpoints.
        cipher: unseals payloads, to compare them with the leaves; without it they are not looked into.
        pinned: signed checkpoints that were kept elsewhere; the log must continue each of them.

    Raises:
        OSError: a file cannot be read.
    """
    return _Verifier(root, origin, verifiers, cipher, pinned).run()
