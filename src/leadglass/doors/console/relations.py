"""Who works on which study, and who treats whom. Patient ids travel in bodies, never in a URL."""

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.relations import Relation, RelationEntry, RelationKeeper
from leadglass.base.errors import RequestRefused
from leadglass.doors.console.bodies import body_of, described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread

_TAG: Final = "relations"


class RelationShown(msgspec.Struct, frozen=True):
    """A relation as the API shows it: to a study, or to a patient."""

    account: str
    kind: Relation
    until: datetime
    study: str
    patient: str


class RelationAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new relation: to a study or to a patient; ``assigned`` or ``treating``."""

    account: str
    kind: Relation
    until: datetime
    study: str = ""
    patient: str = ""


class RelationEnded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A relation that is to end now."""

    account: str
    kind: Relation
    study: str = ""
    patient: str = ""


def principal_id_of(account: str) -> str:
    """Return the principal id of an account; another kind of principal is named in full."""
    return account if ":" in account else f"user:{account}"


def shown_relation(entry: RelationEntry) -> RelationShown:
    """Return a relation as the API and the command line show it."""
    return RelationShown(
        entry.principal_id.removeprefix("user:"),
        entry.relation,
        entry.until,
        entry.study_uid,
        entry.patient_id,
    )


class RelationDoor:
    """Handlers."""

    def __init__(self, relations: RelationKeeper) -> None:
        self._relations = relations

    async def list(self, request: Request) -> Response:
        """List what somebody has."""
        account = request.query_params.get("account", "")
        if not account:
            raise RequestRefused("the parameter account says whose relations are asked for")
        entries = await in_thread(self._relations.list, principal_of(request), principal_id_of(account))
        return json_response({"relations": [shown_relation(entry) for entry in entries]})

    async def assign(self, request: Request) -> Response:
        """Give one."""
        asked = await body_of(request, RelationAsked)
        if asked.until.tzinfo is None:
            raise RequestRefused("until: a time with its zone is expected")
        entry = RelationEntry(
            principal_id_of(asked.account), asked.kind, asked.until, asked.study, asked.patient
        )
        await in_thread(self._relations.assign, principal_of(request), entry)
        return json_response(shown_relation(entry), 201)

    async def end(self, request: Request) -> Response:
        """Take one away."""
        asked = await body_of(request, RelationEnded)

        def end() -> bool:
            return self._relations.unassign(
                principal_of(request),
                principal_id_of(asked.account),
                asked.kind,
                study_uid=asked.study,
                patient_id=asked.patient,
            )

        return json_response({"ended": await in_thread(end)})


def endpoints(relations: RelationKeeper) -> list[Endpoint]:
    """Return the endpoints of relations."""
    door = RelationDoor(relations)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    account: dict[str, object] = {
        "name": "account",
        "in": "query",
        "required": True,
        "schema": {"type": "string"},
        "description": "whose",
    }
    listed = Endpoint(
        "GET",
        BASE + "/relations",
        door.list,
        {**described("List somebody's relations", _TAG), "parameters": [account]},
    )
    return [
        listed,
        at("POST", "/relations", door.assign, "Give a relation until a moment", RelationAsked, "201"),
        at("POST", "/relations/end", door.end, "End a relation now", RelationEnded),
    ]
