"""From groups to roles, and from a provider's words to strength."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from leadglass.trust.identity.federation.distinguished_names import comparable
from leadglass.trust.identity.federation.mapping import roles_of, vouched
from leadglass.trust.identity.federation.models import ExternalIdentity, GroupRule, SignInRefused, Strength
from leadglass.trust.identity.models import Vouched

RULES = (
    GroupRule("radiology", ("radiologist",)),
    GroupRule("cn=Admins,ou=Groups,dc=example,dc=org", ("pacs-administrator", "radiologist")),
)
STRENGTH = Strength(multi_factor=("mfa", "urn:strong"), phishing_resistant=("hwk",))
names = st.text(max_size=20)
rules = st.lists(st.builds(GroupRule, names, st.lists(names, max_size=3).map(tuple)), max_size=6)


def test_each_group_gives_its_roles_once() -> None:
    groups = ["radiology", "CN=admins, OU=groups,DC=example,DC=org", "everybody"]
    assert roles_of(groups, RULES) == ("pacs-administrator", "radiologist")
    assert roles_of([], RULES) == ()


@pytest.mark.parametrize(
    "group",
    ["Radiology", "radiology ", "radiolog", "cn=Admins", "cn=Admins,ou=Groups,dc=example,dc=org,dc=x"],
)
def test_a_group_of_a_similar_name_gives_nothing(group: str) -> None:
    assert roles_of([group], RULES) == ()


@given(groups=st.lists(names, max_size=10), more=st.lists(names, max_size=10), given_rules=rules)
def test_more_groups_never_give_fewer_roles(
    groups: list[str], more: list[str], given_rules: list[GroupRule]
) -> None:
    few, many = roles_of(groups, given_rules), roles_of([*groups, *more], given_rules)
    assert set(few) <= set(many)
    assert set(many) <= {role for rule in given_rules for role in rule.roles}


@given(st.text(max_size=60))
def test_comparing_names_never_fails_and_is_settled(group: str) -> None:
    assert isinstance(comparable(group), str)
    if "=" not in group:
        assert comparable(group) == group


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cn=a,dc=b", "CN=A, DC=B"),
        ("cn=a,dc=b", " cn = a , dc = b "),
        ("cn=Müller,dc=b", "cn=MÜLLER,dc=b"),
    ],
)
def test_spellings_of_one_distinguished_name(first: str, second: str) -> None:
    assert comparable(first) == comparable(second)


@pytest.mark.parametrize(("first", "second"), [("cn=a,dc=b", "cn=a\\,dc=b"), ("cn=a+sn=b", "cn=a,sn=b")])
def test_two_distinguished_names(first: str, second: str) -> None:
    assert comparable(first) != comparable(second)


def identity(**changes: object) -> ExternalIdentity:
    values: dict[str, object] = {"issuer": "i", "subject": "s", "groups": ("radiology",), **changes}
    return ExternalIdentity(**values)  # type: ignore[arg-type]


def test_who_is_vouched_for() -> None:
    clock = FakeClock()
    shown = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
    found = vouched(identity(auth_time=shown, display_name="J", methods=("pwd",)), RULES, STRENGTH, clock)
    assert found == Vouched("i", "s", ("pwd",), shown, display_name="J", roles=("radiologist",))
    found = vouched(identity(), RULES, STRENGTH, clock)
    assert isinstance(found, Vouched)
    assert found.authenticated_at == clock.now()


def test_without_rules_nothing_is_said_about_roles() -> None:
    found = vouched(identity(), (), STRENGTH, FakeClock())
    assert isinstance(found, Vouched)
    assert found.roles is None


def test_who_gets_no_role_is_turned_away() -> None:
    assert vouched(identity(groups=("other",)), RULES, STRENGTH, FakeClock()) == SignInRefused(
        "no group of the person gives a role"
    )


@pytest.mark.parametrize(
    ("said", "multi_factor", "resistant"),
    [
        ({}, False, False),
        ({"methods": ("pwd",)}, False, False),
        ({"methods": ("pwd", "mfa")}, True, False),
        ({"acr": "urn:strong"}, True, False),
        ({"methods": ("hwk",)}, True, True),
    ],
)
def test_only_words_of_the_settings_are_believed(
    said: dict[str, object], multi_factor: bool, resistant: bool
) -> None:
    found = vouched(identity(**said), RULES, STRENGTH, FakeClock())
    assert isinstance(found, Vouched)
    assert (found.multi_factor, found.phishing_resistant) == (multi_factor, resistant)
    nothing = vouched(identity(**said), RULES, Strength(), FakeClock())
    assert isinstance(nothing, Vouched)
    assert not nothing.multi_factor
