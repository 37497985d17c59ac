"""One record: any cut in, any range out."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.base.errors import IntegrityError, LocalProtocolError
from leadglass.store.vault.record import PLAIN, SealedRecord
from leadglass.store.vault.service import FileVault
from store.vault.vault_room import STUDY, body, fill, footer, identity, new_vault, pack_file, store


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> FileVault:
    return new_vault(tmp_path_factory.mktemp("vault"))


BORDERS = [PLAIN * k + d for k in (1, 2, 17) for d in (-1, 0, 1)]


@pytest.mark.parametrize("length", [0, 1, *BORDERS])
def test_any_length_comes_back(vault: FileVault, length: int) -> None:
    (address,) = fill(vault, [length])
    opened = vault.open(address, identity(0))
    assert opened.length == length
    assert opened.footer == footer(identity(0), length)
    assert opened.read(0, length + 10) == body(0, length)
    assert b"".join(bytes(piece) for piece in opened.stream()) == body(0, length)
    opened.close()


def test_every_place_of_the_footer_over_a_segment_border_opens(vault: FileVault) -> None:
    lengths = list(range(PLAIN - 400, PLAIN + 1, 7))
    pack = vault.open_pack(STUDY, 0)
    addresses = [store(pack, 0, body(0, length)) for length in lengths]
    pack.close()
    for address, length in zip(addresses, lengths, strict=True):
        opened = vault.open(address, identity(0))
        assert opened.length == length
        opened.check()
        opened.close()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_gives_the_same_stream(vault: FileVault, data: st.DataObject) -> None:
    whole = body(3, data.draw(st.integers(0, 400_000)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pack = vault.open_pack(STUDY, 0)
    record = pack.begin(identity())
    reused = bytearray(len(whole))
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        reused[: end - begin] = whole[begin:end]  # the caller's buffer is the caller's again after each call
        record.write(memoryview(reused)[: end - begin])
    address = record.commit(footer(identity(), len(whole)))
    pack.close()
    opened = vault.open(address, identity())
    assert opened.read(0, len(whole)) == whole
    opened.close()


@pytest.fixture(scope="module")
def large(vault: FileVault) -> SealedRecord:
    (address,) = fill(vault, [PLAIN * 5 + 1000])
    return vault.open(address, identity(0))


@settings(deadline=None, max_examples=100)
@given(offset=st.integers(0, PLAIN * 6), length=st.integers(0, PLAIN * 3))
def test_any_range_is_that_of_the_stream(large: SealedRecord, offset: int, length: int) -> None:
    whole = body(0, PLAIN * 5 + 1000)
    assert large.read(offset, length) == whole[offset : offset + length]


@settings(deadline=None, max_examples=20)
@given(offset=st.integers(0, PLAIN * 6))
def test_a_stream_begins_where_it_is_told(large: SealedRecord, offset: int) -> None:
    assert b"".join(bytes(p) for p in large.stream(offset)) == body(0, PLAIN * 5 + 1000)[offset:]


def test_reading_while_streaming_disturbs_neither(large: SealedRecord) -> None:
    whole = body(0, PLAIN * 5 + 1000)
    at = 0
    for piece in large.stream():
        assert large.read(PLAIN * 4, 10) == whole[PLAIN * 4 : PLAIN * 4 + 10]
        assert large.read(0, 10) == whole[:10]
        assert piece == whole[at : at + len(piece)]
        at += len(piece)


def test_a_negative_range_is_our_own_fault(large: SealedRecord) -> None:
    with pytest.raises(LocalProtocolError):
        large.read(-1, 1)
    with pytest.raises(LocalProtocolError):
        large.read(0, -1)
    with pytest.raises(LocalProtocolError):
        next(large.stream(-1))


def test_a_damaged_segment_spoils_only_what_it_holds(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    (address,) = fill(vault, [PLAIN * 3])
    path = pack_file(tmp_path, address.pack_id)
    raw = bytearray(path.read_bytes())
    raw[address.offset + 256 + 65_536 + 100] ^= 1
    path.write_bytes(raw)
    opened = vault.open(address, identity(0))
    whole = body(0, PLAIN * 3)
    assert opened.read(0, PLAIN) == whole[:PLAIN]
    for _ in range(2):  # and what failed once is not served from a buffer
        with pytest.raises(IntegrityError):
            opened.read(PLAIN - 1, 2)
    assert opened.read(2 * PLAIN, PLAIN) == whole[2 * PLAIN :]
    stream = opened.stream()
    assert next(stream) == whole[:PLAIN]
    with pytest.raises(IntegrityError):
        next(stream)
    opened.close()
