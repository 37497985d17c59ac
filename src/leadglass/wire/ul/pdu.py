"""The protocol data units of PS3.8 9.3 as values.

P-DATA-TF is missing on purpose: it is streamed, see ``DataFragment`` in ``wire.ul.association``.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from leadglass.base.secret import Secret

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
"""The DICOM application context name. Source: PS3.7 A.2.1."""


class PDUType(IntEnum):
    """First octet of every PDU. Source: PS3.8 9.3."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


class AbortSource(IntEnum):
    """Who ended it. Source: PS3.8 Table 9-26."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider ended it. Source: PS3.8 Table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class ContextResult(IntEnum):
    """Result/reason of a presentation context. Source: PS3.8 Table 9-18."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class RejectResult(IntEnum):
    """Source: PS3.8 Table 9-21."""

    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class RejectSource(IntEnum):
    """Source: PS3.8 Table 9-21."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """A proposed presentation context. Source: PS3.8 9.3.2.2.

    Attributes:
        context_id: odd, 1 to 255.
        transfer_syntaxes: one or more, in the requestor's order.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """The answer to a proposed presentation context. Source: PS3.8 9.3.3.2.

    Attributes:
        result: ``ContextResult``; any other value of a peer is read as NO_REASON.
        transfer_syntax: significant only with ACCEPTANCE.
    """

    context_id: int
    result: ContextResult
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class AsyncOperations:
    """Asynchronous operations window; 0 is unlimited. Source: PS3.7 D.3.3.3."""

    invoked: int
    performed: int


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """Roles that the requestor proposes to take (RQ), or may take (AC). Source: PS3.7 D.3.3.4."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class SOPClassExtended:
    """SOP class extended negotiation. Source: PS3.7 D.3.3.5.

    Attributes:
        information: service-class-application-information, as PS3.4 defines it for the service class.
    """

    sop_class_uid: str
    information: bytes


@dataclass(frozen=True, slots=True)
class SOPClassCommonExtended:
    """SOP class common extended negotiation; only in a request. Source: PS3.7 D.3.3.6."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...] = ()


class UserIdentityType(IntEnum):
    """Form of a user identity. Source: PS3.7 Table D.3-14."""

    USERNAME = 1
    USERNAME_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who uses the requestor. Source: PS3.7 D.3.3.7.1.

    Attributes:
        primary: user name (UTF-8), Kerberos service ticket, SAML assertion or JSON web token.
        secondary: passcode of USERNAME_PASSCODE; else empty.
    """

    identity_type: UserIdentityType
    positive_response_requested: bool
    primary: Secret
    secondary: Secret = field(default_factory=lambda: Secret(b""))


@dataclass(frozen=True, slots=True)
class UserIdentityResponse:
    """The acceptor believes the identity. Source: PS3.7 D.3.3.7.2.

    Attributes:
        server_response: Kerberos server ticket or SAML response; empty for other types.
    """

    server_response: Secret = field(default_factory=lambda: Secret(b""))


@dataclass(frozen=True, slots=True)
class UserInformation:
    """User information item. Source: PS3.8 9.3.2.3, D.1; PS3.7 D.3.3.

    Attributes:
        maximum_length: octets of the variable field of a P-DATA-TF that its sender is ready to receive; 0 is no limit.
        implementation_class_uid: empty where the peer did not say.
        implementation_version_name: up to 16 characters; empty where the peer did not say.
    """

    maximum_length: int
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    async_operations: AsyncOperations | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    sop_class_extended: tuple[SOPClassExtended, ...] = ()
    sop_class_common_extended: tuple[SOPClassCommonExtended, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: UserIdentityResponse | None = None


@dataclass(frozen=True, slots=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ. Source: PS3.8 9.3.2."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextRQ, ...]
    user_information: UserInformation
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAC:
    """A-ASSOCIATE-AC. Source: PS3.8 9.3.3.

    Attributes:
        called_ae_title: copied from the request; never tested on receipt.
        calling_ae_title: as above.
    """

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextAC, ...]
    user_information: UserInformation
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ; plain numbers, because a peer may send any. Source: PS3.8 9.3.4, Table 9-21."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ. Source: PS3.8 9.3.6."""


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP. Source: PS3.8 9.3.7."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT; plain numbers, because a peer may send any. Source: PS3.8 9.3.8, Table 9-26."""

    source: int
    reason: int


PDU = AssociateRQ | AssociateAC | AssociateRJ | ReleaseRQ | ReleaseRP | Abort
