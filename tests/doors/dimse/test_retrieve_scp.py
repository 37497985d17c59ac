"""Counts of sub-operations: nothing is lost, and the final status says what they say (PS3.4 Table C.4-2, C.4-3)."""

from hypothesis import given
from hypothesis import strategies as st

from leadglass.doors.dimse.retrieve_scp import SubOperations

STATUSES = st.sampled_from([0x0000, 0xB000, 0xB007, 0xA700, 0xA900, 0xC000, 0x0122, 0x0124, 0xFE00])


@given(st.lists(STATUSES, max_size=40), st.integers(0, 20))
def test_every_sub_operation_is_counted_once(statuses: list[int], untried: int) -> None:
    total = len(statuses) + untried
    counts = SubOperations(total)
    for number, status in enumerate(statuses):
        counts.count(f"1.2.{number}", status)
        assert counts.remaining + counts.completed + counts.failed + counts.warning == total
    rest = [f"1.3.{number}" for number in range(untried)]
    counts.fail_rest(rest)
    assert counts.remaining == 0
    assert counts.completed + counts.failed + counts.warning == total
    assert len(counts.failed_uids) == counts.failed
    assert counts.failed_uids[counts.failed - untried :] == rest


@given(st.lists(STATUSES, max_size=20))
def test_the_final_status(statuses: list[int]) -> None:
    counts = SubOperations(len(statuses))
    for number, status in enumerate(statuses):
        counts.count(f"1.2.{number}", status)
    final = counts.final_status()
    if all(status == 0 for status in statuses):
        assert final == 0x0000
    elif counts.failed == len(statuses):
        assert final == 0xA702
    else:
        assert final == 0xB000
