"""What the policy room writes down, kept for a look; and authenticated files as a site has them."""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from leadglass.base.errors import AuditUnavailable, IntegrityError
from leadglass.trust.identity.models import Principal


@dataclass
class Recorded:
    code: str
    by: Principal
    success: bool
    objects: Mapping[str, Collection[str]]
    facts: Mapping[str, str | int | bool]
    detail: Mapping[str, object]


@dataclass
class Events:
    """Implements ``PolicyEvents``; can be told to take nothing, as when the disk is full."""

    taken: list[Recorded] = field(default_factory=list[Recorded])
    full: bool = False

    def record(
        self,
        code: str,
        by: Principal,
        *,
        success: bool = True,
        objects: Mapping[str, Collection[str]] | None = None,
        facts: Mapping[str, str | int | bool] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        if self.full:
            raise AuditUnavailable("the disk is full")
        self.taken.append(
            Recorded(code, by, success, dict(objects or {}), dict(facts or {}), dict(detail or {}))
        )

    def codes(self) -> list[str]:
        return [event.code for event in self.taken]


class Tags:
    """Implements ``FileAuthenticator`` under a key of its own."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        self._key = key

    def tag(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)

    def check(self, data: bytes, tag: bytes) -> None:
        if not hmac.compare_digest(self.tag(data), tag):
            raise IntegrityError("the tag does not fit")
