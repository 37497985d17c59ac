"""The real clock, and the one that tests move, are both clocks."""

from datetime import UTC, timedelta

import pytest

from fake_clock import FakeClock
from leadglass.app.clock import SystemClock
from leadglass.base.clock import Clock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()])
def test_wall_time_is_aware_utc_and_intervals_do_not_go_back(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now().tzinfo is UTC
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_the_fake_one_moves_only_when_told() -> None:
    clock = FakeClock()
    now, monotonic = clock.now(), clock.monotonic()
    clock.advance(90)
    assert clock.now() - now == timedelta(seconds=90)
    assert clock.monotonic() - monotonic == 90
