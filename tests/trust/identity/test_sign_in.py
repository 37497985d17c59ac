"""The way from a password to a session, and every way around it that must not be (S48, S49, S50)."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.models import (
    Account,
    AccountKind,
    Factor,
    MustChangePassword,
    MustEnrolFactor,
    Origin,
    SecondFactorNeeded,
    SignedIn,
    SignInOutcome,
    SignInRefused,
    Vouched,
)
from leadglass.trust.identity.passwords import legacy
from leadglass.trust.identity.sign_in import SignInPolicy
from trust.identity.identity_site import (
    ADMINISTRATORS,
    AT_WS1,
    AT_WS2,
    HERE,
    PASSWORD,
    THERE,
    IdentitySite,
    new_account,
)
from trust.identity.soft_authenticator import SoftAuthenticator

WRONG = Secret(b"a wrong password, long enough")


def second(outcome: SignInOutcome) -> SecondFactorNeeded:
    assert isinstance(outcome, SecondFactorNeeded)
    return outcome


def in_two_threads(action: Callable[[], object]) -> list[object]:
    found: list[object] = []
    barrier = threading.Barrier(2)

    def run() -> None:
        barrier.wait()
        found.append(action())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# --- passwords -------------------------------------------------------------------------------------------------------


def test_a_password_is_enough_on_site_for_who_has_nothing_else(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    outcome = site.sign_in.begin(" JDoe ", PASSWORD, HERE)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.account_id == "jdoe"
    assert outcome.session.methods == ("pwd",)
    assert outcome.session.strong_at is None
    assert len(outcome.token.reveal()) == 43
    assert outcome.token.reveal().decode() not in repr(outcome)
    assert site.recorder.codes()[-2:] == [events.AUTHENTICATION_SUCCEEDED, events.SESSION_STARTED]


def test_every_refusal_is_the_same_value(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    site.person("left", "radiologist")
    site.accounts.disable("left", Origin(), "left")
    site.accounts.create(new_account("nopassword", "radiologist"), Origin())
    names = ("jdoe", "left", "nobody", "nopassword", "", "x" * 1000, "jdoe\0", "Jürgen")
    passwords = {"jdoe": WRONG, "left": PASSWORD}
    outcomes = [site.sign_in.begin(name, passwords.get(name, PASSWORD), HERE) for name in names]
    assert outcomes == [SignInRefused()] * len(names)
    failures = [event for event in site.recorder.events if event.code == events.AUTHENTICATION_FAILED]
    assert [event.principal_id for event in failures[:3]] == ["user:jdoe", "user:left", ""]
    assert all(name not in str(event.facts) for event, name in zip(failures, names, strict=True) if name)


@pytest.mark.slow
def test_known_and_unknown_names_take_the_same_time(tmp_path: Path, clock: FakeClock) -> None:
    """Argon2id at its real cost; processor time, because other processes on the machine do not add to that."""
    site = IdentitySite(tmp_path, clock)
    site.passwords.prepare()
    site.person("jdoe", "radiologist")

    def fastest(name: str) -> float:
        times: list[float] = []
        for _ in range(6):
            start = time.process_time()
            assert isinstance(site.sign_in.begin(name, WRONG, HERE), SignInRefused)
            times.append(time.process_time() - start)
            clock.advance(1000)
        return min(times)

    known, unknown = fastest("jdoe"), fastest("nobody")
    assert abs(known - unknown) < 0.3 * max(
        known, unknown
    )  # of twelve derivations; a busy machine alone gives a tenth
    site.close()


def test_unknown_and_known_names_wait_alike(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")

    def waits(name: str) -> list[int]:
        found: list[int] = []
        for _ in range(13):
            outcome = site.sign_in.begin(name, WRONG, THERE)
            assert isinstance(outcome, SignInRefused)
            found.append(outcome.retry_after)
            clock.advance(outcome.retry_after)
        return found

    assert waits("jdoe") == waits("nobody") == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_a_stranger_makes_strangers_wait_but_never_the_person_where_they_are_known(
    site: IdentitySite, clock: FakeClock
) -> None:
    site.person("jdoe", "radiologist")
    site.signed_in("jdoe")
    tries = 0
    while tries < 100:
        outcome = site.sign_in.begin("jdoe", WRONG, Origin(address=f"10.9.{tries}.1"))
        assert isinstance(outcome, SignInRefused)
        tries += 1
        clock.advance(1000)
    assert site.recorder.codes().count(events.ACCOUNT_LOCKED_OUT) == 1
    assert site.sign_in.begin("jdoe", PASSWORD, Origin(address="10.9.0.1")) == SignInRefused(900)
    clock.advance(86_400)
    assert site.sign_in.begin("jdoe", PASSWORD, Origin(address="10.9.0.1")) == SignInRefused(900)
    site.signed_in("jdoe")
    # Signing in at home does not give the stranger another hundred tries.
    assert site.sign_in.begin("jdoe", PASSWORD, Origin(address="10.9.0.1")) == SignInRefused(900)
    site.throttle.reset("jdoe")
    assert isinstance(site.sign_in.begin("jdoe", PASSWORD, Origin(address="10.9.0.1")), SignedIn)


def test_one_address_that_tries_many_names_is_slowed_down(site: IdentitySite, clock: FakeClock) -> None:
    outcomes = [site.sign_in.begin(f"name{n}", WRONG, THERE) for n in range(25)]
    assert outcomes[:20] == [SignInRefused()] * 20
    assert all(isinstance(o, SignInRefused) and o.retry_after > 0 for o in outcomes[20:])
    clock.advance(60)
    assert site.sign_in.begin("name", WRONG, THERE) == SignInRefused()


def test_many_people_behind_one_address_all_get_in(site: IdentitySite) -> None:
    for n in range(40):
        site.person(f"reader{n}", "radiologist")
    for n in range(40):
        site.signed_in(f"reader{n}")


def test_nothing_is_granted_when_the_log_takes_nothing(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    site.recorder.full = True
    with pytest.raises(AuditUnavailable):
        site.sign_in.begin("jdoe", PASSWORD, HERE)
    site.recorder.full = False
    assert site.sessions.all() == ()


def test_a_password_that_must_be_changed_opens_nothing_but_its_change(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    site.accounts.change("jdoe", Origin(by="user:admin"), must_change=True)
    outcome = site.sign_in.begin("jdoe", PASSWORD, HERE)
    assert isinstance(outcome, MustChangePassword)
    assert site.sessions.all() == ()
    again = site.sign_in.change_password(outcome.pending, PASSWORD, HERE)
    assert isinstance(again, MustChangePassword)
    assert again.problems
    short = site.sign_in.change_password(outcome.pending, Secret(b"short"), HERE)
    assert isinstance(short, MustChangePassword)
    assert "15" in short.problems[0]
    new = Secret("ein ganz anderer Satz über Schafe".encode())
    assert isinstance(site.sign_in.change_password(outcome.pending, new, HERE), SignedIn)
    assert not site.account("jdoe").must_change
    assert site.sign_in.begin("jdoe", PASSWORD, HERE) == SignInRefused()
    # The same text, typed on a keyboard that composes its letters the other way.
    composed = Secret("ein ganz anderer Satz u\u0308ber Schafe".encode())
    assert isinstance(site.sign_in.begin("jdoe", composed, HERE), SignedIn)


def test_a_new_password_cannot_be_set_with_a_pending_that_did_not_ask_for_it(site: IdentitySite) -> None:
    site.person("jdoe", "pacs-administrator")
    seed = site.enrol_totp("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    new = Secret(b"taken over by somebody else")
    assert site.sign_in.change_password(outcome.pending, new, HERE) == SignInRefused()
    site.accounts.change("jdoe", Origin(), must_change=True)
    assert site.sign_in.change_password(outcome.pending, new, HERE) == SignInRefused()
    asked = site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE)
    assert isinstance(asked, MustChangePassword)


def test_setting_a_password_ends_the_sessions_of_who_knew_the_old_one(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    mine, thief = site.signed_in("jdoe"), site.signed_in("jdoe", THERE_ON_SITE)
    account = site.account("jdoe")
    keep = mine.session.session_id
    site.sign_in.set_password(account, Secret(b"something that is new here"), HERE, keep_session=keep)
    assert [s.session_id for s in site.sessions.of("jdoe")] == [keep]
    assert site.sessions.get(thief.session.session_id) is None


def test_somebody_changes_their_own_password_with_the_old_one(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    mine, other = site.signed_in("jdoe"), site.signed_in("jdoe", THERE_ON_SITE)
    new = Secret(b"something that is new here")
    refused = site.sign_in.change_own_password(mine.token, WRONG, new, HERE)
    assert isinstance(refused, SignInRefused)
    with pytest.raises(UsageError):
        site.sign_in.change_own_password(mine.token, PASSWORD, Secret(b"short"), HERE)
    done = site.sign_in.change_own_password(mine.token, PASSWORD, new, HERE)
    assert isinstance(done, SignedIn)
    assert done.token.reveal() != mine.token.reveal()
    assert [s.session_id for s in site.sessions.of("jdoe")] == [mine.session.session_id]
    assert site.sessions.get(other.session.session_id) is None
    assert isinstance(site.sign_in.begin("jdoe", new, HERE), SignedIn)


THERE_ON_SITE = Origin(address="10.200.0.9")


def test_the_legacy_profile_asks_for_a_change_when_its_time_is_over(
    tmp_path: Path, clock: FakeClock, cheap: None
) -> None:
    site = IdentitySite(tmp_path, clock, profile=legacy(days_max=90, classes=2))
    account = site.accounts.create(new_account("jdoe", "radiologist"), Origin())
    site.passwords.set(account, PASSWORD, Origin(), with_factor=False)
    clock.advance(89 * 86_400)
    site.signed_in("jdoe")
    clock.advance(86_400)
    assert isinstance(site.sign_in.begin("jdoe", PASSWORD, HERE), MustChangePassword)
    site.close()


# --- second factors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "kind", "origin"),
    [
        (("pacs-administrator",), AccountKind.PERSON, HERE),
        (("radiologist",), AccountKind.PERSON, THERE),
        (("radiologist",), AccountKind.PERSON, Origin(address="no address")),
        (("radiologist",), AccountKind.VENDOR, HERE),
        (("auditor",), AccountKind.PERSON, HERE),
    ],
)
def test_who_needs_a_second_factor_can_do_nothing_but_enrol_one(
    site: IdentitySite, clock: FakeClock, roles: tuple[str, ...], kind: AccountKind, origin: Origin
) -> None:
    wanted = Account("jdoe", "J", roles, clock.now(), kind=kind, expires_at=clock.now().replace(year=2027))
    account = site.accounts.create(wanted, Origin())
    site.passwords.set(account, PASSWORD, Origin(), with_factor=False)
    outcome = site.sign_in.begin("jdoe", PASSWORD, origin)
    assert isinstance(outcome, MustEnrolFactor)
    assert site.sessions.all() == ()
    assert site.sign_in.finish_totp(outcome.pending, "123456", origin) == SignInRefused()
    assert site.sign_in.finish_recovery_code(outcome.pending, "0-AAAA", origin) == SignInRefused()
    enrolment = site.sign_in.totp_enrolment(outcome.pending, origin)
    assert enrolment is not None
    seed = enrolment.secret.reveal().decode()
    assert seed not in repr(enrolment)
    assert site.sign_in.enrol_totp(outcome.pending, "000000", origin) == SignInRefused()
    done = site.sign_in.enrol_totp(outcome.pending, site.code(seed), origin)
    assert isinstance(done, SignedIn)
    assert done.session.strong_at == clock.now()
    assert not done.session.phishing_resistant


def test_a_vendor_is_out_when_their_time_is_over(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    signed_in = site.signed_in("jdoe")
    site.accounts.set_expiry("jdoe", clock.now().replace(hour=9), Origin(by="user:admin"))
    assert site.sessions.get(signed_in.session.session_id) is not None
    clock.advance(3600)
    assert site.sign_in.begin("jdoe", PASSWORD, HERE) == SignInRefused()
    assert not site.account("jdoe").usable(clock.now())


def test_a_code_is_good_once_and_for_half_a_minute_around(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    first = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert first.factors == (Factor.TOTP,)
    code = site.code(seed)
    clock.advance(29)
    assert isinstance(site.sign_in.finish_totp(first.pending, code[:3] + " " + code[3:], HERE), SignedIn)
    again = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.finish_totp(again.pending, code, HERE) == SignInRefused()
    late = site.code(seed)
    clock.advance(61)
    assert site.sign_in.finish_totp(again.pending, late, HERE) == SignInRefused()


def test_of_two_that_show_the_same_code_at_once_one_gets_in(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    for _ in range(5):
        pendings = [second(site.sign_in.begin("jdoe", PASSWORD, HERE)).pending for _ in range(2)]
        code = site.code(seed)

        def show(pendings: list[Secret] = pendings, code: str = code) -> object:
            return site.sign_in.finish_totp(pendings.pop(), code, HERE)

        outcomes = in_two_threads(show)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["SignInRefused", "SignedIn"]
        site.clock.advance(30)


def test_a_pending_signs_in_once(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    key = site.enrol_passkey("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert outcome.factors == (Factor.PASSKEY, Factor.TOTP)
    options = site.sign_in.passkey_options(outcome.pending, HERE)
    assert options is not None
    assert isinstance(site.sign_in.finish_passkey(outcome.pending, key.get(options), HERE), SignedIn)
    assert site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE) == SignInRefused()


def test_codes_cannot_be_guessed_by_beginning_again(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    wrong = f"{(int(site.code(seed)) + 1) % 1_000_000:06d}"
    for _ in range(5):
        outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
        assert site.sign_in.finish_totp(outcome.pending, wrong, HERE) == SignInRefused()
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE) == SignInRefused()
    clock.advance(901)
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert isinstance(site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE), SignedIn)


@pytest.mark.parametrize("origin", [THERE, AT_WS1, Origin(address="10.1.2.3", certificate_sha256="cc" * 32)])
def test_a_pending_shown_from_elsewhere_is_nothing(site: IdentitySite, origin: Origin) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.finish_totp(outcome.pending, site.code(seed), origin) == SignInRefused()
    assert isinstance(site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE), SignedIn)


def test_a_pending_lives_five_minutes_and_survives_no_disabling(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    clock.advance(300)
    assert site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE) == SignInRefused()
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    site.accounts.disable("jdoe", Origin(), "left")
    assert site.sign_in.finish_totp(outcome.pending, site.code(seed), HERE) == SignInRefused()


def test_whoever_has_a_factor_cannot_enrol_another_with_a_password_alone(site: IdentitySite) -> None:
    site.person("jdoe", "pacs-administrator")
    site.enrol_totp("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.totp_enrolment(outcome.pending, HERE) is None
    assert site.sign_in.passkey_enrolment_options(outcome.pending, HERE) is None


def test_a_recovery_code_is_good_once_and_on_record(site: IdentitySite) -> None:
    account = site.person("jdoe", "pacs-administrator")
    site.enrol_totp("jdoe")
    codes = site.factors.recovery_codes.replace(account, Origin())
    assert len(set(codes)) == 10
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert Factor.RECOVERY_CODE in outcome.factors
    typed = codes[3].lower().replace("-", " ")
    assert isinstance(site.sign_in.finish_recovery_code(outcome.pending, typed, HERE), SignedIn)
    assert events.CREDENTIAL_USED_UP in site.recorder.codes()
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.finish_recovery_code(outcome.pending, codes[3], HERE) == SignInRefused()
    assert site.factors.recovery_codes.left("jdoe") == 9
    for bad in ("", "9", "x" * 500, codes[4][:-1] + "!", "٣" + codes[3][1:]):
        assert site.factors.recovery_codes.use(account, bad, HERE) is False


def test_of_two_that_show_the_same_recovery_code_one_gets_in(site: IdentitySite) -> None:
    account = site.person("jdoe", "radiologist")
    codes = site.factors.recovery_codes.replace(account, Origin())
    assert sorted(
        bool(used)
        for used in in_two_threads(lambda: site.factors.recovery_codes.use(account, codes[0], HERE))
    ) == [False, True]


# --- passkeys --------------------------------------------------------------------------------------------------------


def with_passkey(site: IdentitySite, key: SoftAuthenticator) -> SignInOutcome:
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    options = site.sign_in.passkey_options(outcome.pending, HERE)
    assert options is not None
    return site.sign_in.finish_passkey(outcome.pending, key.get(options), HERE)


def test_a_passkey_signs_in_and_cannot_be_phished(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "pacs-administrator")
    key = site.enrol_passkey("jdoe")
    outcome = with_passkey(site, key)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.phishing_resistant
    assert outcome.session.strong_at == clock.now()
    assert set(outcome.session.methods) == {"pwd", "pop", "user", "mfa"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "https://pacs.example.org.evil.test"),
        ("origin", "http://pacs.example.org"),
        ("rp_id", "evil.test"),
        ("verifies_user", False),
        ("cross_origin", True),
        ("credential_id", b"another" * 4),
        ("key", SoftAuthenticator().key),
    ],
)
def test_an_assertion_that_does_not_hold_is_refused(site: IdentitySite, name: str, value: object) -> None:
    site.person("jdoe", "pacs-administrator")
    key = site.enrol_passkey("jdoe")
    setattr(key, name, value)
    assert with_passkey(site, key) == SignInRefused()
    assert site.recorder.events[-1].code == events.AUTHENTICATION_FAILED


def test_a_passkey_of_somebody_else_is_refused(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    site.person("mallory", "radiologist")
    site.enrol_passkey("jdoe")
    assert with_passkey(site, site.enrol_passkey("mallory")) == SignInRefused()


def test_a_replayed_assertion_is_refused(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    key = site.enrol_passkey("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    options = site.sign_in.passkey_options(outcome.pending, HERE)
    assert options is not None
    response = key.get(options)
    assert isinstance(site.sign_in.finish_passkey(outcome.pending, response, HERE), SignedIn)
    again = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.finish_passkey(again.pending, response, HERE) == SignInRefused()
    assert site.sign_in.passkey_options(again.pending, HERE) is not None
    assert site.sign_in.finish_passkey(again.pending, response, HERE) == SignInRefused()


def test_a_counter_that_runs_backwards_is_an_alert(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    key = site.enrol_passkey("jdoe")
    key.counter = 10
    assert isinstance(with_passkey(site, key), SignedIn)
    key.counter = 9
    assert with_passkey(site, key) == SignInRefused()
    assert events.SECURITY_ALERT in site.recorder.codes()
    key.counter = -1
    assert with_passkey(site, key) == SignInRefused()


def test_a_passkey_without_a_counter_goes_on_working(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    key = site.enrol_passkey("jdoe")
    for _ in range(2):
        key.counter = -1
        assert isinstance(with_passkey(site, key), SignedIn)


@pytest.mark.parametrize(
    "response", ["", "{}", "[]", "null", '{"id": 3}', "x" * 70_000, '{"id":"a","rawId":"a"}']
)
def test_what_is_no_assertion_is_refused(site: IdentitySite, response: str) -> None:
    site.person("jdoe", "radiologist")
    site.enrol_passkey("jdoe")
    outcome = second(site.sign_in.begin("jdoe", PASSWORD, HERE))
    assert site.sign_in.passkey_options(outcome.pending, HERE) is not None
    assert site.sign_in.finish_passkey(outcome.pending, response, HERE) == SignInRefused()


def test_a_passkey_alone_is_enough_when_it_verifies_its_user(site: IdentitySite) -> None:
    site.accounts.create(new_account("jdoe", "pacs-administrator"), Origin())
    key = site.enrol_passkey("jdoe")
    pending, options = site.sign_in.begin_passkey(THERE)
    outcome = site.sign_in.finish_passkey(pending, key.get(options), THERE)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.account_id == "jdoe"
    pending, options = site.sign_in.begin_passkey(THERE)
    key.verifies_user = False
    assert site.sign_in.finish_passkey(pending, key.get(options), THERE) == SignInRefused()
    key.verifies_user, key.user_handle = True, b"somebody else"
    pending, options = site.sign_in.begin_passkey(THERE)
    assert site.sign_in.finish_passkey(pending, key.get(options), THERE) == SignInRefused()


def test_the_pending_of_a_passkey_alone_is_good_for_nothing_else(site: IdentitySite) -> None:
    pending, _ = site.sign_in.begin_passkey(HERE)
    assert site.sign_in.finish_totp(pending, "123456", HERE) == SignInRefused()
    assert site.sign_in.finish_recovery_code(pending, "0-AAAA", HERE) == SignInRefused()
    assert site.sign_in.change_password(pending, PASSWORD, HERE) == SignInRefused()
    assert site.sign_in.totp_enrolment(pending, HERE) is None
    assert site.sign_in.passkey_options(pending, HERE) is None


def test_an_administrator_enrols_a_passkey_that_verifies_its_user(site: IdentitySite) -> None:
    site.person("jdoe", "pacs-administrator")
    outcome = site.sign_in.begin("jdoe", PASSWORD, HERE)
    assert isinstance(outcome, MustEnrolFactor)
    key = SoftAuthenticator(verifies_user=False)
    options = site.sign_in.passkey_enrolment_options(outcome.pending, HERE)
    assert options is not None
    assert site.sign_in.enrol_passkey(outcome.pending, key.create(options), "key", HERE) == SignInRefused()
    key.verifies_user = True
    # The challenge is spent by the first answer.
    assert site.sign_in.enrol_passkey(outcome.pending, key.create(options), "key", HERE) == SignInRefused()
    options = site.sign_in.passkey_enrolment_options(outcome.pending, HERE)
    assert options is not None
    done = site.sign_in.enrol_passkey(outcome.pending, key.create(options), "key", HERE)
    assert isinstance(done, SignedIn)
    assert isinstance(with_passkey(site, key), SignedIn)


def test_one_credential_is_not_two_peoples(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    key = site.enrol_passkey("jdoe")
    mallory = site.person("mallory", "radiologist")
    challenge, options = site.factors.passkeys.options_to_enrol(mallory, verify_user=False)
    made = site.factors.passkeys.enrol(
        mallory, challenge, key.create(options), "key", Origin(), verify_user=False
    )
    assert type(made).__name__ == "PasskeyRefused"


# --- a session's own factors and step-up -----------------------------------------------------------------------------


def test_step_up_renews_the_strong_factor_and_the_token(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    key = site.enrol_passkey("jdoe")
    outcome = with_passkey(site, key)
    assert isinstance(outcome, SignedIn)
    clock.advance(800)
    options = site.sign_in.step_up_options(outcome.token, HERE)
    assert options is not None
    response = key.get(options)
    done = site.sign_in.step_up_passkey(outcome.token, response, HERE)
    assert isinstance(done, SignedIn)
    assert done.session.session_id == outcome.session.session_id
    assert done.session.strong_at == clock.now()
    assert site.sign_in.step_up_options(outcome.token, HERE) is None  # the token of before is dead
    assert site.sign_in.step_up_passkey(done.token, response, HERE) == SignInRefused()
    assert events.STEP_UP_SUCCEEDED in site.recorder.codes()


def test_step_up_by_code_is_not_phishing_resistant_and_a_used_code_is_none(
    site: IdentitySite, clock: FakeClock
) -> None:
    site.person("jdoe", "radiologist")
    seed = site.enrol_totp("jdoe")
    pending = second(site.sign_in.begin("jdoe", PASSWORD, HERE)).pending
    code = site.code(seed)
    outcome = site.sign_in.finish_totp(pending, code, HERE)
    assert isinstance(outcome, SignedIn)
    assert site.sign_in.step_up_totp(outcome.token, code, HERE) == SignInRefused()
    clock.advance(30)
    done = site.sign_in.step_up_totp(outcome.token, site.code(seed), HERE)
    assert isinstance(done, SignedIn)
    assert not done.session.phishing_resistant


def test_factors_change_only_in_a_fresh_session(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    outcome = site.signed_in("jdoe")
    clock.advance(899)
    enrolment = site.sign_in.totp_enrolment(outcome.token, HERE)
    assert enrolment is not None
    seed = enrolment.secret.reveal().decode()
    done = site.sign_in.enrol_totp(outcome.token, site.code(seed), HERE)
    assert isinstance(done, SignedIn)
    assert done.session.strong_at is None  # making one proves nothing
    assert site.sign_in.new_recovery_codes(done.token, HERE) is None
    clock.advance(30)
    done = site.sign_in.step_up_totp(done.token, site.code(seed), HERE)
    assert isinstance(done, SignedIn)
    codes = site.sign_in.new_recovery_codes(done.token, HERE)
    assert codes is not None
    assert len(codes) == 10
    assert site.sign_in.remove_factor(done.token, Factor.TOTP, "", HERE)


def test_the_last_factor_that_is_needed_cannot_be_removed(site: IdentitySite) -> None:
    site.person("jdoe", "pacs-administrator")
    key = site.enrol_passkey("jdoe")
    outcome = with_passkey(site, key)
    assert isinstance(outcome, SignedIn)
    passkey_id = site.factors.passkeys.of("jdoe")[0].passkey_id
    assert not site.sign_in.remove_factor(outcome.token, Factor.PASSKEY, passkey_id, HERE)
    site.enrol_totp("jdoe")
    assert not site.sign_in.remove_factor(outcome.token, Factor.PASSKEY, "zz", HERE)
    assert site.sign_in.remove_factor(outcome.token, Factor.PASSKEY, passkey_id, HERE)


# --- badge -----------------------------------------------------------------------------------------------------------

BADGE, PIN = Secret(b"04:A2:19:7F"), Secret(b"493816")


def at_workstation(site: IdentitySite) -> SignedIn:
    account = site.person("jdoe", "radiologist")
    site.factors.badges.enrol(account, BADGE, PIN, Origin())
    outcome = site.signed_in("jdoe", AT_WS1)
    assert site.sessions.lock(outcome.session.session_id, AT_WS1)
    return outcome


def test_a_badge_opens_a_locked_session_at_its_workstation_only(site: IdentitySite, clock: FakeClock) -> None:
    outcome = at_workstation(site)
    clock.advance(60)
    for elsewhere in (HERE, AT_WS2, THERE):
        assert site.sign_in.unlock_badge(outcome.token, BADGE, PIN, elsewhere) == SignInRefused()
    done = site.sign_in.unlock_badge(outcome.token, BADGE, PIN, AT_WS1)
    assert isinstance(done, SignedIn)
    assert done.session.locked_at is None
    assert done.session.authenticated_at == outcome.session.authenticated_at  # a badge is no full sign-in
    assert site.sign_in.unlock_badge(outcome.token, BADGE, PIN, AT_WS1) == SignInRefused()


def test_five_wrong_pins_end_the_session(site: IdentitySite) -> None:
    outcome = at_workstation(site)
    for _ in range(5):
        assert site.sign_in.unlock_badge(outcome.token, BADGE, Secret(b"000000"), AT_WS1) == SignInRefused()
    assert site.sign_in.unlock_badge(outcome.token, BADGE, PIN, AT_WS1) == SignInRefused()
    assert site.sessions.all() == ()


def test_the_password_opens_a_locked_session_too(site: IdentitySite) -> None:
    outcome = at_workstation(site)
    assert isinstance(site.sign_in.unlock_password(outcome.token, WRONG, AT_WS1), SignInRefused)
    assert isinstance(site.sign_in.unlock_password(outcome.token, PASSWORD, AT_WS1), SignedIn)


def test_a_badge_needs_a_locked_session_and_a_workstation(site: IdentitySite) -> None:
    account = site.person("jdoe", "radiologist")
    site.factors.badges.enrol(account, BADGE, PIN, Origin())
    outcome = site.signed_in("jdoe")
    assert site.sign_in.unlock_badge(outcome.token, BADGE, PIN, HERE) == SignInRefused()
    site.sessions.lock(outcome.session.session_id, HERE)
    assert site.sign_in.unlock_badge(outcome.token, BADGE, PIN, HERE) == SignInRefused()


# --- vouched for -----------------------------------------------------------------------------------------------------


def vouched(clock: FakeClock, **more: object) -> Vouched:
    said: dict[str, object] = {"display_name": "Jane Doe", "roles": ("radiologist",), **more}
    return Vouched("https://idp", "42", ("pwd",), clock.now(), **said)  # type: ignore[arg-type]  # by name


def test_who_is_vouched_for_has_an_account_or_is_nobody(site: IdentitySite, clock: FakeClock) -> None:
    assert site.sign_in.begin_vouched(vouched(clock), HERE) == SignInRefused()
    wanted = Account("jane", "Jane", (), clock.now(), issuer="https://idp", subject="42")
    site.accounts.create(wanted, Origin())
    outcome = site.sign_in.begin_vouched(vouched(clock), HERE)
    assert isinstance(outcome, SignedIn)
    assert site.account("jane").roles == ("radiologist",)
    # Its groups changed: the new roles count, and the session that had the old ones is over.
    again = site.sign_in.begin_vouched(vouched(clock, roles=("technologist",)), HERE)
    assert isinstance(again, SignedIn)
    assert site.sessions.get(outcome.session.session_id) is None
    site.accounts.disable("jane", Origin(), "left")
    assert site.sign_in.begin_vouched(vouched(clock), HERE) == SignInRefused()


def test_an_account_is_made_where_the_site_says_so(tmp_path: Path, clock: FakeClock, cheap: None) -> None:
    policy = SignInPolicy(administrator_roles=ADMINISTRATORS, make_accounts=True)
    site = IdentitySite(tmp_path, clock, policy=policy)
    assert isinstance(site.sign_in.begin_vouched(vouched(clock), HERE), SignedIn)
    (account,) = site.accounts.all()
    assert account.account_id.startswith("jane-doe-")
    again = site.sign_in.begin_vouched(vouched(clock, roles=None, display_name="X"), HERE)
    assert isinstance(again, SignedIn)
    assert len(site.accounts.all()) == 1
    nobody = Vouched("https://idp", "43", ("pwd",), clock.now(), display_name="Nobody")
    assert site.sign_in.begin_vouched(nobody, HERE) == SignInRefused()
    site.close()


def test_a_provider_that_does_not_vouch_for_two_factors_leaves_the_second_to_us(
    site: IdentitySite, clock: FakeClock
) -> None:
    wanted = Account("jane", "Jane", (), clock.now(), issuer="https://idp", subject="42")
    site.accounts.create(wanted, Origin())
    assert isinstance(site.sign_in.begin_vouched(vouched(clock), THERE), MustEnrolFactor)
    outcome = site.sign_in.begin_vouched(vouched(clock, multi_factor=True), THERE)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.strong_at == clock.now()


# --- invitations -----------------------------------------------------------------------------------------------------


def test_nobody_becomes_administrator_without_the_token_of_the_console(
    site: IdentitySite, clock: FakeClock
) -> None:
    """S57, S58."""
    operator = Origin(address="local", by="operator:0")

    def redeem(token: Secret, name: str = "admin") -> Account | None:
        return site.invitations.redeem_first(token, name, "Ada", PASSWORD, HERE)

    for guess in (b"", b"admin", b"A" * 39, b"x" * 100_000):
        assert redeem(Secret(guess)) is None
    first = site.invitations.for_first_administrator(operator)
    second_token = site.invitations.for_first_administrator(operator)
    assert redeem(first) is None  # the newer one replaced it
    raw = (site.database.reading, second_token.reveal().replace(b"-", b""))
    with raw[0]() as snapshot:
        assert raw[1] not in repr(snapshot.execute("SELECT * FROM invitation")).encode()
    clock.advance(24 * 3600)
    assert redeem(second_token) is None
    token = site.invitations.for_first_administrator(operator)
    outcomes = in_two_threads(lambda: redeem(token, f"admin-{threading.get_ident()}"))
    assert sorted(outcome is None for outcome in outcomes) == [False, True]
    assert redeem(token, "again") is None
    (admin,) = site.accounts.all()
    assert admin.roles == ("pacs-administrator",)
    assert isinstance(site.sign_in.begin(admin.account_id, PASSWORD, HERE), MustEnrolFactor)


def test_an_invitation_sets_one_password_once(site: IdentitySite, clock: FakeClock) -> None:
    site.person("jdoe", "radiologist")
    session = site.signed_in("jdoe").session
    token = site.invitations.for_account("jdoe", Origin(by="user:admin"))
    new = Secret(b"an entirely different text")
    typed = Secret(token.reveal().lower().replace(b"-", b" "))
    assert site.sign_in.redeem(typed, new, HERE)
    assert not site.sign_in.redeem(token, PASSWORD, HERE)
    assert site.sessions.get(session.session_id) is None
    assert isinstance(site.sign_in.begin("jdoe", new, HERE), SignedIn)
    token = site.invitations.for_account("jdoe", Origin(by="user:admin"))
    site.accounts.disable("jdoe", Origin(), "left")
    assert not site.sign_in.redeem(token, PASSWORD, HERE)
    assert site.invitations.redeem_first(token, "admin", "Ada", PASSWORD, HERE) is None
