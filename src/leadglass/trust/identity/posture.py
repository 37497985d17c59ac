"""Device posture as an access proxy vouches for it: a short-lived signed statement in a header.

The header comes with every request, and anybody can send one. It is believed only when it is a compact JWS of the
site's own access proxy, for us, for the address that the request comes from, and not older than minutes.

**Invariant:** what is not believed is no posture; nothing here raises for any header.

Source: RFC 7519, RFC 8725; NIST SP 800-207 3.3 (device health as input of the trust algorithm).
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Final, Protocol

from leadglass.base.clock import Clock
from leadglass.base.limits import POSTURES_REMEMBERED_MAX
from leadglass.trust.identity.jose import JoseRefused, KeySet, verify

MANAGED: Final = "managed"
LIFETIME_SECONDS_MAX: Final = 600
"""Longest life of a statement: a workstation that fell ill is trusted no longer."""
_SKEW_SECONDS: Final = 30
_ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "PS256")


class Postures(Protocol):
    """Says what a header is worth."""

    def of(self, header: str, address: str) -> str:
        """Return ``managed``, or empty for everything that is not believed."""
        ...


class NoPostures:
    """Where the site has no access proxy, no header is believed."""

    def of(self, header: str, address: str) -> str:  # noqa: ARG002 - the Protocol's names
        """Return nothing."""
        return ""


class SignedPostures:
    """Implements ``Postures`` for one access proxy. Thread-safe; a statement is verified once.

    Args:
        issuer: exact ``iss`` of the proxy.
        audience: ``aud`` that names us: the first host name of the site.
        keys: of the proxy.
        clock: of the site.
    """

    def __init__(self, issuer: str, audience: str, keys: KeySet, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        # Digest of header and address to the second until which it holds.
        self._good: OrderedDict[bytes, float] = OrderedDict()

    def of(self, header: str, address: str) -> str:
        """Return the posture that a header states, if it is believed."""
        if not header:
            return ""
        now = self._clock.now().timestamp()
        key = hashlib.sha256(f"{address}\n{header}".encode()).digest()
        with self._lock:
            until = self._good.get(key, 0.0)
        if now < until:
            return MANAGED
        until = self._until(header, address, now)
        if not until:
            return ""
        with self._lock:
            self._good[key] = until
            if len(self._good) > POSTURES_REMEMBERED_MAX:
                self._good.popitem(last=False)
        return MANAGED

    def _until(self, header: str, address: str, now: float) -> float:
        """Return until when a statement holds; 0 where it is not believed."""
        try:
            claims = verify(header, self._keys, _ALGORITHMS)
        except JoseRefused:
            return 0.0
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int | float) or not isinstance(expires, int | float):
            return 0.0
        # Source: RFC 7519 4.1: from whom, for whom, when; and of which address.
        if claims.get("iss") != self._issuer or claims.get("aud") != self._audience:
            return 0.0
        if not 0 < expires - issued <= LIFETIME_SECONDS_MAX or issued > now + _SKEW_SECONDS or expires <= now:
            return 0.0
        if claims.get("address") != address or claims.get("posture") != MANAGED:
            return 0.0
        return float(expires)
