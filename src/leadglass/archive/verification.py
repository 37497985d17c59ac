"""Proving that what is held is what was written: every octet of every pack, every row of the index.

And that the three agree: each row has its record, each record its row, and each object that the audit log tells of is
there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from leadglass.archive.access import Access
from leadglass.base.errors import IntegrityError, KeyUnavailable
from leadglass.base.objects import RecordAddress
from leadglass.store.index.interfaces import Index, RowFinding
from leadglass.store.index.writer import IndexWriter
from leadglass.store.vault.interfaces import Finding, RecoveredRecord, Vault
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

_TELLS_OF_A_RECORD: Final = frozenset({EventCode.INSTANCE_STORED.value, EventCode.INSTANCE_QUARANTINED.value})


@dataclass(slots=True)
class VerificationReport:
    """What was looked at, and what is not as it was written.

    Attributes:
        entries: of the audit log that tell of a record.
    """

    packs: int = 0
    records: int = 0
    octets: int = 0
    rows: int = 0
    entries: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


@dataclass(frozen=True, slots=True)
class Verification:
    """Reads everything; changes nothing."""

    access: Access
    vault: Vault
    writer: IndexWriter
    index: Index

    def verify(self, principal: Principal, progress: Callable[[int, int], None]) -> VerificationReport:
        """Authenticate packs and index, and hold them against each other.

        Args:
            principal: on whose behalf; needs ``vault:verify``.
            progress: called with packs done and packs in all.
        """
        grant = self.access.permit(principal, Permission.VAULT_VERIFY)
        self.writer.barrier()
        report = VerificationReport()
        told = self.access.audit.size()
        rows = self._verify_rows(report)
        held = self._verify_packs(report, progress)
        self._compare(rows, held, report)
        self._compare_with_record(told, held, report)
        self.access.record(
            grant,
            EventCode.VAULT_VERIFIED,
            outcome=Outcome.SERIOUS_FAILURE if report.findings else Outcome.SUCCESS,
            facts={
                "packs": report.packs,
                "records": report.records,
                "octets": report.octets,
                "rows": report.rows,
                "entries": report.entries,
                "findings": len(report.findings),
            },
            detail={"findings": [[finding.where, finding.what] for finding in report.findings[:200]]},
        )
        return report

    def _verify_rows(self, report: VerificationReport) -> dict[bytes, RecordAddress]:
        rows: dict[bytes, RecordAddress] = {}
        try:
            for found in self.index.verify():
                if isinstance(found, RowFinding):
                    report.findings.append(Finding(found.where, found.what))
                else:
                    report.rows += 1
                    rows[found.address.object_id] = found.address
        except IntegrityError as error:
            report.findings.append(Finding("index", str(error)))
        return rows

    def _verify_packs(
        self, report: VerificationReport, progress: Callable[[int, int], None]
    ) -> dict[bytes, RecoveredRecord]:
        held: dict[bytes, RecoveredRecord] = {}
        packs = list(self.vault.pack_ids())
        for done, pack_id in enumerate(packs):
            progress(done, len(packs))
            report.packs += 1
            try:
                for found in self.vault.verify(pack_id):
                    if isinstance(found, Finding):
                        report.findings.append(found)
                    else:
                        report.records += 1
                        report.octets += found.address.length
                        held[found.address.object_id] = found
            except (IntegrityError, KeyUnavailable) as error:
                report.findings.append(Finding(f"pack {pack_id.hex()}", str(error)))
        report.findings += self.vault.foreign_files()
        progress(len(packs), len(packs))
        return held

    def _compare_with_record(
        self, until: int, held: dict[bytes, RecoveredRecord], report: VerificationReport
    ) -> None:
        """Hold the vault against the audit log: who removes a pack and its rows cannot remove its entries."""
        for entry in self.access.audit.read(0, until):
            if entry.leaf.get("event") not in _TELLS_OF_A_RECORD:
                continue
            report.entries += 1
            if bytes.fromhex(str(entry.leaf.get("event_id", ""))) not in held:
                what = "tells of an object that the vault does not hold"
                report.findings.append(Finding(f"audit entry {entry.sequence}", what))

    def _compare(
        self, rows: dict[bytes, RecordAddress], held: dict[bytes, RecoveredRecord], report: VerificationReport
    ) -> None:
        """Hold the index against the vault, both ways."""
        for object_id, address in rows.items():
            record = held.get(object_id)
            if record is None or record.address != address:
                what = "the index names a record that the vault does not hold whole"
                report.findings.append(Finding(_where(address), what))
        apart = {entry.record.address.object_id for entry in self.index.quarantined()}
        closed = self.index.closed_packs()
        for object_id, record in held.items():
            if object_id in rows or object_id in apart or record.address.pack_id not in closed:
                continue
            # A whole record without a row is a resend that lost a race, or one whose row somebody removed.
            if self.index.lookup(record.footer.identity.sop_instance_uid) is None:
                what = "a whole record that the index does not name; `leadglass vault reindex` brings it back"
                report.findings.append(Finding(_where(record.address), what))


def _where(address: RecordAddress) -> str:
    return f"pack {address.pack_id.hex()} offset {address.offset}"
