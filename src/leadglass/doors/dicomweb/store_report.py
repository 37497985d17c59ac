"""What became of each instance of a STOW-RS request: the Store Instances Response Module, and the status it makes.

Source: PS3.18 10.5.3, Annex I.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from leadglass.base.errors import LeadglassError
from leadglass.base.objects import ObjectIdentity
from leadglass.doors.dicomweb.services import instance_url, study_url

COERCION_OF_DATA_ELEMENTS: Final = 0xB000
"""Source: PS3.18 Table I.2-1."""
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122
CANNOT_UNDERSTAND: Final = 0xC000
"""Source: PS3.18 Table I.2-2."""

_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
_SUCCESS: Final = 200
_ACCEPTED: Final = 202
_CONFLICT: Final = 409
_UNAVAILABLE: Final = 503

_Item = dict[str, dict[str, object]]


@dataclass(slots=True)
class StoreReport:
    """Filled instance by instance.

    Attributes:
        root: absolute URL of the service.
    """

    root: str
    _stored: list[_Item] = field(default_factory=list[_Item])
    _failed: list[_Item] = field(default_factory=list[_Item])
    _others: list[_Item] = field(default_factory=list[_Item])
    _studies: set[str] = field(default_factory=set[str])
    _reasons: list[int] = field(default_factory=list[int])
    _warned: bool = False

    @property
    def empty(self) -> bool:
        """Nothing was tried."""
        return not (self._stored or self._failed or self._others)

    @property
    def any_stored(self) -> bool:
        """At least one instance is held."""
        return bool(self._stored)

    def stored(self, identity: ObjectIdentity, warning: int = 0) -> None:
        """An instance is held; ``warning`` is a Warning Reason (0008,1196), or 0."""
        url = instance_url(self.root, identity.study_uid, identity.series_uid, identity.sop_instance_uid)
        item = _reference(identity.sop_class_uid, identity.sop_instance_uid)
        item["00081190"] = {"vr": "UR", "Value": [url]}
        if warning:
            item["00081196"] = {"vr": "US", "Value": [warning]}
            self._warned = True
        self._stored.append(item)
        self._studies.add(identity.study_uid)

    def failed(self, sop_class_uid: str, sop_instance_uid: str, reason: int) -> None:
        """An instance is not held; ``reason`` is a Failure Reason (0008,1197)."""
        item = _reference(sop_class_uid, sop_instance_uid)
        item["00081197"] = {"vr": "US", "Value": [reason]}
        self._failed.append(item)
        self._reasons.append(reason)

    def unreadable(self, reason: int) -> None:
        """Something came of which not even the UIDs can be told. Source: PS3.18 Table I.2-3 (0008,119A)."""
        self._others.append({"00081197": {"vr": "US", "Value": [reason]}})
        self._reasons.append(reason)

    @property
    def status(self) -> int:
        """HTTP status of it all. Source: PS3.18 Table 10.5.3-1."""
        if self._stored:
            return _ACCEPTED if self._reasons or self._warned else _SUCCESS
        if any(reason in _OUT_OF_RESOURCES for reason in self._reasons):
            return _UNAVAILABLE
        return _CONFLICT

    def document(self) -> bytes:
        """Return the response module as DICOM JSON."""
        module: _Item = {}
        if len(self._studies) == 1:
            module["00081190"] = {"vr": "UR", "Value": [study_url(self.root, next(iter(self._studies)))]}
        for tag, items in (
            ("00081198", self._failed),
            ("00081199", self._stored),
            ("0008119A", self._others),
        ):
            if items:
                module[tag] = {"vr": "SQ", "Value": items}
        return msgspec.json.encode(module)


def reason_of(error: LeadglassError) -> int:
    """Return the Failure Reason of an error: those of STOW-RS are the statuses of C-STORE."""
    return error.dimse_status


def _reference(sop_class_uid: str, sop_instance_uid: str) -> _Item:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [sop_instance_uid]},
    }
