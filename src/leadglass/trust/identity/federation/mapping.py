"""From what an identity provider says to what this site believes: groups to roles, methods to strength."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from leadglass.base.clock import Clock
from leadglass.trust.identity.federation.distinguished_names import comparable
from leadglass.trust.identity.federation.models import ExternalIdentity, GroupRule, SignInRefused, Strength
from leadglass.trust.identity.models import Vouched

_SOME_TIME: Final = timedelta(days=1)
"""How old a strong factor is taken to be that was shown nobody says when: too old for what needs a fresh one."""


def roles_of(groups: Collection[str], rules: Sequence[GroupRule]) -> tuple[str, ...]:
    """Return the roles that ``groups`` give, sorted; none when no rule speaks of them."""
    held = {comparable(group) for group in groups}
    return tuple(sorted({role for rule in rules if comparable(rule.group) in held for role in rule.roles}))


def vouched(
    identity: ExternalIdentity, rules: Sequence[GroupRule], strength: Strength, clock: Clock
) -> Vouched | SignInRefused:
    """Return what a sign-in can begin with.

    Without rules the identity provider says nothing on roles, and those of the account stand. With rules its groups
    decide alone, at every sign-in; somebody whom they give nothing is turned away.

    Args:
        identity: as verified.
        rules: of the settings of that provider.
        strength: of the settings of that provider.
        clock: of the site, for a provider that does not say when: two factors were shown some time ago then.
    """
    roles = roles_of(identity.groups, rules) if rules else None
    if roles == ():
        return SignInRefused("no group of the person gives a role")
    said = {identity.acr, *identity.methods} - {""}
    resistant = not said.isdisjoint(strength.phishing_resistant)
    multi_factor = resistant or not said.isdisjoint(strength.multi_factor)
    unsaid = clock.now() - _SOME_TIME if multi_factor else clock.now()
    return Vouched(
        issuer=identity.issuer,
        subject=identity.subject,
        methods=identity.methods,
        authenticated_at=identity.auth_time or unsaid,
        multi_factor=multi_factor,
        phishing_resistant=resistant,
        display_name=identity.display_name,
        roles=roles,
    )
