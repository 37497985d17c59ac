"""What reaches a terminal: nothing in it can rewrite the screen."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.app.cli.console import (
    clean,
    octets,
    print_error,
    print_facts,
    print_json,
    print_table,
    progress,
)


@given(st.text())
def test_no_control_and_no_format_character_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not any(unicodedata.category(c)[0] == "C" for c in cleaned)
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=["C"])))
def test_everything_else_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J", "\x9b2J", "a\rb", "a\nb", "\u202etxt.exe", "\u2066x\u2069", "\u200b", "\ud800", "\ue000"],
)
def test_what_terminals_obey(text: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in clean(text)
    assert "\x1b" not in clean(text)


def test_a_table_is_cleaned_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "LONG TITLE"), [["x\x1b[31m", "1"], ["longer", "2\n3"]])
    out = capsys.readouterr().out
    assert out.count("\n") == 3
    assert "\x1b" not in out
    print_table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_facts_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"Site": "/srv/\x1b]0;title\x07x"})
    assert "\x1b" not in capsys.readouterr().out


def test_errors_go_to_the_error_stream(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("went \x1b wrong", "LG-0100", "do \x07 this", as_json=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("leadglass: went")
    assert "\x1b" not in captured.err
    print_error("went wrong", "LG-0100", "", as_json=True)
    assert json.loads(capsys.readouterr().err) == {"error": "went wrong", "code": "LG-0100", "hint": ""}


def test_a_document_is_one_json_value(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, {"b": "\u00e4"}]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, {"b": "\u00e4"}]}


@given(st.integers(0, 1 << 60))
def test_amounts_have_a_unit(count: int) -> None:
    number, unit = octets(count).split(" ")
    scale = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[unit]
    assert abs(float(number) * scale - count) <= max(scale * 0.051, count * 0.01)


def test_progress_without_a_terminal_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Working", as_json=False) as tell:
        for done in range(1001):
            tell(done, 1000)
        tell(0, 0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 11
    with progress("Working", as_json=True) as tell:
        tell(1, 2)
    assert capsys.readouterr().err == ""
