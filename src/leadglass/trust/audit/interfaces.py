"""What other rooms may know about the audit log: events go in, and success means that they are kept."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class EventCode(StrEnum):
    """``source:subject:action``, alphabetical."""

    ACCOUNT_CHANGED = "identity:account:changed"
    ACCOUNT_CREATED = "identity:account:created"
    ACCOUNT_DISABLED = "identity:account:disabled"
    ACCOUNT_LOCKED_OUT = "identity:account:locked_out"
    ASSOCIATION_ACCEPTED = "association:peer:accepted"
    ASSOCIATION_ENDED = "association:peer:ended"
    ASSOCIATION_REFUSED = "association:peer:refused"
    AUDIT_USED = "audit:log:used"
    AUTHENTICATION_FAILED = "identity:person:refused"
    AUTHENTICATION_SUCCEEDED = "identity:person:authenticated"
    BREAK_GLASS_ENDED = "policy:break_glass:ended"
    BREAK_GLASS_ESCALATED = "policy:break_glass:escalated"
    BREAK_GLASS_LISTED = "policy:break_glass:listed"
    BREAK_GLASS_REVIEWED = "policy:break_glass:reviewed"
    BREAK_GLASS_STARTED = "policy:break_glass:started"
    CERTIFICATE_ISSUED = "certs:certificate:issued"
    CERTIFICATE_REVOKED = "certs:certificate:revoked"
    CLIENT_ENROLLED = "identity:client:enrolled"
    CLIENT_REVOKED = "identity:client:revoked"
    COMMITMENT_REPORTED = "commitment:instances:reported"
    COMMITMENT_REQUESTED = "commitment:instances:requested"
    CONFIGURATION_CHANGED = "site:configuration:changed"
    CREDENTIAL_ENROLLED = "identity:credential:enrolled"
    CREDENTIAL_REMOVED = "identity:credential:removed"
    CREDENTIAL_USED_UP = "identity:credential:used_up"
    DELETIONS_LISTED = "retention:study:deletions_listed"
    DEVICE_ENROLLED = "identity:device:enrolled"
    DEVICE_REVOKED = "identity:device:revoked"
    EXPORT_ENDED = "export:study:sent"
    EXPORT_STARTED = "export:study:sending"
    IMPORT_ENDED = "import:folder:ended"
    IMPORT_STARTED = "import:folder:started"
    INSTANCE_ALREADY_HELD = "store:instance:already_held"
    INSTANCE_QUARANTINED = "store:instance:quarantined"
    INSTANCE_REFUSED = "store:instance:refused"
    INSTANCE_STORED = "store:instance:stored"
    INSTANCE_VIEWED = "view:instances:shown"
    INTEGRITY_FAILED = "vault:object:integrity_failed"
    KEY_CREATED = "keys:key:created"
    KEY_FAILED = "keys:key:failed"
    MOVE_ENDED = "retrieve:instances:moved"
    MOVE_STARTED = "retrieve:instances:moving"
    POLICY_CHANGED = "policy:bundle:changed"
    POLICY_EXPLAINED = "policy:verdict:explained"
    QUERY_ANSWERED = "query:study:answered"
    RELATION_CHANGED = "policy:relation:changed"
    RELATION_LISTED = "policy:relation:listed"
    REQUEST_REFUSED = "https:request:refused"
    RETRIEVE_ENDED = "retrieve:instances:sent"
    RETRIEVE_STARTED = "retrieve:instances:sending"
    REVIEW_DECIDED = "policy:access_review:decided"
    REVIEW_ENDED = "policy:access_review:ended"
    REVIEW_STARTED = "policy:access_review:started"
    ROLE_CHANGED = "identity:role:changed"
    ROLE_SUSPENDED = "identity:role:suspended"
    SECURITY_ALERT = "site:security:alert"
    SERVICE_STARTED = "site:service:started"
    SERVICE_STOPPED = "site:service:stopped"
    SESSION_ENDED = "identity:session:ended"
    SESSION_LOCKED = "identity:session:locked"
    SESSION_STARTED = "identity:session:started"
    STEP_UP_SUCCEEDED = "identity:person:stepped_up"
    STUDY_DELETED = "retention:study:deleted"
    STUDY_RESTORED = "retention:study:restored"
    TOKEN_ISSUED = "identity:token:issued"  # noqa: S105 - an event, no password
    VAULT_RECOVERED = "vault:pack:recovered"
    VAULT_REINDEXED = "vault:index:rebuilt"
    VAULT_VERIFIED = "vault:packs:verified"
    WORKITEM_CHANGED = "worklist:workitem:changed"
    WORKITEM_CREATED = "worklist:workitem:created"
    WORKITEM_READ = "worklist:workitem:read"
    WORKITEM_SUBSCRIBED = "worklist:workitem:subscribed"


class Outcome(StrEnum):
    """Event outcome indicator. Source: PS3.15 A.5.2, RFC 3881 5.1.4 (0, 4, 8, 12)."""

    SUCCESS = "success"
    MINOR_FAILURE = "minor_failure"
    SERIOUS_FAILURE = "serious_failure"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it. None of it identifies a patient. What is empty is left out of the leaf, but for the first four.

    Attributes:
        through: principal id of the device that a user acted through.
        workstation: principal id of the enrolled device whose certificate the connection showed.
        session_id: public name of the session.
        purpose: of use, as stated.
        zone: network zone of the address.
        break_glass: id of the emergency access that was in force: everything done under it carries the mark.
    """

    principal_id: str
    ae_title: str = ""
    address: str = ""
    certificate_sha256: str = ""
    through: str = ""
    workstation: str = ""
    session_id: str = ""
    purpose: str = ""
    zone: str = ""
    break_glass: str = ""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened.

    Attributes:
        objects: what it concerned, kind to values in clear: ``{"patient": [...], "study": [...], ...}``. Only keyed
            tokens of them reach the leaf.
        facts: what the leaf says beside; no PHI, no UIDs (counts, statuses, reasons in our own words).
        detail: what only the sealed payload says: UIDs, query keys, names of files.
        event_id: 16 bytes where the event can be rebuilt from somewhere else (an ingest from its record, by object
            id), so that replay does not record it twice; else empty.
    """

    code: EventCode
    at: datetime
    actor: Actor
    outcome: Outcome = Outcome.SUCCESS
    objects: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    facts: Mapping[str, str | int | bool] = field(default_factory=dict[str, str | int | bool])
    detail: Mapping[str, object] = field(default_factory=dict[str, object])
    correlation_id: str = ""
    rules: tuple[str, ...] = ()
    event_id: bytes = b""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One entry read back: ``leaf`` as stored (decoded), ``payload`` unsealed where it could be, else None."""

    sequence: int
    leaf: Mapping[str, object]
    payload: Mapping[str, object] | None


class AuditLog(Protocol):
    """Append-only. Thread-safe; entries stand in the order in which ``record`` took them."""

    def record(self, event: AuditEvent, *, durable: bool = True) -> int:
        """Take an event; return its sequence number.

        With ``durable`` the entry is on the disk (fdatasync, shared with whoever waits at the same moment). Without,
        it is in the file but may be lost by a power cut: only for events that a sealed record can give back.

        Raises:
            AuditUnavailable: it could not be taken; what it would have recorded must not happen.
        """
        ...

    def sync(self) -> None:
        """Make all entries so far durable."""
        ...

    def size(self) -> int:
        """Return the number of entries."""
        ...

    def durable_size(self) -> int:
        """Return the number of entries that no power cut takes away."""
        ...

    def recorded(self, event_ids: Collection[bytes], since: int) -> dict[bytes, str]:
        """Return which of ``event_ids`` stand in the log at sequence ``since`` or later, and the code of each."""
        ...

    def read(self, start: int, stop: int) -> Iterator[RecordedEvent]:
        """Yield entries ``start <= sequence < stop``."""
        ...

    def close(self) -> None:
        """Sign what is there and release the files."""
        ...


class CheckpointSigner(Protocol):
    """Signs checkpoints; implemented in ``trust.keys``."""

    @property
    def algorithm(self) -> int:
        """Signature type octet of the signed-note key hash: 1 Ed25519, 2 ECDSA. Source: C2SP signed-note."""
        ...

    @property
    def public_key(self) -> bytes:
        """Encoded as signed-note says for ``algorithm``."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""
        ...


class NoteVerifier(Protocol):
    """Checks signatures of checkpoints; implemented in ``trust.keys`` from a public key alone.

    It answers for one key. The name and the 32-bit key id that stand in a signature line are audit's own business
    (``signed_note.key_id``): they follow from the origin, ``algorithm`` and ``public_key``.
    """

    @property
    def algorithm(self) -> int:
        """As ``CheckpointSigner.algorithm``: 1 Ed25519, 2 ECDSA."""
        ...

    @property
    def public_key(self) -> bytes:
        """As ``CheckpointSigner.public_key``: 32 octets of RFC 8032 for type 1, DER SubjectPublicKeyInfo for 2."""
        ...

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is this key's over ``message``; never raises for any octets.

        Type 1: 64 octets of RFC 8032. Type 2: DER ECDSA-Sig-Value over SHA-256 of ``message`` (P-256).
        """
        ...


class PayloadCipher(Protocol):
    """Seals payloads, makes tokens; implemented in ``trust.keys``. Audit itself never sees a key."""

    def seal_payload(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return version, nonce, ciphertext and tag."""
        ...

    def open_payload(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the plaintext, or raise IntegrityError."""
        ...

    def token(self, field: str, value: str) -> bytes:
        """Return the keyed token (16 bytes) of a value of an object kind."""
        ...
