"""Finding: which studies, series and instances there are, for those who may know.

Matches leave in batches, and each batch stands in the audit log, study by study, before its first match is given out:
the log says not only what was asked but what was shown.

Source: PS3.4 C.4.1; PS3.15 A.5.3.10 (Query).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final

from leadglass.archive.access import Access, Grant
from leadglass.base.errors import OutOfResources
from leadglass.base.limits import QUERY_RESULTS_MAX
from leadglass.dicom.query import KeyMatch, Query, SequenceMatch, Universal
from leadglass.store.index.interfaces import Index, Match, Total
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

_BATCH: Final = 256
"""Matches per audit event: a leaf of 64 KiB holds the tokens of some 1500 studies."""


@dataclass(frozen=True, slots=True)
class Finder:
    """Answers queries; holds no state."""

    access: Access
    writer: IndexWriter
    index: Index

    def find(
        self, principal: Principal, query: Query, *, offset: int = 0, limit: int | None = None
    ) -> Iterator[Match]:
        """Yield what matches and may be shown, the newest first. Stop iterating to cancel.

        Args:
            principal: who asks.
            query: what for.
            offset: matches to pass over first.
            limit: most matches wanted; None for all, and then too many are an error and never silence.

        Raises:
            AccessDenied: policy said no.
            AuditUnavailable: what would be shown cannot be put on record.
            OutOfResources: more than ``QUERY_RESULTS_MAX`` matches, or too many candidates.
        """
        grant = self.access.permit(principal, Permission.STUDY_QUERY)
        self.writer.barrier()
        scope = self.access.scope(principal, Permission.STUDY_QUERY)
        matches = self.index.search(query, scope, offset=offset, limit=limit)
        most = QUERY_RESULTS_MAX if limit is None else min(limit, QUERY_RESULTS_MAX)
        shown = 0
        while True:
            wanted = min(_BATCH, most - shown)
            batch = list(islice(matches, wanted))
            if batch or not shown:
                self._record(grant, query, batch, shown, offset)
            yield from batch
            shown += len(batch)
            if len(batch) < wanted or shown == limit:
                return
            if shown >= QUERY_RESULTS_MAX:
                raise OutOfResources("too many matches; narrow the query")

    def count(self, principal: Principal, query: Query) -> Total:
        """Tell how many matches there are, exactly where that is cheap. On record first: a number tells something too.

        Raises:
            AccessDenied: policy said no.
            AuditUnavailable: it cannot be put on record.
            OutOfResources: too many candidates.
        """
        grant = self.access.permit(principal, Permission.STUDY_QUERY)
        self.writer.barrier()
        total = self.index.count(query, self.access.scope(principal, Permission.STUDY_QUERY))
        self.access.record(
            grant,
            EventCode.QUERY_ANSWERED,
            facts={"level": query.level.value, "counted": total.value, "exact": total.exact},
            detail={"keys": _keys(query)},
        )
        return total

    def _record(self, grant: Grant, query: Query, batch: list[Match], before: int, offset: int) -> None:
        self.access.record(
            grant,
            EventCode.QUERY_ANSWERED,
            objects={"study": list(dict.fromkeys(match.study_uid for match in batch))},
            facts={"level": query.level.value, "matches": len(batch), "matches_before": offset + before},
            # Once: an identifier of 4 MiB in each of 400 batches would be 1.6 GB of log for one query.
            detail={} if before else {"keys": _keys(query)},
        )


def _keys(query: Query) -> dict[str, object]:
    return {key.keyword or f"{key.tag:08X}": _described(key.match) for key in query.keys}


def _described(match: KeyMatch) -> object:
    """Return what a key demanded, for the sealed part of the event."""
    if isinstance(match, Universal):
        return "*"
    if isinstance(match, SequenceMatch):
        return {key.keyword or f"{key.tag:08X}": _described(key.match) for key in match.keys}
    return asdict(match)
