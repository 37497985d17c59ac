"""The query string of a search."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import (
    SEARCH_CHARACTERS_MAX,
    SEARCH_OFFSET_MAX,
    SEARCH_PARAMETERS_MAX,
    SEARCH_RESULTS_MAX,
)
from leadglass.wire.dicomweb.search_parameters import AttributeMatch, parse_search


def test_nothing_asks_for_everything() -> None:
    assert (parse_search("").matches, parse_search("").limit, parse_search("").offset) == ((), None, 0)


def test_what_a_viewer_asks() -> None:
    asked = parse_search(
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&includefield=PatientName"
        "&PatientName=*x*&00400275.00400009=a&StudyDate=20260101-"
    )
    assert (asked.limit, asked.offset, asked.fuzzy, asked.include_all) == (101, 0, False, False)
    assert asked.included == (("00081030",), ("00080060",), ("PatientName",))
    assert asked.matches == (
        AttributeMatch(("PatientName",), "*x*"),
        AttributeMatch(("00400275", "00400009"), "a"),
        AttributeMatch(("StudyDate",), "20260101-"),
    )


def test_all_fields() -> None:
    asked = parse_search("includefield=all&includefield=PatientName,all")
    assert asked.include_all
    assert asked.included == (("PatientName",),)


def test_text_is_utf_8_and_a_plus_is_a_space() -> None:
    asked = parse_search("PatientName=M%C3%BCller+Anna%2B")
    assert asked.matches[0].value == "Müller Anna+"


def test_a_limit_is_never_above_the_servers() -> None:
    at, above = parse_search(f"limit={SEARCH_RESULTS_MAX}"), parse_search(f"limit={SEARCH_RESULTS_MAX + 1}")
    assert (at.limit, at.limited) == (SEARCH_RESULTS_MAX, False)
    assert (above.limit, above.limited) == (SEARCH_RESULTS_MAX, True)
    assert parse_search("limit=0").limit == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=-1", 400),
        ("limit=1.5", 400),
        ("limit=", 400),
        ("limit=%D9%A1", 400),
        ("limit=1&limit=2", 400),
        (f"limit={'9' * 5000}", 200),
        (f"offset={SEARCH_OFFSET_MAX + 1}", 400),
        (f"offset={'9' * 5000}", 400),
        ("fuzzymatching=maybe", 400),
        ("charset=latin-1", 406),
        ("PatientName", 400),
        ("=x", 400),
        ("Patient-Name=x", 400),
        ("includefield=a..b", 400),
        ("PatientName=%FF", 400),
        ("PatientName=a%00b", 400),
        ("PatientName=a%0Ab", 400),
        ("PatientName=" + "x" * SEARCH_CHARACTERS_MAX, 414),
        ("&".join(["a=b"] * (SEARCH_PARAMETERS_MAX + 1)), 400),
        ("includefield=" + ",".join(["a"] * (SEARCH_PARAMETERS_MAX + 1)), 400),
        ("%e2%80%ae=x", 400),
    ],
    ids=lambda value: value if isinstance(value, int) else value[:30],
)
def test_the_rules(query: str, status: int) -> None:
    """S36: bounds of what one query may ask."""
    if status == 200:
        parse_search(query)
        return
    with pytest.raises(RequestRefused) as refused:
        parse_search(query)
    assert refused.value.http_status == status


_NAMES = st.from_regex(r"[A-Z][a-zA-Z0-9]{0,20}(\.[A-Z][a-zA-Z0-9]{0,20}){0,2}", fullmatch=True)
_VALUES = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), max_size=30)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=10))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    expected = tuple(AttributeMatch(tuple(name.split(".")), value) for name, value in pairs)
    assert parse_search(urlencode(pairs)).matches == expected
    assert parse_search(urlencode(pairs, quote_via=quote)).matches == expected


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(raw: bytes) -> None:
    status = 200
    try:
        parse_search(raw)
    except RequestRefused as refused:
        status = refused.http_status
    assert status in {200, 400, 406}


def test_messages_never_repeat_what_was_sent() -> None:
    """S33."""
    for query in ("Canary^Anna=x", "limit=CANARY", "fuzzymatching=CANARY", "charset=CANARY", "a.CANARY!=x"):
        with pytest.raises(RequestRefused) as refused:
            parse_search(query)
        assert "canary" not in str(refused.value).lower()
