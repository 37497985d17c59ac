"""Ranges of octets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.limits import BYTE_RANGES_MAX
from leadglass.wire.dicomweb.byte_ranges import ByteRange, RangeNotSatisfiable, parse_ranges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-99", [(0, 99)]),
        ("bytes=50-", [(50, 99)]),
        ("bytes=90-1000", [(90, 99)]),
        ("bytes=-10", [(90, 99)]),
        ("bytes=-1000", [(0, 99)]),
        ("Bytes = 1-2 , 5-6", [(1, 2), (5, 6)]),
        ("bytes=5-6,1-2", [(5, 6), (1, 2)]),
        ("bytes=1-2,3-4", [(1, 4)]),
        ("bytes=1-5,3-9", [(1, 9)]),
        ("bytes=200-300,0-1", [(0, 1)]),
        # Nothing that would be answered: the whole is sent.
        (None, None),
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=5-3", None),
        ("bytes=--3", None),
        ("items=0-1", None),
        ("bytes=0-1;x", None),
        ("bytes=9999999999999999999999-", None),
        ("bytes=50-99,0-99", None),
        (f"bytes={','.join(f'{2 * n}-{2 * n}' for n in range(BYTE_RANGES_MAX + 1))}", None),
    ],
)
def test_ranges_of_a_hundred_octets(header: str | None, expected: list[tuple[int, int]] | None) -> None:
    found = parse_ranges(header, 100)
    assert found == (None if expected is None else tuple(ByteRange(*each) for each in expected))


@pytest.mark.parametrize(("header", "length"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)])
def test_no_range_within_is_416(header: str, length: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        parse_ranges(header, length)
    assert (refused.value.http_status, refused.value.length) == (416, length)


def test_a_part_says_where_it_lies() -> None:
    assert ByteRange(10, 19).content_range(100) == "bytes 10-19/100"
    assert ByteRange(10, 19).length == 10


@given(
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150)), min_size=1, max_size=BYTE_RANGES_MAX),
    st.integers(0, 120),
)
def test_what_is_answered_lies_within_and_is_never_longer_than_the_whole(
    asked: list[tuple[int, int]], length: int
) -> None:
    header = "bytes=" + ",".join(f"{min(pair)}-{max(pair)}" for pair in asked)
    wanted = {octet for pair in asked for octet in range(min(pair), max(pair) + 1) if octet < length}
    try:
        found = parse_ranges(header, length)
    except RangeNotSatisfiable:
        assert not wanted
        return
    if found is not None:
        assert sum(each.length for each in found) <= length
        assert {octet for each in found for octet in range(each.first, each.last + 1)} == wanted


@given(st.text(max_size=60), st.integers(0, 1000))
def test_any_header_is_read_passed_over_or_416(header: str, length: int) -> None:
    with contextlib.suppress(RangeNotSatisfiable):
        for found in parse_ranges(header, length) or ():
            assert 0 <= found.first <= found.last < length
