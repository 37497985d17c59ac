"""Orthanc as peer in both directions, over mutual TLS."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.presentation import build_context

from interop.conftest import Devices
from interop.peers import STUDY_MOVE, associate, composite, encoded, keys, write_file
from running_node import DeviceFiles, Site, free_port

ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")]

STUDY = "1.2.826.0.1.3680043.10.97.1"
SERIES = f"{STUDY}.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
COUNT = 4
JSON = Any


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc, by its REST interface."""

    device: DeviceFiles
    device_port: int
    http: int

    def call(self, method: str, path: str, body: object = None) -> JSON:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str, body: object) -> JSON:
        return self.call("POST", path, body)

    def get(self, path: str) -> JSON:
        return self.call("GET", path)

    def empty(self) -> None:
        for patient in self.get("/patients"):
            self.call("DELETE", f"/patients/{patient}")

    def wait_until(self, path: str, key: str, *wanted: str) -> JSON:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answer = self.get(path)
            if answer[key] in wanted:
                return answer
            time.sleep(0.1)
        pytest.fail(f"{path} did not become {wanted}: {answer}")


@pytest.fixture(scope="module")
def orthanc(node: Site, devices: Devices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    dicom, http = free_port(), free_port()
    device = node.enrol(
        "orthanc", "ORTHANC", ["store", "query-retrieve"], host="localhost", port=dicom, move_destination=True
    )
    settings = {
        "Name": "Peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(device.certificate),
        "DicomTlsPrivateKey": str(device.key),
        "DicomTlsTrustedCertificates": str(device.authority),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {
            "leadglass": {
                "AET": "LEADGLASS", "Host": "localhost", "Port": node.port, "UseDicomTls": True,
                "AllowEcho": True, "AllowStore": True, "AllowStorageCommitment": True, "Timeout": 30,
            }
        },
    }  # fmt: skip
    with started(folder, settings):
        yield Orthanc(device, dicom, http)


@contextmanager
def started(folder: Path, settings: Mapping[str, object]) -> Iterator[None]:
    """Run an Orthanc with these settings."""
    (folder / "orthanc.json").write_text(json.dumps(settings))
    assert ORTHANC is not None
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [ORTHANC, "--verbose", str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
    system = f"http://127.0.0.1:{settings['HttpPort']}/system"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(system, timeout=60).close()
                break
            except (urllib.error.URLError, ConnectionError):
                said = (folder / "orthanc.log").read_text(errors="replace")[-3000:]
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for number in range(1, COUNT + 1):
        item = composite(STUDY, SERIES, number, PatientID="ORTHANC-1", PatientName="Grün^Eva")
        write_file(encoded(item), folder / f"{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def stored(node: Site, orthanc: Orthanc, files: Path) -> list[str]:
    """Stored by Orthanc; its own ids of the instances."""
    ids = [orthanc.post("/instances", path.read_bytes())["ID"] for path in sorted(files.iterdir())]
    answer = orthanc.post("/modalities/leadglass/store", {"Resources": ids, "Synchronous": True})
    assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (COUNT, 0)
    return ids


def test_orthanc_echoes(orthanc: Orthanc) -> None:
    orthanc.post("/modalities/leadglass/echo", {})


def test_orthanc_stores_and_finds(orthanc: Orthanc, stored: list[str]) -> None:
    asked = {"Level": "Study", "Query": {"PatientID": "ORTHANC-*", "PatientName": "Grün*", "ModalitiesInStudy": "", "StudyInstanceUID": ""}}  # fmt: skip
    query = orthanc.post("/modalities/leadglass/query", asked)["Path"]
    (answer,) = orthanc.get(f"{query}/answers?expand&simplify")
    assert (answer["StudyInstanceUID"], answer["PatientName"]) == (STUDY, "Grün^Eva")
    asked = {"Level": "Instance", "Query": {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}}
    query = orthanc.post("/modalities/leadglass/query", asked)["Path"]
    assert len(orthanc.get(f"{query}/answers")) == COUNT


@pytest.mark.parametrize("level", ["Patient", "Study", "Series", "Instance"])
def test_orthanc_retrieves_to_itself(orthanc: Orthanc, stored: list[str], level: str) -> None:
    above = {
        "Patient": {"PatientID": "ORTHANC-1"},
        "Study": {"StudyInstanceUID": STUDY},
        "Series": {"StudyInstanceUID": STUDY, "SeriesInstanceUID": ""},
        "Instance": {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": ""},
    }[level]
    orthanc.empty()
    query = orthanc.post("/modalities/leadglass/query", {"Level": level, "Query": above})["Path"]
    orthanc.post(f"{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert len(orthanc.get("/instances")) == COUNT


def test_orthanc_asks_for_storage_commitment(orthanc: Orthanc, stored: list[str]) -> None:
    wanted = [[CT, f"{SERIES}.{number}"] for number in range(1, COUNT + 1)]
    asked = orthanc.post("/modalities/leadglass/storage-commitment", {"DicomInstances": wanted})
    report = orthanc.wait_until(asked["Path"], "Status", "Success", "Failure")
    assert report["Status"] == "Success"
    assert len(report["Success"]) == COUNT
    asked = orthanc.post(
        "/modalities/leadglass/storage-commitment", {"DicomInstances": [*wanted, [CT, "1.2.3.4"]]}
    )
    report = orthanc.wait_until(asked["Path"], "Status", "Success", "Failure")
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == ["1.2.3.4"]


def test_we_move_to_orthanc(node: Site, devices: Devices, orthanc: Orthanc, stored: list[str]) -> None:
    orthanc.empty()
    with associate(node, devices.workstation, [build_context(STUDY_MOVE)]) as association:
        asked = keys("STUDY", StudyInstanceUID=STUDY)
        final = [status for status, _ in association.send_c_move(asked, "ORTHANC", STUDY_MOVE)][-1]
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, COUNT)
    assert sorted(orthanc.get("/instances")) == sorted(stored)


def test_get_with_to_moves_to_orthanc(
    node: Site, devices: Devices, orthanc: Orthanc, stored: list[str]
) -> None:
    orthanc.empty()
    node.run("get", "--device", str(devices.workstation.toml), "--study", STUDY, "--to", "ORTHANC")
    assert sorted(orthanc.get("/instances")) == sorted(stored)


def test_our_scu_sends_to_orthanc(
    node: Site, devices: Devices, orthanc: Orthanc, stored: list[str], files: Path, tmp_path: Path
) -> None:
    """Orthanc is known by its certificate: that of a device has no host name in it."""
    orthanc.empty()
    us = devices.modality
    described = us.toml.read_text().replace(us.device_id, f"{us.folder}/{us.device_id}")
    toml = tmp_path / "us.toml"
    toml.write_text(f'{described}node_certificate = "{orthanc.device.certificate}"\n')
    peer = ["--device", str(toml), "--port", str(orthanc.device_port), "--called", "ORTHANC"]
    node.run("echo", *peer)
    node.run("send", *peer, str(files))
    assert sorted(orthanc.get("/instances")) == sorted(stored)
