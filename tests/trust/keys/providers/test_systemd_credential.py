"""The root key as a credential of systemd, in a folder such as systemd makes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.base.errors import ConfigurationError
from leadglass.trust.keys.providers.systemd_credential import SystemdCredentialProvider
from suites.kek_provider import KEKProviderSuite


def hand_in(folder: Path, name: str, mode: int = 0o400) -> dict[str, str]:
    """Do what systemd does; return the environment of the service."""
    folder.mkdir(exist_ok=True)
    (folder / name).touch(0o600)
    (folder / name).write_bytes(SystemdCredentialProvider.new_credential().reveal())
    (folder / name).chmod(mode)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


class TestSystemdCredential(KEKProviderSuite):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> SystemdCredentialProvider:
        return SystemdCredentialProvider.open("root", hand_in(tmp_path / "credentials", "root"))

    @pytest.fixture
    def restarted(self, tmp_path: Path) -> Callable[[], SystemdCredentialProvider]:
        environment = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
        return lambda: SystemdCredentialProvider.open("root", environment)

    @pytest.fixture
    def other(self, tmp_path: Path) -> SystemdCredentialProvider:
        return SystemdCredentialProvider.open("other", hand_in(tmp_path / "credentials", "other"))


def test_without_credentials_it_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="no credentials"):
        SystemdCredentialProvider.open("root", {})


def test_a_missing_credential_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SystemdCredentialProvider.open("absent", hand_in(tmp_path, "root"))


@pytest.mark.parametrize("name", ["", ".", "..", "../root", "a/b", "/etc/passwd", "root\n", "é"])
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="the name of a credential"):
        SystemdCredentialProvider.open(name, hand_in(tmp_path, "root"))


def test_the_mask_of_an_acl_is_accepted_and_the_world_is_not(tmp_path: Path) -> None:
    SystemdCredentialProvider.open("root", hand_in(tmp_path, "root", 0o440))
    with pytest.raises(ConfigurationError, match="open to other users"):
        SystemdCredentialProvider.open("world", hand_in(tmp_path, "world", 0o444))


def test_facts_claim_no_hardware(tmp_path: Path) -> None:
    facts = SystemdCredentialProvider.open("root", hand_in(tmp_path, "root")).facts()
    assert not facts.hardware
    assert facts.separate_from_data is None
