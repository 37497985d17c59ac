"""The identity providers of a site, put together from its settings."""

from dataclasses import dataclass, replace
from typing import Final

from leadglass.base.clock import Clock
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation.directory import Directory, DirectoryPasswords
from leadglass.trust.identity.federation.mapping import vouched
from leadglass.trust.identity.federation.models import (
    ExternalIdentity,
    FederationSettings,
    GroupRule,
    SignInRefused,
    Strength,
)
from leadglass.trust.identity.federation.oidc import OIDCClient
from leadglass.trust.identity.federation.outbound import Outbound
from leadglass.trust.identity.federation.saml import SAMLServiceProvider
from leadglass.trust.identity.models import Vouched

_VOUCHED: Final = ("sso",)
"""Stands for a method that a provider does not name; RFC 8176 has no word for that."""
_STRANGER: Final = SignInRefused("the identity provider is not one of the settings")


@dataclass(frozen=True, slots=True)
class Federation:
    """What the doors and the sign-in work with. Thread-safe.

    Attributes:
        oidc: the OpenID provider; None where there is none, as the following.
        saml: the SAML identity provider.
        passwords: the directory, as one more place that knows passwords.
        beliefs: by issuer, what of its words counts.
        clock: of the site.
    """

    oidc: OIDCClient | None
    saml: SAMLServiceProvider | None
    passwords: DirectoryPasswords | None
    beliefs: dict[str, tuple[tuple[GroupRule, ...], Strength]]
    clock: Clock

    def believe(self, identity: ExternalIdentity) -> Vouched | SignInRefused:
        """Make what a sign-in begins with of what a provider said: groups to roles, by the rules of that provider."""
        belief = self.beliefs.get(identity.issuer)
        if belief is None:
            return _STRANGER
        said = vouched(identity, *belief, self.clock)
        if isinstance(said, Vouched) and not said.methods:
            # Most providers do not say how they made sure. That they did is a first factor all the same; without a word
            # for it, everybody would be asked for a second one.
            return replace(said, methods=_VOUCHED)
        return said


def open_federation(settings: FederationSettings, clock: Clock) -> Federation:
    """Read the files of the settings; ask nobody yet.

    Raises:
        ConfigurationError: settings contradict themselves, or a file of theirs cannot be read.
    """
    sealer = jose.Sealer()
    beliefs: dict[str, tuple[tuple[GroupRule, ...], Strength]] = {}
    oidc = saml = passwords = None
    if settings.oidc is not None:
        asking = Outbound(settings.oidc.issuer, settings.oidc.outbound)
        oidc = OIDCClient(settings.oidc, clock, asking, sealer)
        beliefs[oidc.issuer] = (settings.oidc.rules, settings.oidc.strength)
    if settings.saml is not None:
        saml = SAMLServiceProvider(settings.saml, clock, sealer)
        beliefs[saml.issuer] = (settings.saml.rules, settings.saml.strength)
    if settings.ldap is not None:
        passwords = DirectoryPasswords(Directory(settings.ldap), settings.ldap, clock)
    return Federation(oidc, saml, passwords, beliefs, clock)
