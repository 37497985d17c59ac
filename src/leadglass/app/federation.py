"""From the settings of a site to those of its identity providers: paths, addresses, rules."""

from collections.abc import Sequence
from pathlib import Path

from leadglass.app.config.settings import GroupRoles, Settings
from leadglass.doors.console.federation import OIDC_CALLBACK, SAML_METADATA, SAML_RESPONSE
from leadglass.trust.identity.federation.models import (
    ClientAuthentication,
    DirectorySettings,
    FederationSettings,
    GroupRule,
    GroupSearch,
    OIDCSettings,
    OutboundOptions,
    SAMLSettings,
    Strength,
)


def federation_settings(root: Path, settings: Settings) -> FederationSettings:
    """Return what the settings say of identity providers; at most one of each kind.

    Args:
        root: folder of the site, that paths are relative to.
        settings: of the site, checked.
    """
    return FederationSettings(
        oidc=_oidc(root, settings) if settings.oidc.issuer else None,
        saml=_saml(root, settings) if settings.saml.metadata_file else None,
        ldap=_ldap(root, settings) if settings.ldap.url else None,
    )


def _oidc(root: Path, settings: Settings) -> OIDCSettings:
    said = settings.oidc
    return OIDCSettings(
        issuer=said.issuer,
        client_id=said.client_id,
        redirect_uri=said.redirect_uri or settings.origin + OIDC_CALLBACK,
        client_authentication=ClientAuthentication(said.client_authentication),
        private_key_file=_file(root, said.private_key_file),
        client_secret_file=_file(root, said.client_secret_file),
        scopes=said.scopes,
        groups_claim=said.groups_claim,
        name_claim=said.name_claim,
        userinfo=said.userinfo,
        acr_required=said.acr_required,
        skew_seconds=said.skew_seconds,
        post_logout_uri=said.post_logout_uri,
        rules=_rules(said.rule),
        strength=Strength(said.multi_factor, said.phishing_resistant),
        outbound=OutboundOptions(_file(root, said.ca_file), said.hosts, said.networks),
    )


def _saml(root: Path, settings: Settings) -> SAMLSettings:
    said = settings.saml
    return SAMLSettings(
        entity_id=said.entity_id or settings.origin + SAML_METADATA,
        acs_url=said.acs_url or settings.origin + SAML_RESPONSE,
        metadata_file=root / said.metadata_file,
        groups_attribute=said.groups_attribute,
        name_attribute=said.name_attribute,
        context_required=said.context_required,
        skew_seconds=said.skew_seconds,
        rules=_rules(said.rule),
        strength=Strength(said.multi_factor, said.phishing_resistant),
    )


def _ldap(root: Path, settings: Settings) -> DirectorySettings:
    said = settings.ldap
    return DirectorySettings(
        url=said.url,
        bind_dn=said.bind_dn,
        bind_password_file=root / said.bind_password_file,
        user_base=said.user_base,
        ca_file=_file(root, said.ca_file),
        user_filter=said.user_filter,
        subject_attribute=said.subject_attribute,
        name_attribute=said.name_attribute,
        group_search=GroupSearch(said.group_search),
        groups_attribute=said.groups_attribute,
        group_base=said.group_base,
        member_attribute=said.member_attribute,
        seconds=said.seconds,
        rules=_rules(said.rule),
    )


def _file(root: Path, name: str) -> Path | None:
    return root / name if name else None  # an absolute path stays what it is


def _rules(said: Sequence[GroupRoles]) -> tuple[GroupRule, ...]:
    return tuple(GroupRule(rule.group, rule.roles) for rule in said)
