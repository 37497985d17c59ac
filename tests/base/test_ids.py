import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.errors import UsageError
from leadglass.base.ids import is_uid, parse_ae_title, parse_uid

COMPONENTS = st.lists(st.integers(0, 10**9).map(str), min_size=1, max_size=6)


@given(COMPONENTS)
def test_digits_and_dots_are_a_uid(components: list[str]) -> None:
    text = ".".join(components)
    assert is_uid(text) == (len(text) <= 64)
    if is_uid(text):
        assert parse_uid(text) == text


@pytest.mark.parametrize("text", ["1" * 64, "1.2", "0", "1.02.3"])
def test_taken(text: str) -> None:
    assert parse_uid(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "1" * 65, ".1", "1.", "1..2", "1.a", "1.2\n", " 1.2", "1.2\0", "\u0661.2", "../1", "1/2", "-1"],
)
def test_not_taken(text: str) -> None:
    assert not is_uid(text)
    with pytest.raises(UsageError) as refused:
        parse_uid(text)
    assert len(text) < 4 or text not in str(refused.value), "a message does not repeat what came from outside"


@given(st.text(max_size=70))
def test_whatever_is_a_uid_is_safe_as_a_name(text: str) -> None:
    if is_uid(text):
        assert set(text) <= set("0123456789.")
        assert not text.startswith(".")
        assert ".." not in text


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), max_size=20))
def test_ae_titles_lose_their_padding_and_nothing_else(text: str) -> None:
    stripped = text.strip(" ")
    if 1 <= len(stripped) <= 16:
        assert parse_ae_title(text) == stripped
        assert parse_ae_title(stripped.ljust(16)) == stripped
    else:
        with pytest.raises(UsageError):
            parse_ae_title(text)


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "A\nB", "A\0", "CAF\u00c9", "\x1b[2J", "\x7f"])
def test_ae_titles_not_taken(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ae_title(text)
