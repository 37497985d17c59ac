"""Services and scripts: who they are, and who answers for them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from leadglass.base.errors import AuditUnavailable, NotFound, UsageError
from leadglass.trust.identity import events
from leadglass.trust.identity.clients import Clients
from trust.identity.identity_site import new_account
from trust.identity.oauth_site import ADMINISTRATOR, CERTIFICATE, SCOPES, OAuthSite, check_roles


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OAuthSite]:
    made = OAuthSite(tmp_path)
    yield made
    made.identity.close()


def test_a_client_is_held_and_kept(site: OAuthSite) -> None:
    client = site.enrol()
    assert site.clients.usable("reporting") == client
    assert site.clients.all() == (client,)
    event = site.recorder.events[-1]
    assert (event.code, event.principal_id) == (events.CLIENT_ENROLLED, "client:reporting")
    assert event.facts["owner"] == "boss"
    assert event.origin == ADMINISTRATOR
    with site.identity.database.reading() as snapshot:
        rows = snapshot.execute("SELECT client_id FROM oauth_client")
    assert rows == [("reporting",)]


def test_after_a_restart_it_is_the_same(tmp_path: Path) -> None:
    site = OAuthSite(tmp_path)
    client = site.enrol()
    database = site.identity.database
    database._rooms.discard("oauth-clients")  # the same process opens it again
    again = Clients(database, site.identity.accounts, site.recorder, check_roles, SCOPES)
    assert again.usable("reporting") == client
    assert again.keys_of("reporting") is not None
    site.identity.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "Reporting"},
        {"client_id": ""},
        {"client_id": "a" * 65},
        {"owner": "nobody"},
        {"roles": ()},
        {"scopes": ()},
        {"scopes": ("everything",)},
        {"jwks": ""},
        {"jwks": "{}"},
        {"jwks": '{"keys": []}'},
        {"jwks": '{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}]}'},
        {"certificate_sha256": ("AB" * 32,)},
        {"certificate_sha256": ("ab",)},
        {"roles": ("client", "key-custodian")},
        {"description": "a\nb"},
    ],
    ids=str,
)
def test_what_is_no_client(site: OAuthSite, changes: dict[str, Any]) -> None:
    client_id = changes.pop("client_id", "reporting")
    with pytest.raises(UsageError):
        site.enrol(client_id, **changes)
    assert site.clients.all() == ()


def test_an_end_is_needed(site: OAuthSite) -> None:
    with pytest.raises(UsageError):
        site.enrol(expires_at=site.clock.now())


def test_an_id_is_never_used_again(site: OAuthSite) -> None:
    site.enrol()
    site.clients.disable("reporting", ADMINISTRATOR, "retired")
    with pytest.raises(UsageError):
        site.enrol()


def test_who_was_disabled_is_of_no_use(site: OAuthSite) -> None:
    site.enrol()
    site.clients.disable("reporting", ADMINISTRATOR, "retired")
    assert site.clients.usable("reporting") is None
    assert site.recorder.events[-1].code == events.CLIENT_REVOKED
    count = len(site.recorder.events)
    site.clients.disable("reporting", ADMINISTRATOR, "again")
    assert len(site.recorder.events) == count
    with pytest.raises(NotFound):
        site.clients.disable("nobody", ADMINISTRATOR, "?")


def test_a_client_ends_by_itself(site: OAuthSite) -> None:
    site.enrol(expires_at=site.clock.now() + timedelta(seconds=10))
    assert site.clients.usable("reporting") is not None
    site.clock.advance(10)
    assert site.clients.usable("reporting") is None


def test_a_client_without_its_owner_waits_for_another(site: OAuthSite) -> None:
    site.enrol()
    site.identity.accounts.disable("boss", ADMINISTRATOR, "left")
    assert site.clients.usable("reporting") is None
    site.identity.accounts.create(new_account("heir", "pacs-administrator"), ADMINISTRATOR)
    site.clients.change("reporting", ADMINISTRATOR, owner="heir")
    assert site.clients.usable("reporting") is not None


def test_nothing_changes_that_is_not_on_record(site: OAuthSite) -> None:
    client = site.enrol()
    site.recorder.full = True
    with pytest.raises(AuditUnavailable):
        site.clients.change("reporting", ADMINISTRATOR, certificate_sha256=(CERTIFICATE,))
    with pytest.raises(AuditUnavailable):
        site.clients.disable("reporting", ADMINISTRATOR, "?")
    assert site.clients.get("reporting") == client
