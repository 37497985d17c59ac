"""Where the real test data lies; tests that need it are skipped by name where it is absent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the shared test corpus is not beside the project"
)


def corpus_files(*folders: str, suffix: str = ".dcm") -> Iterator[Path]:
    """Yield the corpus files of the given folders, sorted; nothing where the corpus is absent."""
    for folder in folders:
        yield from sorted(p for p in (CORPUS / folder).rglob(f"*{suffix}") if p.is_file())
