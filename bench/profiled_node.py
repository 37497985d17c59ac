"""Run the node with a profile of every association's thread: ``profiled_node.py FOLDER serve --site DIR``.

For whoever looks for time, not for figures: the profiler itself doubles the cost of every call.
"""

import cProfile
import sys
import threading
from pathlib import Path

from leadglass.app.cli.main import main


def profile_threads(folder: Path) -> None:
    """Write one profile per thread into ``folder`` when the thread ends."""
    run = threading.Thread.run

    def profiled(self: threading.Thread) -> None:
        profile = cProfile.Profile()
        try:
            profile.runcall(run, self)
        finally:
            profile.dump_stats(folder / f"{self.name}-{self.native_id}.prof")

    threading.Thread.run = profiled  # type: ignore[method-assign]  # the one place that every thread passes


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    profile_threads(target)
    sys.argv[1:2] = []
    main()
