"""Breaking the glass, and looking at it afterwards.

Who may ask is said by policy, what it takes by ``trust.policy.break_glass``. Reasons may hold PHI: they are shown to
reviewers only, and that they were is on record first.

Source: 45 CFR 164.312(a)(2)(ii) Emergency access procedure.
"""

from dataclasses import dataclass

from leadglass.archive.access import Access, study_resource, subject_of
from leadglass.base.errors import UsageError
from leadglass.base.ids import UID, is_uid
from leadglass.base.secret import Phi
from leadglass.dicom.normalise import fold_patient
from leadglass.store.index.interfaces import Index
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.break_glass import BreakGlass, Emergency
from leadglass.trust.policy.interfaces import Permission, Resource


@dataclass(frozen=True, slots=True)
class Emergencies:
    """Verbs on emergency access; holds no state."""

    access: Access
    break_glass: BreakGlass
    index: Index
    writer: IndexWriter

    def begin(
        self, principal: Principal, reason: Phi[str], *, study_uid: str = "", patient_id: str = ""
    ) -> Emergency:
        """Break the glass for one study or for one patient's studies.

        Whether anything is held under that name is not said: whoever asks learns it by reading, which is on record.

        Raises:
            AccessDenied: policy said no, for this study perhaps.
            StepUpRequired: the strong factor is not fresh.
            UsageError: no reason, or not one study or one patient.
            OutOfResources: too many of theirs wait for review.
            AuditUnavailable: it cannot be put on record; nothing is opened.
        """
        grant = self.access.permit(principal, Permission.BREAK_GLASS_USE)
        if study_uid:
            if not is_uid(study_uid):
                raise UsageError("a study is named by its Study Instance UID")
            self.writer.barrier()
            uid = UID(study_uid)
            facts = self.index.facts((uid,), subject_of(grant.principal)).get(uid)
            if facts is not None:
                grant = self.access.permit(principal, Permission.BREAK_GLASS_USE, study_resource(facts))
        return self.break_glass.begin(grant.principal, reason, study_uid=study_uid, patient_id=patient_id)

    def mine(self, principal: Principal) -> list[Emergency]:
        """Return somebody's own that are in force or wait for review, oldest first."""
        return [one for one in self.break_glass.waiting() if one.principal_id == principal.principal_id]

    def end(self, principal: Principal, access_id: str) -> Emergency:
        """End one before its time: one's own, or another's by whoever may review.

        Raises:
            AccessDenied: it is another's, and policy said no.
            NotFound: none of that id is in force.
            AuditUnavailable: it cannot be put on record; it goes on until its time is over.
        """
        if not any(one.access_id == access_id for one in self.mine(principal)):
            principal = self.access.permit(principal, Permission.BREAK_GLASS_REVIEW).principal
        return self.break_glass.end(principal, access_id)

    def waiting(self, principal: Principal) -> list[Emergency]:
        """Return all that are in force or wait for review, oldest first: for reviewers, and for who reads the record.

        Raises:
            AccessDenied: policy said no.
            AuditUnavailable: it cannot be put on record.
        """
        wanted = Permission.BREAK_GLASS_REVIEW
        if not self.access.may(principal, wanted):
            wanted = Permission.AUDIT_READ
        grant = self.access.permit(principal, wanted)
        found = self.break_glass.waiting()
        self.access.record(
            grant,
            EventCode.BREAK_GLASS_LISTED,
            objects={
                "study": sorted({one.study_uid for one in found if one.study_uid}),
                "patient": sorted({fold_patient(one.patient_id) for one in found if one.patient_id}),
            },
            facts={"emergencies": len(found)},
        )
        return found

    def review(
        self, principal: Principal, access_id: str, finding: Phi[str], *, justified: bool
    ) -> Emergency:
        """Sign the review of somebody else's.

        Raises:
            AccessDenied: policy said no: it is their own, or they review nothing.
            NotFound: there is none of that id.
            UsageError: it is in force still, reviewed already, or the finding is empty.
            AuditUnavailable: it cannot be put on record; it stays unreviewed.
        """
        self.access.permit(principal, Permission.BREAK_GLASS_REVIEW)
        emergency = self.break_glass.get(access_id)
        own = emergency.principal_id == principal.principal_id
        grant = self.access.permit(principal, Permission.BREAK_GLASS_REVIEW, Resource("Review", {"own": own}))
        return self.break_glass.review(grant.principal, access_id, finding, justified=justified)
