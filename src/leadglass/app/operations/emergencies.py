"""Emergency accesses: which wait for review, and signing one where the site lets the operator."""

import msgspec

from leadglass.app.asking import JSON, Tell
from leadglass.app.compose import Node, operator
from leadglass.base.secret import Phi
from leadglass.doors.console.emergencies import FindingAsked, shown_emergency


def break_glass_list(node: Node, _arguments: JSON, _tell: Tell) -> JSON:
    """List those that are in force or wait for review."""
    return {"emergencies": [shown_emergency(one) for one in node.emergencies.waiting(operator())]}


def break_glass_review(node: Node, arguments: JSON, _tell: Tell) -> JSON:
    """Sign a review."""
    access_id = str(arguments.pop("id"))
    asked = msgspec.convert(arguments, FindingAsked)
    reviewed = node.emergencies.review(operator(), access_id, Phi(asked.finding), justified=asked.justified)
    return {"emergency": shown_emergency(reviewed)}
