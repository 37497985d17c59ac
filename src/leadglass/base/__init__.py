"""Words that everyone shares.

**Invariant:** standard library only; no I/O, no clock, no thread: nothing here can surprise a caller.
"""
