"""SAML 2.0: web browser single sign-on, as service provider.

Our request goes by redirect, the answer comes by POST. ``begin`` and ``finish`` are like those of OpenID Connect; what
we must remember travels sealed. Only answers to a request of ours are taken, each once.

Source: SAML Core 2.0, Bindings 3.4 and 3.5, Profiles 4.1.
"""

import base64
import binascii
import secrets
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from lxml import etree

from leadglass.base.clock import Clock
from leadglass.base.errors import ConfigurationError
from leadglass.base.limits import ASSERTION_BYTES_MAX, GROUPS_MAX, SIGN_IN_SECONDS_MAX
from leadglass.trust.identity import jose
from leadglass.trust.identity.federation.models import (
    ExternalIdentity,
    SAMLSettings,
    SignedIn,
    SignInBegun,
    SignInRefused,
)
from leadglass.trust.identity.federation.pending import local_path
from leadglass.trust.identity.federation.saml_metadata import (
    POST_BINDING,
    IdentityProviderMetadata,
    read_metadata,
    service_provider_metadata,
)
from leadglass.trust.identity.federation.saml_xml import (
    ASSERTION_NS,
    PROTOCOL_NS,
    Element,
    Verified,
    XMLRefused,
    parse,
    text_of,
    time_of,
    verified_response,
)
from leadglass.trust.identity.replay import ReplayMemory

_BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
_TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_CONDITIONS: Final = frozenset(
    f"{{{ASSERTION_NS}}}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")
)
_ASSERTION_SECONDS_MAX: Final = 24 * 3600
"""Longest that an assertion may be good for, whatever it says: so long its id is remembered."""


class _Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    issuer: str
    request_id: str
    return_to: str
    begun_at: float
    context: tuple[str, ...]


class SAMLServiceProvider:
    """Signs people in at one identity provider. Thread-safe; asks nobody anything.

    Args:
        settings: see there; the metadata is read now.
        clock: of the site.
        sealer: shared by all sign-ins of this process.

    Raises:
        ConfigurationError: the metadata cannot be read or used, or the settings contradict themselves.
    """

    def __init__(self, settings: SAMLSettings, clock: Clock, sealer: jose.Sealer) -> None:
        if not settings.entity_id or not settings.acs_url.startswith("https://"):
            raise ConfigurationError("SAML needs an entity id of ours and an https address for its responses")
        self._settings = settings
        self._clock = clock
        self._sealer = sealer
        self._used = ReplayMemory(clock)
        self._provider = load_metadata(settings)
        if self._provider.wants_signed_requests:
            raise ConfigurationError(
                "the identity provider takes signed requests only, and ours are not signed",
                hint="let its administrator switch that off for us; a request holds nothing worth signing",
            )

    @property
    def issuer(self) -> str:
        """Whose people these are: the entity id."""
        return self._provider.entity_id

    def metadata(self) -> bytes:
        """Return our metadata document, for the administrator of the identity provider."""
        return service_provider_metadata(self._settings.entity_id, self._settings.acs_url)

    def begin(
        self, return_to: str = "/", *, context: Sequence[str] = (), force: bool = False
    ) -> SignInBegun | SignInRefused:
        """Start a sign-in.

        Args:
            return_to: path of ours to come back to; anything else becomes ``/``.
            context: one of these must be the authentication context class, for a step-up; else that of the settings.
            force: the person must prove who they are now, even if the provider knows them already.
        """
        now = self._clock.now()
        if self._provider.valid_until is not None and now >= self._provider.valid_until:
            return SignInRefused("the metadata of the identity provider has expired")
        pending = _Pending(
            kind="saml",
            issuer=self.issuer,
            request_id="_" + secrets.token_hex(20),
            return_to=local_path(return_to),
            begun_at=now.timestamp(),
            context=tuple(context) or self._settings.context_required,
        )
        # Bindings 3.4.4.1: raw deflate, no header.
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = deflate.compress(self._request(pending, now, force=force)) + deflate.flush()
        query = urlencode({"SAMLRequest": base64.b64encode(packed).decode("ascii")})
        joint = "&" if urlsplit(self._provider.sign_on_url).query else "?"
        return SignInBegun(
            self._provider.sign_on_url + joint + query, self._sealer.seal(msgspec.json.encode(pending))
        )

    def _request(self, pending: _Pending, now: datetime, *, force: bool) -> bytes:
        root = etree.Element(
            f"{{{PROTOCOL_NS}}}AuthnRequest",
            {
                "ID": pending.request_id,
                "Version": "2.0",
                "IssueInstant": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Destination": self._provider.sign_on_url,
                "AssertionConsumerServiceURL": self._settings.acs_url,
                "ProtocolBinding": POST_BINDING,
                "ForceAuthn": "true" if force else "false",
            },
            nsmap={"samlp": PROTOCOL_NS, "saml": ASSERTION_NS},
        )
        etree.SubElement(root, f"{{{ASSERTION_NS}}}Issuer").text = self._settings.entity_id
        if pending.context:
            wanted = etree.SubElement(
                root, f"{{{PROTOCOL_NS}}}RequestedAuthnContext", {"Comparison": "exact"}
            )
            for one in pending.context:
                etree.SubElement(wanted, f"{{{ASSERTION_NS}}}AuthnContextClassRef").text = one
        return etree.tostring(root)

    def finish(self, saml_response: str, sealed_state: str) -> SignedIn | SignInRefused:
        """Take what the browser posted to the assertion consumer service.

        To believe it we need (1) a sign-in that this browser began, not long ago, (2) a response whose signature holds
        (``saml_xml``), (3) success, for us and for that sign-in, (4) an assertion of our provider, about one person,
        for us, for that sign-in and for now, and (5) one that was not used before.

        Args:
            saml_response: form field ``SAMLResponse``.
            sealed_state: of the cookie.
        """
        try:
            return self._finish(saml_response, sealed_state)
        except XMLRefused as refusal:
            return SignInRefused(str(refusal))

    def _finish(self, saml_response: str, sealed_state: str) -> SignedIn:
        pending = self._open(sealed_state)  # (1)
        now = self._clock.now()
        root = parse(_decode(saml_response))
        verified = verified_response(root, self._provider.certificates, now)  # (2)
        assertion = verified.assertion
        self._check_response(verified.response, pending)  # (3)
        expires = self._check_assertion(assertion, pending, now)  # (4)
        identity = self._identity(assertion, pending, now)
        if not self._used.is_new(assertion.get("ID", ""), expires.timestamp()):  # (5)
            raise XMLRefused("the assertion was used before")
        return SignedIn(identity, pending.return_to)

    def _open(self, sealed_state: str) -> _Pending:
        try:
            pending = msgspec.json.decode(self._sealer.open(sealed_state), type=_Pending)
        except (jose.JoseRefused, msgspec.DecodeError) as error:
            raise XMLRefused("this browser did not begin a sign-in, or before a restart") from error
        if pending.kind != "saml" or pending.issuer != self.issuer:
            raise XMLRefused("this browser began a sign-in at another provider")
        if not 0 <= self._clock.now().timestamp() - pending.begun_at <= SIGN_IN_SECONDS_MAX:
            raise XMLRefused("the sign-in took too long")
        return pending

    def _check_response(self, response: Element, pending: _Pending) -> None:
        issuer = response.find(f"{{{ASSERTION_NS}}}Issuer")
        if issuer is not None and text_of(issuer) != self.issuer:
            raise XMLRefused("the response is of another identity provider")
        status = response.find(f"{{{PROTOCOL_NS}}}Status/{{{PROTOCOL_NS}}}StatusCode")
        if status is None or status.get("Value") != _SUCCESS:
            raise XMLRefused("the identity provider answered that the sign-in failed")
        if response.get("Version") != "2.0":
            raise XMLRefused("the response is of another version of SAML")
        if response.get("Destination") != self._settings.acs_url:  # Bindings 3.5.5.2
            raise XMLRefused("the response is for another destination")
        if response.get("InResponseTo") != pending.request_id:
            raise XMLRefused("the response answers another request")

    def _check_assertion(self, assertion: Verified, pending: _Pending, now: datetime) -> datetime:
        """Return when the assertion ends, skew included."""
        if assertion.get("Version") != "2.0" or not assertion.get("ID"):
            raise XMLRefused("the assertion is of another version of SAML, or has no id")
        if text_of(assertion.find(f"{{{ASSERTION_NS}}}Issuer")) != self.issuer:
            raise XMLRefused("the assertion is of another identity provider")
        confirmed = self._confirmed_until(assertion, pending, now)
        return min(confirmed, self._conditions_end(assertion, now))

    def _confirmed_until(self, assertion: Verified, pending: _Pending, now: datetime) -> datetime:
        """Source: SAML Profiles 4.1.4.2, 4.1.4.3."""
        reason = "the assertion has no bearer confirmation"
        for confirmation in assertion.findall(
            f"{{{ASSERTION_NS}}}Subject/{{{ASSERTION_NS}}}SubjectConfirmation"
        ):
            data = confirmation.find(f"{{{ASSERTION_NS}}}SubjectConfirmationData")
            if confirmation.get("Method") != _BEARER or data is None:
                continue
            ends = time_of(data, "NotOnOrAfter")
            if data.get("Recipient") != self._settings.acs_url:
                reason = "the assertion is for another recipient"
            elif data.get("InResponseTo") != pending.request_id:
                reason = "the assertion answers another request"
            elif ends is None or data.get("NotBefore") is not None:
                reason = "the confirmation of the assertion has no end, or a beginning"
            elif now >= ends + self._skew:
                reason = "the assertion has expired: compare the clocks"
            else:
                return ends + self._skew
        raise XMLRefused(reason)

    def _conditions_end(self, assertion: Verified, now: datetime) -> datetime:
        conditions = assertion.findall(f"{{{ASSERTION_NS}}}Conditions")
        if len(conditions) != 1:
            raise XMLRefused("the assertion has no conditions, or twice")
        if any(child.tag not in _CONDITIONS for child in conditions[0].iterchildren("*")):
            raise XMLRefused(
                "the assertion has a condition that we do not know"
            )  # Core 2.5.1.1: then invalid
        begins, ends = time_of(conditions[0], "NotBefore"), time_of(conditions[0], "NotOnOrAfter")
        if begins is not None and now < begins - self._skew:
            raise XMLRefused("the assertion is not valid yet: compare the clocks")
        if ends is not None and now >= ends + self._skew:
            raise XMLRefused("the assertion has expired: compare the clocks")
        restrictions = conditions[0].findall(f"{{{ASSERTION_NS}}}AudienceRestriction")
        for restriction in restrictions:  # Core 2.5.1.4: each of them must name us
            named = [text_of(one) for one in restriction.findall(f"{{{ASSERTION_NS}}}Audience")]
            if self._settings.entity_id not in named:
                raise XMLRefused("the assertion is for another audience")
        if not restrictions:
            raise XMLRefused("the assertion does not say for whom it is")
        latest = now + timedelta(seconds=_ASSERTION_SECONDS_MAX)
        return latest if ends is None else min(ends + self._skew, latest)

    def _identity(self, assertion: Verified, pending: _Pending, now: datetime) -> ExternalIdentity:
        names = assertion.findall(f"{{{ASSERTION_NS}}}Subject/{{{ASSERTION_NS}}}NameID")
        subject = text_of(names[0]) if len(names) == 1 else ""
        if not subject or len(subject) > 256 or not subject.isprintable():
            raise XMLRefused("the assertion names no usable subject")
        if names[0].get("Format") == _TRANSIENT:
            raise XMLRefused("the subject has another name at each sign-in: set a persistent NameID")
        statement = assertion.find(f"{{{ASSERTION_NS}}}AuthnStatement")
        if statement is None:
            raise XMLRefused("the assertion does not say that somebody signed in")
        session_ends = time_of(statement, "SessionNotOnOrAfter")
        if session_ends is not None and now >= session_ends + self._skew:
            raise XMLRefused("the session at the identity provider has ended")
        context = text_of(
            statement.find(f"{{{ASSERTION_NS}}}AuthnContext/{{{ASSERTION_NS}}}AuthnContextClassRef")
        )
        if pending.context and context not in pending.context:
            raise XMLRefused("the provider did not authenticate as strongly as was asked for")
        groups = _attribute(assertion, self._settings.groups_attribute)
        if len(groups) > GROUPS_MAX:
            raise XMLRefused(f"the assertion names more than {GROUPS_MAX} groups")
        shown = _attribute(assertion, self._settings.name_attribute)
        return ExternalIdentity(
            issuer=self.issuer,
            subject=subject,
            display_name=shown[0] if shown else "",
            groups=groups,
            acr=context,
            auth_time=time_of(statement, "AuthnInstant"),
            session_index=statement.get("SessionIndex", ""),
        )

    @property
    def _skew(self) -> timedelta:
        return timedelta(seconds=self._settings.skew_seconds)


def load_metadata(settings: SAMLSettings) -> IdentityProviderMetadata:
    """Read the metadata that the settings name.

    Raises:
        ConfigurationError: it cannot be read or used.
    """
    try:
        with settings.metadata_file.open("rb") as file:
            return read_metadata(file.read(ASSERTION_BYTES_MAX + 1))
    except OSError as error:
        raise ConfigurationError(
            f"the metadata of the identity provider cannot be read: {error.strerror}"
        ) from error
    except XMLRefused as refusal:
        raise ConfigurationError(
            f"the metadata of the identity provider cannot be used: {refusal}"
        ) from refusal


def _attribute(assertion: Verified, name: str) -> tuple[str, ...]:
    return tuple(
        text_of(value)
        for attribute in assertion.findall(
            f"{{{ASSERTION_NS}}}AttributeStatement/{{{ASSERTION_NS}}}Attribute"
        )
        if attribute.get("Name") == name or attribute.get("FriendlyName") == name
        for value in attribute.findall(f"{{{ASSERTION_NS}}}AttributeValue")
    )


def _decode(saml_response: str) -> bytes:
    if len(saml_response) > ASSERTION_BYTES_MAX:
        raise XMLRefused("the response is too long")
    try:
        return base64.b64decode("".join(saml_response.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise XMLRefused("the response is not base64") from error
