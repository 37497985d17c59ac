"""Identity providers written in JavaScript, as processes that live as long as a test module."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PEERS = Path(__file__).parents[3] / "peers"


def needs(package: str) -> pytest.MarkDecorator:
    """Skip by name where node or the package is not installed (tools/npm_peers.sh)."""
    there = shutil.which("node") is not None and (_PEERS / "node_modules" / package).is_dir()
    return pytest.mark.skipif(not there, reason=f"{package} (npm) is not installed")


class Peer:
    """A process that answers a line of JSON with a line of JSON."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the peer ended with status {self._process.wait(10)}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


@contextmanager
def npm_peer(script: str, errors: Path) -> Iterator[Peer]:
    """Run a script of ``tests/peers`` until the end of the block; it ends when its standard input does."""
    with (
        errors.open("w") as file,
        subprocess.Popen(
            ["node", "--no-warnings", _PEERS / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        try:
            yield Peer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)
