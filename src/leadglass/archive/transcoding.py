"""Decoding and rendering in processes of their own: native decoders read what strangers sent, and may crash.

A few children serve all; each is started when it is first needed (or by ``warm``), ended when it hangs or dies, and started
again for the next object. A crash costs the frame that caused it, nothing else. Whole objects, which may take minutes,
never hold the last child: a frame that somebody waits for always finds one. Nothing reaches a file: everything goes
through pipes.
"""

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import DatasetRefused, OutOfResources
from leadglass.base.limits import (
    DECODER_FRAME_SECONDS,
    DECODER_WAIT_SECONDS,
    DECODERS_WAITING_MAX,
    MIB,
    TRANSCODE_BYTES_MAX,
)
from leadglass.dicom.rendering.models import RenderOptions
from leadglass.dicom.transcode import can_transcode
from leadglass.dicom.transcode_main import (
    CPU_SECONDS_PER_OBJECT,
    DONE,
    DecodeFrame,
    Render,
    Task,
    Transcode,
    request_head,
)

_WALL_SECONDS_MAX: Final = 2.0 * CPU_SECONDS_PER_OBJECT
_ANSWER_BYTES_MAX: Final = 4 * TRANSCODE_BYTES_MAX
_F_SETPIPE_SZ: Final = 1031
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/bin:/bin",
    # One thread a child: threads of a numeric library would count against its address space and its processor time.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

Octets = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FrameOctets:
    """One frame on its way to a decoder.

    Attributes:
        octets: a code stream, or native pixels, numbers little endian.
        transfer_syntax_uid: that they are in; explicit VR little endian for native pixels.
        lookups: tag, representation and octets of palettes that are no part of the header.
    """

    octets: Octets
    transfer_syntax_uid: str
    lookups: tuple[tuple[int, str, bytes], ...] = ()


class _ChildLostError(Exception):
    """A child died, says nonsense, or took longer than it may."""


class ProcessTranscoder:
    """Implements ``retrieve.Transcoder`` and ``rendering.Decoders``. Thread-safe; one object a child at a time.

    Args:
        processes: children at once.
    """

    def __init__(self, processes: int = 2) -> None:
        self._changed = threading.Condition()
        # guarded by _changed, like all below; None is a place whose child has yet to be started
        self._idle: list[_Child | None] = [None] * processes
        self._busy: set[_Child] = set()
        self._waiting = 0
        self._whole_objects = 0
        self._whole_objects_max = max(1, processes - 1)
        self._closed = False

    def transcode(self, dataset: bytes, stored_as: str, wanted: str) -> bytes:
        """Return the data set in the wanted transfer syntax.

        Raises:
            DatasetRefused: it cannot be decoded, or its decoder crashed.
            OutOfResources: the process cannot be started, or all of them stayed busy.
        """
        if not can_transcode(stored_as, wanted):
            raise DatasetRefused("this transfer syntax cannot be decoded here", dimse_status=0xA900)
        with self._lease(whole_object=True) as child:
            return child.ask(Transcode(stored_as, wanted), b"", (dataset,), _WALL_SECONDS_MAX)

    def decode_frame(self, header: bytes, header_syntax: str, read: Callable[[], FrameOctets]) -> bytes:
        """Return one frame as native pixels, little endian, colour by pixel.

        Args:
            header: the object's attributes without bulk values.
            header_syntax: transfer syntax that they are in.
            read: as in ``render``.

        Raises:
            DatasetRefused: it cannot be decoded, or its decoder crashed.
            OutOfResources: every process is busy, or none can be started.
        """
        with self._lease(whole_object=False) as child:
            frame = read()
            task = DecodeFrame(header_syntax, frame.transfer_syntax_uid)
            return child.ask(task, header, (frame.octets,), DECODER_FRAME_SECONDS)

    def render(
        self,
        header: bytes,
        header_syntax: str,
        read: Callable[[], FrameOctets],
        number: int,
        options: RenderOptions,
    ) -> bytes:
        """Return a picture of one frame.

        Args:
            header: the object's attributes without bulk values.
            header_syntax: transfer syntax that they are in.
            read: reads the frame; called when a process is free, so that who waits for one holds no pixels.
            number: of the frame, from 1.
            options: what is asked for.

        Raises:
            DatasetRefused: it cannot be shown, or its decoder crashed.
            OutOfResources: every process is busy, or none can be started.
        """
        with self._lease(whole_object=False) as child:
            frame = read()
            places = tuple((tag, vr, len(data)) for tag, vr, data in frame.lookups)
            task = Render(
                header_syntax, frame.transfer_syntax_uid, number, options, len(frame.octets), places
            )
            payload = (frame.octets, *(data for _, _, data in frame.lookups))
            return child.ask(task, header, payload, DECODER_FRAME_SECONDS)

    def warm(self) -> None:
        """Start the children that are not there yet, so that nobody waits for them."""
        with self._changed:
            missing = [] if self._closed else [at for at, child in enumerate(self._idle) if child is None]
            for at in missing:
                self._idle[at] = _Child()

    def close(self) -> None:
        """End every process, and whatever is under way in one."""
        with self._changed:
            self._closed = True
            children = [child for child in self._idle if child is not None]
            self._idle = [None] * len(self._idle)
            for child in self._busy:
                child.kill()
            self._changed.notify_all()
        for child in children:
            child.end()

    @contextlib.contextmanager
    def _lease(self, *, whole_object: bool) -> Generator["_Child"]:
        child = self._taken(whole_object=whole_object)
        try:
            if child is None or not child.alive():
                if child is not None:
                    child.end()
                child = None
                child = _Child()
            with self._changed:
                self._busy.add(child)
            yield child
        except _ChildLostError as error:
            if child is not None:
                child.end()
            raise DatasetRefused("the decoder gave up on this object") from error
        except BaseException:
            # A refusal leaves the pipes as they should be; anything else does not.
            if child is not None and not child.at_rest:
                child.end()
            raise
        finally:
            self._give_back(child, whole_object=whole_object)

    def _taken(self, *, whole_object: bool) -> "_Child | None":
        with self._changed:
            if not whole_object and self._waiting >= DECODERS_WAITING_MAX:
                raise OutOfResources("too many frames wait for a decoder")
            self._waiting += not whole_object
            try:
                found = self._changed.wait_for(
                    lambda: self._closed or self._free(whole_object=whole_object),
                    _WALL_SECONDS_MAX if whole_object else DECODER_WAIT_SECONDS,
                )
            finally:
                self._waiting -= not whole_object
            if not found or self._closed:
                raise OutOfResources("every decoder stayed busy")
            self._whole_objects += whole_object
            return self._idle.pop()

    def _free(self, *, whole_object: bool) -> bool:
        return bool(self._idle) and (not whole_object or self._whole_objects < self._whole_objects_max)

    def _give_back(self, child: "_Child | None", *, whole_object: bool) -> None:
        with self._changed:
            if child is not None:
                self._busy.discard(child)
                if self._closed:
                    child.end()
            alive = child is not None and child.alive()
            # The last one given back is taken first: it may know the header already.
            self._idle.insert(len(self._idle) if alive else 0, child if alive else None)
            self._whole_objects -= whole_object
            self._changed.notify_all()


class _Child:
    """One process, its pipes, and how long it may take. Used by one thread at a time."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "leadglass.dicom.transcode_main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=dict(_ENVIRONMENT),
                cwd="/",
            )
        except OSError as error:
            raise OutOfResources("no process to decode in") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.at_rest = True
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)
            try:
                # A frame in two or three goes instead of ten; the system may have reasons to refuse.
                fcntl.fcntl(pipe, _F_SETPIPE_SZ, MIB)
            except OSError:
                pass

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, task: Task, header: bytes, payload: Sequence[Octets], seconds: float) -> bytes:
        """Return the answer.

        Raises:
            DatasetRefused: the answer is no.
            _ChildLostError: there is none.
        """
        try:
            return self._ask(task, header, payload, time.monotonic() + seconds)
        except (OSError, EOFError) as error:
            raise _ChildLostError from error

    def _ask(self, task: Task, header: bytes, payload: Sequence[Octets], deadline: float) -> bytes:
        self.at_rest = False
        self._send(request_head(task, len(header), sum(map(len, payload))), deadline)
        for part in (header, *payload):
            self._send(part, deadline)
        head = self._receive(9, deadline)
        length = int.from_bytes(head[1:], "big")
        if length > _ANSWER_BYTES_MAX:
            raise EOFError
        answer = self._receive(length, deadline)
        self.at_rest = True
        if head[0] != DONE:
            raise DatasetRefused(answer.decode("utf-8", "replace"))
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _send(self, data: Octets, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                _wait(self._in, select.POLLOUT, deadline)

    def _receive(self, length: int, deadline: float) -> bytes:
        buffer = bytearray(length)
        rest = memoryview(buffer)
        while rest:
            try:
                taken = os.readv(self._out, [rest])
            except BlockingIOError:
                _wait(self._out, select.POLLIN, deadline)
                continue
            if not taken:
                raise EOFError
            rest = rest[taken:]
        return bytes(buffer)


def _wait(pipe: int, event: int, deadline: float) -> None:
    """Wait until something can be written or read; a hang-up counts, and shows in the next call."""
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise EOFError
