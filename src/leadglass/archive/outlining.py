"""The outline of an object that lies in its pack already: scanned again, without the octets of its bulk values."""

from typing import Final

from leadglass.dicom.scan import DatasetScanner
from leadglass.store.vault.interfaces import SealedObject

_PIECE: Final = 64 * 1024 - 32
"""Plaintext of one segment: a reader that jumps opens no segment for nothing."""


def scan_sealed(sealed: SealedObject, offset: int, length: int, scanner: DatasetScanner) -> DatasetScanner:
    """Feed a stored data set to a scanner and finish it; bulk values are jumped over.

    Args:
        sealed: the stored object.
        offset: of the data set in it.
        length: octets of the data set.
        scanner: one that was not fed yet.

    Raises:
        IntegrityError: it is not what was written.
        DatasetRefused: its structure does not hold: a damaged index would name it so, ingest never stored it.
    """
    at = 0
    while at < length:
        jump = min(scanner.passable, length - at)
        if jump:
            scanner.pass_over(jump)
            at += jump
            continue
        step = min(_PIECE - (offset + at) % _PIECE, length - at)
        scanner.feed(sealed.read(offset + at, step))
        at += step
    scanner.finish()
    return scanner
