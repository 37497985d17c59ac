"""STOW-RS: what is taken, what is refused, and what is said of it."""

import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from archive.room import CT, READER, Image, Room, element, facts, image
from doors.dicomweb.web_room import BOUNDARY, RELATED, ROOT_URL, client_of, multipart, part10, services_of
from leadglass.base.limits import MIB, PART_HEADER_BYTES_MAX, UNREADABLE_PARTS_MAX
from leadglass.dicom import values
from leadglass.doors.dicomweb.stow import endpoints
from leadglass.trust.audit.interfaces import EventCode

STUDIES = "/dicom-web/studies"


@pytest.fixture
def client(room: Room) -> Iterator[TestClient]:
    with client_of(endpoints(services_of(room))) as made:
        yield made


def post(client: TestClient, body: bytes | Iterator[bytes], url: str = STUDIES, **headers: str) -> Response:
    given = {"content-type": RELATED} | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(url, content=body, headers=given)


def reasons(response: Response, sequence: str = "00081198") -> list[int]:
    return [item["00081197"]["Value"][0] for item in response.json()[sequence]["Value"]]


def test_every_instance_of_a_body_is_held_and_named(room: Room, client: TestClient) -> None:
    images = [image(number, pixels=200_000) for number in range(1, 4)]
    response = post(client, multipart(*map(part10, images)))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    module = response.json()
    study = f"{ROOT_URL}/studies/{images[0].study}"
    assert module["00081190"] == {"vr": "UR", "Value": [study]}
    assert [item["00081155"]["Value"][0] for item in module["00081199"]["Value"]] == [
        one.instance for one in images
    ]
    assert module["00081199"]["Value"][0] == {
        "00081150": {"vr": "UI", "Value": [CT]},
        "00081155": {"vr": "UI", "Value": [images[0].instance]},
        "00081190": {
            "vr": "UR",
            "Value": [f"{study}/series/{images[0].series}/instances/{images[0].instance}"],
        },
    }
    assert "00081198" not in module
    for one in images:
        assert room.held(one) == one.dataset
    assert room.counted(EventCode.INSTANCE_STORED) == 3


def test_a_body_that_is_one_file(room: Room, client: TestClient) -> None:
    one = image()
    response = post(client, part10(one), content_type="application/dicom")
    assert response.status_code == 200
    assert room.held(one) == one.dataset


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_any_cut_of_the_body_gives_the_same(room: Room, client: TestClient, cut: int) -> None:
    images = [image(1, pixels=3000), image(2, pixels=10)]
    body = multipart(*map(part10, images))
    response = post(client, (body[at : at + cut] for at in range(0, len(body), cut)))
    assert response.status_code == 200
    assert [room.held(one) for one in images] == [one.dataset for one in images]


def test_a_program_in_the_preamble_is_not_kept(room: Room, client: TestClient) -> None:
    """S24: a file that is a program as well (CVE-2019-11687)."""
    one = image()
    assert post(client, multipart(part10(one, preamble=b"MZ" + b"\x90" * 126))).status_code == 200
    room.writer.barrier()
    record = room.index.lookup(one.request.sop_instance_uid)
    assert record is not None
    sealed = room.vault.open(record.address, record.identity)
    file = b"".join(bytes(piece) for piece in sealed.stream(0))
    sealed.close()
    assert file[:132] == bytes(128) + b"DICM"


def test_a_resend_is_a_success_and_other_content_a_conflict(room: Room, client: TestClient) -> None:
    one = image()
    assert post(client, multipart(part10(one))).status_code == 200
    assert post(client, multipart(part10(one))).status_code == 200
    other = image(filling=b"other!")
    response = post(client, multipart(part10(other)))
    assert response.status_code == 409
    assert reasons(response) == [0x0111]
    assert room.held(one) == one.dataset


def test_a_resend_in_another_encoding_is_a_warning(client: TestClient) -> None:
    one = image()
    assert post(client, multipart(part10(one))).status_code == 200
    again = values.write_dataset(values.read_dataset(one.dataset).values(), values.IMPLICIT_LITTLE_ENDIAN)
    implicit = Image(one.study, one.series, one.instance, again)
    response = post(client, multipart(part10(implicit, syntax=values.IMPLICIT_LITTLE_ENDIAN)))
    assert response.status_code == 202
    assert response.json()["00081199"]["Value"][0]["00081196"] == {"vr": "US", "Value": [0xB000]}


def test_an_instance_of_another_study_than_the_url_names(room: Room, client: TestClient) -> None:
    mine, other = image(1, "1"), image(1, "2")
    response = post(client, multipart(part10(mine), part10(other)), f"{STUDIES}/{mine.study}")
    assert response.status_code == 202
    assert reasons(response) == [0xC409]
    assert room.held(mine) == mine.dataset
    room.writer.barrier()
    assert room.index.lookup(other.request.sop_instance_uid) is None
    alone = post(client, multipart(part10(other)), f"{STUDIES}/{mine.study}")
    assert alone.status_code == 409


def test_sop_classes_and_transfer_syntaxes_are_those_of_dimse(room: Room, client: TestClient) -> None:
    one = image()
    verification = part10(one, sop_class="1.2.840.10008.1.1")
    private = part10(one, syntax="1.2.3.4.5")
    response = post(client, multipart(verification, private))
    assert response.status_code == 409
    assert reasons(response) == [0x0122, 0xC122]
    assert [facts(e)["status"] for e in room.entries(EventCode.INSTANCE_REFUSED)] == [0x0122, 0xC122]


def test_what_says_not_what_it_is(room: Room, client: TestClient) -> None:
    good = image()
    response = post(client, multipart(b"", b"no file at all", part10(good), good.dataset))
    assert response.status_code == 202
    assert reasons(response, "0008119A") == [0xC000, 0xC000, 0xC000]
    assert room.counted(EventCode.INSTANCE_REFUSED) == 3


def test_a_malformed_data_set_is_refused_by_itself(room: Room, client: TestClient) -> None:
    """S17: sequences nested deeper than anybody needs, beside a good instance."""
    good, bad = image(1), image(2)
    nested = b""
    for _ in range(200):
        nested = element(0x00081140, "SQ", b"\xfe\xff\x00\xe0" + len(nested).to_bytes(4, "little") + nested)
    deep = Image(bad.study, bad.series, bad.instance, bad.dataset[:-524] + nested)
    head = bad.dataset[: bad.dataset.index(b"\x10\x00\x10\x00")]
    deep = Image(bad.study, bad.series, bad.instance, head + nested)
    response = post(client, multipart(part10(deep), part10(good)))
    assert response.status_code == 202
    assert reasons(response) == [0xC000]
    assert room.held(good) == good.dataset


def test_a_deflated_bomb_is_refused_by_itself(room: Room) -> None:
    """S20: a thousand octets out for each in."""
    one, good = image(1), image(2)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = one.dataset[: one.dataset.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OW\0\0" + b"\0\0\0\x10"
    bomb = (
        deflater.compress(head)
        + b"".join(deflater.compress(bytes(MIB)) for _ in range(256))
        + deflater.flush()
    )
    assert len(bomb) < MIB
    deflated = Image(one.study, one.series, one.instance, bomb)
    services = services_of(room)
    services = replace(
        services, transfer_syntaxes={*services.transfer_syntaxes, values.DEFLATED_LITTLE_ENDIAN}
    )
    with client_of(endpoints(services)) as client:
        body = multipart(part10(deflated, syntax=values.DEFLATED_LITTLE_ENDIAN), part10(good))
        response = post(client, body)
    assert response.status_code == 202
    assert len(reasons(response)) == 1
    assert room.held(good) == good.dataset


def test_the_urls_of_an_answer_are_of_the_site_not_of_a_header(client: TestClient) -> None:
    response = post(client, multipart(part10(image())), host="evil.example")
    assert "evil.example" not in response.text


# --- who and what is refused -----------------------------------------------------------------------------------


def test_who_may_not_store_is_told_nothing_else(room: Room) -> None:
    with client_of(endpoints(services_of(room)), READER.principal_id) as client:
        response = post(client, multipart(part10(image())))
    assert response.status_code == 403
    assert room.index.counts().instances == 0


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/dicom+xml", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        (f'multipart/related; type="application/dicom+xml"; boundary={BOUNDARY}', 415),
        ('multipart/related; type="application/dicom"', 400),
        (f'multipart/related; type="application/dicom"; boundary={"b" * 71}', 400),
        ("multipart", 400),
    ],
)
def test_other_bodies_are_refused(client: TestClient, content_type: str, status: int) -> None:
    assert post(client, multipart(part10(image())), content_type=content_type).status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_compressed_bodies_are_refused_unread(client: TestClient, encoding: str) -> None:
    """S21: a bomb that is never inflated."""
    assert post(client, b"\x1f\x8b", content_encoding=encoding).status_code == 415


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html", "application/dicom+json;q=0"])
def test_answers_are_json(client: TestClient, accept: str) -> None:
    assert post(client, multipart(part10(image())), accept=accept).status_code == 406


@pytest.mark.parametrize("study", ["..", "1.2/3", "1" * 65, "1.2%00", "%F0%9D%9F%8F", "1.2;x", "a"])
def test_a_study_that_is_no_uid(client: TestClient, study: str) -> None:
    """S30."""
    assert post(client, multipart(part10(image())), f"{STUDIES}/{study}").status_code in {400, 404, 405}


def test_a_body_without_instances(client: TestClient) -> None:
    assert post(client, multipart()).status_code == 400
    assert post(client, b"").status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (multipart(b"x", media_type=f"multipart/related; boundary={'c'}"), 415),
        (multipart(b"x", media_type="application/dicom\r\nX: " + "x" * PART_HEADER_BYTES_MAX), 413),
        (multipart(*[b""] * (UNREADABLE_PARTS_MAX + 1), media_type="application/dicom"), 400),
        (multipart(b"x")[:-4], 400),
        (b"--" + BOUNDARY.encode() + b"x\r\n\r\n", 400),
        (multipart(b"")[:-6] * 1_000_000, 400),
    ],
    ids=["nested", "headers", "parts", "cut", "delimiter", "million"],
)
def test_bodies_that_would_cost_too_much(client: TestClient, body: bytes, status: int) -> None:
    """S74."""
    assert post(client, body).status_code == status


def test_what_was_whole_before_a_body_broke_off_is_held(room: Room, client: TestClient) -> None:
    one, two = image(1), image(2)
    body = multipart(part10(one), part10(two))
    response = post(client, body[: -len(part10(two)) // 2])
    assert response.status_code == 202
    assert reasons(response, "0008119A") == [0x0110]
    assert room.held(one) == one.dataset
    room.writer.barrier()
    assert room.index.lookup(two.request.sop_instance_uid) is None


def test_a_full_disk_of_the_log_is_an_answer_to_try_again(room: Room, client: TestClient) -> None:
    room.audit.full = True
    response = post(client, multipart(part10(image())))
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
