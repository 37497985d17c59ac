"""C-STORE, as SCU: for sub-operations of C-MOVE and C-GET, and for ``leadglass send``. Source: PS3.4 B.2, PS3.7 9.1.1."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import PeerRefused, PeerUnreachable
from leadglass.doors.dimse.connection import Connection
from leadglass.wire.dimse.assembly import CommandReceived
from leadglass.wire.dimse.messages import CCancelRQ, CStoreRQ, CStoreRSP
from leadglass.wire.ul.negotiation import AcceptedContext
from leadglass.wire.ul.pdu import PresentationContextRQ

PRESENTATION_CONTEXTS_MAX: Final = 128
UNCOMPRESSED: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


@dataclass(frozen=True, slots=True)
class StoreContexts:
    """The agreed contexts on which we may be SCU of storage, by SOP class and transfer syntax."""

    by_encoding: Mapping[tuple[str, str], int]
    syntaxes_of: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, contexts: Mapping[int, AcceptedContext], *, as_requestor: bool) -> "StoreContexts":
        """Sort agreed contexts.

        Args:
            contexts: as negotiated.
            as_requestor: we requested the association; else we need the requestor to be SCP (C-GET).
        """
        by_encoding: dict[tuple[str, str], int] = {}
        syntaxes: dict[str, list[str]] = {}
        for context in contexts.values():
            if context.requestor_scu if as_requestor else context.requestor_scp:
                by_encoding.setdefault((context.abstract_syntax, context.transfer_syntax), context.context_id)
                syntaxes.setdefault(context.abstract_syntax, []).append(context.transfer_syntax)
        return cls(by_encoding, {uid: tuple(values) for uid, values in syntaxes.items()})

    def choose(self, sop_class_uid: str, transfer_syntax_uid: str) -> tuple[int, str] | None:
        """Return context id and transfer syntax for an object: as stored if agreed, else the best uncompressed one.

        None when nothing that could carry it was agreed.
        """
        for syntax in (transfer_syntax_uid, *UNCOMPRESSED):
            context_id = self.by_encoding.get((sop_class_uid, syntax))
            if context_id is not None:
                return context_id, syntax
        return None


def proposals(encodings: Collection[tuple[str, str]]) -> tuple[PresentationContextRQ, ...]:
    """Return contexts for objects of these (SOP class, transfer syntax): each as stored, and each class uncompressed.

    At most 128 fit one association; the uncompressed fall-backs give way first.
    """
    as_stored = [(uid, (syntax,)) for uid, syntax in dict.fromkeys(encodings) if syntax not in UNCOMPRESSED]
    fallback = [(uid, UNCOMPRESSED) for uid in dict.fromkeys(uid for uid, _ in encodings)]
    plain = {uid for uid, syntax in encodings if syntax in UNCOMPRESSED}
    needed = [entry for entry in fallback if entry[0] in plain]
    spare = [entry for entry in fallback if entry[0] not in plain]
    # One context per uncompressed syntax, so that an object in either is sent as it is.
    single = [(uid, (syntax,)) for uid, _ in needed for syntax in UNCOMPRESSED]
    chosen = [*as_stored, *single, *spare][:PRESENTATION_CONTEXTS_MAX]
    return tuple(PresentationContextRQ(2 * i + 1, uid, syntaxes) for i, (uid, syntaxes) in enumerate(chosen))


class StoreSCU:
    """Sends objects on an open association, one at a time."""

    def __init__(self, connection: Connection, *, as_requestor: bool) -> None:
        self._connection = connection
        self._message_id = 0
        self.contexts = StoreContexts.of(connection.association.contexts, as_requestor=as_requestor)
        self.cancelled_message_id: int | None = None

    def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        dataset: Iterable[bytes | bytearray | memoryview],
        *,
        originator: tuple[str, int] | None = None,
    ) -> tuple[int, str]:
        """Send one object; return the status of the response and its comment.

        Args:
            context_id: of ``StoreContexts.choose``.
            sop_class_uid: of the object.
            sop_instance_uid: of the object.
            dataset: encoded for that context, in any cut.
            originator: AE title and message id of the C-MOVE that this is part of.

        Raises:
            PeerUnreachable: the association ended.
            PeerRefused: the answer is not one to this request.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        self._connection.send_message(
            context_id,
            CStoreRQ(
                self._message_id,
                sop_class_uid,
                sop_instance_uid,
                move_originator_ae_title=originator[0] if originator else "",
                move_originator_message_id=originator[1] if originator else None,
            ),
            dataset,
        )
        self._connection.restart_idle_timer()
        return self._response()

    def _response(self) -> tuple[int, str]:
        while True:
            event = self._connection.next_event()
            if not isinstance(event, CommandReceived):
                raise PeerUnreachable("the peer ended the association instead of answering C-STORE")
            match event.message:
                case CStoreRSP(message_id_being_responded_to=answered) as response if (
                    answered == self._message_id
                ):
                    return response.status, response.error_comment
                case CCancelRQ(message_id_being_responded_to=cancelled):
                    self.cancelled_message_id = cancelled
                case _:
                    raise PeerRefused("the peer answered something else than C-STORE")
