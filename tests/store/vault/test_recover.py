"""After a power cut: what was committed is there, what was not is gone, and what was changed is not cut away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leadglass.base.errors import IntegrityError, UsageError
from leadglass.store.vault.service import FileVault
from store.vault.vault_room import (
    STUDY,
    body,
    fill,
    findings,
    footer,
    identity,
    new_vault,
    pack_file,
    store,
    whole_records,
)

ENTRY = 128


def abandoned(root: Path, lengths: list[int]) -> tuple[FileVault, bytes, list[int]]:
    """Return a vault, a pack nobody closed, as it is on the disk, and where each record ends with its commit entry."""
    vault = new_vault(root)
    pack = vault.open_pack(STUDY, 7)
    addresses = [store(pack, n, body(n, length)) for n, length in enumerate(lengths)]
    path = pack_file(root, pack.pack_id)
    raw = path.read_bytes()
    pack.close()
    path.write_bytes(raw)
    return vault, pack.pack_id, [a.offset + a.length + ENTRY for a in addresses]


def test_an_open_pack_is_closed_and_gives_its_records_back(tmp_path: Path) -> None:
    vault, pack_id, ends = abandoned(tmp_path, [10, 70_000, 3])
    assert pack_file(tmp_path, pack_id).stat().st_size > ends[-1]  # zeros written in advance
    assert [f.what[:19] for f in findings(vault, pack_id)] == ["the pack has no end"]
    pack = vault.recover(pack_id)
    assert (pack.closed, pack.cut_octets, pack.journal_floor) == (True, 0, 7)
    assert [r.footer for r in pack.records] == [footer(identity(n), x) for n, x in enumerate([10, 70_000, 3])]
    assert pack_file(tmp_path, pack_id).stat().st_size == ends[-1] + ENTRY
    assert findings(vault, pack_id) == []
    assert vault.recover(pack_id) == pack  # and once more: the same
    for number, record in enumerate(pack.records):
        opened = vault.open(record.address, identity(number))
        assert opened.read(0, 1 << 20) == body(number, [10, 70_000, 3][number])
        opened.close()


def test_recovering_a_closed_pack_changes_nothing(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    addresses = fill(vault, [10, 20])
    before = pack_file(tmp_path, addresses[0].pack_id).read_bytes()
    assert [r.address for r in vault.recover(addresses[0].pack_id).records] == addresses
    assert pack_file(tmp_path, addresses[0].pack_id).read_bytes() == before


@pytest.mark.parametrize(("zeros", "step"), [(0, 1), (5000, 11)], ids=["short", "zeros"])
def test_a_torn_tail_of_any_length_is_cut(tmp_path: Path, zeros: int, step: int) -> None:
    vault, pack_id, (first, second) = abandoned(tmp_path, [10, 20])
    path = pack_file(tmp_path, pack_id)
    raw = path.read_bytes()
    for length in range(first, second, step):
        path.write_bytes(raw[:length] + bytes(zeros))
        pack = vault.recover(pack_id)
        assert len(pack.records) == 1
        if raw[length - 1] or length == first:
            assert pack.cut_octets == length - first
        assert path.stat().st_size == first + ENTRY
        assert findings(vault, pack_id) == []


def test_a_torn_tail_of_several_segments_is_cut(tmp_path: Path) -> None:
    vault, pack_id, (first, second) = abandoned(tmp_path, [10, 200_000])
    path = pack_file(tmp_path, pack_id)
    raw = path.read_bytes()
    for length in (first + 255, first + 256 + 65_536, first + 256 + 65_538, second - ENTRY, second - 1):
        path.write_bytes(raw[:length] + bytes(70_000))
        assert len(vault.recover(pack_id).records) == 1
        assert path.stat().st_size == first + ENTRY


def test_a_last_record_whose_sectors_never_arrived_is_cut(tmp_path: Path) -> None:
    vault, pack_id, (first, second) = abandoned(tmp_path, [10, 20_000])
    path = pack_file(tmp_path, pack_id)
    raw = bytearray(path.read_bytes())
    raw[8192 : 8192 + 512] = bytes(512)  # the commit entry is there
    path.write_bytes(raw)
    pack = vault.recover(pack_id)
    assert len(pack.records) == 1
    assert pack.cut_octets == second - first
    assert path.stat().st_size == first + ENTRY


def test_a_last_record_that_was_changed_is_named_and_not_cut(tmp_path: Path) -> None:
    vault, pack_id, (first, _) = abandoned(tmp_path, [10, 20_000])
    path = pack_file(tmp_path, pack_id)
    raw = bytearray(path.read_bytes())
    raw[first + 9000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=pack_id.hex()):
        vault.recover(pack_id)
    assert path.read_bytes() == raw


def test_damage_before_the_tail_is_named_and_nothing_is_cut(tmp_path: Path) -> None:
    vault, pack_id, (first, second, third) = abandoned(tmp_path, [10, 20, 30])
    path = pack_file(tmp_path, pack_id)
    raw = path.read_bytes()[:third]
    changes = {
        "commit entry": raw[: first - 1] + b"\0" + raw[first:],
        "all of the second": raw[:first] + bytes(second - first) + raw[second:],
        "dropped": raw[:first] + raw[second:],
        "repeated": raw + raw[second:third],
        "header": b"\0" + raw[1:],
        "blank header": bytes(256) + raw[256:],
        "footer": raw[: second - ENTRY - 1] + bytes([raw[second - ENTRY - 1] ^ 1]) + raw[second - ENTRY :],
    }
    for name, changed in changes.items():
        path.write_bytes(changed)
        with pytest.raises(IntegrityError):
            pytest.fail(f"{name}: {vault.recover(pack_id)}")
        assert path.read_bytes() == changed


def test_octets_after_the_end_are_named(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [10])
    path = pack_file(tmp_path, address.pack_id)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError):
        vault.recover(address.pack_id)


@pytest.mark.parametrize("length", [0, 1, 255, 256])
def test_a_pack_that_was_being_made_is_removed(tmp_path: Path, length: int) -> None:
    vault, pack_id, (first,) = abandoned(tmp_path, [10])
    path = pack_file(tmp_path, pack_id)
    path.write_bytes(path.read_bytes()[:length])
    assert vault.recover(pack_id).records == ()
    assert not path.exists()
    assert first > length


def test_a_pack_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"x")
    with pytest.raises(UsageError):
        vault.recover(pack.pack_id)
    record = pack.begin(identity(1))
    record.write(bytes(3_000_000))  # on its way, in part on the disk
    assert findings(vault, pack.pack_id) == []
    assert len(whole_records(vault, pack.pack_id)) == 1
    record.abort()
    pack.close()


CHILD = """
import sys
from pathlib import Path
from store.vault.vault_room import STUDY, body, new_vault, store
vault = new_vault(Path(sys.argv[1]))
pack = vault.open_pack(STUDY, 7)
number = 0
while True:
    address = store(pack, number, body(number, number * 7919 % 150_000))
    print(number, address.offset, address.length, flush=True)
    number += 1
"""


@pytest.mark.parametrize("answered", [1, 5, 23, 60])
def test_after_kill_9_everything_that_was_answered_is_there(tmp_path: Path, answered: int) -> None:
    tests = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}"},
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(answered)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    promised = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    vault = new_vault(tmp_path)
    (pack_id,) = vault.pack_ids()
    pack = vault.recover(pack_id)
    found = [(n, r.address.offset, r.address.length) for n, r in enumerate(pack.records)]
    assert found[: len(promised)] == promised
    assert len(found) <= len(promised) + 1  # one may have been durable before its answer
    assert findings(vault, pack_id) == []
    for number, record in enumerate(pack.records):
        opened = vault.open(record.address, identity(number))
        assert opened.read(0, 1 << 20) == body(number, number * 7919 % 150_000)
        opened.close()
