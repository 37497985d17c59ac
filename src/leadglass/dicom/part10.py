"""The file format: what stands before the data set (PS3.10 chapter 7).

Reading is tolerant, for files that people have on their disks: no group length, no preamble, no file meta at all.
Writing is ours alone: the preamble is zero, because whoever put something there could have put a program there
(CVE-2019-11687), and the file meta says who wrote it, not who once did.

**Invariant:** pure functions; only ``DatasetRefused`` is raised.
"""

import struct
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import DatasetRefused
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import KIB
from leadglass.base.objects import ObjectIdentity
from leadglass.dicom.syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from leadglass.dicom.value_representations import LONG_VRS, SHORT_VRS

IMPLEMENTATION_CLASS_UID: Final = UID("2.25.282953117850135737286017178856479870194")
"""Ours, a UUID by PS3.5 B.2. It says which implementation wrote a file or opened an association (PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME: Final = "LEADGLASS_0.1"
"""At most 16 characters. Source: PS3.7 D.3.3.2."""

FILE_META_BYTES_MAX: Final = 64 * KIB
"""Octets of a file that are enough to read its file meta; longer ones hold private information nobody needs here."""

_PREAMBLE: Final = bytes(128)
_PREFIX: Final = b"DICM"
_GROUP_2: Final = b"\x02\x00"
_LONG_VRS: Final = frozenset(vr.encode() for vr in LONG_VRS)
_SHORT_VRS: Final = frozenset(vr.encode() for vr in SHORT_VRS)
_VRS: Final = _LONG_VRS | _SHORT_VRS
_UNDEFINED: Final = 0xFFFFFFFF
_FIRST_GROUP_MAX: Final = 0x0020
"""A data set begins with identification; what begins with a higher group is taken for something else."""
_FIRST_LENGTH_MAX: Final = 64 * KIB
"""Longest first value of an implicit VR data set that is believed."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What stands before the data set of a file.

    Attributes:
        transfer_syntax_uid: how the data set is encoded.
        dataset_offset: octets before the data set.
        sop_class_uid: Media Storage SOP Class UID; empty where the file does not say.
        sop_instance_uid: Media Storage SOP Instance UID; empty as above.
        guessed: the file does not name its transfer syntax; it was told from the first octets of the data set, which
            cannot tell compressed ones.
    """

    transfer_syntax_uid: UID
    dataset_offset: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    guessed: bool = False


def read_file_meta(prefix: bytes) -> FileMeta:
    """Read what stands before the data set.

    ``DICM`` at offset 128 counts only when the file meta group follows: the letters may stand in a data set as well.

    Args:
        prefix: the first ``FILE_META_BYTES_MAX`` octets of a file, or all of a shorter one.

    Raises:
        DatasetRefused: it is no DICOM file, its file meta is cut or malformed, or its encoding cannot be told.
    """
    if prefix[128:132] == _PREFIX and prefix[132:134] == _GROUP_2:
        start = 132
    elif prefix[:4] == _PREFIX and prefix[4:6] == _GROUP_2:
        start = 4
    else:
        start = 0
    elements, offset = _group_2(prefix, start)
    syntax = _text(elements.get(0x0010, b""))
    if syntax and not is_uid(syntax):
        raise DatasetRefused("the Transfer Syntax UID of the file is not a UID (PS3.10 7.1)")
    return FileMeta(
        transfer_syntax_uid=UID(syntax) if syntax else _guess(prefix, offset),
        dataset_offset=offset,
        sop_class_uid=_text(elements.get(0x0002, b"")),
        sop_instance_uid=_text(elements.get(0x0003, b"")),
        guessed=not syntax,
    )


def file_meta(identity: ObjectIdentity, source_ae_title: str = "") -> bytes:
    """Return preamble, prefix and file meta for an object that we keep. The preamble is zero.

    Args:
        identity: of the object.
        source_ae_title: who sent it; left out when empty. Source: PS3.10 Table 7.1-1 (0002,0016).
    """
    group = (
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
        + _short(b"\x02\x00", b"UI", identity.sop_class_uid, b"\0")
        + _short(b"\x03\x00", b"UI", identity.sop_instance_uid, b"\0")
        + _short(b"\x10\x00", b"UI", identity.transfer_syntax_uid, b"\0")
        + _IMPLEMENTATION
    )
    if source_ae_title:
        group += _short(b"\x16\x00", b"AE", source_ae_title, b" ")
    return _BEGINNING + struct.pack("<I", len(group)) + group


def _short(element: bytes, vr: bytes, text: str, padding: bytes) -> bytes:
    """Return one element of group 0002, padded to even length (PS3.5 6.2)."""
    value = text.encode("ascii", "replace")
    if len(value) & 1:
        value += padding
    return _GROUP_2 + element + vr + len(value).to_bytes(2, "little") + value


_BEGINNING: Final = _PREAMBLE + _PREFIX + b"\x02\x00\x00\x00UL\x04\x00"
_IMPLEMENTATION: Final = _short(b"\x12\x00", b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _short(
    b"\x13\x00", b"SH", IMPLEMENTATION_VERSION_NAME, b" "
)


def _group_2(prefix: bytes, start: int) -> tuple[dict[int, bytes], int]:
    """Return the values of group 0002 by element, and where the group ends.

    The group length is not believed: the group ends where another one begins. Some writers encode it in implicit VR.
    """
    elements: dict[int, bytes] = {}
    pos = start
    while prefix[pos : pos + 2] == _GROUP_2:
        vr = prefix[pos + 4 : pos + 6]
        size = 12 if vr in _LONG_VRS else 8
        if len(prefix) < pos + size:
            raise DatasetRefused("the file ends inside its file meta (PS3.10 7.1)")
        if vr in _SHORT_VRS:
            length = int.from_bytes(prefix[pos + 6 : pos + 8], "little")
        else:
            length = int.from_bytes(prefix[pos + size - 4 : pos + size], "little")
        if pos + size + length > len(prefix):
            raise DatasetRefused(
                "the file ends inside its file meta, or that is longer than is read (PS3.10 7.1)"
            )
        number = int.from_bytes(prefix[pos + 2 : pos + 4], "little")
        elements.setdefault(number, prefix[pos + size : pos + size + length])
        pos += size + length
    return elements, pos


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _guess(prefix: bytes, offset: int) -> UID:
    """Tell the encoding of a data set from its first element. Source: PS3.5 7.1.2, 7.1.3.

    Raises:
        DatasetRefused: no data set begins there.
    """
    first = prefix[offset : offset + 12]
    if len(first) >= 8:
        little = int.from_bytes(first[0:2], "little")
        big = int.from_bytes(first[0:2], "big")
        explicit = first[4:6] in _VRS
        if explicit and 0 < little <= _FIRST_GROUP_MAX:
            return EXPLICIT_VR_LITTLE_ENDIAN
        if explicit and 0 < big <= _FIRST_GROUP_MAX:
            return EXPLICIT_VR_BIG_ENDIAN
        length = int.from_bytes(first[4:8], "little")
        believable = length <= _FIRST_LENGTH_MAX or (
            length == _UNDEFINED and first[8:12] == b"\xfe\xff\x00\xe0"
        )
        if believable and 0 < little <= _FIRST_GROUP_MAX:
            return IMPLICIT_VR_LITTLE_ENDIAN
    raise DatasetRefused("this is no DICOM file: neither file meta nor a data set begins here (PS3.10 7.1)")
