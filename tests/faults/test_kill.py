"""kill -9 of the node in the middle of an ingest of 1,000 instances.

What was answered 0x0000 is held, found, fetched, verified and on record once; what was not answered can be sent again.
"""

import random  # noqa: TID251 - seeded: the same moments each time
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults.state_of_site import assert_served, assert_whole, entries, events_of
from hostile.peer import Gone, Peer, Slice, ct_slice
from running_node import DeviceFiles, Site, site

INSTANCES = 1_000
ROUNDS = 5


class Pump:
    """Sends slices on one or more associations, and remembers which were answered with success."""

    def __init__(self, node: Site, device: DeviceFiles, images: Sequence[Slice]) -> None:
        self.node = node
        self.device = device
        self.waiting = list(images)
        self.answered: list[Slice] = []
        self.enough = threading.Event()
        self.threshold = 0
        self._lock = threading.Lock()

    def run(self, associations: int) -> None:
        """Send until everything is answered or the node is gone."""
        shares = [self.waiting[i::associations] for i in range(associations)]
        with ThreadPoolExecutor(associations) as pool:
            list(pool.map(self._send, shares))
        held = {image.key for image in self.answered}
        self.waiting = [image for image in self.waiting if image.key not in held]
        self.enough.set()

    def _send(self, share: Sequence[Slice]) -> None:
        try:
            with Peer(self.node, self.device) as peer:
                peer.accepted()
                for image in share:
                    status = peer.store(image)
                    assert status == 0, f"{status:04X}"
                    with self._lock:
                        self.answered.append(image)
                        if len(self.answered) >= self.threshold:
                            self.enough.set()
                peer.release()
        except (Gone, OSError):
            return  # killed


@pytest.mark.slow
@pytest.mark.parametrize("associations", [1, 4])
def test_what_was_answered_survives_kill_9(tmp_path: Path, associations: int) -> None:
    # Slices of four studies, so that four associations have packs of their own.
    images = [ct_slice(i, study=str(i % 4), pixels=2048) for i in range(INSTANCES)]
    chance = random.Random(f"kill {associations}")
    with site(tmp_path) as node:
        device = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
        pump = Pump(node, device, images)
        recovered = 0
        for killed in range(ROUNDS):
            node.start()
            pump.enough.clear()
            share = len(pump.waiting) // (ROUNDS - killed + 1)
            pump.threshold = len(pump.answered) + chance.randint(1, max(share, 2))
            sending = threading.Thread(target=pump.run, args=(associations,))
            sending.start()
            assert pump.enough.wait(30)
            # Not on the beat of an answer: somewhere in the next instances.
            threading.Event().wait(chance.random() * 0.02)
            node.kill()
            sending.join(30)
            assert not sending.is_alive()
            assert pump.waiting, "killed too late: nothing was under way"
            node.start()
            recovered += node.on_site("status")["recovered_at_start"]["records"]
            assert_served(node, device, pump.answered)
            node.stop()
        assert recovered, "no record was ever brought back: the kills hit nothing"

        node.start()
        pump.run(associations)
        assert not pump.waiting
        assert len(pump.answered) == INSTANCES
        assert_served(node, device, images)
        report = assert_whole(node)
        assert report["rows"] == INSTANCES
        assert set(events_of(node, images).values()) == {1}
        assert len(events_of(node, images)) == INSTANCES
        assert not entries(node, "--event", "store:instance:quarantined")
        assert node.stop() == 0
    assert (tmp_path / "serve.err").read_text() == ""


def test_killed_while_it_recovers(tmp_path: Path) -> None:
    """Recovery is idempotent: a second crash in the middle of it changes nothing."""
    images = [ct_slice(i) for i in range(150)]
    chance = random.Random("recover")
    with site(tmp_path) as node:
        device = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
        node.start()
        pump = Pump(node, device, images)
        pump.threshold = 100
        sending = threading.Thread(target=pump.run, args=(2,))
        sending.start()
        assert pump.enough.wait(30)
        node.kill()
        sending.join(30)
        for _ in range(4):
            starting = subprocess.Popen(
                [sys.executable, "-m", "leadglass.app.cli.main", "serve", "--site", str(node.root)],
                stdout=subprocess.DEVNULL,
            )
            threading.Event().wait(0.3 + chance.random() * 0.5)
            starting.kill()
            starting.wait()
        node.start()
        assert_served(node, device, pump.answered)
        assert_whole(node)
        counted = events_of(node, images)
        assert {image.key for image in pump.answered} <= set(counted)
        assert set(counted.values()) == {1}
        node.stop()
