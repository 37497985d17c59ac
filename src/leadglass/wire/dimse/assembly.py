"""From fragments to messages."""

from dataclasses import dataclass
from typing import NamedTuple

from leadglass.wire.dimse.messages import Message
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
    """One direction of one association."""

    def receive(self, fragment: DataFragment) -> list[Event]:
        """Take a fragment; return what it completes.

        Raises:
            RemoteProtocolError: order, size or content are wrong. The assembler is not used again: abort.
        """
        raise NotImplementedError
