"""What other rooms may know about keys.

::

    root KEK  (KeyEncryptionProvider: a file, an HSM, a KMS)
      └ tenant KEK   256 bit, versioned, wrapped by the root
          ├ study key   256 bit, random, one row of the key ledger, AES-KWP under the tenant KEK
          │    ├ object key    HKDF, one per record, never stored
          │    ├ context key   HKDF, binds a record to its UIDs
          │    ├ pack key      HKDF, authenticates the directory of one pack
          │    └ row key       HKDF, seals index rows of the study
          ├ index key    blind-index tokens, database page encryption
          └ audit key    audit tokens, audit payloads
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from leadglass.base.ids import UID
from leadglass.base.secret import Secret


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What is true of a provider, for ``leadglass status``: facts, no adjectives.

    Attributes:
        kind: ``key-file``, ``passphrase``, ``systemd-credential``, ...
        location: where the root KEK is, in words; no secret.
        hardware: the key is held by hardware that does not give it out.
        separate_from_data: it lies on another device than the sealed data (74 FR 19006); None where unknown.
        protects: sentences on what a thief of the data does not get.
        does_not_protect: sentences on what is not protected.
    """

    kind: str
    location: str
    hardware: bool
    separate_from_data: bool | None
    protects: tuple[str, ...]
    does_not_protect: tuple[str, ...]


class KeyEncryptionProvider(Protocol):
    """Holder of the root KEK. One contract suite (``tests/suites/kek_provider.py``) runs against every one."""

    @property
    def provider_id(self) -> str:
        """Stable name, stored beside what it wrapped."""
        ...

    def wrap(self, key: Secret, context: Mapping[str, str]) -> bytes:
        """Return ``key`` (16 to 128 bytes) wrapped; ``context`` must be given again to unwrap."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> Secret:
        """Return the key.

        Raises:
            KeyUnavailable: other context, changed blob, other root, or the provider does not answer.
        """
        ...

    def facts(self) -> ProviderFacts:
        """Say truthfully what this provider does and does not protect."""
        ...


class StudyKey(Protocol):
    """The key of one study, in use."""

    @property
    def key_id(self) -> bytes:
        """16 bytes."""
        ...

    @property
    def generation(self) -> int:
        """Counts up when a study key is made again."""
        ...

    def object_key(self, object_id: bytes, version: int, suite: int) -> bytes:
        """32 bytes: the FLOE key of one record."""
        ...

    def context_tag(self, context: bytes) -> bytes:
        """32 bytes: HMAC-SHA-256 under the context key."""
        ...

    def pack_key(self, pack_id: bytes) -> bytes:
        """32 bytes: authenticates the directory of one pack."""
        ...


class KeyRing(Protocol):
    """All that ``store.vault`` asks of the keys."""

    @property
    def tenant_id(self) -> bytes:
        """16 bytes, random, no PHI."""
        ...

    def study_key(self, study_uid: UID) -> StudyKey:
        """Return the study's key, made and durable in the ledger if it is new.

        Raises:
            KeyUnavailable: it was destroyed, or the ledger cannot be written.
        """
        ...

    def by_id(self, key_id: bytes) -> StudyKey:
        """Return the key with that id.

        Raises:
            KeyUnavailable: destroyed or unknown.
        """
        ...


class RowCipher(Protocol):
    """Seals index rows. ``store.index`` and ``trust.audit`` are given one; they never see a key."""

    def seal_row(self, key_id: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return version octet, 96-bit random nonce, ciphertext and tag, bound to ``associated``."""
        ...

    def open_row(self, key_id: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: any bit of it, or of ``associated``, is not what was sealed.
            KeyUnavailable: the key was destroyed.
        """
        ...


class Tokeniser(Protocol):
    """Keyed, truncated HMAC: the same value of the same field gives the same 16 bytes, within one tenant."""

    def token(self, field: str, value: str) -> bytes:
        """Return HMAC-SHA-256(key, field ‖ 00 ‖ value)[:16]."""
        ...
