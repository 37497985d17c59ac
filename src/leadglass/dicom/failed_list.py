"""The data set of a final C-MOVE or C-GET response. Source: PS3.4 C.4.2.1.4.2, C.4.3.1.4.2."""

from collections.abc import Sequence
from typing import Final

from leadglass.dicom import values

_FAILED_SOP_INSTANCE_UID_LIST: Final = 0x0008_0058
_EXPLICIT_VALUE_BYTES_MAX: Final = 0xFFFE
"""UI has a two-octet length in explicit VR; what does not fit is told by the count of failed sub-operations."""


def failed_instance_list(sop_instance_uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """Return Failed SOP Instance UID List (0008,0058) with as many UIDs as fit."""
    fitting: list[str] = []
    octets = 0
    for uid in sop_instance_uids:
        octets += len(uid) + 1
        if octets > _EXPLICIT_VALUE_BYTES_MAX:
            break
        fitting.append(uid)
    element = values.text_element(_FAILED_SOP_INSTANCE_UID_LIST, fitting)
    return values.write_dataset((element,), transfer_syntax_uid)
