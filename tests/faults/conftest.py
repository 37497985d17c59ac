"""One site that was filled and stopped; each test damages a copy of its own."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostile.peer import Peer, Slice, ct_slice
from running_node import DeviceFiles, Site, site


@dataclass
class Filled:
    """A site with two studies of six slices each, in packs that were closed in order."""

    site: Site
    device: DeviceFiles
    images: list[Slice]

    @property
    def packs(self) -> list[Path]:
        return sorted(self.site.root.glob("vault/packs/*/*.pack"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    images = [ct_slice(i, study=str(i % 2), pixels=640) for i in range(12)]
    with site(tmp_path_factory.mktemp("template")) as node:
        device = node.enrol("ct1", "CT1", ["store", "query-retrieve"])
        node.start()
        with Peer(node, device) as peer:
            peer.accepted()
            assert [peer.store(image) for image in images] == [0] * len(images)
            peer.release()
        assert node.stop() == 0
        yield Filled(node, device, images)


@pytest.fixture
def filled(template: Filled, tmp_path: Path) -> Iterator[Filled]:
    shutil.copytree(template.site.root, tmp_path / "site")
    copy = Site(tmp_path / "site", template.site.port)
    yield Filled(copy, template.device, template.images)
    if copy.process is not None:
        copy.kill()
