"""What a local command asks of the process that owns the site: each an operation on an open node.

A command runs here whether the node is served (through the control socket) or not (the command opens the site itself):
there is one way to do each thing, with policy and audit on it.
"""

from collections.abc import Mapping

from leadglass.app.control import Operation
from leadglass.app.operations.devices import device_enrol, device_list, device_revoke
from leadglass.app.operations.objects import (
    import_files,
    refuse_while_served,
    vault_quarantine,
    vault_reindex,
    vault_verify,
)
from leadglass.app.operations.record import audit_proof, audit_show, audit_verify
from leadglass.app.operations.status import status
from leadglass.app.operations.users import user_enrol, user_revoke

OPERATIONS: Mapping[str, Operation] = {
    "audit-proof": audit_proof,
    "audit-show": audit_show,
    "audit-verify": audit_verify,
    "device-enrol": device_enrol,
    "device-list": device_list,
    "device-revoke": device_revoke,
    "import": import_files,
    "status": status,
    "user-enrol": user_enrol,
    "user-revoke": user_revoke,
    "vault-quarantine": vault_quarantine,
    "vault-reindex": vault_reindex,
    "vault-verify": vault_verify,
}

SERVED_OPERATIONS: Mapping[str, Operation] = {**OPERATIONS, "vault-reindex": refuse_while_served}
"""What a running node does for a local command."""
