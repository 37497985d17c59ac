"""What every request passes before a handler sees it.

In this order: (1) a correlation id; (2) who called, behind trusted proxies; (3) by which name; (4) not too often; (5) which endpoint;
(6) for a browser: from a page of ours; (7) who asks; (8) not too often, not too much at once; (9) a body within its
bound. What fails is answered as ``problems`` says, and nothing of it tells which paths exist: to somebody who is not
signed in, a path that does not exist and one that does look alike.

**Why no anti-forgery token:** a page of another site can make a browser send our cookie only if the cookie says so,
and it is ``SameSite=Strict``. Where a browser does not keep to that, or the page is on a neighbour host of the same
site, ``Origin`` still says whose page it was and cannot be forged by a page; and a header of our own cannot be set by
a form, nor by a script of another origin without a preflight that we refuse. A token that is bound to the session
would add only what these three have, and a place to leak it.

Source: RFC 9110 7.2, 7.4, 15.5.20; RFC 6797 7.1; RFC 6750 3; Fetch Metadata; OWASP ASVS 5.0 V3.4, V3.5.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.convertors import Convertor
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from leadglass.base.clock import Clock
from leadglass.base.errors import LeadglassError, OutOfResources, RequestRefused
from leadglass.base.limits import (
    ABSENCE_TICK_SECONDS,
    HTTP_PUBLIC_REQUESTS_MAX,
    PUBLIC_BODY_SECONDS,
    RATE_KEYS_MAX,
    WEBSOCKET_RECHECK_SECONDS,
)
from leadglass.base.secret import Secret
from leadglass.doors.https.addresses import TrustedProxies
from leadglass.doors.https.endpoints import PRESENTED_KEY, PRINCIPAL_KEY, Endpoint, WebSocketEndpoint
from leadglass.doors.https.options import HTTPSOptions
from leadglass.doors.https.problems import CORRELATION_KEY, Problem, describe, problem_response
from leadglass.doors.https.protocol import CONNECTION_KEY, TLS_KEY
from leadglass.doors.https.rates import Buckets, network_of
from leadglass.doors.https.refusals import Refusals
from leadglass.doors.https.threads import in_thread
from leadglass.trust.certs.tls import TLSFacts
from leadglass.trust.identity.interfaces import Authenticator, Standing
from leadglass.trust.identity.models import NotAuthenticated, Presented, Principal

SESSION_COOKIE: Final = "__Host-leadglass"
CSRF_HEADER: Final = "x-leadglass-csrf"
POSTURE_HEADER: Final = "x-leadglass-posture"
ADDRESS_KEY: Final = "leadglass.address"
"""Where the gate puts the address of the client into the ASGI scope, trusted proxies taken off."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_CORRELATION: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_CREDENTIAL_BYTES_MAX: Final = 16 * 1024
_EXPOSED: Final = (
    "Content-Location, ETag, Link, Location, Retry-After, Warning, X-Correlation-ID, X-Total-Count"
)

_ALWAYS: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"strict-transport-security", b"max-age=31536000"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-permitted-cross-domain-policies", b"none"),
)
# A handler may say something else: a page of the console needs its scripts, a conditional request a validator.
_UNLESS_SAID: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: re.Pattern[str]
    convertors: Mapping[str, Convertor[Any]]
    template: str
    methods: Mapping[str, Endpoint]
    socket: WebSocketEndpoint | None


class Routes:
    """Which endpoint a path and a method name.

    Args:
        endpoints: all there are; a path that could be another's stands behind it.
    """

    def __init__(self, endpoints: Sequence[Endpoint | WebSocketEndpoint]) -> None:
        methods: dict[str, dict[str, Endpoint]] = {}
        sockets: dict[str, WebSocketEndpoint] = {}
        for endpoint in endpoints:
            known = methods.setdefault(endpoint.path, {})
            if isinstance(endpoint, WebSocketEndpoint):
                assert endpoint.path not in sockets, "two WebSockets on one path"
                sockets[endpoint.path] = endpoint
                continue
            assert endpoint.method not in known, "two endpoints on one path and method"
            known[endpoint.method] = endpoint
            if endpoint.method == "GET":
                known.setdefault("HEAD", endpoint)
        self._routes: list[_Route] = []
        for path, known in methods.items():
            pattern, template, convertors = compile_path(path)
            self._routes.append(_Route(pattern, convertors, template, known, sockets.get(path)))
        # A path without parameters is meant more than one with: /studies/count before /studies/{uid}.
        self._routes.sort(key=lambda route: bool(route.convertors))

    def find(self, path: str) -> tuple[_Route, dict[str, Any]] | None:
        """Return the route of ``path`` and its parameters, or None."""
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is not None:
                parameters = {
                    name: route.convertors[name].convert(text) for name, text in match.groupdict().items()
                }
                return route, parameters
        return None


class _Answer:
    """Wraps ``send``: headers for every answer, and what the access log says of it."""

    def __init__(self, send: Send, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.octets = 0
        self.ended = False

    @property
    def started(self) -> bool:
        return self.status != 0

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            self.octets += len(message.get("body", b""))
            self.ended = not message.get("more_body", False)
        elif kind in {"http.response.start", "websocket.http.response.start"}:
            self.status = message["status"]
            message["headers"] = dressed(message.get("headers", ()), self._headers)
        elif kind == "websocket.accept":
            self.status = 101
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)


def dressed(
    given: Sequence[tuple[bytes, bytes]], more: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with what every answer has."""
    fixed = {name for name, _ in (*_ALWAYS, *more)} - {b"vary"} | {b"server"}
    headers = [(name, value) for name, value in given if name.lower() not in fixed]
    headers += _ALWAYS
    headers += more
    said = {name.lower() for name, _ in headers}
    headers += [pair for pair in _UNLESS_SAID if pair[0] not in said]
    return headers


class Gate:
    """The ASGI application.

    Args:
        routes: of all endpoints.
        authenticator: says who asks.
        options: of the site.
        own_port: that the server listens on.
        clock: for rates.
        refusals: counts what was refused.
        standing: says whether whoever holds a WebSocket may still; None: nobody is asked again.
        on_failure: called with an exception that nobody planned and the correlation id.
    """

    def __init__(
        self,
        routes: Routes,
        authenticator: Authenticator,
        options: HTTPSOptions,
        own_port: int,
        clock: Clock,
        refusals: Refusals,
        standing: Standing | None,
        on_failure: Callable[[BaseException, str], None],
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._options = options
        self._refusals = refusals
        self._standing = standing
        self._on_failure = on_failure
        self._proxies = TrustedProxies(options.proxies, options.proxy_header)
        public_port = options.public_port or own_port
        names = {f"[{name}]" if ":" in name else name.lower() for name in options.names}
        # A client may leave out the port. Then it is ours, and URLs in answers are made with it.
        self._hosts = {name: name if public_port == 443 else f"{name}:{public_port}" for name in names}
        for port in (own_port, public_port):
            self._hosts |= {f"{name}:{port}": f"{name}:{port}" for name in names}
        self._origins = frozenset(options.origins)
        rates = options.rates
        self._by_address = Buckets(rates.address, clock)
        self._by_network = Buckets(rates.network, clock)
        self._doubtful = Buckets(rates.refused, clock)
        self._believed: OrderedDict[bytes, None] = OrderedDict()
        self._sign_in = Buckets(rates.sign_in, clock)
        self._sign_in_network = Buckets(rates.sign_in_network, clock)
        self._by_principal = Buckets(rates.principal, clock)
        self._in_hand = 0  # of people who are signed in
        self._public_in_hand = 0
        self._in_hand_of: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        began = time.perf_counter()
        headers = _first_of_each(scope["headers"])
        correlation_id = _correlation_id(headers)
        scope[CORRELATION_KEY] = correlation_id
        visit = _Visit(scope, headers, correlation_id, began)
        more = [(b"x-correlation-id", correlation_id.encode("ascii")), *self._cors(headers)]
        answer = _Answer(send, more)
        try:
            await self._admit(visit, receive, answer)
        except (ClientDisconnect, WebSocketDisconnect):
            pass  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - whatever a handler raises becomes an answer or ends the connection
            await self._fail(visit, error, answer)
        finally:
            if visit.public:
                self._public_in_hand -= 1
            if visit.principal is not None:
                self._let_go(visit.principal.principal_id)
            if self._options.access_log:
                _log(visit, answer, time.perf_counter() - began)

    # --- the order of checks -----------------------------------------------------------------------------------

    async def _admit(self, visit: "_Visit", receive: Receive, answer: _Answer) -> None:
        scope, headers = visit.scope, visit.headers
        is_socket = scope["type"] == "websocket"
        peer = scope["client"][0] if scope.get("client") else ""
        visit.address = scope[ADDRESS_KEY] = self._proxies.client_of(peer, scope["headers"])
        self._check_rate_of_address(visit)
        host = self._hosts.get(headers.get("host", "").lower())
        if host is None:
            self._note("called by a name that is not ours", visit)
            raise RequestRefused(
                "this server is not known under the name in the Host header",
                hint="call it by one of the names in its settings",
                http_status=421,
            )
        visit.host = host
        if host != headers["host"]:
            # What mints absolute URLs reads it from there.
            scope["headers"] = [
                (name, host.encode("latin-1") if name == b"host" else value)
                for name, value in scope["headers"]
            ]
        if headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            self._note("a compressed request", visit)
            raise RequestRefused("compressed requests are not accepted", http_status=415)

        method = "GET" if is_socket else str(scope["method"])
        if method == "OPTIONS" and self._is_preflight(headers):
            await self._answer_preflight(visit, receive, answer)
            return
        found = self._routes.find(scope["path"])
        endpoint: Endpoint | WebSocketEndpoint | None = None
        if found is not None:
            route, scope["path_params"] = found
            visit.template = route.template
            endpoint = route.socket if is_socket else route.methods.get(method)
        public = isinstance(endpoint, Endpoint) and endpoint.public
        if public and method not in _SAFE:
            self._check_rate_of_sign_in(visit)
        self._check_origin(visit, method, endpoint, is_socket=is_socket)
        scope[PRESENTED_KEY] = presented = _presented(visit)
        if public:
            self._admit_public(visit)
        else:
            await self._authenticate(visit, presented)
        if endpoint is None:
            allowed = () if found is None else tuple(found[0].methods)
            raise _missing(allowed)
        if isinstance(endpoint, WebSocketEndpoint):
            await self._serve_socket(visit, endpoint, receive, answer)
        else:
            seconds = PUBLIC_BODY_SECONDS if endpoint.public else None
            bounded = _bounded(receive, headers, endpoint.body_bytes_max, seconds)
            response = await endpoint.handler(Request(scope, bounded, answer.send))
            if response.status_code == _NO_CONTENT and method in _SAFE:
                await self._even_out(visit)
            await response(scope, bounded, answer.send)

    def _check_rate_of_address(self, visit: "_Visit") -> None:
        network = network_of(visit.address)
        wait = self._by_address.take(visit.address) or self._by_network.take(network)
        if wait:
            self._note("too many requests from an address", visit)
            raise _too_many(wait)

    def _check_rate_of_sign_in(self, visit: "_Visit") -> None:
        wait = self._sign_in.take(visit.address) or self._sign_in_network.take(network_of(visit.address))
        if wait:
            self._note("too many attempts to sign in from an address", visit)
            raise _too_many(wait)

    def _check_origin(
        self, visit: "_Visit", method: str, endpoint: Endpoint | WebSocketEndpoint | None, *, is_socket: bool
    ) -> None:
        """Refuse what a page of another site made a browser send."""
        if method in _SAFE and not is_socket:
            return
        if isinstance(endpoint, Endpoint) and endpoint.unsafe_cross_site:
            return
        headers = visit.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            ours = origin == f"https://{visit.host}" or origin in self._origins
        else:
            ours = site in {None, "same-origin", "none"}
        if ours and _cookie(headers) is not None:
            # A browser, then: it says where the page is from, and a page of ours sets the header.
            ours = (origin is not None or site is not None) and (is_socket or bool(headers.get(CSRF_HEADER)))
        if not ours:
            self._note("a request that a page of another site may have made", visit)
            raise RequestRefused(
                "a request that changes something must come from a page of this server",
                hint=f"with a session cookie, send Origin and the header {CSRF_HEADER}",
                http_status=403,
            )

    def _admit_public(self, visit: "_Visit") -> None:
        """Count requests of anybody apart from those of people who are signed in, so that they cannot take their place."""
        if self._public_in_hand >= HTTP_PUBLIC_REQUESTS_MAX:
            self._note("too many public requests at once", visit)
            raise OutOfResources("too many requests at once")
        self._public_in_hand += 1
        visit.public = True

    async def _authenticate(self, visit: "_Visit", presented: Presented) -> None:
        if _shows_nothing(presented):
            raise _Unauthenticated(NotAuthenticated())
        shown = _fingerprint(presented)
        if shown not in self._believed and (wait := self._doubtful.wait(visit.address)):
            self._note("too many refused credentials from an address", visit)
            raise _too_many(wait)
        said = await in_thread(self._authenticator.authenticate, presented)
        if isinstance(said, NotAuthenticated):
            self._believed.pop(shown, None)
            self._doubtful.take(visit.address)
            raise _Unauthenticated(said)
        self._believe(shown)
        wait = self._by_principal.take(said.principal_id)
        if wait or self._in_hand_of[said.principal_id] >= self._options.requests_per_principal_max:
            self._note("too many requests of one principal", visit, said.principal_id)
            raise _too_many(wait or 1.0)
        if self._in_hand >= self._options.requests_max:
            self._note("too many requests at once", visit, said.principal_id)
            raise OutOfResources("too many requests at once")
        if said.correlation_id != visit.correlation_id:
            said = replace(said, correlation_id=visit.correlation_id)
        self._in_hand += 1
        self._in_hand_of[said.principal_id] += 1
        visit.principal = visit.scope[PRINCIPAL_KEY] = said

    def _believe(self, shown: bytes) -> None:
        """Remember a credential that was good: strangers at the same address must not lock its owner out."""
        self._believed[shown] = None
        self._believed.move_to_end(shown)
        if len(self._believed) > RATE_KEYS_MAX:
            self._believed.popitem(last=False)

    def _let_go(self, principal_id: str) -> None:
        self._in_hand -= 1
        self._in_hand_of[principal_id] -= 1
        if not self._in_hand_of[principal_id]:
            del self._in_hand_of[principal_id]

    # --- WebSockets --------------------------------------------------------------------------------------------

    async def _serve_socket(
        self, visit: "_Visit", endpoint: WebSocketEndpoint, receive: Receive, answer: _Answer
    ) -> None:
        socket = WebSocket(visit.scope, receive, answer.send)
        served = asyncio.ensure_future(endpoint.handler(socket))
        watched = asyncio.create_task(self._until_no_right(visit))
        try:
            await asyncio.wait((served, watched), return_when=asyncio.FIRST_COMPLETED)
            if served.done():
                await served
                return
            with contextlib.suppress(Exception):  # it may be closed, or never have been accepted
                await socket.close(1008)  # policy violation, RFC 6455 7.4.1
        finally:
            watched.cancel()
            served.cancel()
            await asyncio.wait((served,))
            if not served.cancelled():
                served.exception()  # seen: what it raised while it was ended is nobody's concern

    async def _until_no_right(self, visit: "_Visit") -> None:
        """Return within seconds of the end of the right to a WebSocket."""
        assert visit.principal is not None
        still: Principal | None = visit.principal
        while still is not None:
            await asyncio.sleep(WEBSOCKET_RECHECK_SECONDS)
            if self._standing is None:
                continue
            try:
                still = await in_thread(self._standing.current, visit.principal)
            except Exception as error:  # noqa: BLE001 - who cannot be looked up has no right
                if not isinstance(error, LeadglassError):
                    self._on_failure(error, visit.correlation_id)
                return

    # --- other origins -----------------------------------------------------------------------------------------

    def _cors(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        if not self._origins:
            return []
        vary = [(b"vary", b"Origin")]
        origin = headers.get("origin", "")
        if origin not in self._origins:
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED.encode("ascii")),
            (b"cross-origin-resource-policy", b"cross-origin"),
        ]

    def _is_preflight(self, headers: Mapping[str, str]) -> bool:
        return headers.get("origin", "") in self._origins and "access-control-request-method" in headers

    async def _answer_preflight(self, visit: "_Visit", receive: Receive, answer: _Answer) -> None:
        """Say what pages of a listed origin may ask; the same for every path, so that it tells of none."""
        response = Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": "DELETE, GET, HEAD, POST, PUT",
                "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, If-Match, If-None-Match, "
                f"Purpose-Of-Use, Range, X-Correlation-ID, {CSRF_HEADER}",
                "Access-Control-Max-Age": "600",
            },
        )
        await response(visit.scope, receive, answer.send)

    # --- answers to what failed --------------------------------------------------------------------------------

    async def _fail(self, visit: "_Visit", error: Exception, answer: _Answer) -> None:
        if not isinstance(
            error, LeadglassError | HTTPException | MultiPartException | _Unauthenticated | _Missing
        ):
            self._on_failure(error, visit.correlation_id)
        if answer.started:
            if not answer.ended:
                visit.scope[CONNECTION_KEY].abort()
            return
        match error:
            case _Unauthenticated():
                problem = error.problem
            case _Missing():
                problem = error.problem
            case MultiPartException():
                problem = Problem(400, RequestRefused.code, "Bad request", "the form cannot be read")
            case HTTPException():
                problem = Problem(
                    error.status_code, RequestRefused.code, "Bad request", headers=error.headers or {}
                )
            case _:
                problem = describe(error)
        if problem.status == _NOT_FOUND:
            await self._even_out(visit)
        response = problem_response(problem, visit.scope)
        if visit.scope["type"] == "websocket":
            await _deny_socket(response, answer.send)
        else:
            await response(visit.scope, _nothing, answer.send)

    @staticmethod
    async def _even_out(visit: "_Visit") -> None:
        """Wait until nothing can be told from how long it took to find nothing.

        What is hidden takes longer to look up than what is missing: its rows are opened and decided on. Both are
        answered at the next tick since the request came.
        """
        if visit.principal is not None:
            took = time.perf_counter() - visit.began
            await asyncio.sleep(ABSENCE_TICK_SECONDS - took % ABSENCE_TICK_SECONDS)

    def _note(self, reason: str, visit: "_Visit", principal_id: str = "") -> None:
        self._refusals.note(
            reason, visit.address, principal_id=principal_id, correlation_id=visit.correlation_id
        )


class _Visit:
    """What is known of one request so far."""

    __slots__ = (
        "address",
        "began",
        "correlation_id",
        "headers",
        "host",
        "principal",
        "public",
        "scope",
        "template",
    )

    def __init__(self, scope: Scope, headers: Mapping[str, str], correlation_id: str, began: float) -> None:
        self.began = began
        self.scope = scope
        self.headers = headers
        self.correlation_id = correlation_id
        self.address = ""
        self.host = ""
        self.template = ""
        self.principal: Principal | None = None
        self.public = False  # and counted as such


class _Unauthenticated(Exception):
    def __init__(self, said: NotAuthenticated) -> None:
        super().__init__()
        challenge = 'Bearer realm="leadglass"' + (f', error="{said.error}"' if said.error else "")
        title = "The session is locked" if said.locked else "Authentication required"
        self.problem = Problem(401, "LG-0401", title, headers={"WWW-Authenticate": challenge})


class _Missing(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


def _missing(allowed: Sequence[str]) -> _Missing:
    if allowed:
        allow = {"Allow": ", ".join(sorted(allowed))}
        return _Missing(Problem(405, RequestRefused.code, "Method not allowed", headers=allow))
    return _Missing(Problem(404, "LG-0406", "Not found"))


def _too_many(wait: float) -> _Missing:
    retry = {"Retry-After": str(max(int(wait + 0.999), 1))}
    return _Missing(Problem(429, OutOfResources.code, "Too many requests", headers=retry))


def _first_of_each(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return header fields by lower-case name; a cookie header may come in parts, others count once."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "cookie" and name in headers:
            headers[name] += "; " + value
        else:
            headers.setdefault(name, value)
    return headers


def _correlation_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-correlation-id", "")
    if _CORRELATION.fullmatch(given):
        return given
    trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if trace is not None and trace[1] != "0" * 32:
        return trace[1]
    return os.urandom(16).hex()


def _cookie(headers: Mapping[str, str]) -> str | None:
    text = headers.get("cookie", "")
    if SESSION_COOKIE not in text or len(text) > _CREDENTIAL_BYTES_MAX:
        return None
    values = [
        value.strip()
        for name, separator, value in (part.partition("=") for part in text.split(";"))
        if separator and name.strip() == SESSION_COOKIE
    ]
    # Two of one name: somebody else has set one of them. Neither counts.
    return values[0] if len(values) == 1 and values[0] else None


def _presented(visit: _Visit) -> Presented:
    headers = visit.headers
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" and len(token) <= _CREDENTIAL_BYTES_MAX else ""
    tls = visit.scope[TLS_KEY]
    assert isinstance(tls, TLSFacts)
    return Presented(
        address=visit.address,
        certificate_sha256=tls.certificate_sha256,
        session_token=Secret((_cookie(headers) or "").encode("latin-1")),
        access_token=Secret(bearer.encode("latin-1")),
        purpose=headers.get("purpose-of-use", "")[:64],
        posture=headers.get(POSTURE_HEADER, "")[:4096],
        correlation_id=visit.correlation_id,
    )


def _shows_nothing(presented: Presented) -> bool:
    return not (
        presented.certificate_sha256 or presented.session_token.reveal() or presented.access_token.reveal()
    )


def _fingerprint(presented: Presented) -> bytes:
    shown = (
        presented.certificate_sha256.encode("ascii"),
        presented.session_token.reveal(),
        presented.access_token.reveal(),
    )
    return hashlib.sha256(b"\n".join(shown)).digest()


def _bounded(
    receive: Receive, headers: Mapping[str, str], bytes_max: int | None, seconds: float | None
) -> Receive:
    """Return ``receive`` that takes no more than ``bytes_max`` octets of a body, and no longer than ``seconds``.

    Raises:
        RequestRefused: the body says that it is longer (413); later on, that it has become longer, or is late (408).
    """
    refused = RequestRefused("the body is longer than it may be", http_status=413)
    length = headers.get("content-length", "")
    if bytes_max is not None and length.isdecimal() and int(length) > bytes_max:
        raise refused
    taken = 0
    whole = False
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds

    async def bounded() -> Message:
        nonlocal taken, whole
        try:
            async with asyncio.timeout_at(None if whole else deadline):
                message = await receive()
        except TimeoutError:
            raise RequestRefused("the body took too long", http_status=408) from None
        taken += len(message.get("body", b""))
        whole = whole or not message.get("more_body", False)
        if bytes_max is not None and taken > bytes_max:
            raise refused
        return message

    return receive if bytes_max is None and seconds is None else bounded


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


async def _deny_socket(response: Response, send: Send) -> None:
    await send(
        {
            "type": "websocket.http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": response.body})


def _log(visit: _Visit, answer: _Answer, seconds: float) -> None:
    """Write one line: which endpoint, never which path, since paths name patients' studies."""
    line = {
        "method": visit.scope.get("method", "WEBSOCKET"),
        "route": visit.template,
        "status": answer.status,
        "ms": round(seconds * 1000, 1),
        "octets": answer.octets,
        "correlation_id": visit.correlation_id,
    }
    print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201 - the access log
