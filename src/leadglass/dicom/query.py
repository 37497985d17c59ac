"""C-FIND identifiers: parsed, matched, answered (PS3.4 C.2.2.2). Work in progress; see the room's helper."""

from dataclasses import dataclass

from leadglass.dicom.models import Level


@dataclass(frozen=True, slots=True)
class Query:
    """Placeholder replaced by the query slice."""

    level: Level
