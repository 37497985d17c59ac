"""One tree of errors. A leaf knows whose fault it is and what a door answers.

::

    LeadglassError
    ├── UsageError             what a person asked for cannot be done as asked
    ├── ConfigurationError     the site is not set up so that it could start safely
    ├── ProtocolError
    │   ├── LocalProtocolError     our side broke the rule: a bug
    │   └── RemoteProtocolError    the peer broke the rule: A-ABORT and close (PS3.8 9.3.8)
    ├── Refused                a valid request that is answered with a failure status
    │   ├── AccessDenied           policy said no
    │   │   └── StepUpRequired         it would be a yes with a strong factor shown now (RFC 9470)
    │   ├── DatasetRefused         the data set cannot be understood or does not fit
    │   ├── DuplicateObject        the SOP Instance UID is held with other content
    │   ├── IdentifierRefused      a query identifier that does not match its SOP class
    │   ├── StateConflict          what is held is in a state that does not allow it
    │   ├── OutOfResources         no room, or a limit is reached
    │   ├── NotFound
    │   └── RequestRefused         a request over HTTP that cannot be served as it stands
    ├── IntegrityError         stored bytes are not what was written: never served
    └── KeyUnavailable         a key is destroyed, unknown, or its provider does not answer

**Invariant:** no message carries PHI: a message reaches logs. Class and clause say what happened; identifiers of
objects go to the sealed part of the audit log.
"""

from typing import ClassVar


class LeadglassError(Exception):
    """Root of every error that Leadglass raises on purpose.

    Attributes:
        code: stable catalogue code, ``LG-nnnn``; documented in ``docs/ERRORS.md``.
        exit_status: exit status of a command that ends with this error.
        dimse_status: status of a DIMSE response that reports it (PS3.7 Annex C, PS3.4).
        hint: what the operator can do about it; shown by the command line.
    """

    code: ClassVar[str] = "LG-0001"
    exit_status: ClassVar[int] = 1
    dimse_status: int = 0x0110  # Processing failure, PS3.7 C.5.2
    hint: str = ""

    def __init__(self, message: str, *, hint: str = "", dimse_status: int | None = None) -> None:
        super().__init__(message)
        if hint:
            self.hint = hint
        if dimse_status is not None:
            self.dimse_status = dimse_status


class UsageError(LeadglassError):
    """What a person asked for cannot be done as asked."""

    code = "LG-0100"
    exit_status = 2


class ConfigurationError(LeadglassError):
    """The site is not set up so that it could start safely."""

    code = "LG-0200"
    exit_status = 3


class ProtocolError(LeadglassError):
    """A rule of a protocol was broken; one of the two subclasses says by whom."""

    code = "LG-0300"
    exit_status = 4


class LocalProtocolError(ProtocolError):
    """Our side broke the rule: a bug of ours, nothing was sent."""

    code = "LG-0301"


class RemoteProtocolError(ProtocolError):
    """The peer broke the rule: answer A-ABORT with ``abort_reason`` and close.

    Attributes:
        abort_reason: reason of the provider-initiated A-ABORT. Source: PS3.8 9.3.8, Table 9-26.
    """

    code = "LG-0302"

    def __init__(self, message: str, *, abort_reason: int = 0) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason


class PeerRefused(LeadglassError):
    """The other side answered no: association rejected, or a failure status to our request."""

    code = "LG-0310"
    exit_status = 5


class PeerUnreachable(LeadglassError):
    """No connection, no handshake, or the connection was lost."""

    code = "LG-0311"
    exit_status = 6


class Refused(LeadglassError):
    """A valid request that we answer with a failure status."""

    code = "LG-0400"
    exit_status = 7


class AccessDenied(Refused):
    """Policy said no. The peer learns the status, never the reason."""

    code = "LG-0401"
    dimse_status = 0x0124  # Refused: not authorized, PS3.7 C.5.16


class StepUpRequired(AccessDenied):
    """It would be a yes if the person showed a strong factor now. Source: RFC 9470 3.

    Attributes:
        max_age: how many seconds ago that factor may have been shown at most.
    """

    code = "LG-0407"
    max_age: int = 900

    def __init__(
        self, message: str, *, hint: str = "", dimse_status: int | None = None, max_age: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, dimse_status=dimse_status)
        if max_age is not None:
            self.max_age = max_age


class DatasetRefused(Refused):
    """The data set cannot be understood (0xC000) or does not match its SOP class (0xA900).

    Source: PS3.4 Table B.2-1.
    """

    code = "LG-0402"
    dimse_status = 0xC000


class DuplicateObject(Refused):
    """The SOP Instance UID is held already with other content; the newcomer is kept apart."""

    code = "LG-0403"
    dimse_status = 0x0111  # Duplicate SOP Instance, PS3.7 C.5.6


class IdentifierRefused(Refused):
    """A query or retrieve identifier that does not match its SOP class. Source: PS3.4 Table C.4-1."""

    code = "LG-0404"
    dimse_status = 0xA900


class OutOfResources(Refused):
    """No room, or a limit of ours is reached. Source: PS3.4 Table B.2-1, 0xA7xx."""

    code = "LG-0405"
    dimse_status = 0xA700


class NotFound(Refused):
    """Nothing of that name is held, or the caller may not know that it is."""

    code = "LG-0406"
    dimse_status = 0x0112  # No such SOP Instance, PS3.7 C.5.12


class StateConflict(Refused):
    """What is held is in a state that does not allow it, or somebody else holds it. Source: PS3.18 Table 11.6.3-1."""

    code = "LG-0408"
    dimse_status = 0xC300


class RequestRefused(Refused):
    """A request over HTTP that cannot be served as it stands: not acceptable, too large, of an unknown type.

    Attributes:
        http_status: 4xx that says which. Source: RFC 9110 15.5.
    """

    code = "LG-0409"
    http_status: int = 400

    def __init__(
        self, message: str, *, hint: str = "", dimse_status: int | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, dimse_status=dimse_status)
        if http_status is not None:
            self.http_status = http_status


class IntegrityError(LeadglassError):
    """Stored bytes are not what was written. They are never served."""

    code = "LG-0500"
    exit_status = 8


class KeyUnavailable(LeadglassError):
    """A key is destroyed, unknown, or its provider does not answer. There is no fallback."""

    code = "LG-0600"
    exit_status = 9


class AuditUnavailable(LeadglassError):
    """The audit log did not accept an event, so what it would have recorded must not happen."""

    code = "LG-0700"
    exit_status = 10
    dimse_status = 0xA700
