"""Verifying a copy of an audit log with nothing but its public key."""

from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

from leadglass.app.control import JSON, Tell
from leadglass.app.operations import audit_report
from leadglass.base.errors import IntegrityError, UsageError
from leadglass.trust.audit.verify import verify_log
from leadglass.trust.keys.signer import note_verifier


def verify_copy(log: Path, vkey: str, pinned: Sequence[bytes], tell: Tell) -> JSON:
    """Verify a copy of a log.

    Args:
        log: the copy.
        vkey: verifier key, ``name+hash+base64(type || key)``.
        pinned: checkpoints that were kept elsewhere.
        tell: progress.

    Raises:
        UsageError: the key is not a verifier key.
        IntegrityError: the copy cannot be read.

    Source: C2SP signed-note, "Verifier keys".
    """
    try:
        origin, _, encoded = vkey.split("+", 2)
        key = b64decode(encoded, validate=True)
    except ValueError as error:
        raise UsageError("this is not a verifier key (name+hash+base64)") from error
    if not key:
        raise UsageError("this is not a verifier key (name+hash+base64)")
    verifier = note_verifier(key[0], key[1:])
    try:
        return audit_report(verify_log(log, origin, (verifier,), pinned=pinned), tell)
    except OSError as error:
        raise IntegrityError(f"the log cannot be read: {error.strerror}") from error
