"""What was deleted softly, and bringing it back. Deleting itself is DICOMweb's."""

from datetime import datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.deletion import Deletion, Deletions
from leadglass.base.errors import NotFound
from leadglass.dicom.models import Level
from leadglass.doors.console.bodies import described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread

_TAG: Final = "deletions"


class DeletionShown(msgspec.Struct, frozen=True):
    """A deletion as the API shows it; see ``store.index.interfaces.Deletion``."""

    deletion: str
    level: Level
    study: str
    series: str
    instance: str
    deleted_at: datetime
    deleted_by: str
    reason: str
    restorable_until: datetime


def shown_deletion(deletion: Deletion) -> DeletionShown:
    """Return a deletion as the API and the command line show it."""
    return DeletionShown(
        deletion=deletion.deletion_id.hex(),
        level=deletion.level,
        study=deletion.study_uid,
        series=deletion.series_uid,
        instance=deletion.sop_instance_uid,
        deleted_at=deletion.deleted_at,
        deleted_by=deletion.deleted_by,
        reason=deletion.reason,
        restorable_until=deletion.restorable_until,
    )


def deletion_id_of(text: str) -> bytes:
    """Return the id that somebody wrote.

    Raises:
        NotFound: it is none.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotFound("there is no such deletion") from None


class DeletionDoor:
    """Handlers."""

    def __init__(self, deletions: Deletions) -> None:
        self._deletions = deletions

    async def list(self, request: Request) -> Response:
        """List what can be restored, and what waits for disposal."""
        found = await in_thread(self._deletions.list, principal_of(request))
        return json_response({"deletions": [shown_deletion(deletion) for deletion in found]})

    async def restore(self, request: Request) -> Response:
        """Undo one."""
        wanted = deletion_id_of(str(request.path_params["deletion"]))
        return json_response(
            {"instances": await in_thread(self._deletions.restore, principal_of(request), wanted)}
        )


def endpoints(deletions: Deletions) -> list[Endpoint]:
    """Return the endpoints of what was deleted softly."""
    door = DeletionDoor(deletions)
    return [
        Endpoint("GET", f"{BASE}/deletions", door.list, described("List what was deleted", _TAG)),
        Endpoint(
            "POST",
            f"{BASE}/deletions/{{deletion}}/restore",
            door.restore,
            described("Bring it back", _TAG),
        ),
    ]
