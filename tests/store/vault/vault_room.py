"""What the tests of the vault share: a key ring with real HKDF, one object, and a vault in a folder.

``HKDFKeyRing`` makes study keys from their UID so that a test needs no ledger. It is checked against the contract in
``test_vault_room.py``.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fake_clock import FakeClock
from leadglass.base.errors import KeyUnavailable
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, Origin, RecordAddress
from leadglass.store.vault.interfaces import Finding, Footer, RecoveredRecord
from leadglass.store.vault.pack import FilePackWriter
from leadglass.store.vault.service import FileVault

TENANT = bytes(range(16))
STUDY = UID("1.2.826.0.1.3680043.8.498.1")
OTHER_STUDY = UID("1.2.826.0.1.3680043.8.498.2")


def expand(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, info).derive(key)


class HKDFStudyKey:
    """Implements ``StudyKey``."""

    def __init__(self, secret: bytes, key_id: bytes, generation: int = 1) -> None:
        self._secret = secret
        self.key_id = key_id
        self.generation = generation
        self._context_key = expand(secret, b"test/context")

    def object_key(self, object_id: bytes, version: int, suite: int) -> bytes:
        info = b"test/object" + object_id + version.to_bytes(8, "big") + suite.to_bytes(2, "big")
        return expand(self._secret, info)

    def context_tag(self, context: bytes) -> bytes:
        return hmac.digest(self._context_key, context, "sha256")

    def pack_key(self, pack_id: bytes) -> bytes:
        return expand(self._secret, b"test/pack" + pack_id)


class HKDFKeyRing:
    """Implements ``KeyRing``."""

    def __init__(
        self, tenant_id: bytes = TENANT, root: bytes = b"root", study_key: type[HKDFStudyKey] = HKDFStudyKey
    ) -> None:
        self.tenant_id = tenant_id
        self._study_key = study_key
        self._root = root
        self._keys: dict[bytes, HKDFStudyKey] = {}
        self.destroyed: set[bytes] = set()

    def study_key(self, study_uid: UID) -> HKDFStudyKey:
        secret = hashlib.sha256(self._root + study_uid.encode()).digest()
        key_id = hashlib.sha256(b"id" + secret).digest()[:16]
        return self.by_id(self._keys.setdefault(key_id, self._study_key(secret, key_id)).key_id)

    def by_id(self, key_id: bytes) -> HKDFStudyKey:
        if key_id in self.destroyed or key_id not in self._keys:
            raise KeyUnavailable("no such study key")
        return self._keys[key_id]


def counted_random(seed: bytes = b"vector") -> Callable[[int], bytes]:
    """Return a source of octets that are the same in every run."""
    count = 0

    def take(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(seed + count.to_bytes(8, "big")).digest(length)

    return take


def new_vault(root: Path, random: Callable[[int], bytes] | None = None) -> FileVault:
    keys = HKDFKeyRing()
    keys.study_key(STUDY)
    keys.study_key(OTHER_STUDY)
    if random is None:
        return FileVault(root, keys, FakeClock())
    return FileVault(root, keys, FakeClock(), random=random)


def identity(number: int = 1, study_uid: UID = STUDY) -> ObjectIdentity:
    return ObjectIdentity(
        study_uid=study_uid,
        series_uid=UID(f"{study_uid}.1"),
        sop_instance_uid=UID(f"{study_uid}.1.{number}"),
        sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax_uid=UID("1.2.840.10008.1.2.1"),
    )


def footer(of: ObjectIdentity, length: int, quarantined: str = "") -> Footer:
    return Footer(
        identity=of,
        origin=Origin(
            principal="device:CT1",
            calling_ae_title="CT1",
            called_ae_title="LEADGLASS",
            address="192.0.2.7",
            certificate_sha256="ab" * 32,
            received_at=datetime(2026, 11, 22, 8, 0, 1, 234567, tzinfo=UTC),
            correlation_id="c-1",
        ),
        dataset_offset=0,
        dataset_length=length,
        quarantined=quarantined,
    )


def body(number: int, length: int) -> bytes:
    """Return the octets of test object ``number``: not zero anywhere, and different for each."""
    return (hashlib.sha256(number.to_bytes(8, "big")).hexdigest().encode() * (length // 64 + 1))[:length]


def store(pack: FilePackWriter, number: int, data: bytes) -> RecordAddress:
    record = pack.begin(identity(number, pack.study_uid))
    record.write(data)
    return record.commit(footer(identity(number, pack.study_uid), len(data)))


def fill(
    vault: FileVault, lengths: list[int], *, study_uid: UID = STUDY, close: bool = True
) -> list[RecordAddress]:
    """Store one object per length in a new pack."""
    pack = vault.open_pack(study_uid, 7)
    addresses = [store(pack, n, body(n, length)) for n, length in enumerate(lengths)]
    if close:
        pack.close()
    return addresses


def pack_file(root: Path, pack_id: bytes) -> Path:
    (path,) = (root / "packs").rglob(pack_id.hex() + ".pack")
    return path


def findings(vault: FileVault, pack_id: bytes) -> list[Finding]:
    return [item for item in vault.verify(pack_id) if isinstance(item, Finding)]


def whole_records(vault: FileVault, pack_id: bytes) -> list[RecoveredRecord]:
    return [item for item in vault.verify(pack_id) if isinstance(item, RecoveredRecord)]
