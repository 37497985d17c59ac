"""What commands print: one JSON document with ``--json``, words and tables without; progress goes to the error stream.

Text from outside (AE titles, names of patients in answers to ``find``) is cleaned of control characters before it
reaches a terminal.
"""

import contextlib
import sys
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, cast

import click
import msgspec

_NAMES_MAX: Final = 3


def json_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    click.echo(text.decode("utf-8"))


def print_error(message: str, code: str, hint: str, *, as_json: bool) -> None:
    """Print an error: words for a person, a document for a program, both on the error stream."""
    if as_json:
        document = {"error": message, "code": code, "hint": hint}
        click.echo(msgspec.json.encode(document).decode("utf-8"), err=True)
        return
    click.echo(f"leadglass: {clean(message)} [{code}]", err=True)
    if hint:
        click.echo(f"  hint: {clean(hint)}", err=True)


def clean(text: str) -> str:
    """Return text without control and format characters, which could rewrite a terminal."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns; of nothing but its titles when there are no rows."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(titles), *cleaned]) for i in range(len(titles))]
    for row in [list(titles), *cleaned]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_by_reason(failures: Sequence[tuple[str, str]]) -> None:
    """Print why, most frequent first, with a few of the names.

    Args:
        failures: name and reason of each.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in failures:
        by_reason.setdefault(reason, []).append(name)
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(clean(name) for name in names[:_NAMES_MAX])
        more = f", and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
        click.echo(f"  {len(names):>4}  {clean(reason)}\n        {shown}{more}")


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one a line; what a list holds stands behind commas."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        text = ", ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)
        click.echo(f"{name.ljust(width)}  {clean(text)}")


def octets(count: int) -> str:
    """Return an amount in words."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@contextlib.contextmanager
def progress(label: str, *, as_json: bool) -> Generator[Callable[[int, int], None], None, None]:
    """Show a bar on a terminal, a line every now and then without one, nothing with ``--json``."""
    if as_json:
        yield lambda _done, _total: None
    elif sys.stderr.isatty():
        with _bar(label) as tell:
            yield tell
    else:
        yield _Lines(label)


@contextlib.contextmanager
def _bar(label: str) -> Generator[Callable[[int, int], None], None, None]:
    # rich takes 50 ms to import: only who sees a bar pays for it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """A line for each tenth, for logs and pipes."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._tenth = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if tenth != self._tenth:
            self._tenth = tenth
            click.echo(f"{self._label}: {done} of {total}", err=True)
