"""What this service can do, told from the endpoints that there are. Source: PS3.18 8.9, Annex H.

JSON by default; a WADL document, as the standard has it since 2011, for those who ask for one.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.doors.dicomweb.services import ROOT, Services
from leadglass.doors.https.endpoints import Endpoint
from leadglass.wire.dicomweb.media_types import JSON, PROBLEM_JSON, MediaType, acceptable, choose

WADL: Final = "application/vnd.sun.wadl+xml"

_ANSWERS: Final = (MediaType(JSON), MediaType(WADL))
_Members = Mapping[str, object]


def describe(base: str, endpoints: Iterable[Endpoint]) -> dict[str, object]:
    """Return the resources of a service, by path, with their methods.

    Args:
        base: absolute URL that the paths are relative to.
        endpoints: of the service; those outside of ``ROOT`` are left out.
    """
    resources: dict[str, list[dict[str, object]]] = {}
    for endpoint in endpoints:
        if not endpoint.path.startswith(ROOT):
            continue
        methods = resources.setdefault(endpoint.path.removeprefix(ROOT) or "/", [])
        methods.append(_method(endpoint))
    return {
        "base": base,
        "resources": [{"path": path, "methods": methods} for path, methods in sorted(resources.items())],
    }


def _method(endpoint: Endpoint) -> dict[str, object]:
    operation = endpoint.operation
    body = _members(operation.get("requestBody"))
    responses = _members(operation.get("responses"))
    return {
        "name": endpoint.method,
        "id": operation.get("operationId", ""),
        "summary": operation.get("summary", ""),
        "parameters": [
            {name: given.get(name, "") for name in ("name", "in", "description")}
            | {"required": bool(given.get("required"))}
            for given in map(_members, cast("Sequence[object]", operation.get("parameters", ())))
        ],
        "requestMediaTypes": list(_members(body.get("content"))),
        "responses": [
            {"status": int(status), "mediaTypes": list(_members(_members(response).get("content")))}
            for status, response in responses.items()
            if status.isdecimal()
        ],
    }


def _members(value: object) -> _Members:
    return cast("_Members", value) if isinstance(value, Mapping) else {}


def to_wadl(described: Mapping[str, object]) -> bytes:
    """Return the same as a WADL document. Source: W3C submission "Web Application Description Language", 2009."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>', '<application xmlns="http://wadl.dev.java.net/2009/02">']
    out.append(f'<resources base="{escape(str(described["base"]))}">')
    for resource in cast("Sequence[_Members]", described["resources"]):
        out.append(f'<resource path="{escape(str(resource["path"]))}">')
        for method in cast("Sequence[_Members]", resource["methods"]):
            out += _wadl_method(method)
        out.append("</resource>")
    out.append("</resources></application>")
    return "\n".join(out).encode()


def _wadl_method(method: _Members) -> list[str]:
    out = [f'<method name="{escape(str(method["name"]))}" id="{escape(str(method["id"]))}"><request>']
    styles = {"query": "query", "path": "template", "header": "header"}
    for given in cast("Sequence[_Members]", method["parameters"]):
        style = styles.get(str(given["in"]), "plain")
        required = str(given["required"]).lower()
        out.append(f'<param name="{escape(str(given["name"]))}" style="{style}" required="{required}"/>')
    out += [_representation(media) for media in cast("Sequence[str]", method["requestMediaTypes"])]
    out.append("</request>")
    for response in cast("Sequence[_Members]", method["responses"]):
        out.append(f'<response status="{response["status"]}">')
        out += [_representation(media) for media in cast("Sequence[str]", response["mediaTypes"])]
        out.append("</response>")
    out.append("</method>")
    return out


def _representation(media_type: str) -> str:
    return f'<representation mediaType="{escape(media_type)}"/>'


def _operation(operation_id: str) -> dict[str, object]:
    described: dict[str, object] = {"schema": {"type": "object"}}
    problem = {"content": {PROBLEM_JSON: {"schema": {"type": "object"}}}}
    return {
        "operationId": operation_id,
        "tags": ["DICOMweb"],
        "summary": "What this service can do",
        "responses": {
            "200": {
                "description": "resources, methods and media types",
                "content": {JSON: described, WADL: {"schema": {"type": "string"}}},
            },
            "400": problem | {"description": "Accept is malformed"},
            "406": problem | {"description": "answers are application/json or WADL"},
        },
    }


def endpoints(services: Services, described: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the endpoints of the Retrieve Capabilities transaction.

    Args:
        services: of this door.
        described: every other endpoint of DICOMweb.
    """
    others = tuple(described)
    own: list[Endpoint] = []

    async def capabilities(request: Request) -> Response:
        answer = choose(_ANSWERS, acceptable(request.headers.get("accept")))
        found = describe(services.root_of(request), [*others, *own])
        document = to_wadl(found) if answer.essence == WADL else msgspec.json.encode(found)
        return Response(document, media_type=str(answer))

    own += [
        Endpoint("OPTIONS", f"{ROOT}/", capabilities, _operation("retrieveCapabilities")),
        Endpoint("GET", f"{ROOT}/capabilities", capabilities, _operation("getCapabilities")),
    ]
    return own
