"""What a second review found between sign-in, accounts and administration, each as the test that found it."""

import asyncio
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request

from archive.room import ROOT, Room, image
from fake_clock import FakeClock
from leadglass.archive.access import EmergencyStudies, PolicyRecorder
from leadglass.archive.administration.emergencies import Emergencies
from leadglass.archive.administration.people import People
from leadglass.archive.administration.services import SCOPES, NewClient, ServiceClients
from leadglass.base.errors import AccessDenied
from leadglass.base.secret import Phi, Secret
from leadglass.doors.console.services import SignInServices
from leadglass.doors.console.sign_in import SessionDoor
from leadglass.doors.https.endpoints import PRINCIPAL_KEY
from leadglass.doors.https.gate import ADDRESS_KEY
from leadglass.doors.https.problems import CORRELATION_KEY
from leadglass.doors.https.protocol import TLS_KEY
from leadglass.trust.certs.tls import TLSFacts
from leadglass.trust.identity.access_tokens import IssuedTokens
from leadglass.trust.identity.clients import Clients
from leadglass.trust.identity.federation.mapping import vouched
from leadglass.trust.identity.federation.models import ExternalIdentity, GroupRule, Strength
from leadglass.trust.identity.models import (
    Account,
    Circumstances,
    Origin,
    Principal,
    SignedIn,
    SignInRefused,
    Vouched,
)
from leadglass.trust.identity.sign_in import SignInPolicy
from leadglass.trust.policy.break_glass import BreakGlass
from leadglass.trust.policy.duties import Duties
from trust.identity.identity_site import (
    HERE,
    PASSWORD,
    THERE,
    IdentitySite,
    cheap_passcodes,
    new_account,
)

DIRECTORY = "ldaps://directory.example.org"
OTHER_PLACE = Origin(address="198.51.100.9")


class Directory:
    """A directory that knows one person. Implements ``PasswordSource``."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def check(self, name: str, password: Secret) -> Vouched | None:
        if (name, password.reveal()) != ("jdoe", PASSWORD.reveal()):
            return None
        return Vouched(DIRECTORY, "entry-1", ("pwd",), self._clock.now(), roles=("radiologist",))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(tmp_path: Path, clock: FakeClock) -> Generator[IdentitySite, None, None]:
    with cheap_passcodes():
        made = IdentitySite(tmp_path, clock, directories=[Directory(clock)], policy=SignInPolicy())
        yield made
        made.close()


@pytest.fixture
def room(tmp_path: Path, clock: FakeClock) -> Iterator[Room]:
    made = Room(tmp_path / "room", clock)
    yield made
    made.close()


def test_a_passkey_does_not_stand_in_for_the_identity_provider(site: IdentitySite) -> None:
    """Who had left the identity provider went on signing in here, with the roles of the last time."""
    account = replace(new_account("jane", "radiologist"), issuer="https://idp", subject="42")
    site.accounts.create(account, Origin())
    key = site.enrol_passkey("jane")
    pending, options = site.sign_in.begin_passkey(HERE)
    assert site.sign_in.finish_passkey(pending, key.get(options), HERE) == SignInRefused()
    assert site.sessions.of("jane") == ()


def test_a_strong_factor_of_nobody_knows_when_is_not_a_fresh_one(clock: FakeClock) -> None:
    """A provider that did not say when it had asked for two factors was taken to have asked just now."""
    rules = (GroupRule("officers", ("export-officer",)),)
    strength = Strength(multi_factor=("mfa",))
    identity = ExternalIdentity(issuer="i", subject="s", groups=("officers",), methods=("pwd", "mfa"))
    found = vouched(identity, rules, strength, clock)
    assert isinstance(found, Vouched)
    assert found.multi_factor
    assert (clock.now() - found.authenticated_at).total_seconds() > 15 * 60


def test_strangers_do_not_shut_somebody_of_the_directory_out(site: IdentitySite, clock: FakeClock) -> None:
    """Failures under a name that only the directory knows were counted for everybody together, and for ever."""
    site.accounts.create(
        Account("john-doe", "John Doe", ("radiologist",), clock.now(), issuer=DIRECTORY, subject="entry-1"),
        Origin(),
    )
    assert isinstance(site.sign_in.begin("jdoe", PASSWORD, HERE), SignedIn)
    for _ in range(120):
        site.sign_in.begin("jdoe", Secret(b"guessed"), OTHER_PLACE)
        clock.advance(901)
    refused = site.sign_in.begin("jdoe", PASSWORD, OTHER_PLACE)
    assert isinstance(refused, SignInRefused)
    assert isinstance(site.sign_in.begin("jdoe", PASSWORD, HERE), SignedIn)


def test_mistakes_in_a_name_of_the_directory_are_forgiven(site: IdentitySite, clock: FakeClock) -> None:
    """They added up for as long as the node ran, whatever was right in between."""
    site.accounts.create(
        Account("john-doe", "John Doe", ("radiologist",), clock.now(), issuer=DIRECTORY, subject="entry-1"),
        Origin(),
    )
    for _ in range(8):
        for _ in range(3):
            assert isinstance(site.sign_in.begin("jdoe", Secret(b"slip"), HERE), SignInRefused)
            clock.advance(60)
        assert isinstance(site.sign_in.begin("jdoe", PASSWORD, HERE), SignedIn)


def administrator(clock: FakeClock, *roles: str) -> Principal:
    here = Circumstances(session_id="s", zone="site", strong_at=clock.now(), phishing_resistant=True)
    return Principal("user:admin", roles, address="10.0.0.5", circumstances=here)


def people(room: Room, site: IdentitySite) -> People:
    return People(
        room.access,
        site.accounts,
        site.passwords,
        site.factors,
        site.invitations,
        site.sessions,
        site.throttle.reset,
    )


@pytest.mark.parametrize("role", ["security-officer", "privacy-officer", "key-custodian", "auditor"])
@pytest.mark.parametrize("factors", [False, True])
def test_a_pacs_administrator_does_not_become_who_watches_them(
    room: Room, site: IdentitySite, clock: FakeClock, role: str, factors: bool
) -> None:
    """They reset the account, kept the invitation, removed the factors, and signed in as the security officer."""
    site.person("watcher", role)
    verbs = people(room, site)
    with pytest.raises(AccessDenied):
        verbs.reset(administrator(clock, "pacs-administrator"), "watcher", factors=factors)
    assert site.passwords.exists("watcher")
    operator = Principal("operator:0", ("operator",), address="local")
    assert verbs.reset(operator, "watcher", factors=factors).reveal()


def test_a_pacs_administrator_resets_everybody_else(room: Room, site: IdentitySite, clock: FakeClock) -> None:
    verbs = people(room, site)
    for name, role in (("rad", "radiologist"), ("colleague", "pacs-administrator")):
        site.person(name, role)
        assert verbs.reset(administrator(clock, "pacs-administrator"), name, factors=True).reveal()
    assert isinstance(site.sign_in.begin("rad", PASSWORD, THERE), SignInRefused)


@pytest.mark.parametrize("kind", ["device", "client"])
def test_a_device_or_a_service_is_not_the_person_of_the_same_name(site: IdentitySite, kind: str) -> None:
    """device:jdoe was shown the sessions of user:jdoe, and could end them."""
    site.person("jdoe", "radiologist")
    session = site.signed_in("jdoe").session
    door = SessionDoor(
        SignInServices(
            site.sign_in,
            site.sessions,
            site.accounts,
            site.factors,
            site.sign_in.redeem,
            lambda *_: False,
        )
    )
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "path_params": {"session": session.session_id},
        PRINCIPAL_KEY: Principal(f"{kind}:jdoe", ("store",)),
        ADDRESS_KEY: "10.0.0.9",
        CORRELATION_KEY: "c",
        TLS_KEY: TLSFacts("", "", "", resumed=False),
    }
    assert b"Jdoe" not in asyncio.run(door.me(Request(scope))).body
    assert asyncio.run(door.sessions(Request(scope))).body == b'{"sessions":[]}'
    asyncio.run(door.end_session(Request(scope)))
    assert len(site.sessions.of("jdoe")) == 1


def test_breaking_the_glass_does_not_tell_what_is_held(
    room: Room, site: IdentitySite, clock: FakeClock
) -> None:
    """Whoever is limited to institutions was refused for a study that is held elsewhere, and let in for none at all."""
    room.store(image())
    person = replace(administrator(clock, "radiologist"), institutions=("elsewhere",))
    verbs = Emergencies(
        room.access,
        BreakGlass(site.database, PolicyRecorder(room.audit, clock), EmergencyStudies(room.index), clock),
        room.index,
        room.writer,
    )
    for study_uid in (image().study, f"{ROOT}.404"):
        begun = verbs.begin(person, Phi("unconscious patient in the emergency room"), study_uid=study_uid)
        assert begun.study_uid == study_uid


def test_whoever_says_what_proves_a_service_does_not_get_its_roles_by_that(
    room: Room, site: IdentitySite, clock: FakeClock
) -> None:
    """The roles of a service took two people, but one could put a key of theirs in the place of its own."""
    site.person("boss", "radiologist")
    clients = Clients(site.database, site.accounts, site.recorder, Duties().require, SCOPES)
    services = ServiceClients(room.access, clients, IssuedTokens(clients, clock))
    operator = Principal("operator:0", ("operator",), address="local")
    services.enrol(
        operator,
        NewClient(
            client_id="reader",
            owner="boss",
            scopes=("instance:retrieve",),
            roles=("client", "radiologist"),
            expires_at=clock.now() + timedelta(days=30),
            certificate_sha256=("aa" * 32,),
        ),
    )
    with pytest.raises(AccessDenied):
        services.change(administrator(clock, "pacs-administrator"), "reader", certificate_sha256=("bb" * 32,))
    assert services.change(operator, "reader", certificate_sha256=("cc" * 32,)).roles
