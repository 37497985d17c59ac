"""What every answer of the Retrieve Service shares: whose it is, under which conditions, with which headers.

Source: PS3.18 8.4, 10.4; RFC 9110 8.8 (validators), 13 (conditions).
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.reading import InstanceRecord, Reading, Target
from leadglass.base.errors import DatasetRefused, RequestRefused
from leadglass.base.limits import FRAMES_PER_REQUEST_MAX, STREAM_PIECE_BYTES
from leadglass.doors.dicomweb.services import instance_url, series_url, study_url, uid_in_path
from leadglass.wire.dicomweb.media_types import MediaType, acceptable

STUDY: Final = "/studies/{study}"
SERIES: Final = STUDY + "/series/{series}"
INSTANCE: Final = SERIES + "/instances/{instance}"
FRAMES: Final = INSTANCE + "/frames/{frames}"

PRIVATE: Final[Mapping[str, str]] = {
    # What is shown to one person is nobody else's, whatever stands between us (RFC 9111 5.2.2.5).
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
ATTACHMENT: Final[Mapping[str, str]] = {"Content-Disposition": "attachment"}
"""For what a browser must not open in place: octets that strangers sent."""


def accepted(request: Request) -> tuple[MediaType, ...]:
    """Return the media ranges that the client takes.

    Raises:
        RequestRefused: 400, malformed.
    """
    return acceptable(request.headers.get("accept"), request.query_params.getlist("accept"))


def target_of(request: Request) -> Target:
    """Return what the path names.

    Raises:
        RequestRefused: 400, a UID of it is none.
    """
    named = request.path_params
    return Target(
        uid_in_path(request, "study"),
        uid_in_path(request, "series") if "series" in named else None,
        uid_in_path(request, "instance") if "instance" in named else None,
    )


def frames_of(request: Request) -> tuple[int, ...]:
    """Return the frame numbers of the path, from 1.

    Raises:
        RequestRefused: 400, no list of numbers, one of them twice, or more than ``FRAMES_PER_REQUEST_MAX``.
    """
    parts = str(request.path_params["frames"]).split(",")
    if len(parts) > FRAMES_PER_REQUEST_MAX:
        raise RequestRefused(f"more than {FRAMES_PER_REQUEST_MAX} frames at once")
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise RequestRefused("frames are named by numbers from 1, separated by commas (PS3.18 10.4.1.1.6)")
    numbers = tuple(int(part) for part in parts)
    if len(set(numbers)) != len(numbers):
        raise RequestRefused("a frame is named twice")
    return numbers


def url_of(root: str, record: InstanceRecord) -> str:
    """Return the URL of an instance. ``root`` is of ``Services.root_of``."""
    identity = record.identity
    return instance_url(root, identity.study_uid, identity.series_uid, identity.sop_instance_uid)


def url_of_target(root: str, target: Target) -> str:
    """Return the URL of what a path names."""
    if target.series_uid is None:
        return study_url(root, target.study_uid)
    if target.sop_instance_uid is None:
        return series_url(root, target.study_uid, target.series_uid)
    return instance_url(root, target.study_uid, target.series_uid, target.sop_instance_uid)


def new_boundary() -> str:
    """Return a boundary that no part holds: 192 random bits."""
    return secrets.token_hex(24)


# --- conditions ------------------------------------------------------------------------------------------------


def validators(reading: Reading, etag: str) -> dict[str, str]:
    """Return ETag and Last-Modified of a representation."""
    return {"ETag": etag, "Last-Modified": format_datetime(reading.last_modified(), usegmt=True)}


def not_modified(request: Request, known: Mapping[str, str]) -> Response | None:
    """Return a 304 where the client has this representation already; None where it wants it.

    Args:
        request: with its If-None-Match, or else If-Modified-Since.
        known: of ``validators``.

    Source: RFC 9110 13.1.2, 13.1.3, 13.2.2.
    """
    tags = request.headers.get("if-none-match")
    if tags is not None:
        listed = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        same = "*" in listed or known["ETag"].removeprefix("W/") in listed
    else:
        same = _since(request.headers.get("if-modified-since"), known["Last-Modified"])
    return Response(status_code=304, headers={**PRIVATE, **known}) if same else None


def _since(asked: str | None, modified: str) -> bool:
    if asked is None:
        return False
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return False  # RFC 9110 13.1.3: what is no date is as good as none
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _seconds(parsedate_to_datetime(modified)) <= _seconds(moment)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


# --- octets ----------------------------------------------------------------------------------------------------


def lasting(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the same pieces, each as long-lived as ``threads.stream`` needs it.

    A segment of a pack is shorter than what ``stream`` copies anyway, so nothing is copied twice; whatever is longer and
    lies in a buffer that will be used again is copied here.
    """
    for piece in pieces:
        borrowed = isinstance(piece, memoryview) and len(piece) >= STREAM_PIECE_BYTES // 4
        yield bytes(piece) if borrowed else piece


def as_representation(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield ``pieces``; an object that cannot be had in this form is a 406, not a conflict.

    Raises:
        RequestRefused: 406, in place of ``DatasetRefused``.
    """
    try:
        yield from pieces
    except DatasetRefused as error:
        raise unacceptable(error) from error


def unacceptable(error: DatasetRefused) -> RequestRefused:
    """Return the answer to whoever asked for a form that an object cannot be had in."""
    return RequestRefused(f"it cannot be had in this form: {error}", http_status=406)


# --- description -----------------------------------------------------------------------------------------------

_UID: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_PATH_SCHEMAS: Final[Mapping[str, object]] = {
    "study": _UID,
    "series": _UID,
    "instance": _UID,
    "frames": {"type": "string", "pattern": "^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$"},
    "path": {"type": "string", "pattern": "^[0-9A-Fa-f]{8}(/[0-9]+/[0-9A-Fa-f]{8})*$"},
}
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSALS: Final[Mapping[str, str]] = {
    "400": "malformed",
    "403": "not authorized",
    "404": "nothing of that name is held, or it may not be known that it is",
    "406": "it cannot be had in a form that is acceptable",
    "503": "busy; Retry-After says when to ask again",
}


def operation(
    summary: str,
    path: str,
    media_types: Iterable[str],
    *,
    query: Mapping[str, str] | None = None,
    also: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the OpenAPI Operation Object of a retrieve.

    Args:
        summary: in a few words.
        path: with its parameters in braces.
        media_types: that it answers with.
        query: names of query parameters and what they say.
        also: further statuses and what they say.
    """
    named = [part.strip("{}").partition(":")[0] for part in path.split("/") if part.startswith("{")]
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]} for name in named
    ]
    asked = {"accept": "media types, before the Accept header (PS3.18 8.3.3.1)", **(query or {})}
    in_query = [
        {"name": name, "in": "query", "required": False, "description": words, "schema": {"type": "string"}}
        for name, words in asked.items()
    ]
    content = {media: {"schema": {"type": "string", "format": "binary"}} for media in media_types}
    answers: dict[str, object] = {
        "200": {"description": "what was asked for", "content": content},
        "304": {"description": "the client has it already"},
        **{status: {"description": words} for status, words in (also or {}).items()},
        **{status: {"description": words, "content": _PROBLEM} for status, words in _REFUSALS.items()},
    }
    return {
        "summary": summary,
        "tags": ["retrieve"],
        "parameters": [*in_path, *in_query],
        "responses": answers,
    }
