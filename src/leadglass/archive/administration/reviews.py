"""Access reviews: opening them, deciding on grants, and what came of it.

Source: 45 CFR 164.308(a)(4)(ii)(C); NIST SP 800-53 AC-2 (account review).
"""

from collections.abc import Collection
from dataclasses import dataclass

from leadglass.archive.access import Access, Grant
from leadglass.archive.administration.people import origin_of
from leadglass.base.errors import UsageError
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.access_review import AccessReview, Campaign, HeldRole, ReviewItem
from leadglass.trust.policy.interfaces import Allowed, Permission, Resource


@dataclass(frozen=True, slots=True)
class AccountGrants:
    """Implements ``policy.access_review.Grants`` with the accounts of people."""

    accounts: Accounts

    def held(self) -> list[HeldRole]:
        """Return every role of every account that is not disabled."""
        return [
            HeldRole(account.principal_id, role)
            for account in self.accounts.all()
            if account.disabled_at is None
            for role in account.roles
        ]

    def remove(self, held: HeldRole, by: Principal, reason: str) -> None:  # noqa: ARG002 - on record as the decision
        """Take a role away, and every session of its holder with it; harmless when it is gone.

        Where nobody may hold what would be left (another role is gone from the policies, or has come to exclude a third)
        all of it goes: a review must be able to take away whatever the catalogue says.
        """
        account = self.accounts.get(held.principal_id.removeprefix("user:"))
        if account is None or held.role not in account.roles:
            return
        rest = [role for role in account.roles if role != held.role]
        try:
            self.accounts.set_roles(account.account_id, rest, origin_of(by))
        except UsageError:
            self.accounts.set_roles(account.account_id, (), origin_of(by))


@dataclass(frozen=True, slots=True)
class Reviews:
    """Verbs on access reviews; holds no state."""

    access: Access
    review: AccessReview
    accounts: Accounts

    def open(
        self,
        principal: Principal,
        cause: str,
        *,
        reviewer: str,
        deputy: str = "",
        roles: Collection[str] = (),
        subjects: Collection[str] = (),
    ) -> Campaign:
        """Open a campaign.

        Args:
            principal: who opens it.
            cause: why, in words.
            reviewer: account or principal id of who looks at the grants.
            deputy: of who looks at the reviewer's own; empty for none.
            roles: reviewed; empty: all.
            subjects: accounts or principal ids whose grants are reviewed; empty: all.

        Raises:
            AccessDenied: policy said no.
            UsageError: nothing is granted there, no cause, the reviewer would look at their own grants, or a reviewer
                could not sign: everything would be suspended at the end.
            OutOfResources: too many grants for one campaign.
            AuditUnavailable: it cannot be put on record.
        """
        grant = self.access.permit(principal, Permission.REVIEW_OPEN)
        named = [_principal_id(one) for one in (reviewer, deputy) if one]
        for one in named:
            self._require_signer(one)
        return self.review.open(
            grant.principal,
            cause,
            reviewer=_principal_id(reviewer),
            deputy=_principal_id(deputy) if deputy else "",
            roles=roles,
            subjects=[_principal_id(one) for one in subjects],
        )

    def all(self, principal: Principal) -> list[Campaign]:
        """Return every campaign, oldest first.

        Raises:
            AccessDenied: policy said no.
        """
        self._permit_to_look(principal)
        return self.review.campaigns()

    def mine(self, principal: Principal) -> list[tuple[Campaign, ReviewItem]]:
        """Return what somebody still has to look at, the most urgent first.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.REVIEW_SIGN)
        return self.review.waiting_for(principal.principal_id)

    def show(self, principal: Principal, campaign_id: str) -> tuple[Campaign, list[ReviewItem]]:
        """Return a campaign and its grants.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none.
        """
        self._permit_to_look(principal)
        items = self.review.items(campaign_id)
        return next(one for one in self.review.campaigns() if one.campaign_id == campaign_id), items

    def evidence(self, principal: Principal, campaign_id: str) -> bytes:
        """Return the result as JSON, the same octets each time once it ended.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such campaign.
            IntegrityError: it is not what was recorded.
        """
        self._permit_to_look(principal)
        return self.review.evidence(campaign_id)

    def decide(
        self, principal: Principal, campaign_id: str, held: HeldRole, *, confirmed: bool, reason: str
    ) -> ReviewItem:
        """Confirm or remove a grant.

        Raises:
            AccessDenied: policy said no: it is their own, or they sign nothing.
            NotFound: there is no such grant in such a campaign.
            UsageError: somebody else reviews it, it is decided, or no reason was given.
            AuditUnavailable: it cannot be put on record; nothing changes.
        """
        held = HeldRole(_principal_id(held.principal_id), held.role)
        own = held.principal_id == principal.principal_id
        grant = self.access.permit(principal, Permission.REVIEW_SIGN, Resource("Review", {"own": own}))
        return self.review.decide(grant.principal, campaign_id, held, confirmed=confirmed, reason=reason)

    def _permit_to_look(self, principal: Principal) -> Grant:
        """Let in who signs, who opens, and who reads the record; the refusal names the last."""
        for permission in (Permission.REVIEW_SIGN, Permission.REVIEW_OPEN):
            if self.access.may(principal, permission):
                return self.access.permit(principal, permission)
        return self.access.permit(principal, Permission.AUDIT_READ)

    def _require_signer(self, principal_id: str) -> None:
        """Refuse a reviewer who could not sign, even with a strong factor."""
        kind, _, name = principal_id.partition(":")
        now = self.access.clock.now()
        roles: tuple[str, ...] = ()
        if kind == "operator":
            roles = ("operator",)
        elif kind == "user":
            account = self.accounts.get(name)
            roles = account.roles if account is not None and account.usable(now) else ()
        here = Circumstances(zone="site", strong_at=now, phishing_resistant=True)
        somebody = Principal(principal_id, roles, circumstances=here)
        asked = self.access.policy.decide(
            somebody, Permission.REVIEW_SIGN, Resource("Review", {"own": False})
        )
        if not isinstance(asked, Allowed):
            raise UsageError(
                f"{principal_id} cannot sign reviews",
                hint="name an account with a role that may, such as privacy-officer or security-officer",
            )


def _principal_id(name: str) -> str:
    return name if ":" in name else f"user:{name}"
