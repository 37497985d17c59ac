"""Table 9-10, against the typed fixture and against a foreign implementation."""

from pathlib import Path

import pynetdicom.fsm
import pytest

from leadglass.wire.ul.state import TRANSITIONS, Action, Event, State, Transition

FIXTURE = Path(__file__).parents[1] / "table_9_10.txt"


def typed_table() -> dict[tuple[Event, State], Transition]:
    table = {}
    for line in FIXTURE.read_text().splitlines():
        if line.startswith("#"):
            continue
        event, *cells = line.split()
        assert len(cells) == len(State)
        for state, cell in zip(State, cells, strict=True):
            if cell == "-":
                continue
            action, _, states = cell.partition("/")
            following = [State(int(number)) for number in states.split(",")]
            table[Event[event], state] = Transition(Action(action), *following)
    return table


def test_the_data_are_the_table_as_typed() -> None:
    assert typed_table() == TRANSITIONS
    assert len(TRANSITIONS) == 123


def test_the_table_is_that_of_pynetdicom() -> None:
    theirs = pynetdicom.fsm.TRANSITION_TABLE
    assert {(f"Evt{event.value}", f"Sta{state.value}") for event, state in TRANSITIONS} == set(theirs)
    for (event, state), transition in TRANSITIONS.items():
        action = theirs[f"Evt{event.value}", f"Sta{state.value}"]
        assert transition.action == action
        following = pynetdicom.fsm.ACTIONS[action][2]
        expected = following if isinstance(following, tuple) else (following,)
        ours = tuple(f"Sta{s.value}" for s in (transition.next_state, transition.otherwise) if s is not None)
        assert ours == expected


@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_its_place(action: Action) -> None:
    assert action in {transition.action for transition in TRANSITIONS.values()}
