"""``python -m leadglass.dicom.transcode_main``: decoding and rendering in a process that may die.

Decoders are native code that reads what strangers sent. Here they have bounds of memory and processor time, may write
no file, start no process and leave no core dump; when they crash, the archive fails one object and starts the next
process. What is needed is loaded before the first request.

A request on standard input is ``length of the task (4 octets), of the header (8), of the payload (8)``, all big endian,
and then the three: the task is one of the classes below as JSON. The answer on standard output is ``0 (done) or 1
(refused), length (8 octets, big endian), octets or reason``. Requests follow each other until standard input ends.
"""

import logging
import os
import resource
import struct
import warnings
from typing import BinaryIO, Final

import msgspec

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import GIB, TRANSCODE_BYTES_MAX
from leadglass.dicom.rendering import service
from leadglass.dicom.rendering.header import read_header
from leadglass.dicom.rendering.models import RenderOptions
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.transcode import decoded_frame, load_decoders, transcode
from leadglass.dicom.values import Dataset, Element

DONE: Final = 0
REFUSED: Final = 1
LENGTHS: Final = struct.Struct(">IQQ")

ADDRESS_SPACE_BYTES_MAX: Final = 6 * TRANSCODE_BYTES_MAX + GIB
"""Input, elements, frames, output of the largest object, and the libraries."""
CPU_SECONDS_PER_OBJECT: Final = 300
"""A gigabyte of JPEG 2000 takes about a minute."""
_INPUT_BYTES_MAX: Final = 4 * TRANSCODE_BYTES_MAX
_TASK_BYTES_MAX: Final = 64 * 1024


class Transcode(msgspec.Struct, tag="transcode", frozen=True):
    """The payload, a whole data set, in another transfer syntax."""

    from_syntax: str
    to_syntax: str


class DecodeFrame(msgspec.Struct, tag="decode", frozen=True):
    """The payload, one frame's code stream, as native pixels.

    Attributes:
        header_syntax: transfer syntax of the header.
        frame_syntax: of the frame.
    """

    header_syntax: str
    frame_syntax: str


class Render(msgspec.Struct, tag="render", frozen=True):
    """The payload, one frame, as a picture.

    Attributes:
        header_syntax: transfer syntax of the header.
        frame_syntax: of the frame: explicit VR little endian of a native one.
        number: of the frame, from 1.
        options: what is asked for.
        frame_length: octets of the frame, at the beginning of the payload.
        lookups: values that follow the frame: tag, representation, length.
    """

    header_syntax: str
    frame_syntax: str
    number: int
    options: RenderOptions
    frame_length: int
    lookups: tuple[tuple[int, str, int], ...] = ()


Task = Transcode | DecodeFrame | Render


def request_head(task: Task, header_length: int, payload_length: int) -> bytes:
    """Return what the caller writes to standard input before header and payload."""
    said = msgspec.json.encode(task)
    return LENGTHS.pack(len(said), header_length, payload_length) + said


class Worker:
    """Answers requests; remembers the header of the last one, since frames of one object are asked for in a row."""

    def __init__(self) -> None:
        self._header: bytes | None = None
        self._header_syntax = ""
        self._parsed: Dataset = {}
        self._decoder = msgspec.json.Decoder(Task)

    def serve_one(self, source: BinaryIO, sink: BinaryIO) -> bool:
        """Answer one request; return False at the end of the input, or when it is cut short."""
        head = source.read(LENGTHS.size)
        if len(head) != LENGTHS.size:
            return False
        task_length, header_length, payload_length = LENGTHS.unpack(head)
        if task_length > _TASK_BYTES_MAX or header_length + payload_length > _INPUT_BYTES_MAX:
            _answer(sink, REFUSED, b"larger than what is decoded")
            return False
        said, header, payload = (source.read(n) for n in (task_length, header_length, payload_length))
        if len(payload) != payload_length:
            return False
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS_PER_OBJECT)
        try:
            result = self._done(self._decoder.decode(said), header, payload)
        except DatasetRefused as error:
            _answer(sink, REFUSED, str(error).encode())
        except MemoryError:
            _answer(sink, REFUSED, b"decoding it takes more memory than it may have")
        except Exception:  # noqa: BLE001 - what nobody thought of is a refusal too: the reason might quote the object
            _answer(sink, REFUSED, b"it cannot be decoded")
        else:
            _answer(sink, DONE, result)
        return True

    def _done(self, task: Task, header: bytes, payload: bytes) -> bytes:
        match task:
            case Transcode():
                return transcode(payload, task.from_syntax, task.to_syntax)
            case DecodeFrame():
                parsed = self._parse(header, task.header_syntax)
                frame, _ = decoded_frame(parsed, payload, task.frame_syntax)
                return frame
            case Render():
                parsed = self._parse(header, task.header_syntax)
                if task.lookups:
                    parsed = {**parsed, **_lookups(task, payload)}
                frame = payload[: task.frame_length] if task.lookups else payload
                return service.render(parsed, frame, task.number, task.frame_syntax, task.options)

    def _parse(self, header: bytes, header_syntax: str) -> Dataset:
        if header != self._header or header_syntax != self._header_syntax:
            syntax = TRANSFER_SYNTAXES.get(header_syntax)
            if syntax is None:
                raise DatasetRefused("its transfer syntax is not known")
            self._header = None  # a header that is refused is remembered by nobody
            self._parsed = read_header(header, syntax)
            self._header, self._header_syntax = header, header_syntax
        return self._parsed


def _lookups(task: Render, payload: bytes) -> Dataset:
    found: Dataset = {}
    position = task.frame_length
    for tag, vr, length in task.lookups:
        found[tag] = Element(tag, vr, payload[position : position + length])
        position += length
    return found


def main() -> int:
    """Serve requests until standard input ends; return the exit status."""
    # A decoder's complaint may quote what it read: nothing of it may reach a log.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _lower(resource.RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX)
    load_decoders()
    _lower(resource.RLIMIT_NPROC, 0)
    source = os.fdopen(0, "rb", buffering=1024 * 1024, closefd=False)
    sink = os.fdopen(1, "wb", buffering=0, closefd=False)
    worker = Worker()
    while worker.serve_one(source, sink):
        pass
    return 0


def _answer(sink: BinaryIO, status: int, payload: bytes) -> None:
    _write(sink, bytes([status]) + len(payload).to_bytes(8, "big"))
    _write(sink, payload)


def _write(sink: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) :]


def _lower(limit: int, soft: int) -> None:
    """Set the soft limit, as far as the hard one that we were started with allows."""
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    raise SystemExit(main())
