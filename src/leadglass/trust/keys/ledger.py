"""The key ledger: every wrapped key of a site, in one small SQLite database that is backed up apart from the data.

::

    ledger(tenant_id)                                                              one row
    tenant_kek(version, provider_id, wrapped, created)
    purpose_key(purpose, kek_version, wrapped, created)
    study_key(key_id, token, generation, kek_version, wrapped, created)
    head(studies, sum, tag)                                                        one row

- ``wrapped`` of a tenant KEK is what the provider made of it, for a context of purpose, tenant, version and time.
- ``wrapped`` of a study or purpose key is AES-KWP(tenant KEK, key || SHA-256(every other column of the row, and the
  tenant)): no column can be changed, and no blob moved to another row, without its key being refused.
- ``token`` is HMAC-SHA-256 of the Study Instance UID under the purpose key ``ledger-token``: a UID never stands here.
  The token key is a random one and not derived from the tenant KEK, because tokens could not be made again for a new
  tenant KEK: the ledger does not know the UIDs.
- ``head`` holds how many study keys there are and the sum of HMACs of their rows modulo 2^256, tagged.
  Source: Clarke et al., ASIACRYPT 2003 (MSet-Add-Hash).

What is noticed when:

- ``open`` compares all rows with the head: one that vanished, was altered, was added or came back from an older copy
  keeps the ledger shut.
- A running ledger compares again before it makes a key, if any other connection has written since (SQLite's
  ``data_version``): a row taken away under a running server does not get its study a second key.
- ``verify`` alone finds what does not change these rows and sums: damaged pages and indexes, a purpose key or a tenant
  KEK changed since the start, a study key that does not unwrap; and rows changed past SQLite, in the octets of the
  file, under a running server (so does the next ``open``).
- That the whole ledger was exchanged for an older copy of itself cannot be seen from inside it.

**Invariant:** a study key that was returned is on the disk (``synchronous=FULL``), and no study gets a second key because
its first is gone.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, Final

import apsw

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError, KeyUnavailable
from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.trust.keys.derive import (
    KEY_BYTES,
    KeyedHash,
    fingerprint,
    label,
    length_prefixed,
    unwrap_bound,
    wrap_bound,
)
from leadglass.trust.keys.durable import sync_folder
from leadglass.trust.keys.hierarchy import ID_BYTES
from leadglass.trust.keys.interfaces import KeyEncryptionProvider

PURPOSES: Final = (
    "audit-payload",
    "audit-token",
    "checkpoint-signing",
    "file-mac",
    "index-page",
    "index-token",
    "ledger-mac",
    "ledger-token",
    "site-payload",
)
"""Each use of a site-wide key has a key of its own."""

FORMAT_VERSION: Final = 1
APPLICATION_ID: Final = 0x4C474B4C  # "LGKL"
_BUSY_MILLISECONDS: Final = 10_000
"""Another process (``leadglass keys verify``) holds the file for one transaction at most."""

_SCHEMA: Final = """
CREATE TABLE ledger (one INTEGER PRIMARY KEY CHECK (one = 1), tenant_id BLOB NOT NULL) STRICT;
CREATE TABLE tenant_kek (version INTEGER PRIMARY KEY, provider_id TEXT NOT NULL, wrapped BLOB NOT NULL,
  created INTEGER NOT NULL) STRICT;
CREATE TABLE purpose_key (purpose TEXT PRIMARY KEY, kek_version INTEGER NOT NULL, wrapped BLOB NOT NULL,
  created INTEGER NOT NULL) STRICT;
CREATE TABLE study_key (key_id BLOB PRIMARY KEY, token BLOB NOT NULL, generation INTEGER NOT NULL,
  kek_version INTEGER NOT NULL, wrapped BLOB NOT NULL, created INTEGER NOT NULL, UNIQUE (token, generation)) STRICT;
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), studies INTEGER NOT NULL, sum BLOB NOT NULL,
  tag BLOB NOT NULL) STRICT;
"""

_RESTORE: Final = (
    "no new key was made: objects of a study whose key is lost could not be opened by it; "
    "put the ledger back from its newest backup"
)

_LENGTH: Final = Struct(">I")
_THREE_NUMBERS: Final = Struct(">IqIqIq")  # signed: see _u64

_STUDY_ROW: Final = label("ledger/study-row")
_PURPOSE_ROW: Final = label("ledger/purpose-row")
_HEAD: Final = label("ledger/head")
_TOKEN: Final = label("ledger/study-token")


@dataclass(frozen=True, slots=True)
class StudyKeyRow:
    """One study key as it stands in the ledger.

    Attributes:
        key_id: 16 random bytes.
        token: 32 bytes, HMAC of the Study Instance UID.
        generation: 1 for the first key of a study.
        kek_version: the tenant KEK it is wrapped under.
        wrapped: 72 bytes.
        created: milliseconds since 1970, UTC.
    """

    key_id: bytes
    token: bytes
    generation: int
    kek_version: int
    wrapped: bytes
    created: int


@dataclass(frozen=True, slots=True)
class LedgerFinding:
    """What ``verify`` found wrong.

    Attributes:
        table: table of the row.
        row: its primary key in hex or digits; no UID.
        reason: in our own words.
    """

    table: str
    row: str
    reason: str


Values = tuple[Any, ...]
"""One row as SQLite gives it."""

_LEDGER: Final = (bytes,)
_TENANT_KEK: Final = (int, str, bytes, int)
_PURPOSE_KEY: Final = (str, int, bytes, int)
_STUDY_KEY: Final = (bytes, bytes, int, int, bytes, int)
_HEAD_ROW: Final = (int, bytes, bytes)


def _query(db: apsw.Connection, sql: str, arguments: tuple[bytes | int | str, ...] = ()) -> Iterator[Values]:
    """Run one statement: the only call of ``execute`` in this file, because its types are not known."""
    # The stub of apsw names a type that it does not define.
    return iter(db.execute(sql, arguments))  # pyright: ignore[reportUnknownMemberType]


def _rows(
    db: apsw.Connection, types: tuple[type, ...], sql: str, arguments: tuple[bytes | int | str, ...] = ()
) -> Iterator[Values]:
    """Yield rows whose values have the ``types`` that were written.

    STRICT tables keep others out when SQLite writes; who changes the file is not held by that.

    Raises:
        KeyUnavailable: a value has another type.
    """
    for values in _query(db, sql, arguments):
        if tuple(map(type, values)) != types:
            raise KeyUnavailable("a row of the key ledger holds values of other types than were written")
        yield values


def _run(db: apsw.Connection, sql: str, arguments: tuple[bytes | int | str, ...] = ()) -> None:
    """Run statements that answer nothing of interest, to their end."""
    for _ in _query(db, sql, arguments):
        pass


def _u64(number: int) -> bytes:
    """Return any SQLite integer as eight octets, negative ones too: a tampered row must not raise OverflowError."""
    return number.to_bytes(8, "big", signed=True)


class KeyLedger:
    """The open ledger of one site. Thread-safe: one connection behind one lock.

    ``create`` and ``open`` make one; the constructor is theirs.
    """

    def __init__(self, db: apsw.Connection, path: Path, clock: Clock) -> None:
        self._db = db
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._keks: dict[int, bytes] = {}
        self._purposes: dict[str, bytes] = {}
        self._site_rows: list[Values] = []
        self._row_prefix = b""
        self._checked_version = -1
        self.tenant_id = b""

    # --- begin and end ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, provider: KeyEncryptionProvider, clock: Clock) -> "KeyLedger":
        """Make a ledger with a new tenant and new keys.

        Raises:
            ConfigurationError: something is there already, or the folder cannot be written.
            KeyUnavailable: the provider does not wrap.
        """
        try:
            # O_EXCL: an existing ledger is never touched, whatever it is. 0600: metadata is nobody else's business.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise ConfigurationError("a key ledger exists already; it is never overwritten") from None
        except OSError as error:
            raise ConfigurationError(f"the key ledger cannot be created: {error.strerror}") from None
        try:
            ledger = cls(_connect(path), path, clock)
            try:
                ledger._found(provider)
            except BaseException:
                ledger.close()
                raise
        except BaseException:
            # Ours, and empty: the transaction that would have filled it did not commit.
            for suffix in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            raise
        try:
            sync_folder(path.parent)
        except OSError as error:
            ledger.close()
            raise ConfigurationError(f"the key ledger cannot be made durable: {error.strerror}") from None
        return ledger

    @classmethod
    def open(cls, path: Path, provider: KeyEncryptionProvider, clock: Clock) -> "KeyLedger":
        """Open an existing ledger and unwrap its site-wide keys.

        Raises:
            ConfigurationError: there is none, or it is not a key ledger of this version.
            KeyUnavailable: it was made under another root key, or was changed.
        """
        ledger = cls(_connect(path), path, clock)
        try:
            ledger._unlock(provider)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    # --- keys ------------------------------------------------------------------------------------------------------

    def purpose_key(self, purpose: str) -> bytes:
        """Return the 32-byte key of one of ``PURPOSES``."""
        return self._purposes[purpose]

    def study_token(self, study_uid: UID) -> bytes:
        """Return the 32 bytes that stand for a study."""
        return self._token_key.digest(_TOKEN + study_uid.encode("ascii"))

    def find(self, study_uid: UID) -> StudyKeyRow | None:
        """Return the row of the study's newest key, or None."""
        with self._lock, _wrapped_errors():
            return self._row(
                "SELECT key_id, token, generation, kek_version, wrapped, created FROM study_key"
                " WHERE token = ? ORDER BY generation DESC LIMIT 1",
                self.study_token(study_uid),
            )

    def by_id(self, key_id: bytes) -> StudyKeyRow:
        """Return the row of that id.

        Raises:
            KeyUnavailable: there is none.
        """
        with self._lock, _wrapped_errors():
            row = self._row(
                "SELECT key_id, token, generation, kek_version, wrapped, created FROM study_key WHERE key_id = ?",
                key_id,
            )
        if row is None:
            raise KeyUnavailable("the ledger holds no key of that id")
        return row

    def unwrap(self, row: StudyKeyRow) -> bytes:
        """Return the 32-byte study key of a row.

        Raises:
            KeyUnavailable: the row is not what was written.
        """
        return unwrap_bound(self._kek(row.kek_version), row.wrapped, self._study_binding(row))

    def create_study_key(
        self, study_uid: UID, before_commit: Callable[[StudyKeyRow], None]
    ) -> tuple[StudyKeyRow, bytes]:
        """Make the first key of a study, or return the one that another process made meanwhile.

        Args:
            study_uid: the study.
            before_commit: told of a new row before it counts; where it raises, there is no key. So no key is in use
                that the audit log did not accept; one that it names and that never came to be harms nobody.

        Raises:
            KeyUnavailable: the ledger cannot be written, its head was tampered with, or a study key is gone: this
                study might have had it.
        """
        with self._lock, _wrapped_errors():
            with self._transaction():
                row = self.find(study_uid)
                if row is None:
                    # Another connection wrote since we looked: a second process, or a hand that took this row away.
                    if self._pragma("data_version") != self._checked_version:
                        self._check_studies()
                    key = secrets.token_bytes(KEY_BYTES)
                    row = self._insert(study_uid, key)
                    before_commit(row)
                    return row, key
            return row, self.unwrap(row)

    # --- verification ----------------------------------------------------------------------------------------------

    def verify(self) -> Iterator[LedgerFinding]:
        """Unwrap every row and compare the head; yield what is not as written.

        It reads one snapshot through a connection of its own, so studies are made meanwhile.
        """
        try:
            db = _connect(self._path)
        except ConfigurationError as error:
            yield LedgerFinding("file", "", str(error))
            return
        try:
            with _wrapped_errors():
                _run(db, "BEGIN")
                yield from self._verify_file(db)
                yield from self._verify_site_rows(db)
                yield from self._verify_study_rows(db)
        except KeyUnavailable as error:
            # A row that cannot even be read: what comes behind it is not looked at.
            yield LedgerFinding("file", "", str(error))
        finally:
            db.close()

    @staticmethod
    def _verify_file(db: apsw.Connection) -> Iterator[LedgerFinding]:
        for (answer,) in _query(db, "PRAGMA integrity_check"):
            if answer != "ok":
                # SQLite's text names pages and indexes, never values.
                yield LedgerFinding("file", "", str(answer))

    def _verify_study_rows(self, db: apsw.Connection) -> Iterator[LedgerFinding]:
        count = total = 0
        for values in _rows(
            db,
            _STUDY_KEY,
            "SELECT key_id, token, generation, kek_version, wrapped, created FROM study_key ORDER BY key_id",
        ):
            row = StudyKeyRow(*values)
            count += 1
            total = (total + self._row_mac(row)) % (1 << 256)
            try:
                self.unwrap(row)
            except KeyUnavailable as error:
                yield LedgerFinding("study_key", row.key_id.hex(), str(error))
        try:
            studies, head_sum = self._head(db)
        except KeyUnavailable as error:
            yield LedgerFinding("head", "1", str(error))
            return
        if studies != count:
            yield LedgerFinding("head", "1", f"{studies} study keys were written, {count} are there")
        elif head_sum != total:
            yield LedgerFinding("head", "1", "the study keys are not those that were written")

    def _verify_site_rows(self, db: apsw.Connection) -> Iterator[LedgerFinding]:
        if _site_rows(db) != self._site_rows:
            yield LedgerFinding("tenant_kek", "", "the tenant or its keys are not those that were unwrapped")
        found: set[str] = set()
        for purpose, version, wrapped, created in _rows(
            db,
            _PURPOSE_KEY,
            "SELECT purpose, kek_version, wrapped, created FROM purpose_key ORDER BY purpose",
        ):
            found.add(purpose)
            try:
                unwrap_bound(self._kek(version), wrapped, self._purpose_binding(purpose, version, created))
            except KeyUnavailable as error:
                yield LedgerFinding("purpose_key", purpose, str(error))
        for missing in sorted(set(PURPOSES) - found):
            yield LedgerFinding("purpose_key", missing, "the row is missing")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _found(self, provider: KeyEncryptionProvider) -> None:
        """Fill an empty ledger, in one transaction."""
        now = self._now()
        tenant_id = secrets.token_bytes(ID_BYTES)
        kek = secrets.token_bytes(KEY_BYTES)
        wrapped_kek = provider.wrap(Secret(kek), _kek_context(tenant_id, 1, now))
        self.tenant_id = tenant_id
        self._keks = {1: kek}
        with _wrapped_errors(), self._transaction():
            _run(self._db, _SCHEMA)
            _run(self._db, "INSERT INTO ledger VALUES (1, ?)", (tenant_id,))
            _run(
                self._db,
                "INSERT INTO tenant_kek VALUES (1, ?, ?, ?)",
                (provider.provider_id, wrapped_kek, now),
            )
            for purpose in PURPOSES:
                key = secrets.token_bytes(KEY_BYTES)
                self._purposes[purpose] = key
                wrapped = wrap_bound(kek, key, self._purpose_binding(purpose, 1, now))
                _run(self._db, "INSERT INTO purpose_key VALUES (?, 1, ?, ?)", (purpose, wrapped, now))
            self._ready()
            self._write_head(0, 0)
            self._site_rows = _site_rows(self._db)
            self._checked_version = self._pragma("data_version")
            _run(self._db, f"PRAGMA application_id = {APPLICATION_ID}")
            _run(self._db, f"PRAGMA user_version = {FORMAT_VERSION}")

    def _unlock(self, provider: KeyEncryptionProvider) -> None:
        """Unwrap the tenant KEKs and the purpose keys."""
        try:
            application = self._pragma("application_id")
            version = self._pragma("user_version")
        except apsw.Error as error:
            raise ConfigurationError(f"the key ledger cannot be read: {type(error).__name__}") from None
        if application != APPLICATION_ID or version != FORMAT_VERSION:
            raise ConfigurationError("the file is not a key ledger of a version that this program knows")
        with _wrapped_errors():
            self._site_rows = _site_rows(self._db)
            (self.tenant_id,), *kek_rows = self._site_rows
            for kek_version, provider_id, wrapped, created in kek_rows:
                if provider_id != provider.provider_id:
                    raise KeyUnavailable(
                        "the key ledger was wrapped under another root key than the configured one",
                        hint=f"wrapped by {provider_id[:64]}, configured is {provider.provider_id}",
                    )
                kek = provider.unwrap(wrapped, _kek_context(self.tenant_id, kek_version, created))
                self._keks[kek_version] = kek.reveal()
            for purpose, kek_version, wrapped, created in _rows(
                self._db, _PURPOSE_KEY, "SELECT purpose, kek_version, wrapped, created FROM purpose_key"
            ):
                binding = self._purpose_binding(purpose, kek_version, created)
                self._purposes[purpose] = unwrap_bound(self._kek(kek_version), wrapped, binding)
        if set(self._purposes) != set(PURPOSES):
            raise KeyUnavailable("the key ledger does not hold exactly the site-wide keys it should")
        self._ready()
        with _wrapped_errors(), _Snapshot(self._db):
            self._check_studies()

    def _ready(self) -> None:
        self._token_key = KeyedHash(self._purposes["ledger-token"])
        self._mac_key = KeyedHash(self._purposes["ledger-mac"])
        self._row_prefix = _STUDY_ROW + length_prefixed(self.tenant_id)

    def _kek(self, version: int) -> bytes:
        kek = self._keks.get(version)
        if kek is None:
            raise KeyUnavailable("a row names a tenant key version that the ledger does not hold")
        return kek

    def _insert(self, study_uid: UID, key: bytes) -> StudyKeyRow:
        version = max(self._keks)
        unsealed = StudyKeyRow(
            secrets.token_bytes(ID_BYTES), self.study_token(study_uid), 1, version, b"", self._now()
        )
        wrapped = wrap_bound(self._kek(version), key, self._study_binding(unsealed))
        row = StudyKeyRow(
            unsealed.key_id, unsealed.token, unsealed.generation, version, wrapped, unsealed.created
        )
        _run(
            self._db,
            "INSERT INTO study_key VALUES (?, ?, ?, ?, ?, ?)",
            (row.key_id, row.token, row.generation, row.kek_version, row.wrapped, row.created),
        )
        studies, total = self._head(self._db)
        self._write_head(studies + 1, (total + self._row_mac(row)) % (1 << 256))
        return row

    def _row(self, sql: str, argument: bytes) -> StudyKeyRow | None:
        for values in _rows(self._db, _STUDY_KEY, sql, (argument,)):
            return StudyKeyRow(*values)
        return None

    def _study_binding(self, row: StudyKeyRow) -> bytes:
        return self._row_fingerprint(row.key_id, row.token, row.generation, row.kek_version, row.created)

    def _row_fingerprint(
        self, key_id: bytes, token: bytes, generation: int, kek_version: int, created: int
    ) -> bytes:
        """Return SHA-256 of all columns but ``wrapped``, each behind its length as ``length_prefixed`` puts it.

        Written out, and by ``hashlib``, because it is computed for every row at every start.
        """
        return sha256(
            self._row_prefix
            + _LENGTH.pack(len(key_id))
            + key_id
            + _LENGTH.pack(len(token))
            + token
            + _THREE_NUMBERS.pack(8, generation, 8, kek_version, 8, created)
        ).digest()

    def _purpose_binding(self, purpose: str, kek_version: int, created: int) -> bytes:
        return fingerprint(
            _PURPOSE_ROW + length_prefixed(self.tenant_id, purpose.encode(), _u64(kek_version), _u64(created))
        )

    def _row_mac(self, row: StudyKeyRow) -> int:
        data = _STUDY_ROW + self._study_binding(row) + row.wrapped
        return int.from_bytes(self._mac_key.digest(data), "big")

    def _check_studies(self) -> None:
        """Compare the study keys with the head, in one snapshot; only inside a transaction.

        0.8 s of one processor for 100 000 rows.

        Raises:
            KeyUnavailable: a row vanished, was added, or is another; or the head is.
        """
        version = self._pragma("data_version")
        count = total = 0
        digest, fingerprint_of = self._mac_key.digest, self._row_fingerprint
        for key_id, token, generation, kek_version, wrapped, created in _rows(
            self._db,
            _STUDY_KEY,
            "SELECT key_id, token, generation, kek_version, wrapped, created FROM study_key",
        ):
            row = fingerprint_of(key_id, token, generation, kek_version, created)
            total += int.from_bytes(digest(_STUDY_ROW + row + wrapped), "big")
            count += 1
        studies, head_sum = self._head(self._db)
        if studies != count:
            raise KeyUnavailable(
                f"the key ledger {self._path.name} was written with {studies} study keys and holds {count}",
                hint=_RESTORE,
            )
        if head_sum != total % (1 << 256):
            raise KeyUnavailable(
                f"the study keys in the key ledger {self._path.name} are not those that were written",
                hint=_RESTORE,
            )
        self._checked_version = version

    def _head(self, db: apsw.Connection) -> tuple[int, int]:
        for studies, total, tag in _rows(db, _HEAD_ROW, "SELECT studies, sum, tag FROM head"):
            if not self._mac_key.matches(_HEAD + length_prefixed(self.tenant_id, _u64(studies), total), tag):
                raise KeyUnavailable("the head of the key ledger is not what was written")
            return studies, int.from_bytes(total, "big")
        raise KeyUnavailable("the head of the key ledger is missing")

    def _write_head(self, studies: int, total: int) -> None:
        octets = total.to_bytes(32, "big")
        tag = self._mac_key.digest(_HEAD + length_prefixed(self.tenant_id, _u64(studies), octets))
        _run(self._db, "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (studies, octets, tag))

    def _pragma(self, name: str) -> int:
        return int(next(_query(self._db, f"PRAGMA {name}"))[0])

    def _transaction(self) -> "_Immediate":
        return _Immediate(self._db)


def _site_rows(db: apsw.Connection) -> list[Values]:
    """Return the row of the tenant and behind it those of the tenant KEKs."""
    tenants = list(_rows(db, _LEDGER, "SELECT tenant_id FROM ledger"))
    if len(tenants) != 1:
        raise KeyUnavailable("the key ledger has lost the row of its tenant")
    keks = _rows(
        db, _TENANT_KEK, "SELECT version, provider_id, wrapped, created FROM tenant_kek ORDER BY version"
    )
    return tenants + list(keks)


class _Immediate:
    """One write transaction, begun with the write lock, so that what was read before the write still holds."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        _run(self._db, "BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                _run(self._db, "COMMIT")
            except BaseException:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself (disk full, I/O error).
        if self._db.in_transaction:
            _run(self._db, "ROLLBACK")


class _Snapshot:
    """One read transaction: head and rows of the same moment, whoever writes meanwhile."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        _run(self._db, "BEGIN")

    def __exit__(self, *_: object) -> None:
        if self._db.in_transaction:
            _run(self._db, "ROLLBACK")


class _wrapped_errors:  # noqa: N801 - reads as a statement, like contextlib.suppress
    """Turn what SQLite raises into KeyUnavailable; its messages name no data but are not ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, apsw.Error | UnicodeDecodeError):  # the latter: a text column that is not UTF-8
            raise KeyUnavailable(f"the key ledger cannot be used: {type(error).__name__}") from None


def _kek_context(tenant_id: bytes, version: int, created: int) -> dict[str, str]:
    return {
        "created": str(created),
        "purpose": "tenant-kek",
        "tenant": tenant_id.hex(),
        "version": str(version),
    }


def _connect(path: Path) -> apsw.Connection:
    try:
        # No SQLITE_OPEN_CREATE: what should exist is never made by accident.
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(_BUSY_MILLISECONDS)
        _run(db, "PRAGMA journal_mode = WAL")
        _run(db, "PRAGMA synchronous = FULL")
        _run(db, "PRAGMA trusted_schema = OFF")
    except apsw.CantOpenError:
        raise ConfigurationError(
            "there is no key ledger at the configured place, or it may not be read", hint=f"looked for {path}"
        ) from None
    except apsw.Error as error:
        raise ConfigurationError(f"the key ledger cannot be opened: {type(error).__name__}") from None
    return db
