"""C2SP tlog-checkpoint v1.0.0: origin, size and root of the log, signed; and the promise not to fork.

**Invariant:** no signature is asked for before the (size, root) it covers is durable in the state file, and none at
all for a tree that does not continue the last one.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadglass.base.errors import IntegrityError, UsageError
from leadglass.trust.audit.interfaces import CheckpointSigner, NoteVerifier
from leadglass.trust.audit.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from leadglass.trust.audit.signed_note import parse_note, sign_note, verified_by
from leadglass.trust.audit.tiles import durable_write


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Head of a log: ``root`` is the 32-octet RFC 9162 root over its first ``size`` entries."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text. Source: C2SP tlog-checkpoint, "Note text"."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Return what a note text says; extension lines are refused, as no auditor could check them.

    Raises:
        IntegrityError: it is not a checkpoint, or not in its one canonical form.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise IntegrityError("checkpoint: three lines are expected: origin, size, root")
    origin, size_text, root_text = lines[:3]
    if not (size_text.isascii() and size_text.isdecimal() and len(size_text) < 20):
        raise IntegrityError("checkpoint: the size is not a decimal number")
    try:
        checkpoint = Checkpoint(origin, int(size_text), b64decode(root_text, validate=True))
    except ValueError:
        raise IntegrityError("checkpoint: the root is not base64") from None
    if len(checkpoint.root) != HASH_BYTES or checkpoint.text() != text:
        raise IntegrityError("checkpoint: not in canonical form")
    return checkpoint


def open_checkpoint(data: bytes, origin: str, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    """Return the checkpoint in a signed note of this log.

    Raises:
        IntegrityError: malformed, of another log, or not signed by a known key.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != origin:
        raise IntegrityError("checkpoint: of another log (origin differs)")
    verified_by(note, origin, verifiers)
    return checkpoint


class SigningGuard:
    """Signs checkpoints of one log, each consistent with all before.

    Args:
        path: the state file, one unsigned checkpoint text: the last (size, root) that was given to the signer.
        origin: name of the log and of the key.
        signer: the key.

    Raises:
        IntegrityError: the state file is not what was written.
    """

    def __init__(self, path: Path, origin: str, signer: CheckpointSigner) -> None:
        self._path = path
        self._origin = origin
        self._signer = signer
        self._last = read_state(path, origin)

    @property
    def last(self) -> Checkpoint:
        """The last (size, root) given to the signer."""
        return self._last

    def sign(self, size: int, root: bytes, proof: Sequence[bytes]) -> bytes:
        """Return the signed checkpoint.

        Args:
            size: number of entries.
            root: root at that size.
            proof: RFC 9162 consistency proof from ``last`` to it.

        Raises:
            IntegrityError: the tree does not continue the last one: nothing is signed.
            OSError: the state could not be made durable: nothing is signed.
        """
        last = self._last
        if not verify_consistency(last.size, size, last.root, root, proof):
            raise IntegrityError(
                f"audit log: a tree of {size} entries does not continue the one of {last.size} that was signed"
            )
        new = Checkpoint(self._origin, size, root)
        if new != last or not self._path.exists():
            durable_write(self._path, new.text().encode())
            self._last = new
        return sign_note(new.text(), self._origin, self._signer)


def read_state(path: Path, origin: str) -> Checkpoint:
    """Return the last (size, root) given to the signer; the empty tree where there is none.

    Raises:
        IntegrityError: the file is not what was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Checkpoint(origin, 0, EMPTY_ROOT)
    try:
        state = parse_checkpoint_text(data.decode())
    except (UnicodeDecodeError, UsageError):
        raise IntegrityError("audit log: the state file of the signer is damaged") from None
    if state.origin != origin:
        raise IntegrityError("audit log: the state file of the signer is of another log")
    return state
