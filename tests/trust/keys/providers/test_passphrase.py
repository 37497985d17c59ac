"""The root key under a passphrase."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.base.errors import ConfigurationError, KeyUnavailable
from leadglass.base.secret import Secret
from leadglass.trust.keys.providers.passphrase import Argon2Cost, PassphraseProvider
from suites.kek_provider import KEKProviderSuite

PASSPHRASE = Secret(b"correct horse battery staple")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: Argon2id is slow on purpose."""
    return tmp_path_factory.mktemp("passphrase")


@pytest.fixture(scope="module")
def one(folder: Path) -> PassphraseProvider:
    return PassphraseProvider.create(folder / "one", PASSPHRASE)


@pytest.fixture(scope="module")
def two(folder: Path) -> PassphraseProvider:
    return PassphraseProvider.create(folder / "two", PASSPHRASE)


class TestPassphrase(KEKProviderSuite):
    @pytest.fixture
    def provider(self, one: PassphraseProvider) -> PassphraseProvider:
        return one

    @pytest.fixture
    def restarted(self, folder: Path) -> Callable[[], PassphraseProvider]:
        return lambda: PassphraseProvider.open(folder / "one", PASSPHRASE)

    @pytest.fixture
    def other(self, two: PassphraseProvider) -> PassphraseProvider:
        return two


def rewrite(folder: Path, one: PassphraseProvider, **members: object) -> Path:
    del one  # its file must be there
    content = json.loads((folder / "one").read_bytes())
    path = folder / "changed"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(json.dumps({**content, **members}))
    return path


def test_another_passphrase_is_refused(folder: Path, one: PassphraseProvider) -> None:
    del one
    with pytest.raises(KeyUnavailable, match="passphrase is another one") as caught:
        PassphraseProvider.open(folder / "one", Secret(PASSPHRASE.reveal() + b"\n"))
    assert "staple" not in repr(caught.value)


@pytest.mark.parametrize(
    "cost",
    [
        {"memory_kib": 1 << 30},  # 1 TiB
        {"memory_kib": (4 << 20) + 1},
        {"memory_kib": 4 << 20, "iterations": 5},
        {"memory_kib": (64 << 10) - 1},
        {"memory_kib": -1},
        {"memory_kib": 1 << 80},
        {"iterations": 0},
        {"iterations": 65},
        {"iterations": 1 << 62},
        {"lanes": 0},
        {"lanes": 65},
    ],
)
def test_a_hostile_file_cannot_ask_for_any_cost(
    folder: Path, one: PassphraseProvider, cost: dict[str, int]
) -> None:
    path = rewrite(folder, one, **cost)
    with pytest.raises(ConfigurationError, match="out of bounds"):
        PassphraseProvider.open(path, PASSPHRASE)


@pytest.mark.parametrize(
    "members",
    [
        {"version": 2},
        {"version": "1"},
        {"kdf": "pbkdf2"},
        {"format": "x"},
        {"more": 1},
        {"salt": "00"},
        {"salt": "zz" * 16},
        {"memory_kib": None},
    ],
)
def test_what_is_not_of_this_version_is_refused(
    folder: Path, one: PassphraseProvider, members: dict[str, object]
) -> None:
    path = rewrite(folder, one, **members)
    with pytest.raises(ConfigurationError, match="version 1"):
        PassphraseProvider.open(path, PASSPHRASE)


@pytest.mark.parametrize(
    "members",
    [
        {"iterations": 4},
        {"lanes": 3},
        {"salt": "00" * 16},
        {"root_id": "00" * 8},
        {"sealed": "00" * 72},
        {"sealed": ""},
    ],
)
def test_a_changed_member_is_noticed(
    folder: Path, one: PassphraseProvider, members: dict[str, object]
) -> None:
    path = rewrite(folder, one, **members)
    with pytest.raises(KeyUnavailable):
        PassphraseProvider.open(path, PASSPHRASE)


@pytest.mark.parametrize("length", [0, 14, 1025])
def test_a_short_or_endless_passphrase_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ConfigurationError, match="15 to 1024"):
        PassphraseProvider.create(tmp_path / "root", Secret(b"x" * length))
    assert not list(tmp_path.iterdir())


def test_a_cheap_cost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="out of bounds"):
        PassphraseProvider.create(tmp_path / "root", PASSPHRASE, cost=Argon2Cost(memory_kib=8, iterations=1))


def test_an_existing_file_is_never_overwritten(folder: Path, one: PassphraseProvider) -> None:
    del one
    before = (folder / "one").read_bytes()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        PassphraseProvider.create(folder / "one", PASSPHRASE)
    assert (folder / "one").read_bytes() == before


def test_the_file_is_the_owners_alone_and_holds_no_key(folder: Path, one: PassphraseProvider) -> None:
    del one
    assert (folder / "one").stat().st_mode & 0o7777 == 0o600
    (folder / "open").touch(0o600)
    (folder / "open").write_bytes((folder / "one").read_bytes())
    (folder / "open").chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to other users"):
        PassphraseProvider.open(folder / "open", PASSPHRASE)
