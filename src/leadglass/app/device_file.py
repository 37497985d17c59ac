"""The file that a device's user needs to speak to the node: names and paths, no secret."""

import tomllib
from pathlib import Path

import msgspec

from leadglass.base.errors import ConfigurationError


class DeviceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``<device>.toml``, beside the device's key and certificate.

    Attributes:
        ae_title: of the device.
        key: file of its private key, relative to this file.
        certificate: file of its certificate chain, as above.
        authority: file of the site's authority, as above.
        node_ae_title: of the node.
        node_host: of the node; must be one of the names in its certificate.
        node_port: of the node.
        node_certificate: file of the certificate that the node must show; then its host name says nothing. For
            archives that are themselves enrolled devices: certificates of devices hold no host name. Empty for none.
    """

    ae_title: str
    key: str
    certificate: str
    authority: str
    node_ae_title: str
    node_host: str
    node_port: int
    node_certificate: str = ""


def write_device_file(path: Path, device: DeviceFile) -> Path:
    """Write the file; return its path."""
    fields = {name: value for name, value in msgspec.structs.asdict(device).items() if value != ""}
    # JSON's strings and integers are TOML's too, but for DEL, which TOML wants escaped.
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in fields.items()]
    path.write_text("\n".join(lines).replace("\x7f", "\\u007f") + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def read_device_file(path: Path) -> DeviceFile:
    """Read the file.

    Raises:
        ConfigurationError: it is missing or malformed.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), DeviceFile)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            hint="`leadglass device enrol` writes it, beside the device's key and certificate",
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
