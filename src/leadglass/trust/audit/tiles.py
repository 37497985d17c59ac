"""C2SP tlog-tiles v0.1.0: the tree and its entries as immutable files that any transparency-log tool reads.

::

    tile/<L>/<N>[.p/<W>]         up to 256 hashes of level 8 * L
    tile/entries/<N>[.p/<W>]     up to 256 entries, each behind its length in two octets

``N`` is written in groups of three digits, ``x001/x234/067``. ``W`` is the width of a partial tile. Partial tiles stay
until the full one is there, because checkpoints of those sizes were signed ("Partial Tiles").

**Invariant:** a file is written whole, made durable and then named; one that is there is never replaced by other octets.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from leadglass.base.errors import IntegrityError
from leadglass.base.limits import AUDIT_LEAF_BYTES_MAX
from leadglass.trust.audit.merkle import HASH_BYTES, fold, root_of

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
ENTRIES: Final = "entries"

_INDEX: Final = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}", re.ASCII)


def index_path(index: int) -> str:
    """Return ``N`` of a tile: 1234067 is ``x001/x234/067``. Source: C2SP tlog-tiles, "Merkle Tree"."""
    path = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        path = f"x{index % 1000:03d}/{path}"
    return path


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile (``level`` 0..63) or of an entry bundle (``level`` is ``ENTRIES``)."""
    path = f"tile/{level}/{index_path(index)}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def parse_tile_path(path: str) -> tuple[int | str, int, int]:
    """Return level, index and width of a path in its one canonical form.

    Raises:
        ValueError: it is not the path of a tile.
    """
    tile, level_text, rest = (*path.split("/", 2), "", "")[:3]
    number, partial, width_text = rest.partition(".p/")
    level: int | str = ENTRIES if level_text == ENTRIES else -1
    if level_text.isascii() and level_text.isdecimal() and len(level_text) <= 2:
        level = int(level_text)
    if tile != "tile" or level == -1 or not _INDEX.fullmatch(number):
        raise ValueError("not the path of a tile")
    index = int(number.replace("x", "").replace("/", ""))
    width = TILE_WIDTH
    if partial:
        if not (width_text.isascii() and width_text.isdecimal() and len(width_text) <= 3):
            raise ValueError("not the path of a tile")
        width = int(width_text)
    if (isinstance(level, int) and level > 63) or not 1 <= width <= TILE_WIDTH:
        raise ValueError("not the path of a tile")
    if tile_path(level, index, width) != path:
        raise ValueError("not the canonical path of a tile")
    return level, index, width


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Return entries, each behind its length. Source: C2SP tlog-tiles, "Log entries".

    Raises:
        ValueError: an entry is longer than 65 535 octets.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > AUDIT_LEAF_BYTES_MAX:
            raise ValueError("an entry of a bundle has at most 65 535 octets")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        IntegrityError: a length points beyond the end, or there are more than 256 entries.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        stop = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if stop > len(data) or position + 2 > len(data) or len(entries) == TILE_WIDTH:
            raise IntegrityError("entry bundle: not a sequence of at most 256 whole entries")
        entries.append(data[position + 2 : stop])
        position = stop
    return entries


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes of a tile.

    Raises:
        IntegrityError: it is not 1 to 256 hashes.
    """
    if len(data) % HASH_BYTES or not 0 < len(data) <= HASH_BYTES * TILE_WIDTH:
        raise IntegrityError("tile: not 1 to 256 hashes")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(path: Path) -> None:
    """Make a folder and those above it, mode 0700, each name durable."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def durable_write(path: Path, data: bytes) -> None:
    """Write a file so that after a power cut it is whole, or is as it was before.

    One writer at a time is the caller's promise (the lock of the log), so that the temporary name is free; what a
    crash left there is overwritten.
    """
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    sync_folder(path.parent)


class TileStore:
    """The files of a log's tree, below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, level: int | str, index: int, width: int, data: bytes) -> None:
        """Write a tile, or find it there already.

        Raises:
            IntegrityError: other octets have that name: the log was forked or altered.
            OSError: it cannot be written.
        """
        name = tile_path(level, index, width)
        path = self._root / name
        try:
            if path.read_bytes() == data:
                return
        except FileNotFoundError:
            make_folders(path.parent)
            durable_write(path, data)
            return
        raise IntegrityError(f"audit log: {name} is not what the journal gives")

    def drop_partials(self, level: int | str, index: int) -> None:
        """Remove the partial tiles that the full one replaces. Source: C2SP tlog-tiles, "Partial Tiles"."""
        folder = self._root / f"{tile_path(level, index)}.p"
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def read(self, level: int | str, index: int, width: int) -> bytes:
        """Return a tile: the partial one if it is there, else the full one (which begins with it).

        Raises:
            IntegrityError: neither is there.
        """
        for candidate in {width: None, TILE_WIDTH: None}:
            try:
                return (self._root / tile_path(level, index, candidate)).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise IntegrityError(f"audit log: {tile_path(level, index, width)} is missing")

    def hashes(self, level: int, index: int, size: int) -> list[bytes]:
        """Return the hashes of a tile in the tree of ``size`` entries.

        Raises:
            IntegrityError: the tile is missing or too short.
        """
        width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)
        found = split_hashes(self.read(level, index, width))
        if len(found) < width:
            raise IntegrityError(f"audit log: {tile_path(level, index, width)} is too short")
        return found[:width]

    def node(self, size: int, level: int, index: int) -> bytes:
        """Return the hash of a perfect subtree of the tree of ``size`` entries; see ``merkle.NodeSource``."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        start = index << height
        hashes = self.hashes(tile_level, start // TILE_WIDTH, size)
        first = start % TILE_WIDTH
        return root_of(hashes[first : first + (1 << height)])


class RightEdge:
    """The unfinished tiles of a growing tree: per level the hashes that no full tile holds yet (0 to 255)."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = []
        self.size = 0

    @classmethod
    def load(cls, store: TileStore, size: int) -> "RightEdge":
        """Return the edge of the tree of ``size`` entries from its tiles.

        Raises:
            IntegrityError: a tile is missing or too short.
        """
        edge = cls()
        edge.size = size
        level = 0
        while size >> (TILE_HEIGHT * level):
            count = size >> (TILE_HEIGHT * level)
            index, width = divmod(count, TILE_WIDTH)
            edge.levels.append(store.hashes(level, index, size) if width else [])
            level += 1
        return edge

    def append(self, leaf_hash: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf; return the tiles that it fills: (level, index, octets)."""
        self.size += 1
        full: list[tuple[int, int, bytes]] = []
        carry, level = leaf_hash, 0
        while True:
            if level == len(self.levels):
                self.levels.append([])
            hashes = self.levels[level]
            hashes.append(carry)
            if len(hashes) < TILE_WIDTH:
                return full
            index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1
            full.append((level, index, b"".join(hashes)))
            carry = root_of(hashes)
            hashes.clear()
            level += 1

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Add leaves, at most as many as the tile of leaves has room for; return the tiles that they fill."""
        room = TILE_WIDTH - (len(self.levels[0]) if self.levels else 0)
        assert 0 < len(leaf_hashes) <= room
        if not self.levels:
            self.levels.append([])
        self.levels[0] += leaf_hashes[:-1]
        self.size += len(leaf_hashes) - 1
        return self.append(leaf_hashes[-1])

    def partials(self) -> list[tuple[int, int, int, bytes]]:
        """Return the partial tiles at this size: (level, index, width, octets)."""
        return [
            (level, self.size >> (TILE_HEIGHT * (level + 1)), len(hashes), b"".join(hashes))
            for level, hashes in enumerate(self.levels)
            if hashes
        ]

    def root(self) -> bytes:
        """Return the root at this size: the edge read as perfect subtrees, largest first."""
        return _fold_levels(self.levels)


def _fold_levels(levels: Sequence[Sequence[bytes]]) -> bytes:
    """Join the hashes of all levels into one root.

    A tile of ``w`` hashes is the subtrees of the set bits of ``w``, largest first; higher levels stand to the left.
    """
    nodes: list[bytes] = []
    for hashes in reversed(levels):
        start = 0
        for bit in reversed(range(TILE_HEIGHT)):
            if len(hashes) >> bit & 1:
                nodes.append(root_of(hashes[start : start + (1 << bit)]))
                start += 1 << bit
    return fold(nodes)
