"""JSON in and out of the console's API, strictly typed."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.base.errors import RequestRefused

T = TypeVar("T")


async def body_of(request: Request, kind: type[T]) -> T:
    """Read the body as JSON of that shape.

    Raises:
        RequestRefused: another media type (415), or not of that shape (400); the message names the member, never its
            value.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestRefused("a body of type application/json is expected", http_status=415)
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"the body is not as described: {_where(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestRefused("the body is not JSON") from None


def _where(error: msgspec.ValidationError) -> str:
    """Return what msgspec found wrong, which names types and members; values only of an unknown enumeration member."""
    text = str(error)
    return text if "Invalid enum value" not in text else "a value is none of those that are possible"


def json_response(content: object, status: int = 200) -> Response:
    """Return content as JSON; times end in Z."""
    return Response(msgspec.json.encode(content, enc_hook=_encoded), status, media_type="application/json")


def _encoded(value: Any) -> Any:  # noqa: ANN401 - msgspec's signature
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise NotImplementedError(type(value).__name__)


def no_content() -> Response:
    """Return an answer that says only that it was done."""
    return Response(status_code=204)


def json_body(kind: type) -> dict[str, object]:
    """Return the OpenAPI description of a body of that shape."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    described: dict[str, object] = {**schema}
    if components:
        described = dict(next(iter(components.values())))
    return {"required": True, "content": {"application/json": {"schema": described}}}


def described(
    summary: str, tag: str, body: type[Any] | None = None, *, ok: str = "200", public: bool = False
) -> dict[str, object]:
    """Return the OpenAPI description of an operation of this API."""
    responses: dict[str, object] = {ok: {"description": "done"}}
    if ok == "200":
        responses[ok] = {"description": "done", "content": {"application/json": {}}}
    responses["401"] = {
        "description": "not signed in, refused, or another step is wanted: `state` says which",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }
    if public:
        responses["429"] = {"description": "too many tries; see Retry-After"}
    operation: dict[str, object] = {"summary": summary, "tags": [tag], "responses": responses}
    if body is not None:
        operation["requestBody"] = json_body(body)
    return operation
