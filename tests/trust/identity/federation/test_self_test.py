"""Each finding of the self-test against the real peer, set up in exactly that wrong way."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk

from fake_clock import FakeClock
from leadglass.trust.certs.reading import read_certificate
from leadglass.trust.identity.federation.models import (
    ClientAuthentication,
    DirectorySettings,
    GroupRule,
    GroupSearch,
    OIDCSettings,
    OutboundOptions,
    SAMLSettings,
)
from leadglass.trust.identity.self_test import Finding, SelfTest, Severity, run
from trust.identity.federation.authority import KeyPair, TestAuthority, self_signed
from trust.identity.federation.hostile_provider import HostileProvider, as_json, hostile_provider
from trust.identity.federation.npm_peer import Peer, needs, npm_peer
from trust.identity.federation.openid import OpenIDSite, clients_for, free_port, openid_provider, signing_keys
from trust.identity.federation.slapd import (
    GROUPS,
    PEOPLE,
    RADIOLOGY,
    SERVICE,
    SERVICE_PASSWORD,
    needs_slapd,
    slapd,
)

ROLES = ("radiologist", "technologist")
RULES = (GroupRule("radiology", ("radiologist",)),)


def look(**test: Any) -> list[Finding]:  # noqa: ANN401 - fields of SelfTest
    clock = test.pop("clock", None) or FakeClock(datetime.now(UTC))
    findings = run(SelfTest(clock, read_certificate, ROLES, **test))
    for finding in findings:  # plain words, whole sentences, and never without a way out
        assert finding.what.endswith((".", ")"))
        if finding.severity is not Severity.OK:
            assert finding.why
            assert finding.remedy
        assert not re.search(r"Traceback|Error\(|None|0x[0-9a-f]{6}", finding.what)
    return findings


def worst(findings: Collection[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.severity is Severity.ERROR]


def warned(findings: Collection[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.severity is Severity.WARNING]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIDSite]:
    folder = tmp_path_factory.mktemp("oidc")
    made = OpenIDSite(folder, TestAuthority(folder), signing_keys())
    with openid_provider(made) as origin:
        made.issuer = origin
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def directory_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorySettings]:
    folder = tmp_path_factory.mktemp("ldap")
    authority = TestAuthority(folder)
    password = folder / "password"
    password.write_text(SERVICE_PASSWORD)
    password.chmod(0o600)
    with slapd(folder, authority.issue("localhost")) as server:
        yield DirectorySettings(
            server.tls,
            SERVICE,
            password,
            PEOPLE,
            ca_file=authority.file,
            rules=(GroupRule(RADIOLOGY, ("radiologist",)),),
        )


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with npm_peer("saml.mjs", tmp_path_factory.mktemp("samlp") / "saml.err") as made:
        yield made


@needs("oidc-provider")
@pytest.mark.interop
class TestOpenIDConnect:
    def look(self, site: OpenIDSite, **changes: object) -> list[Finding]:
        return look(oidc=site.settings(**{"rules": RULES, **changes}))

    def test_all_is_well(self, site: OpenIDSite) -> None:
        findings = self.look(site)
        assert {finding.severity for finding in findings} == {Severity.OK}, findings
        assert len(findings) == 6

    def test_nobody_there(self, site: OpenIDSite) -> None:
        issuer = f"https://localhost:{free_port()}"
        assert worst(self.look(site, issuer=issuer)) == [
            "The discovery document cannot be fetched: no connection to the identity provider came about."
        ]

    def test_a_name_that_nobody_knows(self, site: OpenIDSite) -> None:
        found = self.look(site, issuer="https://identity-provider.invalid")
        assert worst(found) == [
            "The discovery document cannot be fetched: the name of the identity provider cannot be resolved."
        ]

    def test_an_authority_that_is_not_trusted(self, site: OpenIDSite, tmp_path: Path) -> None:
        other = OutboundOptions(ca_file=TestAuthority(tmp_path).file)
        found = self.look(site, outbound=other)
        assert len(worst(found)) == 1
        assert "is not trusted" in worst(found)[0]

    def test_an_issuer_with_a_slash_too_many(self, site: OpenIDSite) -> None:
        found = self.look(site, issuer=site.issuer + "/")
        assert worst(found) == [
            "The discovery document cannot be used: the discovery document is that of another issuer."
        ]
        assert "slash" in found[0].remedy

    def test_a_wrong_client_id(self, site: OpenIDSite) -> None:
        assert "client id is wrong" in worst(self.look(site, client_id="nobody"))[0]

    def test_a_key_that_is_not_registered(self, site: OpenIDSite, tmp_path: Path) -> None:
        other = OpenIDSite(tmp_path, site.authority)
        assert "the registered one" in worst(self.look(site, private_key_file=other.key_file))[0]

    def test_a_wrong_secret(self, site: OpenIDSite, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("wrong")
        secret.chmod(0o600)
        found = self.look(
            site,
            client_id="by-secret",
            client_authentication=ClientAuthentication.CLIENT_SECRET_BASIC,
            client_secret_file=secret,
        )
        assert "the registered one" in worst(found)[0]

    def test_a_redirect_uri_that_is_not_registered(self, site: OpenIDSite) -> None:
        found = self.look(site, redirect_uri="https://pacs.example/other")
        assert worst(found) == ["The provider does not send people back to https://pacs.example/other."]

    def test_a_private_key_that_others_may_read(self, site: OpenIDSite) -> None:
        site.key_file.chmod(0o644)
        try:
            assert "others than its owner may read" in worst(self.look(site))[0]
        finally:
            site.key_file.chmod(0o600)

    @pytest.mark.parametrize(("seconds", "severity"), [(30, Severity.WARNING), (600, Severity.ERROR)])
    def test_clocks_apart(self, site: OpenIDSite, seconds: int, severity: Severity) -> None:
        clock = FakeClock(datetime.now(UTC) + timedelta(seconds=seconds))
        settings = site.settings(
            client_id="by-secret", client_authentication=ClientAuthentication.CLIENT_SECRET_BASIC
        )
        found = look(oidc=settings, clock=clock)
        assert [one.severity for one in found if "apart" in one.what] == [severity]

    def test_a_scope_and_a_claim_that_are_not_offered(self, site: OpenIDSite) -> None:
        found = self.look(site, scopes=("openid", "hospital"), groups_claim="roles")
        assert any("scopes hospital" in what for what in warned(found))
        assert any("claim roles" in what for what in warned(found))

    def test_rules(self, site: OpenIDSite) -> None:
        assert warned(self.look(site, rules=())) == ["No group is mapped to a role."]
        wrong = (GroupRule("g", ("emperor",)),)
        assert worst(self.look(site, rules=wrong)) == ["The mapping names roles that there are not: emperor."]

    def test_pkce_that_is_not_required(self, tmp_path: Path) -> None:
        site = OpenIDSite(tmp_path, TestAuthority(tmp_path), signing_keys())
        with openid_provider(site, pkceRequired=False) as site.issuer:
            assert warned(self.look(site)) == ["The provider does not insist on PKCE for this client."]

    def test_an_authentication_that_is_not_offered(self, tmp_path: Path) -> None:
        site = OpenIDSite(tmp_path, TestAuthority(tmp_path), signing_keys())
        by_secret = [one for one in clients_for(site) if one["client_id"] == "by-secret"]
        with openid_provider(
            site, clients=by_secret, clientAuthMethods=["client_secret_basic"]
        ) as site.issuer:
            found = self.look(site, client_id="by-secret")
        assert "The provider does not offer private_key_jwt." in worst(found)
        assert any("client_secret_basic" in one.remedy for one in found)


class TestOpenIDProviderOfAnotherKind:
    """What oidc-provider cannot be made to do."""

    @pytest.fixture
    def provider(self, authority: TestAuthority) -> Iterator[HostileProvider]:
        with hostile_provider(authority.issue("localhost")) as made:
            yield made

    def settings(self, tmp_path: Path, authority: TestAuthority, provider: HostileProvider) -> OIDCSettings:
        return OpenIDSite(tmp_path, authority, issuer=provider.origin).settings(rules=RULES)

    def test_pkce_without_sha256(
        self, tmp_path: Path, authority: TestAuthority, provider: HostileProvider
    ) -> None:
        provider.behave(code_challenge_methods_supported=["plain"])
        assert "PKCE with S256" in worst(look(oidc=self.settings(tmp_path, authority, provider)))[0]

    def test_much_that_is_missing(
        self, tmp_path: Path, authority: TestAuthority, provider: HostileProvider
    ) -> None:
        provider.behave(
            code_challenge_methods_supported=None,
            response_types_supported=["token"],
            id_token_signing_alg_values_supported=["HS256"],
        )
        provider.routes["/keys"] = as_json({"keys": [jwk.OctKey.generate_key(256).as_dict()]})
        found = look(oidc=self.settings(tmp_path, authority, provider))
        assert "The provider does not say that it does PKCE." in warned(found)
        assert "The provider does not put its name into its answers (RFC 9207)." in warned(found)
        assert "The provider does not offer the authorization code flow." in worst(found)
        assert "The provider signs by no algorithm that we take." in worst(found)
        assert any(what.startswith("The keys of the provider cannot be used") for what in worst(found))

    def test_a_page_in_place_of_the_document(
        self, tmp_path: Path, authority: TestAuthority, provider: HostileProvider
    ) -> None:
        provider.routes["/.well-known/openid-configuration"] = lambda _: (200, {}, b"<html>")
        assert "cannot be read" in worst(look(oidc=self.settings(tmp_path, authority, provider)))[0]


@needs("samlp")
@pytest.mark.interop
class TestSAML:
    @pytest.fixture
    def settings(self, peer: Peer, tmp_path: Path) -> SAMLSettings:
        return self.of(peer, tmp_path, self_signed(tmp_path, "idp", days=365))

    def of(self, peer: Peer, folder: Path, pair: KeyPair) -> SAMLSettings:
        """Metadata as the real samlp writes it."""
        question = {
            "action": "metadata",
            "issuer": "https://idp.example/saml",
            "certificate": str(pair.certificate),
        }
        file = folder / "metadata.xml"
        file.write_text(peer.ask(question)["metadata"])
        return SAMLSettings("https://pacs.example/saml", "https://pacs.example/acs", file, rules=RULES)

    def test_all_is_well(self, settings: SAMLSettings) -> None:
        findings = look(saml=settings)
        assert {finding.severity for finding in findings} == {Severity.OK}, findings

    def test_no_metadata(self, settings: SAMLSettings, tmp_path: Path) -> None:
        found = look(saml=replace(settings, metadata_file=tmp_path / "missing"))
        assert worst(found) == [
            "The metadata of the identity provider cannot be read: No such file or directory."
        ]

    def test_metadata_of_something_else(self, settings: SAMLSettings) -> None:
        settings.metadata_file.write_text("<html/>")
        assert worst(look(saml=settings)) == [
            "The metadata of the identity provider cannot be used: the metadata is not that of one entity."
        ]

    def test_metadata_that_expired(self, settings: SAMLSettings) -> None:
        text = settings.metadata_file.read_text()
        settings.metadata_file.write_text(
            text.replace("<EntityDescriptor", '<EntityDescriptor validUntil="2020-01-02T00:00:00Z"')
        )
        assert worst(look(saml=settings)) == ["The metadata expired on 2020-01-02."]

    def test_a_provider_that_wants_signed_requests(self, settings: SAMLSettings) -> None:
        text = settings.metadata_file.read_text()
        settings.metadata_file.write_text(
            text.replace("<IDPSSODescriptor", '<IDPSSODescriptor WantAuthnRequestsSigned="true"')
        )
        assert worst(look(saml=settings)) == ["The identity provider takes signed requests only."]

    def test_a_certificate_that_expired(self, peer: Peer, tmp_path: Path) -> None:
        found = look(saml=self.of(peer, tmp_path, self_signed(tmp_path, "old", days=-1)))
        assert "The signing certificate of the metadata expired" in worst(found)[0]

    def test_a_certificate_that_expires_soon(self, peer: Peer, tmp_path: Path) -> None:
        found = look(saml=self.of(peer, tmp_path, self_signed(tmp_path, "soon", days=10)))
        assert "The signing certificate of the metadata expires" in warned(found)[0]

    def test_a_weak_key(self, peer: Peer, tmp_path: Path) -> None:
        found = look(saml=self.of(peer, tmp_path, self_signed(tmp_path, "weak", bits=1024, days=365)))
        assert worst(found) == [
            "The signing key of the metadata is weak or of a kind that we do not take: RSA, 1024 bits."
        ]

    def test_a_clock_that_is_far_behind(self, settings: SAMLSettings) -> None:
        clock = FakeClock(datetime(2020, 1, 1, tzinfo=UTC))
        assert worst(look(saml=settings, clock=clock)) == [
            "The signing certificate of the metadata is not valid yet."
        ]

    def test_addresses_of_ours_that_are_no_use(self, settings: SAMLSettings) -> None:
        assert len(worst(look(saml=replace(settings, acs_url="http://pacs.example")))) == 1


@needs_slapd
@pytest.mark.interop
class TestLDAP:
    def test_all_is_well(self, directory_settings: DirectorySettings) -> None:
        findings = look(ldap=directory_settings, probe_name="jdoe")
        assert {finding.severity for finding in findings} == {Severity.OK}, findings
        assert findings[2].what == "The person that was asked for gets: radiologist."

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"url": "ldap+plain://localhost"}, "The settings cannot be used: the address of the directory is no LDAP URL."),
            ({"bind_dn": f"cn=nobody,{PEOPLE}"}, "The directory refuses the service account."),
            ({"user_base": "ou=nowhere,dc=example,dc=org"}, "The directory answers a search with result 32."),
            ({"user_base": GROUPS}, "Nobody is found under `user_base`."),
            ({"user_filter": "(uid={name}"}, "The directory cannot be searched."),
            ({"user_filter": "(uid=jdoe)"}, ("The settings cannot be used: the directory needs a service account, "
             "a place to search, and {name} in its filter.")),
            ({"subject_attribute": "objectGUID"}, "7 of 7 people have no objectGUID."),
            ({"groups_attribute": "groupMembership"}, "Nobody has a groupMembership."),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    def test_what_is_set_wrong(
        self, directory_settings: DirectorySettings, changes: dict[str, str], what: str
    ) -> None:
        assert worst(look(ldap=replace(directory_settings, **changes))) == [what]  # type: ignore[arg-type]

    def test_a_port_that_speaks_no_tls(self, directory_settings: DirectorySettings, tmp_path: Path) -> None:
        with slapd(tmp_path, None) as server:
            assert worst(look(ldap=replace(directory_settings, url=server.plain))) == [
                "The directory does not do StartTLS; nothing was sent."
            ]

    def test_nobody_there(self, directory_settings: DirectorySettings) -> None:
        found = look(ldap=replace(directory_settings, url=f"ldaps://localhost:{free_port()}"))
        assert worst(found) == ["No protected connection to the directory came about."]

    def test_an_authority_that_is_not_trusted(
        self, directory_settings: DirectorySettings, tmp_path: Path
    ) -> None:
        found = look(ldap=replace(directory_settings, ca_file=TestAuthority(tmp_path).file))
        assert "is not trusted" in worst(found)[0]

    def test_the_person_that_was_asked_for(self, directory_settings: DirectorySettings) -> None:
        assert worst(look(ldap=directory_settings, probe_name="nobody")) == [
            "The name that was given is not that of exactly one person."
        ]
        assert warned(look(ldap=directory_settings, probe_name="mroe")) == [
            "The person that was asked for is in no group."
        ]
        other = replace(directory_settings, rules=(GroupRule("cn=other", ("radiologist",)),))
        assert worst(look(ldap=other, probe_name="jdoe")) == [
            f"No rule speaks of a group of the person that was asked for; they are in: {RADIOLOGY}."
        ]

    def test_groups_in_entries_of_their_own(self, directory_settings: DirectorySettings) -> None:
        by_entries = replace(directory_settings, group_search=GroupSearch.GROUP_ENTRIES, group_base=GROUPS)
        assert worst(look(ldap=by_entries, probe_name="jdoe")) == []
        wrong = replace(by_entries, member_attribute="uniqueMember")
        assert warned(look(ldap=wrong, probe_name="jdoe")) == [
            "The person that was asked for is in no group."
        ]
