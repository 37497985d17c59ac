"""Every verb of dicomweb-client at a node that runs: as a gateway with a certificate, and as a person with a session."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from doors.console.signed_in import People
from interop.part10 import raw_object_of
from interop.peers import CT, Foreign, composite, encoded
from interop.web import Gateway, gateway, part10
from running_node import Site

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

ROOT = "1.2.826.0.1.3680043.10.97.3"
STUDIES = {
    "MÜLLER^Jörg": (f"{ROOT}.1", "20260102", "CT", "1001"),
    "MUELLER^Joerg": (f"{ROOT}.2", "20260103", "MR", "1002"),
    "山田^太郎": (f"{ROOT}.3", "20260104", "CT", "1003"),
    "Αλέξης^Ζορμπάς": (f"{ROOT}.4", "20260105", "US", "1004"),
    "Smith^Anna^^Dr": (f"{ROOT}.5", "20260106", "CT", "2001"),
}
FRAMES = 3
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.91"


@pytest.fixture(scope="module")
def peer(node: Site) -> Iterator[Gateway]:
    with gateway(node, node.enrol("gateway", "GATEWAY", ["store", "query-retrieve"])) as opened:
        opened.post([part10(encoded(item)) for item in objects()])
        yield opened


def objects() -> Iterator[Dataset]:
    """Two series with two instances each of every study; the first of each study is a picture."""
    for name, (study, date, modality, patient) in STUDIES.items():
        for series in (1, 2):
            for number in (1, 2):
                item = composite(
                    study, f"{study}.{series}", number, PatientName=name, PatientID=patient, StudyDate=date,
                    Modality=modality, SeriesNumber=series, AccessionNumber=f"A{patient}",
                    StudyDescription=f"Study of {patient}", PatientComments=f"Comment on {patient}",
                )  # fmt: skip
                if (series, number) == (1, 1):
                    add_frames(item)
                yield item


def add_frames(item: Dataset) -> None:
    item.Rows, item.Columns, item.NumberOfFrames = 40, 60, FRAMES
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.PixelData = pixels().tobytes()


def pixels() -> Any:  # noqa: ANN401 - an array
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([(rows * 40 + columns * 17 + frame * 500) % 4096 for frame in range(FRAMES)]).astype(
        "<u2"
    )


def values(found: list[Mapping[str, Any]], tag: str) -> list[Any]:
    return [one[tag]["Value"][0] for one in found]


STUDY_UID, SERIES_UID, INSTANCE_UID, NAME = "0020000D", "0020000E", "00080018", "00100010"
FIRST = STUDIES["MÜLLER^Jörg"][0]
PICTURE = (FIRST, f"{FIRST}.1", f"{FIRST}.1.1")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"PatientID": "1001"}, {1}),
        ({"PatientID": "100*"}, {1, 2, 3, 4}),
        ({"PatientID": "100?"}, {1, 2, 3, 4}),
        ({"PatientName": "müller*"}, {1}),
        ({"PatientName": "山田^太郎"}, {3}),
        ({"00100010": "Αλέξης*"}, {4}),
        ({"StudyDate": "20260103-20260104"}, {2, 3}),
        ({"StudyDate": "20260105-"}, {4, 5}),
        ({"StudyDate": "-20260102"}, {1}),
        ({"ModalitiesInStudy": "MR"}, {2}),
        ({"StudyInstanceUID": f"{ROOT}.1,{ROOT}.5"}, {1, 5}),
        ({"StudyInstanceUID": f"{ROOT}.1\\{ROOT}.4"}, {1, 4}),
        ({"AccessionNumber": "A2001", "StudyDescription": "*2001"}, {5}),
        ({"PatientID": "nobody"}, set()),
    ],
)  # fmt: skip
def test_studies_are_searched_by_every_kind_of_key(
    peer: Gateway, filters: dict[str, str], expected: set[int]
) -> None:
    found = peer.client.search_for_studies(search_filters=filters)
    assert sorted(values(found, STUDY_UID)) == [f"{ROOT}.{number}" for number in sorted(expected)]


def test_fuzzy_names(peer: Gateway) -> None:
    found = peer.client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "Muller"})
    assert f"{ROOT}.1" in values(found, STUDY_UID)
    assert peer.client.search_for_studies(search_filters={"PatientName": "Muller"}) == []


def test_pages_hold_everything_once(peer: Gateway) -> None:
    pages = [peer.client.search_for_studies(limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    together = [uid for page in pages for uid in values(page, STUDY_UID)]
    assert sorted(together) == sorted(uid for uid, *_ in STUDIES.values())
    everything = peer.client.search_for_studies(limit=2, get_remaining=True)
    assert values(everything, STUDY_UID) == together


def test_fields_are_included_when_asked_for(peer: Gateway) -> None:
    asked = {"StudyInstanceUID": FIRST}
    (plain,) = peer.client.search_for_studies(search_filters=asked)
    (more,) = peer.client.search_for_studies(search_filters=asked, fields=["PatientComments", "00081040"])
    assert "00104000" not in plain
    assert more["00104000"]["Value"] == ["Comment on 1001"]
    assert plain["00201208"]["Value"] == [4]
    assert more[NAME]["Value"] == [{"Alphabetic": "MÜLLER^Jörg"}]
    assert plain["00081190"]["Value"] == [f"{peer.url}/studies/{FIRST}"]


def test_series_and_instances_are_searched_everywhere(peer: Gateway) -> None:
    client = peer.client
    assert len(client.search_for_series()) == 2 * len(STUDIES)
    assert len(client.search_for_instances()) == 4 * len(STUDIES)
    assert sorted(values(client.search_for_series(FIRST), SERIES_UID)) == [f"{FIRST}.1", f"{FIRST}.2"]
    assert len(client.search_for_instances(FIRST)) == 4
    assert values(client.search_for_instances(FIRST, f"{FIRST}.2", search_filters={"InstanceNumber": "2"}), INSTANCE_UID) == [f"{FIRST}.2.2"]  # fmt: skip
    assert len(client.search_for_series(search_filters={"Modality": "CT"}, limit=5)) == 5
    of_patient = client.search_for_instances(search_filters={"PatientID": "1002", "SeriesNumber": "2"})
    assert sorted(values(of_patient, INSTANCE_UID)) == [f"{ROOT}.2.2.1", f"{ROOT}.2.2.2"]


def test_what_was_stored_as_a_data_set_is_retrieved_as_one(peer: Gateway) -> None:
    client = peer.client
    whole = client.retrieve_study(FIRST)
    assert len(whole) == len(list(client.iter_study(FIRST))) == 4
    assert {one.SOPInstanceUID for one in client.retrieve_series(FIRST, f"{FIRST}.2")} == {
        f"{FIRST}.2.1", f"{FIRST}.2.2",
    }  # fmt: skip
    (expected,) = (item for item in objects() if item.SOPInstanceUID == PICTURE[2])
    assert client.retrieve_instance(*PICTURE) == with_meta(expected)


def test_metadata_bulk_data_and_frames(peer: Gateway) -> None:
    client = peer.client
    assert len(client.retrieve_study_metadata(FIRST)) == 4
    assert len(client.retrieve_series_metadata(FIRST, f"{FIRST}.1")) == 2
    metadata = client.retrieve_instance_metadata(*PICTURE)
    assert metadata[NAME]["Value"] == [{"Alphabetic": "MÜLLER^Jörg"}]
    url = metadata["7FE00010"]["BulkDataURI"]
    assert url.startswith(f"{peer.url}/")
    whole = pixels().tobytes()
    assert b"".join(client.retrieve_bulkdata(url)) == whole
    assert b"".join(client.iter_bulkdata(url)) == whole
    frames = client.retrieve_instance_frames(*PICTURE, frame_numbers=[2, 3])
    assert frames == [pixels()[1].tobytes(), pixels()[2].tobytes()]
    assert list(client.iter_instance_frames(*PICTURE, frame_numbers=[1])) == [pixels()[0].tobytes()]
    parsed = Dataset.from_json(metadata, lambda *_: b"")
    assert (parsed.Rows, parsed.NumberOfFrames) == (40, FRAMES)


def test_a_part_of_bulk_data(peer: Gateway) -> None:
    url = peer.client.retrieve_instance_metadata(*PICTURE)["7FE00010"]["BulkDataURI"]
    answer = peer.http.get(url, headers={"Accept": "application/octet-stream", "Range": "bytes=100-299"})
    assert (answer.status_code, answer.content) == (206, pixels().tobytes()[100:300])


def test_rendered_pictures(peer: Gateway) -> None:
    client = peer.client
    window = {"window": "2048,4096,linear-exact"}
    octets = client.retrieve_instance_frames_rendered(
        *PICTURE, frame_numbers=[2], media_types=("image/png",), params=window
    )
    shown = np.asarray(Image.open(BytesIO(octets)).convert("L"), dtype=int)
    assert np.abs(shown - pixels()[1].astype(int) * 255 / 4096).max() <= 1
    jpeg = Image.open(BytesIO(client.retrieve_instance_rendered(*PICTURE, media_types=("image/jpeg",))))
    assert (jpeg.format, jpeg.size) == ("JPEG", (60, 40))
    octets = client.retrieve_series_rendered(FIRST, f"{FIRST}.1", media_types=("image/png",))
    assert Image.open(BytesIO(octets)).size == (60, 40)


@pytest.mark.parametrize(
    ("name", "syntax"), [("JPEG2000.dcm", JPEG_2000), ("SC_rgb_dcmtk_+eb+cr.dcm", JPEG_BASELINE)]
)
def test_compressed_pictures_as_stored_and_decoded(peer: Gateway, name: str, syntax: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with open(path, "rb") as file:  # noqa: PTH123 - pydicom gives a text
        octets = file.read()
    item = raw_object_of(octets)
    assert item is not None
    stored = dcmread(BytesIO(octets))
    taken, refused = peer.post([part10(item)])
    assert (list(taken), refused) == ([item.sop_instance_uid], {})
    of = (item.study_uid, item.series_uid, item.sop_instance_uid)
    as_stored = peer.client.retrieve_instance(*of)
    assert as_stored.file_meta.TransferSyntaxUID == syntax
    decoded = peer.client.retrieve_instance(*of, media_types=(("application/dicom", "1.2.840.10008.1.2.1"),))
    assert decoded.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.abs(decoded.pixel_array.astype(int) - stored.pixel_array.astype(int)).max() <= 2
    kind = "image/jp2" if syntax == JPEG_2000 else "image/jpeg"
    (frame,) = peer.client.retrieve_instance_frames(*of, frame_numbers=[1], media_types=((kind, syntax),))
    assert frame in octets
    picture = Image.open(BytesIO(peer.client.retrieve_series_rendered(*of[:2], media_types=("image/png",))))
    assert picture.size == (stored.Columns, stored.Rows)


def test_a_study_of_another_name_is_refused(peer: Gateway) -> None:
    (item,) = (item for item in objects() if item.SOPInstanceUID == PICTURE[2])
    taken, refused = peer.post([part10(encoded(item))], study=f"{ROOT}.9")
    assert (taken, list(refused)) == ({}, [PICTURE[2]])


def test_what_is_not_there_is_missing(peer: Gateway) -> None:
    for call in (peer.client.retrieve_study, peer.client.retrieve_study_metadata):
        with pytest.raises(requests.HTTPError) as raised:
            call("1.2.3.4")
        assert raised.value.response is not None
        assert raised.value.response.status_code == 404
    assert peer.client.search_for_series("1.2.3.4") == []


@pytest.fixture(scope="module")
def people(node: Site) -> Iterator[People]:
    with People(node) as made:
        made.first_administrator()
        yield made


def test_a_gateway_may_not_delete_and_an_administrator_may(node: Site, peer: Gateway, people: People) -> None:
    extra = [composite(f"{ROOT}.7", f"{ROOT}.7.{series}", number) for series in (1, 2) for number in (1, 2)]
    assert CT in {item.SOPClassUID for item in extra}
    peer.client.store_instances([with_meta(item) for item in extra])
    study = f"{ROOT}.7"
    with pytest.raises(requests.HTTPError) as raised:
        peer.client.delete_study(study)
    assert raised.value.response is not None
    assert raised.value.response.status_code in {403, 404}
    admin = people.add("deleter", "pacs-administrator")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(node.root / "certs" / "ca.pem")
        session.headers.update({name: admin.client.headers[name] for name in ("Origin", "X-Leadglass-CSRF")})
        session.headers["Cookie"] = "; ".join(
            f"{name}={value}" for name, value in admin.client.cookies.items()
        )
        client: Foreign = DICOMwebClient(peer.url, session=session)
        client.delete_instance(study, f"{study}.1", f"{study}.1.1")
        assert len(peer.client.search_for_instances(study)) == 3
        client.delete_series(study, f"{study}.1")
        assert values(peer.client.search_for_series(study), SERIES_UID) == [f"{study}.2"]
        client.delete_study(study)
    assert peer.client.search_for_studies(search_filters={"StudyInstanceUID": study}) == []
    with pytest.raises(requests.HTTPError, match="404"):
        peer.client.retrieve_study(study)


def test_a_service_with_a_token_does_what_its_scopes_say(
    node: Site, peer: Gateway, people: People, tmp_path: Path
) -> None:
    """Its certificate gets it a token, bound to that certificate. Source: RFC 6749 4.4, RFC 8705 2.1, 3."""
    people.add("owner", "pacs-administrator")
    scopes = [part for name in ("study:query", "instance:retrieve") for part in ("--scope", name)]
    made = node.on_site(
        "client", "add", "robot", "--owner", "owner", *scopes, "--bound", "--out", str(tmp_path)
    )
    files = {name: str(path) for name, path in made["files"].items()}
    certificate = next(path for path in files.values() if path.endswith(".cert.pem"))
    key = next(path for path in files.values() if path.endswith(".key.pem"))
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(node.root / "certs" / "ca.pem")
        session.cert = (certificate, key)
        form = {
            "grant_type": "client_credentials",
            "client_id": "robot",
            "scope": "study:query instance:retrieve",
        }
        granted = session.post(peer.url.replace("/dicom-web", "/oauth/token"), data=form, timeout=60)
        assert granted.status_code == 200, granted.text
        session.headers["Authorization"] = f"Bearer {granted.json()['access_token']}"
        client: Foreign = DICOMwebClient(peer.url, session=session)
        (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": FIRST})
        assert found[NAME]["Value"] == [{"Alphabetic": "MÜLLER^Jörg"}]
        assert len(client.retrieve_study(FIRST)) == 4
        with pytest.raises(requests.HTTPError, match=r"40[34]"):
            client.store_instances([with_meta(composite(f"{ROOT}.8", f"{ROOT}.8.1", 1))])
        session.cert = None
        session.close()  # a connection that is open was made with the certificate
        with pytest.raises(requests.HTTPError, match="401"):
            client.search_for_studies()


def with_meta(item: Dataset) -> Dataset:
    return dcmread(BytesIO(part10(encoded(item))))
