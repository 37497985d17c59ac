"""What the server says about itself: its description, whether it serves, and whom to tell of a weakness.

Source: OpenAPI Specification 3.1; RFC 9116.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from leadglass import __version__
from leadglass.base.clock import Clock
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.problems import MEDIA_TYPE, PROBLEM_SCHEMA
from leadglass.doors.https.threads import in_thread

_CONTACT_LIFETIME: Final = timedelta(days=180)
_PARAMETER: Final = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(?::[a-zA-Z_]+)?}")
_SECURITY: Final[Sequence[Mapping[str, object]]] = ({"session": []}, {"token": []}, {"certificate": []})


def document(endpoints: Sequence[Endpoint | WebSocketEndpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of ``endpoints``: every one is in it, and nothing else.

    A WebSocket is described as the GET that begins it, since OpenAPI has no other word for it.
    """
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        item = paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})
        operation = _operation(endpoint.path, endpoint.operation)
        if isinstance(endpoint, WebSocketEndpoint):
            opened = {"101": {"description": "the WebSocket is open"}}
            operation["responses"] = {**opened, **operation["responses"]}
            item.setdefault("get", operation)  # there may be a GET on the same path
            continue
        if endpoint.public:
            operation["security"] = []
        item[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Leadglass", "version": __version__},
        "paths": paths,
        "security": list(_SECURITY),
        "components": {
            "schemas": {"Problem": PROBLEM_SCHEMA},
            "responses": {
                "Problem": {
                    "description": "an error, as RFC 9457 has it",
                    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-leadglass"},
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _operation(path: str, given: Mapping[str, object]) -> dict[str, Any]:
    operation: dict[str, Any] = dict(given)
    described: list[Mapping[str, object]] = list(operation.get("parameters", ()))
    named = {parameter.get("name") for parameter in described if parameter.get("in") == "path"}
    described += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
        if name not in named
    ]
    if described:
        operation["parameters"] = described
    responses: dict[str, Any] = dict(operation.get("responses", {}))
    responses.setdefault("default", {"$ref": "#/components/responses/Problem"})
    operation["responses"] = responses
    return operation


def own_endpoints(
    others: Sequence[Endpoint | WebSocketEndpoint],
    options: HTTPSOptions,
    ready: Callable[[], bool],
    clock: Clock,
) -> list[Endpoint]:
    """Return the endpoints of the server itself.

    Args:
        others: that are served beside them.
        options: of the site.
        ready: whether the site can serve; called in a worker thread.
        clock: of the site.
    """

    async def describe(_request: Request) -> Response:
        return Response(description, media_type="application/openapi+json;version=3.1")

    async def health(_request: Request) -> Response:
        if await in_thread(ready):
            return PlainTextResponse("ok\n")
        return PlainTextResponse("unavailable\n", 503)

    async def contact(_request: Request) -> Response:
        expires = (clock.now() + _CONTACT_LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
        return PlainTextResponse(f"Contact: {options.security_contact}\nExpires: {expires}\n")

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    own = [
        Endpoint(
            "GET",
            "/openapi.json",
            describe,
            {
                "summary": "This description",
                "tags": ["server"],
                "responses": {
                    "200": {
                        "description": "an OpenAPI document",
                        "content": {"application/openapi+json": {"schema": {"type": "object"}}},
                    }
                },
            },
        ),
        Endpoint(
            "GET",
            "/healthz",
            health,
            {
                "summary": "Whether the server can serve",
                "tags": ["server"],
                "responses": {
                    "200": {"description": "it can", **text},
                    "503": {"description": "it cannot at present", **text},
                },
            },
            public=True,
        ),
    ]
    if options.security_contact:
        own.append(
            Endpoint(
                "GET",
                "/.well-known/security.txt",
                contact,
                {
                    "summary": "Whom to tell of a weakness",
                    "tags": ["server"],
                    "responses": {"200": {"description": "RFC 9116", **text}},
                },
                public=True,
            )
        )
    description = msgspec.json.encode(document([*others, *own]))
    return own
