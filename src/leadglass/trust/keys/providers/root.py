"""What the embedded providers share: a 256-bit root key in the memory of this process, and its file in text.

The file of a root key is three lines of ASCII, so that it can be printed and kept in a safe::

    LEADGLASS ROOT KEY 1
    <64 hexadecimal digits>
    <16 hexadecimal digits: the root's public id, which also finds typing errors>
"""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from leadglass.base.errors import ConfigurationError, LocalProtocolError
from leadglass.base.secret import Secret
from leadglass.trust.keys.derive import KEY_BYTES, KeyedHash, fingerprint, label, unwrap_bound, wrap_bound

WRAPPED_KEY_BYTES_MIN: Final = 16
WRAPPED_KEY_BYTES_MAX: Final = 128
FILE_BYTES_MAX: Final = 4096

_HEADING: Final = "LEADGLASS ROOT KEY 1"
_WRAPPING_KEY: Final = label("root/wrapping-key")
_ROOT_ID: Final = label("root/id")
_CONTEXT: Final = label("root/context")
_ROOT_ID_BYTES: Final = 8


class RootKey:
    """A root key in use. It wraps; it is not shown.

    The key that wraps and the id that everybody may know are both derived, so the id says nothing about the key.
    """

    __slots__ = ("_wrapping_key", "root_id")

    def __init__(self, key: Secret) -> None:
        if len(key.reveal()) != KEY_BYTES:
            raise ConfigurationError("a root key has 32 bytes")
        derive = KeyedHash(key.reveal())
        self._wrapping_key = derive.expand(_WRAPPING_KEY)
        self.root_id: str = derive.expand(_ROOT_ID)[:_ROOT_ID_BYTES].hex()

    def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """Return ``key`` (16 to 128 bytes) wrapped and bound to ``context``."""
        octets = key.reveal()
        if not WRAPPED_KEY_BYTES_MIN <= len(octets) <= WRAPPED_KEY_BYTES_MAX:
            raise LocalProtocolError("a provider wraps keys of 16 to 128 bytes")
        return wrap_bound(self._wrapping_key, octets, _binding(context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """Return the key, or raise KeyUnavailable."""
        return Secret(unwrap_bound(self._wrapping_key, wrapped, _binding(context)))

    def __repr__(self) -> str:
        return f"RootKey({self.root_id})"


def _binding(context: Mapping[str, str]) -> bytes:
    """Return SHA-256 of the context in a form in which equal contexts are equal bytes: JSON with sorted names."""
    text = json.dumps(dict(context), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return fingerprint(_CONTEXT + text.encode("ascii"))


def encode_root_key(key: Secret) -> bytes:
    """Return the content of a root key file."""
    return f"{_HEADING}\n{key.reveal().hex()}\n{RootKey(key).root_id}\n".encode("ascii")


def decode_root_key(content: bytes) -> Secret:
    """Return the key that ``content`` holds.

    Raises:
        ConfigurationError: it is not a root key file of version 1, or was damaged or mistyped.
    """
    try:
        _heading, digits, _root_id = content.decode("ascii").split("\n")[:3]
        key = Secret(bytes.fromhex(digits))
    except ValueError:
        raise ConfigurationError("the root key file is not one of version 1") from None
    # One key has one file, to the octet; only the last line break may be missing, as editors like to lose it.
    if content.removesuffix(b"\n") + b"\n" != encode_root_key(key):
        raise ConfigurationError("the root key file is not one of version 1, or is damaged")
    return key


def read_guarded(path: Path, *, owners: frozenset[int], forbidden_mode: int) -> bytes:
    """Read a small secret file through one descriptor, so that what was checked is what is read.

    Args:
        path: the file; a symbolic link is refused.
        owners: user ids that it may belong to.
        forbidden_mode: permission bits that it must not have.

    Raises:
        ConfigurationError: it is not there, not a plain file, too long, or open to others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"the root key file cannot be opened: {error.strerror}", hint=f"looked for {path}"
        ) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError("the root key file is not a plain file")
        if found.st_uid not in owners:
            raise ConfigurationError("the root key file belongs to another user")
        if stat.S_IMODE(found.st_mode) & forbidden_mode:
            raise ConfigurationError(
                "the root key file is open to other users", hint=f"run: chmod 600 {path}"
            )
        content = os.read(descriptor, FILE_BYTES_MAX + 1)  # a plain file gives all that it has, up to this
    except OSError as error:
        raise ConfigurationError(f"the root key file cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError("the root key file is longer than any root key file")
    return content


def on_another_device(file: Path, data_folder: Path | None) -> bool | None:
    """Tell whether ``file`` lies on another device than the data; None where that cannot be found out.

    A folder that is not there yet is judged by the nearest parent that is.
    """
    if data_folder is None:
        return None
    try:
        folder = data_folder.absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return file.stat().st_dev != folder.stat().st_dev
    except OSError:
        return None
