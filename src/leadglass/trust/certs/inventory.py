"""The inventory: which certificate is whose, under which AE title, and until when."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from leadglass.base.clock import Clock
from leadglass.trust.identity.models import CertificateFacts
from leadglass.trust.identity.registry import DeviceRegistry

EXPIRING: Final = timedelta(days=30)
"""First of the alarms at 30, 14 and 3 days."""


class CertificateState(StrEnum):
    """What a certificate is good for now."""

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One certificate of the site.

    Attributes:
        holder: ``authority``, ``node``, or ``device:<id>``.
        ae_title: of the device; empty for authority and node.
        slot: ``current`` or ``next``.
        state: at the moment of the listing.
        days_left: whole days until it ends; negative afterwards.
    """

    holder: str
    ae_title: str
    slot: str
    sha256: str
    serial: str
    not_before: datetime
    not_after: datetime
    state: CertificateState
    days_left: int


def inventory(
    registry: DeviceRegistry,
    clock: Clock,
    *,
    authority: CertificateFacts | None = None,
    node: CertificateFacts | None = None,
) -> Iterator[InventoryRow]:
    """Yield authority, node, then each device's certificates in the order of enrolment.

    Raises:
        IntegrityError: the registry is damaged.
    """
    now = clock.now()
    for holder, facts in (("authority", authority), ("node", node)):
        if facts is not None:
            yield _row(holder, "", "current", facts, now, revoked=False)
    for device in registry.list():
        for slot, facts in zip(("current", "next"), registry.certificates(device.device_id), strict=False):
            holder = f"device:{device.device_id}"
            yield _row(holder, device.ae_title, slot, facts, now, revoked=device.revoked_at is not None)


def _row(
    holder: str, ae_title: str, slot: str, facts: CertificateFacts, now: datetime, *, revoked: bool
) -> InventoryRow:
    return InventoryRow(
        holder=holder,
        ae_title=ae_title,
        slot=slot,
        sha256=facts.sha256,
        serial=facts.serial,
        not_before=facts.not_before,
        not_after=facts.not_after,
        state=_state(facts, now, revoked=revoked),
        days_left=(facts.not_after - now).days,
    )


def _state(facts: CertificateFacts, now: datetime, *, revoked: bool) -> CertificateState:
    if revoked:
        return CertificateState.REVOKED
    if now < facts.not_before:
        return CertificateState.NOT_YET_VALID
    if now > facts.not_after:
        return CertificateState.EXPIRED
    if facts.not_after - now <= EXPIRING:
        return CertificateState.EXPIRING
    return CertificateState.VALID
