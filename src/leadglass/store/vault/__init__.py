"""Sealed objects in append-only packs: bytes that survive a power cut and tell nothing to whoever holds the disk.

**Invariant:** the folder is not trusted. Every octet that leaves this room has been authenticated, with its place and
its meaning; no octet of plaintext, no UID and no name reaches the disk. ``floe`` is the only module here that imports
the cryptographic library.
"""
