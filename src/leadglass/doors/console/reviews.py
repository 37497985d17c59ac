"""Access reviews: somebody named looks at every grant of a role."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from leadglass.archive.administration.reviews import Reviews
from leadglass.doors.console.bodies import body_of, described, json_response
from leadglass.doors.console.sign_in import BASE
from leadglass.doors.https.endpoints import Endpoint, Handler, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.policy.access_review import Campaign, HeldRole, ReviewItem

_TAG: Final = "access review"


class ReviewAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new campaign: why, who looks at it, and at which roles or whose; empty for all."""

    cause: str
    reviewer: str
    deputy: str = ""
    roles: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


class DecisionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether somebody keeps a role, and why."""

    principal: str
    role: str
    confirmed: bool
    reason: str


def shown_campaign(campaign: Campaign) -> dict[str, Any]:
    """Return a campaign as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(campaign)
    return {"review" if name == "campaign_id" else name: value for name, value in shown.items()}


def shown_item(item: ReviewItem) -> dict[str, Any]:
    """Return a grant under review as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(item)
    return {"principal" if name == "principal_id" else name: value for name, value in shown.items()}


class ReviewDoor:
    """Handlers."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews

    async def open(self, request: Request) -> Response:
        """Open a campaign."""
        asked = await body_of(request, ReviewAsked)

        def begin() -> Campaign:
            return self._reviews.open(
                principal_of(request),
                asked.cause,
                reviewer=asked.reviewer,
                deputy=asked.deputy,
                roles=asked.roles,
                subjects=asked.subjects,
            )

        return json_response(shown_campaign(await in_thread(begin)), 201)

    async def all(self, request: Request) -> Response:
        """List campaigns."""
        found = await in_thread(self._reviews.all, principal_of(request))
        return json_response({"reviews": [shown_campaign(one) for one in found]})

    async def mine(self, request: Request) -> Response:
        """List what one has to look at."""
        found = await in_thread(self._reviews.mine, principal_of(request))
        return json_response(
            {
                "grants": [
                    {"review": campaign.campaign_id, "due_at": campaign.due_at, **shown_item(item)}
                    for campaign, item in found
                ]
            }
        )

    async def show(self, request: Request) -> Response:
        """Show a campaign and its grants."""
        campaign, items = await in_thread(self._reviews.show, principal_of(request), _review(request))
        return json_response({**shown_campaign(campaign), "grants": [shown_item(item) for item in items]})

    async def decide(self, request: Request) -> Response:
        """Confirm or remove a grant."""
        asked = await body_of(request, DecisionAsked)

        def decide() -> ReviewItem:
            return self._reviews.decide(
                principal_of(request),
                _review(request),
                HeldRole(asked.principal, asked.role),
                confirmed=asked.confirmed,
                reason=asked.reason,
            )

        return json_response(shown_item(await in_thread(decide)))

    async def evidence(self, request: Request) -> Response:
        """Return the result, octet for octet what the audit log has the hash of."""
        document = await in_thread(self._reviews.evidence, principal_of(request), _review(request))
        return Response(document, media_type="application/json")


def _review(request: Request) -> str:
    return str(request.path_params["review"])


def endpoints(reviews: Reviews) -> list[Endpoint]:
    """Return the endpoints of access reviews."""
    door = ReviewDoor(reviews)

    def at(
        method: str, path: str, handler: Handler, summary: str, body: type[Any] | None = None, ok: str = "200"
    ) -> Endpoint:
        return Endpoint(method, BASE + path, handler, described(summary, _TAG, body, ok=ok))

    one = "/access-reviews/{review}"
    return [
        at("POST", "/access-reviews", door.open, "Open an access review", ReviewAsked, "201"),
        at("GET", "/access-reviews", door.all, "List access reviews"),
        at("GET", "/access-reviews/mine", door.mine, "List what one has to look at"),
        at("GET", one, door.show, "Show an access review"),
        at("POST", f"{one}/decisions", door.decide, "Confirm or remove a grant", DecisionAsked),
        at("GET", f"{one}/evidence", door.evidence, "Fetch the result"),
    ]
