"""Decoding in a process of its own: native decoders read what strangers sent, and may crash.

One child serves all; it is started when it is first needed, ended when it hangs or dies, and started again for the
next object. Nothing reaches a file: data sets go through pipes.
"""

import subprocess
import sys
import threading
from typing import Final

from leadglass.base.errors import DatasetRefused, OutOfResources
from leadglass.base.limits import TRANSCODE_BYTES_MAX
from leadglass.dicom.transcode import can_transcode
from leadglass.dicom.transcode_main import CPU_SECONDS_PER_OBJECT, DONE, request_head

_WALL_SECONDS_MAX: Final = 2.0 * CPU_SECONDS_PER_OBJECT
_ANSWER_BYTES_MAX: Final = 4 * TRANSCODE_BYTES_MAX


class ProcessTranscoder:
    """Implements ``retrieve.Transcoder``. Thread-safe; one object at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None  # guarded by _lock

    def transcode(self, dataset: bytes, stored_as: str, wanted: str) -> bytes:
        """Return the data set in the wanted transfer syntax.

        Raises:
            DatasetRefused: it cannot be decoded, or its decoder crashed.
            OutOfResources: the process cannot be started.
        """
        if not can_transcode(stored_as, wanted):
            raise DatasetRefused("this transfer syntax cannot be decoded here", dimse_status=0xA900)
        with self._lock:
            child = self._running()
            # A decoder that hangs is ended from here; the read below then sees the end of its output.
            watchdog = threading.Timer(_WALL_SECONDS_MAX, child.kill)
            watchdog.start()
            try:
                return self._ask(child, dataset, stored_as, wanted)
            except (OSError, EOFError) as error:
                self._end()
                raise DatasetRefused("the decoder gave up on this object") from error
            finally:
                watchdog.cancel()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            try:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "leadglass.dicom.transcode_main"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={"PATH": "/usr/bin:/bin"},
                    cwd="/",
                )
            except OSError as error:
                raise OutOfResources("no process to decode in") from error
        return self._child

    @staticmethod
    def _ask(child: subprocess.Popen[bytes], dataset: bytes, stored_as: str, wanted: str) -> bytes:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(request_head(stored_as, wanted, len(dataset)))
        child.stdin.write(dataset)
        child.stdin.flush()
        head = child.stdout.read(9)
        if len(head) != 9:
            raise EOFError
        length = int.from_bytes(head[1:], "big")
        if length > _ANSWER_BYTES_MAX:
            raise EOFError
        answer = child.stdout.read(length)
        if len(answer) != length:
            raise EOFError
        if head[0] != DONE:
            raise DatasetRefused(answer.decode("utf-8", "replace"))
        return answer

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        pass  # what was not written yet goes with the process
