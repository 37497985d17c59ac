"""What a site says about its identity providers, and what they say about people: values only.

Secrets stand in files that the settings name, never in the settings.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

SCOPES: Final = ("openid", "profile")


class ClientAuthentication(StrEnum):
    """How we prove to the token endpoint who we are. Source: OpenID Connect Core 9."""

    PRIVATE_KEY_JWT = "private_key_jwt"
    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the name of a method


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Who is in a group of the identity provider holds these roles.

    Attributes:
        group: as the provider says it; distinguished names are compared without regard to case and spacing.
        roles: names that policy knows.
    """

    group: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Strength:
    """Which words of an identity provider this site believes; nothing unless a person wrote it into the settings.

    Attributes:
        multi_factor: authentication contexts (``acr``, SAML class) or methods (``amr``) that mean two factors.
        phishing_resistant: the same, of a passkey, a security key or a smart card.
    """

    multi_factor: tuple[str, ...] = ()
    phishing_resistant: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboundOptions:
    """How we reach an identity provider.

    Attributes:
        ca_file: PEM with the only authorities that are believed; None for those of the system.
        hosts: further host names that its endpoints may be at, beside that of the issuer.
        networks: CIDR blocks with loopback or link-local addresses that its names may resolve to all the same.
    """

    ca_file: Path | None = None
    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OIDCSettings:
    """One OpenID provider; section ``[oidc]``.

    Attributes:
        issuer: exact issuer identifier, an https URL.
        client_id: ours, as registered there.
        redirect_uri: where it sends people back to, as registered there.
        client_authentication: see there.
        private_key_file: JWK or PKCS #8 PEM, for ``private_key_jwt``.
        client_secret_file: for ``client_secret_basic``.
        scopes: what is asked for; ``openid`` is always.
        groups_claim: claim with the groups, in the ID token or at the userinfo endpoint.
        name_claim: claim with the name that is shown.
        userinfo: ask the userinfo endpoint for claims that the ID token lacks.
        acr_required: one of these must be the authentication context; empty: whatever the provider does.
        skew_seconds: how far its clock may be off.
        post_logout_uri: where it sends people after they signed out; empty: it keeps them.
        rules: groups to roles.
        strength: which of its words on strength are believed.
        outbound: see there.
    """

    issuer: str
    client_id: str
    redirect_uri: str
    client_authentication: ClientAuthentication = ClientAuthentication.PRIVATE_KEY_JWT
    private_key_file: Path | None = None
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = SCOPES
    groups_claim: str = "groups"
    name_claim: str = "name"
    userinfo: bool = True
    acr_required: tuple[str, ...] = ()
    skew_seconds: int = 60
    post_logout_uri: str = ""
    rules: tuple[GroupRule, ...] = ()
    strength: Strength = Strength()
    outbound: OutboundOptions = OutboundOptions()


@dataclass(frozen=True, slots=True)
class SAMLSettings:
    """One SAML 2.0 identity provider; section ``[saml]``.

    Attributes:
        entity_id: ours.
        acs_url: where it posts its responses, an https URL.
        metadata_file: its metadata document, fetched by a person and checked by a person.
        groups_attribute: attribute with the groups.
        name_attribute: attribute with the name that is shown.
        context_required: one of these must be the authentication context class; empty: whatever the provider does.
        skew_seconds: how far its clock may be off.
        rules: groups to roles.
        strength: which of its words on strength are believed.
    """

    entity_id: str
    acs_url: str
    metadata_file: Path
    groups_attribute: str = "groups"
    name_attribute: str = "displayName"
    context_required: tuple[str, ...] = ()
    skew_seconds: int = 60
    rules: tuple[GroupRule, ...] = ()
    strength: Strength = Strength()


class GroupSearch(StrEnum):
    """Where a directory keeps who is in which group."""

    MEMBER_OF = "member-of"
    GROUP_ENTRIES = "group-entries"
    ACTIVE_DIRECTORY_NESTED = "active-directory-nested"


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """One LDAP directory or Active Directory; section ``[ldap]``.

    Attributes:
        url: ``ldaps://host[:636]``, or ``ldap://host[:389]``, which always means StartTLS before anything else.
        bind_dn: service account that searches.
        bind_password_file: its password.
        user_base: where people are.
        ca_file: PEM with the only authorities that are believed; None for those of the system.
        user_filter: finds one person; ``{name}`` is what was typed, escaped.
        subject_attribute: what never changes and is never given to another: ``entryUUID``, ``objectGUID``.
        name_attribute: the name that is shown.
        group_search: see there.
        groups_attribute: of a person, for ``member-of``.
        group_base: where groups are, for the other two; empty: as ``user_base``.
        member_attribute: of a group, for the other two.
        seconds: longest wait for a connection and for each answer.
        rules: groups to roles; groups are distinguished names.
        strength: as a directory knows passwords only, usually nothing.
    """

    url: str
    bind_dn: str
    bind_password_file: Path
    user_base: str
    ca_file: Path | None = None
    user_filter: str = "(uid={name})"
    subject_attribute: str = "entryUUID"
    name_attribute: str = "displayName"
    group_search: GroupSearch = GroupSearch.MEMBER_OF
    groups_attribute: str = "memberOf"
    group_base: str = ""
    member_attribute: str = "member"
    seconds: int = 5
    rules: tuple[GroupRule, ...] = ()
    strength: Strength = Strength()


@dataclass(frozen=True, slots=True)
class FederationSettings:
    """The identity providers of a site, at most one of each kind."""

    oidc: OIDCSettings | None = None
    saml: SAMLSettings | None = None
    ldap: DirectorySettings | None = None


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Somebody, as an identity provider says it; everything about the statement was checked.

    Attributes:
        issuer: issuer identifier, entity id or directory URL.
        subject: unique there for ever.
        display_name: to show; may be empty.
        groups: as the provider says them.
        methods: how it made sure. Source: RFC 8176. Empty where it does not say.
        acr: authentication context class; empty where it does not say.
        auth_time: when the person last proved who they are, aware UTC; None where it does not say.
        session_index: its name for the session, for a sign-out that it starts; empty where there is none.
    """

    issuer: str
    subject: str
    display_name: str = ""
    groups: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    acr: str = ""
    auth_time: datetime | None = None
    session_index: str = ""


@dataclass(frozen=True, slots=True)
class SignInBegun:
    """A sign-in on its way.

    Attributes:
        redirect_url: where the browser goes now.
        sealed_state: to keep in a ``__Host-`` cookie of this browser until it comes back, ``HttpOnly`` and ``Secure``;
            ``SameSite=Lax`` for OpenID Connect, ``SameSite=None`` for SAML, whose answer is posted by another site.
    """

    redirect_url: str
    sealed_state: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that succeeded.

    Attributes:
        identity: who it is.
        return_to: path of ours that the person came from.
    """

    identity: ExternalIdentity
    return_to: str = "/"


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """A sign-in that did not succeed.

    Attributes:
        reason: in our words, for the audit log and the self-test; the person sees only that it failed.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """An identity provider says that somebody signed out there.

    Attributes:
        issuer: whose session it was.
        subject: of whom; empty when only the session is named.
        session_index: which session; empty: all of the subject.
    """

    issuer: str
    subject: str
    session_index: str
