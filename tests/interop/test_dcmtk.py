"""DCMTK's tools as SCU and as SCP, over mutual TLS."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from corpus import CORPUS, needs_corpus
from interop.conftest import Devices
from interop.part10 import raw_object
from interop.peers import client_tls, composite, encoded, server_tls, write_file
from interop.tunnel import to_plain, to_tls, tunnel
from running_node import DeviceFiles, Site, free_port

TOOLS = ("echoscu", "storescu", "findscu", "getscu", "movescu", "storescp", "dcmdump")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="DCMTK is not installed"),
]

ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
"""Without it DCMTK leaves Nagle's algorithm on."""
STUDY = "1.2.826.0.1.3680043.10.98.1"
SERIES = f"{STUDY}.1"
COUNT = 5


def tls_of(device: DeviceFiles) -> list[str]:
    return ["+tls", str(device.key), str(device.certificate), "+cf", str(device.authority)]


def run(
    tool: str, node: Site, device: DeviceFiles, *arguments: str, tls: Sequence[str] | None = None,
    calling: str = "", called: str = "LEADGLASS", port: int = 0,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a tool of DCMTK against the node, with the device's certificate unless said otherwise."""
    options = tls_of(device) if tls is None else list(tls)
    peer = ["-aet", calling or device.ae_title, "-aec", called, "localhost", str(port or node.port)]
    return subprocess.run(
        [tool, "-v", *options, *peer, *arguments],
        capture_output=True, text=True, errors="replace", timeout=120, check=False, env=ENVIRONMENT,
    )  # fmt: skip


def ok(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that the tool was content, and return what it said."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def instance_uids(folder: Path) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for number in range(1, COUNT + 1):
        item = composite(
            STUDY, SERIES, number, PatientID="DCMTK-1", PatientName="Müller^Jörg", AccessionNumber="A-17"
        )
        write_file(encoded(item), folder / f"{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def stored(node: Site, devices: Devices, files: Path) -> Path:
    said = ok(run("storescu", node, devices.modality, "+sd", "+r", str(files)))
    assert said.count("Received Store Response (Success)") == COUNT
    return files


# --- who may associate -------------------------------------------------------------------------------------------


def test_echo(node: Site, devices: Devices) -> None:
    ok(run("echoscu", node, devices.modality, "--repeat", "3", "--propose-pc", "128"))


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_echo_with_the_tls_profiles_of_bcp_195(node: Site, devices: Devices, profile: str) -> None:
    ok(run("echoscu", node, devices.modality, profile))


def refusals(node: Site) -> list[str]:
    shown = node.on_site("audit", "show", "--event", "association:peer:refused", "--limit", "1")
    return [str(entry["facts"]["reason"]) for entry in shown["entries"]]


@pytest.mark.parametrize("profile", ["+pa", "+pn"])
def test_weak_tls_is_refused(node: Site, devices: Devices, profile: str) -> None:
    assert run("echoscu", node, devices.modality, profile).returncode != 0
    assert "no common" in refusals(node)[0]


@pytest.mark.parametrize(
    ("tls", "why"),
    [([], "not TLS"), (["+tla", "-ic"], "certificate")],
    ids=["no TLS", "no certificate"],
)
def test_no_certificate_no_association(node: Site, devices: Devices, tls: list[str], why: str) -> None:
    assert run("echoscu", node, devices.modality, tls=tls).returncode != 0
    assert why in refusals(node)[0]


def test_a_certificate_of_a_stranger_is_refused(node: Site, devices: Devices, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made = [*command, "-subj", "/CN=stranger", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    stranger = ["+tls", str(key), str(certificate), "+cf", str(devices.modality.authority)]
    assert run("echoscu", node, devices.modality, tls=stranger).returncode != 0


def test_a_device_under_the_title_of_another_is_rejected(node: Site, devices: Devices) -> None:
    said = run("echoscu", node, devices.modality, calling="WS1")
    assert said.returncode != 0
    assert "Calling AE Title Not Recognized" in said.stdout + said.stderr
    said = run("echoscu", node, devices.modality, called="ANYBODY")
    assert said.returncode != 0
    assert "Called AE Title Not Recognized" in said.stdout + said.stderr


# --- storescu ----------------------------------------------------------------------------------------------------

TRANSFER_SYNTAXES = {
    "-xs": "1.2.840.10008.1.2.4.70",
    "-xy": "1.2.840.10008.1.2.4.50",
    "-xx": "1.2.840.10008.1.2.4.51",
    "-xv": "1.2.840.10008.1.2.4.90",
    "-xw": "1.2.840.10008.1.2.4.91",
    "-xt": "1.2.840.10008.1.2.4.80",
    "-xu": "1.2.840.10008.1.2.4.81",
    "-xr": "1.2.840.10008.1.2.5",
    "-xd": "1.2.840.10008.1.2.1.99",
    "-xb": "1.2.840.10008.1.2.2",
    "-xi": "1.2.840.10008.1.2",
    "-xe": "1.2.840.10008.1.2.1",
}


@needs_corpus
@pytest.mark.parametrize("option", TRANSFER_SYNTAXES)
def test_storescu_in_each_transfer_syntax(node: Site, devices: Devices, option: str) -> None:
    for path in sorted((CORPUS / "transfer-syntax").rglob("*.dcm")):
        item = raw_object(path)
        if item is not None and item.study_uid and item.transfer_syntax_uid == TRANSFER_SYNTAXES[option]:
            done = run("storescu", node, devices.modality, "-R", option, "+II", str(path))
            if "F: missing SOP class" in done.stderr or "No presentation context" in done.stderr:
                continue  # DCMTK cannot read or convert this one
            assert "Received Store Response (Success)" in ok(done)
            return
    pytest.fail("there is no object of that transfer syntax")


# --- findscu -----------------------------------------------------------------------------------------------------


def found(node: Site, device: DeviceFiles, tmp_path: Path, *arguments: str) -> Sequence[pydicom.Dataset]:
    """Return the matches, as findscu extracted them."""
    ok(run("findscu", node, device, "-X", "-od", str(tmp_path), *arguments))
    matches = [pydicom.dcmread(path, force=True) for path in sorted(tmp_path.glob("rsp*.dcm"))]
    for path in tmp_path.glob("rsp*.dcm"):
        path.unlink()
    return matches


def with_keys(*keys: str) -> list[str]:
    return [part for key in keys for part in ("-k", key)]


@pytest.mark.parametrize(
    ("root", "keys", "count"),
    [
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-1", "PatientName"], 1),
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-*"], 1),
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-?"], 1),
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-??"], 0),
        ("-P", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", "StudyInstanceUID"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", "StudyDate=20260101-20260131", "StudyInstanceUID"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", "StudyDate=-20251231"], 0),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", "StudyTime=0300-0310"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "AccessionNumber=A-17", "ModalitiesInStudy=CT\\MR"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "AccessionNumber=A-17", "ModalitiesInStudy=US\\MR"], 0),
        ("-S", ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}\\1.2.3", "PatientName"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "SpecificCharacterSet=ISO_IR 192", "PatientName=müll*", "PatientID"], 1),
        ("-S", ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={STUDY}", "SeriesInstanceUID", "Modality"], 1),
        ("-S", ["QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}", "SOPInstanceUID"], COUNT),
        ("-S", ["QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}", "InstanceNumber=3"], 1),
        ("-S", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", "ReferringPhysicianName", "(0011,1001)"], 1),
    ],
)  # fmt: skip
def test_findscu(
    node: Site, devices: Devices, stored: Path, tmp_path: Path, root: str, keys: list[str], count: int
) -> None:
    assert len(found(node, devices.workstation, tmp_path, root, *with_keys(*keys))) == count


def test_findscu_with_nothing_but_a_level_lists_everything(
    node: Site, devices: Devices, stored: Path, tmp_path: Path
) -> None:
    keys = with_keys(
        "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientName", "NumberOfStudyRelatedInstances"
    )
    matches = found(node, devices.workstation, tmp_path, "-S", *keys)
    (ours,) = [match for match in matches if match.StudyInstanceUID == STUDY]
    assert ours.NumberOfStudyRelatedInstances == COUNT
    assert (str(ours.PatientName), ours.SpecificCharacterSet) == ("Müller^Jörg", "ISO_IR 192")


@pytest.mark.parametrize("option", ["-xi", "-xe", "-x="])
def test_findscu_in_each_encoding_of_the_identifier(
    node: Site, devices: Devices, stored: Path, tmp_path: Path, option: str
) -> None:
    keys = with_keys("QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1")
    assert len(found(node, devices.workstation, tmp_path, "-S", option, *keys)) == 1


def test_findscu_for_less_than_the_rules_want(node: Site, devices: Devices) -> None:
    said = run(
        "findscu", node, devices.workstation, "-S", *with_keys("QueryRetrieveLevel=IMAGE", "SOPInstanceUID")
    )
    assert "DataSetDoesNotMatchSOPClass" in said.stdout + said.stderr


# --- getscu ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["-S"], ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"]),
        (["-S", "+B"], ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}"]),
        (["-P"], ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-1"]),
    ],
    ids=["study", "series, bit preserving", "patient"],
)  # fmt: skip
def test_getscu_writes_files(
    node: Site, devices: Devices, stored: Path, tmp_path: Path, options: list[str], keys: list[str]
) -> None:
    with tunnel(to_tls(node.port, client_tls(devices.workstation))) as port:
        arguments = [*options, "-od", str(tmp_path), *with_keys(*keys)]
        ok(run("getscu", node, devices.workstation, *arguments, tls=(), port=port))
    assert instance_uids(tmp_path) == {f"{SERIES}.{n}" for n in range(1, COUNT + 1)}
    for path in tmp_path.iterdir():
        sent = pydicom.dcmread(stored / f"{path.name.rsplit('.', 1)[1]}.dcm")
        assert pydicom.dcmread(path) == sent


# --- movescu and storescp ----------------------------------------------------------------------------------------


@contextmanager
def storescp(device: DeviceFiles, port: int, folder: Path, *options: str) -> Iterator[None]:
    """Run storescp as an enrolled device."""
    command = ["storescp", *tls_of(device), "-aet", device.ae_title, "-od", str(folder), *options, str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "storescp ended"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def movescu(
    node: Site, devices: Devices, destination: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    with tunnel(to_tls(node.port, client_tls(devices.workstation))) as port:
        return run("movescu", node, devices.workstation, "-aem", destination, *arguments, tls=(), port=port)


@pytest.fixture(scope="module")
def destination(node: Site) -> tuple[DeviceFiles, int]:
    port = free_port()
    return node.enrol("scp1", "SCP1", ["store"], host="localhost", port=port, move_destination=True), port


@pytest.mark.parametrize(
    ("root", "keys"),
    [
        ("-S", ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"]),
        ("-P", ["QueryRetrieveLevel=PATIENT", "PatientID=DCMTK-1"]),
        ("-P", ["QueryRetrieveLevel=STUDY", "PatientID=DCMTK-1", f"StudyInstanceUID={STUDY}"]),
    ],
    ids=["study root", "patient root, patient", "patient root, study"],
)
def test_movescu_to_storescp(
    node: Site, devices: Devices, stored: Path, destination: tuple[DeviceFiles, int], tmp_path: Path,
    root: str, keys: list[str],
) -> None:  # fmt: skip
    device, port = destination
    with storescp(device, port, tmp_path, "+xa", "+B"):
        ok(movescu(node, devices, "SCP1", root, *with_keys(*keys)))
    assert instance_uids(tmp_path) == {f"{SERIES}.{n}" for n in range(1, COUNT + 1)}


def test_movescu_to_itself(node: Site, devices: Devices, stored: Path, tmp_path: Path) -> None:
    """Movescu listens for its own objects; TLS stands before it as before its requests."""
    outside, inside = free_port(), free_port()
    device = node.enrol(
        "ws2", "WS2", ["query-retrieve"], host="localhost", port=outside, move_destination=True
    )
    keys = with_keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    with (
        tunnel(to_tls(node.port, client_tls(device))) as port,
        tunnel(to_plain(inside), port=outside, tls=server_tls(device)),
    ):
        arguments = ["-aem", "WS2", "+P", str(inside), "-od", str(tmp_path), "-S", *keys]
        ok(run("movescu", node, device, *arguments, tls=(), port=port))
    assert len(instance_uids(tmp_path)) == COUNT


def test_movescu_to_an_unknown_destination(node: Site, devices: Devices, stored: Path) -> None:
    keys = with_keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    done = movescu(node, devices, "NOBODY", "-S", *keys)
    assert "MoveDestinationUnknown" in done.stdout + done.stderr


@needs_corpus
def test_what_the_destination_does_not_take_compressed_is_decoded(
    node: Site, devices: Devices, destination: tuple[DeviceFiles, int], tmp_path: Path
) -> None:
    """Storescp that takes nothing but Implicit VR Little Endian; pydicom's decoder says what the pixels are."""
    device, port = destination
    names = ("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_rle")
    for name in names:
        (path,) = (CORPUS / "transfer-syntax").rglob(f"pydicom__{name}.dcm")
        compressed = pydicom.dcmread(path)
        item = raw_object(path)
        assert item is not None
        node.run("send", "--device", str(devices.modality.toml), str(path), status=None)
        asked = with_keys(
            "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={item.study_uid}",
            f"SeriesInstanceUID={item.series_uid}", f"SOPInstanceUID={item.sop_instance_uid}",
        )  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        with storescp(device, port, folder, "+xi", "+B"):
            ok(movescu(node, devices, "SCP1", "-S", *asked))
        (received,) = [pydicom.dcmread(one) for one in folder.iterdir()]
        assert received.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
        assert (received.pixel_array == compressed.pixel_array).all()
