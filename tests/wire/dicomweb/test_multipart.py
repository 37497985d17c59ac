"""Bodies of multipart/related: what is written is read back in any cut, and nothing costs more than it may."""

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import (
    KIB,
    MIB,
    MULTIPART_PARTS_MAX,
    MULTIPART_PREAMBLE_BYTES_MAX,
    PART_HEADER_BYTES_MAX,
)
from leadglass.wire.dicomweb.media_types import MediaType, parse_media_type
from leadglass.wire.dicomweb.multipart import (
    BOUNDARY_LENGTH_MAX,
    MultipartReader,
    PartBegins,
    PartData,
    PartEnds,
    boundary_of,
    closing,
    part_head,
)

Parts = list[tuple[dict[str, str], bytes]]


def read(pieces: Iterable[bytes], boundary: str = "b") -> Parts:
    reader = MultipartReader(boundary)
    parts: Parts = []
    whole = 0
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case PartBegins(headers=headers):
                    assert whole == len(parts)
                    parts.append((dict(headers), b""))
                case PartData(data=data):
                    assert len(data)
                    parts[-1] = (parts[-1][0], parts[-1][1] + bytes(data))
                case PartEnds():
                    whole += 1
    reader.finish()
    assert whole == len(parts)
    return parts


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def status_of(pieces: Iterable[bytes]) -> int:
    with pytest.raises(RequestRefused) as refused:
        read(pieces)
    return refused.value.http_status


BODIES: dict[bytes, Parts] = {
    b"--b\r\n\r\nx\r\n--b--": [({}, b"x")],
    b"--b\r\n\r\n\r\n--b--\r\n": [({}, b"")],
    b"--b\r\n\r\n--b--\r\n": [({}, b"")],
    b"--b\r\nA: 1\r\n\r\n--b--": [({"a": "1"}, b"")],
    b"--b\r\nA: 1\r\n\r\n\r\n--b--": [({"a": "1"}, b"")],
    b"--b\r\nA: 1\r\n\r\n\r\n\r\n--b--": [({"a": "1"}, b"\r\n")],
    b"\r\n--b\r\n\r\nx\r\n--b--": [({}, b"x")],
    b"hello\r\n--b \t\r\n\r\nx\r\n--b--\r\nbye": [({}, b"x")],
    b"--b\r\nA:  1 \r\nB: 2\r\n 3\r\nA: 4\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--": [({"a": "1", "b": "2 3"}, b"x"), ({}, b"y")],
    b"--b\r\n\r\n\r\n--\r\n-b\r\n--\r--b\n--b\r\n--b--": [({}, b"\r\n--\r\n-b\r\n--\r--b\n--b")],
    b"--b--": [],
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_of_rfc_2046_in_every_cut(body: bytes) -> None:
    for size in range(1, len(body) + 1):
        assert read(cut(body, size)) == BODIES[body]


@given(
    st.lists(st.binary(max_size=60) | st.text("\r\n-b", max_size=30).map(str.encode), max_size=5),
    st.integers(1, 80),
    st.from_regex(r"[0-9A-Za-z'+_,./:=?-]{1,70}", fullmatch=True),
)
def test_what_is_written_is_read_back_in_any_cut(contents: list[bytes], size: int, boundary: str) -> None:
    delimiter = b"\r\n--" + boundary.encode()
    contents = [content for content in contents if delimiter not in b"\r\n" + content]
    body = b"".join(
        part_head(boundary, "application/dicom", location=f"/x/{n}", length=len(content), first=n == 0)
        + content
        for n, content in enumerate(contents)
    )
    body += closing(boundary) if contents else f"--{boundary}--".encode()
    parts = read(cut(body, size), boundary)
    assert [content for _, content in parts] == contents
    assert [headers["content-location"] for headers, _ in parts] == [f"/x/{n}" for n in range(len(contents))]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"\r", b"\n", b"-", b"b", b"a: b", b": ", b" ", b"\0", b"x" * 50])),
    st.integers(1, 9),
)  # fmt: skip
def test_garbage_is_read_or_refused_and_any_cut_of_it_gives_the_same(words: list[bytes], size: int) -> None:
    body = b"".join(words)

    def outcome(pieces: Iterable[bytes]) -> Parts | int:
        try:
            return read(pieces)
        except RequestRefused as refused:
            return refused.http_status

    assert outcome(cut(body, size)) == outcome([body] if body else [])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"--b\r\n\r\nx", 400),
        (b"--b\r\n\r\nx\r\n--b", 400),
        (b"--b\r\n\r\nx\r\n--b-", 400),
        (b"--bx\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\n\r\nx\r\n--bx\r\n--b--", 400),
        (b"--b\r\nno colon\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\nA\0: x\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\nA: x\0\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\nA: x\ny\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\nContent-Type: none\r\n\r\nx\r\n--b--", 400),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\nx\r\n--b--", 415),
        (b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--b--", 415),
        (b"--b\r\nContent-Encoding: gzip\r\n\r\nx\r\n--b--", 415),
        (b"x" * (MULTIPART_PREAMBLE_BYTES_MAX + 1), 400),
        (b"--b--" + b"x" * (MULTIPART_PREAMBLE_BYTES_MAX + 1), 400),
        (b"--b" + b" " * PART_HEADER_BYTES_MAX + b"\r\n\r\n\r\n--b--", 400),
        (b"--b\r\nA: " + b"x" * PART_HEADER_BYTES_MAX + b"\r\n\r\nx\r\n--b--", 413),
        (b"--b\r\nA: " + b"x" * PART_HEADER_BYTES_MAX, 413),
        (b"--b\r\n" + b"A: x\r\n" * PART_HEADER_BYTES_MAX, 413),
        (b"--b\r\n\r\n\r\n" * (MULTIPART_PARTS_MAX + 1), 413),
    ],
    ids=lambda value: value if isinstance(value, int) else f"{len(value)}:{value[:30]!r}",
)
@pytest.mark.parametrize("size", [4096, 10_000_000])
def test_malformed_and_costly_bodies(body: bytes, status: int, size: int) -> None:
    """S74."""
    assert status_of(cut(body, size)) == status


@pytest.mark.parametrize(
    "content",
    [bytes(64 * KIB), b"\r" * 64 * KIB, b"\r\n" * 32 * KIB, (b"\r\n--" + b"0" * 63) * 977],
    ids=["zeros", "cr", "crlf", "near"],
)
def test_memory_does_not_depend_on_the_length_of_a_part(content: bytes) -> None:
    reader = MultipartReader("0" * 64)
    list(reader.feed(part_head("0" * 64, "application/dicom", first=True)))
    tracemalloc.start()
    received = 0
    try:
        for _ in range(512):
            for event in reader.feed(content):
                assert isinstance(event, PartData)
                received += len(event.data)
        assert tracemalloc.get_traced_memory()[1] < 1 * MIB
    finally:
        tracemalloc.stop()
    assert 512 * len(content) - received < 128


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/related", 400),
        ('multipart/related; boundary=""', 400),
        (f"multipart/related; boundary={'x' * (BOUNDARY_LENGTH_MAX + 1)}", 400),
        ('multipart/related; boundary="x "', 400),
        ('multipart/related; boundary="x\\"y"', 400),
        ("multipart/mixed; boundary=x", 415),
        ("application/dicom; boundary=x", 415),
    ],
)
def test_a_boundary_has_rules(content_type: str, status: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        boundary_of(parse_media_type(content_type))
    assert refused.value.http_status == status


def test_the_boundary_of_orthanc_is_taken() -> None:
    """Two UUIDs: 73 characters, where RFC 2046 allows 70."""
    boundary = "-".join(["f1ac8aa0-e768-4e3b-b4e8-0c723daad7d1"] * 2)
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    assert boundary_of(parse_media_type(content_type)) == boundary
    body = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\nx\r\n--{boundary}--\r\n".encode()
    assert [content for _, content in read([body], boundary)] == [b"x"]


def test_a_part_without_content_type_is_of_the_type_that_the_body_names() -> None:
    body = b"--b\r\n\r\nx\r\n--b\r\nContent-Type: image/png\r\nContent-Location: /l\r\n\r\nx\r\n--b--"
    reader = MultipartReader("b", "application/dicom")
    begun = [event for event in reader.feed(body) if isinstance(event, PartBegins)]
    assert [part.media_type for part in begun] == [MediaType("application/dicom"), MediaType("image/png")]
    assert [part.location for part in begun] == ["", "/l"]
