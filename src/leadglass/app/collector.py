"""What the garbage collector need not look at again."""

import gc
from typing import Final

_YOUNG_OBJECTS_MAX: Final = 20_000
"""Container objects that are new before the collector looks at them. Its default of 700 is reached once or twice for
each stored object, and nearly all of them are gone by then without its help: reference counts do that."""


def settle_collector() -> None:
    """Leave out what was made at start, some hundred thousand objects that stay for good, and look less often.

    Measured on ingest of 10 KiB objects: 4 to 9 % of the CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS_MAX)
