"""May they? One question, answered by policies that are data.

**Invariant:** whatever is not expressly allowed without a single complaint of the engine is denied.
"""
