"""Access classes: studies with the same facts, numbered, so that a decision about many is made once.

Which class a study is in, and what a class says, only narrows: a database that lies about it can hide a study, and what
it brings up is decided again by the facts of the unsealed rows (``facts``).

**Invariant:** a class never changes; a study moves to another one.
"""

import threading
from collections.abc import Collection
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError
from leadglass.store.index.database import Database, Transaction
from leadglass.store.index.facts import canonical
from leadglass.store.index.interfaces import StudyFacts
from leadglass.store.index.site_rows import SiteRows
from leadglass.store.index.tokens import BlindIndex

# ruff: noqa: S608 - names in statements are constants of this package; values are parameters

_KIND: Final = "access_class"
_Sealed = tuple[list[str], list[str], list[str], list[str], bool]
_decode = msgspec.msgpack.Decoder(_Sealed).decode


class AccessClasses:
    """The classes of one database."""

    def __init__(self, database: Database, site: SiteRows, blind: BlindIndex) -> None:
        self._database = database
        self._site = site
        self._blind = blind
        self._lock = threading.Lock()
        self._facts: dict[int, StudyFacts] = {}  # of committed classes, in memory: some hundred octets each

    def intern(self, transaction: Transaction, facts: StudyFacts) -> int:
        """Return the number of the class with these facts, made if it is new."""
        content = canonical(facts)
        digest = self._blind.access_class(msgspec.json.encode(content).decode())
        find = ("SELECT id FROM access_class WHERE digest = ?", (digest,))
        found = transaction.execute(*find)
        if not found:
            found = transaction.execute(
                "INSERT INTO access_class (digest, sealed) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING RETURNING id",
                (digest, self._site.seal(_KIND, content, digest)),
            )
        # Another node may have made it between the two; its transaction has ended, so now it is visible.
        return int((found or transaction.execute(*find))[0][0])

    def facts(
        self, transaction: Transaction, class_ids: Collection[int], *, committed: bool = True
    ) -> dict[int, StudyFacts]:
        """Return what classes say; those that are ``committed`` are remembered.

        Raises:
            IntegrityError: a class is not what was written.
        """
        with self._lock:
            known = {i: self._facts[i] for i in class_ids if i in self._facts}
        missing = [i for i in class_ids if i not in known]
        if missing:
            condition, parameter = self._database.any_of("id", missing)
            rows = transaction.execute(
                f"SELECT id, digest, sealed FROM access_class WHERE {condition}", (parameter,)
            )
            read = {int(row_id): self._opened(digest, sealed) for row_id, digest, sealed in rows}
            if committed:
                with self._lock:
                    self._facts.update(read)
            known |= read
        return known

    def all(self, snapshot: Transaction) -> dict[int, StudyFacts]:
        """Return all classes; as ``facts``."""
        return self.facts(snapshot, [int(row[0]) for row in snapshot.execute("SELECT id FROM access_class")])

    def forget(self) -> None:
        """Forget what was read: the classes are made anew."""
        with self._lock:
            self._facts.clear()

    def _opened(self, digest: bytes, sealed: bytes) -> StudyFacts:
        try:
            modalities, body_parts, institutions, sources, deidentified = _decode(
                self._site.open(_KIND, sealed, digest)
            )
        except msgspec.MsgspecError:
            raise IntegrityError("a row of table access_class is not what was written") from None
        return StudyFacts(
            frozenset(modalities),
            frozenset(body_parts),
            frozenset(institutions),
            frozenset(sources),
            deidentified,
        )
