"""Relations: who was assigned a study, who treats a patient.

Policies look at them, so whoever gives one gives access: it is a permission of its own, on record before it counts, and
each relation ends by itself.

Source: 45 CFR 164.308(a)(4)(ii)(B), 164.312(a)(1); 45 CFR 164.506(c) for the treating relationship.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from leadglass.archive.access import Access
from leadglass.base.errors import UsageError
from leadglass.base.limits import RELATION_DAYS_MAX
from leadglass.dicom.normalise import fold_patient
from leadglass.store.index.interfaces import Index, Relation, RelationEntry
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

__all__ = ["Relation", "RelationEntry", "RelationKeeper"]

_GIVEN: Final = frozenset({Relation.ASSIGNED, Relation.TREATING})
"""The others are told by the objects themselves, or given by emergency access."""


def _anybody(_principal_id: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class RelationKeeper:
    """Gives and takes relations; holds no state.

    Attributes:
        access: the one door.
        index: keeps them.
        exists: whether there is somebody of that principal id: what is given to nobody would wait for whoever gets
            that name.
    """

    access: Access
    index: Index
    exists: Callable[[str], bool] = _anybody

    def assign(self, principal: Principal, entry: RelationEntry) -> None:
        """Give somebody a relation until a moment.

        Raises:
            AccessDenied: policy said no.
            AuditUnavailable: it cannot be put on record.
            UsageError: there is nobody of that name, it is no relation that is given, is to none or to both of study and patient, is over already, or
                ends after more than ``RELATION_DAYS_MAX`` days.
            OutOfResources: they have too many.
        """
        grant = self.access.permit(principal, Permission.RELATION_ASSIGN)
        _require_given(entry.relation, entry.study_uid, entry.patient_id)
        if not self.exists(entry.principal_id):
            raise UsageError("there is nobody of that name to give a relation to")
        now = self.access.clock.now()
        if not now < entry.until <= now + timedelta(days=RELATION_DAYS_MAX):
            raise UsageError(f"a relation ends in the next {RELATION_DAYS_MAX} days")
        self.access.record(
            grant,
            EventCode.RELATION_CHANGED,
            objects=_objects(entry.study_uid, entry.patient_id),
            facts={
                "change": "given",
                "relation": entry.relation.value,
                "to": entry.principal_id,
                "until": entry.until.isoformat(),
            },
        )
        self.index.relate(entry)

    def unassign(
        self,
        principal: Principal,
        principal_id: str,
        relation: Relation,
        *,
        study_uid: str = "",
        patient_id: str = "",
    ) -> bool:
        """Take a relation away; tell whether there was one.

        Raises:
            As ``assign``.
        """
        grant = self.access.permit(principal, Permission.RELATION_ASSIGN)
        _require_given(relation, study_uid, patient_id)
        self.access.record(
            grant,
            EventCode.RELATION_CHANGED,
            objects=_objects(study_uid, patient_id),
            facts={"change": "taken", "relation": relation.value, "to": principal_id},
        )
        return self.index.unrelate(principal_id, relation, study_uid=study_uid, patient_id=patient_id)

    def list(self, principal: Principal, principal_id: str) -> list[RelationEntry]:
        """Return the relations that somebody has; on record first, as they name patients.

        Raises:
            As ``assign``.
        """
        grant = self.access.permit(principal, Permission.RELATION_ASSIGN)
        entries = self.index.relations(principal_id)
        self.access.record(
            grant,
            EventCode.RELATION_LISTED,
            objects={
                "patient": sorted({fold_patient(entry.patient_id) for entry in entries if entry.patient_id}),
                "study": sorted({entry.study_uid for entry in entries if entry.study_uid}),
            },
            facts={"of": principal_id, "relations": len(entries)},
        )
        return entries


def _require_given(relation: Relation, study_uid: str, patient_id: str) -> None:
    if relation not in _GIVEN:
        raise UsageError("only assignments and treating relationships are given")
    if bool(study_uid) == bool(patient_id):
        raise UsageError("a relation is to one study or to one patient")


def _objects(study_uid: str, patient_id: str) -> dict[str, tuple[str, ...]]:
    return {"study": (study_uid,)} if study_uid else {"patient": (fold_patient(patient_id),)}
