"""A site opened in this process: for damage that is tried at hundreds of places."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadglass.app.compose import Node, open_node
from leadglass.app.operations import OPERATIONS
from leadglass.app.site import SitePaths
from leadglass.base.errors import LeadglassError


@contextmanager
def opened(root: Path) -> Iterator[Node]:
    """Open the site as its only owner."""
    node = open_node(SitePaths(root), None, {})
    try:
        yield node
    finally:
        node.close()


def ask(node: Node, operation: str) -> dict[str, Any]:
    """Run an operation as a command does."""
    return dict(OPERATIONS[operation](node, {}, lambda _done, _of: None))


def what_is_named(root: Path) -> list[str]:
    """Open and verify everything; return what was named as damaged, at start or later."""
    try:
        with opened(root) as node:
            named = [finding.what for finding in node.recovered.findings]
            for operation in ("vault-verify", "audit-verify"):
                try:
                    named += [finding["what"] for finding in ask(node, operation)["findings"]]
                except LeadglassError as error:
                    named.append(str(error))
    except LeadglassError as error:
        return [str(error)]
    return named


def flip(path: Path, offset: int, mask: int = 0x01) -> None:
    """Change one octet of a file; the same again undoes it."""
    with path.open("r+b") as file:
        file.seek(offset)
        octet = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([octet ^ mask]))


def sampled(path: Path, count: int) -> list[int]:
    """Return offsets all over a file: its first and last octets, and ``count`` between."""
    size = path.stat().st_size
    step = max(size // count, 1)
    # A step that is odd does not fall on the same place of every page.
    return sorted({0, 1, 15, 16, size // 2, size - 1} | set(range(7, size, step | 1)))
