"""From a scope to what a search passes over: which classes of studies may be shown, and which only to the related.

It narrows and nothing else: what passes the sieve is decided by the facts of the unsealed rows (``Authority``). So its
questions are asked once for each class and search, and a class that it does not know passes.

**Invariant:** a study that the scope permits is never passed over while classes and listings are what was written.
"""

from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Final

from leadglass.store.index.classes import AccessClasses
from leadglass.store.index.conditions import Conditions
from leadglass.store.index.database import Database, Transaction
from leadglass.store.index.facts import FactsReader, StudyRows
from leadglass.store.index.interfaces import Relation, Scope, StudyFacts
from leadglass.store.index.relations import Related
from leadglass.store.index.rows import OpenedLevel

_NO_RELATION: Final[frozenset[Relation]] = frozenset()


def asking_once(scope: Scope) -> Scope:
    """Return a scope that asks policy once for equal facts: for one search."""
    answers: dict[StudyFacts, bool] = {}

    def permits(facts: StudyFacts) -> bool:
        answer = answers.get(facts)
        if answer is None:
            answer = answers[facts] = scope.permits(facts)
        return answer

    return replace(scope, permits=permits)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scope says of a class of studies.

    Attributes:
        unrelated: permitted to a subject without any relation to the study.
        related: permitted with some of the relations that this subject may have.
        always: permitted whichever of them it has.
    """

    unrelated: bool
    related: bool
    always: bool

    @property
    def never(self) -> bool:
        """Permitted to nobody, related or not."""
        return not (self.unrelated or self.related)


class Sieve:
    """What one search passes over. Not thread-safe.

    Args:
        database: for its dialect.
        classes: of the index.
        scope: of the search.
        related: of the scope's subject.
    """

    def __init__(self, database: Database, classes: AccessClasses, scope: Scope, related: Related) -> None:
        self._database = database
        self._classes = classes
        self._scope = scope
        self._related = related
        self._verdicts: dict[int, Verdict] = {}
        self._listed: frozenset[int] | None = None
        self._is_listed = False

    def learn(self, snapshot: Transaction, class_ids: set[int]) -> None:
        """Get the verdicts of these classes, where they are not known yet."""
        new = class_ids - self._verdicts.keys()
        if new:
            self._judge(self._classes.facts(snapshot, new))

    def passes(self, snapshot: Transaction, study_id: int, class_id: int | None) -> bool:
        """Tell whether a study may be permitted, as far as its class and the lists of related studies tell."""
        verdict = self.verdict(class_id)
        if verdict is None or verdict.unrelated:
            return True
        if not verdict.related:
            return False
        listed = self._related_studies(snapshot)
        return listed is None or study_id in listed

    def _related_studies(self, snapshot: Transaction) -> frozenset[int] | None:
        if not self._is_listed:
            self._listed, self._is_listed = self._related.study_ids(snapshot), True
        return self._listed

    def verdict(self, class_id: int | None) -> Verdict | None:
        """Return what is known of a class; None for one that is not known, which passes."""
        return None if class_id is None else self._verdicts.get(class_id)

    def with_modality(self, snapshot: Transaction, modalities: frozenset[str]) -> Conditions | None:
        """Return what narrows to studies with one of these modalities; None where no class tells."""
        every = self._classes.all(snapshot)
        having = sorted(i for i, facts in every.items() if facts.modalities & modalities)
        conditions = Conditions()
        sql, parameter = self._database.any_of("listing.class_id", having)
        conditions.add(
            f"({sql} OR listing.class_id > ? OR listing.class_id IS NULL)", parameter, max(every, default=0)
        )
        return conditions

    def focus(self, snapshot: Transaction) -> "Focus":
        """Judge all classes, and return what a statement narrows by."""
        every = self._classes.all(snapshot)
        self._judge({i: facts for i, facts in every.items() if i not in self._verdicts})
        judged = {i: self._verdicts[i] for i in every}
        unrelated = sorted(i for i, verdict in judged.items() if verdict.unrelated)
        certain = all(verdict.always or verdict.never for verdict in judged.values())
        unlisted = snapshot.execute("SELECT study_id FROM listing WHERE class_id IS NULL LIMIT 1")
        newest = max(every, default=0)
        if len(unrelated) == len(every):
            return Focus(Conditions(), None, certain=certain and not unlisted)
        listed: frozenset[int] | None = frozenset()
        if any(verdict.related and not verdict.unrelated for verdict in judged.values()):
            listed = self._related_studies(snapshot)
        if listed is None:
            return Focus(Conditions(), None, certain=False)
        conditions = Conditions()
        sql, parameter = self._database.any_of("listing.class_id", unrelated)
        # A class that was made meanwhile is judged when it is met.
        alternatives = [sql, "listing.class_id > ?"]
        parameters = [parameter, newest]
        if unlisted:
            alternatives.append("listing.class_id IS NULL")
        if listed:
            sql, parameter = self._database.any_of("listing.study_id", sorted(listed))
            alternatives.append(sql)
            parameters.append(parameter)
        conditions.add(f"({' OR '.join(alternatives)})", *parameters)
        only = listed if not unrelated and not unlisted else None
        return Focus(conditions, only, certain=certain and not unlisted)

    def _judge(self, classes: dict[int, StudyFacts]) -> None:
        for class_id, facts in classes.items():
            unrelated = self._scope.permits(facts)
            others = [self._scope.permits(replace(facts, relations=some)) for some in self._relations()]
            self._verdicts[class_id] = Verdict(unrelated, any(others), unrelated and all(others))

    def _relations(self) -> list[frozenset[Relation]]:
        possible = sorted(self._related.possible)
        subsets = chain.from_iterable(combinations(possible, n) for n in range(1, len(possible) + 1))
        return [frozenset(subset) for subset in subsets]


@dataclass(frozen=True, slots=True)
class Focus:
    """What a statement over ``listing`` narrows by.

    Attributes:
        conditions: none when all classes are permitted.
        only: the studies, where only related ones can be shown; None otherwise.
        certain: what meets the conditions is permitted, as long as listings and classes are what was written.
    """

    conditions: Conditions
    only: frozenset[int] | None
    certain: bool


class Authority:
    """Decides by facts of unsealed rows. For one request: not thread-safe."""

    def __init__(self, reader: FactsReader, scope: Scope, related: Related) -> None:
        self._reader = reader
        self._scope = scope
        self._related = related

    def permitted(
        self, snapshot: Transaction, studies: list[tuple[OpenedLevel, bytes]]
    ) -> dict[int, StudyRows]:
        """Return what is known of those that may be shown, by row id.

        Args:
            snapshot: to read series rows from.
            studies: opened rows, and the patient column of each.

        Raises:
            IntegrityError: a series row is not what was written.
        """
        known = self._reader.of(snapshot, [study for study, _ in studies])
        return {
            study.row_id: known[study.row_id]
            for study, patient in studies
            if self._permits(known[study.row_id].facts, study, patient)
        }

    def _permits(self, facts: StudyFacts, study: OpenedLevel, patient: bytes) -> bool:
        relations = self._related.to(study, patient) if self._related.possible else _NO_RELATION
        if relations:
            facts = replace(facts, relations=relations)
        return self._scope.permits(facts)
