"""S39: where an identity provider's words may lead us."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leadglass.base.limits import OUTBOUND_BYTES_MAX
from leadglass.trust.identity.federation import outbound as module
from leadglass.trust.identity.federation.models import OutboundOptions
from leadglass.trust.identity.federation.outbound import Failure, Outbound, OutboundFailed
from trust.identity.federation.authority import TestAuthority
from trust.identity.federation.hostile_provider import HostileProvider, hostile_provider
from trust.identity.federation.openid import free_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("outbound"))


@pytest.fixture(scope="module")
def provider(authority: TestAuthority) -> Iterator[HostileProvider]:
    with hostile_provider(authority.issue("localhost", "idp.example", "127.0.0.1")) as made:
        yield made


def refused(outbound: Outbound, url: str) -> Failure:
    with pytest.raises(OutboundFailed) as caught:
        outbound.get(url)
    return caught.value.failure


def port_of(provider: HostileProvider) -> str:
    return provider.origin.rpartition(":")[2]


def test_the_certificate_is_checked_against_the_name_and_the_connection_goes_to_the_address(
    authority: TestAuthority, provider: HostileProvider
) -> None:
    options = OutboundOptions(ca_file=authority.file, networks=("127.0.0.0/8",))
    url = f"https://idp.example:{port_of(provider)}/keys"
    assert Outbound(url, options, lambda *_: ["127.0.0.1"]).get(url).status == 200
    other = url.replace("idp.example", "other.example")
    assert refused(Outbound(other, options, lambda *_: ["127.0.0.1"]), other) is Failure.CERTIFICATE


def test_an_authority_that_was_not_pinned_is_not_believed(provider: HostileProvider, tmp_path: Path) -> None:
    options = OutboundOptions(ca_file=TestAuthority(tmp_path).file)
    assert refused(Outbound(provider.origin, options), provider.origin) is Failure.CERTIFICATE
    assert refused(Outbound(provider.origin, OutboundOptions()), provider.origin) is Failure.CERTIFICATE


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["169.254.169.254"],
        ["169.254.0.1"],
        ["fe80::1"],
        ["fd00:ec2::254"],
        ["100.100.100.200"],
        ["168.63.129.16"],
        ["0.0.0.0"],
        ["::"],
        ["224.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["192.0.2.1", "127.0.0.1"],
    ],
    ids=" ".join,
)
def test_names_that_lead_to_this_machine_or_beside_it_are_refused(addresses: list[str]) -> None:
    outbound = Outbound("https://idp.example", OutboundOptions(), lambda *_: addresses)
    assert refused(outbound, "https://idp.example/") is Failure.ADDRESS


@pytest.mark.parametrize("addresses", [[], ["nonsense"]])
def test_a_name_that_leads_nowhere(addresses: list[str]) -> None:
    outbound = Outbound("https://idp.example", OutboundOptions(), lambda *_: addresses)
    assert refused(outbound, "https://idp.example/") is Failure.NAME


def test_a_name_server_that_changes_its_mind_changes_nothing(
    authority: TestAuthority, provider: HostileProvider
) -> None:
    """DNS rebinding: one look-up for one question, and its answer is where the connection goes."""
    answers = [["127.0.0.1"], ["169.254.169.254"], ["169.254.169.254"]]
    asked: list[str] = []

    def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    options = OutboundOptions(ca_file=authority.file, networks=("127.0.0.0/8",))
    url = f"https://idp.example:{port_of(provider)}/keys"
    outbound = Outbound(url, options, resolve)
    assert outbound.get(url).status == 200
    assert asked == ["idp.example"]
    assert refused(outbound, url) is Failure.ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/",
        "http://idp.example/",
        "https://idp.example.evil.example/",
        "https://evil@idp.example/",
        "https://idp.example@evil.example/",
        "ftp://idp.example/",
        "https://",
        "",
        "//idp.example/",
        "https://127.1/",
        "https://[::1]/",
    ],
)
def test_other_addresses_are_not_asked(url: str) -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["192.0.2.1"]

    assert refused(Outbound("https://idp.example", OutboundOptions(), resolve), url) is Failure.ADDRESS
    assert asked == []


def test_a_redirect_is_an_answer_and_not_followed(
    authority: TestAuthority, provider: HostileProvider
) -> None:
    provider.routes["/away"] = lambda _: (302, {"Location": f"{provider.origin}/there"}, b"")
    provider.asked.clear()
    answer = Outbound(provider.origin, OutboundOptions(ca_file=authority.file)).get(f"{provider.origin}/away")
    assert answer.status == 302
    assert provider.asked == ["/away"]


def test_an_answer_is_bounded(authority: TestAuthority, provider: HostileProvider) -> None:
    provider.routes["/long"] = lambda _: (200, {}, bytes(OUTBOUND_BYTES_MAX + 1))
    provider.routes["/exact"] = lambda _: (200, {}, bytes(OUTBOUND_BYTES_MAX))
    outbound = Outbound(provider.origin, OutboundOptions(ca_file=authority.file))
    assert len(outbound.get(f"{provider.origin}/exact").body) == OUTBOUND_BYTES_MAX
    assert refused(outbound, f"{provider.origin}/long") is Failure.SIZE


def test_a_compressed_answer_is_refused(authority: TestAuthority, provider: HostileProvider) -> None:
    provider.routes["/zip"] = lambda _: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    outbound = Outbound(provider.origin, OutboundOptions(ca_file=authority.file))
    assert refused(outbound, f"{provider.origin}/zip") is Failure.SIZE


def test_an_answer_that_takes_too_long_is_given_up(
    authority: TestAuthority, provider: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole answer has one deadline."""
    release = threading.Event()

    def stall(_: bytes) -> tuple[int, dict[str, str], bytes]:
        release.wait(20)
        return 200, {}, b""

    provider.routes["/slow"] = stall
    monkeypatch.setattr(module, "OUTBOUND_SECONDS", 0.3)
    try:
        outbound = Outbound(provider.origin, OutboundOptions(ca_file=authority.file))
        assert refused(outbound, f"{provider.origin}/slow") is Failure.TIME
    finally:
        release.set()


def test_nobody_at_the_address(authority: TestAuthority) -> None:
    url = f"https://localhost:{free_port()}"
    assert refused(Outbound(url, OutboundOptions(ca_file=authority.file)), url) is Failure.CONNECTION
