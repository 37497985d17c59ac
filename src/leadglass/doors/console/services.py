"""What the console's API works with: verbs and directories, put together by ``app.compose``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from leadglass.base.secret import Secret
from leadglass.trust.identity.interfaces import AccountDirectory, FactorDirectory, Sessions, SignIn
from leadglass.trust.identity.models import Origin


@dataclass(frozen=True, slots=True)
class SignInServices:
    """What signing in works with.

    Attributes:
        sign_in: the flow.
        sessions: of the site.
        accounts: of the site.
        factors: who has which.
        redeem: takes an invitation and a password; tells whether it was good. Raises UsageError for the password.
        redeem_first: the same for the first administrator: token, account, name, password.
        providers: other ways to sign in, by the name of their endpoint: ``oidc``, ``saml``; shown on the page.
    """

    sign_in: SignIn
    sessions: Sessions
    accounts: AccountDirectory
    factors: FactorDirectory
    redeem: Callable[[Secret, Secret, Origin], bool]
    redeem_first: Callable[[Secret, str, str, Secret, Origin], bool]
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
