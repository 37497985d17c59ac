"""What an object is called, and where its sealed record lies."""

from dataclasses import dataclass
from datetime import datetime

from leadglass.base.ids import UID


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The UIDs of one SOP instance, and how its data set is encoded."""

    study_uid: UID
    series_uid: UID
    sop_instance_uid: UID
    sop_class_uid: UID
    transfer_syntax_uid: UID


@dataclass(frozen=True, slots=True)
class RecordAddress:
    """Where a sealed record lies and under which key.

    Attributes:
        pack_id: 16 bytes, random (UUIDv7); the name of the pack's file.
        offset: octets from the start of the pack to the record's 256-byte header.
        length: octets of the sealed record, header included. Taken from here, never from segment bytes.
        object_id: 16 bytes (UUIDv7), new for every write.
        key_id: 16 bytes, the study key in the key ledger.
    """

    pack_id: bytes
    offset: int
    length: int
    object_id: bytes
    key_id: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an object, from where, and when it came: kept in the record's sealed footer.

    Attributes:
        principal: id of the principal, ``device:CT1`` or ``operator:import``.
        calling_ae_title: empty when it did not come by DICOM.
        called_ae_title: as above.
        address: IP address of the peer; empty for an import.
        certificate_sha256: hex fingerprint of the peer's certificate; empty for an import.
        received_at: aware UTC.
        correlation_id: joins the events of one association or command in the audit log.
    """

    principal: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate_sha256: str
    received_at: datetime
    correlation_id: str
