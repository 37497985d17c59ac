"""Byte ranges of a representation: from the Range header to first and last octet.

**Invariant:** pure; a header that is malformed, or that asks for too much of too little, is as good as none
(RFC 9110 14.2 lets a server pass over it), so that whoever sends one gets the whole.

Source: RFC 9110 14; PS3.18 8.3.5 and 10.4.1.1.5 (bulk data by ranges).
"""

import re
from dataclasses import dataclass
from typing import Final

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import BYTE_RANGES_MAX

_UNIT: Final = re.compile(r"bytes[ \t]*=(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_SPEC: Final = re.compile(r"([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18})", re.ASCII)


class RangeNotSatisfiable(RequestRefused):
    """None of the ranges lies within the representation; answer ``Content-Range: bytes */<length>``.

    Attributes:
        length: octets of the representation.
    """

    http_status = 416

    def __init__(self, length: int) -> None:
        super().__init__("no range lies within the representation (RFC 9110 14.2)", http_status=416)
        self.length = length


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Octets ``first`` to ``last``, both included, from 0."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Octets."""
        return self.last - self.first + 1

    def content_range(self, length: int) -> str:
        """Return the Content-Range header of a part of a representation of ``length`` octets."""
        return f"bytes {self.first}-{self.last}/{length}"


def parse_ranges(header: str | None, length: int) -> tuple[ByteRange, ...] | None:
    """Return the ranges asked for, in their order, or None where the whole is to be sent.

    Several ranges that overlap or touch each other are joined where that keeps their order, so that the answer is never
    longer than the representation; what still would be is answered whole (RFC 9110 17.15).

    Args:
        header: value of Range, or None.
        length: octets of the representation.

    Raises:
        RangeNotSatisfiable: well-formed, and none lies within the representation.
    """
    found = _UNIT.fullmatch(header.strip(" \t")) if header else None
    if found is None:
        return None
    specs = [spec.strip(" \t") for spec in found[1].split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > BYTE_RANGES_MAX:
        return None
    ranges: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            return None
        within = _within(match, length)
        if within is not None:
            ranges.append(within)
    if not ranges:
        raise RangeNotSatisfiable(length)
    joined = _join(ranges)
    return tuple(joined) if sum(each.length for each in joined) <= length else None


def _within(match: re.Match[str], length: int) -> ByteRange | None:
    if match[3] is not None:
        suffix = min(int(match[3]), length)
        return ByteRange(length - suffix, length - 1) if suffix else None
    first = int(match[1])
    last = min(int(match[2]), length - 1) if match[2] else length - 1
    return ByteRange(first, last) if first < length else None


def _join(ranges: list[ByteRange]) -> list[ByteRange]:
    joined: list[ByteRange] = []
    for each in ranges:
        if joined and joined[-1].first <= each.first <= joined[-1].last + 1:
            joined[-1] = ByteRange(joined[-1].first, max(joined[-1].last, each.last))
        else:
            joined.append(each)
    return joined
