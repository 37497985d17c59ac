"""From fragments to messages."""

from dataclasses import dataclass
from typing import NamedTuple

from leadglass.base.errors import RemoteProtocolError
from leadglass.base.limits import COMMAND_SET_BYTES_MAX
from leadglass.wire.dimse.messages import Message, decode
from leadglass.wire.ul.outputs import DataFragment


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A whole command set came.

    Attributes:
        has_dataset: chunks follow, then ``DatasetEnd``.
    """

    context_id: int
    message: Message
    has_dataset: bool


class DatasetChunk(NamedTuple):
    """Octets of the data set, as they came: valid until the association's next ``get_buffer`` or ``receive``."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class DatasetEnd:
    """The data set is complete."""

    context_id: int


Event = CommandReceived | DatasetChunk | DatasetEnd


class MessageAssembler:
    """One direction of one association.

    Only one message is under way at a time, as the asynchronous operations window (1, 1) has it: a command set, then
    the data set that it announced, all on one presentation context. Source: PS3.7 6.3, PS3.8 E.2.
    """

    def __init__(self) -> None:
        self._command = bytearray()
        self._context_id = 0  # of the message under way, 0 between messages
        self._in_dataset = False

    @property
    def idle(self) -> bool:
        """No message is under way."""
        return not self._context_id

    def receive(self, fragment: DataFragment) -> list[Event]:
        """Take a fragment; return what it completes.

        Raises:
            RemoteProtocolError: order, size or content are wrong. The assembler is not used again: abort.
        """
        context_id, is_command, is_last, data = fragment
        if self._context_id and context_id != self._context_id:
            raise RemoteProtocolError("a message changes its presentation context")
        if is_command is self._in_dataset:
            raise RemoteProtocolError("a command set and a data set are not in their order")
        if not is_command:
            if not is_last:
                return [DatasetChunk(data)]
            self._context_id, self._in_dataset = 0, False
            return [DatasetChunk(data), DatasetEnd(context_id)] if data else [DatasetEnd(context_id)]
        if len(self._command) + len(data) > COMMAND_SET_BYTES_MAX:
            raise RemoteProtocolError("a command set is too long")
        if not is_last:
            self._context_id = context_id
            self._command += data
            return []
        if self._command:
            self._command += data
            message = decode(self._command)
            self._command.clear()
        else:
            message = decode(data)
        self._in_dataset = message.has_dataset
        self._context_id = context_id if message.has_dataset else 0
        return [CommandReceived(context_id, message, message.has_dataset)]
