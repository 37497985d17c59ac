"""The last pack as a power cut may leave it: cut anywhere behind an answer that is owed, with garbage or zeros after.

What lies whole in the pack is served; what does not is gone, or named where it had been answered.
"""

import os
from pathlib import Path

import pytest

from faults.conftest import Filled
from faults.open_site import opened, what_is_named
from faults.test_tamper import served
from hostile.peer import Peer, ct_slice
from leadglass.base.ids import UID

TAILS = {"nothing": b"", "zeros": bytes(5000), "garbage": b"\xa5\x5a\xff" * 700, "one octet": b"L"}


@pytest.fixture
def killed(filled: Filled) -> Filled:
    """Six more slices in a pack that was never closed."""
    more = [ct_slice(i, study="7", pixels=640) for i in range(6)]
    filled.site.start()
    with Peer(filled.site, filled.device) as peer:
        peer.accepted()
        assert [peer.store(image) for image in more] == [0] * 6
        filled.site.kill()
    return Filled(filled.site, filled.device, more)


def open_pack(filled: Filled) -> Path:
    return max(filled.packs, key=lambda path: path.stem)  # UUIDv7: the newest


def ends_of_records(filled: Filled) -> list[int]:
    """Where each record is committed: the end of its directory entry, from a copy that was recovered."""
    pack = open_pack(filled)
    whole = pack.read_bytes()
    with opened(filled.site.root) as node:
        ends = []
        for image in filled.images:
            record = node.index.lookup(UID(image.sop_instance))
            assert record is not None
            ends.append(record.address.offset + record.address.length)
    pack.write_bytes(whole)
    return ends


@pytest.mark.parametrize("tail", TAILS)
def test_tail_behind_the_last_answer(killed: Filled, tail: str) -> None:
    """Octets of a record that was under way: cut off, and everything answered is there."""
    pack = open_pack(killed)
    content = pack.read_bytes().rstrip(b"\0")
    # An entry may end with zeros of its own: keep a few octets more than were stripped.
    pack.write_bytes(content + bytes(min(64, pack.stat().st_size - len(content))) + TAILS[tail])
    assert what_is_named(killed.site.root) == []
    with opened(killed.site.root) as node:
        assert node.recovered.findings == []
        assert [served(node, image) for image in killed.images] == [image.dataset for image in killed.images]


@pytest.mark.parametrize("tail", ["nothing", "zeros"])
def test_cut_anywhere(killed: Filled, tail: str) -> None:
    """A disk that lost what it had promised: what is before the cut is served, and nothing else."""
    pack = open_pack(killed)
    ends = ends_of_records(killed)
    whole = pack.read_bytes()
    # A header of its own is synced before anything follows it: zeros behind half of one are no torn tail.
    cuts = {0, 1, 100} if tail == "nothing" else set[int]()
    cuts |= {end + step for end in ends[2:4] for step in (-200, 0, 1, 120)}
    for cut in sorted(cuts):
        pack.parent.mkdir(exist_ok=True)
        pack.write_bytes(whole[:cut] + TAILS[tail])
        for path in (killed.site.root / "index").iterdir():
            path.unlink()  # the rows made by ends_of_records; after a real cut none of them was there
        with opened(killed.site.root) as node:
            assert node.recovered.findings == [], cut
            for end, image in zip(ends, killed.images, strict=True):
                held = node.index.lookup(UID(image.sop_instance)) is not None
                if end > cut:
                    assert not held, cut
                elif end + 200 <= cut:
                    assert held, cut
                if held:
                    assert served(node, image) == image.dataset


def test_answered_records_that_the_disk_lost_are_named(killed: Filled) -> None:
    """Rows and events of four records survive, their octets do not: nothing is served, verification says so."""
    ends = ends_of_records(killed)
    pack = open_pack(killed)
    os.truncate(pack, ends[1] + 1)
    named = what_is_named(killed.site.root)
    assert named
    with opened(killed.site.root) as node:
        assert [served(node, image) for image in killed.images[:1]] == [killed.images[0].dataset]
        assert [served(node, image) for image in killed.images[2:]] == [None] * 4
