"""Real keys, a real log in a folder, and a way to make events."""

import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fake_clock import FakeClock
from leadglass.base.errors import IntegrityError, KeyUnavailable
from leadglass.trust.audit.interfaces import Actor, AuditEvent, EventCode
from leadglass.trust.audit.service import FileAuditLog

ORIGIN = "pacs.example/audit"


class TestCipher:
    """Implements ``PayloadCipher`` with AES-256-GCM."""

    __test__ = False

    def __init__(self) -> None:
        self._key = AESGCM(b"k" * 32)
        self.destroyed = False

    def seal_payload(self, plaintext: bytes, associated: bytes) -> bytes:
        nonce = os.urandom(12)
        return b"\x01" + nonce + self._key.encrypt(nonce, plaintext, associated)

    def open_payload(self, sealed: bytes, associated: bytes) -> bytes:
        if self.destroyed:
            raise KeyUnavailable("destroyed")
        try:
            return self._key.decrypt(sealed[1:13], sealed[13:], associated)
        except (InvalidTag, ValueError):
            raise IntegrityError("payload") from None

    def token(self, field: str, value: str) -> bytes:
        return hmac.digest(b"t" * 32, field.encode() + b"\x00" + value.encode(), "sha256")[:16]


class TestKey:
    """Implements ``CheckpointSigner`` and ``NoteVerifier`` with Ed25519."""

    __test__ = False
    algorithm = 1

    def __init__(self, seed: bytes = b"s" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.signed = 0

    def sign(self, message: bytes) -> bytes:
        self.signed += 1
        return self._key.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Site:
    """A folder, its keys, its clock; opens the log as often as wanted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.origin = ORIGIN
        self.cipher = TestCipher()
        self.key = TestKey()
        self.clock = FakeClock()
        self._open: list[FileAuditLog] = []

    def open(self, segment_bytes_max: int | None = None) -> FileAuditLog:
        log = FileAuditLog(
            self.root,
            ORIGIN,
            self.cipher,
            self.key,
            self.clock,
            verifiers=(self.key,),
            segment_bytes_max=segment_bytes_max,
        )
        self._open.append(log)
        return log

    def event(self, number: int, principal: str = "device:ct1", **more: object) -> AuditEvent:
        values: dict[str, object] = {
            "code": EventCode.INSTANCE_STORED,
            "at": self.clock.now(),
            "actor": Actor(principal, "CT1", "192.0.2.7", "ab" * 32),
            "objects": {"patient": ["CANARY^NAME"], "instance": [f"1.2.826.0.{number}"]},
            "facts": {"octets": 524288},
            "detail": {"name": "CANARY^DETAIL"},
            "correlation_id": "c1",
            "event_id": number.to_bytes(16, "big"),
        }
        return AuditEvent(**{**values, **more})  # type: ignore[arg-type]  # a test overrides any field by name

    def fill(self, count: int, *, seal_every: int = 0) -> None:
        """Record so many events in a log that is closed again."""
        log = self.open()
        for number in range(count):
            log.record(self.event(number), durable=False)
            self.clock.advance(0.01)
            if seal_every and number % seal_every == seal_every - 1:
                log.seal()
        log.close()

    def close(self) -> None:
        for log in self._open:
            if not log.failed:
                log.close()
