"""Where things are in the folder of a site."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from leadglass.base.errors import UsageError


@dataclass(frozen=True, slots=True)
class SitePaths:
    """The folder of a site.

    ::

        leadglass.toml      settings
        keys/               root key (unless it lies elsewhere), key ledger
        certs/              certificate authority and the node's certificate; private keys sealed
        identity/           enrolled devices, authenticated; the encrypted database of people
        policy/             the site's own policies in force, authenticated; applied by command, never edited here
        vault/              sealed packs
        index/              the encrypted database
        audit/              the Merkle log
        run/                lock, control socket, log of the server process
        imports/            how far each import is
    """

    root: Path

    @property
    def settings(self) -> Path:
        """``leadglass.toml``."""
        return self.root / "leadglass.toml"

    @property
    def ledger(self) -> Path:
        """The key ledger."""
        return self.root / "keys" / "ledger.db"

    @property
    def certs(self) -> Path:
        """Certificate authority and node certificate."""
        return self.root / "certs"

    @property
    def node_certificate(self) -> Path:
        """Folder of the node's own key and certificate."""
        return self.certs / "node"

    @property
    def authority(self) -> Path:
        """Certificate of the site's authority: what devices trust."""
        return self.certs / "ca.pem"

    @property
    def devices(self) -> Path:
        """The device registry."""
        return self.root / "identity" / "devices.json"

    @property
    def identity(self) -> Path:
        """The identity database: accounts, credentials, sessions."""
        return self.root / "identity" / "identity.db"

    @property
    def policy(self) -> Path:
        """What policies of the site's own are in force: the chain of what was applied, authenticated, and its bundles."""
        return self.root / "policy"

    @property
    def vault(self) -> Path:
        """Sealed packs."""
        return self.root / "vault"

    @property
    def index(self) -> Path:
        """The index database."""
        return self.root / "index" / "index.db"

    @property
    def audit(self) -> Path:
        """The audit log."""
        return self.root / "audit"

    @property
    def imports(self) -> Path:
        """How far each import is."""
        return self.root / "imports"

    @property
    def run(self) -> Path:
        """What lives only while the server does."""
        return self.root / "run"

    @property
    def control_socket(self) -> Path:
        """The local command socket."""
        return self.run / "control.sock"

    def make(self) -> None:
        """Make the folders, mode 0700.

        Raises:
            UsageError: the folder holds a site already, or cannot be made.
        """
        if self.settings.exists():
            raise UsageError(
                f"{self.root} holds a site already", hint="choose another folder, or use this one"
            )
        try:
            for folder in ("", "keys", "certs", "identity", "vault", "index", "audit", "run", "imports"):
                (self.root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.root} cannot be made: {error.strerror}") from error


class SiteBusy(UsageError):
    """Another process owns the site: commands go through its control socket."""


class SiteLock:
    """One process owns a site. The kernel lets go when the process dies, however it dies."""

    def __init__(self, paths: SitePaths) -> None:
        self._path = paths.run / "lock"
        self._fd = -1

    def take(self) -> None:
        """Own the site.

        Raises:
            SiteBusy: another process owns it.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise SiteBusy("another process owns this site") from error
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd

    def owner(self) -> int | None:
        """Return the process id of the owner, or None when nobody owns the site."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(fd, 32).strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(fd)
        return None

    def release(self) -> None:
        """Let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
