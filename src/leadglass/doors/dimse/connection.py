"""Drives one association over one TLS socket: performs what ``wire.ul`` returns, and keeps the time.

Owned by one thread. The socket does not block; waiting is done in one place (``_wait``), with one deadline, so that a
silent peer, a slow peer and a peer that does not read are all bounded by the same rule.
"""

import contextlib
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from leadglass.base.clock import Clock
from leadglass.base.errors import (
    LocalProtocolError,
    OutOfResources,
    PeerUnreachable,
    RemoteProtocolError,
)
from leadglass.base.limits import ARTIM_SECONDS, IDENTIFIER_BYTES_MAX, IDLE_SECONDS, PROGRESS_BYTES_MIN
from leadglass.wire.dimse.assembly import CommandReceived, DatasetChunk, DatasetEnd, MessageAssembler
from leadglass.wire.dimse.messages import Message, encode
from leadglass.wire.ul.association import Association
from leadglass.wire.ul.outputs import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    CloseConnection,
    DataFragment,
    OpenConnection,
    Output,
    ProtocolViolation,
    ReleaseConfirmed,
    ReleaseRequested,
    Send,
    StartArtim,
    StopArtim,
)

Indication = (
    AssociateRequested
    | AssociateAccepted
    | AssociateRejected
    | ReleaseRequested
    | ReleaseConfirmed
    | Aborted
    | ProtocolViolation
    | CommandReceived
    | DatasetChunk
    | DatasetEnd
)

_TCP_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux only."""

_RECORD_BYTES_MAX: Final = 16_384
"""Plaintext of one TLS record. Source: RFC 8446 5.1."""
_SEND_JOIN_MAX: Final = 128 * 1024
"""Buffers are joined up to this size, so that a header does not become a TLS record of its own."""


class Connection:
    """One association on one connected, handshaken TLS socket.

    Args:
        sock: connected and handshaken; this object owns it from now on.
        association: fresh, of either role.
        clock: only ``monotonic`` is used.
        idle_seconds: longest silence, and longest time for ``PROGRESS_BYTES_MIN`` octets either way.
    """

    def __init__(
        self,
        sock: ssl.SSLSocket,
        association: Association,
        clock: Clock,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        sock.setblocking(False)
        self.association = association
        self._sock = sock
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._assembler = MessageAssembler()
        self._events: deque[Indication] = deque()
        self._artim_deadline: float | None = None
        self._progress_octets = 0
        self._deadline = clock.monotonic() + idle_seconds
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._open = True
        self._ended = False  # the peer's octets have ended; those that came are still to be dealt with
        self._outputs: Iterator[Output] = iter(())

    # --- events ------------------------------------------------------------------------------------------------

    def next_event(self) -> Indication:
        """Return the next thing that happens, waiting for it.

        A ``DatasetChunk`` is valid until the next call.

        Raises:
            PeerUnreachable: the connection is closed, and everything before was given out.
        """
        while not self._events:
            output = next(self._outputs, None)
            if output is not None:
                self._take(output)
            elif self._ended:
                self._lose()
            elif self._open:
                self._receive()
            else:
                raise PeerUnreachable("the connection is closed")
        return self._events.popleft()

    def poll_event(self) -> Indication | None:
        """Return what has happened already, or None without waiting: for C-CANCEL between two responses."""
        while not self._events:
            output = next(self._outputs, None)
            if output is not None:
                self._take(output)
            elif self._ended:
                self._lose()
            elif not self._open or not self._read_available():
                return None
        return self._events.popleft()

    def dataset(self) -> Iterator[memoryview]:
        """Yield the chunks of the data set that follows a command; each is valid until the next is asked for.

        Raises:
            PeerUnreachable: the peer went away, or aborted, in the middle.
        """
        while True:
            event = self.next_event()
            if type(event) is DatasetChunk:
                yield event.data
            elif isinstance(event, DatasetEnd):
                return
            else:
                # A release, or a command, in the middle of a data set: nothing that follows could be told apart.
                self.abort()
                raise PeerUnreachable("the association ended in the middle of a data set")

    def small_dataset(self) -> bytes:
        """Return the whole data set that follows a command: an identifier or the like.

        Raises:
            OutOfResources: it is larger than ``IDENTIFIER_BYTES_MAX``; it was read to its end.
        """
        collected = bytearray()
        oversized = False
        for chunk in self.dataset():
            oversized = oversized or len(collected) + len(chunk) > IDENTIFIER_BYTES_MAX
            if oversized:
                collected.clear()
            else:
                collected += chunk
        if oversized:
            raise OutOfResources("the identifier is larger than 4 MiB")
        return bytes(collected)

    # --- sending -----------------------------------------------------------------------------------------------

    def send_message(
        self,
        context_id: int,
        message: Message,
        dataset: Iterable[bytes | bytearray | memoryview] | None = None,
    ) -> None:
        """Send a command set, and the data set in any cut.

        Raises:
            PeerUnreachable: the peer went away, or does not read.
        """
        association = self.association
        if association.closed or not self._open:
            raise PeerUnreachable("the association has ended")
        buffers: list[bytes | bytearray | memoryview] = list(
            association.data(context_id, is_command=True, payload=encode(message))
        )
        if dataset is None:
            self._write(b"".join(buffers))
            return
        held = b""
        for piece in dataset:
            if held:
                buffers += association.data(context_id, is_command=False, payload=held, is_last=False)
                self._write_all(buffers)
                buffers = []
            # Which piece is the last shows only when the next is asked for, and that may reuse its memory.
            held = bytes(piece)
        buffers += association.data(context_id, is_command=False, payload=held)
        self._write_all(buffers)

    def perform(self, outputs: Iterable[Output]) -> None:
        """Perform what the state machine returned; indications wait for ``next_event``."""
        for output in outputs:
            self._take(output)

    def abort(self) -> None:
        """Send A-ABORT if that is still possible, and close."""
        if self._open:
            # LocalProtocolError: it was aborted already, and only the end of the transport is awaited (Sta13).
            with contextlib.suppress(PeerUnreachable, LocalProtocolError):
                self.perform(self.association.abort())
            self.close()

    def close(self) -> None:
        """Close the socket. Nothing more is sent; events that came before can still be read."""
        if self._open:
            self._open = False
            self._sock.close()

    @property
    def is_open(self) -> bool:
        """The socket is open."""
        return self._open

    # --- inside ------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait until octets came, or the connection ended, or the time is over."""
        while True:
            # Asked before every read: a peer that never stops sending never makes us wait, and would never be late.
            if self._artim_deadline is not None and self._clock.monotonic() >= self._artim_deadline:
                self._timed_out()
                return
            if self._read_available():
                return
            if not self._wait(select.POLLIN):
                self._timed_out()
                return

    def _read_available(self) -> bool:
        """Read what is there, up to the end of the receive buffer, without waiting; tell whether anything was.

        One TLS record holds at most 16 KiB and ``recv_into`` returns at most one, so records are gathered first and
        parsed once. What was read is parsed as ``_outputs`` is drawn: each output is performed before the machine goes
        on to the next.
        """
        association = self.association
        buffer = association.get_buffer()
        room = len(buffer)
        count = 0
        recv_into = self._sock.recv_into
        try:
            while count < room:
                received = recv_into(buffer[count:])
                if not received:
                    self._ended = True
                    break
                count += received
                if received == count and received < _RECORD_BYTES_MAX:
                    break  # one short record: the end of a small message, and to ask for more would be in vain
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            # Includes a TLS alert, a bad record and a reset: the transport is gone (PS3.8 9.2.3, EVT17).
            self._ended = True
        if count:
            self._progress(count)
            self._outputs = iter(association.buffer_updated(count))
        return bool(count) or self._ended

    def _lose(self) -> None:
        """The transport is gone, and everything that came before was dealt with."""
        self._ended = False
        self.close()
        for output in self.association.connection_lost():
            self._take(output)

    def _progress(self, octets: int) -> None:
        """A peer earns time by octets, so that one octet every ten seconds does not hold a thread for ever."""
        self._progress_octets += octets
        if self._progress_octets >= PROGRESS_BYTES_MIN:
            self._extend_deadline()

    def _extend_deadline(self) -> None:
        self._progress_octets = 0
        self._deadline = self._clock.monotonic() + self._idle_seconds

    def _take(self, output: Output) -> None:
        match output:
            case DataFragment():
                self._assemble(output)
            case Send(data):
                self._write(data)
            case StartArtim():
                self._artim_deadline = self._clock.monotonic() + ARTIM_SECONDS
            case StopArtim():
                self._artim_deadline = None
                self._extend_deadline()
            case CloseConnection():
                self.close()
            case OpenConnection():
                pass  # whoever made this object has opened it
            case _:
                self._events.append(output)

    def _assemble(self, fragment: DataFragment) -> None:
        try:
            self._events.extend(self._assembler.receive(fragment))
        except RemoteProtocolError as error:
            self._events.append(ProtocolViolation(error))
            # Whatever follows in ``_outputs`` meets a machine that waits for the end (Sta13) and ignores it.
            self.perform(self.association.abort())

    def _timed_out(self) -> None:
        if self._artim_deadline is not None:
            self._artim_deadline = None
            self.perform(self.association.artim_expired())
            return
        self._events.append(
            ProtocolViolation(RemoteProtocolError("the peer was silent, or too slow, for too long"))
        )
        self.abort()

    def restart_idle_timer(self) -> None:
        """A whole message was handled: the next one has the full idle time to begin."""
        self._extend_deadline()

    def _wait(self, events: int) -> bool:
        """Wait until the socket is ready; False when the deadline passes first."""
        deadline = self._deadline if self._artim_deadline is None else self._artim_deadline
        remaining = deadline - self._clock.monotonic()
        if remaining <= 0:
            return False
        if events == select.POLLIN:
            self._acknowledge()
        self._poller.modify(self._sock, events)
        return bool(self._poller.poll(remaining * 1000))

    def _acknowledge(self) -> None:
        """Acknowledge what was read, now.

        A peer that leaves Nagle's algorithm on (pynetdicom, DCMTK without TCP_NODELAY) writes a command, and holds
        back its data set until that is acknowledged: by itself the kernel would do so after 40 ms, once an object.
        When nothing waits to be acknowledged this sends nothing. Source: RFC 896, RFC 1122 4.2.3.2; tcp(7).
        """
        if _TCP_QUICKACK is not None:
            try:
                self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
            except OSError:
                pass  # the connection is gone: the read that follows says so

    def _write_all(self, buffers: list[bytes | bytearray | memoryview]) -> None:
        batch: list[bytes | bytearray | memoryview] = []
        size = 0
        for buffer in buffers:
            if size + len(buffer) > _SEND_JOIN_MAX and batch:
                self._write(b"".join(batch))
                batch, size = [], 0
            batch.append(buffer)
            size += len(buffer)
        if batch:
            self._write(b"".join(batch))

    def _write(self, data: bytes | memoryview) -> None:
        if not self._open:
            raise PeerUnreachable("the connection is closed")
        view = memoryview(data)
        deadline_extended = False
        while view:
            try:
                sent = self._sock.send(view)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as wanted:
                # An octet that leaves is progress too: the deadline counts from the last write that went through.
                if not deadline_extended:
                    self._extend_deadline()
                    deadline_extended = True
                events = select.POLLOUT if isinstance(wanted, ssl.SSLWantWriteError) else select.POLLIN
                if not self._wait(events):
                    self.close()
                    raise PeerUnreachable("the peer does not read") from None
            except OSError as error:
                self.close()
                raise PeerUnreachable("the connection was lost") from error
            else:
                view = view[sent:]
                deadline_extended = False
