"""Says in plain words what is wrong with the set-up of an identity provider: ``leadglass identity test``.

It asks what a sign-in would ask, in the same order and by the same code, up to the point where a person is needed.
Each finding says what is the matter, why that matters, and what to do. Nothing is changed anywhere, nobody is signed
in; a probe of a directory's entry reads it, and binds as nobody but the service account.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation import directory, outbound
from leadglass.trust.identity.federation.directory import Directory, DirectoryFailed, Entry, subject_of
from leadglass.trust.identity.federation.interfaces import ReadCertificate
from leadglass.trust.identity.federation.mapping import roles_of
from leadglass.trust.identity.federation.models import (
    DirectorySettings,
    GroupRule,
    GroupSearch,
    OIDCSettings,
    SAMLSettings,
)
from leadglass.trust.identity.federation.oidc import (
    OIDCClient,
    ProviderMetadata,
    ProviderMisbehaved,
    token_error,
)
from leadglass.trust.identity.federation.outbound import Outbound, OutboundFailed
from leadglass.trust.identity.federation.saml import load_metadata

_EXPIRES_SOON: Final = timedelta(days=30)
_SKEW_NOTED_SECONDS: Final = 5
_RSA_BITS_MIN: Final = 2048
_EC_BITS_MIN: Final = 256
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
_SAMPLE: Final = 50
"""People whose entries are looked at."""


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        severity: nobody can sign in, or not safely, with an ``error``.
        part: ``oidc``, ``saml`` or ``ldap``.
        what: what is the matter.
        why: why that matters; empty for ``ok``.
        remedy: what to do; empty for ``ok``.
    """

    severity: Severity
    part: str
    what: str
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What to look at.

    Attributes:
        clock: of the site.
        read_certificate: see there.
        roles: names that policy knows, for the rules.
        oidc: settings, or None where there are none; as the following.
        saml: as above.
        ldap: as above.
        probe_name: name of somebody in the directory whose groups are to be shown; empty for nobody.
    """

    clock: Clock
    read_certificate: ReadCertificate
    roles: Collection[str]
    oidc: OIDCSettings | None = None
    saml: SAMLSettings | None = None
    ldap: DirectorySettings | None = None
    probe_name: str = ""


def run(test: SelfTest) -> list[Finding]:
    """Look at everything that is configured. Not to be called from an event loop."""
    findings: list[Finding] = []
    if test.oidc is not None:
        findings += _oidc(test, test.oidc)
    if test.saml is not None:
        findings += _saml(test, test.saml)
    if test.ldap is not None:
        findings += _ldap(test, test.ldap)
    return findings


def _ok(part: str, what: str) -> Finding:
    return Finding(Severity.OK, part, what)


def _warning(part: str, what: str, why: str, remedy: str) -> Finding:
    return Finding(Severity.WARNING, part, what, why, remedy)


def _error(part: str, what: str, why: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, part, what, why, remedy)


def _rules(part: str, rules: Sequence[GroupRule], known: Collection[str]) -> Iterator[Finding]:
    if not rules:
        yield _warning(
            part,
            "No group is mapped to a role.",
            "The identity provider decides who comes in, but roles are given here by hand, and taken away by hand.",
            "Map groups of the provider to roles in the settings, unless that is what you want.",
        )
        return
    unknown = sorted({role for rule in rules for role in rule.roles} - set(known))
    if unknown:
        yield _error(
            part,
            f"The mapping names roles that there are not: {', '.join(unknown)}.",
            "Whoever is in those groups cannot sign in.",
            "Correct the names, or add the roles to the policy.",
        )
    else:
        yield _ok(part, f"{len(rules)} groups are mapped to roles.")


# --- OpenID Connect ----------------------------------------------------------------------------------------------

_OUTBOUND: Final = {
    outbound.Failure.NAME: (
        "No name server knows it, so no connection can be made.",
        "Check the issuer in the settings for a misspelling, and the name server of this machine.",
    ),
    outbound.Failure.ADDRESS: (
        "Questions go only to hosts of the settings, and not to this machine or its neighbourhood.",
        "If the provider really is there, name its host in `hosts` or its network in `networks`.",
    ),
    outbound.Failure.CERTIFICATE: (
        "Somebody else could answer in the provider's place.",
        "Name the file of the authority that signed its certificate in `ca_file`, or renew the certificate.",
    ),
    outbound.Failure.TLS: (
        "Without TLS 1.2 or newer nothing is sent.",
        "Check the port of the issuer, and that the provider speaks TLS there.",
    ),
    outbound.Failure.CONNECTION: (
        "Nobody listens at that address, or a firewall is between.",
        "Check host and port of the issuer, and that this machine may connect there.",
    ),
    outbound.Failure.TIME: (
        "People would wait at the sign-in page, and give up.",
        "Check the load of the provider and the firewall between.",
    ),
    outbound.Failure.SIZE: (
        "No provider needs as much, so something else answers.",
        "Check the issuer in the settings.",
    ),
}


def _unreachable(part: str, what: str, error: OutboundFailed) -> Finding:
    why, remedy = _OUTBOUND[error.failure]
    return _error(part, f"{what}: {error}.", why, remedy)


def _oidc(test: SelfTest, settings: OIDCSettings) -> Iterator[Finding]:
    part = "oidc"
    try:
        asking = Outbound(settings.issuer, settings.outbound)
        client = OIDCClient(settings, test.clock, asking, jose.Sealer())
    except ConfigurationError as error:
        yield _error(part, f"The settings cannot be used: {error}.", "Nobody can sign in.", _remedy(error))
        return
    try:
        metadata = client.provider.metadata()
    except OutboundFailed as error:
        yield _unreachable(part, "The discovery document cannot be fetched", error)
        return
    except ProviderMisbehaved as error:
        yield _error(
            part,
            f"The discovery document cannot be used: {error}.",
            "What the provider says about itself does not fit to the settings, so it may be another one.",
            "Set `issuer` to exactly what the provider calls itself, with or without a slash at the end.",
        )
        return
    yield _ok(part, "The discovery document was fetched and is that of the issuer.")
    yield from _oidc_clock(test, settings, asking)
    yield from _oidc_offer(settings, metadata)
    yield from _oidc_keys(client)
    yield from _oidc_registration(settings, client, asking, metadata)
    yield from _rules(part, settings.rules, test.roles)


def _oidc_clock(test: SelfTest, settings: OIDCSettings, asking: Outbound) -> Iterator[Finding]:
    try:
        said = asking.get(settings.issuer.rstrip("/") + "/.well-known/openid-configuration").date
        apart = abs((parsedate_to_datetime(said) - test.clock.now()).total_seconds())
    except (OutboundFailed, ValueError, TypeError):
        return  # no date, or one without a zone: nothing can be said
    if apart <= _SKEW_NOTED_SECONDS:
        yield _ok("oidc", "The clocks of the provider and of this machine agree.")
        return
    make = _error if apart > settings.skew_seconds else _warning
    yield make(
        "oidc",
        f"The clocks of the provider and of this machine are {apart:.0f} s apart.",
        f"Beyond {settings.skew_seconds} s what it signs is refused as expired, or as from the future.",
        "Let both machines follow a time server (NTP).",
    )


def _oidc_offer(settings: OIDCSettings, metadata: ProviderMetadata) -> Iterator[Finding]:
    part = "oidc"
    if not metadata.code_challenge_methods_supported:
        yield _warning(
            part,
            "The provider does not say that it does PKCE.",
            "Without PKCE a stolen code could be used by a thief. We send it in any case.",
            "Let its administrator require PKCE with S256 for this client.",
        )
    if metadata.response_types_supported and "code" not in metadata.response_types_supported:
        yield _error(
            part,
            "The provider does not offer the authorization code flow.",
            "It is the only one that is used here.",
            "Let its administrator allow the response type `code`.",
        )
    method = settings.client_authentication.value
    if method not in metadata.token_endpoint_auth_methods_supported:
        yield _error(
            part,
            f"The provider does not offer {method}.",
            "We could not prove to it who we are.",
            "Set `client_authentication` to one of: "
            + (", ".join(metadata.token_endpoint_auth_methods_supported) or "(it offers none)"),
        )
    algorithms = metadata.id_token_signing_alg_values_supported
    if algorithms and not set(algorithms) & set(jose.ALGORITHMS):
        yield _error(
            part,
            "The provider signs by no algorithm that we take.",
            "Its ID tokens would all be refused.",
            f"Let its administrator choose one of {', '.join(jose.ALGORITHMS)}.",
        )
    if not metadata.authorization_response_iss_parameter_supported:
        yield _warning(
            part,
            "The provider does not put its name into its answers (RFC 9207).",
            "With several providers, an answer of one could be passed off as one of another.",
            "Harmless while it is the only one.",
        )
    missing = [scope for scope in settings.scopes if scope not in metadata.scopes_supported]
    if metadata.scopes_supported and missing:
        yield _warning(
            part,
            f"The provider does not offer the scopes {', '.join(missing)}.",
            "Names or groups of people may be missing.",
            "Remove them from `scopes`, or let its administrator add them.",
        )
    if (
        settings.rules
        and metadata.claims_supported
        and settings.groups_claim not in metadata.claims_supported
    ):
        yield _warning(
            part,
            f"The provider does not list the claim {settings.groups_claim}.",
            "Without groups no role is given, and nobody comes in.",
            "Set `groups_claim` to the claim with the groups, or let its administrator add it.",
        )


def _oidc_keys(client: OIDCClient) -> Iterator[Finding]:
    part = "oidc"
    try:
        count = len(client.provider.keys().key_ids)
    except OutboundFailed as error:
        yield _unreachable(part, "The keys of the provider cannot be fetched", error)
    except ProviderMisbehaved as error:
        yield _error(
            part,
            f"The keys of the provider cannot be used: {error}.",
            "No ID token can be verified.",
            "Let its administrator publish a key for signatures: EC P-256, Ed25519, or RSA of 2048 bits and more.",
        )
    else:
        yield _ok(part, f"The provider publishes {count} keys that we can use.")


def _oidc_registration(
    settings: OIDCSettings, client: OIDCClient, asking: Outbound, metadata: ProviderMetadata
) -> Iterator[Finding]:
    part = "oidc"
    try:
        # A code that nobody issued: the provider looks at who asks first, and then refuses the code.
        form = [
            ("grant_type", "authorization_code"),
            ("code", "self-test"),
            ("redirect_uri", settings.redirect_uri),
            ("code_verifier", "self-test" * 5),
        ]
        answered = token_error(client.ask_token_endpoint(metadata, form))
    except OutboundFailed as error:
        yield _unreachable(part, "The token endpoint cannot be asked", error)
        return
    if answered in {"invalid_client", "unauthorized_client", "status 401", "status 403"}:
        yield _error(
            part,
            "The provider does not know us: the client id is wrong, or the key or secret is not the registered one.",
            "No code could be redeemed.",
            "Compare `client_id`, and register our public key (`leadglass identity keys`) or the right secret.",
        )
        return
    if answered == "invalid_grant":
        yield _ok(part, "The provider knows our client id and credential.")
    else:
        yield _warning(
            part,
            f"The token endpoint answered {answered} to a code that nobody issued.",
            "It should have refused the code (invalid_grant), so we cannot tell whether it knows us.",
            "Try to sign in, and look into the log of the provider.",
        )
    yield from _oidc_authorization(settings, client, asking)


def _oidc_authorization(settings: OIDCSettings, client: OIDCClient, asking: Outbound) -> Iterator[Finding]:
    part = "oidc"
    begun = urlsplit(client.begin().redirect_url)
    query = [*parse_qsl(begun.query), ("prompt", "none")]
    without = [(name, value) for name, value in query if not name.startswith("code_challenge")]
    try:
        answer = asking.get(urlunsplit(begun._replace(query=urlencode(query))))
        naked = asking.get(urlunsplit(begun._replace(query=urlencode(without))))
    except OutboundFailed as error:
        yield _unreachable(part, "The authorization endpoint cannot be asked", error)
        return
    if not answer.location.startswith(settings.redirect_uri):
        yield _error(
            part,
            f"The provider does not send people back to {settings.redirect_uri}.",
            "The redirect URI must be registered there, letter by letter.",
            "Register it, or correct `redirect_uri`.",
        )
        return
    yield _ok(part, "The provider sends people back to our redirect URI.")
    if dict(parse_qsl(urlsplit(naked.location).query)).get("error") != "invalid_request":
        yield _warning(
            part,
            "The provider does not insist on PKCE for this client.",
            "We send it in any case, but an attacker who begins a sign-in need not.",
            "Let its administrator require PKCE with S256.",
        )


# --- SAML --------------------------------------------------------------------------------------------------------


def _saml(test: SelfTest, settings: SAMLSettings) -> Iterator[Finding]:
    part = "saml"
    try:
        metadata = load_metadata(settings)
    except ConfigurationError as error:
        yield _error(
            part,
            f"{_sentence(error)}.",
            "Nobody can sign in.",
            "Fetch the metadata document of the identity provider anew, and check whom you got it from.",
        )
        return
    yield _ok(part, f"The metadata is that of {metadata.entity_id}.")
    if not settings.entity_id or not settings.acs_url.startswith("https://"):
        yield _error(
            part,
            "Our entity id is empty, or the address for responses is no https URL.",
            "Responses could not be told to be for us, or would travel in the clear.",
            "Set `entity_id` and `acs_url`, and give our metadata to the provider's administrator.",
        )
    if metadata.wants_signed_requests:
        yield _error(
            part,
            "The identity provider takes signed requests only.",
            "Ours are not signed; they hold nothing that a signature would protect.",
            "Let its administrator switch that off for us.",
        )
    now = test.clock.now()
    yield from _ends("The metadata", part, metadata.valid_until, now)
    for certificate in metadata.certificates:
        yield from _saml_certificate(test, certificate, now)
    yield from _rules(part, settings.rules, test.roles)


def _saml_certificate(test: SelfTest, certificate: str, now: datetime) -> Iterator[Finding]:
    part = "saml"
    try:
        found = test.read_certificate(certificate)
    except ValueError:
        yield _error(
            part,
            "A signing certificate of the metadata cannot be read.",
            "No response can be verified with it.",
            "Fetch the metadata document anew.",
        )
        return
    if now < found.not_before:
        yield _error(
            part,
            "The signing certificate of the metadata is not valid yet.",
            "Every response would be refused until then.",
            "Compare the clock of this machine with a time server.",
        )
    yield from _ends("The signing certificate of the metadata", part, found.not_after, now)
    bits = {"RSA": _RSA_BITS_MIN, "EC": _EC_BITS_MIN}.get(found.key_kind)
    if bits is None or found.key_bits < bits:
        yield _error(
            part,
            f"The signing key of the metadata is weak or of a kind that we do not take: {found.key_kind}, "
            f"{found.key_bits} bits.",
            "Whoever can break it can sign in as anybody.",
            "Let the provider's administrator make a new one: RSA of 2048 bits and more, or EC P-256.",
        )
    elif found.signature_hash in _WEAK_HASHES:
        yield _warning(
            part,
            f"The signing certificate itself is signed with {found.signature_hash}.",
            "It is pinned, so that does not matter here; but it tells that the provider is set up in an old way.",
            "Let its administrator make a new one with SHA-256.",
        )
    else:
        yield _ok(part, f"The signing key is {found.key_kind} of {found.key_bits} bits.")


def _ends(what: str, part: str, ends: datetime | None, now: datetime) -> Iterator[Finding]:
    if ends is None:
        return
    day = ends.date().isoformat()
    if now >= ends:
        yield _error(
            part,
            f"{what} expired on {day}.",
            "Every sign-in is refused.",
            "Fetch the newest metadata document.",
        )
    elif now >= ends - _EXPIRES_SOON:
        yield _warning(
            part,
            f"{what} expires on {day}.",
            "From then on every sign-in is refused.",
            "Fetch the newest metadata document before.",
        )


# --- LDAP --------------------------------------------------------------------------------------------------------

_DIRECTORY: Final = {
    directory.Failure.CONNECTION: (
        "Nobody listens at that address, a firewall is between, or the port speaks no TLS.",
        "Check `url`: ldaps usually listens on 636, StartTLS on 389.",
    ),
    directory.Failure.CERTIFICATE: (
        "Somebody else could answer in its place, and would get the passwords.",
        "Name the file of the authority that signed its certificate in `ca_file`; use a name of the certificate in `url`.",
    ),
    directory.Failure.TLS: (
        "Passwords are never sent without TLS.",
        "Let the directory's administrator set up a certificate, or use ldaps.",
    ),
    directory.Failure.BIND: (
        "Without it people cannot be searched for.",
        "Check `bind_dn` and its password, and that the account is neither locked nor expired.",
    ),
    directory.Failure.SEARCH: (
        "People cannot be found.",
        "Check `user_base`, `user_filter` and `group_base`, and what the service account may read.",
    ),
}


def _ldap(test: SelfTest, settings: DirectorySettings) -> Iterator[Finding]:
    part = "ldap"
    try:
        asked = Directory(settings)
    except ConfigurationError as error:
        yield _error(part, f"The settings cannot be used: {error}.", "Nobody can sign in.", _remedy(error))
        return
    try:
        with asked.service() as connection:
            yield _ok(part, "The connection is protected, and the service account was taken.")
            everybody = asked.search(
                connection,
                settings.user_base,
                settings.user_filter.replace("{name}", "*"),
                [settings.subject_attribute, settings.name_attribute, settings.groups_attribute],
                _SAMPLE,
            )
            yield from _ldap_people(settings, everybody)
            if test.probe_name:
                found = asked.find(connection, test.probe_name)
                groups = asked.groups_of(connection, found[0]) if len(found) == 1 else ()
                yield from _ldap_probe(settings, found, groups)
    except DirectoryFailed as error:
        why, remedy = _DIRECTORY[error.failure]
        yield _error(part, f"{_sentence(error)}.", why, remedy)
    yield from _rules(part, settings.rules, test.roles)


def _ldap_people(settings: DirectorySettings, everybody: Sequence[Entry]) -> Iterator[Finding]:
    part = "ldap"
    if not everybody:
        yield _error(
            part,
            "Nobody is found under `user_base`.",
            "Nobody can sign in.",
            "Check `user_base` and `user_filter`, and what the service account may read.",
        )
        return
    yield _ok(part, f"People are found under `user_base` (looked at {len(everybody)}).")
    without = sum(not subject_of(one, settings.subject_attribute) for one in everybody)
    if without:
        yield _error(
            part,
            f"{without} of {len(everybody)} people have no {settings.subject_attribute}.",
            "People are known by it; who has none cannot sign in.",
            "Set `subject_attribute` to one that never changes: entryUUID for OpenLDAP, objectGUID for Active Directory.",
        )
    if settings.group_search is GroupSearch.MEMBER_OF and not any(
        one.texts(settings.groups_attribute) for one in everybody
    ):
        yield _error(
            part,
            f"Nobody has a {settings.groups_attribute}.",
            "Without groups no role is given by a mapping.",
            "Correct `groups_attribute`, switch the memberOf overlay on, or set `group_search` to group-entries.",
        )


def _ldap_probe(
    settings: DirectorySettings, found: Sequence[Entry], groups: Sequence[str]
) -> Iterator[Finding]:
    part = "ldap"
    if len(found) != 1:
        yield _error(
            part,
            "The name that was given is not that of exactly one person.",
            "Whoever types it cannot sign in.",
            "Check the name, and `user_filter`: a name must lead to one entry.",
        )
        return
    if not groups:
        yield _warning(
            part,
            "The person that was asked for is in no group.",
            "A mapping of groups gives them no role.",
            "Check `group_search`, `groups_attribute` and `member_attribute`.",
        )
        return
    roles = roles_of(groups, settings.rules)
    if settings.rules and not roles:
        yield _error(
            part,
            f"No rule speaks of a group of the person that was asked for; they are in: {'; '.join(groups)}.",
            "They cannot sign in.",
            "Compare the names of the groups in the mapping with these.",
        )
    elif roles:
        yield _ok(part, f"The person that was asked for gets: {', '.join(roles)}.")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _remedy(error: ConfigurationError) -> str:
    return _sentence(Exception(error.hint)) + "." if error.hint else "Correct the settings."
