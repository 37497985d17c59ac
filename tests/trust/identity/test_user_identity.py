"""A user narrows what a device may do, and has to prove who it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import UsageError
from leadglass.base.secret import Secret
from leadglass.trust.certs import passcode
from leadglass.trust.certs.passcode import Argon2Passcodes
from leadglass.trust.identity.interfaces import TokenRefused, VerifiedToken
from leadglass.trust.identity.models import Origin, Principal
from leadglass.trust.identity.user_identity import (
    UserIdentityAccepted,
    UserIdentityClaim,
    UserIdentityRefused,
    UserIdentityService,
)
from trust.identity.identity_site import IdentitySite, cheap_passcodes, new_account

WORKSTATION = Principal("device:ws1", ("query-retrieve", "store"), "WS1", "10.0.0.1", "ab")
PASSCODES = Argon2Passcodes()
PASSCODE = b"a quiet CT scanner"


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    """Argon2id with 1 MiB: the real cost has a test of its own below."""
    with cheap_passcodes():
        yield


class OneToken:
    """Knows one token; the real verifier has tests of its own (tests/trust/certs/test_token.py)."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def verify(self, token: bytes, certificate_sha256: str) -> VerifiedToken | TokenRefused:
        if token != b"token" or certificate_sha256 != "ab":
            return TokenRefused("not the token")
        return VerifiedToken("jdoe", "one", self._clock.now())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(tmp_path: Path, clock: FakeClock) -> IdentitySite:
    site = IdentitySite(tmp_path, clock)
    for name, role, passcode_of in (
        ("jdoe", "query-retrieve", PASSCODE),
        ("noroles", "", PASSCODE),
        ("tokenonly", "query-retrieve", b""),
    ):
        account = site.accounts.create(new_account(name, *([role] if role else [])), Origin())
        if passcode_of:
            site.passwords.set_passcode(account, Secret(passcode_of), Origin())
    return site


@pytest.fixture
def service(site: IdentitySite, clock: FakeClock) -> UserIdentityService:
    return UserIdentityService(site.accounts, site.passwords, PASSCODES, OneToken(clock), clock)


def claim(kind: int, primary: bytes, secondary: bytes = b"", *, positive: bool = True) -> UserIdentityClaim:
    return UserIdentityClaim(kind, positive, Secret(primary), Secret(secondary))


@pytest.mark.parametrize("positive", [False, True])
def test_a_user_with_the_right_passcode_acts_through_the_device(
    service: UserIdentityService, *, positive: bool
) -> None:
    verdict = service.decide(WORKSTATION, claim(2, b"jdoe", b"a quiet CT scanner", positive=positive))
    assert isinstance(verdict, UserIdentityAccepted)
    assert verdict.principal == Principal(
        "user:jdoe",
        ("query-retrieve",),
        "WS1",
        "10.0.0.1",
        "ab",
        through="device:ws1",
        through_roles=WORKSTATION.roles,
    )
    assert verdict.server_response == (b"" if positive else None)


def test_a_token_speaks_for_its_subject(service: UserIdentityService) -> None:
    verdict = service.decide(WORKSTATION, claim(5, b"token"))
    assert isinstance(verdict, UserIdentityAccepted)
    assert verdict.principal.principal_id == "user:jdoe"
    assert verdict.server_response == b"token"
    assert "token" not in repr(verdict)


@pytest.mark.parametrize(
    "bad",
    [
        claim(2, b"jdoe", b"wrong"),
        claim(2, b"jdoe", b""),
        claim(2, b"jdoe", b"x" * 2000),
        claim(2, b"nobody", b"nobody"),
        claim(2, b"tokenonly", b"nobody"),
        claim(2, b"noroles", b"a quiet CT scanner"),
        claim(2, b"\xff", b"a quiet CT scanner"),
        claim(2, b"", b"a quiet CT scanner"),
        claim(5, b"another"),
        claim(3, b"ticket"),
        claim(4, b"assertion"),
        claim(9, b"unheard of"),
    ],
)
def test_what_is_not_proven_is_refused(service: UserIdentityService, bad: UserIdentityClaim) -> None:
    verdict = service.decide(WORKSTATION, bad)
    assert isinstance(verdict, UserIdentityRefused)
    assert (verdict.rj_result, verdict.rj_source, verdict.rj_reason) == (1, 2, 1)
    assert b"a quiet CT scanner".decode() not in repr((bad, verdict))


@pytest.mark.parametrize("kind", [3, 4, 9])
def test_types_we_do_not_know_are_ignored_when_no_answer_is_asked(
    service: UserIdentityService, kind: int
) -> None:
    assert service.decide(WORKSTATION, claim(kind, b"x", positive=False)) == UserIdentityAccepted(WORKSTATION)


def test_a_bare_user_name_is_a_hint_and_is_never_answered(service: UserIdentityService) -> None:
    assert service.decide(WORKSTATION, claim(1, b"jdoe")) == UserIdentityAccepted(WORKSTATION, None, "jdoe")
    assert service.decide(WORKSTATION, claim(1, b"a\nb")) == UserIdentityAccepted(WORKSTATION, None, "")


def test_guessing_takes_longer_and_longer_and_locks_nobody_else_out(
    service: UserIdentityService, clock: FakeClock
) -> None:
    for _ in range(5):
        service.decide(WORKSTATION, claim(2, b"jdoe", b"wrong"))
    right = claim(2, b"jdoe", b"a quiet CT scanner")
    assert service.decide(WORKSTATION, right) == UserIdentityRefused("too many wrong passcodes, must wait")
    other = Principal("device:ws2", ("query-retrieve",), "WS2")
    assert isinstance(service.decide(other, right), UserIdentityAccepted)
    clock.advance(1)
    assert isinstance(service.decide(WORKSTATION, right), UserIdentityAccepted)


def test_a_disabled_user_is_not_taken_and_its_id_not_used_again(
    service: UserIdentityService, site: IdentitySite
) -> None:
    site.accounts.disable("jdoe", Origin(), "left")
    for shown in (claim(2, b"jdoe", PASSCODE), claim(5, b"token")):
        assert isinstance(service.decide(WORKSTATION, shown), UserIdentityRefused)
    with pytest.raises(UsageError):
        site.accounts.create(new_account("jdoe", "store"), Origin())


def test_a_passcode_is_no_password_and_a_short_or_common_one_is_not_taken(site: IdentitySite) -> None:
    account = site.accounts.get("jdoe")
    assert account is not None
    for bad in (b"short", b"passwordpassword1", b"jdoejdoejdoejdoe"):
        with pytest.raises(UsageError):
            site.passwords.set_passcode(account, Secret(bad), Origin())
    assert not site.passwords.exists("jdoe")


def test_verifiers_are_salted_and_one_with_cheap_parameters_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cheap = PASSCODES.verifier(Secret(PASSCODE))
    assert PASSCODES.verify(Secret(b"a quiet CT scanner"), cheap)
    monkeypatch.setattr(passcode, "_MEMORY_KIB", 65536)
    monkeypatch.setattr(passcode, "_PREFIX", "$argon2id$v=19$m=65536,t=3,p=4$")
    one, two = (
        PASSCODES.verifier(Secret(b"a quiet CT scanner")),
        PASSCODES.verifier(Secret(b"a quiet CT scanner")),
    )
    assert one != two
    assert PASSCODES.verify(Secret(b"a quiet CT scanner"), one)
    for bad in (cheap, "", one[:-10], "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAA"):
        assert not PASSCODES.verify(Secret(b"a quiet CT scanner"), bad)
