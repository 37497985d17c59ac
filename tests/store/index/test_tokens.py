"""Which tokens stand for a value, and that a query looks for one of them."""

from hypothesis import given
from hypothesis import strategies as st

from leadglass.base.ids import UID
from leadglass.store.index.tokens import PREFIX_LENGTHS, BlindIndex

STUDY = UID("1.2.3")


class ReadableTokens:
    """A tokeniser that hides nothing, so that a test can read what would be hashed."""

    def token(self, field: str, value: str) -> bytes:
        return f"{field}={value}|".encode()


BLIND = BlindIndex(ReadableTokens())


def test_names_have_beginnings_and_birth_dates_have_not() -> None:
    tokens = BLIND.of({"PatientName": ("smith^anna",), "PatientBirthDate": ("19700101",)})
    assert sorted(tokens.split(b"|")[:-1]) == [
        b"PatientBirthDate=19700101",
        b"PatientName*=sm",
        b"PatientName*=smit",
        b"PatientName*=smith^an",
        b"PatientName=smith^anna",
    ]


def test_equal_values_have_one_token() -> None:
    assert BLIND.of({"PatientID": ("a", "a")}) == b"PatientID=a|"


@given(value=st.text(min_size=1, max_size=20), cut=st.integers(0, 20))
def test_a_beginning_is_looked_for_by_a_token_that_the_value_has(value: str, cut: int) -> None:
    token = BLIND.prefix("PatientName", value[:cut])
    assert (token is None) == (min(cut, len(value)) < PREFIX_LENGTHS[0])
    if token is not None:
        assert token in BLIND.of({"PatientName": (value,)})


def test_a_field_without_beginnings_is_not_looked_for_by_one() -> None:
    assert BLIND.prefix("PatientBirthDate", "1970") is None


def test_studies_without_a_patient_id_stand_alone() -> None:
    assert BLIND.patient("p1", STUDY) == BLIND.patient("p1", UID("1.2.4"))
    assert BLIND.patient("", STUDY) != BLIND.patient("", UID("1.2.4"))
    assert BLIND.patient("", STUDY) != BLIND.patient(STUDY, STUDY)
