"""A site of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trust.audit.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "audit")
    yield made
    made.close()
