"""The sealed end of a record: enough to rebuild its index row and the audit event of its ingest.

The plaintext of a record is ``payload ‖ footer ‖ u32 footer length ‖ "LGVF"``. The footer is one MessagePack array in a
fixed order whose first member is the format version, so the same values always give the same octets.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError, LocalProtocolError
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, Origin
from leadglass.store.vault.interfaces import Footer

TRAILER_LENGTH: Final = 8
FOOTER_BYTES_MAX: Final = 32 * 1024
"""A footer has about 500 octets; the reason of a quarantine may add a sentence."""

_FORMAT: Final = 1
_MAGIC: Final = b"LGVF"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class _FooterV1(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    format: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    principal: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate_sha256: str
    received_us: int
    correlation_id: str
    dataset_offset: int
    dataset_length: int
    quarantined: str


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_FooterV1)


def encode_footer(footer: Footer) -> bytes:
    """Return the footer with its length and magic behind it.

    Raises:
        LocalProtocolError: it is longer than any reader would accept.
    """
    identity, origin = footer.identity, footer.origin
    body = _ENCODER.encode(
        _FooterV1(
            _FORMAT,
            identity.study_uid,
            identity.series_uid,
            identity.sop_instance_uid,
            identity.sop_class_uid,
            identity.transfer_syntax_uid,
            origin.principal,
            origin.calling_ae_title,
            origin.called_ae_title,
            origin.address,
            origin.certificate_sha256,
            (origin.received_at - _EPOCH) // _MICROSECOND,
            origin.correlation_id,
            footer.dataset_offset,
            footer.dataset_length,
            footer.quarantined,
        )
    )
    if len(body) > FOOTER_BYTES_MAX:
        raise LocalProtocolError("a record's footer is too long")
    return body + len(body).to_bytes(4, "big") + _MAGIC


def footer_length(trailer: bytes) -> int:
    """Read the last eight octets of a record's plaintext.

    Raises:
        IntegrityError: the record has no footer, or one of impossible length.
    """
    length = int.from_bytes(trailer[:4], "big")
    if len(trailer) != TRAILER_LENGTH or trailer[4:] != _MAGIC or length > FOOTER_BYTES_MAX:
        raise IntegrityError("a record without a footer")
    return length


def decode_footer(body: bytes) -> Footer:
    """Read a footer whose octets are authentic.

    Raises:
        IntegrityError: unknown format, or not a footer.
    """
    try:
        fields = _DECODER.decode(body)
        received_at = _EPOCH + fields.received_us * _MICROSECOND
    except (msgspec.DecodeError, OverflowError):
        raise IntegrityError("a record's footer cannot be read") from None
    if fields.format != _FORMAT:
        raise IntegrityError("a record's footer has an unknown format")
    return Footer(
        identity=ObjectIdentity(
            study_uid=UID(fields.study_uid),
            series_uid=UID(fields.series_uid),
            sop_instance_uid=UID(fields.sop_instance_uid),
            sop_class_uid=UID(fields.sop_class_uid),
            transfer_syntax_uid=UID(fields.transfer_syntax_uid),
        ),
        origin=Origin(
            principal=fields.principal,
            calling_ae_title=fields.calling_ae_title,
            called_ae_title=fields.called_ae_title,
            address=fields.address,
            certificate_sha256=fields.certificate_sha256,
            received_at=received_at,
            correlation_id=fields.correlation_id,
        ),
        dataset_offset=fields.dataset_offset,
        dataset_length=fields.dataset_length,
        quarantined=fields.quarantined,
    )
