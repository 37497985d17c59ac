"""Records in arrays are the records that were put in, in a fraction of the memory."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.archive import selected as selected_module
from leadglass.archive.selected import RETRIEVE_INSTANCES_MAX, SelectedRecords, selected
from leadglass.base.errors import OutOfResources
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, RecordAddress
from leadglass.store.index.interfaces import InstanceRecord


def records() -> Iterator[InstanceRecord]:
    start = datetime(2026, 11, 22, 8, 0, 0, 123_456, tzinfo=UTC)
    number = 0
    while True:
        series = number // 300
        yield InstanceRecord(
            ObjectIdentity(
                UID("1.2.826.0.1.3680043.10.998.1"),
                UID(f"1.2.826.0.1.3680043.10.998.1.{series}"),
                UID(f"1.2.826.0.1.3680043.10.998.1.{series}.{number:030d}"),
                UID("1.2.840.10008.5.1.4.1.1.2"),
                UID("1.2.840.10008.1.2.1"),
            ),
            RecordAddress(
                series.to_bytes(16, "big"),
                number * 530_000,
                530_000 + number,
                number.to_bytes(16, "big"),
                b"k" * 16,
            ),
            350,
            525_848 + number,
            start + timedelta(microseconds=number),
        )
        number += 1


def test_few_stay_objects_and_many_are_the_same() -> None:
    assert selected([]) == []
    assert isinstance(selected(islice(records(), 100)), list)
    many = selected(islice(records(), 3000))
    assert isinstance(many, SelectedRecords)
    assert list(many) == list(islice(records(), 3000))
    assert many[-1] == many[2999]
    assert many[5:7] == [many[5], many[6]]
    assert many.index(many[2500]) == 2500
    for beyond in (3000, -3001):
        with pytest.raises(IndexError):
            many[beyond]


@given(st.lists(st.integers(0, 50), max_size=30))
def test_any_order(order: list[int]) -> None:
    some = list(islice(records(), 51))
    held = SelectedRecords()
    for number in order:
        held.append(some[number])
    assert list(held) == [some[number] for number in order]


def test_as_many_as_one_retrieve_may_name_take_little_memory() -> None:
    tracemalloc.start()
    try:
        held = selected(islice(records(), RETRIEVE_INSTANCES_MAX))
        octets = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(held) == RETRIEVE_INSTANCES_MAX
    assert octets < 200 * RETRIEVE_INSTANCES_MAX


def test_one_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected_module, "RETRIEVE_INSTANCES_MAX", 2500)
    assert len(selected(islice(records(), 2500))) == 2500
    with pytest.raises(OutOfResources):
        selected(records())
