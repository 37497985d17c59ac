"""What is wrong with the set-up of identity providers, in plain words."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.app.federation import federation_settings
from leadglass.base.errors import UsageError
from leadglass.trust.certs.reading import read_certificate
from leadglass.trust.identity.models import Principal
from leadglass.trust.identity.self_test import SelfTest, Severity, run
from leadglass.trust.policy.interfaces import Permission

_PARTS: Final = ("oidc", "saml", "ldap")


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    part: str = ""
    user: str = ""


def identity_test(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Look at one part, or at all that are configured."""
    asked = msgspec.convert(arguments, _Asked)
    return identity_report(node, operator(), (asked.part,) if asked.part else _PARTS, asked.user)


def identity_report(
    node: Node, principal: Principal, parts: Collection[str] = _PARTS, user: str = ""
) -> JSON:
    """Say what is wrong with the set-up of identity providers.

    Args:
        node: open.
        principal: who asks.
        parts: ``oidc``, ``saml``, ``ldap``.
        user: name of somebody in the directory whose groups are to be shown; empty for nobody.

    Raises:
        AccessDenied: policy said no.
        UsageError: none of the parts is configured.
    """
    node.access.permit(principal, Permission.IDENTITY_TEST)
    said = federation_settings(node.paths.root, node.settings)
    test = SelfTest(
        node.clock,
        read_certificate,
        [role.name for role in node.policy.catalogue.all()],
        oidc=said.oidc if "oidc" in parts else None,
        saml=said.saml if "saml" in parts else None,
        ldap=said.ldap if "ldap" in parts else None,
        probe_name=user,
    )
    if test == replace(test, oidc=None, saml=None, ldap=None):
        raise UsageError(
            "no such identity provider is configured",
            hint="sections [oidc], [saml], [ldap] of leadglass.toml",
        )
    findings = run(test)
    return {
        "ok": all(finding.severity is not Severity.ERROR for finding in findings),
        "findings": [
            {
                "severity": finding.severity.value,
                "part": finding.part,
                "what": finding.what,
                "why": finding.why,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }
