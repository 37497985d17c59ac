"""Services and scripts with credentials of their own: OAuth 2.0 clients.

A client proves itself by a key or a certificate, never by a shared secret. It belongs to a person who answers for it:
when that account is disabled, its clients are too, until somebody else takes them over.

Source: RFC 6749 2, RFC 7523 2.2, RFC 8705 2; ASVS 5.0 10.4.
"""

import re
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from leadglass.base.errors import IntegrityError, NotFound, OutOfResources, UsageError
from leadglass.base.limits import CLIENTS_MAX
from leadglass.trust.identity import events, jose
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.interfaces import AccountDirectory, IdentityEvents
from leadglass.trust.identity.models import Origin

CLIENT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}", re.ASCII)
"""Source: RFC 6749 3.3."""
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LIST_MAX: Final = 64
_DESCRIPTION_CHARACTERS_MAX: Final = 256

MIGRATIONS: Final = ("CREATE TABLE oauth_client (client_id TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT",)


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service or a script. Principal id: ``client:<client_id>``.

    Attributes:
        client_id: unique, never used again for another.
        owner: account id of the person who answers for it.
        roles: names that policy knows.
        scopes: what its tokens may be limited to; each token holds some of them.
        jwks: JWK Set with its public keys, RFC 7517, for ``private_key_jwt``; empty for none.
        certificate_sha256: hex fingerprints of the client certificates that prove it, for ``tls_client_auth``.
        bound: each of its tokens is bound to a certificate (RFC 8705 3), so it must show one.
        devices: limit, as of an account.
        institutions: limit, as of an account.
        description: what it is for.
        created_at: aware UTC.
        expires_at: aware UTC; every client has an end.
        disabled_at: aware UTC, or None while it is welcome.
    """

    client_id: str
    owner: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    jwks: str = ""
    certificate_sha256: tuple[str, ...] = ()
    bound: bool = False
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    description: str = ""
    disabled_at: datetime | None = None

    @property
    def principal_id(self) -> str:
        """``client:<client_id>``."""
        return f"client:{self.client_id}"


class Clients:
    """The clients of a site, held in memory, kept in the identity database. Thread-safe.

    Args:
        database: where they are kept.
        accounts: of the people who answer for them.
        recorder: told of every change, before it counts.
        check_roles: raises UsageError for roles that none may hold together, or that do not exist.
        scopes: all that a token may be limited to.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        accounts: AccountDirectory,
        recorder: IdentityEvents,
        check_roles: Callable[[Sequence[str]], None],
        scopes: Sequence[str],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._events = recorder
        self._check_roles = check_roles
        self.scopes = tuple(scopes)
        self._lock = threading.Lock()
        self._by_id: dict[str, tuple[Client, jose.KeySet | None]] = {}
        database.register("oauth-clients", MIGRATIONS)
        with database.reading() as snapshot:
            for (document,) in snapshot.execute("SELECT document FROM oauth_client"):
                try:
                    self._hold(msgspec.json.decode(document, type=Client))
                except (msgspec.DecodeError, UnicodeDecodeError, jose.JoseRefused) as error:
                    raise IntegrityError("a client in the identity database cannot be read") from error

    def get(self, client_id: str) -> Client | None:
        """Return the client of that id, disabled or not; None when there never was one."""
        held = self._by_id.get(client_id)
        return None if held is None else held[0]

    def keys_of(self, client_id: str) -> jose.KeySet | None:
        """Return its public keys; None when it has none or does not exist."""
        held = self._by_id.get(client_id)
        return None if held is None else held[1]

    def usable(self, client_id: str) -> Client | None:
        """Return the client if it and the person who answers for it are welcome now."""
        client = self.get(client_id)
        now = self._database.clock.now()
        if client is None or client.disabled_at is not None or now >= client.expires_at:
            return None
        owner = self._accounts.get(client.owner)
        return client if owner is not None and owner.usable(now) else None

    def all(self) -> tuple[Client, ...]:
        """Return every client, by id, disabled ones included."""
        with self._lock:
            held = list(self._by_id.values())
        return tuple(sorted((client for client, _ in held), key=lambda client: client.client_id))

    def enrol(self, client: Client, origin: Origin) -> Client:
        """Enrol a client. ``created_at`` is set here.

        Raises:
            UsageError: malformed, the id is or was used, the owner is no account in use, it has no credential, a key
                cannot be read, or roles exclude each other.
            OutOfResources: there are as many clients as there may be.
        """
        client = msgspec.structs.replace(client, created_at=self._database.clock.now(), disabled_at=None)
        with self._database.writing() as transaction:
            if client.client_id in self._by_id:
                raise UsageError("a client of that id exists or existed; ids are never used again")
            if len(self._by_id) >= CLIENTS_MAX:
                raise OutOfResources(f"a site holds {CLIENTS_MAX} clients")
            self._check(client)
            self._write(transaction, client)
            self._record(events.CLIENT_ENROLLED, client, origin)
        return client

    def change(
        self,
        client_id: str,
        origin: Origin,
        *,
        owner: str | None = None,
        roles: Sequence[str] | None = None,
        scopes: Sequence[str] | None = None,
        jwks: str | None = None,
        certificate_sha256: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> Client:
        """Change what is given. Roles, scopes and limits count for tokens in use at once.

        Raises:
            NotFound: there is no such client.
            UsageError: as ``enrol``.
        """
        changes: dict[str, object] = {
            "owner": owner,
            "roles": None if roles is None else tuple(roles),
            "scopes": None if scopes is None else tuple(scopes),
            "jwks": jwks,
            "certificate_sha256": None if certificate_sha256 is None else tuple(certificate_sha256),
            "expires_at": expires_at,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        with self._database.writing() as transaction:
            client = msgspec.structs.replace(self._required(client_id), **given)
            self._check(client)
            self._write(transaction, client)
            self._record(events.CLIENT_ENROLLED, client, origin, what=", ".join(given))
        return client

    def disable(self, client_id: str, origin: Origin, reason: str) -> Client:
        """Turn a client away, from this moment on: its tokens end with it. Harmless when it is disabled.

        Raises:
            NotFound: there is no such client.
        """
        with self._database.writing() as transaction:
            before = self._required(client_id)
            if before.disabled_at is not None:
                return before
            client = msgspec.structs.replace(before, disabled_at=self._database.clock.now())
            self._write(transaction, client)
            self._record(events.CLIENT_REVOKED, client, origin, reason=reason)
        return client

    def _required(self, client_id: str) -> Client:
        client = self.get(client_id)
        if client is None:
            raise NotFound("there is no client of that id")
        return client

    def _check(self, client: Client) -> None:
        if CLIENT_ID.fullmatch(client.client_id) is None:
            raise UsageError("a client id has 1 to 64 of a-z, 0-9, dot, underscore and hyphen")
        now = self._database.clock.now()
        owner = self._accounts.get(client.owner)
        if owner is None or not owner.usable(now):
            raise UsageError("a client needs a person who answers for it: the owner is no account in use")
        if client.expires_at.tzinfo is None or client.expires_at <= now:
            raise UsageError("a client needs an end in the future")
        if not client.roles or not client.scopes or not set(client.scopes) <= set(self.scopes):
            raise UsageError("a client needs a role, and scopes of those that there are")
        if not client.jwks and not client.certificate_sha256:
            raise UsageError("a client needs a public key or a certificate")
        if not all(_FINGERPRINT.fullmatch(one) for one in client.certificate_sha256):
            raise UsageError("a fingerprint of a certificate has 64 hex digits, in lower case")
        lists = (client.roles, client.scopes, client.certificate_sha256, client.devices, client.institutions)
        if any(len(items) > _LIST_MAX for items in lists):
            raise UsageError(f"a list of a client has at most {_LIST_MAX} entries")
        if len(client.description) > _DESCRIPTION_CHARACTERS_MAX or not client.description.isprintable():
            raise UsageError(f"a description has at most {_DESCRIPTION_CHARACTERS_MAX} printable characters")
        try:
            self._keys(client)
        except jose.JoseRefused as refusal:
            raise UsageError(f"the public keys of the client cannot be used: {refusal}") from refusal
        self._check_roles(client.roles)

    @staticmethod
    def _keys(client: Client) -> jose.KeySet | None:
        return jose.KeySet(client.jwks.encode("utf-8")) if client.jwks else None

    def _record(self, code: str, client: Client, origin: Origin, **facts: str) -> None:
        self._events.record(
            code,
            client.principal_id,
            origin,
            facts={"owner": client.owner, "roles": ", ".join(client.roles), **facts},
        )

    def _write(self, transaction: Transaction, client: Client) -> None:
        transaction.execute(
            """INSERT INTO oauth_client VALUES (?, ?)
               ON CONFLICT (client_id) DO UPDATE SET document = excluded.document""",
            (client.client_id, msgspec.json.encode(client)),
        )
        transaction.after_commit(lambda: self._hold(client))

    def _hold(self, client: Client) -> None:
        keys = self._keys(client)
        with self._lock:
            self._by_id[client.client_id] = (client, keys)
