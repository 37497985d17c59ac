"""multipart/related: reader and writer.

Usage of the reader::

    reader = MultipartReader(boundary)
    for piece in body:
        for event in reader.feed(piece):   # PartBegins, PartData, PartEnds
            ...
    reader.finish()

A part's octets are given out as they come, so memory does not depend on its length. A multipart type inside of a part
is not looked into. A line that begins with the delimiter and goes on with something else is refused: RFC 2046 5.1.1
forbids it within a part, and readers that disagree about such a line see different parts.

**Invariant:** whatever comes raises ``RequestRefused`` or nothing, and any cut of the same octets gives the same parts.
Held in memory: the piece, a delimiter, the headers of one part.

Source: RFC 2046 5.1, RFC 2387; PS3.18 8.6, 8.7.2, 10.5.1.4.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import (
    MULTIPART_PARTS_MAX,
    MULTIPART_PREAMBLE_BYTES_MAX,
    PART_HEADER_BYTES_MAX,
)
from leadglass.wire.dicomweb.media_types import MULTIPART_RELATED, OCTET_STREAM, MediaType, parse_media_type

BOUNDARY_LENGTH_MAX: Final = 200
"""Characters. RFC 2046 5.1.1 says 70, and Orthanc sends 73: two UUIDs with a hyphen. More cost nothing but their comparison."""

_BOUNDARY: Final = re.compile(
    rf"[0-9A-Za-z'()+_,./:=? -]{{0,{BOUNDARY_LENGTH_MAX - 1}}}[0-9A-Za-z'()+_,./:=?-]", re.ASCII
)
_FIELD_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part begins.

    Attributes:
        headers: by name in lower case; the first of a name counts.
        media_type: its Content-Type; that of the multipart where it has none.
    """

    headers: Mapping[str, str]
    media_type: MediaType

    @property
    def location(self) -> str:
        """Content-Location, by which a BulkDataURI names this part; may be empty."""
        return self.headers.get("content-location", "")


@dataclass(frozen=True, slots=True, eq=False)
class PartData:
    """More octets of the part; valid until the next piece is fed."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole."""


Event = PartBegins | PartData | PartEnds


def boundary_of(media_type: MediaType) -> str:
    """Return the boundary of a multipart/related Content-Type.

    Raises:
        RequestRefused: 415, it is no multipart/related; 400, no boundary, or one of characters that RFC 2046
            5.1.1 does not allow, or much too long.
    """
    if media_type.essence != MULTIPART_RELATED:
        raise RequestRefused("a body of multipart/related is expected", http_status=415)
    boundary = media_type.parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestRefused("no boundary, or one that RFC 2046 5.1.1 does not allow")
    return boundary


class MultipartReader:
    """Reads one body. See the module for its use.

    Args:
        boundary: from ``boundary_of``.
        default: media type of a part that names none: ``type`` of the multipart.
    """

    def __init__(self, boundary: str, default: str = OCTET_STREAM) -> None:
        self._default = MediaType(default or OCTET_STREAM)
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first delimiter may stand at the very beginning, without a line before it.
        self._rest = _CRLF
        self._state = self._preamble
        self._skipped = 0
        self._parts = 0
        self._epilogue = False
        self._first = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what a piece of the body tells; take all of it before the next piece is fed.

        Raises:
            RequestRefused: 400 malformed; 413 more parts, or longer headers, than are taken.
        """
        buffer = self._rest + data if self._rest else data
        self._rest = b""
        position = 0
        while position < len(buffer):
            before, state = position, self._state
            position, event = state(buffer, position)
            if event is not None:
                yield event
            elif position == before and self._state == state:
                self._rest = buffer[position:]
                return

    def finish(self) -> None:
        """Check that the body was whole.

        Raises:
            RequestRefused: 400, it ended before its last delimiter.
        """
        if not self._epilogue:
            raise RequestRefused("the multipart body ends before its last delimiter (RFC 2046 5.1.1)")

    # --- states: each takes the buffer from a position, and returns how far it came and what it saw ------------------

    def _preamble(self, buffer: bytes, position: int) -> tuple[int, Event | None]:
        found = buffer.find(self._delimiter, position)
        end = found if found >= 0 else self._undecided(buffer, position)
        self._skip(end - position)
        if found < 0:
            return end, None
        self._state = self._behind_delimiter
        return found + len(self._delimiter), None

    def _behind_delimiter(self, buffer: bytes, position: int) -> tuple[int, Event | None]:
        """Behind a delimiter: ``--`` ends the body, else spaces and the end of the line begin a part."""
        if buffer.startswith(b"--", position):
            self._state = self._skip_epilogue
            self._epilogue = True
            return position + 2, None
        line_end = buffer.find(_CRLF, position, position + PART_HEADER_BYTES_MAX)
        line = buffer[position : line_end if line_end >= 0 else position + PART_HEADER_BYTES_MAX]
        if line.removesuffix(b"\r").strip(b" \t") and not (line_end < 0 and line == b"-"):
            raise RequestRefused("something else behind a delimiter of the multipart (RFC 2046 5.1.1)")
        if line_end < 0:
            if len(buffer) - position >= PART_HEADER_BYTES_MAX:
                raise RequestRefused("a line of the multipart is too long")
            return position, None
        self._parts += 1
        if self._parts > MULTIPART_PARTS_MAX:
            raise RequestRefused(f"more than {MULTIPART_PARTS_MAX} parts", http_status=413)
        self._state = self._headers
        return line_end, None  # the end of this line may be the empty line that ends no headers at all

    def _headers(self, buffer: bytes, position: int) -> tuple[int, Event | None]:
        end = buffer.find(b"\r\n\r\n", position, position + PART_HEADER_BYTES_MAX + 4)
        if end < 0:
            if len(buffer) - position >= PART_HEADER_BYTES_MAX + 4:
                raise RequestRefused("the headers of a part are too long", http_status=413)
            return position, None
        self._state = self._data
        # What ends the headers may begin the next delimiter, of a part without octets.
        return end + 2, self._begins(buffer[position + 2 : end])

    def _begins(self, block: bytes) -> PartBegins:
        headers: dict[str, str] = {}
        for line in _FOLD.sub(b" ", block).split(_CRLF) if block else ():
            name, colon, value = line.partition(b":")
            if not colon or not _FIELD_NAME.fullmatch(name) or _CONTROL.search(value):
                raise RequestRefused("a header of a part is malformed (RFC 5322 2.2)")
            headers.setdefault(name.decode().lower(), value.strip(b" \t").decode("latin-1"))
        encoding = headers.get("content-transfer-encoding", "binary").lower()
        if encoding not in {"binary", "8bit", "7bit"} or "content-encoding" in headers:
            raise RequestRefused("a part is encoded; only binary is taken (PS3.18 8.6)", http_status=415)
        given = headers.get("content-type")
        media_type = self._default if given is None else parse_media_type(given)
        if media_type.essence.startswith("multipart/"):
            raise RequestRefused("a multipart inside of a part", http_status=415)
        self._first = True
        return PartBegins(MappingProxyType(headers), media_type)

    def _data(self, buffer: bytes, position: int) -> tuple[int, Event | None]:
        # The line end behind the headers was left where it is: it is no data, but may begin a delimiter.
        start = position
        if self._first:
            if len(buffer) - position < len(self._delimiter) and self._delimiter.startswith(
                buffer[position:]
            ):
                return position, None
            if not buffer.startswith(self._delimiter, position):
                start = position + 2
            self._first = False
        found = buffer.find(self._delimiter, start)
        if found == start:
            self._state = self._behind_delimiter
            return found + len(self._delimiter), PartEnds()
        end = found if found >= 0 else self._undecided(buffer, start)
        if end == start:
            return start, None
        return end, PartData(memoryview(buffer)[start:end])

    def _skip_epilogue(self, buffer: bytes, position: int) -> tuple[int, Event | None]:
        self._skip(len(buffer) - position)
        return len(buffer), None

    def _skip(self, octets: int) -> None:
        self._skipped += octets
        if self._skipped > MULTIPART_PREAMBLE_BYTES_MAX:
            raise RequestRefused("too much before the first or behind the last delimiter of the multipart")

    def _undecided(self, buffer: bytes, position: int) -> int:
        """Return where a delimiter may begin that the buffer does not show whole; the end where there is none."""
        at = max(position, len(buffer) - len(self._delimiter) + 1)
        while (at := buffer.find(b"\r", at)) >= 0:
            if self._delimiter.startswith(buffer[at:]):
                return at
            at += 1
        return len(buffer)


# --- writer ----------------------------------------------------------------------------------------------------


def part_head(
    boundary: str, media_type: MediaType | str, *, location: str = "", length: int | None = None, first: bool
) -> bytes:
    """Return what stands before the octets of a part: delimiter and headers.

    Args:
        boundary: random, at least 128 bits, made by the caller; no part holds it then.
        media_type: Content-Type of the part.
        location: Content-Location: the URL of what the part holds.
        length: octets of the part, where known.
        first: it is the first part.
    """
    lines = [f"--{boundary}", f"Content-Type: {media_type}"]
    if location:
        lines.append(f"Content-Location: {location}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return (("" if first else "\r\n") + "\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def closing(boundary: str) -> bytes:
    """Return what stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
