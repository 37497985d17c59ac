"""Header and bulk values, put together again, are the data set; whatever the cuts, whatever the encoding."""

import struct
import zlib
from array import array
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus import CORPUS, corpus_files, needs_corpus
from leadglass.base.errors import DatasetRefused, IntegrityError
from leadglass.base.ids import UID
from leadglass.base.limits import OUTLINE_FRAGMENTS_MAX, OUTLINE_HEADER_BYTES_MAX
from leadglass.dicom.outline import Fragments, Outline, decode_outline, encode_outline
from leadglass.dicom.part10 import FILE_META_BYTES_MAX, read_file_meta
from leadglass.dicom.scan import DatasetScanner
from leadglass.dicom.syntaxes import TRANSFER_SYNTAXES
from leadglass.dicom.value_representations import LONG_VRS

IMPLICIT = UID("1.2.840.10008.1.2")
EXPLICIT = UID("1.2.840.10008.1.2.1")
DEFLATED = UID("1.2.840.10008.1.2.1.99")
BIG = UID("1.2.840.10008.1.2.2")
JPEG = UID("1.2.840.10008.1.2.4.50")

IDENTITY = (
    (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
    (0x00080018, "UI", b"1.2.3.4\0"),
    (0x0020000D, "UI", b"1.2.3\0"),
    (0x0020000E, "UI", b"1.2.3.10"),
)


def outlined(data: bytes, syntax: UID, cuts: Iterable[int] = ()) -> Outline:
    scanner = DatasetScanner(syntax, outlining=True)
    at = 0
    for cut in (*cuts, len(data)):
        piece = bytearray(data[at:cut])
        scanner.feed(memoryview(piece))
        piece[:] = b"\xaa" * len(piece)  # the buffer is the caller's again
        at = max(at, cut)
    scanner.finish()
    taken = scanner.outline()
    assert taken is not None
    return decode_outline(taken.encode())


def element(tag: int, vr: str, value: bytes, *, implicit: bool = False, big: bool = False) -> bytes:
    order = ">" if big else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in LONG_VRS:
        return head + vr.encode() + struct.pack(order + "xxI", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def header_of(tag: int, vr: str, length: int, *, implicit: bool, big: bool) -> bytes:
    whole = element(tag, vr if vr in LONG_VRS else "UN", b"", implicit=implicit, big=big)
    if not implicit and vr not in LONG_VRS:
        return element(tag, vr, b"", big=big)[:-2] + struct.pack(">H" if big else "<H", length)
    return whole[:-4] + struct.pack(">I" if big else "<I", length)


def together(outline: Outline, data: bytes) -> bytes:
    """Put the bulk values back where they were, from their places in ``data``."""
    syntax = TRANSFER_SYNTAXES[outline.transfer_syntax_uid]
    implicit, big = syntax.implicit_vr, syntax.big_endian
    order = ">" if big else "<"
    whole = bytearray(outline.header)
    for value in outline.bulk:
        octets = data[value.offset : value.offset + value.length]
        assert len(octets) == value.length
        if value.encapsulated:
            run = b"".join(
                struct.pack(order + "HHI", 0xFFFE, 0xE000, length) + data[offset : offset + length]
                for offset, length in value.fragments
            )
            assert run == octets
            octets += struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
        length = 0xFFFFFFFF if value.encapsulated else value.length
        head = header_of(value.tag, value.vr, length, implicit=implicit, big=big)
        # In ascending order of offsets: everything before is in its place already.
        at = value.offset - len(head)
        whole[at:at] = head + octets
    return bytes(whole)


def inflated(data: bytes, syntax: UID) -> bytes:
    return zlib.decompressobj(-15).decompress(data) if syntax == DEFLATED else data


@needs_corpus
@pytest.mark.parametrize("step", [64 * 1024, 1 << 30])
def test_every_object_of_the_corpus(step: int) -> None:
    seen = 0
    for path in corpus_files("."):
        raw = path.read_bytes()
        try:
            meta = read_file_meta(raw[:FILE_META_BYTES_MAX])
            data = raw[meta.dataset_offset :]
            scanner = DatasetScanner(meta.transfer_syntax_uid)
            scanner.feed(data)
            scanner.finish()
        except DatasetRefused:
            continue
        outline = outlined(data, meta.transfer_syntax_uid, range(step, len(data), step))
        assert together(outline, inflated(data, meta.transfer_syntax_uid)) == inflated(
            data, meta.transfer_syntax_uid
        ), path.relative_to(CORPUS)
        assert outline.addressable == (meta.transfer_syntax_uid != DEFLATED)
        seen += 1
    assert seen > 250


VALUES = st.tuples(
    st.sampled_from(["OB", "OW", "UN", "UT", "LO", "US", "SQ"]),
    st.sampled_from([0, 2, 1024, 1026, 20_000, 65_534, 65_536, 65_538, 200_000]),
)


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[UID, bytes]:
    syntax = draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG]))
    implicit, big = syntax == IMPLICIT, syntax == BIG
    order = ">" if big else "<"

    def item(content: bytes) -> bytes:
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content

    out = [element(*e, implicit=implicit, big=big) for e in IDENTITY]
    tag = 0x0021_1000
    for vr, length in draw(st.lists(VALUES, max_size=6)):
        tag += 2
        size = min(length, 65_534) if vr not in LONG_VRS else length
        value = bytes([len(out)]) * size
        if vr == "SQ":
            value = item(element(0x0009_1001, "OB", value, implicit=implicit, big=big)) if size else b""
        out.append(element(tag, vr, value, implicit=implicit, big=big))
    pixels = draw(st.one_of(st.none(), st.sampled_from([0, 2, 300_000])))
    if syntax == JPEG:
        lengths = draw(st.lists(st.sampled_from([0, 2, 70_000]), min_size=1, max_size=5))
        out.append(struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF))
        out.extend(item(b"\xff" * length) for length in lengths)
        out.append(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    elif pixels is not None:
        out.append(element(0x7FE00010, "OW", b"\x7f" * pixels, implicit=implicit, big=big))
    if draw(st.booleans()):
        out.append(element(0xFFFCFFFC, "OB", b"\0" * 4000, implicit=implicit, big=big))
    data = b"".join(out)
    if syntax == DEFLATED:
        compressor = zlib.compressobj(wbits=-15)
        data = compressor.compress(data) + compressor.flush()
    return syntax, data


@settings(max_examples=150, deadline=None)
@given(data_sets(), st.lists(st.floats(0, 1), max_size=12), st.integers(0, 40))
def test_whatever_the_cuts(made: tuple[UID, bytes], places: list[float], close: int) -> None:
    syntax, data = made
    cuts = {int(place * len(data)) for place in places}
    # Cuts close to where elements begin are the ones that matter.
    cuts |= {at + close - 20 for at in _marks_of(data) if 0 < at + close - 20 < len(data)}
    outline = outlined(data, syntax, sorted(cuts))
    assert together(outline, inflated(data, syntax)) == inflated(data, syntax)
    assert outline == outlined(data, syntax)


def _marks_of(data: bytes) -> list[int]:
    marks: list[int] = []
    for mark in (
        b"\x21\x00",
        b"\xe0\x7f\x10\x00",
        b"\x7f\xe0\x00\x10",
        b"\xfe\xff",
        b"\xfc\xff",
        b"\xff\xfc",
    ):
        at = data.find(mark)
        while at >= 0 and len(marks) < 64:
            marks.append(at)
            at = data.find(mark, at + 1)
    return marks


def test_the_cut_at_every_octet() -> None:
    data = b"".join(element(*e) for e in IDENTITY)
    data += (
        element(0x00291010, "OB", b"\1" * 1026)
        + element(0x00291020, "LO", b"after")
        + element(0x7FE00010, "OW", b"\2\2")
    )
    whole = outlined(data, EXPLICIT)
    assert [value.tag for value in whole.bulk] == [0x00291010, 0x7FE00010]
    for cut in range(1, len(data)):
        assert outlined(data, EXPLICIT, [cut]) == whole


def test_bulk_values_are_jumped_over() -> None:
    data = b"".join(element(*e) for e in IDENTITY) + element(0x7FE00010, "OW", b"\2" * 100_000)
    data += element(0xFFFCFFFC, "OB", b"\0" * 10)
    scanner = DatasetScanner(EXPLICIT, outlining=True)
    at = fed = 0
    while at < len(data):
        if scanner.passable:
            at += scanner.passable
            scanner.pass_over(scanner.passable)
            continue
        scanner.feed(data[at : at + 1000])
        at, fed = at + 1000, fed + 1000
    scanner.finish()
    taken = scanner.outline()
    assert taken is not None
    assert fed <= 2000
    assert decode_outline(taken.encode()) == outlined(data, EXPLICIT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_header_beyond_its_bound_is_no_outline(syntax: UID) -> None:
    implicit = syntax == IMPLICIT
    item = element(0x0009_1001, "OB", b"\1" * OUTLINE_HEADER_BYTES_MAX, implicit=implicit)
    content = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    data = b"".join(element(*e, implicit=implicit) for e in IDENTITY)
    data += element(0x00081140, "SQ", content, implicit=implicit)
    scanner = DatasetScanner(syntax, outlining=True)
    scanner.feed(data)
    scanner.finish()
    assert scanner.outline() is None


def test_fragments_beyond_their_bound_are_no_outline() -> None:
    data = b"".join(element(*e) for e in IDENTITY) + struct.pack(
        "<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF
    )
    scanner = DatasetScanner(JPEG, outlining=True)
    scanner.feed(data)
    scanner.feed(struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (OUTLINE_FRAGMENTS_MAX + 1))
    scanner.feed(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    scanner.finish()
    assert scanner.outline() is None


def test_many_fragments_cost_four_octets_each() -> None:
    lengths = array("I", [10]) * OUTLINE_FRAGMENTS_MAX
    fragments = Fragments(100, lengths)
    assert fragments[0] == (108, 10)
    assert fragments[-1] == fragments[len(lengths) - 1] == (100 + 18 * (len(lengths) - 1) + 8, 10)
    assert fragments[1:3] == ((126, 10), (144, 10))


@given(st.binary(max_size=300), st.integers(0, 300))
@example(b"", 0)
def test_what_was_kept_is_read_back_or_named_as_damage(junk: bytes, cut: int) -> None:
    good = encode_outline(outlined(b"".join(element(*e) for e in IDENTITY), EXPLICIT))
    assert encode_outline(decode_outline(good)) == good
    for broken in (junk, good[:cut] if cut < len(good) else junk, zlib.compress(junk)):
        with pytest.raises(IntegrityError):
            decode_outline(broken)
