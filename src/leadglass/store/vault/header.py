"""The 256 octets before every sealed stream: what it is and under which key, without a word about the patient.

All integers big-endian; the record follows at once.

====== ====== =====================================================================================
offset length field
====== ====== =====================================================================================
0      8      magic ``89 4C 47 56 0D 0A 1A 0A``; catches 7-bit and line-end damage, as PNG's does
8      2      format version, 1
10     2      suite, 1 = FLOE, AES-256-GCM, HKDF-Expand-SHA-384, segments of 65 536 octets
12     2      header length, 256
14     1      object class, 1 = DICOM Part 10
15     1      flags, 2 = a footer is present (always)
16     16     tenant id, random
32     16     key id: the study key's row in the key ledger
48     4      key generation
52     4      reserved, zero
56     16     object id (UUIDv7), new for every write: makes the object key unique
72     8      object version
80     32     context tag: HMAC over tenant, UIDs, version and class under the study's context key
112    8      created, milliseconds since 1970
120    62     reserved, zero
182    74     FLOE header: parameters, IV, header tag; the tag authenticates octets 0..181 and commits to the key
====== ====== =====================================================================================

**Invariant:** decoding accepts exactly what encoding gives: reserved octets that are not zero are refused.
"""

import struct
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import IntegrityError
from leadglass.base.ids import UID

MAGIC: Final = b"\x89LGV\r\n\x1a\n"
FORMAT_VERSION: Final = 1
SUITE_FLOE_64_KIB: Final = 1
HEADER_LENGTH: Final = 256
FIXED_LENGTH: Final = 182
"""Octets before the FLOE header: they are its associated data."""

CLASS_DICOM_PART10: Final = 1
FLAG_FOOTER: Final = 2

_LAYOUT: Final = struct.Struct(">8sHHHBB16s16sI4x16sQ32sQ62x")
_CONTEXT_LABEL: Final = b"leadglass/vault/v1/context\0"


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The fields of a record's header that differ from record to record."""

    tenant_id: bytes
    key_id: bytes
    key_generation: int
    object_id: bytes
    context_tag: bytes
    created_ms: int
    object_version: int = 1
    object_class: int = CLASS_DICOM_PART10

    def encode(self) -> bytes:
        """Return the 182 octets before the FLOE header."""
        return _LAYOUT.pack(
            MAGIC,
            FORMAT_VERSION,
            SUITE_FLOE_64_KIB,
            HEADER_LENGTH,
            self.object_class,
            FLAG_FOOTER,
            self.tenant_id,
            self.key_id,
            self.key_generation,
            self.object_id,
            self.object_version,
            self.context_tag,
            self.created_ms,
        )


def decode_header(raw: bytes) -> RecordHeader:
    """Read the first 182 octets of a record. Nothing of it is authentic before the FLOE tag is checked.

    Raises:
        IntegrityError: other magic, unknown version or suite, or reserved octets that are not zero.
    """
    if len(raw) < FIXED_LENGTH:
        raise IntegrityError("record header: cut short")
    fields = _LAYOUT.unpack_from(raw)
    magic, version, suite, length, object_class, flags = fields[:6]
    if magic != MAGIC:
        raise IntegrityError("record header: no record begins here")
    if version != FORMAT_VERSION or suite != SUITE_FLOE_64_KIB:
        raise IntegrityError("record header: unknown format version or suite")
    if length != HEADER_LENGTH or flags != FLAG_FOOTER:
        raise IntegrityError("record header: unknown length or flags")
    tenant_id, key_id, generation, object_id, object_version, context_tag, created_ms = fields[6:]
    header = RecordHeader(
        tenant_id=tenant_id,
        key_id=key_id,
        key_generation=generation,
        object_id=object_id,
        context_tag=context_tag,
        created_ms=created_ms,
        object_version=object_version,
        object_class=object_class,
    )
    if header.encode() != raw[:FIXED_LENGTH]:
        raise IntegrityError("record header: reserved octets are not zero")
    return header


def context(
    tenant_id: bytes,
    study_uid: UID,
    series_uid: UID,
    sop_instance_uid: UID,
    *,
    object_version: int = 1,
    object_class: int = CLASS_DICOM_PART10,
) -> bytes:
    """Return what a record is bound to; every part carries its length, so no two contexts encode alike."""
    parts = (
        tenant_id,
        study_uid.encode("ascii"),
        series_uid.encode("ascii"),
        sop_instance_uid.encode("ascii"),
        object_version.to_bytes(8, "big"),
        bytes((object_class,)),
    )
    return _CONTEXT_LABEL + b"".join(len(part).to_bytes(2, "big") + part for part in parts)
