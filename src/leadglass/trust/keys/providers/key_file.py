"""The root key in a file of its own: the embedded default, meant for a medium apart from the data."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from leadglass.base.errors import ConfigurationError
from leadglass.base.secret import Secret
from leadglass.trust.keys.derive import KEY_BYTES
from leadglass.trust.keys.durable import create_durably
from leadglass.trust.keys.interfaces import ProviderFacts
from leadglass.trust.keys.providers.root import (
    RootKey,
    decode_root_key,
    encode_root_key,
    on_another_device,
    read_guarded,
)

_OTHERS: Final = 0o077


@final
class KeyFileProvider:
    """Implements ``KeyEncryptionProvider``. The form of the file is told in ``providers.root``.

    Args:
        root: the key.
        path: where it was read from.
        data_folder: the sealed data, for ``facts``; None where it is not known.
    """

    def __init__(self, root: RootKey, path: Path, data_folder: Path | None) -> None:
        self._root = root
        self._path = path
        self._data_folder = data_folder

    @classmethod
    def create(cls, path: Path, data_folder: Path | None = None) -> "KeyFileProvider":
        """Make a new root key and keep it at ``path``, mode 0600, durably.

        Raises:
            ConfigurationError: something is there already, or the folder cannot be written.
        """
        content = encode_root_key(Secret(secrets.token_bytes(KEY_BYTES)))
        try:
            create_durably(path, content)
        except FileExistsError:
            raise ConfigurationError("a root key file exists already; it is never overwritten") from None
        except OSError as error:
            raise ConfigurationError(f"the root key file cannot be written: {error.strerror}") from None
        # Read back from the disk: what cannot be opened again must not wrap anything.
        return cls.open(path, data_folder)

    @classmethod
    def open(cls, path: Path, data_folder: Path | None = None) -> "KeyFileProvider":
        """Read the root key.

        Raises:
            ConfigurationError: the file is missing, a symbolic link, somebody else's, readable by group or others,
                or not a root key file.
        """
        content = read_guarded(path, owners=frozenset({os.geteuid()}), forbidden_mode=_OTHERS)
        return cls(RootKey(decode_root_key(content)), path, data_folder)

    @property
    def provider_id(self) -> str:
        """``key-file:`` and the public id of the root key; moving the file does not change it."""
        return f"key-file:{self._root.root_id}"

    def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """Return ``key`` wrapped and bound to ``context``."""
        return self._root.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """Return the key, or raise KeyUnavailable."""
        return self._root.unwrap(wrapped, context)

    def facts(self) -> ProviderFacts:
        """Say what a key in a file protects, and what not."""
        separate = on_another_device(self._path, self._data_folder)
        beside = {
            True: "The file system of the key and that of the data are different ones; whether they are in the same"
            " machine, or partitions of the same disk, the program cannot see.",
            False: "The key lies on the same file system as the data: who steals the disk has both.",
            None: "Whether the key lies on the same file system as the data is not known.",
        }[separate]
        return ProviderFacts(
            kind="key-file",
            location=f"file {self._path}",
            hardware=False,
            separate_from_data=separate,
            protects=("A copy of the data folder or of the key ledger without this file cannot be opened.",),
            does_not_protect=(
                beside,
                "Who can read the file, or the memory of the running process, can open everything.",
                "Whoever holds a copy of the file can open the data for as long as its root key is in use.",
            ),
        )

    def __repr__(self) -> str:
        return f"KeyFileProvider({self.provider_id})"
