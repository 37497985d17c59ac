"""Who saw what: on record before the first octet leaves.

The first time somebody opens a study in a session, for a purpose, the event is durable before anything is shown. For some
minutes after it, further parts of the same study shown to the same person are on record without waiting for the disk:
each is an entry that names its instances and frames, written before the answer, and lost by a power cut at most, never
by a crash of the process. What a power cut could take away repeats a disclosure that is on the disk.

Whole objects are another disclosure than parts: that a study was looked at does not cover that its objects left, but one
retrieve of objects to the same place covers the next, and the parts as well. An export waits every time.

Source: 45 CFR 164.312(b), 164.528; PS3.15 A.5.3.4 (DICOM Instances Accessed).
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from leadglass.archive.access import Access, Grant
from leadglass.base.ids import UID
from leadglass.base.limits import DISCLOSURE_SECONDS, DISCLOSURES_REMEMBERED_MAX
from leadglass.store.index.interfaces import InstanceRecord
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is about to be shown.

    Attributes:
        part: in our words: ``metadata``, ``frames``, ``rendered``, ...
        records: the instances.
        patients: reference of the patient by study, as far as it is known.
        frames: numbers; empty where it is not about single frames.
        destination: where to; empty: to whoever asks.
        held_back: instances that were left out because policy hides their studies.
    """

    part: str
    records: Sequence[InstanceRecord]
    patients: Mapping[UID, str] = field(default_factory=dict[UID, str])
    frames: Sequence[int] = ()
    destination: str = ""
    held_back: int = 0


class Disclosures:
    """Remembers which studies were opened a moment ago, by whom and for what. Thread-safe."""

    def __init__(
        self,
        access: Access,
        *,
        seconds: float = DISCLOSURE_SECONDS,
        remembered_max: int = DISCLOSURES_REMEMBERED_MAX,
    ) -> None:
        """Begin with nothing remembered: after a start every first view is durable again.

        Args:
            access: puts on record.
            seconds: from a durable event on; not renewed by what follows it.
            remembered_max: studies times readers; the oldest is forgotten first.
        """
        self._access = access
        self._seconds = seconds
        self._remembered_max = remembered_max
        self._lock = threading.Lock()
        self._opened: OrderedDict[_Key, tuple[float, str]] = (
            OrderedDict()
        )  # guarded by _lock; until when, patient

    def patient(self, principal: Principal, study_uid: UID) -> str | None:
        """Return the patient of a study that was opened a moment ago; None when the next event is a first one."""
        opened = self._find(_key(principal, study_uid))
        return None if opened is None else opened[1]

    def record(self, grant: Grant, code: EventCode, shown: Shown) -> None:
        """Put a disclosure on record; durable unless each of its studies was opened the same way a moment ago.

        Raises:
            AuditUnavailable: it was not taken: nothing may be shown.
        """
        principal = grant.principal
        studies = list(dict.fromkeys(record.identity.study_uid for record in shown.records))
        keys = [_key(principal, study) for study in studies]
        opened = [self._find(key) for key in keys]
        retrieved = [_key(principal, study, f"objects to {shown.destination}") for study in studies]
        durable = not studies or not self._covered(code, keys, retrieved)
        patients = dict.fromkeys(
            patient
            for study, known in zip(studies, opened, strict=True)
            if (patient := shown.patients.get(study) or (known[1] if known is not None else ""))
        )
        circumstances = principal.circumstances
        facts: dict[str, str | int | bool] = {
            "part": shown.part,
            "instances": len(shown.records),
            "purpose": circumstances.purpose,
        }
        optional: Mapping[str, str | int] = {
            "session": circumstances.session_id,
            "zone": circumstances.zone,
            "workstation": circumstances.workstation,
            "through": principal.through,
            "break_glass": circumstances.break_glass,
            "destination": shown.destination,
            "frames": len(shown.frames),
            "held_back": shown.held_back,
        }
        facts.update({name: value for name, value in optional.items() if value})
        self._access.record(
            grant,
            code,
            objects={
                "patient": list(patients),
                "study": studies,
                "instance": [record.identity.sop_instance_uid for record in shown.records],
            },
            facts=facts,
            detail={"frames": _named(shown.frames)} if shown.frames else {},
            durable=durable,
        )
        if durable:
            known_as = [shown.patients.get(study, "") for study in studies]
            self._remember(keys, known_as)
            if code is EventCode.RETRIEVE_STARTED:
                self._remember(retrieved, known_as)

    def _covered(self, code: EventCode, viewed: Sequence[_Key], retrieved: Sequence[_Key]) -> bool:
        """Tell whether a durable event of a moment ago says of each study what this one says."""
        covering = {EventCode.INSTANCE_VIEWED: viewed, EventCode.RETRIEVE_STARTED: retrieved}.get(code)
        return covering is not None and all(self._find(key) is not None for key in covering)

    def _find(self, key: _Key) -> tuple[float, str] | None:
        now = self._access.clock.monotonic()
        with self._lock:
            opened = self._opened.get(key)
            if opened is None:
                return None
            if opened[0] <= now:
                del self._opened[key]
                return None
            return opened

    def _remember(self, keys: Sequence[_Key], patients: Sequence[str]) -> None:
        until = self._access.clock.monotonic() + self._seconds
        with self._lock:
            for key, patient in zip(keys, patients, strict=True):
                self._opened[key] = (until, patient)
                self._opened.move_to_end(key)
            while len(self._opened) > self._remembered_max:
                self._opened.popitem(last=False)


def _key(principal: Principal, study_uid: UID, what: str = "parts") -> _Key:
    """Return what makes a disclosure another one: who, from where, in which session, why, and what."""
    circumstances = principal.circumstances
    return (
        principal.principal_id,
        principal.through,
        principal.address,
        circumstances.session_id,
        circumstances.workstation,
        circumstances.purpose,
        circumstances.break_glass,
        study_uid,
        what,
    )


def _named(frames: Sequence[int]) -> str:
    """Return frame numbers as runs, ``1-3,7``: exact, and short for a whole multi-frame."""
    runs: list[list[int]] = []
    for number in frames:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
