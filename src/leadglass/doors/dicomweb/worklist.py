"""The Worklist Service: workitems over HTTP, and their events over a WebSocket. Source: PS3.18 11."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from leadglass.archive.worklist import WorkitemEvent, Worklist, render_filter
from leadglass.base.errors import (
    DatasetRefused,
    LeadglassError,
    NotFound,
    RequestRefused,
    UsageError,
)
from leadglass.base.ids import UID, is_uid
from leadglass.base.limits import WORKITEM_BYTES_MAX, WORKITEM_EVENTS_QUEUED_MAX, WORKITEM_RESULTS_MAX
from leadglass.dicom.json import dataset_to_json, json_to_dataset
from leadglass.dicom.values import Dataset, tag_of
from leadglass.dicom.workitem import (
    FILTERED_SUBSCRIPTION,
    SOP_INSTANCE_UID,
    STATE,
    TRANSACTION_UID,
    Demand,
    value_of,
)
from leadglass.doors.dicomweb.services import ROOT
from leadglass.doors.https.endpoints import Endpoint, WebSocketEndpoint, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.wire.dicomweb.media_types import acceptable, choose, parse_media_type
from leadglass.wire.dicomweb.search_parameters import AttributeMatch, parse_search

JSON: Final = parse_media_type("application/dicom+json")
_PLAIN_JSON: Final = parse_media_type("application/json")
_TAKEN: Final = frozenset({"application/dicom+json", "application/json"})
_EVENT_SOP_CLASS: Final = "1.2.840.10008.5.1.4.34.6.4"
"""Unified Procedure Step - Event. Source: PS3.4 CC.2.4."""


@dataclass(frozen=True, slots=True)
class WorklistServices:
    """What the Worklist Service works with.

    Attributes:
        worklist: the verbs.
        base_url: ``https://host:port`` of absolute URLs; empty takes the host that the client asked for.
    """

    worklist: Worklist
    base_url: str = ""

    def root_of(self, request: Request) -> str:
        """Return the absolute URL of ``ROOT``."""
        return (self.base_url or f"https://{request.url.netloc}") + ROOT


class WorklistDoor:
    """Handlers of the Worklist Service."""

    def __init__(self, services: WorklistServices) -> None:
        self._services = services
        self._worklist = services.worklist

    async def create(self, request: Request) -> Response:
        """Create Workitem. Source: PS3.18 11.4."""
        item = await _dataset_of(request)
        uid = _bare(request, "workitem") or value_of(item, SOP_INSTANCE_UID)
        if not is_uid(uid):
            raise RequestRefused("a new workitem is named by a UID: /workitems?{uid}")
        await _done(self._worklist.create, principal_of(request), UID(uid), item)
        location = f"{self._services.root_of(request)}/workitems/{uid}"
        return Response(status_code=201, headers={"Location": location, "Content-Location": location})

    async def retrieve(self, request: Request) -> Response:
        """Retrieve Workitem. Source: PS3.18 11.5."""
        _require_json(request)
        item = await in_thread(self._worklist.get, principal_of(request), _uid(request))
        return await in_thread(_json, [item])

    async def search(self, request: Request) -> Response:
        """Search for Workitems. Source: PS3.18 11.9."""
        asked = parse_search(request.url.query)
        _require_json(request, asked.accept)
        demands = tuple(_demand(match) for match in asked.matches)
        limit = WORKITEM_RESULTS_MAX if asked.limit is None else asked.limit

        def search() -> list[Dataset]:
            return self._worklist.search(principal_of(request), demands, offset=asked.offset, limit=limit + 1)

        found = await in_thread(search)
        if not found:
            return Response(status_code=204)
        response = await in_thread(_json, found[:limit])
        if len(found) > limit:
            response.headers["Warning"] = '299 leadglass "There are more results; ask for them with offset"'
        return response

    async def update(self, request: Request) -> Response:
        """Update Workitem. Source: PS3.18 11.6."""
        changes = await _dataset_of(request)
        transaction = _bare(request, "transaction-uid") or value_of(changes, TRANSACTION_UID)
        changes.pop(TRANSACTION_UID, None)
        await _done(self._worklist.update, principal_of(request), _uid(request), changes, transaction)
        return Response(status_code=200)

    async def change_state(self, request: Request) -> Response:
        """Change Workitem State. Source: PS3.18 11.7."""
        asked = await _dataset_of(request)
        state, transaction = value_of(asked, STATE), value_of(asked, TRANSACTION_UID)
        if not state or not transaction:
            raise RequestRefused("a change of state names Procedure Step State and Transaction UID")
        await _done(self._worklist.move, principal_of(request), _uid(request), state, transaction)
        return Response(status_code=200)

    async def request_cancellation(self, request: Request) -> Response:
        """Request Cancellation. Source: PS3.18 11.8."""
        details = await _dataset_of(request, may_be_empty=True)
        worklist = self._worklist
        await _done(worklist.request_cancellation, principal_of(request), _uid(request), details)
        return Response(status_code=202)

    async def subscribe(self, request: Request) -> Response:
        """Subscribe. Source: PS3.18 11.10."""
        target, ae_title = _uid(request), request.path_params["subscriber"]
        asked = parse_search(request.url.query) if target == FILTERED_SUBSCRIPTION else None
        matches = asked.matches if asked is not None else ()
        demands = tuple(_demand(m) for m in matches if m.path not in {("deletionlock",), ("filter",)})
        lock = request.query_params.get("deletionlock", "false").lower() == "true"

        def subscribe() -> None:
            self._worklist.subscribe(
                principal_of(request), ae_title, target, deletion_lock=lock, demands=render_filter(demands)
            )

        await _done(subscribe)
        channel = self._services.root_of(request).replace("https://", "wss://", 1)
        return Response(status_code=201, headers={"Content-Location": f"{channel}/subscribers/{ae_title}"})

    async def unsubscribe(self, request: Request) -> Response:
        """Unsubscribe. Source: PS3.18 11.11."""
        who, ae_title = principal_of(request), request.path_params["subscriber"]
        await _done(self._worklist.unsubscribe, who, ae_title, _uid(request))
        return Response(status_code=200)

    async def suspend(self, request: Request) -> Response:
        """Suspend Global Subscription. Source: PS3.18 11.12."""
        who, ae_title = principal_of(request), request.path_params["subscriber"]
        await _done(self._worklist.suspend, who, ae_title, _uid(request))
        return Response(status_code=200)

    async def listen(self, socket: WebSocket) -> None:
        """Open Event Channel: each event is one text message of DICOM JSON. Source: PS3.18 11.13, 11.14."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[WorkitemEvent | None] = asyncio.Queue()

        def deliver(event: WorkitemEvent) -> None:
            loop.call_soon_threadsafe(offer, event)

        def offer(event: WorkitemEvent) -> None:
            queued = waiting.qsize()
            if queued < WORKITEM_EVENTS_QUEUED_MAX:
                waiting.put_nowait(event)
            elif queued == WORKITEM_EVENTS_QUEUED_MAX:
                # Too slow a reader: the channel ends rather than lose an event unnoticed. It is told once: while it
                # does not read, nothing is taken from here.
                waiting.put_nowait(None)

        principal, ae_title = principal_of(socket), socket.path_params["subscriber"]
        try:
            close = await in_thread(self._worklist.listen, principal, ae_title, deliver)
        except LeadglassError:
            await socket.close(1008)
            return
        try:
            await socket.accept()
            await _pump(socket, waiting)
        finally:
            close()


async def _pump(socket: WebSocket, waiting: "asyncio.Queue[WorkitemEvent | None]") -> None:
    """Send events until the client goes away, which only reading tells."""
    gone = asyncio.create_task(_until_gone(socket))
    message_id = 0
    try:
        while True:
            event = asyncio.create_task(waiting.get())
            done, _ = await asyncio.wait({event, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                event.cancel()
                return
            told = event.result()
            if told is None:
                await socket.close(1013)
                return
            message_id = message_id % 65_535 + 1
            await socket.send_text(render_event(told, message_id))
    finally:
        gone.cancel()


async def _until_gone(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, KeyError, RuntimeError):
        return


def render_event(event: WorkitemEvent, message_id: int) -> str:
    """Return an event as DICOM JSON, with the elements of group 0000 that say what it is. Source: PS3.18 11.14."""
    command: dict[str, object] = {
        "00000002": {"vr": "UI", "Value": [_EVENT_SOP_CLASS]},
        "00000110": {"vr": "US", "Value": [message_id]},
        "00001000": {"vr": "UI", "Value": [event.workitem_uid]},
        "00001002": {"vr": "US", "Value": [int(event.event_type)]},
    }
    return msgspec.json.encode(command | msgspec.json.decode(dataset_to_json(event.dataset))).decode()


async def _done(function: Callable[..., object], *arguments: object) -> None:
    """Carry out a change; what is wrong with the workitem itself is the client's mistake (400)."""
    try:
        await in_thread(function, *arguments)
    except (DatasetRefused, UsageError) as error:
        raise RequestRefused(str(error)) from error


async def _dataset_of(request: Request, *, may_be_empty: bool = False) -> Dataset:
    """Read the body: one workitem, alone or as the only one of an array. Source: PS3.18 F.2, 11.1.2."""
    body = await request.body()
    if not body and may_be_empty:
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _TAKEN:
        raise RequestRefused("a body of type application/dicom+json is expected", http_status=415)
    try:
        return await in_thread(json_to_dataset, body)  # a large one takes its time
    except (DatasetRefused, UsageError) as error:
        raise RequestRefused(str(error)) from error


def _require_json(request: Request, parameters: tuple[str, ...] = ()) -> None:
    choose((JSON, _PLAIN_JSON), acceptable(request.headers.get("accept"), parameters))


def _json(items: list[Dataset]) -> Response:
    body = b"[" + b",".join(dataset_to_json(item) for item in items) + b"]"
    return Response(body, media_type="application/dicom+json")


def _uid(request: Request) -> UID:
    text = str(request.path_params["workitem"])
    if not is_uid(text):
        raise NotFound("no such workitem")
    return UID(text)


def _bare(request: Request, name: str) -> str:
    """Return what stands behind the question mark: ``?{value}`` as the standard writes it, or ``?name={value}``."""
    query = request.url.query
    if not query or "=" in query:
        return request.query_params.get(name, "")
    return unquote(query)


def _demand(match: AttributeMatch) -> Demand:
    try:
        return Demand(tuple(tag_of(name) for name in match.path), match.value)
    except UsageError as error:
        raise RequestRefused("a parameter names no attribute") from error


def _operation(
    summary: str, responses: Mapping[str, str], *, body: bool = False, query: str = ""
) -> dict[str, object]:
    operation: dict[str, object] = {
        "summary": summary,
        "tags": ["worklist"],
        "responses": {status: {"description": words} for status, words in responses.items()},
    }
    if body:
        schema = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
        operation["requestBody"] = {"content": {"application/dicom+json": {"schema": schema}}}
    if query:
        operation["parameters"] = [
            {"name": query, "in": "query", "required": False, "schema": {"type": "string"}}
        ]
    return operation


def endpoints(services: WorklistServices) -> list[Endpoint | WebSocketEndpoint]:
    """Return the endpoints of the Worklist Service. Source: PS3.18 Table 11.1.1-1."""
    door = WorklistDoor(services)
    item = f"{ROOT}/workitems/{{workitem}}"
    conflict = {"409": "the state of the workitem does not allow it, or another transaction holds it"}
    most = WORKITEM_BYTES_MAX * 2
    return [
        Endpoint(
            "POST",
            f"{ROOT}/workitems",
            door.create,
            _operation("Create Workitem", {"201": "created", **conflict}, body=True, query="workitem"),
            body_bytes_max=most,
        ),
        Endpoint(
            "GET",
            f"{ROOT}/workitems",
            door.search,
            _operation("Search for Workitems", {"200": "matches", "204": "nothing matches"}),
        ),
        Endpoint("GET", item, door.retrieve, _operation("Retrieve Workitem", {"200": "the workitem"})),
        Endpoint(
            "POST",
            item,
            door.update,
            _operation("Update Workitem", {"200": "updated", **conflict}, body=True, query="transaction-uid"),
            body_bytes_max=most,
        ),
        Endpoint(
            "PUT",
            f"{item}/state",
            door.change_state,
            _operation("Change Workitem State", {"200": "changed", **conflict}, body=True),
        ),
        Endpoint(
            "POST",
            f"{item}/cancelrequest",
            door.request_cancellation,
            _operation(
                "Request Cancellation", {"202": "canceled, or the performer was asked", **conflict}, body=True
            ),
        ),
        Endpoint(
            "POST",
            f"{item}/subscribers/{{subscriber}}",
            door.subscribe,
            _operation(
                "Subscribe",
                {"201": "subscribed; Content-Location is the event channel"},
                query="deletionlock",
            ),
        ),
        Endpoint(
            "DELETE",
            f"{item}/subscribers/{{subscriber}}",
            door.unsubscribe,
            _operation("Unsubscribe", {"200": "ended"}),
        ),
        Endpoint(
            "POST",
            f"{item}/subscribers/{{subscriber}}/suspend",
            door.suspend,
            _operation("Suspend Global Subscription", {"200": "suspended"}),
        ),
        WebSocketEndpoint(f"{ROOT}/subscribers/{{subscriber}}", door.listen),
    ]
