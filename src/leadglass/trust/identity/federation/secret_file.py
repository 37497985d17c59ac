"""A secret that the settings name by its file."""

import stat
from pathlib import Path
from typing import Final

from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import KIB
from leadglass.base.secret import Secret

_BYTES_MAX: Final = 16 * KIB
"""A private key of RSA 8192 in PEM has 6.4 KiB."""


def read_secret_file(path: Path, what: str) -> Secret:
    """Return the content of a file that only its owner may read, without the newline that editors add.

    Args:
        path: of the file.
        what: what it holds, for the message.

    Raises:
        ConfigurationError: it cannot be read, is empty or too long, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"the file with the {what} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(
            f"others than its owner may read the file with the {what}",
            hint="chmod 600, and change the secret",
        )
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(content) <= _BYTES_MAX:
        raise ConfigurationError(f"the file with the {what} is empty or too long")
    return Secret(content)
