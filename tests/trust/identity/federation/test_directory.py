"""Against a real slapd, over real TLS."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError
from leadglass.base.secret import Secret
from leadglass.trust.identity.federation.directory import (
    Directory,
    DirectoryFailed,
    DirectoryPasswords,
    Entry,
    Failure,
    subject_of,
)
from leadglass.trust.identity.federation.models import (
    DirectorySettings,
    ExternalIdentity,
    GroupRule,
    GroupSearch,
    SignInRefused,
)
from trust.identity.federation.authority import TestAuthority
from trust.identity.federation.slapd import (
    GROUPS,
    PASSWORD,
    PEOPLE,
    RADIOLOGY,
    SERVICE,
    SERVICE_PASSWORD,
    Slapd,
    needs_slapd,
    slapd,
)

pytestmark = [pytest.mark.interop, needs_slapd]


@dataclass(frozen=True)
class Site:
    server: Slapd
    settings: DirectorySettings
    authority: TestAuthority


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ldap")
    authority = TestAuthority(folder)
    password = folder / "service.password"
    password.write_text(SERVICE_PASSWORD + "\n")
    password.chmod(0o600)
    with slapd(folder, authority.issue("localhost", "127.0.0.1")) as server:
        settings = DirectorySettings(server.tls, SERVICE, password, PEOPLE, ca_file=authority.file)
        yield Site(server, settings, authority)


def authenticate(
    settings: DirectorySettings, name: str = "jdoe", password: str = PASSWORD
) -> ExternalIdentity | SignInRefused:
    return Directory(settings).authenticate(name, Secret(password.encode()))


def test_a_person_signs_in_over_ldaps(site: Site) -> None:
    identity = authenticate(site.settings)
    assert isinstance(identity, ExternalIdentity), identity
    assert identity.issuer == site.server.tls
    assert len(identity.subject) == 36  # the entryUUID that the server made
    assert identity.display_name == "Jane Doe"
    assert identity.groups == (RADIOLOGY,)
    assert identity.methods == ("pwd",)


def test_and_by_start_tls_before_anything_else(site: Site) -> None:
    assert isinstance(authenticate(replace(site.settings, url=site.server.plain)), ExternalIdentity)


@pytest.mark.parametrize("scheme", ["plain", "tls"])
def test_an_ip_address_is_checked_against_the_certificate(site: Site, scheme: str) -> None:
    """ldap3's own check cannot do this from Python 3.12 on."""
    url: str = getattr(site.server, scheme).replace("localhost", "127.0.0.1")
    assert isinstance(authenticate(replace(site.settings, url=url)), ExternalIdentity)


def test_groups_by_their_own_entries(site: Site) -> None:
    settings = replace(site.settings, group_search=GroupSearch.GROUP_ENTRIES, group_base=GROUPS)
    identity = authenticate(settings)
    assert isinstance(identity, ExternalIdentity)
    assert identity.groups == (RADIOLOGY,)


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("jdoe", "wrong", "the password is wrong"),
        ("jdoe", "", "the password is empty or too long"),
        ("jdoe", "x" * 1025, "the password is empty or too long"),
        ("jdoe", "a\0b", "the password is empty or too long"),
        ("nobody", PASSWORD, "the name is unknown to the directory, or names several people"),
        ("", PASSWORD, "the name is empty, too long or not printable"),
        ("a\nb", PASSWORD, "the name is empty, too long or not printable"),
        ("disabled", PASSWORD, "the directory says that the account is disabled or locked"),
        ("disabled", "wrong", "the password is wrong"),
        # slapd lets the password pass here, as its own policy does not lock: the attribute is what counts for us.
        ("locked", PASSWORD, "the directory says that the account is disabled or locked"),
    ],
)
def test_who_is_refused(site: Site, name: str, password: str, reason: str) -> None:
    assert authenticate(site.settings, name, password) == SignInRefused(reason)


@pytest.mark.parametrize("name", ["*", "j*", "jdoe)(uid=*", "*)(|(uid=*", "jdoe)(&", "\\2a", "jdoe\\00"])
def test_a_name_is_a_name_and_no_filter(site: Site, name: str) -> None:
    assert authenticate(site.settings, name) == SignInRefused(
        "the name is unknown to the directory, or names several people"
    )


def test_a_name_with_every_special_character_is_found(site: Site) -> None:
    identity = authenticate(site.settings, "odd)(*\\")
    assert isinstance(identity, ExternalIdentity)
    assert identity.display_name == "Odd Name"


def test_a_name_that_two_people_have_is_nobodys(site: Site) -> None:
    settings = replace(site.settings, user_filter="(employeeNumber={name})")
    assert authenticate(settings, "7") == SignInRefused(
        "the name is unknown to the directory, or names several people"
    )


def failure_of(settings: DirectorySettings) -> Failure:
    with pytest.raises(DirectoryFailed) as caught:
        authenticate(settings)
    assert PASSWORD not in str(caught.value)
    return caught.value.failure


@pytest.mark.parametrize("scheme", ["plain", "tls"])
def test_a_certificate_of_another_authority_is_refused(site: Site, scheme: str, tmp_path: Path) -> None:
    url: str = getattr(site.server, scheme)
    other = replace(site.settings, url=url, ca_file=TestAuthority(tmp_path).file)
    assert failure_of(other) is Failure.CERTIFICATE


@pytest.mark.parametrize("scheme", ["plain", "tls"])
def test_a_certificate_for_another_name_is_refused(site: Site, scheme: str) -> None:
    url: str = getattr(site.server, scheme)
    assert failure_of(replace(site.settings, url=url.replace("localhost", "127.0.0.2"))) in {
        Failure.CERTIFICATE,
        Failure.CONNECTION,  # nobody listens on 127.0.0.2 here
    }


def test_no_tls_no_password(site: Site, tmp_path: Path) -> None:
    """A server that does not do StartTLS, or whose StartTLS was stripped on the way, never sees a bind."""
    with slapd(tmp_path, None) as server:
        assert failure_of(replace(site.settings, url=server.plain)) is Failure.TLS
        assert failure_of(replace(site.settings, url=server.plain.replace("ldap:", "ldaps:"))) is (
            Failure.CONNECTION
        )
    log = server.log.read_text()
    assert "EXT oid=1.3.6.1.4.1.1466.20037" in log  # StartTLS was asked for,
    assert " BIND dn=" not in log  # and nothing after it


@pytest.mark.parametrize(
    "url", ["http://localhost", "ldap://", "localhost:636", "ldapi:///x", "ldaps://h/dc=x"]
)
def test_an_address_of_another_kind_is_refused(site: Site, url: str) -> None:
    with pytest.raises(ConfigurationError):
        Directory(replace(site.settings, url=url))


def test_a_service_account_that_is_refused_is_no_wrong_password_of_the_person(site: Site) -> None:
    wrong = replace(site.settings, bind_dn=f"uid=jdoe,{PEOPLE}")
    assert failure_of(wrong) is Failure.BIND


def test_a_password_file_that_others_may_read_is_refused(site: Site, tmp_path: Path) -> None:
    readable = tmp_path / "password"
    readable.write_text(SERVICE_PASSWORD)
    readable.chmod(0o640)
    with pytest.raises(ConfigurationError):
        Directory(replace(site.settings, bind_password_file=readable))


def test_as_a_source_of_passwords(site: Site) -> None:
    rules = (GroupRule("CN=Radiology, ou=groups,dc=example,dc=ORG", ("radiologist",)),)
    settings = replace(site.settings, rules=rules)
    clock = FakeClock()
    source = DirectoryPasswords(Directory(settings), settings, clock)
    found = source.check("jdoe", Secret(PASSWORD.encode()))
    assert found is not None
    assert (found.roles, found.multi_factor, found.authenticated_at) == (("radiologist",), False, clock.now())
    assert source.check("jdoe", Secret(b"wrong")) is None
    assert source.check("mroe", Secret(PASSWORD.encode())) is None  # in no group that gives a role


def test_the_guid_of_active_directory() -> None:
    """[MS-DTYP] 2.3.4.2: the first three fields are little-endian."""
    octets = bytes.fromhex("33221100554477668899aabbccddeeff")
    assert subject_of(Entry("", {"objectguid": (octets,)}), "objectGUID") == (
        "00112233-4455-6677-8899-aabbccddeeff"
    )
    assert subject_of(Entry("", {"objectguid": (octets[:15],)}), "objectGUID") == ""
    assert subject_of(Entry("", {}), "objectGUID") == ""


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_server_that_says_nothing_is_given_up(site: Site, scheme: str) -> None:
    """It takes the connection and is silent: before StartTLS, or inside the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://localhost:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert failure_of(replace(site.settings, url=url, seconds=1)) in {Failure.CONNECTION, Failure.TLS}
        assert time.monotonic() - began < 10
