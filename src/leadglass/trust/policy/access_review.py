"""Access review: somebody named looks at every grant of a role, and each is confirmed or removed.

A campaign holds what was granted when it was opened. A grant that nobody looked at in time is suspended: the role is
taken away, and whoever needs it is given it anew. The result is a document, and its hash stands in the audit log.

Source: 45 CFR 164.308(a)(4)(ii)(C); NIST SP 800-53 AC-2 (account review).

**Invariant:** nobody reviews a grant of their own.
"""

import hashlib
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final, Literal, Protocol

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.limits import REVIEW_ITEMS_MAX, REVIEW_REASON_CHARACTERS_MAX
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import PolicyEvents

_STARTED: Final = "policy:access_review:started"
_DECIDED: Final = "policy:access_review:decided"
_ENDED: Final = "policy:access_review:ended"
_SUSPENDED: Final = "identity:role:suspended"
_SYSTEM: Final = Principal("service:leadglass", ("service",))
_MIGRATIONS: Final = (
    """CREATE TABLE review_campaign (campaign_id TEXT PRIMARY KEY, ended INTEGER NOT NULL, document BLOB NOT NULL)
       STRICT""",
    """CREATE TABLE review_item (campaign_id TEXT NOT NULL, principal_id TEXT NOT NULL, role TEXT NOT NULL,
       state TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (campaign_id, principal_id, role)) STRICT""",
)

ItemState = Literal["open", "confirmed", "removed", "suspended"]


@dataclass(frozen=True, slots=True, order=True)
class HeldRole:
    """Somebody has a role."""

    principal_id: str
    role: str


class Grants(Protocol):
    """Who has which role, and how it is taken away; ``app.compose`` does it with the accounts."""

    def held(self) -> Collection[HeldRole]:
        """Return every role of every account that is not disabled."""
        ...

    def remove(self, held: HeldRole, by: Principal, reason: str) -> None:
        """Take a role away; harmless when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """How it goes at this site.

    Attributes:
        time: from the start of a campaign to its due date.
        reviewer: principal id of who reviews each quarter; empty: no campaign starts by itself.
        deputy: of who reviews the reviewer's own grants.
    """

    time: timedelta = timedelta(days=30)
    reviewer: str = ""
    deputy: str = ""


class Campaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round of review.

    Attributes:
        campaign_id: ``2026-Q4:radiologist``, or random for one that somebody opened.
        cause: in words: ``quarterly``, or what changed in the organisation.
        roles: that are reviewed.
        opened_by: principal id.
        opened_at: aware UTC.
        due_at: what nobody looked at by then is suspended.
        ended_at: None while it goes on.
        evidence: hex SHA-256 of the result; empty while it goes on.
    """

    campaign_id: str
    cause: str
    roles: tuple[str, ...]
    opened_by: str
    opened_at: datetime
    due_at: datetime
    ended_at: datetime | None = None
    evidence: str = ""


class ReviewItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One grant in a campaign. ``reviewer`` is who has to look at it, and nobody else."""

    principal_id: str
    role: str
    reviewer: str
    state: ItemState = "open"
    decided_at: datetime | None = None
    reason: str = ""


class AccessReview:
    """Campaigns of a site. Thread-safe.

    Args:
        database: where they are kept.
        events: told of everything, before it counts.
        grants: what is reviewed.
        clock: of the site.
        options: times, and who reviews each quarter.

    Raises:
        ConfigurationError: a quarterly reviewer without a deputy.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        events: PolicyEvents,
        grants: Grants,
        clock: Clock,
        options: ReviewOptions | None = None,
    ) -> None:
        self._database = database
        self._events = events
        self._grants = grants
        self._clock = clock
        self._options = options or ReviewOptions()
        if self._options.reviewer and self._options.deputy in {"", self._options.reviewer}:
            raise ConfigurationError(
                "the quarterly review needs a deputy: nobody reviews a grant of their own"
            )
        self._lock = threading.RLock()
        database.register("access-review", _MIGRATIONS)

    # --- looking -----------------------------------------------------------------------------------------------------

    def campaigns(self) -> list[Campaign]:
        """Return every campaign, oldest first."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT document FROM review_campaign")
        found = [_campaign(document) for (document,) in rows]
        return sorted(found, key=lambda campaign: (campaign.opened_at, campaign.campaign_id))

    def items(self, campaign_id: str) -> list[ReviewItem]:
        """Return what a campaign is about, by principal and role.

        Raises:
            NotFound: there is no such campaign.
        """
        self._get(campaign_id)
        return self._items(campaign_id)

    def waiting_for(self, reviewer: str) -> list[tuple[Campaign, ReviewItem]]:
        """Return what somebody still has to look at, the most urgent first."""
        found = [
            (campaign, item)
            for campaign in self.campaigns()
            if campaign.ended_at is None
            for item in self._items(campaign.campaign_id)
            if item.state == "open" and item.reviewer == reviewer
        ]
        return sorted(found, key=lambda entry: (entry[0].due_at, entry[0].campaign_id))

    def evidence(self, campaign_id: str) -> bytes:
        """Return the result of a campaign as JSON, the same octets each time once it ended.

        Raises:
            NotFound: there is no such campaign.
            IntegrityError: it is not what was recorded when it ended.
        """
        campaign = self._get(campaign_id)
        document = _evidence(campaign, self._items(campaign_id))
        if campaign.evidence and hashlib.sha256(document).hexdigest() != campaign.evidence:
            raise IntegrityError("the result of a review is not what was recorded when it ended")
        return document

    # --- doing -------------------------------------------------------------------------------------------------------

    def open(
        self,
        by: Principal,
        cause: str,
        *,
        reviewer: str,
        deputy: str = "",
        roles: Collection[str] = (),
        subjects: Collection[str] = (),
    ) -> Campaign:
        """Open a campaign. The caller was permitted ``review:open``.

        Args:
            by: who opens it.
            cause: why, in words.
            reviewer: principal id of who looks at the grants.
            deputy: of who looks at the reviewer's own.
            roles: reviewed; empty: all.
            subjects: principal ids whose grants are reviewed, as after an organisational change; empty: all.

        Raises:
            UsageError: nothing is granted there, no cause, or the reviewer would look at their own grants.
            OutOfResources: too many grants for one campaign.
            AuditUnavailable: it could not be recorded.
        """
        return self._start(
            token_hex(8), by, cause, reviewer=reviewer, deputy=deputy, roles=roles, subjects=subjects
        )

    def decide(
        self, reviewer: Principal, campaign_id: str, held: HeldRole, *, confirmed: bool, reason: str
    ) -> ReviewItem:
        """Confirm or remove a grant. The caller was permitted ``review:sign``.

        Raises:
            NotFound: there is no such grant in such a campaign.
            UsageError: somebody else reviews it, it is decided, or no reason was given.
            AuditUnavailable: it could not be recorded; nothing changes.
        """
        text = _reason(reason)
        with self._lock:
            campaign = self._get(campaign_id)
            item = next(
                (
                    one
                    for one in self._items(campaign_id)
                    if (one.principal_id, one.role) == (held.principal_id, held.role)
                ),
                None,
            )
            if item is None:
                raise NotFound("there is no such grant in this review")
            if reviewer.principal_id != item.reviewer or reviewer.principal_id == item.principal_id:
                raise UsageError("somebody else reviews this grant")
            if item.state != "open" or campaign.ended_at is not None:
                raise UsageError("this grant is decided already")
            state: ItemState = "confirmed" if confirmed else "removed"
            decided = msgspec.structs.replace(item, state=state, decided_at=self._clock.now(), reason=text)
            self._record(
                _DECIDED,
                reviewer,
                campaign_id,
                {"principal": item.principal_id, "role": item.role, "state": state},
                {"reason": text},
            )
            if not confirmed:
                self._grants.remove(held, reviewer, "removed by access review")
            with self._database.writing() as transaction:
                _write_item(transaction, campaign_id, decided)
            self._end_if_done(campaign)
            return decided

    def due(self) -> list[Campaign]:
        """Do what is due: suspend what nobody looked at, end campaigns, start those of the quarter. Call it hourly.

        Returns:
            Campaigns that were started or ended now.
        """
        changed = list[Campaign]()
        with self._lock:
            now = self._clock.now()
            for campaign in self.campaigns():
                if campaign.ended_at is None and now >= campaign.due_at:
                    for item in self._items(campaign.campaign_id):
                        if item.state == "open":
                            self._suspend(campaign, item)
                    ended = self._end_if_done(campaign)
                    if ended is not None:
                        changed.append(ended)
            changed += self._quarterly(now)
        return changed

    def _quarterly(self, now: datetime) -> list[Campaign]:
        options = self._options
        if not options.reviewer:
            return []
        known = {campaign.campaign_id for campaign in self.campaigns()}
        quarter = f"{now.year}-Q{(now.month + 2) // 3}"
        return [
            self._start(
                f"{quarter}:{role}",
                _SYSTEM,
                "quarterly",
                reviewer=options.reviewer,
                deputy=options.deputy,
                roles=(role,),
            )
            for role in sorted({held.role for held in self._grants.held()})
            if f"{quarter}:{role}" not in known
        ]

    def _start(
        self,
        campaign_id: str,
        by: Principal,
        cause: str,
        *,
        reviewer: str,
        deputy: str,
        roles: Collection[str],
        subjects: Collection[str] = (),
    ) -> Campaign:
        cause = _reason(cause)
        held = sorted(
            one
            for one in self._grants.held()
            if (not roles or one.role in roles) and (not subjects or one.principal_id in subjects)
        )
        if not held:
            raise UsageError("nobody has any of these roles: there is nothing to review")
        if len(held) > REVIEW_ITEMS_MAX:
            raise OutOfResources(f"a review holds {REVIEW_ITEMS_MAX} grants; open one per role")
        items = [
            ReviewItem(one.principal_id, one.role, deputy if one.principal_id == reviewer else reviewer)
            for one in held
        ]
        if not reviewer or any(not item.reviewer or item.reviewer == item.principal_id for item in items):
            raise UsageError(
                "nobody reviews a grant of their own", hint="name a deputy for the reviewer's own grants"
            )
        now = self._clock.now()
        campaign = Campaign(
            campaign_id=campaign_id,
            cause=cause,
            roles=tuple(sorted({one.role for one in held})),
            opened_by=by.principal_id,
            opened_at=now,
            due_at=now + self._options.time,
        )
        facts: dict[str, str | int | bool] = {
            "grants": len(items),
            "roles": ", ".join(campaign.roles),
            "reviewer": reviewer,
            "deputy": deputy,
        }
        self._record(_STARTED, by, campaign_id, facts, {"cause": cause})
        with self._lock, self._database.writing() as transaction:
            _write_campaign(transaction, campaign)
            for item in items:
                _write_item(transaction, campaign_id, item)
        return campaign

    def _suspend(self, campaign: Campaign, item: ReviewItem) -> None:
        held = HeldRole(item.principal_id, item.role)
        facts: dict[str, str | int | bool] = {"principal": item.principal_id, "role": item.role}
        self._record(_SUSPENDED, _SYSTEM, campaign.campaign_id, facts, success=False)
        self._grants.remove(held, _SYSTEM, "suspended: access review overdue")
        suspended = msgspec.structs.replace(
            item, state="suspended", decided_at=self._clock.now(), reason="nobody looked at it in time"
        )
        with self._database.writing() as transaction:
            _write_item(transaction, campaign.campaign_id, suspended)

    def _end_if_done(self, campaign: Campaign) -> Campaign | None:
        items = self._items(campaign.campaign_id)
        if any(item.state == "open" for item in items):
            return None
        ended = msgspec.structs.replace(campaign, ended_at=self._clock.now())
        document = _evidence(ended, items)
        ended = msgspec.structs.replace(ended, evidence=hashlib.sha256(document).hexdigest())
        facts: dict[str, str | int | bool] = {"evidence": ended.evidence, "grants": len(items)}
        for state in ("confirmed", "removed", "suspended"):
            facts[state] = sum(item.state == state for item in items)
        detail = {"evidence": msgspec.json.decode(document)}
        self._record(_ENDED, _SYSTEM, campaign.campaign_id, facts, detail)
        with self._database.writing() as transaction:
            _write_campaign(transaction, ended)
        return ended

    # --- keeping -----------------------------------------------------------------------------------------------------

    def _record(
        self,
        code: str,
        by: Principal,
        campaign_id: str,
        facts: dict[str, str | int | bool],
        detail: dict[str, object] | None = None,
        *,
        success: bool = True,
    ) -> None:
        facts = {"review": campaign_id, **facts}
        self._events.record(code, by, success=success, facts=facts, detail=detail)

    def _get(self, campaign_id: str) -> Campaign:
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT document FROM review_campaign WHERE campaign_id = ?", (campaign_id,)
            )
        if not rows:
            raise NotFound("there is no such review")
        return _campaign(rows[0][0])

    def _items(self, campaign_id: str) -> list[ReviewItem]:
        with self._database.reading() as snapshot:
            rows: Sequence[tuple[bytes]] = snapshot.execute(
                "SELECT document FROM review_item WHERE campaign_id = ? ORDER BY principal_id, role",
                (campaign_id,),
            )
        try:
            return [msgspec.json.decode(document, type=ReviewItem) for (document,) in rows]
        except msgspec.DecodeError:
            raise IntegrityError("a row of access reviews is not what was written") from None


def _evidence(campaign: Campaign, items: Sequence[ReviewItem]) -> bytes:
    """Return the result; the campaign stands in it without the hash of the result."""
    document = {"campaign": msgspec.structs.replace(campaign, evidence=""), "grants": items}
    return msgspec.json.encode(document, order="deterministic")


def _write_campaign(transaction: Transaction, campaign: Campaign) -> None:
    transaction.execute(
        "REPLACE INTO review_campaign VALUES (?, ?, ?)",
        (campaign.campaign_id, int(campaign.ended_at is not None), msgspec.json.encode(campaign)),
    )


def _write_item(transaction: Transaction, campaign_id: str, item: ReviewItem) -> None:
    transaction.execute(
        "REPLACE INTO review_item VALUES (?, ?, ?, ?, ?)",
        (campaign_id, item.principal_id, item.role, item.state, msgspec.json.encode(item)),
    )


def _campaign(document: bytes) -> Campaign:
    try:
        return msgspec.json.decode(document, type=Campaign)
    except msgspec.DecodeError:
        raise IntegrityError("a row of access reviews is not what was written") from None


def _reason(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= REVIEW_REASON_CHARACTERS_MAX:
        raise UsageError(f"say why, in 1 to {REVIEW_REASON_CHARACTERS_MAX} characters")
    return text
