"""A device is its certificate, its AE title and its networks."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import IntegrityError, NotFound, UsageError
from leadglass.base.ids import AETitle
from leadglass.trust.identity.models import (
    CertificateFacts,
    Device,
    DeviceRole,
    PeerFacts,
    Principal,
    Unrecognised,
)
from leadglass.trust.identity.registry import DeviceRegistry
from leadglass.trust.keys.ring import FileMac

MAC = FileMac(bytes(range(32)))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(tmp_path: Path, clock: FakeClock) -> DeviceRegistry:
    return DeviceRegistry.create(tmp_path / "devices", MAC, clock, ["LEADGLASS"])


def certificate(name: str, clock: FakeClock, days: int = 365) -> CertificateFacts:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return CertificateFacts(digest, digest[:40], clock.now(), clock.now() + timedelta(days=days))


def enrol(
    registry: DeviceRegistry, clock: FakeClock, device_id: str = "ct1", ae_title: str = "CT1"
) -> Device:
    return registry.enrol(
        device_id=device_id,
        ae_title=ae_title,
        roles=[DeviceRole.STORE],
        networks=["10.1.2.0/24", "2001:db8::/64"],
        certificate=certificate(device_id, clock),
    )


def facts(device: Device) -> PeerFacts:
    return PeerFacts(device.certificate_sha256[0], "10.1.2.3", device.ae_title, "LEADGLASS")


def test_a_device_is_recognised_by_all_three(registry: DeviceRegistry, clock: FakeClock) -> None:
    device = enrol(registry, clock)
    assert registry.resolve(facts(device)) == Principal(
        principal_id="device:ct1",
        roles=("store",),
        ae_title="CT1",
        address="10.1.2.3",
        certificate_sha256=device.certificate_sha256[0],
    )


@pytest.mark.parametrize(
    ("change", "reason", "rj_reason"),
    [
        ({"certificate_sha256": ""}, "no client certificate", 3),
        ({"certificate_sha256": "0" * 64}, "certificate is not enrolled", 3),
        ({"calling_ae_title": "CT2"}, "calling AE title is not that of the certificate's device", 3),
        ({"calling_ae_title": "ct1"}, "calling AE title is not that of the certificate's device", 3),
        ({"address": "10.1.3.3"}, "address is not in the device's networks", 3),
        ({"address": "2001:db8:0:1::1"}, "address is not in the device's networks", 3),
        ({"address": "nowhere"}, "address is not in the device's networks", 3),
        ({"address": ""}, "address is not in the device's networks", 3),
        ({"called_ae_title": "ORTHANC"}, "called AE title is not ours", 7),
    ],
)
def test_a_mismatch_in_one_of_them_is_somebody_unknown(
    registry: DeviceRegistry, clock: FakeClock, change: dict[str, str], reason: str, rj_reason: int
) -> None:
    device = enrol(registry, clock)
    enrol(registry, clock, "ct2", "CT2")
    changed = replace(facts(device), **change)
    assert registry.resolve(changed) == Unrecognised(reason, rj_result=1, rj_source=1, rj_reason=rj_reason)


def test_a_stranger_learns_nothing_about_our_names(registry: DeviceRegistry, clock: FakeClock) -> None:
    device = enrol(registry, clock)
    stranger = replace(facts(device), certificate_sha256="0" * 64, called_ae_title="GUESS")
    verdict = registry.resolve(stranger)
    assert isinstance(verdict, Unrecognised)
    assert verdict.rj_reason == 3


@pytest.mark.parametrize("address", ["::ffff:10.1.2.3", "2001:db8::7", "2001:0db8:0::0007"])
def test_addresses_are_compared_by_what_they_mean(
    registry: DeviceRegistry, clock: FakeClock, address: str
) -> None:
    device = enrol(registry, clock)
    principal = registry.resolve(replace(facts(device), address=address))
    assert isinstance(principal, Principal)
    assert principal.address in {"10.1.2.3", "2001:db8::7"}


def test_a_certificate_counts_from_its_first_to_its_last_moment(
    registry: DeviceRegistry, clock: FakeClock
) -> None:
    device = enrol(registry, clock)
    clock.advance(-1)
    assert isinstance(registry.resolve(facts(device)), Unrecognised)
    clock.advance(1 + timedelta(days=365).total_seconds())
    assert isinstance(registry.resolve(facts(device)), Principal)
    clock.advance(1)
    assert registry.resolve(facts(device)) == Unrecognised("certificate is expired or not yet valid")


def test_revocation_by_another_process_counts_from_the_next_connection_on(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    device = enrol(registry, clock)
    assert isinstance(registry.resolve(facts(device)), Principal)
    DeviceRegistry(tmp_path / "devices", MAC, clock).revoke("ct1")
    assert registry.resolve(facts(device)) == Unrecognised("device is revoked")
    assert registry.by_ae_title("CT1") is None
    assert registry.by_fingerprint(device.certificate_sha256[0]) is None
    assert registry.get("ct1").revoked_at == clock.now()


def test_ids_and_certificates_are_never_used_twice_but_ae_titles_may_be(
    registry: DeviceRegistry, clock: FakeClock
) -> None:
    enrol(registry, clock)
    with pytest.raises(UsageError, match="AE title"):
        enrol(registry, clock, "ct2", " CT1 ")
    registry.revoke("ct1")
    with pytest.raises(UsageError, match="id"):
        enrol(registry, clock, "ct1", "CT9")
    with pytest.raises(UsageError, match="certificate"):
        registry.enrol(
            device_id="ct3",
            ae_title="CT3",
            roles=[DeviceRole.STORE],
            networks=[],
            certificate=certificate("ct1", clock),
        )
    assert enrol(registry, clock, "ct2", "CT1").ae_title == "CT1"


def test_a_renewal_has_two_slots_and_ends_with_the_old_one_retired(
    registry: DeviceRegistry, clock: FakeClock
) -> None:
    old = enrol(registry, clock)
    new = registry.renew_certificate("ct1", certificate("next", clock, days=730))
    assert len(new.certificate_sha256) == 2
    assert isinstance(registry.resolve(facts(old)), Principal)
    assert isinstance(
        registry.resolve(replace(facts(old), certificate_sha256=new.certificate_sha256[1])), Principal
    )
    with pytest.raises(UsageError, match="current and a next"):
        registry.renew_certificate("ct1", certificate("third", clock))
    registry.retire_certificate("ct1", old.certificate_sha256[0])
    assert registry.resolve(facts(old)) == Unrecognised("certificate was retired")
    with pytest.raises(UsageError, match="is or was enrolled"):
        registry.renew_certificate("ct1", certificate("ct1", clock))
    with pytest.raises(UsageError, match="only certificate"):
        registry.retire_certificate("ct1", new.certificate_sha256[1])


def test_an_expired_certificate_makes_room_for_the_next(registry: DeviceRegistry, clock: FakeClock) -> None:
    old = enrol(registry, clock)
    clock.advance(timedelta(days=366).total_seconds())
    new = registry.renew_certificate("ct1", certificate("next", clock))
    assert len(new.certificate_sha256) == 1
    assert registry.resolve(facts(old)) == Unrecognised("certificate was retired")


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": "CT1"},
        {"device_id": "../x"},
        {"ae_title": ""},
        {"ae_title": "A" * 17},
        {"ae_title": "A\\B"},
        {"roles": []},
        {"roles": [DeviceRole.STORE, DeviceRole.STORE]},
        {"networks": ["10.1.2.3/24"]},
        {"networks": ["everywhere"]},
        {"networks": ["::ffff:10.0.0.0/104"]},
        {"networks": ["10.0.0.0/8"] * 65},
        {"host": "a b", "port": 104},
        {"host": "$(id)", "port": 104},
        {"host": "ws1", "port": 0},
        {"host": "ws1", "port": 65536},
        {"port": 104},
        {"move_destination": True},
    ],
)
def test_what_is_malformed_is_not_enrolled(
    registry: DeviceRegistry, clock: FakeClock, change: dict[str, object]
) -> None:
    arguments: dict[str, object] = {
        "device_id": "ct1",
        "ae_title": "CT1",
        "roles": [DeviceRole.STORE],
        "networks": ["10.0.0.0/8"],
        "certificate": certificate("ct1", clock),
    }
    call: Callable[..., Device] = registry.enrol
    with pytest.raises(UsageError):
        call(**(arguments | change))
    assert registry.list() == ()
    assert registry.version == 1


def test_an_expired_certificate_is_not_enrolled(registry: DeviceRegistry, clock: FakeClock) -> None:
    old = certificate("ct1", clock, days=1)
    clock.advance(timedelta(days=2).total_seconds())
    with pytest.raises(UsageError):
        registry.enrol(device_id="a", ae_title="A", roles=[DeviceRole.STORE], networks=[], certificate=old)


def test_who_is_not_enrolled_cannot_be_changed(registry: DeviceRegistry, clock: FakeClock) -> None:
    for change in (
        lambda: registry.revoke("x"),
        lambda: registry.get("x"),
        lambda: registry.certificates("x"),
        lambda: registry.retire_certificate("x", "0" * 64),
        lambda: registry.renew_certificate("x", certificate("x", clock)),
    ):
        with pytest.raises(NotFound):
            change()


def test_two_writers_do_not_meet(registry: DeviceRegistry, clock: FakeClock, tmp_path: Path) -> None:
    enrol(registry, clock)
    other = DeviceRegistry(tmp_path / "devices", MAC, clock)
    with other._file.locked(), pytest.raises(UsageError, match="another command"):
        registry.revoke("ct1")
    registry.revoke("ct1")
    assert other.get("ct1").revoked_at is not None


def test_every_changed_octet_of_the_registry_is_seen_and_nobody_is_recognised(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    device = enrol(registry, clock)
    path = tmp_path / "devices"
    good = path.read_bytes()
    for position in range(len(good)):
        for mask in (0x01, 0x20, 0x80):
            changed = bytearray(good)
            changed[position] ^= mask
            path.write_bytes(changed)
            with pytest.raises(IntegrityError):
                DeviceRegistry(path, MAC, clock, ["LEADGLASS"]).resolve(facts(device))
    for cut in (0, 1, 20, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(IntegrityError):
            registry.resolve(facts(device))
    path.write_bytes(good + b" ")
    with pytest.raises(IntegrityError):
        registry.resolve(facts(device))
    path.unlink()
    with pytest.raises(IntegrityError):
        registry.resolve(facts(device))
    path.write_bytes(good)
    assert isinstance(registry.resolve(facts(device)), Principal)


def test_a_registry_of_another_site_or_kind_is_not_taken(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    enrol(registry, clock)
    with pytest.raises(IntegrityError):
        DeviceRegistry(tmp_path / "devices", FileMac(bytes(32)), clock).list()
    content = (tmp_path / "devices").read_bytes()
    (tmp_path / "devices").write_bytes(content.replace(b"leadglass-devices", b"leadglass-users", 1))
    with pytest.raises(IntegrityError):
        registry.list()


def test_a_document_with_a_good_tag_and_an_unknown_field_is_not_guessed_at(
    registry: DeviceRegistry, tmp_path: Path
) -> None:
    with registry._file.locked():
        registry._file.replace(b'{"version":9,"changed_at":"2026-11-22T08:00:00Z","devices":[],"admin":true}')
    with pytest.raises(IntegrityError):
        registry.list()


def test_an_older_registry_put_back_is_refused_while_we_live(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    device = enrol(registry, clock)
    before = (tmp_path / "devices").read_bytes()
    registry.revoke("ct1")
    (tmp_path / "devices").write_bytes(before)
    with pytest.raises(IntegrityError, match="rolled back"):
        registry.resolve(facts(device))


def test_the_registry_is_private_and_a_leftover_of_a_crash_is_no_obstacle(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "devices.new").write_bytes(b"half a file")
    enrol(registry, clock)
    assert len(registry.list()) == 1
    assert (tmp_path / "devices").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["devices", "devices.lock"]


def test_a_registry_is_never_made_over_another(
    registry: DeviceRegistry, clock: FakeClock, tmp_path: Path
) -> None:
    enrol(registry, clock)
    with pytest.raises(UsageError):
        DeviceRegistry.create(tmp_path / "devices", MAC, clock)
    assert len(registry.list()) == 1


TITLES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16
)
NETWORKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "::/0", "127.0.0.1/32"]),
    max_size=4,
    unique=True,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(TITLES, st.sets(st.sampled_from(DeviceRole), min_size=1), NETWORKS, st.booleans()),
        max_size=5,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_enrolled_is_read_back_the_same(
    tmp_path: Path,
    rows: list[tuple[str, set[DeviceRole], list[str], bool]],
) -> None:
    clock = FakeClock()
    path = tmp_path / os.urandom(8).hex()
    registry = DeviceRegistry.create(path, MAC, clock, ["LEADGLASS"])
    made = [
        registry.enrol(
            device_id=f"d{number}",
            ae_title=title,
            roles=sorted(roles),
            networks=networks,
            certificate=certificate(f"d{number}", clock),
            host="ws.example" if destination else "",
            port=104 if destination else 0,
            move_destination=destination,
        )
        for number, (title, roles, networks, destination) in enumerate(rows)
    ]
    again = DeviceRegistry(path, MAC, clock, ["LEADGLASS"])
    assert again.list() == tuple(made)
    assert again.version == 1 + len(made)
    for device, (title, roles, networks, destination) in zip(made, rows, strict=True):
        assert device.ae_title == AETitle(title)
        assert set(device.roles) == roles
        assert list(device.networks) == networks
        assert device.move_destination is destination
        assert again.by_ae_title(title) == device
        assert again.by_fingerprint(device.certificate_sha256[0]) == device


def roll_back(registry: DeviceRegistry, tmp_path: Path, clock: FakeClock) -> tuple[Device, int]:
    """Enrol, keep a copy, revoke, and put the copy back while nobody runs; return the device and the last version."""
    device = enrol(registry, clock)
    old = (tmp_path / "devices").read_bytes()
    registry.revoke("ct1")
    version = registry.version
    (tmp_path / "devices").write_bytes(old)
    return device, version


def test_an_old_registry_put_back_while_the_node_was_down_lets_nobody_in(
    registry: DeviceRegistry, tmp_path: Path, clock: FakeClock
) -> None:
    device, version = roll_back(registry, tmp_path, clock)
    started = DeviceRegistry(tmp_path / "devices", MAC, clock, ["LEADGLASS"], minimum_version=version)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"version {version - 1}.*version {version}"):
            started.resolve(facts(device))
    for question in (
        lambda: started.by_ae_title("CT1"),
        lambda: started.by_id("ct1"),
        lambda: started.by_fingerprint(device.certificate_sha256[0]),
        started.list,
        lambda: started.revoke("ct1"),
        lambda: enrol(started, clock, "ct2", "CT2"),  # two changes to an old file would make it look new
        lambda: enrol(started, clock, "ct3", "CT3"),
    ):
        with pytest.raises(IntegrityError):
            question()
    with pytest.raises(IntegrityError):
        started.resolve(facts(device))


def test_a_version_can_be_asked_for_later_and_never_less(
    registry: DeviceRegistry, tmp_path: Path, clock: FakeClock
) -> None:
    device, version = roll_back(registry, tmp_path, clock)
    started = DeviceRegistry(tmp_path / "devices", MAC, clock, ["LEADGLASS"])
    assert isinstance(started.resolve(facts(device)), Principal)  # it cannot know yet
    started.require_version(version)
    with pytest.raises(IntegrityError):
        started.resolve(facts(device))
    started.require_version(1)
    with pytest.raises(IntegrityError):
        started.resolve(facts(device))


def test_the_version_on_record_and_later_ones_are_taken(
    registry: DeviceRegistry, tmp_path: Path, clock: FakeClock
) -> None:
    device = enrol(registry, clock)
    for behind in (0, 1):
        started = DeviceRegistry(
            tmp_path / "devices", MAC, clock, ["LEADGLASS"], minimum_version=registry.version - behind
        )
        assert isinstance(started.resolve(facts(device)), Principal)
        started.require_version(registry.version)
        assert isinstance(started.resolve(facts(device)), Principal)


def test_a_registry_begun_anew_is_newer_than_all_before(tmp_path: Path, clock: FakeClock) -> None:
    fresh = DeviceRegistry.create(tmp_path / "devices", MAC, clock, ["LEADGLASS"], minimum_version=9)
    assert fresh.version == 10
    assert fresh.list() == ()
    started = DeviceRegistry(tmp_path / "devices", MAC, clock, ["LEADGLASS"], minimum_version=9)
    enrol(started, clock)
    assert started.version == 11
