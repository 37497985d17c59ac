"""The enrolled devices: one authenticated file, read by every connection, changed by the command line.

A change takes effect on the next connection: every question first looks whether the file was replaced.

An older registry, put back as a whole, has a good tag; its version gives it away. While a process lives it remembers the
highest it has seen; across starts the audit log does: who changes the registry records its version as the fact
``VERSION_FACT``, and whoever starts hands in the highest one on record.

**Invariant:** a version below the highest known is never answered from and never changed.
"""

import ipaddress
import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.ids import AETitle, parse_ae_title
from leadglass.base.limits import DEVICES_MAX, NETWORKS_PER_DEVICE_MAX
from leadglass.trust.identity.authenticated_file import AuthenticatedFile, Stamp
from leadglass.trust.identity.interfaces import FileAuthenticator
from leadglass.trust.identity.models import (
    CertificateFacts,
    Device,
    DeviceRole,
    PeerFacts,
    Principal,
    Unrecognised,
)

VERSION_FACT: Final = "registry_version"
"""Fact of every audit event that tells of a change here, read after the change: ``DEVICE_ENROLLED``, ``DEVICE_REVOKED``.

Events that say it again (``SERVICE_STARTED``, ``SERVICE_STOPPED``, ``ASSOCIATION_ACCEPTED``) keep the newest one near the
end of the log, where the next start looks first.
"""

DEVICE_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?", re.ASCII)
_KIND: Final = "devices"
_SLOTS_MAX: Final = 2  # current and next

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: str
    serial: str
    not_before: datetime
    not_after: datetime


class _Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device_id: str
    ae_title: str
    roles: tuple[DeviceRole, ...]
    networks: tuple[str, ...]
    certificates: tuple[_Certificate, ...]  # current, then next
    retired: tuple[str, ...]  # fingerprints that were its own once and are not taken any more
    host: str
    port: int
    move_destination: bool
    enrolled_at: datetime
    revoked_at: datetime | None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    changed_at: datetime
    devices: tuple[_Device, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """One certificate slot, made ready for the path of every connection."""

    device: Device
    not_before: datetime
    not_after: datetime
    networks: tuple[_Network, ...]
    principal_id: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    document: _Document
    devices: tuple[Device, ...]
    by_fingerprint: dict[str, _Known]
    by_ae_title: dict[str, Device]
    by_id: dict[str, Device]
    retired: frozenset[str]


class DeviceRegistry:
    """Implements ``identity.interfaces.DeviceDirectory``, and the commands that change it. Thread-safe.

    Args:
        path: the registry's file; ``create`` makes it.
        authenticator: of this site.
        clock: certificates are held against it.
        called_ae_titles: what we are called; an association for anybody else is refused.
        minimum_version: the highest version on record; a file older than that was rolled back.
    """

    def __init__(
        self,
        path: Path,
        authenticator: FileAuthenticator,
        clock: Clock,
        called_ae_titles: Collection[str] = (),
        *,
        minimum_version: int = 0,
    ) -> None:
        self._file = AuthenticatedFile(path, _KIND, authenticator)
        self._clock = clock
        self._called_ae_titles = frozenset(called_ae_titles)
        self._lock = threading.Lock()
        self._loaded: tuple[Stamp, _Snapshot] | None = None
        self._minimum_version = minimum_version

    @classmethod
    def create(
        cls,
        path: Path,
        authenticator: FileAuthenticator,
        clock: Clock,
        called_ae_titles: Collection[str] = (),
        *,
        minimum_version: int = 0,
    ) -> "DeviceRegistry":
        """Make an empty registry.

        Args:
            path: where none is.
            authenticator: of this site.
            clock: see the class.
            called_ae_titles: see the class.
            minimum_version: the highest version on record of a registry that was lost; the new one is newer.

        Raises:
            UsageError: there is one.
        """
        AuthenticatedFile(path, _KIND, authenticator).create(
            msgspec.json.encode(_Document(version=minimum_version + 1, changed_at=clock.now(), devices=()))
        )
        return cls(path, authenticator, clock, called_ae_titles, minimum_version=minimum_version)

    def require_version(self, version: int) -> None:
        """Answer nothing from a file older than ``version`` from now on; a smaller number changes nothing."""
        with self._lock:
            self._minimum_version = max(self._minimum_version, version)

    # --- questions -------------------------------------------------------------------------------------------------

    def resolve(self, facts: PeerFacts) -> Principal | Unrecognised:
        """Say who is at the other end.

        To be recognised, a peer needs (1) a certificate that is enrolled, (2) of a device that is not revoked,
        (3) valid now, (4) the AE title of that very device, (5) an address in that device's networks; and (6) it must
        want one of our AE titles. TLS has checked the certificate's chain already; (3) is checked again because a
        resumed session may be older than the certificate's end. (6) stands last so that a stranger learns nothing
        about our names.

        Raises:
            IntegrityError: the registry is damaged or missing; nobody is recognised then.

        Source: PS3.15 B.12, PS3.8 Table 9-21.
        """
        known = self._known(facts.certificate_sha256)
        if isinstance(known, Unrecognised):
            return known
        # (4) the AE title is that of the device
        if facts.calling_ae_title != known.device.ae_title:
            return Unrecognised("calling AE title is not that of the certificate's device")
        # (5) the address is one of the device's
        address = _parse_address(facts.address)
        if address is None or not any(address in network for network in known.networks):
            return Unrecognised("address is not in the device's networks")
        # (6) it wants us
        if facts.called_ae_title not in self._called_ae_titles:
            return Unrecognised("called AE title is not ours", rj_reason=7)
        return Principal(
            principal_id=known.principal_id,
            roles=known.roles,
            ae_title=known.device.ae_title,
            address=str(address),
            certificate_sha256=facts.certificate_sha256,
        )

    def recognise(self, certificate_sha256: str, address: str) -> Principal | Unrecognised:
        """Say which device shows this certificate over HTTPS, where nobody names an AE title: (1), (2), (3) and (5).

        Raises:
            IntegrityError: the registry is damaged or missing; nobody is recognised then.
        """
        known = self._known(certificate_sha256)
        if isinstance(known, Unrecognised):
            return known
        parsed = _parse_address(address)
        if parsed is None or not any(parsed in network for network in known.networks):
            return Unrecognised("address is not in the device's networks")
        return Principal(
            principal_id=known.principal_id,
            roles=known.roles,
            ae_title=known.device.ae_title,
            address=str(parsed),
            certificate_sha256=certificate_sha256,
        )

    def _known(self, certificate_sha256: str) -> "_Known | Unrecognised":
        snapshot = self._snapshot()
        # (1) the certificate is enrolled
        if not certificate_sha256:
            return Unrecognised("no client certificate")
        known = snapshot.by_fingerprint.get(certificate_sha256)
        if known is None:
            if certificate_sha256 in snapshot.retired:
                return Unrecognised("certificate was retired")
            return Unrecognised("certificate is not enrolled")
        # (2) the device is not revoked
        if known.device.revoked_at is not None:
            return Unrecognised("device is revoked")
        # (3) the certificate is valid now
        now = self._clock.now()
        if not known.not_before <= now <= known.not_after:
            return Unrecognised("certificate is expired or not yet valid")
        return known

    def by_ae_title(self, ae_title: str) -> Device | None:
        """Return the device that calls itself so and is not revoked."""
        return self._snapshot().by_ae_title.get(ae_title)

    def by_id(self, device_id: str) -> Device | None:
        """Return the device of that id if it is not revoked."""
        device = self._snapshot().by_id.get(device_id)
        return device if device is not None and device.revoked_at is None else None

    def by_fingerprint(self, certificate_sha256: str) -> Device | None:
        """Return the device, not revoked, that may present this certificate."""
        known = self._snapshot().by_fingerprint.get(certificate_sha256)
        return known.device if known is not None and known.device.revoked_at is None else None

    def get(self, device_id: str) -> Device:
        """Return the device of that id, revoked or not.

        Raises:
            NotFound: there is none.
        """
        for device in self._snapshot().devices:
            if device.device_id == device_id:
                return device
        raise NotFound("no device of that id is enrolled")

    def list(self) -> tuple[Device, ...]:
        """Return every device, revoked ones included, in the order of enrolment."""
        return self._snapshot().devices

    def certificates(self, device_id: str) -> tuple[CertificateFacts, ...]:
        """Return the certificates a device may present: the current one, then the next one if there is one.

        Raises:
            NotFound: there is no such device.
        """
        for record in self._snapshot().document.devices:
            if record.device_id == device_id:
                return tuple(
                    CertificateFacts(c.sha256, c.serial, c.not_before, c.not_after)
                    for c in record.certificates
                )
        raise NotFound("no device of that id is enrolled")

    @property
    def version(self) -> int:
        """Counts up with every change; 1 is the empty registry."""
        return self._snapshot().document.version

    # --- changes ---------------------------------------------------------------------------------------------------

    def enrol(
        self,
        *,
        device_id: str,
        ae_title: str,
        roles: Sequence[DeviceRole],
        networks: Sequence[str],
        certificate: CertificateFacts,
        host: str = "",
        port: int = 0,
        move_destination: bool = False,
    ) -> Device:
        """Enrol a device.

        Raises:
            UsageError: a value is malformed, or the id, AE title or certificate is taken. Ids and certificates are
                never used twice, AE titles are free again once their device is revoked.
        """
        record = _Device(
            device_id=_check_device_id(device_id),
            ae_title=parse_ae_title(ae_title),
            roles=_check_roles(roles),
            networks=_check_networks(networks),
            certificates=(_check_certificate(certificate, self._clock.now()),),
            retired=(),
            host=_check_host(host, port, move_destination=move_destination),
            port=port,
            move_destination=move_destination,
            enrolled_at=self._clock.now(),
            revoked_at=None,
        )

        def change(snapshot: _Snapshot) -> tuple[_Device, ...]:
            devices = snapshot.document.devices
            if len(devices) >= DEVICES_MAX:
                raise OutOfResources(f"a registry holds {DEVICES_MAX} devices")
            if any(other.device_id == record.device_id for other in devices):
                raise UsageError("a device of that id is or was enrolled", hint="choose another id")
            if record.ae_title in snapshot.by_ae_title:
                raise UsageError(
                    "another device has that AE title", hint="AE titles are unique within a site"
                )
            _check_unused(snapshot, certificate.sha256)
            return (*devices, record)

        self._change(change)
        return self.get(record.device_id)

    def revoke(self, device_id: str) -> Device:
        """Turn a device away from its next connection on; harmless when it is revoked already.

        Raises:
            NotFound: there is no such device.
        """
        return self._change_one(
            device_id,
            lambda _, record: (
                record
                if record.revoked_at is not None
                else msgspec.structs.replace(record, revoked_at=self._clock.now())
            ),
        )

    def renew_certificate(self, device_id: str, certificate: CertificateFacts) -> Device:
        """Let a device present a further certificate beside its current one.

        A current certificate that has expired makes room by itself; else ``retire_certificate`` does.

        Raises:
            NotFound: there is no such device.
            UsageError: it is revoked, both slots are in use, or the certificate is taken or expired.
        """
        now = self._clock.now()
        fresh = _check_certificate(certificate, now)

        def change(snapshot: _Snapshot, record: _Device) -> _Device:
            if record.revoked_at is not None:
                raise UsageError("the device is revoked")
            _check_unused(snapshot, certificate.sha256)
            expired = tuple(c for c in record.certificates if c.not_after < now)
            kept = tuple(c for c in record.certificates if c.not_after >= now)
            if len(kept) >= _SLOTS_MAX:
                raise UsageError(
                    "the device has a current and a next certificate", hint="retire the current one"
                )
            return msgspec.structs.replace(
                record,
                certificates=(*kept, fresh),
                retired=(*record.retired, *(c.sha256 for c in expired)),
            )

        return self._change_one(device_id, change)

    def retire_certificate(self, device_id: str, certificate_sha256: str) -> Device:
        """Take one certificate from a device: the end of a renewal, or the answer to a lost key.

        Raises:
            NotFound: there is no such device, or it has no such certificate.
            UsageError: it is the only one; revoke the device instead.
        """

        def change(_: _Snapshot, record: _Device) -> _Device:
            kept = tuple(c for c in record.certificates if c.sha256 != certificate_sha256)
            if len(kept) == len(record.certificates):
                raise NotFound("the device has no such certificate")
            if not kept:
                raise UsageError("it is the device's only certificate", hint="revoke the device instead")
            return msgspec.structs.replace(
                record, certificates=kept, retired=(*record.retired, certificate_sha256)
            )

        return self._change_one(device_id, change)

    def _change_one(self, device_id: str, change: "Callable[[_Snapshot, _Device], _Device]") -> Device:
        def change_all(snapshot: _Snapshot) -> tuple[_Device, ...]:
            if all(record.device_id != device_id for record in snapshot.document.devices):
                raise NotFound("no device of that id is enrolled")
            return tuple(
                change(snapshot, record) if record.device_id == device_id else record
                for record in snapshot.document.devices
            )

        self._change(change_all)
        return self.get(device_id)

    def _change(self, change: "Callable[[_Snapshot], tuple[_Device, ...]]") -> None:
        with self._file.locked():
            snapshot = self._load()
            devices = change(snapshot)
            self._file.replace(
                msgspec.json.encode(
                    _Document(
                        version=snapshot.document.version + 1, changed_at=self._clock.now(), devices=devices
                    )
                )
            )
            # Read back what was written: two changes within one tick of the file system's clock may share a stamp.
            self._load()

    # --- the file --------------------------------------------------------------------------------------------------

    def _snapshot(self) -> _Snapshot:
        stamp = self._file.stamp()
        loaded = self._loaded
        if loaded is not None and loaded[0] == stamp and loaded[1].document.version >= self._minimum_version:
            return loaded[1]
        return self._load()

    def _load(self) -> _Snapshot:
        with self._lock:
            document, read_stamp = self._file.read()
            fresh = _snapshot_of(_parse(document, self._file.path.name))
            found = fresh.document.version
            if found < self._minimum_version:
                raise IntegrityError(
                    f"{self._file.path.name} is version {found}, older than version {self._minimum_version} that is on"
                    " record: it was rolled back",
                    hint="put the newest copy of the file back; nobody is recognised until then",
                )
            self._minimum_version = found
            self._loaded = (read_stamp, fresh)
            return fresh


def _parse(document: bytes, name: str) -> _Document:
    try:
        return msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{name} does not hold what it should") from error


def _snapshot_of(document: _Document) -> _Snapshot:
    devices: list[Device] = []
    by_fingerprint: dict[str, _Known] = {}
    by_ae_title: dict[str, Device] = {}
    retired: set[str] = set()
    for record in document.devices:
        device = Device(
            device_id=record.device_id,
            ae_title=AETitle(record.ae_title),
            roles=record.roles,
            networks=record.networks,
            certificate_sha256=tuple(c.sha256 for c in record.certificates),
            certificate_expires_at=max(c.not_after for c in record.certificates),
            enrolled_at=record.enrolled_at,
            host=record.host,
            port=record.port,
            move_destination=record.move_destination,
            revoked_at=record.revoked_at,
        )
        devices.append(device)
        retired.update(record.retired)
        if record.revoked_at is None:
            by_ae_title[record.ae_title] = device
        networks = tuple(ipaddress.ip_network(text) for text in record.networks)
        for certificate in record.certificates:
            by_fingerprint[certificate.sha256] = _Known(
                device=device,
                not_before=certificate.not_before,
                not_after=certificate.not_after,
                networks=networks,
                principal_id=f"device:{record.device_id}",
                roles=tuple(role.value for role in record.roles),
            )
    by_id = {device.device_id: device for device in devices}
    return _Snapshot(document, tuple(devices), by_fingerprint, by_ae_title, by_id, frozenset(retired))


def _parse_address(text: str) -> _Address | None:
    """Return the address; one of IPv4 written as IPv6 (``::ffff:192.0.2.1``) is what it stands for.

    Source: RFC 4291 2.5.5.2.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _check_device_id(device_id: str) -> str:
    if DEVICE_ID.fullmatch(device_id) is None:
        raise UsageError("a device id has 1 to 32 of a-z, 0-9 and hyphens, and no hyphen at its ends")
    return device_id


def _check_roles(roles: Sequence[DeviceRole]) -> tuple[DeviceRole, ...]:
    if not roles:
        raise UsageError("a device needs at least one role")
    if len(set(roles)) != len(roles):
        raise UsageError("a role is named twice")
    return tuple(sorted(DeviceRole(role) for role in roles))


def _check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    if len(networks) > NETWORKS_PER_DEVICE_MAX:
        raise UsageError(f"a device has at most {NETWORKS_PER_DEVICE_MAX} networks")
    checked: list[str] = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise UsageError(
                "not a network in CIDR notation without host bits", hint="e.g. 10.1.2.0/24"
            ) from error
        if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
            raise UsageError("write an IPv4 network as IPv4")  # no address would ever match it
        checked.append(str(network))
    return tuple(dict.fromkeys(checked))


def _check_host(host: str, port: int, *, move_destination: bool) -> str:
    if not host:
        if port or move_destination:
            raise UsageError("a device that objects are sent to needs a host and a port")
        return ""
    if _HOST.fullmatch(host) is None:
        raise UsageError("not a host name or address")
    if not 0 < port < 65536:
        raise UsageError("a port is 1 to 65535")
    return host


def _check_certificate(certificate: CertificateFacts, now: datetime) -> _Certificate:
    if _FINGERPRINT.fullmatch(certificate.sha256) is None:
        raise UsageError("a fingerprint is 64 hexadecimal digits, lower case")
    if certificate.not_after <= max(now, certificate.not_before):
        raise UsageError("the certificate has expired")
    return _Certificate(
        sha256=certificate.sha256,
        serial=certificate.serial,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
    )


def _check_unused(snapshot: _Snapshot, sha256: str) -> None:
    if sha256 in snapshot.by_fingerprint or sha256 in snapshot.retired:
        raise UsageError("that certificate is or was enrolled")
