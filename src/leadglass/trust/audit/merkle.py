"""The Merkle tree of RFC 6962 and RFC 9162: hashes, growing roots, proofs.

A tree is asked for its hashes through a ``NodeSource``: ``node(level, index)`` is the hash of the perfect subtree
over leaves ``index * 2**level <= i < (index + 1) * 2**level``.

**Invariant:** pure; no file, no key. A proof that verifies proves; every other input is answered with False.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves. Source: RFC 9162 2.1.1."""

NodeSource = Callable[[int, int], bytes]


def hash_leaf(entry: bytes) -> bytes:
    """Return the hash of a leaf. The prefix keeps leaves and nodes apart. Source: RFC 9162 2.1.1."""
    return sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node. Source: RFC 9162 2.1.1."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The right edge of a growing tree: one hash per set bit of its size, largest subtree first."""

    __slots__ = ("_nodes", "_size")

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._size = 0

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf, by its hash."""
        rest = self._size
        while rest & 1:  # every trailing one bit is a subtree that this leaf completes
            leaf_hash = hash_children(self._nodes.pop(), leaf_hash)
            rest >>= 1
        self._nodes.append(leaf_hash)
        self._size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is. Source: RFC 9162 2.1.1."""
        return fold(self._nodes)


def fold(nodes: Sequence[bytes]) -> bytes:
    """Join the perfect subtrees of a tree, largest first, into its root."""
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = hash_children(node, root)
    return root


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaves that are all at hand.

    Level by level; a node without a sibling rises as it is, which gives the tree of RFC 9162 2.1.1 for every number of
    leaves: its left subtree is always the largest power of two.
    """
    level = list(leaf_hashes)
    while len(level) > 1:
        # As ``hash_children``, which would cost half as much again in a call for each.
        above = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0] if level else EMPTY_ROOT


def _split(count: int) -> int:
    """Return the largest power of two smaller than ``count``, for count > 1."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, stop: int, node: NodeSource) -> bytes:
    """Return MTH(D[start:stop]); ``start`` is a multiple of the subtree size, as it is in every proof."""
    count = stop - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(count)
    return hash_children(_range_root(start, middle, node), _range_root(middle, stop, node))


def tree_root(size: int, node: NodeSource) -> bytes:
    """Return the root at ``size`` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeSource) -> list[bytes]:
    """Return PATH(index, D[size]), leaf to root.

    Raises:
        ValueError: there is no such leaf.

    Source: RFC 9162 2.1.3.1.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf in a tree of that size")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(_range_root(middle, stop, node))
            stop = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(first: int, second: int, node: NodeSource) -> list[bytes]:
    """Return PROOF(first, D[second]); [] where the sizes are equal, or ``first`` is 0 and nothing needs proof.

    Raises:
        ValueError: ``first`` is larger than ``second``.

    Source: RFC 9162 2.1.4.1.
    """
    if not 0 <= first <= second:
        raise ValueError("a tree is never consistent with a smaller one")
    if first in {0, second}:
        return []
    proof: list[bytes] = []
    start, stop = 0, second
    whole = True  # SUBPROOF's b: the old tree is a subtree whose hash the verifier knows already
    while stop != first:
        middle = start + _split(stop - start)
        if first <= middle:
            proof.append(_range_root(middle, stop, node))
            stop = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
            whole = False
    if not whole:
        proof.append(_range_root(start, stop, node))
    proof.reverse()
    return proof


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``proof`` shows the leaf at ``index`` of the tree with ``size`` leaves and that root.

    Source: RFC 9162 2.1.3.2.
    """
    if not 0 <= index < size or any(len(h) != HASH_BYTES for h in proof):
        return False
    fn, sn, r = index, size - 1, leaf_hash
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = hash_children(p, r)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            r = hash_children(r, p)
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether ``proof`` shows that the second tree continues the first.

    Source: RFC 9162 2.1.4.2.
    """
    if not 0 <= first <= second or any(len(h) != HASH_BYTES for h in proof):
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:  # the empty tree is a prefix of every tree, but its root has only one value
        return not proof and first_root == EMPTY_ROOT
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hash_children(c, fr)
            sr = hash_children(c, sr)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            sr = hash_children(sr, c)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == first_root and sr == second_root
