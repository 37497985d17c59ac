"""The record: append-only, hashed into a Merkle tree, signed, and proof against whoever holds the disk.

The journal is the truth; tiles and checkpoints (C2SP tlog-tiles, signed-note) are derived from it. A leaf names nobody:
objects are keyed tokens, what happened in clear is sealed apart.

**Invariant:** no key is seen here: signing, sealing and tokens are given (``interfaces``).
"""
