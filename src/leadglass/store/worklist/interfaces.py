"""What other rooms may know about the worklist's store.

Everything but UIDs, states and times is sealed. A row that is not what was written is refused, never served.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from leadglass.base.ids import UID


@dataclass(frozen=True, slots=True)
class StoredWorkitem:
    """One workitem as it is kept.

    Attributes:
        uid: SOP Instance UID.
        state: Procedure Step State, plain: what is open is found without unsealing what is done.
        dataset: Explicit VR Little Endian, UTF-8, in clear.
        version: counts up with every change; the next change names it.
        changed_at: aware UTC.
    """

    uid: UID
    state: str
    dataset: bytes
    version: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants to hear of what.

    Attributes:
        ae_title: of the subscriber.
        principal_id: who may open its channel and change its subscriptions.
        target: UID of a workitem, or a well-known one (PS3.4 CC.2.3).
        filter: query string of a filtered subscription, in clear; else empty. It may hold PHI.
        deletion_lock: a final workitem is kept while it is held.
        suspended: a global subscription that takes no new workitems.
    """

    ae_title: str
    principal_id: str
    target: str
    filter: str = ""
    deletion_lock: bool = False
    suspended: bool = False


class WorkitemStore(Protocol):
    """Workitems of a site. Thread-safe; every change is durable when it returns."""

    def add(self, item: StoredWorkitem) -> bool:
        """Keep a new workitem; tell whether its UID was free."""
        ...

    def get(self, uid: UID) -> StoredWorkitem | None:
        """Return a workitem.

        Raises:
            IntegrityError: its row is not what was written.
        """
        ...

    def replace(self, item: StoredWorkitem) -> bool:
        """Write a workitem whose stored version is ``item.version - 1``; tell whether it still was."""
        ...

    def items(self, states: frozenset[str]) -> Iterator[StoredWorkitem]:
        """Yield workitems in these states, newest first; short transactions."""
        ...

    def forget(self, uid: UID) -> bool:
        """Remove a workitem; tell whether there was one."""
        ...

    def count(self) -> int:
        """Return how many are kept."""
        ...

    def subscribe(self, subscription: Subscription) -> None:
        """Keep a subscription in place of an older one of the same subscriber to the same target."""
        ...

    def unsubscribe(self, ae_title: str, target: str) -> bool:
        """End one; tell whether there was one."""
        ...

    def subscriptions(self) -> list[Subscription]:
        """Return all of them.

        Raises:
            IntegrityError: a row is not what was written.
        """
        ...
