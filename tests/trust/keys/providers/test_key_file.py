"""The root key in a file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.base.errors import ConfigurationError
from leadglass.trust.keys.providers.key_file import KeyFileProvider
from suites.kek_provider import KEKProviderSuite


class TestKeyFile(KEKProviderSuite):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> KeyFileProvider:
        return KeyFileProvider.create(tmp_path / "root.key")

    @pytest.fixture
    def restarted(self, tmp_path: Path) -> Callable[[], KeyFileProvider]:
        return lambda: KeyFileProvider.open(tmp_path / "root.key")

    @pytest.fixture
    def other(self, tmp_path: Path) -> KeyFileProvider:
        return KeyFileProvider.create(tmp_path / "other.key")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "root.key"
    KeyFileProvider.create(path)
    return path


def test_only_the_owner_may_read_it_and_nothing_lies_beside_it(key_file: Path) -> None:
    assert key_file.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(key_file.parent) == ["root.key"]  # noqa: PTH208 - names are enough


def test_an_existing_file_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        KeyFileProvider.create(key_file)
    assert key_file.read_bytes() == before
    assert [p.name for p in key_file.parent.iterdir()] == ["root.key"]


def test_not_even_through_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        KeyFileProvider.create(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
def test_a_file_open_to_others_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(ConfigurationError, match="open to other users"):
        KeyFileProvider.open(key_file)


def test_a_symbolic_link_is_refused(key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        KeyFileProvider.open(tmp_path / "link")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="plain file"):
            KeyFileProvider.open(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    with pytest.raises(ConfigurationError, match="another user"):
        KeyFileProvider.open(key_file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        KeyFileProvider.open(tmp_path / "root.key")


def test_each_flipped_bit_of_the_file_is_noticed(key_file: Path) -> None:
    content = key_file.read_bytes()
    digits = content.split()[4].decode()
    assert len(digits) == 64
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        key_file.write_bytes(changed)
        with pytest.raises(ConfigurationError) as caught:
            KeyFileProvider.open(key_file)
        assert digits not in str(caught.value) + caught.value.hint


def test_a_lost_last_line_break_is_forgiven(key_file: Path) -> None:
    kept = KeyFileProvider.open(key_file).provider_id
    key_file.write_bytes(key_file.read_bytes().removesuffix(b"\n"))
    assert KeyFileProvider.open(key_file).provider_id == kept


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 1 << 20])
def test_a_file_of_any_other_size_is_refused(key_file: Path, size: int) -> None:
    key_file.write_bytes(b"A" * size)
    with pytest.raises(ConfigurationError):
        KeyFileProvider.open(key_file)


def test_facts_tell_where_the_key_lies(tmp_path: Path) -> None:
    data = tmp_path / "data"
    unknown = KeyFileProvider.create(tmp_path / "root.key")
    assert unknown.facts().separate_from_data is None
    beside = KeyFileProvider.open(tmp_path / "root.key", data)  # a folder that is still to be made
    assert beside.facts().separate_from_data is False
    assert any("has both" in sentence for sentence in beside.facts().does_not_protect)


def test_facts_see_another_mount(tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    provider = KeyFileProvider.create(tmp_path / "root.key", shared_memory)
    assert provider.facts().separate_from_data is True


def test_no_folder_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        KeyFileProvider.create(tmp_path / "absent" / "root.key")
