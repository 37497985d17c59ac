"""Who is at the other end.

A device is its certificate AND its AE title AND the networks it may come from; a mismatch in any of them is
somebody we do not know.

**Invariant:** sees no key and no socket. What is cryptographic is handed in through ``interfaces``; what was seen on
a connection comes as ``PeerFacts``.
"""
