"""Keys: from the root key that somebody holds down to the key of one record.

``interfaces`` shows the hierarchy. A wrapped key lives in the key ledger, never beside the data; what is derived is
derived again each time and stored nowhere.

**Invariant:** nothing falls back to plaintext: a key that is not there is ``KeyUnavailable``.
"""
