"""The data sets of storage commitment: what is asked for, and what is promised.

Source: PS3.4 J.3.2 (N-ACTION, Tables J.3-1 and J.3-2), J.3.3 (N-EVENT-REPORT, Table J.3-3); PS3.3 C.14.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import COMMITMENT_INSTANCES_MAX
from leadglass.dicom import values
from leadglass.dicom.values import Dataset, Element

STORAGE_COMMITMENT_PUSH_MODEL: Final = UID("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_INSTANCE: Final = UID("1.2.840.10008.1.20.1.1")
"""Well-known SOP Instance that every request and report is about. Source: PS3.4 J.3.5."""

REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID. Source: PS3.4 Table J.3-1."""
COMMITMENT_SUCCESSFUL: Final = 1
"""Event Type ID: all instances are committed. Source: PS3.4 Table J.3-3."""
COMMITMENT_FAILURES_EXIST: Final = 2
"""Event Type ID: some are not. Source: PS3.4 Table J.3-3."""

INVALID_ARGUMENT_VALUE: Final = 0x0115
"""Status of an N-ACTION whose Action Information breaks a rule. Source: PS3.7 10.1.4.1.10."""

_TRANSACTION_UID: Final = 0x0008_1195
_FAILED_SOP_SEQUENCE: Final = 0x0008_1198
_REFERENCED_SOP_SEQUENCE: Final = 0x0008_1199
_REFERENCED_SOP_CLASS_UID: Final = 0x0008_1150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x0008_1155
_FAILURE_REASON: Final = 0x0008_1197
_RETRIEVE_AE_TITLE: Final = 0x0008_0054


class FailureReason(IntEnum):
    """Why an instance is not committed. Source: PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class SOPReference:
    """One instance that a request or report is about."""

    sop_class_uid: UID
    sop_instance_uid: UID


@dataclass(frozen=True, slots=True)
class FailedReference:
    """One instance that is not committed, and why: a ``FailureReason``, or another code that a peer sent."""

    reference: SOPReference
    reason: int


@dataclass(frozen=True, slots=True)
class CommitmentAction:
    """Action Information of an N-ACTION: please keep these."""

    transaction_uid: UID
    references: tuple[SOPReference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentEvent:
    """Event Information of an N-EVENT-REPORT: these are kept, those are not."""

    transaction_uid: UID
    committed: tuple[SOPReference, ...]
    failed: tuple[FailedReference, ...] = ()
    retrieve_ae_title: str = ""

    @property
    def event_type_id(self) -> int:
        """Event Type ID that goes with it."""
        return COMMITMENT_FAILURES_EXIST if self.failed else COMMITMENT_SUCCESSFUL


def parse_action(data: bytes, transfer_syntax_uid: str) -> CommitmentAction:
    """Return what an N-ACTION asks for.

    The same instance twice is asked for once.

    Raises:
        DatasetRefused: not decodable; no Transaction UID; no, or more than ``COMMITMENT_INSTANCES_MAX`` references;
            one of them without its UIDs. ``dimse_status`` is 0x0115.
    """
    dataset = _read(data, transfer_syntax_uid)
    references = _references(dataset)
    if not references:
        raise _refused("no Referenced SOP Sequence (0008,1199)")
    return CommitmentAction(_uid(dataset, _TRANSACTION_UID), tuple(dict.fromkeys(references)))


def build_action(action: CommitmentAction, transfer_syntax_uid: str = values.EXPLICIT_LITTLE_ENDIAN) -> bytes:
    """Return the Action Information of an N-ACTION."""
    elements = [
        values.text_element(_TRANSACTION_UID, action.transaction_uid),
        _sequence(_REFERENCED_SOP_SEQUENCE, (_item(reference) for reference in action.references)),
    ]
    return values.write_dataset(elements, transfer_syntax_uid)


def parse_event(data: bytes, transfer_syntax_uid: str) -> CommitmentEvent:
    """Return what an N-EVENT-REPORT says.

    Raises:
        DatasetRefused: as ``parse_action``; but one of both sequences may be missing.
    """
    dataset = _read(data, transfer_syntax_uid)
    failed = tuple(
        FailedReference(_reference(item), _reason(item)) for item in _items(dataset, _FAILED_SOP_SEQUENCE)
    )
    title = dataset.get(_RETRIEVE_AE_TITLE)
    return CommitmentEvent(
        transaction_uid=_uid(dataset, _TRANSACTION_UID),
        committed=_references(dataset),
        failed=failed,
        retrieve_ae_title=title.value.decode("latin-1").strip(" \0") if title is not None else "",
    )


def build_event(event: CommitmentEvent, transfer_syntax_uid: str = values.EXPLICIT_LITTLE_ENDIAN) -> bytes:
    """Return the Event Information of an N-EVENT-REPORT.

    A sequence without items is left out: Referenced SOP Sequence is type 1C, there when an instance is committed, and
    Failed SOP Sequence must not be there when none failed.
    """
    elements = [values.text_element(_TRANSACTION_UID, event.transaction_uid)]
    if event.retrieve_ae_title:
        elements.append(values.text_element(_RETRIEVE_AE_TITLE, event.retrieve_ae_title))
    if event.committed:
        elements.append(_sequence(_REFERENCED_SOP_SEQUENCE, (_item(r) for r in event.committed)))
    if event.failed:
        elements.append(_sequence(_FAILED_SOP_SEQUENCE, (_failed_item(f) for f in event.failed)))
    return values.write_dataset(elements, transfer_syntax_uid)


def _refused(why: str) -> DatasetRefused:
    return DatasetRefused(f"storage commitment: {why}", dimse_status=INVALID_ARGUMENT_VALUE)


def _read(data: bytes, transfer_syntax_uid: str) -> Dataset:
    try:
        return values.read_dataset(data, transfer_syntax_uid)
    except DatasetRefused as error:
        raise _refused(str(error)) from error


def _items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    element = dataset.get(tag)
    if element is None:
        return ()
    if element.items is None:
        raise _refused(f"{values.keyword_of(tag)} is not encoded as a sequence")
    if len(element.items) > COMMITMENT_INSTANCES_MAX:
        raise _refused(f"more than {COMMITMENT_INSTANCES_MAX} instances")
    return element.items


def _references(dataset: Dataset) -> tuple[SOPReference, ...]:
    return tuple(_reference(item) for item in _items(dataset, _REFERENCED_SOP_SEQUENCE))


def _reference(item: Dataset) -> SOPReference:
    return SOPReference(_uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID))


def _uid(dataset: Dataset, tag: int) -> UID:
    element = dataset.get(tag)
    text = element.value.decode("latin-1").strip(" \0") if element is not None else ""
    if not is_uid(text):
        raise _refused(f"no {values.keyword_of(tag)}, or one that is no UID")
    return UID(text)


def _reason(item: Dataset) -> int:
    element = item.get(_FAILURE_REASON)
    if element is None or len(element.value) != 2:
        return FailureReason.PROCESSING_FAILURE
    return int.from_bytes(element.value, "little")


def _sequence(tag: int, items: Iterable[Dataset]) -> Element:
    return Element(tag, "SQ", b"", tuple(items))


def _item(reference: SOPReference) -> Dataset:
    elements = (
        values.text_element(_REFERENCED_SOP_CLASS_UID, reference.sop_class_uid),
        values.text_element(_REFERENCED_SOP_INSTANCE_UID, reference.sop_instance_uid),
    )
    return {element.tag: element for element in elements}


def _failed_item(failed: FailedReference) -> Dataset:
    reason = values.text_element(_FAILURE_REASON, failed.reason)
    return {**_item(failed.reference), reason.tag: reason}
