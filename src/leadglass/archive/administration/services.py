"""Services and scripts with credentials of their own, as administrators see them.

Each belongs to a person who answers for it. An administrator sees what proves it, never a secret: there is none here.

Source: 45 CFR 164.308(a)(4); RFC 6749 2; NIST SP 800-53 IA-9.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from leadglass.archive.access import Access
from leadglass.archive.administration.people import folded, origin_of
from leadglass.base.errors import NotFound, UsageError
from leadglass.base.limits import CLIENT_DAYS_MAX
from leadglass.trust.certs.authority import read_certificate
from leadglass.trust.identity.access_tokens import IssuedTokens
from leadglass.trust.identity.clients import Client, Clients
from leadglass.trust.identity.models import Principal
from leadglass.trust.policy.interfaces import Permission

SCOPES: Final = (
    Permission.INSTANCE_RETRIEVE.value,
    Permission.INSTANCE_STORE.value,
    Permission.RELATION_ASSIGN.value,
    Permission.STUDY_QUERY.value,
    Permission.WORKITEM_CANCEL.value,
    Permission.WORKITEM_CREATE.value,
    Permission.WORKITEM_PERFORM.value,
    Permission.WORKITEM_QUERY.value,
    Permission.WORKITEM_SUBSCRIBE.value,
)
"""What an access token may be limited to: names of permissions, those that policy may give a service at all."""

_PLAIN_ROLES: Final = frozenset({"client"})
"""Roles that come with being a service. Any other is given by whoever gives roles."""


def fingerprint_of(certificate_pem: str) -> str:
    """Return what a client's certificate is known by.

    It is shown inside TLS, so it has to be one of the site's own authority.

    Raises:
        UsageError: it cannot be read.
    """
    return read_certificate(certificate_pem.encode("utf-8")).sha256


@dataclass(frozen=True, slots=True)
class NewClient:
    """What a client begins with; see ``identity.clients.Client``."""

    client_id: str
    owner: str
    scopes: tuple[str, ...]
    expires_at: datetime
    roles: tuple[str, ...] = ("client",)
    jwks: str = ""
    certificate_sha256: tuple[str, ...] = ()
    bound: bool = False
    devices: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """Verbs on OAuth clients; holds no state."""

    access: Access
    clients: Clients
    tokens: IssuedTokens

    def list(self, principal: Principal) -> tuple[Client, ...]:
        """Return every client, by id; whoever may see accounts may see these.

        Raises:
            AccessDenied: policy said no.
        """
        self.access.permit(principal, Permission.ACCOUNT_LIST)
        return self.clients.all()

    def get(self, principal: Principal, client_id: str) -> Client:
        """Return one client.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none.
        """
        self.access.permit(principal, Permission.ACCOUNT_LIST)
        client = self.clients.get(client_id)
        if client is None:
            raise NotFound("there is no client of that id")
        return client

    def enrol(self, principal: Principal, new: NewClient) -> Client:
        """Enrol a client.

        Raises:
            AccessDenied: policy said no, to the client or to its roles.
            UsageError: malformed, the id was used, no credential, nobody answers for it, it ends too late, or roles
                exclude each other.
            OutOfResources: there are as many as there may be.
        """
        self.access.permit(principal, Permission.CLIENT_ENROL)
        if not set(new.roles) <= _PLAIN_ROLES:
            self.access.permit(principal, Permission.ROLE_ASSIGN)
        now = self.access.clock.now()
        self._check_end(new.expires_at, now)
        client = Client(
            client_id=new.client_id,
            owner=new.owner,
            roles=tuple(sorted(set(new.roles))),
            scopes=tuple(sorted(set(new.scopes))),
            created_at=now,
            expires_at=new.expires_at,
            jwks=new.jwks,
            certificate_sha256=new.certificate_sha256,
            bound=new.bound,
            devices=new.devices,
            institutions=folded(new.institutions),
            description=new.description,
        )
        return self.clients.enrol(client, origin_of(principal))

    def change(
        self,
        principal: Principal,
        client_id: str,
        *,
        owner: str | None = None,
        expires_at: datetime | None = None,
        jwks: str | None = None,
        certificate_sha256: tuple[str, ...] | None = None,
    ) -> Client:
        """Let somebody else answer for a client, give it longer, or change what proves it. Its tokens end.

        Raises:
            AccessDenied: policy said no, to the change or to the roles that the client has.
            NotFound: there is none.
            UsageError: as ``enrol``.
        """
        self.access.permit(principal, Permission.CLIENT_ENROL)
        held = self.clients.get(client_id)
        if held is not None and not set(held.roles) <= _PLAIN_ROLES:
            # Whoever says what proves it can be it.
            self.access.permit(principal, Permission.ROLE_ASSIGN)
        if expires_at is not None:
            self._check_end(expires_at, self.access.clock.now())
        client = self.clients.change(
            client_id,
            origin_of(principal),
            owner=owner,
            expires_at=expires_at,
            jwks=jwks,
            certificate_sha256=certificate_sha256,
        )
        self.tokens.revoke_all(client_id)
        return client

    def disable(self, principal: Principal, client_id: str, reason: str) -> Client:
        """Turn a client away, for good: its tokens count no more from its next request on.

        Raises:
            AccessDenied: policy said no.
            NotFound: there is none.
        """
        self.access.permit(principal, Permission.CLIENT_REVOKE)
        client = self.clients.disable(client_id, origin_of(principal), reason)
        self.tokens.revoke_all(client_id)
        return client

    @staticmethod
    def _check_end(expires_at: datetime, now: datetime) -> None:
        if expires_at.tzinfo is None or not now < expires_at <= now + timedelta(days=CLIENT_DAYS_MAX):
            raise UsageError(f"a client has an end within {CLIENT_DAYS_MAX} days")
