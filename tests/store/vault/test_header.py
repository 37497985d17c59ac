"""Every field of the header is checked, and its encoding is one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import IntegrityError
from leadglass.base.ids import UID
from leadglass.store.vault.header import FIXED_LENGTH, RecordHeader, context, decode_header

HEADER = RecordHeader(
    tenant_id=b"T" * 16,
    key_id=b"K" * 16,
    key_generation=3,
    object_id=b"O" * 16,
    context_tag=b"C" * 32,
    created_ms=1_795_334_400_000,
)
uids = st.from_regex(r"\A[0-9.]{1,20}\Z").map(UID)


@settings(deadline=None)
@given(
    st.builds(
        RecordHeader,
        tenant_id=st.binary(min_size=16, max_size=16),
        key_id=st.binary(min_size=16, max_size=16),
        key_generation=st.integers(0, 2**32 - 1),
        object_id=st.binary(min_size=16, max_size=16),
        context_tag=st.binary(min_size=32, max_size=32),
        created_ms=st.integers(0, 2**64 - 1),
        object_version=st.integers(0, 2**64 - 1),
        object_class=st.integers(0, 255),
    )
)
def test_decoding_inverts_encoding(header: RecordHeader) -> None:
    raw = header.encode()
    assert len(raw) == FIXED_LENGTH
    assert decode_header(raw) == header


def test_the_fields_lie_where_the_format_says() -> None:
    raw = HEADER.encode()
    assert raw[:16] == bytes.fromhex("894c47560d0a1a0a 0001 0001 0100 01 02".replace(" ", ""))
    assert raw[16:32] == HEADER.tenant_id
    assert raw[32:48] == HEADER.key_id
    assert raw[48:56] == bytes.fromhex("0000000300000000")
    assert raw[56:72] == HEADER.object_id
    assert raw[72:80] == bytes.fromhex("0000000000000001")
    assert raw[80:112] == HEADER.context_tag
    assert raw[112:120] == HEADER.created_ms.to_bytes(8, "big")
    assert raw[120:182] == bytes(62)


@pytest.mark.parametrize("at", [*range(14), 15, *range(52, 56), *range(120, 182)])
def test_constant_and_reserved_octets_have_one_value(at: int) -> None:
    raw = bytearray(HEADER.encode())
    raw[at] ^= 0x10
    with pytest.raises(IntegrityError):
        decode_header(bytes(raw))


def test_a_short_header_is_refused() -> None:
    with pytest.raises(IntegrityError):
        decode_header(HEADER.encode()[:-1])


@settings(deadline=None)
@given(st.tuples(uids, uids, uids), st.tuples(uids, uids, uids))
def test_no_two_contexts_encode_alike(one: tuple[UID, UID, UID], other: tuple[UID, UID, UID]) -> None:
    assert (context(b"T" * 16, *one) == context(b"T" * 16, *other)) == (one == other)


def test_version_class_and_tenant_are_part_of_the_context() -> None:
    uid = UID("1.2")
    base = context(b"T" * 16, uid, uid, uid)
    assert base != context(b"U" * 16, uid, uid, uid)
    assert base != context(b"T" * 16, uid, uid, uid, object_version=2)
    assert base != context(b"T" * 16, uid, uid, uid, object_class=2)
