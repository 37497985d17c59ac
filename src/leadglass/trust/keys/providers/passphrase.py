"""The root key sealed under a passphrase that somebody types, or hands in, at every start.

The file is JSON, one object::

    {"format": "leadglass-passphrase-root-key", "version": 1, "kdf": "argon2id",
     "memory_kib": 65536, "iterations": 3, "lanes": 4,
     "salt": <16 bytes, hex>, "root_id": <8 bytes, hex>,
     "sealed": <AES-KWP(Argon2id(passphrase, salt), root key || SHA-256(all other members)), hex>}

The salt is random, so the key that seals belongs to this file alone. Nothing in the file tells a right passphrase
from a wrong one faster than Argon2id does: the root id is a hash of the random root key, not of the passphrase.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from leadglass.base.errors import ConfigurationError, KeyUnavailable
from leadglass.base.limits import GIB, KIB, MIB
from leadglass.base.secret import Secret
from leadglass.trust.keys.derive import (
    KEY_BYTES,
    fingerprint,
    label,
    length_prefixed,
    unwrap_bound,
    wrap_bound,
)
from leadglass.trust.keys.durable import create_durably
from leadglass.trust.keys.interfaces import ProviderFacts
from leadglass.trust.keys.providers.root import RootKey, on_another_device, read_guarded

PASSPHRASE_BYTES_MIN: Final = 15
"""Source: NIST SP 800-63B-4 3.1.1.2: 15 characters where a passphrase stands alone."""
PASSPHRASE_BYTES_MAX: Final = 1024

MEMORY_KIB_MIN: Final = 64 * MIB // KIB
MEMORY_KIB_MAX: Final = 4 * GIB // KIB
ITERATIONS_MAX: Final = 64
LANES_MAX: Final = 64
WORK_KIB_MAX: Final = 16 * GIB // KIB
"""Memory times iterations: about 20 s. A file that asks for more was not made by us."""

SALT_BYTES: Final = 16
_HEADER: Final = label("passphrase/header")
_OTHERS: Final = 0o077


class Argon2Cost(msgspec.Struct, frozen=True):
    """What one guess costs. The default is the second recommended option: 64 MiB, 0.14 s on one machine of 2026.

    Source: RFC 9106 4.
    """

    memory_kib: int = 64 * MIB // KIB
    iterations: int = 3
    lanes: int = 4

    def check(self) -> None:
        """Return if the cost is one that we would choose and can pay.

        Raises:
            ConfigurationError: it is not.
        """
        fits = (
            MEMORY_KIB_MIN <= self.memory_kib <= MEMORY_KIB_MAX
            and 1 <= self.iterations <= ITERATIONS_MAX
            and 1 <= self.lanes <= LANES_MAX
            and self.memory_kib * self.iterations <= WORK_KIB_MAX
        )
        if not fits:
            raise ConfigurationError("the Argon2id parameters of the passphrase file are out of bounds")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON object of the module's docstring."""

    format: Literal["leadglass-passphrase-root-key"]
    version: Literal[1]
    kdf: Literal["argon2id"]
    memory_kib: int
    iterations: int
    lanes: int
    salt: str
    root_id: str
    sealed: str

    def cost(self) -> Argon2Cost:
        return Argon2Cost(self.memory_kib, self.iterations, self.lanes)


@final
class PassphraseProvider:
    """Implements ``KeyEncryptionProvider``.

    Args:
        root: the key.
        path: the file it was sealed in.
        data_folder: the sealed data, for ``facts``; None where it is not known.
    """

    def __init__(self, root: RootKey, path: Path, data_folder: Path | None) -> None:
        self._root = root
        self._path = path
        self._data_folder = data_folder

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: Secret,
        data_folder: Path | None = None,
        cost: Argon2Cost = Argon2Cost(),  # noqa: B008 - frozen
    ) -> "PassphraseProvider":
        """Make a new root key and keep it at ``path`` under ``passphrase``, durably.

        Raises:
            ConfigurationError: something is there already, the folder cannot be written, the passphrase is too short
                or too long, or the cost is out of bounds.
        """
        if not PASSPHRASE_BYTES_MIN <= len(passphrase.reveal()) <= PASSPHRASE_BYTES_MAX:
            raise ConfigurationError("a passphrase has 15 to 1024 bytes")
        cost.check()
        key = secrets.token_bytes(KEY_BYTES)
        salt = secrets.token_bytes(SALT_BYTES)
        root_id = RootKey(Secret(key)).root_id
        kek = _stretch(passphrase, salt, cost)
        content = _File(
            format="leadglass-passphrase-root-key",
            version=1,
            kdf="argon2id",
            memory_kib=cost.memory_kib,
            iterations=cost.iterations,
            lanes=cost.lanes,
            salt=salt.hex(),
            root_id=root_id,
            sealed=wrap_bound(kek, key, _header(salt, cost, root_id)).hex(),
        )
        try:
            create_durably(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
        except FileExistsError:
            raise ConfigurationError("a root key file exists already; it is never overwritten") from None
        except OSError as error:
            raise ConfigurationError(f"the root key file cannot be written: {error.strerror}") from None
        # Read back from the disk: what cannot be opened again must not wrap anything.
        return cls.open(path, passphrase, data_folder)

    @classmethod
    def open(cls, path: Path, passphrase: Secret, data_folder: Path | None = None) -> "PassphraseProvider":
        """Unseal the root key.

        Raises:
            ConfigurationError: the file is missing, open to others, not of this version, or asks for a cost out of
                bounds.
            KeyUnavailable: another passphrase, or a changed file.
        """
        content = read_guarded(path, owners=frozenset({os.geteuid()}), forbidden_mode=_OTHERS)
        try:
            file = msgspec.json.decode(content, type=_File)
            salt, sealed = bytes.fromhex(file.salt), bytes.fromhex(file.sealed)
        except (msgspec.MsgspecError, ValueError):
            raise ConfigurationError("the passphrase file is not one of version 1") from None
        if len(salt) != SALT_BYTES:
            raise ConfigurationError("the passphrase file is not one of version 1")
        cost = file.cost()
        cost.check()  # before a single byte is allocated for it
        kek = _stretch(passphrase, salt, cost)
        try:
            key = unwrap_bound(kek, sealed, _header(salt, cost, file.root_id))
        except KeyUnavailable:
            raise KeyUnavailable("the passphrase is another one, or its file was changed") from None
        return cls(RootKey(Secret(key)), path, data_folder)

    @property
    def provider_id(self) -> str:
        """``passphrase:`` and the public id of the root key."""
        return f"passphrase:{self._root.root_id}"

    def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """Return ``key`` wrapped and bound to ``context``."""
        return self._root.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """Return the key, or raise KeyUnavailable."""
        return self._root.unwrap(wrapped, context)

    def facts(self) -> ProviderFacts:
        """Say what a passphrase protects, and what not."""
        return ProviderFacts(
            kind="passphrase",
            location=f"file {self._path}, sealed under a passphrase (Argon2id)",
            hardware=False,
            separate_from_data=on_another_device(self._path, self._data_folder),
            protects=(
                "A copy of the disk, this file included, cannot be opened without guessing the passphrase.",
            ),
            does_not_protect=(
                "A passphrase that can be guessed: each guess costs a thief some tenths of a second of one computer.",
                "A passphrase that is itself kept on the same disk, in a unit file or an environment file.",
                "Who can read the memory of the running process can open everything.",
            ),
        )

    def __repr__(self) -> str:
        return f"PassphraseProvider({self.provider_id})"


def _stretch(passphrase: Secret, salt: bytes, cost: Argon2Cost) -> bytes:
    """Return 32 bytes. Source: RFC 9106 3."""
    try:
        return Argon2id(
            salt=salt,
            length=KEY_BYTES,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        ).derive(passphrase.reveal())
    except UnsupportedAlgorithm:
        raise ConfigurationError(
            "Argon2id is not offered by the cryptographic library in use",
            hint="the FIPS provider has no Argon2id: use a key file or a systemd credential",
        ) from None
    except (MemoryError, ValueError):
        raise ConfigurationError("there is not enough memory for the passphrase's Argon2id cost") from None


def _header(salt: bytes, cost: Argon2Cost, root_id: str) -> bytes:
    numbers = (number.to_bytes(8, "big") for number in (1, cost.memory_kib, cost.iterations, cost.lanes))
    return fingerprint(_HEADER + length_prefixed(b"argon2id", *numbers, salt, root_id.encode()))
