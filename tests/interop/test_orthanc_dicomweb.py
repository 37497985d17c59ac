"""Orthanc's DICOMweb plugin as a client: it pushes by STOW-RS, asks by QIDO-RS and pulls by WADO-RS, over mutual TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.peers import composite, encoded
from interop.test_orthanc import ORTHANC, Orthanc, started
from interop.web import part10
from running_node import Site, free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        ORTHANC is None or not PLUGIN.is_file(), reason="Orthanc's DICOMweb plugin is not installed"
    ),
    pytest.mark.timeout(200),
]

STUDY = "1.2.826.0.1.3680043.10.97.5"
COUNT = 4


@pytest.fixture(scope="module")
def orthanc(node: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    device = node.enrol("orthancweb", "ORTHANCWEB", ["store", "query-retrieve"])
    http = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "HttpsVerifyPeers": True,
        "HttpsCACertificates": str(device.authority),
        "DicomWeb": {
            "Enable": True,
            "Servers": {
                "leadglass": {
                    "Url": f"https://localhost:{node.https_port}/dicom-web/",
                    "CertificateFile": str(device.certificate),
                    "CertificateKeyFile": str(device.key),
                    "ChunkedTransfers": True,
                }
            },
        },
    }
    with started(folder, settings):
        yield Orthanc(device, 0, http)


def files() -> list[bytes]:
    return [
        part10(
            encoded(composite(STUDY, f"{STUDY}.{series}", number, PatientName="Grün^Eva", PatientID="OW-1"))
        )
        for series in (1, 2)
        for number in range(1, COUNT // 2 + 1)
    ]


@pytest.fixture(scope="module")
def stored(orthanc: Orthanc) -> list[str]:
    """Pushed by Orthanc; its own ids of the instances."""
    ids = [orthanc.post("/instances", file)["ID"] for file in files()]
    pushed = orthanc.post("/dicom-web/servers/leadglass/stow", {"Resources": ids, "Synchronous": True})
    assert pushed
    return ids


def ask(orthanc: Orthanc, path: str, **arguments: str) -> Any:  # noqa: ANN401 - JSON
    return orthanc.post("/dicom-web/servers/leadglass/get", {"Uri": path, "Arguments": arguments})


def test_orthanc_pushes_and_asks(orthanc: Orthanc, stored: list[str]) -> None:
    (study,) = orthanc.post(
        "/dicom-web/servers/leadglass/qido", {"Uri": "/studies", "Arguments": {"PatientID": "OW-*"}}
    )
    assert study["0020000D"]["Value"] == STUDY
    (raw,) = ask(orthanc, "/studies", PatientID="OW-*")
    assert raw["00100010"]["Value"] == [{"Alphabetic": "Grün^Eva"}]
    assert raw["00201208"]["Value"] == [COUNT]
    found = orthanc.post("/dicom-web/servers/leadglass/qido", {"Uri": f"/studies/{STUDY}/instances"})
    assert len(found) == COUNT


def test_orthanc_reads_metadata(orthanc: Orthanc, stored: list[str]) -> None:
    metadata = ask(orthanc, f"/studies/{STUDY}/metadata")
    assert {one["0020000D"]["Value"][0] for one in metadata} == {STUDY}
    assert len(metadata) == COUNT


@pytest.mark.parametrize("level", ["Study", "Series", "Instance"])
def test_orthanc_pulls(orthanc: Orthanc, stored: list[str], level: str) -> None:
    orthanc.empty()
    named = {"Study": STUDY, "Series": f"{STUDY}.1", "Instance": f"{STUDY}.1.1"}
    wanted = dict(list(named.items())[: ["Study", "Series", "Instance"].index(level) + 1])
    orthanc.post("/dicom-web/servers/leadglass/retrieve", {"Resources": [wanted], "Synchronous": True})
    back = orthanc.get("/instances")
    assert len(back) == {"Study": COUNT, "Series": COUNT // 2, "Instance": 1}[level]
    assert set(back) <= set(stored)
