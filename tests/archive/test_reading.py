"""Reading over HTTP: on record before it is shown, hidden is missing, and only what is asked for is opened."""

import json
import struct
import zlib
from dataclasses import replace

import pytest

from archive.room import (
    EXPLICIT,
    MODALITY,
    READER,
    ROOT,
    STRANGER,
    Image,
    Room,
    element,
    facts,
    image,
)
from leadglass.archive.ingest import StoreRequest
from leadglass.archive.reading import Part, Reading, Target
from leadglass.base.errors import (
    AccessDenied,
    AuditUnavailable,
    DatasetRefused,
    IntegrityError,
    NotFound,
)
from leadglass.base.ids import UID
from leadglass.dicom.scan import DatasetScanner
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Circumstances, Principal

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"


def opened(room: Room, of: Image, part: Part = Part.FRAMES, **more: object) -> Reading:
    target = Target(UID(of.study), UID(of.series), UID(of.instance))
    return room.reader.open(READER, target, part, **more)  # type: ignore[arg-type]


def test_metadata_of_a_study_opens_no_pack(room: Room) -> None:
    images = [image(number) for number in range(1, 6)]
    room.store(*images)
    room.writer.barrier()
    for pack in room.packs():
        pack.unlink()
    for _ in range(2):  # made from the outlines, then as kept
        with room.reader.open(READER, Target(UID(images[0].study)), Part.METADATA) as reading:
            objects = [json.loads(text) for text in reading.metadata()]
        assert [one["00080018"]["Value"][0] for one in objects] == [one.instance for one in images]
        assert objects[0]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Canary^Anna"}]}
        assert objects[0]["7FE00010"] == {"vr": "OW", "BulkDataURI": "@/bulkdata/7FE00010"}
        assert objects[0]["00083002"] == {"vr": "UI", "Value": [EXPLICIT]}


def test_bulk_value_and_whole_object(room: Room) -> None:
    one = image(pixels=200_000)
    room.store(one)
    with opened(room, one, Part.BULK_DATA) as reading:
        octets = reading.bulk(reading.record, "7FE00010")
        pixels = one.dataset[-200_000:]
        assert (octets.vr, octets.length) == ("OW", len(pixels))
        assert octets.read(0, octets.length) == pixels
        assert octets.read(65_000, 1000) == pixels[65_000:66_000]
        assert octets.read(199_990, 100) == pixels[199_990:]
        assert octets.read(300_000, 10) == b""
        assert b"".join(octets.stream(70_000)) == pixels[70_000:]
        assert b"".join(map(bytes, reading.dataset(reading.record, EXPLICIT))) == one.dataset
        whole = b"".join(map(bytes, reading.part10(reading.record, EXPLICIT)))
        assert len(whole) == reading.part10_length(reading.record)
        assert whole[:132] == bytes(128) + b"DICM"
        assert whole.endswith(one.dataset)


def framed(number: int, dataset: bytes, syntax: str) -> tuple[Image, StoreRequest]:
    """Return an object of another encoding with the identity of slice ``number``."""
    of = image(number)
    return Image(of.study, of.series, of.instance, dataset), StoreRequest(
        of.request.sop_class_uid, UID(of.instance), UID(syntax)
    )


def head_of(number: int) -> list[tuple[int, str, bytes]]:
    of = image(number)
    return [
        (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        (0x00080018, "UI", of.instance.encode()),
        (0x00100020, "LO", b"PID-1 "),
        (0x0020000D, "UI", of.study.encode()),
        (0x0020000E, "UI", of.series.encode()),
    ]


def encoded(elements: list[tuple[int, str, bytes]]) -> bytes:
    return b"".join(element(*e) for e in elements)


def put(room: Room, of: Image, request: StoreRequest) -> None:
    session = room.session()
    incoming = session.begin(request)
    incoming.write(of.dataset)
    incoming.finish()
    session.close_packs()


def compressed(number: int, frames: list[bytes], *, declared: int | None = None) -> bytes:
    dataset = encoded([*head_of(number), (0x00280008, "IS", str(declared or len(frames)).encode())])
    dataset += struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
    dataset += struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for frame in frames:
        dataset += struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
    return dataset + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_frames_of_fragments(room: Room) -> None:
    frames = [bytes([n]) * (70_000 + 2 * n) for n in range(1, 5)]
    of, request = framed(1, compressed(1, frames), JPEG)
    put(room, of, request)
    with opened(room, of, frames=[1, 4]) as reading:
        assert reading.frame_count(reading.record) == 4
        for number, frame in enumerate(frames, 1):
            octets = reading.frame(reading.record, number)
            assert (octets.transfer_syntax_uid, octets.encapsulated) == (JPEG, False)
            assert b"".join(octets.stream()) == frame
            assert octets.read(69_990, 100) == frame[69_990:70_090]
        for number in (0, 5, -1):
            with pytest.raises(NotFound):
                reading.frame(reading.record, number)
        assert reading.bulk(reading.record, "7FE00010").encapsulated
    (entry,) = room.entries(EventCode.INSTANCE_VIEWED)
    assert facts(entry)["frames"] == 2
    assert entry.payload is not None
    assert entry.payload["detail"] == {"frames": "1,4"}


def test_an_object_that_lies_is_refused_and_the_others_are_served(room: Room) -> None:
    of, request = framed(1, compressed(1, [b"\1\1"] * 3, declared=5), JPEG)
    put(room, of, request)
    room.store(image(2))
    with opened(room, of) as reading, pytest.raises(DatasetRefused):
        reading.frame_count(reading.record)
    with room.reader.open(READER, Target(UID(of.study)), Part.METADATA) as reading:
        assert len(list(reading.metadata())) == 2


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, DEFLATED, EXPLICIT])
def test_native_frames_of_every_encoding(room: Room, syntax: str) -> None:
    big = syntax == BIG
    order = ">" if big else "<"
    pixels = [struct.pack("<3H", n, 256 + n, 2) for n in range(1, 5)]
    tags = [(0x00280002, 1), (0x00280010, 3), (0x00280011, 1), (0x00280100, 16)]
    pieces = [*head_of(1)]
    pieces += [(tag, "US", struct.pack(order + "H", value)) for tag, value in tags]
    pieces.append((0x00280008, "IS", b"4 "))
    stored = b"".join(pixels)
    if big:
        stored = struct.pack(">12H", *struct.unpack("<12H", stored))
    pieces.append((0x7FE00010, "OW", stored))
    dataset = b""
    for tag, vr, value in sorted(pieces):
        padded = value + b"\0" * (len(value) & 1)
        group = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if syntax == IMPLICIT:
            dataset += group + struct.pack("<I", len(padded)) + padded
        elif vr == "OW":
            dataset += group + b"OW" + struct.pack(order + "xxI", len(padded)) + padded
        else:
            dataset += group + vr.encode() + struct.pack(order + "H", len(padded)) + padded
    if syntax == DEFLATED:
        compressor = zlib.compressobj(wbits=-15)
        dataset = compressor.compress(dataset) + compressor.flush()
        dataset += b"\0" * (len(dataset) & 1)
    of, request = framed(1, dataset, syntax)
    put(room, of, request)
    with opened(room, of) as reading:
        assert reading.frame_count(reading.record) == 4
        for number, frame in enumerate(pixels, 1):
            octets = reading.frame(reading.record, number)
            assert octets.read(0, 100) == frame
            assert octets.read(1, 3) == frame[1:4]
            assert octets.transfer_syntax_uid == EXPLICIT


# --- policy and record -----------------------------------------------------------------------------------------


def test_hidden_and_missing_are_answered_alike(room: Room) -> None:
    one = image()
    room.store(one)
    with pytest.raises(AccessDenied):
        room.reader.open(STRANGER, Target(UID(one.study)), Part.METADATA)
    with pytest.raises(AccessDenied):
        room.reader.open(MODALITY, Target(UID(one.study)), Part.METADATA)
    for target in (
        Target(UID("1.2.3")),
        Target(UID(one.study), UID("1.2.3")),
        Target(UID(one.study), UID(one.series), UID("1.2.3")),
        Target(UID(f"{ROOT}.2"), UID(one.series), UID(one.instance)),
    ):
        with pytest.raises(NotFound, match="nothing of that name is held"):
            room.reader.open(READER, target, Part.METADATA)
    assert room.counted(EventCode.INSTANCE_VIEWED) == 0
    assert len(room.entries(EventCode.REQUEST_REFUSED)) == 4


def test_nothing_is_shown_that_is_not_on_record(room: Room) -> None:
    one = image()
    room.store(one)
    room.audit.full = True
    for part in Part:
        with pytest.raises(AuditUnavailable):
            opened(room, one, part)


def test_a_transfer_ends_on_record_once(room: Room) -> None:
    one = image()
    room.store(one)
    with opened(room, one, Part.OBJECTS) as reading:
        reading.ended(completed=1, failed=0)
        reading.ended(completed=0, failed=1)
    with opened(room, one, Part.OBJECTS, destination="a file"):
        pass
    first, second = room.entries(EventCode.RETRIEVE_STARTED)
    assert facts(first)["part"] == "objects"
    assert facts(second)["destination"] == "a file"
    first, second = room.entries(EventCode.RETRIEVE_ENDED)
    assert (facts(first)["completed"], facts(first)["cancelled"]) == (1, False)
    assert facts(second)["cancelled"] is True


def test_who_what_and_why_are_in_the_entry(room: Room) -> None:
    one = image()
    room.store(one)
    opened(room, one, Part.RENDERED, frames=[1]).close()
    (stored,) = room.entries(EventCode.INSTANCE_STORED)
    (entry,) = room.entries(EventCode.INSTANCE_VIEWED)
    assert entry.leaf["correlation"] == READER.correlation_id
    assert facts(entry) == {
        "part": "rendered",
        "instances": 1,
        "purpose": "TREAT",
        "frames": 1,
        "destination": "WS1",
    }
    # The tokens are those of the ingest: patient, study and instance can be followed through the log.
    assert entry.leaf["objects"] == stored.leaf["objects"]
    actor = entry.leaf["actor"]
    assert isinstance(actor, dict)
    assert (actor["principal"], actor["address"]) == (READER.principal_id, READER.address)


# --- what is damaged, and what is of an earlier release --------------------------------------------------------


def test_damage_is_on_record_once_and_not_served(room: Room) -> None:
    one = image(pixels=300_000)
    room.store(one)
    (pack,) = room.packs()
    octets = bytearray(pack.read_bytes())
    octets[200_000] ^= 1
    pack.write_bytes(octets)
    with opened(room, one, Part.BULK_DATA) as reading:
        value = reading.bulk(reading.record, "7FE00010")
        assert value.read(0, 1000) == one.dataset[-300_000:-299_000]
        with pytest.raises(IntegrityError):
            value.read(0, 300_000)
    assert room.counted(EventCode.INTEGRITY_FAILED) == 1


def no_outline(_scanner: DatasetScanner) -> None:
    """Be a release that kept none."""


def test_a_header_too_long_to_be_kept_is_read_from_the_pack(room: Room) -> None:
    of = image()
    content = b"".join(element(0x00211000 + n, "LT", b"x" * 60_000) for n in range(80))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    at = of.dataset.index(b"\xe0\x7f\x10\x00")
    dataset = of.dataset[:at] + element(0x52009230, "SQ", item) + of.dataset[at:]
    put(room, Image(of.study, of.series, of.instance, dataset), of.request)
    with opened(room, of, Part.METADATA) as reading:
        assert room.index.outlines([reading.record]) == [b""]
        for _ in range(2):
            (text,) = reading.metadata()
            assert len(json.loads(text)["52009230"]["Value"][0]) == 80
        assert reading.bulk(reading.record, "52009230/0/00211005").read(0, 3) == b"xxx"
        assert reading.bulk(reading.record, "7FE00010").length == 512


def test_what_has_no_outline_is_read_from_its_pack(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadglass.dicom.scan.DatasetScanner.outline", no_outline)
    one = image(pixels=300_000)
    room.store(one)
    room.writer.barrier()
    monkeypatch.undo()
    with opened(room, one, Part.METADATA) as reading:
        assert room.index.outlines([reading.record]) == [b""]
        (text,) = reading.metadata()
        assert json.loads(text)["00080018"]["Value"] == [one.instance]
        assert reading.bulk(reading.record, "7FE00010").length == 300_000


def test_entity_tags_change_with_what_they_name(room: Room) -> None:
    one, two = image(1), image(2)
    room.store(one)
    room.clock.advance(5)
    with room.reader.open(READER, Target(UID(one.study)), Part.METADATA) as reading:
        alone = reading.etag()
        stored_at = reading.last_modified()
        assert reading.etag() == alone == reading.etag(record=reading.record)
        assert reading.etag("image/png") != alone
        assert alone.startswith('"')
    room.store(two)
    with room.reader.open(READER, Target(UID(one.study)), Part.METADATA) as reading:
        assert reading.etag() != alone
        assert reading.etag(record=reading.record) == alone
        assert reading.last_modified() > stored_at


def test_paths_lead_to_values_inside_of_sequences(room: Room) -> None:
    of = image()
    inner = element(0x54001010, "OW", b"\1\2" * 1000)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    dataset = of.dataset[: of.dataset.index(b"\xe0\x7f\x10\x00")] + element(0x54000100, "SQ", item)
    put(room, Image(of.study, of.series, of.instance, dataset), of.request)
    with opened(room, of, Part.BULK_DATA) as reading:
        (text,) = reading.metadata()
        uri = json.loads(text)["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
        assert uri == "@/bulkdata/54000100/0/54001010"
        assert reading.bulk(reading.record, uri.removeprefix("@/bulkdata/")).read(0, 4000) == b"\1\2" * 1000
        for path in (
            "",
            "7FE0001",
            "7FE000100",
            "54000100",
            "54000100/1/54001010",
            "54000100/0",
            "../x",
            "54000100/-1/54001010",
            "00100010/0/00100010",
            "7FE00010",
        ):
            with pytest.raises(NotFound):
                reading.bulk(reading.record, path)


def test_a_study_that_policy_hides_is_not_there(room: Room) -> None:
    """A technologist sees what their own devices acquired."""
    own, others = image(1, "1"), image(1, "2")
    room.store(own)
    room.store(others, principal=replace(MODALITY, principal_id="device:mr1", ae_title="MR1"))
    technologist = Principal(
        "user:tech", ("technologist",), devices=("device:ct1",), circumstances=Circumstances(zone="site")
    )
    room.reader.open(technologist, Target(UID(own.study)), Part.METADATA).close()
    for study in (others.study, "1.2.3"):
        with pytest.raises(NotFound, match=r"^nothing of that name is held$"):
            room.reader.open(technologist, Target(UID(study)), Part.METADATA)
    hidden, missing = room.entries(EventCode.REQUEST_REFUSED)
    # Only the log tells the two apart.
    assert facts(hidden)["reason"] == "policy hides the study"
    assert facts(missing)["reason"] == "nothing of that name is held"
    assert len(room.entries(EventCode.INSTANCE_VIEWED)) == 1
