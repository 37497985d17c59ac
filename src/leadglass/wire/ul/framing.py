"""From octets to PDUs, whatever the network cut them into.

Data are given out of the caller's buffer as they come; only the few octets of a header that was cut are carried over,
and the octets of control PDUs, which are bounded. Nothing is believed before it was checked: a length is refused when
its header is read, not when its octets have arrived.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import RemoteProtocolError
from leadglass.wire.ul.codec import HEADER, check_length
from leadglass.wire.ul.outputs import DataFragment
from leadglass.wire.ul.pdu import AbortReason, PDUType

_HEADER_BYTES: Final = 6
_PDV_HEADER: Final = struct.Struct(">IBB")
_PDV_HEADER_BYTES: Final = 6
# 1-4  Item-length: of what follows.
# 5    Presentation-context-ID.
# 6    Message control header: bit 0 command (else data set), bit 1 last; bits 2 to 7 never tested (PS3.8 E.2).
# Source: PS3.8 Table 9-23.

_P_DATA_TF: Final = int(PDUType.P_DATA_TF)


@dataclass(frozen=True, slots=True)
class ControlPDU:
    """A whole PDU other than P-DATA-TF; or the header of a P-DATA-TF that nobody expects, without its body."""

    pdu_type: int
    body: bytes


class Framer:
    """Cuts one stream of octets into PDUs.

    Attributes:
        data_expected: P-DATA-TF is given out as fragments; else it is announced once and skipped.
        maximum_length: longest P-DATA-TF, as we announced it; 0 is no limit.
        contexts: ids of presentation contexts that may be used.
    """

    __slots__ = (
        "_context_id",
        "_control",
        "_control_left",
        "_control_type",
        "_is_command",
        "_is_last",
        "_pdu_left",
        "_pdv_left",
        "_skip_left",
        "carried",
        "contexts",
        "data_expected",
        "maximum_length",
    )

    def __init__(self) -> None:
        self.data_expected = False
        self.maximum_length = 0
        self.contexts: Container[int] = ()
        self.carried = b""
        self._control = bytearray()
        self._control_type = 0
        self._control_left = 0
        self._skip_left = 0
        self._pdu_left = 0  # octets of the P-DATA-TF behind the value that is being read
        self._pdv_left = 0  # octets of the value that is being read
        self._context_id = 0
        self._is_command = False
        self._is_last = False

    def split(self, view: memoryview) -> Iterator[DataFragment | ControlPDU]:
        """Yield what ``view`` completes; octets of a header that was cut are left in ``carried``.

        ``view`` begins with what was carried before. The state of the machine may change between two items.

        Raises:
            RemoteProtocolError: the stream makes no sense; it cannot be read on.
        """
        position, end = 0, len(view)
        while position < end:
            if self._pdv_left:
                if not self.data_expected:
                    self._skip_left, self._pdv_left, self._pdu_left = self._pdv_left + self._pdu_left, 0, 0
                    continue
                start = position
                left = self._pdv_left - (end - start)
                if left > 0:
                    self._pdv_left = left
                    position = end
                    yield DataFragment(self._context_id, self._is_command, False, view[start:])
                else:
                    position = start + self._pdv_left
                    self._pdv_left = 0
                    yield DataFragment(
                        self._context_id, self._is_command, self._is_last, view[start:position]
                    )
            elif self._pdu_left:
                if not self.data_expected:
                    self._skip_left, self._pdu_left = self._pdu_left, 0
                    continue
                if end - position < _PDV_HEADER_BYTES:
                    break
                self._begin_value(*_PDV_HEADER.unpack_from(view, position))
                position += _PDV_HEADER_BYTES
                if not self._pdv_left:
                    yield DataFragment(
                        self._context_id, self._is_command, self._is_last, view[position:position]
                    )
            elif self._skip_left:
                taken = min(self._skip_left, end - position)
                self._skip_left -= taken
                position += taken
            elif self._control_left:
                taken = min(self._control_left, end - position)
                self._control += view[position : position + taken]
                self._control_left -= taken
                position += taken
                if not self._control_left:
                    body, self._control = bytes(self._control), bytearray()
                    yield ControlPDU(self._control_type, body)
            elif end - position < _HEADER_BYTES:
                break
            else:
                pdu_type, length = HEADER.unpack_from(view, position)
                position += _HEADER_BYTES
                if pdu_type != _P_DATA_TF:
                    check_length(pdu_type, length)
                    self._control_type, self._control_left = pdu_type, length
                elif self.data_expected:
                    self._begin_data(length)
                else:
                    self._skip_left = length
                    yield ControlPDU(pdu_type, b"")
        self.carried = bytes(view[position:])

    def middle(self, view: memoryview) -> DataFragment | None:
        """Return all of ``view`` as one fragment if it lies within a value that does not end with it, else None.

        The usual case by far: a data set comes in many pieces. Measured: 1 us instead of the 3 us of ``split``.
        """
        left = self._pdv_left - len(view)
        if left <= 0 or not self.data_expected:
            return None
        self._pdv_left = left
        return DataFragment(self._context_id, self._is_command, False, view)

    def _begin_data(self, length: int) -> None:
        if self.maximum_length and length > self.maximum_length:
            raise _invalid("a P-DATA-TF is longer than we announced")
        if length < _PDV_HEADER_BYTES:
            raise _invalid("a P-DATA-TF without a presentation data value")
        self._pdu_left = length

    def _begin_value(self, length: int, context_id: int, control: int) -> None:
        if length < 2:
            raise _invalid("a presentation data value is shorter than its header")
        left = self._pdu_left - 4 - length
        if left < 0:
            raise _invalid("a presentation data value reaches beyond its P-DATA-TF")
        if 0 < left < _PDV_HEADER_BYTES:
            raise _invalid("a P-DATA-TF ends with less than a header")
        if context_id not in self.contexts:
            raise _invalid("a presentation context is used that was not agreed")
        self._pdu_left = left
        self._pdv_left = length - 2
        self._context_id = context_id
        self._is_command = bool(control & 1)
        self._is_last = bool(control & 2)


def _invalid(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)
