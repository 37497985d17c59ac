"""Reading, proving and verifying the audit log; that somebody did is an entry too."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, audit_origin, audit_verifiers, operator
from leadglass.archive.access import Grant
from leadglass.base.errors import IntegrityError, UsageError
from leadglass.dicom.normalise import fold_text
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.audit.reader import Filter, LogReader
from leadglass.trust.audit.verify import Finding as AuditFinding
from leadglass.trust.audit.verify import Progress as AuditProgress
from leadglass.trust.audit.verify import Verified, verify_log
from leadglass.trust.policy.interfaces import Permission

_SHOWN_MAX = 10_000


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
