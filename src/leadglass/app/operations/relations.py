"""Who works on which study, and who treats whom."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.archive.relations import Relation, RelationEntry
from leadglass.doors.console.relations import principal_id_of, shown_relation

_DAYS: Final = 30


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    kind: Relation
    study: str = ""
    patient: str = ""
    until: datetime | None = None


def relation_assign(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Give somebody a relation until a moment."""
    asked = msgspec.convert(arguments, _Asked)
    until = asked.until or node.clock.now() + timedelta(days=_DAYS)
    entry = RelationEntry(principal_id_of(asked.account), asked.kind, until, asked.study, asked.patient)
    node.relations.assign(operator(), entry)
    return {"relation": msgspec.to_builtins(shown_relation(entry))}


def relation_end(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Take a relation away."""
    asked = msgspec.convert(arguments, _Asked)
    ended = node.relations.unassign(
        operator(),
        principal_id_of(asked.account),
        asked.kind,
        study_uid=asked.study,
        patient_id=asked.patient,
    )
    return {"ended": ended}


def relation_list(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """List what somebody has."""
    entries = node.relations.list(operator(), principal_id_of(str(arguments["account"])))
    return {"relations": [msgspec.to_builtins(shown_relation(entry)) for entry in entries]}
