"""The worklist's store on SQLite or PostgreSQL.

A row is sealed under the site's own key with everything plain in it as associated data, its version too: a row moved
to another UID or into another state does not open. An older copy of a row, put back whole, does: THREATS.md says so.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError
from leadglass.base.ids import UID
from leadglass.store.index.database import Database, Row, Value
from leadglass.store.index.interfaces import SiteCipher
from leadglass.store.index.rows import microseconds, moment
from leadglass.store.index.schema import migrate
from leadglass.store.worklist.interfaces import StoredWorkitem, Subscription

_PAGE_ROWS: Final = 128
_COLUMNS: Final = "id, uid, state, version, changed_at, sealed"
_encode = msgspec.msgpack.Encoder().encode


class _SealedSubscription(msgspec.Struct, frozen=True):
    principal_id: str
    filter: str
    deletion_lock: bool
    suspended: bool


class SQLWorkitemStore:
    """Implements ``WorkitemStore``.

    Args:
        database: shared with the index; migrated here, closed by its owner.
        cipher: of the site; used by nothing else.
    """

    def __init__(self, database: Database, cipher: SiteCipher) -> None:
        self._database = database
        self._cipher = cipher
        migrate(database)

    def add(self, item: StoredWorkitem) -> bool:
        """Keep a new workitem. See ``WorkitemStore.add``."""
        with self._database.writing(durable=True) as transaction:
            inserted = transaction.execute(
                "INSERT INTO workitem (uid, state, version, changed_at, sealed) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (uid) DO NOTHING RETURNING id",
                self._row(item),
            )
        return bool(inserted)

    def get(self, uid: UID) -> StoredWorkitem | None:
        """Return a workitem. See ``WorkitemStore.get``."""
        with self._database.reading() as transaction:
            rows = transaction.execute(f"SELECT {_COLUMNS} FROM workitem WHERE uid = ?", (uid,))  # noqa: S608 - a constant
        return self._opened(rows[0]) if rows else None

    def replace(self, item: StoredWorkitem) -> bool:
        """Write a changed workitem. See ``WorkitemStore.replace``."""
        uid, *rest = self._row(item)
        with self._database.writing(durable=True) as transaction:
            changed = transaction.execute(
                "UPDATE workitem SET state = ?, version = ?, changed_at = ?, sealed = ? "
                "WHERE uid = ? AND version = ? RETURNING id",
                (*rest, uid, item.version - 1),
            )
        return bool(changed)

    def items(self, states: frozenset[str]) -> Iterator[StoredWorkitem]:
        """Yield workitems in these states, newest first. See ``WorkitemStore.items``."""
        of_state, wanted = self._database.any_of("state", sorted(states))
        before = 2**62
        while True:
            with self._database.reading() as transaction:
                rows = transaction.execute(
                    f"SELECT {_COLUMNS} FROM workitem WHERE {of_state} AND id < ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - constants
                    (wanted, before, _PAGE_ROWS),
                )
            for row in rows:
                yield self._opened(row)
            if len(rows) < _PAGE_ROWS:
                return
            before = int(rows[-1][0])

    def forget(self, uid: UID) -> bool:
        """Remove a workitem. See ``WorkitemStore.forget``."""
        with self._database.writing(durable=True) as transaction:
            return bool(transaction.execute("DELETE FROM workitem WHERE uid = ? RETURNING id", (uid,)))

    def count(self) -> int:
        """Return how many are kept. See ``WorkitemStore.count``."""
        with self._database.reading() as transaction:
            return int(transaction.execute("SELECT count(*) FROM workitem")[0][0])

    def subscribe(self, subscription: Subscription) -> None:
        """Keep a subscription. See ``WorkitemStore.subscribe``."""
        plain = (subscription.ae_title, subscription.target)
        sealed = self._cipher.seal_payload(
            _encode(
                _SealedSubscription(
                    subscription.principal_id,
                    subscription.filter,
                    subscription.deletion_lock,
                    subscription.suspended,
                )
            ),
            _encode(("subscription/1", *plain)),
        )
        with self._database.writing(durable=True) as transaction:
            transaction.execute(
                "INSERT INTO workitem_subscription (ae_title, target, sealed) VALUES (?, ?, ?) "
                "ON CONFLICT (ae_title, target) DO UPDATE SET sealed = excluded.sealed",
                (*plain, sealed),
            )

    def unsubscribe(self, ae_title: str, target: str) -> bool:
        """End a subscription. See ``WorkitemStore.unsubscribe``."""
        with self._database.writing(durable=True) as transaction:
            ended = transaction.execute(
                "DELETE FROM workitem_subscription WHERE ae_title = ? AND target = ? RETURNING ae_title",
                (ae_title, target),
            )
        return bool(ended)

    def subscriptions(self) -> list[Subscription]:
        """Return all subscriptions. See ``WorkitemStore.subscriptions``."""
        with self._database.reading() as transaction:
            rows = transaction.execute(
                "SELECT ae_title, target, sealed FROM workitem_subscription ORDER BY ae_title, target"
            )
        return [self._opened_subscription(str(a), str(t), bytes(s)) for a, t, s in rows]

    def _opened_subscription(self, ae_title: str, target: str, sealed: bytes) -> Subscription:
        plaintext = self._cipher.open_payload(sealed, _encode(("subscription/1", ae_title, target)))
        kept = msgspec.msgpack.decode(plaintext, type=_SealedSubscription)
        return Subscription(
            ae_title, kept.principal_id, target, kept.filter, kept.deletion_lock, kept.suspended
        )

    def _row(self, item: StoredWorkitem) -> tuple[Value, ...]:
        plain = (str(item.uid), item.state, item.version, microseconds(item.changed_at))
        return (*plain, self._cipher.seal_payload(item.dataset, _encode(("workitem/1", *plain))))

    def _opened(self, row: Row) -> StoredWorkitem:
        row_id, *plain, sealed = row
        try:
            dataset = self._cipher.open_payload(bytes(sealed), _encode(("workitem/1", *plain)))
        except IntegrityError:
            raise IntegrityError(f"row {row_id} of table workitem is not what was written") from None
        uid, state, version, changed_at = plain
        return StoredWorkitem(UID(uid), state, dataset, version, moment(changed_at))
