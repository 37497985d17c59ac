"""Taking folders in; verifying and reindexing what is held."""

from itertools import islice
from pathlib import Path

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.archive.recovery import RecoveryReport
from leadglass.archive.verification import VerificationReport
from leadglass.base.errors import UsageError
from leadglass.base.objects import Origin
from leadglass.doors.folder.importer import ImportProgress, import_folder
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.policy.interfaces import Permission

_SHOWN_MAX = 10_000


def import_files(node: Node, arguments: JSON, tell: Tell) -> JSON:
    """Take every file of a folder that this process can read."""
    folder = Path(str(arguments["folder"])).resolve()
    if not folder.is_dir():
        raise UsageError(
            "there is no such folder", hint="the node reads it itself: it must be on this machine"
        )
    who = operator()
    grant = node.access.permit(who, Permission.INSTANCE_IMPORT)
    token = node.keys.audit_cipher.token
    name = token("import-folder", str(folder)).hex()
    progress = ImportProgress(
        node.paths.imports / f"{name}.done", lambda text: token("import-file", f"{name}\0{text}")
    )
    node.access.record(grant, EventCode.IMPORT_STARTED, detail={"folder": str(folder)})
    origin = Origin(
        principal=who.principal_id,
        calling_ae_title="",
        called_ae_title="",
        address="",
        certificate_sha256="",
        received_at=node.clock.now(),
        correlation_id=who.correlation_id,
    )
    report = import_folder(folder, node.ingest.session(grant, origin), progress, tell)
    counts = {
        "files": report.files,
        "stored": report.stored,
        "already_held": report.already_held,
        "done_before": report.done_before,
        "refused": len(report.refused),
        "octets": report.octets,
    }
    node.access.record(
        grant,
        EventCode.IMPORT_ENDED,
        outcome=Outcome.MINOR_FAILURE if report.refused else Outcome.SUCCESS,
        facts=counts,
        detail={"folder": str(folder), "refused": [[r.path, r.reason] for r in report.refused[:500]]},
    )
    return {
        **counts,
        "refused_files": [{"path": r.path, "reason": r.reason, "code": r.code} for r in report.refused],
    }


def vault_verify(node: Node, _arguments: JSON, tell: Tell) -> JSON:
    """Authenticate everything that is held."""
    report = node.verification.verify(operator(), tell)
    answer = _verification_json(report)
    answer["findings"] += [
        {"where": f"key ledger, {row.table} {row.row}", "what": row.reason} for row in node.keys.verify()
    ]
    return answer


def vault_quarantine(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List what is kept apart, oldest first."""
    node.access.permit(operator(), Permission.VAULT_VERIFY)
    return {
        "kept_apart": [
            {
                "received_at": entry.record.received_at.isoformat(),
                "reason": entry.reason,
                "study_uid": entry.record.identity.study_uid,
                "sop_instance_uid": entry.record.identity.sop_instance_uid,
                "octets": entry.record.dataset_length,
                "pack": entry.record.address.pack_id.hex(),
                "offset": entry.record.address.offset,
            }
            for entry in islice(node.index.quarantined(), _SHOWN_MAX)
        ]
    }


def vault_reindex(node: Node, _arguments: JSON, tell: Tell) -> JSON:
    """Make the index anew from packs and keys."""
    node.access.permit(operator(), Permission.VAULT_REINDEX)
    node.writer.barrier()
    return recovery_json(node.recovery.rebuild(operator(), tell))


def _verification_json(report: VerificationReport) -> JSON:
    return {
        "packs": report.packs,
        "records": report.records,
        "octets": report.octets,
        "rows": report.rows,
        "entries": report.entries,
        "findings": [{"where": finding.where, "what": finding.what} for finding in report.findings],
    }


def recovery_json(report: RecoveryReport) -> JSON:
    """Return what recovery did."""
    return {
        "packs": report.packs,
        "records": report.records,
        "rows_added": report.rows_added,
        "events_added": report.events_added,
        "octets_cut": report.octets_cut,
        "quarantined": report.quarantined,
        "findings": [{"where": finding.where, "what": finding.what} for finding in report.findings],
    }


def refuse_while_served(_node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Refuse what needs the site for itself.

    A reindex forgets every row first. Rows of packs that a sender has open would be gone for good once those packs are
    noted as closed, and a UID that is held would look free to whoever stores it meanwhile.
    """
    raise UsageError(
        "the index cannot be made anew while the node is served", hint="end `leadglass serve`, then try again"
    )
