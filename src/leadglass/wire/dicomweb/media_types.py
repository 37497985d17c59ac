"""Media types and their negotiation.

A client says which media ranges it takes (``acceptable``), we say which media types we have (offers, the best first), and
``choose`` finds one or refuses with 406. Parameters that tell representations apart are ``type`` of multipart/related,
``transfer-syntax`` and ``charset``; others are passed over, as real clients send many.

**Invariant:** pure functions of text; only ``RequestRefused`` is raised, and no message repeats what the client sent.

Source: PS3.18 8.7; RFC 9110 5.6.6, 8.3.1, 12.4.2, 12.5.1; RFC 2387.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from leadglass.base.errors import RequestRefused
from leadglass.base.limits import MEDIA_RANGES_MAX, MEDIA_TYPE_CHARACTERS_MAX

APPLICATION_DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
JSON: Final = "application/json"
MULTIPART_RELATED: Final = "multipart/related"
OCTET_STREAM: Final = "application/octet-stream"
PROBLEM_JSON: Final = "application/problem+json"

TYPE: Final = "type"
TRANSFER_SYNTAX: Final = "transfer-syntax"
CHARSET: Final = "charset"

EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
"""What application/dicom means where no transfer syntax is named. Source: PS3.18 8.7.3.5.2."""

_TCHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ESSENCE: Final = re.compile(rf"[ \t]*({_TCHAR})/({_TCHAR})[ \t]*", re.ASCII)
_PARAMETER: Final = re.compile(
    # A quoted string, or what clients write without the quotes that "/" asks for: type=application/dicom.
    rf'[ \t]*({_TCHAR})=(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*)"|([^\s",;]*))[ \t]*',
    re.ASCII,
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type, or a range of them.

    Attributes:
        essence: ``type/subtype`` in lower case; ``*/*`` and ``type/*`` in a range.
        parameters: names in lower case, values as written, quotes removed. The first of a name counts.
        quality: weight in thousandths, 0 to 1000; 0 says that it is not acceptable.
    """

    essence: str
    parameters: Mapping[str, str] = field(default_factory=lambda: _NO_PARAMETERS)
    quality: int = 1000

    @property
    def type_(self) -> str:
        """Media type of the parts of multipart/related, in lower case, without parameters; may be empty."""
        return self.parameters.get(TYPE, "").partition(";")[0].strip().lower()

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax UID, ``*``, or empty where none is named."""
        return self.parameters.get(TRANSFER_SYNTAX, "")

    def __str__(self) -> str:
        """Return it as in a header, values quoted where a token may not hold them."""
        return "; ".join([self.essence, *(f"{n}={_written(v)}" for n, v in self.parameters.items())])


def _written(value: str) -> str:
    if re.fullmatch(_TCHAR, value, re.ASCII):
        return value
    return '"' + re.sub(r'([\\"])', r"\\\1", value) + '"'


def multipart_related(part: str, *, boundary: str = "", transfer_syntax: str = "") -> MediaType:
    """Return multipart/related of parts of one media type. Source: PS3.18 8.7.2."""
    parameters = {TYPE: part}
    if transfer_syntax:
        parameters[TRANSFER_SYNTAX] = transfer_syntax
    if boundary:
        parameters["boundary"] = boundary
    return MediaType(MULTIPART_RELATED, parameters)


def parse_media_type(text: str) -> MediaType:
    """Return the media type of a Content-Type header.

    Raises:
        RequestRefused: 400, it is none, or longer than any real one.
    """
    found, end = _read(text, 0)
    if end != len(text) or "*" in found.essence:
        raise RequestRefused("the Content-Type is not a media type (RFC 9110 8.3)")
    return found


def parse_accept(text: str) -> tuple[MediaType, ...]:
    """Return the media ranges of an Accept header, or of an ``accept`` query parameter, in their order.

    Raises:
        RequestRefused: 400, malformed, or more ranges than anybody needs.
    """
    ranges: list[MediaType] = []
    position = 0
    if len(text) > MEDIA_TYPE_CHARACTERS_MAX:
        raise RequestRefused("Accept is too long")
    while position < len(text):
        if text[position] in ", \t":
            position += 1
            continue
        found, position = _read(text, position)
        if position < len(text) and text[position] != ",":
            raise RequestRefused("Accept is malformed (RFC 9110 12.5.1)")
        ranges.append(found)
        if len(ranges) > MEDIA_RANGES_MAX:
            raise RequestRefused(f"Accept has more than {MEDIA_RANGES_MAX} media ranges")
    return tuple(ranges)


def _read(text: str, position: int) -> tuple[MediaType, int]:
    if len(text) > MEDIA_TYPE_CHARACTERS_MAX:
        raise RequestRefused("a media type is too long")
    head = _ESSENCE.match(text, position)
    if head is None:
        raise RequestRefused("what should be a media type is none (RFC 9110 8.3.1)")
    parameters: dict[str, str] = {}
    position = head.end()
    while position < len(text) and text[position] == ";":
        position += 1
        if not text[position:].strip(" \t") or text[position:].lstrip(" \t")[0] in ";,":
            position = len(text) - len(text[position:].lstrip(" \t"))  # an empty parameter: RFC 9110 5.6.6
            continue
        found = _PARAMETER.match(text, position)
        if found is None:
            raise RequestRefused("a parameter of a media type is malformed (RFC 9110 5.6.6)")
        quoted, plain = found[2], found[3]
        value = plain if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        parameters.setdefault(found[1].lower(), value)
        position = found.end()
    quality = _quality(parameters.pop("q", "1"))
    return MediaType(f"{head[1]}/{head[2]}".lower(), MappingProxyType(parameters), quality), position


def _quality(text: str) -> int:
    if not _QUALITY.fullmatch(text):
        raise RequestRefused("a weight of Accept is no number from 0 to 1 (RFC 9110 12.4.2)")
    return round(float(text) * 1000)


# --- which of ours they take -----------------------------------------------------------------------------------


def acceptable(header: str | None, parameters: Sequence[str] = ()) -> tuple[MediaType, ...]:
    """Return what a client takes: the ``accept`` query parameter first, then the Accept header.

    A browser cannot set its Accept header, so the parameter goes before it (PS3.18 8.3.3.1); who sends neither takes
    anything. Ranges of the parameter weigh as they say, those of a header beside it count only where the parameter
    has nothing for us.

    Raises:
        RequestRefused: as ``parse_accept``.
    """
    asked = tuple(media for text in parameters for media in parse_accept(text))
    return asked or parse_accept(header or "") or (MediaType("*/*"),)


def choose(offers: Iterable[MediaType], ranges: Sequence[MediaType]) -> MediaType:
    """Return the offer that the client likes best; among equals the first.

    Args:
        offers: what we have. A range that names a transfer syntax is met by an offer that names the same; a range
            with ``transfer-syntax=*``, or without any, by every offer: the order of the offers says what is then given.
        ranges: from ``acceptable``.

    Raises:
        RequestRefused: 406, none is acceptable.
    """
    best: MediaType | None = None
    weight = 0
    for offer in offers:
        liked = quality_of(offer, ranges)
        if liked > weight:
            best, weight = offer, liked
    if best is None:
        raise RequestRefused("nothing of what can be answered is acceptable (PS3.18 8.7.8)", http_status=406)
    return best


def quality_of(offer: MediaType, ranges: Sequence[MediaType]) -> int:
    """Return the weight of an offer in thousandths: that of the most specific range it meets; 0 where it meets none."""
    best = (-1, -1)
    quality = 0
    for media in ranges:
        precedence = _precedence(offer, media)
        if precedence is not None and precedence > best:
            best, quality = precedence, media.quality
    return quality


def _precedence(offer: MediaType, media: MediaType) -> tuple[int, int] | None:
    """Tell how specific a range is that covers the offer; None where it does not. Source: RFC 9110 12.5.1."""
    if media.essence == "*/*":
        specific = 0
    elif media.essence == offer.essence:
        specific = 2
    elif media.essence == offer.essence.partition("/")[0] + "/*":
        specific = 1
    else:
        return None
    named = 0
    if TYPE in media.parameters and offer.type_:
        if not _covers(media.type_, offer.type_):
            return None
        named += 1
    if media.parameters.get(CHARSET, "utf-8").lower() not in _UTF_8:
        return None
    syntax = media.transfer_syntax
    if syntax and syntax != "*":
        if offer.transfer_syntax != syntax:
            return None
        named += 1
    return specific, named


def _covers(asked: str, offered: str) -> bool:
    return asked in {"*/*", offered, offered.partition("/")[0] + "/*"}
