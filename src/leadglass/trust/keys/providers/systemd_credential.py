"""The root key as a credential that systemd hands to the service: ``LoadCredentialEncrypted=`` or ``LoadCredential=``.

Made once by the operator, from what ``new_credential`` gives::

    ... | systemd-creds encrypt --name=leadglass-root --with-key=host+tpm2 - /etc/leadglass/root.cred

systemd decrypts it into memory that is not swapped, readable by this service alone, for as long as the service runs.
The content is that of a root key file (``providers.root``).

Source: systemd.exec(5), "Credentials"; systemd-creds(1).
"""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from leadglass.base.errors import ConfigurationError
from leadglass.base.secret import Secret
from leadglass.trust.keys.derive import KEY_BYTES
from leadglass.trust.keys.interfaces import ProviderFacts
from leadglass.trust.keys.providers.root import RootKey, decode_root_key, encode_root_key, read_guarded

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)
_WORLD: Final = 0o007
"""Group bits are not judged: systemd may grant the service access by an ACL, whose mask shows as group bits."""


@final
class SystemdCredentialProvider:
    """Implements ``KeyEncryptionProvider``.

    Args:
        root: the key.
        name: the name of the credential.
    """

    def __init__(self, root: RootKey, name: str) -> None:
        self._root = root
        self._name = name

    @staticmethod
    def new_credential() -> Secret:
        """Return the content of a new credential, to be given to ``systemd-creds encrypt``."""
        return Secret(encode_root_key(Secret(secrets.token_bytes(KEY_BYTES))))

    @classmethod
    def open(cls, name: str, environment: Mapping[str, str]) -> "SystemdCredentialProvider":
        """Read the credential.

        Args:
            name: as in the unit file.
            environment: the environment of the process.

        Raises:
            ConfigurationError: systemd handed in no credentials, none of that name, or not a root key.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                "the name of a credential holds letters, digits, dots, dashes, underscores"
            )
        folder = environment.get(CREDENTIALS_DIRECTORY, "")
        if not folder:
            raise ConfigurationError(
                "systemd handed no credentials to this process",
                hint=f"the unit needs LoadCredentialEncrypted={name}:<file>",
            )
        owners = frozenset({0, os.geteuid()})  # systemd leaves it to root, or gives it to the service's user
        content = read_guarded(Path(folder) / name, owners=owners, forbidden_mode=_WORLD)
        return cls(RootKey(decode_root_key(content)), name)

    @property
    def provider_id(self) -> str:
        """``systemd-credential:`` and the public id of the root key."""
        return f"systemd-credential:{self._root.root_id}"

    def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """Return ``key`` wrapped and bound to ``context``."""
        return self._root.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """Return the key, or raise KeyUnavailable."""
        return self._root.unwrap(wrapped, context)

    def facts(self) -> ProviderFacts:
        """Say what a credential protects, and what not: inside the service nobody can see how it was encrypted."""
        return ProviderFacts(
            kind="systemd-credential",
            location=f"systemd credential {self._name}",
            hardware=False,
            separate_from_data=None,
            protects=(
                "A copy of the data folder or of the key ledger without the credential cannot be opened.",
            ),
            does_not_protect=(
                "Whether the credential is encrypted at all, and whether by a TPM, the service cannot see.",
                "Under the host key alone (/var/lib/systemd/credential.secret) a stolen system disk opens it.",
                "Who is root on this machine, or reads the memory of the running process, can open everything.",
            ),
        )

    def __repr__(self) -> str:
        return f"SystemdCredentialProvider({self.provider_id})"
