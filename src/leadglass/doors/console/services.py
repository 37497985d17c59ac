"""What the console's API works with: verbs and directories, put together by ``app.compose``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leadglass.trust.identity.interfaces import AccountDirectory, FactorDirectory, Sessions, SignIn


@dataclass(frozen=True, slots=True)
class SignInServices:
    """What signing in works with.

    Attributes:
        sign_in: the flow.
        sessions: of the site.
        accounts: of the site.
        factors: who has which.
        providers: other ways to sign in, by the name of their endpoint: ``oidc``, ``saml``; shown on the page.
    """

    sign_in: SignIn
    sessions: Sessions
    accounts: AccountDirectory
    factors: FactorDirectory
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
