"""The policies of this release, loaded once."""

import pytest

from leadglass.trust.policy.cedar import CedarPolicy
from trust.policy.people import CLOCK


@pytest.fixture(scope="session")
def policy() -> CedarPolicy:
    return CedarPolicy.load(CLOCK)
