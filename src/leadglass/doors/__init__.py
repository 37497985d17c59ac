"""Every way in and out. Doors act: they own sockets, threads and time-outs; what to do is decided below them.

**Invariant:** doors never import each other or the store, and hold no state that a restart would lose.
"""
