"""Whoever can write to the folder can destroy, but not change: every change is found and named, and never served."""

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import IntegrityError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.store.vault.service import FileVault
from store.vault.vault_room import (
    OTHER_STUDY,
    STUDY,
    HKDFKeyRing,
    HKDFStudyKey,
    body,
    fill,
    findings,
    identity,
    new_vault,
    pack_file,
    store,
    whole_records,
)

LENGTHS = [40, 0, 300]


def served(vault: FileVault, address: RecordAddress, number: int) -> bytes:
    opened = vault.open(address, identity(number))
    try:
        return b"".join(bytes(piece) for piece in opened.stream())
    finally:
        opened.close()


def test_an_untouched_pack_has_no_finding_and_all_its_records(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    addresses = fill(vault, LENGTHS)
    items = list(vault.verify(addresses[0].pack_id))
    assert [item.address for item in whole_records(vault, addresses[0].pack_id)] == addresses
    assert len(items) == len(addresses)
    assert [served(vault, a, n) for n, a in enumerate(addresses)] == [
        body(n, x) for n, x in enumerate(LENGTHS)
    ]
    assert list(vault.foreign_files()) == []


def test_every_flipped_octet_is_found_and_never_served(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [40])
    pack_id = address.pack_id
    path = pack_file(tmp_path, pack_id)
    # A record and the commit entry that says it was committed stand or fall together; header and end do not serve it.
    record = range(address.offset, address.offset + address.length + 128)
    original = path.read_bytes()
    for at in range(len(original)):
        changed = bytearray(original)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        assert findings(vault, pack_id), f"octet {at} was changed and not found"
        try:
            assert served(vault, address, 0) == body(0, 40)
            assert at not in record, f"octet {at} was changed and served"
        except IntegrityError:
            assert at in record, f"octet {at} is not the record's"


def parts(path: Path, addresses: list[RecordAddress]) -> list[bytes]:
    """Header, then each record with its commit entry, then the end."""
    raw = path.read_bytes()
    cuts = [0, *(a.offset for a in addresses), addresses[-1].offset + addresses[-1].length + 128, len(raw)]
    return [raw[begin:end] for begin, end in pairwise(cuts)]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: [p[0], *p[2:]],
        lambda p: [p[0], p[2], p[1], *p[3:]],
        lambda p: [p[0], p[1], p[1], *p[2:]],
        lambda p: [*p[:3], p[4]],
        lambda p: [*p[:4], p[3], p[4]],
        lambda p: p[:-1],
        lambda p: [*p[:-1], p[-1][:-1]],
        lambda p: [*p, b"\0"],
        lambda p: [*p, p[3], p[4]],
        lambda p: p[:3],
        lambda p: p[:1],
        lambda p: [],
        lambda p: [p[0][:100]],
        lambda p: [p[0], b"\0", *p[1:]],
        lambda p: [bytes(256), *p[1:]],
        lambda p: [p[0], p[1], bytes(len(p[2])), *p[3:]],
        lambda p: [p[0], p[4]],
    ],
    ids=[
        "drop-first",
        "swap",
        "duplicate",
        "drop-last",
        "repeat-last",
        "cut-end",
        "cut-octet",
        "append-octet",
        "append-record",
        "cut-record-and-end",
        "header-only",
        "empty",
        "half-header",
        "insert-octet",
        "blank-header",
        "blank-record",
        "only-end",
    ],
)
def test_a_rearranged_pack_is_found(change: Callable[[list[bytes]], list[bytes]], tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    addresses = fill(vault, LENGTHS)
    path = pack_file(tmp_path, addresses[0].pack_id)
    path.write_bytes(b"".join(change(parts(path, addresses))))
    assert findings(vault, addresses[0].pack_id)
    for number, address in enumerate(addresses):
        try:
            assert served(vault, address, number) == body(number, LENGTHS[number])
        except IntegrityError:
            continue


def test_one_damaged_record_does_not_hide_the_others(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    addresses = fill(vault, LENGTHS)
    path = pack_file(tmp_path, addresses[0].pack_id)
    raw = bytearray(path.read_bytes())
    raw[addresses[1].offset + 256] ^= 0xFF  # the length word of its only segment: the hint leads nowhere
    path.write_bytes(raw)
    (finding,) = findings(vault, addresses[0].pack_id)
    assert finding.where == f"{addresses[0].pack_id.hex()}@{addresses[1].offset}"
    assert [r.address for r in whole_records(vault, addresses[0].pack_id)] == [addresses[0], addresses[2]]


def test_a_record_moved_to_the_same_place_of_another_pack_is_neither_served_nor_whole(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    one, other = fill(vault, LENGTHS), fill(vault, LENGTHS)
    source, target = pack_file(tmp_path, one[0].pack_id), pack_file(tmp_path, other[0].pack_id)
    raw = bytearray(target.read_bytes())
    begin, end = one[0].offset, one[0].offset + one[0].length
    raw[begin:end] = source.read_bytes()[begin:end]
    target.write_bytes(raw)
    assert findings(vault, other[0].pack_id)
    with pytest.raises(IntegrityError):
        served(vault, other[0], 0)
    # With its commit entry, and an index that was led to believe it: the entry belongs to the other pack.
    raw[begin : end + 128] = source.read_bytes()[begin : end + 128]
    target.write_bytes(raw)
    lie = RecordAddress(other[0].pack_id, begin, one[0].length, one[0].object_id, one[0].key_id)
    with pytest.raises(IntegrityError):
        served(vault, lie, 0)
    assert findings(vault, other[0].pack_id)


def test_a_swapped_pack_file_is_found(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    one, other = fill(vault, LENGTHS), fill(vault, LENGTHS)
    shutil.copy(pack_file(tmp_path, one[0].pack_id), pack_file(tmp_path, other[0].pack_id))
    assert [f.what for f in findings(vault, other[0].pack_id)] == [
        "the file holds another pack than its name says"
    ]
    with pytest.raises(IntegrityError):
        served(vault, other[0], 0)


def test_a_missing_pack_is_found(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [10])
    pack_file(tmp_path, address.pack_id).unlink()
    assert [f.what for f in findings(vault, address.pack_id)] == ["the pack's file is missing"]
    with pytest.raises(IntegrityError):
        served(vault, address, 0)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [10])
    path = pack_file(tmp_path, address.pack_id)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert findings(vault, address.pack_id)
    assert list(vault.pack_ids()) == []
    assert list(vault.foreign_files())
    with pytest.raises(IntegrityError):
        served(vault, address, 0)


def test_an_older_copy_of_the_pack_does_not_serve_what_it_lacks(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    pack = vault.open_pack(STUDY, 0)
    store(pack, 0, b"first")
    older = pack_file(tmp_path, pack.pack_id).read_bytes()
    newer = store(pack, 1, b"second")
    pack.close()
    pack_file(tmp_path, pack.pack_id).write_bytes(older)
    assert any("no end" in f.what for f in findings(vault, pack.pack_id))
    with pytest.raises(IntegrityError):
        served(vault, newer, 1)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [10])
    path = pack_file(tmp_path, address.pack_id)
    (tmp_path / "packs" / "notes.txt").write_text("x")
    (path.parent / "Thumbs.db").write_text("x")
    wrong = tmp_path / "packs" / ("00" if path.parent.name != "00" else "01")
    wrong.mkdir()
    shutil.copy(path, wrong)  # a pack, but not in its place
    assert sorted(f.where for f in vault.foreign_files()) == sorted(
        ["packs", f"packs/{path.parent.name}", f"packs/{wrong.name}"]
    )
    assert list(vault.pack_ids()) == [address.pack_id]


def test_an_object_opens_only_as_itself(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    one, two = fill(vault, [10, 20])
    (other,) = fill(vault, [10], study_uid=OTHER_STUDY)
    with pytest.raises(IntegrityError):
        vault.open(one, identity(1))  # another instance
    with pytest.raises(IntegrityError):
        vault.open(one, identity(0, OTHER_STUDY))  # another study
    changed = [
        RecordAddress(one.pack_id, two.offset, two.length, one.object_id, one.key_id),
        RecordAddress(one.pack_id, one.offset, one.length, two.object_id, one.key_id),
        RecordAddress(one.pack_id, one.offset, one.length - 1, one.object_id, one.key_id),
        RecordAddress(one.pack_id, one.offset, one.length + 128 + two.length, one.object_id, one.key_id),
        RecordAddress(one.pack_id, one.offset + 1, one.length, one.object_id, one.key_id),
        RecordAddress(one.pack_id, one.offset, one.length, one.object_id, other.key_id),
        RecordAddress(other.pack_id, one.offset, one.length, one.object_id, one.key_id),
    ]
    for address in changed:
        with pytest.raises(IntegrityError):
            vault.open(address, identity(0))


def test_every_uid_of_the_object_is_part_of_what_is_opened(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [10])
    for field in fields(ObjectIdentity):
        with pytest.raises(IntegrityError):
            vault.open(address, replace(identity(0), **{field.name: UID("1.2.3")}))
    vault.open(address, identity(0)).close()


class ForgetfulKey(HKDFStudyKey):
    """Binds records to no context at all."""

    def context_tag(self, context: bytes) -> bytes:
        return bytes(32)


def test_a_record_that_is_not_bound_to_its_uids_is_refused_even_when_all_else_is_authentic(
    tmp_path: Path,
) -> None:
    keys = HKDFKeyRing(study_key=ForgetfulKey)
    (address,) = fill(FileVault(tmp_path, keys, FakeClock()), [10])
    vault = new_vault(tmp_path)
    with pytest.raises(IntegrityError, match="context"):
        vault.open(address, identity(0))
    assert ["context" in f.what for f in findings(vault, address.pack_id)] == [True]


def test_another_generation_of_the_study_key_is_refused(tmp_path: Path) -> None:
    keys = HKDFKeyRing()
    vault = FileVault(tmp_path, keys, FakeClock())
    (address,) = fill(vault, [10])
    keys.by_id(address.key_id).generation = 2
    with pytest.raises(IntegrityError, match="another object"):
        vault.open(address, identity(0))


def test_another_tenant_or_root_key_opens_nothing(tmp_path: Path) -> None:
    (address,) = fill(new_vault(tmp_path), [10])
    other_tenant = HKDFKeyRing(tenant_id=b"\xff" * 16)
    other_tenant.study_key(STUDY)
    vault = FileVault(tmp_path, other_tenant, FakeClock())
    with pytest.raises(IntegrityError):
        vault.open(address, identity(0))
    assert [f.what for f in findings(vault, address.pack_id)] == ["the pack belongs to another tenant"]


def test_a_destroyed_key_shreds_its_packs_and_no_others(tmp_path: Path) -> None:
    keys = HKDFKeyRing()
    vault = FileVault(tmp_path, keys, FakeClock())
    (gone,) = fill(vault, [10])
    (kept,) = fill(vault, [10], study_uid=OTHER_STUDY)
    keys.destroyed.add(gone.key_id)
    with pytest.raises(KeyUnavailable):
        vault.open(gone, identity(0))
    with pytest.raises(KeyUnavailable):
        vault.recover(gone.pack_id)
    with pytest.raises(KeyUnavailable):
        vault.open_pack(STUDY, 0)
    assert findings(vault, gone.pack_id)
    vault.open(kept, identity(0, OTHER_STUDY)).close()


def test_nothing_readable_reaches_the_disk(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [100_000])
    raw = pack_file(tmp_path, address.pack_id).read_bytes()
    for canary in (STUDY.encode(), b"CT1", b"LEADGLASS", b"192.0.2.7", body(0, 32)):
        assert canary not in raw
    assert STUDY not in str(pack_file(tmp_path, address.pack_id))


def test_no_file_stays_open(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    addresses = fill(vault, LENGTHS)
    served(vault, addresses[0], 0)
    with pytest.raises(IntegrityError):
        vault.open(addresses[0], identity(1))
    findings(vault, addresses[0].pack_id)
    vault.recover(addresses[0].pack_id)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
