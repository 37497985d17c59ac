"""The archive with everything under it real, in one folder; and small synthetic images to put into it."""

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_clock import FakeClock
from leadglass.archive.access import Access, Grant
from leadglass.archive.commitment import Commitment
from leadglass.archive.disclosure import Disclosures
from leadglass.archive.ingest import Ingest, Stored, StoreRequest, StoreSession
from leadglass.archive.query import Finder
from leadglass.archive.reading import Reader
from leadglass.archive.recovery import Recovery, RecoveryReport
from leadglass.archive.retrieve import Retriever
from leadglass.archive.transcoding import ProcessTranscoder
from leadglass.archive.verification import Verification, VerificationReport
from leadglass.base.errors import AuditUnavailable
from leadglass.base.ids import UID
from leadglass.base.objects import Origin
from leadglass.dicom.models import Level
from leadglass.dicom.query import Query, RetrieveKeys, build_identifier, parse_identifier, parse_retrieve
from leadglass.store.index.service import SQLIndex
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.sqlite import SQLiteDatabase
from leadglass.store.index.writer import IndexWriter
from leadglass.store.jobs.service import SQLJobQueue
from leadglass.store.vault.service import FileVault
from leadglass.trust.audit.interfaces import AuditEvent, EventCode, RecordedEvent
from leadglass.trust.audit.service import FileAuditLog
from leadglass.trust.identity.models import Principal
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from leadglass.trust.keys.ring import create_site_keys, open_site_keys
from leadglass.trust.keys.signer import note_verifier
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import Permission

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.10.998"
ORIGIN = "leadglass.invalid/test/audit"

MODALITY = Principal("device:ct1", ("store",), "CT1", "192.0.2.7", "ab" * 32, "c-modality")
READER = Principal("device:ws1", ("query-retrieve",), "WS1", "192.0.2.8", "cd" * 32, "c-reader")
OPERATOR = Principal("operator:0", ("operator",), address="local", correlation_id="c-operator")
SERVICE = Principal("service:leadglass", ("service",))
STRANGER = Principal("device:nobody", (), "NOBODY", "192.0.2.9", "ef" * 32, "c-stranger")

_LONG = frozenset(("OB", "OW", "SQ", "UN", "UT"))


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian."""
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + struct.pack("<xxI" if vr in _LONG else "<H", len(value)) + value


@dataclass(frozen=True)
class Image:
    """A synthetic CT slice."""

    study: str
    series: str
    instance: str
    dataset: bytes

    @property
    def request(self) -> StoreRequest:
        return StoreRequest(UID(CT), UID(self.instance), UID(EXPLICIT))


def image(number: int = 1, study: str = "1", *, pixels: int = 512, filling: bytes = b"") -> Image:
    """Return slice ``number`` of a study; ``filling`` makes its content another one."""
    study_uid = f"{ROOT}.{study}"
    instance = f"{study_uid}.1.{number}"
    head = [
        (0x00080016, "UI", CT.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080020, "DA", b"20260102"),
        (0x00080060, "CS", b"CT"),
        (0x00100010, "PN", b"Canary^Anna"),
        (0x00100020, "LO", f"PID-{study}".encode()),
        (0x0020000D, "UI", study_uid.encode()),
        (0x0020000E, "UI", f"{study_uid}.1".encode()),
        (0x00200013, "IS", str(number).encode()),
    ]
    content = filling or struct.pack("<I", number)
    body = (content * (pixels // len(content) + 1))[:pixels]
    dataset = b"".join(element(*e) for e in head) + element(0x7FE00010, "OW", body)
    return Image(study_uid, f"{study_uid}.1", instance, dataset)


def store(session: StoreSession, of: Image, *, cut: int = 4096) -> Stored:
    """Store an image as it would come from the network: in pieces of one reused buffer."""
    incoming = session.begin(of.request)
    buffer = bytearray(cut)
    for start in range(0, len(of.dataset), cut):
        piece = of.dataset[start : start + cut]
        buffer[: len(piece)] = piece
        incoming.write(memoryview(buffer)[: len(piece)])
        buffer[:] = b"\xff" * cut
    return incoming.finish()


class SteeredAudit:
    """A real log that can be told to take nothing, as when its disk is full. Implements ``AuditLog``."""

    def __init__(self, log: FileAuditLog) -> None:
        self.log = log
        self.full = False
        self.recorded = log.recorded
        self.durable_size = log.durable_size
        self.size = log.size
        self.read = log.read
        self.close = log.close

    def record(self, event: AuditEvent, *, durable: bool = True) -> int:
        if self.full:
            raise AuditUnavailable("the disk is full")
        return self.log.record(event, durable=durable)

    def sync(self) -> None:
        if self.full:
            raise AuditUnavailable("the disk is full")
        self.log.sync()


class AsPresented:
    """A site where nobody was revoked: everybody is who they were when they came."""

    def current(self, principal: Principal) -> Principal | None:
        return principal


@dataclass
class Room:
    """An archive in a folder, open."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        root_key = self.folder / "root.key"
        if root_key.exists():
            self.keys = open_site_keys(self.folder / "ledger", KeyFileProvider.open(root_key), self.clock)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            provider = KeyFileProvider.create(root_key)
            self.keys = create_site_keys(self.folder / "ledger", provider, self.clock)
        signer = self.keys.checkpoint_signer()
        verifiers = (note_verifier(signer.algorithm, signer.public_key),)
        self.audit = SteeredAudit(
            FileAuditLog(
                self.folder / "audit", ORIGIN, self.keys.audit_cipher, signer, self.clock, verifiers=verifiers
            )
        )
        (self.folder / "vault").mkdir(exist_ok=True)
        self.vault = FileVault(self.folder / "vault", self.keys, self.clock)
        self.database = SQLiteDatabase(self.folder / "index.db", self.keys.database_key("index"))
        self.index = SQLIndex(
            self.database, self.keys, self.keys, SiteRows(self.keys.audit_cipher, self.clock)
        )
        self.writer = IndexWriter(self.index)
        self.access = Access(CedarPolicy.load(self.clock), self.audit, self.vault, self.clock, AsPresented())
        self.ingest = Ingest(self.access, self.vault, self.writer, self.index)
        self.transcoder = ProcessTranscoder()
        self.finder = Finder(self.access, self.writer, self.index)
        self.retriever = Retriever(self.access, self.writer, self.index, self.transcoder)
        self.reader = Reader(self.access, self.writer, self.index, self.transcoder, Disclosures(self.access))
        self.jobs = SQLJobQueue(self.database, self.clock)
        self.commitment = Commitment(self.access, self.writer, self.index, self.jobs, self.keys.audit_cipher)
        self.recovery = Recovery(self.access, self.vault, self.index)
        self.verification = Verification(self.access, self.vault, self.writer, self.index)

    def close(self) -> None:
        self.audit.full = False
        self.writer.close()
        self.transcoder.close()
        self.audit.close()
        self.index.close()
        self.keys.close()

    # --- what tests do all the time ----------------------------------------------------------------------------

    def session(self, principal: Principal = MODALITY) -> StoreSession:
        """Begin a burst, as an association does with its first C-STORE."""
        operator = "operator" in principal.roles
        permission = Permission.INSTANCE_IMPORT if operator else Permission.INSTANCE_STORE
        return self.ingest.session(self.access.permit(principal, permission), self.origin(principal))

    def origin(self, principal: Principal = MODALITY) -> Origin:
        return Origin(
            principal=principal.principal_id,
            calling_ae_title=principal.ae_title,
            called_ae_title="LEADGLASS",
            address=principal.address,
            certificate_sha256=principal.certificate_sha256,
            received_at=self.clock.now(),
            correlation_id=principal.correlation_id,
        )

    def store(self, *images: Image, principal: Principal = MODALITY) -> list[Stored]:
        """Store in one burst that ends in order."""
        session = self.session(principal)
        try:
            return [store(session, one) for one in images]
        finally:
            session.close_packs()

    def grant(self, principal: Principal, permission: Permission) -> Grant:
        return self.access.permit(principal, permission)

    def entries(self, *codes: EventCode) -> list[RecordedEvent]:
        """Read the log back; of the given kinds, or all."""
        return [
            entry
            for entry in self.audit.read(0, self.audit.size())
            if not codes or entry.leaf["event"] in {code.value for code in codes}
        ]

    def counted(self, code: EventCode) -> int:
        return len(self.entries(code))

    def packs(self) -> list[Path]:
        return sorted((self.folder / "vault").rglob("*.pack"))

    def held(self, of: Image) -> bytes:
        """Return the data set that is held under that UID, through the index and the vault."""
        self.writer.barrier()
        record = self.index.lookup(UID(of.instance))
        assert record is not None, "not in the index"
        sealed = self.vault.open(record.address, record.identity)
        try:
            return b"".join(bytes(piece) for piece in sealed.stream(record.dataset_offset))
        finally:
            sealed.close()

    def verify(self) -> VerificationReport:
        return self.verification.verify(OPERATOR, lambda _done, _total: None)

    def replay(self) -> RecoveryReport:
        return self.recovery.replay(SERVICE)


def killed(room: Room, folder: Path) -> Path:
    """Return a copy of the room's folder as a ``kill -9`` at this moment would leave it."""
    shutil.copytree(room.folder, folder)
    return folder


def find_query(keys: dict[str, str | Sequence[str]], level: Level = Level.STUDY) -> Query:
    return parse_identifier(build_identifier(level, keys), EXPLICIT, "STUDY")


def retrieve_keys(keys: dict[str, str | Sequence[str]], level: Level = Level.STUDY) -> RetrieveKeys:
    return parse_retrieve(build_identifier(level, keys), EXPLICIT, "STUDY")


def facts(entry: RecordedEvent) -> dict[str, Any]:
    value = entry.leaf["facts"]
    assert isinstance(value, dict)
    return value
