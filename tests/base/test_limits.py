"""A limit without unit and reason is a number that nobody dares to change."""

import ast
from pathlib import Path

import pytest

from leadglass.base import limits

SOURCE = Path(limits.__file__).read_text(encoding="utf-8")
UNITS = {"KIB", "MIB", "GIB"}


def documented() -> dict[str, str]:
    """Return the limits and the text that follows each in the source."""
    body = ast.parse(SOURCE).body
    found: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = str(after.value.value)
            found[node.target.id] = text
    return found


LIMITS = {name: text for name, text in documented().items() if name not in UNITS}


def test_there_are_limits() -> None:
    assert len(LIMITS) > 30


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_has_a_reason(name: str) -> None:
    assert len(LIMITS[name]) > 20, f"{name} has no docstring"


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_bounds_something(name: str) -> None:
    value = getattr(limits, name)
    assert isinstance(value, int | float)
    assert 0 < value < float("inf")


def test_every_name_of_the_module_is_a_limit_or_a_unit() -> None:
    names = {name for name in vars(limits) if name.isupper()}
    assert names == set(LIMITS) | UNITS


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_used(name: str) -> None:
    package = Path(limits.__file__).parents[1]
    users = [
        path
        for path in package.rglob("*.py")
        if path.name != "limits.py" and name in path.read_text(encoding="utf-8")
    ]
    assert users, f"{name} bounds nothing"
