"""Policies as text, one rule at a time: what it is called, where it stands, what it says and what it looks at.

A file is cut at the semicolons that end its policies; each piece must parse alone, so a cut in the wrong place is an
error and never another policy.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# because cedarpy annotates with bare ``dict`` and ``list``; mypy --strict stands without this.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Final, Literal

import cedarpy
from cedarpy import pst

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import POLICY_FILE_BYTES_MAX, POLICY_RULES_MAX

NAMESPACE: Final = "Leadglass"
GUARD_RAILS: Final = "guard_rails.cedar"
"""Name of the file of ours whose rules hold whatever else is permitted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy.

    Attributes:
        rule_id: its ``@id``, which audit records name.
        effect: ``permit`` or ``forbid``.
        file: where it stands.
        comment: the comment above it, in one line.
        text: the policy as written, without that comment.
        step_up: a strong factor shown now would lift it (``@step_up("true")``, a ``forbid`` only).
        reads: attributes it looks at: ``principal.devices``, ``context.hour``, ``resource.sources``.
        roles: that it names.
        actions: that it is about; empty for all.
        literals: strings it compares with.
        crosses: it compares one attribute of a resource with another.
        about_role: whose it is: it says nothing of anybody else; empty: of everybody.
    """

    rule_id: str
    effect: Literal["permit", "forbid"]
    file: str
    comment: str
    text: str
    step_up: bool
    reads: frozenset[str]
    roles: frozenset[str]
    actions: frozenset[str]
    literals: frozenset[str]
    crosses: bool
    about_role: str


def read_rules(files: Mapping[str, str]) -> dict[str, Rule]:
    """Return the rules of policy files by their id.

    Args:
        files: text by name of file.

    Raises:
        ConfigurationError: something does not parse, or a rule has no name of its own.
    """
    rules: dict[str, Rule] = {}
    for file, text in files.items():
        if len(text.encode("utf-8", "replace")) > POLICY_FILE_BYTES_MAX:
            raise ConfigurationError(f"{file}: longer than {POLICY_FILE_BYTES_MAX} octets")
        for comment, piece in _pieces(text):
            rule = _rule(file, comment, piece)
            if not rule.rule_id or rule.rule_id in rules:
                raise ConfigurationError(
                    f"{file}: every policy needs an @id of its own: audit records name it"
                )
            rules[rule.rule_id] = rule
            if len(rules) > POLICY_RULES_MAX:
                raise ConfigurationError(f"more than {POLICY_RULES_MAX} policies")
    return rules


def _rule(file: str, comment: str, text: str) -> Rule:
    try:
        parsed = cedarpy.PolicySet.from_str(text)
        if parsed.templates():
            raise ConfigurationError(f"{file}: templates are not used here: they allow nothing until linked")
        (policy,) = parsed.to_pst().static_policies.values()
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{file}: the policies cannot be read: {error}") from error
    notes = dict(policy.annotations)
    step_up = notes.get("step_up", "")
    if set(notes) - {"id", "step_up"} or step_up not in {"", "true"}:
        raise ConfigurationError(f'{file}: a policy may carry @id and @step_up("true"), nothing else')
    if step_up and policy.effect != "forbid":
        raise ConfigurationError(
            f"{file}: @step_up says that a strong factor lifts a forbid; this is a permit"
        )
    uids = pst.entity_uids(policy)
    return Rule(
        rule_id=notes.get("id", ""),
        effect=policy.effect,
        file=file,
        comment=comment,
        text=text,
        step_up=bool(step_up),
        reads=frozenset(_reads(policy)),
        roles=frozenset(uid.id for uid in uids if uid.type.basename == "Role"),
        actions=_scope_actions(policy.action),
        literals=frozenset(_literals(policy.clauses)),
        crosses=_crosses(policy.clauses),
        about_role=_scope_role(policy.principal),
    )


def _scope_actions(scope: object) -> frozenset[str]:
    match scope:
        case pst.ActionEq(entity=entity):
            return frozenset({entity.id})
        case pst.ActionIn(entities=entities):
            # "in []" is about nothing, which is not the same as about everything.
            return frozenset(entity.id for entity in entities) or frozenset({""})
        case _:
            return frozenset()


def _scope_role(scope: object) -> str:
    match scope:
        case pst.ScopeIn(entity=pst.EntityUid(type=pst.EntityType(basename="Role"), id=role)):
            return role
        case _:
            return ""


def _reads(node: object) -> Iterator[str]:
    """Yield every attribute that is looked at anywhere under a node; of what, where that is a plain variable.

    Strict validation leaves no other way to an attribute: Cedar has no computed names, and a record that is compared
    as a whole has to be spelt out.
    """
    match node:
        case pst.GetAttr(base=pst.Var(name=name), attr=attr):
            yield f"{name}.{attr}"
        case pst.HasAttr(base=pst.Var(name=name), attrs=attrs):
            yield f"{name}.{attrs[0]}"
        case pst.Record(fields=entries):
            yield from (f"context.{attr}" for attr in entries)
        case _:
            pass
    for below in _below(node):
        yield from _reads(below)


def _literals(node: object) -> Iterator[str]:
    if isinstance(node, pst.StringLit):
        yield node.value
    for below in _below(node):
        yield from _literals(below)


def _crosses(node: object) -> bool:
    if isinstance(node, pst.BinaryOp) and node.op not in {"and", "or"}:
        sides = [
            any(name.startswith("resource.") for name in _reads(side)) for side in (node.left, node.right)
        ]
        if all(sides):
            return True
    return any(_crosses(below) for below in _below(node))


def _below(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        yield from node.values()
    elif isinstance(node, tuple):
        yield from node
    elif is_dataclass(node) and not isinstance(node, type):
        for entry in fields(node):
            yield getattr(node, entry.name)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield each policy with the comment that stands right above it."""
    comment: list[str] = []
    policy: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not policy and (not stripped or stripped.startswith("//")):
            # An empty line parts a comment about the file from one about the policy.
            comment = [*comment, stripped.removeprefix("//").strip()] if stripped else []
            continue
        policy.append(line)
        if _ends(line):
            yield " ".join(comment), "\n".join(policy)
            comment, policy = [], []
    if policy:
        yield " ".join(comment), "\n".join(policy)


def _ends(line: str) -> bool:
    """Tell whether a policy ends with this line: its last character outside strings and comments is a semicolon."""
    last = ""
    inside = escaped = False
    for place, character in enumerate(line):
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside, last = True, character
        elif line.startswith("//", place):
            break
        elif not character.isspace():
            last = character
    return last == ";"
