"""``python -m leadglass.dicom.transcode_main``: transcoding in a process that may die.

Decoders are native code that reads what strangers sent. Here they have bounds of memory and processor time, may write
no file and leave no core dump; when they crash, the archive fails one object and starts the next process.

A request on standard input is ``from-syntax length (1 octet), from-syntax, to-syntax length (1 octet), to-syntax, data
set length (8 octets, big endian), data set``; the answer on standard output is ``0 (done) or 1 (refused), length (8
octets, big endian), data set or reason``. Requests follow each other until standard input ends.
"""

import logging
import resource
import sys
from typing import BinaryIO, Final

from leadglass.base.errors import DatasetRefused
from leadglass.base.limits import GIB, TRANSCODE_BYTES_MAX
from leadglass.dicom.transcode import transcode

DONE: Final = 0
REFUSED: Final = 1

ADDRESS_SPACE_BYTES_MAX: Final = 6 * TRANSCODE_BYTES_MAX + GIB
"""Input, elements, frames, output of the largest object, and the libraries."""
CPU_SECONDS_PER_OBJECT: Final = 300
"""A gigabyte of JPEG 2000 takes about a minute."""
_INPUT_BYTES_MAX: Final = 4 * TRANSCODE_BYTES_MAX


def request_head(from_syntax: str, to_syntax: str, dataset_length: int) -> bytes:
    """Return what the caller writes to standard input before the data set."""
    names = b"".join(bytes([len(uid)]) + uid.encode("ascii") for uid in (from_syntax, to_syntax))
    return names + dataset_length.to_bytes(8, "big")


def main() -> int:
    """Serve requests until standard input ends; return the exit status."""
    # A decoder's complaint may quote what it read: nothing of it may reach a log.
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _lower(resource.RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX)
    while _serve_one(sys.stdin.buffer, sys.stdout.buffer):
        pass
    return 0


def _serve_one(source: BinaryIO, sink: BinaryIO) -> bool:
    """Answer one request; return False at the end of the input, or when it is cut short."""
    length = source.read(1)
    if not length:
        return False
    from_syntax = source.read(length[0]).decode("ascii", "replace")
    to_syntax = source.read(source.read(1)[0]).decode("ascii", "replace")
    size = int.from_bytes(source.read(8), "big")
    if size > _INPUT_BYTES_MAX:
        _answer(sink, REFUSED, b"larger than what is transcoded")
        return False
    dataset = source.read(size)
    if len(dataset) != size:
        return False
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS_PER_OBJECT)
    try:
        result = transcode(dataset, from_syntax, to_syntax)
    except DatasetRefused as error:
        _answer(sink, REFUSED, str(error).encode())
    except MemoryError:
        _answer(sink, REFUSED, b"decoding it takes more memory than it may have")
    else:
        _answer(sink, DONE, result)
    return True


def _answer(sink: BinaryIO, status: int, payload: bytes) -> None:
    sink.write(bytes([status]) + len(payload).to_bytes(8, "big"))
    sink.write(payload)
    sink.flush()


def _lower(limit: int, soft: int) -> None:
    """Set the soft limit, as far as the hard one that we were started with allows."""
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    raise SystemExit(main())
