"""What a local command asks of the process that owns the site: each an operation on an open node.

A command runs here whether the node is served (through the control socket) or not (the command opens the site itself):
there is one way to do each thing, with policy and audit on it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from leadglass import __version__
from leadglass.app.compose import Node, audit_origin, audit_verifiers, operator
from leadglass.app.control import JSON, Operation, Tell
from leadglass.app.device_file import DeviceFile, write_device_file
from leadglass.archive.access import Grant
from leadglass.archive.recovery import RecoveryReport
from leadglass.archive.verification import VerificationReport
from leadglass.base.errors import IntegrityError, UsageError
from leadglass.base.objects import Origin
from leadglass.base.secret import Secret
from leadglass.dicom.normalise import fold_text
from leadglass.doors.folder.importer import ImportProgress, import_folder
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.audit.reader import Filter, LogReader
from leadglass.trust.audit.verify import Finding as AuditFinding
from leadglass.trust.audit.verify import Progress as AuditProgress
from leadglass.trust.audit.verify import Verified, verify_log
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.bundle import write_pem
from leadglass.trust.certs.inventory import inventory
from leadglass.trust.identity.models import Device, DeviceRole
from leadglass.trust.identity.registry import VERSION_FACT
from leadglass.trust.policy.interfaces import Permission

_SHOWN_MAX = 10_000


def status(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Say what is held, who holds the keys, what is on record, and what needs attention."""
    node.access.permit(operator(), Permission.STATUS_READ)
    node.writer.barrier()
    counts = node.index.counts()
    facts = node.provider.facts()
    checkpoint = node.audit.checkpoint
    attention = list(_attention(node))
    return {
        "version": __version__,
        "site": str(node.paths.root),
        "ae_title": node.settings.dimse.ae_title,
        "held": {
            "studies": counts.studies,
            "series": counts.series,
            "instances": counts.instances,
            "quarantined": counts.quarantined,
            "vault_octets": node.vault.bytes_used(),
        },
        "keys": {
            "provider": facts.kind,
            "location": facts.location,
            "hardware": facts.hardware,
            "separate_from_data": facts.separate_from_data,
            # 74 FR 19006: the safe harbour asks for keys at a location separate from the data.
            "breach_safe_harbor": (
                "keys_separate_from_data" if facts.separate_from_data else "not_supported_by_configuration"
            ),
            "protects": list(facts.protects),
            "does_not_protect": list(facts.does_not_protect),
        },
        "audit": {
            "entries": node.audit.size(),
            "signed_entries": checkpoint.size,
            "failed": node.audit.failed,
            "policy_bundle": node.access.policy.bundle_hash,
        },
        "devices": sum(device.revoked_at is None for device in node.registry.list()),
        "recovered_at_start": _recovery_json(node.recovered),
        "attention": attention,
    }


def _attention(node: Node) -> list[str]:
    lines: list[str] = []
    if node.audit.failed:
        lines.append(
            f"the audit log takes nothing: {node.audit.failed}; every door refuses until it is mended"
        )
    if node.recovered.findings:
        lines.append("recovery found damage at the last start: run `leadglass vault verify`")
    if not node.provider.facts().separate_from_data:
        lines.append("the root key is not known to lie on another device than the data")
    lines += [
        f"the certificate of {row.holder} is {row.state.value} ({row.days_left} days left)"
        for row in inventory(
            node.registry, node.clock, authority=node.authority.facts, node=node.credentials.facts
        )
        if row.state.value in {"expiring", "expired"}
    ]
    return lines


# --- devices ---------------------------------------------------------------------------------------------------


class _Enrolment(msgspec.Struct, forbid_unknown_fields=True):
    device_id: str
    ae_title: str
    roles: list[str]
    networks: list[str]
    out: str
    host: str = ""
    port: int = 0
    move_destination: bool = False
    csr: str = ""
    node_host: str = ""


def device_enrol(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Enrol a device: issue its certificate, write it, and only then let it in."""
    asked = msgspec.convert(arguments, _Enrolment)
    grant = node.access.permit(operator(), Permission.DEVICE_ENROL)
    roles = _roles(asked.roles)
    folder = Path(asked.out)
    issued = _issue(node, asked)
    files = write_pem(folder, asked.device_id, issued)
    try:
        node.access.record(
            grant,
            EventCode.CERTIFICATE_ISSUED,
            facts={
                "certificate": issued.facts.sha256,
                "serial": issued.facts.serial,
                "for": f"device:{asked.device_id}",
            },
        )
        device = node.registry.enrol(
            device_id=asked.device_id,
            ae_title=asked.ae_title,
            roles=roles,
            networks=asked.networks,
            certificate=issued.facts,
            host=asked.host,
            port=asked.port,
            move_destination=asked.move_destination,
        )
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)  # a key for a device that was not enrolled is good for nothing
        raise
    node.access.record(
        grant,
        EventCode.DEVICE_ENROLLED,
        facts={
            VERSION_FACT: node.registry.version,
            "device": device.device_id,
            "ae_title": device.ae_title,
            "roles": ", ".join(asked.roles),
            "networks": ", ".join(device.networks),
            "certificate": issued.facts.sha256,
        },
    )
    if "key" in files:
        files["device"] = write_device_file(
            folder / f"{asked.device_id}.toml",
            DeviceFile(
                ae_title=device.ae_title,
                key=files["key"].name,
                certificate=files["certificate"].name,
                authority=files["authority"].name,
                node_ae_title=node.settings.dimse.ae_title,
                node_host=asked.node_host or node.settings.site.names[0],
                node_port=node.settings.dimse.port,
            ),
        )
    return {
        "device": _device_json(device),
        "files": {name: str(path) for name, path in files.items()},
    }


def _issue(node: Node, asked: _Enrolment) -> IssuedCertificate:
    if asked.csr:
        return node.authority.sign_csr(asked.csr.encode("ascii"), asked.device_id)
    return node.authority.issue_device(asked.device_id)


def device_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List devices and every certificate of the site."""
    node.access.permit(operator(), Permission.DEVICE_LIST)
    rows = inventory(node.registry, node.clock, authority=node.authority.facts, node=node.credentials.facts)
    return {
        "devices": [_device_json(device) for device in node.registry.list()],
        "certificates": [
            {
                "holder": row.holder,
                "ae_title": row.ae_title,
                "slot": row.slot,
                "sha256": row.sha256,
                "serial": row.serial,
                "not_before": row.not_before.isoformat(),
                "not_after": row.not_after.isoformat(),
                "state": row.state.value,
                "days_left": row.days_left,
            }
            for row in rows
        ],
    }


def device_revoke(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Revoke a device: from its next connection on it is a stranger."""
    grant = node.access.permit(operator(), Permission.DEVICE_REVOKE)
    device = node.registry.revoke(str(arguments["device_id"]))
    for fingerprint in device.certificate_sha256:
        node.access.record(
            grant,
            EventCode.CERTIFICATE_REVOKED,
            facts={"certificate": fingerprint, "for": f"device:{device.device_id}"},
        )
    node.access.record(
        grant,
        EventCode.DEVICE_REVOKED,
        facts={
            VERSION_FACT: node.registry.version,
            "device": device.device_id,
            "ae_title": device.ae_title,
        },
    )
    return {"device": _device_json(device)}


def _device_json(device: Device) -> JSON:
    return {
        "id": device.device_id,
        "ae_title": device.ae_title,
        "roles": [role.value for role in device.roles],
        "networks": list(device.networks),
        "certificate_sha256": list(device.certificate_sha256),
        "certificate_expires_at": device.certificate_expires_at.isoformat(),
        "host": device.host,
        "port": device.port,
        "move_destination": device.move_destination,
        "enrolled_at": device.enrolled_at.isoformat(),
        "revoked_at": device.revoked_at.isoformat() if device.revoked_at else None,
    }


# --- users -----------------------------------------------------------------------------------------------------


class _UserEnrolment(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str
    roles: list[str]
    passcode: str = ""


def user_enrol(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Enrol somebody who may act through a device; without a passcode they come by token only."""
    asked = msgspec.convert(arguments, _UserEnrolment)
    grant = node.access.permit(operator(), Permission.USER_ENROL)
    verifier = node.passcodes.verifier(Secret(asked.passcode.encode("utf-8"))) if asked.passcode else ""
    user = node.users.enrol(asked.user_id, _roles(asked.roles), verifier)
    facts = {"what": "user enrolled", "user": user.user_id, "roles": ", ".join(user.roles)}
    node.access.record(grant, EventCode.CONFIGURATION_CHANGED, facts=facts)
    return {"user": user.user_id, "roles": list(user.roles), "passcode": bool(verifier)}


def user_revoke(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Revoke a user."""
    grant = node.access.permit(operator(), Permission.USER_REVOKE)
    user_id = str(arguments["user_id"])
    node.users.revoke(user_id)
    node.access.record(
        grant, EventCode.CONFIGURATION_CHANGED, facts={"what": "user revoked", "user": user_id}
    )
    return {"user": user_id}


def _roles(names: list[str]) -> list[DeviceRole]:
    try:
        return [DeviceRole(name) for name in names]
    except ValueError as error:
        known = ", ".join(role.value for role in DeviceRole)
        raise UsageError(f"a role is one of: {known}") from error


# --- objects ---------------------------------------------------------------------------------------------------


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
    return _recovery_json(node.recovery.rebuild(operator(), tell))


def _verification_json(report: VerificationReport) -> JSON:
    return {
        "packs": report.packs,
        "records": report.records,
        "octets": report.octets,
        "rows": report.rows,
        "entries": report.entries,
        "findings": [{"where": finding.where, "what": finding.what} for finding in report.findings],
    }


def _recovery_json(report: RecoveryReport) -> JSON:
    return {
        "packs": report.packs,
        "records": report.records,
        "rows_added": report.rows_added,
        "events_added": report.events_added,
        "octets_cut": report.octets_cut,
        "quarantined": report.quarantined,
        "findings": [{"where": finding.where, "what": finding.what} for finding in report.findings],
    }


# --- the record ------------------------------------------------------------------------------------------------


class _Show(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 50
    event: str = ""
    principal: str = ""
    outcome: str = ""
    correlation: str = ""
    since: datetime | None = None
    until: datetime | None = None
    patient: str = ""
    study: str = ""
    instance: str = ""
    details: bool = False


def audit_show(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Read the audit log, newest first. That somebody read it is an entry too."""
    asked = msgspec.convert(arguments, _Show)
    grant = node.access.permit(operator(), Permission.AUDIT_READ)
    _record_use(node, grant, "show", asked)
    objects = {
        kind: value
        for kind, value in (
            (
                "patient",
                fold_text(asked.patient),
            ),  # events name patients so: ``ScannedHead.patient_reference``
            ("study", asked.study),
            ("instance", asked.instance),
        )
        if value
    }
    wanted = Filter(
        event=asked.event,
        principal=asked.principal,
        outcome=asked.outcome,
        correlation=asked.correlation,
        since=asked.since,
        until=asked.until,
        objects=objects,
    )
    reader = LogReader(node.paths.audit, audit_origin(node.keys), node.keys.audit_cipher)
    entries = [
        {
            **entry.leaf,
            **({"detail": entry.payload} if asked.details else {}),
        }
        for entry in reader.newest_first(wanted, min(asked.limit, _SHOWN_MAX))
    ]
    return {"entries": entries, "size": reader.size}


def audit_proof(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Return the proof of one entry, for somebody who trusts only the public key."""
    grant = node.access.permit(operator(), Permission.AUDIT_READ)
    sequence = int(arguments["sequence"])
    _record_use(node, grant, "proof", None)
    node.audit.seal()
    if not 0 <= sequence < node.audit.size():
        raise UsageError("the log has no entry of that number")
    bundle: JSON = msgspec.json.decode(node.audit.inclusion_bundle(sequence).to_json())
    return bundle


def audit_verify(node: Node, _arguments: JSON, tell: Tell) -> JSON:
    """Verify the log with the site's keys: payloads are unsealed and compared too."""
    grant = node.access.permit(operator(), Permission.AUDIT_VERIFY)
    _record_use(node, grant, "verify", None)
    node.audit.seal()
    origin, verifiers = audit_origin(node.keys), audit_verifiers(node.keys)
    run = verify_log(node.paths.audit, origin, verifiers, node.keys.audit_cipher)
    return audit_report(run, tell)


def audit_report(run: Iterator[AuditFinding | AuditProgress | Verified], tell: Tell) -> JSON:
    """Collect what ``verify_log`` yields."""
    findings: list[JSON] = []
    verified: Verified | None = None
    for item in run:
        match item:
            case AuditFinding():
                findings.append({"severity": item.severity.value, "where": item.where, "what": item.what})
            case Verified():
                verified = item
            case AuditProgress():
                tell(item.entries, item.of)
    if verified is None:
        raise IntegrityError("the audit log could not be read to its end")
    return {
        "entries": verified.entries,
        "checkpoints": verified.checkpoints,
        "payloads": verified.payloads,
        "payloads_unavailable": verified.payloads_unavailable,
        "errors": verified.errors,
        "warnings": verified.warnings,
        "signed_size": verified.checkpoint.size if verified.checkpoint else None,
        "root": verified.checkpoint.root.hex() if verified.checkpoint else None,
        "findings": findings,
    }


def _record_use(node: Node, grant: Grant, how: str, asked: _Show | None) -> None:
    node.access.record(
        grant,
        EventCode.AUDIT_USED,
        facts={"how": how},
        detail=msgspec.to_builtins(asked) if asked is not None else {},
    )


def refuse_while_served(_node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Refuse what needs the site for itself.

    A reindex forgets every row first. Rows of packs that a sender has open would be gone for good once those packs are
    noted as closed, and a UID that is held would look free to whoever stores it meanwhile.
    """
    raise UsageError(
        "the index cannot be made anew while the node is served", hint="end `leadglass serve`, then try again"
    )


OPERATIONS: Mapping[str, Operation] = {
    "audit-proof": audit_proof,
    "audit-show": audit_show,
    "audit-verify": audit_verify,
    "device-enrol": device_enrol,
    "device-list": device_list,
    "device-revoke": device_revoke,
    "import": import_files,
    "status": status,
    "user-enrol": user_enrol,
    "user-revoke": user_revoke,
    "vault-quarantine": vault_quarantine,
    "vault-reindex": vault_reindex,
    "vault-verify": vault_verify,
}

SERVED_OPERATIONS: Mapping[str, Operation] = {**OPERATIONS, "vault-reindex": refuse_while_served}
"""What a running node does for a local command."""
