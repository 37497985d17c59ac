"""What may be a password, and what is known to be guessed first."""

from hashlib import sha1
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.base.secret import Secret
from leadglass.trust.identity.models import Origin
from leadglass.trust.identity.passwords import (
    LEGACY_LABEL,
    NIST,
    BreachedPasswords,
    CommonPasswords,
    legacy,
    normalised,
)
from leadglass.trust.identity.throttle import WAIT_SECONDS_MAX, AddressBuckets, wait_after
from leadglass.trust.identity.zones import NetworkZones
from trust.identity.identity_site import PASSWORD, IdentitySite, new_account

COMMON = CommonPasswords()
JDOE = new_account("jane.doe", "radiologist")


def test_the_default_asks_for_length_and_nothing_else(site: IdentitySite) -> None:
    assert (NIST.classes, NIST.days_max, NIST.history, NIST.label) == (0, 0, 0, "")

    def problems(text: str, *, with_factor: bool = False) -> int:
        return len(site.passwords.problems(JDOE, Secret(text.encode()), with_factor=with_factor))

    assert problems("mxkqwvtrbnhzpl") == 1
    assert problems("mxkqwvtrbnhzplf") == 0
    assert problems("mxkqwvt", with_factor=True) == 1
    assert problems("mxkqwvtr", with_factor=True) == 0
    assert problems("größte Nebelbänke über Ostsee") == 0
    assert problems("🐑" * 3 + "über die Wiese gelaufen") == 0
    assert problems("ab cd" * 25 + "xyz") == 0
    assert problems("xq kd" * 25 + "xyzw") == 1
    assert site.passwords.problems(JDOE, Secret(b"\xff" * 20), with_factor=False)
    assert site.passwords.problems(JDOE, Secret(b"x" * 5000), with_factor=False)


@pytest.mark.parametrize(
    "text",
    [
        "passwordpassword",
        "Password123456789!",
        "P@ssw0rdP@ssw0rd",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "123456789012345",
        "qwertyuiopasdfghjkl",
        "abcdefgh12345678",
        "leadglassleadglass",
        "Leadglass-Radiology-2026",
        "jane.doe.jane.doe",
        "Jane.Doe2026!!!!!",
        "stmary stmary 2026",
        "correct horse battery staple",
    ],
)
def test_what_is_guessed_first_is_not_taken(site: IdentitySite, text: str) -> None:
    assert site.passwords.problems(JDOE, Secret(text.encode()), with_factor=False)


@pytest.mark.parametrize(
    "text",
    ["the quick brown fox hops", "mxkqwvtrbnhzplf", "seven sheep jumped a gate", "Zug um 7:14 verpasst"],
)
def test_a_sentence_is_taken(site: IdentitySite, text: str) -> None:
    assert site.passwords.problems(JDOE, Secret(text.encode()), with_factor=False) == ()


@given(st.text(min_size=1, max_size=40))
def test_looking_for_common_passwords_ends_for_every_text(text: str) -> None:
    assert COMMON.contains(text * 2) in {True, False}
    if len(text) <= 3 and not text.isspace():
        assert COMMON.contains(text * 8) or not "".join(c for c in text.casefold() if not c.isspace())


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breached=st.sets(WORDS, min_size=1, max_size=200), other=WORDS, counted=st.booleans())
def test_the_file_of_breached_passwords_holds_what_was_written_and_nothing_else(
    tmp_path: Path, breached: set[str], other: str, *, counted: bool
) -> None:
    lines = sorted(sha1(text.encode()).hexdigest().upper() for text in breached)
    path = tmp_path / "breached"
    path.write_bytes(
        b"".join(f"{x}:{n}\r\n".encode() if counted else f"{x}\n".encode() for n, x in enumerate(lines))
    )
    found = BreachedPasswords(path)
    assert all(found.contains(text) for text in breached)
    assert found.contains(other) == (other in breached)


def test_a_file_that_is_no_sorted_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        BreachedPasswords(tmp_path / "missing")
    (tmp_path / "words").write_text("password\n")
    with pytest.raises(ConfigurationError):
        BreachedPasswords(tmp_path / "words")


def test_the_legacy_profile_carries_its_label_and_remembers(
    tmp_path: Path, clock: FakeClock, cheap: None
) -> None:
    profile = legacy(minimum=12, classes=3, history=2)
    assert profile.label == LEGACY_LABEL
    site = IdentitySite(tmp_path, clock, profile=profile)
    account = site.accounts.create(JDOE, Origin())
    texts = ["Seven sheep 1", "Eight goats 22", "Nine horses 333", "Ten llamas 4444"]
    for text in texts:
        site.passwords.set(account, Secret(text.encode()), Origin(), with_factor=True)
        clock.advance(1)
    problems = site.passwords.problems(account, Secret(b"allsmallletters"), with_factor=True)
    assert any(LEGACY_LABEL in problem for problem in problems)
    for used in texts[1:]:
        with pytest.raises(UsageError):
            site.passwords.set(account, Secret(used.encode()), Origin(), with_factor=True)
    site.passwords.set(account, Secret(texts[0].encode()), Origin(), with_factor=True)
    site.close()
    for bad in ({"minimum": 4}, {"classes": 5}, {"history": 100}, {"days_max": -1}):
        with pytest.raises(ConfigurationError):
            legacy(**bad)


def test_a_short_password_must_be_changed_when_the_second_factor_is_gone(site: IdentitySite) -> None:
    account = site.accounts.create(new_account("jdoe", "radiologist"), Origin())
    short = Secret(b"mxkqwvtrb")
    site.passwords.set(account, short, Origin(), with_factor=True)
    for with_factor in (True, False):
        verdict = site.passwords.verify("jdoe", short, usable=True, with_factor=with_factor)
        assert verdict is not None
        assert verdict.right
        assert verdict.must_change is not with_factor


def test_a_password_is_kept_as_a_verifier_only(site: IdentitySite) -> None:
    site.person("jdoe", "radiologist")
    with site.database.reading() as snapshot:
        rows = snapshot.execute("SELECT * FROM password")
    assert PASSWORD.reveal().decode() not in repr(rows)
    assert rows[0][1].startswith("$argon2id$")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_password_is_the_same_however_its_letters_are_composed(text: str) -> None:
    forms = {normalised(Secret(normalize(f, text).encode("utf-8"))) for f in ("NFC", "NFD", "NFKC")}
    assert len(forms) == 1


@given(st.integers(0, 10_000))
def test_waits_grow_and_end_at_a_quarter_of_an_hour(failures: int) -> None:
    assert 0 <= wait_after(failures) <= wait_after(failures + 1) <= WAIT_SECONDS_MAX


@given(st.lists(st.floats(0, 100), max_size=200))
def test_a_bucket_never_gives_more_than_its_burst_and_what_was_given_back(pauses: list[float]) -> None:
    clock = FakeClock()
    buckets = AddressBuckets(clock, burst=5, per_second=0.5)
    given_out = 0
    start = clock.monotonic()
    for pause in pauses:
        clock.advance(pause)
        given_out += buckets.take("10.0.0.1") == 0
        assert given_out <= 5 + (clock.monotonic() - start) * 0.5 + 1e-6


def test_buckets_of_many_addresses_are_bounded() -> None:
    buckets = AddressBuckets(FakeClock())
    for n in range(20_000):
        buckets.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(buckets._levels) <= 16_384  # pyright: ignore[reportPrivateUsage]


def test_one_network_does_not_get_more_by_many_addresses() -> None:
    buckets = AddressBuckets(FakeClock(), burst=5)
    assert sum(buckets.take(f"10.0.0.{n}") == 0 for n in range(250)) == 20
    assert sum(buckets.take(f"2001:db8::{n:x}") == 0 for n in range(250)) == 20


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("127.0.0.1", "local"),
        ("::1", "local"),
        ("10.1.2.3", "site"),
        ("::ffff:10.1.2.3", "site"),
        ("10.9.0.1", "theatre"),
        ("192.0.2.1", "remote"),
        ("", "remote"),
        ("10.1.2.3, 127.0.0.1", "remote"),
        ("0x7f.1", "remote"),
    ],
)
def test_the_narrowest_network_names_the_zone(address: str, zone: str) -> None:
    zones = NetworkZones({"site": ["10.0.0.0/8"], "theatre": ["10.9.0.0/16"]})
    assert zones.of(address) == zone


def test_zones_that_cannot_be_are_refused() -> None:
    for bad in ({"site": ["10.0.0.1/8"]}, {"a": ["10.0.0.0/8"], "b": ["10.0.0.0/8"]}):
        with pytest.raises(ConfigurationError):
            NetworkZones(bad)
