"""What ``leadglass status`` says: what is held, who holds the keys, what needs attention."""

from leadglass import __version__
from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.app.operations.objects import recovery_json
from leadglass.trust.certs.inventory import inventory
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission


def status(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Say what is held, who holds the keys, what is on record, and what needs attention."""
    report = status_report(node, operator())
    report["site"] = str(node.paths.root)
    report["keys"]["location"] = node.provider.facts().location
    return report


def status_report(node: Node, principal: Principal) -> JSON:
    """Say the same to anybody who may know it; where things lie on the disk is for who is at the machine.

    Raises:
        AccessDenied: policy said no.
    """
    node.access.permit(principal, Permission.STATUS_READ)
    node.writer.barrier()
    counts = node.index.counts()
    facts = node.provider.facts()
    checkpoint = node.audit.checkpoint
    attention = list(_attention(node))
    return {
        "version": __version__,
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
        "recovered_at_start": recovery_json(node.recovered),
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
