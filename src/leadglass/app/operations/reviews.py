"""Access reviews."""

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.doors.console.reviews import DecisionAsked, ReviewAsked, shown_campaign, shown_item
from leadglass.trust.policy.access_review import HeldRole


def access_review_open(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Open a campaign."""
    asked = msgspec.convert(arguments, ReviewAsked)
    campaign = node.reviews.open(
        operator(),
        asked.cause,
        reviewer=asked.reviewer,
        deputy=asked.deputy,
        roles=asked.roles,
        subjects=asked.subjects,
    )
    return {"review": shown_campaign(campaign)}


def access_review_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List campaigns."""
    return {"reviews": [shown_campaign(one) for one in node.reviews.all(operator())]}


def access_review_show(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Show a campaign and its grants."""
    campaign, items = node.reviews.show(operator(), str(arguments["review"]))
    return {**shown_campaign(campaign), "grants": [shown_item(item) for item in items]}


def access_review_decide(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Confirm or remove a grant."""
    campaign_id = str(arguments.pop("review"))
    asked = msgspec.convert(arguments, DecisionAsked)
    item = node.reviews.decide(
        operator(),
        campaign_id,
        HeldRole(asked.principal, asked.role),
        confirmed=asked.confirmed,
        reason=asked.reason,
    )
    return {"grant": shown_item(item)}


def access_review_evidence(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Return the result as text, octet for octet."""
    return {"evidence": node.reviews.evidence(operator(), str(arguments["review"])).decode("utf-8")}
