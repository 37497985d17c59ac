"""Policies and roles: what is in force and why, and putting others in force.

Asking why tells facts of a study and somebody's relations to it, so it is on record before the answer.

Source: 45 CFR 164.308(a)(4); NIST SP 800-53 AC-3, CM-3.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from typing import Final

import msgspec

from leadglass.archive.access import Access, Grant, study_resource, subject_of
from leadglass.base.errors import ConfigurationError, NotFound, UsageError
from leadglass.base.ids import UID, is_uid
from leadglass.store.index.interfaces import Index, Relation
from leadglass.store.index.writer import IndexWriter
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.accounts import Accounts
from leadglass.trust.identity.clients import Client
from leadglass.trust.identity.models import Circumstances, Device, Principal
from leadglass.trust.policy.bundle import SiteBundle
from leadglass.trust.policy.bundle_store import POLICY_VERSION_FACT, Applied, Proposal, SitePolicy
from leadglass.trust.policy.difference import Difference
from leadglass.trust.policy.explain import Explanation, explain
from leadglass.trust.policy.interfaces import SITE, Denied, Permission, Resource
from leadglass.trust.policy.roles import Role
from leadglass.trust.policy.rules import Rule

ABOUT_STUDIES: Final = frozenset(
    {
        Permission.ASSOCIATION_ECHO,
        Permission.BREAK_GLASS_USE,
        Permission.COMMITMENT_REQUEST,
        Permission.INSTANCE_MOVE,
        Permission.INSTANCE_RETRIEVE,
        Permission.INSTANCE_STORE,
        Permission.RELATION_ASSIGN,
        Permission.STUDY_DELETE,
        Permission.STUDY_EXPORT,
        Permission.STUDY_QUERY,
        Permission.STUDY_RESTORE,
        Permission.WORKITEM_CANCEL,
        Permission.WORKITEM_CREATE,
        Permission.WORKITEM_PERFORM,
        Permission.WORKITEM_QUERY,
        Permission.WORKITEM_SUBSCRIBE,
    }
)
"""What the schema lets be asked about a study."""

SUPPOSED: Final = "supposed"
"""Stands for the id of an emergency access that is only supposed to be in force."""

_AT_THE_MACHINE: Final = Principal("operator:0", ("operator",), address="local")


@dataclass(frozen=True, slots=True)
class InForce:
    """What decides now.

    Attributes:
        bundle_hash: hex SHA-256 over this release's policies and the site's, as audit entries name it.
        version: how many bundles of the site were applied.
        applied: the newest of them; None where the site added nothing yet.
        proposal: what waits for somebody else's yes.
        rules: by id.
    """

    bundle_hash: str
    version: int
    applied: Applied | None
    proposal: Proposal | None
    rules: tuple[Rule, ...]


class Supposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is supposed to ask for what, and under what circumstances; the rest is as it is at this moment.

    Attributes:
        principal: ``jdoe`` or ``user:jdoe``, ``device:ct1``, ``client:x``, ``operator:0``.
        action: a permission.
        study: UID of the study it is about; empty: about the site as a whole, "on any at all".
        through: device that they act through inside an association; ``device:ws1`` or ``ws1``; empty for none.
        zone: network zone; None: ``site`` for people and services, and for devices none, as on an association.
        mfa_minutes: since a strong factor was shown; None for never.
        phishing_resistant: that factor was a passkey, a security key or a certificate.
        purpose: code of HL7 PurposeOfUse.
        workstation: enrolled device whose certificate the connection shows; empty for none.
        risk: of the session, ``low`` or ``high``.
        scopes: of an access token; empty: all that the client may have.
        break_glass: an emergency access to that study is in force; False: as it is now.
    """

    principal: str
    action: str
    study: str = ""
    through: str = ""
    zone: str | None = None
    mfa_minutes: int | None = None
    phishing_resistant: bool = False
    purpose: str = "TREAT"
    workstation: str = ""
    risk: str = "low"
    scopes: tuple[str, ...] = ()
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """Why.

    Attributes:
        principal: whose verdict it is.
        explanation: of it.
        device: of the device they act through, which needs a yes of its own; None for none.
    """

    principal: Principal
    explanation: Explanation
    device: Explanation | None = None

    @property
    def allowed(self) -> bool:
        """Whether the whole is a yes."""
        parts = [self.explanation] if self.device is None else [self.explanation, self.device]
        return not any(isinstance(part.decision, Denied) for part in parts)


@dataclass(frozen=True, slots=True)
class Directories:
    """Who there is: where the principals of an explanation come from.

    Attributes:
        accounts: of people.
        device: returns an enrolled device by its id.
        client: returns a service by its id.
        break_glass: returns the id of somebody's emergency access in force.
    """

    accounts: Accounts
    device: Callable[[str], Device | None]
    client: Callable[[str], Client | None]
    break_glass: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Policies:
    """Verbs on policies and roles; holds no state."""

    access: Access
    policy: SitePolicy
    index: Index
    writer: IndexWriter
    directories: Directories
    time_zone: tzinfo

    # --- looking -------------------------------------------------------------------------------------------------

    def in_force(self, principal: Principal) -> InForce:
        """Return what decides now.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        current, history = self.policy.current, self.policy.history()
        return InForce(
            current.bundle_hash,
            len(history),
            history[-1] if history else None,
            self.policy.proposal(),
            tuple(current.rules[name] for name in sorted(current.rules)),
        )

    def history(self, principal: Principal) -> tuple[Applied, ...]:
        """Return all that was ever applied, oldest first.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        return self.policy.history()

    def bundle(self, principal: Principal, digest: str) -> SiteBundle:
        """Return files and roles that were applied or proposed.

        Raises:
            AccessDenied: policy said no.
            UsageError: there are none of that hash.
            IntegrityError: they are not what was written.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        return self.policy.bundle(digest)

    def roles(self, principal: Principal) -> tuple[Role, ...]:
        """Return every role, by name.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        return self.policy.catalogue.all()

    def role(self, principal: Principal, name: str) -> tuple[Role, tuple[Rule, ...]]:
        """Return a role and the rules that are about it or a role that it includes.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        current = self.policy.current
        role = current.roles.get(name)
        if role is None:
            raise NotFound("there is no such role")
        reach = current.roles.closure((name,))
        return role, tuple(rule for _, rule in sorted(current.rules.items()) if rule.roles & reach)

    def compare(self, principal: Principal, bundle: SiteBundle) -> Difference:
        """Return what would change if a bundle were applied; so it is sound, and could be.

        Raises:
            AccessDenied: policy said no.
            UsageError: it is not sound; the message says where.
        """
        self.access.permit(principal, Permission.POLICY_READ)
        with _sound():
            return self.policy.compare_with_current(bundle)

    # --- changing ------------------------------------------------------------------------------------------------

    def apply(self, principal: Principal, bundle: SiteBundle, reason: str) -> Applied:
        """Put a bundle in force.

        Raises:
            AccessDenied: policy said no.
            UsageError: it is not sound, nobody could change the policies again after it, two people are needed here,
                or no reason was given.
            AuditUnavailable: it could not be recorded; what is in force stays.
        """
        grant = self.access.permit(principal, Permission.POLICY_APPLY)
        self._require_way_back(bundle)
        return self._noted(grant, self.policy.apply(bundle, grant.principal, reason))

    def propose(self, principal: Principal, bundle: SiteBundle, reason: str) -> Proposal:
        """Lay a bundle before somebody else.

        Raises:
            As ``apply``.
        """
        grant = self.access.permit(principal, Permission.POLICY_APPLY)
        self._require_way_back(bundle)
        return self.policy.propose(bundle, grant.principal, reason)

    def approve(self, principal: Principal, digest: str) -> Applied:
        """Put what somebody else proposed in force.

        Raises:
            AccessDenied: policy said no.
            UsageError: nothing of that hash waits, it is their own, or something else was applied since.
            AuditUnavailable: it could not be recorded; what is in force stays.
        """
        grant = self.access.permit(principal, Permission.POLICY_APPLY)
        return self._noted(grant, self.policy.approve(digest, grant.principal))

    def withdraw(self, principal: Principal) -> None:
        """Take back what is proposed.

        Raises:
            AccessDenied: policy said no.
            UsageError: nothing is.
            AuditUnavailable: it could not be recorded.
        """
        self.policy.withdraw(self.access.permit(principal, Permission.POLICY_APPLY).principal)

    def _noted(self, grant: Grant, entry: Applied) -> Applied:
        """Put the new number on record: what ``SitePolicy`` recorded before the change holds the one before.

        From here on a chain that is shorter was put back, and the node does not start with it.
        """
        facts: dict[str, str | int | bool] = {
            "step": "in force",
            "bundle": entry.bundle,
            POLICY_VERSION_FACT: entry.number,
        }
        self.access.record(grant, EventCode.POLICY_CHANGED, facts=facts)
        return entry

    def _require_way_back(self, bundle: SiteBundle) -> None:
        """Refuse what shuts out the people at the machine: a mistake in a rule could not be mended by anybody."""
        with _sound():
            fresh = bundle.policy(self.access.clock, self.time_zone)
        if isinstance(fresh.decide(_AT_THE_MACHINE, Permission.POLICY_APPLY, SITE), Denied):
            raise UsageError(
                "with these policies nobody at the machine could apply others",
                hint="leave policy:apply to the role operator",
            )

    # --- why -----------------------------------------------------------------------------------------------------

    def explain(self, principal: Principal, asked: Supposed) -> Explained:
        """Say what would be decided, by which rule, and what would change it. On record first.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is no such account, device, service or study.
            UsageError: no such action, or one that is not about studies.
            AuditUnavailable: it cannot be put on record.
        """
        grant = self.access.permit(principal, Permission.POLICY_EXPLAIN)
        permission = _permission(asked)
        supposed = self._principal(asked)
        device = None if not asked.through else self._device(asked.through)
        self._record(grant, asked, supposed)
        resource = self._resource(asked, supposed)
        current = self.policy.current
        told = explain(current, supposed, permission, resource)
        if device is None:
            return Explained(supposed, told)
        # As ``Access`` asks: a user narrows what the device may do and never widens it.
        roles = tuple(role.value for role in device.roles)
        beside = replace(
            supposed,
            principal_id=f"device:{device.device_id}",
            roles=roles,
            ae_title=device.ae_title,
            through="",
            devices=(),
        )
        return Explained(supposed, told, explain(current, beside, permission, resource))

    def _record(self, grant: Grant, asked: Supposed, supposed: Principal) -> None:
        self.access.record(
            grant,
            EventCode.POLICY_EXPLAINED,
            objects={"study": (asked.study,)} if asked.study else {},
            facts={"about": supposed.principal_id, "action": asked.action},
        )

    def _resource(self, asked: Supposed, supposed: Principal) -> Resource:
        if not asked.study:
            return SITE
        self.writer.barrier()
        uid = UID(asked.study)
        facts = self.index.facts((uid,), subject_of(supposed)).get(uid)
        if facts is None:
            raise NotFound("there is no study of that UID")
        if asked.break_glass:
            facts = replace(facts, relations=facts.relations | {Relation.EMERGENCY})
        return study_resource(facts)

    def _principal(self, asked: Supposed) -> Principal:
        kind, colon, name = asked.principal.partition(":")
        if not colon:
            kind, name = "user", asked.principal
        match kind:
            case "user":
                found = self._person(name)
            case "device":
                device = self._device(name)
                roles = tuple(role.value for role in device.roles)
                found = Principal(f"device:{name}", roles, ae_title=device.ae_title)
            case "client":
                found = self._client(name)
            case "operator" if name.isdecimal():
                found = Principal(f"operator:{name}", ("operator",), address="local")
            case _:
                raise UsageError("a principal is an account, device:ID, client:ID or operator:UID")
        if asked.through:
            device = self._device(asked.through)
            through_roles = tuple(role.value for role in device.roles)
            found = replace(
                found,
                ae_title=device.ae_title,
                through=f"device:{device.device_id}",
                through_roles=through_roles,
            )
        return replace(found, circumstances=self._circumstances(asked, found))

    def _person(self, account_id: str) -> Principal:
        account = self.directories.accounts.get(account_id)
        if account is None:
            raise NotFound("there is no account of that id")
        if not account.usable(self.access.clock.now()):
            raise UsageError("the account is disabled or over: whatever it asks for is refused")
        return Principal(
            account.principal_id,
            account.roles,
            devices=account.devices,
            institutions=account.institutions,
            known_as=account.known_as,
        )

    def _device(self, name: str) -> Device:
        device = self.directories.device(name.removeprefix("device:"))
        if device is None:
            raise NotFound("no device of that id is enrolled")
        return device

    def _client(self, client_id: str) -> Principal:
        client = self.directories.client(client_id)
        if client is None:
            raise NotFound("there is no client of that id that may come")
        return Principal(
            client.principal_id,
            client.roles,
            devices=client.devices,
            institutions=client.institutions,
            circumstances=Circumstances(scopes=client.scopes),
        )

    def _circumstances(self, asked: Supposed, found: Principal) -> Circumstances:
        strong_at = None
        if asked.mfa_minutes is not None:
            strong_at = self.access.clock.now() - timedelta(minutes=asked.mfa_minutes)
        usual = "site" if found.kind in {"user", "client"} and not asked.through else ""
        in_force = self.directories.break_glass(found.principal_id) if found.kind == "user" else ""
        return Circumstances(
            zone=usual if asked.zone is None else asked.zone,
            workstation=self._workstation(asked),
            purpose=asked.purpose,
            strong_at=strong_at,
            phishing_resistant=strong_at is not None and asked.phishing_resistant,
            break_glass=SUPPOSED if asked.break_glass else in_force,
            risk=asked.risk,
            scopes=asked.scopes or found.circumstances.scopes,
        )

    def _workstation(self, asked: Supposed) -> str:
        return f"device:{self._device(asked.workstation).device_id}" if asked.workstation else ""


def _permission(asked: Supposed) -> Permission:
    try:
        permission = Permission(asked.action)
    except ValueError:
        raise UsageError(
            "there is no such action",
            hint="for example study:query, instance:retrieve, study:delete, account:create",
        ) from None
    if asked.study and permission not in ABOUT_STUDIES:
        raise UsageError("that action is not about studies: leave the study out")
    if asked.study and not is_uid(asked.study):
        raise UsageError("a study is named by its Study Instance UID")
    if asked.break_glass and not asked.study:
        raise UsageError("emergency access is to a study: name it")
    if asked.mfa_minutes is not None and asked.mfa_minutes < 0:
        raise UsageError("minutes since a strong factor cannot be negative")
    return permission


@contextmanager
def _sound() -> Generator[None]:
    """Tell whoever wrote policies what is wrong with them; to the node it is no fault of its own settings."""
    try:
        yield
    except ConfigurationError as error:
        raise UsageError(f"the policies are not sound: {error}", hint=error.hint) from error
