"""Decoding happens elsewhere: a child that dies costs one object."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from archive.room import EXPLICIT, image
from leadglass.archive import transcoding
from leadglass.archive.transcoding import FrameOctets, Octets, ProcessTranscoder
from leadglass.base.errors import DatasetRefused, IntegrityError, OutOfResources
from leadglass.dicom.rendering.models import ImageType, RenderOptions
from leadglass.dicom.transcode_main import ADDRESS_SPACE_BYTES_MAX, CPU_SECONDS_PER_OBJECT, Task, Transcode
from leadglass.dicom.values import tag_of, text_element, write_dataset

IMPLICIT = "1.2.840.10008.1.2"
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.fixture
def transcoder() -> Iterator[ProcessTranscoder]:
    made = ProcessTranscoder(1)
    yield made
    made.close()


def child(transcoder: ProcessTranscoder) -> int:
    (only,) = transcoder._idle
    assert only is not None
    return only.pid


def test_one_child_serves_all_and_ends_with_its_owner(transcoder: ProcessTranscoder) -> None:
    one = image().dataset
    first = transcoder.transcode(one, EXPLICIT, IMPLICIT)
    pid = child(transcoder)
    assert transcoder.transcode(first, IMPLICIT, EXPLICIT) == one
    assert child(transcoder) == pid
    transcoder.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_child_is_a_refusal_or_a_new_child_and_the_next_object_works(
    transcoder: ProcessTranscoder,
) -> None:
    transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)
    first = child(transcoder)
    os.kill(first, signal.SIGSTOP)
    killer = threading.Timer(0.1, os.kill, (first, signal.SIGKILL))
    killer.start()
    with pytest.raises(DatasetRefused, match="gave up"):
        transcoder.transcode(image(2).dataset, EXPLICIT, IMPLICIT)
    killer.join()
    assert transcoder.transcode(image(3).dataset, EXPLICIT, IMPLICIT)
    assert child(transcoder) != first


def test_a_child_that_died_between_two_objects_is_not_missed(transcoder: ProcessTranscoder) -> None:
    transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)
    died = child(transcoder)
    os.kill(died, signal.SIGKILL)
    os.waitid(os.P_PID, died, os.WEXITED | os.WNOWAIT)
    assert transcoder.transcode(image(2).dataset, EXPLICIT, IMPLICIT)


def test_a_child_that_hangs_is_ended(transcoder: ProcessTranscoder, monkeypatch: pytest.MonkeyPatch) -> None:
    transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)
    hanging = child(transcoder)
    monkeypatch.setattr(transcoding, "_WALL_SECONDS_MAX", 0.2)
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(DatasetRefused):
        transcoder.transcode(image(2).dataset, EXPLICIT, IMPLICIT)
    monkeypatch.setattr(transcoding, "_WALL_SECONDS_MAX", 60)
    assert transcoder.transcode(image(3).dataset, EXPLICIT, IMPLICIT)


def test_what_cannot_be_decoded_is_said_and_the_child_lives(transcoder: ProcessTranscoder) -> None:
    transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)
    pid = child(transcoder)
    with pytest.raises(DatasetRefused):
        transcoder.transcode(b"\xff" * 100, EXPLICIT, IMPLICIT)
    assert child(transcoder) == pid
    with pytest.raises(DatasetRefused) as refused:
        transcoder.transcode(image().dataset, EXPLICIT, JPEG)
    assert refused.value.dimse_status == 0xA900
    assert transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)


def test_threads_take_turns(transcoder: ProcessTranscoder) -> None:
    def there_and_back(number: int) -> bool:
        one = image(number, pixels=20_000).dataset
        return transcoder.transcode(transcoder.transcode(one, EXPLICIT, IMPLICIT), IMPLICIT, EXPLICIT) == one

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, range(8)))


def test_without_a_process_there_is_an_answer(
    transcoder: ProcessTranscoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OutOfResources):
        transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)


def test_the_child_inherits_no_secret_of_the_environment(
    transcoder: ProcessTranscoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/CANARY")
    transcoder.transcode(image().dataset, EXPLICIT, IMPLICIT)
    environment = Path(f"/proc/{child(transcoder)}/environ").read_bytes()
    assert b"CANARY" not in environment


# --- several children ------------------------------------------------------------------------------------------


SAID: dict[str, str | int] = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 2,
    "Columns": 2,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
}
HEADER = write_dataset(text_element(tag_of(keyword), value) for keyword, value in SAID.items())
FRAME = FrameOctets(b"\0\x40\x80\xff", EXPLICIT)
PNG = RenderOptions(ImageType.PNG)


@pytest.fixture
def two() -> Iterator[ProcessTranscoder]:
    made = ProcessTranscoder(2)
    made.warm()
    yield made
    made.close()


def rendered(transcoder: ProcessTranscoder, read: Callable[[], FrameOctets] = lambda: FRAME) -> bytes:
    return transcoder.render(HEADER, EXPLICIT, read, 1, PNG)


def test_children_are_there_before_anybody_asks(two: ProcessTranscoder) -> None:
    pids = {one.pid for one in two._idle if one is not None}
    assert len(pids) == 2
    assert rendered(two).startswith(b"\x89PNG")
    assert {one.pid for one in two._idle if one is not None} == pids


def test_children_are_bounded(transcoder: ProcessTranscoder) -> None:
    rendered(transcoder)
    limits = Path(f"/proc/{child(transcoder)}/limits").read_text()
    soft = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert soft["Max core file size"] == "0"
    assert soft["Max file size"] == "0"
    assert soft["Max processes"] == "0"
    assert int(soft["Max address space"]) <= ADDRESS_SPACE_BYTES_MAX
    assert int(soft["Max cpu time"]) <= 2 * CPU_SECONDS_PER_OBJECT


def test_a_whole_object_never_holds_the_last_child(two: ProcessTranscoder) -> None:
    """Two objects that take for ever leave one child to frames."""
    begun = threading.Barrier(2)
    real = transcoding._Child.ask

    def slow(
        self: transcoding._Child, task: Task, header: bytes, payload: Sequence[Octets], seconds: float
    ) -> bytes:
        if isinstance(task, Transcode):
            begun.wait(60)
            os.kill(self.pid, signal.SIGSTOP)
        return real(self, task, header, payload, seconds)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(transcoding._Child, "ask", slow)
        patch.setattr(transcoding, "DECODER_WAIT_SECONDS", 60.0)
        waiting = [pool.submit(two.transcode, image().dataset, EXPLICIT, IMPLICIT) for _ in range(2)]
        begun.wait(60)
        assert rendered(two).startswith(b"\x89PNG")
        assert rendered(two).startswith(b"\x89PNG")
        two.close()
        begun.abort()
        for one in waiting:
            assert one.exception(60) is not None


def test_who_waits_too_long_is_told_so(
    transcoder: ProcessTranscoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S87: a place in the queue has a bound, and so has the queue."""
    monkeypatch.setattr(transcoding, "DECODER_WAIT_SECONDS", 0.01)
    inside, leave = threading.Event(), threading.Event()

    def read() -> FrameOctets:
        inside.set()
        assert leave.wait(60)
        return FRAME

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rendered, transcoder, read)
        assert inside.wait(60)
        with pytest.raises(OutOfResources, match="busy"):
            rendered(transcoder)
        monkeypatch.setattr(transcoding, "DECODERS_WAITING_MAX", 0)
        with pytest.raises(OutOfResources, match="too many"):
            rendered(transcoder)
        leave.set()
        assert first.result(60).startswith(b"\x89PNG")


def test_what_reading_raises_is_passed_on_and_the_child_lives(transcoder: ProcessTranscoder) -> None:
    rendered(transcoder)
    pid = child(transcoder)

    def damaged() -> FrameOctets:
        raise IntegrityError("not what was written")

    def gone() -> FrameOctets:
        raise OSError("the disk went away")

    with pytest.raises(IntegrityError):
        rendered(transcoder, damaged)
    with pytest.raises(OSError, match="the disk"):
        rendered(transcoder, gone)
    assert rendered(transcoder)
    assert child(transcoder) == pid


def test_a_decoder_that_dies_costs_its_frame(transcoder: ProcessTranscoder) -> None:
    """S27."""
    rendered(transcoder)

    def shot() -> FrameOctets:
        (only,) = transcoder._busy
        os.kill(only.pid, signal.SIGKILL)
        return FRAME

    with pytest.raises(DatasetRefused, match="gave up"):
        rendered(transcoder, shot)
    assert rendered(transcoder).startswith(b"\x89PNG")


def test_frames_that_are_no_frames_are_refused_and_the_child_lives(transcoder: ProcessTranscoder) -> None:
    rendered(transcoder)
    pid = child(transcoder)
    for header, syntax in ((b"\xff" * 40, EXPLICIT), (b"", EXPLICIT), (HEADER, "1.2.3"), (b"\0" * 9, JPEG)):
        with pytest.raises(DatasetRefused):
            transcoder.render(header, syntax, lambda: FRAME, 1, PNG)
    for stream in (b"", b"\xff\xd8", b"\xff\x4f\xff\x51" + b"\xff" * 60, b"\0" * 1000):
        for frame_syntax in (JPEG, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"):
            with pytest.raises(DatasetRefused):
                transcoder.decode_frame(HEADER, EXPLICIT, partial(FrameOctets, stream, frame_syntax))
    assert rendered(transcoder)
    assert child(transcoder) == pid


def test_after_the_end_there_is_no_process(two: ProcessTranscoder) -> None:
    pids = [one.pid for one in two._idle if one is not None]
    two.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
