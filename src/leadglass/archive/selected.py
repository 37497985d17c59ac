"""The instances that one retrieve names, held for as long as it runs: hours, for a large one to a slow peer.

A record as an object takes some 630 octets, 41 MB for 65 535. Here what many share (study, series, class, pack, key) is held
once, and the rest in arrays: some 130 octets each. A record is made when it is asked for.
"""

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, final, overload

from leadglass.base.errors import OutOfResources
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.store.index.interfaces import InstanceRecord

RETRIEVE_INSTANCES_MAX: Final = 65_535
"""Sub-operations of one retrieve: their counts are US values (PS3.7 9.3.3)."""

_AS_OBJECTS_MAX: Final = 2048
"""Up to here records stay objects, 1.3 MB: making each again takes 3 us."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBERS: Final = 5
_SHARED: Final = 6


def selected(records: Iterable[InstanceRecord]) -> Sequence[InstanceRecord]:
    """Return the records, in their order, in little memory.

    Raises:
        OutOfResources: more than ``RETRIEVE_INSTANCES_MAX``.
    """
    few: list[InstanceRecord] = []
    many: SelectedRecords | None = None
    for record in records:
        if many is None and len(few) < _AS_OBJECTS_MAX:
            few.append(record)
            continue
        if many is None:
            many = SelectedRecords()
            for one in few:
                many.append(one)
            few.clear()
        if len(many) >= RETRIEVE_INSTANCES_MAX:
            raise OutOfResources("more than 65535 instances in one retrieve; ask for less at once")
        many.append(record)
    return few if many is None else many


@final
class SelectedRecords(Sequence[InstanceRecord]):
    """Records in arrays. Appended to by one thread, then only read."""

    __slots__ = ("_ends", "_known", "_numbers", "_object_ids", "_shared", "_uids", "_values")

    def __init__(self) -> None:
        """Begin with none."""
        self._values: list[str | bytes] = []  # what records share
        self._known: dict[str | bytes, int] = {}
        self._shared = array("I")  # six places in _values for each record
        self._numbers = array("q")  # five for each record
        self._object_ids = bytearray()
        self._uids = bytearray()  # SOP Instance UIDs, one after the other
        self._ends = array("I", [0])

    def append(self, record: InstanceRecord) -> None:
        """Add a record at the end."""
        identity, address = record.identity, record.address
        shared: tuple[str | bytes, ...] = (
            identity.study_uid,
            identity.series_uid,
            identity.sop_class_uid,
            identity.transfer_syntax_uid,
            address.pack_id,
            address.key_id,
        )
        self._shared.extend(map(self._place, shared))
        self._numbers.extend(
            (
                address.offset,
                address.length,
                record.dataset_offset,
                record.dataset_length,
                (record.received_at - _EPOCH) // _MICROSECOND,
            )
        )
        self._object_ids += address.object_id
        self._uids += identity.sop_instance_uid.encode("ascii")
        self._ends.append(len(self._uids))

    def _place(self, value: str | bytes) -> int:
        place = self._known.get(value)
        if place is None:
            place = self._known[value] = len(self._values)
            self._values.append(value)
        return place

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> InstanceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[InstanceRecord]: ...
    def __getitem__(self, index: int | slice) -> InstanceRecord | list[InstanceRecord]:
        if isinstance(index, slice):
            return [self._record(i) for i in range(*index.indices(len(self)))]
        position = index if index >= 0 else len(self) + index
        if not 0 <= position < len(self):
            raise IndexError(index)
        return self._record(position)

    def _record(self, at: int) -> InstanceRecord:
        values = self._values
        shared = self._shared[_SHARED * at : _SHARED * (at + 1)]
        study, series, sop_class, syntax, pack_id, key_id = (values[place] for place in shared)
        offset, length, begin, octets, received = self._numbers[_NUMBERS * at : _NUMBERS * (at + 1)]
        uid = self._uids[self._ends[at] : self._ends[at + 1]].decode("ascii")
        return InstanceRecord(
            ObjectIdentity(
                UID(str(study)), UID(str(series)), UID(uid), UID(str(sop_class)), UID(str(syntax))
            ),
            RecordAddress(_octets(pack_id), offset, length, self._object_id(at), _octets(key_id)),
            begin,
            octets,
            _EPOCH + received * _MICROSECOND,
        )

    def _object_id(self, at: int) -> bytes:
        size = len(self._object_ids) // len(self)
        return bytes(self._object_ids[size * at : size * (at + 1)])


def _octets(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value
