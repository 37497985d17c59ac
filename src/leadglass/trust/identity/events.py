"""The events that identity puts on record: values of ``trust.audit.interfaces.EventCode``, which stands above us."""

from typing import Final

ACCOUNT_CHANGED: Final = "identity:account:changed"
ACCOUNT_CREATED: Final = "identity:account:created"
ACCOUNT_DISABLED: Final = "identity:account:disabled"
ACCOUNT_LOCKED_OUT: Final = "identity:account:locked_out"
AUTHENTICATION_FAILED: Final = "identity:person:refused"
AUTHENTICATION_SUCCEEDED: Final = "identity:person:authenticated"
CLIENT_ENROLLED: Final = "identity:client:enrolled"
CLIENT_REVOKED: Final = "identity:client:revoked"
CREDENTIAL_ENROLLED: Final = "identity:credential:enrolled"
CREDENTIAL_REMOVED: Final = "identity:credential:removed"
CREDENTIAL_USED_UP: Final = "identity:credential:used_up"
REQUEST_REFUSED: Final = "https:request:refused"
ROLE_CHANGED: Final = "identity:role:changed"
SECURITY_ALERT: Final = "site:security:alert"
SESSION_ENDED: Final = "identity:session:ended"
SESSION_LOCKED: Final = "identity:session:locked"
SESSION_STARTED: Final = "identity:session:started"
STEP_UP_SUCCEEDED: Final = "identity:person:stepped_up"
TOKEN_ISSUED: Final = "identity:token:issued"  # noqa: S105 - an event, no password

ALL: Final = frozenset(
    value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)
)
