"""Sessions end when they must, and nothing that was seen before opens one (S48, S55)."""

import threading
from hashlib import sha256
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.models import (
    NotAuthenticated,
    Origin,
    Presented,
    Principal,
    SecondFactorNeeded,
    SignedIn,
)
from leadglass.trust.identity.sessions import SessionRules
from trust.identity.identity_site import (
    ADMINISTRATORS,
    AT_WS1,
    CERTIFICATES,
    HERE,
    PASSWORD,
    THERE,
    IdentitySite,
)


def shown(
    site: IdentitySite, token: Secret, origin: Origin = HERE, **more: str
) -> Principal | NotAuthenticated:
    return site.authenticator.authenticate(
        Presented(origin.address, origin.certificate_sha256, session_token=token, **more)  # type: ignore[arg-type]
    )


def alive(site: IdentitySite, signed_in: SignedIn, origin: Origin = HERE) -> bool:
    return isinstance(shown(site, signed_in.token, origin), Principal)


@pytest.fixture
def jdoe(site: IdentitySite) -> SignedIn:
    site.person("jdoe", "radiologist")
    return site.signed_in("jdoe")


def test_a_session_is_who_signed_in(site: IdentitySite, jdoe: SignedIn, clock: FakeClock) -> None:
    principal = shown(site, jdoe.token, purpose="HRESCH", correlation_id="c7")
    assert isinstance(principal, Principal)
    assert (principal.principal_id, principal.roles) == ("user:jdoe", ("radiologist",))
    assert principal.correlation_id == "c7"
    circumstances = principal.circumstances
    assert circumstances.session_id == jdoe.session.session_id
    assert (circumstances.zone, circumstances.purpose, circumstances.methods) == ("site", "HRESCH", ("pwd",))
    assert circumstances.authenticated_at == clock.now()
    assert site.standing.current(principal) is principal


@pytest.mark.parametrize("token", [b"x", b"A" * 43, b"A" * 10_000, "ü".encode(), b"\0" * 43, b"' OR 1=1 --"])
def test_what_is_no_token_is_refused_and_on_record(site: IdentitySite, jdoe: SignedIn, token: bytes) -> None:
    answer = shown(site, Secret(token))
    assert isinstance(answer, NotAuthenticated)
    assert answer.error == "invalid_token"
    assert site.recorder.events[-1].code == events.REQUEST_REFUSED


def test_the_token_is_nowhere_on_the_disk_and_its_hash_alone_opens_nothing(
    site: IdentitySite, jdoe: SignedIn
) -> None:
    with site.database.reading() as snapshot:
        ((row, *_),) = [snapshot.execute("SELECT * FROM session")]
    assert jdoe.token.reveal() not in repr(row).encode()
    assert sha256(jdoe.token.reveal()).digest() in row
    assert isinstance(shown(site, Secret(row[1])), NotAuthenticated)


def test_an_idle_session_locks_on_site_and_ends_elsewhere(
    site: IdentitySite, jdoe: SignedIn, clock: FakeClock
) -> None:
    clock.advance(899)
    assert alive(site, jdoe)
    clock.advance(899)
    assert alive(site, jdoe)
    clock.advance(900)
    answer = shown(site, jdoe.token)
    assert isinstance(answer, NotAuthenticated)
    assert answer.locked
    assert events.SESSION_LOCKED in site.recorder.codes()
    clock.advance(60)
    opened = site.sign_in.unlock_password(jdoe.token, PASSWORD, HERE)
    assert isinstance(opened, SignedIn)
    assert not alive(site, jdoe)
    assert alive(site, opened)

    seed = site.enrol_totp("jdoe")
    begun = site.sign_in.begin("jdoe", PASSWORD, THERE)
    assert isinstance(begun, SecondFactorNeeded)
    away = site.sign_in.finish_totp(begun.pending, site.code(seed), THERE)
    assert isinstance(away, SignedIn)
    clock.advance(299)
    assert alive(site, away, THERE)
    clock.advance(300)
    answer = shown(site, away.token, THERE)
    assert isinstance(answer, NotAuthenticated)
    assert not answer.locked
    assert site.sessions.get(away.session.session_id) is None


def test_no_session_outlives_its_absolute_end_however_busy_it_is(
    site: IdentitySite, jdoe: SignedIn, clock: FakeClock
) -> None:
    for _ in range(71):
        clock.advance(600)
        assert alive(site, jdoe)
    principal = shown(site, jdoe.token)
    assert isinstance(principal, Principal)
    clock.advance(600)
    assert site.standing.current(principal) is None
    assert not alive(site, jdoe)
    assert site.sessions.all() == ()


def test_a_shared_console_locks_after_five_minutes(tmp_path: Path, clock: FakeClock, cheap: None) -> None:
    rules = SessionRules(consoles=frozenset({"device:ws1"}), administrator_roles=ADMINISTRATORS)
    site = IdentitySite(tmp_path, clock, rules=rules)
    site.person("jdoe", "radiologist")
    outcome = site.signed_in("jdoe", AT_WS1)
    clock.advance(300)
    answer = shown(site, outcome.token, AT_WS1)
    assert isinstance(answer, NotAuthenticated)
    assert answer.locked
    site.close()


def test_disabling_or_other_roles_end_sessions_with_the_next_decision(
    site: IdentitySite, jdoe: SignedIn
) -> None:
    principal = shown(site, jdoe.token)
    assert isinstance(principal, Principal)
    site.accounts.set_roles("jdoe", ["technologist"], Origin(by="user:admin"))
    assert site.standing.current(principal) is None
    assert not alive(site, jdoe)
    again = site.signed_in("jdoe")
    principal = shown(site, again.token)
    assert isinstance(principal, Principal)
    site.accounts.disable("jdoe", Origin(by="user:admin"), "left")
    assert site.standing.current(principal) is None
    assert not alive(site, again)
    assert site.sessions.of("jdoe") == ()
    ended = [e for e in site.recorder.events if e.code == events.SESSION_ENDED]
    assert [e.facts["reason"] for e in ended] == ["roles changed", "account was disabled"]


def test_limits_and_relations_of_an_account_reach_a_principal_that_exists(
    site: IdentitySite, jdoe: SignedIn
) -> None:
    principal = shown(site, jdoe.token)
    assert isinstance(principal, Principal)
    site.accounts.change("jdoe", Origin(), institutions=["north"], devices=["device:ct1"])
    now = site.standing.current(principal)
    assert now is not None
    assert (now.institutions, now.devices) == (("north",), ("device:ct1",))


def test_the_oldest_of_too_many_sessions_ends(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    held: list[SignedIn] = []
    for _ in range(4):
        held.append(site.signed_in("jdoe"))
        clock.advance(1)
    assert [alive(site, s) for s in held] == [False, True, True, True]
    site.person("admin", "pacs-administrator")
    seed = site.enrol_totp("admin")
    sessions: list[SignedIn] = []
    for _ in range(2):
        begun = site.sign_in.begin("admin", PASSWORD, HERE)
        assert isinstance(begun, SecondFactorNeeded)
        outcome = site.sign_in.finish_totp(begun.pending, site.code(seed), HERE)
        assert isinstance(outcome, SignedIn)
        sessions.append(outcome)
        clock.advance(30)
    assert [alive(site, s) for s in sessions] == [False, True]


def test_a_session_can_be_ended_one_by_one_all_at_once_and_by_signing_out(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    first, second, third = (site.signed_in("jdoe") for _ in range(3))
    site.sign_in.sign_out(first.token, HERE)
    site.sign_in.sign_out(first.token, HERE)
    assert [alive(site, s) for s in (first, second, third)] == [False, True, True]
    assert site.sessions.end(second.session.session_id, Origin(by="user:admin"), "asked for")
    assert not site.sessions.end(second.session.session_id, Origin(by="user:admin"), "asked for")
    assert site.sessions.end_all("jdoe", Origin(), "asked for") == 1
    assert not alive(site, third)


def test_a_session_does_not_leave_its_zone_or_its_workstation(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    free, bound = site.signed_in("jdoe"), site.signed_in("jdoe", AT_WS1)
    assert not alive(site, free, THERE)
    assert alive(site, free, AT_WS1)
    for origin in (HERE, Origin("10.1.2.3", CERTIFICATES[1]), Origin("10.1.2.3", "cc" * 32)):
        assert not alive(site, bound, origin)
    principal = shown(site, bound.token, AT_WS1)
    assert isinstance(principal, Principal)
    assert (principal.circumstances.workstation, principal.circumstances.posture) == ("device:ws1", "managed")
    site.devices.revoke("ws1")
    assert not alive(site, bound, AT_WS1)
    assert alive(site, free)


def test_a_certificate_that_is_not_enrolled_binds_all_the_same(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    stranger = Origin("10.1.2.3", "cc" * 32)
    bound = site.signed_in("jdoe", stranger)
    assert alive(site, bound, stranger)
    assert not alive(site, bound, HERE)


def test_sessions_survive_a_restart_and_do_not_grow_by_it(
    tmp_path: Path, clock: FakeClock, cheap: None
) -> None:
    site = IdentitySite(tmp_path, clock)
    for name in ("jdoe", "left", "idle"):
        site.person(name, "radiologist")
    kept, left, idle = (site.signed_in(name) for name in ("jdoe", "left", "idle"))
    clock.advance(600)
    assert alive(site, kept)
    site.accounts.disable("left", Origin(), "left")
    site.close()
    clock.advance(600)
    site = IdentitySite(tmp_path, clock)
    assert alive(site, kept)
    assert not alive(site, left)
    answer = shown(site, idle.token)
    assert isinstance(answer, NotAuthenticated)
    assert answer.locked
    for _ in range(70):
        clock.advance(600)
        alive(site, kept)
    assert not alive(site, kept)
    site.close()


def test_a_log_that_takes_nothing_does_not_keep_a_session_open(
    tmp_path: Path, clock: FakeClock, cheap: None
) -> None:
    site = IdentitySite(tmp_path, clock)
    site.person("jdoe", "radiologist")
    outcome = site.signed_in("jdoe")
    site.recorder.full = True
    with pytest.raises(Exception, match="takes nothing"):
        site.sessions.end(outcome.session.session_id, Origin(), "asked for")
    site.recorder.full = False
    assert not alive(site, outcome)
    site.close()
    site = IdentitySite(tmp_path, clock)
    assert not alive(site, outcome)
    site.close()


def test_the_sweep_ends_and_locks_without_a_request(
    site: IdentitySite, jdoe: SignedIn, clock: FakeClock
) -> None:
    clock.advance(900)
    assert site.sessions.sweep() == 0
    session = site.sessions.get(jdoe.session.session_id)
    assert session is not None
    assert session.locked_at is not None
    clock.advance(43_200)
    assert site.sessions.sweep() == 1
    with site.database.reading() as snapshot:
        assert snapshot.execute("SELECT count(*) FROM session") == [(0,)]


def test_five_hundred_sessions_at_once_are_each_their_own(site: IdentitySite) -> None:
    tokens: dict[str, Secret] = {}
    for n in range(500):
        site.person_without_password(f"reader{n}", "radiologist")
        tokens[f"reader{n}"] = site.start(f"reader{n}").token
    wrong: list[str] = []

    def use(names: list[str]) -> None:
        for name in names * 4:
            answer = shown(site, tokens[name])
            if not isinstance(answer, Principal) or answer.principal_id != f"user:{name}":
                wrong.append(name)

    names = list(tokens)
    threads = [threading.Thread(target=use, args=(names[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_purpose_is_one_of_those_we_know_and_never_breaks_the_glass(
    site: IdentitySite, jdoe: SignedIn
) -> None:
    for purpose in ("BTG", "treat", "x" * 5000, "TREAT "):
        assert isinstance(shown(site, jdoe.token, purpose=purpose), NotAuthenticated)
    assert alive(site, jdoe)


def test_a_device_comes_by_its_certificate_from_its_networks(site: IdentitySite) -> None:
    def ask(address: str, certificate: str) -> Principal | NotAuthenticated:
        return site.authenticator.authenticate(Presented(address, certificate))

    principal = ask("10.1.2.3", CERTIFICATES[0])
    assert isinstance(principal, Principal)
    assert (principal.principal_id, principal.roles) == ("device:ws1", ("query-retrieve",))
    assert isinstance(ask("203.0.113.7", CERTIFICATES[0]), NotAuthenticated)
    assert isinstance(ask("10.1.2.3", "cc" * 32), NotAuthenticated)
    assert ask("10.1.2.3", "") == NotAuthenticated()
    site.devices.revoke("ws1")
    assert isinstance(ask("10.1.2.3", CERTIFICATES[0]), NotAuthenticated)
    assert site.standing.current(principal) is None


def test_a_dead_session_does_not_fall_back_to_the_workstation(site: IdentitySite) -> None:
    answer = shown(site, Secret(b"A" * 43), AT_WS1)
    assert isinstance(answer, NotAuthenticated)


def test_refusals_do_not_fill_the_log(site: IdentitySite) -> None:
    for _ in range(500):
        shown(site, Secret(b"A" * 43))
    assert site.recorder.codes().count(events.REQUEST_REFUSED) <= 30


def test_standing_knows_nobody_else(site: IdentitySite) -> None:
    for principal_id in ("user:nobody", "client:x", "device:nobody", "something:else", ""):
        assert site.standing.current(Principal(principal_id, ("operator",))) is None
    operator = Principal("operator:0", ("operator",))
    assert site.standing.current(operator) is operator
