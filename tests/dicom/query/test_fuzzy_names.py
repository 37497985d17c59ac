"""Fuzzy matching of person names: what it finds, what it does not, and what it costs."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.limits import NAME_WORDS_MAX
from leadglass.dicom.match import FuzzyNamePattern, NamePattern, sound_of


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("doe", "Doe^John"),
        ("john doe", "Doe^John"),
        ("Doe, John", "Doe^John"),
        ("DOE^JOHN", "John^Doe"),
        ("joh", "Doe^John"),
        ("Meier", "Mayer^Hans"),
        ("Maier", "Meyer^Hans"),
        ("Schmidt", "Schmitt^Anna"),
        ("smith", "Smyth^J"),
        ("Katherine", "Smith^Catherine"),
        ("Filip", "Novak^Phillip"),
        ("Muller", "Müller^Jörg"),
        ("Mueller", "Müller^Jörg"),
        ("obrien", "O'Brien^Pat"),
        ("O\u2019Brien", "OBrien^Pat"),
        ("berg van", "van den Berg^Jan"),
        ("Meyer Landrut", "Meyer-Landrut^Lena"),
        ("M*er hans", "Meyer^Hans"),
        ("Tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("太郎 山田", "Yamada^Tarou=山田^太郎"),
        ("山", "Yamada^Tarou=山田^太郎"),
        ("Иванов", "Иванов^Иван"),
        ("anna anna", "Anna^Anna"),
    ],
)
def test_it_finds(key: str, name: str) -> None:
    assert FuzzyNamePattern(key).matches(name)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("doe", "Roe^Jane"),
        ("john smith", "Doe^John"),
        ("lee", "Li^A"),
        ("", "Doe^John"),
        ("^^", "Doe^John"),
        ("john jon", "John^Doe"),
        ("Иванов", "Петров^Иван"),
        ("太郎", "Yamada^Hanako=山田^花子"),
        ("tarou 山田", "Yamada^Tarou=山田^太郎"),
        ("doe", ""),
    ],
)
def test_it_does_not_find(key: str, name: str) -> None:
    assert not FuzzyNamePattern(key).matches(name)


_NAME = st.text(
    st.sampled_from("abcdefmnrst^ =-'*?äöüß山やИ") | st.characters(exclude_categories=["Cs"]), max_size=20
)


@given(_NAME, _NAME)
def test_it_finds_whatever_a_literal_match_finds(key: str, name: str) -> None:
    if NamePattern(key).matches(name):
        assert FuzzyNamePattern(key).matches(name)


@given(
    st.lists(st.sampled_from(["anna", "maria", "doe", "smith", "müller"]), min_size=1, max_size=5),
    st.randoms(),
)
def test_the_order_of_words_does_not_count(words: list[str], random: object) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert FuzzyNamePattern(" ".join(shuffled)).matches("^".join(words))


@given(st.text(max_size=30))
def test_how_a_word_sounds_never_raises_and_is_told_of_latin_words_only(word: str) -> None:
    assert sound_of(word) == "" or word[0].isalpha()


def test_sounds() -> None:
    """Those of Soundex where its first letter is coded as the others are."""
    assert sound_of("robert") == sound_of("rupert") == "6163"
    assert sound_of("ashcraft") == "02613"  # H keeps nothing apart
    assert sound_of("tymczak") == "3522"  # a vowel does
    assert sound_of("li") == ""


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["a", "ab", "*a", "?", "a*b"]))
def test_the_longest_names_cost_little(word: str) -> None:
    """S37: as many words as there may be, all of which could stand for each other."""
    pattern = FuzzyNamePattern(" ".join(f"{word}{'a' * n}" for n in range(NAME_WORDS_MAX * 8)))
    name = " ".join(["a" * 60 + "b"] * 500)
    started = time.perf_counter()
    pattern.matches(name)
    assert time.perf_counter() - started < 1
