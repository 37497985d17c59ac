"""A pack of format version 1, frozen: every later version must read these octets, and version 1 must write them."""

import shutil
from pathlib import Path

import pytest

from leadglass.store.vault.record import PLAIN
from store.vault.vault_room import (
    STUDY,
    body,
    counted_random,
    findings,
    footer,
    identity,
    new_vault,
    pack_file,
    store,
)

VECTOR = Path(__file__).resolve().parents[2] / "vectors" / "vault-v1.bin"
PACK_ID = bytes.fromhex("01a20244e800748b895be41aba982748")
LENGTHS = [300, PLAIN, 0]


def written_pack(root: Path) -> Path:
    vault = new_vault(root, counted_random())
    pack = vault.open_pack(STUDY, 42, quarantine=True)
    for number, length in enumerate(LENGTHS):
        store(pack, number, body(number, length))
    pack.close()
    return pack_file(root, pack.pack_id)


def test_the_frozen_pack_still_opens(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    path = tmp_path / "packs" / PACK_ID.hex()[20:22] / f"{PACK_ID.hex()}.pack"
    path.parent.mkdir()
    shutil.copy(VECTOR, path)
    assert findings(vault, PACK_ID) == []
    pack = vault.recover(PACK_ID)
    assert (pack.closed, pack.cut_octets, pack.journal_floor) == (True, 0, 42)
    assert [r.footer for r in pack.records] == [footer(identity(n), x) for n, x in enumerate(LENGTHS)]
    for number, (record, length) in enumerate(zip(pack.records, LENGTHS, strict=True)):
        opened = vault.open(record.address, identity(number))
        assert opened.read(0, length) == body(number, length)
        opened.close()


def test_version_1_is_written_to_the_same_octets(tmp_path: Path) -> None:
    path = written_pack(tmp_path)
    assert path.stem == PACK_ID.hex()
    if (
        path.read_bytes() != VECTOR.read_bytes()
    ):  # not compared by assert: the difference would be 66 KiB of text
        pytest.fail("the format changed: give it a new version number and a vector of its own")
