"""Deleting softly, and restoring, inside the site's window.

A deletion hides: nobody finds, retrieves or counts what it names, and not one octet of it is gone. Inside the window
whoever may restore can undo it; after that it waits for disposal (retention and destruction of keys are not built yet,
so what is past its window stays hidden, sealed, and on disk).

The SOP Instance UIDs stay taken, so a resend of a deleted object is answered as held and brings nothing back. What
arrives later in a deleted study or series is stored, and stays hidden with it.

Whoever got hold of a person's rights may try to delete all there is. So each person has an allowance for an hour; who is
above it is refused and an alert is on record. It is kept in memory: a restart of the node gives it anew.

Source: PS3.18 10.5 (no delete there: it is an extension, by permission); 45 CFR 164.312(c)(1); NIST SP 800-209 5.
"""

import secrets
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final

from leadglass.archive.access import Access, Grant, subject_of
from leadglass.base.errors import NotFound, OutOfResources, StateConflict, UsageError
from leadglass.base.ids import UID
from leadglass.base.limits import (
    DELETED_INSTANCES_PER_HOUR_MAX,
    DELETION_REASON_CHARACTERS_MAX,
    DELETIONS_LISTED_MAX,
)
from leadglass.dicom.models import Level
from leadglass.store.index.interfaces import Deletion, Index, Selector
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode, Outcome
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

__all__ = ["Deletion", "Deletions"]

_HOUR: Final = 3600.0
_ID_BYTES: Final = 16


@dataclass(slots=True)
class _Allowance:
    """What each person deleted in the last hour. Thread-safe."""

    most: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    spent: dict[str, deque[tuple[float, int]]] = field(default_factory=dict[str, deque[tuple[float, int]]])

    def take(self, principal_id: str, instances: int, now: float) -> bool:
        """Take from the allowance; tell whether it was enough. A first deletion may be of any size."""
        with self.lock:
            for name, times in list(self.spent.items()):
                while times and times[0][0] <= now - _HOUR:
                    times.popleft()
                if not times:
                    del self.spent[name]
            times = self.spent.get(principal_id, deque())
            if times and sum(n for _, n in times) + instances > self.most:
                return False
            times.append((now, instances))
            self.spent[principal_id] = times
            return True


class Deletions:
    """Deletes and restores.

    Args:
        access: the one door.
        index: where rows are hidden.
        writer: what was admitted before is deleted too.
        window: how long a deletion can be undone.
        instances_per_hour: allowance of one person.
    """

    def __init__(
        self,
        access: Access,
        index: Index,
        writer: IndexWriter,
        *,
        window: timedelta = timedelta(days=30),
        instances_per_hour: int = DELETED_INSTANCES_PER_HOUR_MAX,
    ) -> None:
        self._access = access
        self._index = index
        self._writer = writer
        self._window = window
        self._allowance = _Allowance(instances_per_hour)

    def delete(
        self,
        principal: Principal,
        study_uid: UID,
        series_uid: UID | None = None,
        sop_instance_uid: UID | None = None,
        *,
        reason: str,
    ) -> Deletion:
        """Hide a study, a series of it, or an instance of that. It is on record, durably, before it takes effect.

        Args:
            principal: who deletes.
            study_uid: always.
            series_uid: for a series or an instance.
            sop_instance_uid: for an instance.
            reason: why; it may hold PHI, so it is kept sealed.

        Raises:
            AccessDenied: policy permits it on no study at all.
            NotFound: there is no such thing, it is deleted already, or this principal may not delete in that study.
            OutOfResources: the principal's allowance is used up; an alert is on record.
            UsageError: no reason, or UIDs that do not belong together.
            AuditUnavailable: it cannot be put on record.
        """
        if not 0 < len(reason.strip()) <= DELETION_REASON_CHARACTERS_MAX:
            raise UsageError(
                f"a deletion needs a reason of at most {DELETION_REASON_CHARACTERS_MAX} characters"
            )
        grant = self._grant(principal, Permission.STUDY_DELETE, study_uid, deleted=False)
        selector = _selector(study_uid, series_uid, sop_instance_uid)
        instances = sum(1 for _ in self._index.select(selector))
        if not instances:
            raise NotFound("nothing of that name is held")
        self._take(grant, study_uid, instances)
        now = self._access.clock.now()
        deletion = Deletion(
            deletion_id=secrets.token_bytes(_ID_BYTES),
            level=selector.level,
            study_uid=study_uid,
            series_uid=series_uid or "",
            sop_instance_uid=sop_instance_uid or "",
            deleted_at=now,
            deleted_by=principal.principal_id,
            reason=reason,
            restorable_until=now + self._window,
        )
        self._record(grant, EventCode.STUDY_DELETED, deletion, instances=instances)
        if not self._index.delete(deletion):
            raise NotFound("nothing of that name is held")  # somebody was quicker
        return deletion

    def restore(self, principal: Principal, deletion_id: bytes) -> int:
        """Undo a deletion; return the number of instances that are visible again.

        Raises:
            AccessDenied: policy permits it on no study at all.
            NotFound: there is no such deletion, or this principal may not restore in its study.
            StateConflict: its window is over.
            AuditUnavailable: it cannot be put on record.
        """
        site = self._access.permit(principal, Permission.STUDY_RESTORE)
        deletion = next((d for d in self._index.deletions() if d.deletion_id == deletion_id), None)
        if deletion is None:
            raise NotFound("there is no such deletion")
        grant = self._grant(site.principal, Permission.STUDY_RESTORE, deletion.study_uid, deleted=True)
        if self._access.clock.now() >= deletion.restorable_until:
            raise StateConflict("the window for restoring is over; what was deleted waits for disposal")
        self._record(grant, EventCode.STUDY_RESTORED, deletion)
        return self._index.restore(deletion_id)

    def list(self, principal: Principal) -> list[Deletion]:
        """Return what is deleted in studies that this principal may restore, newest first; on record first.

        At most ``DELETIONS_LISTED_MAX``.

        Raises:
            AccessDenied: policy permits restoring on no study at all.
            AuditUnavailable: it cannot be put on record.
        """
        site = self._access.permit(principal, Permission.STUDY_RESTORE)
        self._writer.barrier()
        shown = list(islice(self._permitted(principal), DELETIONS_LISTED_MAX))
        self._access.record(
            site,
            EventCode.DELETIONS_LISTED,
            objects={"study": list(dict.fromkeys(deletion.study_uid for deletion in shown))},
            facts={"deletions": len(shown)},
        )
        return shown

    def _permitted(self, principal: Principal) -> Iterator[Deletion]:
        deletions = self._index.deletions()
        while batch := list(islice(deletions, 256)):
            uids = list(dict.fromkeys(deletion.study_uid for deletion in batch))
            facts = self._index.facts(uids, subject_of(principal), deleted=True)
            grant = self._access.permit_studies(principal, Permission.STUDY_RESTORE, facts)
            yield from (d for d in batch if grant.studies is not None and d.study_uid in grant.studies)

    def _grant(self, principal: Principal, permission: Permission, study_uid: UID, *, deleted: bool) -> Grant:
        """Return a grant for that one study. Hidden equals missing."""
        self._access.permit(principal, permission)
        self._writer.barrier()
        facts = self._index.facts([study_uid], subject_of(principal), deleted=deleted)
        grant = self._access.permit_studies(principal, permission, facts)
        if grant.studies is None or study_uid not in grant.studies:
            raise NotFound("nothing of that name is held")
        return grant

    def _take(self, grant: Grant, study_uid: UID, instances: int) -> None:
        if self._allowance.take(grant.principal.principal_id, instances, self._access.clock.monotonic()):
            return
        self._access.record(
            grant,
            EventCode.SECURITY_ALERT,
            outcome=Outcome.SERIOUS_FAILURE,
            objects={"study": (study_uid,)},
            facts={"what": "mass deletion", "instances": instances},
        )
        raise OutOfResources(
            "too much was deleted in the last hour; go on later, or ask the security officer"
        )

    def _record(
        self, grant: Grant, code: EventCode, deletion: Deletion, *, instances: int | None = None
    ) -> None:
        facts: dict[str, str | int | bool] = {
            "deletion": deletion.deletion_id.hex(),
            "level": deletion.level.value,
            "restorable_until": deletion.restorable_until.isoformat(),
        }
        if instances is not None:
            facts["instances"] = instances
        named = {"instance": (deletion.sop_instance_uid,)} if deletion.sop_instance_uid else {}
        self._access.record(
            grant,
            code,
            objects={"study": (deletion.study_uid,), **named},
            facts=facts,
            detail={
                "reason": deletion.reason,
                "series_uid": deletion.series_uid,
                "sop_instance_uid": deletion.sop_instance_uid,
            },
        )


def _selector(study_uid: UID, series_uid: UID | None, sop_instance_uid: UID | None) -> Selector:
    if sop_instance_uid is not None:
        if series_uid is None:
            raise UsageError("an instance is deleted by study, series and instance UID")
        return Selector(
            Level.IMAGE,
            study_uids=(study_uid,),
            series_uids=(series_uid,),
            sop_instance_uids=(sop_instance_uid,),
        )
    if series_uid is not None:
        return Selector(Level.SERIES, study_uids=(study_uid,), series_uids=(series_uid,))
    return Selector(Level.STUDY, study_uids=(study_uid,))
