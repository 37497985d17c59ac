"""C-ECHO, C-FIND, C-MOVE and C-GET, as SCU: for the command line. Source: PS3.4 C.4, PS3.7 9.1."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from leadglass.base.errors import PeerRefused, PeerUnreachable
from leadglass.dicom.sop_classes import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from leadglass.doors.dimse.connection import Connection
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import (
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
    Message,
)
from leadglass.wire.dimse.status import StatusCategory, category, meaning
from leadglass.wire.dimse.uids import VERIFICATION_SOP_CLASS
from leadglass.wire.ul.pdu import PresentationContextRQ, RoleSelection

_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_GET_STORAGE_CONTEXTS_MAX: Final = 126
_MESSAGE_ID: Final = 1


@dataclass(frozen=True, slots=True)
class RetrieveOutcome:
    """The last response of a C-MOVE or C-GET."""

    status: int
    completed: int
    failed: int
    warning: int


class Receiver(Protocol):
    """Takes one object of a C-GET."""

    def __call__(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        dataset: Iterator[memoryview],
    ) -> int:
        """Take the data set to its end and return the status to answer."""
        ...


def contexts_for(*sop_class_uids: str) -> tuple[PresentationContextRQ, ...]:
    """Return a proposal of these classes, uncompressed."""
    return tuple(PresentationContextRQ(2 * i + 1, uid, _SYNTAXES) for i, uid in enumerate(sop_class_uids))


def get_contexts(
    present: Collection[str], others: Collection[str], transfer_syntaxes: Sequence[str]
) -> tuple[tuple[PresentationContextRQ, ...], tuple[RoleSelection, ...]]:
    """Return the proposal of a C-GET: the model, and storage classes for which we are SCP.

    Args:
        present: classes that are expected: each gets a context of its own per transfer syntax, so that the peer can
            send every object as it is stored.
        others: classes that might come all the same, one context each while there is room.
        transfer_syntaxes: most wanted first.
    """
    wanted: list[tuple[str, tuple[str, ...]]] = [
        (uid, (syntax,)) for syntax in transfer_syntaxes for uid in present
    ]
    wanted += [(uid, tuple(transfer_syntaxes)) for uid in others if uid not in present]
    chosen = wanted[:_GET_STORAGE_CONTEXTS_MAX]
    contexts = [PresentationContextRQ(1, STUDY_ROOT_GET, _SYNTAXES)]
    contexts += [PresentationContextRQ(2 * i + 3, uid, syntaxes) for i, (uid, syntaxes) in enumerate(chosen)]
    classes = dict.fromkeys(uid for uid, _ in chosen)
    return tuple(contexts), tuple(RoleSelection(uid, scu=False, scp=True) for uid in classes)


def echo(connection: Connection) -> None:
    """Ask whether the peer is there.

    Raises:
        PeerRefused: it answered with a failure, or did not agree to be asked.
    """
    context_id = _context(connection, VERIFICATION_SOP_CLASS)
    connection.send_message(context_id, CEchoRQ(_MESSAGE_ID, VERIFICATION_SOP_CLASS))
    message, _ = _next_message(connection)
    if not isinstance(message, CEchoRSP) or category(message.status) is not StatusCategory.SUCCESS:
        raise PeerRefused("the peer did not answer C-ECHO with success")


def find(
    connection: Connection, sop_class_uid: str, identifier: Callable[[str], bytes]
) -> Iterator[tuple[bytes, str]]:
    """Yield the response identifiers, each with its transfer syntax.

    Args:
        connection: an open association.
        sop_class_uid: of the model.
        identifier: makes the identifier for a transfer syntax.

    Raises:
        PeerRefused: the last response is a failure.
    """
    context_id = _context(connection, sop_class_uid)
    syntax = connection.association.contexts[context_id].transfer_syntax
    connection.send_message(context_id, CFindRQ(_MESSAGE_ID, sop_class_uid), (identifier(syntax),))
    while True:
        message, has_dataset = _next_message(connection)
        if not isinstance(message, CFindRSP):
            raise PeerRefused("the peer answered something else than C-FIND")
        dataset = connection.small_dataset() if has_dataset else b""
        match category(message.status):
            case StatusCategory.PENDING:
                yield dataset, syntax
            case StatusCategory.SUCCESS | StatusCategory.CANCEL:
                return
            case _:
                raise _refusal(message.status, message.error_comment)
        connection.restart_idle_timer()


def move(
    connection: Connection,
    identifier: Callable[[str], bytes],
    destination: str,
    progress: Callable[[RetrieveOutcome, int], None],
) -> RetrieveOutcome:
    """Have the peer send to another application entity.

    Raises:
        PeerRefused: it would not.
    """
    context_id = _context(connection, STUDY_ROOT_MOVE)
    syntax = connection.association.contexts[context_id].transfer_syntax
    connection.send_message(
        context_id, CMoveRQ(_MESSAGE_ID, STUDY_ROOT_MOVE, destination), (identifier(syntax),)
    )
    while True:
        message, has_dataset = _next_message(connection)
        if has_dataset:
            connection.small_dataset()
        if not isinstance(message, CMoveRSP):
            raise PeerRefused("the peer answered something else than C-MOVE")
        if (outcome := _outcome(message, progress)) is not None:
            return outcome
        connection.restart_idle_timer()


def get(
    connection: Connection,
    identifier: Callable[[str], bytes],
    receive: Receiver,
    progress: Callable[[RetrieveOutcome, int], None],
) -> RetrieveOutcome:
    """Have the peer send to us, on this association.

    Raises:
        PeerRefused: it would not.
    """
    context_id = _context(connection, STUDY_ROOT_GET)
    syntax = connection.association.contexts[context_id].transfer_syntax
    connection.send_message(context_id, CGetRQ(_MESSAGE_ID, STUDY_ROOT_GET), (identifier(syntax),))
    while True:
        event = connection.next_event()
        if not isinstance(event, CommandReceived):
            raise PeerUnreachable("the peer ended the association in the middle of C-GET")
        message = event.message
        if isinstance(message, CStoreRQ):
            _take_object(connection, event.context_id, message, receive)
        elif isinstance(message, CGetRSP):
            if event.has_dataset:
                connection.small_dataset()
            if (outcome := _outcome(message, progress)) is not None:
                return outcome
        else:
            raise PeerRefused("the peer answered something else than C-GET")
        connection.restart_idle_timer()


def _take_object(connection: Connection, context_id: int, message: CStoreRQ, receive: Receiver) -> None:
    context = connection.association.contexts[context_id]
    dataset = connection.dataset()
    status = receive(
        message.affected_sop_class_uid, message.affected_sop_instance_uid, context.transfer_syntax, dataset
    )
    for _ in dataset:
        pass  # what a refused object still sends
    connection.send_message(
        context_id,
        CStoreRSP(
            message.message_id, status, message.affected_sop_class_uid, message.affected_sop_instance_uid
        ),
    )


def _outcome(
    message: CGetRSP | CMoveRSP, progress: Callable[[RetrieveOutcome, int], None]
) -> RetrieveOutcome | None:
    outcome = RetrieveOutcome(
        message.status, message.completed or 0, message.failed or 0, message.warning or 0
    )
    kind = category(message.status)
    if kind is StatusCategory.PENDING:
        progress(outcome, message.remaining or 0)
        return None
    if kind is StatusCategory.FAILURE and not (outcome.completed or outcome.failed):
        raise _refusal(message.status, message.error_comment)
    return outcome


def _context(connection: Connection, sop_class_uid: str) -> int:
    for context in connection.association.contexts.values():
        if context.abstract_syntax == sop_class_uid:
            return context.context_id
    raise PeerRefused("the peer does not offer this service to us", hint="the device's role may not allow it")


def _next_message(connection: Connection) -> tuple[Message, bool]:
    event = connection.next_event()
    if not isinstance(event, CommandReceived):
        raise PeerUnreachable("the peer ended the association instead of answering")
    return event.message, event.has_dataset


def _refusal(status: int, comment: str) -> PeerRefused:
    words = f"{meaning(status)} ({status:04X}H)"
    return PeerRefused(f"{words}: {comment}" if comment else words)
