"""A node's certificate is made anew before it ends, and a crash in the middle leaves one that is whole."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.trust.certs.authority import CertificateAuthority
from leadglass.trust.certs.node_key import open_node_credentials
from leadglass.trust.certs.renewal import RENEW_BEFORE, make_node_certificate, open_node_certificate
from leadglass.trust.keys.providers.key_file import KeyFileProvider

NAMES = ("localhost", "127.0.0.1")


class _Node:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.provider = KeyFileProvider.create(folder / "root.key")
        self.authority = CertificateAuthority.create(folder, self.provider, self.clock, "Test")
        self.folder = folder / "node"
        self.first = make_node_certificate(self.folder, self.authority, NAMES, self.provider)

    def open(self) -> tuple[str, bool]:
        credentials, renewed = open_node_certificate(
            self.folder, self.authority, NAMES, self.provider, self.clock
        )
        return credentials.facts.sha256, renewed is not None


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


def test_a_certificate_with_time_left_is_kept(node: _Node) -> None:
    assert node.open() == (node.first.sha256, False)


def test_a_certificate_that_ends_soon_is_made_anew_once(node: _Node) -> None:
    node.clock.advance((node.first.not_after - node.clock.now() - RENEW_BEFORE).total_seconds() + 1)
    fingerprint, renewed = node.open()
    assert renewed
    assert fingerprint != node.first.sha256
    assert node.open() == (fingerprint, False)


def test_an_expired_certificate_is_made_anew(node: _Node) -> None:
    node.clock.advance(timedelta(days=400).total_seconds())
    assert node.open()[1]


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_crash_in_a_renewal_leaves_a_whole_certificate(node: _Node, moment: str) -> None:
    other = node.folder.with_suffix(".new")
    make_node_certificate(other, node.authority, NAMES, node.provider)
    newer = open_node_credentials(other, node.provider).facts.sha256
    expected = {"before": node.first.sha256, "between": newer, "after": newer}[moment]
    if moment in {"between", "after"}:
        node.folder.rename(node.folder.with_suffix(".old"))
    if moment == "after":
        other.rename(node.folder)
    assert node.open() == (expected, False)
    assert not other.exists()
    assert not node.folder.with_suffix(".old").exists()


def test_half_written_new_credentials_are_thrown_away(node: _Node) -> None:
    other = node.folder.with_suffix(".new")
    shutil.copytree(node.folder, other)
    next(other.iterdir()).unlink()
    assert node.open() == (node.first.sha256, False)
    assert not other.exists()
