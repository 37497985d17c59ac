"""Sealing of rows and payloads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import IntegrityError
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
