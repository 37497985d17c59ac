"""A footer says exactly what went in, and always with the same octets."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.base.errors import IntegrityError, LocalProtocolError
from leadglass.base.ids import UID
from leadglass.base.objects import ObjectIdentity, Origin
from leadglass.store.vault.footer import TRAILER_LENGTH, decode_footer, encode_footer, footer_length
from leadglass.store.vault.interfaces import Footer
from store.vault.vault_room import footer, identity

texts = st.text(max_size=40)
uids = texts.map(UID)
footers = st.builds(
    Footer,
    identity=st.builds(
        ObjectIdentity,
        study_uid=uids,
        series_uid=uids,
        sop_instance_uid=uids,
        sop_class_uid=uids,
        transfer_syntax_uid=uids,
    ),
    origin=st.builds(
        Origin,
        principal=texts,
        calling_ae_title=texts,
        called_ae_title=texts,
        address=texts,
        certificate_sha256=texts,
        received_at=st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
        correlation_id=texts,
    ),
    dataset_offset=st.integers(0, 2**40),
    dataset_length=st.integers(0, 2**40),
    quarantined=texts,
)


@settings(deadline=None)
@given(footers)
def test_decoding_inverts_encoding(value: Footer) -> None:
    raw = encode_footer(value)
    length = footer_length(raw[-TRAILER_LENGTH:])
    assert length == len(raw) - TRAILER_LENGTH
    assert decode_footer(raw[:length]) == value
    assert encode_footer(value) == raw


def test_the_time_keeps_its_microseconds() -> None:
    value = footer(identity(), 1)
    assert decode_footer(encode_footer(value)[:-TRAILER_LENGTH]).origin.received_at.microsecond == 234567


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_garbage_gives_only_an_integrity_error(garbage: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_footer(garbage)


def test_another_format_is_refused() -> None:
    fields = msgspec.msgpack.decode(encode_footer(footer(identity(), 1))[:-TRAILER_LENGTH])
    with pytest.raises(IntegrityError, match="format"):
        decode_footer(msgspec.msgpack.encode([2, *fields[1:]]))
    with pytest.raises(IntegrityError):
        decode_footer(msgspec.msgpack.encode(fields[:-1]))


@pytest.mark.parametrize("trailer", [b"", b"\0\0\0\1LGVE", b"\0\1\0\0LGVF", b"\0\0\0\1LGVF\0"])
def test_a_trailer_of_another_form_is_refused(trailer: bytes) -> None:
    with pytest.raises(IntegrityError):
        footer_length(trailer)


def test_a_footer_that_no_reader_would_accept_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        encode_footer(footer(identity(), 1, quarantined="x" * 40_000))
