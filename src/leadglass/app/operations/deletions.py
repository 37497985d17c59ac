"""Deleting softly, and bringing back."""

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.base.errors import UsageError
from leadglass.base.ids import UID, is_uid
from leadglass.doors.console.deletions import deletion_id_of, shown_deletion


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    study: str
    reason: str
    series: str = ""
    instance: str = ""


def study_delete(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Hide a study, a series of it, or an instance of that."""
    asked = msgspec.convert(arguments, _Asked)
    deletion = node.deletions.delete(
        operator(),
        _uid(asked.study),
        _uid(asked.series) if asked.series else None,
        _uid(asked.instance) if asked.instance else None,
        reason=asked.reason,
    )
    return {"deletion": msgspec.to_builtins(shown_deletion(deletion))}


def study_restore(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Undo a deletion."""
    instances = node.deletions.restore(operator(), deletion_id_of(str(arguments["deletion"])))
    return {"instances": instances}


def study_deleted(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List what was deleted."""
    found = node.deletions.list(operator())
    return {"deletions": [msgspec.to_builtins(shown_deletion(deletion)) for deletion in found]}


def _uid(text: str) -> UID:
    if not is_uid(text):
        raise UsageError("a UID is expected: digits and dots, 64 at most")
    return UID(text)
