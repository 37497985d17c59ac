"""Sans-IO protocols: bytes in, events out; events in, bytes out.

**Invariant:** nothing here opens a socket, sleeps, or reads a clock [import contract].
"""
