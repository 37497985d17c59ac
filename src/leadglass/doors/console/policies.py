"""Policies and roles as administrators see them: what is in force, why, and putting others in force."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.administration.policies import Explained, Policies, Supposed
from leadglass.doors.console.bodies import body_of, described, json_response, no_content
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.policy.bundle import SiteBundle
from leadglass.trust.policy.bundle_store import Applied, Proposal
from leadglass.trust.policy.difference import Difference
from leadglass.trust.policy.explain import Explanation
from leadglass.trust.policy.roles import Role
from leadglass.trust.policy.rules import Rule

_TAG: Final = "policy"


class BundleAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site's own policy files, text by name, and the text of ``roles.json``; empty takes all of them away."""

    files: dict[str, str] = {}
    roles: str = ""


class BundleWithReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same, and why."""

    reason: str
    files: dict[str, str] = {}
    roles: str = ""


class ApprovalAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hash of what is proposed, so that nobody approves what they did not see."""

    bundle: str


def shown_rule(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON."""
    return {
        "rule": rule.rule_id,
        "effect": rule.effect,
        "file": rule.file,
        "comment": rule.comment,
        "text": rule.text,
        "actions": sorted(rule.actions),
        "step_up": rule.step_up,
    }


def shown_role(role: Role) -> dict[str, Any]:
    """Return a role as JSON."""
    return {
        "role": role.name,
        "kind": role.kind.value,
        "description": role.description,
        "includes": list(role.includes),
        "shipped": role.shipped,
    }


def shown_applied(entry: Applied) -> dict[str, Any]:
    """Return an entry of the chain as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(entry)
    return {**shown, "digest": entry.digest}


def shown_proposal(proposal: Proposal | None) -> dict[str, Any] | None:
    """Return what is proposed as JSON."""
    return None if proposal is None else msgspec.to_builtins(proposal)


def shown_difference(found: Difference) -> dict[str, Any]:
    """Return a difference as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(found)
    return {**shown, "lines": found.lines()}


def shown_explained(explained: Explained) -> dict[str, Any]:
    """Return a verdict and its reasons as JSON."""
    return {
        "principal": explained.principal.principal_id,
        "allowed": explained.allowed,
        **_shown_explanation(explained.explanation),
        "device": None if explained.device is None else _shown_explanation(explained.device),
    }


def _shown_explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "verdict": explanation.verdict,
        "rules": [shown_rule(rule) for rule in explanation.rules],
        "told": [{"name": name, "value": value} for name, value in explanation.told],
        "roles": list(explanation.roles),
        "changes": list(explanation.changes),
        "lines": explanation.lines(),
    }


class PolicyDoor:
    """Handlers."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def in_force(self, request: Request) -> Response:
        """Show what decides now."""
        found = await in_thread(self._policies.in_force, principal_of(request))
        return json_response(
            {
                "bundle_hash": found.bundle_hash,
                "version": found.version,
                "applied": None if found.applied is None else shown_applied(found.applied),
                "proposal": shown_proposal(found.proposal),
                "rules": [shown_rule(rule) for rule in found.rules],
            }
        )

    async def history(self, request: Request) -> Response:
        """List all that was ever applied."""
        entries = await in_thread(self._policies.history, principal_of(request))
        return json_response({"applied": [shown_applied(entry) for entry in entries]})

    async def bundle(self, request: Request) -> Response:
        """Show files that were applied or proposed."""
        digest = str(request.path_params["bundle"])
        found = await in_thread(self._policies.bundle, principal_of(request), digest)
        return json_response({"bundle": found.digest, "files": dict(found.files), "roles": found.roles})

    async def validate(self, request: Request) -> Response:
        """Say what would change; a bundle that is not sound is refused with what is wrong."""
        asked = await body_of(request, BundleAsked)
        bundle = SiteBundle(asked.files, asked.roles)
        found = await in_thread(self._policies.compare, principal_of(request), bundle)
        return json_response({"bundle": bundle.digest, **shown_difference(found)})

    async def apply(self, request: Request) -> Response:
        """Put a bundle in force."""
        asked = await body_of(request, BundleWithReason)
        bundle = SiteBundle(asked.files, asked.roles)
        entry = await in_thread(self._policies.apply, principal_of(request), bundle, asked.reason)
        return json_response(shown_applied(entry))

    async def propose(self, request: Request) -> Response:
        """Lay a bundle before somebody else."""
        asked = await body_of(request, BundleWithReason)
        bundle = SiteBundle(asked.files, asked.roles)
        proposal = await in_thread(self._policies.propose, principal_of(request), bundle, asked.reason)
        return json_response(shown_proposal(proposal), 201)

    async def approve(self, request: Request) -> Response:
        """Put what somebody else proposed in force."""
        asked = await body_of(request, ApprovalAsked)
        entry = await in_thread(self._policies.approve, principal_of(request), asked.bundle)
        return json_response(shown_applied(entry))

    async def withdraw(self, request: Request) -> Response:
        """Take back what is proposed."""
        await in_thread(self._policies.withdraw, principal_of(request))
        return no_content()

    async def explain(self, request: Request) -> Response:
        """Say what would be decided, and why."""
        asked = await body_of(request, Supposed)
        found = await in_thread(self._policies.explain, principal_of(request), asked)
        return json_response(shown_explained(found))

    async def roles(self, request: Request) -> Response:
        """List roles."""
        roles = await in_thread(self._policies.roles, principal_of(request))
        return json_response({"roles": [shown_role(role) for role in roles]})

    async def role(self, request: Request) -> Response:
        """Show a role and the rules that are about it."""
        name = str(request.path_params["role"])
        role, rules = await in_thread(self._policies.role, principal_of(request), name)
        return json_response({**shown_role(role), "rules": [shown_rule(rule) for rule in rules]})


def endpoints(policies: Policies) -> list[Endpoint]:
    """Return the endpoints of policies and roles."""
    door = PolicyDoor(policies)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    return [
        at("GET", "/policy", door.in_force, "Show the policies in force"),
        at("GET", "/policy/history", door.history, "List all policies that were ever applied"),
        at("GET", "/policy/bundles/{bundle}", door.bundle, "Show files that were applied or proposed"),
        at("POST", "/policy/validate", door.validate, "Say what a bundle would change", BundleAsked),
        at("POST", "/policy/apply", door.apply, "Put a bundle in force", BundleWithReason),
        at("POST", "/policy/proposal", door.propose, "Propose a bundle", BundleWithReason, "201"),
        at("POST", "/policy/proposal/approve", door.approve, "Approve a proposal", ApprovalAsked),
        at("DELETE", "/policy/proposal", door.withdraw, "Withdraw a proposal", ok="204"),
        at("POST", "/policy/explain", door.explain, "Explain a verdict", Supposed),
        at("GET", "/roles", door.roles, "List roles"),
        at("GET", "/roles/{role}", door.role, "Show a role and its rules"),
    ]
