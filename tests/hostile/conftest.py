"""One node that every attack runs against: it must still be there after each, and must have said nothing in alarm."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hostile.peer import Peer
from hostile.web import WebNode, fill, web_node
from running_node import DeviceFiles, Site, site


@dataclass
class Target:
    """A running node and its devices."""

    site: Site
    ct: DeviceFiles
    other: DeviceFiles
    far: DeviceFiles
    leaving: DeviceFiles

    @property
    def pid(self) -> int:
        assert self.site.process is not None
        return self.site.process.pid

    @property
    def errors(self) -> str:
        return (self.site.root.parent / "serve.err").read_text()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with site(tmp_path_factory.mktemp("hostile")) as node:
        both = ["store", "query-retrieve"]
        target = Target(
            node,
            ct=node.enrol("ct1", "CT1", both),
            other=node.enrol("other", "OTHER", both),
            far=node.enrol("far", "FAR", both, networks=["10.0.0.0/8"]),
            leaving=node.enrol("leaving", "LEAVING", both),
        )
        node.start()
        yield target
        assert node.stop() == 0


@pytest.fixture
def target(running: Target) -> Iterator[Target]:
    said = len(running.errors)
    yield running
    assert running.site.process is not None
    assert running.site.process.poll() is None, "the node is gone"
    assert running.errors[said:] == ""
    with Peer(running.site, running.ct, source="127.0.0.77") as peer:
        assert peer.accepted().echo() == 0
        peer.release()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebNode]:
    """A node in this process, with studies and somebody of every role; nothing that a test leaves behind may show."""
    with web_node(tmp_path_factory.mktemp("served")) as node:
        fill(node)
        yield node
