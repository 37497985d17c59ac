"""FLOE against the answers of five other implementations, and against everything that must not open."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import CORPUS, needs_corpus
from leadglass.base.errors import IntegrityError, LocalProtocolError
from leadglass.store.vault.floe import (
    HEADER_LENGTH,
    IV_LENGTH,
    SEGMENT_OVERHEAD,
    Decryptor,
    Encryptor,
    Parameters,
)

KNOWN_ANSWERS = sorted((CORPUS / "crypto" / "floe").glob("*_ct.txt"))
KNOWN_KEY = bytes(32)
KNOWN_AAD = b"This is AAD"
SMALL = Parameters(64)
KEY = bytes(range(32))


def parameters_of(name: str, ciphertext: bytes) -> Parameters:
    # The rotation files rotate the key every four segments, so that it happens within a few octets.
    return Parameters(int.from_bytes(ciphertext[2:6], "big"), rotation_bits=2 if "rotation" in name else 20)


def seal(plaintext: bytes, aad: bytes = b"aad", key: bytes = KEY, parameters: Parameters = SMALL) -> bytes:
    encryptor = Encryptor(key, aad, parameters)
    pieces = [encryptor.header]
    size = parameters.plaintext_length
    cuts = range(0, max(len(plaintext), 1), size)
    for begin in cuts:
        out = memoryview(bytearray(parameters.segment_length))
        length = encryptor.seal(plaintext[begin : begin + size], out, is_final=begin == cuts[-1])
        pieces.append(bytes(out[:length]))
    return b"".join(pieces)


def unseal(
    ciphertext: bytes,
    aad: bytes = b"aad",
    key: bytes = KEY,
    parameters: Parameters = SMALL,
    body_length: int | None = None,
) -> bytes:
    header, rest = ciphertext[:HEADER_LENGTH], ciphertext[HEADER_LENGTH:]
    decryptor = Decryptor(key, aad, header, len(rest) if body_length is None else body_length, parameters)
    out = memoryview(bytearray(parameters.segment_length))
    plaintext = b""
    for position in range(decryptor.segment_count):
        segment = rest[position * parameters.segment_length :][: decryptor.segment_length(position)]
        plaintext += out[: decryptor.open(position, segment, out)]
    return plaintext


@needs_corpus
def test_all_seventeen_known_answer_files_are_there() -> None:
    assert len(KNOWN_ANSWERS) == 17


@needs_corpus
@pytest.mark.parametrize("path", KNOWN_ANSWERS, ids=lambda p: p.name)
def test_a_known_answer_opens(path: Path) -> None:
    ciphertext = bytes.fromhex(path.read_text())
    plaintext = bytes.fromhex(path.with_name(path.name.replace("_ct", "_pt")).read_text())
    parameters = parameters_of(path.name, ciphertext)
    assert unseal(ciphertext, KNOWN_AAD, KNOWN_KEY, parameters) == plaintext


@needs_corpus
@pytest.mark.parametrize("path", KNOWN_ANSWERS, ids=lambda p: p.name)
def test_a_known_answer_is_sealed_to_the_same_octets(path: Path) -> None:
    ciphertext = bytes.fromhex(path.read_text())
    parameters = parameters_of(path.name, ciphertext)
    plaintext = unseal(ciphertext, KNOWN_AAD, KNOWN_KEY, parameters)
    starts = range(HEADER_LENGTH, len(ciphertext), parameters.segment_length)
    randomness = iter([ciphertext[10 : 10 + IV_LENGTH], *(ciphertext[s + 4 : s + 16] for s in starts)])
    encryptor = Encryptor(KNOWN_KEY, KNOWN_AAD, parameters, random=lambda _length: next(randomness))
    sealed = encryptor.header
    for number in range(len(starts)):
        out = memoryview(bytearray(parameters.segment_length))
        piece = plaintext[number * parameters.plaintext_length :][: parameters.plaintext_length]
        sealed += out[: encryptor.seal(piece, out, is_final=number == len(starts) - 1)]
    assert sealed == ciphertext


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_what_was_sealed_opens(plaintext: bytes) -> None:
    assert unseal(seal(plaintext)) == plaintext


@settings(deadline=None)
@given(st.binary(max_size=120), st.data())
def test_a_changed_bit_never_opens(plaintext: bytes, data: st.DataObject) -> None:
    ciphertext = bytearray(seal(plaintext))
    bit = data.draw(st.integers(0, len(ciphertext) * 8 - 1))
    ciphertext[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        unseal(bytes(ciphertext))


def test_other_key_and_other_meaning_are_refused_by_the_header() -> None:
    ciphertext = seal(b"x" * 100)
    with pytest.raises(IntegrityError, match="header"):
        unseal(ciphertext, key=bytes(32))
    with pytest.raises(IntegrityError, match="header"):
        unseal(ciphertext, aad=b"other")


def segments(plaintext: bytes) -> tuple[bytes, list[bytes]]:
    ciphertext = seal(plaintext)
    rest = ciphertext[HEADER_LENGTH:]
    return ciphertext[:HEADER_LENGTH], [rest[n : n + 64] for n in range(0, len(rest), 64)]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1],
        lambda s: s[1:],
        lambda s: [s[1], s[0], *s[2:]],
        lambda s: [s[0], s[0], *s[1:]],
        lambda s: [*s, s[-1]],
        lambda s: [*s[:-1], s[-1][:-1]],
        lambda s: [*s[:-1], s[-1] + b"\0"],
        lambda s: [*s[:-1], b"\0\0\0\x20" + s[0][4:32]],
    ],
    ids=["drop-last", "drop-first", "swap", "duplicate", "append", "cut", "longer", "short-final"],
)
def test_segments_stay_where_they_were(change: Callable[[list[bytes]], list[bytes]]) -> None:
    header, parts = segments(bytes(range(100)))
    with pytest.raises(IntegrityError):
        unseal(header + b"".join(change(parts)))


def test_a_segment_of_another_stream_under_the_same_key_is_refused() -> None:
    header, parts = segments(bytes(100))
    _, others = segments(bytes(100))
    with pytest.raises(IntegrityError):
        unseal(header + b"".join([parts[0], others[1], *parts[2:]]))


def test_an_attacker_cannot_choose_the_final_segment() -> None:
    header, parts = segments(bytes(96))  # three full segments; the body is said to have two
    forged = bytearray(parts[1])
    forged[:4] = (64).to_bytes(4, "big")
    with pytest.raises(IntegrityError):
        unseal(header + parts[0] + bytes(forged), body_length=128)


def test_no_iv_and_no_nonce_comes_twice() -> None:
    seen = {seal(b"")[10:42] for _ in range(200)} | {seal(b"")[78:90] for _ in range(200)}
    assert len(seen) == 400


@pytest.mark.parametrize("length", [0, SEGMENT_OVERHEAD - 1, 64 + SEGMENT_OVERHEAD - 1])
def test_an_impossible_body_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        Decryptor(KEY, b"aad", seal(b"")[:HEADER_LENGTH], length, SMALL)


def test_misuse_is_our_own_fault() -> None:
    encryptor = Encryptor(KEY, b"", SMALL)
    out = memoryview(bytearray(64))
    with pytest.raises(LocalProtocolError):
        encryptor.seal(b"short", out, is_final=False)
    with pytest.raises(LocalProtocolError):
        encryptor.seal(bytes(33), out, is_final=True)
    encryptor.seal(b"", out, is_final=True)
    with pytest.raises(LocalProtocolError):
        encryptor.seal(b"", out, is_final=True)
    with pytest.raises(LocalProtocolError):
        Encryptor(bytes(16), b"", SMALL)
    decryptor = Decryptor(KEY, b"aad", seal(b"")[:HEADER_LENGTH], 32, SMALL)
    with pytest.raises(LocalProtocolError):
        decryptor.open(1, bytes(32), out)
