"""Somebody for every role, as they would come; and studies to ask about."""

from dataclasses import replace
from typing import Any

from fake_clock import FakeClock
from leadglass.archive.access import study_resource
from leadglass.store.index.interfaces import Relation, StudyFacts
from leadglass.trust.identity.models import Circumstances, Principal
from leadglass.trust.policy.cedar import CedarPolicy
from leadglass.trust.policy.interfaces import SITE, Allowed, Permission, Resource

P = Permission
CLOCK = FakeClock()

DEVICE_ROLES = ("query-retrieve", "router", "store")
LOCAL_ROLES = ("operator",)
SERVICE_ROLES = ("client",)

READS = {P.STUDY_QUERY, P.INSTANCE_RETRIEVE}
WORKLIST = {P.WORKITEM_PERFORM, P.WORKITEM_QUERY, P.WORKITEM_SUBSCRIBE}
ALL_WORKLIST = {*WORKLIST, P.WORKITEM_CANCEL, P.WORKITEM_CREATE}
RECORD = {P.AUDIT_READ, P.AUDIT_VERIFY}
POLICY_SEEN = {P.POLICY_EXPLAIN, P.POLICY_READ}
REVIEWS = {P.BREAK_GLASS_REVIEW, P.REVIEW_OPEN, P.REVIEW_SIGN}
SESSIONS = {P.SESSION_END, P.SESSION_LIST}
PACS = {
    P.ACCOUNT_CREATE,
    P.ACCOUNT_DISABLE,
    P.ACCOUNT_LIST,
    P.ACCOUNT_RESET,
    P.CLIENT_ENROL,
    P.CLIENT_REVOKE,
    P.DEVICE_ENROL,
    P.DEVICE_LIST,
    P.DEVICE_REVOKE,
    P.IDENTITY_TEST,
    *POLICY_SEEN,
    P.RELATION_ASSIGN,
    P.SESSION_LIST,
    P.STATUS_READ,
    P.STUDY_DELETE,
    P.STUDY_RESTORE,
    P.USER_ENROL,
    P.USER_REVOKE,
}

MATRIX: dict[str, set[Permission]] = {
    # What each may do somewhere at the site, with a strong factor shown a moment ago.
    "store": {
        P.ASSOCIATION_ECHO,
        P.INSTANCE_STORE,
        P.COMMITMENT_REQUEST,
        P.WORKITEM_PERFORM,
        P.WORKITEM_QUERY,
    },
    "query-retrieve": {
        P.ASSOCIATION_ECHO,
        *READS,
        P.INSTANCE_MOVE,
        P.WORKITEM_QUERY,
        P.WORKITEM_SUBSCRIBE,
    },
    "router": {P.ASSOCIATION_ECHO, P.INSTANCE_STORE, P.COMMITMENT_REQUEST, P.STUDY_QUERY, P.INSTANCE_MOVE},
    "operator": {
        *PACS,
        *RECORD,
        *SESSIONS,
        P.INSTANCE_IMPORT,
        P.POLICY_APPLY,
        P.REVIEW_OPEN,
        P.ROLE_ASSIGN,
        P.VAULT_REINDEX,
        P.VAULT_VERIFY,
    },
    "auditor": {*RECORD, *POLICY_SEEN, P.ACCOUNT_LIST, P.DEVICE_LIST, P.SESSION_LIST, P.STATUS_READ},
    "radiologist": {*READS, P.INSTANCE_MOVE, *ALL_WORKLIST, P.BREAK_GLASS_USE},
    "technologist": {*READS, P.INSTANCE_MOVE, *WORKLIST, P.BREAK_GLASS_USE},
    "referring-physician": {*READS, P.BREAK_GLASS_USE},
    "researcher": READS,
    "export-officer": {P.STUDY_QUERY, P.STUDY_EXPORT},
    "pacs-administrator": PACS,
    "key-custodian": {P.STATUS_READ},
    "security-officer": {
        P.ACCOUNT_DISABLE,
        P.ACCOUNT_LIST,
        *RECORD,
        *REVIEWS,
        P.CLIENT_REVOKE,
        P.DEVICE_LIST,
        P.DEVICE_REVOKE,
        P.IDENTITY_TEST,
        P.POLICY_APPLY,
        *POLICY_SEEN,
        P.ROLE_ASSIGN,
        *SESSIONS,
        P.STATUS_READ,
        P.USER_REVOKE,
    },
    "privacy-officer": {P.ACCOUNT_LIST, *RECORD, *REVIEWS, *POLICY_SEEN, *SESSIONS, P.STATUS_READ},
    "vendor-support": {P.DEVICE_LIST, P.STATUS_READ},
    "client": {*READS, P.INSTANCE_STORE, P.RELATION_ASSIGN, *ALL_WORKLIST},
    "unheard-of": set(),
}


def fresh(**changed: Any) -> Circumstances:  # noqa: ANN401 - any field
    """Return the circumstances of somebody at the site who showed a security key this minute."""
    here = Circumstances(
        session_id="s1",
        zone="site",
        methods=("pwd", "hwk"),
        authenticated_at=CLOCK.now(),
        strong_at=CLOCK.now(),
        phishing_resistant=True,
    )
    return replace(here, **changed)


def password_only(**changed: Any) -> Circumstances:  # noqa: ANN401 - any field
    """Return the same without a second factor."""
    return fresh(methods=("pwd",), strong_at=None, phishing_resistant=False, **changed)


def person(
    *roles: str,
    circumstances: Circumstances | None = None,
    **changed: Any,  # noqa: ANN401 - any field
) -> Principal:
    """Return a person over HTTPS."""
    return replace(
        Principal("user:jdoe", roles, address="192.0.2.20", circumstances=circumstances or fresh()), **changed
    )


def comer(role: str) -> Principal:
    """Return whoever has a role, as they come: a device, a service, the operator, or a person."""
    if role in DEVICE_ROLES:
        return Principal("device:ct1", (role,), "CT1", "192.0.2.7", "ab" * 32)
    if role in LOCAL_ROLES:
        return Principal("operator:0", (role,), address="local")
    if role in SERVICE_ROLES:
        scopes = tuple(permission.value for permission in Permission)
        return Principal("client:ris", (role,), circumstances=Circumstances(zone="site", scopes=scopes))
    return person(role)


def study(**changed: Any) -> Resource:  # noqa: ANN401 - any field
    """Return a CT of device:ct1, nobody's in particular."""
    facts = StudyFacts(
        modalities=frozenset({"CT"}),
        body_parts=frozenset({"CHEST"}),
        institutions=frozenset({"north hospital"}),
        sources=frozenset({"device:ct1"}),
    )
    return study_resource(replace(facts, **changed))


def related(*relations: Relation) -> Resource:
    """Return it with relations of whoever asks."""
    return study(relations=frozenset(relations))


def may(policy: CedarPolicy, principal: Principal, permission: Permission, resource: Resource = SITE) -> bool:
    """Tell what was decided."""
    return isinstance(policy.decide(principal, permission, resource), Allowed)


def granted(policy: CedarPolicy, principal: Principal, resource: Resource = SITE) -> set[Permission]:
    """Return all that somebody may."""
    return {permission for permission in Permission if may(policy, principal, permission, resource)}
