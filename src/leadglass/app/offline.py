"""Verifying a copy of an audit log with nothing but its public key."""

from collections.abc import Sequence
from pathlib import Path

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import parse_verifier_key
from leadglass.app.operations.record import audit_report
from leadglass.base.errors import IntegrityError, UsageError
from leadglass.trust.audit.verify import verify_log


def verify_copy(log: Path, vkey: str, pinned: Sequence[bytes], tell: Tell) -> JSON:
    """Verify a copy of a log.

    Args:
        log: the copy.
        vkey: verifier key, as ``certs/audit.vkey`` holds it.
        pinned: checkpoints that were kept elsewhere.
        tell: progress.

    Raises:
        UsageError: the key is not a verifier key.
        IntegrityError: the copy cannot be read.
    """
    origin, verifier = parse_verifier_key(vkey)
    if not (log / "checkpoint").is_file() and not (log / "journal").is_dir():
        raise UsageError(
            f"{log} is no audit log: neither a checkpoint nor a journal is in it",
            hint="name the folder `audit` of a site",
        )
    try:
        return audit_report(verify_log(log, origin, (verifier,), pinned=pinned), tell)
    except OSError as error:
        raise IntegrityError(f"the log cannot be read: {error.strerror}") from error
