"""One thread that writes rows in groups, so that a commit is shared by all who ingest at the moment.

``admit`` decides at once whether a SOP Instance UID is free: against the rows that are committed and those that wait.
The rows follow in the background: as soon as a group is full, or as soon as somebody wants to see them. Whoever reads
calls ``barrier`` first, so what was admitted is always visible; and who closes a pack calls it too, so no row waits
longer than its pack is open. No timer is needed, and a lone sender shares a commit with itself.

When the database fails, nothing more is admitted. The rows that wait are kept, and the next ``admit`` or ``barrier``
makes one more attempt to write them: a disk that was full may have room again. Damage is for good.

**Invariant:** a UID is admitted once; rows are committed in the order in which they were admitted.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from leadglass.base.errors import IntegrityError, LeadglassError, OutOfResources
from leadglass.base.ids import UID
from leadglass.base.limits import INDEX_QUEUE_MAX
from leadglass.store.index.interfaces import IndexEntry, InstanceRecord
from leadglass.store.index.service import PreparedEntry, SQLIndex

GROUP_ROWS_MIN: Final = 64
"""Rows that are worth a commit when nobody asks. Measured for each row: 180 us alone, 80 in groups of 4, 40 in groups
of 16, 27 in groups of 64 and more."""

GROUP_ROWS_MAX: Final = 128
"""Rows of one transaction."""

REMEMBERED_MIN: Final = 4096
"""UIDs admitted last, of which at least so many are remembered: twice as many at most, some 100 octets each."""

OnDone = Callable[[LeadglassError | None], None]
"""Called on the writing thread when the row is committed; with an error when the writer was closed before."""


class _Waiting:
    """One row on its way."""

    __slots__ = ("on_done", "prepared")

    def __init__(self, prepared: PreparedEntry, on_done: OnDone | None) -> None:
        self.prepared = prepared
        self.on_done = on_done


class IndexWriter:
    """Groups what many threads add to one index. Thread-safe; the index may be read by anybody meanwhile.

    Args:
        index: written to by this writer only (within this process).
        group_rows_min: rows that are written without being asked for; 1 where other nodes read the same database
            and cannot ask.
    """

    def __init__(self, index: SQLIndex, *, group_rows_min: int = GROUP_ROWS_MIN) -> None:
        self._index = index
        # Never more than the queue holds, or a full queue would wait for itself.
        self._group_rows_min = max(1, min(group_rows_min, INDEX_QUEUE_MAX))
        self._admitting = threading.Lock()
        self._state = threading.Condition(threading.Lock())
        # Guarded by _state, but for reads of _pending under _admitting, which alone adds to it.
        self._waiting: deque[_Waiting] = deque()
        self._pending: dict[str, IndexEntry] = {}
        # UIDs of the rows from number _recent_from on, in two generations; guarded by _admitting.
        self._recent: set[str] = set()
        self._recent_before: set[str] = set()
        self._recent_from = 0
        self._enqueued = 0
        self._committed = 0
        self._wanted = 0  # rows up to this number somebody waits for
        self._attempts = 0
        self._failure: LeadglassError | None = None
        self._retry = False
        self._idle = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    @property
    def admitted(self) -> int:
        """Rows admitted so far: to be noted before a ``lookup``, for ``admit``."""
        return self._enqueued

    def lookup(self, sop_instance_uid: UID) -> InstanceRecord | None:
        """Return the instance of that UID, whether its row is committed or waits.

        Raises:
            IntegrityError: its row is not what was written.
        """
        with self._state:
            waiting = self._pending.get(sop_instance_uid)
        # A row leaves the waiting ones after its commit, so it is seen in one place or the other.
        return _record(waiting) if waiting is not None else self._index.lookup(sop_instance_uid)

    def admit(
        self, entry: IndexEntry, on_done: OnDone | None = None, *, free_since: int | None = None
    ) -> InstanceRecord | None:
        """Admit an entry, or return who holds its UID.

        Args:
            entry: to add.
            on_done: called when its row is committed.
            free_since: what ``admitted`` was before a ``lookup`` that found its UID free. Then only what was admitted
                since is looked at, which takes 1 us instead of the 20 to 60 us of a look-up in the database.

        Returns:
            None when it is admitted: it is visible to whoever calls ``barrier`` first. Else the instance that holds
            the UID, committed or waiting; then nothing was changed.

        Raises:
            OutOfResources: the database failed, and failed again just now; or the writer is closed.
            IntegrityError: the database is damaged.
        """
        prepared = self._index.prepare(entry)
        with self._admitting:
            # Two threads with the same UID pass here one after the other.
            self._require_health()
            uid = entry.head.identity.sop_instance_uid
            if free_since is None or free_since < self._recent_from or self._is_recent(uid):
                held = self.lookup(uid)
                if held is not None:
                    return held
            self._append(_Waiting(prepared, on_done))
        return None

    def enqueue(self, entry: IndexEntry, on_done: OnDone | None = None) -> None:
        """Add an entry that may be there already (replay): if another instance holds its UID, it is left out.

        Raises:
            As ``admit``.
        """
        prepared = self._index.prepare(entry)
        with self._admitting:
            self._require_health()
            self._append(_Waiting(prepared, on_done))

    def barrier(self) -> None:
        """Return when everything that was admitted before is committed.

        Raises:
            OutOfResources: the database failed, and failed again just now.
            IntegrityError: the database is damaged.
        """
        with self._state:
            goal = self._enqueued
            if self._committed >= goal:
                return
            self._attempt_again()
            if self._wanted < goal:
                self._wanted = goal
                self._state.notify_all()
            self._state.wait_for(lambda: self._committed >= goal or self._failure is not None)
            if self._committed < goal:
                self._raise_failure()

    def close(self) -> None:
        """Write what waits, and end the thread. Rows that cannot be written are rebuilt from their packs."""
        with self._state:
            self._closing = True
            self._retry = True
            self._state.notify_all()
        self._thread.join()

    # --- whoever adds ------------------------------------------------------------------------------------------

    def _require_health(self) -> None:
        with self._state:
            if self._closing:
                raise OutOfResources("the index writer is closed")
            if self._failure is None:
                return
            self._attempt_again()
            self._raise_failure()

    def _attempt_again(self) -> None:
        """Let the thread try the failed group once more, and wait until it has. The caller holds ``_state``."""
        if self._failure is None or isinstance(self._failure, IntegrityError):
            return
        attempt = self._attempts
        self._retry = True
        self._state.notify_all()
        self._state.wait_for(lambda: self._attempts > attempt or not self._thread.is_alive())

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_recent(self, uid: str) -> bool:
        return uid in self._recent or uid in self._recent_before

    def _remember(self, uid: str) -> None:
        self._recent.add(uid)
        if len(self._recent) >= REMEMBERED_MIN:
            # Rows from here on are in the new generation; those of the one before stay until it is full.
            self._recent_from = self._enqueued - len(self._recent)
            self._recent_before, self._recent = self._recent, set()

    def _append(self, waiting: _Waiting) -> None:
        entry = waiting.prepared.entry
        with self._state:
            # Back-pressure: who sends faster than the disk takes waits here.
            self._state.wait_for(
                lambda: len(self._waiting) < INDEX_QUEUE_MAX or self._failure is not None or self._closing
            )
            self._raise_failure()
            if self._closing:
                # Asked here, under the lock under which the thread decides to end.
                raise OutOfResources("the index writer is closed")
            self._waiting.append(waiting)
            self._pending.setdefault(entry.head.identity.sop_instance_uid, entry)
            self._enqueued += 1
            self._remember(entry.head.identity.sop_instance_uid)
            if self._idle and self._has_work():
                self._state.notify_all()

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if not group:
                return
            error = self._write(group)
            with self._state:
                self._attempts += 1
                self._retry = False
                self._failure = error
                if error is None:
                    self._forget(group)
                self._state.notify_all()
            if error is None:
                _tell(group, None)
            elif self._closing:
                _tell(self._drain(), error)
                return

    def _next_group(self) -> list[_Waiting]:
        """Wait for rows, or for leave to try again; an empty group ends the thread. The group stays in the queue."""
        with self._state:
            self._idle = True
            self._state.wait_for(self._has_work)
            self._idle = False
            return [self._waiting[i] for i in range(min(GROUP_ROWS_MAX, len(self._waiting)))]

    def _has_work(self) -> bool:
        if self._closing:
            return True
        if not self._waiting or (self._failure is not None and not self._retry):
            return False
        return self._retry or self._wanted > self._committed or len(self._waiting) >= self._group_rows_min

    def _write(self, group: list[_Waiting]) -> LeadglassError | None:
        try:
            self._index.add_prepared([waiting.prepared for waiting in group])
        except LeadglassError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach those who wait, not end the thread
            return OutOfResources(f"the index could not be written ({type(error).__name__})")
        return None

    def _forget(self, group: list[_Waiting]) -> None:
        for waiting in group:
            self._waiting.popleft()
            entry = waiting.prepared.entry
            uid = entry.head.identity.sop_instance_uid
            if self._pending.get(uid) is entry:
                del self._pending[uid]
        self._committed += len(group)

    def _drain(self) -> list[_Waiting]:
        with self._state:
            left = list(self._waiting)
            self._waiting.clear()
            self._pending.clear()
            return left


def _tell(group: list[_Waiting], error: LeadglassError | None) -> None:
    for waiting in group:
        if waiting.on_done is not None:
            waiting.on_done(error)


def _record(entry: IndexEntry) -> InstanceRecord:
    return InstanceRecord(
        entry.head.identity, entry.address, entry.dataset_offset, entry.dataset_length, entry.received_at
    )
