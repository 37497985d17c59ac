"""The self-test passes, and can fail."""

import pytest

from leadglass.base.errors import ConfigurationError
from leadglass.trust.keys.self_test import KNOWN_ANSWERS, run_self_test


@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_the_library_knows_its_answers(name: str) -> None:
    assert KNOWN_ANSWERS[name]()


def test_a_wrong_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run_self_test()
    monkeypatch.setitem(KNOWN_ANSWERS, "AES-KWP", lambda: False)
    with pytest.raises(ConfigurationError, match="wrong answers: AES-KWP"):
        run_self_test()


def test_a_changed_primitive_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.trust.keys.derive._FIRST_BLOCK", b"\x02")
    with pytest.raises(ConfigurationError, match="wrong answers: HKDF"):
        run_self_test()
