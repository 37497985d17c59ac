"""Verbs on OAuth clients: who may, that roles are given by whoever gives roles, and that tokens end."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc import jwk

from archive.room import Room
from leadglass.archive.administration.services import SCOPES, NewClient, ServiceClients, fingerprint_of
from leadglass.base.errors import AccessDenied, NotFound, StepUpRequired, UsageError
from leadglass.base.limits import CLIENT_DAYS_MAX
from leadglass.trust.identity.access_tokens import IssuedTokens
from leadglass.trust.identity.clients import Clients
from leadglass.trust.identity.models import Circumstances, NotAuthenticated, Principal
from leadglass.trust.policy.duties import Duties
from leadglass.trust.policy.interfaces import SITE, Allowed, Permission
from trust.identity.identity_site import IdentitySite, new_account
from trust.identity.oauth_site import ADMINISTRATOR, Keys

KEYS = Keys(jwk.ECKey.generate_key("P-256"), "ES256")


@pytest.fixture
def people(room: Room, tmp_path: Path) -> IdentitySite:
    folder = tmp_path / "identity"
    folder.mkdir()
    made = IdentitySite(folder, room.clock)
    made.accounts.create(new_account("boss", "radiologist"), ADMINISTRATOR)
    return made


@pytest.fixture
def services(room: Room, people: IdentitySite) -> ServiceClients:
    clients = Clients(people.database, people.accounts, people.recorder, Duties().require, SCOPES)
    return ServiceClients(room.access, clients, IssuedTokens(clients, room.clock))


def person(room: Room, *roles: str) -> Principal:
    """Return somebody who showed a strong factor just now."""
    circumstances = Circumstances(zone="site", methods=("pwd", "mfa"), strong_at=room.clock.now())
    return Principal("user:admin", roles, correlation_id="c", circumstances=circumstances)


def new(room: Room, client_id: str = "reporting", *, days: float = 30) -> NewClient:
    return NewClient(
        client_id=client_id,
        owner="boss",
        scopes=("study:query", "instance:retrieve"),
        expires_at=room.clock.now() + timedelta(days=days),
        jwks=KEYS.jwks,
    )


def test_a_client_is_enrolled_and_its_tokens_end_with_it(room: Room, services: ServiceClients) -> None:
    admin = person(room, "pacs-administrator")
    client = services.enrol(admin, new(room))
    assert services.list(admin) == (client,)
    assert services.get(admin, "reporting") == client
    token = services.tokens.issue(client, ("study:query",), "", 600)
    assert token is not None
    assert isinstance(services.tokens.verify(token, ""), Principal)
    services.disable(admin, "reporting", "test")
    assert isinstance(services.tokens.verify(token, ""), NotAuthenticated)
    with pytest.raises(NotFound):
        services.get(admin, "nobody")


def test_what_changes_a_client_ends_its_tokens(
    room: Room, people: IdentitySite, services: ServiceClients
) -> None:
    admin = person(room, "pacs-administrator")
    people.accounts.create(new_account("heir", "radiologist"), ADMINISTRATOR)
    client = services.enrol(admin, new(room))
    token = services.tokens.issue(client, ("study:query",), "", 600)
    assert token is not None
    assert services.change(admin, "reporting", owner="heir").owner == "heir"
    assert isinstance(services.tokens.verify(token, ""), NotAuthenticated)


@pytest.mark.parametrize("role", ["radiologist", "auditor", "key-custodian", "export-officer"])
def test_others_may_not(room: Room, services: ServiceClients, role: str) -> None:
    other = person(room, role)
    with pytest.raises(AccessDenied):
        services.enrol(other, new(room))
    with pytest.raises(AccessDenied):
        services.change(other, "reporting", owner="boss")
    with pytest.raises(AccessDenied):
        services.disable(other, "reporting", "test")


def test_a_fresh_factor_is_asked_for(room: Room, services: ServiceClients) -> None:
    admin = person(room, "pacs-administrator")
    stale = replace(
        admin,
        circumstances=replace(admin.circumstances, strong_at=room.clock.now() - timedelta(minutes=20)),
    )
    with pytest.raises(StepUpRequired):
        services.enrol(stale, new(room))
    services.list(stale)  # looking needs none that is fresh


def test_other_roles_are_given_by_whoever_gives_roles(room: Room, services: ServiceClients) -> None:
    wanted = replace(new(room), roles=("client", "radiologist"))
    with pytest.raises(AccessDenied):
        services.enrol(person(room, "pacs-administrator"), wanted)
    operator = Principal("operator:0", ("operator",), correlation_id="c")
    assert services.enrol(operator, wanted).roles == ("client", "radiologist")
    with pytest.raises(UsageError, match="does not administer"):
        services.enrol(operator, replace(new(room, "more"), roles=("client", "security-officer")))


def test_every_client_has_an_end(room: Room, services: ServiceClients) -> None:
    admin = person(room, "pacs-administrator")
    services.enrol(admin, new(room, days=CLIENT_DAYS_MAX))
    for days in (CLIENT_DAYS_MAX + 1, 0, -1):
        with pytest.raises(UsageError):
            services.enrol(admin, new(room, "more", days=days))
        with pytest.raises(UsageError):
            services.change(admin, "reporting", expires_at=room.clock.now() + timedelta(days=days))


def test_scopes_are_what_policy_may_give_a_service(room: Room) -> None:
    """Each scope lets a client do what it names, about the site at least; nothing that is no scope can be had."""
    for permission in Permission:
        circumstances = Circumstances(purpose="TREAT", zone="site", scopes=(permission.value,))
        client = Principal("client:x", ("client",), correlation_id="c", circumstances=circumstances)
        allowed = isinstance(room.access.policy.decide(client, permission, SITE), Allowed)
        assert allowed == (permission.value in SCOPES), permission


def test_what_is_no_certificate() -> None:
    for text in ("", "nonsense", "\u00e4", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(UsageError):
            fingerprint_of(text)
