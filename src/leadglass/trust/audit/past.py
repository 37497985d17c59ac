"""What the folder of a log says about its past: read, and held together, before anything in it is touched.

From its first start on a log has a signer's state and a checkpoint, and from its first orderly end on a kept
checkpoint. Whoever takes some of them away must not get the rest signed as if it were all there ever was.

It cannot be seen from inside that a whole folder was exchanged for an older copy of itself, or for an empty one. Who
knows that there was a log says so with ``must_exist``; against the older copy, checkpoints are kept elsewhere.

**Invariant:** reads only.
"""

from pathlib import Path
from typing import Final, NamedTuple

from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text, read_state
from leadglass.trust.audit.interfaces import NoteVerifier
from leadglass.trust.audit.journal import HEADER_BYTES, segment_files
from leadglass.trust.audit.merkle import EMPTY_ROOT
from leadglass.trust.audit.signed_note import parse_note

JOURNAL: Final = "journal"
CHECKPOINT: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints"
SIGNER_STATE: Final = "signer-state"

_HINT: Final = (
    "nothing was signed or changed; put the audit folder back from a backup, and look for who changed it: "
    "`leadglass audit verify` names what is missing"
)


class Past(NamedTuple):
    """What was signed so far; both are of size 0 for a new log.

    Attributes:
        signed: the newest checkpoint.
        state: the last (size, root) that was given to the signer; after a crash it may be ahead.
        published: there is a checkpoint file.
    """

    signed: Checkpoint
    state: Checkpoint
    published: bool


def checkpoint_name(size: int) -> str:
    """Return the name of a kept checkpoint."""
    return f"{size:020d}"


def read_past(root: Path, origin: str, verifiers: tuple[NoteVerifier, ...], *, must_exist: bool) -> Past:
    """Return what was signed.

    Args:
        root: the log's folder; it need not be there.
        origin: name of the log.
        verifiers: keys that checkpoints must be signed by; without any, their text is believed.
        must_exist: an empty folder is not a new log but one that was emptied.

    Raises:
        IntegrityError: what is there cannot be the whole past of one log.
    """
    newest = _newest_kept(root / CHECKPOINTS, origin, verifiers)
    has_checkpoint = (root / CHECKPOINT).is_file()
    has_state = (root / SIGNER_STATE).is_file()
    if not has_checkpoint:
        # A first start writes journal, state, checkpoint, and takes entries behind that only.
        state = read_state(root / SIGNER_STATE, origin)
        if must_exist or newest is not None or state.size or not _is_new(root / JOURNAL):
            missing = "checkpoint is" if has_state else "checkpoint and signer-state are"
            raise IntegrityError(
                f"audit log: {missing} missing, but this is not a new log: it was not begun again",
                hint=_HINT,
            )
        return Past(Checkpoint(origin, 0, EMPTY_ROOT), state, published=False)
    if not has_state:
        raise IntegrityError("audit log: signer-state is missing, but checkpoint is there", hint=_HINT)
    signed = _open((root / CHECKPOINT).read_bytes(), origin, verifiers)
    state = read_state(root / SIGNER_STATE, origin)
    if state.size < signed.size:
        raise IntegrityError(
            "audit log: the signer's state is older than the checkpoint: it was put back", hint=_HINT
        )
    if newest is not None and signed.size < newest.size:
        raise IntegrityError(
            f"audit log: checkpoint is older than {CHECKPOINTS}/{checkpoint_name(newest.size)}: it was put back",
            hint=_HINT,
        )
    return Past(signed, state, published=True)


def _is_new(journal: Path) -> bool:
    """Tell whether no entry was ever written: there is at most a header."""
    files = segment_files(journal)
    return not files or (len(files) == 1 and files[0][1].stat().st_size <= HEADER_BYTES)


def _newest_kept(folder: Path, origin: str, verifiers: tuple[NoteVerifier, ...]) -> Checkpoint | None:
    """Return the newest checkpoint that was kept."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    kept = [name for name in names if len(name) == 20 and name.isascii() and name.isdecimal()]
    if not kept:
        return None
    name = max(kept)  # 20 digits: text order is number order
    found = _open((folder / name).read_bytes(), origin, verifiers)
    if checkpoint_name(found.size) != name:
        raise IntegrityError(
            f"audit log: {CHECKPOINTS}/{name} is the checkpoint of {found.size} entries under another name",
            hint=_HINT,
        )
    return found


def _open(data: bytes, origin: str, verifiers: tuple[NoteVerifier, ...]) -> Checkpoint:
    if verifiers:
        return open_checkpoint(data, origin, verifiers)
    found = parse_checkpoint_text(parse_note(data).text)
    if found.origin != origin:
        raise IntegrityError("audit log: the checkpoint in its folder is of another log")
    return found
