"""Signing in at an identity provider, and tokens for services: redirects, posted responses, forms.

What a browser began is kept sealed in a cookie of that browser until it comes back, so nobody else can finish it. A
sign-in that fails ends at the sign-in page with nothing but the word that it failed; why is in the audit log.

Source: OpenID Connect Core 1.0, Back-Channel Logout 1.0; RFC 9207; SAML 2.0 Bindings 3.4, 3.5; RFC 6749 4.4; RFC 8414; RFC 8705.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar, cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from leadglass.base.errors import PeerUnreachable, RequestRefused
from leadglass.base.limits import KIB
from leadglass.base.secret import Secret
from leadglass.doors.console.bodies import described
from leadglass.doors.console.cookies import (
    PENDING_COOKIE,
    SESSION_COOKIE,
    cookie_of,
    set_cookie,
    spoil_cookie,
)
from leadglass.doors.console.origins import origin_of
from leadglass.doors.https.endpoints import Endpoint, Handler
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.access_tokens import TokenGranted, TokenService
from leadglass.trust.identity.federation.models import (
    ExternalIdentity,
    LogoutRequest,
    SignedIn,
    SignInBegun,
    SignInRefused,
)
from leadglass.trust.identity.federation.oidc import ProviderMisbehaved
from leadglass.trust.identity.interfaces import SignIn
from leadglass.trust.identity.models import (
    MustEnrolFactor,
    Origin,
    SecondFactorNeeded,
    SignInOutcome,
    Vouched,
)
from leadglass.trust.identity.models import SignedIn as HasSession

T = TypeVar("T")

OIDC_COOKIE: Final = "__Host-leadglass-oidc"
SAML_COOKIE: Final = "__Host-leadglass-saml"
OIDC_BEGIN: Final = "/auth/oidc/begin"
OIDC_CALLBACK: Final = "/auth/oidc/callback"
OIDC_LOGOUT: Final = "/auth/oidc/logout"
SAML_BEGIN: Final = "/auth/saml/begin"
SAML_RESPONSE: Final = "/auth/saml/acs"
SAML_METADATA: Final = "/auth/saml/metadata"
TOKEN: Final = "/oauth/token"  # noqa: S105 - a path
AUTHORIZATION_SERVER: Final = "/.well-known/oauth-authorization-server"
SIGN_IN_PAGE: Final = "/sign-in"
_FORM: Final = "application/x-www-form-urlencoded"
_FORM_FIELDS_MAX: Final = 32
_FORM_BYTES_MAX: Final = 512 * KIB
"""Of a posted form: a SAML response with its signature and a few hundred groups, in Base64."""
_TAG: Final = "federation"
_TOKEN_FIELDS: Final = ("grant_type", "scope", "client_id", "client_assertion_type", "client_assertion")


class OpenIDProvider(Protocol):
    """What is asked of ``identity.federation.oidc.OIDCClient``."""

    def begin(self, return_to: str = "/") -> SignInBegun:
        """Start a sign-in."""
        ...

    def finish(self, query: Sequence[tuple[str, str]], sealed_state: str) -> SignedIn | SignInRefused:
        """Take what the browser brought back."""
        ...

    def back_channel_logout(self, logout_token: str) -> LogoutRequest | SignInRefused:
        """Believe the provider that somebody signed out there."""
        ...


class SAMLProvider(Protocol):
    """What is asked of ``identity.federation.saml.SAMLServiceProvider``."""

    def metadata(self) -> bytes:
        """Return our metadata document."""
        ...

    def begin(self, return_to: str = "/") -> SignInBegun | SignInRefused:
        """Start a sign-in."""
        ...

    def finish(self, saml_response: str, sealed_state: str) -> SignedIn | SignInRefused:
        """Take what the browser posted."""
        ...


@dataclass(frozen=True, slots=True)
class FederationServices:
    """What single sign-on and the token endpoint work with; None where the site has none.

    Attributes:
        sign_in: the flow that goes on where the identity provider ends.
        believe: makes what a sign-in begins with of what a provider said: groups to roles.
        refused: puts on record why a sign-in at a provider failed.
        signed_out: ends the sessions of somebody who signed out at their provider; tells whether they are known.
    """

    sign_in: SignIn
    tokens: TokenService
    believe: Callable[[ExternalIdentity], Vouched | SignInRefused]
    refused: Callable[[str, Origin], None]
    signed_out: Callable[[LogoutRequest, Origin], bool]
    oidc: OpenIDProvider | None = None
    saml: SAMLProvider | None = None


class FederationDoor:
    """Handlers."""

    def __init__(self, services: FederationServices) -> None:
        self._services = services

    async def begin_oidc(self, request: Request) -> Response:
        """Send the browser to the OpenID provider."""
        assert self._services.oidc is not None
        begun = await _asked(partial(self._services.oidc.begin, request.query_params.get("return_to", "/")))
        return self._away(begun, OIDC_COOKIE, "lax", origin_of(request))

    async def finish_oidc(self, request: Request) -> Response:
        """Take the browser back, with a code."""
        oidc = self._services.oidc
        assert oidc is not None
        query = _fields_of(request.url.query)
        state = cookie_of(request, OIDC_COOKIE).reveal().decode("latin-1")
        return await self._back(
            await _asked(partial(oidc.finish, query, state)), OIDC_COOKIE, origin_of(request)
        )

    async def logout_oidc(self, request: Request) -> Response:
        """Take the provider's word that somebody signed out there: all their sessions end."""
        oidc, origin = self._services.oidc, origin_of(request)
        assert oidc is not None
        token = dict(await _form_of(request)).get("logout_token", "")
        said = await _asked(partial(oidc.back_channel_logout, token))
        if isinstance(said, LogoutRequest):
            if await in_thread(self._services.signed_out, said, origin):
                return Response(status_code=200)
            said = SignInRefused("the logout token names nobody who is known here")
        await in_thread(self._services.refused, said.reason, origin)
        return Response(b'{"error":"invalid_request"}', 400, media_type="application/json")

    async def begin_saml(self, request: Request) -> Response:
        """Send the browser to the SAML identity provider."""
        assert self._services.saml is not None
        begun = await _asked(partial(self._services.saml.begin, request.query_params.get("return_to", "/")))
        return self._away(begun, SAML_COOKIE, "none", origin_of(request))

    async def finish_saml(self, request: Request) -> Response:
        """Take the browser back, with a posted response."""
        saml = self._services.saml
        assert saml is not None
        form = dict(await _form_of(request))
        state = cookie_of(request, SAML_COOKIE).reveal().decode("latin-1")
        said = await _asked(partial(saml.finish, form.get("SAMLResponse", ""), state))
        return await self._back(said, SAML_COOKIE, origin_of(request))

    async def saml_metadata(self, _request: Request) -> Response:
        """Give our metadata document."""
        assert self._services.saml is not None
        return Response(self._services.saml.metadata(), media_type="application/samlmetadata+xml")

    async def token(self, request: Request) -> Response:
        """Give a service an access token."""
        form = await _form_of(request)
        said = await in_thread(self._services.tokens.token, form, origin_of(request))
        if isinstance(said, TokenGranted):
            return Response(said.body(), media_type="application/json")
        headers = {"WWW-Authenticate": 'Bearer realm="leadglass"'} if said.status == 401 else None
        return Response(said.body(), said.status, headers=headers, media_type="application/json")

    async def authorization_server(self, _request: Request) -> Response:
        """Say what the token endpoint takes."""
        return Response(self._services.tokens.metadata(), media_type="application/json")

    def _away(
        self, begun: SignInBegun | SignInRefused, cookie: str, same_site: str, origin: Origin
    ) -> Response:
        if isinstance(begun, SignInRefused):
            self._services.refused(begun.reason, origin)
            return _failed()
        response = RedirectResponse(begun.redirect_url, 303)
        set_cookie(response, cookie, Secret(begun.sealed_state.encode("ascii")), same_site=same_site)
        return response

    async def _back(self, said: SignedIn | SignInRefused, cookie: str, origin: Origin) -> Response:
        response = await in_thread(self._landed, said, origin)
        spoil_cookie(response, cookie)
        return response

    def _landed(self, said: SignedIn | SignInRefused, origin: Origin) -> Response:
        if isinstance(said, SignInRefused):
            self._services.refused(said.reason, origin)
            return _failed()
        believed = self._services.believe(said.identity)
        if isinstance(believed, SignInRefused):
            self._services.refused(believed.reason, origin)
            return _failed()
        return _land(self._services.sign_in.begin_vouched(believed, origin), said.return_to)


def _land(outcome: SignInOutcome, return_to: str) -> Response:
    """Send the browser on: to where it came from, to the second factor, or back to sign-in.

    The session's cookie is ``SameSite=Strict`` and would not travel with a redirect that another site began, so the way goes
    over a page of ours that goes on by itself.
    """
    match outcome:
        case HasSession():
            response = _onwards(return_to)
            set_cookie(response, SESSION_COOKIE, outcome.token)
        case SecondFactorNeeded() | MustEnrolFactor():
            response = _onwards(f"{SIGN_IN_PAGE}?step=second-factor")
            set_cookie(response, PENDING_COOKIE, outcome.pending)
        case _:
            return _failed()
    return response


def _onwards(path: str) -> Response:
    # ``path`` is one of ours (``federation.local_path`` let nothing else through); the header cannot hold a line break.
    return Response(status_code=200, headers={"Refresh": f"0; url={path}"}, media_type="text/html")


def _failed() -> Response:
    return RedirectResponse(f"{SIGN_IN_PAGE}?failed=1", 303)


async def _asked(function: Callable[[], T]) -> T | SignInRefused:
    """Ask a provider; one that cannot be reached, or cannot be understood, is a sign-in that failed."""

    def ask() -> T | SignInRefused:
        try:
            return function()
        except PeerUnreachable:
            return SignInRefused("the identity provider cannot be reached")
        except ProviderMisbehaved:
            return SignInRefused("the identity provider says what cannot be used")

    return await in_thread(ask)


async def _form_of(request: Request) -> list[tuple[str, str]]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise RequestRefused(f"a body of type {_FORM} is expected", http_status=415)
    try:
        return _fields_of((await request.body()).decode("ascii"))
    except UnicodeDecodeError:
        raise RequestRefused("the form cannot be read") from None


def _fields_of(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX)
    except ValueError:  # too many of them
        raise RequestRefused("the form cannot be read") from None


def _operation(summary: str, ok: str, *fields: str) -> dict[str, object]:
    """Return the OpenAPI description of an operation that takes a form with these fields, or none."""
    operation = described(summary, _TAG, ok=ok, public=True)
    if fields:
        text = {"type": "string"}
        schema = {"type": "object", "properties": dict.fromkeys(fields, text), "required": [fields[0]]}
        operation["requestBody"] = {"required": True, "content": {_FORM: {"schema": schema}}}
    return operation


_REFUSED_TOKEN: Final[dict[str, object]] = {
    "description": "refused; `error` is of RFC 6749 5.2",
    "content": {
        "application/json": {"schema": {"type": "object", "required": ["error"]}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
    },
}


def _responses_of(operation: dict[str, object]) -> dict[str, object]:
    return cast("dict[str, object]", operation["responses"])


def endpoints(services: FederationServices) -> list[Endpoint]:
    """Return the endpoints of single sign-on, as far as the site has it, and of access tokens."""
    door = FederationDoor(services)

    def at(method: str, path: str, handler: Handler, operation: dict[str, object], **more: bool) -> Endpoint:
        return Endpoint(method, path, handler, operation, public=True, body_bytes_max=_FORM_BYTES_MAX, **more)

    token = _operation("Access token for a service (client credentials)", "200", *_TOKEN_FIELDS)
    token["responses"] = {**_responses_of(token), "400": _REFUSED_TOKEN}
    served = _operation("What the token endpoint takes", "200")
    made = [
        at("POST", TOKEN, door.token, token),
        at("GET", AUTHORIZATION_SERVER, door.authorization_server, served),
    ]
    if services.oidc is not None:
        logout = _operation("The provider says that somebody signed out", "200", "logout_token")
        made += [
            at("POST", OIDC_LOGOUT, door.logout_oidc, logout),
            at("GET", OIDC_BEGIN, door.begin_oidc, _operation("Sign in at the OpenID provider", "303")),
            at("GET", OIDC_CALLBACK, door.finish_oidc, _operation("Back from the OpenID provider", "200")),
        ]
    if services.saml is not None:
        acs = _operation("Back from the identity provider", "200", "SAMLResponse")
        made += [
            at("GET", SAML_BEGIN, door.begin_saml, _operation("Sign in at the SAML provider", "303")),
            # Posted by the provider's page: another site by design. The sealed cookie of the sign-in ties it to us.
            at("POST", SAML_RESPONSE, door.finish_saml, acs, unsafe_cross_site=True),
            at("GET", SAML_METADATA, door.saml_metadata, _operation("Our SAML metadata", "200")),
        ]
    return made
