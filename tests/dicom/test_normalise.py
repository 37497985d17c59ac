"""Folding makes equal what a query may not tell apart, and never raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.dicom.normalise import fold_name_group, fold_patient, fold_person_name, fold_text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("  Head   CT\0", "head ct"),
        ("STRASSE", "straße"),
        ("\uff21\uff22\uff23", "abc"),
        ("e\u0301", "\u00e9"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
    ],
)
def test_text_folds_to_the_same(one: str, other: str) -> None:
    assert fold_text(one) == fold_text(other)


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ("DOE^John^^^ ", ("doe^john",)),
        ("Müller^Jürgen", ("muller^jurgen",)),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("yamada^tarou", "山田^太郎", "やまだ^たろう")),
        ("=山田^太郎", ("山田^太郎",)),
        ("Doe=Doe", ("doe",)),
        ("^^^", ()),
        ("", ()),
    ],
)
def test_person_name_folds_group_by_group(value: str, groups: tuple[str, ...]) -> None:
    assert fold_person_name(value) == groups


def test_marks_that_tell_words_apart_stay() -> None:
    assert fold_name_group("か") != fold_name_group("が")
    assert fold_name_group("\u05d5\u05b9") != fold_name_group("\u05d5")


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold_text(fold_text(text)) == fold_text(text)
    assert fold_name_group(fold_name_group(text)) == fold_name_group(text)
    fold_person_name(text)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "Zs"])))
def test_case_never_matters(text: str) -> None:
    assert fold_text(text.upper()) == fold_text(text.lower())


def test_a_patient_is_named_as_objects_name_them() -> None:
    assert fold_patient(" PID-1\0") == fold_patient("pid-1") == "pid-1"
    assert fold_patient("PID-1", "North") == fold_patient("PID-1^^^NORTH") == "pid-1^^^north"
    assert fold_patient("", "North") == ""
