"""Pictures of what a reading grants: made in the decoding process, kept for a while, given to nobody else."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image as Pillow

from archive.room import READER, Room, element
from doors.dicomweb.pictures import JPEG, Picture, document, picture
from leadglass.archive.reading import Part, Reading, Target
from leadglass.archive.rendering import Renderer
from leadglass.archive.transcoding import ProcessTranscoder
from leadglass.base.errors import DatasetRefused, IntegrityError, NotFound
from leadglass.base.ids import UID
from leadglass.dicom.rendering.models import ImageType, RenderOptions, Window

DEFLATED = "1.2.840.10008.1.2.1.99"
PNG = RenderOptions(ImageType.PNG)


@pytest.fixture
def one_child() -> Iterator[ProcessTranscoder]:
    made = ProcessTranscoder(1)
    yield made
    made.close()


def opened(room: Room, of: Picture, *, whole_study: bool = False) -> Reading:
    target = Target(UID(of.study), UID(of.series), UID(of.instance))
    return room.reader.open(READER, Target(UID(of.study)) if whole_study else target, Part.RENDERED)


def pixels(data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Pillow.open(io.BytesIO(data)))


def test_a_picture_is_made_once_and_kept(room: Room) -> None:
    renderer = Renderer(room.transcoder)
    room.store(picture(frames=2))
    with opened(room, picture()) as reading:
        first = renderer.render(reading, reading.record, 1, PNG)
        assert renderer.render(reading, reading.record, 1, PNG) is first
        others = [
            renderer.render(reading, reading.record, 2, PNG),
            renderer.render(reading, reading.record, 1, RenderOptions(ImageType.PNG, window=Window(1, 2))),
        ]
        assert len({first, *others}) == 3


def test_what_is_kept_has_a_bound(room: Room) -> None:
    room.store(picture(frames=20))
    renderer = Renderer(room.transcoder, cache_bytes_max=40_000)
    with opened(room, picture()) as reading:
        for number in range(1, 21):
            renderer.render(reading, reading.record, number, PNG)
            assert renderer._cache._bytes == sum(map(len, renderer._cache._pictures.values())) <= 40_000
        assert renderer._cache._pictures
    none = Renderer(room.transcoder, cache_bytes_max=0)
    with opened(room, picture()) as reading:
        none.render(reading, reading.record, 1, PNG)
    assert not none._cache._pictures


def test_a_deflated_object_needs_two_decoders_one_after_the_other(
    room: Room, one_child: ProcessTranscoder
) -> None:
    plain = picture()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    octets = deflater.compress(plain.dataset) + deflater.flush()
    octets += b"\0" * (len(octets) & 1)
    room.store(Picture(plain.study, plain.series, plain.instance, octets, DEFLATED))
    with opened(room, plain) as reading:
        shown = Renderer(one_child).render(reading, reading.record, 1, PNG)
    assert pixels(shown).tobytes() == plain.frames[0]


def test_palettes_that_lie_apart_from_the_header(room: Room) -> None:
    plain = picture()
    start = plain.dataset.index(struct.pack("<HH", 0x7FE0, 0x0010))
    entries = struct.pack("<4096H", *(min(255, 4 * number) << 8 for number in range(4096)))
    palettes = b"".join(
        element(0x0028_1100 + band, "US", struct.pack("<3H", 4096, 0, 16)) for band in (1, 2, 3)
    ) + b"".join(element(0x0028_1200 + band, "OW", entries) for band in (1, 2, 3))
    dataset = plain.dataset[:start].replace(b"MONOCHROME2 ", b"PALETTE COLOR "[:12]) + palettes
    dataset = dataset.replace(
        element(0x0028_0004, "CS", b"PALETTE COLO"), element(0x0028_0004, "CS", b"PALETTE COLOR")
    )
    room.store(Picture(plain.study, plain.series, plain.instance, dataset + plain.dataset[start:]))
    with opened(room, plain) as reading:
        assert 0x0028_1201 in {bulk.tag for bulk in reading.outline(reading.record).bulk}
        shown = pixels(Renderer(room.transcoder).render(reading, reading.record, 1, PNG))
    indices = np.frombuffer(plain.frames[0], np.uint8).reshape(64, 64)
    assert np.array_equal(shown[:, :, 0], np.minimum(255, 4 * indices.astype(int)))


def test_a_frame_is_decoded(room: Room) -> None:
    image = picture(frames=2, syntax=JPEG)
    room.store(image)
    with opened(room, image) as reading:
        native = Renderer(room.transcoder).decoded(reading, reading.record, 2)
    decoded = np.asarray(Pillow.open(io.BytesIO(image.frames[1])))
    assert np.abs(np.frombuffer(native, np.uint8).reshape(64, 64).astype(int) - decoded).max() <= 1


def test_the_middle_stands_for_all(room: Room) -> None:
    room.store(*(picture(number, frames=3) for number in (1, 2, 3)), document(4), document(5))
    renderer = Renderer(room.transcoder)
    with opened(room, picture(), whole_study=True) as reading:
        record, number = renderer.representative(reading)
        assert (record.identity.sop_instance_uid, number) == (picture(3).instance, 2)
    with opened(room, document(4)) as reading, pytest.raises(NotFound):
        renderer.representative(reading)


def test_errors_are_those_of_reading(room: Room) -> None:
    room.store(picture())
    renderer = Renderer(room.transcoder)
    with opened(room, picture()) as reading, pytest.raises(NotFound):
        renderer.render(reading, reading.record, 2, PNG)
    (pack,) = room.packs()
    octets = bytearray(pack.read_bytes())
    octets[len(octets) // 2] ^= 1
    pack.write_bytes(octets)
    with opened(room, picture()) as reading, pytest.raises((IntegrityError, DatasetRefused)) as raised:
        renderer.render(reading, reading.record, 1, PNG)
    assert raised.type is IntegrityError
