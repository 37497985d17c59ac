"""Decoding happens elsewhere: a child that dies costs one object."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archive.room import EXPLICIT, image
from leadglass.archive import transcoding
from leadglass.archive.transcoding import ProcessTranscoder
from leadglass.base.errors import DatasetRefused, OutOfResources

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
