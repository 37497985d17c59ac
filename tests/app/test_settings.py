"""Settings: what is written is what is read, and what cannot be is refused by name."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.app.config.settings import (
    DimseSettings,
    DirectorySection,
    GroupRoles,
    IdentitySettings,
    IndexSettings,
    KeySettings,
    OpenIDSection,
    SAMLSection,
    Settings,
    SiteSettings,
    UserSettings,
    load_settings,
    render_settings,
)
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import ASSOCIATIONS_MAX

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = TEXT.filter(bool)
LISTS = st.lists(TEXT, max_size=3).map(tuple)
RULES = st.lists(
    st.builds(GroupRoles, group=WORDS, roles=st.lists(TEXT, min_size=1, max_size=2).map(tuple)), max_size=2
).map(tuple)
UIDS = st.lists(st.integers(1, 999).map(lambda n: f"1.2.{n}"), max_size=3).map(tuple)
SETTINGS = st.builds(
    Settings,
    site=st.builds(SiteSettings, name=TEXT, names=st.lists(TEXT, max_size=3).map(tuple)),
    dimse=st.builds(
        DimseSettings,
        ae_title=st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True),
        host=TEXT,
        port=st.integers(0, 65_535),
        associations_max=st.integers(1, 10 * ASSOCIATIONS_MAX),
        private_sop_classes=UIDS,
        private_transfer_syntaxes=UIDS,
    ),
    keys=st.builds(
        KeySettings,
        provider=st.sampled_from(["key-file", "passphrase", "systemd-credential"]),
        path=TEXT,
        credential=TEXT,
    ),
    index=st.builds(IndexSettings, url=st.just("sqlite") | TEXT.map(lambda text: f"postgresql://{text}")),
    users=st.one_of(
        st.just(UserSettings()),
        st.builds(
            UserSettings,
            token_issuer=TEXT.filter(bool),
            token_keys=TEXT.filter(bool),
            token_binding_required=st.booleans(),
        ),
    ),
    identity=st.builds(IdentitySettings, make_accounts=st.booleans(), second_factor_always=st.booleans()),
    oidc=st.just(OpenIDSection())
    | st.builds(
        OpenIDSection,
        issuer=WORDS,
        client_id=WORDS,
        private_key_file=WORDS,
        client_secret_file=TEXT,
        userinfo=st.booleans(),
        hosts=LISTS,
        skew_seconds=st.integers(0, 300),
        rule=RULES,
    ),
    saml=st.just(SAMLSection()) | st.builds(SAMLSection, metadata_file=WORDS, multi_factor=LISTS, rule=RULES),
    ldap=st.just(DirectorySection())
    | st.builds(
        DirectorySection,
        url=WORDS,
        bind_dn=TEXT,
        group_search=st.sampled_from(["member-of", "group-entries", "active-directory-nested"]),
        seconds=st.integers(1, 30),
        rule=RULES,
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=SETTINGS)
def test_what_is_written_is_what_is_read(tmp_path: Path, made: Settings) -> None:
    path = tmp_path / "leadglass.toml"
    path.write_text(render_settings(made), encoding="utf-8", newline="")
    assert load_settings(path) == made


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "leadglass.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[dimse]\nprot = 104", "prot"),
        ("[dmise]\nport = 104", "dmise"),
        ("[dimse]\nport = 65536", "dimse.port"),
        ("[dimse]\nport = -1", "dimse.port"),
        ('[dimse]\nport = "104"', "port"),
        ("[dimse]\nassociations_max = 0", "dimse.associations_max"),
        (f"[dimse]\nassociations_max = {10 * ASSOCIATIONS_MAX + 1}", "dimse.associations_max"),
        ('[dimse]\nae_title = ""', "dimse.ae_title"),
        ('[dimse]\nae_title = "SEVENTEEN CHARS.."', "dimse.ae_title"),
        ('[dimse]\nprivate_sop_classes = ["1.2.x"]', "dimse.private_sop_classes"),
        ('[dimse]\nprivate_transfer_syntaxes = ["../x"]', "dimse.private_transfer_syntaxes"),
        ('[keys]\nprovider = "hsm"', "provider"),
        ('[index]\nurl = "mysql://x"', "index.url"),
        ('[users]\ntoken_issuer = "https://idp"', "users.token_issuer"),
        ('[oidc]\nclient_id = "x"', "oidc.issuer"),
        ('[oidc]\nissuer = "https://idp"', "oidc.private_key_file"),
        (
            '[oidc]\nissuer = "https://idp"\nclient_id = "x"\nprivate_key_file = "k"\nskew_seconds = 301',
            "oidc.skew_seconds",
        ),
        (
            '[oidc]\nissuer = "https://idp"\nclient_id = "x"\nprivate_key_file = "k"\n[web]\nport = 0',
            "web.port",
        ),
        ('[saml]\nmetadata_file = "x"\n[web]\nport = 0', "web.port"),
        ('[oidc]\nclient_secret = "not here"', "client_secret"),
        ('[saml]\nentity_id = "x"', "saml.metadata_file"),
        ('[saml]\nmetadata_file = "x"\n[[saml.rule]]\ngroup = "g"\nroles = []', "saml.rule"),
        ('[ldap]\nuser_base = "dc=x"', "ldap.url"),
        ('[ldap]\nurl = "ldaps://x"\nseconds = 0', "ldap.seconds"),
        ("not toml", "leadglass.toml"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text)
    assert named in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path / "nothing.toml")
    assert "leadglass init" in refused.value.hint
    with pytest.raises(ConfigurationError):
        load_settings(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[site]\nname = '\xff'")
    with pytest.raises(ConfigurationError):
        load_settings(tmp_path / "latin.toml")


def test_rules_are_read_from_tables(tmp_path: Path) -> None:
    text = """
[saml]
metadata_file = "idp.xml"
[[saml.rule]]
group = "radiology"
roles = ["radiologist"]
[[saml.rule]]
group = "cn=desk,dc=example"
roles = ["technologist", "export-officer"]
"""
    assert load(tmp_path, text).saml.rule == (
        GroupRoles("radiology", ("radiologist",)),
        GroupRoles("cn=desk,dc=example", ("technologist", "export-officer")),
    )


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("", "https://localhost:8443"),
        ('[site]\nnames = ["pacs.example"]\n[web]\nport = 443', "https://pacs.example"),
        ('[site]\nnames = ["pacs.example"]\n[web]\npublic_port = 443', "https://pacs.example"),
        ('[site]\nnames = ["::1"]', "https://[::1]:8443"),
    ],
)
def test_the_origin_is_what_browsers_see(tmp_path: Path, text: str, origin: str) -> None:
    assert load(tmp_path, text).origin == origin
