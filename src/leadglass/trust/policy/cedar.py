"""Policies in Cedar, behind one wrapper that says no whenever the engine says anything but a clean yes.

Cedar skips a policy whose evaluation fails: a ``forbid`` that stumbles over a missing attribute lets the ``permit``
beside it stand, and only the diagnostics tell (measured with cedarpy 4.12: ``Decision.Allow`` with an error). So a yes
counts only with no error in it, and policies must pass strict validation against the schema before they are used.

Source: Cedar Policy Language Reference, "Policy validation" and "How authorization works".
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# because cedarpy annotates with bare ``dict`` and ``list``; mypy --strict stands without this.

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import cedarpy

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import DECISIONS_REMEMBERED_MAX
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Allowed, Decision, Denied, Permission, Resource

_NAMESPACE: Final = "Leadglass"
_SCHEMA_NAME: Final = "schema.cedarschema"
_RESOURCE_ID: Final = "it"
"""A question is about one thing, told apart by its attributes; policies cannot name single objects."""

_Key = tuple[object, ...]


class CedarPolicy:
    """Implements ``policy.interfaces.Policy``. Thread-safe; immutable but for its memory of decisions.

    Args:
        policies: Cedar policies; each carries an ``@id`` of its own, which is what audit records name.
        schema: Cedar schema, in Cedar's own syntax.
        entities: base entities as Cedar JSON, e.g. a hierarchy of roles.

    Raises:
        ConfigurationError: something does not parse, does not validate, or a policy has no name of its own.
    """

    def __init__(self, policies: str, schema: str, entities: str = "[]") -> None:
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._policies = cedarpy.PolicySet.from_str(policies)
            self._entities = cedarpy.Entities.from_json_str(entities, self._schema)
            validation = cedarpy.validate_policies(policies, self._schema)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the policies cannot be read: {error}") from error
        if not validation.validation_passed:
            first = validation.errors[0].error if validation.errors else "no reason given"
            raise ConfigurationError(f"the policies do not fit their schema: {first}")
        if self._policies.templates():
            raise ConfigurationError("policy templates are not used here: they allow nothing until linked")
        names = [policy.annotations.get("id") for policy in self._policies.to_pst().static_policies.values()]
        if not all(names) or len(set(names)) != len(names):
            raise ConfigurationError("every policy needs an @id of its own: audit records name it")
        self._bundle_hash = _hash(schema, policies, entities)
        self._lock = threading.Lock()
        self._decisions: OrderedDict[_Key, Decision] = OrderedDict()

    @classmethod
    def load(cls, folder: Path | None = None) -> "CedarPolicy":
        """Load a bundle: ``schema.cedarschema`` and every ``*.cedar`` in the order of their names.

        Args:
            folder: of the site's own bundle; without one, the default bundle of this package.

        Raises:
            ConfigurationError: it is incomplete, or as above. The node must not start then.
        """
        source: Traversable = (
            folder if folder is not None else resources.files("leadglass.trust.policy").joinpath("bundle")
        )
        try:
            schema = source.joinpath(_SCHEMA_NAME).read_text(encoding="utf-8")
            files = sorted((f for f in source.iterdir() if f.name.endswith(".cedar")), key=lambda f: f.name)
            texts = [f.read_text(encoding="utf-8") for f in files]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("the policy bundle cannot be read") from error
        if not texts:
            raise ConfigurationError("the policy bundle holds no policies: nothing would be allowed")
        return cls("\n".join(texts), schema)

    @property
    def bundle_hash(self) -> str:
        """Hex SHA-256 of schema, policies and base entities."""
        return self._bundle_hash

    def decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        """Decide; a decision is remembered by everything that the engine was told, so it is the engine's own."""
        try:
            key = _key(principal, permission, resource)
            with self._lock:
                remembered = self._decisions.get(key)
                if remembered is not None:
                    self._decisions.move_to_end(key)
                    return remembered
            decision = self._ask(principal, permission, resource)
        except Exception:  # noqa: BLE001 - whatever the engine trips over, the answer is no; it is not remembered
            return Denied("the policy engine could not take the question")
        with self._lock:
            self._decisions[key] = decision
            if len(self._decisions) > DECISIONS_REMEMBERED_MAX:
                self._decisions.popitem(last=False)
        return decision

    def _ask(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        subject = {"type": f"{_NAMESPACE}::Principal", "id": principal.principal_id}
        target = {"type": f"{_NAMESPACE}::{resource.kind}", "id": _RESOURCE_ID}
        delta = [
            {
                "uid": subject,
                "attrs": {"ae_title": principal.ae_title, "through": principal.through},
                "parents": [{"type": f"{_NAMESPACE}::Role", "id": role} for role in principal.roles],
            },
            {"uid": target, "attrs": _plain(resource.attributes), "parents": []},
        ]
        request = {
            "principal": subject,
            "action": {"type": f"{_NAMESPACE}::Action", "id": permission.value},
            "resource": target,
            "context": {},
        }
        entities = self._entities.with_added_json_str(json.dumps(delta), self._schema)
        result = cedarpy.is_authorized(request, self._policies, entities, self._schema)
        names = result.diagnostics.id_annotations_by_reason
        rules = tuple(sorted(str(names.get(policy, policy)) for policy in result.diagnostics.reasons))
        if result.diagnostics.errors:
            return Denied("a policy could not be evaluated", rules)
        if result.decision is not cedarpy.Decision.Allow:
            return Denied("forbidden by policy" if rules else "no policy allows it", rules)
        if not rules:  # an Allow that no policy stands behind is not one
            return Denied("the policy engine gave no reason")
        return Allowed(rules)


def _plain(attributes: Mapping[str, str | int | bool | frozenset[str]]) -> dict[str, object]:
    return {
        name: sorted(value) if isinstance(value, frozenset) else value for name, value in attributes.items()
    }


def _key(principal: Principal, permission: Permission, resource: Resource) -> _Key:
    # Types stand beside values because True and 1 are the same key of a dict but not the same value to Cedar.
    attributes = tuple(
        sorted(
            (
                (name, type(value).__name__, tuple(sorted(value)) if isinstance(value, frozenset) else value)
                for name, value in resource.attributes.items()
            ),
            key=lambda item: item[0],
        )
    )
    return (
        principal.principal_id,
        principal.roles,
        principal.ae_title,
        principal.through,
        permission,
        resource.kind,
        attributes,
    )


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "big"))  # so that no two bundles run into the same octets
        digest.update(encoded)
    return digest.hexdigest()
