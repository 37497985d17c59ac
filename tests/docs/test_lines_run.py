"""The commands that docs/OPERATIONS.md shows for a running site do what it says: each is run as it stands there, in order."""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from leadglass.app.cli.main import cli
from running_node import Site, site

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = "## People", "## Certificates that end"
POLICY_FILE = "policies/nights.cedar"


def shown() -> str:
    page = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    return page[page.index(FIRST) : page.index(LAST)]


def lines() -> list[str]:
    """Return the lines of a block that are commands of ours."""
    # The page shows a day; the test runs on any.
    soon = datetime.now(UTC).date() + timedelta(days=20)
    text = re.sub(r"--until [0-9-]+", f"--until {soon.isoformat()}", shown())
    return re.findall(r"^    (leadglass .*)$", text, re.MULTILINE)


def policy() -> str:
    """Return the policy file that the page shows."""
    _, _, after = shown().partition(f"`{POLICY_FILE}`:")
    block = re.match(r"\n\n((?:    .*\n)+)", after)
    assert block is not None
    return re.sub(r"^    ", "", block[1], flags=re.MULTILINE)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.enrol("ct1", "CT1", ["store"])
        made.start()
        (tmp_path / POLICY_FILE).parent.mkdir()
        (tmp_path / POLICY_FILE).write_text(policy(), encoding="utf-8")
        spec = find_spec("pydicom")
        assert spec is not None
        assert spec.origin is not None
        sample = Path(spec.origin).parent / "data" / "test_files" / "MR_small.dcm"
        made.run("send", str(sample), "--device", str(tmp_path / "devices" / "ct1.toml"))
        yield made


def test_the_page_shows_what_this_runs() -> None:
    assert len(lines()) > 30
    names = {line.split()[1] for line in lines()}
    assert names >= {"user", "role", "policy", "session", "client", "relation", "study", "access-review"}


@pytest.mark.slow
def test_every_line_about_people_and_policy_runs(
    running: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, which asks the node that runs: forty starts of an interpreter would take a minute."""
    monkeypatch.chdir(tmp_path)
    for line in lines():
        if line == "leadglass identity test":
            continue  # there is no provider; tests/trust/identity/federation has real ones
        done = CliRunner().invoke(cli, shlex.split(line)[1:], env={"LEADGLASS_SITE": str(running.root)})
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        if line == "leadglass policy diff policies":
            assert "exports-by-day" in done.output
