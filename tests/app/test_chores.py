"""What a node does now and then."""

import pytest

from fake_clock import FakeClock
from leadglass.app.chores import ONCE, Chore, Chores
from leadglass.base.errors import AuditUnavailable


def test_each_is_done_at_the_start_and_when_its_time_has_come() -> None:
    clock, done = FakeClock(), list[str]()
    chores = Chores(
        [
            Chore("once", ONCE, lambda: done.append("once")),
            Chore("minute", 60, lambda: done.append("minute")),
            Chore("hour", 3600, lambda: done.append("hour")),
        ],
        clock,
    )
    chores.run_due()
    assert done == ["once", "minute", "hour"]
    clock.advance(59)
    chores.run_due()
    assert len(done) == 3
    clock.advance(1)
    chores.run_due()
    assert done[3:] == ["minute"]
    clock.advance(3 * 3600)
    chores.run_due()
    assert done[4:] == ["minute", "hour"], "what was missed is done once"
    chores.run_due()
    assert len(done) == 6


def test_one_that_fails_is_tried_again_and_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    clock, tried = FakeClock(), list[str]()

    def refused() -> None:
        tried.append("refused")
        raise AuditUnavailable("the disk is full")

    def broken() -> None:
        tried.append("broken")
        raise KeyError("Canary^Anna")

    chores = Chores(
        [Chore("a", 60, refused), Chore("b", 60, broken), Chore("c", 60, lambda: tried.append("c"))], clock
    )
    for _ in range(2):
        chores.run_due()
        clock.advance(60)
    assert tried == ["refused", "broken", "c"] * 2
    told = capsys.readouterr().err
    assert "chore b" in told
    assert "Canary" not in told
