"""Whatever is changed behind the node's back is named, and nothing that was changed is ever served."""

import shutil
from pathlib import Path

import pytest

from faults.conftest import Filled
from faults.open_site import ask, flip, opened, sampled, what_is_named
from faults.state_of_site import entries
from hostile.peer import ASSOCIATE_RJ, Peer, Slice, ct_slice, fetch
from leadglass.app.clock import SystemClock
from leadglass.app.compose import Node
from leadglass.base.errors import IntegrityError, KeyUnavailable, LeadglassError
from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.trust.identity.models import Principal
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import open_site_keys
from leadglass.trust.policy.interfaces import Permission


def test_the_untouched_site_has_nothing_to_name(filled: Filled) -> None:
    assert what_is_named(filled.site.root) == []


# --- packs -----------------------------------------------------------------------------------------------------

READER = Principal("device:ct1", ("query-retrieve",))


def served(node: Node, image: Slice) -> bytes | None:
    """Read an object as a retrieve does; None when it was refused."""
    record = node.index.lookup(UID(image.sop_instance))
    assert record is not None
    grant = node.access.permit(READER, Permission.INSTANCE_RETRIEVE)
    try:
        sealed = node.access.open(grant, record)
    except (IntegrityError, KeyUnavailable):
        return None
    try:
        return b"".join(bytes(piece) for piece in sealed.stream(record.dataset_offset))
    except IntegrityError:
        return None
    finally:
        sealed.close()


def test_every_octet_of_a_pack(filled: Filled) -> None:
    """One bit of every octet: the pack's verification names it, and what is served is what was sent or nothing."""
    pack = filled.packs[0]
    with opened(filled.site.root) as node:
        pack_id = bytes.fromhex(pack.stem)
        mine = [i for i in filled.images if record_pack(node, i) == pack_id][:1]
        refused = 0
        for offset in range(pack.stat().st_size):
            flip(pack, offset, 1 << offset % 8)
            named = [found for found in node.vault.verify(pack_id) if hasattr(found, "what")]
            assert named, f"octet {offset} was changed and nobody noticed"
            # Reading writes an event for each refusal: every 16th octet, that is one per cipher block.
            for image in mine if offset % 16 == 0 else ():
                got = served(node, image)
                assert got in {None, image.dataset}, f"octet {offset} was changed and served"
                refused += got is None
            flip(pack, offset, 1 << offset % 8)
        assert refused > 30
        assert not [found for found in node.vault.verify(pack_id) if hasattr(found, "what")]


def record_pack(node: Node, image: Slice) -> bytes:
    record = node.index.lookup(UID(image.sop_instance))
    assert record is not None
    return record.address.pack_id


def test_altered_object_is_a_failed_suboperation_and_an_event(filled: Filled) -> None:
    node, study = filled.site, filled.images[0].study
    theirs = [image for image in filled.images if image.study == study]
    with opened(node.root) as site:
        record = site.index.lookup(UID(theirs[2].sop_instance))
        assert record is not None
        victim, offset = record.address.pack_id.hex(), record.address.offset + record.address.length // 2
    (pack,) = [path for path in filled.packs if path.stem == victim]
    node.start()
    flip(pack, offset)
    status, got, failed = fetch(node, filled.device, study)
    assert (status, failed) == (0xB000, 1)
    assert got == {image.key: image.dataset for image in theirs if image is not theirs[2]}
    (event,) = entries(node, "--event", "vault:object:integrity_failed", "--details")
    assert event["outcome"] == "serious_failure"
    assert event["facts"]["pack"] == victim
    assert event["actor"]["principal"] == "device:ct1"
    assert event["detail"]["objects"]["instance"] == [theirs[2].sop_instance]
    report = node.on_site("vault", "verify", status=8)
    assert any(victim in finding["where"] for finding in report["findings"])
    node.stop()


def test_deleted_swapped_and_shortened_packs(filled: Filled) -> None:
    first, second = filled.packs
    whole = first.read_bytes()
    first.unlink()
    assert what_is_named(filled.site.root)
    first.write_bytes(second.read_bytes())  # another pack under its name
    assert what_is_named(filled.site.root)
    first.write_bytes(whole[: len(whole) * 2 // 3])
    assert what_is_named(filled.site.root)
    first.write_bytes(whole + b"\0" * 100)
    assert what_is_named(filled.site.root)
    first.write_bytes(whole)
    assert what_is_named(filled.site.root) == []


def test_records_of_two_packs_exchanged(filled: Filled) -> None:
    """The same lengths, both authentic, each in the other's place."""
    with opened(filled.site.root) as node:
        one, two = (node.index.lookup(UID(image.sop_instance)) for image in filled.images[:2])
        assert one is not None
        assert two is not None
        assert one.address.length == two.address.length
        paths = {path.stem: path for path in filled.packs}
        pieces = []
        for record in (one, two):
            with paths[record.address.pack_id.hex()].open("rb") as file:
                file.seek(record.address.offset)
                pieces.append(file.read(record.address.length))
        for record, piece in zip((two, one), pieces, strict=True):
            with paths[record.address.pack_id.hex()].open("r+b") as file:
                file.seek(record.address.offset)
                file.write(piece)
        assert [served(node, image) for image in filled.images[:2]] == [None, None]
        assert len(ask(node, "vault-verify")["findings"]) >= 2


# --- index -----------------------------------------------------------------------------------------------------


def test_flips_in_the_index_database(filled: Filled) -> None:
    path = filled.site.root / "index" / "index.db"
    unnoticed = []
    for offset in sampled(path, 40):
        flip(path, offset, 0x80)
        if not what_is_named(filled.site.root):
            unnoticed.append(offset)
        flip(path, offset, 0x80)
    assert not unnoticed


@pytest.fixture
def crashed(filled: Filled) -> Filled:
    """The site as kill -9 left it: rows and key in their write-ahead logs."""
    more = [ct_slice(i, study="9", pixels=640) for i in range(4)]
    filled.site.start()
    with Peer(filled.site, filled.device) as peer:
        peer.accepted()
        assert [peer.store(image) for image in more] == [0] * 4
        filled.site.on_site("status")  # waits until the rows are in the database
        filled.site.kill()
    return Filled(filled.site, filled.device, [*filled.images, *more])


def test_flips_in_the_write_ahead_log_of_the_index(crashed: Filled, tmp_path: Path) -> None:
    """A frame that was changed ends the log for SQLite: what it held is made again from the packs, or named."""
    log = crashed.site.root / "index" / "index.db-wal"
    assert log.stat().st_size
    for offset in sampled(log, 2):
        copy = tmp_path / f"copy{offset}"
        shutil.copytree(crashed.site.root, copy, ignore=shutil.ignore_patterns("control.sock"))
        flip(copy / "index" / "index.db-wal", offset)
        if not what_is_named(copy):
            with opened(copy) as node:
                assert [served(node, image) for image in crashed.images] == [
                    i.dataset for i in crashed.images
                ]
        shutil.rmtree(copy)


def test_rows_deleted_with_the_real_key(filled: Filled) -> None:
    """Who holds the key of the database can hide a study from queries, but not from verification."""
    for statement in (
        "DELETE FROM instance WHERE id = (SELECT min(id) FROM instance)",
        "DELETE FROM study WHERE id = (SELECT min(id) FROM study)",
        "UPDATE instance SET sop_instance_uid = '1.2.3' WHERE id = (SELECT min(id) FROM instance)",
        "UPDATE instance SET record_offset = record_offset + 1",
        "UPDATE instance SET sealed = (SELECT sealed FROM instance ORDER BY id DESC LIMIT 1)",
        "UPDATE series SET study_id = 0",
        "DELETE FROM study_token",
    ):
        with opened(filled.site.root) as node:
            before = (filled.site.root / "index" / "index.db").read_bytes()
            key = node.keys.database_key("index")
        change(filled.site.root / "index" / "index.db", key.reveal(), statement)
        assert what_is_named(filled.site.root), statement
        (filled.site.root / "index" / "index.db").write_bytes(before)


def change(path: Path, key: bytes, statement: str) -> None:
    """Run a statement on the index as one who has its key."""
    database = SQLiteDatabase(path, Secret(key))
    with database.writing(durable=True) as transaction:
        transaction.execute(statement)
    database.close()


def test_reindex_after_the_index_is_gone(filled: Filled) -> None:
    for path in (filled.site.root / "index").iterdir():
        path.unlink()
    filled.site.start()  # the packs are replayed, for nothing says that they were closed
    status, got, failed = fetch(filled.site, filled.device, filled.images[0].study)
    assert (status, failed) == (0, 0)
    assert got == {i.key: i.dataset for i in filled.images if i.study == filled.images[0].study}
    filled.site.stop()
    report = filled.site.on_site("vault", "reindex")  # needs the site for itself
    filled.site.start()
    assert (report["packs"], report["records"], report["findings"]) == (2, 12, [])
    assert filled.site.on_site("status")["held"]["instances"] == 12
    assert filled.site.on_site("vault", "verify")["findings"] == []
    stored = entries(filled.site, "--event", "store:instance:stored")
    assert len(stored) == len({entry["event_id"] for entry in stored}) == 12
    filled.site.stop()


# --- keys, devices, audit --------------------------------------------------------------------------------------


def test_flips_in_the_key_ledger(filled: Filled) -> None:
    """Every row is authenticated; what is left of a page is empty, and holds nothing that could be changed."""
    path = filled.site.root / "keys" / "ledger.db"
    pristine = path.read_bytes()
    provider = KeyFileProvider.open(filled.site.root / "keys" / "root.key", filled.site.root / "vault")
    named = 0
    for offset in sampled(path, 150):
        flip(path, offset, 0x80)
        try:
            keys = open_site_keys(path, provider, SystemClock())
            try:
                found = list(keys.verify())
            finally:
                keys.close()
        except LeadglassError:
            named += 1
        else:
            named += bool(found)
            assert found or pristine[offset] == 0, f"octet {offset} of the ledger means something"
        flip(path, offset, 0x80)
    assert named > 5
    assert what_is_named(filled.site.root) == []


def test_flips_in_the_registry_of_devices(filled: Filled) -> None:
    path = filled.site.root / "identity" / "devices.json"
    with opened(filled.site.root) as node:
        for offset in range(0, path.stat().st_size, 3):
            flip(path, offset)
            with pytest.raises(IntegrityError):
                node.registry.list()
            flip(path, offset)
        assert [device.device_id for device in node.registry.list()] == ["ct1"]


def test_altered_registry_lets_nobody_in(filled: Filled) -> None:
    filled.site.start()
    path = filled.site.root / "identity" / "devices.json"
    path.write_bytes(path.read_bytes().replace(b'"query-retrieve"', b'"router",      '))
    with Peer(filled.site, filled.device) as peer:
        kind, _ = peer.associate()
    assert kind == ASSOCIATE_RJ
    filled.site.stop()


def audit_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "audit").rglob("*") if path.is_file() and path.stat().st_size)


def test_flips_in_every_file_of_the_audit_log(filled: Filled, tmp_path: Path) -> None:
    unnoticed = []
    pristine = tmp_path / "pristine"
    shutil.copytree(filled.site.root / "audit", pristine)
    for path in audit_files(filled.site.root):
        for offset in sampled(path, 4):
            flip(path, offset)
            if not what_is_named(filled.site.root):
                unnoticed.append((str(path.relative_to(filled.site.root)), offset))
            shutil.rmtree(filled.site.root / "audit")
            shutil.copytree(pristine, filled.site.root / "audit")
    assert not unnoticed


def test_deleted_files_of_the_audit_log(filled: Filled, tmp_path: Path) -> None:
    """Each file whose loss is a loss: partial tiles are superseded, and older checkpoints implied by newer ones."""
    unnoticed = []
    pristine = tmp_path / "pristine"
    shutil.copytree(filled.site.root / "audit", pristine)
    for path in audit_files(filled.site.root):
        path.unlink()
        if not what_is_named(filled.site.root):
            unnoticed.append(str(path.relative_to(filled.site.root / "audit")))
        shutil.rmtree(filled.site.root / "audit")
        shutil.copytree(pristine, filled.site.root / "audit")
    assert not [name for name in unnoticed if ".p/" not in name and not name.startswith("checkpoints/")]
