"""Signing in: a name and a password or a passkey, then what is still wanted, then a session cookie.

The flow is ``identity.interfaces.SignIn``; here it gets its bodies and its cookies. What is half signed in lives in a
cookie of its own, HttpOnly like the session's, so no script and no log ever holds it. Every refusal is the same answer.

Source: NIST SP 800-63B-4; RFC 6265bis (``__Host-``); WebAuthn Level 3; RFC 9470.
"""

from datetime import datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.base.secret import Secret
from leadglass.doors.console.bodies import body_of, described, json_response, no_content
from leadglass.doors.console.cookies import (
    PENDING_COOKIE,
    SESSION_COOKIE,
    cookie_of,
    set_cookie,
    spoil_cookie,
)
from leadglass.doors.console.origins import origin_of
from leadglass.doors.console.services import SignInServices
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.identity.models import (
    Factor,
    MustChangePassword,
    MustEnrolFactor,
    Origin,
    Principal,
    SecondFactorNeeded,
    Session,
    SignedIn,
    SignInOutcome,
    SignInRefused,
)

BASE = "/api/v1"
"""Of every URL of the console's API, from the root of the server."""
_TAG: Final = "sign-in"


class _NameAndPassword(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    password: str


class _Code(msgspec.Struct, forbid_unknown_fields=True):
    code: str


class _Passkey(msgspec.Struct, forbid_unknown_fields=True):
    response: msgspec.Raw
    name: str = ""


class _NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    password: str


class _Invitation(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    password: str


class _FirstAdministrator(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    account: str
    display_name: str
    password: str


class _Badge(msgspec.Struct, forbid_unknown_fields=True):
    badge: str
    pin: str


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where somebody stands on the way in.

    Attributes:
        state: signed-in, second-factor, enrol-factor, change-password, refused.
        factors: which may be shown or enrolled.
        problems: what was wrong with a new password, in words.
        expires_at: of this step.
        retry_after: seconds to wait, after a refusal.
    """

    state: str
    factors: tuple[Factor, ...] = ()
    problems: tuple[str, ...] = ()
    expires_at: datetime | None = None
    retry_after: int = 0


def answer(outcome: SignInOutcome) -> Response:
    """Return the answer to a step, with the cookie that the next one needs."""
    match outcome:
        case SignedIn():
            response = json_response(State("signed-in", expires_at=outcome.session.ends_at))
            set_cookie(response, SESSION_COOKIE, outcome.token)
            spoil_cookie(response, PENDING_COOKIE)
        case SecondFactorNeeded():
            response = json_response(
                State("second-factor", outcome.factors, expires_at=outcome.expires_at), 401
            )
            set_cookie(response, PENDING_COOKIE, outcome.pending)
        case MustEnrolFactor():
            response = json_response(
                State("enrol-factor", outcome.factors, expires_at=outcome.expires_at), 401
            )
            set_cookie(response, PENDING_COOKIE, outcome.pending)
        case MustChangePassword():
            response = json_response(
                State("change-password", problems=outcome.problems, expires_at=outcome.expires_at), 401
            )
            set_cookie(response, PENDING_COOKIE, outcome.pending)
        case SignInRefused():
            return refusal(outcome)
    return response


def refusal(refused: SignInRefused) -> Response:
    """Return the one answer to everybody who is refused."""
    if not refused.retry_after:
        return json_response(State("refused"), 401)
    response = json_response(State("refused", retry_after=refused.retry_after), 429)
    response.headers["Retry-After"] = str(refused.retry_after)
    return response


def _options(options: str | None) -> Response:
    return refusal(SignInRefused()) if options is None else json_response(msgspec.Raw(options.encode()))


class SignInDoor:
    """Handlers of the flow."""

    def __init__(self, services: SignInServices) -> None:
        self._services = services
        self._flow = services.sign_in

    async def ways(self, _request: Request) -> Response:
        """Say how one may sign in here."""
        ways = [{"way": "password"}, {"way": "passkey"}]
        ways += [{"way": name, "url": url} for name, url in self._services.providers.items()]
        return json_response({"ways": ways})

    async def begin(self, request: Request) -> Response:
        """Take a name and a password."""
        asked = await body_of(request, _NameAndPassword)
        password = Secret(asked.password.encode())
        return answer(await in_thread(self._flow.begin, asked.account, password, origin_of(request)))

    async def begin_passkey(self, request: Request) -> Response:
        """Begin with a passkey alone."""
        pending, options = await in_thread(self._flow.begin_passkey, origin_of(request))
        response = json_response(msgspec.Raw(options.encode()))
        set_cookie(response, PENDING_COOKIE, pending)
        return response

    async def passkey_options(self, request: Request) -> Response:
        """Give the options to assert a passkey as second factor."""
        pending = cookie_of(request, PENDING_COOKIE)
        return _options(await in_thread(self._flow.passkey_options, pending, origin_of(request)))

    async def finish_passkey(self, request: Request) -> Response:
        """Take the browser's assertion."""
        asked = await body_of(request, _Passkey)
        pending, text = cookie_of(request, PENDING_COOKIE), bytes(asked.response).decode()
        return answer(await in_thread(self._flow.finish_passkey, pending, text, origin_of(request)))

    async def finish_totp(self, request: Request) -> Response:
        """Take six digits."""
        asked = await body_of(request, _Code)
        pending = cookie_of(request, PENDING_COOKIE)
        return answer(await in_thread(self._flow.finish_totp, pending, asked.code, origin_of(request)))

    async def finish_recovery_code(self, request: Request) -> Response:
        """Take a recovery code."""
        asked = await body_of(request, _Code)
        pending = cookie_of(request, PENDING_COOKIE)
        outcome = await in_thread(self._flow.finish_recovery_code, pending, asked.code, origin_of(request))
        return answer(outcome)

    async def change_password(self, request: Request) -> Response:
        """Take the new password that was asked for."""
        asked = await body_of(request, _NewPassword)
        pending, new = cookie_of(request, PENDING_COOKIE), Secret(asked.password.encode())
        return answer(await in_thread(self._flow.change_password, pending, new, origin_of(request)))

    async def redeem(self, request: Request) -> Response:
        """Take an invitation and the password of its person's choice; they sign in afterwards."""
        asked = await body_of(request, _Invitation)
        token, password = Secret(asked.token.encode()), Secret(asked.password.encode())
        done = await in_thread(self._services.redeem, token, password, origin_of(request))
        return no_content() if done else refusal(SignInRefused())

    async def redeem_first(self, request: Request) -> Response:
        """Make the first administrator with the token that the machine's console printed."""
        asked = await body_of(request, _FirstAdministrator)
        token, password = Secret(asked.token.encode()), Secret(asked.password.encode())
        arguments = (token, asked.account, asked.display_name, password, origin_of(request))
        done = await in_thread(self._services.redeem_first, *arguments)
        return no_content() if done else refusal(SignInRefused())

    async def unlock_password(self, request: Request) -> Response:
        """Open a locked session with its account's password."""
        asked = await body_of(request, _NewPassword)
        token, password = cookie_of(request, SESSION_COOKIE), Secret(asked.password.encode())
        return answer(await in_thread(self._flow.unlock_password, token, password, origin_of(request)))

    async def unlock_badge(self, request: Request) -> Response:
        """Open a locked session at its workstation."""
        asked = await body_of(request, _Badge)
        token = cookie_of(request, SESSION_COOKIE)
        badge, pin = Secret(asked.badge.encode()), Secret(asked.pin.encode())
        return answer(await in_thread(self._flow.unlock_badge, token, badge, pin, origin_of(request)))

    # --- enrolling: half signed in, or signed in and fresh -----------------------------------------------------

    async def passkey_enrolment_options(self, request: Request) -> Response:
        """Give the options to make a passkey."""
        holder = _holder(request)
        return _options(await in_thread(self._flow.passkey_enrolment_options, holder, origin_of(request)))

    async def enrol_passkey(self, request: Request) -> Response:
        """Take the browser's attestation."""
        asked = await body_of(request, _Passkey)
        holder, text = _holder(request), bytes(asked.response).decode()
        outcome = await in_thread(self._flow.enrol_passkey, holder, text, asked.name, origin_of(request))
        return answer(outcome)

    async def totp_enrolment(self, request: Request) -> Response:
        """Make a seed for an authenticator application; shown this once."""
        made = await in_thread(self._flow.totp_enrolment, _holder(request), origin_of(request))
        if made is None:
            return refusal(SignInRefused())
        return json_response({"secret": made.secret.reveal().decode(), "uri": made.uri.reveal().decode()})

    async def enrol_totp(self, request: Request) -> Response:
        """Take the first code of the seed."""
        asked = await body_of(request, _Code)
        return answer(
            await in_thread(self._flow.enrol_totp, _holder(request), asked.code, origin_of(request))
        )


class SessionDoor:
    """Handlers for somebody who is signed in, about themselves."""

    def __init__(self, services: SignInServices) -> None:
        self._services = services
        self._flow = services.sign_in

    async def me(self, request: Request) -> Response:
        """Say who is signed in, as what, until when."""
        principal = principal_of(request)
        session = self._services.sessions.get(principal.circumstances.session_id)
        account = self._services.accounts.get(_account_id(principal))
        return json_response(
            {
                "principal": principal.principal_id,
                "name": account.display_name if account is not None else "",
                "roles": principal.roles,
                "factors": self._services.factors.factors_of(account.account_id) if account else (),
                "purpose": principal.circumstances.purpose,
                "break_glass": principal.circumstances.break_glass,
                "session": shown_session(session) if session is not None else None,
            }
        )

    async def sessions(self, request: Request) -> Response:
        """List one's own sessions."""
        account_id = _account_id(principal_of(request))
        return json_response({"sessions": [shown_session(s) for s in self._services.sessions.of(account_id)]})

    async def end_session(self, request: Request) -> Response:
        """End one of one's own sessions; somebody else's is as good as missing."""
        account_id = _account_id(principal_of(request))
        wanted = request.path_params["session"]
        if wanted in {s.session_id for s in self._services.sessions.of(account_id)}:
            await in_thread(self._services.sessions.end, wanted, _mine(request), "ended by its owner")
        return no_content()

    async def lock(self, request: Request) -> Response:
        """Lock the session: the person leaves the console."""
        session_id = principal_of(request).circumstances.session_id
        await in_thread(self._services.sessions.lock, session_id, _mine(request))
        return no_content()

    async def sign_out(self, request: Request) -> Response:
        """End the session, and tell the browser to forget what it holds."""
        await in_thread(self._flow.sign_out, cookie_of(request, SESSION_COOKIE), origin_of(request))
        response = no_content()
        spoil_cookie(response, SESSION_COOKIE)
        response.headers["Clear-Site-Data"] = '"cache", "cookies", "storage"'
        return response

    async def step_up_options(self, request: Request) -> Response:
        """Give the options to assert a passkey for step-up."""
        token = cookie_of(request, SESSION_COOKIE)
        return _options(await in_thread(self._flow.step_up_options, token, origin_of(request)))

    async def step_up_passkey(self, request: Request) -> Response:
        """Take the assertion: what needs a fresh strong factor is open for a while."""
        asked = await body_of(request, _Passkey)
        token, text = cookie_of(request, SESSION_COOKIE), bytes(asked.response).decode()
        return answer(await in_thread(self._flow.step_up_passkey, token, text, origin_of(request)))

    async def step_up_totp(self, request: Request) -> Response:
        """Take six digits, as above."""
        asked = await body_of(request, _Code)
        token = cookie_of(request, SESSION_COOKIE)
        return answer(await in_thread(self._flow.step_up_totp, token, asked.code, origin_of(request)))

    async def new_recovery_codes(self, request: Request) -> Response:
        """Replace the recovery codes; shown this once."""
        token = cookie_of(request, SESSION_COOKIE)
        codes = await in_thread(self._flow.new_recovery_codes, token, origin_of(request))
        return refusal(SignInRefused()) if codes is None else json_response({"codes": codes})


def _account_id(principal: Principal) -> str:
    """Return whose account it is; empty for devices and services, which may have the name of somebody's."""
    return principal.principal_id.partition(":")[2] if principal.kind == "user" else ""


def _holder(request: Request) -> Secret:
    pending = cookie_of(request, PENDING_COOKIE)
    return pending if pending.reveal() else cookie_of(request, SESSION_COOKIE)


def _mine(request: Request) -> Origin:
    return origin_of(request)


def shown_session(session: Session) -> dict[str, object]:
    """Return a session as the API shows it."""
    return {
        "session": session.session_id,
        "account": session.account_id,
        "zone": session.zone,
        "address": session.address,
        "workstation": session.workstation,
        "methods": session.methods,
        "started_at": session.started_at,
        "strong_at": session.strong_at,
        "last_seen": session.last_seen,
        "idle_ends_at": session.idle_ends_at,
        "ends_at": session.ends_at,
        "locked": session.locked_at is not None,
    }


def endpoints(services: SignInServices) -> list[Endpoint]:
    """Return the endpoints of signing in, and of one's own session."""
    way, mine = SignInDoor(services), SessionDoor(services)

    def public(
        path: str, handler: Handler, summary: str, body: type | None = None, *, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(
            "POST",
            BASE + path,
            handler,
            described(summary, _TAG, body, ok=ok, public=True),
            public=True,
            unsafe_cross_site=False,
            body_bytes_max=64 * 1024,
        )

    def own(
        method: str, path: str, handler: Handler, summary: str, body: type | None = None, *, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    return [
        Endpoint(
            "GET",
            f"{BASE}/sign-in",
            way.ways,
            described("How one may sign in here", _TAG, public=True),
            public=True,
        ),
        public("/sign-in", way.begin, "Sign in with name and password", _NameAndPassword),
        public("/sign-in/passkey", way.begin_passkey, "Sign in with a passkey alone: its options"),
        public("/sign-in/passkey/options", way.passkey_options, "Options for a passkey as second factor"),
        public("/sign-in/passkey/finish", way.finish_passkey, "Show a passkey", _Passkey),
        public("/sign-in/totp", way.finish_totp, "Show six digits", _Code),
        public("/sign-in/recovery-code", way.finish_recovery_code, "Show a recovery code", _Code),
        public(
            "/sign-in/password", way.change_password, "Set the new password that is asked for", _NewPassword
        ),
        public("/invitation", way.redeem, "Set a password with an invitation", _Invitation, ok="204"),
        public(
            "/first-administrator",
            way.redeem_first,
            "Be the first administrator, with the token of the machine's console",
            _FirstAdministrator,
            ok="204",
        ),
        public(
            "/unlock/password", way.unlock_password, "Open a locked session with the password", _NewPassword
        ),
        public("/unlock/badge", way.unlock_badge, "Open a locked session with badge and PIN", _Badge),
        public("/factors/passkey/options", way.passkey_enrolment_options, "Options to make a passkey"),
        public("/factors/passkey", way.enrol_passkey, "Enrol a passkey", _Passkey),
        public("/factors/totp/begin", way.totp_enrolment, "Make a seed for an authenticator application"),
        public("/factors/totp", way.enrol_totp, "Enrol it by its first code", _Code),
        own("GET", "/me", mine.me, "Who is signed in"),
        own("GET", "/me/sessions", mine.sessions, "One's own sessions"),
        own("DELETE", "/me/sessions/{session}", mine.end_session, "End one of them", ok="204"),
        own("POST", "/lock", mine.lock, "Lock the session", ok="204"),
        own("POST", "/sign-out", mine.sign_out, "End the session", ok="204"),
        own("POST", "/step-up/passkey/options", mine.step_up_options, "Options for step-up with a passkey"),
        own("POST", "/step-up/passkey", mine.step_up_passkey, "Step up with a passkey", _Passkey),
        own("POST", "/step-up/totp", mine.step_up_totp, "Step up with six digits", _Code),
        own("POST", "/factors/recovery-codes", mine.new_recovery_codes, "New recovery codes, shown once"),
    ]
