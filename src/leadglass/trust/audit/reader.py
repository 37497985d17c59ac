"""Reading entries, newest first, with filters: what ``leadglass audit show`` asks. Works beside a running server.

**Invariant:** changes nothing; needs no lock. Entries that came after ``LogReader`` was made are not seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast, final

import msgspec

from leadglass.trust.audit.interfaces import PayloadCipher, RecordedEvent
from leadglass.trust.audit.journal import JournalView
from leadglass.trust.audit.leaf import decode_leaf, timestamp
from leadglass.trust.audit.past import JOURNAL
from leadglass.trust.audit.service import recorded_event

_STEP: Final = 1024
"""Entries read forwards at a time while going backwards."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; what is None or empty does not narrow.

    Attributes:
        event: an ``EventCode`` value, or the beginning of one (``store:``).
        principal: exact id.
        since: by the time the log took the entry; aware.
        until: as above.
        outcome: an ``Outcome`` value.
        correlation: exact.
        objects: kind to a value in clear; its token is looked for.
    """

    event: str = ""
    principal: str = ""
    since: datetime | None = None
    until: datetime | None = None
    outcome: str = ""
    correlation: str = ""
    objects: dict[str, str] = field(default_factory=dict[str, str])


@final
class LogReader:
    """A log for reading.

    Raises:
        IntegrityError: the journal is not one of this log, or parts are missing.
    """

    def __init__(self, root: Path, origin: str, cipher: PayloadCipher | None = None) -> None:
        self._origin = origin
        self._cipher = cipher
        self._view = JournalView(root / JOURNAL, origin)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._view.size

    def entry(self, sequence: int) -> RecordedEvent:
        """Return one entry.

        Raises:
            IndexError: there is none with that number.
        """
        return recorded_event(self._view.entry(sequence), self._origin, self._cipher)

    def newest_first(self, wanted: Filter | None = None, limit: int | None = None) -> Iterator[RecordedEvent]:
        """Yield matching entries, newest first, at most ``limit``.

        Raises:
            IntegrityError: an entry is damaged.
        """
        wanted = wanted or Filter()
        tokens = self._tokens(wanted)
        since = timestamp(wanted.since) if wanted.since else ""
        until = timestamp(wanted.until) if wanted.until else ""
        left = self.size if limit is None else limit
        stop = self.size
        while stop > 0 and left > 0:
            start = max(0, stop - _STEP)
            for entry in reversed(list(self._view.entries(start, stop))):
                leaf = decode_leaf(entry.leaf)
                taken = str(leaf.get("taken"))
                # All times have one length and zone, so text order is time order.
                if (since and taken < since) or (until and taken > until) or not _matches(leaf, wanted):
                    continue
                event: RecordedEvent | None = None
                if tokens and not _has_tokens(leaf, tokens):
                    if "objects_omitted" not in leaf:
                        continue
                    event = recorded_event(entry, self._origin, self._cipher)
                    if not _has_values(event, wanted.objects):
                        continue
                yield event or recorded_event(entry, self._origin, self._cipher)
                left -= 1
                if left <= 0:
                    return
            stop = start

    def highest_fact(self, name: str) -> int:
        """Return the highest integer that was recorded as a fact of that name, for one that only ever grows; else 0.

        Newest first, and it stops at the first 1024 entries that hold one: so two commands that recorded theirs the
        other way round are no matter. An entry without the fact costs 5 us.

        Raises:
            IntegrityError: an entry on the way is damaged.
        """
        # The name as a key: in a string the quotes would stand behind backslashes.
        key = msgspec.json.encode(name) + b":"
        stop = self.size
        while stop > 0:
            start = max(0, stop - _STEP)
            found = [
                fact
                for entry in self._view.entries(start, stop)
                if key in entry.leaf and type(fact := _fact(entry.leaf, name)) is int
            ]
            if found:
                return max(found)
            stop = start
        return 0

    def _tokens(self, wanted: Filter) -> dict[str, str]:
        if wanted.objects and self._cipher is None:
            raise ValueError("looking for an object needs the key of the tokens")
        if self._cipher is None:
            return {}
        return {kind: self._cipher.token(kind, value).hex() for kind, value in wanted.objects.items()}


def _fact(leaf: bytes, name: str) -> object:
    facts = decode_leaf(leaf).get("facts")
    return cast("dict[str, object]", facts).get(name) if isinstance(facts, dict) else None


def _matches(leaf: dict[str, Any], wanted: Filter) -> bool:
    actor = cast("dict[str, Any]", leaf.get("actor") or {})
    return (
        str(leaf.get("event")).startswith(wanted.event)
        and wanted.principal in {"", actor.get("principal")}
        and wanted.outcome in {"", leaf.get("outcome")}
        and wanted.correlation in {"", leaf.get("correlation")}
    )


def _has_tokens(leaf: dict[str, Any], tokens: dict[str, str]) -> bool:
    objects = cast("dict[str, list[str]]", leaf.get("objects") or {})
    return all(token in objects.get(kind, ()) for kind, token in tokens.items())


def _has_values(event: RecordedEvent, values: dict[str, str]) -> bool:
    objects = cast("dict[str, list[str]]", (event.payload or {}).get("objects") or {})
    return all(value in objects.get(kind, ()) for kind, value in values.items())
