"""An endpoint: route, description and rule of entry in one value, so that none of the three can be forgotten.

Source: OpenAPI Specification 3.1.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from leadglass.trust.identity.models import Presented, Principal

Handler = Callable[[Request], Awaitable[Response]]
WebSocketHandler = Callable[[WebSocket], Awaitable[None]]

PRINCIPAL_KEY = "leadglass.principal"
"""Where the server puts the principal into the ASGI scope before it calls a handler."""

PRESENTED_KEY = "leadglass.presented"
"""Where the server puts what the request shows, on public endpoints too."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path.

    Attributes:
        method: GET, POST, PUT, DELETE, OPTIONS; a GET answers HEAD too.
        path: with parameters in braces as starlette has them; from the root of the server.
        handler: called with a request whose principal is known (``principal_of``), unless ``public``.
        operation: OpenAPI Operation Object: summary, parameters, requestBody, responses, tags.
        public: answered to anybody: sign-in, discovery, health. Never anything about a patient. One that is not GET
            counts as an attempt to sign in (``Rates.sign_in``), and its body has ``PUBLIC_BODY_SECONDS``.
        body_bytes_max: larger bodies are refused with 413 before they are read; None for the handler's own rule (STOW).
        unsafe_cross_site: a state-changing endpoint that may be called without the anti-forgery header although a cookie
            signs in: none but sign-in itself.
    """

    method: str
    path: str
    handler: Handler
    operation: Mapping[str, object]
    public: bool = False
    body_bytes_max: int | None = 1024 * 1024
    unsafe_cross_site: bool = False


@dataclass(frozen=True, slots=True)
class WebSocketEndpoint:
    """A WebSocket on a path; signed in as any endpoint, its Origin checked.

    The handler must read (``receive_text`` and the like) to hear that the client is gone. It is cancelled when the
    right to it ends.
    """

    path: str
    handler: WebSocketHandler
    operation: Mapping[str, object] = field(default_factory=dict[str, object])


def principal_of(request: Request | WebSocket) -> Principal:
    """Return who is asking; the server has put it there.

    Raises:
        KeyError: the endpoint is public: a bug of the handler.
    """
    principal = request.scope[PRINCIPAL_KEY]
    assert isinstance(principal, Principal)
    return principal


def presented_of(request: Request | WebSocket) -> Presented:
    """Return what the request shows: address, client certificate, session cookie, correlation id; nothing is believed.

    For endpoints where people sign in. The address is the client's, trusted proxies taken off.
    """
    presented = request.scope[PRESENTED_KEY]
    assert isinstance(presented, Presented)
    return presented
