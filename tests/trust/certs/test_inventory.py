"""Which certificate is whose, and until when."""

from datetime import timedelta
from pathlib import Path

from leadglass.trust.certs.inventory import CertificateState, inventory
from leadglass.trust.identity.models import DeviceRole
from leadglass.trust.identity.registry import DeviceRegistry
from leadglass.trust.keys.ring import FileMac
from trust.certs.loopback import Site


def test_every_certificate_is_listed_with_its_holder_and_its_state(tmp_path: Path) -> None:
    site = Site(tmp_path)
    registry = DeviceRegistry.create(tmp_path / "devices", FileMac(bytes(32)), site.clock)
    for number in (1, 2):
        registry.enrol(
            device_id=f"ct{number}",
            ae_title=f"CT{number}",
            roles=[DeviceRole.STORE],
            networks=[],
            certificate=site.authority.issue_device(f"ct{number}").facts,
        )
    site.clock.advance(timedelta(days=340).total_seconds())
    registry.renew_certificate("ct1", site.authority.issue_device("ct1").facts)
    registry.revoke("ct2")
    rows = list(inventory(registry, site.clock, authority=site.authority.facts, node=site.node.facts))
    assert [(row.holder, row.ae_title, row.slot, row.state) for row in rows] == [
        ("authority", "", "current", CertificateState.VALID),
        ("node", "", "current", CertificateState.EXPIRED),
        ("device:ct1", "CT1", "current", CertificateState.EXPIRING),
        ("device:ct1", "CT1", "next", CertificateState.VALID),
        ("device:ct2", "CT2", "current", CertificateState.REVOKED),
    ]
    assert [row.days_left for row in rows][2:4] == [
        24,
        364,
    ]  # whole days; certificates have no fractions of a second
