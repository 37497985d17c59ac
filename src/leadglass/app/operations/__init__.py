"""What a local command asks of the process that owns the site: each an operation on an open node.

A command runs here whether the node is served (through the control socket) or not (the command opens the site itself):
there is one way to do each thing, with policy and audit on it.
"""

from collections.abc import Mapping

from leadglass.app.control import Operation
from leadglass.app.operations.clients import (
    client_add,
    client_change,
    client_disable,
    client_list,
    client_show,
)
from leadglass.app.operations.deletions import study_delete, study_deleted, study_restore
from leadglass.app.operations.devices import device_enrol, device_list, device_revoke
from leadglass.app.operations.emergencies import break_glass_list, break_glass_review
from leadglass.app.operations.identity_test import identity_test
from leadglass.app.operations.objects import (
    import_files,
    refuse_while_served,
    vault_quarantine,
    vault_reindex,
    vault_verify,
)
from leadglass.app.operations.people import (
    session_end,
    session_list,
    user_add,
    user_bootstrap,
    user_change,
    user_disable,
    user_enable,
    user_list,
    user_passcode,
    user_reset,
    user_roles,
    user_show,
)
from leadglass.app.operations.policies import (
    policy_apply,
    policy_approve,
    policy_diff,
    policy_explain,
    policy_history,
    policy_propose,
    policy_show,
    policy_withdraw,
)
from leadglass.app.operations.record import audit_proof, audit_show, audit_verify
from leadglass.app.operations.relations import relation_assign, relation_end, relation_list
from leadglass.app.operations.reviews import (
    access_review_decide,
    access_review_evidence,
    access_review_list,
    access_review_open,
    access_review_show,
)
from leadglass.app.operations.roles import role_assign, role_list, role_remove, role_show
from leadglass.app.operations.status import status

OPERATIONS: Mapping[str, Operation] = {
    "access-review-decide": access_review_decide,
    "access-review-evidence": access_review_evidence,
    "access-review-list": access_review_list,
    "access-review-open": access_review_open,
    "access-review-show": access_review_show,
    "audit-proof": audit_proof,
    "audit-show": audit_show,
    "audit-verify": audit_verify,
    "break-glass-list": break_glass_list,
    "break-glass-review": break_glass_review,
    "client-add": client_add,
    "client-change": client_change,
    "client-disable": client_disable,
    "client-list": client_list,
    "client-show": client_show,
    "device-enrol": device_enrol,
    "device-list": device_list,
    "device-revoke": device_revoke,
    "identity-test": identity_test,
    "import": import_files,
    "policy-apply": policy_apply,
    "policy-approve": policy_approve,
    "policy-diff": policy_diff,
    "policy-explain": policy_explain,
    "policy-history": policy_history,
    "policy-propose": policy_propose,
    "policy-show": policy_show,
    "policy-withdraw": policy_withdraw,
    "relation-assign": relation_assign,
    "relation-end": relation_end,
    "relation-list": relation_list,
    "role-assign": role_assign,
    "role-list": role_list,
    "role-remove": role_remove,
    "role-show": role_show,
    "session-end": session_end,
    "session-list": session_list,
    "status": status,
    "study-delete": study_delete,
    "study-deleted": study_deleted,
    "study-restore": study_restore,
    "user-add": user_add,
    "user-bootstrap": user_bootstrap,
    "user-change": user_change,
    "user-disable": user_disable,
    "user-enable": user_enable,
    "user-list": user_list,
    "user-passcode": user_passcode,
    "user-reset": user_reset,
    "user-roles": user_roles,
    "user-show": user_show,
    "vault-quarantine": vault_quarantine,
    "vault-reindex": vault_reindex,
    "vault-verify": vault_verify,
}

SERVED_OPERATIONS: Mapping[str, Operation] = {**OPERATIONS, "vault-reindex": refuse_while_served}
"""What a running node does for a local command."""
