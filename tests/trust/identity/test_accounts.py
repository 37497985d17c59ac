"""Accounts are for ever, on record before they count, and seen by everybody at once."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, NotFound, UsageError
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity import events
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.database import IdentityDatabase
from leadglass.trust.identity.models import Account, AccountKind, Origin
from trust.identity.identity_site import KEY, IdentitySite, Recorder, new_account

ADMIN = Origin(by="user:admin")


def test_an_account_survives_a_restart_as_it_was(tmp_path: Path, clock: FakeClock, cheap: None) -> None:
    site = IdentitySite(tmp_path, clock)
    wanted = Account(
        "jdoe",
        "Jane Doe",
        ("radiologist",),
        clock.now(),
        devices=("device:ct1",),
        institutions=("north",),
        known_as=("DOE^JANE",),
        email="jane@example.org",
        issuer="https://idp",
        subject="42",
    )
    made = site.accounts.create(wanted, ADMIN)
    assert made == wanted
    site.close()
    site = IdentitySite(tmp_path, clock)
    assert site.accounts.get("jdoe") == wanted
    assert site.accounts.by_subject("https://idp", "42") == wanted
    assert site.accounts.by_subject("https://other", "42") is None
    assert site.accounts.by_subject("", "") is None
    site.close()


def test_an_id_is_never_used_again(site: IdentitySite) -> None:
    site.accounts.create(new_account("jdoe", "radiologist"), ADMIN)
    site.accounts.disable("jdoe", ADMIN, "left")
    with pytest.raises(UsageError):
        site.accounts.create(new_account("jdoe", "radiologist"), ADMIN)


@pytest.mark.parametrize(
    "bad",
    [
        {"account_id": "J Doe"},
        {"account_id": ""},
        {"account_id": "x" * 65},
        {"account_id": "jdoe\n"},
        {"account_id": "jürgen"},
        {"display_name": "a\u202eb"},
        {"display_name": "x" * 257},
        {"issuer": "https://idp"},
        {"subject": "42"},
        {"kind": AccountKind.VENDOR},
        {"roles": ("r",) * 257},
        {"email": "a\r\nBcc: b"},
    ],
)
def test_what_is_no_account_is_refused(site: IdentitySite, bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        site.accounts.create(replace(new_account("jdoe"), **bad), ADMIN)  # type: ignore[arg-type]  # by name
    assert site.accounts.all() == ()


def test_one_subject_has_one_account(site: IdentitySite) -> None:
    site.accounts.create(replace(new_account("one"), issuer="i", subject="s"), ADMIN)
    with pytest.raises(UsageError):
        site.accounts.create(replace(new_account("two"), issuer="i", subject="s"), ADMIN)
    site.accounts.create(new_account("two"), ADMIN)
    with pytest.raises(UsageError):
        site.accounts.change("two", ADMIN, subject=("i", "s"))
    site.accounts.change("one", ADMIN, subject=("i", "t"))
    site.accounts.change("two", ADMIN, subject=("i", "s"))
    found = site.accounts.by_subject("i", "s")
    assert found is not None
    assert found.account_id == "two"


def test_nothing_changes_that_is_not_on_record(site: IdentitySite) -> None:
    site.accounts.create(new_account("jdoe", "radiologist"), ADMIN)
    before = site.accounts.all()
    version = site.database.version
    site.recorder.full = True
    with pytest.raises(AuditUnavailable):
        site.accounts.set_roles("jdoe", ["pacs-administrator"], ADMIN)
    with pytest.raises(AuditUnavailable):
        site.accounts.create(new_account("mallory", "pacs-administrator"), ADMIN)
    with pytest.raises(AuditUnavailable):
        site.accounts.disable("jdoe", ADMIN, "left")
    assert site.accounts.all() == before
    assert site.database.version == version
    site.recorder.full = False


def test_roles_that_exclude_each_other_are_refused_whoever_gives_them(
    tmp_path: Path, clock: FakeClock
) -> None:
    def check(roles: Sequence[str]) -> None:
        if {"key-custodian", "radiologist"} <= set(roles):
            raise UsageError("no one person may hold data and keys")

    database = IdentityDatabase(tmp_path / "identity.db", KEY, clock)
    accounts = Accounts(database, Recorder(), check)
    accounts.create(new_account("jdoe", "radiologist"), ADMIN)
    with pytest.raises(UsageError):
        accounts.set_roles("jdoe", ["radiologist", "key-custodian"], ADMIN)
    with pytest.raises(UsageError):
        accounts.create(new_account("eve", "radiologist", "key-custodian"), ADMIN)
    database.close()


def test_changes_at_once_are_all_there(site: IdentitySite) -> None:
    site.accounts.create(new_account("jdoe", "radiologist"), ADMIN)
    told: list[str] = []
    site.accounts.on_change(lambda account: told.append(account.email))

    def change(n: int) -> None:
        site.accounts.create(new_account(f"person{n}", "radiologist"), ADMIN)
        site.accounts.change("jdoe", ADMIN, email=f"{n}@example.org")

    threads = [threading.Thread(target=change, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.accounts.all()) == 9
    assert sorted(t for t in told if t) == [f"{n}@example.org" for n in range(8)]
    assert site.account("jdoe").email == [t for t in told if t][-1]


def test_who_is_not_there_cannot_be_changed(site: IdentitySite) -> None:
    for change in (
        lambda: site.accounts.disable("nobody", ADMIN, "left"),
        lambda: site.accounts.set_roles("nobody", [], ADMIN),
        lambda: site.accounts.enable("nobody", ADMIN),
        lambda: site.invitations.for_account("nobody", ADMIN),
    ):
        with pytest.raises(NotFound):
            change()


def test_every_event_of_identity_is_one_of_the_audit_log() -> None:
    assert {code.value for code in EventCode} >= events.ALL
    assert events.ACCOUNT_CREATED in events.ALL
