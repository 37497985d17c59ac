"""The settings of a site, ``leadglass.toml``. Each says its unit, its default and why, and who is trusted."""

import tomllib
from pathlib import Path
from typing import Final, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.base.ids import is_uid, parse_ae_title
from leadglass.base.limits import ASSOCIATIONS_MAX

_HTTPS_PORT: Final = 443
_EMERGENCY_MINUTES_MAX: Final = 24 * 60
_EMERGENCY_REVIEW_HOURS_MAX: Final = 30 * 24
_REVIEW_DAYS_MAX: Final = 366
_SKEW_SECONDS_MAX: Final = 300
_DIRECTORY_SECONDS_MAX: Final = 30

KeyProvider = Literal["key-file", "passphrase", "systemd-credential"]


class SiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[site]``.

    Attributes:
        name: of the institution; stands in the certificates of the site.
        names: host names and addresses under which the node is reached; they stand in its certificate.
    """

    name: str = "Leadglass site"
    names: tuple[str, ...] = ("localhost", "127.0.0.1")


class DimseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[dimse]``.

    Attributes:
        ae_title: what we are called; an association for anybody else is rejected.
        host: address to listen on. Every peer needs an enrolled certificate, so the default is all addresses.
        port: 2762 is the registered port for DICOM over TLS (PS3.15 B.12).
        associations_max: at once, over all peers.
        private_sop_classes: storage SOP classes that are not in the standard, by UID.
        private_transfer_syntaxes: encapsulated Explicit VR Little Endian ones that are not in the standard, by UID.
    """

    ae_title: str = "LEADGLASS"
    host: str = "0.0.0.0"  # noqa: S104 - mutual TLS is the guard, and a PACS that nobody reaches is none
    port: int = 2762
    associations_max: int = ASSOCIATIONS_MAX
    private_sop_classes: tuple[str, ...] = ()
    private_transfer_syntaxes: tuple[str, ...] = ()


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[keys]``.

    Attributes:
        provider: who holds the root key-encryption key. Trusted with everything: whoever has the root key *and* the
            key ledger reads all that is held.
        path: of the root key file (``key-file``, ``passphrase``); relative to the site's folder. Best on another
            device than the data (74 FR 19006): ``leadglass status`` says whether it is.
        credential: name of the systemd credential (``systemd-credential``).
    """

    provider: KeyProvider = "key-file"
    path: str = "keys/root.key"
    credential: str = "leadglass-root-key"


class IndexSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[index]``.

    Attributes:
        url: ``sqlite`` for the encrypted file of the site, or ``postgresql://...``. Trusted for availability and for
            *which* objects exist; not for their content: who can change it can hide a study, not read or alter one.
    """

    url: str = "sqlite"


class UserSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[users]``: who may name themselves inside an association (PS3.7 D.3.3.7).

    Attributes:
        token_issuer: exact ``iss`` of the tokens that are believed; empty: none are.
        token_keys: file of the issuer's public keys (JWKS, RFC 7517); relative to the site's folder. Trusted to say who
            somebody is, for users that are enrolled here.
        token_binding_required: refuse tokens that are not bound to the device's certificate (RFC 8705 ``cnf``).
    """

    token_issuer: str = ""
    token_keys: str = ""
    token_binding_required: bool = True


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[web]``: DICOMweb and the console's API, over HTTPS only.

    Attributes:
        enabled: listen at all.
        host: address to listen on. Nobody gets an answer who is not signed in, so the default is all addresses.
        port: 0 takes any free one.
        client_certificates: ask workstations and services for one; a browser without one goes on all the same. The
            site's enrolled devices come by certificate only.
        origins: other origins whose pages may call the API with the user's cookie, ``https://host[:port]``. Trusted with
            everything that its users may see.
        proxies: addresses or networks of reverse proxies. Trusted to say who called them.
        posture_issuer: exact ``iss`` of the access proxy that vouches for workstations in the header ``X-Leadglass-Posture``;
            empty: nobody does. Trusted to say that a device is managed.
        posture_keys: file of its public keys (JWKS, RFC 7517); relative to the site's folder.
        public_port: port that browsers see, where a reverse proxy has another; 0: ours.
        decoders: processes that decode and render strangers' pixels.
        access_log: a line of JSON for each request on standard error: no path, no query, no name.
        security_contact: for /.well-known/security.txt: ``mailto:`` or ``https:``; empty: there is none.
    """

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - sign-in is the guard, and a PACS that nobody reaches is none
    port: int = 8443
    client_certificates: bool = True
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    posture_issuer: str = ""
    posture_keys: str = ""
    public_port: int = 0
    decoders: int = 2
    access_log: bool = False
    security_contact: str = ""


class IdentitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[identity]``: people who sign in.

    Attributes:
        password_profile: ``nist-800-63b-4``, or ``legacy`` (composition, rotation, history): required by your local
            policy; contradicts NIST SP 800-63B-4.
        breached_passwords: file of SHA-1 hashes in upper-case hexadecimal, ordered by hash, one a line, a count behind a
            colon or not; relative to the site's folder. Empty: the built-in list of common ones only.
        consoles: ids of enrolled workstations that people share: sessions lock after five minutes, badge and PIN open them.
        sessions_per_person: at once; the oldest ends.
        sessions_per_administrator: the same, for whoever administers.
        second_factor_always: everybody needs a second factor from everywhere; else administrators, and all who come from
            a remote zone.
        make_accounts: whoever an identity provider vouches for, with a group that gives a role, gets an account at the
            first sign-in. Trusted then to say who works here.
    """

    password_profile: Literal["nist-800-63b-4", "legacy"] = "nist-800-63b-4"  # noqa: S105 - a name of rules
    breached_passwords: str = ""
    consoles: tuple[str, ...] = ()
    sessions_per_person: int = 3
    sessions_per_administrator: int = 1
    second_factor_always: bool = False
    make_accounts: bool = False


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[policy]``.

    Attributes:
        two_person: a change of policy is proposed by one person and applied by another.
        time_zone: whose hours policies speak of, a name of the IANA time zone database.
        emergency_minutes: how long an emergency access (break the glass) is in force.
        emergency_review_hours: after that an unreviewed one raises an alert, and again after each further such time.
        review_days: from the opening of an access review to the day when what nobody looked at is suspended.
        reviewer: who reviews the grants of each role every quarter, as ``user:jane``; empty: no review opens by itself.
        deputy: who reviews the reviewer's own grants; needed beside ``reviewer``.
    """

    two_person: bool = False
    time_zone: str = "UTC"
    emergency_minutes: int = 60
    emergency_review_hours: int = 24
    review_days: int = 30
    reviewer: str = ""
    deputy: str = ""


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[retention]``.

    Attributes:
        restorable_days: how long a deletion can be undone.
    """

    restorable_days: int = 30


class ZoneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[zones]``: from where people come.

    Attributes:
        networks: names of zones to CIDR blocks; the narrowest block counts. ``local`` is this machine; an address in
            none of them is ``remote``, where a second factor is required and sessions are short.
    """

    networks: dict[str, tuple[str, ...]] = msgspec.field(
        default_factory=lambda: {"site": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")}
    )


class GroupRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[oidc.rule]]``, ``[[saml.rule]]``, ``[[ldap.rule]]``: who is in a group holds these roles, and no others.

    Attributes:
        group: as the provider says it; distinguished names are compared without regard to case and spacing.
        roles: names that policy knows.
    """

    group: str
    roles: tuple[str, ...]


class OpenIDSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[oidc]``: single sign-on at an OpenID provider.

    Attributes:
        issuer: exact issuer identifier, an https URL; empty: there is none. Trusted to say who somebody is and, by the
            rules, what they may do.
        client_id: ours, as registered there.
        redirect_uri: where it sends people back to, as registered there; empty: ``/auth/oidc/callback`` of this site.
        client_authentication: how we prove who we are.
        private_key_file: JWK or PKCS #8 PEM, for ``private_key_jwt``; relative to the site's folder, readable by its
            owner only.
        client_secret_file: for ``client_secret_basic``; as above.
        scopes: what is asked for.
        groups_claim: claim with the groups, in the ID token or at the userinfo endpoint.
        name_claim: claim with the name that is shown.
        userinfo: ask the userinfo endpoint for claims that the ID token lacks.
        acr_required: one of these must be the authentication context; empty: whatever the provider does.
        multi_factor: contexts (``acr``) or methods (``amr``) that are believed to mean two factors.
        phishing_resistant: the same, of a passkey, a security key or a smart card.
        skew_seconds: how far its clock may be off.
        post_logout_uri: where it sends people after they signed out; empty: it keeps them.
        ca_file: PEM with the only authorities that are believed; empty: those of the system.
        hosts: further host names that its endpoints may be at.
        networks: CIDR blocks of loopback or link-local addresses that its names may resolve to all the same.
        rule: groups to roles. Without any, roles are given here; with some, the groups decide alone at every sign-in.
    """

    issuer: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    client_authentication: Literal["private_key_jwt", "client_secret_basic"] = "private_key_jwt"
    private_key_file: str = ""
    client_secret_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    groups_claim: str = "groups"
    name_claim: str = "name"
    userinfo: bool = True
    acr_required: tuple[str, ...] = ()
    multi_factor: tuple[str, ...] = ()
    phishing_resistant: tuple[str, ...] = ()
    skew_seconds: int = 60
    post_logout_uri: str = ""
    ca_file: str = ""
    hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    rule: tuple[GroupRoles, ...] = ()


class SAMLSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[saml]``: single sign-on at a SAML 2.0 identity provider.

    Attributes:
        metadata_file: its metadata document, fetched and checked by a person; relative to the site's folder. Empty: there
            is none. Trusted to say who somebody is and, by the rules, what they may do.
        entity_id: ours; empty: the address of our metadata, ``/auth/saml/metadata`` of this site.
        acs_url: where it posts its responses; empty: ``/auth/saml/acs`` of this site.
        groups_attribute: attribute with the groups.
        name_attribute: attribute with the name that is shown.
        context_required: one of these must be the authentication context class; empty: whatever the provider does.
        multi_factor: context classes that are believed to mean two factors.
        phishing_resistant: the same, of a passkey, a security key or a smart card.
        skew_seconds: how far its clock may be off.
        rule: groups to roles, as in ``[oidc]``.
    """

    metadata_file: str = ""
    entity_id: str = ""
    acs_url: str = ""
    groups_attribute: str = "groups"
    name_attribute: str = "displayName"
    context_required: tuple[str, ...] = ()
    multi_factor: tuple[str, ...] = ()
    phishing_resistant: tuple[str, ...] = ()
    skew_seconds: int = 60
    rule: tuple[GroupRoles, ...] = ()


class DirectorySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[ldap]``: names and passwords of an LDAP directory or Active Directory.

    Attributes:
        url: ``ldaps://host[:636]``, or ``ldap://host[:389]``, which always means StartTLS first; empty: there is none.
            Trusted to say who somebody is and, by the rules, what they may do.
        bind_dn: service account that searches.
        bind_password_file: its password; relative to the site's folder, readable by its owner only.
        user_base: where people are.
        ca_file: PEM with the only authorities that are believed; empty: those of the system.
        user_filter: finds one person; ``{name}`` is what was typed, escaped.
        subject_attribute: what never changes and is never given to another: ``entryUUID``, ``objectGUID``.
        name_attribute: the name that is shown.
        group_search: where the directory keeps who is in which group.
        groups_attribute: of a person, for ``member-of``.
        group_base: where groups are, for the other two; empty: as ``user_base``.
        member_attribute: of a group, for the other two.
        seconds: longest wait for a connection and for each answer.
        rule: groups to roles, as in ``[oidc]``; groups are distinguished names.
    """

    url: str = ""
    bind_dn: str = ""
    bind_password_file: str = ""
    user_base: str = ""
    ca_file: str = ""
    user_filter: str = "(uid={name})"
    subject_attribute: str = "entryUUID"
    name_attribute: str = "displayName"
    group_search: Literal["member-of", "group-entries", "active-directory-nested"] = "member-of"
    groups_attribute: str = "memberOf"
    group_base: str = ""
    member_attribute: str = "member"
    seconds: int = 5
    rule: tuple[GroupRoles, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    site: SiteSettings = SiteSettings()
    dimse: DimseSettings = DimseSettings()
    keys: KeySettings = KeySettings()
    index: IndexSettings = IndexSettings()
    users: UserSettings = UserSettings()
    web: WebSettings = WebSettings()
    identity: IdentitySettings = IdentitySettings()
    policy: PolicySettings = PolicySettings()
    retention: RetentionSettings = RetentionSettings()
    zones: ZoneSettings = ZoneSettings()
    oidc: OpenIDSection = OpenIDSection()
    saml: SAMLSection = SAMLSection()
    ldap: DirectorySection = DirectorySection()

    @property
    def origin(self) -> str:
        """``https://host[:port]``, as browsers and services see this site: its first name."""
        host, port = self.site.names[0], self.web.public_port or self.web.port
        host = f"[{host}]" if ":" in host else host
        return f"https://{host}" if port == _HTTPS_PORT else f"https://{host}:{port}"


def load_settings(path: Path) -> Settings:
    """Read and check the file.

    Raises:
        ConfigurationError: it is missing, cannot be read, has an unknown key or a value that cannot be.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = msgspec.convert(document, Settings)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path} is not there", hint="make a site first: leadglass init DIR"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        check_settings(settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return settings


def check_settings(settings: Settings) -> None:
    """Check what the types cannot say.

    Raises:
        ConfigurationError: a value cannot be; the message names the setting.
    """
    try:
        parse_ae_title(settings.dimse.ae_title)
    except UsageError as error:
        raise ConfigurationError(f"dimse.ae_title: {error}") from error
    if not 0 <= settings.dimse.port <= 65_535:
        raise ConfigurationError("dimse.port: 0 to 65535 is expected")
    if not 1 <= settings.dimse.associations_max <= 10 * ASSOCIATIONS_MAX:
        raise ConfigurationError(f"dimse.associations_max: 1 to {10 * ASSOCIATIONS_MAX} is expected")
    for name, uids in (
        ("private_sop_classes", settings.dimse.private_sop_classes),
        ("private_transfer_syntaxes", settings.dimse.private_transfer_syntaxes),
    ):
        if not all(is_uid(uid) for uid in uids):
            raise ConfigurationError(f"dimse.{name}: UIDs are expected")
    if not 0 <= settings.web.port <= 65_535 or not 0 <= settings.web.public_port <= 65_535:
        raise ConfigurationError("web.port, web.public_port: 0 to 65535 is expected")
    if not 1 <= settings.web.decoders <= 64:
        raise ConfigurationError("web.decoders: 1 to 64 is expected")
    _check_policy(settings.policy)
    if settings.retention.restorable_days < 1:
        raise ConfigurationError("retention.restorable_days: at least 1 is expected")
    if settings.identity.sessions_per_person < 1 or settings.identity.sessions_per_administrator < 1:
        raise ConfigurationError("identity.sessions_per_...: at least 1 is expected")
    try:
        ZoneInfo(settings.policy.time_zone)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ConfigurationError("policy.time_zone: a name like Europe/Berlin is expected") from error
    if settings.index.url != "sqlite" and not settings.index.url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("index.url: 'sqlite' or 'postgresql://...' is expected")
    if bool(settings.web.posture_issuer) != bool(settings.web.posture_keys):
        raise ConfigurationError("web.posture_issuer and web.posture_keys go together")
    if bool(settings.users.token_issuer) != bool(settings.users.token_keys):
        raise ConfigurationError("users.token_issuer and users.token_keys go together")
    _check_providers(settings)


def _check_policy(said: PolicySettings) -> None:
    for name, number, most in (
        ("emergency_minutes", said.emergency_minutes, _EMERGENCY_MINUTES_MAX),
        ("emergency_review_hours", said.emergency_review_hours, _EMERGENCY_REVIEW_HOURS_MAX),
        ("review_days", said.review_days, _REVIEW_DAYS_MAX),
    ):
        if not 1 <= number <= most:
            raise ConfigurationError(f"policy.{name}: 1 to {most} is expected")
    if bool(said.reviewer) != bool(said.deputy) or (said.reviewer and said.reviewer == said.deputy):
        raise ConfigurationError("policy.reviewer and policy.deputy go together, and are two people")
    if not all(name.startswith("user:") for name in (said.reviewer, said.deputy) if name):
        raise ConfigurationError("policy.reviewer, policy.deputy: user:ACCOUNT is expected")


def _check_providers(settings: Settings) -> None:
    for name, section, named_by in (
        ("oidc", settings.oidc, "issuer"),
        ("saml", settings.saml, "metadata_file"),
        ("ldap", settings.ldap, "url"),
    ):
        if not getattr(section, named_by) and section != type(section)():
            raise ConfigurationError(f"{name}.{named_by} is missing, which says whom to ask")
        if any(not rule.group or not rule.roles for rule in section.rule):
            raise ConfigurationError(f"{name}.rule: a group and at least one role are expected")
    oidc = settings.oidc
    if oidc.issuer:
        file = "private_key_file" if oidc.client_authentication == "private_key_jwt" else "client_secret_file"
        if not oidc.client_id or not getattr(oidc, file):
            raise ConfigurationError(f"oidc.client_id and oidc.{file} are expected beside oidc.issuer")
    addressed = (oidc.issuer and not oidc.redirect_uri) or (
        settings.saml.metadata_file and not (settings.saml.acs_url and settings.saml.entity_id)
    )
    if addressed and not (settings.web.port or settings.web.public_port):
        raise ConfigurationError(
            "web.port: identity providers have to know it, so 0 (any free one) is not enough"
        )
    for name, seconds in (("oidc", oidc.skew_seconds), ("saml", settings.saml.skew_seconds)):
        if not 0 <= seconds <= _SKEW_SECONDS_MAX:
            raise ConfigurationError(f"{name}.skew_seconds: 0 to {_SKEW_SECONDS_MAX} is expected")
    if not 1 <= settings.ldap.seconds <= _DIRECTORY_SECONDS_MAX:
        raise ConfigurationError(f"ldap.seconds: 1 to {_DIRECTORY_SECONDS_MAX} is expected")


def render_settings(settings: Settings) -> str:
    """Return the text of a new ``leadglass.toml``, with a word on each setting."""
    text = texts = _value
    zones = ", ".join(f"{text(zone)} = {texts(blocks)}" for zone, blocks in settings.zones.networks.items())
    return f"""\
# A Leadglass site. Unknown keys are errors; no secret belongs here.

[site]
# Of the institution; stands in the certificates of the site.
name = {text(settings.site.name)}
# Host names and addresses under which this node is reached; they stand in its certificate.
names = {texts(settings.site.names)}

[dimse]
# What this node is called; an association for anybody else is rejected.
ae_title = {text(settings.dimse.ae_title)}
# Every peer needs an enrolled certificate: there is no other way in, and no plaintext listener.
host = {text(settings.dimse.host)}
port = {settings.dimse.port}
# Associations at once, over all peers.
associations_max = {settings.dimse.associations_max}
# Storage SOP classes and transfer syntaxes that are not in the standard, by UID.
private_sop_classes = {texts(settings.dimse.private_sop_classes)}
private_transfer_syntaxes = {texts(settings.dimse.private_transfer_syntaxes)}

[keys]
# Who holds the root key: "key-file", "passphrase" or "systemd-credential".
provider = {text(settings.keys.provider)}
# Best on another device than the data; `leadglass status` says what it does and does not protect.
path = {text(settings.keys.path)}
credential = {text(settings.keys.credential)}

[index]
# "sqlite", or "postgresql://user@host/database". Not trusted with names: they are sealed before they get there.
url = {text(settings.index.url)}

[users]
# Tokens that people show inside an association (PS3.7 D.3.3.7, type 5): who issues them, and the issuer's public keys.
token_issuer = {text(settings.users.token_issuer)}
token_keys = {text(settings.users.token_keys)}
token_binding_required = {str(settings.users.token_binding_required).lower()}

[web]
# DICOMweb and the console, over HTTPS only; nobody gets an answer who is not signed in or shows a device's certificate.
enabled = {str(settings.web.enabled).lower()}
host = {text(settings.web.host)}
port = {settings.web.port}
# Reverse proxies that are believed about who called them, and other origins whose pages may call the API.
proxies = {texts(settings.web.proxies)}
origins = {texts(settings.web.origins)}

[zones]
# An address in none of these is "remote": second factor always, short sessions.
networks = {{ {zones} }}

[identity]
# "nist-800-63b-4", or "legacy" (composition, rotation) where your local policy demands it.
password_profile = {text(settings.identity.password_profile)}
# SHA-1 hashes of breached passwords, ordered by hash, as `HASH` or `HASH:COUNT` lines.
breached_passwords = {text(settings.identity.breached_passwords)}
# Ids of enrolled workstations that people share.
consoles = {texts(settings.identity.consoles)}
# Single sign-on, directories: sections [oidc], [saml] and [ldap], see docs/SETTINGS.md.
make_accounts = {str(settings.identity.make_accounts).lower()}
second_factor_always = {str(settings.identity.second_factor_always).lower()}

[policy]
# A change of policy is proposed by one person and applied by another.
two_person = {str(settings.policy.two_person).lower()}
time_zone = {text(settings.policy.time_zone)}
# How long an emergency access is in force, and within how long somebody else reviews it.
emergency_minutes = {settings.policy.emergency_minutes}
emergency_review_hours = {settings.policy.emergency_review_hours}
# Who reviews the grants of every role each quarter, as "user:jane"; empty: reviews are opened by hand.
review_days = {settings.policy.review_days}
reviewer = {text(settings.policy.reviewer)}
deputy = {text(settings.policy.deputy)}

[retention]
# How long a deletion can be undone.
restorable_days = {settings.retention.restorable_days}
{"".join(_rendered(name, getattr(settings, name)) for name in ("oidc", "saml", "ldap"))}"""


def _rendered(name: str, section: OpenIDSection | SAMLSection | DirectorySection) -> str:
    """Return the section of an identity provider with what is not as it comes; nothing where there is none."""
    said = [
        f"{field.name} = {_value(getattr(section, field.name))}\n"
        for field in msgspec.structs.fields(section)
        if getattr(section, field.name) != field.default
    ]
    return f"\n[{name}]\n{''.join(said)}" if said else ""


def _value(value: object) -> str:
    """Return a value in TOML; rules become inline tables."""
    if isinstance(value, GroupRoles):
        return f"{{ group = {_value(value.group)}, roles = {_value(value.roles)} }}"
    if isinstance(value, tuple):
        several = cast("tuple[object, ...]", value)
        return "[" + ", ".join(_value(one) for one in several) + "]"
    # A TOML basic string takes JSON's escapes; DEL it wants escaped too.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
