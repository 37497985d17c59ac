"""A site's own policies: validated, applied whole, chained, authenticated, and never less than the guard rails."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_clock import FakeClock
from leadglass.base.errors import AuditUnavailable, ConfigurationError, IntegrityError, UsageError
from leadglass.base.limits import POLICY_LOOK_SECONDS
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.bundle import NOTHING_ADDED, SiteBundle, read_bundle
from leadglass.trust.policy.bundle_store import POLICY_VERSION_FACT, SitePolicy
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.duties import Duties
from leadglass.trust.policy.interfaces import Allowed, Denied
from trust.policy.people import CLOCK, DEVICE_ROLES, MATRIX, P, comer, fresh, granted, may, person, study
from trust.policy.site import Events, Tags

ANNA = Principal("user:anna", ("security-officer",))
BERT = Principal("user:bert", ("security-officer",))

CARDIOLOGY = SiteBundle(
    {
        "cardiology.cedar": """
// Cardiologists see hearts.
@id("cardiologist-sees-hearts")
permit (
  principal in Leadglass::Role::"cardiologist",
  action in [Leadglass::Action::"study:query", Leadglass::Action::"instance:retrieve"],
  resource is Leadglass::Study
)
when { resource.body_parts.contains("HEART") };

// And may ask.
@id("cardiologist-asks")
permit (
  principal in Leadglass::Role::"cardiologist",
  action == Leadglass::Action::"study:query",
  resource is Leadglass::Site
);

// Nobody retrieves at night without a key.
@id("night-needs-key")
@step_up("true")
forbid (principal, action == Leadglass::Action::"instance:retrieve", resource)
when { context.hour < 6 && principal.kind == "user" && !context.phishing_resistant };
"""
    },
    '{"cardiologist": {"description": "Reads hearts.", "includes": ["referring-physician"]}}',
)
OPEN = SiteBundle({"open.cedar": '@id("open") permit (principal, action, resource);'})
HEART = study(body_parts=frozenset({"HEART"}))

Opener = Callable[..., SitePolicy]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def opened(tmp_path: Path, events: Events, clock: FakeClock) -> Opener:
    def opening(folder: str = "policy", **options: bool | int) -> SitePolicy:
        return SitePolicy(tmp_path / folder, Tags(), clock, events, **options)  # type: ignore[arg-type]

    return opening


def test_a_site_that_adds_nothing_has_the_policies_of_the_release(opened: Opener) -> None:
    site = opened()
    assert site.bundle_hash == CedarPolicy.load(CLOCK).bundle_hash
    assert site.version == 0
    assert site.history() == ()
    assert isinstance(site.decide(person("radiologist"), P.STUDY_QUERY, study()), Allowed)


def test_what_is_applied_is_in_force_at_once_and_after_a_restart(opened: Opener, events: Events) -> None:
    site = opened()
    before = site.bundle_hash
    changed = list[str]()
    site.on_change(lambda: changed.append(site.bundle_hash))
    entry = site.apply(CARDIOLOGY, ANNA, "new department")
    assert changed == [site.bundle_hash]
    for policy in (site, opened()):
        assert policy.bundle_hash == entry.policies != before
        assert isinstance(policy.decide(person("cardiologist"), P.STUDY_QUERY, HEART), Allowed)
        assert isinstance(policy.decide(person("cardiologist"), P.STUDY_QUERY, study()), Denied)
        assert policy.history() == (entry,)
        assert policy.bundle(entry.bundle) == CARDIOLOGY
        role = policy.catalogue.get("cardiologist")
        assert role is not None
        assert role.description == "Reads hearts."
    assert (entry.number, entry.by, entry.approved_by, entry.reason) == (1, "user:anna", "", "new department")
    (event,) = events.taken
    assert (event.code, event.by) == ("policy:bundle:changed", ANNA)
    assert event.facts["policies"] == entry.policies
    assert event.facts["before"] == before
    assert event.facts["rules_added"] == 3
    assert event.facts[POLICY_VERSION_FACT] == 0
    assert event.detail == {"reason": "new department"}


def test_a_condition_of_the_site_s_own_asks_for_step_up(tmp_path: Path, events: Events) -> None:
    clock = FakeClock()
    site = SitePolicy(tmp_path / "policy", Tags(), clock, events)
    site.apply(CARDIOLOGY, ANNA, "x")
    reader = person("radiologist", circumstances=fresh(phishing_resistant=False))
    assert isinstance(site.decide(reader, P.INSTANCE_RETRIEVE, study()), Allowed)
    clock.advance(17 * 3600)  # one in the morning
    assert site.decide(reader, P.INSTANCE_RETRIEVE, study()) == Denied(
        "a strong factor has to be shown first", ("night-needs-key",), step_up=True
    )


def test_no_guard_rail_can_be_taken_away(opened: Opener) -> None:
    site = opened()
    site.apply(OPEN, ANNA, "an accident")
    now = site.current
    assert may(
        now, person("unheard-of"), P.INSTANCE_RETRIEVE, study()
    )  # it does open what rails do not close
    for principal, permission in (
        (person("key-custodian"), P.STUDY_QUERY),
        (person("pacs-administrator"), P.INSTANCE_RETRIEVE),
        (person("radiologist", circumstances=fresh(purpose="")), P.STUDY_QUERY),
        (person("radiologist", circumstances=fresh(strong_at=None)), P.STUDY_EXPORT),
        (person("radiologist", circumstances=fresh(strong_at=None, zone="remote")), P.STUDY_QUERY),
        (person("radiologist", institutions=("elsewhere",)), P.STUDY_QUERY),
        (person("radiologist", circumstances=fresh(scopes=("workitem:*",))), P.STUDY_QUERY),
        (person("radiologist", circumstances=fresh(risk="high")), P.STUDY_EXPORT),
        (person("operator"), P.STUDY_QUERY),
        (comer("store"), P.STUDY_DELETE),
    ):
        assert not may(now, principal, permission, study())
    for role in DEVICE_ROLES:
        administration = {p for p in MATRIX["operator"] if p is not P.RELATION_ASSIGN}
        assert not granted(now, comer(role)) & administration


@pytest.mark.parametrize(
    "bundle",
    [
        SiteBundle({"guard_rails.cedar": '@id("a") permit (principal, action, resource);'}),
        SiteBundle({"../a.cedar": '@id("a") permit (principal, action, resource);'}),
        SiteBundle({"A.cedar": '@id("a") permit (principal, action, resource);'}),
        SiteBundle({"a.txt": '@id("a") permit (principal, action, resource);'}),
        SiteBundle({"a.cedar": '@id("scopes-limit") permit (principal, action, resource);'}),
        SiteBundle({"a.cedar": "permit (principal, action, resource);"}),
        SiteBundle({"a.cedar": '@id("a") permit (principal, action, resource) when { context.hours < 3 };'}),
        SiteBundle({"a.cedar": '@id("a") permit (principal in Leadglass::Role::"typo", action, resource);'}),
        SiteBundle({"a.cedar": "\ud800"}),
        SiteBundle({}, "[]"),
        SiteBundle({}, '{"Cardiologist": {"description": "x"}}'),
        SiteBundle({}, '{"radiologist": {"description": "x", "includes": ["operator"]}}'),
        SiteBundle({}, '{"c": {"description": "x", "includes": ["operator"]}}'),
        SiteBundle({}, '{"c": {"description": "x", "includes": ["typo"]}}'),
        SiteBundle({}, '{"c": {"description": ""}}'),
        SiteBundle({}, '{"c": {"description": "x", "rights": "all"}}'),
        SiteBundle({}, '{"c": {"description": "x", "includes": ["c"]}}'),
        SiteBundle(
            {}, '{"c": {"description": "x", "includes": ["d"]}, "d": {"description": "x", "includes": ["c"]}}'
        ),
    ],
)
def test_what_is_not_sound_is_not_applied(opened: Opener, events: Events, bundle: SiteBundle) -> None:
    site = opened()
    before = site.bundle_hash
    with pytest.raises(ConfigurationError):
        site.apply(bundle, ANNA, "x")
    with pytest.raises(ConfigurationError):
        site.compare_with_current(bundle)
    assert (site.bundle_hash, site.version, events.taken) == (before, 0, [])


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001])
def test_a_change_says_why(opened: Opener, reason: str) -> None:
    with pytest.raises(UsageError):
        opened().apply(CARDIOLOGY, ANNA, reason)


def test_a_change_that_cannot_be_recorded_does_not_happen(opened: Opener, events: Events) -> None:
    site = opened()
    before = site.bundle_hash
    events.full = True
    with pytest.raises(AuditUnavailable):
        site.apply(CARDIOLOGY, ANNA, "x")
    assert (site.bundle_hash, opened().bundle_hash) == (before, before)


def test_an_older_bundle_comes_back_as_a_new_entry(opened: Opener) -> None:
    site = opened()
    first = site.apply(CARDIOLOGY, ANNA, "one")
    site.apply(OPEN, ANNA, "two")
    third = site.apply(site.bundle(first.bundle), BERT, "back")
    assert third.number == 3
    assert third.bundle == first.bundle
    assert third.policies == first.policies == site.bundle_hash
    assert [entry.previous for entry in site.history()[1:]] == [e.digest for e in site.history()[:-1]]
    nothing = site.apply(NOTHING_ADDED, BERT, "none")
    assert nothing.policies == CedarPolicy.load(CLOCK).bundle_hash
    with pytest.raises(UsageError):
        site.bundle("0" * 64)


def test_another_process_s_change_is_in_force_within_a_moment(opened: Opener, clock: FakeClock) -> None:
    running, command = opened(), opened()
    before = running.bundle_hash
    command.apply(OPEN, ANNA, "x")
    assert running.bundle_hash == before
    clock.advance(POLICY_LOOK_SECONDS)
    assert running.bundle_hash == command.bundle_hash
    assert running.history() == command.history()
    running.apply(CARDIOLOGY, BERT, "y")
    assert command.version == 1
    clock.advance(POLICY_LOOK_SECONDS)
    assert [entry.by for entry in command.history()] == ["user:anna", "user:bert"]


# --- files that were changed beside it ---------------------------------------------------------------------------


def chain(folder: Path) -> Path:
    return folder / "policy" / "applied.policy"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_a_bundle_that_was_changed_on_the_disk_does_not_start(opened: Opener, tmp_path: Path) -> None:
    entry = opened().apply(CARDIOLOGY, ANNA, "x")
    kept = tmp_path / "policy" / "bundles" / f"{entry.bundle}.json"
    kept.write_bytes(kept.read_bytes().replace(b"HEART", b"CHEST"))
    with pytest.raises(IntegrityError):
        opened()
    kept.unlink()
    with pytest.raises(IntegrityError):
        opened()


def test_a_chain_that_was_changed_on_the_disk_does_not_start(opened: Opener, tmp_path: Path) -> None:
    opened().apply(CARDIOLOGY, ANNA, "x")
    flipped(chain(tmp_path))
    with pytest.raises(IntegrityError):
        opened()


def test_the_chain_of_another_site_does_not_start(opened: Opener, tmp_path: Path, events: Events) -> None:
    other = SitePolicy(tmp_path / "policy", Tags(b"o" * 32), FakeClock(), events)
    other.apply(OPEN, ANNA, "x")
    with pytest.raises(IntegrityError):
        opened()


@pytest.mark.parametrize("how", ["flipped", "gone", "older"])
def test_while_the_node_runs_what_is_in_force_stays_and_an_alert_is_raised_once(
    opened: Opener, events: Events, tmp_path: Path, clock: FakeClock, how: str
) -> None:
    site = opened()
    site.apply(OPEN, ANNA, "x")
    shutil.copy(chain(tmp_path), tmp_path / "older")
    site.apply(CARDIOLOGY, ANNA, "y")
    in_force = site.bundle_hash
    del events.taken[:]
    if how == "flipped":
        flipped(chain(tmp_path))
    elif how == "gone":
        chain(tmp_path).unlink()
    else:
        (tmp_path / "older").replace(chain(tmp_path))
    for _ in range(3):
        clock.advance(POLICY_LOOK_SECONDS)
        assert site.bundle_hash == in_force
        assert may(site.current, person("cardiologist"), P.STUDY_QUERY, HEART)
    (alert,) = events.taken
    assert (alert.code, alert.success) == ("site:security:alert", False)
    with pytest.raises(IntegrityError):
        site.apply(OPEN, ANNA, "z")
    assert site.bundle_hash == in_force


def test_an_older_chain_put_back_does_not_start(opened: Opener, events: Events, tmp_path: Path) -> None:
    site = opened()
    site.apply(OPEN, ANNA, "x")
    shutil.copy(chain(tmp_path), tmp_path / "older")
    site.apply(CARDIOLOGY, ANNA, "y")
    (tmp_path / "older").replace(chain(tmp_path))
    with pytest.raises(IntegrityError):
        opened(minimum_version=2)
    chain(tmp_path).unlink()
    with pytest.raises(IntegrityError):
        opened(minimum_version=1)
    assert max(int(event.facts[POLICY_VERSION_FACT]) for event in events.taken) == 1


# --- two people --------------------------------------------------------------------------------------------------


def test_two_people(opened: Opener, events: Events) -> None:
    site = opened(two_persons=True)
    before = site.bundle_hash
    with pytest.raises(UsageError):
        site.apply(CARDIOLOGY, ANNA, "alone")
    proposal = site.propose(CARDIOLOGY, ANNA, "new department")
    assert site.bundle_hash == before
    assert opened(two_persons=True).proposal() == proposal
    assert site.bundle(proposal.bundle) == CARDIOLOGY
    with pytest.raises(UsageError):
        site.approve(proposal.bundle, ANNA)
    with pytest.raises(UsageError):
        site.approve(OPEN.digest, BERT)
    assert site.bundle_hash == before
    entry = site.approve(proposal.bundle, BERT)
    assert (entry.by, entry.approved_by, entry.reason) == ("user:anna", "user:bert", "new department")
    assert site.bundle_hash == entry.policies
    assert site.proposal() is None
    with pytest.raises(UsageError):
        site.approve(proposal.bundle, BERT)
    assert [event.facts["step"] for event in events.taken] == ["proposed", "refused", "applied"]


def test_what_was_proposed_for_other_policies_is_proposed_again(opened: Opener, clock: FakeClock) -> None:
    two, one = opened(two_persons=True), opened()
    proposal = two.propose(CARDIOLOGY, ANNA, "x")
    one.apply(OPEN, BERT, "meanwhile")
    clock.advance(POLICY_LOOK_SECONDS)
    assert two.proposal() is None
    with pytest.raises(UsageError):
        two.approve(proposal.bundle, BERT)
    two.propose(CARDIOLOGY, ANNA, "again")
    two.withdraw(ANNA)
    with pytest.raises(UsageError):
        two.withdraw(ANNA)
    with pytest.raises(UsageError):
        two.approve(proposal.bundle, BERT)


# --- difference --------------------------------------------------------------------------------------------------


def test_the_difference_names_rules_roles_and_verdicts(opened: Opener) -> None:
    site = opened()
    changes = site.compare_with_current(CARDIOLOGY)
    assert changes.added == ("cardiologist-asks", "cardiologist-sees-hearts", "night-needs-key")
    assert changes.roles_added == ("cardiologist",)
    assert (changes.removed, changes.changed, changes.roles_removed) == ((), (), ())
    assert (
        "cardiologist: study:query on a study with body_parts HEART, at the site with a password: "
        "denied becomes allowed" in changes.lines()
    )
    assert "rule added: night-needs-key" in changes.lines()
    assert "role added: cardiologist" in changes.lines()
    assert {verdict.role for verdict in changes.verdicts} == {"cardiologist"}
    assert not site.compare(CARDIOLOGY, CARDIOLOGY)
    back = site.compare(CARDIOLOGY, NOTHING_ADDED)
    assert back.removed == changes.added
    assert {(v.role, v.permission, v.about, v.after, v.before) for v in back.verdicts} == {
        (v.role, v.permission, v.about, v.before, v.after) for v in changes.verdicts
    }


def test_a_changed_rule_is_seen(opened: Opener) -> None:
    other = SiteBundle(
        {"cardiology.cedar": CARDIOLOGY.files["cardiology.cedar"].replace("HEART", "CHEST")},
        CARDIOLOGY.roles.replace("hearts", "chests"),
    )
    changes = opened().compare(CARDIOLOGY, other)
    assert changes.changed == ("cardiologist-sees-hearts",)
    assert changes.roles_changed == ("cardiologist",)
    assert changes.verdicts


def test_a_permit_for_everybody_shows_in_the_dry_run(opened: Opener) -> None:
    verdicts = opened().compare_with_current(OPEN).verdicts
    opens = {(v.role, v.permission) for v in verdicts if v.after == "allowed"}
    assert ("researcher", "instance:move") in opens
    assert not any(role == "key-custodian" and p == "study:query" for role, p in opens)


def test_files_are_read_from_a_folder(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "mine").mkdir()
    for name, text in CARDIOLOGY.files.items():
        (tmp_path / "mine" / name).write_text(text)
    (tmp_path / "mine" / "roles.json").write_text(CARDIOLOGY.roles)
    (tmp_path / "mine" / "README").write_text("not a policy")
    assert read_bundle(tmp_path / "mine") == CARDIOLOGY
    (tmp_path / "mine" / "b.cedar").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError):
        read_bundle(tmp_path / "mine")
    with pytest.raises(ConfigurationError):
        read_bundle(tmp_path / "nowhere")


def test_new_roles_count_where_roles_are_given(opened: Opener) -> None:
    site = opened()
    duties = Duties(lambda: site.catalogue)
    with pytest.raises(UsageError):
        duties.require(("cardiologist",))
    site.apply(CARDIOLOGY, ANNA, "x")
    duties.require(("cardiologist",))
    with pytest.raises(UsageError):
        duties.require(("cardiologist", "privacy-officer"))
