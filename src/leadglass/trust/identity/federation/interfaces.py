"""What federation asks of the rooms above it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CertificateReading:
    """What stands in a certificate.

    Attributes:
        not_before: aware UTC.
        not_after: aware UTC.
        key_kind: ``RSA``, ``EC`` or another.
        key_bits: size of the key.
        signature_hash: lower case, e.g. ``sha256``; empty where the algorithm names none.
    """

    not_before: datetime
    not_after: datetime
    key_kind: str
    key_bits: int
    signature_hash: str


ReadCertificate = Callable[[str], CertificateReading]
"""Reads a PEM; raises ValueError. Implemented by ``trust.certs.reading.read_certificate``."""
