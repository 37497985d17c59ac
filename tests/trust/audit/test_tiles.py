"""Tiles have the names and octets of C2SP tlog-tiles; a sample log of another implementation reads the same."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import CORPUS, needs_corpus
from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.checkpoint import parse_checkpoint_text
from leadglass.trust.audit.merkle import hash_leaf, root_of
from leadglass.trust.audit.signed_note import parse_note
from leadglass.trust.audit.tiles import (
    ENTRIES,
    RightEdge,
    TileStore,
    decode_bundle,
    durable_write,
    encode_bundle,
    index_path,
    parse_tile_path,
    split_hashes,
    tile_path,
)

SAMPLE = CORPUS / "tlog" / "tessera-log"


def test_the_examples_of_the_specification() -> None:
    assert index_path(1234067) == "x001/x234/067"
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(2, 999, 17) == "tile/2/999.p/17"
    assert tile_path(ENTRIES, 1000, 1) == "tile/entries/x001/000.p/1"


def test_a_tree_of_70_000_has_the_tiles_of_the_specification() -> None:
    edge = RightEdge()
    full: dict[int, int] = {}
    for i in range(70_000):
        for level, index, data in edge.append(hash_leaf(i.to_bytes(4, "big"))):
            assert index == full.get(level, 0)
            assert len(data) == 8192
            full[level] = index + 1
    assert full == {0: 273, 1: 1}
    assert [(level, width) for level, _, width, _ in edge.partials()] == [(0, 112), (1, 17), (2, 1)]


@given(st.integers(0, 63) | st.just(ENTRIES), st.integers(0, 10**12), st.integers(1, 256))
def test_every_path_reads_back(level: int | str, index: int, width: int) -> None:
    assert parse_tile_path(tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/00", "tile/00/000", "tile/64/000", "tile/0/x000/000", "tile/0/000.p/0", "tile/0/000.p/257", "tile/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/-1/000", "tile/0/../000", "tile/0/1000", "checkpoint", "", "tile/0/000.p/",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path of a tile"):
        parse_tile_path(path)


@given(st.lists(st.binary(max_size=40), max_size=256))
def test_every_bundle_reads_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


@given(st.binary(max_size=200))
def test_garbage_is_a_bundle_or_an_integrity_error(data: bytes) -> None:
    try:
        assert encode_bundle(decode_bundle(data)) == data
    except IntegrityError:
        pass


@needs_corpus
def test_the_sample_log_gives_its_own_signed_roots() -> None:
    for size in range(1, 16):
        name = "checkpoint" if size == 15 else f"checkpoint.{size}"
        checkpoint = parse_checkpoint_text(parse_note((SAMPLE / name).read_bytes()).text)
        entries = decode_bundle((SAMPLE / tile_path(ENTRIES, 0, size)).read_bytes())
        hashes = split_hashes((SAMPLE / tile_path(0, 0, size)).read_bytes())
        assert checkpoint.size == size == len(entries)
        assert [hash_leaf(entry) for entry in entries] == hashes
        assert checkpoint.root == root_of(hashes) == RightEdge.load(TileStore(SAMPLE), size).root()


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600, 65_536, 65_793])
def test_the_edge_and_every_subtree_come_back_from_the_files(size: int, tmp_path: Path) -> None:
    store, edge = TileStore(tmp_path), RightEdge()
    hashes = [hash_leaf(i.to_bytes(4, "big")) for i in range(size)]
    writes: list[tuple[int, int, int, bytes]] = []
    for leaf in hashes:
        writes += [(level, index, 256, data) for level, index, data in edge.append(leaf)]
    for level, index, width, data in [*writes[-3:], *edge.partials()]:
        store.write(level, index, width, data)
    again = RightEdge.load(store, size)
    assert again.root() == edge.root() == root_of(hashes)
    last = size - 1
    assert store.node(size, 0, last) == hashes[last]
    if size >= 256:
        assert store.node(size, 8, 0) == root_of(hashes[:256]) or size > 600


def test_a_tile_is_never_replaced_by_other_octets(tmp_path: Path) -> None:
    store = TileStore(tmp_path)
    store.write(0, 0, 1, b"a" * 32)
    store.write(0, 0, 1, b"a" * 32)
    with pytest.raises(IntegrityError, match=r"tile/0/000.p/1"):
        store.write(0, 0, 1, b"b" * 32)


def test_a_leftover_of_a_crash_does_not_stop_a_write(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_bytes(b"half")
    durable_write(tmp_path / "file", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"whole"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 256), max_size=12))
def test_many_leaves_at_once_make_the_edge_that_one_by_one_makes(steps: list[int]) -> None:
    one, many = RightEdge(), RightEdge()
    number = 0
    for step in steps:
        room = 256 - (len(many.levels[0]) if many.levels else 0)
        hashes = [hash_leaf(b"%d" % n) for n in range(number, number + min(step, room))]
        number += len(hashes)
        singly = [full for leaf_hash in hashes for full in one.append(leaf_hash)]
        assert many.extend(hashes) == singly
        assert (many.size, many.levels, many.root()) == (one.size, one.levels, one.root())
