"""What a bug of ours prints: where it happened, never what it was about.

The message of an unexpected exception, and the values in a traceback of some tools, may quote a data set. File names and
line numbers of our own code quote nobody.
"""

import sys
import threading
import traceback
from types import TracebackType


def describe_failure(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Return the kind of an exception and the places it came through, innermost last."""
    frames = traceback.extract_tb(trace)
    places = " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames[-6:])
    return f"internal error: {kind.__name__} at {places}"


def report_failure(error: BaseException, correlation_id: str) -> None:
    """Print where a request failed, and under which correlation id the log has the rest."""
    text = describe_failure(type(error), error.__traceback__)
    print(f"{text} (correlation id {correlation_id})", file=sys.stderr, flush=True)  # noqa: T201


def install_failure_hooks() -> None:
    """Have uncaught exceptions of every thread printed without their messages."""

    def in_thread(arguments: threading.ExceptHookArgs) -> None:
        print(describe_failure(arguments.exc_type, arguments.exc_traceback), file=sys.stderr, flush=True)  # noqa: T201

    threading.excepthook = in_thread
