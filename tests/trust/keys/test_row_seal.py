"""Sealing of rows and payloads."""

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import IntegrityError
from leadglass.trust.keys import row_seal
from leadglass.trust.keys.row_seal import PayloadSeal, RowSeal

Seal = RowSeal | PayloadSeal
each = pytest.mark.parametrize(("make", "overhead"), [(RowSeal, 29), (PayloadSeal, 41)])
KEY = bytes(range(32))


@each
def test_what_is_sealed_opens_in_its_place_only(make: Callable[[bytes], Seal], overhead: int) -> None:
    @settings(max_examples=50)
    @given(plain=st.binary(max_size=500), associated=st.binary(max_size=50), other=st.binary(max_size=50))
    def opens(plain: bytes, associated: bytes, other: bytes) -> None:
        seal = make(KEY)
        sealed = seal.seal(plain, associated)
        assert len(sealed) == len(plain) + overhead
        assert make(KEY).open(sealed, associated) == plain
        if other != associated:
            with pytest.raises(IntegrityError):
                seal.open(sealed, other)
        with pytest.raises(IntegrityError):
            make(KEY[::-1]).open(sealed, associated)

    opens()


@each
def test_each_flipped_bit_each_cut_and_each_addition_is_noticed(
    make: Callable[[bytes], Seal], overhead: int
) -> None:
    seal = make(KEY)
    sealed = seal.seal(b"plain", b"place")
    assert len(sealed) == 5 + overhead
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            seal.open(bytes(changed), b"place")
    for changed_length in [sealed[:n] for n in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(IntegrityError):
            seal.open(changed_length, b"place")


@each
def test_nonces_do_not_repeat(make: Callable[[bytes], Seal], overhead: int) -> None:
    seal = make(KEY)
    nonces = {seal.seal(b"", b"")[1 : overhead - 16] for _ in range(1000)}
    assert len(nonces) == 1000


@each
def test_threads_share_a_seal(make: Callable[[bytes], Seal], overhead: int) -> None:
    seal = make(KEY)

    def round_trip(number: int) -> bool:
        plain = number.to_bytes(4, "big") * 300
        sealed = seal.seal(plain, b"")
        return len(sealed) == 1200 + overhead and seal.open(sealed, b"") == plain

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(2000)))


def test_a_row_is_no_payload() -> None:
    with pytest.raises(IntegrityError):
        PayloadSeal(KEY).open(RowSeal(KEY).seal(b"x" * 50, b""), b"")
    with pytest.raises(IntegrityError):
        RowSeal(KEY).open(PayloadSeal(KEY).seal(b"x" * 50, b""), b"")


def halves(sealed: bytes) -> tuple[bytes, bytes]:
    """Return both halves of the nonce: which key, and which nonce under it."""
    return sealed[1:13], sealed[13:25]


def test_a_derived_key_is_used_for_so_many_payloads_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_seal, "PAYLOADS_PER_KEY", 5)
    seal = PayloadSeal(KEY)
    nonces = [halves(seal.seal(b"", b"")) for _ in range(23)]
    counts = Counter(first for first, _ in nonces)
    assert sorted(counts.values()) == [3, 5, 5, 5, 5]
    assert len({second for _, second in nonces}) == 23


def test_threads_do_not_overdraw_a_derived_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_seal, "PAYLOADS_PER_KEY", 50)
    seal = PayloadSeal(KEY)
    with ThreadPoolExecutor(8) as pool:
        nonces = list(pool.map(lambda _: halves(seal.seal(b"x", b"")), range(4000)))
    assert len(set(nonces)) == 4000
    assert max(Counter(first for first, _ in nonces).values()) <= 50


def test_two_starts_have_two_derived_keys() -> None:
    assert halves(PayloadSeal(KEY).seal(b"", b""))[0] != halves(PayloadSeal(KEY).seal(b"", b""))[0]


def test_a_forked_process_repeats_no_nonce() -> None:
    """The child inherits the derived key: only a fresh random nonce keeps the two apart."""
    seal = PayloadSeal(KEY)
    seal.seal(b"", b"")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(seal.seal(b"", b"")[1:25] for _ in range(50)))
        os._exit(0)
    os.close(writer)
    ours = {seal.seal(b"", b"")[1:25] for _ in range(50)}
    with os.fdopen(reader, "rb") as pipe:
        octets = pipe.read()
    os.waitpid(child, 0)
    theirs = {octets[i : i + 24] for i in range(0, len(octets), 24)}
    assert len(theirs) == len(ours) == 50
    assert not ours & theirs


def test_payloads_that_had_a_key_each_still_open() -> None:
    """Version 02 as it was written before keys were used again: any 24 octets are a nonce of XAES-256-GCM."""
    seal = PayloadSeal(KEY)
    for number in range(100):
        nonce = os.urandom(24)
        sealed = b"\x02" + nonce + seal.encrypt(nonce, b"old %d" % number, b"place")
        assert PayloadSeal(KEY).open(sealed, b"place") == b"old %d" % number


def test_a_payload_sealed_under_a_kept_key_is_plain_xaes() -> None:
    seal = PayloadSeal(KEY)
    for _ in range(3):
        sealed = seal.seal(b"plain", b"place")
        assert sealed[25:] == PayloadSeal(KEY).encrypt(sealed[1:25], b"plain", b"place")
