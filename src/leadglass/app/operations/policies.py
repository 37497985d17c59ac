"""Policies: what is in force and why, and putting others in force."""

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.archive.administration.policies import Supposed
from leadglass.doors.console.policies import (
    BundleAsked,
    BundleWithReason,
    shown_applied,
    shown_difference,
    shown_explained,
    shown_proposal,
    shown_rule,
)
from leadglass.trust.policy.bundle import SiteBundle


def policy_show(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Show what decides now."""
    found = node.policies.in_force(operator())
    bundle = (
        SiteBundle({}) if found.applied is None else node.policies.bundle(operator(), found.applied.bundle)
    )
    return {
        "bundle_hash": found.bundle_hash,
        "version": found.version,
        "applied": None if found.applied is None else shown_applied(found.applied),
        "proposal": shown_proposal(found.proposal),
        "files": dict(bundle.files),
        "roles": bundle.roles,
        "rules": [shown_rule(rule) for rule in found.rules],
    }


def policy_diff(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Say what a bundle would change; so it is sound."""
    asked = msgspec.convert(arguments, BundleAsked)
    bundle = SiteBundle(asked.files, asked.roles)
    found = node.policies.compare(operator(), bundle)
    return {"bundle": bundle.digest, **shown_difference(found)}


def policy_apply(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Put a bundle in force."""
    asked = msgspec.convert(arguments, BundleWithReason)
    entry = node.policies.apply(operator(), SiteBundle(asked.files, asked.roles), asked.reason)
    return {"applied": shown_applied(entry)}


def policy_propose(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Lay a bundle before somebody else."""
    asked = msgspec.convert(arguments, BundleWithReason)
    proposal = node.policies.propose(operator(), SiteBundle(asked.files, asked.roles), asked.reason)
    return {"proposal": shown_proposal(proposal)}


def policy_approve(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Put what somebody else proposed in force."""
    return {"applied": shown_applied(node.policies.approve(operator(), str(arguments["bundle"])))}


def policy_withdraw(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """Take back what is proposed."""
    node.policies.withdraw(operator())
    return {"proposal": None}


def policy_history(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List all that was ever applied."""
    return {"applied": [shown_applied(entry) for entry in node.policies.history(operator())]}


def policy_explain(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Say what would be decided, and why."""
    asked = msgspec.convert(arguments, Supposed)
    return shown_explained(node.policies.explain(operator(), asked))
