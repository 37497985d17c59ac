"""Packs: what is committed is durable, what fails never happened, and memory does not depend on the object."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import KeyUnavailable, LocalProtocolError, OutOfResources
from leadglass.base.limits import MIB
from leadglass.base.objects import RecordAddress
from leadglass.store.vault.service import FileVault
from store.vault.vault_room import (
    OTHER_STUDY,
    STUDY,
    HKDFKeyRing,
    body,
    findings,
    footer,
    identity,
    new_vault,
    pack_file,
    store,
    whole_records,
)


def test_files_are_private_and_their_names_come_from_nowhere(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"x")
    pack.close()
    path = pack_file(tmp_path, pack.pack_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "packs").stat().st_mode) == 0o700
    assert path.relative_to(tmp_path).parts == (
        "packs",
        pack.pack_id.hex()[20:22],
        pack.pack_id.hex() + ".pack",
    )


def test_a_pack_without_a_record_leaves_no_file(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    vault.open_pack(STUDY, 0).close()
    refused = vault.open_pack(STUDY, 0)
    record = refused.begin(identity())
    record.write(bytes(3 * MIB))  # went to the disk in part
    record.abort()
    refused.close()
    assert list(vault.pack_ids()) == []
    assert vault.bytes_used() == 0
    assert [p for p in (tmp_path / "packs").rglob("*") if p.is_file()] == []


def test_packs_are_listed_oldest_first_with_their_size(tmp_path: Path) -> None:
    clock = FakeClock()
    vault = FileVault(tmp_path, HKDFKeyRing(), clock)
    ids = []
    for _ in range(5):
        pack = vault.open_pack(STUDY, 0)
        store(pack, 0, b"x" * 1000)
        pack.close()
        ids.append(pack.pack_id)
        clock.advance(1)
    assert list(vault.pack_ids()) == ids
    assert vault.bytes_used() == sum(pack_file(tmp_path, i).stat().st_size for i in ids)


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
def test_an_aborted_record_leaves_nothing_and_the_pack_goes_on(tmp_path: Path, size: int) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    first = store(pack, 0, b"first")
    record = pack.begin(identity(1))
    record.write(bytes(size))
    record.abort()
    record.abort()  # harmless
    second = store(pack, 2, b"second")
    assert second.offset == first.offset + first.length + 128
    pack.close()
    assert findings(vault, pack.pack_id) == []
    assert len(whole_records(vault, pack.pack_id)) == pack.record_count == 2


def test_closing_aborts_what_is_under_way(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"first")
    record = pack.begin(identity(1))
    record.write(bytes(3 * MIB))
    pack.close()
    pack.close()  # harmless
    with pytest.raises(LocalProtocolError):
        record.write(b"late")
    assert findings(vault, pack.pack_id) == []
    assert pack.record_count == 1


def test_misuse_is_our_own_fault(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    with pytest.raises(LocalProtocolError):
        pack.begin(identity(1, OTHER_STUDY))
    record = pack.begin(identity(1))
    with pytest.raises(LocalProtocolError):
        pack.begin(identity(2))
    record.write(b"abc")
    with pytest.raises(LocalProtocolError):
        record.commit(footer(identity(2), 3))  # another object
    with pytest.raises(LocalProtocolError):
        record.commit(replace(footer(identity(1), 3), dataset_offset=1))  # more than there is
    record.commit(footer(identity(1), 3))
    with pytest.raises(LocalProtocolError):
        record.commit(footer(identity(1), 3))
    record.abort()  # harmless after commit
    assert pack.record_count == 1
    pack.close()
    with pytest.raises(LocalProtocolError):
        pack.begin(identity(2))
    with pytest.raises(LocalProtocolError):
        vault.recover(b"short")


def test_a_full_pack_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.store.vault.pack.PACK_BYTES_MAX", 5000)
    pack = new_vault(tmp_path).open_pack(STUDY, 0)
    fullness = [pack.full]
    store(pack, 0, bytes(6000))
    fullness.append(pack.full)
    assert fullness == [False, True]
    pack.close()


def test_an_object_longer_than_any_may_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.store.vault.pack.OBJECT_BYTES_MAX", 5000)
    pack = new_vault(tmp_path).open_pack(STUDY, 0)
    with pytest.raises(OutOfResources):
        store(pack, 0, bytes(5001))
    store(pack, 1, bytes(5000))
    pack.close()


def test_no_pack_is_opened_for_a_destroyed_study(tmp_path: Path) -> None:
    keys = HKDFKeyRing()
    keys.destroyed.add(keys.study_key(STUDY).key_id)
    with pytest.raises(KeyUnavailable):
        FileVault(tmp_path, keys, FakeClock()).open_pack(STUDY, 0)


def test_an_answer_comes_after_file_and_folder_were_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_pwrite, real_fdatasync, real_fsync = os.pwrite, os.fdatasync, os.fsync

    def name(fd: int) -> str:
        return Path(f"/proc/self/fd/{fd}").readlink().suffix or "folder"

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        calls.append("write")
        return real_pwrite(fd, data, offset)

    def fdatasync(fd: int) -> None:
        calls.append(f"sync {name(fd)}")
        real_fdatasync(fd)

    def fsync(fd: int) -> None:
        calls.append(f"sync {name(fd)}")
        real_fsync(fd)

    vault = new_vault(tmp_path)
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "fsync", fsync)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"x" * 500_000)
    # parent of a new folder, header, its folder; then the whole record in one call
    assert calls == ["sync folder", "write", "sync .pack", "sync folder", "write", "sync .pack"]
    calls.clear()
    store(pack, 1, b"x" * 500_000)
    assert calls == ["write", "sync .pack"]
    pack.close()


def failing(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_after_a_failed_sync_nothing_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    first = store(pack, 0, b"first")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(OutOfResources, match="EIO"):
            store(pack, 1, b"second")
    assert pack.full
    assert pack.record_count == 1
    with pytest.raises(OutOfResources):
        pack.begin(identity(2))
    with pytest.raises(OutOfResources, match="recovered"):
        pack.close()
    pack.close()  # harmless
    recovered = vault.recover(pack.pack_id)  # reads what is really there
    assert [r.address for r in recovered.records] == [first]
    assert findings(vault, pack.pack_id) == []
    other = vault.open_pack(STUDY, 0)  # the vault goes on
    store(other, 1, b"second")
    other.close()


def test_a_failed_write_is_cut_back_and_the_pack_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"first")
    real_pwrite = os.pwrite

    def half(fd: int, data: memoryview, offset: int) -> int:
        real_pwrite(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", half)
        with pytest.raises(OutOfResources, match="no room"):
            store(pack, 1, b"second")
    store(pack, 2, b"third")
    pack.close()
    assert findings(vault, pack.pack_id) == []
    assert [r.footer.identity for r in whole_records(vault, pack.pack_id)] == [identity(0), identity(2)]


def test_a_write_that_takes_less_than_asked_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = new_vault(tmp_path)
    real_pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_pwrite(fd, data[:1000], offset))
    pack = vault.open_pack(STUDY, 0)
    address = store(pack, 0, body(0, 10_000))
    pack.close()
    opened = vault.open(address, identity(0))
    assert opened.read(0, 10_000) == body(0, 10_000)
    opened.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("size", [10_000, 300_000])
def test_a_full_disk_loses_nothing_that_was_answered(tiny_disk: Path, size: int) -> None:
    vault = new_vault(tiny_disk)
    pack = vault.open_pack(STUDY, 0)
    stored: list[RecordAddress] = []

    def fill_up() -> None:
        for number in range(200):
            stored.append(store(pack, number, body(number, size)))  # noqa: PERF401 - what was stored before it fails counts

    with pytest.raises(OutOfResources, match="no room"):
        fill_up()
    assert 2 <= len(stored) < 200
    # The pack is usable, but its end may need a page that is not there.
    try:
        pack.close()
    except OutOfResources:
        assert len(vault.recover(pack.pack_id).records) == len(stored)
    assert findings(vault, pack.pack_id) == []
    for number, address in enumerate(stored):
        opened = vault.open(address, identity(number))
        assert opened.read(0, size) == body(number, size)
        opened.close()


def test_a_disk_too_full_for_the_first_record_keeps_no_pack(tiny_disk: Path) -> None:
    vault = new_vault(tiny_disk)
    pack = vault.open_pack(STUDY, 0)
    record = pack.begin(identity())
    with pytest.raises(OutOfResources, match="no room"):
        record.write(bytes(10 * MIB))
    pack.close()
    assert list(vault.pack_ids()) == []


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "packs").write_text("a file")
    with pytest.raises(OutOfResources):
        FileVault(tmp_path, HKDFKeyRing(), FakeClock())


def test_several_packs_are_written_at_once(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    sizes = [0, 500, 65_504, 200_000, 1_500_000]
    failures: list[BaseException] = []
    ids: list[bytes] = []

    def burst() -> None:
        try:
            pack = vault.open_pack(STUDY, 0)
            for number in range(20):
                store(pack, number, body(number, sizes[number % len(sizes)]))
            pack.close()
            ids.append(pack.pack_id)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is told by the test
            failures.append(error)

    threads = [threading.Thread(target=burst) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(vault.pack_ids()) == sorted(ids)
    for pack_id in ids:
        assert findings(vault, pack_id) == []
        assert [r.footer.identity for r in whole_records(vault, pack_id)] == [identity(n) for n in range(20)]


MEMORY = """
import resource, sys
from pathlib import Path
from store.vault.vault_room import STUDY, footer, identity, new_vault
vault = new_vault(Path(sys.argv[1]))
chunk = memoryview(bytes(range(256)) * 1024)
pack = vault.open_pack(STUDY, 0)
def send(chunks):
    record = pack.begin(identity())
    for _ in range(chunks):
        record.write(chunk)
    address = record.commit(footer(identity(), chunks * len(chunk)))
    opened = vault.open(address, identity())
    assert sum(len(piece) for piece in opened.stream()) == chunks * len(chunk)
    opened.close()
send(16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
send(1024)
pack.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_an_object_of_256_mib(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}"},
    )
    assert int(done.stdout) < 2048  # KiB
