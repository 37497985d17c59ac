"""After a crash, and when the index is lost: what the packs hold is indexed and on record again.

A sealed record carries its own provenance, so its index row *and* the audit event of its ingest can be made again
from the pack alone. Every step is idempotent: a row is known by its address, an event by the object id.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from leadglass.archive.access import Access, actor_of
from leadglass.archive.comparison import Comparison, Likeness
from leadglass.archive.ingest import QUARANTINE_DUPLICATE, stored_event
from leadglass.archive.outlining import scan_sealed
from leadglass.base.errors import DatasetRefused, IntegrityError, KeyUnavailable
from leadglass.dicom.head import ScannedHead
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.syntaxes import PrivateSyntaxes, TransferSyntax
from leadglass.store.index.interfaces import Index, IndexEntry, InstanceRecord, QuarantineEntry
from leadglass.store.vault.interfaces import Finding, RecoveredPack, RecoveredRecord, Vault
from leadglass.trust.audit.interfaces import AuditEvent, EventCode, Outcome
from leadglass.trust.identity.models import Principal

_BATCH: Final = 256
_RECORDS_AT_ONCE: Final = 16_384
"""Records whose events are looked for in one reading of the log. A pack holds a burst of one study, so a reading for each
pack would be packs times entries: 1300 packs over 5700 entries took 84 s. 16 384 footers are some 20 MiB."""


@dataclass(slots=True)
class RecoveryReport:
    """What was done. ``findings`` name packs and offsets; no PHI."""

    packs: int = 0
    records: int = 0
    rows_added: int = 0
    events_added: int = 0
    octets_cut: int = 0
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


@dataclass(frozen=True, slots=True)
class Recovery:
    """Brings index and audit log up to what the vault holds."""

    access: Access
    vault: Vault
    index: Index
    private_syntaxes: PrivateSyntaxes = field(default_factory=dict[str, TransferSyntax])

    def replay(self, principal: Principal) -> RecoveryReport:
        """Look at every pack that is not noted as closed. Run at each start, before the first door opens."""
        report = RecoveryReport()
        closed = self.index.closed_packs()
        self._replay_packs((p for p in self.vault.pack_ids() if p not in closed), report)
        if report.packs:
            self._record(principal, EventCode.VAULT_RECOVERED, report)
        return report

    def rebuild(self, principal: Principal, progress: Callable[[int, int], None]) -> RecoveryReport:
        """Forget the index and make it again from packs and keys alone.

        Args:
            principal: on whose behalf.
            progress: called with packs done and packs in all.
        """
        report = RecoveryReport()
        self.index.clear()
        packs = list(self.vault.pack_ids())

        def counted() -> Iterator[bytes]:
            for done, pack_id in enumerate(packs):
                progress(done, len(packs))
                yield pack_id

        self._replay_packs(counted(), report)
        progress(len(packs), len(packs))
        self._record(principal, EventCode.VAULT_REINDEXED, report)
        return report

    def _replay_packs(self, pack_ids: Iterable[bytes], report: RecoveryReport) -> None:
        """Replay packs: first what the log says was stored or kept apart, then what it does not say so of.

        Of two objects with one UID the one that was answered with success keeps it, although the pack of the other may
        be older: that one is on record as something else, or was never answered.
        """
        late: dict[bytes, bool] = {}
        for packs in _gathered(self._counted(pack_ids, report)):
            known = self._known(packs)
            for pack in packs:
                self._replay_pack(pack, known, late, report)
        # What is damaged was named above.
        for packs in _gathered(self._recovered(late, RecoveryReport())):
            known = self._known(packs)
            for pack in packs:
                self._replay_rest(pack, known, report, whole=late[pack.pack_id])

    def _counted(self, pack_ids: Iterable[bytes], report: RecoveryReport) -> Iterator[RecoveredPack]:
        for pack in self._recovered(pack_ids, report):
            report.packs += 1
            report.octets_cut += pack.cut_octets
            report.records += len(pack.records)
            yield pack

    def _recovered(self, pack_ids: Iterable[bytes], report: RecoveryReport) -> Iterator[RecoveredPack]:
        for pack_id in pack_ids:
            pack = self._recover(pack_id, report)
            if pack is not None:
                yield pack

    def _recover(self, pack_id: bytes, report: RecoveryReport) -> RecoveredPack | None:
        try:
            return self.vault.recover(pack_id)
        except KeyUnavailable as error:
            report.findings.append(Finding(f"pack {pack_id.hex()}", str(error)))
            return None
        except IntegrityError as error:
            report.findings.append(Finding(f"pack {pack_id.hex()}", str(error)))
            return self._salvage(pack_id)

    def _salvage(self, pack_id: bytes) -> RecoveredPack | None:
        """Return what is whole in a damaged pack: one octet must not take a study from the index.

        The pack stays as it is: nothing is cut, and it is not noted as closed, so each start names it again. Its header
        may be what is damaged, so its events are looked for from the beginning of the log.
        """
        records = tuple(item for item in self.vault.verify(pack_id) if isinstance(item, RecoveredRecord))
        if not records:
            return None
        return RecoveredPack(pack_id, closed=False, cut_octets=0, journal_floor=0, records=records)

    def _replay_pack(
        self,
        pack: RecoveredPack,
        known: Mapping[bytes, str],
        late: dict[bytes, bool],
        report: RecoveryReport,
    ) -> None:
        certain = [record for record in pack.records if _is_certain(record, known)]
        whole = self._replay_records(certain, known, report)
        if len(certain) < len(pack.records):
            late[pack.pack_id] = whole  # the pack is not noted as closed yet
        else:
            self._close(pack, whole=whole)

    def _replay_rest(
        self, pack: RecoveredPack, known: Mapping[bytes, str], report: RecoveryReport, *, whole: bool
    ) -> None:
        rest = [record for record in pack.records if not _is_certain(record, known)]
        whole &= self._replay_records(rest, known, report)
        self._close(pack, whole=whole)

    def _known(self, packs: list[RecoveredPack]) -> Mapping[bytes, str]:
        object_ids = [record.address.object_id for pack in packs for record in pack.records]
        return self.access.audit.recorded(object_ids, min(pack.journal_floor for pack in packs))

    def _close(self, pack: RecoveredPack, *, whole: bool) -> None:
        self.access.audit.sync()
        if whole and pack.closed:
            self.index.close_pack(pack.pack_id)

    def _replay_records(
        self, records: Iterable[RecoveredRecord], known: Mapping[bytes, str], report: RecoveryReport
    ) -> bool:
        whole = True
        remaining = iter(records)
        while batch := list(islice(remaining, _BATCH)):
            whole &= self._replay_batch(batch, known, report)
        return whole

    def _replay_batch(
        self, batch: list[RecoveredRecord], known: Mapping[bytes, str], report: RecoveryReport
    ) -> bool:
        served: list[tuple[RecoveredRecord, IndexEntry]] = []
        whole = True
        for record in batch:
            entry = self._read_head(record, report)
            if entry is None:
                whole = False
            elif record.footer.quarantined:
                self._quarantine(record, entry, record.footer.quarantined, known, report)
            elif known.get(record.address.object_id) == EventCode.INSTANCE_QUARANTINED:
                self._quarantine(record, entry, QUARANTINE_DUPLICATE, known, report)
            else:
                served.append((record, entry))
        holders = self.index.add([entry for _, entry in served])
        for (record, entry), holder in zip(served, holders, strict=True):
            if holder is None:
                report.rows_added += 1
                self._offer_event(EventCode.INSTANCE_STORED, record, entry, known, report)
            elif self._same_content(entry, holder):
                self._offer_event(EventCode.INSTANCE_ALREADY_HELD, record, entry, known, report)
            else:
                self._quarantine(record, entry, QUARANTINE_DUPLICATE, known, report)
        return whole

    def _read_head(self, record: RecoveredRecord, report: RecoveryReport) -> IndexEntry | None:
        footer = record.footer
        try:
            sealed = self.vault.open(record.address, footer.identity)
            try:
                syntax_uid = footer.identity.transfer_syntax_uid
                scanner = scan_sealed(
                    sealed,
                    footer.dataset_offset,
                    footer.dataset_length,
                    DatasetScanner(syntax_uid, syntax=self.private_syntaxes.get(syntax_uid), outlining=True),
                )
            finally:
                sealed.close()
        except (IntegrityError, KeyUnavailable, DatasetRefused) as error:
            where = f"pack {record.address.pack_id.hex()} offset {record.address.offset}"
            report.findings.append(Finding(where, str(error)))
            return None
        outline = scanner.outline()
        return IndexEntry(
            head=ScannedHead.of(scanner),
            address=record.address,
            dataset_offset=footer.dataset_offset,
            dataset_length=footer.dataset_length,
            received_at=footer.origin.received_at,
            source=footer.origin.principal,
            outline=b"" if outline is None else outline.encode(),
        )

    def _quarantine(
        self,
        record: RecoveredRecord,
        entry: IndexEntry,
        reason: str,
        known: Mapping[bytes, str],
        report: RecoveryReport,
    ) -> None:
        kept = InstanceRecord(
            identity=record.footer.identity,
            address=record.address,
            dataset_offset=record.footer.dataset_offset,
            dataset_length=record.footer.dataset_length,
            received_at=record.footer.origin.received_at,
        )
        self.index.add_quarantined(QuarantineEntry(kept, reason))
        report.quarantined += 1
        self._offer_event(EventCode.INSTANCE_QUARANTINED, record, entry, known, report)

    def _offer_event(
        self,
        code: EventCode,
        record: RecoveredRecord,
        entry: IndexEntry,
        known: Mapping[bytes, str],
        report: RecoveryReport,
    ) -> None:
        if record.address.object_id in known:
            return
        footer = record.footer
        event = stored_event(
            code,
            footer.identity,
            footer.origin,
            entry.head.patient_reference(),
            record.address,
            footer.dataset_length,
        )
        self.access.audit.record(event, durable=False)
        report.events_added += 1

    def _same_content(self, entry: IndexEntry, holder: InstanceRecord) -> bool:
        if holder.address == entry.address:
            return True
        comparison = Comparison(self.vault.open(holder.address, holder.identity), holder, entry.head.identity)
        mine = self.vault.open(entry.address, entry.head.identity)
        try:
            for piece in mine.stream(entry.dataset_offset):
                comparison.feed(piece)
            return comparison.likeness() is not Likeness.OTHER
        finally:
            comparison.close()
            mine.close()

    def _record(self, principal: Principal, code: EventCode, report: RecoveryReport) -> None:
        self.access.audit.record(
            AuditEvent(
                code=code,
                at=self.access.clock.now(),
                actor=actor_of(principal),
                outcome=Outcome.MINOR_FAILURE if report.findings else Outcome.SUCCESS,
                facts={
                    "packs": report.packs,
                    "records": report.records,
                    "rows_added": report.rows_added,
                    "events_added": report.events_added,
                    "octets_cut": report.octets_cut,
                    "quarantined": report.quarantined,
                    "findings": len(report.findings),
                },
                detail={"findings": [[finding.where, finding.what] for finding in report.findings[:200]]},
                correlation_id=principal.correlation_id,
            )
        )


def _gathered(packs: Iterable[RecoveredPack]) -> Iterator[list[RecoveredPack]]:
    """Gather packs until they hold ``_RECORDS_AT_ONCE`` records."""
    gathered: list[RecoveredPack] = []
    records = 0
    for pack in packs:
        gathered.append(pack)
        records += len(pack.records)
        if records >= _RECORDS_AT_ONCE:
            yield gathered
            gathered, records = [], 0
    if gathered:
        yield gathered


def _is_certain(record: RecoveredRecord, known: Mapping[bytes, str]) -> bool:
    """Tell whether it is known what became of a record: it was stored, or kept apart."""
    return bool(record.footer.quarantined) or known.get(record.address.object_id) in {
        EventCode.INSTANCE_STORED,
        EventCode.INSTANCE_QUARANTINED,
    }
