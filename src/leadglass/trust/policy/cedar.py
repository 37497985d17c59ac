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
from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from importlib import resources
from typing import Final

import cedarpy

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import DECISIONS_REMEMBERED_MAX
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import SITE, Allowed, Decision, Denied, Permission, Resource
from leadglass.trust.policy.questions import EVERYTHING, Question, Questioner
from leadglass.trust.policy.roles import RoleCatalogue
from leadglass.trust.policy.rules import NAMESPACE, Rule, read_rules

_SCHEMA_NAME: Final = "schema.cedarschema"


def shipped_schema() -> str:
    """Return the schema of this release."""
    return _bundle()[_SCHEMA_NAME]


def shipped_files() -> dict[str, str]:
    """Return the policy files of this release, text by name."""
    return {name: text for name, text in _bundle().items() if name.endswith(".cedar")}


def _bundle() -> dict[str, str]:
    folder = resources.files("leadglass.trust.policy").joinpath("bundle")
    try:
        found = sorted((f for f in folder.iterdir() if ".cedar" in f.name), key=lambda f: f.name)
        return {f.name: f.read_text(encoding="utf-8") for f in found}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("the policies of this release cannot be read") from error


@dataclass(frozen=True, slots=True)
class _Slice:
    """Some of the policies, parsed, and the names of what they look at."""

    policies: cedarpy.PolicySet
    reads: Container[str]


_SliceKey = tuple[Permission, frozenset[str]]
_SLICES_MAX: Final = 1000
_SHAPES_MAX: Final = 1000


class CedarPolicy:
    """Implements ``policy.interfaces.Policy``. Thread-safe; immutable but for its memory of decisions.

    Args:
        files: Cedar policies, text by name of file; each policy carries an ``@id`` of its own, which is what audit
            records name.
        schema: Cedar schema, in Cedar's own syntax.
        clock: tells how old a factor is, and the hour.
        time_zone: of the site, for hour and weekday.
        roles: of the site, with what each includes.

    Raises:
        ConfigurationError: something does not parse, does not validate, or a policy has no name of its own.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        schema: str,
        clock: Clock,
        *,
        time_zone: tzinfo = UTC,
        roles: RoleCatalogue | None = None,
    ) -> None:
        self.rules: Mapping[str, Rule] = read_rules(files)
        if not self.rules:
            raise ConfigurationError("the policy bundle holds no policies: nothing would be allowed")
        policies = "\n".join(rule.text for rule in self.rules.values())
        self.roles = roles if roles is not None else RoleCatalogue()
        entities = json.dumps(_role_entities(self.roles))
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._whole = _Slice(cedarpy.PolicySet.from_str(policies), EVERYTHING)
            self._entities = cedarpy.Entities.from_json_str(entities, self._schema)
            validation = cedarpy.validate_policies(policies, self._schema)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the policies cannot be read: {error}") from error
        if not validation.validation_passed:
            first = validation.errors[0].error if validation.errors else "no reason given"
            raise ConfigurationError(f"the policies do not fit their schema: {first}")
        self._lifted_by_step_up = frozenset(rule.rule_id for rule in self.rules.values() if rule.step_up)
        reads = frozenset[str]().union(*(rule.reads for rule in self.rules.values()))
        literals = frozenset[str]().union(*(rule.literals for rule in self.rules.values()))
        crosses = any(rule.crosses for rule in self.rules.values())
        self._questioner = Questioner(clock, time_zone, reads, None if crosses else literals)
        self._in_full = Questioner(clock, time_zone, EVERYTHING, None)
        self._bundle_hash = bundle_hash(schema, files, entities)
        self._lock = threading.Lock()
        self._decisions: OrderedDict[Question, Decision] = OrderedDict()
        self._about_roles = frozenset(rule.about_role for rule in self.rules.values())
        self._slices: dict[_SliceKey, _Slice] = {}
        self._shapes: set[Hashable] = set()

    @classmethod
    def load(cls, clock: Clock, *, time_zone: tzinfo = UTC) -> "CedarPolicy":
        """Load the policies of this release alone.

        Raises:
            ConfigurationError: as above. The node must not start then.
        """
        return cls(shipped_files(), shipped_schema(), clock, time_zone=time_zone)

    @property
    def bundle_hash(self) -> str:
        """Hex SHA-256 of schema, policies and roles."""
        return self._bundle_hash

    def decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        """Decide; a decision is remembered by everything that the engine was told, so it is the engine's own."""
        try:
            question = self._questioner.question(principal, permission, resource)
            with self._lock:
                remembered = self._decisions.get(question)
                if remembered is not None:
                    self._decisions.move_to_end(question)
                    return remembered
            decision = self.answer(question)
        except Exception:  # noqa: BLE001 - whatever the engine trips over, the answer is no; it is not remembered
            return Denied("the policy engine could not take the question")
        with self._lock:
            self._decisions[question] = decision
            if len(self._decisions) > DECISIONS_REMEMBERED_MAX:
                self._decisions.popitem(last=False)
        return decision

    def standpoint(self, principal: Principal, permission: Permission) -> Hashable | None:
        """Return all that a decision looks at beside the resource. See ``Policy.standpoint``."""
        try:
            return self._bundle_hash, self._questioner.question(principal, permission, SITE)
        except Exception:  # noqa: BLE001 - as in ``decide``: whoever cannot be asked about gets no remembered answer
            return None

    def question(self, principal: Principal, permission: Permission, resource: Resource) -> Question:
        """Return the question of this moment with everything in it; ``decide`` leaves out what makes no difference."""
        return self._in_full.question(principal, permission, resource)

    def answer(self, question: Question) -> Decision:
        """Ask the engine, not the memory.

        Raises:
            ValueError: the engine cannot take the question; ``decide`` says no then.
        """
        decision = self._ask(question)
        if (
            isinstance(decision, Denied)
            and decision.rules
            and self._lifted_by_step_up.issuperset(decision.rules)
            and question.principal_id.startswith("user:")
            and isinstance(self._ask(question.with_strong_factor()), Allowed)
        ):
            return Denied("a strong factor has to be shown first", decision.rules, step_up=True)
        return decision

    def _ask(self, question: Question) -> Decision:
        """Ask about the policies that could say something, and tell what they look at.

        The first question of its shape is asked in full and against the schema: what the schema does not know is a no.
        """
        shape = question.shape()
        if shape not in self._shapes:
            decision, known = self._authorize(question, self._whole, schema=self._schema)
            if known and len(self._shapes) < _SHAPES_MAX:
                self._shapes.add(shape)
            return decision
        return self._authorize(question, self._slice(question), schema=None)[0]

    def answer_in_full(self, question: Question) -> Decision:
        """Ask all policies, tell everything, check it against the schema: what ``answer`` must agree with."""
        return self._authorize(question, self._whole, schema=self._schema)[0]

    def _authorize(
        self, question: Question, asked: "_Slice", *, schema: cedarpy.Schema | None
    ) -> tuple[Decision, bool]:
        """Return the decision, and whether the engine took the question."""
        told = json.dumps(question.entities(asked.reads))
        entities = self._entities.with_added_json_str(told, schema)
        result = cedarpy.is_authorized(question.request(asked.reads), asked.policies, entities, schema)
        names = result.diagnostics.id_annotations_by_reason
        rules = tuple(sorted(str(names.get(policy, policy)) for policy in result.diagnostics.reasons))
        known = result.decision is not cedarpy.Decision.NoDecision
        if result.diagnostics.errors:
            return Denied("a policy could not be evaluated", rules), known
        if result.decision is not cedarpy.Decision.Allow:
            return Denied("forbidden by policy" if rules else "no policy allows it", rules), known
        if not rules:  # an Allow that no policy stands behind is not one
            return Denied("the policy engine gave no reason"), known
        return Allowed(rules), known

    def _slice(self, question: Question) -> "_Slice":
        """Return the policies whose head fits the question: the others cannot apply. They are parsed once."""
        roles = self.roles.closure(question.roles)
        key = (question.permission, roles & self._about_roles)
        found = self._slices.get(key)
        if found is None:
            rules = [
                rule
                for rule in self.rules.values()
                if (not rule.actions or question.permission.value in rule.actions)
                and (not rule.about_role or rule.about_role in roles)
            ]
            if len(self._slices) >= _SLICES_MAX:
                self._slices.clear()
            self._slices[key] = found = _Slice(
                cedarpy.PolicySet.from_str("\n".join(rule.text for rule in rules)),
                frozenset(name.rpartition(".")[2] for rule in rules for name in rule.reads),
            )
        return found


def _role_entities(roles: RoleCatalogue) -> list[dict[str, object]]:
    kind = f"{NAMESPACE}::Role"
    includes = roles.includes
    return [
        {
            "uid": {"type": kind, "id": name},
            "attrs": {},
            "parents": [{"type": kind, "id": role} for role in sorted(set(includes.get(name, ())))],
        }
        for name in sorted({*includes, *(role for some in includes.values() for role in some)})
    ]


def bundle_hash(schema: str, files: Mapping[str, str], entities: str) -> str:
    """Return the hex SHA-256 over schema, files in the order of their names, and roles."""
    digest = hashlib.sha256()
    for part in (schema, entities, *(text for item in sorted(files.items()) for text in item)):
        encoded = part.encode("utf-8")
        digest.update(len(encoded).to_bytes(8, "big"))  # so that no two bundles run into the same octets
        digest.update(encoded)
    return digest.hexdigest()
