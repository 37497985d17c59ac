"""Breaking the glass: emergency access to a study, or to one patient's studies, for somebody who may not see them.

It needs a reason and a strong factor shown just now, raises an alert at once, ends by itself, marks everything that is
done under it, and has to be looked at by somebody else. One is in force for a person at a time: a new one ends the one
before. What it opens is a relation ``emergency`` between the person and the study or the patient, with the same end.

Source: 45 CFR 164.312(a)(2)(ii) Emergency access procedure; attack S70.

**Invariant:** nobody is in an emergency whose start is not on record, and nobody reviews their own.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final, Protocol

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, StepUpRequired, UsageError
from leadglass.base.limits import (
    BREAK_GLASS_ESCALATIONS_MAX,
    BREAK_GLASS_REASON_CHARACTERS_MAX,
    BREAK_GLASS_REASON_CHARACTERS_MIN,
    BREAK_GLASS_UNREVIEWED_MAX,
)
from leadglass.base.secret import Phi
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import PolicyEvents

_STARTED: Final = "policy:break_glass:started"
_ENDED: Final = "policy:break_glass:ended"
_REVIEWED: Final = "policy:break_glass:reviewed"
_ESCALATED: Final = "policy:break_glass:escalated"
_ALERT: Final = "site:security:alert"
_SYSTEM: Final = Principal("service:leadglass", ("service",))
_MIGRATIONS: Final = (
    """CREATE TABLE emergency (access_id TEXT PRIMARY KEY, principal_id TEXT NOT NULL, reviewed INTEGER NOT NULL,
       document BLOB NOT NULL) STRICT""",
    "CREATE INDEX emergency_open ON emergency (reviewed) WHERE reviewed = 0",
)


@dataclass(frozen=True, slots=True)
class BreakGlassOptions:
    """How it goes at this site.

    Attributes:
        lasts: how long one is in force.
        strong_within: how fresh the strong factor must be.
        review_within: after that an unreviewed one escalates, and again after each further such time.
    """

    lasts: timedelta = timedelta(minutes=60)
    strong_within: timedelta = timedelta(minutes=15)
    review_within: timedelta = timedelta(hours=24)


class Emergency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One use.

    Attributes:
        access_id: 128 bits; what audit records carry as ``break_glass``.
        principal_id: who broke the glass.
        reason: in their words; it may hold PHI and is only in encrypted files and sealed payloads.
        study_uid: what it opens; empty where it is a patient's studies.
        patient_id: as above, in clear.
        session_id: public name of the session it was begun in.
        started_at: aware UTC.
        until: it ends by itself.
        ended_at: when it ended before that; None while it has not.
        reviewed_by: principal id; empty while it is unreviewed.
        reviewed_at: aware UTC.
        justified: what the review found.
        finding: of the review, in its words.
        escalations: how often it was escalated.
    """

    access_id: str
    principal_id: str
    reason: str
    study_uid: str
    patient_id: str
    session_id: str
    started_at: datetime
    until: datetime
    ended_at: datetime | None = None
    reviewed_by: str = ""
    reviewed_at: datetime | None = None
    justified: bool = False
    finding: str = ""
    escalations: int = 0

    def __repr__(self) -> str:
        return f"Emergency({self.access_id})"


class EmergencyRelations(Protocol):
    """Opens and closes what an emergency is about; ``archive.access`` does it in the index."""

    def give(self, principal_id: str, until: datetime, *, study_uid: str, patient_id: str) -> None:
        """Relate somebody to a study or a patient's studies as ``emergency``."""
        ...

    def take(self, principal_id: str, *, study_uid: str, patient_id: str) -> None:
        """Take it away again; harmless when it is not there."""
        ...


class BreakGlass:
    """Emergency access of a site. Thread-safe.

    Args:
        database: where the uses are kept.
        events: told of everything, before it counts.
        relations: what an emergency opens.
        clock: of the site.
        options: times.
        notify: called with each new use, at once and after it is on record; it must not raise or wait.
        escalate: called with each use that waits for its review too long, as ``notify``.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        events: PolicyEvents,
        relations: EmergencyRelations,
        clock: Clock,
        options: BreakGlassOptions | None = None,
        *,
        notify: Callable[[Emergency], None] = lambda _: None,
        escalate: Callable[[Emergency], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._events = events
        self._relations = relations
        self._clock = clock
        self._options = options or BreakGlassOptions()
        self._notify = notify
        self._escalate = escalate
        self._lock = threading.RLock()
        database.register("break-glass", _MIGRATIONS)
        self._in_force: dict[str, Emergency] = {}
        for emergency in self._open():
            if emergency.ended_at is None:
                self._in_force[emergency.principal_id] = emergency

    # --- while it is in force ----------------------------------------------------------------------------------------

    def in_force(self, principal_id: str) -> str:
        """Return the id of somebody's emergency access that is in force, or an empty text. Cheap."""
        emergency = self._in_force.get(principal_id)
        if emergency is None or self._clock.now() >= emergency.until:
            return ""
        return emergency.access_id

    def begin(
        self, principal: Principal, reason: Phi[str], *, study_uid: str = "", patient_id: str = ""
    ) -> Emergency:
        """Break the glass. The caller was permitted ``break-glass:use``.

        Args:
            principal: as the grant for it says; the circumstances are those of the request.
            reason: why; kept sealed.
            study_uid: what it is about, or
            patient_id: in clear.

        Raises:
            UsageError: no reason, or not one study or one patient.
            StepUpRequired: the strong factor is not fresh.
            OutOfResources: too many of theirs wait for review.
            AuditUnavailable: it could not be recorded; nothing is opened.
        """
        text = reason.reveal().strip()
        if not BREAK_GLASS_REASON_CHARACTERS_MIN <= len(text) <= BREAK_GLASS_REASON_CHARACTERS_MAX:
            raise UsageError(
                f"say why, in {BREAK_GLASS_REASON_CHARACTERS_MIN} to {BREAK_GLASS_REASON_CHARACTERS_MAX} characters"
            )
        if bool(study_uid) == bool(patient_id):
            raise UsageError("emergency access is to one study or to one patient's studies")
        now = self._clock.now()
        strong_at = principal.circumstances.strong_at
        if strong_at is None or not timedelta() <= now - strong_at <= self._options.strong_within:
            raise StepUpRequired("a strong factor has to be shown first")
        with self._lock:
            if self._unreviewed_of(principal.principal_id) >= BREAK_GLASS_UNREVIEWED_MAX:
                raise OutOfResources("too many of your emergency accesses wait for their review")
            before = self._in_force.get(principal.principal_id)
            if before is not None:
                self._end(before, principal, "another one began" if now < before.until else "time")
            emergency = Emergency(
                access_id=token_hex(16),
                principal_id=principal.principal_id,
                reason=text,
                study_uid=study_uid,
                patient_id=patient_id,
                session_id=principal.circumstances.session_id,
                started_at=now,
                until=now + self._options.lasts,
            )
            self._record(_STARTED, principal, emergency, detail={"reason": text})
            self._record(_ALERT, principal, emergency, facts={"what": "break-glass"}, success=False)
            self._keep(emergency)
            self._relations.give(
                principal.principal_id, emergency.until, study_uid=study_uid, patient_id=patient_id
            )
            self._in_force[principal.principal_id] = emergency
        self._notify(emergency)
        return emergency

    def end(self, principal: Principal, access_id: str) -> Emergency:
        """End one before its time: whoever began it, or whoever reviews.

        Raises:
            NotFound: none of that id is in force.
            AuditUnavailable: it could not be recorded; it goes on until its time is over.
        """
        with self._lock:
            for emergency in self._in_force.values():
                if emergency.access_id == access_id and self._clock.now() < emergency.until:
                    return self._end(emergency, principal, "ended")
        raise NotFound("no emergency access of that id is in force")

    def _end(self, emergency: Emergency, by: Principal, why: str) -> Emergency:
        ended = msgspec.structs.replace(emergency, ended_at=min(self._clock.now(), emergency.until))
        self._record(_ENDED, by, ended, facts={"why": why})
        self._keep(ended)
        self._in_force.pop(emergency.principal_id, None)
        self._relations.take(
            emergency.principal_id, study_uid=emergency.study_uid, patient_id=emergency.patient_id
        )
        return ended

    # --- afterwards ------------------------------------------------------------------------------------------------

    def waiting(self) -> list[Emergency]:
        """Return those that are not reviewed, oldest first."""
        return sorted(self._open(), key=lambda emergency: emergency.started_at)

    def get(self, access_id: str) -> Emergency:
        """Return one, reviewed or not.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT document FROM emergency WHERE access_id = ?", (access_id,))
        if not rows:
            raise NotFound("there is no emergency access of that id")
        return _decoded(rows[0][0])

    def review(self, reviewer: Principal, access_id: str, finding: Phi[str], *, justified: bool) -> Emergency:
        """Sign the review of one. The caller was permitted ``break-glass:review``.

        Raises:
            NotFound: there is none of that id.
            UsageError: it is the reviewer's own, still in force, reviewed already, or the finding is empty.
            AuditUnavailable: it could not be recorded; it stays unreviewed.
        """
        text = finding.reveal().strip()
        if not 0 < len(text) <= BREAK_GLASS_REASON_CHARACTERS_MAX:
            raise UsageError(f"say what was found, in 1 to {BREAK_GLASS_REASON_CHARACTERS_MAX} characters")
        with self._lock:
            emergency = self.get(access_id)
            if emergency.principal_id == reviewer.principal_id:
                self._record(_REVIEWED, reviewer, emergency, facts={"reason": "own use"}, success=False)
                raise UsageError("somebody else signs the review")
            if emergency.reviewed_by:
                raise UsageError("it is reviewed already")
            if emergency.ended_at is None:
                if self._clock.now() < emergency.until:
                    raise UsageError("it is still in force; end it first")
                emergency = self._end(emergency, _SYSTEM, "time")
            reviewed = msgspec.structs.replace(
                emergency,
                reviewed_by=reviewer.principal_id,
                reviewed_at=self._clock.now(),
                justified=justified,
                finding=text,
            )
            self._record(
                _REVIEWED,
                reviewer,
                reviewed,
                facts={"justified": justified, "used_by": emergency.principal_id},
                detail={"finding": text},
            )
            self._keep(reviewed)
            return reviewed

    def due(self) -> list[Emergency]:
        """Do what is due: put ends on record, escalate what waits too long. Call it every minute or so.

        Returns:
            Those that were escalated now, each once a step.
        """
        escalated = list[Emergency]()
        now = self._clock.now()
        with self._lock:
            for emergency in list(self._in_force.values()):
                if now >= emergency.until:
                    self._end(emergency, _SYSTEM, "time")
            for emergency in self.waiting():
                steps = min(
                    (now - emergency.started_at) // self._options.review_within, BREAK_GLASS_ESCALATIONS_MAX
                )
                if steps > emergency.escalations:
                    again = msgspec.structs.replace(emergency, escalations=steps)
                    self._record(
                        _ESCALATED,
                        _SYSTEM,
                        again,
                        facts={"step": steps, "used_by": emergency.principal_id},
                        success=False,
                    )
                    self._keep(again)
                    if again.principal_id in self._in_force:
                        self._in_force[again.principal_id] = again
                    escalated.append(again)
        for emergency in escalated:
            self._escalate(emergency)
        return escalated

    # --- keeping -----------------------------------------------------------------------------------------------------

    def _record(
        self,
        code: str,
        by: Principal,
        emergency: Emergency,
        *,
        facts: dict[str, str | int | bool] | None = None,
        detail: dict[str, object] | None = None,
        success: bool = True,
    ) -> None:
        about = (
            {"study": (emergency.study_uid,)} if emergency.study_uid else {"patient": (emergency.patient_id,)}
        )
        self._events.record(
            code,
            by,
            success=success,
            objects=about,
            facts={"emergency": emergency.access_id, **(facts or {})},
            detail=detail,
        )

    def _keep(self, emergency: Emergency) -> None:
        with self._database.writing() as transaction:
            _write(transaction, emergency)

    def _open(self) -> list[Emergency]:
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT document FROM emergency WHERE reviewed = 0")
        return [_decoded(document) for (document,) in rows]

    def _unreviewed_of(self, principal_id: str) -> int:
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT count(*) FROM emergency WHERE reviewed = 0 AND principal_id = ?", (principal_id,)
            )
        return int(rows[0][0])


def _write(transaction: Transaction, emergency: Emergency) -> None:
    transaction.execute(
        "REPLACE INTO emergency VALUES (?, ?, ?, ?)",
        (
            emergency.access_id,
            emergency.principal_id,
            int(bool(emergency.reviewed_by)),
            msgspec.json.encode(emergency),
        ),
    )


def _decoded(document: bytes) -> Emergency:
    try:
        return msgspec.json.decode(document, type=Emergency)
    except msgspec.DecodeError:
        raise IntegrityError("a row of emergency accesses is not what was written") from None
