"""People who may name themselves inside an association: one authenticated file beside the devices."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.limits import DEVICES_MAX
from leadglass.trust.identity.authenticated_file import AuthenticatedFile, Stamp
from leadglass.trust.identity.interfaces import FileAuthenticator
from leadglass.trust.identity.models import DeviceRole

USER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?", re.ASCII)
_KIND: Final = "users"


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may act through a device.

    Attributes:
        user_id: as given in the user identity, or as the subject of a token.
        roles: of these, those count that the device has as well.
        passcode_verifier: empty for users who come by token only.
        revoked: not welcome any more.
    """

    user_id: str
    roles: tuple[DeviceRole, ...]
    passcode_verifier: str = ""
    revoked: bool = False


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    users: tuple[User, ...]


class UserRegistry:
    """The users of a site. Thread-safe; read again when its file was replaced."""

    def __init__(self, path: Path, authenticator: FileAuthenticator, clock: Clock) -> None:
        self._file = AuthenticatedFile(path, _KIND, authenticator)
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: tuple[Stamp, _Document, dict[str, User]] | None = None

    @classmethod
    def create(cls, path: Path, authenticator: FileAuthenticator, clock: Clock) -> "UserRegistry":
        """Make an empty registry.

        Raises:
            UsageError: there is one.
        """
        document = msgspec.json.encode(_Document(version=1, users=()))
        AuthenticatedFile(path, _KIND, authenticator).create(document)
        return cls(path, authenticator, clock)

    def get(self, user_id: str) -> User | None:
        """Return the user, or None if there is none or it is revoked.

        Raises:
            IntegrityError: the registry is damaged or missing.
        """
        loaded = self._loaded
        users = loaded[2] if loaded is not None and loaded[0] == self._file.stamp() else self._load()[1]
        user = users.get(user_id)
        return user if user is not None and not user.revoked else None

    def enrol(self, user_id: str, roles: Sequence[DeviceRole], passcode_verifier: str = "") -> User:
        """Enrol a user.

        Raises:
            UsageError: the id is malformed or was used before, or there is no role.
        """
        if USER_ID.fullmatch(user_id) is None:
            raise UsageError("a user id has 1 to 64 of a-z, 0-9, dot, underscore, at sign and hyphen")
        if not roles:
            raise UsageError("a user needs at least one role")
        user = User(user_id, tuple(sorted(set(roles))), passcode_verifier)
        with self._file.locked():
            document, users = self._load()
            if user_id in users:
                raise UsageError("a user of that id is or was enrolled")
            if len(users) >= DEVICES_MAX:
                raise OutOfResources(f"a registry holds {DEVICES_MAX} users")
            self._replace(document, (*document.users, user))
        return user

    def revoke(self, user_id: str) -> None:
        """Turn a user away from the next association on.

        Raises:
            NotFound: there is no such user.
        """
        with self._file.locked():
            document, users = self._load()
            if user_id not in users:
                raise NotFound("no user of that id is enrolled")
            self._replace(
                document,
                tuple(
                    msgspec.structs.replace(user, revoked=True) if user.user_id == user_id else user
                    for user in document.users
                ),
            )

    def _replace(self, document: _Document, users: tuple[User, ...]) -> None:
        self._file.replace(msgspec.json.encode(_Document(version=document.version + 1, users=users)))
        self._load()

    def _load(self) -> tuple[_Document, dict[str, User]]:
        with self._lock:
            content, stamp = self._file.read()
            try:
                document = msgspec.json.decode(content, type=_Document)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise IntegrityError(f"{self._file.path.name} does not hold what it should") from error
            if self._loaded is not None and document.version < self._loaded[1].version:
                raise IntegrityError(
                    f"{self._file.path.name} is older than the one in use: it was rolled back"
                )
            users = {user.user_id: user for user in document.users}
            self._loaded = (stamp, document, users)
            return document, users
