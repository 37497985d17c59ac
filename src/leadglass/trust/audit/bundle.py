"""One entry with its proof, to be checked far from the log: JSON that an auditor keeps in a file.

**Invariant:** checking needs the origin and a public key, nothing else: no file of the log, no key of ours.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from leadglass.base.errors import IntegrityError
from leadglass.trust.audit.checkpoint import Checkpoint, open_checkpoint
from leadglass.trust.audit.interfaces import NoteVerifier
from leadglass.trust.audit.leaf import decode_leaf
from leadglass.trust.audit.merkle import hash_leaf, verify_inclusion

FORMAT: Final = "leadglass-audit-bundle-v1"


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """The bundle as JSON; octets in base64."""

    format: str
    seq: int
    leaf: str
    proof: list[str]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class InclusionBundle:
    """Entry, RFC 9162 inclusion proof (leaf to root), and the signed checkpoint that it leads to."""

    sequence: int
    leaf: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def to_json(self) -> bytes:
        """Return the bundle as JSON."""
        return msgspec.json.encode(
            _Document(
                FORMAT,
                self.sequence,
                b64encode(self.leaf).decode(),
                [b64encode(h).decode() for h in self.proof],
                self.checkpoint.decode(),
            )
        )


def parse_bundle(data: bytes) -> InclusionBundle:
    """Read a bundle.

    Raises:
        IntegrityError: it is not one.
    """
    try:
        document = msgspec.json.decode(data, type=_Document)
        leaf = b64decode(document.leaf, validate=True)
        proof = tuple(b64decode(h, validate=True) for h in document.proof)
    except (msgspec.DecodeError, ValueError):
        raise IntegrityError("bundle: not an inclusion bundle") from None
    if document.format != FORMAT:
        raise IntegrityError("bundle: of an unknown format")
    return InclusionBundle(document.seq, leaf, proof, document.checkpoint.encode("utf-8", "replace"))


def verify_bundle(
    bundle: InclusionBundle, origin: str, verifiers: Sequence[NoteVerifier]
) -> tuple[dict[str, Any], Checkpoint]:
    """Check a bundle; return the leaf, decoded, and the checkpoint.

    Raises:
        IntegrityError: the checkpoint is not signed by a known key, or the entry does not stand in it at that place.
    """
    checkpoint = open_checkpoint(bundle.checkpoint, origin, verifiers)
    leaf_hash = hash_leaf(bundle.leaf)
    if not verify_inclusion(leaf_hash, bundle.sequence, checkpoint.size, bundle.proof, checkpoint.root):
        raise IntegrityError("bundle: the proof does not lead from the entry to the checkpoint")
    leaf = decode_leaf(bundle.leaf)
    if leaf.get("seq") != bundle.sequence:
        raise IntegrityError("bundle: the entry says another place")
    return leaf, checkpoint
