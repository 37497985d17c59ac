"""Notes and checkpoints: the specification's examples verify, every other octet does not, nothing forks."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from corpus import CORPUS, needs_corpus
from leadglass.base.errors import IntegrityError, UsageError
from leadglass.trust.audit.checkpoint import Checkpoint, SigningGuard, open_checkpoint, parse_checkpoint_text
from leadglass.trust.audit.merkle import EMPTY_ROOT, consistency_proof, hash_leaf, root_of
from leadglass.trust.audit.signed_note import key_id, parse_note, sign_note, verified_by, verifier_key
from trust.audit.site import TestKey

ORIGIN = "log.example/a"
SPECIFICATION = CORPUS / "tlog" / "c2sp" / "signed-note.md"


class Public:
    """Implements ``NoteVerifier`` from a public key alone."""

    algorithm = 1

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@needs_corpus
def test_the_example_of_the_specification_verifies_and_its_key_has_the_right_id() -> None:
    from base64 import b64decode  # noqa: PLC0415 - used once

    text = SPECIFICATION.read_text()
    found = re.search(r"example\.com/foo\+530d903a\+(\S+)", text)
    note_text = re.search(r"```\n(This is an example message\.\n.*?)```", text, re.DOTALL)
    assert found is not None
    assert note_text is not None
    material = b64decode(found[1])
    key = Public(material[1:])
    assert verifier_key("example.com/foo", 1, key.public_key) == found[0]
    note = parse_note(note_text[1].encode())
    assert verified_by(note, "example.com/foo", [key]) is key
    with pytest.raises(IntegrityError):
        verified_by(note, "example.com/bar", [key])


def test_an_ecdsa_key_id_is_the_hash_of_the_key_alone() -> None:
    assert key_id("a", 2, b"spki") == key_id("b", 2, b"spki")
    assert key_id("a", 1, b"x" * 32) != key_id("b", 1, b"x" * 32)


def test_any_changed_octet_of_a_signed_checkpoint_is_refused() -> None:
    key = TestKey()
    note = sign_note(Checkpoint(ORIGIN, 7, b"r" * 32).text(), ORIGIN, key)
    assert open_checkpoint(note, ORIGIN, [key]).size == 7
    for place in range(len(note)):
        for bit in (1, 2, 4, 0x20, 0x80):
            changed = bytearray(note)
            changed[place] ^= bit
            with pytest.raises(IntegrityError):
                open_checkpoint(bytes(changed), ORIGIN, [key])


def test_a_signature_of_a_stranger_is_ignored_and_is_not_enough() -> None:
    key, stranger = TestKey(), TestKey(b"x" * 32)
    text = Checkpoint(ORIGIN, 7, b"r" * 32).text()
    ours, theirs = sign_note(text, ORIGIN, key), sign_note(text, "witness.example/w", stranger)
    both = ours + theirs.split(b"\n\n")[1]
    assert open_checkpoint(both, ORIGIN, [key]).size == 7
    with pytest.raises(IntegrityError, match="known key"):
        open_checkpoint(theirs, ORIGIN, [key])


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_garbage_is_refused_as_garbage(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        open_checkpoint(data, ORIGIN, [TestKey()])


@pytest.mark.parametrize(
    "text", ["", "a\n1\n", "a\n01\nAA==\n", "a\n1\nAA==\n", "a\n-1\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=\nmore\n"]
)  # fmt: skip
def test_a_checkpoint_has_one_form(text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_checkpoint_text(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b"])
def test_names_that_would_break_the_form_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        sign_note("text\n", name, TestKey())


def test_the_guard_signs_no_fork_also_after_a_restart(tmp_path: Path) -> None:
    key = TestKey()
    hashes = [hash_leaf(bytes([i])) for i in range(9)]

    def node(leaves: list[bytes]) -> Callable[[int, int], bytes]:
        return lambda level, index: root_of(leaves[index << level : (index + 1) << level])

    guard = SigningGuard(tmp_path / "state", ORIGIN, key)
    assert guard.last == Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    guard.sign(5, root_of(hashes[:5]), [])
    guard = SigningGuard(tmp_path / "state", ORIGIN, key)
    assert guard.last.size == 5
    forged = [hash_leaf(b"forged"), *hashes[1:]]
    signed = key.signed
    for size, leaves in ((9, forged), (5, forged), (4, hashes)):
        proof = consistency_proof(min(5, size), size, node(leaves))
        with pytest.raises(IntegrityError, match="continue"):
            guard.sign(size, root_of(leaves[:size]), proof)
    assert key.signed == signed
    guard.sign(9, root_of(hashes), consistency_proof(5, 9, node(hashes)))
    assert key.signed == signed + 1


def test_a_damaged_state_is_not_taken_for_a_new_log(tmp_path: Path) -> None:
    SigningGuard(tmp_path / "state", ORIGIN, TestKey()).sign(0, EMPTY_ROOT, [])
    (tmp_path / "state").write_bytes(b"\xff")
    with pytest.raises(IntegrityError):
        SigningGuard(tmp_path / "state", ORIGIN, TestKey())
