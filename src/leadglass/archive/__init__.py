"""What the product does: verbs. The only caller of the store.

``access`` is the one door from an identifier to an object; ``ingest``, ``query`` and ``retrieve`` stand on it,
``commitment`` on them, and ``recovery`` and ``verification`` look after what is held.

**Invariant:** every verb asks policy first and tells audit before it answers.
"""
