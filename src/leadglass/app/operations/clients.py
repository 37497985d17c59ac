"""Services and scripts: OAuth clients."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.archive.administration.services import NewClient, fingerprint_of
from leadglass.doors.console.clients import shown_client
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.certs.authority import IssuedCertificate
from leadglass.trust.certs.bundle import write_pem
from leadglass.trust.identity.clients import Client
from leadglass.trust.policy.interfaces import Permission

_DAYS: Final = 365


class _New(msgspec.Struct, forbid_unknown_fields=True):
    client: str
    owner: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...] = ("client",)
    expires_at: datetime | None = None
    jwks: str = ""
    certificates: tuple[str, ...] = ()
    out: str = ""
    bound: bool = False
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    description: str = ""


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    client: str
    owner: str | None = None
    expires_at: datetime | None = None
    jwks: str | None = None
    certificates: tuple[str, ...] | None = None


def client_add(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Enrol a client; with ``out`` its key and certificate are made and written first."""
    asked = msgspec.convert(arguments, _New)
    if not asked.out:
        return {"client": _shown(_enrol(node, asked)), "files": {}}
    grant = node.access.permit(operator(), Permission.CLIENT_ENROL)
    issued = node.authority.issue_device(asked.client)
    files = write_pem(Path(asked.out), asked.client, issued)
    try:
        node.access.record(
            grant,
            EventCode.CERTIFICATE_ISSUED,
            facts={
                "certificate": issued.facts.sha256,
                "serial": issued.facts.serial,
                "for": f"client:{asked.client}",
            },
        )
        client = _enrol(node, asked, issued)
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)  # a key for a client that was not enrolled is good for nothing
        raise
    return {"client": _shown(client), "files": {name: str(path) for name, path in files.items()}}


def _enrol(node: Node, asked: _New, issued: IssuedCertificate | None = None) -> Client:
    prints = tuple(fingerprint_of(pem) for pem in asked.certificates)
    new = NewClient(
        client_id=asked.client,
        owner=asked.owner,
        scopes=asked.scopes,
        expires_at=asked.expires_at or node.clock.now() + timedelta(days=_DAYS),
        roles=asked.roles,
        jwks=asked.jwks,
        certificate_sha256=prints if issued is None else (*prints, issued.facts.sha256),
        bound=asked.bound,
        devices=asked.devices,
        institutions=asked.institutions,
        description=asked.description,
    )
    return node.services.enrol(operator(), new)


def client_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List clients."""
    return {"clients": [_shown(client) for client in node.services.list(operator())]}


def client_show(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Show one client."""
    return {"client": _shown(node.services.get(operator(), str(arguments["client"])))}


def client_change(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Let somebody else answer for a client, give it longer, or change what proves it."""
    asked = msgspec.convert(arguments, _Change)
    prints = None
    if asked.certificates is not None:
        prints = tuple(fingerprint_of(pem) for pem in asked.certificates)
    client = node.services.change(
        operator(),
        asked.client,
        owner=asked.owner,
        expires_at=asked.expires_at,
        jwks=asked.jwks,
        certificate_sha256=prints,
    )
    return {"client": _shown(client)}


def client_disable(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Turn a client away."""
    client = node.services.disable(operator(), str(arguments["client"]), str(arguments["reason"]))
    return {"client": _shown(client)}


def _shown(client: Client) -> JSON:
    shown: JSON = msgspec.to_builtins(shown_client(client))
    return shown
