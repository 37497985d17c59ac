"""A running node for each module, with the devices that all of them use."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydicom import config

from running_node import DeviceFiles, Site, site


@dataclass(frozen=True)
class Devices:
    """Enrolled at every node of these tests."""

    modality: DeviceFiles
    workstation: DeviceFiles


@pytest.fixture(scope="session", autouse=True)
def no_complaints_of_pydicom() -> Iterator[None]:
    """What real files hold is not always valid: that is what they are here for."""
    before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode, config.settings.writing_validation_mode = before


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("node")) as made:
        made.start()
        yield made
        assert made.stop() == 0
        assert (made.root.parent / "serve.err").read_text() == ""


@pytest.fixture(scope="module")
def devices(node: Site) -> Devices:
    return Devices(
        modality=node.enrol("ct1", "CT1", ["store"]),
        workstation=node.enrol("ws1", "WS1", ["query-retrieve"]),
    )
