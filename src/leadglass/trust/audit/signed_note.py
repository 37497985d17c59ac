"""C2SP signed-note v1.0.0: text, a blank line, signature lines.

The form is read strictly: one text has one encoding, so a changed octet never goes unnoticed in a part that
nobody signs (the base64 of a signature has spare bits that a lenient decoder ignores).

**Invariant:** no key is held here; signing and verifying are done by the Protocols of ``interfaces``.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from leadglass.base.errors import IntegrityError, UsageError
from leadglass.base.limits import AUDIT_CHECKPOINT_BYTES_MAX
from leadglass.trust.audit.interfaces import CheckpointSigner, NoteVerifier

ED25519: Final = 1
ECDSA: Final = 2
SIGNATURES_MAX: Final = 16
"""As many as a verifier must accept. Source: C2SP signed-note, "Format"."""

_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: key name, 4 octets of key id, the signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note as parsed; nothing in it is to be believed before ``verified_by`` says so."""

    text: str
    signatures: tuple[NoteSignature, ...]


def key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    """Return the 4 octets that a signature line begins with. Source: C2SP signed-note, "Signature types"."""
    if algorithm == ECDSA:
        return sha256(public_key).digest()[:4]
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


def verifier_key(name: str, algorithm: int, public_key: bytes) -> str:
    """Return the ``vkey`` text that other tools take. Source: C2SP signed-note, "Verifier keys"."""
    material = b64encode(bytes([algorithm]) + public_key).decode()
    return f"{name}+{key_id(name, algorithm, public_key).hex()}+{material}"


def check_name(name: str) -> None:
    """Check a key name.

    Raises:
        UsageError: it is empty or holds a space, a plus sign or a control character.
    """
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 for c in name):
        raise UsageError(
            "a key name of a signed note has no space, plus or control character (C2SP signed-note)"
        )


def sign_note(text: str, name: str, signer: CheckpointSigner) -> bytes:
    """Return ``text`` with one signature line.

    Raises:
        UsageError: the text does not end its last line, or the name is not one.
    """
    check_name(name)
    if not text.endswith("\n"):
        raise UsageError("the text of a note ends with a newline (C2SP signed-note)")
    signature = signer.sign(text.encode())
    blob = b64encode(key_id(name, signer.algorithm, signer.public_key) + signature).decode()
    return f"{text}\n{_DASH}{name} {blob}\n".encode()


def _parse_signature(line: str) -> NoteSignature:
    name, space, blob = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not name or "+" in name or any(c.isspace() for c in name):
        raise IntegrityError("signed note: a signature line has not the form of C2SP signed-note")
    try:
        raw = b64decode(blob, validate=True)
    except ValueError:
        raise IntegrityError("signed note: a signature is not base64") from None
    if len(raw) < 5 or b64encode(raw).decode() != blob:
        raise IntegrityError("signed note: a signature is not canonical base64 of at least 5 octets")
    return NoteSignature(name, raw[:4], raw[4:])


def parse_note(data: bytes) -> SignedNote:
    """Split a note into text and signatures.

    Raises:
        IntegrityError: it has not the form of a note.

    Source: C2SP signed-note, "Format".
    """
    if len(data) > AUDIT_CHECKPOINT_BYTES_MAX:
        raise IntegrityError("signed note: longer than 64 KiB")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise IntegrityError("signed note: not UTF-8") from None
    if any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise IntegrityError("signed note: holds a control character")
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise IntegrityError("signed note: no signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise IntegrityError("signed note: more than 16 signatures")
    return SignedNote(text + "\n", tuple(_parse_signature(line) for line in lines))


def verified_by(note: SignedNote, name: str, verifiers: Sequence[NoteVerifier]) -> NoteVerifier:
    """Return the known key that signed the note; lines of unknown keys are ignored.

    Raises:
        IntegrityError: no known key signed it, or a known key's signature does not verify.
    """
    known = {key_id(name, v.algorithm, v.public_key): v for v in verifiers}
    found: NoteVerifier | None = None
    for line in note.signatures:
        verifier = known.get(line.key_id)
        if line.name != name or verifier is None:
            continue
        if not verifier.verify(note.text.encode(), line.signature):
            raise IntegrityError("signed note: the signature does not verify")
        found = found or verifier
    if found is None:
        raise IntegrityError("signed note: not signed by a known key")
    return found
