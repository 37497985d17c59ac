"""The Unified Worklist: workitems, their states, and who is told.

A workitem names a patient, so it is read and changed through the same door as images: policy, audit, then the answer.
One that belongs to a study that somebody may not find is as good as missing to them.

**Invariant:** a change counts when its row is durable; it names the version it was made from, so two performers who claim
the same workitem at the same moment get one yes.

Source: PS3.4 Annex CC; PS3.18 11.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Final

from leadglass.archive.access import Access, Grant, study_resource, subject_of
from leadglass.base.errors import (
    DatasetRefused,
    DuplicateObject,
    NotFound,
    OutOfResources,
    StateConflict,
)
from leadglass.base.ids import UID, is_uid, parse_ae_title
from leadglass.base.limits import (
    SUBSCRIPTIONS_MAX,
    WORKITEM_BYTES_MAX,
    WORKITEM_CHANNELS_MAX,
    WORKITEM_RESULTS_MAX,
    WORKITEMS_MAX,
)
from leadglass.dicom.normalise import fold_patient, fold_text
from leadglass.dicom.values import Dataset, read_dataset, text_element, write_dataset
from leadglass.dicom.workitem import (
    FILTERED_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    INPUT_READINESS,
    INSTITUTION_NAME,
    PATIENT_ID,
    PROGRESS,
    STATE,
    STUDY_INSTANCE_UID,
    Demand,
    State,
    cancelled,
    created,
    matches,
    moved,
    shown,
    state_of,
    updated,
    value_of,
)
from leadglass.store.index.interfaces import Index
from leadglass.store.worklist.interfaces import StoredWorkitem, Subscription, WorkitemStore
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

_ISSUER_OF_PATIENT_ID: Final = 0x0010_0021
_ATTEMPTS: Final = 8
"""Of a change that others get in the way of: more than eight at once on one workitem is a fault of theirs."""
_ANY_STATE: Final = frozenset(state.value for state in State)
KEPT_AFTER_END: Final = timedelta(days=30)
"""A final workitem is kept so long for whoever asks late; a deletion lock keeps it longer. Source: PS3.4 CC.2.3.3."""


class EventType(IntEnum):
    """Source: PS3.4 Table CC.2.4-1."""

    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3


@dataclass(frozen=True, slots=True)
class WorkitemEvent:
    """What a subscriber is told.

    Attributes:
        event_type: of N-EVENT-REPORT.
        workitem_uid: that it is about.
        dataset: attributes of the event.
    """

    event_type: EventType
    workitem_uid: UID
    dataset: Dataset = field(repr=False)


Deliver = Callable[[WorkitemEvent], None]
"""Takes an event at once or drops the channel; called on the thread that made the change."""


@dataclass(frozen=True, slots=True)
class _Channel:
    principal: Principal
    deliver: Deliver


class Worklist:
    """Workitems of a site. Thread-safe.

    Args:
        access: the one door.
        store: of workitems and subscriptions.
        index: tells whether the study of a workitem is held, and what policy may know of it.
    """

    def __init__(self, access: Access, store: WorkitemStore, index: Index) -> None:
        self._access = access
        self._store = store
        self._index = index
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}

    # --- workitems ---------------------------------------------------------------------------------------------

    def create(self, principal: Principal, uid: UID, dataset: Dataset) -> UID:
        """Keep a new workitem.

        Raises:
            AccessDenied: policy said no.
            DatasetRefused: it is not what a new workitem must be.
            DuplicateObject: there is one of that UID.
            OutOfResources: more than ``WORKITEMS_MAX``.
        """
        grant = self._access.permit(principal, Permission.WORKITEM_CREATE)
        if not is_uid(uid):
            raise DatasetRefused("the UID of a workitem is no UID", dimse_status=0x0117)
        item = created(dataset, uid)
        if self._store.count() >= WORKITEMS_MAX:
            raise OutOfResources("the worklist is full")
        octets = _encoded(item)
        self._record(grant, EventCode.WORKITEM_CREATED, uid, item, {})
        if not self._store.add(
            StoredWorkitem(uid, state_of(item).value, octets, 1, self._access.clock.now())
        ):
            raise DuplicateObject("a workitem of that UID is held already")
        self._tell(uid, item, EventType.STATE_REPORT)
        return uid

    def get(self, principal: Principal, uid: UID) -> Dataset:
        """Return a workitem.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none, or it may not be known.
        """
        grant = self._access.permit(principal, Permission.WORKITEM_QUERY)
        _, item = self._visible(principal, uid)
        self._record(grant, EventCode.WORKITEM_READ, uid, item, {"workitems": 1})
        return shown(item)

    def search(
        self, principal: Principal, demands: tuple[Demand, ...], *, offset: int = 0, limit: int | None = None
    ) -> list[Dataset]:
        """Return the workitems that meet every demand, newest first.

        Raises:
            AccessDenied: policy said no.
        """
        grant = self._access.permit(principal, Permission.WORKITEM_QUERY)
        wanted = min(WORKITEM_RESULTS_MAX, WORKITEM_RESULTS_MAX if limit is None else limit)
        found: list[Dataset] = []
        passed = 0
        for item in self._matching(demands):
            if len(found) >= wanted:
                break
            if not self._may_know(principal, item):
                continue
            passed += 1
            if passed > offset:
                found.append(item)
        studies = [value_of(item, STUDY_INSTANCE_UID) for item in found]
        self._access.record(
            grant,
            EventCode.WORKITEM_READ,
            objects=_objects([_patient_of(item) for item in found], [study for study in studies if study]),
            facts={"workitems": len(found)},
        )
        return [shown(item) for item in found]

    def update(self, principal: Principal, uid: UID, changes: Dataset, transaction_uid: str) -> None:
        """Change attributes of a workitem.

        Raises:
            AccessDenied, NotFound: as ``get``.
            DatasetRefused, StateConflict: see ``dicom.workitem.updated``.
        """
        grant = self._access.permit(principal, Permission.WORKITEM_PERFORM)
        before, after = self._change(
            principal, grant, uid, lambda item: updated(item, changes, transaction_uid), "updated"
        )
        if before.get(PROGRESS) != after.get(PROGRESS):
            self._tell(uid, after, EventType.PROGRESS_REPORT)
        if before.get(INPUT_READINESS) != after.get(INPUT_READINESS):
            self._tell(uid, after, EventType.STATE_REPORT)

    def move(self, principal: Principal, uid: UID, to: str, transaction_uid: str) -> None:
        """Claim, complete or cancel a workitem.

        Raises:
            AccessDenied, NotFound: as ``get``.
            DatasetRefused, StateConflict: see ``dicom.workitem.moved``.
        """
        grant = self._access.permit(principal, Permission.WORKITEM_PERFORM)
        _, after = self._change(principal, grant, uid, lambda item: moved(item, to, transaction_uid), to)
        self._tell(uid, after, EventType.STATE_REPORT)

    def request_cancellation(self, principal: Principal, uid: UID, details: Dataset) -> bool:
        """Ask for cancellation: what nobody has begun is canceled at once, a performer is asked.

        Returns:
            True when it is canceled; False when whoever performs it was asked.

        Raises:
            AccessDenied, NotFound: as ``get``.
            StateConflict: it is completed (0xC311), or nobody who performs it listens (0xC312).
        """
        grant = self._access.permit(principal, Permission.WORKITEM_CANCEL)
        _, item = self._visible(principal, uid)
        state = state_of(item)
        if state is State.COMPLETED:
            raise StateConflict("the workitem is completed already", dimse_status=0xC311)
        if state is State.CANCELED:
            return True
        if state is State.SCHEDULED:
            at = self._access.clock.now().strftime("%Y%m%d%H%M%S")
            _, after = self._change(
                principal, grant, uid, lambda item: _cancelled_if_scheduled(item, details, at), "CANCELED"
            )
            self._tell(uid, after, EventType.STATE_REPORT)
            return True
        self._record(grant, EventCode.WORKITEM_CHANGED, uid, item, {"change": "cancellation requested"})
        if not self._tell(uid, item, EventType.CANCEL_REQUESTED, details):
            raise StateConflict("nobody who performs it can be told", dimse_status=0xC312)
        return False

    def forget_ended(self) -> int:
        """Remove final workitems whose time is over and that no deletion lock keeps; return how many."""
        before = self._access.clock.now() - KEPT_AFTER_END
        locked = {s.target for s in self._store.subscriptions() if s.deletion_lock}
        final = frozenset(state.value for state in State if state.final)
        over = [i.uid for i in self._store.items(final) if i.changed_at < before and i.uid not in locked]
        return sum(self._store.forget(uid) for uid in over)

    # --- subscriptions -----------------------------------------------------------------------------------------

    def subscribe(
        self,
        principal: Principal,
        ae_title: str,
        target: str,
        *,
        deletion_lock: bool = False,
        demands: str = "",
    ) -> None:
        """Subscribe an application entity to a workitem, to all, or to those that meet a filter.

        Raises:
            AccessDenied: policy said no, or the AE title is somebody else's.
            NotFound: no such workitem.
            UsageError: not an AE title.
            OutOfResources: more than ``SUBSCRIPTIONS_MAX``.
        """
        grant = self._subscribing(principal, ae_title)
        if target not in {GLOBAL_SUBSCRIPTION, FILTERED_SUBSCRIPTION}:
            self._visible(principal, UID(target))
        if len(self._store.subscriptions()) >= SUBSCRIPTIONS_MAX:
            raise OutOfResources("too many subscriptions")
        self._access.record(grant, EventCode.WORKITEM_SUBSCRIBED, facts={"change": "subscribed"})
        self._store.subscribe(
            Subscription(ae_title, principal.principal_id, target, demands, deletion_lock=deletion_lock)
        )

    def unsubscribe(self, principal: Principal, ae_title: str, target: str) -> None:
        """End a subscription.

        Raises:
            NotFound: there is none.
        """
        grant = self._subscribing(principal, ae_title)
        self._access.record(grant, EventCode.WORKITEM_SUBSCRIBED, facts={"change": "unsubscribed"})
        if not self._store.unsubscribe(ae_title, target):
            raise NotFound("no such subscription")

    def suspend(self, principal: Principal, ae_title: str, target: str) -> None:
        """Take no new workitems into a global subscription; those that it has go on. Source: PS3.4 CC.2.3.

        Raises:
            NotFound: there is no such global subscription.
        """
        grant = self._subscribing(principal, ae_title)
        for held in self._store.subscriptions():
            if held.ae_title == ae_title and held.target == target:
                self._access.record(grant, EventCode.WORKITEM_SUBSCRIBED, facts={"change": "suspended"})
                self._store.subscribe(
                    Subscription(
                        ae_title, held.principal_id, target, held.filter, held.deletion_lock, suspended=True
                    )
                )
                return
        raise NotFound("no such subscription")

    def listen(self, principal: Principal, ae_title: str, deliver: Deliver) -> Callable[[], None]:
        """Open the event channel of a subscriber; return what closes it. A newer channel takes an older one's place.

        Raises:
            AccessDenied: policy said no, or the AE title is somebody else's.
            OutOfResources: more than ``WORKITEM_CHANNELS_MAX``.
        """
        grant = self._subscribing(principal, ae_title)
        self._access.record(grant, EventCode.WORKITEM_SUBSCRIBED, facts={"change": "listening"})
        channel = _Channel(principal, deliver)
        with self._lock:
            if ae_title not in self._channels and len(self._channels) >= WORKITEM_CHANNELS_MAX:
                raise OutOfResources("too many event channels")
            self._channels[ae_title] = channel

        def close() -> None:
            with self._lock:
                if self._channels.get(ae_title) is channel:
                    del self._channels[ae_title]

        return close

    # --- inside ------------------------------------------------------------------------------------------------

    def _subscribing(self, principal: Principal, ae_title: str) -> Grant:
        grant = self._access.permit(principal, Permission.WORKITEM_SUBSCRIBE)
        parse_ae_title(ae_title)
        owners = {s.principal_id for s in self._store.subscriptions() if s.ae_title == ae_title}
        with self._lock:
            channel = self._channels.get(ae_title)
        if channel is not None:
            owners.add(channel.principal.principal_id)
        mine = principal.ae_title == ae_title if principal.ae_title else True
        if not mine or owners - {principal.principal_id}:
            raise NotFound("no such subscriber")
        return grant

    def _visible(self, principal: Principal, uid: UID) -> tuple[StoredWorkitem, Dataset]:
        stored = self._store.get(uid)
        if stored is None:
            raise NotFound("no such workitem", dimse_status=0xC307)
        item = read_dataset(stored.dataset)
        if not self._may_know(principal, item):
            raise NotFound("no such workitem", dimse_status=0xC307)
        return stored, item

    def _may_know(self, principal: Principal, item: Dataset) -> bool:
        """Tell whether the study that a workitem belongs to, where it is held, may be found by whoever asks.

        Or whether they may work on it: a modality finds no studies, and has to end what it began after it sent them.
        """
        study_uid = value_of(item, STUDY_INSTANCE_UID)
        if not study_uid:
            return _within_institutions(principal, item)
        # Of a study that was deleted too: its workitems would else be open to those whom it was hidden from.
        found = self._index.facts([UID(study_uid)], subject_of(principal), deleted=True)
        facts = found.get(UID(study_uid))
        if facts is None:
            return _within_institutions(principal, item)
        return any(
            self._access.may(principal, permission, study_resource(facts))
            for permission in (Permission.STUDY_QUERY, Permission.WORKITEM_PERFORM)
        )

    def _matching(self, demands: tuple[Demand, ...]) -> Iterator[Dataset]:
        wanted = next((demand.value for demand in demands if demand.path == (STATE,) and demand.value), "")
        states = frozenset({wanted}) if wanted in _ANY_STATE else _ANY_STATE
        for stored in self._store.items(states):
            item = read_dataset(stored.dataset)
            if matches(item, demands):
                yield item

    def _change(
        self, principal: Principal, grant: Grant, uid: UID, change: Callable[[Dataset], Dataset], what: str
    ) -> tuple[Dataset, Dataset]:
        for _ in range(_ATTEMPTS):
            stored, before = self._visible(principal, uid)
            after = change(before)
            octets = _encoded(after)
            self._record(grant, EventCode.WORKITEM_CHANGED, uid, after, {"change": what})
            written = StoredWorkitem(
                uid, state_of(after).value, octets, stored.version + 1, self._access.clock.now()
            )
            if self._store.replace(written):
                return before, after
        raise StateConflict("others change the workitem at the same time; try again")

    def _record(
        self, grant: Grant, code: EventCode, uid: UID, item: Dataset, facts: dict[str, str | int | bool]
    ) -> None:
        study = value_of(item, STUDY_INSTANCE_UID)
        self._access.record(
            grant,
            code,
            objects=_objects([_patient_of(item)], [study] if study else []),
            facts=facts,
            detail={"workitem": uid},
        )

    def _tell(self, uid: UID, item: Dataset, event_type: EventType, details: Dataset | None = None) -> bool:
        """Give an event to everybody who subscribed and listens; tell whether anybody did."""
        with self._lock:
            channels = dict(self._channels)
        told = False
        for ae_title in {s.ae_title for s in self._store.subscriptions() if self._is_for(s, uid, item)}:
            channel = channels.get(ae_title)
            # Asked again for each event: rights that were revoked since end what is told.
            if channel is None or not self._access.may(channel.principal, Permission.WORKITEM_SUBSCRIBE):
                continue
            if self._may_know(channel.principal, item):
                channel.deliver(WorkitemEvent(event_type, uid, _event_dataset(item, event_type, details)))
                told = True
        return told

    @staticmethod
    def _is_for(subscription: Subscription, uid: UID, item: Dataset) -> bool:
        if subscription.target == GLOBAL_SUBSCRIPTION:
            return not subscription.suspended or state_of(item) is not State.SCHEDULED
        if subscription.target == FILTERED_SUBSCRIPTION:
            return not subscription.suspended and matches(item, parse_filter(subscription.filter))
        return subscription.target == uid


def _within_institutions(principal: Principal, item: Dataset) -> bool:
    """Tell whether a workitem without a study here is of an institution of theirs, for whom that is a limit.

    Nothing else tells whose it is: one that names no institution is for those who are not limited.
    """
    return not principal.institutions or fold_text(value_of(item, INSTITUTION_NAME)) in principal.institutions


def parse_filter(text: str) -> tuple[Demand, ...]:
    """Read the kept form of a filter: lines of ``GGGGEEEE[.GGGGEEEE]=value``."""
    demands: list[Demand] = []
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        if name:
            demands.append(Demand(tuple(int(tag, 16) for tag in name.split(".")), value))
    return tuple(demands)


def render_filter(demands: tuple[Demand, ...]) -> str:
    """Return the kept form of a filter; ``parse_filter`` reads it."""
    return "\n".join(
        ".".join(f"{tag:08X}" for tag in demand.path) + "=" + demand.value.replace("\n", " ")
        for demand in demands
    )


def _cancelled_if_scheduled(item: Dataset, details: Dataset, at: str) -> Dataset:
    if state_of(item) is not State.SCHEDULED:
        raise StateConflict("somebody has begun it meanwhile", dimse_status=0xC312)
    return cancelled(item, details, at)


def _encoded(item: Dataset) -> bytes:
    octets = write_dataset(item.values())
    if len(octets) > WORKITEM_BYTES_MAX:
        raise DatasetRefused("the workitem is larger than this worklist takes")
    return octets


def _event_dataset(item: Dataset, event_type: EventType, details: Dataset | None) -> Dataset:
    """Return the attributes of an event. Source: PS3.4 Table CC.2.4-1."""
    if event_type is EventType.PROGRESS_REPORT:
        return {PROGRESS: item[PROGRESS]} if PROGRESS in item else {}
    if event_type is EventType.CANCEL_REQUESTED:
        return dict(details or {})
    told = {STATE: text_element(STATE, state_of(item))}
    if INPUT_READINESS in item:
        told[INPUT_READINESS] = item[INPUT_READINESS]
    return told


def _patient_of(item: Dataset) -> str:
    """Return whose workitem it is, as the log names patients of objects: what was shown of one is found by one token."""
    return fold_patient(value_of(item, PATIENT_ID), value_of(item, _ISSUER_OF_PATIENT_ID))


def _objects(patients: list[str], studies: list[str]) -> dict[str, list[str]]:
    found = {
        "patient": list(dict.fromkeys(patient for patient in patients if patient)),
        "study": list(dict.fromkeys(studies)),
    }
    return {kind: values for kind, values in found.items() if values}
