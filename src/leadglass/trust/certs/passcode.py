"""Passcodes of user identity negotiation, kept as Argon2id verifiers.

Implements ``identity.interfaces.PasscodeVerifier``.
"""

import os
import threading
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from leadglass.base.secret import Secret

# RFC 9106 4, second recommended option: 64 MiB, three passes, four lanes; what a node can afford per login.
_ITERATIONS: Final = 3
_LANES: Final = 4
_MEMORY_KIB: Final = 64 * 1024
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_ONE_AT_A_TIME: Final = threading.Lock()
"""Of the whole process: OpenSSL's Argon2id takes its lanes from one pool of threads, whose size ``cryptography`` sets for
each derivation. Two at once were seen to fail for want of threads and to wait for each other for ever (with
cryptography 50, four lanes). One uses four cores while it runs, and 64 MiB."""
_PREFIX: Final = f"$argon2id$v=19$m={_MEMORY_KIB},t={_ITERATIONS},p={_LANES}$"


class Argon2Passcodes:
    """Argon2id with the parameters of RFC 9106, and with no others. Thread-safe; one derivation after the other."""

    def verifier(self, passcode: Secret) -> str:
        """Return a PHC string; the salt is random, so that equal passcodes do not look equal."""
        kdf = Argon2id(
            salt=os.urandom(_SALT_BYTES),
            length=_HASH_BYTES,
            iterations=_ITERATIONS,
            lanes=_LANES,
            memory_cost=_MEMORY_KIB,
        )
        with _ONE_AT_A_TIME:
            return kdf.derive_phc_encoded(passcode.reveal())

    def verify(self, passcode: Secret, verifier: str) -> bool:
        """Tell whether ``passcode`` is the one. A verifier with other parameters is a no: none could cost more."""
        if not verifier.startswith(_PREFIX):
            return False
        try:
            with _ONE_AT_A_TIME:
                Argon2id.verify_phc_encoded(passcode.reveal(), verifier)
        except (InvalidKey, ValueError):
            return False
        return True
