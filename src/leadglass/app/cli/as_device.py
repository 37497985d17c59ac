"""What commands that speak DICOM to a node share: whose certificate they show, and whom they call."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import click

from leadglass.app.clock import SystemClock
from leadglass.app.device_file import DeviceFile, read_device_file
from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.doors.dimse.connection import Connection
from leadglass.doors.dimse.requestor import Peer, associate
from leadglass.trust.certs.authority import read_certificate
from leadglass.trust.certs.node_key import device_credentials
from leadglass.trust.certs.tls import client_context
from leadglass.wire.ul.negotiation import LocalParameters
from leadglass.wire.ul.pdu import PresentationContextRQ, RoleSelection


def device_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--device``, and what may be said differently from its file."""
    function = click.option(
        "--called", default="", help="AE title of the node. Default: as in the device's file."
    )(function)
    function = click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=0,
        help="Port of the node. Default: as in the device's file.",
    )(function)
    function = click.option(
        "--host", default="", help="Host name of the node. Default: as in the device's file."
    )(function)
    return click.option(
        "--device",
        "device_path",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        envvar="LEADGLASS_DEVICE",
        show_envvar=True,
        help="The device's file (DEVICE_ID.toml), written by `leadglass device enrol`.",
    )(function)


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """Calls a node in the name of an enrolled device."""

    device: DeviceFile
    peer: Peer

    @classmethod
    def load(cls, path: Path, *, host: str, port: int, called: str) -> "DeviceCaller":
        """Read a device's file, key and certificates.

        Raises:
            ConfigurationError: the file is missing or malformed.
            IntegrityError: key or certificate cannot be read.
            UsageError: the certificate of the node is none.
        """
        device = read_device_file(path)
        folder = path.parent
        credentials = device_credentials(folder / device.certificate, folder / device.key)
        authority = (folder / device.authority).read_bytes()
        fingerprints: tuple[str, ...] = ()
        if device.node_certificate:
            fingerprints = (read_certificate((folder / device.node_certificate).read_bytes()).sha256,)
        peer = Peer(
            host=host or device.node_host,
            port=port or device.node_port,
            called_ae_title=called or device.node_ae_title,
            calling_ae_title=device.ae_title,
            tls=client_context(credentials, authority, pinned=bool(fingerprints)),
            fingerprints=fingerprints,
        )
        return cls(device, peer)

    def associate(
        self, contexts: Collection[PresentationContextRQ], roles: Collection[RoleSelection] = ()
    ) -> AbstractContextManager[Connection]:
        """Open an association; see ``doors.dimse.requestor.associate``."""
        local = LocalParameters(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        return associate(self.peer, contexts, clock=SystemClock(), local=local, roles=roles)
