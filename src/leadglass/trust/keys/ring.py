"""The keys of a site, open: what ``app.compose`` hands to the vault, the index and the audit log.

**Invariant:** nothing here returns the root key, a tenant KEK or a study key.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, final

from leadglass.base.clock import Clock
from leadglass.base.errors import IntegrityError, KeyUnavailable, LeadglassError
from leadglass.base.ids import UID
from leadglass.base.secret import Secret
from leadglass.trust.audit.interfaces import CheckpointSigner, EventCode
from leadglass.trust.keys.derive import KeyedHash, label
from leadglass.trust.keys.hierarchy import OpenStudyKey
from leadglass.trust.keys.interfaces import KeyEncryptionProvider
from leadglass.trust.keys.ledger import KeyLedger, LedgerFinding, StudyKeyRow
from leadglass.trust.keys.row_seal import PayloadSeal
from leadglass.trust.keys.self_test import run_self_test
from leadglass.trust.keys.signer import Ed25519Signer, P256Signer

STUDY_KEYS_OPEN_MAX: Final = 4096
"""Study keys held open; about 3 KiB each. A busy hospital touches some thousand studies a day."""

TOKEN_BYTES: Final = 16
"""128 bits: among 2^40 values two share a token with probability 2^-49."""

_DATABASE_KEY: Final = label("database-key")
_FILE_KEY: Final = label("file-mac")
_PAYLOAD_KEY: Final = label("site-payload")

KeyEvents = Callable[[EventCode, Mapping[str, str | int]], None]
"""Told of what happens to keys: facts without UIDs."""


def _ignore(_code: EventCode, _facts: Mapping[str, str | int]) -> None:
    """Before the audit log is open there is nobody to tell."""


@final
class FileMac:
    """Implements ``FileAuthenticator`` of ``trust.identity``."""

    def __init__(self, key: bytes) -> None:
        self._key = KeyedHash(key)

    def tag(self, data: bytes) -> bytes:
        """Return 32 bytes: HMAC-SHA-256 of ``data``."""
        return self._key.digest(data)

    def check(self, data: bytes, tag: bytes) -> None:
        """Return if ``tag`` belongs to ``data``; else raise IntegrityError."""
        if not self._key.matches(data, tag):
            raise IntegrityError("a file is not what this site wrote: its tag does not fit")


@final
class AuditCipher:
    """Implements ``PayloadCipher``, under keys that nothing but the audit log uses."""

    def __init__(self, payload_key: bytes, token_key: bytes) -> None:
        self._payloads = PayloadSeal(payload_key)
        self._tokens = KeyedHash(token_key)

    def seal_payload(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, 192-bit nonce, ciphertext and tag."""
        return self._payloads.seal(plaintext, associated)

    def open_payload(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext, or raise IntegrityError."""
        return self._payloads.open(sealed, associated)

    def token(self, field: str, value: str) -> bytes:
        """Return HMAC-SHA-256(key, field 00 value)[:16]; ``field`` is a name of ours and holds no 00."""
        return self._tokens.digest(f"{field}\0{value}".encode("utf-8", "surrogatepass"))[:TOKEN_BYTES]


@final
class SiteSeal:
    """Seals what belongs to no study, for one purpose: implements ``SiteCipher`` of the index and ``SecretSeal`` of identity.

    XAES-256-GCM as the audit log's payloads; ``row_seal.PayloadSeal`` says why no nonce repeats.
    """

    def __init__(self, key: bytes) -> None:
        self._seal = PayloadSeal(key)
        self.seal = self._seal.seal
        self.open = self._seal.open

    def seal_payload(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, 192-bit nonce, ciphertext and tag."""
        return self._seal.seal(plaintext, associated)

    def open_payload(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext, or raise IntegrityError."""
        return self._seal.open(sealed, associated)


@final
class SiteKeys:
    """Implements ``KeyRing``, ``RowCipher`` and ``Tokeniser`` (of the index). Thread-safe.

    ``create_site_keys`` and ``open_site_keys`` make one.

    Attributes:
        tenant_id: 16 bytes.
        audit_cipher: the ``PayloadCipher`` of the audit log. Apart from ``token`` below on purpose: a token in the
            audit log and one in the index must not be the same bytes for the same patient.
    """

    def __init__(self, ledger: KeyLedger, *, on_event: KeyEvents = _ignore) -> None:
        self._ledger = ledger
        self._on_event = on_event
        self._lock = threading.Lock()
        self._by_id: OrderedDict[bytes, OpenStudyKey] = OrderedDict()
        self._by_uid: OrderedDict[UID, OpenStudyKey] = OrderedDict()
        self._tokens = KeyedHash(ledger.purpose_key("index-token"))
        self.tenant_id: bytes = ledger.tenant_id
        self.audit_cipher = AuditCipher(
            ledger.purpose_key("audit-payload"), ledger.purpose_key("audit-token")
        )

    def on_event(self, listener: KeyEvents) -> None:
        """Tell ``listener`` of key events from now on.

        It is called with ``KEY_CREATED`` before a new key counts: where it raises, no key is made.
        """
        self._on_event = listener

    # --- KeyRing ---------------------------------------------------------------------------------------------------

    def study_key(self, study_uid: UID) -> OpenStudyKey:
        """Return the study's key, made and durable in the ledger if it is new.

        Raises:
            KeyUnavailable: its row was changed, or the ledger cannot be written.
        """
        with self._lock:
            key = self._by_uid.get(study_uid)
            if key is not None:
                self._by_uid.move_to_end(study_uid)
                return key
        try:
            row = self._ledger.find(study_uid)
            if row is None:
                row, secret = self._ledger.create_study_key(study_uid, self._announce)
            else:
                secret = self._ledger.unwrap(row)
        except KeyUnavailable:
            self._failed({"during": "study_key"})
            raise
        key = self._keep(row, secret)
        with self._lock:
            self._by_uid[study_uid] = key
            self._shrink(self._by_uid)
        return key

    def by_id(self, key_id: bytes) -> OpenStudyKey:
        """Return the key with that id.

        Raises:
            KeyUnavailable: it is unknown, or its row was changed.
        """
        with self._lock:
            key = self._by_id.get(key_id)
            if key is not None:
                self._by_id.move_to_end(key_id)
                return key
        try:
            row = self._ledger.by_id(key_id)
            secret = self._ledger.unwrap(row)
        except KeyUnavailable:
            self._failed({"during": "by_id", "key_id": key_id.hex()})
            raise
        return self._keep(row, secret)

    # --- RowCipher -------------------------------------------------------------------------------------------------

    def seal_row(self, key_id: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, 96-bit random nonce, ciphertext and tag, bound to ``associated``."""
        return self.by_id(key_id).rows.seal(plaintext, associated)

    def open_row(self, key_id: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of it, or of ``associated``, is not what was sealed.
            KeyUnavailable: the key is unknown.
        """
        return self.by_id(key_id).rows.open(sealed, associated)

    # --- Tokeniser -------------------------------------------------------------------------------------------------

    def token(self, field: str, value: str) -> bytes:
        """Return HMAC-SHA-256(index-token key, field 00 value)[:16]; ``field`` is a name of ours and holds no 00."""
        return self._tokens.digest(f"{field}\0{value}".encode("utf-8", "surrogatepass"))[:TOKEN_BYTES]

    # --- site-wide keys --------------------------------------------------------------------------------------------

    def database_key(self, purpose: str) -> Secret:
        """Return 32 bytes for the page encryption of one database; each purpose has another."""
        key = KeyedHash(self._ledger.purpose_key("index-page"))
        return Secret(key.expand(_DATABASE_KEY + purpose.encode("utf-8")))

    def authenticator(self, purpose: str) -> FileMac:
        """Return the authenticator of one kind of file; a tag of another kind does not fit."""
        key = KeyedHash(self._ledger.purpose_key("file-mac"))
        return FileMac(key.expand(_FILE_KEY + purpose.encode("utf-8")))

    def site_seal(self, purpose: str) -> SiteSeal:
        """Return what seals one kind of small things of the site; each purpose has another key."""
        key = KeyedHash(self._ledger.purpose_key("site-payload"))
        return SiteSeal(key.expand(_PAYLOAD_KEY + purpose.encode("utf-8")))

    def sealer(self, purpose: str) -> PayloadSeal:
        """Return what seals small secrets that lie in a database, under a key apart from that of its pages."""
        return PayloadSeal(self.database_key(f"sealed/{purpose}").reveal())

    def checkpoint_signer(self, algorithm: Literal["ed25519", "ecdsa-p256"] = "ed25519") -> CheckpointSigner:
        """Return the signer of the audit log's checkpoints."""
        seed = self._ledger.purpose_key("checkpoint-signing")
        return Ed25519Signer(seed) if algorithm == "ed25519" else P256Signer(seed)

    def verify(self) -> Iterator[LedgerFinding]:
        """Unwrap every row of the ledger; yield what is not as written."""
        return self._ledger.verify()

    def close(self) -> None:
        """Release the ledger and forget the open keys."""
        with self._lock:
            self._by_id.clear()
            self._by_uid.clear()
        self._ledger.close()

    def __repr__(self) -> str:
        return f"SiteKeys(tenant {self.tenant_id.hex()})"

    # --- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, row: StudyKeyRow, secret: bytes) -> OpenStudyKey:
        """Return the one open key of a row: two threads that opened it get the same object."""
        with self._lock:
            key = self._by_id.get(row.key_id)
            if key is None:
                key = self._by_id[row.key_id] = OpenStudyKey(row.key_id, row.generation, secret)
                self._shrink(self._by_id)
            return key

    @staticmethod
    def _shrink(cache: OrderedDict[bytes, OpenStudyKey] | OrderedDict[UID, OpenStudyKey]) -> None:
        while len(cache) > STUDY_KEYS_OPEN_MAX:
            cache.popitem(last=False)

    def _announce(self, row: StudyKeyRow) -> None:
        self._on_event(EventCode.KEY_CREATED, {"key_id": row.key_id.hex(), "generation": row.generation})

    def _failed(self, facts: Mapping[str, str | int]) -> None:
        # The caller raises in any case, so nothing is released where the audit log does not take this one.
        with suppress(LeadglassError):
            self._on_event(EventCode.KEY_FAILED, facts)


def create_site_keys(
    ledger_path: Path, provider: KeyEncryptionProvider, clock: Clock, *, on_event: KeyEvents = _ignore
) -> SiteKeys:
    """Make the ledger of a new site and open it.

    Raises:
        ConfigurationError: a ledger exists already, it cannot be written, or the self-test failed.
        KeyUnavailable: the provider does not wrap.
    """
    run_self_test()
    return SiteKeys(KeyLedger.create(ledger_path, provider, clock), on_event=on_event)


def open_site_keys(
    ledger_path: Path, provider: KeyEncryptionProvider, clock: Clock, *, on_event: KeyEvents = _ignore
) -> SiteKeys:
    """Open the keys of a site.

    Raises:
        ConfigurationError: there is no ledger of a known version, or the self-test failed.
        KeyUnavailable: it was made under another root key, or was changed.
    """
    run_self_test()
    return SiteKeys(KeyLedger.open(ledger_path, provider, clock), on_event=on_event)
