"""Cookies of the console: the session's, and that of somebody who is half signed in.

``__Host-``: Secure, from this host only, for the whole site. HttpOnly: no script reads them. SameSite=Strict: no other site
sends them. Source: RFC 6265bis 4.1.3.2, 5.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.base.secret import Secret
from leadglass.doors.https.gate import SESSION_COOKIE

PENDING_COOKIE: Final = "__Host-leadglass-pending"

__all__ = ["PENDING_COOKIE", "SESSION_COOKIE", "cookie_of", "set_cookie", "spoil_cookie"]


def cookie_of(request: Request, name: str) -> Secret:
    """Return what a cookie holds; empty where it is absent."""
    return Secret(request.cookies.get(name, "").encode("latin-1", "ignore"))


def set_cookie(response: Response, name: str, value: Secret, *, same_site: str = "strict") -> None:
    """Give a cookie for as long as the browser runs; how long it counts is decided here, not there."""
    text = value.reveal().decode("ascii")
    response.headers.append(
        "Set-Cookie", f"{name}={text}; Path=/; Secure; HttpOnly; SameSite={same_site.capitalize()}"
    )


def spoil_cookie(response: Response, name: str) -> None:
    """Have the browser forget a cookie."""
    response.headers.append("Set-Cookie", f"{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict")
