import fnmatch
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom import match

few = st.text(alphabet="ab^", max_size=12)
patterns = st.text(alphabet="ab*?", max_size=10)


def slow_oracle(pattern: str, value: str) -> bool:
    """Dynamic programming over every pair of prefixes."""
    met = [[False] * (len(value) + 1) for _ in range(len(pattern) + 1)]
    met[0][0] = True
    for i, character in enumerate(pattern, 1):
        for j in range(len(value) + 1):
            if character == "*":
                met[i][j] = met[i - 1][j] or (j > 0 and met[i][j - 1])
            elif j > 0:
                met[i][j] = met[i - 1][j - 1] and character in ("?", value[j - 1])
    return met[-1][-1]


@given(patterns, few)
def test_wild_cards_mean_what_the_slow_way_says(pattern: str, value: str) -> None:
    assert match.WildcardPattern(pattern).matches(value) == slow_oracle(pattern, value)


def test_every_short_pattern_against_every_short_value() -> None:
    values = ["".join(c) for n in range(5) for c in product("ab", repeat=n)]
    for pattern in ("".join(c) for n in range(5) for c in product("a*?", repeat=n)):
        ready = match.WildcardPattern(pattern)
        for value in values:
            assert ready.matches(value) == slow_oracle(pattern, value), (pattern, value)


def test_brackets_and_backslashes_are_characters() -> None:
    assert match.WildcardPattern("[ab]*").matches("[ab]c")
    assert not match.WildcardPattern("[ab]*").matches("ac")
    assert fnmatch.fnmatchcase("ac", "[ab]*")  # what a shell would have said
    assert match.WildcardPattern(r"a\*").matches("a\\b")


def test_hostile_patterns_cost_one_step_per_character() -> None:
    value = "a" * 65_536
    for pattern in ("*a" * 16 + "*b", "*" + "?a" * 15 + "?b*", "*" + "a?" * 400 + "b*"):
        assert not match.WildcardPattern(pattern).matches(value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("DOE^JOHN", "Doe^John", True),
        ("doe^john", "DOE^JOHN^^^", True),
        ("DOE", "DOE^JOHN", False),
        ("DOE*", "DOE^JOHN", True),
        ("DOE^*", "DOE", True),
        ("DOE^J?HN", "Doe^John", True),
        ("*JOHN", "DOE^JOHN", True),
        ("MULLER^*", "Müller^Jörg", True),
        ("Müller^Jörg", "MÜLLER^JO\u0308RG", True),
        ("山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=山田*", "山田^太郎", False),
        ("Yamada*=田中*", "Yamada^Tarou=山田^太郎", False),
        ("=", "Anyone", True),
        ("", "Anyone", False),
    ],
)
def test_person_names(key: str, value: str, *, expected: bool) -> None:
    assert match.NamePattern(key).matches(value) is expected


@pytest.mark.parametrize(
    ("vr", "text", "expected"),
    [
        ("DA", "20240229", ("20240229", "20240229")),
        ("DA", "2024.02.29", ("20240229", "20240229")),
        ("DA", "20230229", ("20230229", "20230229")),  # as clients end a month
        ("DA", "20230230", ("20230230", "20230230")),
        ("DA", "20230232", None),
        ("DA", "20231301", None),
        ("DA", "2024", None),
        ("DA", "\u0662\u0660240229", None),
        ("TM", "10", ("100000.000000", "105959.999999")),
        ("TM", "1015", ("101500.000000", "101559.999999")),
        ("TM", "101530.5", ("101530.500000", "101530.599999")),
        ("TM", "10:15:30", ("101530.000000", "101530.999999")),
        ("TM", "235960", ("235960.000000", "235960.999999")),
        ("TM", "24", None),
        ("DT", "2024", ("20240101000000.000000", "20241231235959.999999")),
        ("DT", "20240229101530.123456+0100", ("20240229101530.123456", "20240229101530.123456")),
        ("DT", "2024022910-0500", ("20240229100000.000000", "20240229105959.999999")),
        ("DT", "20241301", None),
    ],
)
def test_spans_of_dates_and_times(vr: str, text: str, expected: tuple[str, str] | None) -> None:
    assert match.span(vr, text) == expected


@given(st.dates(), st.dates(), st.dates())
def test_a_range_of_dates_is_what_the_calendar_says(low: object, high: object, value: object) -> None:
    texts = [str(day).replace("-", "") for day in (low, high, value)]
    expected = str(low) <= str(value) <= str(high)
    assert match.in_range("DA", texts[0], texts[1], texts[2]) is expected
    assert match.in_range("DA", "", texts[1], texts[2]) is (str(value) <= str(high))
    assert match.in_range("DA", texts[0], "", texts[2]) is (str(low) <= str(value))


@given(st.text(max_size=30), st.sampled_from(["DA", "TM", "DT"]))
def test_no_text_makes_a_span_raise(text: str, vr: str) -> None:
    spanned = match.span(vr, text)
    assert spanned is None or spanned[0] <= spanned[1]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("1.50", "1.5", True),
        ("+007", "7", True),
        ("1e1", "10", True),
        ("1_0", "10", False),
        ("nan", "NaN", False),
        ("\u0667", "7", False),
        ("x", "x", True),
        ("9" * 400, "1", False),
    ],
)
def test_numbers(key: str, value: str, *, expected: bool) -> None:
    assert match.numbers_equal(key, value) is expected
