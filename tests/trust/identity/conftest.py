from collections.abc import Generator
from pathlib import Path

import pytest

from fake_clock import FakeClock
from trust.identity.identity_site import IdentitySite, cheap_passcodes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cheap() -> Generator[None, None, None]:
    """Argon2id with 1 MiB instead of 64."""
    with cheap_passcodes():
        yield


@pytest.fixture
def site(tmp_path: Path, clock: FakeClock, cheap: None) -> Generator[IdentitySite, None, None]:
    site = IdentitySite(tmp_path, clock)
    yield site
    site.close()
