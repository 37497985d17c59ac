"""Passcodes at their real cost: many at once all get their answer."""

import threading

from leadglass.base.secret import Secret
from leadglass.trust.certs.passcode import Argon2Passcodes


def test_derivations_at_once_neither_fail_nor_wait_for_each_other() -> None:
    """OpenSSL shares one pool of threads among derivations: two at once hung the process."""
    first, second = Argon2Passcodes(), Argon2Passcodes()
    verifier = first.verifier(Secret(b"a passcode"))
    answers: list[bool] = []

    def check(passcodes: Argon2Passcodes) -> None:
        for text in (b"a passcode", b"another"):
            answers.append(passcodes.verify(Secret(text), verifier))  # noqa: PERF401 - from several threads

    threads = [threading.Thread(target=check, args=(p,), daemon=True) for p in (first, second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [False] * 3 + [True] * 3
