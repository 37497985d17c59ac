"""A careless line of code shows a placeholder, never the value."""

import copy
import logging
import pickle  # noqa: TID251 - that it is refused is what is tested
import traceback
from collections.abc import Callable

import pytest

from leadglass.base.secret import Phi, Secret

KEY = b"CANARY-KEY"
NAME = "Canary^Anna"

WAYS: list[Callable[[object], str]] = [
    repr,
    str,
    ascii,
    format,
    lambda value: f"{value}",
    lambda value: f"{value!r:>80}",
    lambda value: f"{value:s}" if isinstance(value, Phi) else f"{value!s}",
    lambda value: "%s %r" % (value, value),  # noqa: UP031 - an old way that somebody may still use
    "{}".format,
    lambda value: str([value]),
    lambda value: str({"key": value}),
    lambda value: str((value,)),
    lambda value: str(ValueError("went wrong", value)),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("value", [Secret(KEY), Phi(NAME), Phi([NAME]), Phi({"name": NAME})])
def test_no_way_of_printing_shows_it(value: object, way: int) -> None:
    text = WAYS[way](value)
    assert "CANARY" not in text.upper()
    assert text


@pytest.mark.parametrize("value", [Secret(KEY), Phi(NAME)])
def test_no_log_line_shows_it(value: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("the value is %s, %r", value, value)
    assert "canary" not in caplog.text.lower()


@pytest.mark.parametrize("value", [Secret(KEY), Phi(NAME)])
def test_it_is_never_serialised(value: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(value, protocol)
    with pytest.raises(TypeError):
        copy.deepcopy(value)
    assert not hasattr(value, "__dict__")


def test_no_traceback_shows_it() -> None:
    secret = Secret(KEY)
    with pytest.raises(KeyError) as caught:
        raise KeyError(secret)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_reveal_is_the_one_way() -> None:
    assert Secret(KEY).reveal() == KEY
    assert Phi(NAME).reveal() == NAME
    assert repr(Secret(KEY)) == "Secret(<10 bytes>)"
