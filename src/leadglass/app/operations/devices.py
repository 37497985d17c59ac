"""Enrolling, listing and revoking devices."""

from pathlib import Path

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.app.device_file import DeviceFile, write_device_file
from leadglass.base.errors import UsageError
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.bundle import write_pem
from leadglass.trust.certs.inventory import inventory
from leadglass.trust.identity.models import Device, DeviceRole, Principal
from leadglass.trust.identity.registry import VERSION_FACT
from leadglass.trust.policy.interfaces import Permission


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
    roles = _roles_of(asked.roles)
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
    return device_report(node, operator())


def device_report(node: Node, principal: Principal) -> JSON:
    """List them for anybody who may know them.

    Raises:
        AccessDenied: policy said no.
    """
    node.access.permit(principal, Permission.DEVICE_LIST)
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


def _roles_of(names: list[str]) -> list[DeviceRole]:
    """Return the roles of these names.

    Raises:
        UsageError: one of them is none.
    """
    try:
        return [DeviceRole(name) for name in names]
    except ValueError as error:
        known = ", ".join(role.value for role in DeviceRole)
        raise UsageError(f"a role is one of: {known}") from error
