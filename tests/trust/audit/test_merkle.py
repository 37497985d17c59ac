"""The tree gives the roots and proofs of RFC 9162, checked by the reference roots and by its plain definition."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.trust.audit import merkle

LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
# Source: the reference roots of google/certificate-transparency, merkle_tree_test (sizes 1 to 8).
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive(leaves: list[bytes]) -> bytes:
    """MTH as RFC 9162 2.1.1 defines it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def source(leaves: list[bytes]) -> merkle.NodeSource:
    return lambda level, index: naive(leaves[index << level : (index + 1) << level])


def some(count: int) -> list[bytes]:
    return [i.to_bytes(2, "big") for i in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_certificate_transparency_reference_roots(size: int) -> None:
    assert merkle.root_of([merkle.hash_leaf(x) for x in LEAVES[:size]]).hex() == ROOTS[size - 1]


def test_a_growing_tree_has_the_root_of_the_definition_at_every_size() -> None:
    leaves = some(70)
    tree = merkle.CompactRange()
    assert tree.root() == merkle.EMPTY_ROOT == naive([])
    for size, leaf in enumerate(leaves, 1):
        tree.append(merkle.hash_leaf(leaf))
        assert tree.root() == naive(leaves[:size]) == merkle.tree_root(size, source(leaves))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_leaf_is_proved_and_no_other_is(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 80))
    index = data.draw(st.integers(0, size - 1))
    leaves = some(size)
    root = naive(leaves)
    proof = merkle.inclusion_proof(index, size, source(leaves))
    leaf = merkle.hash_leaf(leaves[index])
    assert merkle.verify_inclusion(leaf, index, size, proof, root)
    assert not merkle.verify_inclusion(merkle.hash_leaf(b"other"), index, size, proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index)) if size > 1 else index + 1
    assert not merkle.verify_inclusion(leaf, other, size, proof, root)
    assert not merkle.verify_inclusion(leaf, index, size, [*proof, root], root)
    if proof:
        assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)
        place = data.draw(st.integers(0, len(proof) - 1))
        broken = [*proof]
        broken[place] = bytes([broken[place][0] ^ 1]) + broken[place][1:]
        assert not merkle.verify_inclusion(leaf, index, size, broken, root)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_tree_is_consistent_with_its_beginnings_and_with_nothing_else(data: st.DataObject) -> None:
    second = data.draw(st.integers(0, 80))
    first = data.draw(st.integers(0, second))
    leaves = some(second)
    old, new = naive(leaves[:first]), naive(leaves)
    proof = merkle.consistency_proof(first, second, source(leaves))
    assert merkle.verify_consistency(first, second, old, new, proof)
    forged = naive([b"x", *leaves[1:first]]) if first else naive([b"x"])
    assert not merkle.verify_consistency(first, second, forged, new, proof)
    if first != second:
        assert not merkle.verify_consistency(second, first, new, old, proof)
    if first not in {0, second}:
        assert not merkle.verify_consistency(first, second, old, naive([*leaves[:-1], b"x"]), proof)
        assert not merkle.verify_consistency(first, second, old, new, proof[:-1])
        assert not merkle.verify_consistency(first, second, old, new, [*proof, new])


def test_impossible_proofs_are_refused() -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.inclusion_proof(3, 3, source(some(3)))
    with pytest.raises(ValueError, match="smaller"):
        merkle.consistency_proof(4, 3, source(some(4)))
    assert not merkle.verify_inclusion(b"x" * 32, 3, 3, [], b"x" * 32)
