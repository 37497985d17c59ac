"""The vault with the site's real keys, from one start to the next."""

from pathlib import Path

from fake_clock import FakeClock
from leadglass.store.vault.interfaces import PackWriter, RecordWriter, SealedObject, Vault
from leadglass.store.vault.service import FileVault
from leadglass.trust.keys.interfaces import KeyRing
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import create_site_keys, open_site_keys
from store.vault.vault_room import OTHER_STUDY, STUDY, body, fill, findings, footer, identity, store


def test_an_archive_of_two_studies_opens_after_a_restart_with_the_sites_own_keys(tmp_path: Path) -> None:
    clock = FakeClock()
    provider = KeyFileProvider.create(tmp_path / "root.key")
    keys = create_site_keys(tmp_path / "ledger", provider, clock)
    vault: Vault = FileVault(tmp_path, keys, clock)
    stored = []
    for study in (STUDY, OTHER_STUDY):
        pack: PackWriter = vault.open_pack(study, 5, quarantine=study == OTHER_STUDY)
        record: RecordWriter = pack.begin(identity(1, study))
        record.write(body(1, 100_000))
        stored.append(record.commit(footer(identity(1, study), 100_000)))
        pack.close()
    assert stored[0].key_id != stored[1].key_id

    again: KeyRing = open_site_keys(tmp_path / "ledger", provider, clock)
    vault = FileVault(tmp_path, again, clock)
    for study, address in zip((STUDY, OTHER_STUDY), stored, strict=True):
        opened: SealedObject = vault.open(address, identity(1, study))
        assert opened.read(0, 100_000) == body(1, 100_000)
        opened.close()
    recovered = [vault.recover(pack_id) for pack_id in vault.pack_ids()]
    assert sorted(r.address.offset for pack in recovered for r in pack.records) == [256, 256]


def test_two_vaults_on_one_folder_read_what_one_of_them_writes(tmp_path: Path) -> None:
    clock = FakeClock()
    keys = create_site_keys(tmp_path / "ledger", KeyFileProvider.create(tmp_path / "root.key"), clock)
    one, other = FileVault(tmp_path, keys, clock), FileVault(tmp_path, keys, clock)
    pack = one.open_pack(STUDY, 0)
    address = store(pack, 1, b"while it is being written")
    opened = other.open(address, identity(1))
    assert opened.read(6, 100) == b"it is being written"
    opened.close()
    pack.close()
    assert findings(other, address.pack_id) == []
    assert len(fill(other, [1, 2])) == 2
