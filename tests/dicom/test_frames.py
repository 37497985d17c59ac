"""Frames lie where the object says, and an object that lies about it is refused (attacks S26, S28)."""

import struct
import tracemalloc
from array import array
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from corpus import corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused
from leadglass.dicom.frames import FrameLayout, cut_bits, frame_layout, top_level_values
from leadglass.dicom.outline import BulkValue, Fragments, Outline, decode_outline
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.values import Element, write_dataset

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
MPEG4 = "1.2.840.10008.1.2.4.102"


def header(
    frames: str = "",
    *,
    rows: int = 4,
    columns: int = 3,
    samples: int = 1,
    bits: int = 8,
    photometric: str = "MONOCHROME2",
    syntax: str = EXPLICIT,
) -> bytes:
    elements = [
        Element(0x00280002, "US", struct.pack("<H", samples)),
        Element(0x00280004, "CS", photometric.encode()),
        Element(0x00280010, "US", struct.pack("<H", rows)),
        Element(0x00280011, "US", struct.pack("<H", columns)),
        Element(0x00280100, "US", struct.pack("<H", bits)),
    ]
    if frames:
        elements.append(Element(0x00280008, "IS", frames.encode()))
    return write_dataset(elements, EXPLICIT if syntax == JPEG else syntax)


def no_reading(_offset: int, _length: int) -> bytes:
    raise AssertionError("nothing needs to be read")


def native(value_length: int, frames: str = "", *, syntax: str = EXPLICIT, **more: Any) -> FrameLayout:  # noqa: ANN401 - attributes of any kind
    head = header(frames, syntax=syntax, **more)
    return frame_layout(Outline(syntax, head, (BulkValue(0x7FE00010, "OW", 100, value_length),)), no_reading)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_native_frames_follow_one_another(syntax: str) -> None:
    layout = native(36, "3", syntax=syntax)
    assert layout.count == 3
    assert [layout.place(n).pieces for n in (1, 2, 3)] == [((100, 12),), ((112, 12),), ((124, 12),)]


@pytest.mark.parametrize(
    ("more", "octets"),
    [
        ({"samples": 3}, 36),
        ({"bits": 16}, 24),
        ({"bits": 32}, 48),
        ({"samples": 3, "photometric": "YBR_FULL_422", "columns": 4}, 32),
        ({"samples": 3, "photometric": "YBR_PARTIAL_420", "columns": 4}, 24),
        ({"photometric": "YBR_FULL_422"}, 12),
    ],
)
def test_size_of_a_native_frame(more: dict[str, Any], octets: int) -> None:
    layout = native(2 * octets, "2", **more)
    assert layout.place(2).pieces == ((100 + octets, octets),)


def test_no_pixel_data_has_no_frames() -> None:
    layout = frame_layout(Outline(EXPLICIT, header(), ()), no_reading)
    assert (layout.count, layout.value) == (0, None)
    with pytest.raises(DatasetRefused):
        layout.place(1)


@settings(max_examples=200)
@given(st.integers(1, 5), st.integers(1, 37), st.integers(1, 5), st.data())
def test_frames_of_single_bits(rows: int, columns: int, frames: int, data: st.DataObject) -> None:
    """PS3.5 8.1.1: packed, the first pixel in the least significant bit, frames without a gap between them."""
    size = rows * columns
    bits = data.draw(st.lists(st.booleans(), min_size=size * frames, max_size=size * frames))
    packed = bytearray(-(-len(bits) // 8))
    for position, bit in enumerate(bits):
        packed[position // 8] |= bit << position % 8
    layout = native(len(packed) + len(packed) % 2, str(frames), rows=rows, columns=columns, bits=1)
    for number in range(1, frames + 1):
        place = layout.place(number)
        ((offset, length),) = place.pieces
        frame = cut_bits(bytes(packed[offset - 100 : offset - 100 + length]), place)
        assert len(frame) == -(-size // 8)
        found = [bool(frame[i // 8] >> i % 8 & 1) for i in range(8 * len(frame))]
        assert found[:size] == bits[(number - 1) * size : number * size]
        assert not any(found[size:])


@pytest.mark.parametrize(
    ("length", "frames", "more"),
    [
        (11, "", {}),
        (35, "3", {}),
        (36, "4", {}),
        (36, "0", {}),
        (36, "-1", {}),
        (36, "1.5", {}),
        (36, "x", {}),
        (36, "9" * 13, {}),
        (36, "", {"rows": 0}),
        (36, "", {"columns": 0}),
        (36, "", {"samples": 0}),
        (36, "", {"bits": 0}),
        (1, "2", {"rows": 3, "columns": 3, "bits": 1}),
        (1 << 40, "1000000", {"rows": 65535, "columns": 65535, "samples": 4, "bits": 64}),
    ],
)
def test_dimensions_that_do_not_fit_are_refused_before_memory_is_taken(
    length: int, frames: str, more: dict[str, Any]
) -> None:
    """Attack S26."""
    tracemalloc.start()
    try:
        with pytest.raises(DatasetRefused):
            native(length, frames, **more)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("missing", [0x00280010, 0x00280011, 0x00280100])
def test_attributes_that_are_missing(missing: int) -> None:
    elements = [Element(tag, "US", b"\4\0") for tag in (0x00280010, 0x00280011, 0x00280100) if tag != missing]
    outline = Outline(EXPLICIT, write_dataset(elements), (BulkValue(0x7FE00010, "OW", 0, 1000),))
    with pytest.raises(DatasetRefused):
        frame_layout(outline, no_reading)


def test_two_kinds_of_pixel_data_are_refused() -> None:
    values = (BulkValue(0x7FE00008, "OF", 0, 12), BulkValue(0x7FE00010, "OW", 20, 12))
    with pytest.raises(DatasetRefused):
        frame_layout(Outline(EXPLICIT, header(), values), no_reading)


# --- encapsulated ----------------------------------------------------------------------------------------------


class Stored:
    """A data set in which pixel data begins at 1000 and the extended tables lie before it."""

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        basic: Sequence[int] = (),
        offsets: Sequence[int] | None = None,
        extended_lengths: Sequence[int] | None = None,
        frames: str = "",
        syntax: str = JPEG,
    ) -> None:
        table = struct.pack(f"<{len(basic)}I", *basic)
        sizes = array("I", [len(table), *lengths])
        self.octets = bytearray(1000)
        bulk: list[BulkValue] = []
        at = 0
        for tag, values in ((0x7FE00001, offsets), (0x7FE00002, extended_lengths)):
            if values is not None:
                raw = struct.pack(f"<{len(values)}Q", *values)
                self.octets[at : at + len(raw)] = raw
                bulk.append(BulkValue(tag, "OV", at, len(raw)))
                at += len(raw)
        fragments = Fragments(1000, sizes)
        self.octets += struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table
        bulk.append(BulkValue(0x7FE00010, "OB", 1000, int(fragments.starts[-1]), True, fragments))
        self.outline = Outline(syntax, header(frames, syntax=JPEG), tuple(bulk))

    def layout(self) -> FrameLayout:
        return frame_layout(self.outline, lambda offset, length: bytes(self.octets[offset : offset + length]))

    def fragments(self, number: int) -> list[int]:
        """Return which fragments make a frame: 0 is the first behind the table."""
        value = self.outline.bulk[-1]
        return [list(value.fragments).index(piece) - 1 for piece in self.layout().place(number).pieces]


def test_one_fragment_for_each_frame() -> None:
    stored = Stored([10, 20, 30], frames="3")
    assert [stored.fragments(n) for n in (1, 2, 3)] == [[0], [1], [2]]
    assert stored.layout().place(2).pieces == ((1000 + 8 + 18 + 8, 20),)


def test_one_frame_of_many_fragments() -> None:
    assert Stored([10, 20, 30]).fragments(1) == [0, 1, 2]


def test_basic_offset_table() -> None:
    stored = Stored([10, 20, 30, 40], basic=[0, 46, 84], frames="3")
    assert [stored.fragments(n) for n in (1, 2, 3)] == [[0, 1], [2], [3]]


def test_extended_offset_table() -> None:
    stored = Stored([10, 20, 30], offsets=[0, 18, 46], extended_lengths=[9, 20, 29], frames="3")
    assert [stored.fragments(n) for n in (1, 2, 3)] == [[0], [1], [2]]


@pytest.mark.parametrize(
    "stored",
    [
        Stored([], frames="1"),
        Stored([10, 20], frames="3"),  # fewer fragments than frames
        Stored([10, 20, 30], frames="2"),  # nothing says which belong together
        Stored([10, 20, 30], frames="9" * 12),
        Stored([10, 20, 30], basic=[0, 18], frames="3"),  # too few entries
        Stored([10, 20, 30], basic=[0, 18, 46, 84], frames="3"),  # too many
        Stored([10, 20, 30], basic=[8, 18, 46], frames="3"),  # does not begin with the first
        Stored([10, 20, 30], basic=[0, 46, 18], frames="3"),  # descends
        Stored([10, 20, 30], basic=[0, 18, 18], frames="3"),  # twice the same
        Stored([10, 20, 30], basic=[0, 18, 48], frames="3"),  # inside of a fragment
        Stored([10, 20, 30], basic=[0, 18, 84], frames="3"),  # the end
        Stored([10, 20, 30], basic=[0, 18, 0xFFFFFFF0], frames="3"),  # beyond the value
        Stored([10, 20, 30], offsets=[0, 18, 46], frames="3"),  # no lengths
        Stored([10, 20, 30], offsets=[0, 18], extended_lengths=[10, 20], frames="3"),
        Stored([10, 20, 30], offsets=[0, 18, 46], extended_lengths=[10, 20], frames="3"),
        Stored([10, 20, 30], offsets=[0, 18, 46], extended_lengths=[10, 20, 28], frames="3"),
        Stored([10, 20, 30], offsets=[0, 18, 46], extended_lengths=[10, 21, 30], frames="3"),
        Stored([10, 20, 30], offsets=[0, 18, 2**64 - 8], extended_lengths=[10, 20, 30], frames="3"),
        Stored([10, 20, 30], offsets=[0, 46, 18], extended_lengths=[10, 20, 30], frames="3"),
        Stored(
            [10, 20, 30], offsets=[0, 18], extended_lengths=[10, 20], frames="2"
        ),  # a frame of two fragments
        Stored(
            [10, 20], basic=[0, 19], offsets=[0, 18], extended_lengths=[10, 20], frames="2"
        ),  # they disagree
        Stored([10, 20], syntax=MPEG4, frames="2"),
    ],
)
def test_tables_that_lie(stored: Stored) -> None:
    """Attack S28."""
    with pytest.raises(DatasetRefused):
        stored.layout()


def test_a_table_that_cannot_be_read_is_refused() -> None:
    stored = Stored([10, 20], basic=[0, 18], frames="2")
    with pytest.raises(DatasetRefused):
        frame_layout(stored.outline, lambda _offset, _length: b"\0\0")


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.lists(st.integers(0, 300), max_size=6),
    st.integers(1, 6),
)
def test_any_table_is_true_or_refused(lengths: list[int], basic: list[int], frames: int) -> None:
    stored = Stored(lengths, basic=basic, frames=str(frames))
    try:
        layout = stored.layout()
    except DatasetRefused:
        return
    # What is not refused gives each fragment to one frame, in order, and every frame at least one.
    assert [f for n in range(1, layout.count + 1) for f in stored.fragments(n)] == list(range(len(lengths)))
    assert all(stored.fragments(n) for n in range(1, layout.count + 1))


def test_a_slide_of_a_hundred_thousand_tiles() -> None:
    count = 100_000
    lengths = [100 + 2 * (n % 50) for n in range(count)]
    offsets = [0]
    for length in lengths[:-1]:
        offsets.append(offsets[-1] + length + 8)
    stored = Stored(lengths, basic=offsets, frames=str(count))
    place = stored.layout().place(count)
    assert place.pieces == ((1000 + 8 + 4 * count + offsets[-1] + 8, lengths[-1]),)


# --- against pydicom, and the header ---------------------------------------------------------------------------


def octets_of(data: bytes, offset: int, length: int) -> bytes:
    return data[offset : offset + length]


@needs_corpus
def test_corpus_frames_are_those_of_pydicom() -> None:
    compared = 0
    for path in corpus_files("."):
        raw = path.read_bytes()
        try:
            meta = read_file_meta(raw[:FILE_META_BYTES_MAX])
            data = raw[meta.dataset_offset :]
            scanner = DatasetScanner(meta.transfer_syntax_uid, outlining=True)
            scanner.feed(data)
            scanner.finish()
            taken = scanner.outline()
            assert taken is not None
            outline = decode_outline(taken.encode())
            if not outline.addressable:
                continue
            layout = frame_layout(outline, partial(octets_of, data))
        except DatasetRefused:
            continue
        if layout.value is None or not layout.value.encapsulated:
            continue
        theirs = pydicom.dcmread(BytesIO(raw), force=True)
        frames = list(generate_frames(theirs.PixelData, number_of_frames=layout.count))
        assert len(frames) == layout.count
        for number, frame in enumerate(frames, 1):
            ours = b"".join(data[at : at + size] for at, size in layout.place(number).pieces)
            assert ours == frame
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_attributes_behind_sequences_of_every_form(syntax: str) -> None:
    order = ">" if syntax == BIG else "<"
    last = Element(0x00280010, "US", b"\7\0")
    inside = write_dataset([Element(0x00280010, "US", b"\1\0")], syntax)

    def tag(group: int, number: int, length: int) -> bytes:
        return struct.pack(order + "HHI", group, number, length)

    opened = (
        struct.pack(order + "HH", 0x0008, 0x1140) + struct.pack("<I", 0xFFFFFFFF)
        if syntax == IMPLICIT
        else struct.pack(order + "HH2sxxI", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
    )
    end_item, end = tag(0xFFFE, 0xE00D, 0), tag(0xFFFE, 0xE0DD, 0)
    inner = opened + tag(0xFFFE, 0xE000, 0xFFFFFFFF) + inside + end_item + end
    data = opened + tag(0xFFFE, 0xE000, 0xFFFFFFFF) + inner + inside + end_item
    data += tag(0xFFFE, 0xE000, len(inside)) + inside + end + write_dataset([last], syntax)
    found = top_level_values(data, TRANSFER_SYNTAXES[syntax], {0x00280010})
    assert found == {0x00280010: b"\0\7" if syntax == BIG else b"\7\0"}


def test_an_unknown_sequence_is_in_implicit_vr() -> None:
    inside = write_dataset([Element(0x00280010, "US", b"\1\0")], IMPLICIT)
    data = struct.pack("<HH2sxxI", 0x0009, 0x1010, b"UN", 0xFFFFFFFF)
    data += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    data += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + write_dataset([Element(0x00280010, "US", b"\7\0")])
    assert top_level_values(data, TRANSFER_SYNTAXES[EXPLICIT], {0x00280010}) == {0x00280010: b"\7\0"}


@given(st.binary(max_size=100))
def test_garbage_is_only_ever_refused(junk: bytes) -> None:
    for syntax in (EXPLICIT, IMPLICIT, BIG):
        try:
            top_level_values(junk, TRANSFER_SYNTAXES[syntax], {0x00280010})
        except DatasetRefused:
            pass
